//! Which layers of a graph become part of another layer's operator, decided once for a graph.
//!
//! ```text
//! Conv ─ Relu                  bias, ReLU and pooling while a value is in registers,
//! Conv ─ Relu ─ MaxPool 2/2    where the convolution's algorithm can
//! Gemm ─ Relu
//!
//! Conv ─ Relu ─┐               each branch writes its channels of the one map
//! Conv ─ Relu ─┴─ Concat
//!
//! Conv ─ LRN ─ MaxPool         row tiling: a large map between them is made and used a strip of rows at a time
//! Conv ─ Conv                  (Alwani et al., Fused-Layer CNN Accelerators, MICRO 2016)
//! ```
//!
//! A value that is asked for, or that another layer reads too, stays a value of its own.

use frcnn_bundle::{Conv, Graph, Op, Pool};

/// What the kernels of convolutions can and gain.
pub(crate) trait Kernels {
    /// It takes in a 2x2 max pooling.
    fn pools(&self, conv: &Conv) -> bool;
    /// It multiplies bf16 values: it rounds an f32 map that it reads, also reads maps of bf16, and can write them.
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

/// How a layer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// As an operator, with its [`Epilogue`].
    Own,
    /// As the first of these layers, itself among them, which run a strip of rows at a time, each with its epilogue.
    Strips(Vec<usize>),
    /// As these convolutions, which write into the one map that the layer, a concatenation, gives.
    Concat(Vec<usize>),
    /// As part of the operator of the layer at this position.
    Within(usize),
}

/// What a layer does beside its own work, while its sums are in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epilogue {
    /// It applies the ReLU that follows it.
    pub(crate) relu: bool,
    /// It does the 2x2 max pooling that follows it: whether in ceil mode.
    pub(crate) pool: Option<bool>,
    /// It rounds its output to bf16. All layers that read the output would do so themselves.
    pub(crate) bf16: bool,
}

/// What is fused in a graph of which some values are asked for, and why other things are not.
#[derive(Debug)]
pub(crate) struct Fusion {
    steps: Vec<Step>,
    epilogues: Vec<Epilogue>,
    reasons: Vec<Option<&'static str>>,
}

impl Fusion {
    /// Decides for every layer of `graph`, of which the values `outputs` are asked for. Linear in layers and inputs.
    pub(crate) fn new(graph: &Graph, outputs: &[u32], kernels: &dyn Kernels) -> Fusion {
        let layers = graph.layers.len();
        let mut planner = Planner {
            graph,
            kernels,
            readers: readers(graph),
            is_output: vec![false; layers + 1],
            ends: (0..layers).collect(),
            steps: (0..layers).map(|_| Step::Own).collect(),
            epilogues: vec![Epilogue::default(); layers],
            reasons: vec![None; layers],
        };
        for &output in outputs {
            if let Some(is_output) = planner.is_output.get_mut(output as usize) {
                *is_output = true;
            }
        }
        (0..layers).for_each(|position| planner.take_in_relu(position));
        (0..layers).for_each(|position| planner.take_in_pool(position));
        (0..layers).for_each(|position| planner.join_branches(position));
        (0..layers).for_each(|position| planner.cut_strips(position));
        (0..layers).for_each(|position| planner.round(position));
        Fusion { steps: planner.steps, epilogues: planner.epilogues, reasons: planner.reasons }
    }

    /// How layer `position` runs.
    pub(crate) fn step(&self, position: usize) -> &Step {
        self.steps.get(position).unwrap_or(&Step::Own)
    }

    /// What layer `position` does beside.
    pub(crate) fn epilogue(&self, position: usize) -> Epilogue {
        self.epilogues.get(position).copied().unwrap_or_default()
    }

    /// Why layer `position`, of a kind that is often fused, is not.
    pub(crate) fn reason(&self, position: usize) -> Option<&'static str> {
        self.reasons.get(position).copied().flatten()
    }
}

/// Decisions under way. Each pass builds on those before it.
struct Planner<'a> {
    graph: &'a Graph,
    kernels: &'a dyn Kernels,
    /// For each value the layers that read it, one of them twice if it reads it twice.
    readers: Vec<Vec<usize>>,
    /// Whether each value is asked for.
    is_output: Vec<bool>,
    /// For each layer the last one of those that it has taken in.
    ends: Vec<usize>,
    steps: Vec<Step>,
    epilogues: Vec<Epilogue>,
    reasons: Vec<Option<&'static str>>,
}

