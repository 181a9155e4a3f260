//! A network that detects: one that was trained here, or one out of an ONNX file.

use frcnn_bundle::{Manifest, NetworkInput};
use tch::{Kind, Tensor};

use super::{Compiled, Op, RPN_DELTAS, RPN_LOGITS, Rois, Run, StageTensor, TorchNetwork};
use crate::rpn::RpnOutput;

/// Both read the device's blob `[1, 3, H, W]`: blue, green, red, 0..255, [`blob_means`](AnyNetwork::blob_means) subtracted.
#[derive(Debug)]
pub(crate) enum AnyNetwork {
    Trained(TorchNetwork),
    Compiled(Box<Compiled>),
}

impl AnyNetwork {
    /// Feature cells per network pixel.
    pub(crate) fn spatial_scale(&self) -> f32 {
        match self {
            AnyNetwork::Trained(network) => network.spatial_scale(),
            AnyNetwork::Compiled(network) => network.spatial_scale(),
        }
    }

    /// Whether RoIs are sampled between cells, and not rounded to them.
    pub(crate) fn aligns(&self) -> bool {
        match self {
            AnyNetwork::Trained(network) => network.aligns(),
            AnyNetwork::Compiled(network) => network.aligns(),
        }
    }

    /// What is subtracted from blue, green and red.
    pub(crate) fn blob_means(&self, manifest: &Manifest) -> [f32; 3] {
        match self {
            AnyNetwork::Trained(_) => manifest.blob_means(),
            AnyNetwork::Compiled(network) => network.contents().blob_means,
        }
    }

    /// `data` as the ONNX file's network reads it.
    pub(crate) fn data(&self, manifest: &Manifest, blob: &Tensor) -> Tensor {
        let NetworkInput { channels, scale, shift } = NetworkInput::new(manifest, self.blob_means(manifest));
        let order = Tensor::from_slice(&channels.map(|c| c as i64));
        let column = |values: [f64; 3]| Tensor::from_slice(&values).view([3, 1, 1]);
        let data = blob.to_kind(Kind::Double).index_select(1, &order) * column(scale) + column(shift);
        data.to_kind(Kind::Float)
    }

    /// Whether the trunk can run a blob of this size; the error says why not.
    pub(crate) fn check(&self, blob: &Tensor) -> Result<(), String> {
        match self {
            AnyNetwork::Trained(_) => Ok(()),
            AnyNetwork::Compiled(network) => network.check(blob),
        }
    }

    /// `exact` as in [`Run`].
    pub(crate) fn feature_map(&self, blob: &Tensor, exact: bool) -> Tensor {
        match self {
            AnyNetwork::Trained(network) => {
                let map = network.feature_map();
                network.run(Run { exact, dropout: None }, blob, &[], &[map]).remove(map).unwrap_or_default()
            }
            AnyNetwork::Compiled(network) => network.feature_map(blob),
        }
    }

    /// What the region proposal network says of the anchors of a feature map; it must have one.
    pub(crate) fn anchors(&self, map: &Tensor, exact: bool) -> RpnOutput {
        let [logits, deltas] = match self {
            AnyNetwork::Trained(network) => {
                let names = [RPN_LOGITS, RPN_DELTAS];
                let mut blobs = network.head(Run { exact, dropout: None }, map, &[], &names);
                names.map(|name| blobs.remove(name).unwrap_or_default())
            }
            AnyNetwork::Compiled(network) => network.anchors(map),
        };
        RpnOutput::new(&logits, &deltas)
    }

    /// `cls_prob` and `bbox_pred` of RoIs in a feature map.
    pub(crate) fn predict(&self, map: &Tensor, rois: &Rois) -> [Tensor; 2] {
        match self {
            AnyNetwork::Trained(network) => {
                let names = ["cls_prob", "bbox_pred"];
                let mut blobs = network.head(Run::default(), map, rois, &names);
                names.map(|name| blobs.remove(name).unwrap_or_default())
            }
            AnyNetwork::Compiled(network) => network.predict(map, rois),
        }
    }

    /// Every stage of a blob and RoIs that others can be held against.
    pub(crate) fn stages(&self, blob: &Tensor, rois: &Rois) -> Vec<StageTensor> {
        match self {
            AnyNetwork::Trained(network) => trained(network, blob, rois),
            AnyNetwork::Compiled(network) => network.stages(blob, rois),
        }
    }
}

fn trained(network: &TorchNetwork, blob: &Tensor, rois: &Rois) -> Vec<StageTensor> {
    let after_relu = |name: &str| {
        let relu = network.layers.iter().find(|l| l.op == Op::Relu && l.inputs == [name]);
        relu.map_or(name.to_string(), |relu| relu.name.clone())
    };
    let pool5 = network.layers.iter().find(|l| matches!(l.op, Op::RoiPool { .. } | Op::RoiAlign { .. }));
    let pooling = if network.aligns() { "roi_align" } else { "pool5" };
    let cls_prob = network.layers.iter().find(|l| l.name == "cls_prob");
    let wanted = [
        ("conv", network.feature_map().to_string()),
        (pooling, pool5.map(|layer| layer.name.clone()).unwrap_or_default()),
        ("fc6", after_relu("fc6")),
        ("fc7", after_relu("fc7")),
        ("cls_score", cls_prob.and_then(|layer| layer.inputs.first().cloned()).unwrap_or_default()),
        ("cls_prob", "cls_prob".to_string()),
        ("bbox_pred", "bbox_pred".to_string()),
    ];
    let names: Vec<&str> = wanted.iter().map(|(_, name)| name.as_str()).collect();
    let blobs = network.run(Run { exact: true, dropout: None }, blob, rois, &names);
    wanted
        .iter()
        .filter_map(|(stage, name)| Some((stage.to_string(), blobs.get(name)?.shallow_clone())))
        .collect()
}
