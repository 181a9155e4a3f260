use alloc::{vec, vec::Vec};

use frcnn_core::{bf16_from_f32, f16_from_f32, largest_magnitude};
use proptest::prelude::*;

use super::*;
use crate::conv::{check_window, shape_3x3};
use crate::{CacheInfo, Isa, conv2d_reference, pointwise_in_place, test_random::Random};

const ALGORITHMS: [ConvAlgorithm; 6] = [
    ConvAlgorithm::Plain,
    ConvAlgorithm::Direct,
    ConvAlgorithm::Winograd4Lean,
    ConvAlgorithm::Winograd4,
    ConvAlgorithm::Winograd5,
    ConvAlgorithm::Winograd6,
];

/// Intrinsics that are not inlined make a debug build a hundred times slower.
const CASES: u32 = if cfg!(debug_assertions) { 6 } else { 96 };

struct Layer {
    shape: ConvShape,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// As in a trained network: inputs that a ReLU left, weights of variance `2 / K` (He).
    fn realistic(shape: ConvShape, seed: u32) -> Self {
        let mut random = Random::new(seed);
        let mut input = random.values(shape.batch * shape.height * shape.width * shape.in_channels);
        input.iter_mut().for_each(|v| *v = v.max(0.0));
        let k = shape.kernel[0] * shape.kernel[1] * shape.in_channels / shape.group;
        let mut weights = random.values(shape.weight_len());
        // Values in [-1, 1) have a variance of 1/3.
        weights.iter_mut().for_each(|w| *w *= (6.0 / k as f32).sqrt());
        let bias = random.values(shape.out_channels);
        Self { shape, input, weights, bias }
    }

    fn out(&self) -> Vec<f32> {
        let (height, width) = self.shape.output_size().unwrap();
        vec![f32::NAN; self.shape.batch * height * width * self.shape.out_channels]
    }

