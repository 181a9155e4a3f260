use alloc::{vec, vec::Vec};

use frcnn_core::ShapeError;
use proptest::prelude::*;

use super::*;
use crate::{ChannelRange, Isa, test_random::Random};

/// Tasks are bounded by the pool's threads.
fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn run(function: Pointwise, values: &[f32]) -> Vec<f32> {
    let mut map = values.to_vec();
    pointwise_in_place(function, 1, &mut map);
    map
}

#[test]
fn functions_by_hand() {
    let clip = |scale, shift, low, high| Pointwise::Clip { scale, shift, low, high };
    let values = [f32::NEG_INFINITY, -4.0, -0.0, 1.0, 7.0, f32::INFINITY];
    assert_eq!(run(clip(1.0, 0.0, 0.0, 6.0), &values), [0.0, 0.0, 0.0, 1.0, 6.0, 6.0]);
    assert_eq!(run(clip(0.25, 0.5, 0.0, 1.0), &values), [0.0, 0.0, 0.5, 0.75, 1.0, 1.0]);
    assert_eq!(run(clip(1.0, 0.0, 5.0, -5.0), &values), [-5.0; 6]);
    assert_eq!(run(clip(1.0, 0.0, 0.0, f32::INFINITY), &values[1..]), [0.0, 0.0, 1.0, 7.0, f32::INFINITY]);
    // x / 6 + 1/2 is 1/4, 1/2, 3/4 and then more than 1.
    let found = run(Pointwise::HardSwish, &[-7.0, -3.0, -1.5, 0.0, 1.5, 3.0, 7.0, f32::INFINITY]);
    let expected = [0.0, 0.0, -0.375, 0.0, 1.125, 3.0, 7.0, f32::INFINITY];
    for (found, expected) in found.iter().zip(expected) {
        assert!(*found == expected || (found - expected).abs() < 1e-6, "{found} for {expected}");
    }
    for function in [clip(1.0, 0.0, 0.0, 6.0), clip(0.25, 0.5, 0.0, 1.0), Pointwise::HardSwish] {
        // Also in a map that fills vectors.
        assert!(run(function, &[f32::NAN; 37]).iter().all(|value| value.is_nan()), "{function:?}");
    }
    assert!(run(Pointwise::HardSwish, &[f32::NEG_INFINITY])[0].is_nan());
}

/// On every instruction set, in vectors and behind them.
#[test]
fn functions_have_the_same_bits_everywhere() {
    let special = [f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY];
    let values: Vec<f32> = special.into_iter().chain((-60..60).map(|i| i as f32 / 7.0)).collect();
    let clip = |scale, shift, low, high| Pointwise::Clip { scale, shift, low, high };
    let functions = [clip(1.0, 0.0, 0.0, 6.0), clip(0.3, 0.5, 0.0, 1.0), clip(-1.0, 0.0, 2.0, -0.0)];
    for function in functions.into_iter().chain([Pointwise::HardSwish]) {
        let expected: Vec<f32> = values
            .iter()
            .map(|&x| match function {
                Pointwise::Clip { scale, shift, low, high } => {
                    let y = scale * x + shift;
                    let y = if y < low { low } else { y };
                    if y > high { high } else { y }
                }
                Pointwise::HardSwish => x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0),
            })
            .collect();
        for isa in Isa::tested() {
            // 126 values, of which all are some cells' channels 3 to 20 and a rest.
            for (count, first, stride) in [(126, 0, 126), (18, 3, 23), (9, 1, 10), (1, 0, 1)] {
                let mut map = vec![7.0; values.len() / count * stride];
                for (cell, values) in map.chunks_mut(stride).zip(values.chunks(count)) {
                    cell[first..][..count].copy_from_slice(values);
                }
                let channels = ChannelRange { first, stride };
                pointwise_in_channels(isa, function, (count, channels), &mut map);
                for (cell, expected) in map.chunks(stride).zip(expected.chunks(count)) {
                    let (found, expected) = (&cell[first..][..count], bits(expected));
                    // Of negative infinity HardSwish is a NaN, of any bits.
                    let same = |(found, expected): (&f32, &u32)| {
                        found.to_bits() == *expected || found.is_nan() && f32::from_bits(*expected).is_nan()
                    };
                    assert!(found.iter().zip(&expected).all(same), "{function:?} on {isa:?}: {found:?}");
                    assert!(cell[..first].iter().chain(&cell[first + count..]).all(|&value| value == 7.0));
                }
            }
        }
    }
}

