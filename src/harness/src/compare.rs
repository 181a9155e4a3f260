//! One side's outputs against the other's, stage by stage and detection by detection.

use frcnn::{BBox, Detector};
use frcnn_eval::{
    Drift, Found, Pair, Precision, StageResult, Tensor, TensorFile, Tolerances, difference, explain, pair,
};
use image::RgbImage;
use serde::Serialize;

use crate::pooled::{Pooled, pooled_stage};
use crate::proposed::outputs_from;
use crate::stages::{Inputs, Stages, blob_from, blob_of, computed, maps_from, of_photo, tensor_of};
use crate::{Error, Provenance};

/// Detections are one object's from this overlap on.
const SAME_OBJECT: f32 = 0.5;

/// How two sides differ on one image.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The side that is held to be right, and the other.
    pub sides: [Provenance; 2],
    /// The stages that both have, in the network's order.
    pub stages: Vec<StageResult>,
    /// Stages that could not be compared, and why.
    pub not_compared: Vec<String>,
    /// What the stages' errors do to the detections; none where a side has no predictions.
    pub detections: Option<DetectionResult>,
    /// In words, where the sides first diverge and what to look at.
    pub verdict: String,
    /// The photo, or what `data` shows of it.
    #[serde(skip)]
    pub picture: Option<RgbImage>,
    /// Width and height in image pixels, in which boxes are; the picture may have the blob's size instead.
    pub size: (u32, u32),
}

/// The detections of both sides, from the same boxes and thresholds.
#[derive(Clone, Debug, Serialize)]
pub struct DetectionResult {
    /// The reference's.
    #[serde(skip)]
    pub reference: Vec<Found>,
    /// The other side's.
    #[serde(skip)]
    pub found: Vec<Found>,
    /// Those of one object.
    #[serde(skip)]
    pub pairs: Vec<Pair>,
    /// How far apart they are.
    #[serde(flatten)]
    pub drift: Drift,
}

impl Comparison {
    /// Whether every stage agrees within its tolerance and none had to be left out for its shape.
    pub fn agrees(&self) -> bool {
        !self.stages.is_empty() && self.not_compared.is_empty() && self.stages.iter().all(StageResult::agrees)
    }
}

/// Names of the two sides: a detector's, or a file's path.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Of the side that is held to be right.
    pub reference: &'a str,
    /// Of the other.
    pub found: &'a str,
}

/// The differences that rounding explains: that of references, as their types and metadata tell it, and that of the layers of
/// `detectors`.
pub fn explained(references: &[&TensorFile], detectors: &[&Detector]) -> Tolerances {
    let tf32 = |file: &TensorFile| file.metadata.get("tf32").cloned();
    let computed = references.iter().map(|file| Precision::of_reference(&file.dtype, tf32(file).as_deref()));
    let computed = computed.fold(Precision::F32, Precision::coarser);
    let stored: Vec<Precision> =
        references.iter().map(|file| Precision::of_reference(&file.dtype, None)).collect();
    let mut tolerances = Tolerances::of(computed, &stored);
    for detector in detectors {
        for (stage, layers) in detector.stage_precisions() {
            let layers = layers.into_iter().map(|precision| match precision {
                frcnn_bundle::Precision::F32 => Precision::F32,
                frcnn_bundle::Precision::F16 => Precision::F16,
                frcnn_bundle::Precision::Bf16 => Precision::Bf16,
                frcnn_bundle::Precision::Int8 => Precision::Int8,
            });
            tolerances = tolerances.with_layers(&stage, &layers.collect::<Vec<_>>());
        }
    }
    tolerances
}

/// A detector against a reference file, on the file's own RoIs.
///
/// With the `photo` that the reference was made from, `data` is compared, too; without, the reference's `data` is where
/// the detector starts. Each stage is computed twice: on what the stages before it gave, and on the reference's own
/// input, which tells the stage that makes an error from those that pass it on.
///
/// # Errors
/// The reference lacks what is needed to begin with, or the detector cannot run it.
pub fn with_reference(
    detector: &Detector,
    file: &TensorFile,
    photo: Option<&RgbImage>,
    tolerances: &Tolerances,
    names: Names,
) -> Result<Comparison, Error> {
    let in_file = |problem: String| Error::file(names.reference.as_ref(), problem);
    let mut reference = Stages::of_file(file).map_err(in_file)?;
    if let Some(photo) = photo {
        reference.of_photo(detector, photo);
    }
    let sides = [Provenance::of_file(names.reference, file), Provenance::of_detector(names.found, detector)];
    against(detector, &reference, photo, tolerances, sides).map_err(|error| match error {
        Error::Runtime(error) => in_file(error.to_string()),
        Error::Stage(problem) => in_file(problem),
        other => other,
    })
}

