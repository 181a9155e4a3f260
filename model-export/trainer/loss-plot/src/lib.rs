//! Draws losses and learning rate of a training run as a PNG.

use std::io::Cursor;
use std::ops::Range;

use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// Width and height in pixels.
pub const SIZE: (u32, u32) = (1040, 540);
/// Width of what is left of the legend.
const CHART: u32 = 800;
/// Points of a curve at most: each is the mean of as many values as that takes.
const POINTS: usize = 300;
/// Of the curves in their order; more begin anew.
const COLOURS: [RGBColor; 5] = [
    BLACK,
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xd6, 0x27, 0x28),
];
/// Of the learning rate and its axis.
const LR: RGBColor = RGBColor(0x94, 0x67, 0xbd);

type Failure = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// What is drawn. All lists have one value for each of `iterations`; what is not finite is left out.
#[derive(Clone, Debug, Default)]
pub struct Run<'a> {
    /// Iterations done, ascending.
    pub iterations: Vec<u64>,
    /// Names of losses, and their values.
    pub losses: Vec<(&'a str, Vec<f64>)>,
    /// The learning rate, drawn on a logarithmic axis of its own on the right.
    pub learning_rates: Vec<f64>,
}

/// Draws a run as a PNG of [`SIZE`], with its legend beside the curves.
///
/// # Errors
/// The picture cannot be drawn or encoded, which no values cause.
pub fn png(run: &Run) -> Result<Vec<u8>, Failure> {
    // A font that comes with the program, for machines without any.
    let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    let mut pixels = vec![255; (SIZE.0 * SIZE.1 * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        let (left, right) = area.split_horizontally(CHART);
        chart(&left, run)?;
        legend(&right, run)?;
        area.present()?;
    }
    let image = RgbImage::from_raw(SIZE.0, SIZE.1, pixels).ok_or("the picture has another size")?;
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

fn chart(area: &Area<'_>, run: &Run) -> Result<(), Failure> {
    let curves: Vec<Vec<(f64, f64)>> =
        run.losses.iter().map(|(_, losses)| means(&run.iterations, losses)).collect();
    let highest = curves.iter().flatten().map(|point| point.1).fold(0.0, f64::max);
    let last = run.iterations.last().map_or(1.0, |last| *last as f64).max(1.0);
    let rates = steps(&run.iterations, &run.learning_rates);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .right_y_label_area_size(64)
        .build_cartesian_2d(0.0..last, 0.0..(1.05 * highest).clamp(1e-6, f64::MAX / 2.0))?
        .set_secondary_coord(0.0..last, around(&rates).log_scale());
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("iteration").y_desc("loss").x_label_formatter(&|x| format!("{x:.0}"));
    mesh.light_line_style(WHITE).draw()?;
    if !rates.is_empty() {
        let mut axis = chart.configure_secondary_axes();
        axis.y_desc("learning rate")
            .y_label_formatter(&|rate| format!("{rate:.0e}"))
            .label_style(&LR)
            .draw()?;
        chart.draw_secondary_series(LineSeries::new(rates, LR.stroke_width(1)))?;
    }
    for (position, points) in curves.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(points, colour(position).stroke_width(2)))?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, run: &Run) -> Result<(), Failure> {
    let names = run.losses.iter().enumerate().map(|(position, (name, _))| (*name, colour(position), 2));
    let entries = names.chain([("learning rate (right axis)", LR, 1)]);
    for (line, (name, colour, width)) in entries.enumerate() {
        let y = 30 + 24 * line as i32;
        area.draw(&PathElement::new([(4, y), (26, y)], colour.stroke_width(width)))?;
        area.draw(&Text::new(name, (34, y - 7), ("sans-serif", 15)))?;
    }
    Ok(())
}

fn colour(position: usize) -> RGBColor {
    COLOURS.get(position % COLOURS.len()).copied().unwrap_or(BLACK)
}

/// Means of as many values as make [`POINTS`] of all, each at the last of its iterations.
fn means(iterations: &[u64], values: &[f64]) -> Vec<(f64, f64)> {
    let finite: Vec<(u64, f64)> = iterations
        .iter()
        .copied()
        .zip(values.iter().copied())
        .filter(|(_, value)| value.is_finite())
        .collect();
    let mean = |part: &[(u64, f64)]| {
        let last = part.last().map_or(0, |(iteration, _)| *iteration);
        (last as f64, part.iter().map(|(_, value)| value / part.len() as f64).sum::<f64>())
    };
    finite.chunks(finite.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

/// The places where the rate changes, each with the rate before and after: it falls at once, and not in between.
fn steps(iterations: &[u64], rates: &[f64]) -> Vec<(f64, f64)> {
    let drawn = iterations.iter().map(|iteration| *iteration as f64).zip(rates.iter().copied());
    let drawn: Vec<(f64, f64)> = drawn.filter(|(_, rate)| rate.is_finite() && *rate > 0.0).collect();
    let mut points: Vec<(f64, f64)> = drawn.first().map(|(_, rate)| (0.0, *rate)).into_iter().collect();
    for pair in drawn.windows(2) {
        if let [(at, before), (_, after)] = pair
            && before != after
        {
            points.extend([(*at, *before), (*at, *after)]);
        }
    }
    points.extend(drawn.last());
    points
}

/// A range with room on both sides, on a logarithmic axis.
fn around(points: &[(f64, f64)]) -> Range<f64> {
    let (low, high) = points
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(low, high), (_, rate)| (low.min(*rate), high.max(*rate)));
    if high == 0.0 {
        return 1e-6..1.0;
    }
    (low / 4.0).max(1e-300)..(high * 4.0).min(1e300)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(run: &Run) -> RgbImage {
        let image = image::load_from_memory(&png(run).unwrap()).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), SIZE);
        image
    }

    /// Pixels of a colour in some columns.
    fn count(image: &RgbImage, RGBColor(r, g, b): RGBColor, columns: Range<u32>) -> usize {
        image.enumerate_pixels().filter(|(x, _, pixel)| columns.contains(x) && pixel.0 == [r, g, b]).count()
    }

    fn run(lines: u64) -> Run<'static> {
        let iterations: Vec<u64> = (1..=lines).map(|line| 20 * line).collect();
        let falling =
            |from: f64| iterations.iter().map(|i| from / (1.0 + *i as f64 / 500.0)).collect::<Vec<f64>>();
        Run {
            losses: vec![
                ("classification + boxes", falling(1.8)),
                ("classification", falling(1.2)),
                ("boxes", falling(0.6)),
            ],
            learning_rates: iterations.iter().map(|i| if *i <= 15 * lines { 1e-3 } else { 1e-4 }).collect(),
            iterations,
        }
    }

    #[test]
    fn the_legend_is_beside_the_curves_and_the_rate_has_an_axis() {
        let image = drawn(&run(200));
        for colour in &COLOURS[1..3] {
            assert!(count(&image, *colour, 0..CHART) > 200, "no curve of {colour:?}");
            assert!(count(&image, *colour, CHART..SIZE.0) >= 2 * 22, "no line of {colour:?} in the legend");
        }
        assert!(count(&image, LR, 0..CHART) > 300 && count(&image, LR, CHART..SIZE.0) >= 22);
        // Nothing lies over the curves: what is not of theirs is white in the upper right corner, where losses no longer are.
        let corner =
            image.enumerate_pixels().filter(|(x, y, _)| (450..700).contains(x) && (30..100).contains(y));
        assert!(corner.filter(|(.., pixel)| pixel.0 == [0; 3]).count() == 0);
    }

    #[test]
    fn the_rate_falls_in_steps() {
        let points = steps(&[20, 40, 60, 80], &[1e-3, 1e-3, 1e-4, 1e-4]);
        assert_eq!(points, [(0.0, 1e-3), (40.0, 1e-3), (40.0, 1e-4), (80.0, 1e-4)]);
        assert!(steps(&[20, 40], &[0.0, f64::NAN]).is_empty());
    }

    #[test]
    fn many_values_become_few_points() {
        let iterations: Vec<u64> = (1..=100_000).collect();
        let points = means(&iterations, &vec![0.5; 100_000]);
        assert!(points.len() <= POINTS && points.iter().all(|point| (point.1 - 0.5).abs() < 1e-9));
        assert_eq!(points.last().unwrap().0, 100_000.0);
    }

    /// What diverged, what is alone and what is not there.
    #[test]
    fn no_values_are_too_odd() {
        drawn(&Run::default());
        drawn(&run(1));
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1.0, 0.0, 1e-320] {
            let losses = vec![("classification", vec![odd, 0.5, odd])];
            drawn(&Run { iterations: vec![20, 40, 60], losses, learning_rates: vec![odd; 3] });
        }
        drawn(&Run {
            iterations: vec![u64::MAX; 2],
            losses: vec![("boxes", vec![1.0, 2.0])],
            learning_rates: vec![1e-3, 1e3],
        });
    }
}
