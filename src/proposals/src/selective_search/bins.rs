//! Which histogram bins each pixel falls into.

use super::colour::Planes;
use super::filter::{Taps, columns, rows};

/// Bins of a colour channel.
pub(crate) const COLOURS: usize = 25;
/// Axes along which the slope of a channel is measured; each has two opposite orientations.
pub(crate) const AXES: usize = 4;
/// Bins of an orientation's slope, from 0 upwards.
pub(crate) const SLOPES: usize = 10;
/// Scale of the Gaussian derivatives, in pixels.
const SIGMA: f32 = 1.0;
/// Adding this to a float in 0..2^23 leaves the rounded number in the low bits of the sum.
const ROUND: f32 = 8_388_608.0;

/// By channel, then by pixel.
pub(crate) struct Bins {
    pub(crate) channels: Vec<ChannelBins>,
}

pub(crate) struct ChannelBins {
    /// `0..COLOURS`.
    pub(crate) colour: Vec<u8>,
    /// `0..2 * SLOPES` for each axis: the middle is slope 0, below it lie those of the opposite orientation.
    pub(crate) slopes: [Vec<u8>; AXES],
}

impl Bins {
    pub(crate) fn new(planes: &Planes, width: usize) -> Bins {
        Bins { channels: planes.channels.iter().map(|channel| ChannelBins::new(channel, width)).collect() }
    }
}

impl ChannelBins {
    fn new(channel: &[u8], width: usize) -> ChannelBins {
        let colour = channel.iter().map(|&v| (u32::from(v) * COLOURS as u32 / 256) as u8).collect();
        let (smooth, derivative) = (Taps::<4>::gaussian(SIGMA), Taps::<4>::derivative(SIGMA));
        let source: Vec<f32> = channel.iter().map(|&v| f32::from(v)).collect();
        let mut across = vec![0.0; source.len()];
        let (mut dx, mut dy) = (vec![0.0; source.len()], vec![0.0; source.len()]);
        rows(&source, width, &derivative, &mut across);
        columns(&across, width, &smooth, &mut dx);
        rows(&source, width, &smooth, &mut across);
        columns(&across, width, &derivative, &mut dy);

        let greatest = dx.iter().chain(&dy).fold(0.0f32, |max, v| if v.abs() > max { v.abs() } else { max });
        let scale = SLOPES as f32 / greatest.max(1.0);
        // A Gaussian derivative along any direction is a mix of those along x and y.
        let slopes = [(1.0, 0.0), (0.0, 1.0), (DIAGONAL, DIAGONAL), (DIAGONAL, -DIAGONAL)].map(|(x, y)| {
            let (x, y) = (x * scale, y * scale);
            dx.iter().zip(&dy).map(|(dx, dy)| slope_bin(x * dx + y * dy)).collect()
        });
        ChannelBins { colour, slopes }
    }
}

const DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Rounds down, so that slopes in 0..1 fall into the bin above the middle.
fn slope_bin(slope: f32) -> u8 {
    const LAST: f32 = (2 * SLOPES - 1) as f32;
    let shifted = slope + (SLOPES as f32 - 0.5);
    let clamped = if shifted > LAST { LAST } else { shifted };
    let clamped = if clamped < 0.0 { 0.0 } else { clamped };
    (clamped + ROUND).to_bits() as u8
}
