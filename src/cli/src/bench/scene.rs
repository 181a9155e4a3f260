//! Frames of a fixed camera of which a known share changes from one to the next.

use image::{Rgb, RgbImage};

/// Pixels by which the object moves from frame to frame.
const STEP: u32 = 7;

/// A view through which one object moves.
pub(super) struct Scene {
    view: RgbImage,
    /// Width and height.
    object: (u32, u32),
}

impl Scene {
    /// The object covers this share of the view, 0 to 1, with the view's own proportions. One that covers all of it has nowhere
    /// to move; it changes its colours.
    pub(super) fn new(view: &RgbImage, share: f64) -> Scene {
        let side = |len: u32| (f64::from(len) * share.sqrt()).round().min(f64::from(len)) as u32;
        Scene { view: view.clone(), object: (side(view.width()), side(view.height())) }
    }

    /// The frame at a time.
    pub(super) fn frame(&self, time: u32) -> RgbImage {
        let mut frame = self.view.clone();
        let (width, height) = self.object;
        let place = |len: u32, side: u32| time * STEP % (len - side + 1);
        let (left, top) = (place(frame.width(), width), place(frame.height(), height));
        // In other colours than the view's, which take turns where the object cannot move.
        let (moves, flash) = ((left, top) != (0, 0) || time == 0, time as u8);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let Rgb(colour) = *self.view.get_pixel(x, y);
            let colour = colour.map(|value| if moves { !value } else { (!value).wrapping_add(flash) });
            frame.put_pixel(left + x, top + y, Rgb(colour));
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(share: f64, time: u32) -> f64 {
        let view =
            RgbImage::from_fn(160, 120, |x, y| Rgb([(x * y % 251) as u8, (x * 7 % 253) as u8, y as u8]));
        let scene = Scene::new(&view, share);
        let (before, after) = (scene.frame(time), scene.frame(time + 1));
        before.pixels().zip(after.pixels()).filter(|(a, b)| a != b).count() as f64 / (160.0 * 120.0)
    }

    /// What the object covers and what it leaves changes, and nothing else.
    #[test]
    fn as_much_changes_as_was_asked() {
        for time in [0, 1, 5, 30, 1000] {
            assert_eq!(changed(0.0, time), 0.0);
            assert_eq!(changed(1.0, time), 1.0);
            for share in [0.03, 0.1, 0.25, 0.5] {
                let changed = changed(share, time);
                assert!((0.9 * share..2.0 * share + 0.05).contains(&changed), "{share} at {time}: {changed}");
            }
        }
    }
}