/// Two detectors on the same photo and boxes, or those that the first one proposes; the first is the reference.
///
/// # Errors
/// A detector cannot run the photo.
pub fn detectors(
    [first, second]: [&Detector; 2],
    photo: &RgbImage,
    boxes: Option<&[BBox]>,
    tolerances: &Tolerances,
    names: Names,
) -> Result<Comparison, Error> {
    let reference = of_photo(first, second, photo, boxes)?;
    let sides =
        [Provenance::of_detector(names.reference, first), Provenance::of_detector(names.found, second)];
    against(second, &reference, Some(photo), tolerances, sides).map_err(|error| match error {
        Error::Stage(problem) => {
            let problem = format!("{problem}; the bundle is {}", names.found);
            Error::file(names.reference.as_ref(), problem)
        }
        other => other,
    })
}

/// Two reference files; `detector` runs nothing, but its manifest makes detections of predictions. Without one, stages alone are
/// compared.
///
/// # Errors
/// A file's metadata or RoIs make no sense.
pub fn files(
    detector: Option<&Detector>,
    [first, second]: [&TensorFile; 2],
    photo: Option<&RgbImage>,
    tolerances: &Tolerances,
    names: Names,
) -> Result<Comparison, Error> {
    let sides = [Provenance::of_file(names.reference, first), Provenance::of_file(names.found, second)];
    let read =
        |file, name: &str| Stages::of_file(file).map_err(|problem| Error::file(name.as_ref(), problem));
    let (mut reference, found) = (read(first, names.reference)?, read(second, names.found)?);
    if let (Some(photo), Some(detector)) = (photo, detector) {
        reference.of_photo(detector, photo);
    }
    let found: Vec<(String, Tensor)> =
        found.names().filter_map(|name| Some((name.to_string(), found.get(name)?.clone()))).collect();
    Ok(Side { chained: found, alone: Vec::new() }.compare(detector, &reference, photo, tolerances, sides))
}

fn against(
    detector: &Detector,
    reference: &Stages,
    photo: Option<&RgbImage>,
    tolerances: &Tolerances,
    sides: [Provenance; 2],
) -> Result<Comparison, Error> {
    let mut session = detector.session();
    let reference_blob = reference.get("data").map(|data| blob_from(detector, data, reference)).transpose();
    let reference_blob = reference_blob?;
    Pooled::of(detector)?;
    if reference.get("rois").is_some() {
        reference.rois()?;
    }
    let pooled = pooled_stage(detector);
    let maps = maps_from(detector, reference)?;
    let (mut chained, mut alone) = (Vec::new(), Vec::new());
    let own_blob = match photo {
        Some(photo) => {
            let blob = blob_of(&mut session, photo)?;
            chained.push(("data".to_string(), tensor_of(detector, &blob)));
            Some(blob)
        }
        None => None,
    };
    let start = own_blob.as_ref().or(reference_blob.as_ref());
    // Where a blob is padded, only with the photo it is known how.
    let is_padded = detector.manifest().pad_multiple > 1;
    let blob = own_blob.as_ref().or(reference_blob.as_ref().filter(|_| !is_padded));
    let inputs = Inputs {
        data: start,
        blob,
        // A reference that begins behind the trunk.
        maps: if start.is_none() { maps.clone() } else { None },
        pooled: if start.is_none() && maps.is_none() { reference.get(pooled) } else { None },
        rpn: None,
    };
    chained.extend(computed(detector, &mut session, &inputs, reference)?);

    let mut only = |names: &[String], inputs: &Inputs| -> Result<(), Error> {
        let stages = computed(detector, &mut session, inputs, reference)?;
        let stages = stages.into_iter().filter(|(name, _)| names.contains(name));
        alone.extend(stages.map(|(name, tensor)| (name, tensor, None)));
        Ok(())
    };
    let names = detector.contents().map_names();
    if own_blob.is_some() && reference_blob.is_some() {
        only(&names, &Inputs { data: reference_blob.as_ref(), ..Inputs::default() })?;
    }
    if let Some(maps) = maps {
        let of_map = |map| ["logits", "deltas"].map(|what| format!("rpn_{what}.{map}"));
        let behind: Vec<String> = (0..maps.len()).flat_map(of_map).chain([pooled.to_string()]).collect();
        only(&behind, &Inputs { maps: Some(maps), ..Inputs::default() })?;
    }
    if let Some(rpn) = &detector.contents().rpn
        && let Some(outputs) = outputs_from(rpn, reference)?
    {
        only(&["proposals".to_string()], &Inputs { rpn: Some(outputs), blob, ..Inputs::default() })?;
    }
    if let Some(features) = reference.get(pooled) {
        let inputs = Inputs { pooled: Some(features), ..Inputs::default() };
        let stages = computed(detector, &mut session, &inputs, reference)?;
        alone.extend(stages.into_iter().map(|(name, tensor)| (name, tensor, Some(pooled.to_string()))));
    }
    Ok(Side { chained, alone }.compare(Some(detector), reference, photo, tolerances, sides))
}

