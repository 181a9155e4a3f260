//! A graph made anew of another one: layers go, come or stay, and values get new numbers.

use std::collections::HashMap;

use crate::{Graph, Layer};

/// A new graph under construction, and where the old one's values are in it.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    layers: Vec<Layer>,
    moved: HashMap<u32, u32>,
}

impl Rewrite {
    /// The new graph's value that stands for `old`, if there is one.
    pub fn value(&self, old: u32) -> Option<u32> {
        self.moved.get(&old).copied()
    }

    /// From now on, `new` stands for `old`.
    pub fn set(&mut self, old: u32, new: u32) {
        self.moved.insert(old, new);
    }

    /// Adds a layer that reads values of the new graph; gives the value that it makes.
    pub fn push(&mut self, layer: Layer) -> u32 {
        self.layers.push(layer);
        self.layers.len() as u32
    }

    /// Adds the old graph's layer at `position`, which reads values of the old graph. Gives the value that it makes, or
    /// nothing where one that it reads has no place in the new graph.
    pub fn keep(&mut self, position: usize, layer: Layer) -> Option<u32> {
        let inputs = self.values(&layer.inputs)?;
        let new = self.push(Layer { inputs, ..layer });
        self.set(position as u32 + 1, new);
        Some(new)
    }

    /// The new graph, which gives what stands for `outputs` of the old one; nothing where one of them has no place in it.
    pub fn finish(self, outputs: &[u32]) -> Option<Graph> {
        Some(Graph { outputs: self.values(outputs)?, layers: self.layers })
    }

    fn values(&self, old: &[u32]) -> Option<Vec<u32>> {
        old.iter().map(|&value| self.value(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    fn layer(op: Op, inputs: &[u32]) -> Layer {
        Layer { name: String::new(), op, inputs: inputs.to_vec() }
    }

    #[test]
    fn values_behind_a_layer_that_goes_are_counted_anew() {
        let old = [layer(Op::Relu, &[0]), layer(Op::Flatten, &[1]), layer(Op::Softmax, &[2])];
        let mut rewrite = Rewrite::default();
        rewrite.set(1, 0);
        for (position, layer) in old.iter().enumerate().skip(1) {
            rewrite.keep(position, layer.clone()).unwrap();
        }
        assert_eq!((rewrite.value(0), rewrite.value(3)), (None, Some(2)));
        // Value 0 went.
        assert_eq!(rewrite.keep(3, layer(Op::Relu, &[0])), None);
        assert!(rewrite.clone().finish(&[0]).is_none());
        let new = rewrite.finish(&[3, 1]).unwrap();
        assert_eq!(new.outputs, [2, 0]);
        assert_eq!(new.layers, [layer(Op::Flatten, &[0]), layer(Op::Softmax, &[1])]);
    }
}
