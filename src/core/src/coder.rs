//! The box coder: regression targets of a proposal, and the box that a prediction stands for.
//!
//! With centres `cx = x1 + w / 2`, proposal `p` and target `g`:
//!
//! ```text
//! tx = (gx - px) / pw    ty = (gy - py) / ph    tw = ln(gw / pw)    th = ln(gh / ph)
//! ```
//!
//! (R-CNN, Girshick et al., CVPR 2014, appendix C.) Networks of torchvision's detectors are trained on targets times weights,
//! 10, 10, 5, 5; published Fast R-CNNs have none. Per-class means and deviations of the targets are folded into
//! `bbox_pred` when a model is exported and do not appear here.
//!
//! ```
//! use frcnn_core::{BBox, BoxCoder};
//! let coder = BoxCoder { width_offset: 1.0, ..BoxCoder::default() };
//! let proposal = BBox::new(0.0, 0.0, 9.0, 9.0);
//! let moved = coder.decode(&proposal, [0.1, 0.0, 0.0, 0.0]);
//! assert_eq!(moved, BBox::new(1.0, 0.0, 10.0, 9.0));
//! ```

use crate::BBox;

/// `ln(1000 / 16)`: no prediction makes a box more than 62.5 times wider or higher than its proposal.
///
/// The bound is that of detectron2 (`_DEFAULT_SCALE_CLAMP`) and torchvision (`bbox_xform_clip`): it is what makes a box of
/// 16 pixels, a small one, as wide as an image of 1000. The published Fast R-CNN has no bound, so that `exp` can overflow
/// there; below the bound both give the same box.
pub const MAX_LOG_SCALE: f32 = 4.135_166_6;

/// Encodes and decodes box regressions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// Added to `x2 - x1` and `y2 - y1`: 1 for inclusive corners, 0 for continuous ones.
    pub width_offset: f32,
    /// What `tx`, `ty`, `tw`, `th` are multiplied by in a regression; above 0.
    pub weights: [f32; 4],
}

impl Default for BoxCoder {
    /// Continuous corners, no weights.
    fn default() -> BoxCoder {
        BoxCoder { width_offset: 0.0, weights: [1.0; 4] }
    }
}

impl BoxCoder {
    /// The regression `[tx, ty, tw, th]` that turns `proposal` into `gt`.
    ///
    /// Both boxes need a positive width and height; others give infinities or NaN.
    #[must_use]
    pub fn encode(&self, proposal: &BBox, gt: &BBox) -> [f32; 4] {
        let p = CentreSize::of(proposal, self.width_offset);
        let g = CentreSize::of(gt, self.width_offset);
        let [wx, wy, ww, wh] = self.weights;
        let (tx, ty) = ((g.x - p.x) / p.w, (g.y - p.y) / p.h);
        [tx * wx, ty * wy, libm::logf(g.w / p.w) * ww, libm::logf(g.h / p.h) * wh]
    }

    /// The box that `delta = [tx, ty, tw, th]` makes of `proposal`, not yet clipped to the image.
    ///
    /// `tw` and `th`, over their weights, are clamped to at most [`MAX_LOG_SCALE`], so that a wild weight gives a big box and not an
    /// infinite one. NaN stays NaN: a NaN in `tx` or `tw` makes both x corners NaN, in `ty` or `th` both y corners,
    /// and [`BBox::is_valid`] tells.
    #[must_use]
    pub fn decode(&self, proposal: &BBox, delta: [f32; 4]) -> BBox {
        let p = CentreSize::of(proposal, self.width_offset);
        let [wx, wy, ww, wh] = self.weights;
        let [tx, ty, tw, th] = [delta[0] / wx, delta[1] / wy, delta[2] / ww, delta[3] / wh];
        let x = tx * p.w + p.x;
        let y = ty * p.h + p.y;
        let w = p.w * libm::expf(clamp_log_scale(tw));
        let h = p.h * libm::expf(clamp_log_scale(th));
        BBox {
            x1: x - 0.5 * w,
            y1: y - 0.5 * h,
            x2: x + 0.5 * w - self.width_offset,
            y2: y + 0.5 * h - self.width_offset,
        }
    }
}

/// Not `f32::min`, which would turn NaN into the limit.
fn clamp_log_scale(t: f32) -> f32 {
    if t > MAX_LOG_SCALE { MAX_LOG_SCALE } else { t }
}

struct CentreSize {
    x: f32,
    y: f32,
    w: f32,
    h: f32,
}

