"""ONNX Runtime, CPU execution provider."""

import onnxruntime as ort


def load(model, threads, precision):
    assert precision == "f32"
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return Model(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))


class Model:
    precision = "f32"

    def __init__(self, session):
        self.session = session
        self.inputs = [tensor.name for tensor in session.get_inputs()]
        self.outputs = [tensor.name for tensor in session.get_outputs()]

    def bind(self, tensors):
        self.feeds = {name: ort.OrtValue.ortvalue_from_numpy(tensors[name]) for name in self.inputs}

    def run(self):
        # OrtValues, because session.run would also copy each output into a fresh numpy array.
        self.fetched = self.session.run_with_ort_values(self.outputs, self.feeds)

    def results(self):
        return {name: value.numpy() for name, value in zip(self.outputs, self.fetched)}
