//! torchvision's classifiers: their names, and how they read pixels.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::arch::Arch;

/// torchvision reads red, green, blue as `(p / 255 - MEAN) / STD`.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Our layers with torchvision's names.
fn layers(arch: Arch) -> &'static [(&'static str, &'static str)] {
    match arch {
        Arch::Vgg16 => &[
            ("features.0", "conv1_1"),
            ("features.2", "conv1_2"),
            ("features.5", "conv2_1"),
            ("features.7", "conv2_2"),
            ("features.10", "conv3_1"),
            ("features.12", "conv3_2"),
            ("features.14", "conv3_3"),
            ("features.17", "conv4_1"),
            ("features.19", "conv4_2"),
            ("features.21", "conv4_3"),
            ("features.24", "conv5_1"),
            ("features.26", "conv5_2"),
            ("features.28", "conv5_3"),
            ("classifier.0", "fc6"),
            ("classifier.3", "fc7"),
        ],
        Arch::AlexNet => &[
            ("features.0", "conv1"),
            ("features.3", "conv2"),
            ("features.6", "conv3"),
            ("features.8", "conv4"),
            ("features.10", "conv5"),
            ("classifier.1", "fc6"),
            ("classifier.4", "fc7"),
        ],
        Arch::SqueezeNet => &[
            ("features.0", "conv1"),
            ("features.3", "fire2"),
            ("features.4", "fire3"),
            ("features.5", "fire4"),
            ("features.7", "fire5"),
            ("features.8", "fire6"),
            ("features.9", "fire7"),
            ("features.10", "fire8"),
        ],
        Arch::VggCnnM1024 | Arch::CaffeNet | Arch::Tiny => &[],
    }
}

/// The weights under our names; those that have none keep torchvision's.
pub(super) fn rename(
    tensors: BTreeMap<String, Tensor>,
    arch: Arch,
    pixel_means: &[f32],
) -> BTreeMap<String, Tensor> {
    let mut renamed: BTreeMap<String, Tensor> = tensors
        .into_iter()
        .map(|(name, tensor)| (our_name(&name, layers(arch)).unwrap_or(name), tensor))
        .collect();
    let first = layers(arch).first().map_or("", |(_, ours)| ours);
    let names = [format!("{first}.weight"), format!("{first}.bias")];
    if let [Some(weight), Some(bias)] = names.each_ref().map(|name| renamed.remove(name)) {
        let read = read_bgr(&weight, &bias, pixel_means);
        renamed.extend(names.into_iter().zip(read));
    }
    renamed
}

/// `features.3.squeeze.weight` is SqueezeNet's `fire2_squeeze1x1.weight`.
fn our_name(name: &str, layers: &[(&str, &str)]) -> Option<String> {
    let (theirs, ours) = layers
        .iter()
        .find(|(theirs, _)| name.strip_prefix(theirs).is_some_and(|rest| rest.starts_with('.')))?;
    let rest = name.strip_prefix(theirs)?;
    Some(match rest.strip_prefix('.')?.split_once('.') {
        Some(("squeeze", part)) => format!("{ours}_squeeze1x1.{part}"),
        Some((expand, part)) => format!("{ours}_{expand}.{part}"),
        None => format!("{ours}{rest}"),
    })
}

/// A first convolution that gives the same of blue, green, red, 0..255 less `pixel_means`.
///
/// With `p = x + mean`: `w * (p / 255 - MEAN) / STD = (w / (255 STD)) * x + (w / (255 STD)) * (mean - 255 MEAN)`. The
/// second part goes into the bias, which is exact but at the border, where padding is 0 in either convention.
fn read_bgr(weight: &Tensor, bias: &Tensor, pixel_means: &[f32]) -> [Tensor; 2] {
    let scale: Vec<f32> = STD.iter().rev().map(|std| 1.0 / (255.0 * std)).collect();
    let shift: Vec<f32> =
        MEAN.iter().rev().zip(pixel_means).map(|(mean, ours)| ours - 255.0 * mean).collect();
    let per_channel = |values: &[f32]| Tensor::from_slice(values).view([1, 3, 1, 1]);
    let weight = weight.flip([1]) * per_channel(&scale);
    let bias =
        bias + (&weight * per_channel(&shift)).sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
    [weight, bias]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn names() {
        let squeezenet = layers(Arch::SqueezeNet);
        for (theirs, ours) in [
            ("features.3.squeeze.weight", Some("fire2_squeeze1x1.weight")),
            ("features.10.expand3x3.bias", Some("fire8_expand3x3.bias")),
            ("features.0.weight", Some("conv1.weight")),
            ("features.12.squeeze.weight", None),
            ("classifier.1.weight", None),
        ] {
            assert_eq!(our_name(theirs, squeezenet).as_deref(), ours, "{theirs}");
        }
        assert_eq!(our_name("features.28.bias", layers(Arch::Vgg16)).as_deref(), Some("conv5_3.bias"));
        assert_eq!(our_name("features.2.bias", layers(Arch::Vgg16)).as_deref(), Some("conv1_2.bias"));
    }

    #[test]
    fn the_first_convolution_gives_the_same_of_our_pixels() {
        let float = (Kind::Float, Device::Cpu);
        let (weight, bias) = (Tensor::randn([4, 3, 3, 3], float), Tensor::randn([4], float));
        let rgb = Tensor::rand([1, 3, 8, 8], float) * 255.0;
        let per_channel = |values: &[f32]| Tensor::from_slice(values).view([1, 3, 1, 1]);
        let theirs = ((&rgb / 255.0 - per_channel(&MEAN)) / per_channel(&STD)).conv2d(
            &weight,
            Some(&bias),
            [1, 1],
            [0, 0],
            [1, 1],
            1,
        );
        let means = [102.9801, 115.9465, 122.7717];
        let [weight, bias] = read_bgr(&weight, &bias, &means);
        let blob = rgb.flip([1]) - per_channel(&means);
        let ours = blob.conv2d(&weight, Some(&bias), [1, 1], [0, 0], [1, 1], 1);
        // Sums of 27 products of about 2, in another order.
        assert!((theirs - ours).abs().max().double_value(&[]) < 1e-4);
    }
}
