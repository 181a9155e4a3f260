//! Fully connected layers, and the scales and shifts that fold into the layer before them.

use frcnn_bundle::{Affine, Gemm, Op, SectionId};
use tract_onnx::prelude::Tensor;

use super::layers::{computed, constant, training};
use super::{Computed, Input, Kind, Lowering, Order};
use crate::constants::floats;
use crate::error::Problem;
use crate::onnx::Attributes;

impl Lowering<'_> {
    pub(super) fn gemm(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        if at.flag("transA", false)? {
            return Err(at.problem("transA is not supported"));
        }
        let weight = constant(at, inputs, 1, "weight")?;
        let bias = match inputs.get(2) {
            Some(Input::Constant(bias)) => Some(&**bias),
            Some(Input::Computed(_)) => return Err(at.problem("its bias is not a constant")),
            Some(Input::Missing) | None => None,
        };
        let (alpha, beta) = (at.float("alpha", 1.0)?, at.float("beta", 1.0)?);
        let output = self.fully_connected(at, inputs, weight, at.flag("transB", false)?)?;
        if alpha == 1.0 && bias.is_none() {
            return Ok(output);
        }
        let features = output.kind.channels();
        let shift = match bias {
            Some(bias) => self.per_channel(at, bias, output)?.into_iter().map(|b| b * beta).collect(),
            None => vec![0.0; features],
        };
        // Folds into the layer that has just been made.
        self.affine(at, output, vec![alpha; features], shift)
    }

    pub(super) fn mat_mul(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let weight = constant(at, inputs, 1, "right side")?;
        self.fully_connected(at, inputs, weight, false)
    }

    fn fully_connected(
        &mut self,
        at: Attributes,
        inputs: &[Input],
        weight: &Tensor,
        transposed: bool,
    ) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let Kind::Flat { features, order } = input.kind else {
            return Err(at.problem("it reads a map; flatten it first"));
        };
        let &[rows, columns] = weight.shape() else {
            return Err(at.problem(format!("its weight has shape {:?}, not two dimensions", weight.shape())));
        };
        let (in_features, out_features) = if transposed { (columns, rows) } else { (rows, columns) };
        if in_features != features {
            return Err(at.problem(format!("it reads {in_features} features and is given {features}")));
        }
        let data = floats(weight).ok_or_else(|| at.problem("its weight is not numbers"))?;
        let data = to_rows_in(&data, in_features, out_features, transposed, self.maps(&order));
        let weight = self.weights.add(String::new(), &[in_features, out_features], data);
        let gemm =
            Gemm { in_features: in_features as u32, out_features: out_features as u32, weight, bias: None };
        let kind = Kind::Flat { features: out_features, order: Order::AsOnDevice };
        self.push(at, Op::Gemm(gemm), &[input], kind)
    }

    pub(super) fn batch_normalization(
        &mut self,
        at: Attributes,
        inputs: &[Input],
    ) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let [scale, bias, mean, variance] =
            [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")].map(|(position, what)| {
                constant(at, inputs, position, what).and_then(|t| self.per_channel(at, t, input))
            });
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let trains = at.flag("training_mode", false)?;
        if trains || at.0.output.iter().skip(1).any(|output| !output.is_empty()) {
            return Err(training(at));
        }
        if at.int("spatial", 1)? != 1 {
            return Err(at.problem("statistics for each pixel (spatial 0) are not supported"));
        }
        let epsilon = f64::from(at.float("epsilon", 1e-5)?);
        let negative = variance.iter().filter(|&&v| v.is_finite() && f64::from(v) + epsilon <= 0.0).count();
        if negative > 0 {
            return Err(at.problem(format!(
                "{negative} of {} running variances are negative, or 0 with an epsilon of 0; did the training diverge?",
                variance.len()
            )));
        }
        // In f64: a small variance makes a large scale, and rounding errors with it.
        let scale: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(&s, &v)| f64::from(s) / (f64::from(v) + epsilon).sqrt())
            .collect();
        let shift =
            bias.iter().zip(&mean).zip(&scale).map(|((&b, &m), &s)| (f64::from(b) - f64::from(m) * s) as f32);
        let shift = shift.collect();
        self.affine(at, input, scale.iter().map(|&s| s as f32).collect(), shift)
    }

    /// Add, Sub, Mul and Div: of two maps, or of one and a constant for each channel.
    pub(super) fn binary(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let op = &*at.0.op_type;
        match inputs {
            [Input::Computed(a), Input::Computed(b)] => self.binary_of_maps(at, *a, *b),
            [Input::Computed(input), Input::Constant(constant)] => {
                let values = self.per_channel(at, constant, *input)?;
                let (ones, zeros) = (vec![1.0; values.len()], vec![0.0; values.len()]);
                match op {
                    "Add" => self.affine(at, *input, ones, values),
                    "Sub" => self.affine(at, *input, ones, values.iter().map(|v| -v).collect()),
                    "Mul" => self.affine(at, *input, values, zeros),
                    _ => self.affine(at, *input, values.iter().map(|v| v.recip()).collect(), zeros),
                }
            }
            [Input::Constant(constant), Input::Computed(input)] => {
                let values = self.per_channel(at, constant, *input)?;
                let (ones, zeros) = (vec![1.0; values.len()], vec![0.0; values.len()]);
                match op {
                    "Add" => self.affine(at, *input, ones, values),
                    "Sub" => self.affine(at, *input, vec![-1.0; values.len()], values),
                    "Mul" => self.affine(at, *input, values, zeros),
                    _ => Err(at.problem("division of a constant by a computed value is not supported")),
                }
            }
            _ => Err(at.problem("it must have two inputs")),
        }
    }

    fn binary_of_maps(&mut self, at: Attributes, a: Computed, b: Computed) -> Result<Computed, Problem> {
        let op = match &*at.0.op_type {
            "Add" => Op::Add,
            "Mul" => Op::Mul,
            _ => return Err(at.problem("of two computed values only the sum and the product are supported")),
        };
        let kind = match (a.kind, b.kind) {
            (Kind::Map { size: Some([1, 1]), channels }, Kind::Map { channels: c, .. }) if c == channels => {
                b.kind
            }
            (Kind::Map { channels, .. }, Kind::Map { channels: c, .. }) if c == channels => a.kind,
            (a, b) if a == b => a,
            _ => return Err(at.problem("its inputs' channels differ")),
        };
        self.push(at, op, &[a, b], kind)
    }

    /// `input * scale + shift`: folded into the convolution or fully connected layer that alone makes
    /// `input`, or a layer of its own.
    fn affine(
        &mut self,
        at: Attributes,
        input: Computed,
        scale: Vec<f32>,
        shift: Vec<f32>,
    ) -> Result<Computed, Problem> {
        let (weight, bias) = match self.sole_producer(input) {
            Some(Op::Conv(conv)) => (conv.weight, conv.bias),
            Some(Op::Gemm(gemm)) => (gemm.weight, gemm.bias),
            _ => {
                let channels = scale.len();
                let scale = self.weights.add(String::new(), &[channels], scale);
                let shift = self.weights.add(String::new(), &[channels], shift);
                let affine = Affine { channels: channels as u32, scale, shift };
                return self.push(at, Op::Affine(affine), &[input], input.kind);
            }
        };
        let bias = self.fold(weight, bias, &scale, shift);
        if let Some(Op::Conv(frcnn_bundle::Conv { bias: place, .. }) | Op::Gemm(Gemm { bias: place, .. })) =
            self.sole_producer(input)
        {
            *place = Some(bias);
        }
        Ok(input)
    }

    /// Scales the last dimension of `weight`; gives the new bias.
    fn fold(
        &mut self,
        weight: SectionId,
        bias: Option<SectionId>,
        scale: &[f32],
        shift: Vec<f32>,
    ) -> SectionId {
        if let Some(weight) = self.weights.get_mut(weight)
            && scale.iter().any(|&s| s != 1.0)
        {
            for row in weight.data.chunks_exact_mut(scale.len()) {
                for (value, scale) in row.iter_mut().zip(scale) {
                    *value *= scale;
                }
            }
        }
        let old = bias.and_then(|id| self.weights.get_mut(id)).map(|bias| bias.data.clone());
        let new: Vec<f32> = match old {
            Some(old) => old.iter().zip(scale).zip(&shift).map(|((b, s), t)| b * s + t).collect(),
            None => shift,
        };
        let channels = new.len();
        self.weights.add(String::new(), &[channels], new)
    }

    /// The maps whose features make up a row, if ONNX has their channels first.
    fn maps<'o>(&'o self, order: &'o Order) -> &'o [[usize; 3]] {
        match order {
            Order::AsOnDevice => &[],
            Order::Map(map) => std::slice::from_ref(map),
            Order::Levels => &self.levels,
        }
    }

    /// A constant as one value for each channel (or feature) of `input`, in the device's order.
    fn per_channel(&self, at: Attributes, constant: &Tensor, input: Computed) -> Result<Vec<f32>, Problem> {
        let values = floats(constant).ok_or_else(|| at.problem("a constant of it is not numbers"))?;
        let channels = input.kind.channels();
        if let [value] = values[..] {
            return Ok(vec![value; channels]);
        }
        // The axes that ONNX would broadcast over must be 1, all but the channels'.
        let shape = constant.shape();
        let channel_axis_from_end = match input.kind {
            Kind::Map { .. } if at.0.op_type != "BatchNormalization" => 3,
            Kind::Line { .. } if at.0.op_type != "BatchNormalization" => 2,
            _ => 1,
        };
        let axis = shape.len().checked_sub(channel_axis_from_end);
        match axis.and_then(|axis| shape.get(axis)) {
            Some(&size) if size == channels && values.len() == channels => Ok(match input.kind {
                Kind::Flat { order, .. } | Kind::Line { row: Some(order), .. } => {
                    let mut values = values;
                    let mut rest = &mut values[..];
                    for map in self.maps(&order) {
                        let Some(level) = rest.split_off_mut(..map.iter().product()) else { break };
                        let last = to_channels_last(level, *map);
                        level.copy_from_slice(&last);
                    }
                    values
                }
                _ => values,
            }),
            _ => Err(at.problem(format!("a constant of shape {shape:?} does not fit {channels} channels"))),
        }
    }
}

