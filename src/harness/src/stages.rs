//! The stages of a detector as reference files name and lay them out.
//!
//! `data` [1,3,H,W] and `pool5` [R,C,P,P] have their channels first, as the frameworks that make references do, and `data` is
//! what the ONNX file's network reads, in its own channel order and scale; `rois`
//! [R,5] is batch index, x1, y1, x2, y2 in network pixels. What the head makes has the names of its layers. SPPnet's
//! `pool5` is [R,F]: its levels, each flattened, one after the other.
//!
//! Of networks with several maps these are `p2` and so on, of those with an RPN there are `rpn_logits.L` and `rpn_deltas.L` of each
//! map, counted from 0, and `proposals` [N,4] in network pixels, and RoIAlign's is `roi_align` [R,C,P,P].

use std::collections::BTreeMap;

use frcnn::{BBox, Detector, FeatureMap, Frame, HeadOutput, ImageBlob, RpnOutput, Session};
use frcnn_bundle::{Contents, NetworkInput, Resize, Shape, nominal_size};
use frcnn_eval::{Found, Tensor, TensorFile};
use image::RgbImage;

use crate::pooled::{Pooled, pooled_stage};
use crate::proposed::{proposals_of, proposed};
use crate::{Error, Provenance};

/// Named tensors in the order of the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages {
    tensors: Vec<(String, Tensor)>,
    /// Network pixels per image pixel, down and to the right.
    pub(crate) scale: [f64; 2],
    /// Rows and columns of the resized image in `data`, where it is known that it is padded, and how.
    pub(crate) image: Option<[usize; 2]>,
    /// Width and height of the image.
    pub(crate) size: (u32, u32),
}

impl Stages {
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    fn push(&mut self, name: &str, tensor: Tensor) {
        self.tensors.push((name.to_string(), tensor));
    }

    /// Tensors of another side on the same image.
    pub(crate) fn of(tensors: Vec<(String, Tensor)>, like: &Stages) -> Stages {
        Stages { tensors, ..Stages { tensors: Vec::new(), ..*like } }
    }

    /// Those of a reference file, in the network's order.
    pub(crate) fn of_file(file: &TensorFile) -> Result<Stages, String> {
        let mut stages = Stages { scale: [1.0; 2], ..Stages::default() };
        if let Some(scale) = file.metadata.get("im_scale") {
            let scale = scale.parse::<f64>().ok().filter(|scale| scale.is_finite() && *scale > 0.0);
            stages.scale = [scale.ok_or("its metadata's im_scale is no number above 0")?; 2];
        }
        for name in order(&file.names()) {
            if let Some(tensor) = file.get(name) {
                stages.push(name, tensor.clone());
            }
        }
        if let Some([.., height, width]) = stages.get("data").map(|data| &data.shape[..]) {
            let side = |length: usize, scale: f64| (length as f64 / scale).round() as u32;
            let [down, right] = stages.scale;
            stages.size = (side(*width, right), side(*height, down));
        }
        Ok(stages)
    }

    /// The photo that the tensors were made from, and how the detector's manifest resizes it.
    pub(crate) fn of_photo(&mut self, detector: &Detector, photo: &RgbImage) {
        let (manifest, (width, height)) = (detector.manifest(), photo.dimensions());
        self.size = (width, height);
        if manifest.resize != Resize::Published || manifest.pad_multiple > 1 {
            let fit = manifest.fit(height, width, manifest.scales.first().copied().unwrap_or(1));
            (self.scale, self.image) = (fit.scale, Some(fit.image));
        }
    }

    /// The reference's RoIs as boxes in network pixels.
    pub(crate) fn rois(&self) -> Result<Vec<BBox>, Error> {
        let rois = self.get("rois").ok_or_else(|| Error::Stage("there are no `rois`".to_string()))?;
        if !matches!(rois.shape[..], [_, 5]) {
            return Err(Error::Stage(format!("`rois` has shape {:?}, not [R, 5]", rois.shape)));
        }
        let rois = rois.data.as_chunks::<5>().0;
        if let Some(row) = rois.iter().position(|&[image, ..]| image != 0.0) {
            return Err(Error::Stage(format!(
                "`rois`: the batch index of row {row} is not 0, but a reference is of one image"
            )));
        }
        if let Some(row) = rois.iter().position(|roi| !roi.iter().all(|v| v.is_finite())) {
            return Err(Error::Stage(format!("`rois`: row {row} is not finite")));
        }
        Ok(rois.iter().map(|&[_, x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2)).collect())
    }

    /// The same in the image.
    pub(crate) fn boxes(&self) -> Result<Vec<BBox>, Error> {
        let [down, right] = self.scale;
        let image = |v: f32, scale: f64| (f64::from(v) / scale) as f32;
        let in_image =
            |b: BBox| BBox::new(image(b.x1, right), image(b.y1, down), image(b.x2, right), image(b.y2, down));
        Ok(self.rois()?.into_iter().map(in_image).collect())
    }

