//! What the layers between convolutions do to whole maps: activations, sums, scales for channels, averages.
//!
//! Each is one pass over memory and costs little else, so that maps change in place where they can. Values are computed by
//! themselves, and so have the same bits on every instruction set and for any number of threads.

mod average;
mod pointwise;
#[cfg(test)]
mod tests;
mod upsample;

pub use average::global_average_into;
pub(crate) use pointwise::pointwise_in_channels;
pub use pointwise::{Pointwise, add_in_place, pointwise_in_place, scale_channels_in_place};
pub use upsample::{add_upsampled_in_place, upsample_into, upsampled_from};

/// Values of a map that a task takes at a time, about: as many as half an L1 holds twice.
const CHUNK: usize = 1 << 13;
