//! A network out of any ONNX file that `frcnn compile` takes, in the compiler's vocabulary, run with libtorch.
//!
//! Reading, and the meaning of every layer, are the compiler's: what it lowers can be run here by construction. The values are
//! libtorch's own, on a CPU or a GPU. Maps are channels first; rows have the bundle's order, channels last.

use std::path::Path;

use frcnn_bundle::{
    Bundle, Contents, Conv, Graph, Op, Pool, Regions, Resize, RoiAlign, RoiPooling, SectionId, Shape,
};
use frcnn_compiler::Description;
use tch::{Device, Kind, Tensor};

use super::run::{Rois, channels_last, lrn};
use super::{StageTensor, roi_align, roi_pool};
use crate::error::Error;

/// The network and its weights.
#[derive(Debug)]
pub(crate) struct Compiled {
    contents: Contents,
    pooling: Pooling,
    /// By section, as the bundle lays them out; convolutions' are permuted when they are run.
    weights: Vec<Tensor>,
    device: Device,
}

/// How RoIs of the one feature map are pooled.
#[derive(Debug)]
enum Pooling {
    Max(RoiPooling),
    Align(RoiAlign),
}

impl Compiled {
    /// Reads the file `onnx`, of which the rest is said beside it.
    pub(crate) fn read(
        onnx: &Path,
        description: impl Into<Description>,
        device: Device,
    ) -> Result<Compiled, Error> {
        let bundle = frcnn_compiler::lower_onnx(onnx, description)?;
        let contents = bundle.contents().clone();
        let manifest = &contents.manifest;
        if contents.trunk.outputs.len() > 1 {
            return Err(Error::file(
                onnx,
                "is a network with several feature maps, and only one can be run here",
            ));
        }
        if manifest.resize != Resize::Published || manifest.pad_multiple != 1 || manifest.nms_keeps_equal {
            return Err(Error::file(
                onnx,
                "detects by torchvision's rules, and only the published ones are known here",
            ));
        }
        let pooling = match contents.regions.clone() {
            Regions::RoiPooling(pooling) => Pooling::Max(pooling),
            Regions::RoiAlign(align) => Pooling::Align(align),
            _ => return Err(Error::file(onnx, "is no network that pools RoIs")),
        };
        let weights = (0..).zip(&contents.sections).map(|(id, _)| weight(&bundle, id).to_device(device));
        Ok(Compiled { weights: weights.collect(), contents, pooling, device })
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(crate) fn spatial_scale(&self) -> f32 {
        match &self.pooling {
            Pooling::Max(pooling) => pooling.spatial_scale,
            Pooling::Align(align) => align.spatial_scales.first().copied().unwrap_or(1.0),
        }
    }

    pub(crate) fn aligns(&self) -> bool {
        matches!(self.pooling, Pooling::Align(_))
    }

    /// The logits and deltas of a feature map's anchors.
    pub(crate) fn anchors(&self, map: &Tensor) -> [Tensor; 2] {
        let Some(rpn) = &self.contents.rpn else { return [Tensor::new(), Tensor::new()] };
        let values = self.graph(&rpn.graph, channels_last(map));
        [0, 1].map(|number| output(&rpn.graph, &values, number))
    }

    /// Whether a blob `[N, 3, H, W]` is large enough for the trunk; the error says for which layer it is not.
    pub(crate) fn check(&self, data: &Tensor) -> Result<(), String> {
        let &[_, _, height, width] = &data.size()[..] else { return Err("no blob of an image".to_string()) };
        let shape = Shape::Map { height: height as usize, width: width as usize, channels: 3 };
        let layers = &self.contents.trunk.layers;
        self.contents.trunk.infer(shape).map(|_| ()).map_err(|(layer, problem)| {
            let name = layers.get(layer).map_or("", |layer| &layer.name);
            format!("its blob of {height} x {width} is too small: layer `{name}`: {problem}")
        })
    }

    /// The feature map of the device's blob.
    pub(crate) fn feature_map(&self, blob: &Tensor) -> Tensor {
        let values = self.graph(&self.contents.trunk, channels_last(blob));
        output(&self.contents.trunk, &values, 0)
    }

    /// `cls_prob` and `bbox_pred` of RoIs in a feature map.
    pub(crate) fn predict(&self, map: &Tensor, rois: &Rois) -> [Tensor; 2] {
        let values = self.graph(&self.contents.head, self.head_input(&self.pool(map, rois)));
        [0, 1].map(|number| output(&self.contents.head, &values, number))
    }

    /// Every stage that a reference file has.
    pub(crate) fn stages(&self, blob: &Tensor, rois: &Rois) -> Vec<StageTensor> {
        let map = self.feature_map(blob);
        let pooled = self.pool(&map, rois);
        let values = self.graph(&self.contents.head, self.head_input(&pooled));
        let pool5 = match &pooled[..] {
            [one] => one.shallow_clone(),
            // As ONNX has it: each level flattened with its channels first.
            levels => Tensor::cat(&levels.iter().map(|level| level.flatten(1, -1)).collect::<Vec<_>>(), 1),
        };
        let name = if self.aligns() { "roi_align" } else { "pool5" };
        let mut stages = vec![("conv".to_string(), map), (name.to_string(), pool5)];
        for (name, value) in named_values(&self.contents.head) {
            stages.push((name, value_of(&values, value)));
        }
        stages
    }

    /// Each level `[R, C, P, P]`.
    fn pool(&self, map: &Tensor, rois: &Rois) -> Vec<Tensor> {
        match &self.pooling {
            Pooling::Max(pooling) => {
                let level = |level: &[u32; 2]| {
                    roi_pool::roi_pool(map, rois, level.map(i64::from), pooling.spatial_scale)
                };
                pooling.pooled.iter().map(level).collect()
            }
            Pooling::Align(align) => {
                let how = roi_align::Align {
                    pooled: align.pooled.map(i64::from),
                    spatial_scale: self.spatial_scale(),
                    sampling_ratio: i64::from(align.sampling_ratio),
                    half_pixel: align.half_pixel,
                };
                vec![roi_align::roi_align(map, rois, &how)]
            }
        }
    }

    fn head_input(&self, pooled: &[Tensor]) -> Tensor {
        match pooled {
            [one] => one.shallow_clone(),
            levels => Tensor::cat(&levels.iter().map(flatten).collect::<Vec<_>>(), 1),
        }
    }

    /// All values of a graph; the first is its input.
    fn graph(&self, graph: &Graph, input: Tensor) -> Vec<Tensor> {
        let mut values = vec![input];
        for layer in &graph.layers {
            let inputs: Vec<Tensor> = layer.inputs.iter().map(|&value| value_of(&values, value)).collect();
            values.push(self.layer(&layer.op, &inputs));
        }
        values
    }

    fn layer(&self, op: &Op, inputs: &[Tensor]) -> Tensor {
        let x = value_of(inputs, 0);
        match op {
            Op::Conv(conv) => self.conv(conv, &x),
            Op::MaxPool(pool) => {
                let padded = padded(&x, pool, f64::NEG_INFINITY);
                padded.max_pool2d(pair(pool.kernel), pair(pool.stride), [0, 0], [1, 1], false)
            }
            Op::AveragePool { pool, count_include_pad } => average_pool(&x, pool, *count_include_pad),
            Op::GlobalAveragePool => x.mean_dim(&[2i64, 3][..], true, Kind::Float),
            Op::Lrn { size, alpha, beta, k } => {
                lrn(&x, i64::from(*size), f64::from(*alpha), f64::from(*beta), f64::from(*k))
            }
            Op::Relu => x.relu(),
            Op::LeakyRelu { alpha } => x.clamp_min(0.0) + x.clamp_max(0.0) * f64::from(*alpha),
            Op::Clip { low, high } => x.clamp(f64::from(*low), f64::from(*high)),
            Op::Sigmoid => x.sigmoid(),
            Op::HardSigmoid { alpha, beta } => (x * f64::from(*alpha) + f64::from(*beta)).clamp(0.0, 1.0),
            Op::HardSwish => &x * (&x / 6.0 + 0.5).clamp(0.0, 1.0),
            Op::Concat => Tensor::cat(inputs, 1),
            Op::Add => x + value_of(inputs, 1),
            Op::Mul => x * value_of(inputs, 1),
            Op::Affine(affine) => {
                let shape: &[i64] = if x.dim() == 4 { &[1, -1, 1, 1] } else { &[1, -1] };
                x * self.weight(affine.scale).view(shape) + self.weight(affine.shift).view(shape)
            }
            Op::Flatten => flatten(&x),
            Op::Gemm(gemm) => {
                let product = x.matmul(&self.weight(gemm.weight));
                gemm.bias.map_or(product.shallow_clone(), |bias| product + self.weight(bias))
            }
            Op::Softmax => x.softmax(1, Kind::Float),
            // libtorch's has the same rule.
            Op::Upsample => {
                let size = value_of(inputs, 1).size();
                x.upsample_nearest2d(&size[2..], None, None)
            }
        }
    }

    fn conv(&self, conv: &Conv, x: &Tensor) -> Tensor {
        let weight = self.weight(conv.weight).permute([3, 2, 0, 1]).contiguous();
        let [top, left, bottom, right] = conv.pads.map(i64::from);
        let (x, pads) = if [top, left] == [bottom, right] {
            (x.shallow_clone(), [top, left])
        } else {
            (x.constant_pad_nd([left, right, top, bottom]), [0, 0])
        };
        let (stride, dilation, groups) = (pair(conv.stride), pair(conv.dilation), i64::from(conv.group));
        let bias = conv.bias.map(|bias| self.weight(bias));
        if !matches!(self.device, Device::Cuda(_)) {
            return x.conv2d(&weight, bias.as_ref(), stride, pads, dilation, groups);
        }
        let (benchmark, deterministic, tf32) = (false, true, false);
        let map =
            x.cudnn_convolution(&weight, pads, stride, dilation, groups, benchmark, deterministic, tf32);
        bias.map_or(map.shallow_clone(), |bias| map + bias.view([1, -1, 1, 1]))
    }

    fn weight(&self, id: SectionId) -> Tensor {
        self.weights.get(id as usize).map(Tensor::shallow_clone).unwrap_or_default()
    }
}

fn weight(bundle: &Bundle, id: SectionId) -> Tensor {
    let shape = bundle.contents().sections.get(id as usize).map_or(&[][..], |section| &section.shape);
    let shape: Vec<i64> = shape.iter().map(|&side| i64::from(side)).collect();
    Tensor::from_slice(&bundle.weights_as_f32(id)).view(&shape[..])
}

fn value_of(values: &[Tensor], value: u32) -> Tensor {
    values.get(value as usize).map(Tensor::shallow_clone).unwrap_or_default()
}

fn output(graph: &Graph, values: &[Tensor], number: usize) -> Tensor {
    graph.outputs.get(number).map(|&value| value_of(values, value)).unwrap_or_default()
}

fn pair(sides: [u32; 2]) -> [i64; 2] {
    sides.map(i64::from)
}

/// `[R, C, H, W]` to rows of (y, x, c); a row stays as it is.
fn flatten(x: &Tensor) -> Tensor {
    if x.dim() == 4 { x.permute([0, 2, 3, 1]).flatten(1, -1) } else { x.shallow_clone() }
}

/// A map with `value` around it, up to where the last window of `pool` ends.
fn padded(x: &Tensor, pool: &Pool, value: f64) -> Tensor {
    let &[.., height, width] = &x.size()[..] else { return x.shallow_clone() };
    let (rows, columns) = pool.output_size(height as usize, width as usize).unwrap_or((1, 1));
    let [top, left, ..] = pool.pads.map(i64::from);
    let ([kh, kw], [sh, sw]) = (pair(pool.kernel), pair(pool.stride));
    let behind = |made: usize, stride: i64, kernel: i64, before: i64, len: i64| {
        (made as i64 - 1) * stride + kernel - before - len
    };
    let (bottom, right) = (behind(rows, sh, kh, top, height), behind(columns, sw, kw, left, width));
    // What no window reaches is cut off.
    let cut = x.narrow(2, 0, height + bottom.min(0)).narrow(3, 0, width + right.min(0));
    let pads = [left, right.max(0), top, bottom.max(0)];
    cut.f_pad(pads, "constant", value).unwrap_or(cut)
}

fn average_pool(x: &Tensor, pool: &Pool, count_include_pad: bool) -> Tensor {
    let sum = |x: &Tensor| {
        let (kernel, stride) = (pair(pool.kernel), pair(pool.stride));
        x.avg_pool2d(kernel, stride, [0, 0], false, false, 1)
    };
    let &[.., height, width] = &x.size()[..] else { return x.shallow_clone() };
    let values = padded(x, pool, 0.0);
    let counted = if count_include_pad {
        // Cells of the declared padding count, those beyond it do not.
        let [top, left, bottom, right] = pool.pads.map(i64::from);
        let declared = [1, 1, height + top + bottom, width + left + right];
        let &[.., rows, columns] = &values.size()[..] else { return values };
        let [beyond, beside] = [rows - declared[2], columns - declared[3]];
        let ones = Tensor::ones(declared, (Kind::Float, x.device()));
        let ones = ones.narrow(2, 0, rows.min(declared[2])).narrow(3, 0, columns.min(declared[3]));
        ones.constant_pad_nd([0, beside.max(0), 0, beyond.max(0)])
    } else {
        padded(&Tensor::ones([1, 1, height, width], (Kind::Float, x.device())), pool, 0.0)
    };
    sum(&values) / sum(&counted)
}

/// The values that have a published name, each after the ReLU that follows its layer, then the outputs: the runtime's.
fn named_values(graph: &Graph) -> Vec<(String, u32)> {
    let after_relu = |value: u32| {
        let relu = graph.layers.iter().position(|l| l.inputs == [value] && matches!(l.op, Op::Relu));
        relu.map_or(value, |position| position as u32 + 1)
    };
    let mut named: Vec<(String, u32)> = Vec::new();
    for (value, layer) in (1..).zip(&graph.layers) {
        if matches!(layer.op, Op::Conv(_) | Op::Gemm(_)) {
            named.push((layer.name.clone(), after_relu(value)));
        }
    }
    for (name, &value) in ["cls_prob", "bbox_pred"].into_iter().zip(&graph.outputs) {
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.to_string(), value));
        }
    }
    named
}

#[cfg(test)]
mod tests;
