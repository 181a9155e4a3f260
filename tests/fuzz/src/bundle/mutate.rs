//! One change after another to a bundle, its hashes set right after each.

use frcnn_bundle::{
    ChannelOrder, Contents, Graph, Int8, Layer, Op, Pool, Precision, Regions, Resize, Rpn, Scores, Warp,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::file::{PRELUDE, record_len, set_prelude, take_apart};
use super::fill;
use super::fit::fit;
use super::seeds::{affine, conv, gemm, pool};

/// Gives another file made of `file`. `bytes` changes plain bytes, as libFuzzer does.
pub fn mutate(file: &[u8], seed: u32, bytes: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    let kind = rng.random_range(0..16u32);
    let Some((contents, pool)) = take_apart(file).filter(|_| kind > 0) else {
        let mut changed = bytes(file.to_vec());
        if kind > 1 {
            let record = record_len(&changed);
            set_prelude(&mut changed, record);
        }
        return changed;
    };
    match kind {
        1..=3 => changed_record(file, pool, bytes),
        4 | 5 => {
            let pool = if rng.random() { bytes(pool.to_vec()) } else { with_odd_numbers(pool, &mut rng) };
            fill(contents, &pool)
        }
        _ => {
            let mut contents = contents;
            let often = contents.precision();
            let precision = if rng.random_range(0..8u32) == 0 { precision(&mut rng) } else { often };
            for _ in 0..rng.random_range(1..4u32) {
                change(&mut contents, &mut rng);
            }
            if rng.random_range(0..8u32) != 0 {
                fit(&mut contents, precision);
            }
            fill(contents, pool)
        }
    }
    .unwrap_or_else(|| file.to_vec())
}

/// Bytes of the record are changed, and what can still be read is put together again.
fn changed_record(file: &[u8], pool: &[u8], bytes: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) -> Option<Vec<u8>> {
    let record = bytes(file[PRELUDE..file.len() - pool.len()].to_vec());
    let mut changed = [&[0; PRELUDE], &record[..], pool].concat();
    match take_apart(&changed) {
        Some((contents, _)) => fill(contents, pool),
        None => {
            set_prelude(&mut changed, record.len());
            Some(changed)
        }
    }
}

/// Weights among which are some that arithmetic breaks on.
fn with_odd_numbers(pool: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    const ODD: [f32; 10] =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e30, -1e30, 1e-40, -0.0, 88.8];
    let mut pool = pool.to_vec();
    if pool.len() < 4 {
        pool.resize(64, 1);
    }
    for _ in 0..rng.random_range(1..5u32) {
        let at = rng.random_range(0..pool.len() / 4) * 4;
        pool[at..at + 4].copy_from_slice(&ODD[rng.random_range(0..ODD.len())].to_le_bytes());
    }
    pool
}

/// Numbers at which checks change their minds, and small ones.
fn number(rng: &mut impl Rng) -> u32 {
    const EDGES: [u32; 24] = [
        0,
        1,
        2,
        3,
        15,
        16,
        17,
        64,
        65,
        255,
        512,
        513,
        1_000,
        1_023,
        1_024,
        1_025,
        4_096,
        20_000,
        20_001,
        65_536,
        1 << 24,
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ];
    if rng.random_range(0..4u32) == 0 {
        EDGES[rng.random_range(0..EDGES.len())]
    } else {
        rng.random_range(0..20)
    }
}

fn real(rng: &mut impl Rng) -> f32 {
    const EDGES: [f32; 14] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        0.0625,
        1e-7,
        1e-30,
        1e30,
        255.0,
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    EDGES[rng.random_range(0..EDGES.len())]
}

fn precision(rng: &mut impl Rng) -> Precision {
    Precision::ALL[rng.random_range(0..Precision::ALL.len())]
}

fn change(contents: &mut Contents, rng: &mut impl Rng) {
    match (rng.random_range(0..12u32), &mut contents.rpn) {
        (0, _) => change_manifest(contents, rng),
        (1, _) => change_regions(&mut contents.regions, rng),
        (2 | 3, _) => change_section(contents, rng),
        (4, Some(rpn)) => change_rpn(rpn, rng),
        (5, Some(rpn)) => change_graph(&mut rpn.graph, rng),
        _ => {
            let graph = if rng.random_range(0..3u32) > 0 { &mut contents.trunk } else { &mut contents.head };
            change_graph(graph, rng);
        }
    }
}

fn change_section(contents: &mut Contents, rng: &mut impl Rng) {
    let count = contents.sections.len();
    let Some(section) = (count > 0).then(|| rng.random_range(0..count)) else { return };
    match rng.random_range(0..6u32) {
        0 => {
            contents.sections.remove(section);
        }
        1 => contents.sections.push(contents.sections[section].clone()),
        2 => contents.sections[section].bytes = number(rng).into(),
        3 => contents.sections[section].precision = precision(rng),
        4 => {
            let scales = if rng.random() { number(rng) } else { section as u32 };
            let int8 = Int8 { scales, input_scale: real(rng), input_zero_point: rng.random() };
            contents.sections[section].int8 = rng.random::<bool>().then_some(int8);
        }
        _ => {
            let shape = &mut contents.sections[section].shape;
            if let Some(last) = shape.last_mut() {
                *last = number(rng);
            }
        }
    }
}

