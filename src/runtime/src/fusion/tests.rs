use frcnn_bundle::{Conv, Graph, Layer, Op, Pool, SectionId};

use super::{Fusion, Kernels, Step};
use crate::ops::pointwise_of;

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

/// Weights 0 pool, all but weights 1 compute functions, weights 0 and 1 round, weights 5 start strips, which weights 6 may end; weights 7 and more go on in strips.
struct ByWeights;

impl Kernels for ByWeights {
    fn pools(&self, conv: &Conv) -> bool {
        conv.weight == 0
    }

    fn computes(&self, conv: &Conv) -> bool {
        conv.weight != 1
    }

    fn rounds(&self, conv: &Conv) -> bool {
        conv.weight < 2
    }

    fn starts_strips(&self, conv: &Conv) -> bool {
        conv.weight == 5
    }

    fn goes_on_strips(&self, conv: &Conv, second: &Conv) -> bool {
        conv.weight >= 7 && second.weight >= 7
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
fn relu_goes_with_the_sum_that_it_alone_reads() {
    let block = |last: (Op, Vec<u32>)| {
        graph(vec![(conv(2), vec![0]), (Op::Add, vec![1, 0]), (Op::Relu, vec![2]), last])
    };
    let fusion = Fusion::new(&block((conv(2), vec![3])), &[4], &ByWeights);
    assert_eq!((fusion.step(2), fusion.epilogue(1).relu), (&Step::Within(1), true));
    assert_eq!(taken(&block((conv(2), vec![2])), &[4]), [0; 0], "the sum is read as it is, too");
    assert_eq!(taken(&block((conv(2), vec![3])), &[2, 4]), [0; 0], "asked for");
}

#[test]
fn what_is_upsampled_is_added_where_the_map_lies() {
    // A coarse map, a fine one, and the sum of both in the size of the fine one.
    let way_down = |sum: Vec<u32>, last: (Op, Vec<u32>)| {
        graph(vec![(conv(2), vec![0]), (conv(3), vec![0]), (Op::Upsample, vec![1, 2]), (Op::Add, sum), last])
    };
    for sum in [vec![2, 3], vec![3, 2]] {
        let fusion = Fusion::new(&way_down(sum, (conv(2), vec![4])), &[5], &ByWeights);
        assert_eq!((fusion.step(2), fusion.step(3)), (&Step::Within(3), &Step::AddUpsampled(2)));
    }
    let with_relu = Fusion::new(&way_down(vec![2, 3], (Op::Relu, vec![4])), &[5], &ByWeights);
    assert_eq!((with_relu.step(3), with_relu.step(4)), (&Step::AddUpsampled(2), &Step::Own));
    let plain = way_down(vec![2, 3], (conv(2), vec![4]));
    assert_eq!(taken(&plain, &[3, 5]), [0; 0], "asked for");
    assert_eq!(taken(&way_down(vec![1, 3], (conv(2), vec![4])), &[5]), [0; 0], "added to another map");
    assert_eq!(
        taken(&way_down(vec![2, 3], (conv(2), vec![3])), &[4, 5]),
        [0; 0],
        "read by another layer, too"
    );
}

#[test]
fn relu_and_pool_go_with_their_convolution() {
    let chain =
        |weight, kernel| graph(vec![(conv(weight), vec![0]), (Op::Relu, vec![1]), (pool(kernel), vec![2])]);
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
fn other_functions_go_with_their_convolution() {
    let chain =
        |weight, function| graph(vec![(conv(weight), vec![0]), (function, vec![1]), (pool(2), vec![2])]);
    for function in
        [Op::HardSwish, Op::Clip { low: 0.0, high: 6.0 }, Op::HardSigmoid { alpha: 0.2, beta: 0.5 }]
    {
        let graph = chain(0, function.clone());
        let fusion = Fusion::new(&graph, &[3], &ByWeights);
        assert_eq!(fusion.epilogue(0).then, pointwise_of(&function));
        assert!(fusion.epilogue(0).then.is_some() && !fusion.epilogue(0).relu);
        assert_eq!(taken(&graph, &[3]), [1], "no pooling behind it");
        assert!(fusion.reason(2).unwrap_or_default().contains("other than ReLU"));
        assert_eq!(taken(&chain(1, function.clone()), &[3]), [0; 0], "a layer that computes none");
        assert_eq!(taken(&graph, &[1, 3]), [0; 0], "the value before it is asked for");
    }
    let twice = graph(vec![(conv(2), vec![0]), (Op::HardSwish, vec![1]), (Op::HardSwish, vec![2])]);
    assert_eq!(taken(&twice, &[3]), [1], "one function");
    let sum = graph(vec![(Op::Add, vec![0, 0]), (Op::HardSwish, vec![1])]);
    assert_eq!(taken(&sum, &[2]), [0; 0], "a sum of maps applies ReLU alone");
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
fn strips_go_around_a_depthwise_layer() {
    let depthwise = |weight, pads| {
        let Op::Conv(conv) = conv(weight) else { unreachable!() };
        Op::Conv(Conv { group: 4, pads, ..conv })
    };
    let block = |first: Op, second: Op, third: Op| {
        let layers = [first, Op::HardSwish, second, Op::Relu, third, Op::Add];
        let inputs = [vec![0], vec![1], vec![2], vec![3], vec![4], vec![5, 0]];
        graph(layers.into_iter().zip(inputs).collect())
    };
    let same = [1; 4];
    let strips = |graph: &Graph, outputs: &[u32]| {
        let fusion = Fusion::new(graph, outputs, &ByWeights);
        let strips = |position| match fusion.step(position) {
            Step::Strips(layers) => Some(layers.clone()),
            _ => None,
        };
        (0..graph.layers.len()).filter_map(strips).collect::<Vec<_>>()
    };
    let none: [Vec<usize>; 0] = [];
    let whole = block(conv(7), depthwise(8, same), conv(9));
    assert_eq!(strips(&whole, &[6]), [[0, 2, 4]]);
    assert_eq!(taken(&whole, &[6]), [1, 2, 3, 4]);
    assert_eq!(strips(&whole, &[2, 6]), [[2, 4]], "a value that is asked for");
    assert_eq!(strips(&whole, &[4, 6]), [[0, 2]]);
    assert_eq!(strips(&block(conv(2), depthwise(8, same), conv(9)), &[6]), [[2, 4]]);
    assert_eq!(strips(&block(conv(7), depthwise(8, same), conv(2)), &[6]), [[0, 2]]);
    assert_eq!(strips(&block(conv(7), conv(8), conv(9)), &[6]), none, "no depthwise one");
    let of_padding = [5, 1, 5, 1];
    assert_eq!(
        strips(&block(conv(7), depthwise(8, of_padding), conv(9)), &[6]),
        none,
        "rows of padding alone"
    );
    assert_eq!(strips(&block(conv(2), depthwise(8, of_padding), conv(9)), &[6]), none);
}

#[test]
fn what_is_not_fused_has_a_reason() {
    let chain =
        |weight, kernel| graph(vec![(conv(weight), vec![0]), (Op::Relu, vec![1]), (pool(kernel), vec![2])]);
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

#[test]
fn a_convolution_pools_once() {
    let pooled_twice = graph(vec![(conv(0), vec![0]), (pool(2), vec![1]), (pool(2), vec![2])]);
    assert_eq!(taken(&pooled_twice, &[3]), [1]);
}
