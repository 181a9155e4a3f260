//! The fully connected layers that read pooled RoIs, taken out of the head's graph to run as one with RoI pooling.

use frcnn_bundle::{Gemm, Graph, Op, Rewrite};

/// A head that begins with a fully connected layer, as the published ones do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PooledLinear {
    /// The layer's name: `fc6`, or `fc6_L` when it was factored.
    pub(crate) name: String,
    pub(crate) gemm: Gemm,
    /// Whether a ReLU follows it.
    pub(crate) relu: bool,
    /// SPPnet's and R-CNN's box regressors, which read the same features; the head gives what they give.
    pub(crate) boxes: Option<Gemm>,
    /// The layers after it, whose input is what it gives. Outputs are the head's, without the boxes where they are above.
    pub(crate) rest: Graph,
}

impl PooledLinear {
    /// None when the head does something else with pooled RoIs: convolutions, or two hidden layers that both read them.
    pub(crate) fn of(head: &Graph) -> Option<PooledLinear> {
        // Bins of several levels are a row already.
        let flatten = only_reader(head, 0).filter(|&reader| is(head, reader, &Op::Flatten));
        let row = flatten.map_or(0, |flatten| flatten + 1);
        if head.outputs.contains(&(row as u32)) {
            return None;
        }
        let (linear, regressors) = match readers(head, row)[..] {
            [linear] => (linear, None),
            [a, b] if is_boxes(head, b) && is_hidden(head, a) => (a, Some(b)),
            [a, b] if is_boxes(head, a) && is_hidden(head, b) => (b, Some(a)),
            _ => return None,
        };
        let boxes = match regressors {
            Some(regressors) => Some(gemm(head, regressors)?.clone()),
            None => None,
        };
        let relu = only_reader(head, linear + 1).filter(|&reader| is(head, reader, &Op::Relu));
        let outputs = if boxes.is_some() { &head.outputs[..1] } else { &head.outputs[..] };
        let rest =
            without(head, &[flatten, Some(linear), regressors, relu], relu.unwrap_or(linear), outputs)?;
        let name = head.layers.get(linear)?.name.clone();
        Some(PooledLinear { name, gemm: gemm(head, linear)?.clone(), relu: relu.is_some(), boxes, rest })
    }

    /// Features that the layer, and the regressors with it, make.
    pub(crate) fn out_features(&self) -> [usize; 2] {
        let boxes = self.boxes.as_ref().map_or(0, |boxes| boxes.out_features);
        [self.gemm.out_features, boxes].map(|features| features as usize)
    }

