//! Channels of the image that a graph puts in another order: `Gather` of [2, 1, 0], a `Slice` that goes backwards, a `Split`
//! that is joined again.
//!
//! Each becomes a 1 x 1 convolution of ones and zeros, which is exact, and which [`crate::input`] folds into the layer behind.

use frcnn_bundle::{Conv, Op};

use super::layers::{computed, constant};
use super::{Computed, Input, Kind, Lowering};
use crate::constants::integers;
use crate::error::Problem;
use crate::onnx::Attributes;

/// More are not an image's.
const CHANNELS: usize = 4;

impl<'a> Lowering<'a> {
    pub(super) fn gather(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let indices = constant(at, inputs, 1, "list of indices")?;
        if indices.shape().len() != 1 || ![1, -3].contains(&at.int("axis", 0)?) {
            return Err(at.problem("only a list of an image's channels (axis 1) can be gathered"));
        }
        let indices = integers(indices).ok_or_else(|| at.problem("its indices are not integers"))?;
        self.select(at, computed(at, inputs)?, &indices)
    }

    pub(super) fn slice(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let list = |position: usize, default: Option<i64>| match inputs.get(position) {
            Some(Input::Constant(tensor)) => integers(tensor).filter(|values| values.len() == 1),
            Some(Input::Computed(_)) => None,
            Some(Input::Missing) | None => default.map(|value| vec![value]),
        };
        let [Some(start), Some(end), Some(axis), Some(step)] =
            [list(1, None), list(2, None), list(3, Some(0)), list(4, Some(1))].map(|l| Some(*l?.first()?))
        else {
            return Err(at.problem("only a slice of constant bounds along one axis is supported"));
        };
        if ![1, -3].contains(&axis) || step == 0 {
            return Err(at.problem("only an image's channels (axis 1) can be sliced"));
        }
        let channels = input.kind.channels() as i64;
        let bound = |at: i64, low: i64, high: i64| {
            (if at < 0 { at.saturating_add(channels) } else { at }).clamp(low, high)
        };
        let mut indices = Vec::new();
        if step > 0 {
            let (mut next, end) = (bound(start, 0, channels), bound(end, 0, channels));
            while next < end {
                indices.push(next);
                next = next.saturating_add(step);
            }
        } else {
            let (mut next, end) = (bound(start, 0, channels - 1), bound(end, -1, channels - 1));
            while next > end {
                indices.push(next);
                next = next.saturating_add(step);
            }
        }
        self.select(at, input, &indices)
    }

    /// A `Split` of an image's channels; its outputs are values of their own.
    pub(super) fn split(&mut self, at: Attributes<'a>, inputs: &[Input]) -> Result<(), Problem> {
        let input = computed(at, inputs)?;
        let outputs = at.0.output.len();
        let channels = input.kind.channels();
        if ![1, -3].contains(&at.int("axis", 0)?) || outputs == 0 {
            return Err(at.problem("only an image's channels (axis 1) can be split"));
        }
        let sizes = match (inputs.get(1), at.ints("split")?) {
            (Some(Input::Constant(sizes)), _) => integers(sizes),
            (_, Some(sizes)) => Some(sizes.to_vec()),
            // The last part is the smaller one where the channels cannot be shared out evenly.
            _ => Some((0..outputs).map(|_| channels.div_ceil(outputs) as i64).collect()),
        };
        let sizes = sizes.filter(|sizes| sizes.len() == outputs && sizes.iter().all(|size| *size > 0));
        let sizes = sizes.ok_or_else(|| at.problem("its parts are not constants above 0"))?;
        let mut first = 0i64;
        for (name, size) in at.0.output.iter().zip(sizes) {
            let end = first.saturating_add(size).min(channels as i64);
            let indices: Vec<i64> = (first..end).collect();
            let part = self.select(at, input, &indices)?;
            if !name.is_empty() {
                self.values.insert(name, part);
            }
            first = end;
        }
        Ok(())
    }

    /// A map of these channels of `input`; a negative one counts from the end.
    fn select(&mut self, at: Attributes, input: Computed, indices: &[i64]) -> Result<Computed, Problem> {
        let Kind::Map { size, channels } = input.kind else {
            return Err(at.problem("only channels of an image can be chosen"));
        };
        if channels > CHANNELS || !(1..=CHANNELS).contains(&indices.len()) {
            return Err(at.problem(format!(
                "it chooses {} of {channels} channels; supported is another order of an image's",
                indices.len()
            )));
        }
        let mut weight = vec![0.0; channels * indices.len()];
        for (column, &index) in indices.iter().enumerate() {
            let row = if index < 0 { index + channels as i64 } else { index };
            let row = usize::try_from(row).ok().filter(|row| *row < channels);
            let row = row.ok_or_else(|| at.problem(format!("there is no channel {index} of {channels}")))?;
            weight[row * indices.len() + column] = 1.0;
        }
        let weight = self.weights.add(String::new(), &[1, 1, channels, indices.len()], weight);
        let conv = Conv {
            in_channels: channels as u32,
            out_channels: indices.len() as u32,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            group: 1,
            weight,
            bias: None,
        };
        self.push(at, Op::Conv(conv), &[input], Kind::Map { size, channels: indices.len() })
    }
}
