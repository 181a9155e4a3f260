//! Shapes: what exporters write to turn a map into a row of features.

use std::sync::Arc;

use frcnn_bundle::Op;
use tract_onnx::prelude::tensor1;

use super::layers::{computed, constant};
use super::{Attributes, Computed, Input, Kind, Lowering, Order};
use crate::constants::integers;
use crate::error::Problem;

impl<'a> Lowering<'a> {
    /// The shape of a computed value as a constant. Dimensions that are free are 0: in a `Reshape`, where
    /// exporters use them, 0 means "as in the input".
    pub(super) fn shape(&mut self, at: Attributes<'a>, inputs: &[Input]) -> Result<(), Problem> {
        let input = computed(at, inputs)?;
        let dims = match input.kind {
            Kind::Map { size, channels } => {
                let [height, width] = size.unwrap_or([0, 0]);
                vec![self.batch, channels as i64, height as i64, width as i64]
            }
            Kind::Level { map: [height, width, channels], flat: false, .. } => {
                vec![self.batch, channels as i64, height as i64, width as i64]
            }
            Kind::Flat { .. } | Kind::Level { .. } => vec![self.batch, input.kind.channels() as i64],
        };
        let rank = dims.len() as i64;
        let end = |name, default| {
            let position: i64 = at.int(name, default);
            (if position < 0 { position + rank } else { position }).clamp(0, rank) as usize
        };
        let dims = dims.get(end("start", 0)..end("end", rank)).unwrap_or_default();
        if let Some(output) = at.0.output.first() {
            self.constants.insert(output, Arc::new(tensor1(dims)));
        }
        Ok(())
    }

    pub(super) fn flatten(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        match (input.kind, at.int("axis", 1)) {
            (Kind::Flat { .. }, 1 | -1) => Ok(input),
            (Kind::Level { flat: true, .. }, 1 | -1) => Ok(input),
            (Kind::Map { .. } | Kind::Level { .. }, 1 | -3) => self.flatten_map(at, input),
            (_, axis) => Err(at.problem(format!("axis {axis} is not supported, only 1"))),
        }
    }

    pub(super) fn reshape(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let target = constant(at, inputs, 1, "shape")?;
        let target = integers(target).ok_or_else(|| at.problem("its shape is not integers"))?;
        let unsupported =
            || at.problem(format!("reshaping to {target:?} is not supported, only to one row for each RoI"));
        let features = match input.kind {
            Kind::Map { size: Some([height, width]), channels } => height * width * channels,
            Kind::Map { size: None, .. } => {
                return Err(at.problem("a map whose size depends on the image cannot be reshaped"));
            }
            Kind::Level { map, .. } => map.iter().product(),
            Kind::Flat { features, .. } => features,
        };
        // [R, F]: R may be -1, 0, or a number that the exporter saw; F may be -1 or must be right.
        match target[..] {
            [_, columns] if columns == features as i64 => {}
            [rows, -1] if rows != -1 => {}
            _ => return Err(unsupported()),
        }
        if matches!(input.kind, Kind::Flat { .. }) { Ok(input) } else { self.flatten_map(at, input) }
    }

    pub(super) fn squeeze(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let axes = match at.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => inputs.get(1).and_then(Input::constant).and_then(integers),
        };
        let mut axes: Vec<i64> = axes.unwrap_or_default().iter().map(|a| a.rem_euclid(4)).collect();
        axes.sort_unstable();
        match input.kind {
            Kind::Map { size: Some([1, 1]), .. } if axes == [2, 3] => self.flatten_pixel(at, input),
            Kind::Level { map: [1, 1, _], flat: false, .. } if axes == [2, 3] => self.flatten_map(at, input),
            _ => Err(at.problem("only the rows and columns (axes 2, 3) of a 1 x 1 map can be squeezed")),
        }
    }

    fn flatten_map(&mut self, at: Attributes, input: Computed) -> Result<Computed, Problem> {
        match input.kind {
            Kind::Map { size: Some([1, 1]), .. } => self.flatten_pixel(at, input),
            Kind::Map { size: Some([height, width]), channels } => {
                let map = [height, width, channels];
                let kind = Kind::Flat { features: map.iter().product(), order: Order::Map(map) };
                Ok(self.push(at, Op::Flatten, &[input], kind))
            }
            Kind::Level { level, map, .. } => {
                Ok(Computed { kind: Kind::Level { level, map, flat: true }, ..input })
            }
            _ => Err(at.problem("a map whose size depends on the image cannot be flattened")),
        }
    }

    /// A 1 x 1 map and the row of its channels are in the same order either way.
    pub(super) fn flatten_pixel(&mut self, at: Attributes, input: Computed) -> Result<Computed, Problem> {
        let features = input.kind.channels();
        Ok(self.push(at, Op::Flatten, &[input], Kind::Flat { features, order: Order::AsOnDevice }))
    }
}
