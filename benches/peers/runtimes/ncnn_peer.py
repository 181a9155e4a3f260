"""ncnn: float32 storage and arithmetic, or half precision as it comes. Reads what ncnn_export.py wrote beside the ONNX file."""

from pathlib import Path

import ncnn
import numpy as np


def load(model, threads, precision):
    net = ncnn.Net()
    net.opt.num_threads = threads
    if precision == "f32":
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            setattr(net.opt, f"use_{half}", False)
    for suffix, read in ((".param", net.load_param), (".bin", net.load_model)):
        file = Path(model).with_suffix(suffix)
        if read(str(file)) != 0:
            raise RuntimeError(f"ncnn cannot read {file}")
    return Model(net, precision)


class Model:
    def __init__(self, net, precision):
        self.net, self.precision = net, precision
        self.inputs, self.outputs = list(net.input_names()), list(net.output_names())

    def bind(self, tensors):
        (self.input,) = self.inputs
        tensor = tensors[self.input]
        self.maps = tensor.ndim == 4  # ncnn's have no batch; rows of features are a matrix.
        self.blob = ncnn.Mat(tensor[0] if self.maps else tensor).clone()

    def run(self):
        # An extractor keeps what it computed, so each run needs its own.
        with self.net.create_extractor() as extractor:
            extractor.input(self.input, self.blob)
            extracted = [extractor.extract(name) for name in self.outputs]
        if any(status != 0 for status, _ in extracted):
            raise RuntimeError(f"ncnn's extract failed: {extracted}")
        self.fetched = [blob for _, blob in extracted]

    def results(self):
        arrays = [np.array(blob) for blob in self.fetched]
        return dict(zip(self.outputs, (array[None] for array in arrays) if self.maps else arrays))
