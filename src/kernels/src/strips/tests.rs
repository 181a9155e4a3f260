use alloc::vec;

use super::*;
use crate::{Isa, SharedCache, pointwise_in_place, test_random::Random};

fn conv(
    height: usize,
    width: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    pad: usize,
) -> ConvShape {
    ConvShape {
        batch: 1,
        height,
        width,
        in_channels: channels[0],
        out_channels: channels[1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        pads: [pad; 4],
        group: 1,
    }
}

fn pool(height: usize, width: usize, channels: usize, pads: [usize; 4], ceil_mode: bool) -> PoolShape {
    let (kernel, stride, dilation) = ([3, 3], [2, 2], [1, 1]);
    PoolShape { batch: 1, height, width, channels, kernel, stride, dilation, pads, ceil_mode }
}

/// Each layer on its whole map, in the functions that a user would call.
fn one_by_one(layers: &[FusedLayer<'_>], size: Size, input: &[f32]) -> Vec<f32> {
    let shapes: Vec<_> = layers.iter().map(FusedLayer::shape).collect();
    let sizes = Strips::new(&shapes, size).unwrap().sizes;
    let mut map = input.to_vec();
    for (layer, sizes) in layers.iter().zip(sizes.windows(2)) {
        let mut out = vec![f32::NAN; len_of(&sizes[1])];
        let scratch = &mut Vec::new();
        match layer {
            FusedLayer::Conv { prepared, shape, bias, relu, then, pool } => {
                let args = ConvArgs { input: &map[..], bias: *bias, relu: *relu, threads: 1 };
                match pool {
                    Some(ceil_mode) => prepared.run_max_pooled(shape, *ceil_mode, args, scratch, &mut out),
                    None => prepared.run(shape, args, scratch, &mut out),
                }
                .unwrap();
                if let Some(function) = then {
                    pointwise_in_place(*function, 1, &mut out);
                }
            }
            FusedLayer::MaxPool(shape) => max_pool_into(shape, &map, 1, &mut out).unwrap(),
            FusedLayer::Lrn(lrn) => lrn_into(*lrn, &map, sizes[0][2], 1, &mut out).unwrap(),
        }
        map = out;
    }
    map
}

/// Strips of 6 rows give what each layer gives on its whole map but for the rounding of Winograd's transforms, whose tiles lie
/// elsewhere: each layer within 3e-5 of its largest value, see the tests of `PreparedConv`. Threads change no bit.
fn check_near(layers: &[FusedLayer<'_>], size: Size) {
    let input = Random::new(1).values(len_of(&size));
    let expected = one_by_one(layers, size, &input);
    let shapes: Vec<_> = layers.iter().map(FusedLayer::shape).collect();
    let strips = Strips::new(&shapes, size).unwrap();
    let run = |threads| {
        let mut out = vec![f32::NAN; expected.len()];
        run_strips_of(6, layers, &strips, &input, threads, &mut vec![], &mut out).unwrap();
        out
    };
    let found = run(1);
    let apart = frcnn_core::relative_difference(&found, &expected);
    assert!(apart <= 1e-4, "off by {apart:e} of the largest");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| run(3)), found);
}

fn check(layers: &[FusedLayer<'_>], size: Size) {
    let input = Random::new(1).values(len_of(&size));
    let expected = one_by_one(layers, size, &input);
    let shapes: Vec<_> = layers.iter().map(FusedLayer::shape).collect();
    let strips = Strips::new(&shapes, size).unwrap();
    // The small maps of a test are one strip, unless strips are as short as they may be.
    let run = |threads| {
        let (mut out, mut short) = (vec![f32::NAN; expected.len()], vec![f32::NAN; expected.len()]);
        let (mut scratch, mut short_scratch) = (vec![], vec![]);
        // Twice: what a scratch holds from before does not matter.
        for _ in 0..2 {
            let (rows, scratch, short_scratch) = (strips.row_unit(), &mut scratch, &mut short_scratch);
            run_strips(layers, size, &input, threads, scratch, &mut out).unwrap();
            run_strips_of(rows, layers, &strips, &input, threads, short_scratch, &mut short).unwrap();
        }
        assert_eq!(short, out, "{size:?}, short strips");
        let told = strip_scratch_lens(Cpu::detect(), &shapes, size).unwrap();
        for taken in scratch.iter().cloned().map(<[Vec<f32>; 3]>::from) {
            assert!(
                taken.iter().zip(told).all(|(taken, told)| taken.len() <= told),
                "{size:?}: {:?} of {told:?}",
                [taken[0].len(), taken[1].len(), taken[2].len()]
            );
        }
        out
    };
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(|| {
        assert_eq!(run(1), expected, "{size:?}");
        assert_eq!(run(3), expected, "{size:?}, threads");
    });
    let mut short = vec![0.0; expected.len() - 1];
    assert!(run_strips(layers, size, &input, 1, &mut vec![], &mut short).is_err());
}

fn with_layers(shapes: &[(ConvShape, ConvAlgorithm)], check: impl Fn(&[PreparedConv])) {
    let prepare = |(shape, algorithm): &(ConvShape, ConvAlgorithm)| {
        let weights = Random::new(2).values(shape.weight_len());
        let prepared = PreparedConv::with(Isa::detect(), Some(*algorithm), shape, &weights, 1).unwrap();
        assert_eq!(prepared.algorithm(), *algorithm);
        prepared
    };
    check(&shapes.iter().map(prepare).collect::<Vec<_>>());
}

/// Heights of maps, all of `range`; emulated, some of every remainder.
fn heights(range: core::ops::Range<usize>) -> impl Iterator<Item = usize> {
    range.step_by(if frcnn_testkit::emulated() { 5 } else { 1 })
}

#[test]
fn a_convolution_and_its_pooling() {
    // SqueezeNet's and CaffeNet's first layers, smaller; heights that end strips, and windows, at odd places.
    let published = [(61, 7, 2, 0), (63, 7, 2, 0), (90, 11, 4, 5), (7, 7, 2, 0)];
    // Every remainder of rows in the last strip, a single one whose window hangs over among them.
    let plain = heights(2..30).map(|height| (height, 3, 1, 1));
    for (height, kernel, stride, pad) in published.into_iter().chain(plain) {
        for ceil_mode in [false, true] {
            let shape = conv(height, 21, [3, 20], kernel, stride, pad);
            let (h, w) = shape.output_size().unwrap();
            with_layers(&[(shape.clone(), ConvAlgorithm::Direct)], |layers| {
                let (prepared, bias) = (&layers[0], Some(&[0.5; 20][..]));
                let first = FusedLayer::Conv {
                    prepared,
                    shape: shape.clone(),
                    bias,
                    relu: true,
                    then: None,
                    pool: None,
                };
                let lrn = FusedLayer::Lrn(Lrn { size: 5, alpha: 1e-1, beta: 0.75, k: 1.0 });
                for pads in [[0; 4], [1, 1, 1, 1], [0, 0, 2, 2]] {
                    let pool = pool(h, w, 20, pads, ceil_mode);
                    if pool.output_size().is_none() {
                        continue;
                    }
                    let pool = FusedLayer::MaxPool(pool);
                    check(&[first.clone(), pool.clone()], [height, 21, 3]);
                    check(&[first.clone(), lrn.clone(), pool.clone()], [height, 21, 3]);
                    check(&[first.clone(), pool, lrn.clone()], [height, 21, 3]);
                }
            });
        }
    }
}

#[test]
fn two_convolutions() {
    let algorithms = [ConvAlgorithm::Winograd6, ConvAlgorithm::Winograd4, ConvAlgorithm::Direct];
    for (height, second) in heights(20..52).flat_map(|height| algorithms.map(|second| (height, second))) {
        let (one, two) = (conv(height, 15, [3, 16], 3, 1, 1), conv(height, 15, [16, 17], 3, 1, 1));
        with_layers(&[(one.clone(), ConvAlgorithm::Direct), (two.clone(), second)], |layers| {
            for pool in [None, Some(false), Some(true)] {
                let layer = |i: usize, shape: &ConvShape, pool: Option<bool>| {
                    let (prepared, shape) = (&layers[i], shape.clone());
                    let then = pool.is_none().then_some(Pointwise::HardSwish);
                    FusedLayer::Conv { prepared, shape, bias: None, relu: pool.is_some(), then, pool }
                };
                check(&[layer(0, &one, None), layer(1, &two, pool)], [height, 15, 3]);
            }
        });
    }
}

/// The wide maps of an inverted residual, and half of one.
#[test]
fn around_a_depthwise_layer() {
    for (height, kernel, stride) in
        heights(1..40).flat_map(|height| [(height, 3, 1), (height, 3, 2), (height, 5, 2)])
    {
        let expand = conv(height, 13, [6, 40], 1, 1, 0);
        let depthwise = ConvShape { group: 40, ..conv(height, 13, [40, 40], kernel, stride, kernel / 2) };
        let (out_height, out_width) = depthwise.output_size().unwrap();
        let project = conv(out_height, out_width, [40, 7], 1, 1, 0);
        let shapes = [
            (expand, ConvAlgorithm::Direct),
            (depthwise, ConvAlgorithm::Depthwise),
            (project, ConvAlgorithm::Direct),
        ];
        with_layers(&shapes, |layers| {
            let layer = |i: usize, then| {
                let (prepared, shape) = (&layers[i], shapes[i].0.clone());
                let relu = i == 1;
                FusedLayer::Conv {
                    prepared,
                    shape,
                    bias: Some(&[0.25; 40][..shapes[i].0.out_channels]),
                    relu,
                    then,
                    pool: None,
                }
            };
            let all = [layer(0, Some(Pointwise::HardSwish)), layer(1, None), layer(2, None)];
            check(&all, [height, 13, 6]);
            check(&all[..2], [height, 13, 6]);
            check(&all[1..], [height, 13, 40]);
        });
    }
}

/// Strips begin where the first layer's tiles do not: their values differ from the whole map's in the last bits.
#[test]
fn two_convolutions_by_winograd() {
    let (one, two) = (conv(45, 33, [16, 16], 3, 1, 1), conv(45, 33, [16, 17], 3, 1, 1));
    for first in [ConvAlgorithm::Winograd4, ConvAlgorithm::Winograd6] {
        let layers = [(one.clone(), first), (two.clone(), ConvAlgorithm::Winograd6)];
        with_layers(&layers, |layers| {
            let layer = |i: usize, shape: &ConvShape, pool| {
                let (prepared, shape) = (&layers[i], shape.clone());
                FusedLayer::Conv { prepared, shape, bias: None, relu: true, then: None, pool }
            };
            let layers = [layer(0, &one, None), layer(1, &two, Some(false))];
            check_near(&layers, [45, 33, 16]);
        });
    }
}

/// SqueezeNet's first layers: as above.
#[test]
fn a_convolution_by_winograd_and_its_pooling() {
    let shape = conv(115, 63, [3, 20], 7, 2, 3);
    let (height, width) = shape.output_size().unwrap();
    with_layers(&[(shape.clone(), ConvAlgorithm::Winograd5)], |layers| {
        let conv = FusedLayer::Conv {
            prepared: &layers[0],
            shape: shape.clone(),
            bias: None,
            relu: true,
            then: None,
            pool: None,
        };
        let layers = [conv, FusedLayer::MaxPool(pool(height, width, 20, [0; 4], true))];
        check_near(&layers, [115, 63, 3]);
    });
}

#[test]
fn strips_are_bounded_by_the_largest_map_between() {
    // VGG16's first two layers: 14 rows of 800 x 64 make 2.9 MB, 20 would be 4.1.
    let (one, two) = (conv(600, 800, [3, 64], 3, 1, 1), conv(600, 800, [64, 64], 3, 1, 1));
    let prepared = |shape: &ConvShape| PreparedConv::new(shape, &vec![0.0; shape.weight_len()], 1).unwrap();
    let layers = [prepared(&one), prepared(&two)];
    let layer = |prepared, shape: &ConvShape, pool| FusedLayer::Conv {
        prepared,
        shape: shape.clone(),
        bias: None,
        relu: true,
        then: None,
        pool,
    };
    let layers = [layer(&layers[0], &one, None), layer(&layers[1], &two, Some(true))];
    let shapes: Vec<_> = layers.iter().map(FusedLayer::shape).collect();
    let strips = Strips::new(&shapes, [600, 800, 3]).unwrap();
    assert_eq!(strips.rows_at_once(CacheInfo::SERVER), 6);
    let large = SharedCache { bytes: 16 << 20, cores: 4 };
    assert_eq!(strips.rows_at_once(CacheInfo { l2: large, ..CacheInfo::SERVER }), 12);
    let sizes = &strips.sizes;
    assert_eq!(rows_seen(&shapes[1], sizes[1], 0..6), Seen { cells: 0..13, before: 1, after: 0 });
    assert_eq!(rows_seen(&shapes[1], sizes[1], 294..300), Seen { cells: 587..600, before: 0, after: 1 });
}

#[test]
fn maps_that_do_not_fit_are_errors() {
    let shape = pool(9, 9, 4, [0; 4], false);
    let layers = [FusedLayer::MaxPool(shape)];
    let mut out = vec![0.0; 64];
    let error = run_strips(&layers, [9, 8, 4], &[0.0; 288], 1, &mut vec![], &mut out).unwrap_err();
    assert_eq!(error, ShapeError { what: "a layer's map", expected: 8, found: 9 });
    let layers = [FusedLayer::MaxPool(pool(2, 2, 4, [0; 4], false))];
    assert!(run_strips(&layers, [2, 2, 4], &[0.0; 16], 1, &mut vec![], &mut []).is_err());
}