impl CentreSize {
    fn of(b: &BBox, offset: f32) -> Self {
        let (w, h) = (b.width(offset), b.height(offset));
        Self { x: b.x1 + 0.5 * w, y: b.y1 + 0.5 * h, w, h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INCLUSIVE: BoxCoder = BoxCoder { width_offset: 1.0, weights: [1.0; 4] };
    const CONTINUOUS: BoxCoder = BoxCoder { width_offset: 0.0, weights: [1.0; 4] };
    const WEIGHTED: BoxCoder = BoxCoder { width_offset: 0.0, weights: [10.0, 10.0, 5.0, 5.0] };

    #[test]
    fn encode_by_hand() {
        // p: 10 x 20 pixels, centre (5, 10). g: 20 x 20, centre (14, 15).
        let p = BBox::new(0.0, 0.0, 9.0, 19.0);
        let g = BBox::new(4.0, 5.0, 23.0, 24.0);
        assert_eq!(INCLUSIVE.encode(&p, &g), [0.9, 0.25, core::f32::consts::LN_2, 0.0]);
        // Continuous: p 9 x 19, centre (4.5, 9.5); g 19 x 19, centre (13.5, 14.5).
        assert_eq!(CONTINUOUS.encode(&p, &g), [1.0, 5.0 / 19.0, libm::logf(19.0 / 9.0), 0.0]);
    }

    #[test]
    fn decode_by_hand() {
        let p = BBox::new(10.0, 10.0, 19.0, 29.0);
        assert_eq!(INCLUSIVE.decode(&p, [0.0; 4]), p);
        assert_eq!(CONTINUOUS.decode(&p, [0.0; 4]), p);
        // 10 x 20 at (15, 20), moved by (0.5 * 10, -0.25 * 20).
        assert_eq!(INCLUSIVE.decode(&p, [0.5, -0.25, 0.0, 0.0]), BBox::new(15.0, 5.0, 24.0, 24.0));
    }

    #[test]
    fn weights_multiply_the_regression() {
        let p = BBox::new(0.0, 0.0, 10.0, 20.0);
        // Moved by a tenth and a quarter of its size, twice as wide.
        let g = BBox::new(-4.0, 5.0, 16.0, 25.0);
        let [tx, ty, tw, th] = WEIGHTED.encode(&p, &g);
        assert_eq!([tx, ty, th], [1.0, 2.5, 0.0]);
        assert_eq!(tw, 5.0 * core::f32::consts::LN_2);
        let back = WEIGHTED.decode(&p, [1.0, 2.5, tw, 0.0]);
        for (found, expected) in [(back.x1, g.x1), (back.y1, g.y1), (back.x2, g.x2), (back.y2, g.y2)] {
            // Coordinates of up to 25, a handful of roundings.
            assert!((found - expected).abs() < 1e-5, "{back:?}");
        }
        // The clamp is of the logarithm, not of what the network gives.
        let wide = WEIGHTED.decode(&p, [0.0, 0.0, 1.0 + 5.0 * MAX_LOG_SCALE, 0.0]);
        assert!((wide.width(0.0) - 625.0).abs() < 1e-3, "{wide:?}");
    }

    #[test]
    fn wild_scale_is_clamped() {
        let p = BBox::new(0.0, 0.0, 15.0, 15.0);
        for wild in [MAX_LOG_SCALE + 0.001, 100.0, f32::INFINITY] {
            let b = INCLUSIVE.decode(&p, [0.0, 0.0, wild, wild]);
            // 16 pixels times 62.5; exp and ln each within an ULP of 1000.
            assert!((b.width(1.0) - 1000.0).abs() < 1e-3, "{b:?}");
            assert!((b.height(1.0) - 1000.0).abs() < 1e-3, "{b:?}");
        }
        let flat = INCLUSIVE.decode(&p, [0.0, 0.0, f32::NEG_INFINITY, 0.0]);
        assert_eq!(flat.width(1.0), 0.0);
    }

    #[test]
    fn nan_stays_in_its_axis() {
        let p = BBox::new(0.0, 0.0, 15.0, 15.0);
        for (i, x_is_nan) in [(0, true), (1, false), (2, true), (3, false)] {
            let mut delta = [0.0; 4];
            delta[i] = f32::NAN;
            let b = INCLUSIVE.decode(&p, delta);
            assert_eq!((b.x1.is_nan(), b.x2.is_nan()), (x_is_nan, x_is_nan), "delta {i}");
            assert_eq!((b.y1.is_nan(), b.y2.is_nan()), (!x_is_nan, !x_is_nan), "delta {i}");
            assert!(!b.is_valid());
        }
    }

    fn any_box() -> impl Strategy<Value = BBox> {
        (0.0f32..1000.0, 0.0f32..1000.0, 16.0f32..500.0, 16.0f32..500.0)
            .prop_map(|(x, y, w, h)| BBox::new(x, y, x + w, y + h))
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(p in any_box(), g in any_box(), offset in prop::sample::select(&[0.0f32, 1.0]), weights in prop::sample::select(&[[1.0f32; 4], [10.0, 8.0, 5.0, 4.0]])) {
            let coder = BoxCoder { width_offset: offset, weights };
            let back = coder.decode(&p, coder.encode(&p, &g));
            // Coordinates up to 1500 have steps of 1.2e-4; a handful of roundings on the way, relative to sizes
            // of at most 500 and centre distances of at most 1500.
            for (a, b) in [(back.x1, g.x1), (back.y1, g.y1), (back.x2, g.x2), (back.y2, g.y2)] {
                prop_assert!((a - b).abs() <= 2e-3, "{back:?} for {g:?}");
            }
        }
    }
}
