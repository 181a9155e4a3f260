//! One axis of a sliding window: which of its taps fall inside the input.

use core::ops::Range;

/// Where output `position`'s window starts on its axis, in input cells; negative in the leading padding.
///
/// The caller has bounded the padded input by `isize::MAX`: see [`padded_len`].
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

/// Input cells of one axis with its padding; `None` when that exceeds `isize::MAX`.
pub(crate) fn padded_len(len: usize, pad_begin: usize, pad_end: usize) -> Option<usize> {
    len.checked_add(pad_begin)?.checked_add(pad_end).filter(|&padded| isize::try_from(padded).is_ok())
}

/// Cells from the first tap to the last; `None` for a kernel or dilation of 0.
pub(crate) fn extent(kernel: usize, dilation: usize) -> Option<usize> {
    if dilation == 0 { None } else { kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents() {
        assert_eq!(extent(3, 1), Some(3));
        assert_eq!(extent(3, 2), Some(5));
        assert_eq!(extent(1, 9), Some(1));
        assert_eq!((extent(0, 1), extent(1, 0), extent(usize::MAX, 2)), (None, None, None));
        assert_eq!(padded_len(5, 1, 2), Some(8));
        assert_eq!(padded_len(usize::MAX, 1, 0), None);
    }

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
