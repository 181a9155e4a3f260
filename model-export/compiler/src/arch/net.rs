//! The layers that the published networks are made of, each written under its published name.

use frcnn_networks::{
    Conv, Head, LRN_BETA, LRN_SIZE, Lrn, MaxPool, PublishedNetwork, SquareWindow, TrunkLayer,
};
use frcnn_onnx::pb::ModelProto;
use frcnn_onnx::writer::{Dim, OnnxWriter, attr, tensor};

use safetensors::tensor::{Dtype, TensorView};

use super::weights::RandomWeights;

/// Root mean square of mean-subtracted pixels (about +-128), roughly. The first convolution divides by it, so that
/// activations are of order 1 from there on and He's rule keeps them so.
const PIXEL_RMS: f32 = 60.0;

const DATA: &str = "data";
const BIAS_STD: f32 = 0.01;
/// Of hidden features, of which there are hundreds or thousands, and of pooled ones, of which there are ten times more.
const SVM_STD: f32 = 0.01;
const REGRESSOR_STD: f32 = 0.0001;

/// A tensor of the graph: the output of the layer of that name.
#[derive(Debug)]
pub(super) struct Blob {
    name: String,
    channels: usize,
}

/// Pooled features, as a row.
struct PooledFeatures<'a> {
    name: &'a str,
    features: usize,
}

/// A network under construction.
#[derive(Debug)]
pub(super) struct Net {
    onnx: OnnxWriter,
    weights: RandomWeights,
}

impl Net {
    /// A graph with its two inputs, and the image blob to start the trunk from.
    pub(super) fn new(name: &str, seed: u64) -> (Self, Blob) {
        let mut onnx = OnnxWriter::new(&format!("fast_rcnn_{name}"));
        onnx.input(DATA, &[Dim::Size(1), Dim::Size(3), Dim::Symbol("H"), Dim::Symbol("W")]);
        onnx.input("rois", &[Dim::Symbol("R"), Dim::Size(5)]);
        (Self { onnx, weights: RandomWeights::new(seed) }, Blob { name: DATA.to_owned(), channels: 3 })
    }

    /// A graph that reads images of one size.
    pub(super) fn classifier(network: &PublishedNetwork, seed: u64) -> (Self, Blob) {
        let mut onnx = OnnxWriter::new(&format!("classifier_{}", network.name));
        let side = Dim::Size(network.crop_side as i64);
        onnx.input(DATA, &[Dim::Symbol("N"), Dim::Size(3), side, side]);
        (Self { onnx, weights: RandomWeights::new(seed) }, Blob { name: DATA.to_owned(), channels: 3 })
    }

    /// From the image to the feature map.
    pub(super) fn trunk(&mut self, data: Blob, layers: &[TrunkLayer]) -> Blob {
        let mut top = data;
        for layer in layers {
            top = match *layer {
                TrunkLayer::Conv(name, conv) => self.conv(&top, name, conv),
                TrunkLayer::MaxPool(name, pool) => self.max_pool(&top, name, pool),
                TrunkLayer::Lrn(name, lrn) => self.lrn(&top, name, lrn),
                TrunkLayer::Fire(name, fire) => {
                    let [squeeze, small, large] =
                        fire.convolutions().map(|(part, conv)| (format!("{name}_{part}"), conv));
                    let squeezed = self.conv(&top, &squeeze.0, squeeze.1);
                    let small = self.conv(&squeezed, &small.0, small.1);
                    let large = self.conv(&squeezed, &large.0, large.1);
                    self.concat(&small, &large, &format!("{name}_concat"))
                }
            };
        }
        top
    }

    /// Convolution and ReLU.
    fn conv(&mut self, bottom: &Blob, name: &str, conv: Conv) -> Blob {
        let Conv { out, kernel, stride, pad, groups } = conv;
        let inputs = bottom.channels / groups;
        let input_rms = if bottom.name == DATA { PIXEL_RMS } else { 1.0 };
        let std = he(inputs * kernel * kernel) / input_rms;
        let [weight, bias] = self.weights_and_bias(name, &[out, inputs, kernel, kernel], std);
        self.onnx.node(
            "Conv",
            name,
            &[&bottom.name, &weight, &bias],
            [
                attr::int("group", groups as i64),
                attr::ints("kernel_shape", &[kernel as i64; 2]),
                attr::ints("pads", &[pad as i64; 4]),
                attr::ints("strides", &[stride as i64; 2]),
            ],
        );
        Blob { name: self.relu(name), channels: out }
    }