impl Planner<'_> {
    fn take_in_relu(&mut self, position: usize) {
        if !matches!(self.op(position), Some(Op::Relu)) {
            return;
        }
        match self.maker(position) {
            Some(maker) if matches!(self.op(maker), Some(Op::Conv(_) | Op::Gemm(_))) => {
                if self.only_reader(maker) == Some(position) {
                    self.epilogues[maker].relu = true;
                    self.take(position, maker);
                } else {
                    self.reasons[position] = Some(READ_BY_OTHERS);
                }
            }
            _ => self.reasons[position] = Some("not behind a convolution or a fully connected layer"),
        }
    }

    fn take_in_pool(&mut self, position: usize) {
        let Some(Op::MaxPool(pool)) = self.op(position) else { return };
        let pool = *pool;
        let Some(before) = self.maker(position) else { return };
        let maker = match self.steps[before] {
            Step::Within(maker) => maker,
            _ => before,
        };
        let Some(Op::Conv(conv)) = self.op(maker) else {
            self.reasons[position] = Some("not behind a convolution");
            return;
        };
        let Pool { kernel, stride, pads, ceil_mode } = pool;
        self.reasons[position] = if (kernel, stride, pads) != ([2, 2], [2, 2], [0; 4]) {
            Some("windows other than 2x2 that move by 2")
        } else if !self.kernels.pools(conv) {
            Some("the convolution's algorithm takes in no pooling")
        } else if self.only_reader(self.ends[maker]) != Some(position) {
            Some(READ_BY_OTHERS)
        } else {
            self.epilogues[maker].pool = Some(ceil_mode);
            self.take(position, maker);
            None
        };
    }

    /// Convolutions that a concatenation alone reads, each once, write into its map.
    fn join_branches(&mut self, position: usize) {
        let Some(layer) = self.graph.layers.get(position) else { return };
        if !matches!(layer.op, Op::Concat) {
            return;
        }
        let branches: Option<Vec<usize>> =
            layer.inputs.iter().map(|&value| self.branch(position, value)).collect();
        match branches {
            Some(branches) => {
                for &branch in &branches {
                    self.steps[branch] = Step::Within(position);
                }
                self.steps[position] = Step::Concat(branches);
            }
            None => {
                self.reasons[position] = Some("not all its inputs are convolutions that it alone reads");
            }
        }
    }

    /// The convolution that makes `value`, if that is for layer `concat` alone.
    fn branch(&self, concat: usize, value: u32) -> Option<usize> {
        let end = (value as usize).checked_sub(1)?;
        let start = match self.steps.get(end)? {
            Step::Within(maker) => *maker,
            _ => end,
        };
        let is_own = self.epilogues.get(start)?.pool.is_none() && self.only_reader(end) == Some(concat);
        (is_own && matches!(self.op(start), Some(Op::Conv(_)))).then_some(start)
    }

    fn cut_strips(&mut self, position: usize) {
        let Some(Op::Conv(first)) = self.op(position) else { return };
        if self.steps[position] != Step::Own
            || !self.kernels.starts_strips(first)
            || !sees_rows(extent(first.kernel[0], first.dilation[0]), first.pads)
            || self.epilogues[position].pool.is_some()
        {
            return;
        }
        let mut strips = vec![position];
        let mut end = self.ends[position];
        let pools = self.kernels.pools(first);
        while let Some(next) = self.only_reader(end)
            && strips.len() < MOST_IN_STRIPS
        {
            let goes_on = match self.op(next) {
                Some(Op::MaxPool(pool)) => {
                    !pools && shares_few_rows(pool.kernel[0], pool.stride[0], pool.pads)
                }
                Some(Op::Lrn { .. }) => !pools,
                Some(Op::Conv(second)) => {
                    end == self.ends[position] && self.steps[next] == Step::Own && self.may_end(first, second)
                }
                _ => false,
            };
            if !goes_on {
                break;
            }
            strips.push(next);
            end = next;
            if matches!(self.op(next), Some(Op::Conv(_))) {
                break;
            }
        }
        if strips.len() > 1 {
            for &next in &strips[1..] {
                self.steps[next] = Step::Within(position);
                self.reasons[next] = None;
            }
            self.steps[position] = Step::Strips(strips);
        } else {
            self.reasons[position] = Some("a large map, but what reads it gains nothing by strips of rows");
        }
    }

    fn may_end(&self, first: &Conv, second: &Conv) -> bool {
        shares_few_rows(extent(second.kernel[0], second.dilation[0]), second.stride[0], second.pads)
            && self.kernels.ends_strips(first, second)
    }

    /// Decides whether a convolution, or a concatenation of some, writes its map in bf16 rather than f32.
    ///
    /// It does if all layers that make the map, and all that read it, multiply bf16 values. Such a reader would round an f32
    /// map to bf16 before its products, so the result has the same bits, and the map half the bytes. A map that is asked
    /// for stays f32.
    fn round(&mut self, position: usize) {
        let makers = match &self.steps[position] {
            Step::Own if matches!(self.op(position), Some(Op::Conv(_))) => vec![position],
            Step::Concat(branches) => branches.clone(),
            _ => return,
        };
        let rounds =
            |position: usize| matches!(self.op(position), Some(Op::Conv(conv)) if self.kernels.rounds(conv));
        let end = self.ends[position] + 1;
        let readers = self.readers.get(end).map_or(&[][..], Vec::as_slice);
        let bf16 = self.is_output.get(end) == Some(&false)
            && !readers.is_empty()
            && readers.iter().chain(&makers).all(|&position| rounds(position));
        for maker in makers {
            self.epilogues[maker].bf16 = bf16;
        }
    }

    /// Layer `position` becomes part of layer `maker`, whose output is then what `position` gives.
    fn take(&mut self, position: usize, maker: usize) {
        self.steps[position] = Step::Within(maker);
        self.ends[maker] = position;
    }

    /// The layer that makes what layer `position` reads first; none for the graph's input.
    fn maker(&self, position: usize) -> Option<usize> {
        (*self.graph.layers.get(position)?.inputs.first()? as usize).checked_sub(1)
    }

    /// The one layer that reads what layer `position` gives, once; none if it is asked for.
    fn only_reader(&self, position: usize) -> Option<usize> {
        let value = position.checked_add(1)?;
        match self.readers.get(value)?[..] {
            [reader] if self.is_output.get(value) == Some(&false) => Some(reader),
            _ => None,
        }
    }

    fn op(&self, position: usize) -> Option<&Op> {
        self.graph.layers.get(position).map(|layer| &layer.op)
    }
}

