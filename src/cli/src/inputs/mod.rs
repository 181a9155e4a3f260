//! What a detector looks at: images, and the boxes in them.

pub(crate) mod decode;
pub(crate) mod images;
pub(crate) mod proposals;
