//! Plots as SVG.

use std::ops::Range;

use frcnn_core::Printable;
use frcnn_eval::VocClass;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::Error;
use crate::sweep::{Sweep, SweepRow};

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
/// Of lines that other values are held against.
const GREY: RGBColor = RGBColor(150, 150, 150);
/// Classes that a legend names at most: each has a colour of its own.
const NAMED: usize = COLOURS.len();
/// Width of a legend beside curves that may lie anywhere.
const ASIDE: u32 = 240;
/// Of the axis that several plots share.
const MAP: &str = "mAP, VOC10+, IoU 0.5 (points)";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Precision over recall of each class that has objects. Where there are many, those with the most objects are named, and the
/// others are grey.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn precision_recall(classes: &[VocClass]) -> Result<String, Error> {
    svg(|area| {
        let (left, right) = area.split_horizontally(SIZE.0 - ASIDE);
        let mut chart = axes(&left, None, (0.0..1.0, "recall"), (0.0..1.02, "precision"))?;
        let points = |class: &VocClass| {
            let points = class.recall.iter().copied().zip(class.precision.iter().copied());
            points.collect::<Vec<(f64, f64)>>()
        };
        let mut scored: Vec<&VocClass> = classes.iter().filter(|class| class.ap10.is_some()).collect();
        let others = if scored.len() > NAMED {
            scored.sort_by_key(|class| std::cmp::Reverse(class.objects));
            scored.split_off(NAMED)
        } else {
            Vec::new()
        };
        for class in &others {
            let light = GREY.mix(0.35).stroke_width(1);
            chart.draw_series(LineSeries::new(points(class), light)).map_err(failed)?;
        }
        let mut names = Vec::new();
        for (position, class) in scored.iter().enumerate() {
            let series = LineSeries::new(points(class), colour(position).stroke_width(2));
            chart.draw_series(series).map_err(failed)?;
            let name = format!("{} {:.3}", shortened(&class.name), class.ap10.unwrap_or_default());
            names.push((name, colour(position)));
        }
        if !others.is_empty() {
            names.push((format!("{} other classes", others.len()), GREY));
        }
        aside(&right, &names)
    })
}

/// A legend, line by line.
fn aside(area: &Area<'_>, names: &[(String, RGBColor)]) -> Result<(), Error> {
    for ((name, colour), y) in names.iter().zip((30..).step_by(24)) {
        area.draw(&PathElement::new([(0, y), (18, y)], colour.stroke_width(3))).map_err(failed)?;
        area.draw(&Text::new(name.as_str(), (26, y - 7), ("sans-serif", 14))).map_err(failed)?;
    }
    Ok(())
}

/// A name of a legend.
fn shortened(name: &str) -> String {
    let name = Printable(name).to_string();
    if name.chars().count() <= 24 { name } else { name.chars().take(23).chain(['…']).collect() }
}

/// mAP over time per image, the recommended setting marked, with the mAP below which too much is lost.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn trade_off(sweep: &Sweep) -> Result<String, Error> {
    let points: Vec<(f64, f64)> =
        sweep.rows.iter().map(|row| (row.total.as_secs_f64() * 1e3, row.map * 100.0)).collect();
    let limit = points.first().map_or(0.0, |whole| whole.1) - sweep.max_drop;
    let x = around(points.iter().map(|point| point.0));
    let y = around(points.iter().map(|point| point.1).chain([limit]));
    svg(|area| {
        let caption = Some("mAP against time per image");
        let mut chart = axes(area, caption, (x.clone(), "ms per image"), (y, MAP))?;
        let margin = (x.end - x.start) * 0.01;
        let note = format!("{} points below the network as it is", sweep.max_drop);
        level(&mut chart, limit, (x.start, x.end), note, margin)?;
        for (position, (row, &point)) in sweep.rows.iter().zip(&points).enumerate() {
            let setting = Printable(&row.setting);
            let (colour, radius, text) = match (position == sweep.recommended, position == sweep.fastest) {
                (true, true) => (colour(1), 7, format!("{setting} (recommended, fastest)")),
                (true, false) => (colour(1), 7, format!("{setting} (recommended)")),
                (false, true) => (colour(2), 7, format!("{setting} (fastest)")),
                (false, false) => (colour(0), 4, setting.to_string()),
            };
            marked(&mut chart, point, (colour, radius), text, margin)?;
        }
        Ok(())
    })
}

