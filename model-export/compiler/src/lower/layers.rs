//! Convolution, pooling, normalisation and activations.

use std::cmp::Ordering;

use frcnn_bundle::{Conv, Op, Pool};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Tensor;

use super::reshape::axes;
use super::{Computed, Input, Kind, Lowering, Order};
use crate::constants::{floats, integers};
use crate::error::Problem;
use crate::limits;
use crate::onnx::{Attributes, name, pads};

/// What may stand between several levels of RoI pooling and the row that they are joined to.
const AFTER_LEVELS: [&str; 8] =
    ["Flatten", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Identity", "Dropout", "Cast"];

/// What a network draws at random while it is trained.
const RANDOM: [&str; 5] =
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"];

impl<'a> Lowering<'a> {
    /// Lowers a node of which at least one input is computed.
    pub(super) fn layer(&mut self, at: Attributes<'a>, inputs: &[Input]) -> Result<Computed, Problem> {
        let reads_level =
            inputs.iter().filter_map(Input::computed).any(|input| matches!(input.kind, Kind::Level { .. }));
        if reads_level && !AFTER_LEVELS.contains(&&*at.0.op_type) {
            return Err(at.problem(
                "it reads one of several levels of RoI pooling; supported is to flatten each and to join all of them \
                 along axis 1, as SPPnet does",
            ));
        }
        if inputs.iter().filter_map(Input::computed).any(|input| matches!(input.kind, Kind::Upsampled { .. }))
        {
            return self.sum_of_resized(at, inputs);
        }
        let most = most_inputs(&at.0.op_type);
        if inputs.len() > most {
            return Err(at.problem(format!("it has {} inputs; there are at most {most}", inputs.len())));
        }
        match &*at.0.op_type {
            "Conv" => self.conv(at, inputs),
            "MaxPool" => self.pool(at, inputs, Op::MaxPool),
            "AveragePool" => {
                let count_include_pad = at.flag("count_include_pad", false)?;
                self.pool(at, inputs, |pool| Op::AveragePool { pool, count_include_pad })
            }
            "GlobalAveragePool" => self.global_average_pool(at, inputs),
            "ReduceMean" => self.reduce_mean(at, inputs),
            "LRN" => {
                let size = u32::try_from(at.int("size", 0)?).unwrap_or(0);
                let (alpha, beta) = (at.float("alpha", 1e-4)?, at.float("beta", 0.75)?);
                self.elementwise(at, inputs, Op::Lrn { size, alpha, beta, k: at.float("bias", 1.0)? })
            }
            "Relu" => self.elementwise(at, inputs, Op::Relu),
            "LeakyRelu" => self.elementwise(at, inputs, Op::LeakyRelu { alpha: at.float("alpha", 0.01)? }),
            "PRelu" => self.parametric_relu(at, inputs),
            "Clip" => self.clip(at, inputs),
            "Sigmoid" => self.elementwise(at, inputs, Op::Sigmoid),
            "HardSigmoid" => {
                let (alpha, beta) = (at.float("alpha", 0.2)?, at.float("beta", 0.5)?);
                self.elementwise(at, inputs, Op::HardSigmoid { alpha, beta })
            }
            "HardSwish" => self.elementwise(at, inputs, Op::HardSwish),
            "Resize" => self.resize(at, inputs),
            "Concat" => self.concat(at, inputs),
            "Add" | "Sub" | "Mul" | "Div" => self.binary(at, inputs),
            "BatchNormalization" => self.batch_normalization(at, inputs),
            "Gemm" => self.gemm(at, inputs),
            "MatMul" => self.mat_mul(at, inputs),
            "Softmax" => self.softmax(at, inputs),
            "Flatten" => self.flatten(at, inputs),
            "Reshape" => self.reshape(at, inputs),
            "Squeeze" => self.squeeze(at, inputs),
            "Gather" => self.gather(at, inputs),
            "Slice" => self.slice(at, inputs),
            "Unsqueeze" => self.unsqueeze(at, inputs),
            "Identity" => computed(at, inputs),
            "Dropout" => self.dropout(at, inputs),
            "Cast" => match at.int("to", 0)? {
                // All real numbers are f32: see `prepare`.
                to if to == DataType::Float as i64 => computed(at, inputs),
                _ => Err(at.problem("what the network computes can only be cast to real numbers")),
            },
            "Pad" => match inputs.get(1).and_then(Input::constant).and_then(integers) {
                Some(amounts) if amounts.iter().all(|&a| a == 0) => computed(at, inputs),
                _ => Err(at.problem(
                    "as a layer of its own it is not supported, only with zeros above, below and beside a map that Conv nodes alone \
                     read, whose pads it then is",
                )),
            },
            other if RANDOM.contains(&other) => {
                Err(Problem::Training { node: name(at.0).to_string(), op: other.to_string() })
            }
            other => Err(Problem::Operator { node: name(at.0).to_string(), op: other.to_string() }),
        }
    }

    fn conv(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let Kind::Map { size, channels } = input.kind else {
            return Err(at.problem("it reads a row of features, not a map"));
        };
        let weight = constant(at, inputs, 1, "weight")?;
        let &[out_channels, group_channels, kh, kw] = weight.shape() else {
            return Err(
                at.problem(format!("its weight has shape {:?}; only 2-D is supported", weight.shape()))
            );
        };
        let group = at.int("group", 1)?;
        let group = usize::try_from(group)
            .ok()
            .filter(|&g| g > 0 && g.checked_mul(group_channels) == Some(channels) && out_channels % g == 0)
            .ok_or_else(|| {
                at.problem(format!("it reads {group} x {group_channels} channels and is given {channels}"))
            })?;
        let data = floats(weight).ok_or_else(|| at.problem("its weight is not numbers"))?;
        let bias = match inputs.get(2) {
            Some(Input::Constant(bias)) => Some(
                floats(bias)
                    .filter(|bias| bias.len() == out_channels)
                    .ok_or_else(|| at.problem(format!("its bias is not {out_channels} numbers")))?,
            ),
            Some(Input::Computed(_)) => return Err(at.problem("its bias is not a constant")),
            Some(Input::Missing) | None => None,
        };
        let kernel =
            [kh, kw].map(|side| u32::try_from(side).ok().filter(|k| (1..=limits::WINDOW).contains(k)));
        let [Some(height), Some(width)] = kernel else {
            return Err(at.problem(format!("its kernel is {kh} x {kw}; the limit is {}", limits::WINDOW)));
        };
        let kernel = [height, width];
        if at.sizes("kernel_shape", 1, kernel)? != kernel {
            return Err(at.problem(format!("its kernel_shape is not that of its weight, {kh} x {kw}")));
        }
        let stride = at.sizes("strides", 1, [1, 1])?;
        let dilation = at.sizes("dilations", 1, [1, 1])?;
        let pads = pads(at, kernel, stride, dilation)?;

        let data = conv_weight_to_channels_last(&data, out_channels, group_channels, kh * kw);
        let weight = self.weights.add(String::new(), &[kh, kw, group_channels, out_channels], data);
        let bias = bias.map(|bias| self.weights.add(String::new(), &[out_channels], bias));
        let conv = Conv {
            in_channels: channels as u32,
            out_channels: out_channels as u32,
            kernel,
            stride,
            dilation,
            pads,
            group: group as u32,
            weight,
            bias,
        };
        let size = match size {
            None => None,
            Some([height, width]) => {
                let (height, width) = conv
                    .output_size(height, width)
                    .ok_or_else(|| at.problem("its kernel is larger than the map"))?;
                Some([height, width])
            }
        };
        self.push(at, Op::Conv(conv), &[input], Kind::Map { size, channels: out_channels })
    }

    /// Nothing, where the network is not trained.
    fn dropout(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let trains = match inputs.get(2) {
            Some(Input::Constant(mode)) => {
                integers(mode).is_none_or(|mode| mode.iter().any(|&value| value != 0))
            }
            Some(Input::Computed(_)) => true,
            Some(Input::Missing) | None => false,
        };
        if trains { Err(training(at)) } else { computed(at, inputs) }
    }

    fn pool(
        &mut self,
        at: Attributes,
        inputs: &[Input],
        op: impl FnOnce(Pool) -> Op,
    ) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let Kind::Map { size, channels } = input.kind else {
            return Err(at.problem("it reads a row of features, not a map"));
        };
        if at.ints("dilations")?.is_some_and(|d| d.iter().any(|&d| d != 1)) {
            return Err(at.problem("dilated pooling is not supported"));
        }
        let kernel = at.sizes("kernel_shape", 1, [0, 0])?;
        let stride = at.sizes("strides", 1, [1, 1])?;
        let pads = pads(at, kernel, stride, [1, 1])?;
        let pool = Pool { kernel, stride, pads, ceil_mode: at.flag("ceil_mode", false)? };
        let size = match size {
            None => None,
            Some([height, width]) => {
                let (height, width) = pool
                    .output_size(height, width)
                    .ok_or_else(|| at.problem("its window is larger than the map"))?;
                Some([height, width])
            }
        };
        self.push(at, op(pool), &[input], Kind::Map { size, channels })
    }

    pub(super) fn global_average_pool(
        &mut self,
        at: Attributes,
        inputs: &[Input],
    ) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let Kind::Map { channels, .. } = input.kind else {
            return Err(at.problem("it reads a row of features, not a map"));
        };
        self.push(at, Op::GlobalAveragePool, &[input], Kind::Map { size: Some([1, 1]), channels })
    }

    fn reduce_mean(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        if axes(at, inputs, 4)?.as_deref() != Some(&[2, 3]) {
            return Err(at.problem("only the mean over a map's rows and columns (axes 2, 3) is supported"));
        }
        let mean = self.global_average_pool(at, inputs)?;
        if at.flag("keepdims", true)? { Ok(mean) } else { self.flatten_pixel(at, mean) }
    }

    /// With one slope for all channels.
    fn parametric_relu(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let slopes = floats(constant(at, inputs, 1, "slope")?).unwrap_or_default();
        match slopes[..] {
            [alpha, ref others @ ..] if others.iter().all(|other| *other == alpha) => {
                self.elementwise(at, inputs, Op::LeakyRelu { alpha })
            }
            _ => Err(at.problem("a slope for each channel is not supported, only one for all")),
        }
    }

    fn clip(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let bound = |attribute: &str, position: usize, default: f32| match inputs.get(position) {
            Some(Input::Constant(tensor)) => floats(tensor)
                .and_then(|v| v.first().copied())
                .ok_or_else(|| at.problem(format!("its {attribute} is not a number"))),
            Some(Input::Computed(_)) => Err(at.problem(format!("its {attribute} is not a constant"))),
            Some(Input::Missing) | None => Ok(at.optional_float(attribute)?.unwrap_or(default)),
        };
        let (low, high) = (bound("min", 1, f32::NEG_INFINITY)?, bound("max", 2, f32::INFINITY)?);
        // A NaN is above nothing.
        if low.partial_cmp(&high).is_none_or(Ordering::is_gt) {
            return Err(at.problem(format!("its bounds are {low} and {high}")));
        }
        self.elementwise(at, inputs, Op::Clip { low, high })
    }

    /// A layer with one input and an output like it.
    fn elementwise(&mut self, at: Attributes, inputs: &[Input], op: Op) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        self.push(at, op, &[input], input.kind)
    }

    fn concat(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let all: Option<Vec<Computed>> = inputs.iter().map(Input::computed).collect();
        let all = all.ok_or_else(|| at.problem("it joins a constant; only computed maps can be joined"))?;
        let axis = at.int("axis", 0)?;
        let channels = all.iter().try_fold(0usize, |sum, input| sum.checked_add(input.kind.channels()));
        let channels = channels.ok_or_else(|| at.problem("it joins too many channels"))?;
        let kind = match all.first().map(|input| input.kind) {
            Some(Kind::Map { size, .. }) if [1, -3].contains(&axis) => Kind::Map { size, channels },
            Some(Kind::Level { .. }) => return self.join_levels(at, &all, axis),
            Some(Kind::Flat { .. }) if [1, -1].contains(&axis) => {
                if all.iter().any(|input| !matches!(input.kind, Kind::Flat { order: Order::AsOnDevice, .. }))
                {
                    return Err(at.problem("it joins flattened maps; join the maps before flattening"));
                }
                Kind::Flat { features: channels, order: Order::AsOnDevice }
            }
            _ => {
                return Err(
                    at.problem(format!("only joining channels (axis 1) is supported, not axis {axis}"))
                );
            }
        };
        self.push(at, Op::Concat, &all, kind)
    }

    /// All levels of RoI pooling, flattened, become the row that the device has from the beginning.
    fn join_levels(&mut self, at: Attributes, all: &[Computed], axis: i64) -> Result<Computed, Problem> {
        let mut seen = vec![false; self.level_count];
        let mut levels = Vec::new();
        for input in all {
            let Kind::Level { level, map, rank: 2 } = input.kind else {
                return Err(
                    at.problem("it joins levels of RoI pooling that are not flattened, or others with them")
                );
            };
            if seen.get_mut(level).is_none_or(|seen| std::mem::replace(seen, true)) {
                return Err(at.problem("it joins a level of RoI pooling twice"));
            }
            levels.push(map);
        }
        if levels.len() != self.level_count || ![1, -1].contains(&axis) {
            return Err(at.problem(format!(
                "it joins {} of {} levels of RoI pooling along axis {axis}, not all of them along axis 1",
                levels.len(),
                self.level_count
            )));
        }
        if !self.levels.is_empty() && self.levels != levels {
            return Err(
                at.problem("it joins the levels of RoI pooling in another order than a node before it")
            );
        }
        // Each at most `limits::FEATURES`, and at most `limits::LEVELS` of them.
        let features = levels.iter().map(|map| map.iter().product::<usize>()).sum();
        self.levels = levels;
        Ok(Computed { value: 0, kind: Kind::Flat { features, order: Order::Levels }, sole: false })
    }

    fn softmax(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        // Before opset 13 the default axis was 1; for a row of features both mean the same.
        let axis = at.int("axis", -1)?;
        match input.kind {
            Kind::Flat { order: Order::AsOnDevice, .. } if [1, -1].contains(&axis) => {
                self.push(at, Op::Softmax, &[input], input.kind)
            }
            _ => Err(at.problem("only softmax over each RoI's scores ([R, K+1], axis 1) is supported")),
        }
    }
}

