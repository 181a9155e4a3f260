//! Whether an object keeps its place.

use std::time::Duration;

/// An object has kept its place while its centre is within this share of its size.
const KEEPS: f64 = 0.15;

/// One that stood still has left its place when its centre is this share of its size away.
const LEAVES: f64 = 0.3;

/// The place that an object keeps, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stillness {
    place: [f64; 2],
    since: Duration,
    /// Whether it has kept it long enough.
    pub(crate) still: bool,
}

impl Stillness {
    pub(crate) fn new(place: [f64; 2], now: Duration) -> Stillness {
        Stillness { place, since: now, still: false }
    }

    /// Takes in where an object of this size has been seen; it is still if it keeps its place for `still_after`.
    pub(crate) fn visit(&mut self, centre: [f64; 2], size: f64, now: Duration, still_after: Duration) {
        let away = (centre[0] - self.place[0]).hypot(centre[1] - self.place[1]);
        let reach = if self.still { LEAVES } else { KEEPS };
        if away > reach * size {
            *self = Stillness::new(centre, now);
        } else if !self.still && now.saturating_sub(self.since) >= still_after {
            // From here on it may sway around where it is, not around where it came to rest.
            *self = Stillness { place: centre, since: now, still: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_to_rest_sways_and_leaves() {
        let second = |s: f64| Duration::from_secs_f64(s);
        let mut stillness = Stillness::new([0.0, 0.0], Duration::ZERO);
        let mut visit = |x: f64, t: f64| {
            stillness.visit([x, 0.0], 100.0, second(t), second(3.0));
            stillness.still
        };
        // 10 pixels a second are a tenth of its size.
        assert!((0..50).all(|i| !visit(f64::from(i), f64::from(i) / 10.0)));
        assert!((0..29).all(|i| !visit(49.0, 4.9 + f64::from(i) / 10.0)));
        assert!(visit(49.0, 8.5));
        assert!(visit(25.0, 9.0) && visit(75.0, 9.1));
        assert!(!visit(80.0, 9.2));
    }
}
