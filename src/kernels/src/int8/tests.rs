use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    CacheInfo, ChannelRange, ConvArgs, ConvShape, KOrder, PreparedLinear,
    conv::check_window,
    k_order::{KPart, slab_blocks, slabs},
    test_random::Random,
};

/// Values and what they are quantised as, int8 weights with their scales, and a bias.
struct Layer {
    input: Quantization,
    x: Vec<f32>,
    values: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn new(random: &mut Random, x: usize, weights: usize, channels: usize) -> Self {
        let zero_point = (random.values(1)[0] * 140.0 + 120.0).clamp(0.0, 255.0) as u8;
        let input = Quantization { scale: 0.007, zero_point };
        let mut x = random.values(x);
        // What is out of range, if there is room.
        let odd = [f32::MAX, 1e30, -1e30, f32::MIN, -0.0, f32::from_bits(1)];
        x.iter_mut().step_by(97).zip(odd.into_iter().cycle()).for_each(|(x, odd)| *x = odd);
        let values = random.values(weights).iter().map(|value| (value * 127.9) as i8).collect();
        let scales = random.values(channels).iter().map(|value| (value + 1.1) / 90.0).collect();
        Self { input, x, values, scales, bias: random.values(channels) }
    }

    /// With `count` values in some places that are not finite.
    fn with_not_finite(mut self, random: &mut Random, count: usize) -> Self {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(u32::MAX)];
        for (place, odd) in random.values(count).into_iter().zip(odd.into_iter().cycle()) {
            let place = ((place + 1.0) / 2.0 * self.x.len() as f32) as usize;
            if let Some(x) = self.x.get_mut(place) {
                *x = odd;
            }
        }
        self
    }

    fn weights(&self) -> Int8Weights<'_> {
        Int8Weights { values: &self.values, scales: &self.scales, input: self.input }
    }

    /// What an exact sum becomes.
    fn finish(&self, sum: i64, channel: usize, bias: bool, relu: bool) -> f32 {
        let sum = i32::try_from(sum).unwrap();
        let factor = self.input.scale * self.scales[channel];
        let value = sum as f32 * factor;
        let value = if bias { value + self.bias[channel] } else { value };
        if relu && value < 0.0 { 0.0 } else { value }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[cfg(feature = "std")]
fn in_pool(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work);
}

#[cfg(not(feature = "std"))]
fn in_pool(work: impl FnOnce()) {
    work();
}

/// A fully connected layer as the definition reads.
fn linear_reference(layer: &Layer, [rows, k, n]: [usize; 3], bias: bool, relu: bool) -> Vec<f32> {
    let zero = i64::from(layer.input.zero_point);
    let out = (0..rows * n).map(|i| {
        let (row, channel) = (i / n, i % n);
        if layer.x[row * k..][..k].iter().any(|x| !x.is_finite()) {
            return f32::NAN;
        }
        let products = (0..k).map(|k_| {
            let q = i64::from(layer.input.quantize(layer.x[row * k + k_]));
            (q - zero) * i64::from(layer.values[k_ * n + channel])
        });
        layer.finish(products.sum(), channel, bias, relu)
    });
    out.collect()
}

