//! Two sides on one image, stage by stage, as `frcnn compare` compares them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use frcnn::BBox;
use frcnn_eval::{Tensor, TensorFile, Tolerances};
use frcnn_harness::compare::{self, Names};
use frcnn_harness::page;
use image::RgbImage;
use serde::Deserialize;

use crate::call::{Call, Reply};
use crate::detector::Detector;
use crate::error::{Failure, Kind};
use crate::held::{find, held, hold};
use crate::picture::Image;
use crate::source::Source;

/// How two sides differ on one image.
struct Comparison {
    /// With the image's name.
    images: [(String, compare::Comparison); 1],
    classes: Vec<String>,
}

#[derive(Deserialize)]
struct Tensors {
    /// In the order of the arrays.
    names: Vec<String>,
    metadata: BTreeMap<String, String>,
    /// What the arrays' values were rounded to.
    dtype: String,
}

/// Holds arrays of f32 by name.
pub(crate) fn tensors(call: &Call) -> Result<Reply, Failure> {
    let Tensors { names, metadata, dtype } = call.arguments()?;
    let mut tensors = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let (data, shape) = call.floats(number)?;
        tensors.push((name, Tensor { shape: shape.to_vec(), data }));
    }
    Reply::of(&hold(TensorFile::new(tensors, metadata, &dtype)))
}

/// Holds what a safetensors file has.
pub(crate) fn open_tensors(call: &Call) -> Result<Reply, Failure> {
    let path: PathBuf = call.arguments()?;
    Reply::of(&hold(TensorFile::open(&path)?))
}

/// The page of `frcnn compare --html`.
pub(crate) fn html(call: &Call) -> Result<Reply, Failure> {
    let (comparison, title): (u64, String) = call.arguments()?;
    let Comparison { images, classes } = &*held::<Comparison>(comparison)?;
    let name =
        |class: u16| classes.get(usize::from(class)).cloned().unwrap_or_else(|| format!("class {class}"));
    Reply::of(&page::comparison(&title, images, &name)?)
}

/// What both sides are compared on.
struct On {
    name: String,
    photo: Option<RgbImage>,
    boxes: Option<Vec<BBox>>,
    tolerances: Vec<(Option<String>, f64)>,
}

impl On {
    /// What rounding explains, or what was asked for.
    fn tolerances(&self, files: &[&TensorFile], detectors: &[&frcnn::Detector]) -> Tolerances {
        let explained = compare::explained(files, detectors);
        self.tolerances.iter().fold(explained, |tolerances, (stage, share)| match stage {
            Some(stage) => tolerances.with_stage(stage, *share),
            None => tolerances.with_all(*share),
        })
    }
}

#[derive(Deserialize)]
struct Arguments {
    /// The reference, and what is compared with it: tensors, or detectors.
    sides: (u64, u64),
    names: (String, String),
    /// Makes detections of predictions where both sides are tensors.
    detector: Option<u64>,
    image: Option<Image>,
    /// Which array.
    boxes: Option<usize>,
    /// Of all stages, or of one.
    #[serde(rename = "tolerance")]
    tolerances: Vec<(Option<String>, f64)>,
}

/// Compares; the comparison, whether it agrees, and what `frcnn compare --json` has of an image.
pub(crate) fn compare(call: &Call) -> Result<Reply, Failure> {
    let Arguments { sides, names, detector, image, boxes, tolerances } = call.arguments()?;
    let on = On {
        name: image.as_ref().map_or("image".to_string(), Image::name),
        photo: image.as_ref().map(|image| image.pixels(call)).transpose()?,
        boxes: call.boxes(boxes)?,
        tolerances,
    };
    let names = Names { reference: &names.0, found: &names.1 };
    let compared = match (find::<TensorFile>(sides.0), find::<TensorFile>(sides.1)) {
        (Some(first), Some(second)) => {
            let detector = detector.map(held::<Detector>).transpose()?;
            of_tensors([&first, &second], detector.as_deref(), on, names)?
        }
        (Some(first), None) => {
            let detector = held::<Detector>(sides.1)?;
            with_reference(&first, &detector, on, names)?
        }
        (None, Some(_)) => {
            let problem =
                "a detector is compared with reference tensors that come first, or with another detector";
            return Err(Failure::new(Kind::Option, problem));
        }
        (None, None) => {
            let (first, second) = (held::<Detector>(sides.0)?, held::<Detector>(sides.1)?);
            of_detectors([&first, &second], on, names)?
        }
    };
    let [(_, comparison)] = &compared.images;
    let (agrees, report) = (comparison.agrees(), comparison.clone());
    Reply::of(&(hold(compared), agrees, report))
}

fn of_tensors(
    [first, second]: [&TensorFile; 2],
    detector: Option<&Detector>,
    on: On,
    names: Names,
) -> Result<Comparison, Failure> {
    let tolerances = on.tolerances(&[first, second], &[]);
    let detector = detector.map(|detector| &detector.detector);
    let compared = compare::files(detector, [first, second], on.photo.as_ref(), &tolerances, names)?;
    let classes = detector.map_or(Vec::new(), |detector| detector.manifest().classes.clone());
    Ok(Comparison { images: [(on.name, compared)], classes })
}

fn with_reference(
    reference: &TensorFile,
    Detector { detector, .. }: &Detector,
    on: On,
    names: Names,
) -> Result<Comparison, Failure> {
    let tolerances = on.tolerances(&[reference], &[detector]);
    let compared = compare::with_reference(detector, reference, on.photo.as_ref(), &tolerances, names)?;
    Ok(Comparison { images: [(on.name, compared)], classes: detector.manifest().classes.clone() })
}

fn of_detectors([first, second]: [&Detector; 2], on: On, names: Names) -> Result<Comparison, Failure> {
    let tolerances = on.tolerances(&[], &[&first.detector, &second.detector]);
    let On { name, photo, boxes, .. } = on;
    let photo = photo
        .ok_or_else(|| Failure::new(Kind::Option, "two detectors are compared on an image: give one"))?;
    if first.detector.manifest().classes != second.detector.manifest().classes {
        return Err(Failure::file(Kind::Option, &second.path, "has other classes than the first bundle"));
    }
    let boxes = match Source::of(boxes, "auto", &first.detector)? {
        Source::Given(boxes) => Some(boxes),
        Source::Learned => None,
        Source::Made(_) => Some(frcnn_harness::selective_search(&photo).map_err(frcnn::Error::from)?),
    };
    let both = [&first.detector, &second.detector];
    let compared = compare::detectors(both, &photo, boxes.as_deref(), &tolerances, names)?;
    Ok(Comparison { images: [(name, compared)], classes: first.detector.manifest().classes.clone() })
}
