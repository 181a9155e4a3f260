//! Boxes as a scorer compares them.

use frcnn_core::BBox;

/// A box by its top left corner and its size, in pixels, continuous: COCO's `[x, y, width, height]`, in f64 as the
/// official programs compute.
///
/// A VOC box with inclusive corners covers `x2 - x1 + 1` pixels, so it is the region of that width that starts at
/// `x1`. The IoU of regions is then VOC's, with its `+ 1`, as well as COCO's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// From the left edge to the right edge.
    pub width: f64,
    /// From the top edge to the bottom edge.
    pub height: f64,
}

impl Region {
    /// The region of a box with inclusive corners.
    pub fn from_inclusive([x1, y1, x2, y2]: [f64; 4]) -> Region {
        Region { x: x1, y: y1, width: x2 - x1 + 1.0, height: y2 - y1 + 1.0 }
    }

    /// The inclusive corners x1, y1, x2, y2.
    pub fn inclusive(&self) -> [f64; 4] {
        [self.x, self.y, self.x + self.width - 1.0, self.y + self.height - 1.0]
    }

    /// Width times height.
    pub fn area(&self) -> f64 {
        self.width * self.height
    }

    /// Area that both cover.
    pub fn intersection(&self, other: &Region) -> f64 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union; 0 where both are empty.
    pub fn iou(&self, other: &Region) -> f64 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// Share of this region that lies in `other`: what takes the place of the IoU for a crowd.
    pub fn covered_by(&self, other: &Region) -> f64 {
        let area = self.area();
        if area > 0.0 { self.intersection(other) / area } else { 0.0 }
    }

    pub(crate) fn is_finite(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|v| v.is_finite())
    }
}

impl From<&BBox> for Region {
    /// The box's corners are inclusive.
    fn from(bbox: &BBox) -> Region {
        Region::from_inclusive([bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from))
    }
}

impl From<&Region> for BBox {
    /// With inclusive corners.
    fn from(region: &Region) -> BBox {
        let [x1, y1, x2, y2] = region.inclusive().map(|v| v as f32);
        BBox::new(x1, y1, x2, y2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inclusive_corners_overlap_as_in_voc() {
        let a = Region::from_inclusive([0.0, 0.0, 9.0, 9.0]);
        let b = Region::from_inclusive([5.0, 0.0, 14.0, 9.0]);
        assert_eq!(a.iou(&b), 50.0 / 150.0);
        assert_eq!(a.iou(&Region::from_inclusive([10.0, 0.0, 19.0, 9.0])), 0.0);
        assert_eq!(a.covered_by(&Region::from_inclusive([0.0, 0.0, 4.0, 99.0])), 0.5);
        assert_eq!(b.inclusive(), [5.0, 0.0, 14.0, 9.0]);
    }

    #[test]
    fn empty_regions_overlap_nothing() {
        let empty = Region { x: 3.0, y: 3.0, width: 0.0, height: 0.0 };
        assert_eq!((empty.iou(&empty), empty.covered_by(&empty)), (0.0, 0.0));
    }
}
