//! Pooled features, as the runtime and as references lay them out.

use frcnn::{BBox, Detector, FeatureMap, NO_ROI, Roi, Session};
use frcnn_bundle::{Regions, RoiAlign, RoiPooling};
use frcnn_eval::Tensor;

use crate::Error;

/// How a detector pools.
pub(crate) enum Pooled<'a> {
    Pooling(&'a RoiPooling),
    Align(&'a RoiAlign),
}

/// The name of the stage.
pub(crate) fn pooled_stage(detector: &Detector) -> &'static str {
    match detector.contents().regions {
        Regions::RoiAlign(_) => "roi_align",
        Regions::RoiPooling(_) | Regions::Warp(_) => "pool5",
    }
}

impl<'a> Pooled<'a> {
    /// # Errors
    /// It is an R-CNN: references hold no crops.
    pub(crate) fn of(detector: &'a Detector) -> Result<Pooled<'a>, Error> {
        match &detector.contents().regions {
            Regions::RoiPooling(pooling) => Ok(Pooled::Pooling(pooling)),
            Regions::RoiAlign(align) => Ok(Pooled::Align(align)),
            Regions::Warp(_) => Err(Error::Stage(
                "an R-CNN's stages cannot be compared: it runs its network on each region by itself"
                    .to_string(),
            )),
        }
    }

    /// The features of boxes in network pixels, in their order. Of a box without a region they are 0.
    pub(crate) fn pool(
        &self,
        session: &Session,
        maps: &[FeatureMap],
        boxes: &[BBox],
    ) -> Result<Vec<f32>, Error> {
        match self {
            Pooled::Pooling(RoiPooling { spatial_scale, .. }) => {
                let of_box = |b: &BBox| Roi::from_network(0, b.x1, b.y1, b.x2, b.y2, *spatial_scale);
                let rois: Vec<Roi> = boxes.iter().map(of_box).collect();
                Ok(session.roi_pool(maps.get(..1).unwrap_or(maps), &rois)?)
            }
            Pooled::Align(_) => {
                let rois = session.align_rois(boxes)?;
                let features = session.roi_align(maps, &rois.rois)?;
                let each = features.len() / rois.rois.len().max(1);
                let mut ordered = Vec::with_capacity(boxes.len() * each);
                for &index in &rois.index {
                    let place = index as usize * each;
                    match features.get(place..place + each) {
                        Some(own) if index != NO_ROI => ordered.extend_from_slice(own),
                        _ => ordered.resize(ordered.len() + each, 0.0),
                    }
                }
                Ok(ordered)
            }
        }
    }

    /// Rows, columns and bins of each level.
    fn levels(&self) -> Vec<[usize; 3]> {
        let pooled = match self {
            Pooled::Pooling(pooling) => &pooling.pooled[..],
            Pooled::Align(align) => std::slice::from_ref(&align.pooled),
        };
        let level = |&[height, width]: &[u32; 2]| {
            let [height, width] = [height, width].map(|p| p as usize);
            [height, width, height * width]
        };
        pooled.iter().map(level).collect()
    }

    /// The runtime's features of `rois` RoIs as references have them: [R, C, P, P], or, of several levels, [R, F], each level
    /// flattened with its channels first.
    pub(crate) fn as_reference(&self, pooled: &[f32], rois: usize, channels: usize) -> Tensor {
        let levels = self.levels();
        if let [[height, width, _]] = levels[..] {
            let shape = vec![rois, height, width, channels];
            return Tensor { shape, data: pooled.to_vec() }.channels_first();
        }
        let features = levels.iter().map(|[.., bins]| bins * channels).sum();
        let mut data = Vec::with_capacity(pooled.len());
        for mut rest in pooled.chunks_exact(features) {
            for &[height, width, bins] in &levels {
                let (level, later) = rest.split_at(bins * channels);
                rest = later;
                let level = Tensor { shape: vec![1, height, width, channels], data: level.to_vec() };
                data.extend(level.channels_first().data);
            }
        }
        Tensor { shape: vec![rois, features], data }
    }

    /// The reverse, of the stage `name`, pooled from maps of so many channels.
    pub(crate) fn of_reference(
        &self,
        name: &str,
        pooled: &Tensor,
        channels: usize,
    ) -> Result<Vec<f32>, Error> {
        let levels = self.levels();
        let shape = &pooled.shape;
        let other = |wanted: String| {
            Err(Error::Stage(format!("`{name}` has shape {shape:?}, and the bundle's has [R, {wanted}]")))
        };
        if let [[height, width, _]] = levels[..] {
            return match shape[..] {
                [_, ref each @ ..] if each == [channels, height, width] => Ok(pooled.channels_last().data),
                _ => other(format!("{channels}, {height}, {width}")),
            };
        }
        let bins: usize = levels.iter().map(|[.., bins]| bins).sum();
        if !matches!(shape[..], [_, features] if features == bins * channels) {
            return other(format!("{}", bins * channels));
        }
        let mut data = Vec::with_capacity(pooled.data.len());
        for mut rest in pooled.data.chunks_exact((bins * channels).max(1)) {
            for &[height, width, bins] in &levels {
                let (level, later) = rest.split_at(bins * channels);
                rest = later;
                let level = Tensor { shape: vec![1, channels, height, width], data: level.to_vec() };
                data.extend(level.channels_last().data);
            }
        }
        Ok(data)
    }
}
