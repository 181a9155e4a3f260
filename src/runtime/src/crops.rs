//! R-CNN: the whole network on each region.
//!
//! ```text
//! image ──warp──► [N,S,S,3] ──trunk──► [N,Hf,Wf,C]    a few regions at a time, by which convolutions share their weights
//!                                          ╰─── head  many at a time: its weights are hundreds of megabytes
//! ```

use frcnn_bundle::Warp;
use frcnn_core::Roi;
use frcnn_kernels::warp_into;

use crate::head::HeadInput;
use crate::model::Model;
use crate::plan::values;
use crate::{Error, HeadOutput, ImageBlob};

/// Regions that the trunk runs on together.
pub(crate) const TRUNK_BATCH: usize = 16;
/// Regions that the head runs on together.
pub(crate) const HEAD_BATCH: usize = 512;

/// What [`predict`] has just done some of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Warp,
    Trunk,
    Head,
}

/// Writes the predictions for `windows` of the image to `output`. `features` is kept between calls; `after` is called
/// after each part of the work.
pub(crate) fn predict(
    model: &Model,
    warp: Warp,
    image: &ImageBlob,
    windows: &[Roi],
    features: &mut Vec<f32>,
    output: &mut HeadOutput,
    after: &mut dyn FnMut(Part),
) -> Result<(), Error> {
    for windows in windows.chunks(HEAD_BATCH) {
        features.clear();
        for windows in windows.chunks(TRUNK_BATCH) {
            let size = [warp.side as usize; 2];
            let maps = model.trunk.run_batch(windows.len(), size, |crops| {
                cut(image, windows, warp, model.settings.threads, crops)?;
                after(Part::Warp);
                Ok(())
            })?;
            // A copy, for what tract's trunk gives for each batch is a tensor of its own.
            features.extend_from_slice(values("trunk", &maps)?);
            after(Part::Trunk);
        }
        model.head.run(HeadInput::Features(features), output, &mut |_| after(Part::Head))?;
    }
    Ok(())
}

/// The windows of `image`, `[R, S, S, 3]`.
pub(crate) fn cut(
    image: &ImageBlob,
    windows: &[Roi],
    warp: Warp,
    threads: usize,
    crops: &mut [f32],
) -> Result<(), frcnn_core::ShapeError> {
    let pixels = frcnn_kernels::FeatureMap::new(&image.data, image.height, image.width, 3)?;
    warp_into(pixels, windows, warp.side as usize, threads, crops)
}

/// The trunk's maps, `[R, Hf, Wf, C]`, of `[R, S, S, 3]`.
pub(crate) fn maps(model: &Model, warp: Warp, crops: &[f32]) -> Result<Vec<f32>, Error> {
    let side = warp.side as usize;
    let crop = side * side * 3;
    frcnn_core::ShapeError::check("crops", crops.len() / crop * crop, crops.len())?;
    let mut maps = Vec::new();
    for crops in crops.chunks(TRUNK_BATCH * crop) {
        let made = model.trunk.run_batch(crops.len() / crop, [side; 2], |values| {
            values.copy_from_slice(crops);
            Ok(())
        })?;
        maps.extend_from_slice(values("trunk", &made)?);
    }
    Ok(maps)
}
