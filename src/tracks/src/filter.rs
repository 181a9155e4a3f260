//! Where a box is and how fast it moves: a Kalman filter of constant velocity.
//!
//! Centre and size are four numbers, each with its rate, and independent of each other, so that the filter is four
//! filters of two states. Velocity is a random walk: its variance grows by `q` a second. Noise is a share of the object's
//! size, as in DeepSORT (Wojke et al., ICIP 2017), and a rate in seconds.

use frcnn_core::BBox;

/// One number and its rate.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f64,
    rate: f64,
    /// Variance of the value, its covariance with the rate, variance of the rate.
    p: [f64; 3],
}

impl Axis {
    fn new(value: f64, variance: f64, rate_variance: f64) -> Axis {
        Axis { value, rate: 0.0, p: [variance, 0.0, rate_variance] }
    }

    fn predict(&mut self, dt: f64, q: f64) {
        let [p00, p01, p11] = self.p;
        self.value += self.rate * dt;
        self.p = [
            p00 + dt * (2.0 * p01 + dt * (p11 + q * dt / 3.0)),
            p01 + dt * (p11 + q * dt / 2.0),
            p11 + q * dt,
        ];
    }

    /// Takes in a measurement of the value with variance `r`.
    fn update(&mut self, measured: f64, r: f64) {
        let [p00, p01, p11] = self.p;
        let (k0, k1) = (p00 / (p00 + r), p01 / (p00 + r));
        let innovation = measured - self.value;
        self.value += k0 * innovation;
        self.rate += k1 * innovation;
        self.p = [(1.0 - k0) * p00, (1.0 - k0) * p01, p11 - k1 * p01];
    }
}

/// How well a detector draws boxes, and how objects move; as shares of their size.
mod noise {
    /// Standard deviation of a measured centre and side.
    pub(super) const MEASURED: f64 = 0.05;
    /// Of a new object's velocity, a second.
    pub(super) const FIRST_SPEED: f64 = 2.0;
    /// Of a new object's growth, a second.
    pub(super) const FIRST_GROWTH: f64 = 0.3;
    /// What velocity changes by in a second.
    pub(super) const SPEED: f64 = 0.8;
    /// What growth changes by in a second.
    pub(super) const GROWTH: f64 = 0.1;
    /// What velocity changes by in a second of an object that stands still.
    pub(super) const STILL: f64 = 0.02;
    /// Growth of an object that nobody sees fades within so many seconds.
    pub(super) const GROWTH_FADES: f64 = 0.5;
}

/// Objects are at least this large to the filter, in pixels: rounding alone moves smaller ones by more than their share.
const LEAST: f64 = 4.0;

/// A box that moves.
#[derive(Clone, Debug)]
pub(crate) struct BoxFilter {
    x: Axis,
    y: Axis,
    width: Axis,
    height: Axis,
    still: bool,
}

impl BoxFilter {
    pub(crate) fn new(bbox: &BBox) -> BoxFilter {
        let [x, y, width, height] = measures(bbox);
        let size = mean_size(width, height);
        let square = |share: f64| (share * size).powi(2);
        let place = |value| Axis::new(value, square(noise::MEASURED), square(noise::FIRST_SPEED));
        let side = |value| Axis::new(value, square(noise::MEASURED), square(noise::FIRST_GROWTH));
        BoxFilter { x: place(x), y: place(y), width: side(width), height: side(height), still: false }
    }

    /// Goes on by `dt` seconds.
    pub(crate) fn predict(&mut self, dt: f64) {
        let size = self.size();
        let q = |share: f64| (share * size).powi(2);
        let speed = q(if self.still { noise::STILL } else { noise::SPEED });
        let growth = q(if self.still { noise::STILL } else { noise::GROWTH });
        self.x.predict(dt, speed);
        self.y.predict(dt, speed);
        for side in [&mut self.width, &mut self.height] {
            side.predict(dt, growth);
            side.rate *= (-dt / noise::GROWTH_FADES).exp();
            side.value = side.value.max(1.0);
        }
    }

