"""OpenCV's dnn module."""

import cv2


def load(model, threads, precision):
    assert precision == "f32"
    cv2.setNumThreads(threads)
    return Model(cv2.dnn.readNetFromONNX(model), model)


class Model:
    precision = "f32"

    def __init__(self, net, model):
        import onnx  # OpenCV does not tell the names of a network's inputs and outputs.

        graph = onnx.load(model).graph
        self.net = net
        self.inputs = [tensor.name for tensor in graph.input]
        self.outputs = [tensor.name for tensor in graph.output]

    def bind(self, tensors):
        for name in self.inputs:
            self.net.setInput(tensors[name], name)

    def run(self):
        self.fetched = self.net.forward(self.outputs)

    def results(self):
        return dict(zip(self.outputs, self.fetched))
