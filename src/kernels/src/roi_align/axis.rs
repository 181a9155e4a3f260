//! The weights of rows, or of columns, in bins.

use alloc::vec::Vec;
use core::ops::Range;

use super::RoiAlign;

/// Corners are held within this distance from cell 0, so that no bin is infinite.
const FARTHEST: f32 = 4_194_304.0;

/// A row or a column of a map that a bin reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tap {
    /// Where it begins in the map's values.
    pub(super) at: usize,
    /// Its share of the bin.
    pub(super) weight: f32,
}

/// The rows or the columns that the bins of an RoI read; always inside the map.
#[derive(Clone, Default)]
pub(super) struct Axis {
    taps: Vec<Tap>,
    /// Where the taps of each bin end.
    ends: Vec<usize>,
}

impl Axis {
    /// Sets them for an RoI with `corners` in cells, on an axis of `len` cells, `stride` values apart. False if there is no such
    /// RoI, for a corner is NaN.
    pub(super) fn set(
        &mut self,
        align: &RoiAlign,
        corners: [f32; 2],
        bins: usize,
        len: usize,
        stride: usize,
    ) -> bool {
        let Self { taps, ends } = self;
        taps.clear();
        ends.clear();
        let Some(points) = Points::of(align, corners, bins) else { return false };
        for p in 0..bins {
            let first = taps.len();
            for i in 0..points.of_bin {
                if let Some([(low, low_weight), (high, high_weight)]) = between(points.at(p, i), len) {
                    add(taps, first, low * stride, low_weight);
                    add(taps, first, high * stride, high_weight);
                }
            }
            let taps_of_bin = taps.get_mut(first..).unwrap_or_default();
            taps_of_bin.iter_mut().for_each(|tap| tap.weight /= points.of_bin as f32);
            if points.is_inverted {
                // Those of an inverted RoI came last first.
                taps_of_bin.sort_unstable_by_key(|tap| tap.at);
            }
            ends.push(taps.len());
        }
        true
    }

    /// The taps of each bin.
    #[inline(always)]
    pub(super) fn bins(&self) -> impl Iterator<Item = &[Tap]> {
        let starts = core::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.taps.get(start..end).unwrap_or_default())
    }

    /// The last place that a tap begins at; 0 without taps.
    pub(super) fn last(&self) -> usize {
        self.taps.iter().map(|tap| tap.at).max().unwrap_or(0)
    }
}

/// Where the points of an RoI's bins lie on an axis.
#[derive(Clone, Copy)]
struct Points {
    start: f32,
    bin: f32,
    /// As many in each bin.
    of_bin: usize,
    /// Whether the RoI ends before it starts.
    is_inverted: bool,
}

impl Points {
    /// `None` where a corner is NaN.
    fn of(align: &RoiAlign, corners: [f32; 2], bins: usize) -> Option<Points> {
        let offset = if align.half_pixel { 0.5 } else { 0.0 };
        // NaN stays NaN.
        let [start, end] = corners.map(|corner| (corner - offset).clamp(-FARTHEST, FARTHEST));
        let size = end - start;
        if size.is_nan() {
            return None;
        }
        let bin = if align.half_pixel { size } else { size.max(1.0) } / bins as f32;
        let of_bin = match align.sampling_ratio {
            // The cast sends what is negative to 0.
            0 => (libm::ceilf(bin) as usize).min(RoiAlign::MAX_POINTS),
            ratio => ratio,
        };
        Some(Points { start, bin, of_bin, is_inverted: size < 0.0 })
    }

    /// Point `i` of bin `p`. Of later ones none lies before it; none behind it, if bins are of less than nothing: each product, quotient
    /// and sum is rounded, which keeps the order.
    fn at(&self, p: usize, i: usize) -> f32 {
        let Self { start, bin, of_bin, .. } = *self;
        start + p as f32 * bin + (i as f32 + 0.5) * bin / of_bin as f32
    }
}

/// The cells of an axis of `len` that the bins of an RoI with `corners` in cells read, or some more.
pub(super) fn cells_read(align: &RoiAlign, corners: [f32; 2], bins: usize, len: usize) -> Range<usize> {
    let Some(points) = Points::of(align, corners, bins) else { return 0..0 };
    let (Some(last), Some(last_bin), Some(last_point)) =
        (len.checked_sub(1), bins.checked_sub(1), points.of_bin.checked_sub(1))
    else {
        return 0..0;
    };
    let ends = [points.at(0, 0), points.at(last_bin, last_point)];
    let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
    // As `between` has it: those without a cell count as 0.
    if high < -1.0 || low > len as f32 {
        return 0..0;
    }
    // The cast sends what is negative to 0.
    let [low, high] = [low, high].map(|point| (point as usize).min(last));
    low..(high + 2).min(len)
}

/// The two cells of an axis that a point lies between, and their weights; `None` for a point that counts as 0.
fn between(point: f32, len: usize) -> Option<[(usize, f32); 2]> {
    let last = len.checked_sub(1)?;
    if !(-1.0..=len as f32).contains(&point) {
        return None;
    }
    let point = point.max(0.0);
    let low = point as usize;
    if low >= last {
        return Some([(last, 1.0), (last, 0.0)]);
    }
    let weight = point - low as f32;
    Some([(low, 1.0 - weight), (low + 1, weight)])
}

/// Adds `weight` to a tap of the bin whose taps begin at `first`.
///
/// Points go up or down along the axis, so that of their cells only the last few can have been seen before.
fn add(taps: &mut Vec<Tap>, first: usize, at: usize, weight: f32) {
    let from = first.max(taps.len().saturating_sub(3));
    match taps.iter_mut().skip(from).find(|tap| tap.at == at) {
        Some(tap) => tap.weight += weight,
        None => taps.push(Tap { at, weight }),
    }
}
