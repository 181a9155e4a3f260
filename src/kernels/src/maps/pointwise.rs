//! Functions of one value, sums of two maps, and maps with a factor for each channel.

use frcnn_core::ShapeError;

use super::CHUNK;
use crate::{
    ChannelRange, Isa, len_of,
    simd::{Kernel, Loop, Vector, run_on, vectorized},
    tasks::for_each_chunk_stateless,
};

/// A function of one value, in f32. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `min(max(scale * x + shift, low), high)`: ONNX `Clip`, `HardSigmoid` and, with an infinite `high`, ReLU. `high` counts
    /// where it is less than `low`.
    Clip {
        /// What values are multiplied by ...
        scale: f32,
        /// ... and what is added then.
        shift: f32,
        /// Least value.
        low: f32,
        /// Greatest value.
        high: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`, as ONNX defines `HardSwish`; of negative infinity that is NaN.
    HardSwish,
}

impl Pointwise {
    /// Of one value.
    #[inline(always)]
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Self::Clip { scale, shift, low, high } => clip(scale * x + shift, low, high),
            Self::HardSwish => x * clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0),
        }
    }

    /// Of a vector of values: in each lane the bits of [`Pointwise::of`].
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`.
    #[inline(always)]
    pub(crate) unsafe fn of_vector<V: Vector>(self, x: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Clip { scale, shift, low, high } => {
                    x.mul(V::splat(scale)).add(V::splat(shift)).max(V::splat(low)).min(V::splat(high))
                }
                Self::HardSwish => {
                    let gate = x.mul(V::splat(1.0 / 6.0)).add(V::splat(0.5));
                    x.mul(gate.max(V::splat(0.0)).min(V::splat(1.0)))
                }
            }
        }
    }
}

/// Replaces each value of `map` by that of a function, on up to `threads` threads.
pub fn pointwise_in_place(function: Pointwise, threads: usize, map: &mut [f32]) {
    for_each_chunk_stateless(threads, map, CHUNK, |_, values| {
        let all = ChannelRange::all(values.len());
        pointwise_in_channels(Isa::detect(), function, (values.len(), all), values);
    });
}

/// Replaces values of some channels of whole `cells` by those of a function: of `count` channels from `channels.first` on.
pub(crate) fn pointwise_in_channels(
    isa: Isa,
    function: Pointwise,
    (count, channels): (usize, ChannelRange),
    cells: &mut [f32],
) {
    run_on(isa, InChannels { function, count, channels, cells });
}

struct InChannels<'a> {
    function: Pointwise,
    count: usize,
    channels: ChannelRange,
    cells: &'a mut [f32],
}

impl Kernel for InChannels<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { function, count, channels, cells } = self;
        for cell in cells.chunks_exact_mut(channels.stride.max(1)) {
            let values = &mut cell[channels.first..][..count];
            let mut vectors = values.chunks_exact_mut(V::LANES);
            for vector in &mut vectors {
                let at = vector.as_mut_ptr();
                // SAFETY: the caller's promise; a chunk is a vector.
                unsafe { function.of_vector(V::load(at)).store(at) };
            }
            vectors.into_remainder().iter_mut().for_each(|value| *value = function.of(*value));
        }
    }
}

/// NaN is neither below nor above.
#[inline(always)]
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Adds `other` to `map`, value by value, with a ReLU behind it if `relu`, on up to `threads` threads. NaN stays NaN.
///
/// # Errors
/// They differ in length.
pub fn add_in_place(other: &[f32], relu: bool, threads: usize, map: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::check("other", map.len(), other.len())?;
    for_each_chunk_stateless(threads, map, CHUNK, |i, values| {
        let other = &other[i * CHUNK..];
        if relu { vectorized(AddRelu { other, values }) } else { vectorized(Add { other, values }) }
    });
    Ok(())
}

/// `values[i] += other[i]`; what `other` has more is not read.
pub(super) struct Add<'a> {
    pub(super) other: &'a [f32],
    pub(super) values: &'a mut [f32],
}

impl Loop for Add<'_> {
    #[inline(always)]
    fn run(self) {
        self.values.iter_mut().zip(self.other).for_each(|(value, other)| *value += other);
    }
}

/// The same with a ReLU.
struct AddRelu<'a> {
    other: &'a [f32],
    values: &'a mut [f32],
}

impl Loop for AddRelu<'_> {
    #[inline(always)]
    fn run(self) {
        let pairs = self.values.iter_mut().zip(self.other);
        pairs.for_each(|(value, other)| *value = clip(*value + other, 0.0, f32::INFINITY));
    }
}

/// Multiplies each channel of each image of `map`, `[N, H, W, C]`, by its factor of `scales`, `[N, C]`: what squeeze and
/// excitation ends with. On up to `threads` threads.
///
/// # Errors
/// `scales` are not `batch * channels` values, or `map` is not made of as many images of whole cells.
pub fn scale_channels_in_place(
    scales: &[f32],
    [batch, channels]: [usize; 2],
    threads: usize,
    map: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::check("scales", len_of(&[batch, channels]), scales.len())?;
    let cells = map.len().checked_div(scales.len()).unwrap_or(0);
    ShapeError::check("map", len_of(&[cells, scales.len()]), map.len())?;
    if map.is_empty() {
        return Ok(());
    }
    let chunk = (CHUNK / channels).max(1) * channels;
    for (map, scales) in map.chunks_exact_mut(cells * channels).zip(scales.chunks_exact(channels)) {
        for_each_chunk_stateless(threads, map, chunk, |_, values| vectorized(Scale { scales, values }));
    }
    Ok(())
}

struct Scale<'a> {
    scales: &'a [f32],
    values: &'a mut [f32],
}

impl Loop for Scale<'_> {
    #[inline(always)]
    fn run(self) {
        for cell in self.values.chunks_exact_mut(self.scales.len()) {
            cell.iter_mut().zip(self.scales).for_each(|(value, scale)| *value *= scale);
        }
    }
}
