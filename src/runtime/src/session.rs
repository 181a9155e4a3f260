//! One thread's way from frames to detections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn_bundle::{Contents, DetectionMethod, Regions, Warp};
use frcnn_core::{BBox, Roi, ShapeError, blob_size, im_scale, project_rois, window_rois};
use frcnn_files::try_resize;
use frcnn_kernels::Step;
use frcnn_proposals::{Proposals, Propose};

use crate::crops::{self, Part};
use crate::head::HeadInput;
use crate::model::Model;
use crate::postprocess::Postprocessor;
use crate::preprocess::Preprocessor;
use crate::{Detections, Error, FeatureMap, Frame, HeadOutput, ImageBlob, NamedTensor};

/// The buffers and methods with which one thread runs a [`Detector`](crate::Detector).
pub struct Session {
    model: Arc<Model>,
    preprocessor: Preprocessor,
    rois: ProjectedRois,
    /// R-CNN's, whose regions are cut out of it.
    image: ImageBlob,
    /// R-CNN's, of some regions.
    features: Vec<f32>,
    output: HeadOutput,
    postprocessor: Postprocessor,
    timings: Timings,
    /// Height, width and proposals of the frame that was last seen to be within the limits.
    checked: Option<(u32, u32, usize)>,
}

/// How long each stage of the last [`Session::detect`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Image to blobs.
    pub preprocess: Duration,
    /// Blobs, or R-CNN's crops, to feature maps.
    pub trunk: Duration,
    /// Projection, deduplication and pooling of RoIs, or their warping in R-CNN.
    pub roi_pool: Duration,
    /// Features of RoIs to predictions.
    pub head: Duration,
    /// Predictions to detections.
    pub postprocess: Duration,
}

impl Timings {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.preprocess + self.trunk + self.roi_pool + self.head + self.postprocess
    }
}

/// The distinct RoIs of a list of boxes: in cells of feature maps, or R-CNN's windows in pixels of the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectedRois {
    /// Distinct, in ascending order, so those of one pyramid level lie together.
    pub rois: Vec<Roi>,
    /// For each box the position of its RoI, or [`NO_ROI`](crate::NO_ROI) where the box is not valid.
    pub index: Vec<u32>,
}

impl ProjectedRois {
    fn project(
        &mut self,
        proposals: &[BBox],
        scales: &[f64],
        regions: &Regions,
        width_offset: f32,
    ) -> Result<(), Error> {
        try_resize(&mut self.rois, proposals.len(), Roi::default()).map_err(Error::memory("RoIs"))?;
        try_resize(&mut self.index, proposals.len(), 0).map_err(Error::memory("RoIs"))?;
        let (rois, index) = (&mut self.rois, &mut self.index);
        let distinct = match regions {
            Regions::RoiPooling(pooling) => {
                project_rois(proposals, scales, pooling.spatial_scale, width_offset, rois, index)?
            }
            Regions::Warp(warp) => {
                window_rois(proposals, warp.side, warp.context, width_offset, rois, index)?
            }
        };
        self.rois.truncate(distinct);
        Ok(())
    }
}

impl Session {
    pub(crate) fn new(model: Arc<Model>) -> Session {
        Session {
            model,
            preprocessor: Preprocessor::default(),
            rois: ProjectedRois::default(),
            image: ImageBlob::default(),
            features: Vec::new(),
            output: HeadOutput::default(),
            postprocessor: Postprocessor::default(),
            timings: Timings::default(),
            checked: None,
        }
    }

    /// Detects objects among `proposals`, boxes in image pixels.
    ///
    /// # Errors
    /// The frame, scaled as the manifest says, is too small for the trunk, or asks for more than the limits allow.
    pub fn detect(&mut self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        let model = self.model.clone();
        model.in_pool(|| self.detect_here(frame, proposals))
    }

    /// Makes at most `max` proposals of the frame, on the detector's threads, and detects objects among them.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), frcnn::Error> {
    /// # let (pixels, detector) = (vec![0u8; 640 * 480 * 3], frcnn::Detector::open("cells.frcnn")?);
    /// let frame = frcnn::Frame::rgb8(&pixels, 640, 480)?;
    /// let mut source = frcnn::SelectiveSearch { threads: detector.threads(), ..Default::default() };
    /// let (detections, proposals) = detector.session().detect_with(&frame, &mut source, 2000)?;
    /// println!("{} objects, {} boxes in {:?}", detections.len(), proposals.boxes.len(), proposals.elapsed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`detect`](Session::detect).
    pub fn detect_with(
        &mut self,
        frame: &Frame,
        source: &mut dyn Propose,
        max: usize,
    ) -> Result<(Detections, Proposals), Error> {
        let model = self.model.clone();
        let proposals = model.in_pool(|| source.propose(frame, max));
        Ok((self.detect(frame, &proposals.boxes)?, proposals))
    }