#[test]
fn cells_are_repeated() {
    let from: Vec<f32> = (0..12).map(|i| i as f32).collect();
    // 2 x 3 cells of 2 channels to 3 x 5: rows 0, 0, 1; columns 0, 0, 1, 1, 2.
    let mut to = vec![f32::NAN; 30];
    upsample_into(&from, [2, 3], [1, 2], [3, 5], 1, &mut to).unwrap();
    let row =
        |at: f32| [0.0, 0.0, 1.0, 1.0, 2.0].into_iter().flat_map(move |x| [at + 2.0 * x, at + 2.0 * x + 1.0]);
    let expected: Vec<f32> = row(0.0).chain(row(0.0)).chain(row(6.0)).collect();
    assert_eq!(to, expected);
    // Down again: rows 0 and 1 of 3, columns 0, 1 and 3 of 5.
    let mut back = vec![f32::NAN; 12];
    upsample_into(&to, [3, 5], [1, 2], [2, 3], 1, &mut back).unwrap();
    assert_eq!(back, [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0, 1.0, 2.0, 3.0]);
    // Added, to a NaN and to an infinity, too.
    let mut map = [f32::NAN, f32::INFINITY, 1.0];
    add_upsampled_in_place(&[5.0, 7.0], [1, 2], [1, 1], [1, 3], 1, &mut map).unwrap();
    assert!(map[0].is_nan());
    assert_eq!(map[1..], [f32::INFINITY, 8.0]);
}

