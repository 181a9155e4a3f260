//! `manifest.json`: what a runtime must know about a trained model beside its weights.

use serde::{Deserialize, Serialize};

mod json;

/// What a trained model expects of its input and of whoever reads its output.
///
/// In JSON every field but `classes` may be left out and has the default of the published Fast R-CNN
/// system; a field that is not known here is an error, so that a typing mistake cannot silently leave a
/// default in force.
///
/// In a bundle the input's fields say what the ONNX file's `data` was; the bundle's own trunk reads the device's blob, see
/// [`NetworkInput`](crate::NetworkInput).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// A name for people. Default: empty.
    pub name: String,
    /// Names of the K + 1 classes in the order of the scores; the first is the background.
    pub classes: Vec<String>,
    /// The order of the network's input channels, and of `pixel_means` and `pixel_stds`. Default: bgr.
    pub channel_order: ChannelOrder,
    /// The value that the network reads for the brightest pixel before means and deviations: 255, or 1. Default: 255.
    pub pixel_scale: f32,
    /// Means that are subtracted from the channels, in the order and scale above. Default: the published ones, 102.9801,
    /// 115.9465 and 122.7717 grey levels of blue, green and red. `pixel_means_bgr` are the same in that order and in
    /// 0..255 whatever the fields above say.
    pub pixel_means: [f32; 3],
    /// Deviations by which the channels are divided after that, in the order and scale above. Default: 1.
    pub pixel_stds: [f32; 3],
    /// Lengths in pixels to which the image's short side is scaled: one, or several for a pyramid.
    pub scales: Vec<u32>,
    /// No blob side gets longer than this many pixels; an image that would is scaled less.
    pub max_long_side: u32,
    /// By which rule an image gets its size in the blob. Default: published.
    pub resize: Resize,
    /// The blob's sides are multiples of this many pixels: zeros at its right and lower border. Default: 1, none.
    pub pad_multiple: u32,
    /// Added to `x2 - x1` for a box's width when deltas are decoded: 1 for inclusive pixel corners,
    /// 0 for continuous boxes.
    pub box_width_offset: f32,
    /// The same offset as it is used in the IoU of non-maximum suppression.
    pub nms_width_offset: f32,
    /// The network's box deltas `[tx, ty, tw, th]` are divided by these: 10, 10, 5, 5 of torchvision's detectors.
    /// Default: 1, 1, 1, 1.
    pub box_weights: [f32; 4],
    /// What the class scores are. Default: probabilities; of an R-CNN, margins.
    pub scores: Scores,
    /// A detection's score must be greater than this; a probability in 0..1, or any margin. Default: 0.05, or -1.
    pub score_threshold: f32,
    /// A detection is suppressed when its IoU with a better one of its class is at least this; in 0..=1.
    pub nms_iou: f32,
    /// Whether a box is kept whose IoU with a better one is exactly `nms_iou`, as torchvision does it: boxes of all classes in
    /// one go, those of class `c` shifted by `c` times the largest coordinate and 1 more. Default: no.
    pub nms_keeps_equal: bool,
    /// Boxes narrower or lower than this are no detections, in the pixels that they are decoded in, see [`Resize`]: 0.01 of
    /// torchvision's detectors. Default: 0, none.
    pub min_box_side: f32,
    /// At most this many detections are given per image, the best ones.
    pub max_detections: u32,
}

/// The order of an image's three channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Blue, green, red: Caffe's and detectron2's, and that of the device's blob.
    #[default]
    Bgr,
    /// Red, green, blue: torchvision's.
    Rgb,
}

impl ChannelOrder {
    /// As JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            ChannelOrder::Bgr => "bgr",
            ChannelOrder::Rgb => "rgb",
        }
    }

    /// Where channel `channel` of one order lies in the other; the same function both ways.
    pub const fn bgr(self, channel: usize) -> usize {
        match self {
            ChannelOrder::Bgr => channel,
            ChannelOrder::Rgb => 2 - channel,
        }
    }
}

