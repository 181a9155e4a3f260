//! The losses so far as a picture.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::log::{self, Line};
use crate::error::Error;
use crate::files;
use crate::run_dir::RunDir;

const SIZE: (u32, u32) = (900, 540);
/// Points of a curve at most: each is the mean of as many lines as that takes.
const POINTS: usize = 300;

/// Draws `loss.png` from `log.jsonl`.
pub(super) fn draw(run_dir: &RunDir) -> Result<(), Error> {
    let lines = log::read(&run_dir.path("log.jsonl"))?;
    if lines.is_empty() {
        return Ok(());
    }
    let path = run_dir.path("loss.png");
    let pixels = picture(&lines).map_err(|error| Error::file(&path, format!("cannot be drawn: {error}")))?;
    let mut png = Vec::new();
    let written = RgbImage::from_raw(SIZE.0, SIZE.1, pixels)
        .map(|image| image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png));
    match written {
        Some(Ok(())) => files::write(&path, &png),
        Some(Err(error)) => Err(Error::file(&path, error)),
        None => Ok(()),
    }
}

fn picture(lines: &[Line]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    // A font that comes with the program, for machines without any.
    let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    let per_point = lines.len().div_ceil(POINTS);
    let mean = |of: fn(&Line) -> f64| -> Vec<(f64, f64)> {
        let point = |lines: &[Line]| {
            let last = lines.last().map_or(0, |line| line.iteration);
            (last as f64, lines.iter().map(of).sum::<f64>() / lines.len() as f64)
        };
        lines.chunks(per_point).map(point).collect()
    };
    let mut curves = vec![
        ("classification + boxes", mean(|l| l.loss_cls + l.loss_bbox), BLACK),
        ("classification", mean(|l| l.loss_cls), RGBColor(0x1f, 0x77, 0xb4)),
        ("boxes", mean(|l| l.loss_bbox), RGBColor(0xff, 0x7f, 0x0e)),
    ];
    if lines.iter().any(|line| line.loss_rpn_cls.is_some()) {
        curves.push(("anchors", mean(|l| l.loss_rpn_cls.unwrap_or_default()), RGBColor(0x2c, 0xa0, 0x2c)));
        curves.push((
            "anchors' boxes",
            mean(|l| l.loss_rpn_bbox.unwrap_or_default()),
            RGBColor(0xd6, 0x27, 0x28),
        ));
    }
    let highest = curves.iter().flat_map(|(_, points, _)| points).fold(0.0, |m: f64, p| m.max(p.1));
    let last = lines.last().map_or(1.0, |line| line.iteration as f64);

    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last.max(1.0), 0.0..(1.05 * highest).max(1e-6))?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("iteration").y_desc("loss").x_label_formatter(&|x| format!("{x:.0}"));
    mesh.light_line_style(WHITE).draw()?;
    for (name, points, colour) in curves {
        let series = LineSeries::new(points, colour.stroke_width(2));
        chart
            .draw_series(series)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(WHITE).draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(pixels)
}
