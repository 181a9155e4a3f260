//! How long a graph's values are needed.

use crate::Graph;

impl Graph {
    /// For each layer the values that are read by no layer after it, and are no outputs: those that it was the last to read,
    /// and its own where nobody reads it.
    pub fn last_read(&self) -> Vec<Vec<u32>> {
        // The input, where nobody reads it, goes with the first layer.
        let mut last: Vec<usize> = (0..=self.layers.len()).map(|value| value.saturating_sub(1)).collect();
        for (position, layer) in self.layers.iter().enumerate() {
            for &input in &layer.inputs {
                if let Some(last) = last.get_mut(input as usize) {
                    *last = (*last).max(position);
                }
            }
        }
        for &output in &self.outputs {
            if let Some(last) = last.get_mut(output as usize) {
                *last = self.layers.len();
            }
        }
        let mut done = vec![Vec::new(); self.layers.len()];
        for (value, last) in (0..).zip(last) {
            if let Some(done) = done.get_mut(last) {
                done.push(value);
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use crate::{Graph, Layer, Op};

    #[test]
    fn a_value_is_needed_until_it_is_read_for_the_last_time() {
        let layer = |inputs: &[u32]| Layer { name: String::new(), op: Op::Add, inputs: inputs.to_vec() };
        // Nobody reads value 2; 3 is an output, and read before.
        let layers = vec![layer(&[0, 0]), layer(&[0, 1]), layer(&[1, 1]), layer(&[3, 3])];
        let graph = Graph { layers, outputs: vec![3, 4] };
        assert_eq!(graph.last_read(), [vec![], vec![0, 2], vec![1], vec![]]);
    }
}
