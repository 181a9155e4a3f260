//! What a detector looks at: images, and the boxes in them.

#[cfg(feature = "compile")]
pub(crate) mod boxes;
pub(crate) mod decode;
pub(crate) mod images;
pub(crate) mod proposals;

use indicatif::{ProgressBar, ProgressStyle};

/// Hidden for a single image; hidden by itself where standard error is no terminal.
pub(crate) fn progress_bar(images: usize) -> ProgressBar {
    if images < 2 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left  {wide_msg}");
    ProgressBar::new(images as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
