//! One thread's way from frames to detections.

mod stages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn_bundle::{BlobFit, Contents, Regions, Warp};
use frcnn_core::BBox;
use frcnn_kernels::Step;
use frcnn_proposals::{Proposals, Propose};

use crate::boxes::{BoxPixels, from_blob, to_blob};
use crate::crops::{self, Part};
use crate::head::HeadInput;
use crate::model::Model;
use crate::pooling::MapRegion;
use crate::postprocess::Postprocessor;
use crate::preprocess::Preprocessor;
use crate::propose::Proposer;
use crate::rois::{AlignedRois, ProjectedRois, Rois};
use crate::rpn::RpnHead;
use crate::{Detections, Error, FeatureMap, Frame, HeadOutput, ImageBlob};

/// The buffers and methods with which one thread runs a [`Detector`](crate::Detector).
pub struct Session {
    pub(crate) model: Arc<Model>,
    pub(crate) preprocessor: Preprocessor,
    pub(crate) rois: ProjectedRois,
    /// Those of RoIAlign.
    pub(crate) aligned: AlignedRois,
    /// R-CNN's, whose regions are cut out of it.
    pub(crate) image: ImageBlob,
    /// R-CNN's, of some regions.
    pub(crate) features: Vec<f32>,
    pub(crate) output: HeadOutput,
    /// What the judge gave.
    pub(crate) judged: HeadOutput,
    pub(crate) dropped: usize,
    pub(crate) proposer: Proposer,
    boxes: Boxes,
    pub(crate) postprocessor: Postprocessor,
    pub(crate) timings: Timings,
    /// Height, width and proposals of the frame that was last seen to be within the limits.
    checked: Option<(u32, u32, usize)>,
}

/// The proposals of a frame.
#[derive(Default)]
struct Boxes {
    /// Of the last frame with learned ones: in pixels of the image.
    learned: Vec<BBox>,
    /// In pixels of the blob, where they are needed.
    in_blob: Vec<BBox>,
}

/// How long each stage of the last [`Session::detect`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Image to blobs.
    pub preprocess: Duration,
    /// Blobs, or R-CNN's crops, to feature maps.
    pub trunk: Duration,
    /// Feature maps to logits and box deltas of anchors.
    pub rpn: Duration,
    /// Those to proposals.
    pub proposals: Duration,
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
        let proposals = self.rpn + self.proposals;
        self.preprocess + self.trunk + proposals + self.roi_pool + self.head + self.postprocess
    }
}

