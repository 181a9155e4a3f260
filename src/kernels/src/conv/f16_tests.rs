use alloc::{vec, vec::Vec};

use frcnn_core::{
    bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32, largest_difference, largest_magnitude,
};
use proptest::prelude::*;

use super::*;
use crate::{
    CacheInfo, Cpu, F16Isa, Isa, Pointwise, Products, conv2d_reference, max_pool_into, pointwise_in_place,
    test_random::Random,
};

struct Layer {
    shape: ConvShape,
    input: Vec<f32>,
    weights: Vec<u16>,
    bias: Vec<f32>,
}

impl Layer {
    /// As in a trained network: inputs that a ReLU left, weights of variance `2 / K` (He).
    fn realistic(shape: ConvShape, seed: u32) -> Self {
        let mut random = Random::new(seed);
        let input = random.values(shape.batch * shape.height * shape.width * shape.in_channels);
        let input = input.into_iter().map(|value| value.max(0.0)).collect();
        // Values in [-1, 1) have a variance of 1/3.
        let scale = (6.0 / shape.patch_len() as f32).sqrt();
        let weights =
            random.values(shape.weight_len()).into_iter().map(|w| f16_from_f32(w * scale)).collect();
        let bias = random.values(shape.out_channels);
        Self { shape, input, weights, bias }
    }

    fn out(&self) -> Vec<f32> {
        let (height, width) = self.shape.output_size().unwrap();
        vec![f32::NAN; self.shape.batch * height * width * self.shape.out_channels]
    }

    fn prepared(
        &self,
        isa: F16Isa,
        caches: CacheInfo,
        algorithm: ConvAlgorithm,
        threads: usize,
    ) -> PreparedConv {
        let cpu = Cpu { isa: Isa::detect(), caches };
        let (shape, weights) = (&self.shape, &self.weights);
        PreparedConv::from_f16_with(Some(isa), cpu, Some(algorithm), shape, weights, threads).unwrap()
    }

    fn run(&self, prepared: &PreparedConv, relu: bool, threads: usize) -> Vec<f32> {
        let mut out = self.out();
        let args = ConvArgs { input: &self.input[..], bias: Some(&self.bias[..]), relu, threads };
        // Scratch that holds something else.
        prepared.run(&self.shape, args, &mut vec![f32::NAN; 3000], &mut out).unwrap();
        out
    }

    fn reference(&self, input: &[f32], weights: &[f32], bias: Option<&[f32]>, relu: bool) -> Vec<f32> {
        let mut out = self.out();
        conv2d_reference(&self.shape, weights, ConvArgs { input, bias, relu, threads: 1 }, &mut out).unwrap();
        out
    }

    /// On every instruction set the same bits, within the bound of `f16`, on any number of threads, whatever the caches.
    fn check(&self, algorithm: ConvAlgorithm, relu: bool, threads: usize) {
        let weights: Vec<f32> = self.weights.iter().map(|&bits| f16_to_f32(bits)).collect();
        let magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
        let exact = self.reference(&self.input, &weights, Some(&self.bias), relu);
        let magnitudes = self.reference(&self.input, &magnitudes, None, false);
        let plain = self.prepared(F16Isa::Plain, CacheInfo::SERVER, algorithm, 1);
        let found = self.run(&plain, relu, 1);
        if algorithm == ConvAlgorithm::Direct {
            for (i, ((found, exact), magnitude)) in found.iter().zip(&exact).zip(&magnitudes).enumerate() {
                let bound = 0.068 * magnitude + 1e-5;
                assert!((found - exact).abs() <= bound, "{found} for {exact} at {i}, {:?}", self.shape);
            }
        }
        let scale = largest_magnitude(&self.reference(&self.input, &weights, None, false)) as f32;
        let off = largest_difference(&found, &exact) as f32;
        // Measured: 1e-3 and 8e-3 of the largest sum. A wrong tap is off by some tenths.
        let most = if algorithm == ConvAlgorithm::Direct { 4e-3 } else { 2.5e-2 };
        assert!(off <= most * scale + 1e-5, "{off} of {scale}, {:?}", self.shape);
        for isa in F16Isa::available() {
            let caches = CacheInfo::SMALL[threads % CacheInfo::SMALL.len()];
            let layer = self.prepared(isa, caches, algorithm, threads);
            assert_eq!((layer.algorithm(), layer.products()), (algorithm, Some(Products::F16(isa))));
            let cpu = Cpu { isa: Isa::detect(), caches };
            let told = ConvCandidate::all(cpu, &self.shape, ConvWeights::F16);
            let told = told.iter().find(|candidate| candidate.algorithm == algorithm);
            assert_eq!(
                told.map(|candidate| candidate.weight_bytes),
                Some(layer.weight_bytes()),
                "{:?}",
                self.shape
            );
            assert!(self.run(&layer, relu, threads) == found, "{isa:?}, {threads} threads, {:?}", self.shape);
            self.check_channels(&layer, relu, &found);
            self.check_then(&layer, relu, &found);
            self.check_pooled(&layer, relu, &found);
            self.check_window(&layer, relu, threads);
        }
    }

