//! Average precision at IoU 0.5 as VOC 2010 and later define it, and the annotations that it needs.

use std::path::Path;

use frcnn::BBox;

use crate::matching::Found;

/// An annotated object.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Class, 1..=K.
    pub class_id: u16,
    /// 0-based, inclusive corners.
    pub bbox: BBox,
    /// Counts neither as found nor as missed.
    pub difficult: bool,
}

/// Reads a VOC annotation; `classes` includes the background.
pub fn annotation(path: &Path, classes: &[String]) -> Vec<Truth> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let document = roxmltree::Document::parse(&text).unwrap();
    let objects = document.descendants().filter(|n| n.has_tag_name("object"));
    objects
        .map(|object| {
            let text = |name: &str| {
                object
                    .descendants()
                    .find(|n| n.has_tag_name(name))
                    .and_then(|n| n.text())
                    .unwrap_or("0")
                    .trim()
            };
            // VOC counts pixels from 1.
            let corner = |name: &str| text(name).parse::<f32>().unwrap() - 1.0;
            let class = classes.iter().position(|c| c == text("name")).unwrap();
            Truth {
                class_id: class as u16,
                bbox: BBox::new(corner("xmin"), corner("ymin"), corner("xmax"), corner("ymax")),
                difficult: text("difficult") == "1",
            }
        })
        .collect()
}

/// Mean over the classes 1..=K of the area under the monotone precision-recall curve. `images` pairs each
/// image's detections with its truth.
pub fn mean_average_precision(images: &[(Vec<Found>, Vec<Truth>)], classes: usize) -> f64 {
    (1..classes as u16).map(|class| average_precision(images, class)).sum::<f64>() / (classes - 1) as f64
}

fn average_precision(images: &[(Vec<Found>, Vec<Truth>)], class: u16) -> f64 {
    let mut ranked: Vec<(usize, &Found)> = images
        .iter()
        .enumerate()
        .flat_map(|(image, (found, _))| found.iter().filter(|d| d.class_id == class).map(move |d| (image, d)))
        .collect();
    ranked.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let positives =
        images.iter().flat_map(|(_, t)| t).filter(|t| t.class_id == class && !t.difficult).count();
    let mut taken: Vec<Vec<bool>> = images.iter().map(|(_, truth)| vec![false; truth.len()]).collect();
    let (mut hits, mut seen, mut curve) = (0usize, 0usize, Vec::new());
    for (image, detection) in ranked {
        let best = images[image]
            .1
            .iter()
            .enumerate()
            .filter(|(_, t)| t.class_id == class)
            .map(|(i, t)| (i, t.bbox.iou(&detection.bbox, 1.0)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((i, iou)) if iou >= 0.5 && images[image].1[i].difficult => continue,
            Some((i, iou)) if iou >= 0.5 && !taken[image][i] => {
                taken[image][i] = true;
                hits += 1;
            }
            _ => {}
        }
        seen += 1;
        curve.push((hits as f64 / positives as f64, hits as f64 / seen as f64));
    }
    // The best precision at this recall or a higher one.
    let mut best: f64 = 0.0;
    for point in curve.iter_mut().rev() {
        best = best.max(point.1);
        point.1 = best;
    }
    let recalls = std::iter::once(0.0).chain(curve.iter().map(|p| p.0));
    recalls.zip(&curve).map(|(before, (recall, precision))| (recall - before) * precision).sum()
}
