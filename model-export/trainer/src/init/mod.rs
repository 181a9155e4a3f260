//! Weights that somebody else trained: ImageNet classifiers, and published Fast R-CNN snapshots.
//!
//! | file | names | what is done to them |
//! |---|---|---|
//! | `.caffemodel` | `conv1_1`, `fc6`, `fire2/squeeze1x1` | nothing: the paper's networks began as these |
//! | `.safetensors` with our layer names | `conv1.weight`, `fire2.squeeze1x1.weight` | nothing: blue, green, red, 0..255 |
//! | `.safetensors` with torchvision's | `features.0.weight`, `classifier.1.weight` | the first convolution learns to read blue, green, red, 0..255 |
//!
//! A layer is filled wholly or not at all. A shape that does not fit is an error: it means another network.

mod caffe;
mod torchvision;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tch::{Kind, Tensor};

use crate::arch::Arch;
use crate::error::Error;
use crate::network::TorchNetwork;
use crate::tensors::TensorFile;

/// What became of a file's weights.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct InitReport {
    /// Layers with weights from the file.
    pub(crate) filled: Vec<String>,
    /// Layers that keep their random weights.
    pub(crate) random: BTreeSet<String>,
    /// Names in the file that no layer took.
    pub(crate) unused: Vec<String>,
}

impl InitReport {
    /// One line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let list = |names: Vec<&str>| if names.is_empty() { "none".to_string() } else { names.join(" ") };
        vec![
            format!("filled: {}", list(self.filled.iter().map(String::as_str).collect())),
            format!("random: {}", list(self.random.iter().map(String::as_str).collect())),
            format!("unused in the file: {}", list(self.unused.iter().map(String::as_str).collect())),
        ]
    }
}

/// The weights of a file under our names, `LAYER.weight` and `LAYER.bias`.
///
/// `pixel_means` are what will be subtracted from blue, green and red.
pub(crate) fn read_weights(
    path: &Path,
    arch: Arch,
    pixel_means: &[f32],
) -> Result<BTreeMap<String, Tensor>, Error> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("caffemodel")) {
        return caffe::read(path);
    }
    let tensors = TensorFile::read(path)?.tensors;
    if tensors.keys().any(|name| name.starts_with("features.")) {
        return Ok(torchvision::rename(tensors, arch, pixel_means));
    }
    Ok(tensors.into_iter().map(|(name, tensor)| (our_name(&name), tensor)).collect())
}

/// Puts weights into the layers of their names.
pub(crate) fn fill(
    network: &mut TorchNetwork,
    mut weights: BTreeMap<String, Tensor>,
) -> Result<InitReport, String> {
    let mut report = InitReport::default();
    let layers: Vec<String> = network.learned().map(str::to_string).collect();
    for layer in layers {
        let names = [format!("{layer}.weight"), format!("{layer}.bias")];
        if names.iter().any(|name| !weights.contains_key(name)) {
            report.random.insert(layer);
            continue;
        }
        for name in names {
            let (Some(found), Some(wanted)) = (weights.remove(&name), network.weights.get_mut(&name)) else {
                continue;
            };
            let (from, to) = (found.size(), wanted.size());
            if without_leading_ones(&from) != without_leading_ones(&to) {
                return Err(format!(
                    "layer `{layer}`: `{name}` has shape {from:?}, the network needs {to:?}"
                ));
            }
            let not_finite = found.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
            if not_finite > 0 {
                let all = found.numel();
                return Err(format!(
                    "layer `{layer}`: {not_finite} of {all} values of `{name}` are not finite (did the training diverge?)"
                ));
            }
            *wanted = found.reshape(&to[..]);
        }
        report.filled.push(layer);
    }
    report.unused = weights.into_keys().collect();
    if report.filled.is_empty() {
        return Err("has no layer of this network".to_string());
    }
    Ok(report)
}

/// Caffe's older files give every blob four dimensions.
fn without_leading_ones(shape: &[i64]) -> &[i64] {
    let ones = shape.iter().take_while(|&&side| side == 1).count();
    shape.get(ones..).unwrap_or_default()
}

/// `fire2/squeeze1x1.weight` and `fire2.squeeze1x1.weight` as `fire2_squeeze1x1.weight`.
fn our_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((layer, part)) => format!("{}.{part}", layer.replace(['.', '/'], "_")),
        None => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Regions;
    use tch::Device;

    fn zeros(shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn layers_are_filled_or_reported() {
        let mut network = Arch::Tiny.network(2, Regions::default());
        let weights = BTreeMap::from([
            ("conv1.weight".to_string(), zeros(&[16, 3, 5, 5])),
            ("conv1.bias".to_string(), zeros(&[1, 1, 1, 16])),
            ("conv2.weight".to_string(), zeros(&[32, 16, 3, 3])),
            ("fc8.weight".to_string(), zeros(&[1])),
        ]);
        let report = fill(&mut network, weights).unwrap();
        assert_eq!(report.filled, ["conv1"]);
        // A weight without its bias fills nothing.
        assert!(report.random.contains("conv2") && report.random.contains("fc6"));
        assert_eq!(report.unused, ["conv2.weight", "fc8.weight"]);
        assert_eq!(network.weights["conv1.bias"].size(), [16]);
        assert_eq!(network.weights["conv1.weight"].abs().sum(Kind::Float).double_value(&[]), 0.0);
    }

    #[test]
    fn a_wrong_shape_names_the_layer() {
        let weights = BTreeMap::from([
            ("conv1.weight".to_string(), zeros(&[16, 3, 3, 3])),
            ("conv1.bias".to_string(), zeros(&[16])),
        ]);
        let error = fill(&mut Arch::Tiny.network(2, Regions::default()), weights).unwrap_err();
        assert!(error.contains("layer `conv1`") && error.contains("[16, 3, 3, 3]"), "{error}");
        assert!(fill(&mut Arch::Tiny.network(2, Regions::default()), BTreeMap::new()).is_err());
    }

    #[test]
    fn weights_that_are_not_finite_name_the_layer() {
        let mut bias = [0.5f32; 16];
        (bias[3], bias[9]) = (f32::NAN, f32::NEG_INFINITY);
        let weights = BTreeMap::from([
            ("conv1.weight".to_string(), zeros(&[16, 3, 5, 5])),
            ("conv1.bias".to_string(), Tensor::from_slice(&bias)),
        ]);
        let error = fill(&mut Arch::Tiny.network(2, Regions::default()), weights).unwrap_err();
        assert!(error.contains("layer `conv1`: 2 of 16 values of `conv1.bias` are not finite"), "{error}");
    }

    #[test]
    fn separators_do_not_matter() {
        assert_eq!(our_name("fire2.squeeze1x1.weight"), "fire2_squeeze1x1.weight");
        assert_eq!(our_name("fire2/squeeze1x1.bias"), "fire2_squeeze1x1.bias");
        assert_eq!(our_name("conv1_1.weight"), "conv1_1.weight");
    }
}
