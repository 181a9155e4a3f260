//! One module for each subcommand.

pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod fit;
mod model;
mod recall;
pub(crate) mod reference;
pub(crate) mod svm;
pub(crate) mod synth;
