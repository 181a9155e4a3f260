//! Which layer makes and which layers read each value of a graph (def-use chains).

use frcnn_bundle::{Conv, Graph, Op};

/// In a bundle, value 0 is the graph's input and value `l + 1` is what layer `l` makes. That is counted here alone: the rest of
/// the pass speaks of layers.
pub(super) struct Uses<'a> {
    graph: &'a Graph,
    /// For each value the layers that read it, one of them twice if it reads it twice.
    readers: Vec<Vec<usize>>,
    /// Whether each value is asked for.
    is_output: Vec<bool>,
}

impl<'a> Uses<'a> {
    pub(super) fn new(graph: &'a Graph, outputs: &[u32]) -> Uses<'a> {
        let values = graph.layers.len() + 1;
        let mut uses = Uses { graph, readers: vec![Vec::new(); values], is_output: vec![false; values] };
        for (position, layer) in graph.layers.iter().enumerate() {
            for &input in &layer.inputs {
                if let Some(readers) = uses.readers.get_mut(input as usize) {
                    readers.push(position);
                }
            }
        }
        for &output in outputs {
            if let Some(is_output) = uses.is_output.get_mut(output as usize) {
                *is_output = true;
            }
        }
        uses
    }

    pub(super) fn op(&self, layer: usize) -> Option<&'a Op> {
        self.graph.layers.get(layer).map(|layer| &layer.op)
    }

    /// The layer as a convolution, if it is one.
    pub(super) fn conv(&self, layer: usize) -> Option<&'a Conv> {
        match self.op(layer)? {
            Op::Conv(conv) => Some(conv),
            _ => None,
        }
    }

    /// The layers that make what `layer` reads, in its order; none for the graph's input.
    pub(super) fn makers(&self, layer: usize) -> impl Iterator<Item = Option<usize>> {
        let inputs = self.graph.layers.get(layer).map_or(&[][..], |layer| &layer.inputs);
        let layers = self.graph.layers.len();
        inputs.iter().map(move |&value| (value as usize).checked_sub(1).filter(|&maker| maker < layers))
    }

    /// The layer that makes what `layer` reads first; none for the graph's input.
    pub(super) fn maker(&self, layer: usize) -> Option<usize> {
        self.makers(layer).next().flatten()
    }

    /// The layers that read what `layer` makes.
    pub(super) fn readers(&self, layer: usize) -> &[usize] {
        self.readers.get(layer + 1).map_or(&[], Vec::as_slice)
    }

    /// Whether what `layer` makes is asked for.
    pub(super) fn is_output(&self, layer: usize) -> bool {
        self.is_output.get(layer + 1) != Some(&false)
    }

    /// The one layer that reads what `layer` makes, once; none if it is asked for.
    pub(super) fn only_reader(&self, layer: usize) -> Option<usize> {
        match self.readers(layer) {
            [reader] if !self.is_output(layer) => Some(*reader),
            _ => None,
        }
    }
}
