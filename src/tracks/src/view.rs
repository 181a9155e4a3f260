//! The frame's borders, which cut objects off.

use frcnn_core::BBox;

/// A side this near to the border, as a share of the frame, lies on it.
const NEAR: f32 = 0.005;

/// An object that moves out has left when no more than this share of it is inside: detectors find no less of it, and what
/// they find there next is what comes in.
const LEAST_INSIDE: f64 = 0.3;

/// What of the world a frame shows: all of it if nobody said how large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    size: Option<[u32; 2]>,
}

/// Which sides of a box the border cuts off: left and right, or top and bottom.
pub(crate) type Cut = [bool; 2];

impl View {
    pub(crate) fn new(size: Option<[u32; 2]>) -> View {
        View { size }
    }

    /// What of a box is seen.
    pub(crate) fn seen(self, bbox: BBox) -> BBox {
        match self.size {
            Some([width, height]) => bbox.clip(width, height),
            None => bbox,
        }
    }

    /// Whether a box that moves by `step` has left the view.
    pub(crate) fn has_left(self, bbox: &BBox, step: [f64; 2]) -> bool {
        let Some(size) = self.size else { return false };
        let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
        // The share of a side that is inside, and whether it moves to where it sticks out.
        let inside = |low: f64, high: f64, side: u32, step: f64| {
            let last = f64::from(side) - 1.0;
            let share = (high.min(last) - low.max(0.0) + 1.0).max(0.0) / (high - low + 1.0);
            let out = (low < 0.0 && step <= 0.0) || (high > last && step >= 0.0);
            if out || share == 0.0 { share } else { 1.0 }
        };
        inside(x1, x2, size[0], step[0]) * inside(y1, y2, size[1], step[1]) <= LEAST_INSIDE
    }

    /// Sides of an observed box that lie on the border: across, and down.
    pub(crate) fn cuts(self, bbox: &BBox) -> [Cut; 2] {
        let Some([width, height]) = self.size else { return [[false; 2]; 2] };
        let cut = |low: f32, high: f32, side: u32| {
            let near = 1.0 + NEAR * side as f32;
            [low <= near, high >= side as f32 - 1.0 - near]
        };
        [cut(bbox.x1, bbox.x2, width), cut(bbox.y1, bbox.y2, height)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_cut() {
        let view = View::new(Some([640, 480]));
        assert_eq!(view.cuts(&BBox::new(2.0, 100.0, 50.0, 479.0)), [[true, false], [false, true]]);
        assert_eq!(view.cuts(&BBox::new(20.0, 100.0, 50.0, 200.0)), [[false; 2]; 2]);
        let out = |x1, x2, step| view.has_left(&BBox::new(x1, 100.0, x2, 200.0), [step, 0.0]);
        assert!(!out(-50.0, 50.0, -3.0) && out(-80.0, 20.0, -3.0) && !out(-80.0, 20.0, 3.0));
        assert!(!out(590.0, 690.0, 3.0) && out(620.0, 720.0, 3.0) && !out(620.0, 720.0, -3.0));
        assert!(out(-90.0, -5.0, 3.0));
        let anywhere = View::new(None);
        assert!(!anywhere.has_left(&BBox::new(-90.0, 100.0, 9.0, 200.0), [-3.0, 0.0]));
        assert_eq!(anywhere.cuts(&BBox::new(0.0, 0.0, 5.0, 5.0)), [[false; 2]; 2]);
    }
}
