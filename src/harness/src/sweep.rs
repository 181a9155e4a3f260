//! How far the head's layers can be factored before the detector finds less.
//!
//! The paper's trade-off: truncated SVD of fc6 and fc7 makes VGG16's detection 30% faster for 0.3 points of mAP. Here each
//! setting is compiled, run over the same images on the same machine, and scored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use frcnn::{Bundle, Detector, Options, Timings};
use frcnn_compiler::{Compiled, Description, Svd, compile};
use frcnn_core::Printable;
use frcnn_eval::{Dataset, Detection, Image, voc};
use serde::{Serialize, Serializer};

use crate::Error;
use crate::run::{Finished, Loaded, median, run};

/// Overlap at which settings are scored.
const IOU: f64 = 0.5;
/// Shares of energy that [`choose`] tries, in this order.
const ENERGIES: [f64; 9] = [0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5];

/// What is compiled and run.
pub struct Subject<'a> {
    /// The trained network.
    pub onnx: &'a Path,
    /// What is said of it beside that.
    pub description: &'a Description,
    /// What its weights are stored as.
    pub precision: frcnn_compiler::Precision,
    /// What it is scored on.
    pub dataset: &'a Dataset,
    /// Threads that work on one image.
    pub threads: Option<usize>,
    /// Gives pixels of an image and its boxes, unless the network, which then has an RPN, is to make them.
    pub load: &'a (dyn Fn(&Image, bool) -> Result<Loaded, Error> + Sync),
}

/// One setting's figures.
#[derive(Clone, Debug, Serialize)]
pub struct SweepRow {
    /// Such as `fc6=256 fc7=64`, `energy 0.9` or `not factored`; printable, and one of a kind.
    pub setting: String,
    /// The layers that were factored, and their ranks.
    pub ranks: Vec<(String, usize)>,
    /// Of all layers.
    pub parameters: u64,
    /// Of the bundle.
    pub file_bytes: u64,
    /// Median time of the head per image.
    #[serde(rename = "head_ms", serialize_with = "as_ms")]
    pub head: Duration,
    /// Median time per image, from pixels to detections.
    #[serde(rename = "total_ms", serialize_with = "as_ms")]
    pub total: Duration,
    /// VOC10+ mAP at IoU 0.5, in 0..=1.
    pub map: f64,
    /// Points of mAP lost to the network as it is: `100 (map of the first row - map)`.
    pub drop: f64,
    /// Of a sweep over cascades: the share of regions that is dropped. Its head times are those of RoI pooling, judge and head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<f64>,
    /// Of a sweep over cascades: what the judge takes of the head's time, by a model of this CPU, and the share of regions that stay.
    /// 1 is the head on all regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<f64>,
}

impl SweepRow {
    /// What is kept small: the work of a cascade, or the bundle.
    fn size(&self) -> f64 {
        self.work.unwrap_or(self.file_bytes as f64)
    }
}

/// All settings' figures.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The network as it is, then the settings in their order.
    pub rows: Vec<SweepRow>,
    /// Position of the smallest bundle, or the cascade with the least work, that loses at most
    /// [`max_drop`](Sweep::max_drop).
    pub recommended: usize,
    /// Position of the one with the shortest [`total`](SweepRow::total) that loses at most that.
    pub fastest: usize,
    /// In points of mAP.
    pub max_drop: f64,
    /// Images.
    pub images: usize,
}

impl Sweep {
    /// Judges rows of which the first is the network as it is.
    pub fn new(rows: Vec<SweepRow>, max_drop: f64, images: usize) -> Sweep {
        let recommended = least(&rows, max_drop, SweepRow::size);
        let fastest = least(&rows, max_drop, |row| row.total.as_secs_f64());
        Sweep { rows, recommended, fastest, max_drop, images }
    }
}

/// The position of the row that loses little and has the least of something; of equal ones the first, which keeps more. The network
/// as it is loses nothing, so there is always one.
fn least(rows: &[SweepRow], max_drop: f64, of: impl Fn(&SweepRow) -> f64) -> usize {
    let kept = rows.iter().enumerate().filter(|(_, row)| row.drop <= max_drop);
    kept.min_by(|a, b| of(a.1).total_cmp(&of(b.1))).map_or(0, |(position, _)| position)
}

