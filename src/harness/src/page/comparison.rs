//! The page of a comparison: stages, histograms, and both sides' boxes with a slider between them.

use askama::Template;
use frcnn_eval::{Difference, Drift, Found, Measure, Role, StageResult, UlpHistogram, roles};

use super::overlay::{Mark, Picture};
use super::{label, small};
use crate::Error;
use crate::compare::{Comparison, DetectionResult};

/// Relative errors from 1e-10 to 1 on a logarithmic axis this long.
const AXIS: f64 = 160.0;
/// Height of a histogram.
const HEIGHT: f64 = 36.0;
/// Width of a histogram's column, with the gap behind it.
const COLUMN: usize = 8;
/// Columns of a histogram that have a tick, and what it says: the smallest distance of the column, 2^(column - 1).
const TICKS: [(usize, &str); 8] =
    [(0, "0"), (1, "1"), (5, "16"), (9, "256"), (13, "4k"), (17, "66k"), (21, "1M"), (24, "8M+")];
/// Width at which a photo is shown, in CSS pixels, and the height of the letters on it.
const SHOWN: (f64, f64) = (900.0, 12.0);

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    title: &'a str,
    images: Vec<Image<'a>>,
    /// Of the histograms: places and what they say.
    ticks: [(f64, &'static str); TICKS.len()],
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
    /// A class of the style sheet, and what is said beside the name.
    role: (&'static str, &'static str),
    shape: String,
    max_abs: String,
    relative: String,
    norm: String,
    alone: String,
    cosine: String,
    tolerance: String,
    worst: String,
    bar: Bar,
    ulps: Histogram,
}

/// Places on the axis of relative errors.
struct Bar {
    mean: f64,
    /// Mean and one standard deviation.
    deviation: f64,
    max: f64,
    /// None of a norm, which is no error of an element.
    tolerance: Option<f64>,
}

struct Histogram {
    columns: Vec<Column>,
    /// Heights of counts that are powers of ten, and the counts.
    counts: Vec<(f64, String)>,
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
    /// Largest and mean drift of scores, largest of corners, smallest IoU; none where nothing matched.
    drift: Option<[String; 4]>,
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
    let ticks = TICKS.map(|(column, text)| ((column * COLUMN) as f64 + 3.5, text));
    let page = Page { title, images, ticks };
    super::rendered(&page)
}

fn image<'a>(
    name: &'a str,
    comparison: &'a Comparison,
    class_name: &dyn Fn(u16) -> String,
) -> Result<Image<'a>, Error> {
    let detections = comparison.detections.as_ref();
    let roles = roles(&comparison.stages);
    Ok(Image {
        name,
        comparison,
        agrees: comparison.agrees(),
        stages: comparison.stages.iter().zip(roles).map(|(result, role)| stage(result, role)).collect(),
        detections: detections.map(|result| of_detections(result, comparison, class_name)).transpose()?,
        provenance: provenance(comparison),
    })
}

fn stage(result: &StageResult, role: Role) -> StageRow<'_> {
    let Difference { shape, max_abs, mean_abs, std_abs, largest, relative, norm, cosine, nan, ulps, worst } =
        &result.difference;
    let share = |error: f64| if error == 0.0 { 0.0 } else { error / largest };
    let at = |error: f64| {
        let decades = error.max(1e-10).log10() + 10.0;
        (decades / 10.0 * AXIS).clamp(0.0, AXIS)
    };
    let mut worst = worst.as_ref().map_or("all equal".to_string(), |worst| {
        let index: Vec<String> = worst.index.iter().map(usize::to_string).collect();
        format!("[{}]: {} and {}", index.join(", "), worst.reference, worst.found)
    });
    if *nan != [0, 0] {
        worst += &format!("; NaN: {} and {} elements", nan[0], nan[1]);
    }
    StageRow {
        name: &result.stage,
        role: match role {
            Role::Agrees => ("agrees", ""),
            Role::Begins => ("begins", "begins here"),
            Role::Follows => ("follows", "follows"),
            Role::Beyond => ("beyond", "beyond"),
        },
        shape: shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        max_abs: small(*max_abs),
        relative: small(*relative),
        norm: small(*norm),
        alone: result.alone.as_ref().map_or(String::new(), |alone| small(result.measure.of(alone))),
        cosine: format!("{cosine:.8}"),
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
                Measure::Largest => Some(at(result.tolerance)),
                Measure::Norm => None,
            },
        },
        ulps: histogram(ulps),
    }
}

/// Heights are logarithmic: one element in a million must be seen.
fn histogram(ulps: &UlpHistogram) -> Histogram {
    let height = |count: u64| (count as f64 + 1.0).log10();
    let most = ulps.counts.iter().copied().max().unwrap_or(0);
    let tall = |count: u64| height(count) / height(most).max(1e-9) * HEIGHT;
    let column = |(bucket, &count): (usize, &u64)| {
        let (from, to) = (UlpHistogram::from(bucket), UlpHistogram::from(bucket + 1) - 1);
        let range = match bucket {
            _ if bucket + 1 == UlpHistogram::BUCKETS => format!("{from} and more"),
            0 | 1 => from.to_string(),
            _ => format!("{from} to {to}"),
        };
        Column {
            x: bucket * COLUMN,
            y: HEIGHT - tall(count),
            height: tall(count),
            title: format!("{range} ulp: {count} elements"),
        }
    };
    // At most two: the largest power of ten that is reached, and that of half its digits.
    let digits = most.checked_ilog10().unwrap_or(0);
    let powers = if digits < 2 { vec![digits] } else { vec![digits / 2, digits] };
    let power = |digits: u32| (HEIGHT - tall(10u64.pow(digits)), short(10u64.pow(digits)));
    Histogram {
        columns: ulps.counts.iter().enumerate().map(column).collect(),
        counts: if most == 0 { Vec::new() } else { powers.into_iter().map(power).collect() },
    }
}

