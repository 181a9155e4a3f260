//! Fully connected layers that read RoIs' pooled features, and how many features are made before they do.
//!
//! ```text
//!   for each group of slabs:   make them for all RoIs          [R, Ph Pw, 16] each, in cache
//!                              out += slabs x their weights    [R, N], for each layer that reads them
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::ShapeError;

use crate::{
    CacheInfo, KOrder, PreparedLinear, Quantization,
    aligned::{LINE, Zeroed},
    blocking::{pooled_group_bytes, pooled_whole_values},
    gemm::check_bias,
    init::Init,
    int8::{BYTE_SLAB, End},
    k_order::{KBlock, KPart, SLAB, slab_blocks, slabs},
    len_of, tasks,
};

/// RoIs taken at a time.
pub(crate) const MAX_ROIS: usize = 4096;

/// What a function that pools RoIs and multiplies their features has just done some of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pooled RoIs.
    Pool,
    /// Multiplied pooled features with weights.
    Multiply,
}

/// A fully connected layer that reads RoIs' pooled features, and where what it gives goes.
#[derive(Debug)]
pub struct PooledLayer<'a> {
    /// Prepared with [`KOrder::ChannelSlabs`] of the pooled bins and the maps' channels.
    pub linear: &'a PreparedLinear,
    /// `[N]`.
    pub bias: Option<&'a [f32]>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// `[R, N]`.
    pub out: &'a mut [f32],
}

impl PooledLayer<'_> {
    /// Whether its lengths are those for so many RoIs and bins; gives the channels that it reads.
    fn check(&self, rois: usize, bins: usize) -> Result<usize, ShapeError> {
        let n = self.linear.out_features();
        ShapeError::check("out", len_of(&[rois, n]), self.out.len())?;
        check_bias(self.bias, n)?;
        match self.linear.order() {
            KOrder::ChannelSlabs { bins: of_layer, channels } => {
                ShapeError::check("bins", of_layer, bins)?;
                Ok(channels)
            }
            KOrder::Natural => Err(ShapeError { what: "channels in slabs", expected: SLAB, found: 0 }),
        }
    }

    /// Its output for some RoIs.
    fn rows(&mut self, rows: Range<usize>) -> &mut [f32] {
        let n = self.linear.out_features();
        &mut self.out[rows.start * n..rows.end * n]
    }
}

/// Makes NaN of all outputs of some RoIs.
pub(crate) fn fill_with_nan(layers: &mut [PooledLayer<'_>], rois: impl Iterator<Item = usize>) {
    for roi in rois {
        layers.iter_mut().for_each(|layer| layer.rows(roi..roi + 1).fill(f32::NAN));
    }
}

/// Checks layers of so many RoIs and bins, and gives the channels that all of them read; `None` without layers.
pub(crate) fn check_layers(
    layers: &[PooledLayer<'_>],
    rois: usize,
    bins: usize,
) -> Result<Option<usize>, ShapeError> {
    let mut channels = None;
    for layer in layers {
        let of_layer = layer.check(rois, bins)?;
        ShapeError::check("channels", *channels.get_or_insert(of_layer), of_layer)?;
    }
    Ok(channels)
}

/// What layers that read pooled features let these be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PooledIn {
    /// f32, some channels of all RoIs at a time.
    F32,
    /// f32, all channels of some RoIs at a time, for some of the layers are int8.
    F32Whole,
    /// Bytes, for all layers are int8 and quantise their input so.
    Bytes(Quantization),
}

impl PooledIn {
    /// `layers` are how int8 layers quantise their input, `None` of others.
    pub fn of(layers: impl Iterator<Item = Option<Quantization>> + Clone) -> Self {
        match layers.clone().next().flatten() {
            Some(first) if layers.clone().all(|other| other == Some(first)) => Self::Bytes(first),
            _ if layers.flatten().next().is_some() => Self::F32Whole,
            _ => Self::F32,
        }
    }

    /// What these layers ask for.
    pub(crate) fn of_layers(layers: &[PooledLayer<'_>]) -> Self {
        Self::of(layers.iter().map(|layer| layer.linear.quantization()))
    }

    /// RoIs that are pooled and multiplied at a time.
    pub(crate) fn rois_at_once(self, [bins, channels]: [usize; 2]) -> usize {
        match self {
            // Sums of int8 layers are integers until the last: all channels are taken at a time, and fewer RoIs.
            Self::F32Whole => {
                let whole = pooled_whole_values(CacheInfo::detect());
                (whole / len_of(&[bins, channels]).max(1)).clamp(1, MAX_ROIS)
            }
            Self::F32 | Self::Bytes(_) => MAX_ROIS,
        }
    }

    /// Whether so many features, where they are f32, are made as a whole before they are multiplied.
    pub(crate) fn is_whole(self, features: usize) -> bool {
        self != Self::F32 || features <= pooled_whole_values(CacheInfo::detect())
    }
}

/// As many values as whole cache lines hold.
pub(crate) fn whole_lines(values: usize) -> usize {
    values.checked_next_multiple_of(LINE).unwrap_or(usize::MAX)
}

/// What pooled features are made of.
pub(crate) trait Feature: Zeroed + Send + Sync {
    /// Channels of a slab: a cache line of them.
    const SLAB: usize;

    /// Adds the products of a group of slabs, which `parts` are, to what a layer gives for the RoIs in `rows`.
    fn multiply(layer: &mut PooledLayer<'_>, parts: &[KPart<'_, Self>], group: Group);
}

/// Which of the groups of slabs is multiplied, for which RoIs.
#[derive(Clone)]
pub(crate) struct Group {
    rows: Range<usize>,
    is_first: bool,
    is_last: bool,
    threads: usize,
}

impl Feature for f32 {
    const SLAB: usize = SLAB;

    fn multiply(layer: &mut PooledLayer<'_>, parts: &[KPart<'_>], group: Group) {
        let Group { rows, is_first, is_last, threads } = group;
        let (linear, relu, count) = (layer.linear, layer.relu && is_last, rows.len());
        let init = if is_first { Init::bias(layer.bias) } else { Init::Accumulate };
        linear.accumulate(parts, init, relu, count, threads, layer.rows(rows));
    }
}

