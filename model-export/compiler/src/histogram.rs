//! How often values of each size were seen, and the range of them that loses least when it is cut into 255 steps.

use frcnn_kernels::Quantization;

/// Bins of either sign.
const BINS: usize = 4096;
/// The least exponent of the range: what is smaller than its bins counts as 0.
const LEAST_EXPONENT: i32 = -100;
/// Parts of the range seen that are tried as an end of the range kept.
const PARTS: u32 = 64;
/// The least of them: what is cut off is rare.
const LEAST_PARTS: u32 = 8;

/// A row whose values all are less is mostly error: it is halved or doubled, or all zeros.
const FEW_STEPS: f32 = 4.0;

/// What is left away of the bits of a row's largest magnitude, and how many sizes that leaves.
const ROW_SIZE_BITS: u32 = 20;
const ROW_SIZES: usize = 1 << (31 - ROW_SIZE_BITS);

/// Counts of values between `-2^exponent` and `2^exponent`, in bins of one width. Where a larger one comes the range
/// doubles, and every two bins become one, so that nothing has to be known beforehand.
///
/// Values come in rows. What rounding does to a row is measured by the row's own size: all rows count alike, those of large values
/// no more than others. A fully connected layer's rows are regions, of which the largest would else decide how the scores of all
/// others are rounded; a convolution's whole map is one row.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    exponent: i32,
    bins: Vec<Bin>,
    lowest: f32,
    highest: f32,
    /// How many rows have a largest magnitude of each size, from the smallest: by its sign, exponent and first three bits.
    rows: Vec<u64>,
    /// With those that are 0, which are in no bin: they stay 0 whatever the range.
    pub(crate) total: u64,
    pub(crate) not_finite: u64,
}

/// Values of about one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    count: u64,
    /// The sum of what they count: one divided by the squares of their row.
    weight: f64,
}

/// A range of values and how it is cut into steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) quantization: Quantization,
    /// The share of values outside the range.
    pub(crate) clipped: f64,
    /// The share of rows of which next to nothing would be left: values of fewer than [`FEW_STEPS`].
    pub(crate) vanishing: f64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            exponent: LEAST_EXPONENT,
            bins: vec![Bin::default(); 2 * BINS],
            rows: vec![0; ROW_SIZES],
            lowest: 0.0,
            highest: 0.0,
            total: 0,
            not_finite: 0,
        }
    }

    /// The least and the largest value seen; 0 is always among them.
    pub(crate) fn range(&self) -> [f32; 2] {
        [self.lowest, self.highest]
    }

    /// Adds a row of values.
    pub(crate) fn add(&mut self, values: &[f32]) {
        let (mut lowest, mut highest, mut not_finite) = (self.lowest, self.highest, 0u64);
        let mut largest = 0f32;
        for &value in values {
            if value.is_finite() {
                largest = largest.max(value.abs());
                lowest = lowest.min(value);
                highest = highest.max(value);
            } else {
                not_finite += 1;
            }
        }
        self.total += values.len() as u64;
        if let Some(rows) = self.rows.get_mut((largest.to_bits() >> ROW_SIZE_BITS) as usize) {
            *rows += 1;
        }
        (self.lowest, self.highest, self.not_finite) = (lowest, highest, self.not_finite + not_finite);
        while f64::from(highest.max(-lowest)) >= self.limit() {
            self.double();
        }
        let per_unit = BINS as f64 / self.limit();
        let squares: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let weight = squares.recip();
        // Of zeros, or of values that are next to it, nothing is lost; with what is no number there will be an error.
        let weight = if weight.is_finite() { weight } else { 0.0 };
        for &value in values {
            if value != 0.0 && value.is_finite() {
                // Exact, so that a value is in the half of a bin that it would have been in before the range doubled.
                let bin = (f64::from(value) * per_unit).floor() as isize + BINS as isize;
                if let Some(bin) = self.bins.get_mut(bin.clamp(0, 2 * BINS as isize - 1) as usize) {
                    bin.count += 1;
                    bin.weight += weight;
                }
            }
        }
    }

    fn limit(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    fn double(&mut self) {
        let mut wider = vec![Bin::default(); 2 * BINS];
        for (bin, pair) in wider[BINS / 2..].iter_mut().zip(self.bins.chunks_exact(2)) {
            bin.count = pair.iter().map(|bin| bin.count).sum();
            bin.weight = pair.iter().map(|bin| bin.weight).sum();
        }
        self.bins = wider;
        self.exponent += 1;
    }

    /// The bins that are not empty, and the value in the middle of each.
    fn bins(&self) -> impl Iterator<Item = (f64, Bin)> {
        let width = self.limit() / BINS as f64;
        let filled = self.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0);
        filled.map(move |(place, &bin)| ((place as f64 + 0.5 - BINS as f64) * width, bin))
    }

    /// The range, and its steps, for which the squares of what rounding and clipping change add up to least, each relative to the
    /// squares of its row.
    ///
    /// Both ends are tried in 64ths of what was seen. Values that are never negative get the zero point 0.
    pub(crate) fn choose(&self) -> Chosen {
        let [lowest, highest] = self.range().map(f64::from);
        let bins: Vec<(f64, Bin)> = self.bins().collect();
        let parts = |end: f64| {
            let tried = if end == 0.0 { PARTS..=PARTS } else { LEAST_PARTS..=PARTS };
            tried.map(move |part| end * f64::from(part) / f64::from(PARTS))
        };
        let ranges = parts(lowest).flat_map(|low| parts(highest).map(move |high| (low, high)));
        let mut best = (f64::INFINITY, Quantization { scale: 1.0, zero_point: 0 });
        for (low, high) in ranges {
            let Some(steps) = Steps::new(low, high) else { continue };
            let error: f64 = bins.iter().map(|(value, bin)| steps.square(*value) * bin.weight).sum();
            if error < best.0 {
                best = (error, steps.quantization());
            }
        }
        let quantization = best.1;
        let steps =
            Steps { scale: f64::from(quantization.scale), zero_point: quantization.zero_point.into() };
        let outside =
            bins.iter().filter(|(value, _)| steps.is_outside(*value)).map(|(_, bin)| bin.count).sum::<u64>();
        let clipped = outside as f64 / self.total.max(1) as f64;
        Chosen { quantization, clipped, vanishing: self.vanishing(quantization) }
    }
}