/// By which rule an image gets its size in the blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The short side becomes one of `scales`, unless the long one would be longer than `max_long_side`; sides are rounded to
    /// the nearest, half to even. The scale is one number, by which boxes go to the blob, too. Detections are decoded,
    /// clipped and suppressed in pixels of the image.
    #[default]
    Published,
    /// The same scale, but sides are rounded down, and what comes of that are two scales, one down and one to the right: those
    /// that pixels are sampled by, and boxes go there and back by. Detections are decoded, clipped to continuous borders and
    /// suppressed in pixels of the blob. The scale is computed in f64, as by torchvision in PyTorch; its exported files do so in
    /// f32, and a side of some images is a pixel longer or shorter there.
    Torchvision,
    /// As torchvision's, but sides are rounded to the nearest, half up: `ResizeShortestEdge`. Where an image is larger than its
    /// blob, detectron2 (Pillow) averages the pixels that come together; here they are sampled, as everywhere else.
    Detectron2,
}

impl Resize {
    /// As JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Resize::Published => "published",
            Resize::Torchvision => "torchvision",
            Resize::Detectron2 => "detectron2",
        }
    }
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

/// The published means of blue, green and red, in 0..255.
pub const PIXEL_MEANS_BGR: [f32; 3] = [102.9801, 115.9465, 122.7717];

