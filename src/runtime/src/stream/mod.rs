//! Detection in the frames of one fixed camera, which costs what has changed.
//!
//! A [`Stream`] keeps a *composite*: of each cell of 8 x 8 pixels those that were last accepted. A cell is accepted anew when its
//! pixels differ from these by more than the tolerance. What [`Stream::detect`] gives is, bit for bit, what
//! [`Session::detect`](crate::Session::detect) gives for the composite; with a tolerance of 0 that is the frame itself.
//!
//! ```text
//!             accepted cells            their receptive field in a map           computed: whole tiles
//!            ┌────────────────┐         ┌────────────────┐                       ┌──┬──┬──┬──┬──┬─┐
//!   frame    │                │         │  ╭─────────╮   │ halo: outputs whose   │  ├──┼──┼──┤  │ │
//!     ↓      │     ▓▓▓        │  layer  │  │  ▓▓▓    │   │ window reaches what   │  │▒▒│▒▒│▒▒│  │ │
//!  composite │     ▓▓▓        │ ──────► │  │  ▓▓▓    │   │ has changed           │  │▒▒│▒▒│▒▒│  │ │
//!            │                │         │  ╰─────────╯   │                       │  ├──┼──┼──┤  │ │
//!            └────────────────┘         └────────────────┘                       └──┴──┴──┴──┴──┴─┘
//! ```
//!
//! 1. Each layer's map is kept. Of a new frame a layer makes anew the outputs that see a changed cell: a rectangle that grows by
//!    a halo from layer to layer (half a window on each side), and shrinks with the strides. What it reads beside the changed
//!    cells is what was kept. So the halo is read, not computed.
//! 2. Values are replaced and never added to: nothing drifts, and a frame without change has no cost but the comparison.
//! 3. Winograd's algorithm computes tiles, and which bits an output has depends on its place in the tile. Tiles lie where they
//!    lie in the whole map, so rectangles grow to whole tiles. Where layers run in strips of rows of which an inner one is by
//!    Winograd's algorithm, they grow to whole strips.
//! 4. A recomputed output that has the bits it had before has not changed: rectangles shrink to what has, before the next layer.
//! 5. A map that the budget of memory leaves no room for is made anew where the next layer reads it: the halo is computed then.
//!    Those are left out first whose bytes spare least work.
//! 6. An RPN runs as the trunk does: on windows of its maps where those of the trunk have changed. Where no logit and no delta has
//!    another bit, the proposals are those of before; otherwise they are chosen anew.
//! 7. RoIs of before that see no changed cell of their map keep what the head gave them: of RoIAlign, no cell that its points lie
//!    between. The head runs on the others. Where a row's last bits depend on how many rows there are (bf16x3 on CPUs with AMX, unless
//!    [`F32Products::Exact`](crate::F32Products::Exact) is asked for), all RoIs keep it or none.
//! 8. Where most of the trunk's work would be done anew, the whole trunk runs, as for a first frame. With a feature pyramid, whose
//!    coarsest map sees most of the image and goes into all others, and with squeeze and excitation, which see all of it, that is so
//!    wherever anything has changed. What they gain are frames without change. Where even a cell in a corner is too much, maps between
//!    the first and the last are not kept.
//!
//! Published systems that reuse frames give up exactness: CBinfer (Cavigelli et al., 2017) thresholds each layer's changes,
//! Skip-Conv (Habibian et al., CVPR 2021) and DeltaCNN (Parger et al., CVPR 2022) propagate differences that are set to 0 where
//! they are small. Here the one approximation is the tolerance of the composite, which is in grey levels.

mod cells;
mod composite;
mod difference;
mod expected;
mod maps;
mod noise;
mod regions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use frcnn_bundle::{BlobFit, Regions, Warp};
use frcnn_core::{BBox, Roi};
use frcnn_kernels::Step;
use frcnn_proposals::{Proposals, Propose};

use crate::area::{Area, merge};
use crate::boxes::BoxPixels;
use crate::crops::{self, Part};
use crate::head::HeadInput;
use crate::judge::Judge;
use crate::model::Model;
use crate::pooling::{MapRegion, Pooling, roi_cells};
use crate::preprocess::blob_area;
use crate::rois::Rois;
use crate::rpn::RpnOutput;
use crate::session::{Clock, Source, fits};
use crate::{Detections, Detector, Error, FeatureMap, Frame, Session, Timings};

