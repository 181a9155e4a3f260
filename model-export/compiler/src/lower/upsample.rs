//! A pyramid's upsampling: `Resize` to the size of the map that the result is added to.
//!
//! Exporters compute that size from the other map's, or write a factor of 2 that comes to the same. Neither is read: a sum has
//! two maps of one size.

use frcnn_bundle::Op;

use super::layers::computed;
use super::{Computed, Input, Kind, Lowering};
use crate::error::Problem;
use crate::onnx::Attributes;

impl Lowering<'_> {
    /// Makes no layer yet: it is the sum that says to which size.
    pub(super) fn resize(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let Kind::Map { channels, .. } = input.kind else {
            return Err(at.problem("it reads a row of features, not a map"));
        };
        let is = |name, default, value: &str| Ok::<_, Problem>(at.string(name)?.unwrap_or(default) == value);
        let nearest = is("mode", "nearest", "nearest")?
            && is("coordinate_transformation_mode", "half_pixel", "asymmetric")?
            && is("nearest_mode", "round_prefer_floor", "floor")?;
        if !nearest {
            return Err(at.problem(
                "of all kinds of resizing the nearest cell is supported, with coordinates `asymmetric` and `floor`",
            ));
        }
        Ok(Computed { kind: Kind::Upsampled { channels }, sole: false, ..input })
    }

    /// A sum, or another layer that reads what was resized.
    pub(super) fn sum_of_resized(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let unsupported =
            || at.problem("what is resized can only be added to a map, as in a feature pyramid");
        let [Input::Computed(a), Input::Computed(b)] = inputs else { return Err(unsupported()) };
        let (small, large) = match (a.kind, b.kind) {
            (Kind::Upsampled { .. }, Kind::Map { .. }) => (*a, *b),
            (Kind::Map { .. }, Kind::Upsampled { .. }) => (*b, *a),
            _ => return Err(unsupported()),
        };
        if at.0.op_type != "Add" {
            return Err(unsupported());
        }
        if small.kind.channels() != large.kind.channels() {
            return Err(at.problem("its inputs' channels differ"));
        }
        let upsampled = self.push(at, Op::Upsample, &[small, large], large.kind)?;
        self.push(at, Op::Add, &[large, upsampled], large.kind)
    }
}
