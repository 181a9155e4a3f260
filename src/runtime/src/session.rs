//! One thread's way from frames to detections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn_core::{BBox, Roi, ShapeError, project_rois};
use frcnn_kernels::Step;
use frcnn_proposals::{Proposals, Propose};

use crate::detector::Model;
use crate::head::Regions;
use crate::postprocess::Postprocessor;
use crate::preprocess::Preprocessor;
use crate::{Detections, Error, FeatureMap, Frame, HeadOutput, ImageBlob, Stage};

/// The buffers and methods with which one thread runs a [`Detector`](crate::Detector).
pub struct Session {
    model: Arc<Model>,
    preprocessor: Preprocessor,
    blobs: Vec<ImageBlob>,
    rois: ProjectedRois,
    output: HeadOutput,
    postprocessor: Postprocessor,
    timings: Timings,
}

/// How long each stage of the last [`Session::detect`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Image to blobs.
    pub preprocess: Duration,
    /// Blobs to feature maps.
    pub trunk: Duration,
    /// Projection, deduplication and pooling of RoIs.
    pub roi_pool: Duration,
    /// Pooled RoIs to predictions.
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

/// The distinct RoIs of a list of boxes.
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
        blobs: &[ImageBlob],
        spatial_scale: f32,
        width_offset: f32,
    ) -> Result<(), Error> {
        let scales: Vec<f64> = blobs.iter().map(|blob| blob.im_scale).collect();
        self.rois.resize(proposals.len(), Roi::default());
        self.index.resize(proposals.len(), 0);
        let (rois, index) = (&mut self.rois, &mut self.index);
        let distinct = project_rois(proposals, &scales, spatial_scale, width_offset, rois, index)?;
        self.rois.truncate(distinct);
        Ok(())
    }
}

impl Session {
    pub(crate) fn new(model: Arc<Model>) -> Session {
        Session {
            model,
            preprocessor: Preprocessor::default(),
            blobs: Vec::new(),
            rois: ProjectedRois::default(),
            output: HeadOutput::default(),
            postprocessor: Postprocessor::default(),
            timings: Timings::default(),
        }
    }

    /// Detects objects among `proposals`, boxes in image pixels.
    ///
    /// # Errors
    /// The frame, scaled as the manifest says, is too small for the trunk.
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
        model.lay_out();
        let mut clock = Clock::start();

        self.blobs.resize_with(manifest.scales.len(), ImageBlob::default);
        for (blob, &short_side) in self.blobs.iter_mut().zip(&manifest.scales) {
            self.preprocessor.run(frame, manifest, short_side, blob);
        }
        self.timings = Timings { preprocess: clock.lap(), ..Timings::default() };

        let maps: Result<Vec<FeatureMap>, Error> =
            self.blobs.iter().map(|blob| model.trunk.run(blob)).collect();
        let maps = maps?;
        self.timings.trunk = clock.lap();

        let spatial_scale = contents.roi_pooling.spatial_scale;
        self.rois.project(proposals, &self.blobs, spatial_scale, manifest.box_width_offset)?;
        self.timings.roi_pool = clock.lap();

        let timings = &mut self.timings;
        model.head.run(Regions::Maps(&maps, &self.rois.rois), &mut self.output, &mut |step| match step {
            Step::Pool => timings.roi_pool += clock.lap(),
            Step::Multiply => timings.head += clock.lap(),
        })?;

        let size = (frame.width(), frame.height());
        let (index, settings) = (&self.rois.index, &model.settings);
        let detections = self.postprocessor.run(proposals, index, &self.output, size, manifest, settings);
        self.timings.postprocess = clock.lap();
        Ok(detections)
    }

    /// How long each stage of the last [`detect`](Session::detect) took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Stage `data`: the frame's blob at each of the manifest's scales.
    pub fn preprocess(&mut self, frame: &Frame) -> Vec<ImageBlob> {
        let manifest = &self.model.contents().manifest;
        let blob = |&short_side: &u32| {
            let mut blob = ImageBlob::default();
            self.preprocessor.run(frame, manifest, short_side, &mut blob);
            blob
        };
        manifest.scales.iter().map(blob).collect()
    }

    /// Stage `conv`: the trunk's feature map of a blob.
    ///
    /// # Errors
    /// The blob is too small for the trunk.
    pub fn trunk(&self, blob: &ImageBlob) -> Result<FeatureMap, Error> {
        self.model.in_pool(|| self.model.trunk.run(blob))
    }

    /// Stage `rois`: the boxes as distinct RoIs on the feature maps of `blobs`.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn project(&self, proposals: &[BBox], blobs: &[ImageBlob]) -> Result<ProjectedRois, Error> {
        let contents = self.model.contents();
        let mut rois = ProjectedRois::default();
        let (scale, offset) = (contents.roi_pooling.spatial_scale, contents.manifest.box_width_offset);
        rois.project(proposals, blobs, scale, offset)?;
        Ok(rois)
    }

    /// Stage `pool5`: `[R, P, P, C]`, each RoI pooled from the map of its level.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives. An RoI of a level that has no map pools zeros.
    pub fn roi_pool(&self, maps: &[FeatureMap], rois: &[Roi]) -> Result<Vec<f32>, Error> {
        let mut pooled = vec![0.0; rois.len() * self.model.head.features()];
        self.model.in_pool(|| self.model.head.pool(maps, rois, &mut pooled))?;
        Ok(pooled)
    }

    /// Stages `cls_prob` and `bbox_pred` of `[R, P, P, C]` pooled features.
    ///
    /// # Errors
    /// `pooled` is not a whole number of RoIs.
    pub fn head(&mut self, pooled: &[f32]) -> Result<HeadOutput, Error> {
        self.check_pooled(pooled)?;
        let mut output = HeadOutput::default();
        self.model.in_pool(|| self.model.head.run(Regions::Pooled(pooled), &mut output, &mut |_| {}))?;
        Ok(output)
    }

    /// Every named layer of the head on `[R, P, P, C]` pooled features: `fc6`, `fc7`, `cls_score`,
    /// `bbox_pred`, `cls_prob`. For looking inside; [`head`](Session::head) is quicker.
    ///
    /// # Errors
    /// `pooled` is not a whole number of RoIs.
    pub fn head_stages(&self, pooled: &[f32]) -> Result<Vec<Stage>, Error> {
        self.check_pooled(pooled)?;
        self.model.in_pool(|| self.model.head.stages(pooled))
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

    /// Whether `pooled` is a whole number of RoIs.
    fn check_pooled(&self, pooled: &[f32]) -> Result<(), Error> {
        let features = self.model.head.features();
        let whole = pooled.len() / features.max(1) * features;
        Ok(ShapeError::check("pooled features", whole, pooled.len())?)
    }
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