use cells::pixel_areas;
use composite::Composite;
pub use composite::Tolerance;
pub use expected::ExpectedReuse;
use maps::FrameMaps;
use regions::RegionCache;

/// Pixels of a blob by which the union of two areas may be larger than both.
const SLACK: usize = 1024;

/// Choices made when a [`Stream`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamOptions {
    /// How far a cell's pixels may differ from those that were last accepted.
    pub tolerance: Tolerance,
    /// MiB of feature maps that may be kept from frame to frame; default 256. With less, more is computed anew.
    pub reuse_mib: u32,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions { tolerance: Tolerance::default(), reuse_mib: 256 }
    }
}

/// What the last frame of a [`Stream`] cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reuse {
    /// Cells of 8 x 8 pixels.
    pub cells: usize,
    /// Those that were accepted anew.
    pub cells_changed: usize,
    /// Share of the trunk's multiplications that were done anew, halos and whole tiles included; from 0 to 1, and 1 where the
    /// whole trunk ran. Of an R-CNN 0: its trunk runs on regions.
    pub trunk_share: f64,
    /// Distinct RoIs, or an R-CNN's windows.
    pub rois: usize,
    /// Those that kept what the head gave them.
    pub rois_reused: usize,
    /// Grey levels that a cell may differ by, in the next frame.
    pub tolerance: f32,
    /// Bytes that the stream keeps from frame to frame: maps, the composite and the head's outputs.
    pub kept_bytes: u64,
}

/// Detection in the frames of one fixed camera. Each camera has a stream of its own.
///
/// ```no_run
/// # fn frames() -> Vec<Vec<u8>> { Vec::new() }
/// # fn main() -> Result<(), frcnn::Error> {
/// let detector = frcnn::Detector::open("cells.frcnn")?;
/// let mut stream = detector.stream(frcnn::StreamOptions::default())?;
/// let mut motion = frcnn::Motion::new();
/// for pixels in frames() {
///     let frame = frcnn::Frame::rgb8(&pixels, 640, 480)?;
///     let (detections, _) = stream.detect_with(&frame, &mut motion, 2000)?;
///     println!("{} objects, {:.0} % of the trunk", detections.len(), 100.0 * stream.reuse().trunk_share);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Stream {
    session: Session,
    options: StreamOptions,
    composite: Composite,
    maps: FrameMaps,
    /// Whether the RPN's maps, and its proposals, are those of the last frame.
    has_proposed: bool,
    regions: RegionCache,
    /// The same of a cascade's judge, without box deltas.
    judged: RegionCache,
    reuse: Reuse,
    /// Whether all that is kept is of the same frame: the last one went through.
    is_whole: bool,
}

impl Detector {
    /// The working state for the frames of one fixed camera.
    ///
    /// # Errors
    /// The tolerance is negative or not finite.
    pub fn stream(&self, options: StreamOptions) -> Result<Stream, Error> {
        options.tolerance.check()?;
        Ok(Stream {
            session: self.session(),
            options,
            composite: Composite::default(),
            maps: FrameMaps::default(),
            has_proposed: false,
            regions: RegionCache::default(),
            judged: RegionCache::default(),
            reuse: Reuse::default(),
            is_whole: false,
        })
    }
}

impl Stream {
    /// Detects objects among `proposals`, boxes in image pixels, in the composite with this frame.
    ///
    /// # Errors
    /// As [`Session::detect`](crate::Session::detect). The next frame is then like a first one.
    pub fn detect(&mut self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        self.detect_among(frame, Some(proposals))
    }

    /// Detects objects among the proposals of the network's own RPN, which [`proposals`](Stream::proposals) then gives.
    ///
    /// # Errors
    /// As [`detect`](Stream::detect), or the bundle has no RPN.
    pub fn detect_frame(&mut self, frame: &Frame) -> Result<Detections, Error> {
        self.detect_among(frame, None)
    }

