//! The stages of a detector as reference files name and lay them out.
//!
//! `data` [1,3,H,W] and `pool5` [R,C,P,P] have their channels first, as the frameworks that make references do, and `data` is
//! what the ONNX file's network reads, in its own channel order and scale; `rois`
//! [R,5] is batch index, x1, y1, x2, y2 in network pixels. What the head makes has the names of its layers. SPPnet's
//! `pool5` is [R,F]: its levels, each flattened, one after the other.

use frcnn::{BBox, Detector, FeatureMap, Frame, HeadOutput, ImageBlob, Roi, Session};
use frcnn_bundle::{NetworkInput, Regions, RoiPooling};
use frcnn_eval::{Found, Tensor, TensorFile};
use image::RgbImage;

use crate::Error;

/// Named tensors in the order of the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages {
    tensors: Vec<(String, Tensor)>,
    /// Network pixels per image pixel.
    pub(crate) im_scale: f64,
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
        Stages { tensors, im_scale: like.im_scale, size: like.size }
    }

    /// Those of a reference file, in the network's order.
    pub(crate) fn of_file(file: &TensorFile) -> Result<Stages, String> {
        let mut stages = Stages { im_scale: 1.0, ..Stages::default() };
        if let Some(scale) = file.metadata.get("im_scale") {
            let scale = scale.parse::<f64>().ok().filter(|scale| scale.is_finite() && *scale > 0.0);
            stages.im_scale = scale.ok_or("its metadata's im_scale is no number above 0")?;
        }
        for name in order(&file.names()) {
            if let Some(tensor) = file.get(name) {
                stages.push(name, tensor.clone());
            }
        }
        if let Some([.., height, width]) = stages.get("data").map(|data| &data.shape[..]) {
            let side = |length: usize| (length as f64 / stages.im_scale).round() as u32;
            stages.size = (side(*width), side(*height));
        }
        Ok(stages)
    }

    /// The reference's RoIs, as the runtime wants them and as boxes in the image.
    pub(crate) fn rois(&self, spatial_scale: f32) -> Result<(Vec<Roi>, Vec<BBox>), Error> {
        let rois = self.get("rois").ok_or_else(|| Error::Stage("there are no `rois`".to_string()))?;
        if !matches!(rois.shape[..], [_, 5]) {
            return Err(Error::Stage(format!("`rois` has shape {:?}, not [R, 5]", rois.shape)));
        }
        let image = |v: f32| (f64::from(v) / self.im_scale) as f32;
        let both = rois.data.as_chunks::<5>().0.iter().map(|&[_, x1, y1, x2, y2]| {
            let roi = Roi::from_network(0, x1, y1, x2, y2, spatial_scale);
            (roi, BBox::new(image(x1), image(y1), image(x2), image(y2)))
        });
        Ok(both.unzip())
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
    let known = ["data", "rois", "conv", "pool5", "fc6", "fc7", "cls_score", "cls_prob", "bbox_pred"];
    let mut names = names.to_vec();
    names.sort_by_key(|name| known.iter().position(|k| k == name).unwrap_or(known.len()));
    names
}

/// What a detector computes of a photo and boxes; its `data` is as `other` reads it, which may have been trained on another
/// channel order or scale.
pub(crate) fn of_photo(
    detector: &Detector,
    other: &Detector,
    photo: &RgbImage,
    boxes: &[BBox],
) -> Result<Stages, Error> {
    let mut session = detector.session();
    let blob = blob_of(&mut session, photo)?;
    let mut rois = Vec::new();
    for b in boxes.iter().filter(|b| b.is_valid()) {
        rois.push(0.0);
        rois.extend([b.x1, b.y1, b.x2, b.y2].map(|v| (f64::from(v) * blob.im_scale) as f32));
    }
    let rois = Tensor { shape: vec![rois.len() / 5, 5], data: rois };
    let mut stages = Stages { im_scale: blob.im_scale, size: photo.dimensions(), ..Stages::default() };
    let [own, others] = [detector, other].map(|side| side.contents().blob_means);
    let mut as_other = blob.clone();
    for pixel in as_other.data.as_chunks_mut::<3>().0 {
        for ((value, own), others) in pixel.iter_mut().zip(own).zip(others) {
            *value += own - others;
        }
    }
    stages.push("data", tensor_of(other, &as_other));
    stages.push("rois", rois);
    let chained = Inputs { data: Some(&blob), ..Inputs::default() };
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
pub(crate) fn blob_from(detector: &Detector, data: &Tensor, im_scale: f64) -> Result<ImageBlob, Error> {
    let [1, 3, height, width] = data.shape[..] else {
        return Err(Error::Stage(format!("`data` has shape {:?}, not [1, 3, H, W]", data.shape)));
    };
    let data = input(detector).to_blob(&data.channels_last().data);
    Ok(ImageBlob { data, height, width, im_scale })
}

fn input(detector: &Detector) -> NetworkInput {
    detector.contents().network_input()
}

/// From where a detector starts; each later one replaces what the earlier ones would lead to.
#[derive(Default)]
pub(crate) struct Inputs<'a> {
    pub(crate) data: Option<&'a ImageBlob>,
    pub(crate) conv: Option<&'a Tensor>,
    pub(crate) pool5: Option<&'a Tensor>,
}

