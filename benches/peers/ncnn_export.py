"""Writes a trunk as ncnn's .param (text) and .bin (weights).

The trunks here are plain: Conv, Relu, MaxPool, LRN, Concat. The format is documented at
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure, the numbered parameters of each layer at
https://github.com/Tencent/ncnn/wiki/operation-param-weight-table. A Relu becomes the activation of the Conv before it,
as ncnn's own optimiser would make it.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

MAGIC = 7767517
F32_WEIGHTS = b"\0\0\0\0"  # tag in front of a Conv's weights: stored as they are


def export(model, onnx_path):
    """Writes the .param and .bin of `model` beside `onnx_path`."""
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input if name not in weights)
    reader_of = {name: node for node in graph.node for name in node.input}
    lines, blobs, fused, pending = [], [], set(), {}

    def layer(kind, name, bottoms, tops, **parameters):
        settings = [f"{key[1:]}={value}" for key, value in parameters.items()]
        lines.append(" ".join([kind, name, str(len(bottoms)), str(len(tops)), *bottoms, *tops, *settings]))
        blobs.extend(tops)

    def result(name):
        """Blobs of ncnn have one reader: a Split makes as many names as there are readers."""
        copies = [f"{name}_copy{i}" for i in range(readers[name])] if readers[name] > 1 else []
        if copies:
            layer("Split", f"{name}_split", [name], copies)
        pending[name] = copies or [name]

    (data,) = graph.input
    _, channels, height, width = (dim.dim_value for dim in data.type.tensor_type.shape.dim)
    layer("Input", data.name, [], [data.name], _0=width, _1=height, _2=channels)
    result(data.name)
    with open(Path(onnx_path).with_suffix(".bin"), "wb") as file:
        for node in graph.node:
            if node.output[0] in fused:
                continue
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            bottoms = [pending[name].pop() for name in node.input if name not in weights]
            top = node.output[0]
            if node.op_type == "Conv":
                after = reader_of.get(top)
                relu = after is not None and after.op_type == "Relu" and readers[top] == 1
                if relu:
                    top = after.output[0]
                    fused.add(top)
                kernel = weights[node.input[1]].astype("<f4")
                bias = weights[node.input[2]].astype("<f4") if len(node.input) > 2 else None
                group = attributes.get("group", 1)
                grouped = {"_7": group} if group > 1 else {}
                layer(
                    "ConvolutionDepthWise" if grouped else "Convolution", node.output[0], bottoms, [top],
                    _0=kernel.shape[0], _1=kernel.shape[3], _11=kernel.shape[2], **strides(attributes, "_3", "_13"),
                    **padding(attributes, "_4", "_14", "_15", "_16"), _5=int(bias is not None), _6=kernel.size,
                    **grouped, _9=int(relu),
                )
                file.write(F32_WEIGHTS + np.ascontiguousarray(kernel).tobytes())
                file.write(b"" if bias is None else bias.tobytes())
            elif node.op_type == "MaxPool":
                rows, columns = attributes["kernel_shape"]
                # pad_mode 0 rounds the size up, 1 down.
                layer(
                    "Pooling", top, bottoms, [top], _0=0, _1=columns, _11=rows, **strides(attributes, "_2", "_12"),
                    **padding(attributes, "_3", "_13", "_14", "_15"), _5=0 if attributes.get("ceil_mode") else 1,
                )
            elif node.op_type == "LRN":
                layer(
                    "LRN", top, bottoms, [top], _0=0, _1=attributes["size"], _2=attributes["alpha"],
                    _3=attributes["beta"], _4=attributes["bias"],
                )
            elif node.op_type == "Relu":
                layer("ReLU", top, bottoms, [top])
            elif node.op_type == "Concat" and attributes["axis"] == 1:
                layer("Concat", top, bottoms, [top], _0=0)
            else:
                raise NotImplementedError(f"{node.op_type} {node.name}")
            result(top)
    header = f"{MAGIC}\n{len(lines)} {len(blobs)}\n"
    Path(onnx_path).with_suffix(".param").write_text(header + "\n".join(lines) + "\n")


def strides(attributes, x, y):
    rows, columns = attributes.get("strides", (1, 1))
    return {x: columns, y: rows}


def padding(attributes, left, top, right, bottom):
    before_y, before_x, after_y, after_x = attributes.get("pads", (0, 0, 0, 0))
    return {left: before_x, top: before_y, right: after_x, bottom: after_y}
