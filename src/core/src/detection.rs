//! What a detector found.
//!
//! ```
//! use frcnn_core::{BBox, Detection, Detections};
//! let mut detections = Detections::<2>::new();
//! let cat = Detection { class_id: 8, score: 0.9, bbox: BBox::new(1.0, 2.0, 30.0, 40.0), proposal: 17 };
//! assert!(detections.push(cat).is_ok());
//! assert_eq!(detections[0].class_id, 8);
//! ```

use crate::BBox;

/// One object: its class, how sure the network is, and where.
///
/// A detector gives none whose score or corner is not finite: `x1 <= x2` and `y1 <= y2`, inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Detection {
    /// Class index as the network counts, so 0 is background and objects start at 1.
    pub class_id: u16,
    /// Softmax probability in \[0, 1\], or where the manifest says that scores are margins, an SVM's, of any finite size.
    pub score: f32,
    /// Decoded box in image pixels, clipped to the image.
    pub bbox: BBox,
    /// Index of the proposal that this box was decoded from.
    pub proposal: u32,
}

/// At most `N` detections, in place: no allocation.
pub type Detections<const N: usize> = heapless::Vec<Detection, N>;