    fn detect_here(&mut self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        let model = self.model.clone();
        let contents = model.contents();
        let manifest = &contents.manifest;
        self.check(frame, proposals.len())?;
        let mut clock = Clock::start();

        self.timings = Timings::default();
        self.output.cls_prob.clear();
        self.output.bbox_pred.clear();
        match contents.regions {
            Regions::Warp(warp) => self.predict_crops(&model, warp, frame, proposals, &mut clock)?,
            Regions::RoiPooling(_) => self.predict_pooled(&model, frame, proposals, &mut clock)?,
        }

        let size = (frame.width(), frame.height());
        let (index, settings) = (&self.rois.index, &model.settings);
        let detections = self.postprocessor.run(proposals, index, &self.output, size, manifest, settings);
        self.timings.postprocess = clock.lap();
        Ok(detections)
    }

    /// Fast R-CNN and SPPnet: the trunk on the image, the head on the RoIs that are pooled from its maps.
    fn predict_pooled(
        &mut self,
        model: &Model,
        frame: &Frame,
        proposals: &[BBox],
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let (timings, preprocessor) = (&mut self.timings, &mut self.preprocessor);
        let scales: Vec<f64> = scales(contents, frame).collect();
        let mut maps = Vec::with_capacity(scales.len());
        for &scale in &scales {
            let (height, width) = blob_size(frame.height(), frame.width(), scale);
            // Straight into the tensor that the trunk reads.
            maps.push(model.trunk.run_on([height, width], |blob| {
                preprocessor.fill(frame, &contents.blob_means, scale, blob)?;
                timings.preprocess += clock.lap();
                Ok(())
            })?);
            timings.trunk += clock.lap();
        }
        self.rois.project(proposals, &scales, &contents.regions, contents.manifest.box_width_offset)?;
        timings.roi_pool = clock.lap();
        let input = HeadInput::Maps(&maps, &self.rois.rois);
        model.head.run(input, &mut self.output, &mut |step| match step {
            Step::Pool => timings.roi_pool += clock.lap(),
            Step::Multiply => timings.head += clock.lap(),
        })
    }

    /// R-CNN: trunk and head on each region of the image.
    fn predict_crops(
        &mut self,
        model: &Model,
        warp: Warp,
        frame: &Frame,
        proposals: &[BBox],
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let (timings, image) = (&mut self.timings, &mut self.image);
        self.preprocessor.run(frame, &contents.blob_means, 1.0, image)?;
        timings.preprocess = clock.lap();
        self.rois.project(proposals, &[1.0], &contents.regions, contents.manifest.box_width_offset)?;
        timings.roi_pool = clock.lap();
        let windows = &self.rois.rois;
        crops::predict(model, warp, image, windows, &mut self.features, &mut self.output, &mut |part| {
            *match part {
                Part::Warp => &mut timings.roi_pool,
                Part::Trunk => &mut timings.trunk,
                Part::Head => &mut timings.head,
            } += clock.lap();
        })
    }

    /// How long each stage of the last [`detect`](Session::detect) took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Predictions of the last [`detect`](Session::detect), or [`postprocess`](Session::postprocess), that were left out
    /// because their score, or the box that would have been detected, is not finite: signs of a network that diverged, or of
    /// proposals far beyond any image.
    pub fn not_finite(&self) -> usize {
        self.postprocessor.not_finite()
    }

    /// Stage `data`: the frame's blob at each of the manifest's scales; of R-CNN one, of the frame's own size.
    ///
    /// # Errors
    /// The frame asks for more than the limits allow.
    pub fn preprocess(&mut self, frame: &Frame) -> Result<Vec<ImageBlob>, Error> {
        self.check(frame, 0)?;
        let contents = self.model.contents();
        let blobs = scales(contents, frame).map(|scale| {
            let mut blob = ImageBlob::default();
            self.preprocessor.run(frame, &contents.blob_means, scale, &mut blob)?;
            Ok(blob)
        });
        blobs.collect()
    }

    /// Whether the frame is within the limits, which is counted anew where its size or the number of proposals is.
    fn check(&mut self, frame: &Frame, rois: usize) -> Result<(), Error> {
        let asked = (frame.height(), frame.width(), rois);
        if self.checked != Some(asked) {
            let (height, width) = (frame.height(), frame.width());
            let sizes = scales(self.model.contents(), frame).map(|scale| {
                let (height, width) = blob_size(height, width, scale);
                [height, width]
            });
            self.model.check(&sizes.collect::<Vec<_>>(), rois)?;
            self.checked = Some(asked);
        }
        Ok(())
    }

    /// Stage `conv`: the trunk's feature map of a blob.
    ///
    /// # Errors
    /// The blob is too small for the trunk.
    pub fn trunk(&self, blob: &ImageBlob) -> Result<FeatureMap, Error> {
        self.model.in_pool(|| self.model.trunk.run(blob))
    }

    /// Stage `rois`: the boxes as distinct RoIs on the feature maps of `blobs`, or as R-CNN's windows of the image.
    ///
    /// # Errors
    /// There is no memory for as many RoIs.
    pub fn project(&self, proposals: &[BBox], blobs: &[ImageBlob]) -> Result<ProjectedRois, Error> {
        let contents = self.model.contents();
        let mut rois = ProjectedRois::default();
        let scales: Vec<f64> = blobs.iter().map(|blob| blob.im_scale).collect();
        rois.project(proposals, &scales, &contents.regions, contents.manifest.box_width_offset)?;
        Ok(rois)
    }

