//! How far apart numbers are that ought to be the same.
//!
//! The comparison of whatever is held to a reference: `max` and `>` skip NaN, and so find nothing wrong with it.

/// The difference of two numbers: 0 for two of one value and for two NaNs, infinite where just one of them is finite or
/// both are infinities of other signs.
pub fn difference(a: impl Into<f64>, b: impl Into<f64>) -> f64 {
    let (a, b) = (a.into(), b.into());
    match a == b || (a.is_nan() && b.is_nan()) {
        true => 0.0,
        false if a.is_finite() && b.is_finite() => (a - b).abs(),
        false => f64::INFINITY,
    }
}

/// The largest [`difference`] of values in one place; infinite where there are not as many of both.
pub fn largest_difference<A, B>(found: &[A], expected: &[B]) -> f64
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found.iter().zip(expected).map(|(&a, &b)| difference(a, b)).max_by(f64::total_cmp).unwrap_or(0.0)
}

/// The largest magnitude of the values that are finite; 0 without any.
pub fn largest_magnitude<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    let magnitudes = values.iter().map(|&value| value.into().abs());
    magnitudes.filter(|magnitude| magnitude.is_finite()).max_by(f64::total_cmp).unwrap_or(0.0)
}

/// The [`largest_difference`] as a share of the [`largest_magnitude`] of what is expected; 0 if all is equal.
pub fn relative_difference<A, B>(found: &[A], expected: &[B]) -> f64
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    match largest_difference(found, expected) {
        0.0 => 0.0,
        difference => difference / largest_magnitude(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    #[test]
    fn numbers_that_are_none_are_like_themselves_only() {
        for (a, b) in [(1.0, 1.0), (0.0, -0.0), (NAN, NAN), (NAN, -NAN), (INF, INF), (-INF, -INF)] {
            assert_eq!(difference(a, b), 0.0, "{a} {b}");
        }
        for (a, b) in [(NAN, 1.0), (INF, 1.0), (INF, -INF), (INF, NAN), (-INF, f32::MAX)] {
            assert_eq!([difference(a, b), difference(b, a)], [f64::INFINITY; 2], "{a} {b}");
        }
        assert_eq!(difference(f32::MAX, -f32::MAX), 2.0 * f64::from(f32::MAX));
        assert_eq!((difference(-1.5f32, 2u8), difference(2.0, 2.5)), (3.5, 0.5));
    }

    /// Wherever it stands, one NaN is enough.
    #[test]
    fn the_largest_of_many() {
        let expected = [1.0f32, -8.0, 3.0];
        assert_eq!(largest_difference(&[1.5f32, -8.0, 3.25], &expected), 0.5);
        assert_eq!(relative_difference(&[1.5f32, -8.0, 3.25], &expected), 0.0625);
        for place in 0..3 {
            for bad in [NAN, INF, -INF] {
                let mut found = expected;
                found[place] = bad;
                assert_eq!(largest_difference(&found, &expected), f64::INFINITY);
                assert_eq!(relative_difference(&found, &expected), f64::INFINITY);
                assert_eq!(relative_difference(&expected, &found), f64::INFINITY);
                assert_eq!(relative_difference(&found, &found), 0.0);
            }
        }
        assert_eq!(largest_difference(&expected[..2], &expected), f64::INFINITY);
        assert_eq!(largest_difference::<f32, f32>(&[], &[]), 0.0);
    }

    #[test]
    fn magnitudes() {
        assert_eq!(largest_magnitude(&[1.0f32, -8.0, NAN, INF]), 8.0);
        assert_eq!(largest_magnitude::<f32>(&[]), 0.0);
        assert_eq!(relative_difference(&[1e-9f32], &[0.0f32]), f64::INFINITY);
        assert_eq!(relative_difference(&[0.0f32], &[-0.0f32]), 0.0);
    }
}
