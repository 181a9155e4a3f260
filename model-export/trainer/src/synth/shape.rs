//! The outlines of the objects, as signed distances: negative inside, positive outside.
//!
//! Coordinates are those of an object of radius 1 about the origin. A distance is a lower bound of the true one, and
//! equal to it near the outline, which is where it is used: to draw an edge that fades over one pixel.

use std::f32::consts::PI;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Box,
    Cross,
    Disc,
    Ring,
    Star,
    Triangle,
}

impl Kind {
    /// In the alphabetical order of their names.
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Box, Kind::Cross, Kind::Disc, Kind::Ring, Kind::Star, Kind::Triangle];

    /// The class's name in a data set.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Box => "box",
            Kind::Cross => "cross",
            Kind::Disc => "disc",
            Kind::Ring => "ring",
            Kind::Star => "star",
            Kind::Triangle => "triangle",
        }
    }

    /// The signed distance of a point from the outline.
    pub(crate) fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Kind::Box => rectangle(x, y, 0.72, 0.72),
            Kind::Cross => rectangle(x, y, 0.98, 0.27).min(rectangle(x, y, 0.27, 0.98)),
            Kind::Disc => x.hypot(y) - 1.0,
            Kind::Ring => (x.hypot(y) - 0.74).abs() - 0.26,
            Kind::Star => polygon(x, y, 5, 0.45),
            // A corner's inner neighbour on the side itself: half the radius.
            Kind::Triangle => polygon(x, y, 3, 0.5),
        }
    }
}

fn rectangle(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    let (dx, dy) = (x.abs() - half_width, y.abs() - half_height);
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0)
}

/// A polygon with `corners` corners at radius 1 and, between them, as many at radius `inner`.
fn polygon(x: f32, y: f32, corners: u32, inner: f32) -> f32 {
    let half = PI / corners as f32;
    // Symmetry leaves one wedge, from an outer corner to the next inner one.
    let angle = (y.atan2(x).rem_euclid(2.0 * half) - half).abs();
    let angle = half - angle;
    let radius = x.hypot(y);
    let (px, py) = (radius * angle.cos(), radius * angle.sin());
    let (bx, by) = (inner * half.cos(), inner * half.sin());
    let (ex, ey) = (bx - 1.0, by);
    ((px - 1.0) * ey - py * ex) / ex.hypot(ey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_and_outside() {
        for kind in Kind::ALL {
            for angle in 0..64 {
                let (sin, cos) = (angle as f32 * PI / 32.0).sin_cos();
                assert!(kind.distance(1.05 * cos, 1.05 * sin) > 0.0, "{kind:?} {angle}");
                let inside = if kind == Kind::Ring { 0.7 } else { 0.2 };
                assert!(kind.distance(inside * cos, inside * sin) < 0.0, "{kind:?} {angle}");
            }
        }
        assert!(Kind::Ring.distance(0.0, 0.0) > 0.4);
    }

    #[test]
    fn corners_by_hand() {
        assert!(Kind::Star.distance(1.0, 0.0).abs() < 1e-6);
        assert!(Kind::Triangle.distance(1.0, 0.0).abs() < 1e-6);
        // The middle of the side opposite to the corner (1, 0).
        assert!(Kind::Triangle.distance(-0.5, 0.0).abs() < 1e-6);
        assert!((Kind::Triangle.distance(0.0, 0.0) + 0.5).abs() < 1e-6);
        assert!(Kind::Box.distance(0.72, 0.1).abs() < 1e-6);
    }
}
