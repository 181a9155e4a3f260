//! How two tensors differ.

use serde::{Serialize, Serializer};

use super::Tensor;

/// Two tensors that ought to be the same have other dimensions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has shape {found:?}, the reference {reference:?}")]
pub struct ShapeMismatch {
    /// The reference's dimensions.
    pub reference: Vec<usize>,
    /// The other's.
    pub found: Vec<usize>,
}

/// How a tensor differs from its reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Dimensions of both.
    pub shape: Vec<usize>,
    /// Largest absolute difference; infinite if one value is finite and the other is not, or if one or both are NaN.
    #[serde(serialize_with = "finite_or_text")]
    pub max_abs: f64,
    /// Mean absolute difference over the elements that are finite in both.
    pub mean_abs: f64,
    /// Standard deviation of the absolute difference over the same elements.
    pub std_abs: f64,
    /// Largest magnitude of the reference.
    pub largest: f64,
    /// [`max_abs`](Difference::max_abs) over [`largest`](Difference::largest).
    #[serde(serialize_with = "finite_or_text")]
    pub relative: f64,
    /// Root of the sum of squared differences, over that of the reference's squares; infinite where
    /// [`max_abs`](Difference::max_abs) is.
    #[serde(serialize_with = "finite_or_text")]
    pub norm: f64,
    /// Cosine of the angle between both, of the elements that are finite in both; 1 if both are zero, 0 if no element is finite.
    pub cosine: f64,
    /// Elements that are NaN: in the reference, and in what was found. NaN equals nothing, not even NaN.
    pub nan: [u64; 2],
    /// Distances in units in the last place.
    pub ulps: UlpHistogram,
    /// The element that differs most; none if all are equal.
    pub worst: Option<Worst>,
}

/// The element that differs most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// Its place along each dimension.
    pub index: Vec<usize>,
    /// What the reference has there.
    #[serde(serialize_with = "f32_or_text")]
    pub reference: f32,
    /// What was found.
    #[serde(serialize_with = "f32_or_text")]
    pub found: f32,
}

/// Counts of elements by their distance in units in the last place: the number of f32 values from one to the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UlpHistogram {
    /// Equal elements; elements 1 ulp apart; 2 to 3; 4 to 7; … from 2^(i-1) to 2^i - 1. The last counts all others, and
    /// NaN against anything.
    pub counts: [u64; UlpHistogram::BUCKETS],
}

impl UlpHistogram {
    /// Number of counts.
    pub const BUCKETS: usize = 25;

    /// The smallest distance that each count has.
    pub fn from(bucket: usize) -> u64 {
        if bucket == 0 { 0 } else { 1 << (bucket - 1) }
    }

    fn add(&mut self, ulps: u64) {
        let bucket = (u64::BITS - ulps.leading_zeros()) as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(UlpHistogram::BUCKETS - 1)) {
            *count += 1;
        }
    }
}

/// Compares element by element.
///
/// # Errors
/// The tensors have other dimensions.
pub fn difference(reference: &Tensor, found: &Tensor) -> Result<Difference, ShapeMismatch> {
    if reference.shape != found.shape || reference.data.len() != found.data.len() {
        return Err(ShapeMismatch { reference: reference.shape.clone(), found: found.shape.clone() });
    }
    let mut ulps = UlpHistogram { counts: [0; UlpHistogram::BUCKETS] };
    let (mut worst, mut max_abs) = (None, 0.0f64);
    let (mut sum, mut squares, mut counted, mut nan) = (0.0, 0.0, 0u64, [0; 2]);
    let (mut product, mut norm_r, mut norm_f, mut largest) = (0.0, 0.0, 0.0, 0.0f64);
    for (position, (&r, &f)) in reference.data.iter().zip(&found.data).enumerate() {
        let apart = ulp_distance(r, f);
        ulps.add(apart);
        let (wide_r, wide_f) = (f64::from(r), f64::from(f));
        let both = r.is_finite() && f.is_finite();
        for (count, value) in nan.iter_mut().zip([r, f]) {
            *count += u64::from(value.is_nan());
        }
        let abs = distance(r, f);
        if abs > max_abs {
            (worst, max_abs) = (Some(position), abs);
        }
        if both {
            (sum, squares, counted) = (sum + abs, squares + abs * abs, counted + 1);
            (product, norm_r, norm_f) =
                (product + wide_r * wide_f, norm_r + wide_r * wide_r, norm_f + wide_f * wide_f);
            largest = largest.max(wide_r.abs());
        }
    }
    let count = (counted as f64).max(1.0);
    let mean_abs = sum / count;
    let norms = (norm_r * norm_f).sqrt();
    let value = |tensor: &Tensor, position: usize| tensor.data.get(position).copied().unwrap_or(f32::NAN);
    Ok(Difference {
        shape: reference.shape.clone(),
        max_abs,
        mean_abs,
        std_abs: (squares / count - mean_abs * mean_abs).max(0.0).sqrt(),
        largest,
        relative: if max_abs == 0.0 { 0.0 } else { max_abs / largest },
        norm: match (squares == 0.0, max_abs.is_finite()) {
            (_, false) => f64::INFINITY,
            (true, true) => 0.0,
            (false, true) => (squares / norm_r).sqrt(),
        },
        cosine: match norms > 0.0 {
            true => product / norms,
            false => f64::from(u8::from(norm_r == norm_f && (counted > 0 || reference.data.is_empty()))),
        },
        nan,
        ulps,
        worst: worst.map(|position| Worst {
            index: index(position, &reference.shape),
            reference: value(reference, position),
            found: value(found, position),
        }),
    })
}

