//! Where a box is and how fast it moves: a Kalman filter of constant velocity.
//!
//! Centre and size are four numbers, each with its rate, and independent of each other, so that the filter is four
//! filters of two states. Velocity is a random walk: its variance grows by `q` a second. Noise is a share of the object's
//! size, as in DeepSORT (Wojke et al., ICIP 2017), and a rate in seconds. That of observations is learned (see `jitter`).

use frcnn_core::BBox;

use crate::view::Cut;

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

/// How objects move; standard deviations as shares of their size.
mod noise {
    /// A new object's velocity, a second.
    pub(super) const FIRST_SPEED: f64 = 2.0;
    /// A new object's growth, a second.
    pub(super) const FIRST_GROWTH: f64 = 0.3;
    /// What velocity changes by in a second.
    pub(super) const SPEED: f64 = 0.5;
    /// What growth changes by in a second.
    pub(super) const GROWTH: f64 = 0.1;
    /// The velocity of what stood still: it may have started.
    pub(super) const STARTS: f64 = 0.5;
    /// Boxes of half hidden objects are off by this beyond a detector's jitter.
    pub(super) const LOOSE: f64 = 0.12;
    /// Growth fades within so many seconds.
    pub(super) const GROWTH_FADES: f64 = 0.5;
}

/// Objects are at least this large to the filter, in pixels: rounding alone moves smaller ones by more than their share.
const LEAST: f64 = 4.0;

/// A box that moves.
#[derive(Clone, Debug)]
pub(crate) struct BoxFilter {
    /// Centre and size: x, y, width, height.
    axes: [Axis; 4],
    /// While the object stands still: where, as the mean of what was observed since.
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    mean: [f64; 4],
    observations: f64,
}

/// What stood still and was not seen for longer than this, in seconds, has left or is hidden, and is no less known for that.
const LONGEST_START: f64 = 0.5;

/// A place is the mean of so many observations at most, so that it follows light and shadow.
const MEAN_OF: f64 = 100.0;

/// An observation that is off by this many times its variance counts less.
const DOUBTFUL: f64 = 2.0;

impl BoxFilter {
    pub(crate) fn new(bbox: &BBox, jitter: f64) -> BoxFilter {
        let measured = measures(bbox);
        let size = mean_size(measured);
        let square = |share: f64| (share * size).powi(2);
        let rates = [noise::FIRST_SPEED, noise::FIRST_SPEED, noise::FIRST_GROWTH, noise::FIRST_GROWTH];
        let axes = [0, 1, 2, 3].map(|i| Axis::new(measured[i], square(jitter), square(rates[i])));
        BoxFilter { axes, rest: None }
    }

    /// Goes on by `dt` seconds. `seen` tells whether it was seen before them: what stands still and is not seen stays where it
    /// is, or has started within the `unseen` seconds since it was seen.
    pub(crate) fn predict(&mut self, dt: f64, seen: bool, unseen: f64, jitter: f64) {
        let size = self.size();
        let square = |share: f64| (share * size).powi(2);
        if let Some(rest) = self.rest
            && !seen
        {
            // It may have started, and does not change its size by that.
            let rates = [noise::STARTS, noise::STARTS, noise::GROWTH, noise::GROWTH];
            self.axes = [0, 1, 2, 3].map(|i| Axis::new(rest.mean[i], square(jitter), square(rates[i])));
            for axis in &mut self.axes[..2] {
                axis.predict(unseen.min(LONGEST_START), 0.0);
            }
            return;
        }
        if self.rest.is_some() {
            // Of what stands still the place is the mean; the filter is there to see it start.
            self.axes[..2].iter_mut().for_each(|axis| axis.p[2] = axis.p[2].max(square(noise::STARTS)));
        }
        let [speed, growth] = [noise::SPEED, noise::GROWTH].map(square);
        for (axis, q) in self.axes.iter_mut().zip([speed, speed, growth, growth]) {
            axis.predict(dt, q);
        }
        for side in &mut self.axes[2..] {
            side.rate *= (-dt / noise::GROWTH_FADES).exp();
            side.value = side.value.max(1.0);
        }
    }