fn change_manifest(contents: &mut Contents, rng: &mut impl Rng) {
    let manifest = &mut contents.manifest;
    match rng.random_range(0..19u32) {
        0 => manifest.classes.push("c".into()),
        1 => {
            manifest.classes.pop();
        }
        2 => manifest.scales = vec![number(rng)],
        3 => manifest.scales.push(number(rng)),
        4 => manifest.max_long_side = number(rng),
        5 if rng.random() => contents.blob_means[rng.random_range(0..3)] = real(rng),
        5 => manifest.pixel_means[rng.random_range(0..3)] = real(rng),
        6 => manifest.box_width_offset = real(rng),
        7 => manifest.nms_width_offset = real(rng),
        8 => {
            manifest.scores = if rng.random() { Scores::Margins } else { Scores::Probabilities };
            manifest.score_threshold = real(rng);
        }
        9 => manifest.nms_iou = real(rng),
        10 => manifest.pixel_stds[rng.random_range(0..3)] = real(rng),
        11 => manifest.pixel_scale = real(rng),
        12 => manifest.channel_order = ChannelOrder::Rgb,
        13 => manifest.box_weights[rng.random_range(0..4)] = real(rng),
        14 => {
            let rules = [Resize::Published, Resize::Torchvision, Resize::Detectron2];
            manifest.resize = rules[rng.random_range(0..rules.len())];
        }
        15 => manifest.pad_multiple = number(rng),
        16 => manifest.min_box_side = real(rng),
        17 => manifest.nms_keeps_equal = rng.random(),
        _ => manifest.max_detections = number(rng),
    }
}

fn change_regions(regions: &mut Regions, rng: &mut impl Rng) {
    if rng.random_range(0..8u32) == 0 {
        *regions = Regions::Warp(Warp { side: number(rng), context: number(rng) });
    }
    match regions {
        Regions::RoiPooling(pooling) => match rng.random_range(0..4u32) {
            0 => pooling.pooled.push([number(rng), number(rng)]),
            1 => {
                pooling.pooled.pop();
            }
            2 => pooling.spatial_scale = real(rng),
            _ => {
                if let Some(level) = pooling.pooled.first_mut() {
                    level[rng.random_range(0..2)] = number(rng);
                }
            }
        },
        Regions::RoiAlign(align) => match rng.random_range(0..7u32) {
            0 => align.pooled[rng.random_range(0..2)] = number(rng),
            1 => align.sampling_ratio = number(rng),
            2 => align.half_pixel = rng.random(),
            3 => align.spatial_scales.push(real(rng)),
            4 => {
                align.spatial_scales.pop();
            }
            5 => align.level_rule.finest_level = number(rng),
            _ => align.level_rule.canonical_size = real(rng),
        },
        Regions::Warp(warp) => {
            let field = if rng.random() { &mut warp.side } else { &mut warp.context };
            *field = number(rng);
        }
    }
}

fn change_rpn(rpn: &mut Rpn, rng: &mut impl Rng) {
    match rng.random_range(0..9u32) {
        8 => rpn.strides = rng.random::<bool>().then(|| vec![number(rng); rpn.anchors.len()]),
        0 => rpn.pre_nms_top_n = number(rng),
        1 => rpn.post_nms_top_n = number(rng),
        2 => rpn.nms_iou = real(rng),
        3 => rpn.min_side = real(rng),
        4 => rpn.score_threshold = real(rng),
        5 => rpn.box_weights[rng.random_range(0..4)] = real(rng),
        6 => {
            rpn.anchors.pop();
        }
        _ => {
            if let Some(anchor) = rpn.anchors.first_mut().and_then(|anchors| anchors.first_mut()) {
                anchor[rng.random_range(0..4)] = real(rng);
            }
        }
    }
}

