//! Which layers of a graph become part of another layer's operator.
//!
//! ```text
//! Conv ─ Relu                  bias, ReLU and pooling while a value is in registers,
//! Conv ─ Relu ─ MaxPool 2/2    where the convolution's algorithm can
//! Gemm ─ Relu
//!
//! Conv ─ Relu ─┐               each branch writes its channels of the one map
//! Conv ─ Relu ─┴─ Concat
//!
//! Conv ─ LRN ─ MaxPool         a large map between them is made and used a strip of rows at a time
//! Conv ─ Conv
//! ```
//!
//! A value that is asked for, or that another layer reads too, stays a value of its own.

use frcnn_bundle::{Conv, Graph, Layer, Op, Pool};

/// What the kernels of convolutions can and gain.
pub(crate) trait Kernels {
    /// It takes in a 2x2 max pooling.
    fn pools(&self, conv: &Conv) -> bool;
    /// It rounds what it reads to bf16, and may write that.
    fn rounds(&self, conv: &Conv) -> bool;
    /// Its map is large, and cheap to make in strips.
    fn starts_strips(&self, conv: &Conv) -> bool;
    /// `second` may read the strips of `conv`.
    fn ends_strips(&self, conv: &Conv, second: &Conv) -> bool;
}

/// Most layers in strips: a convolution, an LRN, a pooling and what they hand on to.
const MOST_IN_STRIPS: usize = 4;
/// Rows that two windows of a layer in strips may share: each strip computes them anew.
const SHARED_ROWS: u32 = 4;

/// What is fused in a graph of which `outputs` are asked for. Everything is decided once, in one pass over the layers.
pub(crate) struct Fusion<'a> {
    graph: &'a Graph,
    kernels: &'a dyn Kernels,
    /// For each value the layers that read it, one of them twice if it reads it twice.
    readers: Vec<Vec<usize>>,
    /// Whether each value is asked for.
    is_output: Vec<bool>,
    /// For each layer the layers that run in strips from it on; empty where there are none.
    strips: Vec<Vec<usize>>,
    /// Whether each layer runs in the strips of one before it.
    is_in_strips: Vec<bool>,
}

