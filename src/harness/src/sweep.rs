//! How far the head's layers can be factored before the detector finds less.
//!
//! The paper's trade-off: truncated SVD of fc6 and fc7 makes VGG16's detection 30% faster for 0.3 points of mAP. Here each
//! setting is compiled, run over the same images on the same machine, and scored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use frcnn::{Bundle, Detector, Options, Timings};
use frcnn_compiler::{Compiled, Description, Svd, compile};
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
    /// Such as `fc6=256 fc7=64`, `energy 0.9` or `not factored`.
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
}

/// All settings' figures.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The network as it is, then the settings in their order.
    pub rows: Vec<SweepRow>,
    /// Position of the smallest bundle, or the cascade with the least work, that loses at most
    /// [`max_drop`](Sweep::max_drop).
    pub recommended: usize,
    /// In points of mAP.
    pub max_drop: f64,
    /// Images.
    pub images: usize,
}

/// What a sweep is doing.
#[derive(Clone, Copy, Debug)]
pub enum SweepStep<'a> {
    /// Compiling a setting.
    Compiling(&'a str),
    /// One more image is done.
    Image(&'a str),
}

/// Measures the network as it is and with each of `settings`.
///
/// # Errors
/// A setting does not fit the network, or an image fails: scores over other images would not compare.
pub fn sweep(
    subject: &Subject,
    settings: &[Svd],
    max_drop: f64,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<Sweep, Error> {
    let mut rows = Vec::new();
    for svd in std::iter::once(&Svd::None).chain(settings) {
        let (row, _) = measure(subject, svd, rows.first(), progress)?;
        rows.push(row);
    }
    Ok(Sweep {
        recommended: recommend(&rows, max_drop),
        rows,
        max_drop,
        images: subject.dataset.images.len(),
    })
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
    let (first, mut best) = measure(subject, &Svd::None, None, progress)?;
    let mut rows = vec![first];
    let mut too_lossy = 0;
    for energy in ENERGIES {
        let (row, compiled) = measure(subject, &Svd::Energy(energy), rows.first(), progress)?;
        too_lossy = if row.drop > max_drop { too_lossy + 1 } else { 0 };
        rows.push(row);
        if recommend(&rows, max_drop) == rows.len() - 1 {
            best = compiled;
        }
        if too_lossy == 2 {
            break;
        }
    }
    let sweep = Sweep {
        recommended: recommend(&rows, max_drop),
        rows,
        max_drop,
        images: subject.dataset.images.len(),
    };
    Ok((sweep, best))
}

/// The network as it is loses nothing, so there is always one.
fn recommend(rows: &[SweepRow], max_drop: f64) -> usize {
    let kept = rows.iter().enumerate().filter(|(_, row)| row.drop <= max_drop);
    // Of equal sizes the earlier: it keeps more.
    kept.min_by_key(|(position, row)| (row.file_bytes, *position)).map_or(0, |(position, _)| position)
}

fn measure(
    subject: &Subject,
    svd: &Svd,
    whole: Option<&SweepRow>,
    progress: &mut dyn FnMut(SweepStep) -> Result<(), Error>,
) -> Result<(SweepRow, Compiled), Error> {
    let setting = name(svd);
    progress(SweepStep::Compiling(&setting))?;
    let options = frcnn_compiler::Options { svd: svd.clone(), precision: subject.precision };
    let compiled = compile(subject.onnx, subject.description, &options, &mut |_| {})?;
    let (map, timings) = score(subject, &compiled.bundle, &mut || progress(SweepStep::Image(&setting)))?;
    let of = |stage: fn(&Timings) -> Duration| median(timings.iter().map(stage).collect());
    let report = &compiled.report;
    let row = SweepRow {
        ranks: report.factored.iter().map(|layer| (layer.layer.clone(), layer.rank)).collect(),
        parameters: report.cost.parameters,
        file_bytes: report.file_bytes,
        head: of(|timings| timings.head),
        total: of(Timings::total),
        map,
        drop: whole.map_or(0.0, |whole| (whole.map - map) * 100.0),
        dropped: None,
        setting,
    };
    Ok((row, compiled))
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
            ranks.iter().map(|(layer, rank)| format!("{layer}={rank}")).collect::<Vec<_>>().join(" ")
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

    fn row(file_bytes: u64, drop: f64) -> SweepRow {
        SweepRow {
            setting: String::new(),
            ranks: Vec::new(),
            parameters: 0,
            file_bytes,
            head: Duration::ZERO,
            total: Duration::ZERO,
            map: 0.5,
            drop,
            dropped: None,
        }
    }

    #[test]
    fn the_smallest_that_loses_little_is_recommended() {
        let rows = [row(100, 0.0), row(60, 0.1), row(40, 0.31), row(50, -0.2), row(50, 0.3), row(10, 5.0)];
        assert_eq!(recommend(&rows, 0.3), 3);
        assert_eq!(recommend(&rows, 0.4), 2);
        assert_eq!(recommend(&rows[..1], 0.0), 0);
    }

    #[test]
    fn every_combination_once() {
        let layers = [("fc6".to_string(), vec![4, 2]), ("fc7".to_string(), vec![3, 1])];
        let names: Vec<String> = combinations(&layers).iter().map(name).collect();
        assert_eq!(names, ["fc6=4 fc7=3", "fc6=4 fc7=1", "fc6=2 fc7=3", "fc6=2 fc7=1"]);
        assert!(combinations(&[]).is_empty());
    }
}