fn check_linear(layer: &Layer, [rows, k, n]: [usize; 3], order: KOrder, bias: bool, relu: bool) {
    let expected = bits(&linear_reference(layer, [rows, k, n], bias, relu));
    for isa in Int8Isa::available() {
        for threads in [1, 3] {
            let prepared =
                PreparedLinear::from_int8_with(isa, layer.weights(), k, n, order, threads).unwrap();
            let mut out = vec![f32::NAN; rows * n];
            let bias = bias.then_some(&layer.bias[..]);
            prepared.run(&layer.x, bias, relu, rows, threads, &mut out).unwrap();
            assert!(bits(&out) == expected, "{isa:?}, {rows} rows, {k} -> {n}, {order:?}, {threads} threads");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 64 }))]
    #[test]
    fn any_linear_layer_is_the_reference(
        rows in prop_oneof![0usize..20, 230usize..260],
        bins in 1usize..20,
        channels in prop_oneof![0usize..40, 60usize..140],
        n in prop_oneof![0usize..20, 20usize..150],
        seed in any::<u32>(),
        not_finite in prop_oneof![Just(0usize), 0usize..12],
        (natural, relu, bias) in any::<(bool, bool, bool)>(),
    ) {
        let (k, random) = (bins * channels, &mut Random::new(seed));
        let layer = Layer::new(random, rows * k, k * n, n).with_not_finite(random, not_finite);
        let order = if natural { KOrder::Natural } else { KOrder::ChannelSlabs { bins, channels } };
        in_pool(|| check_linear(&layer, [rows, k, n], order, bias, relu));
    }
}

/// Sums that lie in the output between parts, and bytes in place of values.
#[test]
fn parts_one_by_one_give_the_bits_of_all_at_once() {
    let (rows, bins, channels, n) = (130, 49, 150, 37);
    let k = bins * channels;
    let layer = Layer::new(&mut Random::new(7), rows * k, k * n, n);
    let order = KOrder::ChannelSlabs { bins, channels };
    let bytes: Vec<u8> = layer.x.iter().map(|&x| layer.input.quantize(x)).collect();
    for isa in Int8Isa::available() {
        let prepared = PreparedLinear::from_int8_with(isa, layer.weights(), k, n, order, 1).unwrap();
        let (mut expected, mut out) = (vec![f32::NAN; rows * n], vec![f32::NAN; rows * n]);
        prepared.run(&layer.x, Some(&layer.bias), true, rows, 1, &mut expected).unwrap();
        let slabs = slabs(channels, BYTE_SLAB);
        let blocks: Vec<_> =
            slabs.flat_map(|slab| slab_blocks(bins, slab.clone(), channels, slab.start)).collect();
        assert!(blocks.len() > 3);
        for (i, blocks) in blocks.chunks(3).enumerate() {
            let parts: Vec<_> =
                blocks.iter().map(|block| KPart { data: &bytes[..], stride: k, block }).collect();
            let end = (3 * i + 3 >= 12).then_some(End { bias: Some(&layer.bias), relu: true });
            prepared.accumulate_bytes(&parts, i == 0, end, rows, 3, &mut out);
        }
        assert!(bits(&out) == bits(&expected), "{isa:?}");
    }
}

/// The largest sums that there are, of either sign, with every zero point that matters.
#[test]
fn extremes_are_exact() {
    let (rows, n) = (7, 19);
    for k in [1, 16, 5000, INT8_MAX_K] {
        for (zero_point, weight, x) in [
            (0, -127, 1e9),
            (0, 127, 1e9),
            (255, 127, -1e9),
            (255, -127, -1e9),
            (128, 127, 1e9),
            (128, 127, -1e9),
        ] {
            let layer = Layer {
                input: Quantization { scale: 1.0, zero_point },
                x: vec![x; rows * k],
                values: vec![weight; k * n],
                scales: vec![1.0; n],
                bias: vec![0.5; n],
            };
            check_linear(&layer, [rows, k, n], KOrder::Natural, true, false);
        }
    }
}