    /// Channels of a wider map get the same bits, and those beside them stay.
    fn check_channels(&self, prepared: &PreparedConv, relu: bool, whole: &[f32]) {
        let (shape, co) = (&self.shape, self.shape.out_channels);
        let wide = ChannelRange { first: 3, stride: co + 5 };
        let mut out = vec![7.0; whole.len() / co * wide.stride];
        let args = ConvArgs { input: &self.input[..], bias: Some(&self.bias[..]), relu, threads: 1 };
        prepared.run_into_channels(shape, args, wide, &mut Vec::new(), &mut out).unwrap();
        for (pixel, expected) in out.chunks(wide.stride).zip(whole.chunks(co)) {
            assert_eq!(&pixel[3..3 + co], expected, "{shape:?}");
            assert_eq!([&pixel[..3], &pixel[3 + co..]].concat(), [7.0; 5]);
        }
    }

    /// A function on the way out gives the bits of the function afterwards.
    fn check_then(&self, prepared: &PreparedConv, relu: bool, whole: &[f32]) {
        let mut expected = whole.to_vec();
        pointwise_in_place(Pointwise::HardSwish, 1, &mut expected);
        let mut out = self.out();
        let args = ConvArgs { input: &self.input[..], bias: Some(&self.bias[..]), relu, threads: 1 };
        let (then, channels) = (Some(Pointwise::HardSwish), ChannelRange::all(self.shape.out_channels));
        prepared.run_then(&self.shape, args, then, channels, &mut Vec::new(), &mut out).unwrap();
        assert!(out == expected, "{:?}", self.shape);
    }

    /// A window of the map, whole tiles of it, has the bits of the whole map.
    fn check_window(&self, prepared: &PreparedConv, relu: bool, threads: usize) {
        let window = |outputs| {
            let window = prepared.window(&self.shape, outputs);
            assert!(window.is_some());
            window
        };
        let seed = self.bias.first().map_or(0, |value| value.to_bits());
        check_window(&self.shape, &self.input, seed, window, |shape, input| {
            let (height, width) = shape.output_size().unwrap();
            let mut out = vec![f32::NAN; shape.batch * height * width * shape.out_channels];
            let args = ConvArgs { input, bias: Some(&self.bias[..]), relu, threads };
            prepared.run(shape, args, &mut Vec::new(), &mut out).unwrap();
            out
        });
    }

    /// Pooling on the way out gives the bits of pooling afterwards.
    fn check_pooled(&self, prepared: &PreparedConv, relu: bool, whole: &[f32]) {
        for ceil_mode in [false, true] {
            let pool = self.shape.pool_2x2(ceil_mode).unwrap();
            let Some((height, width)) = pool.output_size() else { continue };
            let mut expected = vec![f32::NAN; self.shape.batch * height * width * self.shape.out_channels];
            let mut found = expected.clone();
            max_pool_into(&pool, whole, 1, &mut expected).unwrap();
            let args = ConvArgs { input: &self.input[..], bias: Some(&self.bias[..]), relu, threads: 1 };
            prepared.run_max_pooled(&self.shape, ceil_mode, args, &mut Vec::new(), &mut found).unwrap();
            assert!(found == expected, "ceil {ceil_mode}, {:?}", self.shape);
        }
    }
}

