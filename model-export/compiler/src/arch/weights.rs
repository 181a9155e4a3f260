//! Seeded weights: a normal distribution from integers alone, so that a seed gives the same bytes on every machine.
//!
//! ```text
//! weight = std * (u0 + u1 + u2 + u3 - mean) / sigma        u: 16 random bits each
//! ```
//!
//! Four uniforms already add up to a bell (it ends at 3.5 sigma, and He's rule only asks for the variance). `ln` and
//! `cos` of a Box-Muller transform differ in the last bit from one libm to the next; here everything up to the one
//! f32 product is exact.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Mean of the sum of four uniforms over 0..=65535.
const MEAN: i32 = 2 * 65535;

/// Standard deviation of that sum: sqrt(4 * (65536^2 - 1) / 12).
const SIGMA: f32 = 37_837.227;

/// Hands out the weights of one network, tensor by tensor.
#[derive(Debug)]
pub(super) struct RandomWeights {
    key: [u8; 32],
    tensors: u64,
}

impl RandomWeights {
    pub(super) fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self { key, tensors: 0 }
    }

    /// The next tensor's `len` values of N(0, std^2), as little-endian f32.
    ///
    /// Each tensor reads a ChaCha stream of its own: it does not change when an earlier one changes its size.
    pub(super) fn normal(&mut self, std: f32, len: usize) -> Vec<u8> {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(self.tensors);
        self.tensors += 1;
        let scale = std / SIGMA;
        let mut bytes = vec![0; len * size_of::<f32>()];
        for value in bytes.as_chunks_mut::<4>().0 {
            *value = (bell(rng.next_u64()) as f32 * scale).to_le_bytes();
        }
        bytes
    }
}

/// The sum of the four 16-bit lanes, centred. Its magnitude is below 2^24, so f32 holds it exactly.
fn bell(bits: u64) -> i32 {
    let lane = |i: u32| i32::from((bits >> (16 * i)) as u16);
    lane(0) + lane(1) + lane(2) + lane(3) - MEAN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|&v| f32::from_le_bytes(v)).collect()
    }

    #[test]
    fn bell_is_symmetric_about_zero() {
        assert_eq!(bell(0), -MEAN);
        assert_eq!(bell(u64::MAX), MEAN);
        assert_eq!(bell(0x0000_ffff_0000_ffff), 0);
    }

    #[test]
    fn values_have_the_moments_asked_for() {
        let n = 1 << 20;
        let values = values(&RandomWeights::new(7).normal(0.5, n));
        let mean = |f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(f64::from(v))).sum::<f64>() / n as f64;
        // Five standard errors of 2^20 draws: 0.5 * 5 / 1024 for the mean, about a third of a percent for the std.
        assert!(mean(&|v| v).abs() < 0.0025);
        assert!((mean(&|v| v * v).sqrt() / 0.5 - 1.0).abs() < 0.003);
        // The fourth moment tells a bell from a box: 2.7 for four uniforms (a normal has 3.0, one uniform 1.8).
        let kurtosis = mean(&|v| v.powi(4)) / mean(&|v| v * v).powi(2);
        assert!((kurtosis - 2.7).abs() < 0.02, "{kurtosis}");
    }

    #[test]
    fn a_seed_gives_these_bytes_on_every_platform() {
        // Seed 0 is the all-zero key, whose published ChaCha8 keystream begins 3e00 ef2f 895f 40d6: little-endian
        // 62 + 12271 + 24457 + 54848 - 131070 = -39432, which over SIGMA is -1.04215.
        let first: Vec<u32> =
            values(&RandomWeights::new(0).normal(1.0, 4)).iter().map(|v| v.to_bits()).collect();
        assert_eq!(first, [0xbf85_651e, 0xbdeb_b8a7, 0x3e4c_a026, 0xbfb0_a7d9]);
        assert!((f32::from_bits(first[0]) + 1.04215).abs() < 1e-5);
    }

    #[test]
    fn a_tensor_depends_on_its_position_and_not_on_the_sizes_before_it() {
        let third = |sizes: [usize; 2]| {
            let mut weights = RandomWeights::new(1);
            let before = sizes.map(|len| weights.normal(1.0, len));
            (before, weights.normal(1.0, 8))
        };
        let (before, a) = third([8, 8]);
        let (_, b) = third([3, 1000]);
        assert_eq!(a, b);
        assert!(before[0] != before[1] && before[1] != a);
    }
}
