//! `manifest.json`: what a runtime must know about a trained model beside its weights.

use serde::{Deserialize, Serialize};

/// What a trained model expects of its input and of whoever reads its output.
///
/// In JSON every field but `classes` may be left out and has the default of the published Fast R-CNN
/// system; a field that is not known here is an error, so that a typing mistake cannot silently leave a
/// default in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// A name for people. Default: empty.
    #[serde(default)]
    pub name: String,
    /// Names of the K + 1 classes in the order of the scores; the first is the background.
    pub classes: Vec<String>,
    /// Per-channel means, in blue, green, red order and 0..255 grey levels, subtracted before the resize.
    #[serde(default = "defaults::pixel_means_bgr")]
    pub pixel_means_bgr: [f32; 3],
    /// Lengths in pixels to which the image's short side is scaled: one, or several for a pyramid.
    #[serde(default = "defaults::scales")]
    pub scales: Vec<u32>,
    /// No blob side gets longer than this many pixels; an image that would is scaled less.
    #[serde(default = "defaults::max_long_side")]
    pub max_long_side: u32,
    /// Added to `x2 - x1` for a box's width when deltas are decoded: 1 for inclusive pixel corners,
    /// 0 for continuous boxes.
    #[serde(default = "defaults::width_offset")]
    pub box_width_offset: f32,
    /// The same offset as it is used in the IoU of non-maximum suppression.
    #[serde(default = "defaults::width_offset")]
    pub nms_width_offset: f32,
    /// What the class scores are. Default: probabilities; of an R-CNN, margins.
    #[serde(default)]
    pub scores: Scores,
    /// A detection's score must be greater than this; a probability in 0..1, or any margin. Default: 0.05, or -1.
    #[serde(default = "defaults::unset")]
    pub score_threshold: f32,
    /// A detection is suppressed when its IoU with a better one of its class is at least this; in 0..=1.
    #[serde(default = "defaults::nms_iou")]
    pub nms_iou: f32,
    /// At most this many detections are given per image, the best ones.
    #[serde(default = "defaults::max_detections")]
    pub max_detections: u32,
}

/// Whether a manifest has the field `scores`, whose default depends on the model.
fn says_scores(text: &str) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    struct Said {
        scores: Option<Scores>,
    }
    Ok(serde_json::from_str::<Said>(text)?.scores.is_some())
}

/// What a model's class scores are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// A distribution over the classes, in 0..1: those of a softmax, which is added to a model that leaves it out.
    #[default]
    Probabilities,
    /// Signed distances of linear SVMs, of any size; that of the background is 0.
    Margins,
}

impl Scores {
    /// The threshold of a manifest that gives none.
    ///
    /// Of margins it is -1, where the SVM's loss on a negative begins. The published R-CNN has no such number: it keeps as
    /// many detections as scoring a data set needs.
    pub const fn default_threshold(self) -> f32 {
        match self {
            Scores::Probabilities => 0.05,
            Scores::Margins => -1.0,
        }
    }

    /// Whether `threshold` is one for such scores; the error says what is.
    pub fn check_threshold(self, threshold: f32) -> Result<(), &'static str> {
        match self {
            Scores::Probabilities if !(0.0..1.0).contains(&threshold) => Err("at least 0 and below 1"),
            Scores::Margins if !threshold.is_finite() => Err("a number"),
            _ => Ok(()),
        }
    }
}

mod defaults {
    pub(super) fn pixel_means_bgr() -> [f32; 3] {
        [102.9801, 115.9465, 122.7717]
    }
    pub(super) fn scales() -> Vec<u32> {
        vec![600]
    }
    pub(super) fn max_long_side() -> u32 {
        1000
    }
    pub(super) fn width_offset() -> f32 {
        1.0
    }
    /// No JSON number: it depends on another field, see [`Scores::default_threshold`](super::Scores).
    pub(super) fn unset() -> f32 {
        f32::NAN
    }
    pub(super) fn nms_iou() -> f32 {
        0.3
    }
    pub(super) fn max_detections() -> u32 {
        100
    }
}

/// Why a `manifest.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, a missing `classes`, an unknown field, or a value of the wrong type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A value outside its range.
    #[error("{0}")]
    Value(String),
}

impl Manifest {
    /// A manifest with the published defaults and these classes, the background first.
    pub fn new(classes: Vec<String>) -> Manifest {
        Manifest {
            name: String::new(),
            classes,
            pixel_means_bgr: defaults::pixel_means_bgr(),
            scales: defaults::scales(),
            max_long_side: defaults::max_long_side(),
            box_width_offset: defaults::width_offset(),
            nms_width_offset: defaults::width_offset(),
            scores: Scores::default(),
            score_threshold: Scores::default().default_threshold(),
            nms_iou: defaults::nms_iou(),
            max_detections: defaults::max_detections(),
        }
    }

