//! The fully connected layers of a head that run outside tract's plan.
//!
//! A tensor of tract's owns its memory, and cannot be some rows of another. So the layers that read or write some rows of
//! a larger array are taken out of the graph: no row is copied into the plan, and no box delta out of it.
//!
//! ```text
//! pooled RoIs ─ first ─ second ─ rest ─ scores     first:   as one with RoI pooling, for thousands of RoIs
//!      │          │        │      │                second:  for some hundreds of the rows that it gives
//!      └──────────┴────────┴──────┴─ deltas        deltas:  reads one of these, gives the head's box deltas
//! ```

use frcnn_bundle::{Gemm, Graph, Layer, Op, Rewrite};

use crate::head::{CHUNK_BYTES, CHUNK_ROWS, POOLED_ROWS};

/// A head, cut into the layers outside the plan and the rest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeadParts {
    /// The one fully connected layer, beside the box regressors, that reads pooled RoIs.
    pub(crate) first: Option<Linear>,
    /// The one fully connected layer, beside the box regressors, that reads what `first` gives.
    pub(crate) second: Option<Linear>,
    /// The plan's layers. They read what `second` gives; without it what `first` gives; without both, pooled RoIs. They give
    /// the scores and, where [`HeadParts::deltas`] need it, a second value.
    pub(crate) rest: Graph,
    /// The box regressors. None where a layer of another kind makes the box deltas: then the rest gives them.
    pub(crate) deltas: Option<Deltas>,
}

/// A fully connected layer and the ReLU that follows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    pub(crate) gemm: Gemm,
    pub(crate) relu: bool,
    /// What it gives, in the head's graph.
    value: u32,
}

/// The fully connected layer that gives the box deltas, to nobody else.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deltas {
    pub(crate) gemm: Gemm,
    pub(crate) reads: Reads,
}

/// What the box regressors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Pooled RoIs, as `first` does: those of SPPnet and R-CNN.
    PooledRois,
    /// What `first` gives.
    First,
    /// What the rest reads.
    RestInput,
    /// The second value that the rest gives.
    RestOutput,
}

impl HeadParts {
    pub(crate) fn of(head: &Graph) -> HeadParts {
        let regressors = box_regressors(head);
        let mut cut = Cut { head, gone: regressors.into_iter().collect() };
        // Bins of several levels are a row already.
        let flatten = cut.only_reader(0).filter(|&reader| is(head, reader, &Op::Flatten));
        let pooled = flatten.map_or(0, value_of);
        let first = cut.take_linear(pooled);
        if first.is_some() {
            cut.gone.extend(flatten);
        }
        let second = first.as_ref().and_then(|first| cut.take_linear(first.value));
        let input = second.as_ref().or(first.as_ref()).map_or(0, |linear| linear.value);

        let mut outputs = head.outputs.clone();
        let deltas = regressors.and_then(|position| {
            let read = *head.layers.get(position)?.inputs.first()?;
            let reads = match &first {
                Some(_) if read == pooled => Reads::PooledRois,
                Some(first) if read == first.value => Reads::First,
                _ if read == input => Reads::RestInput,
                _ => Reads::RestOutput,
            };
            outputs.truncate(1);
            outputs.extend((reads == Reads::RestOutput).then_some(read));
            Some(Deltas { gemm: gemm(head, position)?.clone(), reads })
        });
        match cut.rest(input, &outputs) {
            Some(rest) => HeadParts { first, second, rest, deltas },
            // Never: who reads what a layer gives was looked at before the layer went.
            None => HeadParts { first: None, second: None, rest: head.clone(), deltas: None },
        }
    }

    /// RoIs of so many pooled features each that the first layers take at once.
    pub(crate) fn rows_at_once(&self, features: usize) -> usize {
        match (&self.first, &self.second) {
            (Some(_), Some(_)) => POOLED_ROWS,
            // The plan reads what the first layer gives.
            (Some(_), None) => CHUNK_ROWS,
            (None, _) => (CHUNK_BYTES / 4 / features.max(1)).clamp(64, CHUNK_ROWS),
        }
    }

    /// The layers that read pooled RoIs and run as one with RoI pooling.
    pub(crate) fn on_pooled_rois(&self) -> impl Iterator<Item = &Gemm> {
        let deltas = self.deltas.iter().filter(|deltas| deltas.reads == Reads::PooledRois);
        self.first.iter().map(|first| &first.gemm).chain(deltas.map(|deltas| &deltas.gemm))
    }
}

impl Linear {
    /// Values in a row of what it gives.
    pub(crate) fn width(&self) -> usize {
        self.gemm.out_features as usize
    }
}

/// A head from which layers go.
struct Cut<'a> {
    head: &'a Graph,
    /// Positions of the layers that have gone: to begin with, the box regressors.
    gone: Vec<usize>,
}

