//! What a detector found.
//!
//! ```
//! use frcnn_core::{BBox, Detection, Detections};
//! let mut detections = Detections::<2>::new();
//! let cat = Detection { class_id: 8, score: 0.9, bbox: BBox::new(1.0, 2.0, 30.0, 40.0), proposal: 17 };
//! assert!(detections.push(cat).is_ok());
//! assert_eq!(detections[0].class_id, 8);
//! ```

use core::fmt;
use core::ops::{Deref, DerefMut};

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

/// At most `N` detections, in place: no allocation. They are read as a slice.
#[derive(Clone, Default, PartialEq)]
pub struct Detections<const N: usize>(heapless::Vec<Detection, N>);

impl<const N: usize> Detections<N> {
    /// None yet.
    pub const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Adds one behind the others.
    ///
    /// # Errors
    /// There are `N` already; the error is the one that has no place.
    pub fn push(&mut self, detection: Detection) -> Result<(), Detection> {
        self.0.push(detection)
    }

    /// Leaves out those behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Detection] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Detections<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const N: usize> Deref for Detections<N> {
    type Target = [Detection];

    fn deref(&self) -> &[Detection] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Detections<N> {
    fn deref_mut(&mut self) -> &mut [Detection] {
        &mut self.0
    }
}

impl<'a, const N: usize> IntoIterator for &'a Detections<N> {
    type Item = &'a Detection;
    type IntoIter = core::slice::Iter<'a, Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, const N: usize> IntoIterator for &'a mut Detections<N> {
    type Item = &'a mut Detection;
    type IntoIter = core::slice::IterMut<'a, Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}
