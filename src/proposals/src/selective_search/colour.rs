//! Colour spaces, each channel stretched to 0..=255 as in the published system.
//!
//! A strategy sees the image in one of them: what differs little in one (light and shadow in hue) differs much in
//! another. Tables stand for every root and power: the conversion crates take as long for an image as the whole
//! search does.

use std::sync::OnceLock;

/// A colour space of the published strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourSpace {
    /// Hue, saturation, value.
    Hsv,
    /// CIE L\*a\*b\* under D65: L\* stretched by 2.55, a\* and b\* moved by 128.
    Lab,
    /// The shares of red and green in the sum of the channels, and intensity.
    Rgi,
    /// Hue alone.
    Hue,
    /// Rec. 601 luma alone.
    Intensity,
}

/// The channels of an image, one after the other: 3, or 1 where the space has only that.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    pub(super) channels: Vec<Vec<u8>>,
}

impl Planes {
    /// Converts packed pixels red, green, blue.
    #[must_use]
    pub fn new(space: ColourSpace, rgb: &[u8]) -> Planes {
        let (pixels, _) = rgb.as_chunks::<3>();
        let channels = match space {
            ColourSpace::Hsv => planes(pixels, hsv),
            ColourSpace::Lab => {
                let tables = LabTables::get();
                planes(pixels, |pixel| tables.convert(pixel))
            }
            ColourSpace::Rgi => planes(pixels, rgi),
            ColourSpace::Hue => planes(pixels, |pixel| [hsv(pixel)[0]]),
            ColourSpace::Intensity => planes(pixels, |pixel| [luma(pixel)]),
        };
        Planes { channels }
    }
}

fn planes<const C: usize>(pixels: &[[u8; 3]], convert: impl Fn([u8; 3]) -> [u8; C]) -> Vec<Vec<u8>> {
    let mut channels = vec![vec![0; pixels.len()]; C];
    for (i, &pixel) in pixels.iter().enumerate() {
        for (channel, value) in channels.iter_mut().zip(convert(pixel)) {
            channel[i] = value;
        }
    }
    channels
}

/// Hue over the whole circle as 0..=255, red at 0; grey has hue 0. Saturation and value as shares of 255.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let delta = max - min;
    if delta == 0 {
        return [0, 0, max];
    }
    let [r, g, b] = [r, g, b].map(f32::from);
    // A sixth of the circle for each of the six orders of the channels.
    let sixth = match f32::from(max) {
        top if top == r => (g - b) / f32::from(delta),
        top if top == g => 2.0 + (b - r) / f32::from(delta),
        _ => 4.0 + (r - g) / f32::from(delta),
    };
    let turn = if sixth < 0.0 { sixth + 6.0 } else { sixth };
    let saturation = (u32::from(delta) * 255 + u32::from(max) / 2) / u32::from(max);
    [(turn * (255.0 / 6.0) + 0.5) as u8, saturation as u8, max]
}

fn rgi(pixel: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = pixel.map(u32::from);
    let sum = r + g + b;
    // Black has no colour: the shares that grey has.
    let share = |channel: u32| (channel * 255 + sum / 2).checked_div(sum).unwrap_or(85);
    [share(r) as u8, share(g) as u8, luma(pixel)]
}

fn luma(pixel: [u8; 3]) -> u8 {
    let [r, g, b] = pixel.map(u32::from);
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

/// sRGB to CIE XYZ under D65, rows divided by the white point.
const XYZ: [[f32; 3]; 3] =
    [[0.433_953, 0.376_219, 0.189_828], [0.212_671, 0.715_160, 0.072_169], [0.017_758, 0.109_477, 0.872_765]];
/// Entries of the table of L\*a\*b\*'s f over 0..=1: where f is steepest, at 0, a step is 0.3 of a level.
const STEPS: usize = 8192;

struct LabTables {
    linear: [f32; 256],
    f: Vec<f32>,
}

impl LabTables {
    fn get() -> &'static LabTables {
        static TABLES: OnceLock<LabTables> = OnceLock::new();
        TABLES.get_or_init(|| LabTables {
            linear: std::array::from_fn(|i| {
                let v = i as f32 / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            }),
            f: (0..=STEPS)
                .map(|i| {
                    let t = i as f32 / STEPS as f32;
                    if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
                })
                .collect(),
        })
    }

    fn convert(&self, pixel: [u8; 3]) -> [u8; 3] {
        let linear = pixel.map(|v| self.linear[usize::from(v)]);
        let [x, y, z] = XYZ.map(|row| {
            let t = row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2];
            self.f[((t * STEPS as f32 + 0.5) as usize).min(STEPS)]
        });
        let round = |v: f32| (v + 0.5) as u8;
        [round((116.0 * y - 16.0) * 2.55), round(500.0 * (x - y) + 128.0), round(200.0 * (y - z) + 128.0)]
    }
}
