//! Weights as int8: symmetric, with a scale for each output channel.

/// The largest magnitude. -128 is left out, so that kernels may negate.
const LARGEST: f32 = 127.0;

/// Rounded weights of a layer.
pub(crate) struct Rounded {
    pub(crate) values: Vec<i8>,
    /// What 1 is worth in each output channel.
    pub(crate) scales: Vec<f32>,
}

/// Rounds `[..., channels]`, each channel's largest magnitude to 127.
pub(crate) fn quantise(weights: &[f32], channels: usize) -> Rounded {
    let mut largest = vec![0f32; channels];
    for row in weights.chunks_exact(channels.max(1)) {
        largest.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
    }
    // Of zeros alone, and of the smallest magnitudes, any will do.
    let scales: Vec<f32> = largest.iter().map(|largest| (largest / LARGEST).max(f32::MIN_POSITIVE)).collect();
    let round =
        |(weight, scale): (&f32, &f32)| (weight / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8;
    let rows = weights.chunks_exact(channels.max(1));
    let values = rows.flat_map(|row| row.iter().zip(&scales).map(round)).collect();
    Rounded { values, scales }
}

/// `|W - Q| / |W|` in the Frobenius norm; 0 of zeros.
pub(crate) fn relative_error(exact: &[f32], rounded: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let lost: f64 = exact.iter().zip(rounded).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let all: f64 = exact.iter().map(|a| square(f64::from(*a))).sum();
    if all > 0.0 { (lost / all).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_scale() {
        // Two channels, of which the second is a hundred times as large; zeros in the third.
        let weights = [1.0, -254.0, 0.0, -0.5, 127.0, 0.0, 0.2481, 1.0, 0.0];
        let Rounded { values, scales } = quantise(&weights, 3);
        assert_eq!(scales, [1.0 / 127.0, 2.0, f32::MIN_POSITIVE]);
        // 63.5 goes to the even neighbour, 31.5 steps and a bit up.
        assert_eq!(values, [127, -127, 0, -64, 64, 0, 32, 0, 0]);
        let real: Vec<f32> = values.iter().enumerate().map(|(i, &v)| f32::from(v) * scales[i % 3]).collect();
        let mut steps =
            weights.iter().zip(&real).enumerate().map(|(i, (a, b))| (a - b).abs() / scales[i % 3]);
        assert!(steps.all(|step| step <= 0.5 + 1e-5));
        assert!(relative_error(&weights, &weights) == 0.0 && relative_error(&weights, &real) > 0.0);
    }

    #[test]
    fn the_smallest_weights_have_a_scale_above_0() {
        let Rounded { values, scales } = quantise(&[1e-44, -1e-44], 1);
        assert!(scales[0] > 0.0);
        assert_eq!(values, [0, 0]);
    }
}