#[test]
fn wrong_layers_are_errors() {
    let input = Quantization { scale: 1.0, zero_point: 0 };
    let weights = Int8Weights { values: &[0; 12], scales: &[1.0; 3], input };
    let make =
        |weights, k| PreparedLinear::from_int8(weights, k, 3, KOrder::Natural, 1).map_err(|error| error.what);
    let layer = make(weights, 4).unwrap();
    assert_eq!(
        (layer.quantization(), layer.products().to_string().starts_with("int8 (")),
        (Some(input), true)
    );
    assert_eq!(make(weights, 5).unwrap_err(), "weights");
    assert_eq!(make(Int8Weights { scales: &[1.0; 4], ..weights }, 4).unwrap_err(), "scales");
    let shape = shape([1, 4, 4], [2, 2], [3, 3], [1; 4]);
    let weights = Int8Weights { values: &[0; 36], scales: &[1.0; 2], input };
    let what = |shape: &ConvShape, weights| Int8Conv::new(shape, weights, 1).map_err(|error| error.what);
    assert_eq!(what(&shape, Int8Weights { values: &[0; 35], ..weights }).unwrap_err(), "weights");
    assert_eq!(what(&shape, Int8Weights { scales: &[], ..weights }).unwrap_err(), "scales");
    let grouped = ConvShape { group: 2, ..shape.clone() };
    assert!(what(&grouped, Int8Weights { values: &[0; 18], ..weights }).unwrap().is_none());
    let layer = what(&shape, weights).unwrap().unwrap();
    let run = |shape: &ConvShape, input: usize, out: usize| {
        let (input, mut out) = (vec![0.0; input], vec![0.0; out]);
        let args = ConvArgs { input: &input[..], bias: None, relu: false, threads: 1 };
        let (all, scratch) = (ChannelRange::all(2), &mut Vec::new());
        layer.run_into_channels(shape, args, all, scratch, &mut out).map_err(|error| error.what)
    };
    assert_eq!(run(&shape, 32, 32), Ok(()));
    assert_eq!((run(&shape, 31, 32), run(&shape, 32, 33)), (Err("input"), Err("out")));
    let other = ConvShape { stride: [2, 2], ..shape };
    assert_eq!(run(&other, 32, 8), Err("the layer that was prepared"));
}

fn shape(size: [usize; 3], channels: [usize; 2], kernel: [usize; 2], pads: [usize; 4]) -> ConvShape {
    let ([batch, height, width], [in_channels, out_channels]) = (size, channels);
    let (stride, dilation) = ([1, 1], [1, 1]);
    ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, dilation, pads, group: 1 }
}

/// A convolution as the definition reads: padding is 0, which is the zero point. A window with a value that is not finite gives
/// NaN.
fn conv_reference(layer: &Layer, shape: &ConvShape, bias: bool, relu: bool) -> Vec<f32> {
    let (height, width) = shape.output_size().unwrap();
    let (ci, co, [kh, kw]) = (shape.in_channels, shape.out_channels, shape.kernel);
    let q: Vec<i64> = layer
        .x
        .iter()
        .map(|&x| i64::from(layer.input.quantize(x)) - i64::from(layer.input.zero_point))
        .collect();
    let mut out = Vec::new();
    for (image, y, x, channel) in (0..shape.batch).flat_map(|image| {
        (0..height).flat_map(move |y| {
            (0..width).flat_map(move |x| (0..co).map(move |channel| (image, y, x, channel)))
        })
    }) {
        let (mut sum, mut finite) = (0, true);
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let from = |at: usize, axis: usize, k: usize, len: usize| {
                let at = (at * shape.stride[axis] + k * shape.dilation[axis]).checked_sub(shape.pads[axis]);
                at.filter(|&at| at < len)
            };
            let (Some(y), Some(x)) = (from(y, 0, ky, shape.height), from(x, 1, kx, shape.width)) else {
                continue;
            };
            for c in 0..ci {
                let weight = layer.values[((ky * kw + kx) * ci + c) * co + channel];
                let at = ((image * shape.height + y) * shape.width + x) * ci + c;
                sum += q[at] * i64::from(weight);
                finite &= layer.x[at].is_finite();
            }
        }
        out.push(if finite { layer.finish(sum, channel, bias, relu) } else { f32::NAN });
    }
    out
}

