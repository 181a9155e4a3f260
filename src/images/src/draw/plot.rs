//! Curves of shares against a count, as a PNG: the count on a logarithmic axis, shares from 0 to 1.
//!
//! The other plots are SVG by plotters, in which the reader's program writes the text. In a bitmap plotters needs a font
//! parser and a font of its own; the letters of the labels are here already.

use std::io::Cursor;

use image::{ImageFormat, ImageResult, Rgb, RgbImage};

use super::colour;
use super::font::Font;
use super::label::Label;
use super::rect::Rect;

const WIDTH: i32 = 900;
const HEIGHT: i32 = 600;
/// Room for the axes' numbers.
const LEFT: i32 = 70;
const RIGHT: i32 = 30;
const TOP: i32 = 30;
const BOTTOM: i32 = 60;
const PAPER: Rgb<u8> = Rgb([255; 3]);
const LINE: Rgb<u8> = Rgb([215; 3]);

/// One line of the plot.
pub struct Curve {
    /// For the legend.
    pub name: String,
    /// Counts of at least 1, ascending, each with a share in 0..=1.
    pub points: Vec<(f64, f64)>,
}

/// The file's bytes.
pub fn plot(counted: &str, curves: &[Curve]) -> ImageResult<Vec<u8>> {
    let mut image = RgbImage::from_pixel(WIDTH as u32, HEIGHT as u32, PAPER);
    let font = Font::for_image(HEIGHT as u32 - 200);
    let counts = || curves.iter().flat_map(|curve| &curve.points).map(|&(count, _)| count.max(1.0));
    let first = 10f64.powf(counts().fold(f64::MAX, f64::min).min(1e6).log10().floor());
    let last = counts().max_by(f64::total_cmp).unwrap_or(0.0).max(first * 10.0);
    let x = |count: f64| {
        let share = (count.max(first) / first).ln() / (last / first).ln();
        LEFT + (share * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
    };
    let y = |share: f64| {
        HEIGHT - BOTTOM - (share.clamp(0.0, 1.0) * f64::from(HEIGHT - TOP - BOTTOM)).round() as i32
    };

    for tenth in 0..=10 {
        let at = y(f64::from(tenth) / 10.0);
        Rect { left: LEFT, top: at, right: WIDTH - RIGHT, bottom: at + 1 }.fill(&mut image, LINE);
        text(&mut image, font, &format!("{:.1}", f64::from(tenth) / 10.0), LEFT - 45, at - font.height() / 2);
    }
    for decade in 0..7 {
        for digit in [1.0, 2.0, 5.0] {
            let count = first * 10f64.powi(decade) * digit;
            if count <= last {
                let at = x(count);
                Rect { left: at, top: TOP, right: at + 1, bottom: HEIGHT - BOTTOM }.fill(&mut image, LINE);
                text(&mut image, font, &format!("{count}"), at - 12, HEIGHT - BOTTOM + 6);
            }
        }
    }
    text(
        &mut image,
        font,
        counted,
        (WIDTH - counted.len() as i32 * font.advance()) / 2,
        HEIGHT - font.height() - 6,
    );
    for (i, curve) in curves.iter().enumerate() {
        let ink = colour::of_class(i as u16 + 1);
        for pair in curve.points.windows(2) {
            if let [(from, low), (to, high)] = *pair {
                line(&mut image, (x(from), y(low)), (x(to), y(high)), ink);
            }
        }
        let top = TOP + 8 + i as i32 * (font.height() + 4);
        Rect { left: LEFT + 10, top: top + 6, right: LEFT + 34, bottom: top + 10 }.fill(&mut image, ink);
        text(&mut image, font, &curve.name, LEFT + 40, top);
    }
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

fn text(image: &mut RgbImage, font: Font, text: &str, left: i32, top: i32) {
    Label::at(text, left, top, font).draw(image, font, PAPER);
}

/// Three pixels wide.
fn line(image: &mut RgbImage, from: (i32, i32), to: (i32, i32), ink: Rgb<u8>) {
    let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
    for step in 0..=steps {
        let (left, top) = (from.0 + (to.0 - from.0) * step / steps, from.1 + (to.1 - from.1) * step / steps);
        Rect { left: left - 1, top: top - 1, right: left + 2, bottom: top + 2 }.fill(image, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: Vec<(f64, f64)>) -> RgbImage {
        let png = plot("boxes", &[Curve { name: "recall".to_string(), points }]).unwrap();
        image::load_from_memory(&png).unwrap().into_rgb8()
    }

    #[test]
    fn a_curve_goes_through_its_points() {
        let image = drawn(vec![(10.0, 0.0), (100.0, 1.0)]);
        let ink = colour::of_class(1);
        assert_eq!(*image.get_pixel(LEFT as u32, (HEIGHT - BOTTOM) as u32), ink);
        assert_eq!(*image.get_pixel((WIDTH - RIGHT) as u32, TOP as u32), ink);
        // The middle of the axis is the geometric mean.
        assert_eq!(
            *image.get_pixel(((LEFT + WIDTH - RIGHT) / 2) as u32, ((TOP + HEIGHT - BOTTOM) / 2) as u32),
            ink
        );
    }

    #[test]
    fn any_points_can_be_drawn() {
        for points in [vec![], vec![(0.0, 0.5)], vec![(7.0, f64::NAN), (7.0, 2.0)], vec![(1e9, -1.0)]] {
            drawn(points);
        }
    }
}
