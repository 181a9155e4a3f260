//! One axis of a sliding window: which of its taps fall inside the input.

use core::ops::Range;

/// Where output `position`'s window starts on its axis, in input cells; negative in the leading padding.
///
/// [`Window::output_size`](frcnn_core::Window::output_size) has bounded the padded input by `isize::MAX`.
pub(crate) fn start(position: usize, stride: usize, pad_begin: usize) -> isize {
    position.wrapping_mul(stride).wrapping_sub(pad_begin) as isize
}

/// The taps `t` of `0..kernel` with `start + t * dilation` in `0..len`.
pub(crate) fn taps_inside(start: isize, kernel: usize, dilation: usize, len: usize) -> Range<usize> {
    let first = start.min(0).unsigned_abs().div_ceil(dilation).min(kernel);
    let room =
        if start < 0 { len.saturating_add(start.unsigned_abs()) } else { len.saturating_sub(start as usize) };
    let end = room.div_ceil(dilation).min(kernel);
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn taps_agree_with_the_definition(
            position in 0usize..20, stride in 1usize..5, pad in 0usize..9,
            kernel in 1usize..6, dilation in 1usize..4, len in 0usize..20,
        ) {
            let start = start(position, stride, pad);
            prop_assert_eq!(start, (position * stride) as isize - pad as isize);
            let taps = taps_inside(start, kernel, dilation, len);
            for t in 0..kernel {
                let cell = start + (t * dilation) as isize;
                prop_assert_eq!(taps.contains(&t), cell >= 0 && cell < len as isize, "tap {}", t);
            }
        }
    }
}
