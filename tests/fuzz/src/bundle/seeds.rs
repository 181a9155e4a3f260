//! One small bundle per kind of network: together they hold every operator.

use frcnn_bundle::{
    Affine, Contents, Conv, Gemm, Graph, Layer, LevelRule, Manifest, Op, Origin, Pool, Precision, Regions,
    Resize, RoiAlign, RoiPooling, Rpn, Scores, Warp,
};

/// Files of small bundles, each valid.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    [
        ("fast", fast(), Precision::F32),
        ("bf16", fast(), Precision::Bf16),
        ("f16", fast(), Precision::F16),
        ("int8", fast(), Precision::Int8),
        ("levels", levels(), Precision::F32),
        ("crops", crops(), Precision::F32),
        ("ops", ops(), Precision::F32),
        ("branches", branches(), Precision::F32),
        ("pyramid", pyramid(), Precision::F32),
    ]
    .into_iter()
    .map(|(name, mut contents, precision)| {
        super::fit::fit(&mut contents, precision);
        let weights = if precision == Precision::Int8 { int8_weights() } else { weights() };
        (format!("{name}.frcnn"), super::fill(contents, &weights).expect("a seed has a file"))
    })
    .collect()
}

/// Bytes that are good as int8 of either sign, none of them -128, and as f32 above 0, such as scales.
fn int8_weights() -> Vec<u8> {
    let byte = |i: u32| (i * 37 % 255 + 129) as u8;
    (0..509).flat_map(|i| [byte(3 * i), byte(3 * i + 1), byte(3 * i + 2), 0x3b + (i % 4) as u8]).collect()
}

/// Small values of either sign, as f32; as bf16 or f16 they are finite too.
pub(super) fn weights() -> Vec<u8> {
    (0..509u32).flat_map(|i| (((i * 37 % 101) as f32 - 50.0) / 64.0).to_le_bytes()).collect()
}

fn contents(regions: Regions, trunk: Graph, head: Graph) -> Contents {
    let mut manifest = Manifest::new(["__background__", "a", "b"].map(String::from).to_vec());
    manifest.scales = vec![16];
    manifest.max_long_side = 24;
    Contents {
        blob_means: manifest.blob_means(),
        manifest,
        trunk,
        regions,
        head,
        sections: Vec::new(),
        factored: Vec::new(),
        origin: Origin { onnx_sha256: [7; 32], compiler: "fuzz".into() },
        board: None,
        cascade: None,
        rpn: None,
    }
}

fn pooled(levels: &[[u32; 2]], spatial_scale: f32) -> Regions {
    Regions::RoiPooling(RoiPooling { pooled: levels.to_vec(), spatial_scale })
}

/// Channels read, sections and features read are set by `fit`.
pub(super) fn conv(out_channels: u32, kernel: u32, stride: u32, pad: u32) -> Op {
    let (kernel, stride, pads) = ([kernel; 2], [stride; 2], [pad; 4]);
    let (dilation, group) = ([1; 2], 1);
    Op::Conv(Conv {
        in_channels: 0,
        out_channels,
        kernel,
        stride,
        dilation,
        pads,
        group,
        weight: 0,
        bias: Some(0),
    })
}

pub(super) fn gemm(out_features: u32) -> Op {
    Op::Gemm(Gemm { in_features: 0, out_features, weight: 0, bias: Some(0) })
}

pub(super) fn affine() -> Op {
    Op::Affine(Affine { channels: 0, scale: 0, shift: 0 })
}

pub(super) fn pool(kernel: u32, stride: u32, pad: u32, ceil_mode: bool) -> Pool {
    Pool { kernel: [kernel; 2], stride: [stride; 2], pads: [pad; 4], ceil_mode }
}

/// Each layer reads the one before it.
fn chain(ops: Vec<Op>) -> Vec<Layer> {
    let layers = ops.into_iter().enumerate();
    layers.map(|(i, op)| Layer { name: format!("l{i}"), op, inputs: vec![i as u32] }).collect()
}

fn trunk(ops: Vec<Op>) -> Graph {
    let layers = chain(ops);
    Graph { outputs: vec![layers.len() as u32], layers }
}

/// `ops`, then scores with a softmax and deltas, which read the same features.
fn head(ops: Vec<Op>) -> Graph {
    let features = ops.len() as u32;
    let mut layers = chain(ops);
    let mut add = |name: &str, op, input| {
        layers.push(Layer { name: name.into(), op, inputs: vec![input] });
        layers.len() as u32
    };
    let scores = add("cls_score", gemm(3), features);
    let scores = add("cls_prob", Op::Softmax, scores);
    let deltas = add("bbox_pred", gemm(12), features);
    Graph { layers, outputs: vec![scores, deltas] }
}

fn fast() -> Contents {
    let trunk = trunk(vec![
        conv(4, 3, 1, 1),
        Op::Relu,
        Op::MaxPool(pool(2, 2, 0, false)),
        conv(5, 3, 1, 1),
        Op::Relu,
    ]);
    let head = head(vec![Op::Flatten, gemm(6), Op::Relu]);
    contents(pooled(&[[2, 3]], 0.5), trunk, head)
}

