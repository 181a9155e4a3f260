//! Scores as tables and JSON.

use frcnn_eval::{Coco, Voc};
use frcnn_harness::cascade::{HeadTimes, Measured};
use serde::Serialize;

use crate::cascade;
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units;

/// All scores; its fields are the object that `--json` writes. Scores are in 0..=1, null where there is no object.
#[derive(Serialize)]
pub(super) struct EvalReport {
    pub(super) images: usize,
    pub(super) objects: usize,
    pub(super) detections: usize,
    pub(super) voc: Voc,
    pub(super) coco: Coco,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cascade: Option<CascadeEval>,
}

/// What the bundle's cascade drops, costs and saves.
#[derive(Serialize)]
pub(super) struct CascadeEval {
    #[serde(flatten)]
    pub(super) measured: Measured,
    pub(super) heads: HeadTimes,
}

impl EvalReport {
    pub(super) fn text(&self) -> String {
        let columns = [
            Words("class"),
            Numbers("objects"),
            Numbers("detections"),
            Numbers("VOC07"),
            Numbers("VOC10+"),
            Numbers("COCO AP"),
            Numbers("AP50"),
            Numbers("AP75"),
        ];
        let classes = self.voc.classes.iter().zip(&self.coco.classes).map(|(voc, coco)| {
            let mut row = vec![voc.name.clone(), voc.objects.to_string(), voc.detections.to_string()];
            row.extend([voc.ap07, voc.ap10, coco.ap, coco.ap50, coco.ap75].map(score));
            row
        });
        let s = &self.coco.summary;
        let mut mean = vec!["mean".to_string(), String::new(), String::new()];
        mean.extend([self.voc.map07, self.voc.map10, s.ap, s.ap50, s.ap75].map(score));
        let sizes = pairs(&[
            ("AP small, medium, large", [s.ap_small, s.ap_medium, s.ap_large].map(score).join("  ")),
            ("AR small, medium, large", [s.ar_small, s.ar_medium, s.ar_large].map(score).join("  ")),
            ("AR with 1, 10, 100 detections", [s.ar1, s.ar10, s.ar100].map(score).join("  ")),
        ]);
        let cascade = self.cascade.as_ref().map_or(String::new(), |CascadeEval { measured, heads }| {
            format!("\nCascade\n\n{}\n{}", cascade::measured(measured), cascade::times_text(heads))
        });
        format!(
            "{}, {}, {}; VOC at IoU {}\n\n{}\nCOCO\n\n{sizes}{cascade}",
            units::several(self.images, "image"),
            units::several(self.objects, "object"),
            units::several(self.detections, "detection"),
            self.voc.iou,
            table(&columns, classes.chain([mean])),
        )
    }
}

fn score(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.4}"))
}