fn change_graph(graph: &mut Graph, rng: &mut impl Rng) {
    let layers = graph.layers.len();
    let at = rng.random_range(0..=layers);
    match rng.random_range(0..8u32) {
        // A layer more, between two that are there.
        0 | 1 if layers < 24 => {
            let op = any_op(rng);
            let mut inputs = vec![at as u32];
            if matches!(op, Op::Add | Op::Mul | Op::Concat | Op::Upsample) {
                inputs.push(rng.random_range(0..=at) as u32);
            }
            for layer in &mut graph.layers {
                raise(&mut layer.inputs, at);
            }
            raise(&mut graph.outputs, at);
            graph.layers.insert(at, Layer { name: format!("n{at}"), op, inputs });
        }
        // One less; what read it reads what it read.
        2 if at < layers => {
            graph.layers.remove(at);
            for layer in &mut graph.layers {
                lower(&mut layer.inputs, at);
            }
            lower(&mut graph.outputs, at);
        }
        3 if !graph.outputs.is_empty() => {
            let output = rng.random_range(0..graph.outputs.len());
            graph.outputs[output] = rng.random_range(0..=layers as u32 + 1);
        }
        4 if at < layers => {
            let inputs = &mut graph.layers[at].inputs;
            match rng.random_range(0..3u32) {
                0 => inputs.push(rng.random_range(0..=layers as u32)),
                1 => {
                    inputs.pop();
                }
                _ => {
                    if let Some(first) = inputs.first_mut() {
                        *first = rng.random_range(0..=layers as u32);
                    }
                }
            }
        }
        5 if at < layers => graph.layers[at].op = any_op(rng),
        // Two layers read one section.
        6 if at < layers => share(graph, at, rng),
        _ if at < layers => change_op(&mut graph.layers[at].op, rng),
        _ => {}
    }
}

fn raise(values: &mut [u32], at: usize) {
    values
        .iter_mut()
        .filter(|value| **value as usize >= at)
        .for_each(|value| *value = value.saturating_add(1));
}

fn lower(values: &mut [u32], at: usize) {
    values.iter_mut().filter(|value| **value as usize > at).for_each(|value| *value -= 1);
}

fn share(graph: &mut Graph, at: usize, rng: &mut impl Rng) {
    let other = rng.random_range(0..graph.layers.len());
    if let (Op::Conv(of), Op::Conv(mut to)) = (graph.layers[other].op.clone(), graph.layers[at].op.clone()) {
        (to.weight, to.bias) = (of.weight, of.bias);
        graph.layers[at].op = Op::Conv(to);
    }
}

fn any_op(rng: &mut impl Rng) -> Op {
    match rng.random_range(0..20u32) {
        0 | 1 => conv(
            rng.random_range(1..9),
            rng.random_range(1..6),
            rng.random_range(1..4),
            rng.random_range(0..3),
        ),
        2 => gemm(rng.random_range(1..20)),
        3 => affine(),
        4 => Op::MaxPool(any_pool(rng)),
        5 => Op::AveragePool { pool: any_pool(rng), count_include_pad: rng.random() },
        6 => Op::GlobalAveragePool,
        7 => Op::Lrn { size: rng.random_range(1..8), alpha: real(rng), beta: real(rng), k: real(rng) },
        8 => Op::Relu,
        9 => Op::LeakyRelu { alpha: real(rng) },
        10 => Op::Clip { low: real(rng), high: real(rng) },
        11 => Op::Sigmoid,
        12 => Op::HardSigmoid { alpha: real(rng), beta: real(rng) },
        13 => Op::HardSwish,
        14 => Op::Concat,
        15 => Op::Add,
        16 => Op::Mul,
        17 => Op::Flatten,
        18 => Op::Upsample,
        _ => Op::Softmax,
    }
}

fn any_pool(rng: &mut impl Rng) -> Pool {
    pool(rng.random_range(1..6), rng.random_range(1..4), rng.random_range(0..3), rng.random())
}

fn change_op(op: &mut Op, rng: &mut impl Rng) {
    let value = number(rng);
    let axis = rng.random_range(0..2usize);
    let side = rng.random_range(0..4usize);
    match op {
        Op::Conv(conv) => match rng.random_range(0..9u32) {
            0 => conv.out_channels = value,
            1 => conv.kernel[axis] = value,
            2 => conv.stride[axis] = value,
            3 => conv.dilation[axis] = value,
            4 => conv.pads[side] = value,
            5 => conv.group = [1, conv.in_channels, value][rng.random_range(0..3)],
            6 => conv.bias = if conv.bias.is_some() { None } else { Some(0) },
            7 => conv.weight = value,
            _ => conv.pads = [value; 4],
        },
        Op::MaxPool(pool) | Op::AveragePool { pool, .. } => match rng.random_range(0..4u32) {
            0 => pool.kernel[axis] = value,
            1 => pool.stride[axis] = value,
            2 => pool.pads[side] = value,
            _ => pool.ceil_mode = !pool.ceil_mode,
        },
        Op::Gemm(gemm) => match rng.random_range(0..3u32) {
            0 => gemm.out_features = value,
            1 => gemm.bias = if gemm.bias.is_some() { None } else { Some(0) },
            _ => gemm.weight = value,
        },
        Op::Affine(affine) => affine.scale = value,
        Op::Lrn { size, alpha, beta, k } => {
            *size = value;
            *[alpha, beta, k][rng.random_range(0..3)] = real(rng);
        }
        Op::LeakyRelu { alpha } => *alpha = real(rng),
        Op::Clip { low, high } => *(if axis == 0 { low } else { high }) = real(rng),
        Op::HardSigmoid { alpha, beta } => *(if axis == 0 { alpha } else { beta }) = real(rng),
        other => *other = any_op(rng),
    }
}
