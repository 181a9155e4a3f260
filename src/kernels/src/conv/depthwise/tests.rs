use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::{super::ConvAlgorithm, narrowed};
use crate::{ChannelRange, ConvArgs, ConvShape, Isa, PreparedConv, Products, test_random::Random};

/// The chain of sums that every output is, with one rounding for each product or with two.
fn chains(shape: &ConvShape, weights: &[f32], args: ConvArgs<'_>, fused: bool) -> Vec<f32> {
    let (height, width) = shape.output_size().unwrap();
    let multiplier = shape.out_channels / shape.in_channels;
    let mut out = Vec::new();
    for i in 0..shape.batch * height * width * shape.out_channels {
        let (pixel, channel) = (i / shape.out_channels, i % shape.out_channels);
        let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
        let mut sum = args.bias.map_or(0.0, |bias| bias[channel]);
        for tap in 0..shape.kernel[0] * shape.kernel[1] {
            let [tap_y, tap_x] = [tap / shape.kernel[1], tap % shape.kernel[1]];
            let y = (y * shape.stride[0] + tap_y * shape.dilation[0]).wrapping_sub(shape.pads[0]);
            let x = (x * shape.stride[1] + tap_x * shape.dilation[1]).wrapping_sub(shape.pads[1]);
            if y < shape.height && x < shape.width {
                let cell = ((image * shape.height + y) * shape.width + x) * shape.in_channels;
                let (value, weight) =
                    (args.input[cell + channel / multiplier], weights[tap * shape.out_channels + channel]);
                sum = if fused { value.mul_add(weight, sum) } else { sum + value * weight };
            }
        }
        out.push(if args.relu && sum < 0.0 { 0.0 } else { sum });
    }
    out
}

/// Every bit of a layer on every instruction set, on any number of threads.
fn check(shape: &ConvShape, seed: u32, bias: bool, relu: bool) {
    let mut random = Random::new(seed);
    let input = random.values(shape.batch * shape.height * shape.width * shape.in_channels);
    let weights = random.values(shape.weight_len());
    let values = random.values(shape.out_channels);
    let args = ConvArgs { input: &input[..], bias: bias.then_some(&values[..]), relu, threads: 1 };
    for isa in Isa::tested() {
        let layer = PreparedConv::with(isa, None, shape, &weights, 1).unwrap();
        assert_eq!(layer.algorithm(), ConvAlgorithm::Depthwise);
        let runs_on = narrowed(isa, shape.out_channels);
        assert_eq!(layer.products(), Some(Products::Exact(runs_on)));
        // The other vectors are filled, or there are several outputs for an input.
        let is_vector = shape.in_channels == shape.out_channels && shape.out_channels >= 4;
        let expected = chains(shape, &weights, args, is_vector && runs_on != Isa::Scalar);
        for threads in 1..4 {
            let channels = ChannelRange { first: threads, stride: shape.out_channels + threads + 1 };
            let mut out = vec![7.0; expected.len() / shape.out_channels * channels.stride];
            let args = ConvArgs { threads, ..args };
            layer.run_into_channels(shape, args, channels, &mut Vec::new(), &mut out).unwrap();
            let pixels = out.chunks(channels.stride).zip(expected.chunks(shape.out_channels));
            for (i, (found, expected)) in pixels.enumerate() {
                let (before, found) = found.split_at(threads);
                let (found, after) = found.split_at(shape.out_channels);
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(found), bits(expected), "pixel {i} on {isa:?}, {shape:?}");
                assert!(before.iter().chain(after).all(|&v| v == 7.0), "channels of others on {isa:?}");
            }
        }
    }
}

/// Tasks are bounded by the pool's threads.
fn in_pool(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work);
}

fn layer(channels: usize, [height, width]: [usize; 2], kernel: usize, stride: usize) -> ConvShape {
    ConvShape {
        kernel: [kernel; 2],
        stride: [stride; 2],
        pads: [kernel / 2; 4],
        group: channels,
        ..crate::conv::shape_3x3(height, width, channels, channels)
    }
}

#[test]
fn layers_of_mobile_nets() {
    // More than a block of channels, more than a task's rows, and maps smaller than a window.
    for (channels, size, kernel, stride) in [
        (16, [33, 40], 3, 1),
        (72, [20, 31], 5, 2),
        (130, [10, 14], 5, 1),
        (24, [17, 9], 3, 2),
        (70, [1, 1], 5, 1),
        (16, [2, 3], 5, 2),
        (67, [1, 6], 3, 1),
    ] {
        in_pool(|| check(&layer(channels, size, kernel, stride), 1, true, true));
    }
}

#[test]
fn nan_and_infinity_stay() {
    for channels in [3, 4, 9, 16, 21] {
        let shape = layer(channels, [9, 12], 3, 1);
        let mut input = vec![1.0; 9 * 12 * channels];
        input[(4 * 12 + 6) * channels] = f32::NAN;
        input[(4 * 12 + 6) * channels + channels - 1] = f32::NEG_INFINITY;
        let weights = vec![1.0; 9 * channels];
        for isa in Isa::tested() {
            for relu in [false, true] {
                let layer = PreparedConv::with(isa, None, &shape, &weights, 1).unwrap();
                let mut out = vec![0.0; input.len()];
                let args = ConvArgs { input: &input[..], bias: None, relu, threads: 1 };
                layer.run(&shape, args, &mut Vec::new(), &mut out).unwrap();
                for (i, value) in out.iter().enumerate() {
                    let (y, x) = (i / channels / 12, i / channels % 12);
                    let sees = (3..=5).contains(&y) && (5..=7).contains(&x);
                    let place = format!("{i} of {channels} channels on {isa:?}");
                    assert_eq!(value.is_nan(), sees && i % channels == 0, "{place}");
                    if sees && i % channels == channels - 1 {
                        assert_eq!(*value, if relu { 0.0 } else { f32::NEG_INFINITY }, "{place}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(if cfg!(debug_assertions) { 12 } else { 128 })))]

    #[test]
    fn every_output_is_its_chain(
        (batch, height, width) in (1usize..3, 1usize..30, 1usize..30),
        (channels, multiplier) in prop_oneof![
            (2usize..40, Just(1usize)), (2usize..150, Just(1)), (2usize..12, 2usize..4),
        ],
        kernel in prop_oneof![Just([3usize, 3]), Just([5, 5]), [1usize..7, 1usize..7]],
        stride in prop_oneof![Just([1usize, 1]), Just([2, 2]), [1usize..4, 1usize..4]],
        dilation in prop_oneof![Just([1usize, 1]), Just([1, 1]), [1usize..3, 1usize..3]],
        pads in prop_oneof![Just([1usize; 4]), Just([2; 4]), prop::array::uniform4(0usize..7)],
        (bias, relu, seed) in (any::<bool>(), any::<bool>(), any::<u32>()),
    ) {
        let shape = ConvShape {
            batch, height, width, kernel, stride, dilation, pads,
            in_channels: channels, out_channels: channels * multiplier, group: channels,
        };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| check(&shape, seed, bias, relu));
    }
}
