use alloc::{vec, vec::Vec};

use frcnn_core::ShapeError;
use proptest::prelude::*;

use super::*;
use crate::test_random::Random;

fn shape_3x3() -> ConvShape {
    ConvShape {
        batch: 1,
        height: 3,
        width: 3,
        in_channels: 1,
        out_channels: 1,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [1; 4],
        group: 1,
    }
}

fn conv(shape: &ConvShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>, threads: usize) -> Vec<f32> {
    let (h, w) = shape.output_size().unwrap();
    let mut out = vec![f32::NAN; shape.batch * h * w * shape.out_channels];
    // Scratch that holds something else.
    let mut scratch = vec![f32::NAN; 3];
    conv2d_into(shape, weights, ConvArgs { input, bias, relu: false, threads }, &mut scratch, &mut out)
        .unwrap();
    out
}

/// Input 1..9, weights 1..9 row by row; correlation, not flipped, zero padding:
/// the centre is the sum of squares 285; the top left corner is 5*1 + 6*2 + 8*4 + 9*5 = 94.
#[test]
fn by_hand() {
    let ramp: Vec<f32> = (1..10).map(|v| v as f32).collect();
    let out = conv(&shape_3x3(), &ramp, &ramp, Some(&[1000.0]), 1);
    assert_eq!(out, [1094.0, 1154.0, 1106.0, 1186.0, 1285.0, 1186.0, 1106.0, 1154.0, 1094.0]);
    // Pads top and left only: the last row and column of windows are gone.
    let shape = ConvShape { pads: [1, 1, 0, 0], ..shape_3x3() };
    assert_eq!(conv(&shape, &ramp, &ramp, None, 1), [94.0, 154.0, 186.0, 285.0]);
}

#[test]
fn layout_of_weights_by_hand() {
    // 1 x 1, two channels in, three out: row c of the weights is input channel c.
    let shape = ConvShape {
        height: 1,
        width: 2,
        in_channels: 2,
        out_channels: 3,
        kernel: [1, 1],
        pads: [0; 4],
        ..shape_3x3()
    };
    let weights = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
    assert_eq!(conv(&shape, &[1.0, 2.0, 3.0, 4.0], &weights, None, 1), [21.0, 42.0, 63.0, 43.0, 86.0, 129.0]);
    // Two groups of one channel in, two out: weights [1, 1, 1, 4].
    let shape = ConvShape { group: 2, out_channels: 4, ..shape };
    let weights = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(
        conv(&shape, &[1.0, 10.0, 2.0, 20.0], &weights, None, 1),
        [1.0, 2.0, 30.0, 40.0, 2.0, 4.0, 60.0, 80.0]
    );
}

#[test]
fn output_sizes() {
    // CaffeNet conv1: 11 x 11, stride 4, pads 5 on 600 x 1000.
    let conv1 =
        ConvShape { height: 600, width: 1000, kernel: [11, 11], stride: [4, 4], pads: [5; 4], ..shape_3x3() };
    assert_eq!(conv1.output_size(), Some((150, 250)));
    assert_eq!(ConvShape { dilation: [2, 1], ..shape_3x3() }.output_size(), Some((1, 3)));
    assert_eq!(ConvShape { dilation: [3, 1], ..shape_3x3() }.output_size(), None);
    assert_eq!(ConvShape { stride: [0, 1], ..shape_3x3() }.output_size(), None);
    assert_eq!(ConvShape { kernel: [3, 0], ..shape_3x3() }.output_size(), None);
    assert_eq!(
        ConvShape { in_channels: 6, out_channels: 4, group: 2, ..shape_3x3() }.weight_len(),
        9 * 3 * 4
    );
}

#[test]
fn wrong_shapes_are_errors() {
    let run = |shape: &ConvShape, input: usize, weights: usize, bias: usize, out: usize| {
        let bias = vec![0.0; bias];
        let (input, weights, mut out) = (vec![0.0; input], vec![0.0; weights], vec![0.0; out]);
        let args = ConvArgs { input: &input[..], bias: Some(&bias), relu: true, threads: 1 };
        conv2d_into(shape, &weights, args, &mut Vec::new(), &mut out)
    };
    let error = |what, expected, found| Err(ShapeError { what, expected, found });
    let shape = shape_3x3();
    assert_eq!(run(&shape, 9, 9, 1, 9), Ok(()));
    assert_eq!(run(&shape, 8, 9, 1, 9), error("input", 9, 8));
    assert_eq!(run(&shape, 9, 8, 1, 9), error("weights", 9, 8));
    assert_eq!(run(&shape, 9, 9, 2, 9), error("bias", 1, 2));
    assert_eq!(run(&shape, 9, 9, 1, 10), error("out", 9, 10));
    let odd = ConvShape { in_channels: 3, out_channels: 2, group: 2, ..shape_3x3() };
    assert_eq!(run(&odd, 27, 18, 2, 18), error("in_channels, a multiple of group", 4, 3));
    let odd = ConvShape { in_channels: 2, out_channels: 3, group: 2, ..shape_3x3() };
    assert_eq!(run(&odd, 18, 27, 3, 27), error("out_channels, a multiple of group", 4, 3));
    assert!(run(&ConvShape { group: 0, ..shape_3x3() }, 9, 9, 1, 9).is_err());
    assert!(run(&ConvShape { kernel: [9, 9], ..shape_3x3() }, 9, 81, 1, 0).is_err());
    let huge = ConvShape { height: usize::MAX, pads: [0; 4], ..shape_3x3() };
    assert!(run(&huge, 9, 9, 1, 9).is_err());
    let none = ConvShape { batch: 0, ..shape_3x3() };
    assert_eq!(run(&none, 0, 9, 1, 0), Ok(()));
}