/// What a sweep is doing.
#[derive(Clone, Copy, Debug)]
pub enum SweepStep<'a> {
    /// Compiling a setting.
    Compiling(&'a str),
    /// One more image is done.
    Image(&'a str),
    /// One more setting is measured, the last of these.
    Measured(&'a [SweepRow]),
}

/// Measures the network as it is and with each of `settings`. What `known` gives of the network as it is compiled has been measured
/// already: its first row is the network as it is, and its settings are not measured anew.
///
/// # Errors
/// A setting does not fit the network, or an image fails: scores over other images would not compare. The network as it is finds no
/// object. Those of `known`.
pub fn sweep(
    subject: &Subject,
    settings: &[Svd],
    max_drop: f64,
    known: &mut dyn FnMut(&Bundle) -> Result<Vec<SweepRow>, Error>,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<Sweep, Error> {
    let whole = compiled(subject, &Svd::None, progress)?;
    let mut rows = known(&whole.bundle)?;
    if rows.is_empty() {
        rows.push(measure(subject, &Svd::None, &whole, None, progress)?);
        progress(SweepStep::Measured(&rows))?;
    }
    finds_something("sweep", &rows)?;
    for svd in settings {
        let setting = name(svd);
        if rows.iter().any(|row| row.setting == setting) {
            continue;
        }
        let compiled = compiled(subject, svd, progress)?;
        rows.push(measure(subject, svd, &compiled, rows.first(), progress)?);
        progress(SweepStep::Measured(&rows))?;
    }
    Ok(Sweep::new(rows, max_drop, subject.dataset.images.len()))
}

/// Finds the smallest bundle that loses at most `max_drop` points, by keeping less and less energy until two settings in
/// a row lose more.
///
/// # Errors
/// As [`sweep`].
pub fn choose(
    subject: &Subject,
    max_drop: f64,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<(Sweep, Compiled), Error> {
    let mut best = compiled(subject, &Svd::None, progress)?;
    let mut rows = vec![measure(subject, &Svd::None, &best, None, progress)?];
    finds_something("--svd auto", &rows)?;
    let mut too_lossy = 0;
    for svd in ENERGIES.map(Svd::Energy) {
        let compiled = compiled(subject, &svd, progress)?;
        let row = measure(subject, &svd, &compiled, rows.first(), progress)?;
        too_lossy = if row.drop > max_drop { too_lossy + 1 } else { 0 };
        rows.push(row);
        progress(SweepStep::Measured(&rows))?;
        if least(&rows, max_drop, SweepRow::size) == rows.len() - 1 {
            best = compiled;
        }
        if too_lossy == 2 {
            break;
        }
    }
    Ok((Sweep::new(rows, max_drop, subject.dataset.images.len()), best))
}

/// Refuses to choose by a score that cannot fall: that of the network as it is, the first row.
pub(crate) fn finds_something(what: &str, rows: &[SweepRow]) -> Result<(), Error> {
    if rows.first().is_none_or(|whole| whole.map > 0.0) {
        return Ok(());
    }
    Err(Error::Stage(format!(
        "{what}: the network finds none of the objects that the data set has (mAP 0), so nothing can be chosen by it: are these photos \
         of what the network is for, and is its manifest right?"
    )))
}

fn compiled(
    subject: &Subject,
    svd: &Svd,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<Compiled, Error> {
    progress(SweepStep::Compiling(&name(svd)))?;
    let options = frcnn_compiler::Options { svd: svd.clone(), precision: subject.precision };
    Ok(compile(subject.onnx, subject.description, &options, &mut |_| {})?)
}

fn measure(
    subject: &Subject,
    svd: &Svd,
    compiled: &Compiled,
    whole: Option<&SweepRow>,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<SweepRow, Error> {
    let setting = name(svd);
    let (map, timings) = score(subject, &compiled.bundle, &mut || progress(SweepStep::Image(&setting)))?;
    let of = |stage: fn(&Timings) -> Duration| median(timings.iter().map(stage).collect());
    let report = &compiled.report;
    Ok(SweepRow {
        ranks: report.factored.iter().map(|layer| (layer.layer.clone(), layer.rank)).collect(),
        parameters: report.cost.parameters,
        file_bytes: report.file_bytes,
        head: of(|timings| timings.head),
        total: of(Timings::total),
        map,
        drop: whole.map_or(0.0, |whole| (whole.map - map) * 100.0),
        dropped: None,
        work: None,
        setting,
    })
}

/// VOC10+ mAP, and every image's timings.
fn score(
    subject: &Subject,
    bundle: &Arc<Bundle>,
    progress: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<(f64, Vec<Timings>), Error> {
    let options = Options { threads: subject.threads, ..Options::default() };
    let detector = Detector::new(bundle.clone(), &options)?;
    let dataset = subject.dataset;
    let all: Vec<usize> = (0..dataset.images.len()).collect();
    let mut timings = Vec::new();
    let mut detections: Vec<Detection> = Vec::new();
    // One image at a time: others beside it would be measured, too.
    let load = |image: &Image| (subject.load)(image, detector.has_rpn());
    run(&detector, dataset, &all, 1, load, |Finished { position, image, outcome }| {
        let (found, timing) = outcome?;
        detections.extend(found.detections(dataset, position, &image.path)?);
        timings.push(timing);
        progress()
    })?;
    let map = voc(dataset, &detections, IOU).map10;
    let nothing = || Error::file(&PathBuf::from("data set"), "has no object of any class to score with");
    Ok((map.ok_or_else(nothing)?, timings))
}

fn name(svd: &Svd) -> String {
    match svd {
        Svd::None => "not factored".to_string(),
        Svd::Energy(energy) => format!("energy {energy}"),
        Svd::Ranks(ranks) => {
            let of = |(layer, rank): &(String, usize)| format!("{}={rank}", Printable(layer));
            ranks.iter().map(of).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Every combination of the ranks of the layers, the last layer's changing first.
pub fn combinations(layers: &[(String, Vec<usize>)]) -> Vec<Svd> {
    let mut settings: Vec<Vec<(String, usize)>> = vec![Vec::new()];
    for (layer, ranks) in layers {
        let with = |setting: &Vec<(String, usize)>, rank: usize| {
            [setting.as_slice(), &[(layer.clone(), rank)]].concat()
        };
        settings =
            settings.iter().flat_map(|setting| ranks.iter().map(move |&rank| with(setting, rank))).collect();
    }
    settings.into_iter().filter(|setting| !setting.is_empty()).map(Svd::Ranks).collect()
}

fn as_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file_bytes: u64, ms: u64, drop: f64) -> SweepRow {
        SweepRow {
            setting: String::new(),
            ranks: Vec::new(),
            parameters: 0,
            file_bytes,
            head: Duration::ZERO,
            total: Duration::from_millis(ms),
            map: 0.5,
            drop,
            dropped: None,
            work: None,
        }
    }

    #[test]
    fn the_smallest_and_the_fastest_of_those_that_lose_little() {
        let rows = [
            row(100, 9, 0.0),
            row(60, 7, 0.1),
            row(40, 5, 0.31),
            row(50, 8, -0.2),
            row(50, 7, 0.3),
            row(10, 1, 5.0),
            row(5, 1, f64::NAN),
        ];
        let judged = |rows: &[SweepRow], max_drop| {
            let sweep = Sweep::new(rows.to_vec(), max_drop, 1);
            (sweep.recommended, sweep.fastest)
        };
        assert_eq!(judged(&rows, 0.3), (3, 1));
        assert_eq!(judged(&rows, 0.4), (2, 2));
        assert_eq!((judged(&rows[..1], 0.0), judged(&[], 0.3)), ((0, 0), (0, 0)));
        // Of cascades the size is all one.
        let works = [(9, 1.0), (8, 0.7), (7, 0.8)]
            .map(|(ms, work)| SweepRow { work: Some(work), ..row(50, ms, 0.0) });
        assert_eq!(judged(&works, 0.3), (1, 2));
    }

    #[test]
    fn every_combination_once() {
        let layers = [("fc6".to_string(), vec![4, 2]), ("fc7".to_string(), vec![3, 1])];
        let names: Vec<String> = combinations(&layers).iter().map(name).collect();
        assert_eq!(names, ["fc6=4 fc7=3", "fc6=4 fc7=1", "fc6=2 fc7=3", "fc6=2 fc7=1"]);
        assert!(combinations(&[]).is_empty());
    }
}