/// The absolute difference. NaN is infinitely far from everything, NaN included: two sides that both fail agree in nothing.
pub(crate) fn distance(a: f32, b: f32) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { frcnn_core::difference(a, b) }
}

/// The number of f32 values from one to the other; both zeros are one, and NaN is farthest from everything.
fn ulp_distance(a: f32, b: f32) -> u64 {
    if a == b {
        return 0;
    }
    if a.is_nan() || b.is_nan() {
        return u64::MAX;
    }
    // Magnitudes of floats are ordered as their bits are.
    let place = |v: f32| {
        let magnitude = i64::from(v.to_bits() & 0x7fff_ffff);
        if v.is_sign_negative() { -magnitude } else { magnitude }
    };
    place(a).abs_diff(place(b))
}

/// The place along each dimension of the element at `position`.
fn index(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let place = position % length.max(1);
            position /= length.max(1);
            place
        })
        .collect();
    index.reverse();
    index
}

/// JSON has no infinity.
pub(crate) fn finite_or_text<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.collect_str(value) }
}

fn f32_or_text<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f32(*value) } else { serializer.collect_str(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data: &[f32]) -> Tensor {
        Tensor { shape: vec![data.len() / 2, 2], data: data.to_vec() }
    }

    #[test]
    fn by_hand() {
        let reference = tensor(&[1.0, -4.0, 0.0, 3.0]);
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        let d = difference(&reference, &tensor(&[next, -4.0, -0.0, 1.0])).unwrap();
        assert_eq!((d.max_abs, d.largest, d.relative), (2.0, 4.0, 0.5));
        let worst = d.worst.unwrap();
        assert_eq!((worst.index, worst.reference, worst.found), (vec![1, 1], 3.0, 1.0));
        assert_eq!(d.ulps.counts[..3], [2, 1, 0]);
        assert_eq!(d.ulps.counts.iter().sum::<u64>(), 4);
        let expected = (1.0 + 16.0 + 3.0) / (26.0f64 * 18.0).sqrt();
        assert!((d.cosine - expected).abs() < 1e-6);
    }

    #[test]
    fn numbers_that_are_none_are_never_close() {
        for sides in [[f32::NAN, f32::NAN], [f32::NAN, -f32::NAN], [f32::NAN, f32::INFINITY]] {
            let [r, f] = sides.map(|bad| tensor(&[1.0, 5.0, bad, bad]));
            let d = difference(&r, &f).unwrap();
            assert_eq!((d.max_abs, d.relative, d.norm), (f64::INFINITY, f64::INFINITY, f64::INFINITY));
            assert_eq!(d.worst.as_ref().unwrap().index, [1, 0]);
            assert_eq!(d.nan, sides.map(|bad| 2 * u64::from(bad.is_nan())));
            assert_eq!((d.ulps.counts[0], d.ulps.counts[UlpHistogram::BUCKETS - 1]), (2, 2));
            // The rest is told all the same.
            assert_eq!((d.mean_abs, d.largest, d.cosine), (0.0, 5.0, 1.0));
        }
        let nothing = tensor(&[f32::NAN; 4]);
        assert_eq!(difference(&nothing, &nothing).unwrap().cosine, 0.0);
        let endless = tensor(&[f32::INFINITY, 1.0]);
        let d = difference(&endless, &endless).unwrap();
        assert_eq!((d.max_abs, d.relative, d.worst, d.nan), (0.0, 0.0, None, [0, 0]));
        for bad in [f32::NAN, f32::INFINITY] {
            let d = difference(&tensor(&[2.0, 1.0]), &tensor(&[2.0, bad])).unwrap();
            assert_eq!((d.max_abs, d.relative), (f64::INFINITY, f64::INFINITY));
            assert_eq!(d.worst.as_ref().unwrap().index, [0, 1]);
            assert!(serde_json::to_string(&d).unwrap().contains("\"inf\""));
        }
        let zeros = difference(&tensor(&[0.0, 0.0]), &tensor(&[0.0, 1e-9])).unwrap();
        assert_eq!(zeros.relative, f64::INFINITY);
        assert!(difference(&tensor(&[0.0; 4]), &tensor(&[0.0; 6])).is_err());
    }

    #[test]
    fn distances_in_units_in_the_last_place() {
        assert_eq!(ulp_distance(0.0, f32::from_bits(1)), 1);
        assert_eq!(ulp_distance(-f32::from_bits(1), f32::from_bits(1)), 2);
        assert_eq!(ulp_distance(1.0, 2.0), 1 << 23);
        assert_eq!([0, 1, 2, 3].map(UlpHistogram::from), [0, 1, 2, 4]);
    }
}
