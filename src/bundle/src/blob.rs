//! How an image becomes a blob: its size, and where the image lies in it.

use frcnn_core::{blob_size, floor_size, im_scale, min_scale, shortest_edge_size};

use crate::Manifest;
use crate::manifest::Resize;

/// Where an image lies in its blob: in the upper left corner, zeros at the right and below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlobFit {
    /// By which rule.
    pub resize: Resize,
    /// Rows and columns of the resized image.
    pub image: [usize; 2],
    /// Rows and columns of the blob.
    pub blob: [usize; 2],
    /// Blob pixels per image pixel, down and to the right.
    pub scale: [f64; 2],
}

impl BlobFit {
    /// An image of so many rows and columns as it is.
    pub fn whole(image: [u32; 2]) -> BlobFit {
        let image = image.map(|side| side as usize);
        BlobFit { resize: Resize::Published, image, blob: image, scale: [1.0; 2] }
    }
}

impl Manifest {
    /// How an image of `height` x `width` pixels becomes a blob at `short`, one of the manifest's `scales`.
    pub fn fit(&self, height: u32, width: u32, short: u32) -> BlobFit {
        match self.resize {
            Resize::Published => {
                let scale = im_scale(height, width, short, self.max_long_side);
                let (rows, columns) = blob_size(height, width, scale);
                self.padded([rows, columns], [scale; 2])
            }
            Resize::Torchvision => {
                let scale = min_scale(height, width, short, self.max_long_side);
                self.resized([height, width], floor_size(height, width, scale))
            }
            Resize::Detectron2 => {
                self.resized([height, width], shortest_edge_size(height, width, short, self.max_long_side))
            }
        }
    }

    /// Each axis has a scale of its own.
    fn resized(&self, from: [u32; 2], image: [usize; 2]) -> BlobFit {
        self.padded(image, [0, 1].map(|axis| image[axis] as f64 / f64::from(from[axis].max(1))))
    }

    /// A resized image of that size, with zeros up to the next multiples.
    pub(crate) fn padded(&self, image: [usize; 2], scale: [f64; 2]) -> BlobFit {
        let multiple = (self.pad_multiple as usize).max(1);
        BlobFit { resize: self.resize, image, blob: image.map(|side| side.next_multiple_of(multiple)), scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_sizes() {
        let mut manifest = Manifest::new(vec!["b".into(), "c".into()]);
        let fit = manifest.fit(375, 500, 600);
        assert_eq!((fit.image, fit.blob, fit.scale), ([600, 800], [600, 800], [1.6, 1.6]));
        manifest.pad_multiple = 32;
        assert_eq!(manifest.fit(375, 500, 600).blob, [608, 800]);
        manifest.resize = Resize::Torchvision;
        manifest.max_long_side = 1333;
        // 800 / 427 = 1.8735: 427 becomes 800, 640 becomes 1199.06.
        let fit = manifest.fit(427, 640, 800);
        assert_eq!((fit.image, fit.blob), ([800, 1199], [800, 1216]));
        assert_eq!(fit.scale, [800.0 / 427.0, 1199.0 / 640.0]);
        // 1333 / 900 is less than 800 / 300.
        let fit = manifest.fit(300, 900, 800);
        assert_eq!((fit.image, fit.blob), ([444, 1333], [448, 1344]));
        manifest.resize = Resize::Detectron2;
        let fit = manifest.fit(480, 640, 800);
        assert_eq!((fit.image, fit.blob), ([800, 1067], [800, 1088]));
        assert_eq!(fit.scale, [800.0 / 480.0, 1067.0 / 640.0]);
        manifest.resize = Resize::Torchvision;
        // No side is less than a pixel.
        assert_eq!(manifest.fit(1, 20_000, 800).image, [1, 1333]);
        assert_eq!(manifest.fit(0, 0, 800).blob, [32, 32]);
    }
}
