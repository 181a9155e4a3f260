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
//! 6. RoIs of before that see no changed cell of the trunk's map keep what the head gave them. The head runs on the others. Where
//!    a row's last bits depend on how many rows there are (bf16x3 on CPUs with AMX, unless
//!    [`F32Products::Exact`](crate::F32Products::Exact) is asked for), all RoIs keep it or none.
//! 7. Where most of the trunk's work would be done anew, the whole trunk runs, as for a first frame.
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

use frcnn_bundle::{BlobFit, Contents, Regions, Resize, Warp};
use frcnn_core::{BBox, Roi};
use frcnn_kernels::Step;
use frcnn_proposals::{Proposals, Propose};

use crate::area::{Area, merge};
use crate::boxes::BoxPixels;
use crate::crops::{self, Part};
use crate::head::HeadInput;
use crate::judge::Judge;
use crate::model::Model;
use crate::pooling::MapRegion;
use crate::preprocess::blob_area;
use crate::session::{Clock, fits};
use crate::{Detections, Detector, Error, Frame, Session, Timings};

use cells::pixel_areas;
use composite::Composite;
pub use composite::Tolerance;
pub use expected::ExpectedReuse;
use maps::Maps;
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
    /// For each scale of the image.
    maps: Vec<Maps>,
    regions: RegionCache,
    /// The same of a cascade's judge, without box deltas.
    judged: RegionCache,
    reuse: Reuse,
    /// Whether all that is kept is of the same frame: the last one went through.
    is_whole: bool,
}

/// What a network has of which a stream keeps nothing yet.
fn not_yet(contents: &Contents) -> Option<&'static str> {
    let manifest = &contents.manifest;
    match contents.regions {
        Regions::RoiAlign(_) => Some("RoIAlign"),
        _ if contents.rpn.is_some() => Some("learned proposals"),
        _ if manifest.resize != Resize::Published || manifest.pad_multiple > 1 => {
            Some("the resizing of torchvision or detectron2")
        }
        Regions::RoiPooling(_) | Regions::Warp(_) => None,
    }
}

