//! Separable filters over one channel, edges repeated.

/// A filter of `2 R + 1` taps, given from the centre outwards: the same (`SIGN` 1) or the opposite (-1) on either side.
#[derive(Clone, Copy)]
pub(super) struct Taps<const T: usize> {
    /// Tap 0 is the centre's.
    pub(super) half: [f32; T],
    /// 1 for a smoothing filter, -1 for a derivative.
    pub(super) sign: f32,
}

impl<const T: usize> Taps<T> {
    /// A Gaussian of sum 1.
    pub(super) fn gaussian(sigma: f32) -> Taps<T> {
        let mut half: [f32; T] = std::array::from_fn(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp());
        let sum: f32 = half[0] + 2.0 * half[1..].iter().sum::<f32>();
        half.iter_mut().for_each(|v| *v /= sum);
        Taps { half, sign: 1.0 }
    }

    /// The derivative of that Gaussian, scaled so that a ramp of slope 1 gives 1.
    pub(super) fn derivative(sigma: f32) -> Taps<T> {
        let mut half: [f32; T] =
            std::array::from_fn(|i| i as f32 * (-0.5 * (i as f32 / sigma).powi(2)).exp());
        let slope: f32 = half.iter().enumerate().map(|(i, v)| 2.0 * i as f32 * v).sum();
        half.iter_mut().for_each(|v| *v /= slope);
        Taps { half, sign: -1.0 }
    }
}

/// Filters rows of `width` with `across`.
#[inline(always)]
pub(super) fn rows<const T: usize>(source: &[f32], width: usize, across: &Taps<T>, out: &mut [f32]) {
    let reach = T - 1;
    let mut padded = vec![0.0; width + 2 * reach];
    for (source, out) in source.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        padded[..reach].fill(source[0]);
        padded[reach..reach + width].copy_from_slice(source);
        padded[reach + width..].fill(source[width - 1]);
        for (o, v) in out.iter_mut().zip(&padded[reach..]) {
            *o = across.half[0] * v;
        }
        for (i, &tap) in across.half.iter().enumerate().skip(1) {
            let (low, high) = (&padded[reach - i..][..width], &padded[reach + i..][..width]);
            let low_tap = tap * across.sign;
            for ((o, low), high) in out.iter_mut().zip(low).zip(high) {
                *o += low_tap * low + tap * high;
            }
        }
    }
}

/// Filters columns with `down`.
#[inline(always)]
pub(super) fn columns<const T: usize>(source: &[f32], width: usize, down: &Taps<T>, out: &mut [f32]) {
    let height = source.len() / width;
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| &source[y.min(height - 1) * width..][..width];
        for (o, v) in out.iter_mut().zip(row(y)) {
            *o = down.half[0] * v;
        }
        for (i, &tap) in down.half.iter().enumerate().skip(1) {
            let (low, high) = (row(y.saturating_sub(i)), row(y + i));
            let low_tap = tap * down.sign;
            for ((o, low), high) in out.iter_mut().zip(low).zip(high) {
                *o += low_tap * low + tap * high;
            }
        }
    }
}