fn levels() -> Contents {
    let trunk = trunk(vec![conv(4, 3, 2, 1), Op::Relu]);
    let mut contents = contents(pooled(&[[2, 2], [1, 1]], 0.5), trunk, head(vec![gemm(6), Op::Relu]));
    contents.manifest.scales = vec![12, 18];
    contents
}

fn crops() -> Contents {
    let trunk = trunk(vec![conv(4, 3, 2, 1), Op::Relu, Op::MaxPool(pool(3, 2, 0, true))]);
    let mut head = head(vec![Op::Flatten, gemm(5)]);
    // Margins, without a softmax.
    head.layers.remove(3);
    head.outputs = vec![3, 4];
    let mut contents = contents(Regions::Warp(Warp { side: 9, context: 1 }), trunk, head);
    contents.manifest.scores = Scores::Margins;
    contents.manifest.score_threshold = -1.0;
    contents
}

fn ops() -> Contents {
    let trunk = trunk(vec![
        conv(4, 3, 1, 1),
        affine(),
        Op::HardSwish,
        Op::Lrn { size: 3, alpha: 1e-4, beta: 0.75, k: 1.0 },
        Op::AveragePool { pool: pool(3, 2, 1, true), count_include_pad: true },
        Op::LeakyRelu { alpha: 0.1 },
        Op::Clip { low: 0.0, high: 6.0 },
    ]);
    let head = head(vec![
        Op::GlobalAveragePool,
        Op::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Op::Flatten,
        Op::Sigmoid,
    ]);
    contents(pooled(&[[3, 3]], 0.5), trunk, head)
}

/// A fire module, a residual, a gate, a grouped and a dilated convolution.
fn branches() -> Contents {
    let Op::Conv(conv4) = conv(4, 3, 1, 1) else { unreachable!("it is a convolution") };
    let grouped = Op::Conv(Conv { group: 4, ..conv4.clone() });
    let dilated = Op::Conv(Conv { dilation: [2; 2], pads: [2; 4], ..conv4 });
    let layers = [
        (conv(4, 3, 2, 1), vec![0]),
        (grouped, vec![1]),
        (dilated, vec![1]),
        (Op::Add, vec![2, 3]),
        (Op::GlobalAveragePool, vec![4]),
        (Op::Sigmoid, vec![5]),
        (Op::Mul, vec![4, 6]),
        (conv(2, 1, 1, 0), vec![7]),
        (Op::Concat, vec![7, 8]),
    ];
    let layers = layers.into_iter().enumerate();
    let layers = layers.map(|(i, (op, inputs))| Layer { name: format!("l{i}"), op, inputs }).collect();
    let trunk = Graph { layers, outputs: vec![9] };
    contents(pooled(&[[2, 2]], 0.5), trunk, head(vec![Op::Flatten]))
}

/// Two maps that regions are sampled from, one more that the RPN alone reads, and the RPN.
fn pyramid() -> Contents {
    let graph = |layers: Vec<(Op, Vec<u32>)>, outputs: Vec<u32>| {
        let layers = layers.into_iter().enumerate();
        let layers = layers.map(|(i, (op, inputs))| Layer { name: format!("l{i}"), op, inputs });
        Graph { layers: layers.collect(), outputs }
    };
    let trunk = vec![
        (conv(4, 3, 4, 1), vec![0]),
        (Op::Relu, vec![1]),
        (conv(6, 3, 2, 1), vec![2]),
        (conv(5, 1, 1, 0), vec![3]),
        (conv(5, 1, 1, 0), vec![2]),
        (Op::Upsample, vec![4, 5]),
        (Op::Add, vec![5, 6]),
        (conv(5, 3, 1, 1), vec![7]),
        (Op::MaxPool(pool(1, 2, 0, false)), vec![4]),
    ];
    let rpn = vec![
        (conv(5, 3, 1, 1), vec![0]),
        (Op::Relu, vec![1]),
        (conv(2, 1, 1, 0), vec![2]),
        (conv(8, 1, 1, 0), vec![2]),
    ];
    let align = RoiAlign {
        pooled: [2, 3],
        sampling_ratio: 0,
        half_pixel: true,
        spatial_scales: vec![0.25, 0.125],
        level_rule: LevelRule { canonical_size: 12.0, canonical_level: 3, finest_level: 2 },
    };
    let head = head(vec![Op::Flatten, gemm(6), Op::Relu]);
    let mut contents = contents(Regions::RoiAlign(align), graph(trunk, vec![8, 4, 9]), head);
    (contents.manifest.resize, contents.manifest.pad_multiple) = (Resize::Detectron2, 4);
    let square = |side: f32| vec![[-side, -side, side, side], [-side, -1.0, side, 1.0]];
    contents.rpn = Some(Rpn {
        graph: graph(rpn, vec![3, 4]),
        anchors: [2.0, 4.0, 8.0].map(square).to_vec(),
        strides: None,
        box_weights: [1.0; 4],
        pre_nms_top_n: 9,
        post_nms_top_n: 12,
        nms_iou: 0.7,
        min_side: 1e-3,
        score_threshold: 0.0,
    });
    contents
}
