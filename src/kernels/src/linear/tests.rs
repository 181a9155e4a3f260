use alloc::vec;

use frcnn_core::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use proptest::prelude::*;

use super::*;
use crate::k_order::{KBlock, SLAB};
use crate::{linear_into, test_random::Random};

#[test]
fn slabs_cover_every_feature_once() {
    for (bins, channels) in [(49, 512), (36, 40), (1, 16), (4, 7), (49, 1)] {
        let order = KOrder::ChannelSlabs { bins, channels };
        let blocks = order.blocks(bins * channels);
        let mut features: Vec<usize> = blocks.iter().flat_map(KBlock::values).collect();
        if channels > SLAB && bins > 1 {
            assert_eq!(features[..SLAB + 1], (0..SLAB).chain([channels]).collect::<Vec<_>>()[..]);
        }
        features.sort_unstable();
        assert_eq!(features, (0..bins * channels).collect::<Vec<_>>(), "{bins} bins, {channels} channels");
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let make = |order| PreparedLinear::new(&[0.0; 12], 4, 3, order, F32Products::default(), 1);
    let order = KOrder::ChannelSlabs { bins: 3, channels: 2 };
    assert_eq!(make(order).unwrap_err().what, "bins and channels");
    let short = PreparedLinear::with(Isa::detect(), &[0.0; 11], 4, 3, KOrder::Natural, 1);
    assert_eq!(short.unwrap_err().what, "weights");
    let layer = make(KOrder::Natural).unwrap();
    let run = |x: usize, bias: usize, out: usize| {
        let (x, bias, mut out) = (vec![0.0; x], vec![0.0; bias], vec![0.0; out]);
        layer.run(&x, Some(&bias), true, 2, 1, &mut out).map_err(|error| error.what)
    };
    assert_eq!(run(8, 3, 6), Ok(()));
    assert_eq!((run(7, 3, 6), run(8, 2, 6), run(8, 3, 5)), (Err("x"), Err("bias"), Err("out")));
}

/// How weights are kept changes no bit where they are multiplied in f32: f16 ones give what f32 ones of the same values give.
/// A CPU that computes in f16 misses that by what `f16` says at most.
#[test]
fn f16_weights_are_f32_weights_of_these_values() {
    let orders = [KOrder::Natural, KOrder::ChannelSlabs { bins: 3, channels: 40 }];
    for (order, n, rows) in
        orders.into_iter().flat_map(|order| [(order, 37, 1), (order, 64, 7), (order, 5, 40)])
    {
        let k = 120;
        let mut random = Random::new(8);
        let x = random.values(rows * k);
        let mut weights: Vec<u16> = random.values(k * n).into_iter().map(f16_from_f32).collect();
        // The largest, the smallest normal, subnormal ones and zeros of either sign.
        weights[..8].copy_from_slice(&[0x7bff, 0xfbff, 0x0400, 0x03ff, 0x8001, 0x0001, 0x8000, 0]);
        let widened: Vec<f32> = weights.iter().map(|&bits| f16_to_f32(bits)).collect();
        for products in [F32Products::Exact, F32Products::Bf16x3] {
            let f16 = PreparedLinear::from_f16(&weights, k, n, order, products, 1).unwrap();
            let f32 = PreparedLinear::new(&widened, k, n, order, products, 1).unwrap();
            let run = |layer: &PreparedLinear| {
                let mut out = vec![f32::NAN; rows * n];
                layer.run(&x, None, false, rows, 1, &mut out).unwrap();
                out
            };
            let (found, expected) = (run(&f16), run(&f32));
            let is_split = matches!(f32.products(), Products::Bf16x3(_));
            if let (Some(isa), false) = (F16Isa::detect(), is_split) {
                assert_eq!(f16.products(), Products::F16(isa));
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let products = (0..k).map(|j| (x[i / n * k + j] * widened[j * n + i % n]).abs());
                    assert!((found - expected).abs() <= 0.068 * products.sum::<f32>(), "{found}, {expected}");
                }
            } else {
                assert!(found == expected, "{order:?}, {n} features, {rows} rows, {products:?}");
            }
        }
    }
    let short = PreparedLinear::from_f16(&[0; 11], 4, 3, KOrder::Natural, F32Products::Exact, 1);
    assert_eq!(short.unwrap_err().what, "weights");
}

/// A layer of f32 weights for each way that this CPU has to multiply them, with its name.
fn every_way(weights: &[f32], [k, n]: [usize; 2], order: KOrder) -> Vec<(&'static str, PreparedLinear)> {
    let exact = |isa: Isa| (isa.name(), PreparedLinear::with(isa, weights, k, n, order, 1).unwrap());
    let bf16x3 = PreparedLinear::bf16x3(weights, k, n, order, 1).unwrap();
    Isa::available().map(exact).chain(bf16x3.map(|layer| ("bf16x3", layer))).collect()
}

