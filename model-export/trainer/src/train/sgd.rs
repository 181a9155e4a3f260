//! Stochastic gradient descent with momentum, as Caffe does it: the learning rate is in the velocity, so a drop of the
//! rate lets the old velocity run out instead of cutting it.
//!
//! ```text
//! v = momentum * v + lr * (gradient + decay * w)        w = w - v
//! ```

use std::collections::BTreeMap;

use tch::Tensor;

use crate::recipe::Recipe;

/// The optimiser and its state.
#[derive(Debug)]
pub(crate) struct Sgd {
    /// By the name of the weight; only of those that were trained.
    pub(crate) velocities: BTreeMap<String, Tensor>,
    /// By the name of the weight, its learning rate over that of weights; 1 where none is given.
    factors: BTreeMap<String, f64>,
}

impl Sgd {
    pub(crate) fn new(factors: BTreeMap<String, f64>) -> Sgd {
        Sgd { velocities: BTreeMap::new(), factors }
    }

    /// One step along the gradients that the weights have, which are then cleared. `lr` is that of weights.
    pub(crate) fn step(&mut self, weights: &mut BTreeMap<String, Tensor>, recipe: &Recipe, lr: f64) {
        tch::no_grad(|| {
            for (name, weight) in weights.iter_mut().filter(|(_, weight)| weight.requires_grad()) {
                let gradient = weight.grad();
                if !gradient.defined() {
                    continue;
                }
                let rate = lr * self.factors.get(name).copied().unwrap_or(1.0);
                let decay = if name.ends_with(".bias") { 0.0 } else { recipe.weight_decay };
                let velocity =
                    self.velocities.entry(name.clone()).or_insert_with(|| weight.detach().zeros_like());
                let scalar =
                    |value: f64| Tensor::full([0i64; 0], value, (gradient.kind(), gradient.device()));
                // In place: fc6 is so large that a temporary costs more than the arithmetic.
                *velocity *= recipe.momentum;
                let _ = velocity.addcmul_(&gradient, &scalar(rate));
                if decay > 0.0 {
                    let _ = velocity.addcmul_(weight, &scalar(rate * decay));
                }
                *weight -= &*velocity;
                // A leaf without a gradient takes the next one as it is, where zeros would be added to.
                *weight = weight.detach().set_requires_grad(true);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn two_steps_by_hand() {
        let recipe = Recipe { momentum: 0.5, weight_decay: 0.1, ..Recipe::default() };
        let one = || Tensor::from_slice(&[1.0f64]).set_requires_grad(true);
        let mut weights: BTreeMap<String, Tensor> =
            ["a.weight", "a.bias", "b.weight"].map(|name| (name.to_string(), one())).into();
        let mut sgd = Sgd::new([("a.bias".to_string(), 2.0), ("b.weight".to_string(), 3.0)].into());
        // The loss is the sum of all, so every gradient is 1.
        for _ in 0..2 {
            let loss: Tensor = weights.values().map(|w| w.sum(Kind::Double)).sum();
            loss.backward();
            sgd.step(&mut weights, &recipe, 0.1);
        }
        // v1 = 0.1 * (1 + 0.1), w1 = 1 - v1; v2 = 0.5 * v1 + 0.1 * (1 + 0.1 * w1).
        let expected = |rate: f64, decay: f64| {
            let v1 = rate * (1.0 + decay);
            let w1 = 1.0 - v1;
            w1 - (0.5 * v1 + rate * (1.0 + decay * w1))
        };
        for (name, rate, decay) in [("a.weight", 0.1, 0.1), ("a.bias", 0.2, 0.0), ("b.weight", 0.3, 0.1)] {
            assert!((weights[name].double_value(&[0]) - expected(rate, decay)).abs() < 1e-12, "{name}");
        }
    }
}