    /// Takes in an observed box, of which the frame's border cuts off some sides, by a detector of this `jitter`. Gives the
    /// squared error of the sides as a share of the size, less what the filter was itself unsure of.
    pub(crate) fn update(&mut self, bbox: &BBox, cuts: [Cut; 2], jitter: f64) -> Option<f64> {
        let measured = self.uncut(bbox, cuts);
        let size = self.size();
        let r = (jitter * size).powi(2);
        let normal =
            |(axis, measured): (&Axis, &f64)| (measured - axis.value).powi(2) / (axis.p[0].max(0.0) + r);
        let off = self.axes.iter().zip(&measured).map(normal).sum::<f64>() / 4.0;
        // What is far off counts less, as it may be another's.
        let doubt = (off / DOUBTFUL).max(1.0);
        let error =
            |(axis, measured): (&Axis, &f64)| ((measured - axis.value).powi(2) - axis.p[0]) / size.powi(2);
        let whole = cuts.iter().flatten().all(|cut| !cut);
        let errors = whole.then(|| self.axes[2..].iter().zip(&measured[2..]).map(error).sum::<f64>() / 2.0);
        for (axis, measured) in self.axes.iter_mut().zip(measured) {
            axis.update(measured, r * doubt);
        }
        for side in &mut self.axes[2..] {
            side.value = side.value.max(1.0);
        }
        if let Some(rest) = &mut self.rest {
            rest.observations = (rest.observations + 1.0).min(MEAN_OF);
            for (mean, measured) in rest.mean.iter_mut().zip(measured) {
                *mean += (measured - *mean) / rest.observations;
            }
        }
        errors
    }

    /// Centre and size of an observed box. Where the border cuts it off, the side that is seen tells where the object is, if it is
    /// as large as it was or larger.
    fn uncut(&self, bbox: &BBox, cuts: [Cut; 2]) -> [f64; 4] {
        let mut measured = measures(bbox);
        for (i, cut) in cuts.into_iter().enumerate() {
            let hidden = (self.axes[i + 2].value - measured[i + 2]).max(0.0);
            match cut {
                [true, false] => measured[i] -= hidden / 2.0,
                [false, true] => measured[i] += hidden / 2.0,
                _ => continue,
            }
            measured[i + 2] += hidden;
        }
        measured
    }

    /// How unlikely it is that this box is the next observation: the negative logarithm of its density, twice, less that of
    /// an observation right at its place where that is known exactly. At least 0.
    pub(crate) fn surprise(&self, bbox: &BBox, cuts: [Cut; 2], jitter: f64) -> f64 {
        let r = ((noise::LOOSE + jitter) * self.size()).powi(2);
        let of = |(axis, measured): (&Axis, f64)| {
            let s = axis.p[0].max(0.0) + r;
            (measured - axis.value).powi(2) / s + (s / r).ln()
        };
        self.axes.iter().zip(self.uncut(bbox, cuts)).map(of).sum()
    }

    /// Tells whether the object stands still. Of one that has started to move the velocity is as little known as a new one's.
    pub(crate) fn set_still(&mut self, still: bool) {
        if still == self.rest.is_some() {
            return;
        }
        self.rest = still.then(|| Rest { mean: self.axes.map(|axis| axis.value), observations: 1.0 });
        if !still {
            let first = (noise::FIRST_SPEED * self.size()).powi(2);
            self.axes[..2].iter_mut().for_each(|axis| axis.p[2] = axis.p[2].max(first));
        }
    }

    /// Mean of width and height, pixels.
    pub(crate) fn size(&self) -> f64 {
        mean_size(self.axes.map(|axis| axis.value))
    }

    /// Pixels a second.
    pub(crate) fn velocity(&self) -> [f64; 2] {
        [self.axes[0].rate, self.axes[1].rate]
    }

    /// Of the motion, also where it stands still.
    pub(crate) fn centre(&self) -> [f64; 2] {
        [self.axes[0].value, self.axes[1].value]
    }

    pub(crate) fn bbox(&self) -> BBox {
        self.at(0.0)
    }

    /// The box in `dt` seconds, if it goes on as now.
    pub(crate) fn at(&self, dt: f64) -> BBox {
        let [ax, ay, aw, ah] = &self.axes;
        let moved = [ax.value + ax.rate * dt, ay.value + ay.rate * dt, aw.value, ah.value];
        let [x, y, width, height] = self.rest.map_or(moved, |rest| rest.mean);
        let (right, down) = ((width - 1.0) / 2.0, (height - 1.0) / 2.0);
        BBox::new((x - right) as f32, (y - down) as f32, (x + right) as f32, (y + down) as f32)
    }
}

/// Centre and size; corners belong to a box.
fn measures(bbox: &BBox) -> [f64; 4] {
    let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1 + 1.0, y2 - y1 + 1.0]
}