/// A layer for each way that this CPU has to multiply weights of any precision, but bf16x3, which multiplies few rows otherwise.
fn every_precision(weights: &[f32], [k, n]: [usize; 2], order: KOrder) -> Vec<PreparedLinear> {
    let bits = |round: fn(f32) -> u16| weights.iter().map(|&weight| round(weight)).collect::<Vec<_>>();
    let (f16, bf16) = (bits(f16_from_f32), bits(bf16_from_f32));
    let mut layers = Vec::new();
    for isa in Isa::available() {
        layers.push(PreparedLinear::with(isa, weights, k, n, order, 1));
        layers.push(PreparedLinear::from_half(isa, Half::F16, &f16, k, n, order, 1));
        layers.push(PreparedLinear::from_half(isa, Half::Bf16, &bf16, k, n, order, 1));
    }
    for isa in Bf16Isa::available() {
        layers.push(PreparedLinear::from_bf16_with(Some(isa), &bf16, k, n, order, 1));
    }
    for isa in F16Isa::available() {
        layers.extend(PreparedLinear::from_f16_with(isa, &f16, k, n, order, 1).transpose());
    }
    let values: Vec<i8> = weights.iter().map(|&weight| (weight * 127.0) as i8).collect();
    let (scales, input) = (vec![0.01; n], Quantization { scale: 0.01, zero_point: 100 });
    for isa in Int8Isa::available() {
        let weights = Int8Weights { values: &values, scales: &scales, input };
        layers.push(PreparedLinear::from_int8_with(isa, weights, k, n, order, 1));
    }
    layers.into_iter().map(Result::unwrap).collect()
}