/// Why a `manifest.json` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, a missing `classes`, an unknown field, or a value of the wrong type.
    #[error("{0}")]
    Json(String),
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
            channel_order: ChannelOrder::default(),
            pixel_scale: 255.0,
            pixel_means: PIXEL_MEANS_BGR,
            pixel_stds: [1.0; 3],
            scales: vec![600],
            max_long_side: 1000,
            resize: Resize::default(),
            pad_multiple: 1,
            box_width_offset: 1.0,
            nms_width_offset: 1.0,
            box_weights: [1.0; 4],
            scores: Scores::default(),
            score_threshold: Scores::default().default_threshold(),
            nms_iou: 0.3,
            nms_keeps_equal: false,
            min_box_side: 0.0,
            max_detections: 100,
        }
    }

    /// Whether corners of boxes are edges, `x2 - x1` apart, of which the last one is that of the image; else they are pixels. The
    /// original coder has a `box_width_offset` of 0 beside a `nms_width_offset` of 1, and corners that are pixels.
    pub fn corners_are_edges(&self) -> bool {
        self.box_width_offset == 0.0 && self.nms_width_offset == 0.0
    }

    /// What makes a detection's width of `x2 - x1`: 0 where [corners are edges](Self::corners_are_edges), else 1.
    pub fn width_offset(&self) -> f32 {
        if self.corners_are_edges() { 0.0 } else { 1.0 }
    }

    /// Reads and checks the text of a `manifest.json`, behind a byte-order mark or not.
    pub fn from_json(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json_with(text, Scores::default())
    }

    /// The same, where a text that does not say what the scores are means `scores`.
    pub fn from_json_with(text: &str, scores: Scores) -> Result<Manifest, ManifestError> {
        let manifest = json::read(text.strip_prefix('\u{feff}').unwrap_or(text), scores)?;
        manifest.check().map_err(ManifestError::Value)?;
        Ok(manifest)
    }

    /// What the network's means are of blue, green and red pixels in 0..255: what the device subtracts before the resize.
    pub fn blob_means(&self) -> [f32; 3] {
        std::array::from_fn(|b| {
            let mean = self.pixel_means[self.channel_order.bgr(b)];
            (f64::from(mean) * 255.0 / f64::from(self.pixel_scale)) as f32
        })
    }

    /// What the network reads, in a line: `bgr in 0..255, less 102.9801, 115.9465, 122.7717`.
    pub fn input_line(&self) -> String {
        let list = |values: &[f32; 3]| values.map(|v| v.to_string()).join(", ");
        let mut line = format!("{} in 0..{}", self.channel_order.name(), self.pixel_scale);
        if self.pixel_means != [0.0; 3] {
            line += &format!(", less {}", list(&self.pixel_means));
        }
        if self.pixel_stds != [1.0; 3] {
            line += &format!(", over {}", list(&self.pixel_stds));
        }
        line
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
        in_range("pixel_scale", [1.0, 255.0].contains(&self.pixel_scale), "255 or 1")?;
        in_range("pixel_means", self.blob_means().iter().all(|m| m.is_finite()), "three numbers")?;
        let deviation = 1e-6..=1e6;
        in_range(
            "pixel_stds",
            self.pixel_stds.iter().all(|std| deviation.contains(std)),
            "three numbers of 1e-6 to 1e6",
        )?;
        let weight = 1e-3..=1e6;
        in_range(
            "box_weights",
            self.box_weights.iter().all(|w| weight.contains(w)),
            "four numbers of 1e-3 to 1e6",
        )?;
        in_range(
            "scales",
            (1..=16).contains(&self.scales.len()) && self.scales.iter().all(|s| side.contains(s)),
            "1 to 16 lengths of 1 to 20000 pixels",
        )?;
        in_range("max_long_side", side.contains(&self.max_long_side), "1 to 20000 pixels")?;
        in_range("pad_multiple", (1..=1024).contains(&self.pad_multiple), "1 to 1024 pixels")?;
        for (what, offset) in
            [("box_width_offset", self.box_width_offset), ("nms_width_offset", self.nms_width_offset)]
        {
            in_range(what, (0.0..=1.0).contains(&offset), "between 0 and 1")?;
        }
        if let Err(range) = self.scores.check_threshold(self.score_threshold) {
            in_range("score_threshold", false, range)?;
        }
        in_range("nms_iou", self.nms_iou > 0.0 && self.nms_iou <= 1.0, "above 0 and at most 1")?;
        in_range("min_box_side", (0.0..=1e6).contains(&self.min_box_side), "0 to 1e6 pixels")?;
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
    fn corners_are_edges_where_both_offsets_are_0() {
        for ([of_boxes, of_nms], width_offset) in
            [([1.0, 1.0], 1.0), ([0.0, 0.0], 0.0), ([0.0, 1.0], 1.0), ([1.0, 0.0], 1.0)]
        {
            let mut manifest = Manifest::new(vec!["b".into(), "c".into()]);
            (manifest.box_width_offset, manifest.nms_width_offset) = (of_boxes, of_nms);
            assert_eq!(manifest.width_offset(), width_offset, "{of_boxes} and {of_nms}");
        }
    }

    #[test]
    fn means_follow_order_and_scale() {
        let read = |more: &str| Manifest::from_json(&format!(r#"{{"classes": ["b", "c"]{more}}}"#)).unwrap();
        // The default means are the same pixels in every convention.
        for more in [
            r#", "channel_order": "rgb""#,
            r#", "pixel_scale": 1"#,
            r#", "channel_order": "rgb", "pixel_scale": 1.0"#,
        ] {
            for (mean, expected) in read(more).blob_means().into_iter().zip(PIXEL_MEANS_BGR) {
                // Divided by 255 and multiplied again, each rounded.
                assert!(
                    (mean - expected).abs() <= 2.0 * f32::EPSILON * expected,
                    "{more}: {mean} {expected}"
                );
            }
        }
        let torchvision = read(
            r#", "channel_order": "rgb", "pixel_scale": 1, "pixel_means": [0.5, 0.25, 0.125], "pixel_stds": [0.5, 0.5, 0.25]"#,
        );
        assert_eq!(torchvision.blob_means(), [31.875, 63.75, 127.5]);
        assert_eq!(torchvision.input_line(), "rgb in 0..1, less 0.5, 0.25, 0.125, over 0.5, 0.5, 0.25");
        // What its name says, whatever the order.
        let bgr = read(r#", "channel_order": "rgb", "pixel_means_bgr": [1, 2, 3]"#);
        assert_eq!((bgr.pixel_means, bgr.blob_means()), ([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]));
        assert_eq!(read("").input_line(), "bgr in 0..255, less 102.9801, 115.9465, 122.7717");
        assert_eq!(read(r#", "pixel_means": [0, 0, 0]"#).input_line(), "bgr in 0..255");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut manifest = Manifest::new(vec!["b".into(), "c".into()]);
        manifest.channel_order = ChannelOrder::Rgb;
        (manifest.pixel_scale, manifest.pixel_means, manifest.pixel_stds) = (1.0, [0.4, 0.5, 0.6], [0.2; 3]);
        manifest.box_weights = [10.0, 10.0, 5.0, 5.0];
        (manifest.resize, manifest.pad_multiple) = (Resize::Torchvision, 32);
        (manifest.nms_keeps_equal, manifest.min_box_side) = (true, 0.01);
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
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
            (r#"[]"#, "an object such as"),
            (r#"{"classes": ["b"]}"#, "classes"),
            (r#"{"classes": ["b", "c", "c"]}"#, "`c` twice"),
            (r#"{"classes": ["b", "c"], "scales": []}"#, "scales"),
            (r#"{"classes": ["b", "c"], "scales": [0]}"#, "scales"),
            (r#"{"classes": ["b", "c"], "nms_iou": 0}"#, "nms_iou"),
            (r#"{"classes": ["b", "c"], "score_threshold": 1.5}"#, "score_threshold"),
            (r#"{"classes": ["b", "c"], "max_detections": 100000}"#, "max_detections"),
            (r#"{"classes": ["b", "c"], "resize": "opencv"}"#, "opencv"),
            (r#"{"classes": ["b", "c"], "pad_multiple": 0}"#, "pad_multiple"),
            (r#"{"classes": ["b", "c"], "pad_multiple": 1025}"#, "pad_multiple"),
            (r#"{"classes": ["b", "c"], "min_box_side": -1}"#, "min_box_side"),
            (r#"{"classes": ["b", "c"]"#, "EOF"),
            (r#"{"classes": ["b", "c"], "channel_order": "grb"}"#, "grb"),
            (r#"{"classes": ["b", "c"], "pixel_scale": 2}"#, "pixel_scale"),
            (r#"{"classes": ["b", "c"], "pixel_stds": [1, 0, 1]}"#, "pixel_stds"),
            (r#"{"classes": ["b", "c"], "pixel_stds": [1, 1]}"#, "invalid length 2"),
            (r#"{"classes": ["b", "c"], "pixel_means": [1e39, 1, 1]}"#, "pixel_means"),
            (r#"{"classes": ["b", "c"], "box_weights": [10, 10, 5, 0]}"#, "box_weights"),
            (r#"{"classes": ["b", "c"], "pixel_means": [1, 2, 3], "pixel_means_bgr": [1, 2, 3]}"#, "both"),
            (r#"{"classes": ["b", "c", "__background__"]}"#, "the background comes first"),
            (r#"{"classes": ["__background__", "background", "c"]}"#, "`background` behind other classes"),
            // Means of one scale where the other is said.
            (r#"{"classes": ["b", "c"], "pixel_means": [0.485, 0.456, 0.406]}"#, "pixel_scale"),
            (r#"{"classes": ["b", "c"], "pixel_stds": [0.229, 0.224, 0.225]}"#, "pixel_scale"),
            (r#"{"classes": ["b", "c"], "pixel_scale": 1, "pixel_means": [123, 116, 103]}"#, "pixel_scale"),
            (r#"{"classes": ["b", "c"], "pixel_scale": 1, "pixel_stds": [58, 57, 57]}"#, "pixel_scale"),
        ] {
            let error = Manifest::from_json(json).unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn means_of_the_other_order_are_refused() {
        let read = |more: &str| Manifest::from_json(&format!(r#"{{"classes": ["b", "c"], {more}}}"#));
        let (rgb, bgr) = (r#""channel_order": "rgb""#, r#""channel_order": "bgr""#);
        let red_first =
            ["[123.675, 116.28, 103.53]", "[123.68, 116.779, 103.939]", "[122.7717, 115.9465, 102.9801]"];
        let blue_first = ["[103.53, 116.28, 123.675]", "[102.9801, 115.9465, 122.7717]", "[104, 117, 123]"];
        for (means, right, wrong) in red_first
            .map(|means| (means, rgb, bgr))
            .into_iter()
            .chain(blue_first.map(|means| (means, bgr, rgb)))
        {
            read(&format!(r#""pixel_means": {means}, {right}"#)).unwrap();
            let error = read(&format!(r#""pixel_means": {means}, {wrong}"#)).unwrap_err().to_string();
            assert!(error.contains(&format!("say {right}")), "{means}: {error}");
        }
        let of_one = r#""pixel_means": [0.485, 0.456, 0.406], "pixel_scale": 1"#;
        let error = read(of_one).unwrap_err().to_string();
        assert!(
            error.contains("ImageNet's in RGB, but `channel_order` is bgr: say \"channel_order\": \"rgb\""),
            "{error}"
        );
        read(&format!("{of_one}, {rgb}")).unwrap();
        // Means of nothing that is known are anyone's own.
        read(r#""pixel_means": [130, 116, 103]"#).unwrap();
    }
}
