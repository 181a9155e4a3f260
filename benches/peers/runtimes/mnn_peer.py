"""MNN, CPU backend, in float32 or in half precision. Reads the .mnn file beside the ONNX file (arm/mnn_export.py)."""

from pathlib import Path

import MNN
import numpy as np

PRECISION = {"f32": "high", "f16": "low"}


def load(model, threads, precision):
    config = {"backend": "CPU", "numThread": threads, "precision": PRECISION[precision]}
    runtime = MNN.nn.create_runtime_manager((config,))
    net = MNN.nn.load_module_from_file(str(Path(model).with_suffix(".mnn")), [], [], runtime_manager=runtime)
    return Model(net, runtime, precision)


class Model:
    def __init__(self, net, runtime, precision):
        self.net, self.runtime, self.precision = net, runtime, precision
        info = net.get_info()
        self.inputs, self.outputs = info["inputNames"], info["outputNames"]

    def bind(self, tensors):
        self.feeds = [
            MNN.expr.const(tensors[name], list(tensors[name].shape), MNN.expr.NCHW) for name in self.inputs
        ]

    def run(self):
        # Results are computed when they are read, if not before; what is read lives as long as its variable.
        self.variables = self.net.forward(self.feeds)
        self.fetched = [variable.read() for variable in self.variables]

    def results(self):
        return dict(zip(self.outputs, map(np.array, self.fetched)))