impl<'a> Fusion<'a> {
    pub(crate) fn new(graph: &'a Graph, outputs: &'a [u32], kernels: &'a dyn Kernels) -> Fusion<'a> {
        let values = graph.layers.len() + 1;
        let (mut readers, mut is_output) = (vec![Vec::new(); values], vec![false; values]);
        for (position, layer) in graph.layers.iter().enumerate() {
            for &input in &layer.inputs {
                if let Some(readers) = readers.get_mut(input as usize) {
                    readers.push(position);
                }
            }
        }
        for &output in outputs {
            if let Some(is_output) = is_output.get_mut(output as usize) {
                *is_output = true;
            }
        }
        let layers = graph.layers.len();
        let (strips, is_in_strips) = (vec![Vec::new(); layers], vec![false; layers]);
        let mut fusion = Fusion { graph, kernels, readers, is_output, strips, is_in_strips };
        for position in 0..layers {
            if let Some(strips) = fusion.find_strips(position) {
                strips.iter().skip(1).for_each(|&position| fusion.is_in_strips[position] = true);
                fusion.strips[position] = strips;
            }
        }
        fusion
    }

    pub(crate) fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// The position of the ReLU that layer `position` takes in.
    pub(crate) fn relu_after(&self, position: usize) -> Option<usize> {
        if !matches!(self.layer(position)?.op, Op::Conv(_) | Op::Gemm(_)) {
            return None;
        }
        self.only_reader(position).filter(|&reader| matches!(self.op(reader), Some(Op::Relu)))
    }

    /// The position of the max pooling that layer `position` takes in, and whether it is in ceil mode.
    pub(crate) fn pool_after(&self, position: usize) -> Option<(usize, bool)> {
        let Op::Conv(conv) = self.op(position)? else { return None };
        let reader = self.only_reader(self.end(position))?;
        match self.op(reader)? {
            Op::MaxPool(Pool { kernel: [2, 2], stride: [2, 2], pads: [0, 0, 0, 0], ceil_mode })
                if self.kernels.pools(conv) =>
            {
                Some((reader, *ceil_mode))
            }
            _ => None,
        }
    }

    /// The convolutions that layer `position` concatenates, if it does that alone and all of them are its own.
    pub(crate) fn branches(&self, position: usize) -> Option<Vec<(usize, &'a Layer, &'a Conv)>> {
        let concat = self.layer(position).filter(|layer| matches!(layer.op, Op::Concat))?;
        concat.inputs.iter().map(|&value| self.branch(position, value)).collect()
    }

    /// The convolution that makes `value`, if that is for layer `concat` alone.
    fn branch(&self, concat: usize, value: u32) -> Option<(usize, &'a Layer, &'a Conv)> {
        let (start, end) = self.makers(value)?;
        let layer = self.layer(start)?;
        let Op::Conv(conv) = &layer.op else { return None };
        let is_own = self.end(start) == end && self.only_reader(end) == Some(concat);
        is_own.then_some((start, layer, conv))
    }

    /// The layers that run in strips from convolution `position` on, itself and at least one more, without those that
    /// they take in.
    pub(crate) fn strips(&self, position: usize) -> Option<&[usize]> {
        self.strips.get(position).map(Vec::as_slice).filter(|strips| !strips.is_empty())
    }

    /// The same, found out when it is known for all layers before it.
    fn find_strips(&self, position: usize) -> Option<Vec<usize>> {
        let Op::Conv(first) = self.op(position)? else { return None };
        if !self.kernels.starts_strips(first)
            || !sees_rows(extent(first.kernel[0], first.dilation[0]), first.pads)
            || self.pool_after(position).is_some()
            || self.is_in_strips.get(position) == Some(&true)
        {
            return None;
        }
        let mut strips = vec![position];
        let mut end = self.end(position);
        while let Some(next) = self.only_reader(end) {
            if strips.len() == MOST_IN_STRIPS {
                break;
            }
            let pools = self.kernels.pools(first);
            match self.op(next)? {
                Op::MaxPool(pool) if !pools && shares_few_rows(pool.kernel[0], pool.stride[0], pool.pads) => {
                    strips.push(next);
                    end = next;
                }
                Op::Lrn { .. } if !pools => {
                    strips.push(next);
                    end = next;
                }
                Op::Conv(second) if end == self.end(position) && self.may_end(first, second) => {
                    strips.push(next);
                    break;
                }
                _ => break,
            }
        }
        (strips.len() > 1).then_some(strips)
    }

    fn may_end(&self, first: &Conv, second: &Conv) -> bool {
        shares_few_rows(extent(second.kernel[0], second.dilation[0]), second.stride[0], second.pads)
            && self.kernels.ends_strips(first, second)
    }

    /// Whether what layer `position`, a convolution or a concatenation of such, gives with all that it takes in may be
    /// bf16: they can all write it, and those who read it round it anyway.
    pub(crate) fn gives_bf16(&self, position: usize) -> bool {
        let writes = |conv: &Conv| self.kernels.rounds(conv);
        let (end, can) = match self.op(position) {
            Some(Op::Conv(conv)) => {
                (self.pool_after(position).map_or(self.end(position), |pool| pool.0), writes(conv))
            }
            _ => (
                position,
                self.branches(position).is_some_and(|all| all.iter().all(|(.., conv)| writes(conv))),
            ),
        };
        let readers = self.readers.get(end + 1).map_or(&[][..], Vec::as_slice);
        let rounds =
            |&reader: &usize| matches!(self.op(reader), Some(Op::Conv(conv)) if self.kernels.rounds(conv));
        can && self.is_output.get(end + 1) == Some(&false)
            && !readers.is_empty()
            && readers.iter().all(rounds)
    }

    /// Whether layer `position` is part of another's operator.
    pub(crate) fn is_taken_in(&self, position: usize) -> bool {
        let before = || Some(self.layer(position)?.inputs.first()?.checked_sub(1)? as usize);
        let taken = match self.op(position) {
            Some(Op::Relu) => before().filter(|&start| self.relu_after(start) == Some(position)),
            Some(Op::MaxPool(_)) => before()
                .map(|end| match (self.op(end), self.layer(end).and_then(|layer| layer.inputs.first())) {
                    (Some(Op::Relu), Some(&value)) if value > 0 => value as usize - 1,
                    _ => end,
                })
                .filter(|&start| self.pool_after(start).is_some_and(|(pool, _)| pool == position)),
            Some(Op::Conv(_)) => {
                self.only_reader(self.end(position)).filter(|&reader| self.branches(reader).is_some())
            }
            _ => None,
        };
        taken.is_some() || self.is_in_strips.get(position) == Some(&true)
    }

    /// The layer that makes `value`, itself and what comes before it if it is a ReLU: first and last.
    fn makers(&self, value: u32) -> Option<(usize, usize)> {
        let end = (value as usize).checked_sub(1)?;
        let start = match self.op(end)? {
            Op::Relu => self.layer(end)?.inputs.first()?.checked_sub(1)? as usize,
            _ => end,
        };
        Some((start, end))
    }

    /// The layer that makes what `position` and its ReLU give.
    fn end(&self, position: usize) -> usize {
        self.relu_after(position).unwrap_or(position)
    }

    /// The one layer that reads what layer `position` gives, once; none if it is asked for.
    fn only_reader(&self, position: usize) -> Option<usize> {
        let value = position.checked_add(1)?;
        match self.readers.get(value)?[..] {
            [reader] if self.is_output.get(value) == Some(&false) => Some(reader),
            _ => None,
        }
    }

    fn layer(&self, position: usize) -> Option<&'a Layer> {
        self.graph.layers.get(position)
    }