    fn args(&self, bias: bool, relu: bool, threads: usize) -> ConvArgs<'_> {
        ConvArgs { input: &self.input, bias: bias.then_some(&self.bias[..]), relu, threads }
    }

    fn run(&self, prepared: &PreparedConv, args: ConvArgs<'_>) -> Vec<f32> {
        let mut out = self.out();
        // Scratch that holds something else.
        let mut scratch = vec![f32::NAN; 3000];
        prepared.run(&self.shape, args, &mut scratch, &mut out).unwrap();
        out
    }

    /// The error relative to the largest sum; and no bit changes with the number of threads or with other caches.
    fn check(&self, bias: bool, relu: bool, threads: usize) {
        let mut exact = self.out();
        let args = self.args(bias, relu, 1);
        let sums = ConvArgs { relu: false, ..args };
        // The scale is that of the sums: where ReLU leaves nothing, the largest output says nothing of them.
        conv2d_reference(&self.shape, &self.weights, sums, &mut exact).unwrap();
        let max = largest_magnitude(&exact) as f32;
        conv2d_reference(&self.shape, &self.weights, args, &mut exact).unwrap();
        // Depthwise layers have but one.
        let algorithms = if self.shape.is_depthwise() { &ALGORITHMS[..1] } else { &ALGORITHMS };
        for isa in Isa::tested() {
            for &algorithm in algorithms {
                let server = Cpu { isa, caches: CacheInfo::SERVER };
                let prepared =
                    PreparedConv::with(server, Some(algorithm), &self.shape, &self.weights, 1).unwrap();
                let found = self.run(&prepared, args);
                for (i, (found, exact)) in found.iter().zip(&exact).enumerate() {
                    // The project's bound is 2e-4 of the layer's largest value; F(6x6, 3x3), whose largest
                    // constant is 32 and smallest 1/90, errs by some 3e-5 of it. A wrong tap is off by 1e-2 at least.
                    assert!(
                        (found - exact).abs() <= 1e-4 * max + 1e-6,
                        "{found} for {exact} of {max} at {i}, {algorithm:?} on {isa:?}, {:?}",
                        self.shape
                    );
                }
                let args = ConvArgs { threads, ..args };
                let cpu = Cpu { isa, caches: CacheInfo::SMALL[threads % CacheInfo::SMALL.len()] };
                let other =
                    PreparedConv::with(cpu, Some(algorithm), &self.shape, &self.weights, threads).unwrap();
                assert_eq!(self.run(&other, args), found, "{threads} threads, {cpu:?}");
                if algorithm == ConvAlgorithm::Winograd4Lean {
                    let not_lean = Some(ConvAlgorithm::Winograd4);
                    let other = PreparedConv::with(server, not_lean, &self.shape, &self.weights, 1).unwrap();
                    assert!(
                        self.run(&other, args) == found,
                        "transformed once or as they are read, weights are the same"
                    );
                }
                self.check_pooled(&prepared, args, &found);
                self.check_channels(&prepared, args, &found);
                self.check_then(&prepared, args, &found);
                self.check_window(&prepared, args);
            }
        }
    }

    /// Channels of a wider map get the same bits, and those beside them stay.
    fn check_channels(&self, prepared: &PreparedConv, args: ConvArgs<'_>, whole: &[f32]) {
        let (shape, co) = (&self.shape, self.shape.out_channels);
        let wide = ChannelRange { first: 3, stride: co + 5 };
        let mut out = vec![7.0; whole.len() / co * wide.stride];
        prepared.run_into_channels(shape, args, wide, &mut Vec::new(), &mut out).unwrap();
        for (pixel, expected) in out.chunks(wide.stride).zip(whole.chunks(co)) {
            assert_eq!(&pixel[3..3 + co], expected, "{:?}, {shape:?}", prepared.algorithm());
            assert_eq!([&pixel[..3], &pixel[3 + co..]].concat(), [7.0; 5]);
        }
        let narrow = ChannelRange { first: 1, stride: co };
        let mut out = whole.to_vec();
        let error = prepared.run_into_channels(shape, args, narrow, &mut Vec::new(), &mut out);
        assert_eq!(error.unwrap_err().what, "channels of the output map");
    }

    /// A function on the way out gives the bits of the function afterwards, in channels of a wider map, too.
    fn check_then(&self, prepared: &PreparedConv, args: ConvArgs<'_>, whole: &[f32]) {
        let (shape, co) = (&self.shape, self.shape.out_channels);
        for function in
            [Pointwise::HardSwish, Pointwise::Clip { scale: 0.2, shift: 0.5, low: 0.0, high: 1.0 }]
        {
            let mut expected = whole.to_vec();
            pointwise_in_place(function, 1, &mut expected);
            for channels in [ChannelRange::all(co), ChannelRange { first: 2, stride: co + 3 }] {
                let mut out = vec![7.0; whole.len() / co * channels.stride];
                prepared.run_then(shape, args, Some(function), channels, &mut Vec::new(), &mut out).unwrap();
                for (pixel, expected) in out.chunks(channels.stride).zip(expected.chunks(co)) {
                    let (before, pixel) = pixel.split_at(channels.first);
                    let (pixel, after) = pixel.split_at(co);
                    assert_eq!(pixel, expected, "{function:?}, {:?}, {shape:?}", prepared.algorithm());
                    assert!(before.iter().chain(after).all(|&value| value == 7.0));
                }
            }
        }
    }

    /// A window of the map, whole tiles of it, has the bits of the whole map.
    fn check_window(&self, prepared: &PreparedConv, args: ConvArgs<'_>) {
        let window = |outputs| {
            let window = prepared.window(&self.shape, outputs);
            assert!(window.is_some() || prepared.algorithm() == ConvAlgorithm::Plain);
            window
        };
        let seed = self.bias.first().map_or(0, |value| value.to_bits());
        check_window(&self.shape, &self.input, seed, window, |shape, input| {
            let (height, width) = shape.output_size().unwrap();
            let mut out = vec![f32::NAN; shape.batch * height * width * shape.out_channels];
            prepared.run(shape, ConvArgs { input, ..args }, &mut Vec::new(), &mut out).unwrap();
            out
        });
    }

    /// Pooling on the way out gives the bits of pooling afterwards.
    fn check_pooled(&self, prepared: &PreparedConv, args: ConvArgs<'_>, whole: &[f32]) {
        for ceil_mode in [false, true] {
            let pool = self.shape.pool_2x2(ceil_mode).unwrap();
            // A map of a single row or column has no window.
            let Some((pooled_height, pooled_width)) = pool.output_size() else { continue };
            let mut expected =
                vec![f32::NAN; self.shape.batch * pooled_height * pooled_width * self.shape.out_channels];
            let mut found = expected.clone();
            max_pool_into(&pool, whole, 1, &mut expected).unwrap();
            let scratch = &mut Vec::new();
            prepared.run_max_pooled(&self.shape, ceil_mode, args, scratch, &mut found).unwrap();
            assert_eq!(found, expected, "{:?}, ceil {ceil_mode}, {:?}", prepared.algorithm(), self.shape);
        }
    }
}

