//! The page of an evaluation: scores, curves, and the worst images.

use askama::Template;
use frcnn_eval::{Coco, Dataset, Detection, MistakeKind, Voc, mistakes};

use super::overlay::{Mark, Picture};
use super::score;
use crate::{Error, plot};

/// Images that are shown.
const WORST: usize = 12;

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Such as the detector's and the split's names.
    pub title: &'a str,
    /// What was scored on.
    pub dataset: &'a Dataset,
    /// What was scored.
    pub detections: &'a [Detection],
    /// VOC's scores.
    pub voc: &'a Voc,
    /// COCO's.
    pub coco: &'a Coco,
    /// Only detections of at least this score are drawn.
    pub min_score: f64,
}

#[derive(Template)]
#[template(path = "evaluation.html")]
struct Page<'a> {
    title: &'a str,
    images: usize,
    objects: usize,
    detections: usize,
    iou: f64,
    map07: String,
    map10: String,
    classes: Vec<Class>,
    coco: Vec<(&'static str, String)>,
    curves: String,
    min_score: f64,
    worst: Vec<Worst>,
}

struct Class {
    name: String,
    objects: usize,
    detections: usize,
    scores: [String; 5],
}

struct Worst {
    name: String,
    false_positives: usize,
    misses: usize,
    /// None if the image cannot be read; then why not.
    picture: Result<Picture, String>,
    marks: Vec<Mark>,
}

/// Writes the page. An image that cannot be read is named in its place.
///
/// # Errors
/// The page's template or a plot cannot be written, which no input causes.
pub fn evaluation(evaluation: &Evaluation) -> Result<String, Error> {
    let Evaluation { title, dataset, detections, voc, coco, min_score } = *evaluation;
    let class = |(voc, coco): (&frcnn_eval::VocClass, &frcnn_eval::CocoClass)| Class {
        name: voc.name.clone(),
        objects: voc.objects,
        detections: voc.detections,
        scores: [voc.ap07, voc.ap10, coco.ap, coco.ap50, coco.ap75].map(score),
    };
    let s = &coco.summary;
    let twelve = [
        ("AP", s.ap),
        ("AP50", s.ap50),
        ("AP75", s.ap75),
        ("AP small", s.ap_small),
        ("AP medium", s.ap_medium),
        ("AP large", s.ap_large),
        ("AR 1", s.ar1),
        ("AR 10", s.ar10),
        ("AR 100", s.ar100),
        ("AR small", s.ar_small),
        ("AR medium", s.ar_medium),
        ("AR large", s.ar_large),
    ];
    let worst = mistakes(dataset, detections, voc.iou, min_score, WORST);
    let worst = worst.iter().filter_map(|image| {
        let mark = |mistake: &frcnn_eval::Mistake| {
            let class = dataset.classes.get(mistake.class).map_or("", String::as_str);
            let region = mistake.region;
            Mark {
                x: region.x,
                y: region.y,
                width: region.width.max(1.0),
                height: region.height.max(1.0),
                label: mistake.score.map_or(class.to_string(), |score| format!("{class} {score:.2}")),
                style: match mistake.kind {
                    MistakeKind::Found => "found",
                    MistakeKind::FalsePositive => "wrong",
                    MistakeKind::Missed => "missed",
                },
            }
        };
        let source = dataset.images.get(image.image)?;
        Some(Worst {
            name: source.stem.clone(),
            false_positives: image.false_positives,
            misses: image.misses,
            picture: Picture::file(&source.path).map_err(|error| error.to_string()),
            marks: image.marks.iter().map(mark).collect(),
        })
    });
    let page = Page {
        title,
        images: dataset.images.len(),
        objects: dataset.truths.len(),
        detections: detections.len(),
        iou: voc.iou,
        map07: score(voc.map07),
        map10: score(voc.map10),
        classes: voc.classes.iter().zip(&coco.classes).map(class).collect(),
        coco: twelve.map(|(name, value)| (name, score(value))).to_vec(),
        curves: plot::precision_recall(&voc.classes)?,
        min_score,
        worst: worst.collect(),
    };
    super::rendered(&page)
}
