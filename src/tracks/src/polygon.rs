//! Areas of the picture.

/// A polygon has at most this many points.
pub const MAX_POINTS: usize = 256;

/// A closed polygon in image pixels; the last point joins the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    points: Vec<[f32; 2]>,
}

/// Why points make no polygon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolygonError {
    /// Too few or too many.
    #[error("a polygon has 3 to {MAX_POINTS} points, and this one has {0}")]
    Points(usize),
    /// A coordinate is not a number.
    #[error("point {0} of the polygon, counted from 1, is not finite")]
    NotFinite(usize),
}

impl Polygon {
    /// A polygon of points `[x, y]`, in either direction. It may cross itself: what is inside then is what the even-odd
    /// rule says.
    ///
    /// # Errors
    /// Fewer than 3 points, more than [`MAX_POINTS`], or a coordinate that is not finite.
    pub fn new(points: Vec<[f32; 2]>) -> Result<Polygon, PolygonError> {
        if !(3..=MAX_POINTS).contains(&points.len()) {
            return Err(PolygonError::Points(points.len()));
        }
        match points.iter().position(|point| !point.iter().all(|c| c.is_finite())) {
            Some(i) => Err(PolygonError::NotFinite(i + 1)),
            None => Ok(Polygon { points }),
        }
    }

    /// Its points, as given.
    #[must_use]
    pub fn points(&self) -> &[[f32; 2]] {
        &self.points
    }

    /// Whether a point is inside by the even-odd rule. A left or upper edge belongs to the polygon, a right or lower one
    /// does not, so that of two polygons with a common edge one has each point.
    #[must_use]
    pub fn contains(&self, [x, y]: [f32; 2]) -> bool {
        let (x, y) = (f64::from(x), f64::from(y));
        let mut inside = false;
        let mut previous = self.points[self.points.len() - 1].map(f64::from);
        for point in &self.points {
            let [x2, y2] = point.map(f64::from);
            let [x1, y1] = previous;
            // The edge passes the height of the point, and does so to its right.
            if (y1 > y) != (y2 > y) && x < x1 + (y - y1) * (x2 - x1) / (y2 - y1) {
                inside = !inside;
            }
            previous = [x2, y2];
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn points_are_checked() {
        assert_eq!(Polygon::new(vec![[0.0, 0.0], [1.0, 0.0]]), Err(PolygonError::Points(2)));
        assert_eq!(Polygon::new(vec![[0.0; 2]; MAX_POINTS + 1]), Err(PolygonError::Points(MAX_POINTS + 1)));
        let broken = vec![[0.0, 0.0], [1.0, f32::NAN], [1.0, 1.0]];
        assert_eq!(Polygon::new(broken), Err(PolygonError::NotFinite(2)));
    }

    #[test]
    fn a_corner_that_is_cut_out_is_outside() {
        let corner = [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [2.0, 2.0], [2.0, 4.0], [0.0, 4.0]];
        let corner = Polygon::new(corner.to_vec()).unwrap();
        assert!(corner.contains([1.0, 3.0]) && corner.contains([3.0, 1.0]) && corner.contains([1.0, 1.0]));
        assert!(
            !corner.contains([3.0, 3.0]) && !corner.contains([-0.1, 1.0]) && !corner.contains([5.0, 1.0])
        );
        assert!(corner.contains([0.0, 0.0]) && !corner.contains([4.0, 1.0]));
        assert!(!corner.contains([f32::NAN, 1.0]) && !corner.contains([1.0, f32::INFINITY]));
    }

    proptest! {
        /// Two halves of a square have each point of it once.
        #[test]
        fn a_common_edge_belongs_to_one(x in 0u8..8, y in 0u8..8) {
            let (x, y) = (f32::from(x) / 2.0, f32::from(y) / 2.0);
            let halves = [
                vec![[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]],
                vec![[4.0, 0.0], [4.0, 4.0], [0.0, 4.0]],
            ].map(|points| Polygon::new(points).unwrap());
            prop_assert_eq!(halves.iter().filter(|half| half.contains([x, y])).count(), 1);
        }
    }
}