/// Tasks are bounded by the pool's threads: without a pool of several there would be but one.
fn in_pool(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap().install(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(CASES)))]

    #[test]
    fn every_algorithm_on_every_isa(
        (batch, height, width) in (1usize..3, 1usize..41, 1usize..41),
        (in_channels, out_channels) in (
            prop_oneof![Just(1usize), Just(3), Just(5), Just(17), Just(64), 1usize..40],
            prop_oneof![Just(1usize), Just(3), Just(5), Just(17), Just(64), 1usize..40],
        ),
        group in prop_oneof![Just(1usize), Just(1), 2usize..4],
        pads in prop_oneof![Just([1usize; 4]), prop::array::uniform4(0usize..4)],
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 2usize..6),
        seed in any::<u32>(),
    ) {
        let (in_channels, out_channels) = (group * in_channels, group * out_channels);
        let shape = ConvShape { batch, pads, group, ..shape_3x3(height, width, in_channels, out_channels) };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| Layer::realistic(shape, seed).check(bias, relu, threads));
    }

    /// Windows that Winograd's tiles compute, up to 4 cells a side when they move by one.
    #[test]
    fn windows_that_move_by_several_cells(
        (batch, height, width) in (1usize..3, 1usize..60, 1usize..60),
        (in_channels, out_channels) in (prop_oneof![Just(3usize), 1usize..20], 1usize..40),
        (stride, kernel) in prop_oneof![
            Just((1usize, 4usize)), Just((2, 7)), (2usize..5).prop_flat_map(|s| (Just(s), 2 * s + 1..4 * s + 1)),
        ],
        pads in prop::array::uniform4(0usize..4),
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 2usize..6),
        seed in any::<u32>(),
    ) {
        let shape = ConvShape {
            batch, height, width, in_channels, out_channels, pads,
            kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], group: 1,
        };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| Layer::realistic(shape, seed).check(bias, relu, threads));
    }

    #[test]
    fn direct_with_any_window(
        (batch, height, width) in (1usize..3, 1usize..20, 1usize..20),
        (group, group_in, group_out) in prop_oneof![
            (Just(1usize), 1usize..70, 1usize..70),
            (2usize..4, 2usize..20, 1usize..20),
            (Just(1usize), 130usize..400, 1usize..20),
        ],
        kernel in prop_oneof![Just([1usize, 1]), [1usize..6, 1usize..6]],
        stride in prop_oneof![Just([1usize, 1]), [1usize..5, 1usize..5]],
        dilation in prop_oneof![Just([1usize, 1]), [1usize..3, 1usize..3]],
        pads in prop_oneof![Just([0usize; 4]), prop::array::uniform4(0usize..3)],
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 2usize..6),
        seed in any::<u32>(),
    ) {
        let shape = ConvShape {
            batch, height, width, kernel, stride, dilation, pads, group,
            in_channels: group * group_in,
            out_channels: group * group_out,
        };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| Layer::realistic(shape, seed).check(bias, relu, threads));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(CASES)))]

    /// Whatever algorithm was asked for.
    #[test]
    fn depthwise_with_any_window(
        (batch, height, width) in (1usize..3, 1usize..30, 1usize..30),
        (group, multiplier) in prop_oneof![(2usize..40, Just(1usize)), (2usize..100, Just(1)), (2usize..9, 2usize..4)],
        kernel in prop_oneof![Just([3usize, 3]), Just([5, 5]), [1usize..6, 1usize..6]],
        stride in prop_oneof![Just([1usize, 1]), Just([2, 2]), [1usize..5, 1usize..5]],
        dilation in prop_oneof![Just([1usize, 1]), [1usize..3, 1usize..3]],
        pads in prop_oneof![Just([1usize; 4]), prop::array::uniform4(0usize..4)],
        (bias, relu, threads) in (any::<bool>(), any::<bool>(), 2usize..6),
        seed in any::<u32>(),
    ) {
        let shape = ConvShape {
            batch, height, width, kernel, stride, dilation, pads, group,
            in_channels: group,
            out_channels: group * multiplier,
        };
        prop_assume!(shape.output_size().is_some());
        in_pool(|| Layer::realistic(shape, seed).check(bias, relu, threads));
    }
}

