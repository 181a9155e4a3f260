"""What is counted, and its files: single layers, the trunk, RoI pooling, the heads and the whole of a small detector.

    WORKLOAD/model.onnx  .param .bin  .mnn     for the peers
    WORKLOAD/int8.onnx   .param .bin           the same in int8: QDQ, and as ncnn has it
    WORKLOAD/NAME.npy                          inputs
    WORKLOAD/expected/NAME.npy                 outputs, as ONNX Runtime on this machine computes them
"""

import json
import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).resolve().parents[1]))
import cut
import mnn_export
import ncnn_export
import prepare

# As in src/kernels/examples/layer.rs: height, width, channels in and out, kernel; or rows, features in and out.
CONVOLUTIONS = {
    "conv3x3_256_256": (20, 24, 256, 256, 3),
    "conv3x3_256_256_large": (38, 50, 256, 256, 3),
    "conv1x1_256_64": (20, 24, 256, 64, 1),
}
LINEAR = {"fc_784_512_60": (60, 784, 512), "fc_3136_512_10": (10, 3136, 512)}
STAGES = ("trunk", "roi_pool", "head", "whole")
WORKLOADS = (*CONVOLUTIONS, *LINEAR, *STAGES)

NET = "squeezenet"
HEIGHT, WIDTH, ROIS = 240, 320, 300


def values(*shape):
    """The numbers of src/kernels/examples/layer.rs."""
    numbers = np.arange(np.prod(shape)) * 7919 % 251
    return (numbers.astype(np.float32) / np.float32(125) - np.float32(1)).reshape(shape)


def layer(name):
    """A model of one layer with ReLU, and its input."""
    if name in CONVOLUTIONS:
        height, width, inward, outward, kernel = CONVOLUTIONS[name]
        data = values(1, height, width, inward).transpose(0, 3, 1, 2)
        weights, bias = values(kernel, kernel, inward, outward).transpose(3, 2, 0, 1), values(outward)
        node = helper.make_node("Conv", ["data", "weights", "bias"], ["sums"], kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
    else:
        rows, inward, outward = LINEAR[name]
        data, weights, bias = values(rows, inward), values(inward, outward).T, values(outward)
        node = helper.make_node("Gemm", ["data", "weights", "bias"], ["sums"], transB=1)
    relu = helper.make_node("Relu", ["sums"], ["out"])
    constants = {"weights": weights, "bias": bias}
    graph = helper.make_graph(
        [node, relu], name, [helper.make_tensor_value_info("data", TensorProto.FLOAT, data.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model), {"data": np.ascontiguousarray(data)}


def quantised(path, tensors, into):
    """The model as QDQ: int8 by ONNX Runtime's own quantiser, per channel, calibrated on the very input that is counted."""
    from onnxruntime import quantization

    class Once(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [tensors]

        def get_next(self):
            return self.left.pop() if self.left else None

    logging.disable(logging.WARNING)
    quantization.quantize_static(
        str(path), str(into), Once(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm"],
    )


def largest_values(model, tensors, path):
    """{tensor: largest absolute value} of what Conv and Gemm read."""
    read = {node.input[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm")} - set(tensors)
    outer = onnx.ModelProto()
    outer.CopyFrom(model)
    outer.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in read)
    path.write_bytes(outer.SerializeToString())
    return {name: float(np.abs(value).max()) for name, value in (prepare.evaluate(path, tensors) | tensors).items()}


def write(folder, model, tensors):
    """All files of a workload; returns its outputs."""
    (folder / "expected").mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for name, tensor in tensors.items():
        np.save(folder / f"{name}.npy", tensor)
    outputs = prepare.evaluate(path, tensors)
    for name, tensor in outputs.items():
        np.save(folder / "expected" / f"{name}.npy", tensor)
    if all(node.op_type != "MaxRoiPool" for node in model.graph.node):  # which ncnn does for one RoI at a time
        ncnn_export.export(model, path)
        ncnn_export.export(model, folder / "int8.onnx", largest_values(model, tensors, folder / "all.onnx"))
    mnn_export.export(path)
    quantised(path, tensors, folder / "int8.onnx")
    return outputs


def photo_of(shared):
    file = shared / "data/bccd/PNGImages/BloodImage_00007.png"
    photo = cv2.imread(str(file)) if file.exists() else prepare.photo_of_noise()
    return cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def write_photo(folder, shared):
    """A folder with the photo alone, by which int8 layers are calibrated."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "photo.png"), photo_of(shared))
    return folder


def network(folder, emitted, manifest, shared):
    """Trunk, heads and all of the network, and the same photo and boxes for frcnn: photo.rgb, boxes.f32, boxes.json."""
    photo = photo_of(shared)
    (folder / "photo.rgb").write_bytes(np.ascontiguousarray(photo[:, :, ::-1]).tobytes())
    data, scale = prepare.blob_of(photo, manifest)
    assert scale == 1, "resized here and there, photos would differ by rounding"
    model = cut.load(emitted)
    pool = cut.roi_pool_node(model)
    spatial_scale = cut.spatial_scale(pool)
    boxes = prepare.distinct_boxes(ROIS, HEIGHT, WIDTH, False, lambda box: prepare.cells(box, scale, spatial_scale))
    (folder / "boxes.f32").write_bytes(boxes.astype("<f4").tobytes())
    (folder / "boxes.json").write_text(json.dumps(boxes.tolist()))
    features, rois = pool.input
    (flatten,) = (node for node in model.graph.node if pool.output[0] in node.input)
    flat = flatten.output[0] if flatten.op_type == "Flatten" else pool.output[0]
    results = [output.name for output in model.graph.output]
    tensors = {"data": data, rois: np.concatenate([np.zeros((ROIS, 1), np.float32), boxes], axis=1)}

    def part(inputs, outputs):
        return cut.cut(model, {name: tensors[name].shape for name in inputs}, outputs), {name: tensors[name] for name in inputs}

    tensors |= write(folder / "trunk", *part(["data"], [features]))
    tensors |= write(folder / "roi_pool", *part([features, rois], [flat]))
    write(folder / "head", *part([flat], results))
    write(folder / "whole", *part(["data", rois], results))


def prepare_all(folder, emitted, manifest, shared):
    for name in (*CONVOLUTIONS, *LINEAR):
        write(folder / name, *layer(name))
    network(folder, emitted, manifest, shared)
