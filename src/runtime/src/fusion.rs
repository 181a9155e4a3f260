//! Which layers of a graph become part of another layer's operator, decided once for a graph.
//!
//! ```text
//! Conv ─ Relu                  bias, ReLU and pooling while a value is in registers,       epilogues
//! Conv ─ Relu ─ MaxPool 2/2    where the convolution's algorithm can
//! Conv ─ HardSwish             and so other functions of one value
//! Gemm ─ Relu
//! Add  ─ Relu
//!
//! Conv ─ Relu ─┐               each branch writes its channels of the one map               concat
//! Conv ─ Relu ─┴─ Concat
//!
//! Upsample ─┐                  cells are added where they lie                          upsample
//! Conv ─────┴─ Add
//!
//! Conv ─ LRN ─ MaxPool         row tiling: a large map between them is made and used        strips
//! Conv ─ Conv                  a strip of rows at a time
//! Conv ─ depthwise ─ Conv
//!
//! Conv ─ Conv                  the map between bf16 layers is bf16                          bf16
//! ```
//!
//! On the right stands the module that decides it. A value that is asked for, or that another layer reads too, stays a value
//! of its own. A layer is named here by its position in the graph.

mod bf16;
mod concat;
mod epilogues;
mod strips;
#[cfg(test)]
mod tests;
mod upsample;
mod uses;

use frcnn_bundle::{Conv, Graph};
use frcnn_kernels::Pointwise;

use uses::Uses;

/// What the kernels of convolutions can and gain.
pub(crate) trait Kernels {
    /// It takes in a 2x2 max pooling.
    fn pools(&self, conv: &Conv) -> bool;
    /// It computes a function of each value beside, other than ReLU, which all do.
    fn computes(&self, conv: &Conv) -> bool;
    /// It multiplies bf16 values: it rounds an f32 map that it reads, also reads maps of bf16, and can write them.
    fn rounds(&self, conv: &Conv) -> bool;
    /// Its map is large, and cheap to make in strips.
    fn starts_strips(&self, conv: &Conv) -> bool;
    /// The map of `conv` is more than a cache holds, strips of it have the bits of the whole, and `second`, a depthwise or a
    /// pointwise layer, reads them cheaply.
    fn goes_on_strips(&self, conv: &Conv, second: &Conv) -> bool;
    /// `second` may read the strips of `conv`.
    fn ends_strips(&self, conv: &Conv, second: &Conv) -> bool;
}

/// How a layer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// As an operator, with its [`Epilogue`].
    Own,
    /// As the first of these layers, itself among them, which run a strip of rows at a time, each with its epilogue.
    Strips(Vec<usize>),
    /// As these convolutions, which write into the one map that the layer, a concatenation, gives.
    Concat(Vec<usize>),
    /// As a sum of a map and of what this layer, an upsampling, reads.
    AddUpsampled(usize),
    /// As part of the operator of this layer.
    Within(usize),
}

/// What a layer does beside its own work, while its sums are in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Epilogue {
    /// It applies the ReLU that follows it.
    pub(crate) relu: bool,
    /// It applies another function that follows it.
    pub(crate) then: Option<Pointwise>,
    /// It does the 2x2 max pooling that follows it: whether in ceil mode.
    pub(crate) pool: Option<bool>,
    /// It rounds its output to bf16. All layers that read the output would do so themselves.
    pub(crate) bf16: bool,
}

/// No number of a function is NaN: bundles are checked for that.
impl Eq for Epilogue {}

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
            uses: Uses::new(graph, outputs),
            kernels,
            last: (0..layers).collect(),
            steps: (0..layers).map(|_| Step::Own).collect(),
            epilogues: vec![Epilogue::default(); layers],
            reasons: vec![None; layers],
        };
        // Each pass builds on those before it: a pooling follows a ReLU that the convolution has taken in; branches and
        // strips are of convolutions with their epilogues; and a map's precision depends on who makes it in the end.
        (0..layers).for_each(|layer| planner.fuse_upsample(layer));
        (0..layers).for_each(|layer| planner.fuse_activation(layer));
        (0..layers).for_each(|layer| planner.fuse_pool(layer));
        (0..layers).for_each(|layer| planner.fuse_concat(layer));
        (0..layers).for_each(|layer| planner.tile_rows(layer));
        (0..layers).for_each(|layer| planner.choose_precision(layer));
        Fusion { steps: planner.steps, epilogues: planner.epilogues, reasons: planner.reasons }
    }

    /// The layer whose operator computes layer `position`.
    pub(crate) fn operator(&self, mut position: usize) -> usize {
        while let Step::Within(operator) = self.step(position) {
            position = *operator;
        }
        position
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

/// Decisions under way: one entry for each layer in every list.
struct Planner<'a> {
    uses: Uses<'a>,
    kernels: &'a dyn Kernels,
    steps: Vec<Step>,
    epilogues: Vec<Epilogue>,
    /// The last layer that the operator computes in its epilogue, whose value it therefore gives; the layer itself where
    /// it has taken in none.
    last: Vec<usize>,
    reasons: Vec<Option<&'static str>>,
}

impl Planner<'_> {
    /// `layer`, which follows what `operator` computes so far, becomes the end of its epilogue.
    fn take_in(&mut self, layer: usize, operator: usize) {
        self.steps[layer] = Step::Within(operator);
        self.last[operator] = layer;
    }

    /// The layer of which `layer` is a part, or itself.
    fn operator_of(&self, layer: usize) -> usize {
        match self.steps[layer] {
            Step::Within(operator) => operator,
            _ => layer,
        }
    }

    /// The one layer that reads what the operator of `layer` gives, once; none if that is asked for.
    fn only_reader(&self, layer: usize) -> Option<usize> {
        self.uses.only_reader(self.last[layer])
    }
}

const READ_BY_OTHERS: &str = "the value before it is asked for, or read by another layer too";