impl Detector {
    /// The working state for the frames of one fixed camera.
    ///
    /// # Errors
    /// The tolerance is negative or not finite, or the bundle has RoIAlign, an RPN or the resizing of torchvision or detectron2,
    /// of which a stream cannot keep anything yet.
    pub fn stream(&self, options: StreamOptions) -> Result<Stream, Error> {
        options.tolerance.check()?;
        if let Some(what) = not_yet(self.contents()) {
            return Err(Error::Options(format!(
                "a stream keeps maps and regions of the published Fast R-CNN, not yet those of a network with {what}: detect in \
                 each frame by itself"
            )));
        }
        Ok(Stream {
            session: self.session(),
            options,
            composite: Composite::default(),
            maps: Vec::new(),
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
        let model = self.session.model.clone();
        model.on_frame(|| self.detect_here(frame, proposals))
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

    fn detect_here(&mut self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        let model = self.session.model.clone();
        let contents = model.contents();
        self.session.check(frame, proposals.len())?;
        let mut clock = Clock::start();
        self.session.timings = Timings::default();

        let was_whole = std::mem::take(&mut self.is_whole);
        let changed = self.composite.accept(frame, self.options.tolerance)?;
        let size = [frame.height() as usize, frame.width() as usize];
        let areas = (was_whole && !changed.scene).then(|| pixel_areas(changed, size)).flatten();
        (self.reuse.cells, self.reuse.cells_changed) = (changed.cells(), changed.count());
        self.session.timings.preprocess = clock.lap();
        match contents.regions {
            Regions::Warp(warp) => {
                self.predict_crops(&model, warp, areas.as_deref(), proposals, &mut clock)?
            }
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => {
                self.predict_pooled(&model, areas.as_deref(), proposals, &mut clock)?
            }
        }
        self.is_whole = true;

        let Session { postprocessor, rois, timings, .. } = &mut self.session;
        let (manifest, output) = (&contents.manifest, self.regions.output());
        // Streams are of the published rules.
        let image = [frame.height(), frame.width()];
        let pixels = BoxPixels::new(manifest, image, &BlobFit::whole(image));
        let detections =
            postprocessor.run(proposals, &rois.index, output, &pixels, manifest, &model.settings);
        timings.postprocess = clock.lap();
        self.reuse.rois = rois.rois.len();
        self.reuse.tolerance = self.composite.tolerance(self.options.tolerance);
        let maps: usize = self.maps.iter().map(Maps::bytes).sum();
        self.reuse.kept_bytes =
            (maps + self.composite.bytes() + self.regions.bytes() + self.judged.bytes()) as u64;
        Ok(detections)
    }

    /// Fast R-CNN and SPPnet. `areas` are the pixels that have changed, `None` all of them.
    fn predict_pooled(
        &mut self,
        model: &Arc<Model>,
        areas: Option<&[Area]>,
        proposals: &[BBox],
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let contents = model.contents();
        let Session { preprocessor, rois, timings, .. } = &mut self.session;
        let Some(frame) = self.composite.frame() else { return Ok(()) };
        let fits = fits(contents, &frame);
        let scales: Vec<f64> = fits.iter().map(|fit| fit.scale[0]).collect();
        let sizes: Vec<[usize; 2]> = fits.iter().map(|fit| fit.blob).collect();
        if !self.maps.iter().map(Maps::size).eq(sizes.iter().copied()) {
            self.maps.clear();
            self.maps = Maps::of_scales(model, &sizes, self.options.reuse_mib)?;
        }

        let (mut changed, mut share) = (Vec::with_capacity(scales.len()), 0.0);
        let mut maps = Vec::with_capacity(scales.len());
        for (level, fit) in self.maps.iter_mut().zip(&fits) {
            let size = level.size();
            let updated = match areas.filter(|_| level.is_ready()) {
                Some(areas) => {
                    let mut areas: Vec<Area> =
                        areas.iter().map(|area| blob_area(area, fit.scale[0], size)).collect();
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
            maps.push(level.map()?);
            share += updated.share / scales.len() as f64;
            changed.push(updated.areas);
        }
        self.reuse.trunk_share = share;

        rois.project(proposals, &scales, &contents.regions, contents.manifest.box_width_offset)?;
        timings.roi_pool += clock.lap();
        let classes = contents.manifest.classes.len();
        let has_changed = |roi: &Roi| {
            let areas = changed.get(usize::from(roi.level)).map_or(&[][..], Vec::as_slice);
            let seen = regions::cells(roi, 0);
            areas.iter().any(|area| area.meets(&seen))
        };
        let apart = model.resources.weights.keeps_rows_apart(&contents.head);
        // Nothing that was kept is of this frame if the one before did not go through.
        let reuses = areas.is_some();
        self.session.dropped = 0;
        let Session { rois, timings, dropped, .. } = &mut self.session;
        if let Some(judge) = &model.judge {
            if Judge::can_judge(&maps)? {
                let apart = model.resources.weights.keeps_rows_apart(judge.head().graph());
                self.judged.update(
                    &rois.rois,
                    ([classes, 0], apart),
                    |roi| !reuses || has_changed(roi),
                    |rois, scores| {
                        judge.scores(Roi::on_maps(&maps, rois), scores, &mut |step| match step {
                            Step::Pool => timings.roi_pool += clock.lap(),
                            Step::Multiply => timings.head += clock.lap(),
                        })
                    },
                )?;
                *dropped = judge.drop_below(rois, self.judged.output());
            } else {
                // What is known is not of the last frame.
                self.judged = RegionCache::default();
            }
        }
        self.reuse.rois_reused = self.regions.update(
            &rois.rois,
            ([classes, 4 * classes], apart),
            |roi| !reuses || has_changed(roi),
            |rois, output| {
                model.head.run(HeadInput::Maps(Roi::on_maps(&maps, rois)), output, &mut |step| match step {
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
            Some(areas) => areas.iter().any(|area| area.meets(&regions::cells(window, 2))),
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
