"""Whether ONNX Runtime gives what libtorch gave: MODEL.onnx REFERENCE.safetensors."""

import json
import struct
import sys

import numpy
import onnxruntime

model, reference = sys.argv[1:]
with open(reference, "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    payload = file.read()


def tensor(name):
    begin, end = header[name]["data_offsets"]
    return numpy.frombuffer(payload[begin:end], "<f4").reshape(header[name]["shape"])


session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
outputs = session.run(names, {given.name: tensor(given.name) for given in session.get_inputs()})
for name, output in zip(names, outputs):
    expected = tensor(name)
    assert output.shape == expected.shape, (name, output.shape, expected.shape)
    worst = float(abs(output - expected).max())
    print(f"{name}: largest difference {worst:.2e} of {float(abs(expected).max()):.2e}")
    # f32 sums in another order, of values of order 1.
    assert worst <= 1e-4, (name, worst)