    fn max_pool(&mut self, bottom: &Blob, name: &str, pool: MaxPool) -> Blob {
        let SquareWindow { kernel, stride } = pool.window;
        self.onnx.node(
            "MaxPool",
            name,
            &[&bottom.name],
            [
                attr::int("ceil_mode", pool.ceil.into()),
                attr::ints("kernel_shape", &[kernel as i64; 2]),
                attr::ints("pads", &[pool.pad as i64; 4]),
                attr::ints("strides", &[stride as i64; 2]),
            ],
        );
        Blob { name: name.to_owned(), channels: bottom.channels }
    }

    fn lrn(&mut self, bottom: &Blob, name: &str, lrn: Lrn) -> Blob {
        self.onnx.node(
            "LRN",
            name,
            &[&bottom.name],
            [
                attr::int("size", LRN_SIZE as i64),
                attr::float("alpha", lrn.alpha),
                attr::float("beta", LRN_BETA),
                attr::float("bias", lrn.k),
            ],
        );
        Blob { name: name.to_owned(), channels: bottom.channels }
    }

    /// Stacks the channels of two blobs.
    fn concat(&mut self, a: &Blob, b: &Blob, name: &str) -> Blob {
        self.onnx.node("Concat", name, &[&a.name, &b.name], [attr::int("axis", 1)]);
        Blob { name: name.to_owned(), channels: a.channels + b.channels }
    }

    /// RoI pooling, the hidden layers and the two outputs: the rest of every Fast R-CNN.
    pub(super) fn head(mut self, conv: &Blob, head: &Head, classes: usize) -> ModelProto {
        let features = self.roi_pool("pool5", conv, head, head.pooled);
        let hidden = self.hidden_layers(&PooledFeatures { name: "pool5_flat", features }, head);

        let scores = classes + 1;
        self.fc(&hidden, "cls_score", [scores, head.fc7], 0.01);
        self.onnx.node("Softmax", "cls_prob", &["cls_score"], [attr::int("axis", 1)]);
        self.fc(&hidden, "bbox_pred", [4 * scores, head.fc7], 0.001);
        self.outputs("cls_prob", scores)
    }

    /// The rest of an SPPnet: RoI pooling at several levels, the hidden layers, linear SVMs on them, and box regressors on
    /// the pooled features.
    pub(super) fn pyramid_head(
        mut self,
        conv: &Blob,
        head: &Head,
        levels: &[usize],
        classes: usize,
    ) -> ModelProto {
        let (mut features, mut rows) = (0, Vec::new());
        for &pooled in levels {
            let name = format!("pool5_{pooled}x{pooled}");
            features += self.roi_pool(&name, conv, head, pooled);
            rows.push(name + "_flat");
        }
        let names: Vec<&str> = rows.iter().map(String::as_str).collect();
        self.onnx.node("Concat", "pool5", &names, [attr::int("axis", 1)]);
        let pooled = PooledFeatures { name: "pool5", features };
        let hidden = self.hidden_layers(&pooled, head);

        let scores = classes + 1;
        self.fc_of_objects(&hidden, "cls_score", [scores, head.fc7], 1, SVM_STD);
        self.fc_of_objects(pooled.name, "bbox_pred", [4 * scores, features], 4, REGRESSOR_STD);
        self.outputs("cls_score", scores)
    }

    /// The rest of R-CNN's classifier, and what is trained on its features: the model, and SVMs and regressors as a
    /// safetensors file.
    pub(super) fn classifier_head(
        mut self,
        conv: &Blob,
        head: &Head,
        last_pool: SquareWindow,
        classes: usize,
    ) -> (ModelProto, Vec<u8>) {
        let pool5 = self.max_pool(conv, "pool5", MaxPool { window: last_pool, pad: 0, ceil: true });
        self.onnx.node("Flatten", "pool5_flat", &[&pool5.name], [attr::int("axis", 1)]);
        let features = pool5.channels * head.pooled * head.pooled;
        let hidden = self.hidden_layers(&PooledFeatures { name: "pool5_flat", features }, head);
        let scores = classes + 1;
        self.fc(&hidden, "fc8", [scores, head.fc7], 0.01);
        self.onnx.node("Softmax", "prob", &["fc8"], [attr::int("axis", 1)]);
        self.onnx.output("prob", &[Dim::Symbol("N"), Dim::Size(scores as i64)]);

        let mut tensors = Vec::new();
        for (name, [rows, columns], std) in
            [("svm", [classes, head.fc7], SVM_STD), ("bbox", [4 * classes, features], REGRESSOR_STD)]
        {
            tensors.push((
                format!("{name}.weight"),
                vec![rows, columns],
                self.weights.normal(std, rows * columns),
            ));
            tensors.push((format!("{name}.bias"), vec![rows], self.weights.normal(BIAS_STD, rows)));
        }
        (self.onnx.finish(), safetensors_of(&tensors))
    }