    /// The detections that the detector's manifest makes of `cls_prob` and `bbox_pred`, if both are there.
    pub(crate) fn detections(&self, session: &mut Session, boxes: &[BBox]) -> Option<Vec<Found>> {
        let (cls_prob, bbox_pred) = (self.get("cls_prob")?, self.get("bbox_pred")?);
        let output = HeadOutput { cls_prob: cls_prob.data.clone(), bbox_pred: bbox_pred.data.clone() };
        let index: Vec<u32> = (0..boxes.len() as u32).collect();
        let found = session.postprocess(boxes, &index, &output, self.size.0, self.size.1);
        Some(found.iter().map(|d| Found { class_id: d.class_id, score: d.score, bbox: d.bbox }).collect())
    }
}

/// Published names first, in the network's order; `rois` is an input of both sides.
fn order<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let known = [
        "data",
        "conv",
        "p",
        "rpn_logits",
        "rpn_deltas",
        "proposals",
        "rois",
        "pool5",
        "roi_align",
        "fc6",
        "fc7",
        "cls_score",
        "cls_prob",
        "bbox_pred",
    ];
    let place = |name: &str| {
        let is_map = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let kind = match (name.strip_prefix('p'), name.split_once('.')) {
            (Some(level), _) if is_map(level) => "p",
            (_, Some((kind, map))) if is_map(map) => kind,
            _ => name,
        };
        // Of the maps of one kind, the tenth comes after the ninth.
        let rank = known.iter().position(|k| *k == kind);
        rank.map_or((known.len(), 0, String::new()), |rank| (rank, name.len(), name.to_string()))
    };
    let mut names = names.to_vec();
    names.sort_by_key(|name| place(name));
    names
}

/// What a reference file of one image has.
#[derive(Clone, Debug)]
pub struct ReferenceTensors {
    /// By name, in the network's order.
    pub tensors: Vec<(String, Tensor)>,
    /// `im_scale`, and the facts of [`Provenance`](crate::Provenance).
    pub metadata: BTreeMap<String, String>,
}

/// Every stage that a detector computes of a photo, by the names and in the layouts of reference files. `boxes` are in pixels of
/// the photo, corners inclusive; without, the network's own RPN proposes.
///
/// # Errors
/// The detector cannot run the photo, its manifest has several scales, or it has no RPN and there are no boxes.
pub fn stages(
    detector: &Detector,
    photo: &RgbImage,
    boxes: Option<&[BBox]>,
) -> Result<ReferenceTensors, Error> {
    let Stages { tensors, scale, .. } = of_photo(detector, detector, photo, boxes)?;
    let mut metadata: BTreeMap<String, String> =
        Provenance::of_detector("", detector).facts.into_iter().collect();
    metadata.insert("im_scale".to_string(), scale[0].to_string());
    Ok(ReferenceTensors { tensors, metadata })
}

/// What a detector computes of a photo and boxes, or its own proposals; its `data` is as `other` reads it, which may have been
/// trained on another channel order or scale.
pub(crate) fn of_photo(
    detector: &Detector,
    other: &Detector,
    photo: &RgbImage,
    boxes: Option<&[BBox]>,
) -> Result<Stages, Error> {
    let mut session = detector.session();
    let blob = blob_of(&mut session, photo)?;
    let boxes: Vec<BBox> = match boxes {
        Some(boxes) => boxes.iter().filter(|b| b.is_valid()).map(|b| blob.to_blob(b)).collect(),
        None => proposals_of(&session, &blob)?,
    };
    let rois = boxes.iter().flat_map(|b| [0.0, b.x1, b.y1, b.x2, b.y2]).collect();
    let rois = Tensor { shape: vec![boxes.len(), 5], data: rois };
    let mut stages = Stages { scale: blob.scale, ..Stages::default() };
    stages.of_photo(detector, photo);
    let [own, others] = [detector, other].map(|side| side.contents().blob_means);
    let mut as_other = blob.clone();
    for pixel in as_other.data.as_chunks_mut::<3>().0 {
        for ((value, own), others) in pixel.iter_mut().zip(own).zip(others) {
            *value += own - others;
        }
    }
    stages.push("data", tensor_of(other, &as_other));
    stages.push("rois", rois);
    let chained = Inputs { data: Some(&blob), blob: Some(&blob), ..Inputs::default() };
    for (name, tensor) in computed(detector, &mut session, &chained, &stages)? {
        stages.push(&name, tensor);
    }
    Ok(stages)
}

pub(crate) fn blob_of(session: &mut Session, photo: &RgbImage) -> Result<ImageBlob, Error> {
    let frame = Frame::rgb8(photo.as_raw(), photo.width(), photo.height()).map_err(frcnn::Error::from)?;
    let mut blobs = session.preprocess(&frame)?;
    match (blobs.pop(), blobs.is_empty()) {
        (Some(blob), true) => Ok(blob),
        _ => Err(Error::Stage("stages are compared at one scale, but the manifest has several".to_string())),
    }
}

