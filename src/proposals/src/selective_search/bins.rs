//! Which histogram bins each pixel falls into.

use super::colour::Planes;
use super::filter::{Taps, columns, rows};

/// Bins of a colour channel.
pub(super) const COLOURS: usize = 25;
/// Axes along which the slope of a channel is measured; each has two opposite orientations.
pub(super) const AXES: usize = 4;
/// Bins of an orientation's slope; the lowest is for none.
pub(super) const SLOPES: usize = 10;
/// Bins of an axis: the slopes of both orientations, which share the lowest, in the middle.
pub(super) const AXIS: usize = 2 * SLOPES - 1;
/// Scale of the Gaussian derivatives, in pixels.
const SIGMA: f32 = 0.8;
/// Slope of the highest bin's middle, in grey levels per pixel: the published 0.43 for grey levels of 0..=1.
const STEEPEST: f32 = 0.43 * 255.0;
/// Adding this to a float in 0..2^23 leaves the rounded number in the low bits of the sum.
const ROUND: f32 = 8_388_608.0;

/// By channel, then by pixel.
#[derive(Debug)]
pub struct Bins {
    pub(super) channels: Vec<ChannelBins>,
}

#[derive(Debug)]
pub(super) struct ChannelBins {
    /// `0..COLOURS`.
    pub(super) colour: Vec<u8>,
    /// `0..AXIS` for each axis.
    pub(super) slopes: [Vec<u8>; AXES],
}

impl Bins {
    /// Of an image of `width` pixels a row.
    #[must_use]
    pub fn new(planes: &Planes, width: usize) -> Bins {
        let bins = || planes.channels.iter().map(|channel| ChannelBins::new(channel, width)).collect();
        Bins { channels: pulp::Arch::new().dispatch(bins) }
    }
}

impl ChannelBins {
    #[inline(always)]
    fn new(channel: &[u8], width: usize) -> ChannelBins {
        // Rounded as in the published system: the first and the last bin are half as wide.
        let colour =
            channel.iter().map(|&v| ((u32::from(v) * (COLOURS as u32 - 1) + 127) / 255) as u8).collect();
        let (smooth, derivative) = (Taps::<4>::gaussian(SIGMA), Taps::<4>::derivative(SIGMA));
        let source: Vec<f32> = channel.iter().map(|&v| f32::from(v)).collect();
        let mut across = vec![0.0; source.len()];
        let (mut dx, mut dy) = (vec![0.0; source.len()], vec![0.0; source.len()]);
        rows(&source, width, &derivative, &mut across);
        columns(&across, width, &smooth, &mut dx);
        rows(&source, width, &smooth, &mut across);
        columns(&across, width, &derivative, &mut dy);
        // A Gaussian derivative along any direction is a mix of those along x and y.
        let slopes = [(1.0, 0.0), (0.0, 1.0), (DIAGONAL, DIAGONAL), (DIAGONAL, -DIAGONAL)];
        ChannelBins { colour, slopes: slopes.map(|(x, y)| slope_bins(&dx, &dy, x, y)) }
    }
}

const DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The bins along the axis (x, y).
#[inline(always)]
fn slope_bins(dx: &[f32], dy: &[f32], x: f32, y: f32) -> Vec<u8> {
    const MIDDLE: f32 = SLOPES as f32 - 1.0;
    const LAST: f32 = AXIS as f32 - 1.0;
    let (x, y) = (x * MIDDLE / STEEPEST, y * MIDDLE / STEEPEST);
    let bins = dx.iter().zip(dy).map(|(dx, dy)| {
        let slope = x * dx + y * dy + MIDDLE;
        let slope = if slope > LAST { LAST } else { slope };
        let slope = if slope < 0.0 { 0.0 } else { slope };
        (slope + ROUND).to_bits() as u8
    });
    bins.collect()
}