fn check_conv(layer: &Layer, shape: &ConvShape, bias: bool, relu: bool, threads: usize) {
    let (height, width) = shape.output_size().unwrap();
    let co = shape.out_channels;
    let expected = conv_reference(layer, shape, bias, relu);
    let args = ConvArgs { input: &layer.x[..], bias: bias.then_some(&layer.bias[..]), relu, threads };
    for isa in Int8Isa::available() {
        let prepared = Int8Conv::with(isa, shape, layer.weights(), threads).unwrap().unwrap();
        if isa == Int8Isa::detect() {
            let (mut scratch, mut out) = (Vec::new(), vec![f32::NAN; expected.len()]);
            prepared.run_into_channels(shape, args, ChannelRange::all(co), &mut scratch, &mut out).unwrap();
            assert!(scratch.len() <= Int8Conv::scratch_len(shape, threads), "{shape:?}");
            assert!(prepared.weight_bytes() <= Int8Conv::packed_bytes(shape), "{shape:?}");
        }
        for conv in
            [prepared.clone(), prepared.with_caches(CacheInfo::SMALL[threads % CacheInfo::SMALL.len()])]
        {
            // Scratch that holds something else.
            let scratch = &mut vec![f32::NAN; 3000];
            let mut out = vec![f32::NAN; expected.len()];
            conv.run_into_channels(shape, args, ChannelRange::all(co), scratch, &mut out).unwrap();
            assert!(bits(&out) == bits(&expected), "{isa:?}, {shape:?}, {threads} threads");
            // As the middle channels of a wider map.
            let wider = ChannelRange { first: 3, stride: co + 5 };
            let mut cells = vec![7.0; shape.batch * height * width * wider.stride];
            conv.run_into_channels(shape, args, wider, scratch, &mut cells).unwrap();
            for (cell, expected) in cells.chunks_exact(wider.stride).zip(expected.chunks_exact(co.max(1))) {
                assert!(cell[..3] == [7.0; 3] && cell[3 + co..] == [7.0; 2], "{isa:?}");
                assert!(bits(&cell[3..][..co]) == bits(expected), "{isa:?}");
            }
            if expected.is_empty() {
                continue;
            }
            let window = |outputs| {
                let window = conv.window(shape, outputs);
                assert!(window.is_some());
                window
            };
            check_window(shape, &layer.x, threads as u32, window, |shape, input| {
                let (height, width) = shape.output_size().unwrap();
                let mut out = vec![f32::NAN; shape.batch * height * width * co];
                let args = ConvArgs { input, ..args };
                conv.run_into_channels(shape, args, ChannelRange::all(co), &mut Vec::new(), &mut out)
                    .unwrap();
                out
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 64 }))]
    #[test]
    fn any_convolution_is_the_reference(
        size in [1usize..3, 1usize..14, 1usize..20],
        in_channels in prop_oneof![0usize..40, Just(64usize)],
        out_channels in prop_oneof![0usize..40, Just(64usize), Just(130)],
        kernel in prop_oneof![Just([1usize, 1]), Just([3usize, 3]), [1usize..6, 1usize..6]],
        stride in prop_oneof![Just([1usize, 1]), [1usize..5, 1usize..5]],
        dilation in prop_oneof![Just([1usize, 1]), [1usize..3, 1usize..3]],
        pads in prop_oneof![Just([0usize; 4]), Just([1usize; 4]), prop::array::uniform4(0usize..6)],
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 1usize..6),
        not_finite in prop_oneof![Just(0usize), 0usize..6],
        seed in any::<u32>(),
    ) {
        let shape = ConvShape { stride, dilation, ..shape(size, [in_channels, out_channels], kernel, pads) };
        prop_assume!(shape.output_size().is_some());
        let x = shape.batch * shape.height * shape.width * in_channels;
        let random = &mut Random::new(seed);
        let layer = Layer::new(random, x, shape.weight_len(), out_channels).with_not_finite(random, not_finite);
        in_pool(|| check_conv(&layer, &shape, bias, relu, threads));
    }
}
