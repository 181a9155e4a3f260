//! Colours and textures: what a surface looks like at a point, before light falls on it.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Red, green, blue, each 0 to 1.
pub(super) type Rgb = [f32; 3];

/// The pattern of a surface.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Plain,
    Gradient,
    Stripes,
    Checks,
    Mottled,
}

/// How a surface is painted.
#[derive(Clone, Debug)]
pub(super) struct Paint {
    pattern: Pattern,
    colours: [Rgb; 2],
    /// Repeats per unit of length.
    frequency: f32,
    direction: [f32; 2],
    seed: u32,
}

impl Paint {
    /// An object's: any two colours, and any pattern whose period is a good part of the object.
    pub(super) fn object(rng: &mut ChaCha8Rng) -> Paint {
        let patterns =
            [Pattern::Plain, Pattern::Gradient, Pattern::Stripes, Pattern::Checks, Pattern::Mottled];
        let first = colour(rng);
        let second = mix(first, colour(rng), rng.random_range(0.3..0.8));
        Paint {
            pattern: patterns[rng.random_range(0..patterns.len())],
            colours: [first, second],
            frequency: rng.random_range(1.0..2.5),
            direction: direction(rng),
            seed: rng.random(),
        }
    }

    /// The ground's: colours from the same range as the objects', mottled at several scales.
    pub(super) fn ground(rng: &mut ChaCha8Rng) -> Paint {
        let first = colour(rng);
        let second = mix(first, colour(rng), rng.random_range(0.25..0.7));
        Paint {
            pattern: Pattern::Mottled,
            colours: [first, second],
            frequency: rng.random_range(0.008..0.04),
            direction: direction(rng),
            seed: rng.random(),
        }
    }

    /// The colour at a point.
    pub(super) fn at(&self, x: f32, y: f32) -> Rgb {
        let [dx, dy] = self.direction;
        let (u, v) = ((x * dx + y * dy) * self.frequency, (y * dx - x * dy) * self.frequency);
        let share = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Gradient => (0.5 + 0.5 * u / self.frequency).clamp(0.0, 1.0),
            Pattern::Stripes => soft_step(u),
            Pattern::Checks => {
                let (a, b) = (soft_step(u), soft_step(v));
                a + b - 2.0 * a * b
            }
            Pattern::Mottled => {
                // Each octave finer by a factor that is no whole number, so that lattices do not line up.
                let octaves = [(1.0, 0.5), (2.13, 0.3), (4.71, 0.2)];
                octaves.iter().map(|&(f, share)| share * noise(u * f, v * f, self.seed)).sum()
            }
        };
        mix(self.colours[0], self.colours[1], share)
    }
}

/// From one colour to another; `share` 0 to 1.
pub(super) fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|c| from[c] + (to[c] - from[c]) * share)
}

fn colour(rng: &mut ChaCha8Rng) -> Rgb {
    std::array::from_fn(|_| rng.random_range(0.08..0.92))
}

fn direction(rng: &mut ChaCha8Rng) -> [f32; 2] {
    let (sin, cos) = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
    [cos, sin]
}

/// 0 and 1 by turns, with edges that fade.
fn soft_step(u: f32) -> f32 {
    let wave = (u * std::f32::consts::TAU).sin();
    (0.5 + 3.0 * wave).clamp(0.0, 1.0)
}

/// Value noise, 0 to 1: random numbers on a lattice of unit spacing, smoothly interpolated.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (smooth(x - x0), smooth(y - y0));
    let at = |dx: i32, dy: i32| lattice((x0 as i32).wrapping_add(dx), (y0 as i32).wrapping_add(dy), seed);
    let row = |dy| at(0, dy) + (at(1, dy) - at(0, dy)) * tx;
    row(0) + (row(1) - row(0)) * ty
}

/// A number for a lattice point: the finaliser of MurmurHash3 over its coordinates.
fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = seed ^ (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    ((h ^ (h >> 16)) >> 8) as f32 / (1 << 24) as f32
}
