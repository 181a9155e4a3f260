use alloc::{vec, vec::Vec};

use frcnn_core::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use proptest::prelude::*;

use super::{linear::Scratch, *};
use crate::{
    init::Init,
    k_order::{KOrder, KPart},
    linear_units::{LinearRun, Unit},
    sync_ptr::SyncPtr,
    test_random::Random,
};

/// u: half a step of f16.
const UNIT: f64 = 1.0 / 2048.0;

/// A fully connected layer, as it is defined.
struct Layer<'a> {
    x: &'a [f32],
    weights: &'a [u16],
    bias: Option<&'a [f32]>,
    relu: bool,
    size: [usize; 3],
    order: KOrder,
}

impl Layer<'_> {
    fn run(&self, isa: F16Isa) -> Vec<f32> {
        let [rows, k, n] = self.size;
        let blocks = self.order.blocks(k);
        let layer = F16Linear::new(isa, self.weights, n, &blocks, 1).unwrap();
        let parts: Vec<_> = blocks.iter().map(|block| KPart { data: self.x, stride: k, block }).collect();
        let mut out = vec![f32::NAN; rows * n];
        let (init, sums) = (Init::bias(self.bias), SyncPtr::new(&mut out));
        let run = LinearRun { parts: &parts, init, relu: self.relu, out: sums };
        let mut scratch = Scratch::default();
        for panel in 0..layer.weights().count() {
            let unit = Unit { rows: 0..rows, panels: panel..panel + 1 };
            // SAFETY: `out` has all rows and columns, and is this test's alone.
            unsafe { layer.multiply(&run, unit, &mut scratch) };
        }
        out
    }

    /// The sum of each output, and of its products' magnitudes, in f64.
    fn exact(&self) -> Vec<[f64; 2]> {
        let [rows, k, n] = self.size;
        let sum = |i: usize| {
            let bias = f64::from(self.bias.map_or(0.0, |bias| bias[i % n]));
            let products = (0..k).map(|j| {
                f64::from(self.x[i / n * k + j]) * f64::from(f16_to_f32(self.weights[j * n + i % n]))
            });
            products
                .fold([bias, 0.0], |[sum, magnitudes], product| [sum + product, magnitudes + product.abs()])
        };
        (0..rows * n).map(sum).collect()
    }

    /// The bound of `f16`: what runs and rounded values miss, and f32's sums.
    fn check(&self) -> Result<(), TestCaseError> {
        let expected = self.run(F16Isa::Plain);
        for isa in F16Isa::available() {
            prop_assert!(self.run(isa) == expected, "{isa:?}, {:?}", self.size);
        }
        let [_, k, n] = self.size;
        let run = k.min(128) as f64 * UNIT;
        for (i, (&found, [sum, magnitudes])) in expected.iter().zip(self.exact()).enumerate() {
            let exact = if self.relu { sum.max(0.0) } else { sum };
            let bias = f64::from(self.bias.map_or(0.0, |bias| bias[i % n].abs()));
            let bound = (run / (1.0 - run) + UNIT) * magnitudes + 1e-6 * (magnitudes + bias) + 1e-9;
            prop_assert!((f64::from(found) - exact).abs() <= bound, "{found} for {exact} at {i}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_isa_gives_the_same_bits_within_the_bound(
        rows in 0usize..40,
        bins in 1usize..30,
        channels in prop_oneof![1usize..40, Just(32usize)],
        n in 1usize..70,
        scale in -30i32..30,
        seed in any::<u32>(),
        (natural, relu, biased) in any::<(bool, bool, bool)>(),
    ) {
        let k = bins * channels;
        let mut random = Random::new(seed);
        let scale = libm::exp2f(scale as f32);
        let x: Vec<f32> = random.values(rows * k).into_iter().map(|value| value * scale).collect();
        let weights: Vec<u16> = random.values(k * n).into_iter().map(f16_from_f32).collect();
        let bias: Vec<f32> = random.values(n).into_iter().map(|value| value * scale).collect();
        let order = if natural { KOrder::Natural } else { KOrder::ChannelSlabs { bins, channels } };
        let bias = biased.then_some(&bias[..]);
        Layer { x: &x, weights: &weights, bias, relu, size: [rows, k, n], order }.check()?;
    }
}

/// Tiles of all heights, with a panel that is not whole behind one that is.
#[test]
fn any_number_of_rows_in_a_tile() {
    for rows in 1..=TILE {
        let (k, n) = (40, PANEL + 3);
        let mut random = Random::new(rows as u32);
        let x = random.values(rows * k);
        let weights: Vec<u16> = random.values(k * n).into_iter().map(f16_from_f32).collect();
        let (size, order) = ([rows, k, n], KOrder::Natural);
        Layer { x: &x, weights: &weights, bias: None, relu: true, size, order }.check().unwrap();
    }
}

/// Of random products, errors of either sign even out: what is left is less than what products of bf16 values leave.
#[test]
fn as_accurate_as_bf16() {
    let (rows, k, n) = (8, 784, 48);
    let mut random = Random::new(5);
    // Features after ReLU.
    let x: Vec<f32> = random.values(rows * k).into_iter().map(|value| value.max(0.0)).collect();
    let weights: Vec<u16> = random.values(k * n).into_iter().map(f16_from_f32).collect();
    let order = KOrder::Natural;
    let layer = Layer { x: &x, weights: &weights, bias: None, relu: false, size: [rows, k, n], order };
    let exact: Vec<f64> = layer.exact().into_iter().map(|[sum, _]| sum).collect();
    let rms = |values: Vec<f64>| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
    let error =
        |found: Vec<f64>| rms(found.iter().zip(&exact).map(|(a, b)| a - b).collect()) / rms(exact.clone());
    let f16 = error(layer.run(F16Isa::Plain).into_iter().map(f64::from).collect());

    let bf16 = |value: f32| f64::from(bf16_to_f32(bf16_from_f32(value)));
    let product = |i: usize, j: usize| bf16(x[i / n * k + j]) * bf16(f16_to_f32(weights[j * n + i % n]));
    let bf16 = error((0..rows * n).map(|i| (0..k).map(|j| product(i, j)).sum()).collect());
    assert!(f16 <= 1.4e-3 && f16 < bf16, "{f16:e}, bf16 {bf16:e}");
}

#[test]
fn without_features_there_is_the_bias() {
    let (bias, order) = ([1.0, -2.0, 3.0], KOrder::Natural);
    let layer = Layer { x: &[], weights: &[], bias: Some(&bias), relu: true, size: [2, 0, 3], order };
    for isa in F16Isa::available() {
        assert_eq!(layer.run(isa), [1.0, 0.0, 3.0, 1.0, 0.0, 3.0], "{isa:?}");
    }
}

/// Values that f16 has not, and sums that it would not hold.
#[test]
fn nothing_overflows() {
    let (rows, k, n) = (9, 300, 20);
    for (value, weight) in [(1e30, 65504.0), (65504.0, 1.0), (3e-30, 6e-8), (1e-5, 1e-4), (1e38, 6e-8)] {
        let x = vec![value; rows * k];
        let weights = vec![f16_from_f32(weight); k * n];
        let order = KOrder::Natural;
        let layer = Layer { x: &x, weights: &weights, bias: None, relu: false, size: [rows, k, n], order };
        layer.check().unwrap();
        // One row is of other values than the others of its tile.
        let mut x = x.clone();
        x[..k].fill(value * 1e-3);
        Layer { x: &x, ..layer }.check().unwrap();
    }
}

#[test]
fn what_is_not_finite_stays_so_in_its_row() {
    for (value, isa) in [f32::INFINITY, f32::NAN]
        .into_iter()
        .flat_map(|value| F16Isa::available().map(move |isa| (value, isa)))
    {
        let (x, weights) = ([value, 2.0, 983040.0, 3.0], [f16_from_f32(1.0), f16_from_f32(0.5), 0, 0]);
        let (size, order) = ([2, 2, 2], KOrder::Natural);
        let layer = Layer { x: &x, weights: &weights, bias: None, relu: true, size, order };
        let out = layer.run(isa);
        assert!(out[..2].iter().all(|value| !value.is_finite()), "{isa:?}: {out:?} of {value}");
        assert_eq!(out[2..], [983040.0, 491520.0], "{isa:?}, {value}");
    }
}

/// A rounding of the exact value, against f64, which has room for what is asked here.
#[test]
fn sums_of_products_are_rounded_once() {
    let bits = [0x3c00, 0x3c01, 0xbc01, 0x4000, 0x0001, 0x8001, 0x03ff, 0x7bff, 0x5640, 0x1400, 0xb555];
    for (a, b, c) in bits.iter().flat_map(|&a| bits.iter().flat_map(move |&b| bits.map(|c| (a, b, c)))) {
        let [x, y, z] = [a, b, c].map(|bits| f64::from(f16_to_f32(bits)));
        let found = f64::from(f16_to_f32(plain::mul_add(a, b, c)));
        let exact = x * y + z;
        if exact.abs() > 65519.0 {
            assert!(found.is_infinite());
            continue;
        }
        // The nearest is nearer than its neighbours.
        let step = [-1i32, 1].map(|by| {
            let bits = i32::from(plain::mul_add(a, b, c));
            f64::from(f16_to_f32((bits + by) as u16))
        });
        for other in step.into_iter().filter(|v| v.is_finite() && found != 0.0) {
            assert!((found - exact).abs() <= (other - exact).abs(), "{x} {y} {z}: {found}");
        }
    }
}