    /// Takes in an observed box.
    pub(crate) fn update(&mut self, bbox: &BBox) {
        let [x, y, width, height] = measures(bbox);
        let r = (noise::MEASURED * mean_size(width, height)).powi(2);
        self.x.update(x, r);
        self.y.update(y, r);
        self.width.update(width, r);
        self.height.update(height, r);
        self.width.value = self.width.value.max(1.0);
        self.height.value = self.height.value.max(1.0);
    }

    /// Tells whether the object stands still: then it has no velocity, and its box is averaged over a longer time.
    pub(crate) fn set_still(&mut self, still: bool) {
        if self.still == still {
            return;
        }
        self.still = still;
        let size = self.size();
        for axis in [&mut self.x, &mut self.y, &mut self.width, &mut self.height] {
            if still {
                axis.rate = 0.0;
                axis.p = [axis.p[0], 0.0, (noise::STILL * size).powi(2)];
            } else {
                axis.p[2] = axis.p[2].max((noise::SPEED * size).powi(2));
            }
        }
    }

    /// Mean of width and height, pixels.
    pub(crate) fn size(&self) -> f64 {
        mean_size(self.width.value, self.height.value)
    }

    /// Standard deviation of the predicted centre, pixels.
    pub(crate) fn uncertainty(&self) -> f64 {
        self.x.p[0].max(self.y.p[0]).max(0.0).sqrt()
    }

    pub(crate) fn bbox(&self) -> BBox {
        self.at(0.0)
    }

    /// The box in `dt` seconds, if it goes on as now.
    pub(crate) fn at(&self, dt: f64) -> BBox {
        let (x, y) = (self.x.value + self.x.rate * dt, self.y.value + self.y.rate * dt);
        let (width, height) = (self.width.value - 1.0, self.height.value - 1.0);
        BBox::new(
            (x - width / 2.0) as f32,
            (y - height / 2.0) as f32,
            (x + width / 2.0) as f32,
            (y + height / 2.0) as f32,
        )
    }
}

/// Centre and size; corners belong to a box.
fn measures(bbox: &BBox) -> [f64; 4] {
    let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1 + 1.0, y2 - y1 + 1.0]
}

fn mean_size(width: f64, height: f64) -> f64 {
    ((width + height) / 2.0).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 pixels a second, seen at odd times and then not at all.
    #[test]
    fn goes_on_as_it_went() {
        let at = |t: f64| BBox::new((60.0 * t) as f32, 50.0, (60.0 * t + 39.0) as f32, 89.0);
        let mut filter = BoxFilter::new(&at(0.0));
        let mut now = 0.0;
        for dt in [0.04, 0.04, 0.2, 0.04, 0.1, 0.04, 0.04, 0.3, 0.04, 0.04, 0.1, 0.1] {
            now += dt;
            filter.predict(dt);
            filter.update(&at(now));
        }
        let before = filter.uncertainty();
        let ahead = filter.at(1.0);
        filter.predict(1.0);
        assert_eq!(ahead, filter.bbox());
        assert!(filter.bbox().iou(&at(now + 1.0), 1.0) > 0.9, "{:?} {:?}", filter.bbox(), at(now + 1.0));
        assert!(filter.uncertainty() > 2.0 * before);
    }

    /// Ten frames a second or a hundred: the same object has the same uncertainty after a second unseen.
    #[test]
    fn rates_are_in_seconds() {
        let mut slow = BoxFilter::new(&BBox::new(0.0, 0.0, 19.0, 39.0));
        let mut fast = slow.clone();
        (0..10).for_each(|_| slow.predict(0.1));
        (0..100).for_each(|_| fast.predict(0.01));
        assert!((slow.uncertainty() / fast.uncertainty() - 1.0).abs() < 1e-9);
    }
}
