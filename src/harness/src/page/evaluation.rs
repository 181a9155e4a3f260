//! The page of an evaluation: scores, curves, what is taken for what, and the worst and best images.

use askama::Template;
use frcnn_eval::{
    BestThreshold, Coco, Dataset, Detection, ImageMistakes, MistakeKind, Voc, best, confusion, mistakes,
    worst,
};

use super::confusions::{Confusions, Shown, confusions};
use super::overlay::{Mark, Picture};
use super::{label, score};
use crate::{Error, plot};

/// Images that are shown of the worst, and of the best.
const WORST: usize = 12;
const BEST: usize = 6;
/// Width at which an image is shown, in CSS pixels, and the height of the letters on it.
const SHOWN: (f64, f64) = (540.0, 10.5);

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
    /// Only detections of at least this score are drawn, and counted in the confusion matrix.
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
    confusions: Confusions,
    worst: Vec<Shot>,
    best: Vec<Shot>,
}

struct Class {
    name: String,
    objects: usize,
    detections: usize,
    scores: [String; 5],
    /// The best threshold, and F1, precision and recall there.
    best: [String; 4],
}

struct Shot {
    name: String,
    found: usize,
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
        best: {
            let of = |figure: fn(&BestThreshold) -> f64| score(voc.best_threshold.as_ref().map(figure));
            [of(|best| best.score), of(|best| best.f1), of(|best| best.precision), of(|best| best.recall)]
        },
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
    let images = mistakes(dataset, detections, voc.iou, min_score);
    let worst = worst(&images, WORST);
    // Of few images the best are among the worst.
    let best: Vec<&ImageMistakes> = best(&images, images.len())
        .into_iter()
        .filter(|image| !worst.iter().any(|shown| shown.image == image.image))
        .take(BEST)
        .collect();
    let shots = |images: &[&ImageMistakes]| {
        images.iter().filter_map(|image| shot(dataset, image)).collect::<Vec<Shot>>()
    };
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
        confusions: confusions(&confusion(dataset, detections, voc.iou, min_score), &dataset.classes)?,
        worst: shots(&worst),
        best: shots(&best),
    };
    super::rendered(&page)
}

fn shot(dataset: &Dataset, image: &ImageMistakes) -> Option<Shot> {
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
            place: None,
        }
    };
    let source = dataset.images.get(image.image)?;
    let picture = Picture::file(&source.path).map_err(|error| error.to_string());
    let mut marks: Vec<Mark> = image.marks.iter().map(mark).collect();
    if let Ok(Picture { width, height, .. }) = &picture {
        label::place(&mut marks, (*width, *height), f64::from(*width) / SHOWN.0 * SHOWN.1);
    }
    let ImageMistakes { found, false_positives, misses, .. } = *image;
    Some(Shot { name: source.stem.clone(), found, false_positives, misses, picture, marks })
}

#[cfg(test)]
mod tests {
    use frcnn_eval::{Image, Region, Truth, coco, voc};

    use super::*;

