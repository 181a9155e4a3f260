use alloc::{vec, vec::Vec};

use frcnn_core::{bf16_from_f32, bf16_to_f32, largest_magnitude};
use proptest::prelude::*;

use super::*;
use crate::{
    CacheInfo, ChannelRange, ConvArgs, ConvShape, PoolShape, conv::check_window, conv2d_reference,
    max_pool_into, test_random::Random,
};

fn shape(size: [usize; 3], channels: [usize; 2], kernel: [usize; 2], pads: [usize; 4]) -> ConvShape {
    let ([batch, height, width], [in_channels, out_channels]) = (size, channels);
    let (stride, dilation) = ([1, 1], [1, 1]);
    ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, dilation, pads, group: 1 }
}

fn rounded(values: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let bits: Vec<u16> = values.iter().map(|&v| bf16_from_f32(v)).collect();
    let values = bits.iter().map(|&bits| bf16_to_f32(bits)).collect();
    (bits, values)
}

/// On every instruction set: the reference's values from f32 and from bf16 maps, into either, on any number of threads.
fn check(shape: &ConvShape, bias: bool, relu: bool, threads: usize, seed: u32) {
    if Bf16Isa::available().next().is_none() {
        // Nothing that the reference could say anything about.
        return;
    }
    let mut random = Random::new(seed);
    let input = random.values(shape.batch * shape.height * shape.width * shape.in_channels);
    let (input_bits, input_rounded) = rounded(&input);
    let (weights, weights_rounded) = rounded(&random.values(shape.weight_len()));
    let bias_values = random.values(shape.out_channels);
    let bias = bias.then_some(&bias_values[..]);

    let (height, width) = shape.output_size().unwrap();
    let len = shape.batch * height * width * shape.out_channels;
    let mut exact = vec![f32::NAN; len];
    let args = ConvArgs { input: &input_rounded[..], bias, relu, threads: 1 };
    let sums = ConvArgs { relu: false, ..args };
    // The scale is that of the sums, before ReLU: it may leave nothing of them.
    conv2d_reference(shape, &weights_rounded, sums, &mut exact).unwrap();
    let max = largest_magnitude(&exact) as f32;
    conv2d_reference(shape, &weights_rounded, args, &mut exact).unwrap();
    for isa in Bf16Isa::available() {
        let layer = Bf16Conv::with(isa, shape, &weights, 1).unwrap().unwrap();
        let small = layer.clone().with_caches(CacheInfo::SMALL[threads % CacheInfo::SMALL.len()]);
        let all = ChannelRange::all(shape.out_channels);
        let run =
            |layer: &Bf16Conv, input: Map<'_>, threads: usize, channels: ChannelRange, out: MapMut<'_>| {
                // Scratch that holds something else.
                let scratch = &mut vec![f32::NAN; 3000];
                let args = ConvArgs { input, bias, relu, threads };
                layer.run_into_channels(shape, args, channels, scratch, out).unwrap();
            };
        let mut out = vec![f32::NAN; len];
        run(&layer, Map::F32(&input), 1, all, MapMut::F32(&mut out));
        for (i, (found, exact)) in out.iter().zip(&exact).enumerate() {
            // Products of bf16 values are exact in f32, their sums of up to 5000 are not: 1e-6 of the largest, as
            // measured. A wrong tap is off by 1e-2 at least.
            assert!(
                (found - exact).abs() <= 2e-5 * max + 1e-6,
                "{found} for {exact} at {i}, {isa:?}, {shape:?}"
            );
        }
        let mut same = vec![f32::NAN; len];
        run(&small, Map::Bf16(&input_bits), threads, all, MapMut::F32(&mut same));
        assert!(same == out, "{isa:?}, {threads} threads, {shape:?}");
        let mut bits = vec![0; len];
        run(&layer, Map::F32(&input), threads, all, MapMut::Bf16(&mut bits));
        assert!(bits == rounded(&out).0, "{isa:?}, {shape:?}");

        // As the middle channels of a wider map.
        let wider = ChannelRange { first: 3, stride: shape.out_channels + 5 };
        let mut cells = vec![7.0; shape.batch * height * width * wider.stride];
        run(&layer, Map::F32(&input), threads, wider, MapMut::F32(&mut cells));
        for (i, (&found, cell)) in cells.iter().zip((0..wider.stride).cycle()).enumerate() {
            let channel = cell.checked_sub(3).filter(|&channel| channel < shape.out_channels);
            let expected =
                channel.map_or(7.0, |channel| out[i / wider.stride * shape.out_channels + channel]);
            assert_eq!(found, expected, "{isa:?}, value {i}");
        }
        let args = ConvArgs { input: Map::F32(&input), bias, relu, threads };
        check_pooled(shape, &small, args, &out);
        let window = |outputs| {
            let window = layer.window(shape, outputs);
            assert!(window.is_some());
            window
        };
        check_window(shape, &input, seed, window, |shape, input| {
            let (height, width) = shape.output_size().unwrap();
            let mut out = vec![f32::NAN; shape.batch * height * width * shape.out_channels];
            let args = ConvArgs { input: Map::F32(input), bias, relu, threads };
            small.run_into_channels(shape, args, all, &mut Vec::new(), MapMut::F32(&mut out)).unwrap();
            out
        });
    }
}