    /// Detects objects among `boxes`, in image pixels, or where none are given among the proposals of the network's own RPN: as
    /// [`detect`](Stream::detect) or as [`detect_frame`](Stream::detect_frame).
    ///
    /// # Errors
    /// As [`detect`](Stream::detect), or no boxes are given and the bundle has no RPN.
    pub fn detect_among(&mut self, frame: &Frame, boxes: Option<&[BBox]>) -> Result<Detections, Error> {
        let source = boxes.map_or(Source::Learned, Source::Given);
        let model = self.session.model.clone();
        model.on_frame(|| self.detect_here(frame, source))
    }

    /// Makes at most `max` proposals of the frame, on the detector's threads, and detects objects among them.
    ///
    /// # Errors
    /// As [`detect`](Stream::detect).
    pub fn detect_with(
        &mut self,
        frame: &Frame,
        source: &mut dyn Propose,
        max: usize,
    ) -> Result<(Detections, Proposals), Error> {
        let model = self.session.model.clone();
        let proposals = model.in_pool(|| source.propose(frame, max));
        Ok((self.detect(frame, &proposals.boxes)?, proposals))
    }

    /// The pixels that were last accepted: what the last detections are of. None before the first frame.
    pub fn composite(&self) -> Option<Frame<'_>> {
        self.composite.frame()
    }

    /// As [`Session::proposals`](crate::Session::proposals), of the last [`detect_frame`](Stream::detect_frame).
    pub fn proposals(&self) -> &[BBox] {
        self.session.proposals()
    }

    /// What the last frame cost.
    pub fn reuse(&self) -> &Reuse {
        &self.reuse
    }

    /// How long each stage of the last [`detect`](Stream::detect) took; that of comparing the frame is preprocessing.
    pub fn timings(&self) -> &Timings {
        &self.session.timings
    }

    /// As [`Session::not_finite`](crate::Session::not_finite), of the last frame.
    pub fn not_finite(&self) -> usize {
        self.session.not_finite()
    }

    fn detect_here(&mut self, frame: &Frame, source: Source<'_>) -> Result<Detections, Error> {
        let model = self.session.model.clone();
        let contents = model.contents();
        self.session.check_source(frame, source)?;
        let mut clock = Clock::start();
        self.session.timings = Timings::default();

        let was_whole = std::mem::take(&mut self.is_whole);
        let changed = self.composite.accept(frame, self.options.tolerance)?;
        let size = [frame.height() as usize, frame.width() as usize];
        let areas = (was_whole && !changed.scene).then(|| pixel_areas(changed, size)).flatten();
        (self.reuse.cells, self.reuse.cells_changed) = (changed.cells(), changed.count());
        self.session.timings.preprocess = clock.lap();
        let fits = fits(contents, frame);
        let image = [frame.height(), frame.width()];
        let whole = BlobFit::whole(image);
        let pixels = BoxPixels::new(&contents.manifest, image, fits.first().unwrap_or(&whole));
        match (&contents.regions, source) {
            (&Regions::Warp(warp), Source::Given(boxes)) => {
                self.predict_crops(&model, warp, areas.as_deref(), boxes, &mut clock)?;
            }
            _ => self.predict_pooled(&model, &fits, areas.as_deref(), (source, &pixels), &mut clock)?,
        }
        self.is_whole = true;

        let output = self.regions.output();
        let detections = self.session.detections(&model, source, &pixels, output);
        self.session.timings.postprocess = clock.lap();
        let (dropped, all) = self.session.dropped();
        self.reuse.rois = all - dropped;
        self.reuse.tolerance = self.composite.tolerance(self.options.tolerance);
        let kept =
            [self.maps.kept_bytes(), self.composite.bytes(), self.regions.bytes(), self.judged.bytes()];
        self.reuse.kept_bytes = kept.iter().sum::<usize>() as u64;
        Ok(detections)
    }

    /// Fast R-CNN, Faster R-CNN and SPPnet. `areas` are the pixels that have changed, `None` all of them.
    fn predict_pooled(
        &mut self,
        model: &Arc<Model>,
        fits: &[BlobFit],
        areas: Option<&[Area]>,
        (source, pixels): (Source<'_>, &BoxPixels),
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let (maps, changed) = self.trunk(model, fits, areas, clock)?;
        // Nothing that was kept is of this frame if the one before did not go through.
        let changed = areas.is_some().then_some(&changed[..]);
        let fit = fits.first().copied().unwrap_or(BlobFit::whole([0; 2]));
        match source {
            Source::Learned => self.propose(model, (&maps, changed), &fit, pixels, clock)?,
            Source::Given(boxes) => {
                self.has_proposed = false;
                self.session.proposer.clear();
                self.session.take_boxes(contents, boxes, &fit, pixels);
            }
        }
        self.session.find_rois(contents, source, fits, pixels)?;
        self.session.timings.roi_pool += clock.lap();
        if let Regions::RoiAlign(_) = contents.regions {
            let mut aligned = std::mem::take(&mut self.session.aligned);
            let done = self.predict(model, (&maps, changed), &mut aligned, clock);
            self.session.aligned = aligned;
            return done;
        }
        let mut rois = std::mem::take(&mut self.session.rois);
        let done = self.predict(model, (&maps, changed), &mut rois, clock);
        self.session.rois = rois;
        done
    }

    /// The trunk's maps of the composite, and what of each may have changed.
    fn trunk(
        &mut self,
        model: &Model,
        fits: &[BlobFit],
        areas: Option<&[Area]>,
        clock: &mut Clock,
    ) -> Result<(Vec<FeatureMap>, Vec<Vec<Area>>), Error> {
        let contents = model.contents();
        let Session { preprocessor, timings, .. } = &mut self.session;
        let Some(frame) = self.composite.frame() else { return Ok(Default::default()) };
        let sizes: Vec<[usize; 2]> = fits.iter().map(|fit| fit.blob).collect();
        if !self.maps.are_of(&sizes) {
            self.maps = FrameMaps::default();
            self.maps = FrameMaps::new(model, &sizes, self.options.reuse_mib)?;
        }
        let (mut maps, mut changed) = (Vec::new(), Vec::new());
        self.reuse.trunk_share = 0.0;
        for (level, fit) in self.maps.trunk.iter_mut().zip(fits) {
            let updated = match areas.filter(|_| level.is_ready()) {
                Some(areas) => {
                    let mut areas: Vec<Area> = areas.iter().map(|area| blob_area(area, fit)).collect();
                    merge(&mut areas, SLACK);
                    level.update(&areas, |area, blob| {
                        Ok(preprocessor.fill_area(&frame, &contents.blob_means, fit, area, blob)?)
                    })?
                }
                None => None,
            };
            let updated = match updated {
                Some(updated) => updated,
                None => level.run(|blob| {
                    preprocessor.fill(&frame, &contents.blob_means, fit, blob)?;
                    timings.preprocess += clock.lap();
                    Ok(())
                })?,
            };
            timings.trunk += clock.lap();
            maps.extend(level.maps()?);
            self.reuse.trunk_share += updated.share / fits.len() as f64;
            changed.extend(updated.areas);
        }
        Ok((maps, changed))
    }

    /// The RPN's proposals of the trunk's maps, of which so much has changed.
    fn propose(
        &mut self,
        model: &Model,
        (maps, changed): (&[FeatureMap], Option<&[Vec<Area>]>),
        fit: &BlobFit,
        pixels: &BoxPixels,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let Some(rpn) = &model.rpn else { return Ok(()) };
        let had_proposed = std::mem::take(&mut self.has_proposed);
        let changed = changed.filter(|_| had_proposed);
        let mut are_the_same = changed.is_some();
        for (position, (level, map)) in self.maps.rpn.iter_mut().zip(maps).enumerate() {
            let updated = match changed.and_then(|changed| changed.get(position)) {
                Some(areas) => level.update_on(map, areas)?,
                None => None,
            };
            let updated = match updated {
                Some(updated) => updated,
                None => level.run_on(map)?,
            };
            are_the_same &= updated.areas.iter().all(Vec::is_empty);
        }
        self.session.timings.rpn += clock.lap();
        if !are_the_same {
            let proposer = &mut self.session.proposer;
            proposer.clear();
            for (position, level) in self.maps.rpn.iter().enumerate() {
                let output = RpnOutput::of(level.maps()?)?;
                proposer.add(position, &output, rpn.rpn(), [fit.blob, fit.image])?;
            }
            self.session.take_proposals(rpn, fit, pixels);
        }
        self.session.timings.proposals += clock.lap();
        self.has_proposed = true;
        Ok(())
    }

    /// The head on the RoIs that see any of what has changed of the maps, without those that a cascade's judge drops.
    fn predict<R: MapRegion>(
        &mut self,
        model: &Model,
        (maps, changed): (&[FeatureMap], Option<&[Vec<Area>]>),
        rois: &mut Rois<R>,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let classes = contents.manifest.classes.len();
        let pooling = Pooling::of(contents);
        let has_changed = |roi: &R| {
            let Some(changed) = changed else { return true };
            // Where nothing has changed nobody asks what is seen.
            if changed.iter().all(Vec::is_empty) {
                return false;
            }
            let (map, seen) = roi.seen(&pooling, maps);
            changed.get(map).is_some_and(|areas| areas.iter().any(|area| area.meets(&seen)))
        };
        let weights = &model.resources.weights;
        let Session { timings, dropped, .. } = &mut self.session;
        *dropped = 0;
        if let Some(judge) = &model.judge {
            if Judge::can_judge(maps)? {
                let apart = weights.keeps_rows_apart(judge.head().graph());
                self.judged.update(&rois.rois, ([classes, 0], apart), has_changed, |rois, scores| {
                    judge.scores(R::on_maps(maps, rois), scores, &mut |step| match step {
                        Step::Pool => timings.roi_pool += clock.lap(),
                        Step::Multiply => timings.head += clock.lap(),
                    })
                })?;
                *dropped = judge.drop_below(rois, self.judged.output());
            } else {
                // What is known is not of the last frame.
                self.judged = RegionCache::default();
            }
        }
        let apart = weights.keeps_rows_apart(&contents.head);
        self.reuse.rois_reused = self.regions.update(
            &rois.rois,
            ([classes, 4 * classes], apart),
            has_changed,
            |rois, output| {
                model.head.run(HeadInput::Maps(R::on_maps(maps, rois)), output, &mut |step| match step {
                    Step::Pool => timings.roi_pool += clock.lap(),
                    Step::Multiply => timings.head += clock.lap(),
                })
            },
        )?;
        timings.head += clock.lap();
        Ok(())
    }

    /// R-CNN: trunk and head on each region of the image that shows a changed pixel, or is another one than before.
    fn predict_crops(
        &mut self,
        model: &Arc<Model>,
        warp: Warp,
        areas: Option<&[Area]>,
        proposals: &[BBox],
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let Session { preprocessor, rois, timings, image, features, .. } = &mut self.session;
        let Some(frame) = self.composite.frame() else { return Ok(()) };
        let whole = BlobFit::whole([frame.height(), frame.width()]);
        preprocessor.run(&frame, &contents.blob_means, &whole, image)?;
        timings.preprocess += clock.lap();
        rois.project(proposals, &[1.0], &contents.regions, contents.manifest.box_width_offset)?;
        timings.roi_pool = clock.lap();
        self.reuse.trunk_share = 0.0;
        let has_changed = |window: &Roi| match areas {
            // The resize mixes a pixel with its neighbours.
            Some(areas) => areas.iter().any(|area| area.meets(&roi_cells(window, 2))),
            None => true,
        };
        let classes = contents.manifest.classes.len();
        let weights = &model.resources.weights;
        let apart = weights.keeps_rows_apart(&contents.trunk) && weights.keeps_rows_apart(&contents.head);
        self.reuse.rois_reused = self.regions.update(
            &rois.rois,
            ([classes, 4 * classes], apart),
            has_changed,
            |windows, output| {
                crops::predict(model, warp, image, windows, features, output, &mut |part| {
                    *match part {
                        Part::Warp => &mut timings.roi_pool,
                        Part::Trunk => &mut timings.trunk,
                        Part::Head => &mut timings.head,
                    } += clock.lap();
                })
            },
        )?;
        Ok(())
    }
}