fn in_pool(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 4 } else { 32 }))]
    #[test]
    fn any_direct_layer(
        (batch, height, width) in (1usize..3, 1usize..12, 1usize..20),
        (in_channels, out_channels) in (prop_oneof![1usize..40, Just(48usize)], 1usize..40),
        kernel in prop_oneof![Just([1usize, 1]), Just([3usize, 3]), [1usize..5, 1usize..5]],
        (stride, dilation) in ([1usize..3, 1usize..3], [1usize..3, 1usize..3]),
        pads in prop_oneof![Just([0usize; 4]), Just([1usize; 4])],
        group in 1usize..3,
        (relu, threads, seed) in (any::<bool>(), 2usize..4, any::<u32>()),
    ) {
        let (in_channels, out_channels) = (in_channels * group, out_channels * group);
        let shape = ConvShape {
            batch, height, width, in_channels, out_channels, kernel, stride, dilation, pads, group,
        };
        prop_assume!(shape.output_size().is_some() && direct::Direct::applies(&shape));
        in_pool(|| Layer::realistic(shape, seed).check(ConvAlgorithm::Direct, relu, threads));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 4 } else { 24 }))]
    #[test]
    fn any_winograd_layer(
        (batch, height, width) in (1usize..3, 1usize..15, 1usize..24),
        (in_channels, out_channels) in (prop_oneof![1usize..40, Just(80usize)], 1usize..40),
        pads in prop_oneof![Just([1usize; 4]), prop::array::uniform4(0usize..3)],
        group in 1usize..3,
        (relu, threads, seed) in (any::<bool>(), 2usize..4, any::<u32>()),
    ) {
        let (in_channels, out_channels) = (in_channels * group, out_channels * group);
        let shape = ConvShape { batch, group, pads, ..shape_3x3(height, width, in_channels, out_channels) };
        prop_assume!(shape.output_size().is_some() && (group == 1 || in_channels > group));
        in_pool(|| Layer::realistic(shape, seed).check(ConvAlgorithm::Winograd4, relu, threads));
    }
}

/// Errors of either sign even out: what direct convolution leaves is less than what products of bf16 values leave, and what
/// Winograd's algorithm leaves is some five times as much.
#[test]
fn how_accurate_it_is() {
    let layer = Layer::realistic(shape_3x3(8, 12, 256, 24), 3);
    let weights: Vec<f32> = layer.weights.iter().map(|&bits| f16_to_f32(bits)).collect();
    let exact = layer.reference(&layer.input, &weights, Some(&layer.bias), false);
    let rms = |values: &mut dyn Iterator<Item = f32>| {
        let sum: f64 = values.map(|value| f64::from(value).powi(2)).sum();
        (sum / exact.len() as f64).sqrt()
    };
    let scale = rms(&mut exact.iter().copied());
    let error = |found: Vec<f32>| rms(&mut found.iter().zip(&exact).map(|(a, b)| a - b)) / scale;
    let of = |algorithm| {
        let prepared = layer.prepared(F16Isa::Plain, CacheInfo::SERVER, algorithm, 1);
        error(layer.run(&prepared, false, 1))
    };
    let bf16 = |values: &[f32]| values.iter().map(|&v| bf16_to_f32(bf16_from_f32(v))).collect::<Vec<_>>();
    let bf16 = error(layer.reference(&bf16(&layer.input), &bf16(&weights), Some(&layer.bias), false));
    let [direct, winograd] = [ConvAlgorithm::Direct, ConvAlgorithm::Winograd4].map(of);
    assert!(direct <= 1.5e-3 && direct < bf16, "{direct:e}, bf16 {bf16:e}");
    assert!(winograd <= 6e-3, "{winograd:e}, direct {direct:e}, bf16 {bf16:e}");
}

/// Inputs that f16 has not; and weights whose transforms it has not, with which it is computed in f32.
#[test]
fn winograd_does_not_overflow() {
    let shape = shape_3x3(9, 10, 20, 8);
    for (scale, isa) in
        [1e-12f32, 1e12].into_iter().flat_map(|s| F16Isa::available().map(move |isa| (s, isa)))
    {
        let mut layer = Layer::realistic(shape.clone(), 4);
        layer.bias.fill(0.0);
        let prepared = layer.prepared(isa, CacheInfo::SERVER, ConvAlgorithm::Winograd4, 1);
        let expected = layer.run(&prepared, true, 1);
        layer.input.iter_mut().for_each(|value| *value *= scale);
        let found = layer.run(&prepared, true, 1);
        let (largest, other) = (largest_magnitude(&expected), largest_magnitude(&found));
        assert!(
            (other / f64::from(scale) / largest - 1.0).abs() <= 0.02,
            "{other} for {largest} times {scale}"
        );
    }
    let mut layer = Layer::realistic(shape, 5);
    layer.weights.fill(0x7bff);
    let prepared = layer.prepared(F16Isa::Plain, CacheInfo::SERVER, ConvAlgorithm::Winograd4, 1);
    assert_eq!(prepared.products(), Some(Products::Exact(Isa::detect())));
}

/// Of more values of `K` than a block has.
#[test]
fn long_sums() {
    Layer::realistic(shape_3x3(4, 5, 300, 20), 1).check(ConvAlgorithm::Direct, true, 2);
    let pointwise = ConvShape { kernel: [1, 1], pads: [0; 4], ..shape_3x3(3, 4, 1000, 17) };
    Layer::realistic(pointwise, 2).check(ConvAlgorithm::Direct, false, 2);
}