/// A power of ten in four characters at most: `10`, `1k`, `100M`.
fn short(power: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
    let unit = units.into_iter().find(|&(unit, _)| power >= unit);
    unit.map_or(power.to_string(), |(unit, name)| format!("{}{name}", power / unit))
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
            place: None,
        };
        let mut marks: Vec<Mark> = list.iter().enumerate().map(mark).collect();
        label::place(&mut marks, comparison.size, f64::from(comparison.size.0) / SHOWN.0 * SHOWN.1);
        marks
    };
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
        drift: drift(&result.drift),
    })
}

fn drift(drift: &Drift) -> Option<[String; 4]> {
    let of = |value: Option<f32>| value.map(|value| small(f64::from(value)));
    let iou = format!("{:.6}", drift.min_iou?);
    Some([of(drift.max_score)?, of(drift.mean_score)?, of(drift.max_corner)?, iou])
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

#[cfg(test)]
mod tests {
    use frcnn_eval::{Tensor, difference};

    use super::*;
    use crate::Provenance;

    fn stage(name: &str, error: f32, alone: f32) -> StageResult {
        let of = |error: f32| {
            let tensor = |v: f32| Tensor { shape: vec![2], data: vec![1.0, v] };
            difference(&tensor(0.5), &tensor(0.5 + error)).unwrap()
        };
        StageResult {
            stage: name.into(),
            difference: of(error),
            alone: Some(of(alone)),
            alone_from: None,
            tolerance: 1e-4,
            measure: Measure::Largest,
        }
    }

    fn page(stages: Vec<StageResult>, detections: Option<DetectionResult>) -> String {
        let comparison = Comparison {
            sides: ["gpu", "cpu"].map(|name| Provenance { name: name.into(), facts: Vec::new() }),
            verdict: frcnn_eval::explain(&stages),
            stages,
            not_compared: Vec::new(),
            detections,
            picture: Some(image::RgbImage::new(60, 40)),
            size: (60, 40),
        };
        let class_name = |class: u16| format!("<script>alert({class})</script> 🐈");
        super::comparison("a & b", &[("photo.png".to_string(), comparison)], &class_name).unwrap()
    }

    fn detections(found_at: f32) -> DetectionResult {
        let found =
            |x: f32| Found { class_id: 1, score: 0.5, bbox: frcnn::BBox::new(x, 5.0, x + 19.0, 24.0) };
        let (reference, found) = (vec![found(0.0)], vec![found(found_at)]);
        let pairs = frcnn_eval::pair(&reference, &found, 0.5, 1.0);
        let drift = Drift::new(&reference, &found, &pairs);
        DetectionResult { reference, found, pairs, drift }
    }

    #[test]
    fn the_stage_where_the_difference_begins_is_marked_and_what_follows_is_grey() {
        let stages = [("conv", 0.0, 0.0), ("pool5", 0.1, 0.1), ("fc6", 0.1, 0.0), ("fc7", 0.1, 0.1)];
        let page = page(stages.map(|(name, error, alone)| stage(name, error, alone)).to_vec(), None);
        for (name, class) in [("conv", "agrees"), ("pool5", "begins"), ("fc6", "follows"), ("fc7", "beyond")]
        {
            assert!(page.contains(&format!("<tr class=\"{class}\"><td>{name}")), "{name}: {page}");
        }
        assert_eq!(page.matches("begins here").count(), 2, "in its row, and where it is explained");
        assert!(page.contains(">8M+</text>") && page.contains(">1e-6</text>"));
        let agree = super::tests::page(vec![stage("conv", 0.0, 0.0)], None);
        assert!(!agree.contains("begins here"));
    }

    #[test]
    fn nothing_that_matched_is_said_and_names_do_not_act() {
        let apart = page(vec![stage("conv", 0.0, 0.0)], Some(detections(40.0)));
        assert!(apart.contains("<td colspan=\"4\" class=\"text\">none matched</td>"), "{apart}");
        let together = page(vec![stage("conv", 0.0, 0.0)], Some(detections(0.0)));
        assert!(!together.contains("none matched") && together.contains("<td>1.000000</td>"));
        assert!(!apart.contains("<script>alert") && apart.contains("🐈 0.500"));
    }

    #[test]
    fn nan_is_told() {
        let tensor = Tensor { shape: vec![2], data: vec![1.0, f32::NAN] };
        let broken =
            StageResult { difference: difference(&tensor, &tensor).unwrap(), ..stage("conv", 0.0, 0.0) };
        let page = page(vec![broken], None);
        assert!(
            page.contains("NaN and NaN; NaN: 1 and 1 elements") && page.contains("class=\"begins\""),
            "{page}"
        );
    }

    #[test]
    fn counts_have_an_axis_of_powers_of_ten() {
        let mut ulps = UlpHistogram { counts: [0; UlpHistogram::BUCKETS] };
        assert!(histogram(&ulps).counts.is_empty());
        ulps.counts[0] = 2_000_000;
        ulps.counts[24] = 1;
        let drawn = histogram(&ulps);
        let names: Vec<&str> = drawn.counts.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["1k", "1M"]);
        assert!(drawn.columns[24].height > 1.0, "one of two million is seen");
        assert_eq!([1, 10, 1000, 100_000_000].map(short), ["1", "10", "1k", "100M"]);
    }
}