impl Cut<'_> {
    /// Takes out the fully connected layer that reads `value`, with its ReLU, if no other layer that stays reads it.
    fn take_linear(&mut self, value: u32) -> Option<Linear> {
        let mut readers = readers(self.head, value);
        readers.retain(|reader| !self.gone.contains(reader));
        let &[position] = &readers[..] else { return None };
        let gemm = gemm(self.head, position)?.clone();
        let relu = self.only_reader(value_of(position));
        let relu = relu.filter(|&reader| is(self.head, reader, &Op::Relu));
        let linear = Linear { gemm, relu: relu.is_some(), value: value_of(relu.unwrap_or(position)) };
        if [value, linear.value].iter().any(|value| self.head.outputs.contains(value)) {
            return None;
        }
        self.gone.push(position);
        self.gone.extend(relu);
        Some(linear)
    }

    /// The one layer that reads a value, once, if it is no output.
    fn only_reader(&self, value: u32) -> Option<usize> {
        match readers(self.head, value)[..] {
            [reader] if !self.head.outputs.contains(&value) => Some(reader),
            _ => None,
        }
    }

    /// The layers that stay, which read the value `input` and give `outputs`.
    fn rest(&self, input: u32, outputs: &[u32]) -> Option<Graph> {
        let mut rest = Rewrite::default();
        rest.set(input, 0);
        for (position, layer) in self.head.layers.iter().enumerate() {
            if !self.gone.contains(&position) {
                rest.keep(position, layer.clone())?;
            }
        }
        rest.finish(outputs)
    }
}

/// The fully connected layer whose values are the head's box deltas and nothing else.
fn box_regressors(head: &Graph) -> Option<usize> {
    let &[scores, deltas] = &head.outputs[..] else { return None };
    let position = (deltas as usize).checked_sub(1)?;
    let Layer { op: Op::Gemm(_), inputs, .. } = head.layers.get(position)? else { return None };
    let is_alone = deltas != scores && readers(head, deltas).is_empty() && !inputs.contains(&scores);
    is_alone.then_some(position)
}

/// The value that the layer at `position` gives.
fn value_of(position: usize) -> u32 {
    position as u32 + 1
}

fn is(graph: &Graph, position: usize, op: &Op) -> bool {
    graph.layers.get(position).is_some_and(|layer| layer.op == *op)
}

fn gemm(graph: &Graph, position: usize) -> Option<&Gemm> {
    match &graph.layers.get(position)?.op {
        Op::Gemm(gemm) => Some(gemm),
        _ => None,
    }
}