    /// Objects and detections `[image, class, x, score]`, each 10 x 10; the image has pixels.
    fn page(
        classes: &[String],
        objects: &[(usize, usize, f64)],
        found: &[(usize, usize, f64, f64)],
    ) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::RgbImage::from_pixel(64, 48, image::Rgb([90, 120, 60])).save(&path).unwrap();
        let region = |x| Region { x, y: 4.0, width: 10.0, height: 10.0 };
        let image = |n: usize| Image { stem: format!("{n}<u>"), id: None, path: path.clone(), size: None };
        let truth = |&(image, class, x): &(usize, usize, f64)| Truth {
            image,
            class,
            region: region(x),
            area: 100.0,
            ignore: false,
            crowd: false,
        };
        let dataset = Dataset {
            images: (0..3).map(image).collect(),
            classes: classes.to_vec(),
            truths: objects.iter().map(truth).collect(),
            ..Dataset::default()
        };
        let detection = |&(image, class, x, score): &(usize, usize, f64, f64)| Detection {
            image,
            class,
            score,
            region: region(x),
        };
        let detections: Vec<Detection> = found.iter().map(detection).collect();
        let (voc, coco) = (voc(&dataset, &detections, 0.5), coco(&dataset, &detections));
        let title = "<i>model</i>";
        let evaluation = Evaluation {
            title,
            dataset: &dataset,
            detections: &detections,
            voc: &voc,
            coco: &coco,
            min_score: 0.5,
        };
        super::evaluation(&evaluation).unwrap()
    }

    fn classes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn what_is_taken_for_what_and_the_best_thresholds() {
        let names = classes(&["cat", "dog", "no object"]);
        let found = [
            (0, 0, 0.0, 0.9),
            (0, 1, 20.0, 0.8),
            (1, 1, 0.0, 0.75),
            (1, 1, 30.0, 0.3),
            (2, 0, 40.0, f64::NAN),
        ];
        let page = page(&names, &[(0, 0, 0.0), (0, 0, 20.0), (1, 1, 0.0)], &found);
        assert!(
            page.contains("At IoU above 0.5, detections with a score of at least 0.5; 1 classes"),
            "{page}"
        );
        for title in ["1 of 2 cat found as dog: 50.0 %", "1 of 2 cat found as cat", "0 of 1 dog were missed"]
        {
            assert!(page.contains(title), "{title}");
        }
        let (thresholds, _) = page.split_once("Confusion matrix").unwrap();
        let (_, thresholds) = thresholds.split_once("id=\"thresholds\"").unwrap();
        // A dog at 0.75 and a mistake above it.
        assert!(
            thresholds.contains(">dog</td><td>0.7500</td><td>0.6667</td><td>0.5000</td><td>1.0000</td>"),
            "{thresholds}"
        );
        assert!(thresholds.contains(">cat</td><td>0.9000</td><td>0.6667</td><td>1.0000</td><td>0.5000</td>"));
        assert!(thresholds.contains(">no object</td><td>–</td><td>–</td>"));
        let (worst, best) = page.split_once("Best images").unwrap();
        assert!(worst.contains(": 1 found, 1 false positives, 1 missed"));
        assert!(best.contains(": 1 found, 0 false positives, 0 missed"));
        // Beside the boxes, not at the pointer alone.
        assert!(worst.contains("\">dog 0.80</text>") && best.contains("\">dog 0.75</text>"));
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn names_are_shown_and_do_not_act() {
        let names = classes(&["<script>alert(1)</script>", "🐈‍⬛ chat noir", "\u{1b}[2J\u{202e}\"'&"]);
        let objects = [(0, 0, 0.0), (0, 1, 20.0), (1, 2, 0.0)];
        let page = page(
            &names,
            &objects,
            &[(0, 0, 0.0, 0.9), (0, 1, 20.0, 0.9), (1, 2, 0.0, 0.9), (1, 0, 30.0, 0.9)],
        );
        for acts in ["<script", "\u{1b}", "\u{202e}", "<i>model", "<u>"] {
            assert!(!page.contains(acts), "{acts:?}");
        }
        assert!(page.contains("🐈‍⬛ chat noir 0.90") && page.contains("\\u{1b}[2J"));
    }

    #[test]
    fn nothing_found_and_nothing_to_find() {
        let names = classes(&["cat"]);
        let missed = page(&names, &[(0, 0, 0.0), (0, 0, 20.0)], &[]);
        assert!(missed.contains("2 of 2 cat were missed: 100.0 %") && missed.contains("No other image has"));
        assert!(missed.contains(">cat</td><td>–</td><td>–</td><td>–</td><td>–</td>"));
        let wrong = page(&names, &[], &[(0, 0, 0.0, 0.9)]);
        assert!(wrong.contains("1 detections of cat where no object is: 100.0 % of such"));
        for nothing in
            [page(&names, &[], &[]), page(&[], &[], &[]), page(&names, &[], &[(0, 0, 0.0, f64::NAN)])]
        {
            assert!(
                nothing.contains("There are no objects, and no detections")
                    && nothing.contains("There are no mistakes")
            );
        }
    }

    #[test]
    fn two_hundred_classes_are_a_picture_and_thousands_a_list() {
        for (count, words) in [(200, "alt=\"The confusion matrix\""), (1500, "too many classes to draw")] {
            let names: Vec<String> = (0..count).map(|class| format!("class {class}")).collect();
            let objects: Vec<_> = (0..count).map(|class| (class % 3, class, class as f64 * 20.0)).collect();
            let found: Vec<_> = (0..count)
                .map(|class| (class % 3, (class + class % 2) % count, class as f64 * 20.0, 0.9))
                .collect();
            let page = page(&names, &objects, &found);
            assert!(page.contains(words) && !page.contains("class=\"confusion\""), "{words}");
            assert!(page.contains("Taken for each other most often") && page.contains("<td>100.0 %</td>"));
            assert!(page.len() < 1000 * count + 500_000, "{} bytes", page.len());
        }
    }
}
