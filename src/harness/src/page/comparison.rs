//! The page of a comparison: stages, histograms, and both sides' boxes with a slider between them.

use askama::Template;
use frcnn_eval::{Difference, Found, Measure, StageResult, UlpHistogram};

use super::overlay::{Mark, Picture};
use super::small;
use crate::Error;
use crate::compare::{Comparison, DetectionResult};

/// Relative errors from 1e-10 to 1 on a logarithmic axis this long.
const AXIS: f64 = 220.0;
/// Height of a histogram.
const HEIGHT: f64 = 36.0;

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    title: &'a str,
    images: Vec<Image<'a>>,
}

struct Image<'a> {
    name: &'a str,
    comparison: &'a Comparison,
    agrees: bool,
    stages: Vec<StageRow<'a>>,
    detections: Option<Detections<'a>>,
    /// Facts of both sides.
    provenance: Vec<(String, [String; 2])>,
}

struct StageRow<'a> {
    name: &'a str,
    agrees: bool,
    shape: String,
    max_abs: String,
    relative: String,
    norm: String,
    alone: String,
    cosine: String,
    tolerance: String,
    worst: String,
    bar: Bar,
    ulps: Vec<Column>,
}

/// Left of what is shown of the axis.
const OUTSIDE: f64 = -10.0;

/// Places on the axis of relative errors.
struct Bar {
    mean: f64,
    /// Mean and one standard deviation.
    deviation: f64,
    max: f64,
    tolerance: f64,
}

struct Column {
    x: usize,
    y: f64,
    height: f64,
    title: String,
}

struct Detections<'a> {
    result: &'a DetectionResult,
    picture: Option<Picture>,
    reference: Vec<Mark>,
    found: Vec<Mark>,
    max_score: String,
    mean_score: String,
    max_corner: String,
    min_iou: String,
}

/// Writes the page of one or more images, each with its name. `class_name` names the classes of boxes.
///
/// # Errors
/// A picture cannot be encoded.
pub fn comparison(
    title: &str,
    images: &[(String, Comparison)],
    class_name: &dyn Fn(u16) -> String,
) -> Result<String, Error> {
    let images = images.iter().map(|(name, comparison)| image(name, comparison, class_name));
    let images = images.collect::<Result<_, _>>()?;
    let page = Page { title, images };
    super::rendered(&page)
}

fn image<'a>(
    name: &'a str,
    comparison: &'a Comparison,
    class_name: &dyn Fn(u16) -> String,
) -> Result<Image<'a>, Error> {
    let detections = comparison.detections.as_ref();
    Ok(Image {
        name,
        comparison,
        agrees: comparison.agrees(),
        stages: comparison.stages.iter().map(stage).collect(),
        detections: detections.map(|result| of_detections(result, comparison, class_name)).transpose()?,
        provenance: provenance(comparison),
    })
}

fn stage(result: &StageResult) -> StageRow<'_> {
    let Difference { shape, max_abs, mean_abs, std_abs, largest, relative, norm, cosine, ulps, worst } =
        &result.difference;
    let share = |error: f64| if error == 0.0 { 0.0 } else { error / largest };
    let at = |error: f64| {
        let decades = error.max(1e-10).log10() + 10.0;
        (decades / 10.0 * AXIS).clamp(0.0, AXIS)
    };
    let worst = worst.as_ref().map_or("all equal".to_string(), |worst| {
        let index: Vec<String> = worst.index.iter().map(usize::to_string).collect();
        format!("[{}]: {} and {}", index.join(", "), worst.reference, worst.found)
    });
    StageRow {
        name: &result.stage,
        agrees: result.agrees(),
        shape: shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        max_abs: small(*max_abs),
        relative: small(*relative),
        norm: small(*norm),
        alone: result.alone.as_ref().map_or(String::new(), |alone| small(result.measure.of(alone))),
        cosine: format!("{cosine:.9}"),
        tolerance: match result.measure {
            Measure::Largest => small(result.tolerance),
            Measure::Norm => format!("norm {}", small(result.tolerance)),
        },
        worst,
        bar: Bar {
            mean: at(share(*mean_abs)),
            deviation: at(share(mean_abs + std_abs)),
            max: at(*relative),
            tolerance: match result.measure {
                Measure::Largest => at(result.tolerance),
                Measure::Norm => OUTSIDE,
            },
        },
        ulps: columns(ulps),
    }
}

/// Heights are logarithmic: one element in a million must be seen.
fn columns(ulps: &UlpHistogram) -> Vec<Column> {
    let height = |count: u64| (count as f64 + 1.0).log10();
    let highest =
        ulps.counts.iter().map(|&count| height(count)).max_by(f64::total_cmp).unwrap_or(0.0).max(1e-9);
    let column = |(bucket, &count): (usize, &u64)| {
        let tall = height(count) / highest * HEIGHT;
        let (from, to) = (UlpHistogram::from(bucket), UlpHistogram::from(bucket + 1) - 1);
        let range = match bucket {
            _ if bucket + 1 == UlpHistogram::BUCKETS => format!("{from} and more"),
            0 | 1 => from.to_string(),
            _ => format!("{from} to {to}"),
        };
        Column {
            x: bucket * 8,
            y: HEIGHT - tall,
            height: tall,
            title: format!("{range} ulp: {count} elements"),
        }
    };
    ulps.counts.iter().enumerate().map(column).collect()
}

fn of_detections<'a>(
    result: &'a DetectionResult,
    comparison: &Comparison,
    class_name: &dyn Fn(u16) -> String,
) -> Result<Detections<'a>, Error> {
    let marks = |list: &[Found], paired: &dyn Fn(usize) -> bool, style: &'static str, alone: &'static str| {
        let mark = |(position, found): (usize, &Found)| Mark {
            x: f64::from(found.bbox.x1),
            y: f64::from(found.bbox.y1),
            width: f64::from(found.bbox.width(1.0)).max(1.0),
            height: f64::from(found.bbox.height(1.0)).max(1.0),
            label: format!("{} {:.3}", class_name(found.class_id), found.score),
            style: if paired(position) { style } else { alone },
        };
        list.iter().enumerate().map(mark).collect::<Vec<Mark>>()
    };
    let drift = &result.drift;
    let picture = comparison.picture.as_ref().map(|pixels| Picture::of(pixels, comparison.size));
    Ok(Detections {
        result,
        picture: picture.transpose()?,
        reference: marks(
            &result.reference,
            &|p| result.pairs.iter().any(|pair| pair.reference == p),
            "left",
            "missed",
        ),
        found: marks(&result.found, &|p| result.pairs.iter().any(|pair| pair.found == p), "right", "wrong"),
        max_score: small(f64::from(drift.max_score)),
        mean_score: small(f64::from(drift.mean_score)),
        max_corner: small(f64::from(drift.max_corner)),
        min_iou: format!("{:.6}", drift.min_iou),
    })
}

fn provenance(comparison: &Comparison) -> Vec<(String, [String; 2])> {
    let [reference, found] = &comparison.sides;
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in reference.facts.iter().chain(&found.facts) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let value = |side: &crate::Provenance, name: &str| side.get(name).unwrap_or("–").to_string();
    names.into_iter().map(|name| (name.clone(), [value(reference, name), value(found, name)])).collect()
}
