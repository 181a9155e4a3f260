//! Layers for the test models: a thin coat over [`OnnxWriter`] that draws weights and keeps count of channels.

use frcnn_compiler::onnx_writer::{Dim, OnnxWriter, attr, tensor};
use frcnn_onnx::pb::{AttributeProto, ModelProto, TensorProto};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Object classes K of every test model: 4 scores and 16 box deltas.
pub(crate) const CLASSES: i64 = 3;

/// Mean-subtracted pixels, the only values of three channels, are about this large; the first convolution divides by it.
const PIXEL_RMS: f32 = 60.0;

/// A named tensor of the graph and its number of channels (or columns).
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) channels: i64,
}

/// A convolution; `Default` is 1x1, stride 1, with a bias.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) out: i64,
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    /// Top, left, bottom, right.
    pub(crate) pads: [i64; 4],
    pub(crate) dilation: i64,
    pub(crate) groups: i64,
    pub(crate) bias: bool,
    /// ONNX's `auto_pad`, in place of `pads`.
    pub(crate) auto_pad: Option<&'static str>,
}

impl Default for Conv {
    fn default() -> Self {
        Self {
            out: 1,
            kernel: 1,
            stride: 1,
            pads: [0; 4],
            dilation: 1,
            groups: 1,
            bias: true,
            auto_pad: None,
        }
    }
}

impl Conv {
    /// An odd kernel at stride 1 that keeps the map's size.
    pub(crate) fn same(out: i64, kernel: i64) -> Self {
        Self { out, kernel, pads: [kernel / 2; 4], ..Self::default() }
    }
}

/// A model under construction.
pub(crate) struct Graph {
    pub(crate) onnx: OnnxWriter,
    rng: ChaCha8Rng,
    rois: Dim<'static>,
}

impl Graph {
    /// An empty graph: the caller declares the inputs.
    pub(crate) fn empty(name: &str) -> Self {
        Self { onnx: OnnxWriter::new(name), rng: ChaCha8Rng::seed_from_u64(0), rois: Dim::Symbol("R") }
    }

    /// A graph with the two inputs of a Fast R-CNN, and its image.
    pub(crate) fn new(name: &str) -> (Self, Blob) {
        let mut graph = Self::empty(name);
        let data = graph.data_input(3);
        graph.rois_input(Dim::Symbol("R"));
        (graph, data)
    }

    pub(crate) fn data_input(&mut self, channels: i64) -> Blob {
        self.onnx.input("data", &[Dim::Size(1), Dim::Size(channels), Dim::Symbol("H"), Dim::Symbol("W")]);
        Blob { name: "data".to_owned(), channels }
    }

    pub(crate) fn rois_input(&mut self, rois: Dim<'static>) {
        self.rois = rois;
        self.onnx.input("rois", &[rois, Dim::Size(5)]);
    }

    /// Declares an output with one row per RoI.
    pub(crate) fn output(&mut self, name: &str, columns: i64) {
        self.onnx.output(name, &[self.rois, Dim::Size(columns)]);
    }

    /// `len` values, uniform, with this mean and standard deviation.
    pub(crate) fn random(&mut self, mean: f32, std: f32, len: i64) -> Vec<f32> {
        let half_width = std * 3f32.sqrt();
        (0..len).map(|_| mean + half_width * self.rng.random_range(-1.0..1.0f32)).collect()
    }

    /// A random tensor that the caller places: as an initializer, or in a `Constant` node.
    pub(crate) fn random_tensor(&mut self, name: &str, dims: &[i64], mean: f32, std: f32) -> TensorProto {
        let values = self.random(mean, std, dims.iter().product());
        tensor::f32(name, dims, &values)
    }

    /// Adds a random initializer and gives its name back.
    pub(crate) fn weight(&mut self, name: &str, dims: &[i64], mean: f32, std: f32) -> String {
        let weight = self.random_tensor(name, dims, mean, std);
        self.onnx.initializer(weight);
        name.to_owned()
    }