const READ_BY_OTHERS: &str = "the value before it is asked for, or read by another layer too";

/// For each value the layers that read it.
fn readers(graph: &Graph) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); graph.layers.len() + 1];
    for (position, layer) in graph.layers.iter().enumerate() {
        for &input in &layer.inputs {
            if let Some(readers) = readers.get_mut(input as usize) {
                readers.push(position);
            }
        }
    }
    readers
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
    use frcnn_bundle::{Layer, SectionId};

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
        let is_within = |position: &usize| matches!(fusion.step(*position), Step::Within(_));
        (0..graph.layers.len()).filter(is_within).collect()
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
        assert_eq!(*fusion.step(4), Step::Concat(vec![2, 0]));
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
        let branches =
            graph(vec![(conv(5), vec![0]), (conv(6), vec![1]), (conv(1), vec![0]), (Op::Concat, vec![2, 3])]);
        assert_eq!(taken(&branches, &[4]), [1, 2], "a branch is not the end of strips, too");
    }

    #[test]
    fn what_is_not_fused_has_a_reason() {
        let chain = |weight, kernel| {
            graph(vec![(conv(weight), vec![0]), (Op::Relu, vec![1]), (pool(kernel), vec![2])])
        };
        let reason = |graph: &Graph, outputs: &[u32], position| {
            Fusion::new(graph, outputs, &ByWeights).reason(position).unwrap_or_default()
        };
        assert_eq!(reason(&chain(0, 2), &[3], 2), "");
        assert!(reason(&chain(1, 2), &[3], 2).contains("algorithm"));
        assert!(reason(&chain(0, 3), &[3], 2).contains("2x2"));
        assert!(reason(&chain(0, 2), &[1, 3], 1).contains("asked for"));
        assert!(reason(&graph(vec![(Op::Relu, vec![0])]), &[1], 0).contains("not behind"));
    }

    #[test]
    fn maps_between_bf16_layers_are_bf16() {
        let gives = |layers, outputs: &[u32]| {
            let graph = graph(layers);
            let fusion = Fusion::new(&graph, outputs, &ByWeights);
            (0..graph.layers.len()).filter(|&position| fusion.epilogue(position).bf16).collect::<Vec<_>>()
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
        assert_eq!(gives(fire(0), &[4]), [0, 1], "both branches write it");
        assert_eq!(gives(fire(2), &[4]), [0; 0], "one branch is f32");
    }
}