#[test]
fn sums_keep_nan() {
    let values = [f32::NAN, 1.0, f32::INFINITY, -3.0, 2.0];
    let others = [1.0, f32::NAN, f32::NEG_INFINITY, 1.0, 1.0];
    for (relu, expected) in [(false, [-2.0, 3.0]), (true, [0.0, 3.0])] {
        let mut map = values;
        add_in_place(&others, relu, 1, &mut map).unwrap();
        assert!(map[..3].iter().all(|value| value.is_nan()), "{map:?}");
        assert_eq!(map[3..], expected);
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let error = |what, expected, found| Err(ShapeError { what, expected, found });
    let mut map = [0.0; 12];
    assert_eq!(add_in_place(&[0.0; 11], false, 1, &mut map), error("other", 12, 11));
    assert_eq!(scale_channels_in_place(&[0.0; 4], [1, 5], 1, &mut map), error("scales", 5, 4));
    assert_eq!(scale_channels_in_place(&[0.0; 5], [1, 5], 1, &mut map), error("map", 10, 12));
    assert_eq!(scale_channels_in_place(&[], [0, 5], 1, &mut map), error("map", 0, 12));
    assert_eq!(scale_channels_in_place(&[], [1, 0], 1, &mut []), Ok(()));
    assert_eq!(global_average_into(&map, [1, 5], 1, &mut [0.0; 4]), error("out", 5, 4));
    assert_eq!(global_average_into(&map, [1, 5], 1, &mut [0.0; 5]), error("map", 10, 12));
    assert_eq!(global_average_into(&map, [0, 5], 1, &mut []), error("map", 0, 12));
    assert_eq!(global_average_into(&[], [1, 0], 1, &mut []), Ok(()));
    let mut out = [0.0; 2];
    assert_eq!(global_average_into(&[], [1, 2], 1, &mut out), Ok(()));
    assert!(out.iter().all(|value| value.is_nan()));
    for upsample in [upsample_into, add_upsampled_in_place] {
        assert_eq!(upsample(&[0.0; 5], [2, 3], [1, 1], [3, 4], 1, &mut map), error("from", 6, 5));
        assert_eq!(upsample(&[0.0; 6], [2, 3], [1, 1], [3, 3], 1, &mut map), error("out", 9, 12));
        assert!(upsample(&[], [0, 3], [1, 1], [3, 4], 1, &mut map).is_err());
        assert_eq!(upsample(&[], [0, 3], [1, 1], [0, 4], 1, &mut []), Ok(()));
    }
}

#[test]
fn averages_keep_nan_and_what_long_sums_lose() {
    for channels in [2, 16, 64, 70, 129] {
        let cells = 100_000 / channels;
        let mut map = vec![0.1; cells * channels];
        map[cells / 2 * channels] = f32::NAN;
        let mut out = vec![0.0; channels];
        global_average_into(&map, [1, channels], 1, &mut out).unwrap();
        for (channel, found) in out.iter().enumerate() {
            assert_eq!(found.is_nan(), channel == 0);
            // Sums of 50000 cells, one after the other, are off by 5e-5.
            assert!(channel == 0 || (found - 0.1).abs() < 1e-6, "{found} of {channels} channels");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(64)))]

    /// As their definitions read, in the same order.
    #[test]
    fn every_bit_on_any_number_of_threads(
        (batch, height, width) in (1usize..3, 1usize..30, 1usize..30),
        channels in prop_oneof![1usize..20, 1usize..150],
        from_size in (1usize..30, 1usize..30),
        seed in any::<u32>(),
    ) {
        let mut random = Random::new(seed);
        let map = random.values(batch * height * width * channels);
        let other = random.values(map.len());
        let scales = random.values(batch * channels);
        let from = random.values(batch * from_size.0 * from_size.1 * channels);
        let from_size = [from_size.0, from_size.1];
        let image_len = height * width * channels;

        let added: Vec<f32> = map.iter().zip(&other).map(|(a, b)| a + b).collect();
        let scaled: Vec<f32> =
            map.iter().enumerate().map(|(i, v)| v * scales[i / image_len * channels + i % channels]).collect();
        let clipped: Vec<f32> = map.iter().map(|v| (3.0 * v + 0.5).clamp(-1.0, 0.75)).collect();
        let swished: Vec<f32> =
            map.iter().map(|v| 8.0 * v * (8.0 * v * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)).collect();
        let upsampled: Vec<f32> = (0..map.len()).map(|i| {
            let (y, x) = (i / channels / width % height, i / channels % width);
            let [y, x] = [y * from_size[0] / height, x * from_size[1] / width];
            from[((i / image_len * from_size[0] + y) * from_size[1] + x) * channels + i % channels]
        }).collect();
        let with_upsampled: Vec<f32> = map.iter().zip(&upsampled).map(|(a, b)| a + b).collect();
        let averages: Vec<f32> = (0..batch * channels).map(|i| {
            let image = &map[i / channels * image_len..][..image_len];
            let values: Vec<f32> = image.iter().skip(i % channels).step_by(channels).copied().collect();
            let sum = values.chunks(256).fold(0.0, |sum, block| sum + block.iter().fold(0.0, |sum, v| sum + v));
            sum * (1.0 / (height * width) as f32)
        }).collect();

        in_pool(|| for threads in 1..4 {
            let changed = |change: &dyn Fn(&mut [f32])| {
                let mut map = map.clone();
                change(&mut map);
                bits(&map)
            };
            let found = changed(&|map| add_in_place(&other, false, threads, map).unwrap());
            assert_eq!(found, bits(&added), "sum");
            let found = changed(&|map| add_in_place(&other, true, threads, map).unwrap());
            let positive: Vec<f32> = added.iter().map(|v| if *v < 0.0 { 0.0 } else { *v }).collect();
            assert_eq!(found, bits(&positive), "sum with a ReLU");
            let found = changed(&|map| scale_channels_in_place(&scales, [batch, channels], threads, map).unwrap());
            assert_eq!(found, bits(&scaled), "scale");
            let clip = Pointwise::Clip { scale: 3.0, shift: 0.5, low: -1.0, high: 0.75 };
            assert_eq!(changed(&|map| pointwise_in_place(clip, threads, map)), bits(&clipped), "clip");
            let found = changed(&|map| {
                map.iter_mut().for_each(|value| *value *= 8.0);
                pointwise_in_place(Pointwise::HardSwish, threads, map);
            });
            assert_eq!(found, bits(&swished), "hard swish");
            let size = [height, width];
            let found = changed(&|map| {
                upsample_into(&from, from_size, [batch, channels], size, threads, map).unwrap();
            });
            assert_eq!(found, bits(&upsampled), "nearest");
            let found = changed(&|map| {
                add_upsampled_in_place(&from, from_size, [batch, channels], size, threads, map).unwrap();
            });
            assert_eq!(found, bits(&with_upsampled), "nearest, added");
            let mut out = vec![0.0; batch * channels];
            global_average_into(&map, [batch, channels], threads, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&averages), "average");
        });
    }
}