impl Histogram {
    /// The share of rows, among all, that have values, and none of [`FEW_STEPS`].
    fn vanishing(&self, quantization: Quantization) -> f64 {
        let few_steps = ((FEW_STEPS * quantization.scale).to_bits() >> ROW_SIZE_BITS) as usize;
        let gone: u64 = self.rows.iter().take(few_steps).skip(1).sum();
        let all: u64 = self.rows.iter().sum();
        gone as f64 / all.max(1) as f64
    }
}

/// A [`Quantization`] in f64.
#[derive(Clone, Copy)]
struct Steps {
    scale: f64,
    zero_point: f64,
}

impl Steps {
    /// None of a range that is empty, or whose steps are too small or too large for f32.
    fn new(low: f64, high: f64) -> Option<Steps> {
        let scale = ((high - low) / 255.0) as f32;
        // As a bundle wants it.
        (scale.is_normal() && scale > 0.0).then(|| {
            let scale = f64::from(scale);
            Steps { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) }
        })
    }

    fn quantization(self) -> Quantization {
        Quantization { scale: self.scale as f32, zero_point: self.zero_point as u8 }
    }

    /// The square of what becomes of `value`, less `value`.
    fn square(self, value: f64) -> f64 {
        let steps = (value / self.scale).round().clamp(-self.zero_point, 255.0 - self.zero_point);
        let lost = steps * self.scale - value;
        lost * lost
    }

    /// Whether it is clipped, and not just rounded.
    fn is_outside(self, value: f64) -> bool {
        let steps = value / self.scale + self.zero_point;
        !(-0.5..=255.5).contains(&steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::new();
        histogram.add(values);
        histogram
    }

    /// Values that are spread evenly have no ends to spare.
    #[test]
    fn an_even_spread_is_kept_whole() {
        let values: Vec<f32> = (0..=25_500).map(|i| i as f32 / 100.0).collect();
        let Chosen { quantization, clipped, .. } = histogram(&values).choose();
        assert_eq!((quantization, clipped), (Quantization { scale: 1.0, zero_point: 0 }, 0.0));

        let values: Vec<f32> = (-5_000..=20_500).map(|i| i as f32 / 100.0).collect();
        let Chosen { quantization, clipped, .. } = histogram(&values).choose();
        assert_eq!((quantization.zero_point, clipped), (50, 0.0));
        assert!((quantization.scale - 1.0).abs() < 1e-6);

        // All of one sign.
        let values: Vec<f32> = (0..=25_500).map(|i| i as f32 / -100.0).collect();
        assert_eq!(histogram(&values).choose().quantization, Quantization { scale: 1.0, zero_point: 255 });
    }

    #[test]
    fn a_rare_large_value_is_clipped() {
        let mut values: Vec<f32> = (0..2_000_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        values.push(4.0);
        let Chosen { quantization, clipped, .. } = histogram(&values).choose();
        assert!((1.0..1.2).contains(&(quantization.scale * 255.0)), "{quantization:?}");
        assert!(clipped > 0.0 && clipped < 1e-6, "{clipped}");
        // A hundredth of them is not rare.
        values.extend([4.0; 20_000]);
        let Chosen { quantization, clipped, .. } = histogram(&values).choose();
        assert!((quantization.scale * 255.0 - 4.0).abs() < 0.1 && clipped == 0.0, "{quantization:?}");
    }

    /// A range doubles as soon as it must, whatever comes first.
    #[test]
    fn the_order_of_rows_does_not_matter() {
        let mut values: Vec<f32> =
            (1..3001).map(|i| (i as f32 * 0.37).sin() * (i as f32).powi(3) * 1e-9).collect();
        values.extend([0.0, 1e-38, -1e-40, f32::MIN_POSITIVE, 0.5, -0.25]);
        let (mut one, mut other) = (Histogram::new(), Histogram::new());
        values.chunks(6).for_each(|row| one.add(row));
        values.chunks(6).rev().for_each(|row| other.add(row));
        let counts = |histogram: &Histogram| histogram.bins.iter().map(|bin| bin.count).collect::<Vec<_>>();
        assert!(counts(&one) == counts(&other), "bins differ");
        assert_eq!((one.exponent, one.range(), one.total), (other.exponent, other.range(), other.total));
    }

    /// A row of values a hundred times as large decides for itself alone.
    #[test]
    fn rows_count_alike() {
        let row = |size: f32| (0..512).map(move |i| size * (i % 64) as f32 / 64.0).collect::<Vec<f32>>();
        let mut rows = Histogram::new();
        for i in 0..400 {
            rows.add(&row(if i == 0 { 100.0 } else { 1.0 }));
        }
        let whole = histogram(&[row(100.0), row(1.0).repeat(399)].concat());
        let range = |histogram: &Histogram| histogram.choose().quantization.scale * 255.0;
        assert!(range(&whole) > 80.0 && range(&rows) < 25.0, "{} {}", range(&whole), range(&rows));
    }

    /// Rows of zeros lose nothing, and rows of values of a step or two nearly all.
    #[test]
    fn rows_that_vanish_are_counted() {
        let mut rows = Histogram::new();
        for i in 0..1000 {
            let size = match i {
                0..5 => 0.0,
                5..15 => 0.001,
                15..25 => 0.006,
                _ => 1.0,
            };
            rows.add(&(0..64).map(|i| size * i as f32 / 63.0).collect::<Vec<f32>>());
        }
        let Chosen { quantization, vanishing, .. } = rows.choose();
        assert!((0.5..=1.0).contains(&(quantization.scale * 255.0)), "{quantization:?}");
        assert_eq!(vanishing, 0.02);
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let histogram = histogram(&[f32::NAN, 1.0, f32::INFINITY, -2.0, f32::NEG_INFINITY]);
        assert_eq!((histogram.not_finite, histogram.total, histogram.range()), (3, 5, [-2.0, 1.0]));
    }

    #[test]
    fn zeros_alone_and_extremes_have_steps() {
        assert_eq!(histogram(&[0.0; 9]).choose().quantization, Quantization { scale: 1.0, zero_point: 0 });
        for value in [1e-44, 1e-30, 1e30, f32::MAX] {
            let Quantization { scale, .. } = histogram(&[value, -value]).choose().quantization;
            assert!(scale > 0.0 && scale.is_normal(), "{value}: {scale}");
        }
    }
}