    /// Pools RoIs to `pooled` x `pooled` and flattens them to the blob `NAME_flat`; gives its features.
    fn roi_pool(&mut self, name: &str, conv: &Blob, head: &Head, pooled: usize) -> usize {
        let spatial_scale = 1.0 / head.stride as f32;
        self.onnx.node(
            "MaxRoiPool",
            name,
            &[&conv.name, "rois"],
            [attr::ints("pooled_shape", &[pooled as i64; 2]), attr::float("spatial_scale", spatial_scale)],
        );
        self.onnx.node("Flatten", &format!("{name}_flat"), &[name], [attr::int("axis", 1)]);
        conv.channels * pooled * pooled
    }

    /// fc6 and fc7; gives the blob behind them.
    fn hidden_layers(&mut self, pooled: &PooledFeatures, head: &Head) -> String {
        self.fc(pooled.name, "fc6", [head.fc6, pooled.features], he(pooled.features));
        let hidden = self.relu("fc6");
        self.fc(&hidden, "fc7", [head.fc7, head.fc6], he(head.fc6));
        self.relu("fc7")
    }

    fn outputs(mut self, scores_name: &str, scores: usize) -> ModelProto {
        self.onnx.output(scores_name, &[Dim::Symbol("R"), Dim::Size(scores as i64)]);
        self.onnx.output("bbox_pred", &[Dim::Symbol("R"), Dim::Size(4 * scores as i64)]);
        self.onnx.finish()
    }

    /// A layer whose first `background` outputs are zero: linear SVMs have none for the background.
    fn fc_of_objects(&mut self, bottom: &str, name: &str, dims: [usize; 2], background: usize, std: f32) {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        for (name, dims, std) in [(&names[0], &dims[..], std), (&names[1], &dims[..1], BIAS_STD)] {
            let mut bytes = self.weights.normal(std, dims.iter().product());
            let row = bytes.len() / dims[0];
            bytes[..background * row].fill(0);
            let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
            self.onnx.initializer(tensor::f32_bytes(name, &dims, bytes));
        }
        self.onnx.node("Gemm", name, &[bottom, &names[0], &names[1]], [attr::int("transB", 1)]);
    }

    fn fc(&mut self, bottom: &str, name: &str, dims: [usize; 2], std: f32) {
        let [weight, bias] = self.weights_and_bias(name, &dims, std);
        self.onnx.node("Gemm", name, &[bottom, &weight, &bias], [attr::int("transB", 1)]);
    }

    fn relu(&mut self, bottom: &str) -> String {
        let name = format!("{bottom}_relu");
        self.onnx.node("Relu", &name, &[bottom], []);
        name
    }

    /// Adds the two initializers of a layer; the first of `dims` is its number of outputs.
    fn weights_and_bias(&mut self, layer: &str, dims: &[usize], std: f32) -> [String; 2] {
        let names = [format!("{layer}.weight"), format!("{layer}.bias")];
        for (name, dims, std) in [(&names[0], dims, std), (&names[1], &dims[..1], BIAS_STD)] {
            let bytes = self.weights.normal(std, dims.iter().product());
            let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
            self.onnx.initializer(tensor::f32_bytes(name, &dims, bytes));
        }
        names
    }
}

/// He's standard deviation: a layer followed by a ReLU keeps the mean square of what it reads.
fn he(fan_in: usize) -> f32 {
    (2.0 / fan_in as f32).sqrt()
}

/// F32 tensors by name, as a safetensors file.
fn safetensors_of(tensors: &[(String, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().filter_map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?;
        Some((name.as_str(), view))
    });
    // Four names, all different, of tensors whose lengths are right.
    safetensors::serialize(views, None).unwrap_or_default()
}