    /// Stage `pool5`: each RoI pooled from the map of its level, `[R, P, P, C]`; of SPPnet `[R, B, C]`, the bins of
    /// all levels.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives, or the bundle is an R-CNN. An RoI of a level that has no map
    /// pools zeros.
    pub fn roi_pool(&self, maps: &[FeatureMap], rois: &[Roi]) -> Result<Vec<f32>, Error> {
        if self.model.contents().method() == DetectionMethod::RCnn {
            return Err(self.no_stage("roi_pool"));
        }
        let mut pooled = Vec::new();
        let values = rois.len().saturating_mul(self.model.head.features());
        try_resize(&mut pooled, values, 0.0).map_err(Error::memory("pooled features"))?;
        self.model.in_pool(|| self.model.head.pool(maps, rois, &mut pooled))?;
        Ok(pooled)
    }

    /// Stage `crops` of an R-CNN: the windows that [`project`](Session::project) gives, cut out of `image` and resized to
    /// `[R, S, S, 3]`.
    ///
    /// # Errors
    /// The bundle is no R-CNN.
    pub fn warp(&self, image: &ImageBlob, windows: &[Roi]) -> Result<Vec<f32>, Error> {
        let warp = self.warp_of("warp")?;
        let side = warp.side as usize;
        let mut crops = Vec::new();
        let values = windows.len().saturating_mul(side * side * 3);
        try_resize(&mut crops, values, 0.0).map_err(Error::memory("crops"))?;
        self.model.in_pool(|| crops::cut(image, windows, warp, self.model.settings.threads, &mut crops))?;
        Ok(crops)
    }

    /// The trunk's maps of an R-CNN's crops, `[R, Hf, Wf, C]`.
    ///
    /// # Errors
    /// `crops` is not a whole number of them, or the bundle is no R-CNN.
    pub fn trunk_of_crops(&self, crops: &[f32]) -> Result<Vec<f32>, Error> {
        let warp = self.warp_of("trunk_of_crops")?;
        self.model.in_pool(|| crops::maps(&self.model, warp, crops))
    }

    /// Stages `cls_prob` and `bbox_pred` of the features of RoIs: pooled, or the maps of an R-CNN's crops.
    ///
    /// # Errors
    /// `features` are not of a whole number of RoIs.
    pub fn head(&mut self, features: &[f32]) -> Result<HeadOutput, Error> {
        self.check_features(features)?;
        let mut output = HeadOutput::default();
        let input = HeadInput::Features(features);
        self.model.in_pool(|| self.model.head.run(input, &mut output, &mut |_| {}))?;
        Ok(output)
    }

    /// Every named layer of the head on the features of RoIs: `fc6`, `fc7`, `cls_score`, `bbox_pred`, `cls_prob`. For
    /// looking inside; [`head`](Session::head) is quicker.
    ///
    /// # Errors
    /// `features` are not of a whole number of RoIs.
    pub fn head_stages(&self, features: &[f32]) -> Result<Vec<NamedTensor>, Error> {
        self.check_features(features)?;
        self.model.in_pool(|| self.model.head.stages(features))
    }

    /// The last stage: predictions to detections in an image of `width` x `height` pixels. `index` is
    /// that of [`project`](Session::project).
    pub fn postprocess(
        &mut self,
        proposals: &[BBox],
        index: &[u32],
        output: &HeadOutput,
        width: u32,
        height: u32,
    ) -> Detections {
        let (manifest, settings) = (&self.model.contents().manifest, &self.model.settings);
        self.postprocessor.run(proposals, index, output, (width, height), manifest, settings)
    }

    /// Whether `features` are of a whole number of RoIs.
    fn check_features(&self, features: &[f32]) -> Result<(), Error> {
        let each = self.model.head.features();
        let whole = features.len() / each.max(1) * each;
        Ok(ShapeError::check("features of RoIs", whole, features.len())?)
    }

    fn warp_of(&self, stage: &'static str) -> Result<Warp, Error> {
        match self.model.contents().regions {
            Regions::Warp(warp) => Ok(warp),
            Regions::RoiPooling(_) => Err(self.no_stage(stage)),
        }
    }

    fn no_stage(&self, stage: &'static str) -> Error {
        Error::Stage { method: self.model.contents().method().name(), stage }
    }
}

/// Blob pixels to a pixel of the frame, of each blob.
fn scales<'a>(contents: &'a Contents, frame: &Frame) -> impl Iterator<Item = f64> + use<'a> {
    let (height, width) = (frame.height(), frame.width());
    let manifest = &contents.manifest;
    let scales = match contents.regions {
        Regions::RoiPooling(_) => &manifest.scales[..],
        Regions::Warp(_) => &[],
    };
    let own = scales.is_empty().then_some(1.0);
    own.into_iter()
        .chain(scales.iter().map(move |&short| im_scale(height, width, short, manifest.max_long_side)))
}

struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Time since the start or the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