/// What [`Session::values`] runs a graph on.
#[derive(Clone, Copy, Debug)]
pub enum GraphInput<'a> {
    /// An image's blob, which the trunk reads.
    Blob(&'a ImageBlob),
    /// Regions of an image, which an R-CNN's trunk reads: what [`Session::warp`] gives.
    Crops(&'a [f32]),
    /// Features of regions, which the head reads.
    Features(&'a [f32]),
}

/// Where a frame's proposals come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Boxes in pixels of the image.
    Given(&'a [BBox]),
    /// The network's RPN.
    Learned,
}

impl Session {
    pub(crate) fn new(model: Arc<Model>) -> Session {
        Session {
            model,
            preprocessor: Preprocessor::default(),
            rois: ProjectedRois::default(),
            aligned: AlignedRois::default(),
            image: ImageBlob::default(),
            features: Vec::new(),
            output: HeadOutput::default(),
            judged: HeadOutput::default(),
            dropped: 0,
            proposer: Proposer::default(),
            boxes: Boxes::default(),
            postprocessor: Postprocessor::default(),
            timings: Timings::default(),
            checked: None,
        }
    }

    /// Detects objects among `proposals`, boxes in image pixels, whether the network makes proposals of its own or not.
    ///
    /// # Errors
    /// The frame, scaled as the manifest says, is too small for the trunk, or asks for more than the limits allow.
    pub fn detect(&mut self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        self.detect_among(frame, Some(proposals))
    }

    /// Detects objects among the proposals of the network's own RPN, which [`proposals`](Session::proposals) then gives.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), frcnn::Error> {
    /// # let (pixels, detector) = (vec![0u8; 640 * 480 * 3], frcnn::Detector::open("faster.frcnn")?);
    /// let frame = frcnn::Frame::rgb8(&pixels, 640, 480)?;
    /// let mut session = detector.session();
    /// let detections = session.detect_frame(&frame)?;
    /// println!("{} objects among {} boxes", detections.len(), session.proposals().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`detect`](Session::detect), or the bundle has no RPN.
    pub fn detect_frame(&mut self, frame: &Frame) -> Result<Detections, Error> {
        self.detect_among(frame, None)
    }

    /// Detects objects among `boxes`, in image pixels, or where none are given among the proposals of the network's own RPN: as
    /// [`detect`](Session::detect) or as [`detect_frame`](Session::detect_frame).
    ///
    /// # Errors
    /// As [`detect`](Session::detect), or no boxes are given and the bundle has no RPN.
    pub fn detect_among(&mut self, frame: &Frame, boxes: Option<&[BBox]>) -> Result<Detections, Error> {
        let source = boxes.map_or(Source::Learned, Source::Given);
        let model = self.model.clone();
        model.on_frame(|| self.detect_here(frame, source))
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

    fn detect_here(&mut self, frame: &Frame, source: Source<'_>) -> Result<Detections, Error> {
        let model = self.model.clone();
        let contents = model.contents();
        let manifest = &contents.manifest;
        self.check_source(frame, source)?;
        let mut clock = Clock::start();

        self.timings = Timings::default();
        self.dropped = 0;
        self.output.cls_prob.clear();
        self.output.bbox_pred.clear();
        self.proposer.clear();
        let fits = fits(contents, frame);
        let image = [frame.height(), frame.width()];
        let pixels = BoxPixels::new(manifest, image, fits.first().unwrap_or(&BlobFit::whole(image)));
        match (&contents.regions, source) {
            (&Regions::Warp(warp), Source::Given(boxes)) => {
                self.predict_crops(&model, warp, frame, boxes, &mut clock)?;
            }
            (Regions::Warp(_), Source::Learned) => return Err(self.no_stage("rpn")),
            _ => self.predict_pooled(&model, frame, &fits, source, &pixels, &mut clock)?,
        }

        let output = std::mem::take(&mut self.output);
        let detections = self.detections(&model, source, &pixels, &output);
        self.output = output;
        self.timings.postprocess = clock.lap();
        Ok(detections)
    }

    /// What the head's predictions for a frame's RoIs say of its proposals.
    pub(crate) fn detections(
        &mut self,
        model: &Model,
        source: Source<'_>,
        pixels: &BoxPixels,
        output: &HeadOutput,
    ) -> Detections {
        let contents = model.contents();
        let index = match contents.regions {
            Regions::RoiAlign(_) => &self.aligned.index,
            Regions::RoiPooling(_) | Regions::Warp(_) => &self.rois.index,
        };
        let proposals = match source {
            _ if pixels.in_blob => &self.boxes.in_blob,
            Source::Given(boxes) => boxes,
            Source::Learned => &self.boxes.learned,
        };
        self.postprocessor.run(proposals, index, output, pixels, &contents.manifest, &model.settings)
    }

    /// The trunk on the image, the head on the RoIs that are pooled from its maps.
    fn predict_pooled(
        &mut self,
        model: &Model,
        frame: &Frame,
        fits: &[BlobFit],
        source: Source<'_>,
        pixels: &BoxPixels,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let (timings, preprocessor) = (&mut self.timings, &mut self.preprocessor);
        let mut maps = Vec::with_capacity(fits.len());
        for fit in fits {
            // Straight into the tensor that the trunk reads.
            maps.extend(model.trunk.run_on(fit.blob, |blob| {
                preprocessor.fill(frame, &contents.blob_means, fit, blob)?;
                timings.preprocess += clock.lap();
                Ok(())
            })?);
            timings.trunk += clock.lap();
        }
        // A feature pyramid, or learned proposals, go with one scale of the image.
        let fit = fits.first().copied().unwrap_or(BlobFit::whole([0; 2]));
        match source {
            Source::Learned => self.propose(model, &maps, &fit, pixels, clock)?,
            Source::Given(boxes) => self.take_boxes(contents, boxes, &fit, pixels),
        }
        self.find_rois(contents, source, fits, pixels)?;
        if let Regions::RoiAlign(_) = contents.regions {
            let mut aligned = std::mem::take(&mut self.aligned);
            let done = self.predict(model, &maps, &mut aligned, clock);
            self.aligned = aligned;
            return done;
        }
        let mut rois = std::mem::take(&mut self.rois);
        let done = self.predict(model, &maps, &mut rois, clock);
        self.rois = rois;
        done
    }

    /// Moves boxes that are given into pixels of the blob, where they are needed there.
    pub(crate) fn take_boxes(
        &mut self,
        contents: &Contents,
        boxes: &[BBox],
        fit: &BlobFit,
        pixels: &BoxPixels,
    ) {
        let in_blob = &mut self.boxes.in_blob;
        in_blob.clear();
        if pixels.in_blob {
            in_blob.extend(boxes.iter().map(|bbox| pixels.of_image(bbox)));
        } else if let Regions::RoiAlign(_) = contents.regions {
            in_blob.extend(boxes.iter().map(|bbox| to_blob(bbox, fit.scale)));
        }
    }

    /// The RoIs of the boxes that were taken: aligned, or in cells.
    pub(crate) fn find_rois(
        &mut self,
        contents: &Contents,
        source: Source<'_>,
        fits: &[BlobFit],
        pixels: &BoxPixels,
    ) -> Result<(), Error> {
        let in_blob = &self.boxes.in_blob;
        let (regions, width_offset) = (&contents.regions, contents.manifest.box_width_offset);
        match (regions, source) {
            (Regions::RoiAlign(align), _) => self.aligned.align(in_blob, &align.levels()),
            (_, Source::Given(boxes)) if !pixels.in_blob => {
                let scales: Vec<f64> = fits.iter().map(|fit| fit.scale[0]).collect();
                self.rois.project(boxes, &scales, regions, width_offset)
            }
            _ => self.rois.project(in_blob, &[1.0], regions, width_offset),
        }
    }

    /// The RPN's proposals of the trunk's maps.
    fn propose(
        &mut self,
        model: &Model,
        maps: &[FeatureMap],
        fit: &BlobFit,
        pixels: &BoxPixels,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let Some(rpn) = &model.rpn else { return Err(self.no_stage("rpn")) };
        for (position, map) in maps.iter().enumerate() {
            let output = rpn.run(map)?;
            self.timings.rpn += clock.lap();
            self.proposer.add(position, &output, rpn.rpn(), [fit.blob, fit.image])?;
            self.timings.proposals += clock.lap();
        }
        self.take_proposals(rpn, fit, pixels);
        self.timings.proposals += clock.lap();
        Ok(())
    }

    /// Makes proposals of what was added of each map.
    pub(crate) fn take_proposals(&mut self, rpn: &RpnHead, fit: &BlobFit, pixels: &BoxPixels) {
        self.proposer.finish(rpn.rpn());
        let Boxes { learned, in_blob } = &mut self.boxes;
        let boxes = &self.proposer.proposals.boxes;
        learned.clear();
        in_blob.clear();
        in_blob.extend_from_slice(boxes);
        learned.extend(boxes.iter().map(|bbox| match pixels.in_blob {
            true => pixels.to_image(bbox),
            false => from_blob(bbox, fit.scale),
        }));
    }

    /// The head on RoIs that are pooled from maps, without those that a cascade's judge drops.
    fn predict<R: MapRegion>(
        &mut self,
        model: &Model,
        maps: &[FeatureMap],
        rois: &mut Rois<R>,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let timings = &mut self.timings;
        timings.roi_pool += clock.lap();
        let mut after = |step| match step {
            Step::Pool => timings.roi_pool += clock.lap(),
            Step::Multiply => timings.head += clock.lap(),
        };
        if let Some(judge) = &model.judge {
            self.dropped = judge.drop_background(maps, rois, &mut self.judged, &mut after)?;
        }
        let regions = R::on_maps(maps, &rois.rois);
        model.head.run(HeadInput::Maps(regions), &mut self.output, &mut after)
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
        let whole = BlobFit::whole([frame.height(), frame.width()]);
        self.preprocessor.run(frame, &contents.blob_means, &whole, image)?;
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

    /// The boxes that the last [`detect_frame`](Session::detect_frame) proposed, in image pixels, the likeliest first; a
    /// detection's `proposal` is a position among them.
    pub fn proposals(&self) -> &[BBox] {
        &self.boxes.learned
    }

    /// Distinct RoIs of the last [`detect`](Session::detect) that the cascade's judge dropped, and all of them.
    pub fn dropped(&self) -> (usize, usize) {
        let stayed = match self.model.contents().regions {
            Regions::RoiAlign(_) => self.aligned.rois.len(),
            Regions::RoiPooling(_) | Regions::Warp(_) => self.rois.rois.len(),
        };
        (self.dropped, self.dropped + stayed)
    }

    /// Predictions of the last [`detect`](Session::detect), or [`postprocess`](Session::postprocess), that were left out
    /// because their score, or the box that would have been detected, is not finite: signs of a network that diverged, or of
    /// proposals far beyond any image. Of [`detect_frame`](Session::detect_frame), anchors whose logit or box is not finite
    /// count, too.
    pub fn not_finite(&self) -> usize {
        self.postprocessor.not_finite() + self.proposer.not_finite()
    }

    /// Whether the frame is within the limits, and the network has such proposals.
    pub(crate) fn check_source(&mut self, frame: &Frame, source: Source<'_>) -> Result<(), Error> {
        let count = match source {
            Source::Given(boxes) => boxes.len(),
            Source::Learned => self.rpn_of("rpn")?.rpn().post_nms_top_n as usize,
        };
        self.check(frame, count)
    }

    /// Whether the frame is within the limits, which is counted anew where its size or the number of proposals is.
    pub(crate) fn check(&mut self, frame: &Frame, rois: usize) -> Result<(), Error> {
        let asked = (frame.height(), frame.width(), rois);
        if self.checked != Some(asked) {
            let blobs: Vec<[usize; 2]> =
                fits(self.model.contents(), frame).iter().map(|fit| fit.blob).collect();
            self.model.check(&blobs, rois)?;
            self.checked = Some(asked);
        }
        Ok(())
    }
}

/// How a frame becomes blobs: one for each of the manifest's scales; of R-CNN one, of the frame's own size.
pub(crate) fn fits(contents: &Contents, frame: &Frame) -> Vec<BlobFit> {
    let (height, width) = (frame.height(), frame.width());
    match contents.regions {
        Regions::Warp(_) => vec![BlobFit::whole([height, width])],
        Regions::RoiPooling(_) | Regions::RoiAlign(_) => {
            let scales = contents.manifest.scales.iter();
            scales.map(|&short| contents.manifest.fit(height, width, short)).collect()
        }
    }
}

pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Time since the start or the last lap.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