/// `Exact` is f32's instructions, also where there is AMX; without AMX `Bf16x3` is the same, bit by bit.
#[test]
fn how_f32_products_are_computed_is_a_choice() {
    for rows in [7, 40] {
        let (k, n) = (1000, 40);
        let mut random = Random::new(4);
        let (x, weights) = (random.values(rows * k), random.values(k * n));
        let run = |layer: &PreparedLinear| {
            let mut out = vec![f32::NAN; rows * n];
            layer.run(&x, None, false, rows, 1, &mut out).unwrap();
            out
        };
        let chosen = |products| {
            let layer = PreparedLinear::new(&weights, k, n, KOrder::Natural, products, 1).unwrap();
            (matches!(layer.form, Form::Bf16(_)), run(&layer))
        };
        let plain = PreparedLinear::with(Isa::detect(), &weights, k, n, KOrder::Natural, 1).unwrap();
        let exact = (false, run(&plain));
        assert!(chosen(F32Products::Exact) == exact, "{rows} rows");
        let split = PreparedLinear::bf16x3(&weights, k, n, KOrder::Natural, 1).unwrap();
        let split = split.filter(|_| Bf16Isa::detect() == Some(Bf16Isa::Amx));
        let expected = split.map_or(exact.clone(), |layer| (true, run(&layer)));
        assert!(expected.0 == (expected.1 != exact.1), "bf16x3 has other bits, or there is none");
        assert!(chosen(F32Products::Bf16x3) == expected, "{rows} rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2 } else { 16 }))]
    #[test]
    fn a_row_has_the_same_bits_whatever_other_rows_there_are(
        bins in 1usize..30,
        channels in 1usize..60,
        n in 1usize..50,
        seed in any::<u32>(),
        (natural, relu, biased) in any::<(bool, bool, bool)>(),
    ) {
        let (rows, k) = (300, bins * channels);
        let mut random = Random::new(seed);
        let (mut x, weights, bias) = (random.values(rows * k), random.values(k * n), random.values(n));
        let bias = biased.then_some(&bias[..]);
        let order = if natural { KOrder::Natural } else { KOrder::ChannelSlabs { bins, channels } };
        let mut below = |most: usize| (random.values(1)[0].abs() * most as f32) as usize % most;
        for row in x.chunks_mut(k) {
            let magnitude = [1.0, 1e-6, 1e5, 1.0, 1e-6, 1e5, 0.0, 1e-30, 1e30, f32::NAN][below(10)];
            row.iter_mut().for_each(|value| *value *= magnitude);
        }
        let subsets = [1, 2, 3, 7, 60, 299].map(|count| (0..count).map(|_| below(rows)).collect::<Vec<_>>());
        for layer in every_precision(&weights, [k, n], order) {
            let run = |x: &[f32], threads: usize| {
                let mut out = vec![f32::NAN; x.len() / k * n];
                layer.run(x, bias, relu, x.len() / k, threads, &mut out).unwrap();
                out
            };
            let whole = run(&x, 3);
            for subset in &subsets {
                let of: Vec<f32> = subset.iter().flat_map(|row| &x[row * k..][..k]).copied().collect();
                for (&row, found) in subset.iter().zip(run(&of, 1).chunks(n)) {
                    let expected = &whole[row * n..][..n];
                    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                    prop_assert!(found.iter().zip(expected).all(same), "row {row} of {}, {}", subset.len(), layer.products());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_isa_agrees_with_the_plain_product(
        rows in prop_oneof![0usize..20, 760usize..800],
        bins in 1usize..20,
        channels in 1usize..40,
        n in 1usize..150,
        seed in any::<u32>(),
        (natural, relu, biased) in any::<(bool, bool, bool)>(),
    ) {
        let k = bins * channels;
        let mut random = Random::new(seed);
        let (x, weights, bias) = (random.values(rows * k), random.values(k * n), random.values(n));
        let bias = biased.then_some(&bias[..]);
        let order = if natural { KOrder::Natural } else { KOrder::ChannelSlabs { bins, channels } };
        let mut expected = vec![f32::NAN; rows * n];
        linear_into(&x, &weights, bias, relu, rows, k, n, 1, &mut expected).unwrap();
        for (way, layer) in every_way(&weights, [k, n], order) {
            let mut out = vec![f32::NAN; rows * n];
            layer.run(&x, bias, relu, rows, 1, &mut out).unwrap();
            // Two orders of at most 780 sums below 1 each: see the bound in `gemm`. bf16x3 leaves out 2^-16 of a
            // product at most: what the two roundings of each factor leave, and lo times lo.
            let each = if way == "bf16x3" { 2e-6 + 1.6e-5 } else { 2e-6 };
            for (found, expected) in out.iter().zip(&expected) {
                prop_assert!((found - expected).abs() <= each * k as f32 + 2e-6, "{way}: {found} for {expected}");
            }
            let mut threaded = vec![f32::NAN; rows * n];
            layer.run(&x, bias, relu, rows, 3, &mut threaded).unwrap();
            prop_assert_eq!(threaded, out);
        }
    }
}

/// The bound above is that of a single product; the errors of many even out.
#[test]
fn bf16x3_is_as_accurate_as_f32() {
    // Few rows and many take different ways.
    [7, 40].into_iter().for_each(as_accurate_as_f32);
}

fn as_accurate_as_f32(rows: usize) {
    let (k, n) = (5000, 40);
    let mut random = Random::new(1);
    let (x, weights) = (random.values(rows * k), random.values(k * n));
    let exact = |i: usize| -> f64 {
        let (x, column) = (&x[i / n * k..][..k], weights.iter().skip(i % n).step_by(n));
        x.iter().zip(column).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let exact: Vec<f64> = (0..rows * n).map(exact).collect();
    for (way, layer) in every_way(&weights, [k, n], KOrder::Natural) {
        let mut out = vec![f32::NAN; rows * n];
        layer.run(&x, None, false, rows, 1, &mut out).unwrap();
        let error = frcnn_core::relative_difference(&out, &exact);
        assert!(error <= 5e-6, "{way}: {error:e} of the largest");
    }
}

#[test]
fn parts_one_by_one_give_the_bits_of_all_at_once() {
    [7, 40].into_iter().for_each(one_by_one);
}

fn one_by_one(rows: usize) {
    let (k, n) = (5000, 40);
    let mut random = Random::new(2);
    let (x, weights, bias) = (random.values(rows * k), random.values(k * n), random.values(n));
    let bits: Vec<u16> = weights.iter().map(|&v| bf16_from_f32(v)).collect();
    let order = KOrder::Natural;
    let bf16 = |isa| PreparedLinear::from_bf16_with(Some(isa), &bits, k, n, order, 1).unwrap();
    let bf16 = Bf16Isa::available().map(bf16);
    let bits: Vec<u16> = weights.iter().map(|&v| f16_from_f32(v)).collect();
    let f16 = |isa| PreparedLinear::from_f16_with(isa, &bits, k, n, order, 1).unwrap();
    let f16 = F16Isa::available().filter_map(f16);
    let f32s = every_way(&weights, [k, n], order).into_iter().map(|(_, layer)| layer);
    for layer in f32s.chain(bf16).chain(f16) {
        let mut expected = vec![f32::NAN; rows * n];
        layer.run(&x, Some(&bias), true, rows, 1, &mut expected).unwrap();
        let blocks = order.blocks(k);
        let mut out = vec![f32::NAN; rows * n];
        for (i, block) in blocks.iter().enumerate() {
            let init = if i == 0 { Init::Bias(&bias[..]) } else { Init::Accumulate };
            let part = KPart { data: &x, stride: k, block };
            layer.accumulate(&[part], init, i + 1 == blocks.len(), rows, 1, &mut out);
        }
        assert!(blocks.len() > 5 && out == expected, "{}", layer.products());
        let mut threaded = vec![f32::NAN; rows * n];
        layer.run(&x, Some(&bias), true, rows, 3, &mut threaded).unwrap();
        assert!(threaded == expected, "{}, threads", layer.products());
    }
}

#[test]
fn what_is_not_finite_does_not_get_lost() {
    let layers = every_way(&[1.0, 0.5], [1, 2], KOrder::Natural);
    for ((way, layer), value) in
        layers.iter().flat_map(|way| [f32::INFINITY, f32::NAN].map(|value| (way, value)))
    {
        let mut out = [0.0; 4];
        layer.run(&[value, 2.0], None, true, 2, 1, &mut out).unwrap();
        assert!(!out[0].is_finite() && !out[1].is_finite(), "{way}: {out:?} of {value}");
        assert_eq!(out[2..], [2.0, 1.0], "{way}, {value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn bf16_agrees_with_the_product_of_rounded_values(
        rows in prop_oneof![0usize..70, 500usize..600],
        bins in 1usize..20,
        channels in 1usize..70,
        n in 1usize..150,
        seed in any::<u32>(),
        (natural, relu, biased) in any::<(bool, bool, bool)>(),
    ) {
        let k = bins * channels;
        let mut random = Random::new(seed);
        let bits = |values: &[f32]| values.iter().map(|&v| bf16_from_f32(v)).collect::<Vec<_>>();
        let widen = |bits: &[u16]| bits.iter().map(|&v| bf16_to_f32(v)).collect::<Vec<_>>();
        let (x, weights, bias) = (random.values(rows * k), bits(&random.values(k * n)), random.values(n));
        let bias = biased.then_some(&bias[..]);
        let order = if natural { KOrder::Natural } else { KOrder::ChannelSlabs { bins, channels } };
        for isa in [None].into_iter().chain(Bf16Isa::available().map(Some)) {
            let layer = PreparedLinear::from_bf16_with(isa, &weights, k, n, order, 3).unwrap();
            let read = if isa.is_some() { widen(&bits(&x)) } else { x.clone() };
            let mut expected = vec![f32::NAN; rows * n];
            linear_into(&read, &widen(&weights), bias, relu, rows, k, n, 1, &mut expected).unwrap();
            let mut out = vec![f32::NAN; rows * n];
            layer.run(&x, bias, relu, rows, 1, &mut out).unwrap();
            for (found, expected) in out.iter().zip(&expected) {
                // As above.
                prop_assert!((found - expected).abs() <= 2e-6 * k as f32 + 2e-6, "{isa:?}: {found} for {expected}");
            }
            let mut threaded = vec![f32::NAN; rows * n];
            layer.run(&x, bias, relu, rows, 3, &mut threaded).unwrap();
            prop_assert_eq!(threaded, out);
        }
    }
}

/// Weights of 16 bits give what f32 weights of the same values give, bit for bit, and take half the memory.
#[test]
fn halves_are_multiplied_as_their_values() {
    let mut random = Random::new(11);
    for half in [Half::F16, Half::Bf16] {
        for (rows, bins, channels, n) in [(1, 4, 20, 5), (10, 49, 40, 70), (130, 9, 17, 64), (7, 1, 1000, 33)]
        {
            let (k, order) = (bins * channels, KOrder::ChannelSlabs { bins, channels });
            let round = if half == Half::F16 { f16_from_f32 } else { bf16_from_f32 };
            let bits: Vec<u16> = random.values(k * n).into_iter().map(round).collect();
            let widened: Vec<f32> = bits.iter().map(|&bits| half.widen(bits)).collect();
            let (x, bias) = (random.values(rows * k), random.values(n));
            for isa in Isa::available() {
                let f32 = PreparedLinear::with(isa, &widened, k, n, order, 1).unwrap();
                for threads in [1, 3] {
                    let layer = PreparedLinear::from_half(isa, half, &bits, k, n, order, threads).unwrap();
                    assert_eq!(2 * layer.weight_bytes(), f32.weight_bytes());
                    let run = |layer: &PreparedLinear| {
                        let mut out = vec![f32::NAN; rows * n];
                        layer.run(&x, Some(&bias), true, rows, threads, &mut out).unwrap();
                        out
                    };
                    assert!(run(&layer) == run(&f32), "{half:?}, {rows} rows, {isa:?}");
                }
            }
        }
    }
    let short = PreparedLinear::from_half(Isa::detect(), Half::F16, &[0; 11], 4, 3, KOrder::Natural, 1);
    assert_eq!(short.unwrap_err().what, "weights");
}