    /// Reads and checks the text of a `manifest.json`.
    pub fn from_json(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json_with(text, Scores::default())
    }

    /// The same, where a text that does not say what the scores are means `scores`.
    pub fn from_json_with(text: &str, scores: Scores) -> Result<Manifest, ManifestError> {
        let mut manifest: Manifest = serde_json::from_str(text)?;
        if !says_scores(text)? {
            manifest.scores = scores;
        }
        if manifest.score_threshold.is_nan() {
            manifest.score_threshold = manifest.scores.default_threshold();
        }
        manifest.check().map_err(ManifestError::Value)?;
        Ok(manifest)
    }

    /// Whether every value lies in its range; the error says which does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let in_range = |what: &str, ok: bool, range: &str| {
            if ok { Ok(()) } else { Err(format!("`{what}` must be {range}")) }
        };
        let side = 1..=crate::validate::MAX_SIDE;
        in_range(
            "classes",
            (2..=crate::validate::MAX_CLASSES).contains(&self.classes.len()),
            "the background and at least one class",
        )?;
        in_range("pixel_means_bgr", self.pixel_means_bgr.iter().all(|m| m.is_finite()), "three numbers")?;
        in_range(
            "scales",
            (1..=16).contains(&self.scales.len()) && self.scales.iter().all(|s| side.contains(s)),
            "1 to 16 lengths of 1 to 20000 pixels",
        )?;
        in_range("max_long_side", side.contains(&self.max_long_side), "1 to 20000 pixels")?;
        for (what, offset) in
            [("box_width_offset", self.box_width_offset), ("nms_width_offset", self.nms_width_offset)]
        {
            in_range(what, (0.0..=1.0).contains(&offset), "between 0 and 1")?;
        }
        if let Err(range) = self.scores.check_threshold(self.score_threshold) {
            in_range("score_threshold", false, range)?;
        }
        in_range("nms_iou", self.nms_iou > 0.0 && self.nms_iou <= 1.0, "above 0 and at most 1")?;
        in_range(
            "max_detections",
            (1..=crate::MAX_DETECTIONS as u32).contains(&self.max_detections),
            &format!("1 to {}", crate::MAX_DETECTIONS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_classes_are_required() {
        let manifest = Manifest::from_json(r#"{"classes": ["__background__", "cat"]}"#).unwrap();
        assert_eq!(manifest, Manifest::new(vec!["__background__".into(), "cat".into()]));
        assert_eq!(manifest.scales, [600]);
        assert_eq!(manifest.box_width_offset, 1.0);
    }

    #[test]
    fn margins_have_a_threshold_of_their_own() {
        let read = |more: &str| Manifest::from_json(&format!(r#"{{"classes": ["b", "c"]{more}}}"#));
        assert_eq!(read("").unwrap().score_threshold, 0.05);
        let margins = read(r#", "scores": "margins""#).unwrap();
        assert_eq!((margins.scores, margins.score_threshold), (Scores::Margins, -1.0));
        for threshold in [-2.5, 0.0, 3.0] {
            let json = format!(r#", "scores": "margins", "score_threshold": {threshold}"#);
            assert_eq!(read(&json).unwrap().score_threshold, threshold);
        }
        assert!(read(r#", "score_threshold": -0.5"#).is_err());
        for (json, expected) in [
            (r#"{"classes": ["b", "c"]}"#, (Scores::Margins, -1.0)),
            (r#"{"classes": ["b", "c"], "scores": "probabilities"}"#, (Scores::Probabilities, 0.05)),
        ] {
            let manifest = Manifest::from_json_with(json, Scores::Margins).unwrap();
            assert_eq!((manifest.scores, manifest.score_threshold), expected);
        }
        assert!(read(r#", "scores": "margins", "score_threshold": 1e40"#).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (json, word) in [
            (r#"{}"#, "classes"),
            (r#"{"classes": ["b", "c"], "nms_threshold": 0.3}"#, "nms_threshold"),
            (r#"{"classes": ["b"]}"#, "classes"),
            (r#"{"classes": ["b", "c"], "scales": []}"#, "scales"),
            (r#"{"classes": ["b", "c"], "scales": [0]}"#, "scales"),
            (r#"{"classes": ["b", "c"], "nms_iou": 0}"#, "nms_iou"),
            (r#"{"classes": ["b", "c"], "score_threshold": 1.5}"#, "score_threshold"),
            (r#"{"classes": ["b", "c"], "max_detections": 100000}"#, "max_detections"),
            (r#"{"classes": ["b", "c"]"#, "EOF"),
        ] {
            let error = Manifest::from_json(json).unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