/// Inputs that an operator has at most. What it has beyond them would not be read here, and may be elsewhere.
fn most_inputs(op_type: &str) -> usize {
    match op_type {
        "Concat" => usize::MAX,
        "BatchNormalization" | "Slice" => 5,
        "Pad" | "Resize" => 4,
        "Conv" | "Clip" | "Gemm" | "Dropout" => 3,
        "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "Reshape" | "Squeeze" | "Unsqueeze" | "ReduceMean"
        | "Gather" | "PRelu" => 2,
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "LRN" | "Relu" | "LeakyRelu" | "Sigmoid"
        | "HardSigmoid" | "HardSwish" | "Softmax" | "Flatten" | "Identity" | "Cast" => 1,
        // Not supported in any case.
        _ => usize::MAX,
    }
}

impl Input {
    pub(super) fn computed(&self) -> Option<Computed> {
        match self {
            Input::Computed(computed) => Some(*computed),
            _ => None,
        }
    }

    pub(super) fn constant(&self) -> Option<&Tensor> {
        match self {
            Input::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }
}

/// The node is one of a network that is being trained.
pub(super) fn training(at: Attributes) -> Problem {
    Problem::Training { node: name(at.0).to_string(), op: at.0.op_type.clone() }
}

/// The first input, which must be computed.
pub(super) fn computed(at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
    inputs.first().and_then(Input::computed).ok_or_else(|| at.problem("its first input is a constant"))
}

/// Input `position`, which must be constant.
pub(super) fn constant<'i>(
    at: Attributes,
    inputs: &'i [Input],
    position: usize,
    what: &str,
) -> Result<&'i Tensor, Problem> {
    let input = inputs.get(position).and_then(Input::constant);
    input.ok_or_else(|| at.problem(format!("its {what} is not a constant")))
}

/// `[Co, Ci/g, Kh Kw]` to `[Kh Kw, Ci/g, Co]`.
fn conv_weight_to_channels_last(data: &[f32], co: usize, ci: usize, taps: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    for (o, filter) in data.chunks_exact((ci * taps).max(1)).enumerate() {
        for (c, channel) in filter.chunks_exact(taps.max(1)).enumerate() {
            for (tap, &value) in channel.iter().enumerate() {
                out[(tap * ci + c) * co + o] = value;
            }
        }
    }
    out
}
