//! A detector on a data set, as `frcnn eval` scores it.

use std::path::PathBuf;

use frcnn_eval::{Coco, Dataset, Detection, Voc, coco, voc};
use frcnn_harness::{Finished, page, run};
use serde::{Deserialize, Serialize};

use crate::call::{Call, Reply};
use crate::dataset::{self, load};
use crate::detector::Detector;
use crate::error::{Failure, Kind};
use crate::held::{held, hold};
use crate::pool::pool;

/// What was found, and how good it is.
struct Evaluation {
    title: String,
    dataset: Dataset,
    detections: Vec<Detection>,
    voc: Voc,
    coco: Coco,
}

/// What `frcnn eval --json` writes.
#[derive(Serialize)]
struct Report<'a> {
    images: usize,
    objects: usize,
    detections: usize,
    voc: &'a Voc,
    coco: &'a Coco,
}

#[derive(Deserialize)]
struct Arguments {
    detector: u64,
    data: PathBuf,
    split: String,
    /// Images side by side.
    workers: usize,
    /// Overlap above which VOC counts an object as found.
    iou: f64,
}

/// The page of `frcnn eval --html`, where detections of a least score are drawn.
pub(crate) fn html(call: &Call) -> Result<Reply, Failure> {
    let (evaluated, min_score): (u64, f64) = call.arguments()?;
    let Evaluation { title, dataset, detections, voc, coco } = &*held::<Evaluation>(evaluated)?;
    Reply::of(&page::evaluation(&page::Evaluation { title, dataset, detections, voc, coco, min_score })?)
}

/// Runs a detector over a data set; the evaluation, what `frcnn eval --json` writes, and doubts about the data set.
pub(crate) fn evaluate(call: &Call) -> Result<Reply, Failure> {
    let Arguments { detector, data, split, workers, iou } = call.arguments()?;
    if !(0.0..1.0).contains(&iou) {
        let problem = format_args!("iou must be at least 0 and below 1, not {iou}");
        return Err(Failure::new(Kind::Option, problem));
    }
    let detector = held::<Detector>(detector)?;
    detector.check_process()?;
    let (evaluated, doubts) = evaluated(&detector, data, &split, workers, iou)?;
    let Evaluation { dataset, detections, voc, coco, .. } = &evaluated;
    let (images, objects) = (dataset.images.len(), dataset.truths.len());
    let report = Report { images, objects, detections: detections.len(), voc, coco };
    let report = serde_json::to_value(&report).map_err(|error| Failure::new(Kind::Any, error))?;
    Reply::of(&(hold(evaluated), report, doubts))
}

fn evaluated(
    Detector { detector, path, .. }: &Detector,
    data: PathBuf,
    split: &str,
    workers: usize,
    iou: f64,
) -> Result<(Evaluation, Vec<String>), Failure> {
    let pool = pool("workers", workers)?;
    let (dataset, doubts) = dataset::open(&data, split, &detector.manifest().classes)?;
    let detections = detected(detector, &dataset, workers)?;
    let (voc, coco) = pool.install(|| (voc(&dataset, &detections, iou), coco(&dataset, &detections)));
    let title = format!("{} on {} {split}", path.display(), data.display());
    Ok((Evaluation { title, dataset, detections, voc, coco }, doubts))
}

fn detected(
    detector: &frcnn::Detector,
    dataset: &Dataset,
    workers: usize,
) -> Result<Vec<Detection>, Failure> {
    let all: Vec<usize> = (0..dataset.images.len()).collect();
    let mut found: Vec<Vec<Detection>> = vec![Vec::new(); all.len()];
    let photo = |image: &frcnn_eval::Image| load(&image.path, detector.has_rpn(), None);
    run(detector, dataset, &all, workers, photo, |Finished { position, image, outcome }| {
        if let Some(place) = found.get_mut(position) {
            *place = outcome?.0.detections(dataset, position, &image.path)?;
        }
        Ok(())
    })?;
    // In the order of the images, whichever was finished first.
    Ok(found.concat())
}
