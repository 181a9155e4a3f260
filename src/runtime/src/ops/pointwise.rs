//! `Clip` and `HardSigmoid`, each in one step: tract's planning takes time with the square of steps that have constants.

use tract_core::internal::*;
use tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

/// `min(max(scale * x + shift, low), high)` of each value, in place. NaN stays NaN.
#[derive(Clone, Debug, PartialEq)]
struct Pointwise {
    scale: f32,
    shift: f32,
    bounds: [f32; 2],
}

/// None of the four is NaN: bundles are checked for that.
impl Eq for Pointwise {}

/// The operator for `bounds` low and high, of which the high one wins.
pub(crate) fn pointwise(scale: f32, shift: f32, bounds: [f32; 2]) -> ElementWiseOp {
    ElementWiseOp(Box::new(Pointwise { scale, shift, bounds }), None)
}

impl ElementWiseMiniOp for Pointwise {
    fn name(&self) -> String {
        "FrcnnPointwise".to_string()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let Pointwise { scale, shift, bounds: [low, high] } = *self;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        for value in plain.as_slice_mut::<f32>()? {
            let x = scale * *value + shift;
            let x = if x < low { low } else { x };
            *value = if x > high { high } else { x };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_scaled_shifted_and_bounded() {
        let run = |op: ElementWiseOp, values: &[f32]| {
            let mut tensor = Tensor::from_shape(&[values.len()], values).unwrap();
            op.0.eval_in_place(&mut tensor, None).unwrap();
            tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        let values = [f32::NEG_INFINITY, -4.0, 0.0, 1.0, 7.0, f32::INFINITY];
        assert_eq!(run(pointwise(1.0, 0.0, [0.0, 6.0]), &values), [0.0, 0.0, 0.0, 1.0, 6.0, 6.0]);
        assert_eq!(run(pointwise(0.25, 0.5, [0.0, 1.0]), &values), [0.0, 0.0, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(run(pointwise(1.0, 0.0, [5.0, -5.0]), &values), [-5.0; 6]);
        assert!(run(pointwise(1.0, 0.0, [0.0, 6.0]), &[f32::NAN])[0].is_nan());
    }
}
