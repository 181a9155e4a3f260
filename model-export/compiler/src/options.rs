//! What to do while compiling.

use frcnn_bundle::Precision;

/// Which fully connected layers to factor, and how far.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Svd {
    /// None.
    #[default]
    None,
    /// These layers at these ranks. A layer is meant by its published name (`fc6` is the first hidden
    /// fully connected layer), its ONNX node's name, or the stem of its weight's name.
    Ranks(Vec<(String, usize)>),
    /// Every hidden fully connected layer, at the smallest rank that keeps this share of its squared
    /// singular values; above 0 and at most 1.
    Energy(f64),
}

/// What to do while compiling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Factoring of fully connected layers.
    pub svd: Svd,
    /// What weights are stored as.
    pub precision: Precision,
}