    fn op(&self, position: usize) -> Option<&'a Op> {
        self.layer(position).map(|layer| &layer.op)
    }
}

/// Rows from the first tap of a window to the last.
fn extent(kernel: u32, dilation: u32) -> u32 {
    kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
}

/// Whether each window sees a row of the map: then no strip is made of padding alone.
fn sees_rows(extent: u32, [top, _, bottom, _]: [u32; 4]) -> bool {
    top < extent && bottom < extent
}

/// Whether strips are little more work than the whole map, too.
fn shares_few_rows(extent: u32, stride: u32, pads: [u32; 4]) -> bool {
    extent.saturating_sub(stride) <= SHARED_ROWS && sees_rows(extent, pads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frcnn_bundle::SectionId;

    fn conv(weight: SectionId) -> Op {
        Op::Conv(Conv {
            in_channels: 4,
            out_channels: 4,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [1; 4],
            group: 1,
            weight,
            bias: None,
        })
    }

    fn pool(kernel: u32) -> Op {
        Op::MaxPool(Pool { kernel: [kernel; 2], stride: [2, 2], pads: [0; 4], ceil_mode: true })
    }

    fn graph(layers: Vec<(Op, Vec<u32>)>) -> Graph {
        let layer = |(op, inputs)| Layer { name: String::new(), op, inputs };
        Graph { layers: layers.into_iter().map(layer).collect(), outputs: vec![] }
    }

    /// Weights 0 pool, weights 0 and 1 round, weights 5 start strips, which weights 6 may end.
    struct ByWeights;

    impl Kernels for ByWeights {
        fn pools(&self, conv: &Conv) -> bool {
            conv.weight == 0
        }

        fn rounds(&self, conv: &Conv) -> bool {
            conv.weight < 2
        }

        fn starts_strips(&self, conv: &Conv) -> bool {
            conv.weight == 5
        }

        fn ends_strips(&self, _: &Conv, second: &Conv) -> bool {
            second.weight == 5 || second.weight == 6
        }
    }

    fn taken(graph: &Graph, outputs: &[u32]) -> Vec<usize> {
        let fusion = Fusion::new(graph, outputs, &ByWeights);
        (0..graph.layers.len()).filter(|&position| fusion.is_taken_in(position)).collect()
    }

    #[test]
    fn relu_and_pool_go_with_their_convolution() {
        let chain = |weight, kernel| {
            graph(vec![(conv(weight), vec![0]), (Op::Relu, vec![1]), (pool(kernel), vec![2])])
        };
        assert_eq!(taken(&chain(0, 2), &[3]), [1, 2]);
        assert_eq!(taken(&chain(1, 2), &[3]), [1], "an algorithm that does not pool");
        assert_eq!(taken(&chain(0, 3), &[3]), [1], "larger windows");
        assert_eq!(taken(&chain(0, 2), &[2, 3]), [1], "a value that is asked for");
        assert_eq!(taken(&chain(0, 2), &[1, 3]), [0; 0], "the value before the ReLU is");
        let no_relu = graph(vec![(conv(0), vec![0]), (pool(2), vec![1])]);
        assert_eq!(taken(&no_relu, &[2]), [1]);
        let read_twice = graph(vec![(conv(0), vec![0]), (pool(2), vec![1]), (Op::Add, vec![1, 1])]);
        assert_eq!(taken(&read_twice, &[2, 3]), [0; 0]);
    }

    #[test]
    fn a_concatenation_takes_its_convolutions() {
        // A fire module: conv, relu; conv, relu; concat.
        let fire = |inputs| {
            graph(vec![
                (conv(1), vec![0]),
                (Op::Relu, vec![1]),
                (conv(2), vec![0]),
                (Op::Relu, vec![3]),
                (Op::Concat, inputs),
            ])
        };
        assert_eq!(taken(&fire(vec![2, 4]), &[5]), [0, 1, 2, 3]);
        assert_eq!(taken(&fire(vec![2, 4]), &[4, 5]), [1, 3], "a branch that is asked for");
        assert_eq!(taken(&fire(vec![2, 2]), &[5]), [1, 3], "a branch that is there twice");
        assert_eq!(taken(&fire(vec![0, 4]), &[5]), [1, 3], "a branch that is the input");
        let graph = fire(vec![4, 2]);
        let fusion = Fusion::new(&graph, &[5], &ByWeights);
        let order: Vec<usize> =
            fusion.branches(4).unwrap_or_default().iter().map(|branch| branch.0).collect();
        assert_eq!(order, [2, 0]);
    }

    #[test]
    fn strips_go_from_a_large_map_to_a_small_one() {
        let lrn = || Op::Lrn { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 };
        let medium = graph(vec![
            (conv(5), vec![0]),
            (Op::Relu, vec![1]),
            (lrn(), vec![2]),
            (pool(3), vec![3]),
            (conv(6), vec![4]),
        ]);
        assert_eq!(taken(&medium, &[5]), [1, 2, 3], "a convolution reads the pooled map, which is small");
        assert_eq!(taken(&medium, &[3, 5]), [1, 2], "a value that is asked for ends strips");
        let pair = |second| {
            graph(vec![
                (conv(5), vec![0]),
                (Op::Relu, vec![1]),
                (conv(second), vec![2]),
                (Op::Relu, vec![3]),
                (conv(0), vec![4]),
            ])
        };
        assert_eq!(taken(&pair(6), &[5]), [1, 2, 3]);
        assert_eq!(taken(&pair(1), &[5]), [1, 3]);
        assert_eq!(taken(&pair(6), &[2, 5]), [1, 3]);
        // Weights 5 may start strips, but not those of which they are the end.
        let fives = (0..3).map(|value| (conv(5), vec![value])).collect();
        assert_eq!(taken(&graph(fives), &[3]), [1], "the third is made by itself");
    }

    #[test]
    fn maps_between_bf16_layers_are_bf16() {
        let gives = |layers, outputs: &[u32]| {
            let graph = graph(layers);
            let fusion = Fusion::new(&graph, outputs, &ByWeights);
            (0..graph.layers.len()).filter(|&position| fusion.gives_bf16(position)).collect::<Vec<_>>()
        };
        let chain = |first, last| {
            let pooled = vec![(conv(first), vec![0]), (Op::Relu, vec![1]), (pool(2), vec![2])];
            pooled.into_iter().chain([(conv(last), vec![3])]).collect::<Vec<_>>()
        };
        assert_eq!(gives(chain(0, 1), &[4]), [0]);
        assert_eq!(gives(chain(0, 2), &[4]), [0; 0], "read in f32");
        assert_eq!(gives(chain(2, 1), &[4]), [0; 0], "made in f32");
        assert_eq!(gives(chain(0, 1), &[3, 4]), [0; 0], "asked for");
        let fire = |first| {
            vec![(conv(first), vec![0]), (conv(1), vec![0]), (Op::Concat, vec![1, 2]), (conv(1), vec![3])]
        };
        assert_eq!(gives(fire(0), &[4]), [2]);
        assert_eq!(gives(fire(2), &[4]), [0; 0], "one branch is f32");
    }
}