/// Quantised.
impl Feature for u8 {
    const SLAB: usize = BYTE_SLAB;

    fn multiply(layer: &mut PooledLayer<'_>, parts: &[KPart<'_, u8>], group: Group) {
        let Group { rows, is_first, is_last, threads } = group;
        let (linear, count) = (layer.linear, rows.len());
        let end = is_last.then_some(End { bias: layer.bias, relu: layer.relu });
        linear.accumulate_bytes(parts, is_first, end, count, threads, layer.rows(rows));
    }
}

/// How the slabs of all channels are grouped.
pub(crate) struct Slabs {
    /// Made and multiplied together.
    at_once: usize,
    /// Values in each, of all RoIs.
    pub(crate) len: usize,
}

impl Slabs {
    pub(crate) fn new<T: Feature>(rois: usize, [bins, channels]: [usize; 2], tasks: usize) -> Self {
        let len = len_of(&[rois, bins, T::SLAB]);
        let group = pooled_group_bytes(CacheInfo::detect()) / size_of::<T>();
        // As many slabs as tasks, or all would not have work.
        let at_once = (group / len.max(1)).next_multiple_of(tasks.max(1)).max(tasks);
        Self { at_once: at_once.min(channels.div_ceil(T::SLAB).max(1)), len }
    }

    /// Values of a group.
    pub(crate) fn values(&self) -> usize {
        len_of(&[self.at_once, self.len])
    }
}

/// The features of some RoIs.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    /// The first RoI's row of the layers' outputs.
    pub(crate) first_row: usize,
    pub(crate) rois: usize,
    pub(crate) bins: usize,
    pub(crate) channels: usize,
    pub(crate) threads: usize,
}

impl Features {
    pub(crate) fn slabs<T: Feature>(&self) -> Slabs {
        Slabs::new::<T>(self.rois, [self.bins, self.channels], tasks::task_count(self.threads))
    }

    fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.rois
    }

    /// Makes group after group of slabs in `room`, which has as many values as [`Slabs::values`] says, and multiplies them.
    /// `make` gets the channels of the slabs and where these go, one after the other: `[R, bins, SLAB]` each, of the last as
    /// many channels as there are.
    pub(crate) fn multiply_by_slabs<T: Feature>(
        &self,
        layers: &mut [PooledLayer<'_>],
        room: &mut [T],
        after: &mut dyn FnMut(Step),
        mut make: impl FnMut(&[Range<usize>], &mut [T]),
    ) {
        let Self { bins, channels, threads, .. } = *self;
        let Slabs { at_once, len } = self.slabs::<T>();
        let all: Vec<Range<usize>> = slabs(channels, T::SLAB).collect();
        for (group, slabs) in all.chunks(at_once).enumerate() {
            make(slabs, room);
            after(Step::Pool);
            let blocks: Vec<Vec<KBlock>> =
                slabs.iter().map(|slab| slab_blocks(bins, slab.clone(), T::SLAB, 0).collect()).collect();
            let of_slabs = blocks.iter().zip(room.chunks_exact(len.max(1)));
            let parts: Vec<KPart<'_, T>> = of_slabs
                .flat_map(|(blocks, data)| {
                    blocks.iter().map(move |block| KPart { data, stride: bins * T::SLAB, block })
                })
                .collect();
            let (is_first, is_last) = (group == 0, (group + 1) * at_once >= all.len());
            for layer in &mut *layers {
                T::multiply(layer, &parts, Group { rows: self.rows(), is_first, is_last, threads });
            }
            after(Step::Multiply);
        }
    }

    /// Multiplies all features, `[R, bins, channels]`.
    ///
    /// # Errors
    /// They are not as many.
    pub(crate) fn multiply_whole(
        &self,
        layers: &mut [PooledLayer<'_>],
        features: &[f32],
    ) -> Result<(), ShapeError> {
        for layer in layers {
            let (linear, bias, relu) = (layer.linear, layer.bias, layer.relu);
            linear.run(features, bias, relu, self.rois, self.threads, layer.rows(self.rows()))?;
        }
        Ok(())
    }
}