/// ReLU leaves nothing of these maps, and the sums it cut off err by some 3e-6 (found by a run of the test above).
#[test]
fn maps_that_relu_empties() {
    let shape = ConvShape { batch: 2, pads: [1, 2, 1, 0], ..shape_3x3(5, 39, 1, 1) };
    let mut layer = Layer::realistic(shape, 1903361704);
    layer.weights.iter_mut().for_each(|w| *w = -w.abs());
    in_pool(|| layer.check(false, true, 2));
}

#[test]
fn deep_layers_stay_far_below_the_bound() {
    // 512 channels in: sums of 4608 products. Wide enough for several blocks of tiles.
    let layer = Layer::realistic(shape_3x3(7, 13, 512, 70), 1);
    in_pool(|| layer.check(true, false, 4));
}

#[test]
fn many_blocks_of_tiles() {
    // 100 tiles of F(6x6, 3x3) are 9 blocks, enough for two tasks to have their own; 225 of F(4x4, 3x3) are 5, whose
    // steps they share. With fewer channels small caches alone make as many blocks.
    let channels = if frcnn_testkit::emulated() { 16 } else { 64 };
    let layer = Layer::realistic(shape_3x3(60, 60, channels, channels), 2);
    in_pool(|| layer.check(true, true, 2));
}

#[test]
fn one_form_runs_on_any_size_of_map() {
    for algorithm in ALGORITHMS {
        let shape = |batch, height, width| match algorithm {
            ConvAlgorithm::Winograd5 => ConvShape {
                batch,
                kernel: [7; 2],
                stride: [2; 2],
                ..shape_3x3(2 * height, 2 * width, 20, 12)
            },
            _ => ConvShape { batch, ..shape_3x3(height, width, 20, 12) },
        };
        let small = Layer::realistic(shape(1, 8, 9), 3);
        let prepared =
            PreparedConv::with(Isa::detect(), Some(algorithm), &small.shape, &small.weights, 1).unwrap();
        assert_eq!(prepared.algorithm(), algorithm);
        let large = Layer { weights: small.weights.clone(), ..Layer::realistic(shape(2, 21, 17), 4) };
        let fresh =
            PreparedConv::with(Isa::detect(), Some(algorithm), &large.shape, &large.weights, 1).unwrap();
        let args = large.args(true, true, 1);
        assert_eq!(large.run(&prepared, args), large.run(&fresh, args));
    }
}

#[test]
fn nan_reaches_the_output() {
    let mut layer = Layer::realistic(shape_3x3(9, 9, 4, 4), 5);
    layer.input[0] = f32::NAN;
    for algorithm in ALGORITHMS {
        let prepared =
            PreparedConv::with(Isa::detect(), Some(algorithm), &layer.shape, &layer.weights, 1).unwrap();
        assert!(layer.run(&prepared, layer.args(true, true, 1))[0].is_nan(), "{algorithm:?}");
    }
}