/// What the other side has.
struct Side {
    /// Each stage behind its own stages before.
    chained: Vec<(String, Tensor)>,
    /// Each stage behind the reference's, and the stage that it was computed from where others lie between.
    alone: Vec<(String, Tensor, Option<String>)>,
}

impl Side {
    fn compare(
        self,
        detector: Option<&Detector>,
        reference: &Stages,
        photo: Option<&RgbImage>,
        tolerances: &Tolerances,
        sides: [Provenance; 2],
    ) -> Comparison {
        let chained = |name: &str| self.chained.iter().find(|(known, _)| known == name);
        let alone = |name: &str| self.alone.iter().find(|(known, ..)| known == name);
        let (mut stages, mut not_compared, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for name in reference.names() {
            let (Some(expected), Some((_, found))) = (reference.get(name), chained(name)) else {
                // What both sides begin with.
                if !["data", "rois"].contains(&name) {
                    missing.push(name);
                }
                continue;
            };
            match difference(expected, found) {
                Ok(difference_) => {
                    let (tolerance, measure) = tolerances.get(name);
                    stages.push(StageResult {
                        stage: name.to_string(),
                        difference: difference_,
                        alone: alone(name).and_then(|(_, alone, _)| difference(expected, alone).ok()),
                        alone_from: alone(name).and_then(|(.., from)| from.clone()),
                        tolerance,
                        measure,
                    });
                }
                Err(mismatch) => not_compared.push(format!("{name} {mismatch}")),
            }
        }
        let mut verdict = explain(&stages);
        if let [Some(a), Some(b)] = [&sides[0], &sides[1]].map(|side| side.get("onnx_sha256"))
            && a != b
        {
            verdict += " The sides were made from different ONNX files (see onnx_sha256).";
        }
        for problem in &not_compared {
            verdict += &format!(" Not compared: {problem}.");
        }
        if !missing.is_empty() {
            verdict += &format!(" Only the reference has {}.", missing.join(", "));
        }
        let detections = detector.and_then(|detector| self.detections(detector, reference));
        let picture = photo.cloned().or_else(|| reference_picture(detector?, reference));
        Comparison { sides, stages, not_compared, detections, verdict, picture, size: reference.size }
    }

    fn detections(&self, detector: &Detector, reference: &Stages) -> Option<DetectionResult> {
        Pooled::of(detector).ok()?;
        let boxes = reference.boxes().ok()?;
        let mut session = detector.session();
        let expected = reference.detections(&mut session, &boxes)?;
        let other = Stages::of(self.chained.clone(), reference);
        let found = other.detections(&mut session, &boxes)?;
        let pairs = pair(&expected, &found, SAME_OBJECT, detector.manifest().width_offset());
        let drift = Drift::new(&expected, &found, &pairs);
        Some(DetectionResult { reference: expected, found, pairs, drift })
    }
}

/// The picture that `data` shows: means added, red first. It has the blob's size.
fn reference_picture(detector: &Detector, reference: &Stages) -> Option<RgbImage> {
    let blob = blob_from(detector, reference.get("data")?, reference).ok()?;
    let means = detector.contents().blob_means;
    let mut pixels = Vec::with_capacity(blob.data.len());
    for bgr in blob.data.as_chunks::<3>().0 {
        let [b, g, r]: [u8; 3] = std::array::from_fn(|c| (bgr[c] + means[c]).round().clamp(0.0, 255.0) as u8);
        pixels.extend([r, g, b]);
    }
    RgbImage::from_raw(blob.width as u32, blob.height as u32, pixels)
}
