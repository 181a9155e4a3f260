//! Running a network with libtorch.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::{DATA, Op, TorchNetwork, roi_align, roi_pool};

/// RoIs of one batch in network pixels: index of the image in the batch, x1, y1, x2, y2.
pub(crate) type Rois = [[f32; 5]];

/// How a network is run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Run {
    /// The share that dropout layers zero; `None` outside training.
    pub(crate) dropout: Option<f64>,
    /// On CUDA: no TF32 and only deterministic algorithms, where speed would choose others.
    pub(crate) exact: bool,
}

impl TorchNetwork {
    /// The blobs `wanted`. What they do not need is not computed, and what is no longer needed is dropped.
    ///
    /// `data` is `[N, 3, H, W]`, blue, green, red, means subtracted.
    pub(crate) fn run(
        &self,
        how: Run,
        data: &Tensor,
        rois: &Rois,
        wanted: &[&str],
    ) -> HashMap<String, Tensor> {
        self.run_from(DATA, data, how, rois, wanted)
    }

    /// What follows the feature map, as [`TorchNetwork::run`] computes it.
    pub(crate) fn head(
        &self,
        how: Run,
        map: &Tensor,
        rois: &Rois,
        wanted: &[&str],
    ) -> HashMap<String, Tensor> {
        self.run_from(self.feature_map(), map, how, rois, wanted)
    }

    /// What follows the blob `start`, as [`TorchNetwork::run`] computes it.
    pub(crate) fn run_from(
        &self,
        start: &str,
        blob: &Tensor,
        how: Run,
        rois: &Rois,
        wanted: &[&str],
    ) -> HashMap<String, Tensor> {
        let mut uses: HashMap<&str, usize> = wanted.iter().map(|&name| (name, 1)).collect();
        let mut needed = Vec::new();
        for layer in self.layers.iter().rev() {
            if layer.name != start && uses.contains_key(layer.name.as_str()) {
                for input in &layer.inputs {
                    *uses.entry(input).or_default() += 1;
                }
                needed.push(layer);
            }
        }
        let mut blobs = HashMap::from([(start.to_string(), channels_last(blob))]);
        for layer in needed.into_iter().rev() {
            let inputs: Vec<Tensor> =
                layer.inputs.iter().filter_map(|name| blobs.get(name).map(Tensor::shallow_clone)).collect();
            for input in &layer.inputs {
                let left = uses.entry(input).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    blobs.remove(input);
                }
            }
            let output = self.layer(how, layer.op, &layer.name, &inputs, rois);
            blobs.insert(layer.name.clone(), output);
        }
        blobs.retain(|name, _| wanted.contains(&name.as_str()));
        blobs
    }

    fn layer(&self, how: Run, op: Op, name: &str, inputs: &[Tensor], rois: &Rois) -> Tensor {
        let input = || inputs.first().map(Tensor::shallow_clone).unwrap_or_default();
        let weight =
            self.weights.get(&format!("{name}.weight")).map(Tensor::shallow_clone).unwrap_or_default();
        let bias = self.weights.get(&format!("{name}.bias"));
        match op {
            Op::Conv { stride, pad, groups } if how.exact && data_is_on_cuda(inputs) => {
                let (benchmark, deterministic, tf32) = (false, true, false);
                let (pads, strides) = ([pad, pad], [stride, stride]);
                let map = input().cudnn_convolution(
                    &weight,
                    pads,
                    strides,
                    [1, 1],
                    groups,
                    benchmark,
                    deterministic,
                    tf32,
                );
                match bias {
                    Some(bias) => map + bias.view([1, -1, 1, 1]),
                    None => map,
                }
            }
            Op::Conv { stride, pad, groups } => {
                input().conv2d(&weight, bias, [stride, stride], [pad, pad], [1, 1], groups)
            }
            Op::Relu => input().relu(),
            Op::MaxPool { kernel, stride, pad, ceil } => {
                input().max_pool2d([kernel, kernel], [stride, stride], [pad, pad], [1, 1], ceil)
            }
            Op::Lrn { size, alpha, beta, k } => lrn(&input(), size, alpha, beta, k),
            Op::Concat => Tensor::cat(inputs, 1),
            Op::RoiPool { pooled, spatial_scale } => {
                roi_pool::roi_pool(&input(), rois, [pooled, pooled], spatial_scale)
            }
            Op::RoiAlign { pooled, spatial_scale, sampling_ratio } => {
                let align = roi_align::Align {
                    pooled: [pooled, pooled],
                    spatial_scale,
                    sampling_ratio,
                    half_pixel: false,
                };
                roi_align::roi_align(&input(), rois, &align)
            }
            Op::Flatten => input().flatten(1, -1),
            Op::Dropout => match how.dropout {
                Some(share) => input().dropout(share, true),
                None => input(),
            },
            Op::Linear => input().linear(&weight, bias),
            Op::Softmax => input().softmax(1, Kind::Float),
        }
    }
}

/// Maps so in memory, `[N, C, H, W]` in shape: what libtorch's convolutions and max pooling on a CPU are a quarter faster
/// with, and keep. cuDNN chooses for itself.
pub(super) fn channels_last(blob: &Tensor) -> Tensor {
    if blob.dim() == 4 && blob.device() == Device::Cpu {
        blob.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    } else {
        blob.shallow_clone()
    }
}

fn data_is_on_cuda(inputs: &[Tensor]) -> bool {
    inputs.first().is_some_and(|input| matches!(input.device(), Device::Cuda(_)))
}

pub(super) fn lrn(x: &Tensor, size: i64, alpha: f64, beta: f64, k: f64) -> Tensor {
    let channels = x.size().get(1).copied().unwrap_or(0);
    let before = (size - 1) / 2;
    let squares = x.square().constant_pad_nd([0, 0, 0, 0, before, size - 1 - before]);
    let sum = (1..size).fold(squares.narrow(1, 0, channels), |sum, i| sum + squares.narrow(1, i, channels));
    x / (sum * (alpha / size as f64) + k).pow_tensor_scalar(beta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lrn_by_hand() {
        // Channels 1, 2, 3 with a window of 3: sums of squares 5, 14, 13.
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0]).view([1, 3, 1, 1]);
        let y = Vec::<f32>::try_from(lrn(&x, 3, 0.3, 0.5, 1.0).flatten(0, -1)).unwrap();
        for (found, (x, sum)) in y.iter().zip([(1.0f32, 5.0f32), (2.0, 14.0), (3.0, 13.0)]) {
            assert!((found - x / (1.0 + 0.1 * sum).sqrt()).abs() < 1e-6);
        }
    }
}
