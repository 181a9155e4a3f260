//! The text of a `manifest.json`, in which every field but the classes may be left out.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ChannelOrder, Manifest, ManifestError, PIXEL_MEANS_BGR, Resize, Scores};

/// The names by which a background is known; detectron2's is the last of its classes.
const BACKGROUND: [&str; 2] = ["__background__", "background"];
/// Means of ImageNet's red, green and blue pixels, in 0..255.
const IMAGENET_RGB: [f32; 3] = [123.675, 116.28, 103.53];

/// What a text says; the fields are those of [`Manifest`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"classes\": [\"__background__\", \"cat\"]}")]
struct Said {
    name: Option<String>,
    classes: Vec<String>,
    channel_order: Option<ChannelOrder>,
    pixel_scale: Option<f32>,
    pixel_means: Option<[f32; 3]>,
    pixel_means_bgr: Option<[f32; 3]>,
    pixel_stds: Option<[f32; 3]>,
    scales: Option<Vec<u32>>,
    max_long_side: Option<u32>,
    resize: Option<Resize>,
    pad_multiple: Option<u32>,
    box_width_offset: Option<f32>,
    nms_width_offset: Option<f32>,
    box_weights: Option<[f32; 4]>,
    scores: Option<Scores>,
    score_threshold: Option<f32>,
    nms_iou: Option<f32>,
    nms_keeps_equal: Option<bool>,
    min_box_side: Option<f32>,
    max_detections: Option<u32>,
    /// The rules of an RPN, which the compiler reads.
    #[serde(rename = "rpn")]
    _rpn: Option<IgnoredAny>,
}

/// `scores` is meant where the text does not say.
pub(super) fn read(text: &str, scores: Scores) -> Result<Manifest, ManifestError> {
    let said: Said = serde_json::from_str(text).map_err(|error| ManifestError::Json(error.to_string()))?;
    let default = Manifest::new(said.classes);
    let scores = said.scores.unwrap_or(scores);
    let (order, scale) = (said.channel_order.unwrap_or_default(), said.pixel_scale.unwrap_or(255.0));
    let manifest = Manifest {
        name: said.name.unwrap_or(default.name),
        classes: default.classes,
        channel_order: order,
        pixel_scale: scale,
        pixel_means: match (said.pixel_means, said.pixel_means_bgr) {
            (Some(_), Some(_)) => {
                let problem = "`pixel_means` and `pixel_means_bgr` are both there; keep one";
                return Err(ManifestError::Value(problem.to_string()));
            }
            (Some(means), None) => means,
            (None, bgr) => of_bgr(bgr.unwrap_or(PIXEL_MEANS_BGR), order, scale),
        },
        pixel_stds: said.pixel_stds.unwrap_or(default.pixel_stds),
        scales: said.scales.unwrap_or(default.scales),
        max_long_side: said.max_long_side.unwrap_or(default.max_long_side),
        resize: said.resize.unwrap_or(default.resize),
        pad_multiple: said.pad_multiple.unwrap_or(default.pad_multiple),
        box_width_offset: said.box_width_offset.unwrap_or(default.box_width_offset),
        nms_width_offset: said.nms_width_offset.unwrap_or(default.nms_width_offset),
        box_weights: said.box_weights.unwrap_or(default.box_weights),
        scores,
        score_threshold: said.score_threshold.unwrap_or(scores.default_threshold()),
        nms_iou: said.nms_iou.unwrap_or(default.nms_iou),
        nms_keeps_equal: said.nms_keeps_equal.unwrap_or(default.nms_keeps_equal),
        min_box_side: said.min_box_side.unwrap_or(default.min_box_side),
        max_detections: said.max_detections.unwrap_or(default.max_detections),
    };
    plausible(&manifest).map_err(ManifestError::Value)?;
    Ok(manifest)
}

/// Means of blue, green and red pixels in 0..255, in another order and scale.
fn of_bgr(means: [f32; 3], order: ChannelOrder, scale: f32) -> [f32; 3] {
    std::array::from_fn(|c| (f64::from(means[order.bgr(c)]) * f64::from(scale) / 255.0) as f32)
}

/// Whether classes can be told apart and the background is the first, and means and deviations can be of the scale and order that are said: a network
/// that is fed values 255 times too small or too large finds nothing, one that is fed red for blue finds less, both without an error.
fn plausible(manifest: &Manifest) -> Result<(), String> {
    let Manifest { pixel_scale, pixel_means, pixel_stds, classes, .. } = manifest;
    let mut names = HashSet::new();
    if let Some(twice) = classes.iter().find(|name| !names.insert(name.as_str())) {
        return Err(format!("`classes` has `{twice}` twice: detections could not be told apart"));
    }
    if let Some(name) = classes.iter().skip(1).find(|name| BACKGROUND.contains(&name.as_str())) {
        return Err(format!(
            "`classes` has `{name}` behind other classes: the background comes first, in the model's scores and box deltas, \
             too (detectron2's is the last: see `background_first` of model-export/pytorch)"
        ));
    }
    let told = pixel_stds != &[1.0; 3];
    let of_one = |values: &[f32; 3]| values.iter().all(|v| *v > 0.0 && *v < 1.0);
    if *pixel_scale == 255.0 && (of_one(pixel_means) || told && of_one(pixel_stds)) {
        return Err("`pixel_means` or `pixel_stds` are of pixels in 0..1, but `pixel_scale` is 255; say \
                    \"pixel_scale\": 1, or give them in grey levels"
            .to_string());
    }
    let beyond = |values: &[f32; 3]| values.iter().any(|v| v.abs() > 1.0);
    if *pixel_scale == 1.0 && (beyond(pixel_means) || beyond(pixel_stds)) {
        return Err("`pixel_means` or `pixel_stds` are of pixels in 0..255, but `pixel_scale` is 1; leave it out, or \
                    divide them by 255"
            .to_string());
    }
    // Published roundings differ by less than a hundredth of a mean, red and blue by a fifth.
    let near = |(mean, of_imagenet): (&f32, &f32)| (mean - of_imagenet).abs() < 0.01 * of_imagenet;
    if manifest.blob_means().iter().zip(&IMAGENET_RGB).all(near) {
        let said = manifest.channel_order.name();
        let meant = if said == "bgr" { "rgb" } else { "bgr" };
        return Err(format!(
            "`pixel_means` are ImageNet's in {}, but `channel_order` is {said}: say \"channel_order\": \"{meant}\" if the \
             network reads that, or turn the means round",
            meant.to_uppercase()
        ));
    }
    Ok(())
}
