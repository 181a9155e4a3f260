"""Writes a trunk, or fully connected layers, as ncnn's .param (text) and .bin (weights).

The trunks here are plain: Conv, Relu, MaxPool, LRN, Concat; and so are the heads: Gemm, Relu, Softmax. The format is documented at
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure, the numbered parameters of each layer at
https://github.com/Tencent/ncnn/wiki/operation-param-weight-table. A Relu becomes the activation of the layer before it,
as ncnn's own optimiser would make it.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

MAGIC = 7767517
F32_WEIGHTS = b"\0\0\0\0"  # tag in front of a layer's weights: stored as they are
INT8_WEIGHTS = (0x000D4B38).to_bytes(4, "little")


def layer_weights(weights, bias, largest):
    """The bytes of a layer's weights and bias: int8 where `largest`, the input's largest absolute value, is known."""
    plain = b"" if bias is None else bias.tobytes()
    if largest is None:
        return F32_WEIGHTS + np.ascontiguousarray(weights).tobytes() + plain
    rows = weights.reshape(len(weights), -1)
    scales = 127 / np.maximum(np.abs(rows).max(axis=1), 1e-12)
    rounded = np.rint(rows * scales[:, None]).astype(np.int8).tobytes()
    padding = b"\0" * (-len(rounded) % 4)
    both = np.append(scales, 127 / max(largest, 1e-12)).astype("<f4").tobytes()
    return INT8_WEIGHTS + rounded + padding + plain + both


def export(model, onnx_path, largest=None):
    """Writes the .param and .bin of `model` beside `onnx_path`; in int8 with `largest`, {tensor: largest absolute value}."""
    int8 = {} if largest is None else {"_8": 2}
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

    def with_relu(node):
        """What the node, with the Relu behind it, is called; and whether there is one."""
        top = node.output[0]
        after = reader_of.get(top)
        if after is None or after.op_type != "Relu" or readers[top] != 1:
            return top, 0
        fused.add(after.output[0])
        return after.output[0], 1

    (data,) = graph.input
    shape = [dim.dim_value for dim in data.type.tensor_type.shape.dim]
    sides = shape[:0:-1] if len(shape) == 4 else shape[::-1]  # maps have no batch; rows of features are a matrix
    layer("Input", data.name, [], [data.name], **{f"_{i}": side for i, side in enumerate(sides)})
    result(data.name)
    with open(Path(onnx_path).with_suffix(".bin"), "wb") as file:
        for node in graph.node:
            if node.output[0] in fused:
                continue
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            bottoms = [pending[name].pop() for name in node.input if name not in weights]
            top = node.output[0]
            if node.op_type == "Conv":
                top, relu = with_relu(node)
                kernel = weights[node.input[1]].astype("<f4")
                bias = weights[node.input[2]].astype("<f4") if len(node.input) > 2 else None
                group = attributes.get("group", 1)
                grouped = {"_7": group} if group > 1 else {}
                layer(
                    "ConvolutionDepthWise" if grouped else "Convolution", node.output[0], bottoms, [top],
                    _0=kernel.shape[0], _1=kernel.shape[3], _11=kernel.shape[2], **strides(attributes, "_3", "_13"),
                    **padding(attributes, "_4", "_14", "_15", "_16"), _5=int(bias is not None), _6=kernel.size,
                    **grouped, **int8, _9=relu,
                )
                file.write(layer_weights(kernel, bias, largest and largest[node.input[0]]))
            elif node.op_type == "Gemm" and attributes.get("transB"):
                top, relu = with_relu(node)
                matrix, bias = (weights[name].astype("<f4") for name in node.input[1:])
                layer("InnerProduct", node.output[0], bottoms, [top], _0=len(bias), _1=1, _2=matrix.size, **int8, _9=relu)
                file.write(layer_weights(matrix, bias, largest and largest[node.input[0]]))
            elif node.op_type == "Softmax":
                layer("Softmax", top, bottoms, [top], _0=1, _1=1)
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
