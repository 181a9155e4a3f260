//! Pre-packing of weights into panels: see the picture in `layout`.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{bf16_from_f32, bf16_to_f32};

use super::layout::{BLOCK, Line, STEP_LINES, step_lines};
use crate::{
    aligned::zeroed_lines,
    simd::{Loop, vectorized},
    tasks,
};

/// bf16's largest value. What is larger and finite is split into halves that are cut off and not rounded: rounded they, or
/// their sum, would be infinite.
pub(super) const BF16_MAX: f32 = f32::from_bits(0x7f7f_0000);

/// A weight as it comes: a bf16 value, or an f32 one that is split into two of them.
pub(crate) trait Weight: Copy + Default + Sync {
    const SPLIT: bool;

    /// The bits of the hi half and of the lo half, which is 0 of a bf16 value.
    fn hi_lo(self) -> [u16; 2];
}

impl Weight for u16 {
    const SPLIT: bool = false;

    #[inline(always)]
    fn hi_lo(self) -> [u16; 2] {
        [self, 0]
    }
}

impl Weight for f32 {
    const SPLIT: bool = true;

    #[inline(always)]
    fn hi_lo(self) -> [u16; 2] {
        let huge = self.is_finite() && self.abs() > BF16_MAX;
        let half = |value: f32| if huge { (value.to_bits() >> 16) as u16 } else { bf16_from_f32(value) };
        let hi = half(self);
        let remainder = self - bf16_to_f32(hi);
        // An infinite value or NaN leaves none.
        [hi, if remainder.is_finite() { half(remainder) } else { 0 }]
    }
}

/// Packs rows of weights for `n` channels each: panel after panel, zeros after the last channel. Value `value` of step
/// `step` meets row `row(step, value)` of `weights`, or none.
pub(super) fn pack<W: Weight>(
    weights: &[W],
    n: usize,
    steps: usize,
    threads: usize,
    row: impl Fn(usize, usize) -> Option<usize> + Sync,
) -> Vec<Line> {
    let step_lines = step_lines(W::SPLIT);
    let panel_lines = steps.saturating_mul(step_lines);
    let mut lines: Vec<Line> = zeroed_lines(panel_lines.saturating_mul(n.div_ceil(BLOCK)));
    let mut tasks = alloc::vec![(); tasks::task_count(threads)];
    let panels_at_once = n.div_ceil(BLOCK).div_ceil(tasks.len()).max(1);
    let parts = lines.chunks_mut((panels_at_once * panel_lines).max(1)).enumerate();
    tasks::for_each_item(&mut tasks, parts, |(), (part, lines)| {
        // Step by step through all panels, or rows of weights would be read in bits.
        for step in 0..steps {
            for (panel, lines) in lines.chunks_exact_mut(panel_lines).enumerate() {
                let first = (part * panels_at_once + panel) * BLOCK;
                let lines = &mut lines[step * step_lines..][..step_lines];
                pack_step(lines, first..n.min(first + BLOCK), |value| {
                    Some(&weights[row(step, value)? * n..])
                });
            }
        }
    });
    lines
}

/// Packs a step of the panel of `channels`; value `value` of it meets `row(value)`, or none.
fn pack_step<'a, W: Weight + 'a>(
    lines: &mut [Line],
    channels: Range<usize>,
    row: impl Fn(usize) -> Option<&'a [W]>,
) {
    let none = [W::default(); Line::PAIRS];
    let mut aside = [none; 2];
    for (half, pair) in (0..2).flat_map(|half| (0..Line::PAIRS).map(move |pair| (half, pair))) {
        let first = channels.start + half * Line::PAIRS;
        let [even, odd] = &mut aside;
        let values = [(0, even), (1, odd)].map(|(part, aside)| {
            let row = row(2 * pair + part);
            let values = row.and_then(|row| row.get(first..channels.end)).unwrap_or_default();
            values.first_chunk().unwrap_or_else(|| {
                *aside = none;
                aside.iter_mut().zip(values).for_each(|(to, &from)| *to = from);
                aside
            })
        });
        vectorized(PackLine { values, lines, at: half * Line::PAIRS + pair });
    }
}

/// Interleaves the values of two rows into line `at` of a step, and their lo halves into the line that those have.
struct PackLine<'a, W> {
    values: [&'a [W; Line::PAIRS]; 2],
    lines: &'a mut [Line],
    at: usize,
}

impl<W: Weight> Loop for PackLine<'_, W> {
    #[inline(always)]
    fn run(self) {
        let [even, odd] = self.values;
        for half in 0..if W::SPLIT { 2 } else { 1 } {
            let line = &mut self.lines[half * STEP_LINES + self.at];
            for ((pair, even), odd) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                // As one number: the compiler then sees whole vectors.
                let both = u32::from(even.hi_lo()[half]) | u32::from(odd.hi_lo()[half]) << 16;
                *pair = [both as u16, (both >> 16) as u16];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finite_weights_have_finite_halves() {
        let above = f32::from_bits(BF16_MAX.to_bits() + 1);
        for value in [0.1, 1e-30, 1e38, BF16_MAX, above, f32::MAX] {
            for value in [value, -value] {
                let [hi, lo] = value.hi_lo().map(bf16_to_f32);
                let joined = hi + lo;
                assert!(
                    joined.is_finite() && (joined - value).abs() <= value.abs() / 65536.0,
                    "{value} as {hi} + {lo}"
                );
            }
        }
        assert_eq!(f32::INFINITY.hi_lo().map(bf16_to_f32), [f32::INFINITY, 0.0]);
        assert!(bf16_to_f32(f32::NAN.hi_lo()[0]).is_nan());
    }
}