/// The layers that read a value, one of them twice if it reads it twice.
fn readers(graph: &Graph, value: u32) -> Vec<usize> {
    let layers = graph.layers.iter().enumerate();
    let reads = layers.flat_map(|(position, layer)| layer.inputs.iter().map(move |&input| (position, input)));
    reads.filter(|&(_, input)| input == value).map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn gemm(weight: u32) -> Op {
        Op::Gemm(Gemm { in_features: 4, out_features: 4, weight, bias: None })
    }

    fn graph(layers: &[(Op, &[u32])], outputs: &[u32]) -> Graph {
        let layer = |(op, inputs): &(Op, &[u32])| Layer {
            name: String::new(),
            op: op.clone(),
            inputs: inputs.to_vec(),
        };
        Graph { layers: layers.iter().map(layer).collect(), outputs: outputs.to_vec() }
    }

    /// Weights of a layer, and whether a ReLU follows.
    fn linear(linear: Option<&Linear>) -> Option<(u32, bool)> {
        linear.map(|linear| (linear.gemm.weight, linear.relu))
    }

    /// Weights of `first`, `second` and `deltas`, with ReLUs and what the deltas read.
    type Outside = (Option<(u32, bool)>, Option<(u32, bool)>, Option<(u32, Reads)>);

    fn cut(head: &Graph) -> (Outside, Graph) {
        let HeadParts { first, second, rest, deltas } = HeadParts::of(head);
        let deltas = deltas.map(|deltas| (deltas.gemm.weight, deltas.reads));
        ((linear(first.as_ref()), linear(second.as_ref()), deltas), rest)
    }

    /// fc6, fc7, class scores and box regressors, as in the published Fast R-CNN.
    #[test]
    fn two_hidden_layers() {
        let head = graph(
            &[
                (Op::Flatten, &[0]),
                (gemm(6), &[1]),
                (Op::Relu, &[2]),
                (gemm(7), &[3]),
                (Op::Relu, &[4]),
                (gemm(8), &[5]),
                (gemm(9), &[5]),
                (Op::Softmax, &[6]),
            ],
            &[8, 7],
        );
        let outside = (Some((6, true)), Some((7, true)), Some((9, Reads::RestInput)));
        let rest = graph(&[(gemm(8), &[0]), (Op::Softmax, &[1])], &[2]);
        assert_eq!(cut(&head), (outside, rest));
    }

    /// Each factored in two: the plan has the second of fc7's.
    #[test]
    fn factored_layers_have_no_relu_between() {
        let head = graph(
            &[
                (Op::Flatten, &[0]),
                (gemm(5), &[1]),
                (gemm(6), &[2]),
                (Op::Relu, &[3]),
                (gemm(7), &[4]),
                (gemm(8), &[5]),
                (gemm(9), &[5]),
                (Op::Softmax, &[6]),
            ],
            &[8, 7],
        );
        let outside = (Some((5, false)), Some((6, true)), Some((9, Reads::RestOutput)));
        let rest = graph(&[(gemm(7), &[0]), (gemm(8), &[1]), (Op::Softmax, &[2])], &[3, 1]);
        assert_eq!(cut(&head), (outside, rest));
    }

    #[test]
    fn regressors_may_read_what_the_first_layer_gives() {
        let head = graph(&[(gemm(7), &[0]), (Op::Relu, &[1]), (gemm(8), &[2]), (gemm(9), &[2])], &[3, 4]);
        // The scores are a value that is asked for: their layer stays.
        let outside = (Some((7, true)), None, Some((9, Reads::First)));
        assert_eq!(cut(&head), (outside, graph(&[(gemm(8), &[0])], &[1])));
        let before_relu =
            graph(&[(gemm(7), &[0]), (Op::Relu, &[1]), (gemm(8), &[2]), (gemm(9), &[1])], &[3, 4]);
        let outside = (Some((7, false)), None, Some((9, Reads::First)));
        assert_eq!(cut(&before_relu), (outside, graph(&[(Op::Relu, &[0]), (gemm(8), &[1])], &[2])));
    }

    #[test]
    fn regressors_on_pooled_rois_go_with_the_first_layer() {
        let row = graph(&[(gemm(9), &[0]), (gemm(7), &[0]), (Op::Relu, &[2]), (gemm(8), &[3])], &[4, 1]);
        let map = graph(
            &[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[2]), (gemm(9), &[1]), (gemm(8), &[3])],
            &[5, 4],
        );
        for head in [row, map] {
            let outside = (Some((7, true)), None, Some((9, Reads::PooledRois)));
            assert_eq!(cut(&head), (outside, graph(&[(gemm(8), &[0])], &[1])));
            let weights: Vec<u32> = HeadParts::of(&head).on_pooled_rois().map(|gemm| gemm.weight).collect();
            assert_eq!(weights, [7, 9]);
        }
    }

    #[test]
    fn where_several_layers_read_pooled_rois_only_the_regressors_go() {
        let two_hidden = graph(
            &[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[1]), (gemm(9), &[2]), (gemm(9), &[3])],
            &[4, 5],
        );
        let rest = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[1]), (gemm(9), &[2])], &[4, 3]);
        assert_eq!(cut(&two_hidden), ((None, None, Some((9, Reads::RestOutput))), rest));
        let average = graph(&[(Op::GlobalAveragePool, &[0]), (gemm(7), &[1]), (gemm(8), &[1])], &[2, 3]);
        let rest = graph(&[(Op::GlobalAveragePool, &[0]), (gemm(7), &[1])], &[2, 1]);
        assert_eq!(cut(&average), ((None, None, Some((8, Reads::RestOutput))), rest));
        let on_rows = graph(&[(gemm(7), &[0]), (gemm(8), &[0])], &[1, 2]);
        let rest = graph(&[(gemm(7), &[0])], &[1]);
        assert_eq!(cut(&on_rows), ((None, None, Some((8, Reads::RestInput))), rest));
    }

    #[test]
    fn other_heads_stay_whole() {
        let pooled_twice = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[0])], &[2, 3]);
        assert_eq!(cut(&pooled_twice), ((None, None, None), pooled_twice.clone()));
        let asked_for = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[2])], &[1, 3]);
        let rest = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1])], &[1, 2]);
        assert_eq!(cut(&asked_for), ((None, None, Some((8, Reads::RestOutput))), rest));
        // Deltas that are made of the scores, or that the scores are made of.
        let of_scores = graph(&[(gemm(7), &[0]), (Op::Relu, &[1]), (gemm(8), &[1])], &[1, 3]);
        assert_eq!(cut(&of_scores), ((None, None, None), of_scores.clone()));
        let to_scores = graph(&[(Op::Relu, &[0]), (gemm(7), &[1]), (Op::Softmax, &[2])], &[3, 2]);
        assert_eq!(cut(&to_scores), ((None, None, None), to_scores.clone()));
    }
}