/// Pooling on the way out gives the bits of pooling afterwards.
fn check_pooled(shape: &ConvShape, layer: &Bf16Conv, args: ConvArgs<'_, Map<'_>>, whole: &[f32]) {
    let (height, width) = shape.output_size().unwrap();
    for ceil_mode in [false, true] {
        let pool = PoolShape {
            batch: shape.batch,
            height,
            width,
            channels: shape.out_channels,
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pads: [0; 4],
            ceil_mode,
        };
        let Some((pooled_height, pooled_width)) = pool.output_size() else { continue };
        let len = shape.batch * pooled_height * pooled_width * shape.out_channels;
        let mut expected = vec![f32::NAN; len];
        max_pool_into(&pool, whole, 1, &mut expected).unwrap();
        let run = |out: MapMut<'_>| {
            layer.run_max_pooled(shape, ceil_mode, args, &mut Vec::new(), out).unwrap();
        };
        let (mut out, mut bits) = (vec![f32::NAN; len], vec![0; len]);
        run(MapMut::F32(&mut out));
        run(MapMut::Bf16(&mut bits));
        assert!(out == expected, "{shape:?}, ceil mode {ceil_mode}");
        assert!(bits == rounded(&expected).0, "{shape:?}, ceil mode {ceil_mode}");
    }
}

#[cfg(feature = "std")]
fn in_pool(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work);
}

#[cfg(not(feature = "std"))]
fn in_pool(work: impl FnOnce()) {
    work();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 128 }))]
    #[test]
    fn any_layer_agrees_with_the_reference(
        size in [1usize..3, 1usize..20, 1usize..40],
        in_channels in prop_oneof![1usize..70, Just(32usize), Just(64), Just(96)],
        out_channels in prop_oneof![1usize..70, Just(64usize)],
        kernel in prop_oneof![Just([1usize, 1]), Just([3usize, 3]), [1usize..6, 1usize..6]],
        stride in prop_oneof![Just([1usize, 1]), [1usize..5, 1usize..5]],
        dilation in prop_oneof![Just([1usize, 1]), [1usize..3, 1usize..3]],
        pads in prop_oneof![Just([0usize; 4]), Just([1usize; 4]), prop::array::uniform4(0usize..6)],
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 2usize..6),
        seed in any::<u32>(),
    ) {
        let shape = ConvShape { stride, dilation, ..shape(size, [in_channels, out_channels], kernel, pads) };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| check(&shape, bias, relu, threads, seed));
    }
}

#[test]
fn layers_of_the_published_networks() {
    in_pool(|| {
        // conv5_3 of VGG16: sums of 4608 products, in several chunks.
        check(&shape([1, 19, 50], [512, 64], [3, 3], [1; 4]), true, true, 2, 1);
        // conv1_1 of VGG16, and CaffeNet's conv1.
        check(&shape([1, 33, 61], [3, 64], [3, 3], [1; 4]), true, true, 2, 2);
        let conv1 = ConvShape { stride: [4, 4], ..shape([1, 57, 83], [3, 96], [11, 11], [5; 4]) };
        check(&conv1, true, true, 2, 3);
    });
}

#[test]
fn layers_without_values() {
    check(&shape([0, 4, 4], [2, 2], [3, 3], [1; 4]), true, false, 2, 4);
    check(&shape([1, 3, 3], [2, 0], [3, 3], [1; 4]), true, false, 2, 4);
    for isa in Bf16Isa::available() {
        assert!(Bf16Conv::with(isa, &shape([1, 3, 3], [0, 2], [3, 3], [1; 4]), &[], 1).unwrap().is_none());
    }
}

#[test]
fn nan_reaches_the_output() {
    let shape = shape([1, 9, 9], [32, 4], [3, 3], [1; 4]);
    let mut input = vec![0.0; 9 * 9 * 32];
    input[0] = f32::NAN;
    for isa in Bf16Isa::available() {
        let layer = Bf16Conv::with(isa, &shape, &vec![0x3f80; shape.weight_len()], 1).unwrap().unwrap();
        let mut out = vec![0.0; 9 * 9 * 4];
        let args = ConvArgs { input: Map::F32(&input), bias: None, relu: true, threads: 1 };
        let (all, scratch) = (ChannelRange::all(4), &mut Vec::new());
        layer.run_into_channels(&shape, args, all, scratch, MapMut::F32(&mut out)).unwrap();
        assert!(out[0].is_nan() && out[4 * 2] == 0.0, "{isa:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let layer = shape([1, 4, 4], [2, 2], [3, 3], [1; 4]);
    let weights = [0; 36];
    let grouped = ConvShape { group: 2, ..layer.clone() };
    for isa in Bf16Isa::available() {
        assert_eq!(Bf16Conv::with(isa, &layer, &weights[1..], 1).unwrap_err().what, "weights");
        assert!(Bf16Conv::with(isa, &grouped, &weights[..18], 1).unwrap().is_none());
        let prepared = Bf16Conv::with(isa, &layer, &weights, 1).unwrap().unwrap();
        let run = |shape: &ConvShape, input: usize, out: usize| {
            let (input, mut out) = (vec![0.0; input], vec![0.0; out]);
            let args = ConvArgs { input: Map::F32(&input), bias: None, relu: false, threads: 1 };
            let (all, scratch) = (ChannelRange::all(2), &mut Vec::new());
            let result = prepared.run_into_channels(shape, args, all, scratch, MapMut::F32(&mut out));
            result.map_err(|error| error.what)
        };
        assert_eq!(run(&layer, 32, 32), Ok(()));
        assert_eq!((run(&layer, 31, 32), run(&layer, 32, 33)), (Err("input"), Err("out")));
        let other = ConvShape { stride: [2, 2], ..layer.clone() };
        assert_eq!(run(&other, 32, 8), Err("the layer that was prepared"));
    }
}
