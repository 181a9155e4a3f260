//! Maps between layers that multiply bf16 values are bf16.

use super::{Planner, Step};

impl Planner<'_> {
    /// Decides whether a convolution, or a concatenation of some, writes its map in bf16 rather than f32.
    ///
    /// It does if all layers that make the map, and all that read it, multiply bf16 values. Such a reader would round an f32
    /// map to bf16 before its products, so the result has the same bits, and the map half the bytes. A map that is asked
    /// for stays f32.
    pub(super) fn choose_precision(&mut self, layer: usize) {
        let makers = match &self.steps[layer] {
            Step::Own if self.uses.conv(layer).is_some() => vec![layer],
            Step::Concat(branches) => branches.clone(),
            _ => return,
        };
        let rounds = |&layer: &usize| self.uses.conv(layer).is_some_and(|conv| self.kernels.rounds(conv));
        let end = self.last[layer];
        let readers = self.uses.readers(end);
        let bf16 = !self.uses.is_output(end)
            && !readers.is_empty()
            && readers.iter().all(rounds)
            && makers.iter().all(rounds);
        for maker in makers {
            self.epilogues[maker].bf16 = bf16;
        }
    }
}
