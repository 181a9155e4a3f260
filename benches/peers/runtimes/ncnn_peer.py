"""ncnn, float32 storage and arithmetic. Reads what ncnn_export.py wrote beside the ONNX file."""

from pathlib import Path

import ncnn
import numpy as np


def load(model, threads, precision):
    assert precision == "f32"
    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{half}", False)
    for suffix, read in ((".param", net.load_param), (".bin", net.load_model)):
        file = Path(model).with_suffix(suffix)
        if read(str(file)) != 0:
            raise RuntimeError(f"ncnn cannot read {file}")
    return Model(net)


class Model:
    precision = "f32"

    def __init__(self, net):
        self.net = net
        self.inputs, self.outputs = list(net.input_names()), list(net.output_names())

    def bind(self, tensors):
        (self.input,) = self.inputs
        self.blob = ncnn.Mat(tensors[self.input][0]).clone()

    def run(self):
        # An extractor keeps what it computed, so each run needs its own.
        with self.net.create_extractor() as extractor:
            extractor.input(self.input, self.blob)
            status, self.fetched = extractor.extract(self.outputs[0])
        if status != 0:
            raise RuntimeError(f"ncnn's extract failed: {status}")

    def results(self):
        return {self.outputs[0]: np.array(self.fetched)[None]}
