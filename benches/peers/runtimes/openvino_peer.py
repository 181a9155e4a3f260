"""OpenVINO, CPU plugin: in float32, or as it comes (bfloat16 or float16 on CPUs that have it)."""

import openvino as ov


def load(model, threads, precision):
    config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    if precision == "f32":
        config["INFERENCE_PRECISION_HINT"] = "f32"
    return Model(ov.Core().compile_model(model, "CPU", config))


class Model:
    def __init__(self, compiled):
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.request = compiled.create_infer_request()
        self.inputs = [port.any_name for port in compiled.inputs]
        self.outputs = [port.any_name for port in compiled.outputs]

    def bind(self, tensors):
        self.shared = tensors  # OpenVINO reads them where they are, so they must stay.
        for name in self.inputs:
            self.request.set_tensor(name, ov.Tensor(tensors[name], shared_memory=True))

    def run(self):
        self.request.infer()

    def results(self):
        return {name: self.request.get_tensor(name).data for name in self.outputs}