    /// Adds an i64 initializer and gives its name back.
    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.onnx.initializer(tensor::i64(name, &[values.len() as i64], values));
        name.to_owned()
    }

    /// Adds a scalar initializer and gives its name back.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) -> String {
        self.onnx.initializer(tensor::f32(name, &[], &[value]));
        name.to_owned()
    }

    /// A node of one input that keeps the number of channels.
    pub(crate) fn unary(
        &mut self,
        op_type: &str,
        name: &str,
        x: &Blob,
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> Blob {
        self.onnx.node(op_type, name, &[&x.name], attributes);
        Blob { name: name.to_owned(), channels: x.channels }
    }

    /// A node that combines two tensors of as many channels.
    pub(crate) fn binary(&mut self, op_type: &str, name: &str, a: &Blob, b: &str) -> Blob {
        self.onnx.node(op_type, name, &[&a.name, b], []);
        Blob { name: name.to_owned(), channels: a.channels }
    }

    pub(crate) fn relu(&mut self, x: &Blob) -> Blob {
        self.unary("Relu", &format!("{}_relu", x.name), x, [])
    }

    pub(crate) fn concat(&mut self, name: &str, parts: &[&Blob]) -> Blob {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        self.onnx.node("Concat", name, &names, [attr::int("axis", 1)]);
        Blob { name: name.to_owned(), channels: parts.iter().map(|part| part.channels).sum() }
    }

    pub(crate) fn conv(&mut self, name: &str, x: &Blob, conv: Conv) -> Blob {
        let Conv { out, kernel, stride, pads, dilation, groups, bias, auto_pad } = conv;
        let inputs = x.channels / groups;
        let rms = if x.channels == 3 { PIXEL_RMS } else { 1.0 };
        let std = he(inputs * kernel * kernel) / rms;
        let mut sources = vec![x.name.clone()];
        sources.push(self.weight(&format!("{name}.weight"), &[out, inputs, kernel, kernel], 0.0, std));
        if bias {
            sources.push(self.weight(&format!("{name}.bias"), &[out], 0.0, 0.1));
        }
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let padding = match auto_pad {
            Some(rule) => attr::string("auto_pad", rule),
            None => attr::ints("pads", &pads),
        };
        self.onnx.node(
            "Conv",
            name,
            &sources,
            [
                attr::ints("dilations", &[dilation; 2]),
                attr::int("group", groups),
                attr::ints("kernel_shape", &[kernel; 2]),
                attr::ints("strides", &[stride; 2]),
                padding,
            ],
        );
        Blob { name: name.to_owned(), channels: out }
    }

    pub(crate) fn conv_relu(&mut self, name: &str, x: &Blob, conv: Conv) -> Blob {
        let conv = self.conv(name, x, conv);
        self.relu(&conv)
    }

    /// Batch normalisation with statistics far from the identity, so that folding it wrongly shows.
    pub(crate) fn batch_norm(&mut self, name: &str, x: &Blob, epsilon: f32) -> Blob {
        let mut sources = vec![x.name.clone()];
        for (part, mean, std) in
            [("weight", 1.0, 0.2), ("bias", 0.0, 0.3), ("running_mean", 0.0, 0.3), ("running_var", 1.0, 0.3)]
        {
            sources.push(self.weight(&format!("{name}.{part}"), &[x.channels], mean, std));
        }
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        self.onnx.node("BatchNormalization", name, &sources, [attr::float("epsilon", epsilon)]);
        Blob { name: name.to_owned(), channels: x.channels }
    }

    pub(crate) fn max_pool(
        &mut self,
        name: &str,
        x: &Blob,
        [kernel, stride, pad]: [i64; 3],
        ceil: bool,
    ) -> Blob {
        self.unary(
            "MaxPool",
            name,
            x,
            [
                attr::int("ceil_mode", ceil.into()),
                attr::ints("kernel_shape", &[kernel; 2]),
                attr::ints("pads", &[pad; 4]),
                attr::ints("strides", &[stride; 2]),
            ],
        )
    }

    /// RoI max pooling to `pooled` x `pooled` cells at `stride` network pixels per feature cell.
    pub(crate) fn roi_pool(&mut self, name: &str, x: &Blob, pooled: i64, stride: i64) -> Blob {
        self.onnx.node(
            "MaxRoiPool",
            name,
            &[&x.name, "rois"],
            [attr::ints("pooled_shape", &[pooled; 2]), attr::float("spatial_scale", 1.0 / stride as f32)],
        );
        Blob { name: name.to_owned(), channels: x.channels }
    }

    /// `Flatten` of a map of `cells` x `cells` per RoI.
    pub(crate) fn flatten(&mut self, name: &str, x: &Blob, cells: i64) -> Blob {
        let flat = self.unary("Flatten", name, x, [attr::int("axis", 1)]);
        Blob { channels: x.channels * cells * cells, ..flat }
    }

    /// A fully connected layer: `Gemm` with the weight stored as [out, in].
    pub(crate) fn fc(&mut self, name: &str, x: &Blob, out: i64) -> Blob {
        let std = fc_std(name, x.channels);
        let weight = self.weight(&format!("{name}.weight"), &[out, x.channels], 0.0, std);
        let bias = self.weight(&format!("{name}.bias"), &[out], 0.0, 0.1);
        self.onnx.node("Gemm", name, &[&x.name, &weight, &bias], [attr::int("transB", 1)]);
        Blob { name: name.to_owned(), channels: out }
    }

    /// `cls_score`, `cls_prob` and `bbox_pred`, not yet declared as outputs.
    pub(crate) fn predictors(&mut self, x: &Blob) {
        let score = self.fc("cls_score", x, CLASSES + 1);
        self.unary("Softmax", "cls_prob", &score, [attr::int("axis", 1)]);
        self.fc("bbox_pred", x, 4 * (CLASSES + 1));
    }

    /// The head of every trunk's model: RoI pooling, fc6 of 32, fc7 of 24, the outputs.
    pub(crate) fn plain_head(mut self, conv: &Blob, pooled: i64, stride: i64) -> ModelProto {
        let pool5 = self.roi_pool("pool5", conv, pooled, stride);
        let flat = self.flatten("pool5_flat", &pool5, pooled);
        self.hidden_and_outputs(&flat)
    }

    /// [`Self::plain_head`] from the flattened features on.
    pub(crate) fn hidden_and_outputs(mut self, flat: &Blob) -> ModelProto {
        let mut top = flat.clone();
        for (name, out) in [("fc6", 32), ("fc7", 24)] {
            let fc = self.fc(name, &top, out);
            top = self.relu(&fc);
        }
        self.predictors(&top);
        self.finish()
    }

    /// Declares both outputs in the usual order and ends the graph.
    pub(crate) fn finish(mut self) -> ModelProto {
        self.output("cls_prob", CLASSES + 1);
        self.output("bbox_pred", 4 * (CLASSES + 1));
        self.onnx.finish()
    }
}

/// He's standard deviation: a layer and its ReLU keep the mean square of what they read.
fn he(fan_in: i64) -> f32 {
    (2.0 / fan_in as f32).sqrt()
}

/// He's rule for hidden layers; a third of it for the outputs, so that the softmax does not saturate and hide errors.
pub(crate) fn fc_std(layer: &str, inputs: i64) -> f32 {
    if layer.starts_with("fc") { he(inputs) } else { he(inputs) / 3.0 }
}