prop_compose! {
    fn any_shape()(
        (batch, height, width) in (1usize..3, 1usize..14, 1usize..14),
        // Ordinary, pointwise, grouped and depthwise with a multiplier all come up.
        (group, group_in, group_out) in prop_oneof![
            (Just(1usize), 1usize..20, 1usize..20),
            (2usize..5, 1usize..6, 1usize..6),
            (2usize..40, Just(1usize), 1usize..3),
        ],
        kernel in prop_oneof![Just((1usize, 1usize)), (1usize..5, 1usize..5)],
        stride in prop_oneof![Just((1usize, 1usize)), (1usize..4, 1usize..4)],
        dilation in prop_oneof![Just((1usize, 1usize)), (1usize..3, 1usize..3)],
        pads in prop_oneof![Just([0usize; 4]), prop::array::uniform4(0usize..4)],
    ) -> ConvShape {
        ConvShape {
            batch, height, width, group,
            in_channels: group * group_in,
            out_channels: group * group_out,
            kernel: [kernel.0, kernel.1],
            stride: [stride.0, stride.1],
            dilation: [dilation.0, dilation.1],
            pads,
        }
    }
}

/// Against the reference, and the same bits from every number of threads.
fn assert_agrees(shape: &ConvShape, seed: u32, relu: bool, with_bias: bool) {
    let (h, w) = shape.output_size().unwrap();
    let mut random = Random::new(seed);
    let input = random.values(shape.batch * shape.height * shape.width * shape.in_channels);
    let weights = random.values(shape.weight_len());
    let bias = random.values(shape.out_channels);
    let bias = with_bias.then_some(&bias[..]);
    let args = ConvArgs { input: &input[..], bias, relu, threads: 1 };
    let mut exact = vec![f32::NAN; shape.batch * h * w * shape.out_channels];
    conv2d_reference(shape, &weights, args, &mut exact).unwrap();
    let run = |threads| {
        let mut out = vec![f32::NAN; exact.len()];
        let mut scratch = vec![f32::NAN; 1];
        conv2d_into(shape, &weights, ConvArgs { threads, ..args }, &mut scratch, &mut out).unwrap();
        out
    };
    let found = run(1);
    // Sums of `patch_len` products below 1: each of the roundings is at most 2^-24 of a sum that stays far below
    // patch_len; one wrong tap would show as about 0.3.
    let tolerance = 1e-6 * (shape.patch_len() + 1) as f32;
    for (i, (found, exact)) in found.iter().zip(&exact).enumerate() {
        assert!((found - exact).abs() <= tolerance, "{found} for {exact} at {i} of {shape:?}");
    }
    for threads in [2, 3, 8] {
        assert_eq!(run(threads), found, "{threads} threads, {shape:?}");
    }
}

#[test]
fn several_blocks_of_pixels() {
    // K = 2304 makes blocks of 113 pixels, 30 x 17 x 2 are nine of them, the last one short.
    let shape =
        ConvShape { batch: 2, height: 30, width: 17, in_channels: 256, out_channels: 24, ..shape_3x3() };
    assert_agrees(&shape, 1, true, true);
    // Rows of Co = 3000 make the same of a pointwise one, plain and in two groups.
    for group in [1, 2] {
        let shape = ConvShape {
            height: 20,
            width: 20,
            in_channels: 8,
            out_channels: 3000,
            kernel: [1, 1],
            pads: [0; 4],
            group,
            ..shape_3x3()
        };
        assert_agrees(&shape, 2, false, true);
    }
}

proptest! {
    #[test]
    fn agrees_with_the_reference(shape in any_shape(), seed in any::<u32>(), relu in any::<bool>(), bias in any::<bool>()) {
        prop_assume!(shape.output_size().is_some());
        assert_agrees(&shape, seed, relu, bias);
    }
}
