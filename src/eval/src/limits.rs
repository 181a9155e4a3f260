//! How much is read. Every limit lies an order of magnitude above the largest public data sets (Objects365, LVIS, Open
//! Images): who meets one has named the wrong file.

/// Bytes of a JSON file: annotations or results.
pub(crate) const JSON: u64 = 8 << 30;
/// Bytes of a file of reference tensors.
pub(crate) const TENSORS: u64 = 64 << 30;
/// Bytes of a text file: a list of images, or detections.
pub(crate) const TEXT: u64 = 4 << 30;
/// Bytes of an image's annotation.
pub(crate) const XML: u64 = 16 << 20;
/// Elements, attributes and texts of an image's annotation.
pub(crate) const XML_NODES: u32 = 2 << 20;
/// Images of a split.
pub(crate) const IMAGES: usize = 20_000_000;
/// Objects, or detections.
pub(crate) const OBJECTS: usize = 500_000_000;
/// Classes; more than a network can have.
pub(crate) const CLASSES: usize = 65_536;
