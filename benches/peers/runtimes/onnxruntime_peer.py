"""ONNX Runtime, CPU execution provider: in float32, or int8 where the model file says so."""

import onnxruntime as ort


def load(model, threads, precision):
    assert precision in ("f32", "int8")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return Model(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]), precision)


class Model:
    def __init__(self, session, precision):
        self.session, self.precision = session, precision
        self.inputs = [tensor.name for tensor in session.get_inputs()]
        self.outputs = [tensor.name for tensor in session.get_outputs()]

    def bind(self, tensors):
        self.binding = self.session.io_binding()
        self.shared = {name: ort.OrtValue.ortvalue_from_numpy(tensors[name]) for name in self.inputs}
        for name, value in self.shared.items():
            self.binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            self.binding.bind_output(name)

    def run(self):
        # Bound, because session.run would also copy each output into a fresh numpy array, and run_with_ort_values costs
        # 0.6 million instructions of its own.
        self.session.run_with_iobinding(self.binding)

    def results(self):
        return {name: value.numpy() for name, value in zip(self.outputs, self.binding.get_outputs())}
