//! The order in which a fully connected layer's input features are summed, and how `K` is cut into blocks.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::ShapeError;

use crate::{blocking::LINEAR_K, len_of};

/// Channels in a slab of RoI-pooled features: a cache line of them.
pub(crate) const SLAB: usize = 16;

/// The order in which a layer's input features are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KOrder {
    /// As they lie.
    Natural,
    /// Features are `[bins, channels]`: the first 16 channels of every bin, the next 16 of every bin, and so on.
    ChannelSlabs {
        /// `Ph * Pw`.
        bins: usize,
        /// `C`.
        channels: usize,
    },
}

/// Some of the input features: row `i` of them is, for each segment `o` of the block, the `segment_len` values from
/// `data[i * stride + o]` on.
#[derive(Clone, Copy)]
pub(crate) struct KPart<'a, T = f32> {
    pub(crate) data: &'a [T],
    pub(crate) stride: usize,
    pub(crate) block: &'a KBlock,
}

impl<T> KPart<'_, T> {
    /// One past the last value of `row`.
    pub(crate) fn end(&self, row: usize) -> usize {
        let segment = self.block.segments.iter().copied().max().unwrap_or(0);
        len_of(&[row, self.stride]).saturating_add(segment).saturating_add(self.block.segment_len)
    }
}

/// A run of `K` and where its values lie in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KBlock {
    pub(crate) first_k: usize,
    pub(crate) segments: Vec<usize>,
    pub(crate) segment_len: usize,
}

impl KBlock {
    /// How many values of `K` it has.
    pub(crate) fn len(&self) -> usize {
        self.segments.len() * self.segment_len
    }

    /// Where its values lie in a row.
    pub(crate) fn values(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|&first| first..first + self.segment_len)
    }
}

impl KOrder {
    /// Whether weights of that many values and this order are those of a layer.
    pub(crate) fn check(
        self,
        in_features: usize,
        out_features: usize,
        weights: usize,
    ) -> Result<(), ShapeError> {
        ShapeError::check("weights", len_of(&[in_features, out_features]), weights)?;
        if let Self::ChannelSlabs { bins, channels } = self {
            ShapeError::check("bins and channels", in_features, len_of(&[bins, channels]))?;
        }
        Ok(())
    }

    /// The runs of features to take at a time, as they lie in a row of all of them.
    pub(crate) fn blocks(self, in_features: usize) -> Vec<KBlock> {
        match self {
            Self::Natural => {
                let pieces = in_features.div_ceil(LINEAR_K).max(1);
                let step = in_features.div_ceil(pieces).max(1);
                let starts = (0..in_features.max(1)).step_by(step);
                starts
                    .map(|first| KBlock {
                        first_k: first,
                        segments: alloc::vec![first],
                        segment_len: step.min(in_features - first),
                    })
                    .collect()
            }
            Self::ChannelSlabs { bins, channels } => slabs(channels, SLAB)
                .flat_map(|slab| slab_blocks(bins, slab.clone(), channels, slab.start))
                .collect(),
        }
    }
}

/// The slabs of `channels`, `width` in each, the last as wide as is left; one empty slab of no channels.
pub(crate) fn slabs(channels: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..channels.max(1)).step_by(width).map(move |first| first..channels.min(first + width))
}

/// The blocks of one slab in rows where bin `b` of it begins at `b * bin_stride + offset`.
pub(crate) fn slab_blocks(
    bins: usize,
    slab: Range<usize>,
    bin_stride: usize,
    offset: usize,
) -> impl Iterator<Item = KBlock> {
    let segment_len = slab.len();
    let at_once = (LINEAR_K / segment_len.max(SLAB)).max(1);
    let first_k = slab.start * bins;
    (0..bins.max(1)).step_by(at_once).map(move |first| KBlock {
        first_k: first_k + first * segment_len,
        segments: (first..bins.min(first + at_once)).map(|bin| bin * bin_stride + offset).collect(),
        segment_len,
    })
}
