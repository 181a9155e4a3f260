//! How exactly a detector draws its boxes, learned from how the sides of one object differ from frame to frame.

/// Before anything is learned.
const FIRST: f64 = 0.06;

/// No detector is taken for better or worse than this.
const RANGE: [f64; 2] = [0.02, 0.15];

/// Of so many observations.
const MEAN_OF: f64 = 300.0;

/// The standard deviation of an observed side, as a share of the object's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter {
    variance: f64,
}

impl Default for Jitter {
    fn default() -> Jitter {
        Jitter { variance: FIRST * FIRST }
    }
}

impl Jitter {
    pub(crate) fn share(self) -> f64 {
        self.variance.sqrt().clamp(RANGE[0], RANGE[1])
    }

    /// Takes in the squared error of an observation. One of a few times the usual error is another thing's, or half hidden.
    pub(crate) fn learn(&mut self, error: f64) {
        let most = (3.0 * self.share()).powi(2);
        self.variance += (error.min(most) - self.variance) / MEAN_OF;
        self.variance = self.variance.max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_learned_and_outliers_count_little() {
        let mut jitter = Jitter::default();
        (0..3000).for_each(|i| jitter.learn(if i % 100 == 0 { 1e9 } else { 0.03f64.powi(2) }));
        assert!((jitter.share() - 0.03).abs() < 0.005, "{jitter:?}");
        (0..3000).for_each(|_| jitter.learn(0.1f64.powi(2)));
        assert!((jitter.share() - 0.1).abs() < 0.005, "{jitter:?}");
        (0..3000).for_each(|_| jitter.learn(-1.0));
        assert_eq!(jitter.share(), RANGE[0]);
    }
}