/// `data` of a blob.
pub(crate) fn tensor_of(detector: &Detector, blob: &ImageBlob) -> Tensor {
    let data = input(detector).of_blob(&blob.data);
    Tensor { shape: vec![1, blob.height, blob.width, 3], data }.channels_first()
}

/// The reverse.
pub(crate) fn blob_from(detector: &Detector, data: &Tensor, reference: &Stages) -> Result<ImageBlob, Error> {
    let [1, 3, height, width] = data.shape[..] else {
        return Err(Error::Stage(format!("`data` has shape {:?}, not [1, 3, H, W]", data.shape)));
    };
    let data = input(detector).to_blob(&data.channels_last().data);
    let image = reference.image.unwrap_or([height, width]);
    Ok(ImageBlob { data, height, width, image, scale: reference.scale })
}

fn input(detector: &Detector) -> NetworkInput {
    detector.contents().network_input()
}

/// From where a detector starts; each later one replaces what the earlier ones would lead to.
#[derive(Default)]
pub(crate) struct Inputs<'a> {
    pub(crate) data: Option<&'a ImageBlob>,
    pub(crate) maps: Option<Vec<FeatureMap>>,
    pub(crate) rpn: Option<Vec<RpnOutput>>,
    pub(crate) pooled: Option<&'a Tensor>,
    /// Whose size proposals are made for; without it there are none.
    pub(crate) blob: Option<&'a ImageBlob>,
}

/// The stages behind the inputs: maps, those of proposing, pooled features and the head's, as far as they can be computed.
pub(crate) fn computed(
    detector: &Detector,
    session: &mut Session,
    inputs: &Inputs,
    reference: &Stages,
) -> Result<Vec<(String, Tensor)>, Error> {
    let pooled = Pooled::of(detector)?;
    let contents = detector.contents();
    let mut stages = Vec::new();
    let maps = match (&inputs.maps, inputs.data) {
        (Some(maps), _) => Some(maps.clone()),
        (None, Some(blob)) => {
            let maps = session.maps(blob)?;
            for (name, map) in contents.map_names().into_iter().zip(&maps) {
                stages.push((name, of_map(map)?));
            }
            Some(maps)
        }
        (None, None) => None,
    };
    if contents.rpn.is_some() {
        stages.extend(proposed(session, maps.as_deref(), inputs, reference)?);
    }
    let features = match (inputs.pooled, maps, reference.rois()) {
        (Some(features), ..) => {
            let channels = map_channels(contents).first().copied().unwrap_or(0);
            pooled.of_reference(pooled_stage(detector), features, channels)?
        }
        (None, Some(maps), Ok(rois)) => {
            let channels = maps.first().map_or(0, FeatureMap::channels);
            let features = pooled.pool(session, &maps, &rois)?;
            stages.push((
                pooled_stage(detector).to_string(),
                pooled.as_reference(&features, rois.len(), channels),
            ));
            features
        }
        _ => return Ok(stages),
    };
    let head = session.head_stages(&features)?;
    stages
        .extend(head.into_iter().map(|stage| (stage.name, Tensor { shape: stage.shape, data: stage.data })));
    Ok(stages)
}

/// The maps of a reference, if it has all of them.
pub(crate) fn maps_from(detector: &Detector, reference: &Stages) -> Result<Option<Vec<FeatureMap>>, Error> {
    let contents = detector.contents();
    let names = contents.map_names();
    let maps = names
        .iter()
        .zip(map_channels(contents))
        .map(|(name, channels)| reference.get(name).map(|map| map_from(name, map, channels)));
    maps.collect::<Option<Result<Vec<_>, Error>>>().transpose()
}

/// How many channels each of the trunk's maps has, whatever the size of the blob.
pub(crate) fn map_channels(contents: &Contents) -> Vec<usize> {
    let (height, width) = nominal_size(contents);
    let shapes = contents.trunk.infer(Shape::Map { height, width, channels: 3 }).unwrap_or_default();
    let channels = |&value: &u32| shapes.get(value as usize).map_or(0, Shape::channels);
    contents.trunk.outputs.iter().map(channels).collect()
}

/// A map as references have it.
pub(crate) fn of_map(map: &FeatureMap) -> Result<Tensor, Error> {
    let shape = vec![1, map.height(), map.width(), map.channels()];
    Ok(Tensor { shape, data: map.data()?.to_vec() }.channels_first())
}

/// The reverse, of a map that has so many channels in the bundle.
pub(crate) fn map_from(name: &str, map: &Tensor, channels: usize) -> Result<FeatureMap, Error> {
    let last = map.channels_last();
    match last.shape[..] {
        [1, height, width, found] if found == channels => {
            Ok(FeatureMap::new(&last.data, height, width, channels)?)
        }
        _ => Err(Error::Stage(format!(
            "`{name}` has shape {:?}, and the bundle's has [1, {channels}, H, W]",
            map.shape
        ))),
    }
}
