//! The way that an object has gone, in a bounded number of points.

use std::time::Duration;

/// Where an object was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathPoint {
    /// When the frame was captured.
    pub time: Duration,
    /// The centre of the lower edge of its box, pixels.
    pub x: f32,
    /// The lower edge.
    pub y: f32,
}

/// A point is kept when it is this share of the object's size away from the last one.
const SPACING: f32 = 0.1;

/// Points that stand in for the whole way: where there are too many, every other goes.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    points: Vec<PathPoint>,
    most: usize,
    /// Times how often every other point has gone, doubled each time.
    coarseness: f32,
}

impl Path {
    pub(crate) fn new(most: usize) -> Path {
        Path { points: Vec::new(), most, coarseness: 1.0 }
    }

    pub(crate) fn points(&self) -> &[PathPoint] {
        &self.points
    }

    /// Keeps `point` if it is far enough from the last, for an object of this size.
    pub(crate) fn visit(&mut self, point: PathPoint, size: f32) {
        let far = match self.points.last() {
            None => true,
            Some(last) => (point.x - last.x).hypot(point.y - last.y) >= SPACING * self.coarseness * size,
        };
        if far {
            self.push(point);
        }
    }

    fn push(&mut self, point: PathPoint) {
        if self.points.len() >= self.most {
            let mut even = false;
            self.points.retain(|_| {
                even = !even;
                even
            });
            self.coarseness *= 2.0;
        }
        self.points.push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_keeps_its_beginning_its_end_and_its_shape() {
        let mut path = Path::new(10);
        let at = |i: u64| PathPoint { time: Duration::from_millis(i), x: i as f32, y: 2.0 * i as f32 };
        for i in 0..100_000 {
            path.visit(at(i), 10.0);
            assert!(path.points().len() <= 10);
        }
        let points = path.points();
        assert_eq!(points[0], at(0));
        assert!(points.len() >= 4);
        let steps: Vec<f32> = points.windows(2).map(|pair| pair[1].x - pair[0].x).collect();
        assert!(steps.iter().all(|step| (step / steps[0] - 1.0).abs() < 0.5), "{steps:?}");
        assert!(points[points.len() - 1].x > 100_000.0 - 1.5 * steps[0]);
    }

    #[test]
    fn who_stands_has_one_point() {
        let mut path = Path::new(10);
        for i in 0..100 {
            path.visit(PathPoint { time: Duration::from_secs(i), x: 50.0 + (i % 2) as f32, y: 50.0 }, 30.0);
        }
        assert_eq!(path.points().len(), 1);
    }
}