/// The stages behind the inputs: `conv`, `pool5` and the head's, as far as they can be computed.
pub(crate) fn computed(
    detector: &Detector,
    session: &mut Session,
    inputs: &Inputs,
    reference: &Stages,
) -> Result<Vec<(String, Tensor)>, Error> {
    let pooling = pooling(detector)?;
    let mut stages = Vec::new();
    let map = match (inputs.conv, inputs.data) {
        (Some(conv), _) => Some(map_from(conv)?),
        (None, Some(blob)) => {
            let map = session.trunk(blob)?;
            let shape = vec![1, map.height(), map.width(), map.channels()];
            stages.push(("conv".to_string(), Tensor { shape, data: map.data()?.to_vec() }.channels_first()));
            Some(map)
        }
        (None, None) => None,
    };
    let pooled = match (inputs.pool5, map, reference.rois(pooling.spatial_scale)) {
        (Some(pool5), ..) => from_onnx(pool5, pooling)?,
        (None, Some(map), Ok((rois, _))) => {
            let channels = map.channels();
            let pooled = session.roi_pool(&[map], &rois)?;
            stages.push(("pool5".to_string(), to_onnx(&pooled, pooling, rois.len(), channels)));
            pooled
        }
        _ => return Ok(stages),
    };
    let head = session.head_stages(&pooled)?;
    stages
        .extend(head.into_iter().map(|stage| (stage.name, Tensor { shape: stage.shape, data: stage.data })));
    Ok(stages)
}

/// How the detector pools.
///
/// # Errors
/// It is an R-CNN: references hold no crops.
pub(crate) fn pooling(detector: &Detector) -> Result<&RoiPooling, Error> {
    match &detector.contents().regions {
        Regions::RoiPooling(pooling) => Ok(pooling),
        Regions::Warp(_) => Err(Error::Stage(
            "an R-CNN's stages cannot be compared: it runs its network on each region by itself".to_string(),
        )),
    }
}

/// Rows, columns and bins of each level.
fn levels(pooling: &RoiPooling) -> impl Iterator<Item = [usize; 3]> {
    pooling.pooled.iter().map(|&[height, width]| {
        let [height, width] = [height, width].map(|p| p as usize);
        [height, width, height * width]
    })
}

/// The runtime's `pool5` of `rois` RoIs as references have it: [R, C, P, P], or, of several levels, [R, F], each level
/// flattened with its channels first.
fn to_onnx(pooled: &[f32], pooling: &RoiPooling, rois: usize, channels: usize) -> Tensor {
    if let [[height, width]] = pooling.pooled[..] {
        let shape = vec![rois, height as usize, width as usize, channels];
        return Tensor { shape, data: pooled.to_vec() }.channels_first();
    }
    let features = levels(pooling).map(|[.., bins]| bins * channels).sum();
    let mut data = Vec::with_capacity(pooled.len());
    for mut rest in pooled.chunks_exact(features) {
        for [height, width, bins] in levels(pooling) {
            let (level, later) = rest.split_at(bins * channels);
            rest = later;
            let level = Tensor { shape: vec![1, height, width, channels], data: level.to_vec() };
            data.extend(level.channels_first().data);
        }
    }
    Tensor { shape: vec![rois, features], data }
}

/// The reverse.
fn from_onnx(pool5: &Tensor, pooling: &RoiPooling) -> Result<Vec<f32>, Error> {
    if pooling.pooled.len() == 1 {
        return Ok(pool5.channels_last().data);
    }
    let bins: usize = levels(pooling).map(|[.., bins]| bins).sum();
    let channels = match pool5.shape[..] {
        [_, features] if features > 0 && features.is_multiple_of(bins) => features / bins,
        _ => {
            let shape = &pool5.shape;
            return Err(Error::Stage(format!(
                "`pool5` has shape {shape:?}, not [R, F] with F a multiple of {bins}"
            )));
        }
    };
    let mut data = Vec::with_capacity(pool5.data.len());
    for mut rest in pool5.data.chunks_exact(bins * channels) {
        for [height, width, bins] in levels(pooling) {
            let (level, later) = rest.split_at(bins * channels);
            rest = later;
            let level = Tensor { shape: vec![1, channels, height, width], data: level.to_vec() };
            data.extend(level.channels_last().data);
        }
    }
    Ok(data)
}

fn map_from(conv: &Tensor) -> Result<FeatureMap, Error> {
    let last = conv.channels_last();
    match last.shape[..] {
        [1, height, width, channels] => Ok(FeatureMap::new(&last.data, height, width, channels)?),
        _ => Err(Error::Stage(format!("`conv` has shape {:?}, not [1, C, H, W]", conv.shape))),
    }
}