#[test]
fn another_layer_is_an_error() {
    let shape = shape_3x3(4, 4, 2, 2);
    let weights = [0.0; 36];
    let prepared = PreparedConv::new(&shape, &weights, 1).unwrap();
    let other = ConvShape { pads: [1, 1, 2, 1], ..shape.clone() };
    let mut out = [0.0; 8];
    let args = ConvArgs { input: &[0.0; 32][..], bias: None, relu: false, threads: 1 };
    let run = prepared.run(&other, args, &mut Vec::new(), &mut out).unwrap_err();
    assert_eq!(run.what, "the layer that was prepared");
    let one_row = ConvShape { height: 1, ..shape.clone() };
    let args = ConvArgs { input: &[0.0; 8][..], ..args };
    let pooled = prepared.run_max_pooled(&one_row, false, args, &mut Vec::new(), &mut out);
    assert_eq!(pooled.unwrap_err().what, "windows that fit the convolved map");
    assert_eq!(PreparedConv::new(&shape, &weights[1..], 1).unwrap_err().what, "weights");
    let grouped = ConvShape { group: 3, ..shape };
    assert!(PreparedConv::new(&grouped, &weights, 1).is_err());
}

#[test]
fn layers_without_values() {
    let empty = ConvShape { batch: 0, ..shape_3x3(4, 4, 2, 2) };
    let no_input = shape_3x3(3, 3, 0, 2);
    let no_output = shape_3x3(3, 3, 2, 0);
    for shape in [empty, no_input, no_output] {
        for algorithm in ALGORITHMS {
            let layer = Layer::realistic(shape.clone(), 6);
            let prepared =
                PreparedConv::with(Isa::detect(), Some(algorithm), &shape, &layer.weights, 1).unwrap();
            let out = layer.run(&prepared, layer.args(false, false, 2));
            assert!(out.iter().all(|&v| v == 0.0), "{algorithm:?} of {shape:?}");
        }
    }
}

/// Weights of 16 bits give what f32 weights of the same values give, bit for bit, and take half the memory but where they are
/// transformed once.
#[test]
fn halves_are_multiplied_as_their_values() {
    let mut random = Random::new(5);
    for (channels, size, stride, group) in [
        ([40, 70], [13, 17], 1, 1),
        ([150, 16], [9, 8], 2, 1),
        ([24, 36], [14, 6], 1, 2),
        ([300, 40], [6, 7], 1, 1),
    ] {
        let [height, width] = size;
        let [in_channels, out_channels] = channels;
        let shape =
            ConvShape { stride: [stride; 2], group, ..shape_3x3(height, width, in_channels, out_channels) };
        let (out_height, out_width) = shape.output_size().unwrap();
        let input = random.values(height * width * in_channels);
        let bias = random.values(out_channels);
        let run = |layer: &PreparedConv, threads| {
            let mut out = vec![f32::NAN; out_height * out_width * out_channels];
            let args = ConvArgs { input: &input[..], bias: Some(&bias), relu: false, threads };
            layer.run(&shape, args, &mut Vec::new(), &mut out).unwrap();
            out
        };
        for half in [Half::F16, Half::Bf16] {
            let round = if half == Half::F16 { f16_from_f32 } else { bf16_from_f32 };
            let bits: Vec<u16> = random.values(shape.weight_len()).into_iter().map(round).collect();
            let widened: Vec<f32> = bits.iter().map(|&bits| half.widen(bits)).collect();
            for isa in Isa::tested() {
                for algorithm in ALGORITHMS {
                    for caches in [CacheInfo::SERVER, CacheInfo::SMALL[0]] {
                        let cpu = Cpu { isa, caches };
                        let f32 = PreparedConv::with(cpu, Some(algorithm), &shape, &widened, 1).unwrap();
                        let layer =
                            PreparedConv::from_half(cpu, Some(algorithm), &shape, half, &bits, 1).unwrap();
                        assert_eq!(layer.algorithm(), f32.algorithm());
                        let (found, expected) = (run(&layer, 1), run(&f32, 1));
                        assert!(run(&layer, 3) == found, "threads change no bit");
                        assert!(found == expected, "{half:?} {shape:?} by {algorithm:?} on {isa:?}");
                        let (bytes, of_f32) = (layer.weight_bytes(), f32.weight_bytes());
                        match layer.algorithm() {
                            ConvAlgorithm::Direct | ConvAlgorithm::Winograd4Lean => {
                                assert_eq!(2 * bytes, of_f32);
                            }
                            _ => assert_eq!(bytes, of_f32),
                        }
                    }
                }
            }
        }
    }
}
