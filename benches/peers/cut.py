"""Cuts the trained network at MaxRoiPool into the files that the stages are timed with."""

import onnx
from onnx import TensorProto, helper


def cut(model, inputs, outputs):
    """The part of `model` that computes `outputs` from `inputs`, a {name: shape}.

    Shapes are concrete, so that a runtime may plan its memory for them as frcnn does.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    wanted, seen = list(outputs), set()
    while wanted:
        name = wanted.pop()
        if name in seen or name in inputs or not name:
            continue
        seen.add(name)
        if name not in weights:
            wanted += producer[name].input
    part = helper.make_graph(
        [node for node in graph.node if seen.intersection(node.output)],
        graph.name,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [weights[name] for name in weights if name in seen],
    )
    part = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    # OpenCV refuses an output without a shape.
    return onnx.shape_inference.infer_shapes(part)


def roi_pool_node(model):
    (node,) = (node for node in model.graph.node if node.op_type == "MaxRoiPool")
    return node


def spatial_scale(node):
    (value,) = (helper.get_attribute_value(a) for a in node.attribute if a.name == "spatial_scale")
    return value


def stage_ends(model):
    """{stage: (names of its inputs, names of its outputs)}"""
    pool = roi_pool_node(model)
    features, rois = pool.input
    results = [output.name for output in model.graph.output]
    return {
        "trunk": (["data"], [features]),
        "roi_pool": ([features, rois], list(pool.output)),
        "head": (list(pool.output), results),
        "roi_pool+head": ([features, rois], results),
        "whole": (["data", rois], results),
    }


def load(path):
    return onnx.load(path)