/// What a stream's frame takes, as a share of the time of a whole one, against the share of its cells that have changed: both 0
/// to 1, a curve for each part of a detection.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn reuse(curves: &[(&str, Vec<(f64, f64)>)]) -> Result<String, Error> {
    let times = curves.iter().flat_map(|(_, points)| points).map(|&(_, time)| time);
    let most = times.filter(|time| time.is_finite()).fold(1.0, f64::max);
    svg(|area| {
        let x = (0.0..1.0, "share of the cells that have changed");
        let y = (0.0..1.05 * most, "time, as a share of a whole frame's");
        let mut chart = axes(area, None, x, y)?;
        for (position, (name, points)) in curves.iter().enumerate() {
            let series = LineSeries::new(points.iter().copied(), colour(position).stroke_width(2));
            curve(&mut chart, series.point_size(3), Printable(name).to_string(), position)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}

/// mAP over the share of regions that cascades drop, a line for each rank of the judge, with the heads' time at each threshold.
///
/// # Errors
/// The SVG cannot be written, which no input causes.
pub fn cascades(sweep: &Sweep) -> Result<String, Error> {
    let point = |row: &SweepRow| (row.dropped.unwrap_or_default() * 100.0, row.map * 100.0);
    let whole = sweep.rows.first().map_or(0.0, |row| row.map * 100.0);
    let y = around(sweep.rows.iter().map(|row| row.map * 100.0).chain([whole - sweep.max_drop]));
    svg(|area| {
        let caption = Some("mAP against the share of regions that is dropped");
        let x = (0.0..112.0, "regions dropped (%); beside a point: threshold, and the heads' time");
        let mut chart = axes(area, caption, x, (y, MAP))?;
        let below = format!("{} points below", sweep.max_drop);
        for (points, note) in [(0.0, "no cascade".to_string()), (sweep.max_drop, below)] {
            level(&mut chart, whole - points, (0.0, 112.0), note, 1.0)?;
        }
        let mut settings: Vec<&SweepRow> = sweep.rows.iter().skip(1).collect();
        // Rows of an earlier sweep come first, whatever their ranks.
        settings.sort_by(|a, b| {
            let dropped = |row: &SweepRow| row.dropped.unwrap_or_default();
            a.ranks.cmp(&b.ranks).then(dropped(a).total_cmp(&dropped(b)))
        });
        for (position, of_rank) in settings.chunk_by(|a, b| a.ranks == b.ranks).enumerate() {
            let rank = of_rank.first().and_then(|row| row.ranks.first()).map_or(0, |(_, rank)| *rank);
            let series =
                LineSeries::new(of_rank.iter().map(|row| point(row)), colour(position).stroke_width(2));
            curve(&mut chart, series, format!("judge of rank {rank}"), position)?;
            for row in of_rank {
                let is_chosen =
                    sweep.rows.get(sweep.recommended).is_some_and(|chosen| chosen.setting == row.setting);
                let (radius, chosen) = if is_chosen { (7, " (recommended)") } else { (4, "") };
                let keep = row.setting.rsplit('=').next().unwrap_or_default();
                let text = format!("{keep}, {:.0} ms{chosen}", row.head.as_secs_f64() * 1e3);
                marked(&mut chart, point(row), (colour(position), radius), text, 1.0)?;
            }
        }
        if settings.is_empty() { Ok(()) } else { legend(&mut chart, SeriesLabelPosition::LowerLeft) }
    })
}

/// What is drawn on an empty page.
fn svg(draw: impl FnOnce(&Area<'_>) -> Result<(), Error>) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Axes with their ranges and what they show.
fn axes<'a, 'b>(
    area: &'a Area<'b>,
    caption: Option<&str>,
    (x, x_desc): (Range<f64>, &str),
    (y, y_desc): (Range<f64>, &str),
) -> Result<Chart<'a, 'b>, Error> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(14).x_label_area_size(38).y_label_area_size(52);
    if let Some(caption) = caption {
        builder.caption(caption, ("sans-serif", 18));
    }
    let mut chart = builder.build_cartesian_2d(x, y).map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x_desc)
        .y_desc(y_desc)
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

/// A line that the legend names.
fn curve<'a, 'b: 'a>(
    chart: &mut Chart<'a, 'b>,
    series: LineSeries<SVGBackend<'b>, (f64, f64)>,
    label: String,
    position: usize,
) -> Result<(), Error> {
    let colour = colour(position);
    chart
        .draw_series(series)
        .map_err(failed)?
        .label(label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    Ok(())
}

/// A value that others are held against, across the plot.
fn level(
    chart: &mut Chart<'_, '_>,
    height: f64,
    (from, to): (f64, f64),
    note: String,
    margin: f64,
) -> Result<(), Error> {
    chart
        .draw_series(LineSeries::new([(from, height), (to, height)], GREY.stroke_width(1)))
        .map_err(failed)?;
    text(chart, (from + margin, height), note, GREY)
}

/// A point with words on its right.
fn marked(
    chart: &mut Chart<'_, '_>,
    (x, y): (f64, f64),
    (colour, radius): (RGBColor, i32),
    words: String,
    margin: f64,
) -> Result<(), Error> {
    chart.draw_series([Circle::new((x, y), radius, colour.filled())]).map_err(failed)?;
    text(chart, (x + margin, y), words, colour)
}

fn text(chart: &mut Chart<'_, '_>, place: (f64, f64), words: String, colour: RGBColor) -> Result<(), Error> {
    let style = ("sans-serif", 12).into_font().color(&colour);
    chart.draw_series([Text::new(words, place, style)]).map_err(failed)?;
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Result<(), Error> {
    chart
        .configure_series_labels()
        .position(position)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Draw(error.to_string())
}

fn colour(position: usize) -> RGBColor {
    COLOURS.get(position % COLOURS.len()).copied().unwrap_or(BLACK)
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
            dropped: None,
            work: None,
        };
        let rows =
            vec![row("not factored", 90, 0.68), row("fc6=64", 60, 0.679), row("fc6=8 <&>\u{1b}", 50, 0.5)];
        let svg = trade_off(&Sweep::new(rows, 0.3, 72)).unwrap();
        assert!(svg.contains("not factored (recommended)") && svg.contains("fc6=64 (fastest)"), "{svg}");
        assert!(svg.contains("0.3 points below"), "{svg}");
        assert!(svg.contains("fc6=8 &lt;&amp;&gt;\\u{1b}"), "names are escaped");
        let empty = Sweep::new(Vec::new(), 0.3, 0);
        assert!(trade_off(&empty).is_ok());
    }

    #[test]
    fn a_curve_for_each_part() {
        let svg = reuse(&[("trunk", vec![(0.0, 0.01), (1.0, 1.2)]), ("head", Vec::new())]).unwrap();
        assert!(svg.contains("trunk") && svg.contains("have changed") && svg.contains("polyline"), "{svg}");
    }

    #[test]
    fn each_rank_of_a_judge_has_a_line() {
        let row = |setting: &str, rank, dropped, map| SweepRow {
            setting: setting.into(),
            ranks: vec![("judge".into(), rank)],
            parameters: 1,
            file_bytes: 1,
            head: Duration::from_millis(40),
            total: Duration::from_millis(90),
            map,
            drop: 100.0 * (0.68 - map),
            dropped: Some(dropped),
            work: Some(1.0 - dropped),
        };
        let rows = vec![
            SweepRow { ranks: Vec::new(), ..row("no cascade", 0, 0.0, 0.68) },
            row("rank=8,keep=0.1", 8, 0.6, 0.68),
            row("rank=8,keep=0.2", 8, 0.8, 0.67),
            row("rank=16,keep=0.1", 16, 0.7, 0.679),
        ];
        let svg = cascades(&Sweep::new(rows, 0.3, 72)).unwrap();
        for text in ["judge of rank 8", "judge of rank 16", "0.1, 40 ms (recommended)", "0.3 points below"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        let empty = Sweep::new(Vec::new(), 0.3, 0);
        assert!(cascades(&empty).is_ok());
    }

    #[test]
    fn classes_without_objects_have_no_curve() {
        let class = |name: &str, ap10| VocClass {
            name: name.into(),
            objects: 2,
            detections: 2,
            ap07: ap10,
            ap10,
            best_threshold: None,
            recall: vec![0.5, 1.0],
            precision: vec![1.0, 1.0],
        };
        let svg = precision_recall(&[class("cat", Some(1.0)), class("dog", None)]).unwrap();
        assert!(svg.contains("cat 1.000") && !svg.contains("dog"), "{svg}");
        assert!(precision_recall(&[class("dog", None)]).is_ok());
        // Of many classes those with the most objects are named.
        let many: Vec<VocClass> = (0..200)
            .map(|n| VocClass {
                objects: n,
                ..class(&format!("{}{n}", "very long name ".repeat(9)), Some(0.5))
            })
            .collect();
        let svg = precision_recall(&many).unwrap();
        assert!(svg.contains("193 other classes") && svg.len() < 200_000, "{}", svg.len());
        assert_eq!(svg.matches("very long name very lon…").count(), NAMED);
    }
}
