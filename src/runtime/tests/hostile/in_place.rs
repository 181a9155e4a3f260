//! Layers between convolutions write over the maps that they alone read: what they give is what each gives by itself.

use frcnn::{Frame, GraphInput};
use frcnn_bundle::{Conv, Op};

use crate::build::{Builder, layer, open};

/// What an operator gives of whole maps, of which the second may have one cell.
fn plain(op: &Op, a: &[f32], b: &[f32]) -> Vec<f32> {
    let each = |f: &dyn Fn(f32) -> f32| a.iter().map(|&x| f(x)).collect::<Vec<f32>>();
    let both = |f: fn(f32, f32) -> f32| {
        let (map, other) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        map.iter().zip(other.iter().cycle()).map(|(&x, &y)| f(x, y)).collect()
    };
    match *op {
        Op::Relu => each(&|x| x.max(0.0)),
        Op::Clip { low, high } => each(&|x| x.max(low).min(high)),
        Op::HardSigmoid { alpha, beta } => each(&|x| (alpha * x + beta).clamp(0.0, 1.0)),
        Op::HardSwish => each(&|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        Op::Add => both(|x, y| x + y),
        Op::Mul => both(|x, y| x * y),
        Op::GlobalAveragePool => {
            let cells = a.len() / CHANNELS;
            let sum = |channel| a.iter().skip(channel).step_by(CHANNELS).map(|&x| f64::from(x)).sum::<f64>();
            (0..CHANNELS).map(|channel| (sum(channel) / cells as f64) as f32).collect()
        }
        _ => panic!("{}", op.name()),
    }
}

const CHANNELS: usize = 5;

#[test]
fn maps_are_written_over_where_nobody_else_reads_them() {
    let mut builder = Builder::new(3);
    let stem = Conv { stride: [2; 2], ..builder.conv([3, 5], 3, 1) };
    let mut conv = |input: u32| layer(Op::Conv(builder.conv([5, 5], 3, 1)), &[input]);
    let layers = vec![
        layer(Op::Conv(stem), &[0]),
        // A residual block, whose sum has a ReLU behind it.
        conv(1),
        layer(Op::Add, &[2, 1]),
        layer(Op::Relu, &[3]),
        // A sum that is read with and without its ReLU.
        conv(4),
        layer(Op::Add, &[4, 5]),
        layer(Op::Relu, &[6]),
        layer(Op::Add, &[7, 6]),
        // Activations one behind the other, and of a map that others read, too.
        layer(Op::HardSwish, &[8]),
        layer(Op::Clip { low: -1.0, high: 4.0 }, &[9]),
        layer(Op::HardSigmoid { alpha: 0.2, beta: 0.5 }, &[10]),
        layer(Op::Mul, &[11, 10]),
        // One map twice.
        layer(Op::Add, &[12, 12]),
        layer(Op::Mul, &[13, 13]),
        // Squeeze and excitation, and a sum with one cell, from either side.
        layer(Op::GlobalAveragePool, &[14]),
        layer(Op::HardSigmoid { alpha: 1.0, beta: 0.1 }, &[15]),
        layer(Op::Mul, &[14, 16]),
        layer(Op::Add, &[15, 17]),
        // Whose readers are tract's.
        layer(Op::Sigmoid, &[18]),
        layer(Op::Mul, &[19, 18]),
        layer(Op::Relu, &[20]),
        layer(Op::HardSwish, &[21]),
    ];
    let all: Vec<u32> = (0..=layers.len() as u32).collect();
    builder.trunk = layers.clone();
    let detector = open(builder.finish(CHANNELS).unwrap()).unwrap();
    let mut session = detector.session();
    for (width, height) in [(61, 47), (200, 173)] {
        let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * 31 % 251) as u8).collect();
        let frame = Frame::rgb8(&pixels, width, height).unwrap();
        let blob = session.preprocess(&frame).unwrap().remove(0);
        // Where every value is asked for, none is written over.
        let values = session.values(GraphInput::Blob(&blob), &all).unwrap();
        for _ in 0..2 {
            let map = session.trunk(&blob).unwrap();
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(map.data().unwrap()), bits(values.last().unwrap()));
        }
        for (layer, found) in layers.iter().zip(&values[1..]) {
            if matches!(layer.op, Op::Conv(_) | Op::Sigmoid) {
                continue;
            }
            let input = |i: usize| &*values[layer.inputs[i.min(layer.inputs.len() - 1)] as usize];
            let expected = plain(&layer.op, input(0), input(1));
            assert_eq!(found.len(), expected.len(), "{}", layer.op.name());
            for (found, expected) in found.iter().zip(&expected) {
                let tolerance = 1e-6 * expected.abs().max(1.0);
                assert!((found - expected).abs() <= tolerance, "{}: {found}, {expected}", layer.op.name());
            }
        }
    }
}