    /// Takes the layer's features out of the rows that it made together with the regressors.
    pub(crate) fn copy_features(&self, made: &[f32], features: &mut [f32]) {
        let [width, boxes] = self.out_features();
        if boxes == 0 {
            features.copy_from_slice(made);
            return;
        }
        // No ReLU follows the regressors, so the product of both has not applied the layer's.
        let relu = |value: f32| if self.relu { value.max(0.0) } else { value };
        for (features, made) in features.chunks_exact_mut(width.max(1)).zip(made.chunks_exact(width + boxes))
        {
            for (feature, &made) in features.iter_mut().zip(made) {
                *feature = relu(made);
            }
        }
    }
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

/// Whether layer `position` gives the box deltas, and to nobody else.
fn is_boxes(graph: &Graph, position: usize) -> bool {
    let value = position as u32 + 1;
    gemm(graph, position).is_some()
        && graph.outputs.get(1) == Some(&value)
        && readers(graph, position + 1).is_empty()
}

/// Whether other layers read what layer `position` gives.
fn is_hidden(graph: &Graph, position: usize) -> bool {
    !graph.outputs.contains(&(position as u32 + 1))
}

/// The layers that read a value, one of them twice if it reads it twice.
fn readers(graph: &Graph, value: usize) -> Vec<usize> {
    let layers = graph.layers.iter().enumerate();
    let reads = layers.flat_map(|(position, layer)| layer.inputs.iter().map(move |&input| (position, input)));
    reads.filter(|&(_, input)| input as usize == value).map(|(position, _)| position).collect()
}

/// The one layer that reads a value, once, if it is no output.
fn only_reader(graph: &Graph, value: usize) -> Option<usize> {
    match readers(graph, value)[..] {
        [reader] if !graph.outputs.contains(&(value as u32)) => Some(reader),
        _ => None,
    }
}

/// The part of `graph` that gives `outputs`, without the layers at `gone`, its input being what layer `end` gave.
fn without(graph: &Graph, gone: &[Option<usize>], end: usize, outputs: &[u32]) -> Option<Graph> {
    let mut part = Rewrite::default();
    part.set(end as u32 + 1, 0);
    for (position, layer) in graph.layers.iter().enumerate() {
        if !gone.contains(&Some(position)) {
            part.keep(position, layer.clone())?;
        }
    }
    part.finish(outputs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use frcnn_bundle::Layer;

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

    #[test]
    fn the_first_layer_and_its_relu_go() {
        let head = graph(
            &[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[2]), (gemm(8), &[3]), (gemm(9), &[3])],
            &[4, 5],
        );
        let found = PooledLinear::of(&head).unwrap();
        assert_eq!((found.gemm.weight, found.relu), (7, true));
        assert_eq!(found.rest, graph(&[(gemm(8), &[0]), (gemm(9), &[0])], &[1, 2]));
    }

    #[test]
    fn a_factored_layer_has_no_relu_between() {
        let head =
            graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[2]), (Op::Softmax, &[3])], &[4, 3]);
        let found = PooledLinear::of(&head).unwrap();
        assert!(!found.relu);
        assert_eq!(found.rest, graph(&[(gemm(8), &[0]), (Op::Softmax, &[1])], &[2, 1]));
    }

    #[test]
    fn regressors_on_the_same_features_go_with_it() {
        let row = graph(&[(gemm(9), &[0]), (gemm(7), &[0]), (Op::Relu, &[2]), (gemm(8), &[3])], &[4, 1]);
        let map = graph(
            &[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[2]), (gemm(9), &[1]), (gemm(8), &[3])],
            &[5, 4],
        );
        for head in [row, map] {
            let found = PooledLinear::of(&head).unwrap();
            assert_eq!((found.gemm.weight, found.relu), (7, true));
            assert_eq!(found.boxes.as_ref().map(|boxes| boxes.weight), Some(9));
            assert_eq!(found.out_features(), [4, 4]);
            assert_eq!(found.rest, graph(&[(gemm(8), &[0])], &[1]));
        }
    }

    #[test]
    fn a_row_needs_no_flattening() {
        let head = graph(&[(gemm(7), &[0]), (Op::Relu, &[1]), (gemm(8), &[2]), (gemm(9), &[2])], &[3, 4]);
        let found = PooledLinear::of(&head).unwrap();
        assert_eq!((found.gemm.weight, found.relu), (7, true));
        assert_eq!(found.rest, graph(&[(gemm(8), &[0]), (gemm(9), &[0])], &[1, 2]));
    }

    #[test]
    fn other_heads_are_left_alone() {
        let two_hidden = graph(
            &[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[1]), (gemm(9), &[2]), (gemm(9), &[3])],
            &[4, 5],
        );
        assert_eq!(PooledLinear::of(&two_hidden), None);
        let pooled_twice = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[0])], &[2, 3]);
        assert_eq!(PooledLinear::of(&pooled_twice), None);
        let average = graph(&[(Op::GlobalAveragePool, &[0]), (gemm(7), &[1]), (gemm(8), &[2])], &[2, 3]);
        assert_eq!(PooledLinear::of(&average), None);
        let asked_for = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[2])], &[1, 3]);
        assert_eq!(PooledLinear::of(&asked_for), None);
    }
}
