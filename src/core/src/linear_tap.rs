//! Linear interpolation along one axis; bilinear interpolation is one along each.

/// The two samples of a line around a coordinate, and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearTap {
    /// The sample at or before the coordinate.
    pub low: usize,
    /// The one after it; the same at the line's end.
    pub high: usize,
    /// Share of `high`, in 0..1.
    pub weight: f32,
}

impl LinearTap {
    /// For a line of `len` samples, at least one, at coordinates 0, 1, 2 and so on. A coordinate beyond either end is
    /// taken for that end.
    ///
    /// The coordinate is an f64: one of some hundreds is off by 1e-5 samples in f32, which next to an edge of an image is
    /// more than 1e-3 grey levels.
    ///
    /// ```
    /// use frcnn_core::LinearTap;
    /// assert_eq!(LinearTap::at(1.25, 4), LinearTap { low: 1, high: 2, weight: 0.25 });
    /// assert_eq!(LinearTap::at(9.0, 4), LinearTap { low: 3, high: 3, weight: 0.0 });
    /// ```
    #[must_use]
    pub fn at(coordinate: f64, len: usize) -> LinearTap {
        let last = len.saturating_sub(1);
        let at = coordinate.clamp(0.0, last as f64);
        let low = at as usize;
        LinearTap { low, high: (low + 1).min(last), weight: (at - low as f64) as f32 }
    }

    /// The value between those of the two samples.
    #[inline]
    #[must_use]
    pub fn mix(self, low: f32, high: f32) -> f32 {
        low * (1.0 - self.weight) + high * self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_repeat() {
        let tap = |low, high, weight| LinearTap { low, high, weight };
        for (coordinate, expected) in [
            (-0.25, tap(0, 1, 0.0)),
            (0.0, tap(0, 1, 0.0)),
            (0.75, tap(0, 1, 0.75)),
            (2.0, tap(2, 2, 0.0)),
            (2.25, tap(2, 2, 0.0)),
            (f64::INFINITY, tap(2, 2, 0.0)),
        ] {
            assert_eq!(LinearTap::at(coordinate, 3), expected, "{coordinate}");
        }
        assert_eq!(LinearTap::at(0.5, 1), tap(0, 0, 0.0));
        assert_eq!(LinearTap::at(1.75, 3).mix(10.0, 20.0), 17.5);
    }
}