fn mean_size([_, _, width, height]: [f64; 4]) -> f64 {
    ((width + height) / 2.0).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JITTER: f64 = 0.05;
    const WHOLE: [Cut; 2] = [[false; 2]; 2];

    /// 60 pixels a second, seen at odd times and then not at all.
    #[test]
    fn goes_on_as_it_went() {
        let at = |t: f64| BBox::new((60.0 * t) as f32, 50.0, (60.0 * t + 39.0) as f32, 89.0);
        let mut filter = BoxFilter::new(&at(0.0), JITTER);
        let mut now = 0.0;
        for dt in [0.04, 0.04, 0.2, 0.04, 0.1, 0.04, 0.04, 0.3, 0.04, 0.04, 0.1, 0.1] {
            now += dt;
            filter.predict(dt, true, 0.0, JITTER);
            filter.update(&at(now), WHOLE, JITTER);
        }
        let next = at(now + 1.0);
        let known = filter.surprise(&filter.bbox(), WHOLE, JITTER);
        assert!(filter.at(1.0).iou(&next, 1.0) > 0.85, "{:?} {next:?}", filter.at(1.0));
        filter.predict(1.0, true, 0.0, JITTER);
        assert!(filter.bbox().iou(&next, 1.0) > 0.85, "{:?} {next:?}", filter.bbox());
        assert!(filter.surprise(&filter.bbox(), WHOLE, JITTER) > known + 1.0);
        assert!(filter.surprise(&at(now), WHOLE, JITTER) > filter.surprise(&next, WHOLE, JITTER));
    }

    /// Ten frames a second or a hundred: the same object is as little known after a second unseen.
    #[test]
    fn rates_are_in_seconds() {
        let bbox = BBox::new(0.0, 0.0, 19.0, 39.0);
        let mut slow = BoxFilter::new(&bbox, JITTER);
        let mut fast = slow.clone();
        (0..10).for_each(|_| slow.predict(0.1, true, 0.0, JITTER));
        (0..100).for_each(|_| fast.predict(0.01, true, 0.0, JITTER));
        let [slow, fast] = [slow, fast].map(|filter| filter.surprise(&bbox, WHOLE, JITTER));
        assert!((slow / fast - 1.0).abs() < 0.05, "{slow} {fast}");
    }

    /// A car of 100 pixels drives out on the left: its right side tells where it is.
    #[test]
    fn what_the_border_cuts_off_goes_on() {
        let whole = |t: f64| BBox::new((100.0 - 100.0 * t) as f32, 50.0, (199.0 - 100.0 * t) as f32, 89.0);
        let mut filter = BoxFilter::new(&whole(0.0), JITTER);
        for frame in 1..18 {
            let bbox = whole(0.1 * f64::from(frame));
            filter.predict(0.1, true, 0.0, JITTER);
            filter.update(&bbox.clip(640, 480), [[bbox.x1 < 0.0, false], [false; 2]], JITTER);
        }
        let (at, truth) = (filter.bbox(), whole(1.7));
        assert!((at.x1 - truth.x1).abs() < 5.0 && (at.x2 - truth.x2).abs() < 5.0, "{at:?} {truth:?}");
    }

    /// What stands still is known the better the longer, and does not drift while nobody sees it.
    #[test]
    fn what_rests_is_averaged() {
        let at = |i: i32| BBox::new(50.0 + (i % 3) as f32 * 4.0, 50.0, 89.0 + (i % 3) as f32 * 4.0, 89.0);
        let mut filter = BoxFilter::new(&at(1), JITTER);
        filter.set_still(true);
        for i in 0..90 {
            filter.predict(0.1, true, 0.0, JITTER);
            filter.update(&at(i), WHOLE, JITTER);
        }
        let place = filter.bbox();
        assert!((place.x1 - 54.0).abs() < 0.5, "{place:?}");
        for _ in 0..1000 {
            filter.predict(1.0, false, 0.04, JITTER);
        }
        assert_eq!((filter.bbox(), filter.at(5.0)), (place, place));
        assert!(filter.surprise(&at(1), WHOLE, JITTER) < 1.0);
        // One of its size away: it has not jumped, but may have gone there since it was seen.
        let BBox { x1, y1, x2, y2 } = at(1);
        let away = BBox::new(x1 + 40.0, y1, x2 + 40.0, y2);
        assert!(filter.surprise(&away, WHOLE, JITTER) > 25.0);
        filter.predict(0.1, false, 0.6, JITTER);
        assert!(filter.surprise(&away, WHOLE, JITTER) < 15.0);
    }
}