/// A fully connected weight as `[in, out]`, its rows in channels-last order where they stand for `maps`.
fn to_rows_in(
    data: &[f32],
    in_features: usize,
    out_features: usize,
    transposed: bool,
    maps: &[[usize; 3]],
) -> Vec<f32> {
    // Row of (c, y, x) becomes row of (y, x, c).
    let place = |row: usize| {
        let mut first = 0;
        for [height, width, channels] in maps {
            let (pixels, features) = (height * width, height * width * channels);
            if row < first + features {
                let (c, pixel) = ((row - first) / pixels, (row - first) % pixels);
                return first + pixel * channels + c;
            }
            first += features;
        }
        row
    };
    let mut out = vec![0.0; data.len()];
    if !transposed {
        for (row, values) in data.chunks_exact(out_features.max(1)).enumerate() {
            let start = place(row) * out_features;
            out[start..start + out_features].copy_from_slice(values);
        }
        return out;
    }
    // Columns in blocks, so that the lines of `out` being written stay in the cache.
    const BLOCK: usize = 64;
    for first in (0..out_features).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(out_features);
        for row in 0..in_features {
            let start = place(row) * out_features;
            for column in block.clone() {
                out[start + column] = data[column * in_features + row];
            }
        }
    }
    out
}

/// `[C, H, W]` values to `[H, W, C]`.
pub(crate) fn to_channels_last(values: &[f32], [height, width, channels]: [usize; 3]) -> Vec<f32> {
    let pixels = height * width;
    (0..pixels).flat_map(|pixel| (0..channels).map(move |c| values[c * pixels + pixel])).collect()
}
