//! Plots as SVG.

use std::ops::Range;

use frcnn_core::Printable;
use frcnn_eval::VocClass;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Error;
use crate::sweep::Sweep;

/// Width and height in pixels.
const SIZE: (u32, u32) = (760, 460);
/// Colours that can be told apart in print and by most colour-blind readers (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Draw(error.to_string())
}

fn colour(position: usize) -> RGBColor {
    COLOURS.get(position % COLOURS.len()).copied().unwrap_or(BLACK)
}

/// Precision over recall of each class that has objects.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn precision_recall(classes: &[VocClass]) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(38)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..1.0, 0.0..1.02)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("recall")
            .y_desc("precision")
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(failed)?;
        let scored = classes.iter().enumerate().filter(|(_, class)| class.ap10.is_some());
        for (position, class) in scored {
            let colour = colour(position);
            let points = class.recall.iter().copied().zip(class.precision.iter().copied());
            let label = format!("{} {:.3}", Printable(&class.name), class.ap10.unwrap_or_default());
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))
                .map_err(failed)?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.2))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// mAP over time per image, the recommended setting marked, with the mAP below which too much is lost.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn trade_off(sweep: &Sweep) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw_trade_off(&area, sweep)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn draw_trade_off<B: DrawingBackend>(area: &DrawingArea<B, Shift>, sweep: &Sweep) -> Result<(), Error> {
    area.fill(&WHITE).map_err(failed)?;
    let points: Vec<(f64, f64)> =
        sweep.rows.iter().map(|row| (row.total.as_secs_f64() * 1e3, row.map * 100.0)).collect();
    let whole = sweep.rows.first().map_or(0.0, |row| row.map * 100.0);
    let limit = whole - sweep.max_drop;
    let x = around(points.iter().map(|point| point.0));
    let y = around(points.iter().map(|point| point.1).chain([limit]));
    let mut chart = ChartBuilder::on(area)
        .caption("mAP against time per image", ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d(x.clone(), y)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("ms per image")
        .y_desc("mAP, VOC10+, IoU 0.5 (points)")
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    let grey = RGBColor(150, 150, 150);
    chart
        .draw_series(LineSeries::new([(x.start, limit), (x.end, limit)], grey.stroke_width(1)))
        .map_err(failed)?;
    let margin = (x.end - x.start) * 0.01;
    let note = format!("{} points below the network as it is", sweep.max_drop);
    chart
        .draw_series([Text::new(
            note,
            (x.start + margin, limit),
            ("sans-serif", 12).into_font().color(&grey),
        )])
        .map_err(failed)?;
    for (position, (row, &point)) in sweep.rows.iter().zip(&points).enumerate() {
        let chosen = position == sweep.recommended;
        let (colour, radius) = if chosen { (colour(1), 7) } else { (colour(0), 4) };
        chart.draw_series([Circle::new(point, radius, colour.filled())]).map_err(failed)?;
        let setting = Printable(&row.setting);
        let text = if chosen { format!("{setting} (recommended)") } else { setting.to_string() };
        let style = ("sans-serif", 12).into_font().color(&colour);
        chart.draw_series([Text::new(text, (point.0 + margin, point.1), style)]).map_err(failed)?;
    }
    Ok(())
}

/// A range with room on both sides, and on the right for a label.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if !low.is_finite() || !high.is_finite() {
        return 0.0..1.0;
    }
    let span = (high - low).max(high.abs() * 0.02).max(1e-6);
    low - span * 0.08..high + span * 0.3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::SweepRow;
    use std::time::Duration;

    #[test]
    fn the_recommended_setting_is_marked() {
        let row = |setting: &str, ms, map: f64| SweepRow {
            setting: setting.into(),
            ranks: Vec::new(),
            parameters: 1,
            file_bytes: 1,
            head: Duration::ZERO,
            total: Duration::from_millis(ms),
            map,
            drop: 100.0 * (0.68 - map),
        };
        let rows =
            vec![row("not factored", 90, 0.68), row("fc6=64", 60, 0.679), row("fc6=8 <&>\u{1b}", 50, 0.5)];
        let svg = trade_off(&Sweep { rows, recommended: 1, max_drop: 0.3, images: 72 }).unwrap();
        assert!(svg.contains("fc6=64 (recommended)") && svg.contains("0.3 points below"), "{svg}");
        assert!(svg.contains("fc6=8 &lt;&amp;&gt;\\u{1b}"), "names are escaped");
        let empty = Sweep { rows: Vec::new(), recommended: 0, max_drop: 0.3, images: 0 };
        assert!(trade_off(&empty).is_ok());
    }

    #[test]
    fn classes_without_objects_have_no_curve() {
        let class = |name: &str, ap10| VocClass {
            name: name.into(),
            objects: 2,
            detections: 2,
            ap07: ap10,
            ap10,
            recall: vec![0.5, 1.0],
            precision: vec![1.0, 1.0],
        };
        let svg = precision_recall(&[class("cat", Some(1.0)), class("dog", None)]).unwrap();
        assert!(svg.contains("cat 1.000") && !svg.contains("dog"), "{svg}");
    }
}
