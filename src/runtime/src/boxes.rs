//! In which pixels boxes are decoded, clipped and suppressed, and the ways there and back.

use frcnn_bundle::{BlobFit, Manifest, Resize};
use frcnn_core::BBox;

/// Those of an image, or of its blob as the detectors of torchvision and detectron2 have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BoxPixels {
    /// Rows and columns.
    pub(crate) size: [u32; 2],
    /// Whether they are the blob's.
    pub(crate) in_blob: bool,
    /// Whether corners are edges: the border is one pixel farther away.
    continuous: bool,
    /// Rows and columns of the image.
    image: [u32; 2],
}

impl BoxPixels {
    /// Of an image of so many rows and columns, which becomes a blob as `fit` says.
    pub(crate) fn new(manifest: &Manifest, image: [u32; 2], fit: &BlobFit) -> BoxPixels {
        match manifest.resize {
            Resize::Published => {
                BoxPixels { size: image, in_blob: false, continuous: manifest.corners_are_edges(), image }
            }
            Resize::Torchvision | Resize::Detectron2 => {
                let size = fit.image.map(|side| side as u32);
                BoxPixels { size, in_blob: true, continuous: true, image }
            }
        }
    }

    /// Moves a box into the image.
    pub(crate) fn clip(&self, bbox: BBox) -> BBox {
        let [height, width] = self.size;
        if self.continuous { bbox.clip_continuous(width, height) } else { bbox.clip(width, height) }
    }

    /// A box of an image's pixels in these.
    pub(crate) fn of_image(&self, bbox: &BBox) -> BBox {
        if self.in_blob { scaled(bbox, self.ratio(self.size, self.image)) } else { *bbox }
    }

    /// A box of these pixels in those of the image, inside it if it was inside before.
    pub(crate) fn to_image(self, bbox: &BBox) -> BBox {
        if !self.in_blob {
            return *bbox;
        }
        let [height, width] = self.image;
        scaled(bbox, self.ratio(self.image, self.size)).clip_continuous(width, height)
    }

    /// As torchvision has it, in f32.
    fn ratio(&self, to: [u32; 2], from: [u32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| to[axis] as f32 / from[axis].max(1) as f32)
    }
}

/// Pixels times factors down and to the right.
fn scaled(bbox: &BBox, [down, right]: [f32; 2]) -> BBox {
    BBox::new(bbox.x1 * right, bbox.y1 * down, bbox.x2 * right, bbox.y2 * down)
}

/// A box of an image's pixels in those of its blob, by the scale of the published systems.
pub(crate) fn to_blob(bbox: &BBox, [down, right]: [f64; 2]) -> BBox {
    let [x1, x2] = [bbox.x1, bbox.x2].map(|x| (f64::from(x) * right) as f32);
    let [y1, y2] = [bbox.y1, bbox.y2].map(|y| (f64::from(y) * down) as f32);
    BBox::new(x1, y1, x2, y2)
}

/// A box of a blob's pixels in those of the image, by the scale of the published systems.
pub(crate) fn from_blob(bbox: &BBox, scale: [f64; 2]) -> BBox {
    to_blob(bbox, scale.map(f64::recip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvisions_boxes_are_the_blobs() {
        let mut manifest = Manifest::new(Vec::new());
        let image = [300, 900];
        let bbox = BBox::new(3.0, 30.0, 90.0, 305.0);
        let published = BoxPixels::new(&manifest, image, &manifest.fit(image[0], image[1], 800));
        assert_eq!((published.of_image(&bbox), published.to_image(&bbox)), (bbox, bbox));
        assert_eq!(published.clip(bbox), BBox::new(3.0, 30.0, 90.0, 299.0));

        // Edges instead of pixels, which the original coder's are whatever its offset.
        manifest.box_width_offset = 0.0;
        assert_eq!(BoxPixels::new(&manifest, image, &manifest.fit(image[0], image[1], 800)), published);
        manifest.nms_width_offset = 0.0;
        let edges = BoxPixels::new(&manifest, image, &manifest.fit(image[0], image[1], 800));
        assert_eq!((edges.of_image(&bbox), edges.to_image(&bbox)), (bbox, bbox));
        assert_eq!(edges.clip(bbox), BBox::new(3.0, 30.0, 90.0, 300.0));

        (manifest.resize, manifest.max_long_side) = (Resize::Torchvision, 1333);
        // 444 x 1333 pixels.
        let pixels = BoxPixels::new(&manifest, image, &manifest.fit(image[0], image[1], 800));
        let (down, right) = (444.0 / 300.0, 1333.0 / 900.0);
        let in_blob = BBox::new(3.0 * right, 30.0 * down, 90.0 * right, 305.0 * down);
        assert_eq!(pixels.of_image(&bbox), in_blob);
        assert_eq!(pixels.clip(in_blob).y2, 444.0);
        let back = pixels.to_image(&in_blob);
        assert!((back.x1 - 3.0).abs() < 1e-5 && (back.x2 - 90.0).abs() < 1e-4, "{back:?}");
        // Beyond the image, as detections must not be.
        assert_eq!(back.y2, 300.0);
    }

    #[test]
    fn published_scales_are_one_number() {
        let bbox = BBox::new(5.0, 10.0, 100.0, 200.0);
        assert_eq!(to_blob(&bbox, [1.6, 1.6]), BBox::new(8.0, 16.0, 160.0, 320.0));
        assert_eq!(from_blob(&BBox::new(8.0, 16.0, 160.0, 320.0), [1.6, 1.6]), bbox);
    }
}
