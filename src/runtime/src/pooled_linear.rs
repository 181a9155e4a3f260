//! The fully connected layer that reads pooled RoIs, taken out of the head's graph to run as one with RoI pooling.

use frcnn_bundle::{Gemm, Graph, Op};

/// A head that begins with a fully connected layer, as the published ones do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PooledLinear {
    /// The layer: `fc6`, or `fc6_L` when it was factored.
    pub(crate) gemm: Gemm,
    /// Whether a ReLU follows it.
    pub(crate) relu: bool,
    /// The layers after it, whose input is what it gives.
    pub(crate) rest: Graph,
}

impl PooledLinear {
    /// None when the head does something else with pooled RoIs: convolutions, or two layers that both read them.
    pub(crate) fn of(head: &Graph) -> Option<PooledLinear> {
        let flatten = only_reader(head, 0)?;
        if head.layers.get(flatten)?.op != Op::Flatten {
            return None;
        }
        let linear = only_reader(head, flatten + 1)?;
        let Op::Gemm(gemm) = &head.layers.get(linear)?.op else { return None };
        let relu = only_reader(head, linear + 1)
            .filter(|&reader| head.layers.get(reader).is_some_and(|layer| layer.op == Op::Relu));
        let end = relu.unwrap_or(linear);
        let rest = without(head, &[Some(flatten), Some(linear), relu], end)?;
        Some(PooledLinear { gemm: gemm.clone(), relu: relu.is_some(), rest })
    }
}

/// The one layer that reads a value, once, if it is no output.
fn only_reader(graph: &Graph, value: usize) -> Option<usize> {
    let reads = |inputs: &[u32]| inputs.iter().filter(|&&input| input as usize == value).count();
    let mut readers = graph.layers.iter().enumerate().filter(|(_, layer)| reads(&layer.inputs) > 0);
    match (readers.next(), readers.next()) {
        (Some((position, layer)), None) if reads(&layer.inputs) == 1 && reads(&graph.outputs) == 0 => {
            Some(position)
        }
        _ => None,
    }
}

/// `graph` without the layers at `gone`, its input being what layer `end` gave.
fn without(graph: &Graph, gone: &[Option<usize>], end: usize) -> Option<Graph> {
    let mut renamed = vec![None; graph.layers.len() + 1];
    renamed[end + 1] = Some(0);
    let mut layers = Vec::new();
    let rename = |renamed: &[Option<u32>], values: &[u32]| -> Option<Vec<u32>> {
        values.iter().map(|&value| renamed.get(value as usize).copied().flatten()).collect()
    };
    for (position, layer) in graph.layers.iter().enumerate() {
        if !gone.contains(&Some(position)) {
            let inputs = rename(&renamed, &layer.inputs)?;
            layers.push(frcnn_bundle::Layer { inputs, ..layer.clone() });
            renamed[position + 1] = Some(layers.len() as u32);
        }
    }
    Some(Graph { outputs: rename(&renamed, &graph.outputs)?, layers })
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
    fn other_heads_are_left_alone() {
        let two_readers = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[1])], &[2, 3]);
        assert_eq!(PooledLinear::of(&two_readers), None);
        let pooled_twice = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (Op::Relu, &[0])], &[2, 3]);
        assert_eq!(PooledLinear::of(&pooled_twice), None);
        let average = graph(&[(Op::GlobalAveragePool, &[0]), (gemm(7), &[1]), (gemm(8), &[2])], &[2, 3]);
        assert_eq!(PooledLinear::of(&average), None);
        let asked_for = graph(&[(Op::Flatten, &[0]), (gemm(7), &[1]), (gemm(8), &[2])], &[1, 3]);
        assert_eq!(PooledLinear::of(&asked_for), None);
    }
}
