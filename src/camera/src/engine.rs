//! One camera's frames, from its format to what is told of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn::{
    BBox, Detections, Detector, Frame, Grid, Motion, PixelFormat, Propose, StreamOptions, Timings, Tolerance,
};
use frcnn_images::camera::Converter;
use frcnn_tracks::{Event, Looked, Observation};

use crate::config::{Camera, Model, Proposer};
use crate::event::{CameraEvent, FrameResult, Message, ObjectState, Picture, Seen};
use crate::model::{Loaded, Slot};
use crate::shared::Shared;
use crate::status::{CameraStatus, Count};
use crate::tracking::{self, Moment, Tracking, classes};
use crate::turns::Waiting;

/// Boxes per frame at most, as the published detectors had.
const MAX_PROPOSALS: usize = 2000;
/// Overlap from which a place that is to be looked at again is that of an object that stands still.
const SAME_PLACE: f32 = 0.4;

/// The network with the buffers of one camera.
enum Network {
    Session(Box<frcnn::Session>),
    Stream(Box<frcnn::Stream>),
}

impl Network {
    /// Detects among `proposals`, or where there are none among those of the network itself.
    fn detect(
        &mut self,
        frame: &Frame,
        proposals: Option<&[BBox]>,
        facts: &mut Facts,
    ) -> Result<Detections, String> {
        let (detections, learned);
        match self {
            Network::Session(session) => {
                detections = session.detect_among(frame, proposals);
                (facts.stages, facts.not_finite) = (*session.timings(), session.not_finite());
                learned = session.proposals().len();
            }
            Network::Stream(stream) => {
                detections = stream.detect_among(frame, proposals);
                (facts.stages, facts.not_finite) = (*stream.timings(), stream.not_finite());
                facts.reuse = Some(*stream.reuse());
                learned = stream.proposals().len();
            }
        }
        facts.proposals = proposals.map_or(learned, <[BBox]>::len);
        detections.map_err(|error| error.to_string())
    }
}

/// What there is to say about a frame beside its detections.
#[derive(Default)]
struct Facts {
    proposals: usize,
    not_finite: usize,
    convert: Duration,
    propose: Duration,
    stages: Timings,
    total: Duration,
    reuse: Option<frcnn::Reuse>,
}

/// Where boxes come from.
enum Boxes {
    Grid(Grid),
    Motion(Box<Motion>),
    /// The network's own.
    Rpn,
}

/// One camera's way from frames to messages, with every buffer that is used again.
pub(crate) struct Engine {
    camera: Arc<Camera>,
    name: Arc<str>,
    status: Arc<CameraStatus>,
    model: Model,
    loaded: Loaded,
    classes: Vec<Arc<str>>,
    network: Network,
    boxes: Boxes,
    converter: Converter,
    tracking: Option<Tracking>,
    /// Of the last frame that was looked at.
    size: Option<(u32, u32)>,
    /// The last model of which it was said that it seems to have diverged.
    diverged: Option<u64>,
}

impl Engine {
    /// # Errors
    /// The model does not go with what the camera's settings ask for.
    pub(crate) fn new(
        camera: &Arc<Camera>,
        model: &Model,
        slot: &Slot,
        status: Arc<CameraStatus>,
    ) -> Result<Engine, String> {
        let loaded = slot.loaded();
        Ok(Engine {
            name: status.name().clone(),
            network: network(camera, &loaded.detector)?,
            boxes: boxes(camera, &loaded.detector),
            classes: classes(&loaded.detector),
            camera: camera.clone(),
            status,
            model: model.clone(),
            loaded,
            converter: Converter::default(),
            tracking: None,
            size: None,
            diverged: None,
        })
    }

    /// The settings may be others; what the camera has learned stays.
    pub(crate) fn configure(&mut self, camera: &Arc<Camera>, model: &Model, shared: &Shared) {
        let way = |camera: &Camera| (camera.proposer, camera.tolerance, camera.reuse);
        if way(camera) != way(&self.camera) {
            self.boxes = boxes(camera, &self.loaded.detector);
            // It was checked with the model that is about to come.
            if let Ok(network) = network(camera, &self.loaded.detector) {
                self.network = network;
            }
        }
        if let Boxes::Motion(motion) = &mut self.boxes {
            motion.set_options(camera.motion.options());
        }
        let others = (&camera.zones, &camera.masks) != (&self.camera.zones, &self.camera.masks);
        self.camera = camera.clone();
        self.model = model.clone();
        match (&mut self.tracking, camera.objects) {
            (Some(tracking), true) => {
                tracking.configure(camera, model);
                if let Some(size) = self.size.filter(|_| others) {
                    self.tell_outside(size, shared);
                }
            }
            // The next frame brings it.
            (None, true) => {}
            (_, false) => {
                self.end_objects(shared);
                self.tracking = None;
            }
        }
    }

    /// Looks at a frame, and tells of it.
    pub(crate) fn look(&mut self, frame: &Waiting, slot: &Slot, shared: &Shared) {
        if let Err(problem) = self.try_look(frame, slot, shared) {
            self.status.add(Count::FramesCorrupt, 1);
            self.report(shared, "frame_failed", format!("frame {}: {problem}", frame.number));
        }
    }

    fn report(&self, shared: &Shared, event: &'static str, detail: String) {
        shared.status.report(CameraEvent::now(shared.camera(&self.name), event, detail));
    }

    fn try_look(&mut self, waiting: &Waiting, slot: &Slot, shared: &Shared) -> Result<(), String> {
        let start = Instant::now();
        self.follow_reload(slot, shared)?;
        // The frame borrows it.
        let mut converter = std::mem::take(&mut self.converter);
        let told = match converter.run(&waiting.image.view()) {
            Ok(frame) => self.detect(&frame, waiting, start, shared),
            Err(error) => Err(error.to_string()),
        };
        self.converter = converter;
        told
    }

    fn detect(
        &mut self,
        frame: &Frame,
        waiting: &Waiting,
        start: Instant,
        shared: &Shared,
    ) -> Result<(), String> {
        let mut facts = Facts { convert: start.elapsed(), ..Facts::default() };
        let size = (frame.width(), frame.height());
        let now = Moment { time: waiting.time, captured: waiting.captured };
        if self.size.is_some_and(|before| before != size) {
            // Places in pixels of the one size are others of the other.
            self.end_objects(shared);
            self.tracking = None;
        }
        if self.tracking.is_none() && self.camera.objects {
            let last_id = shared.last_id(&self.name);
            self.tracking = Some(Tracking::new(&self.camera, &self.model, last_id, size)?);
            self.tell_outside(size, shared);
        }
        let (detections, looked) = self.run(frame, waiting, &mut facts, start)?;
        self.count(&facts, detections.len());
        self.tell_changes(&facts, size, waiting.number, shared);

        let observations: Vec<Observation> = detections.iter().map(Observation::from).collect();
        let mut seen: Vec<Seen> = detections.iter().map(|one| self.seen(one)).collect();
        let mut events = Vec::new();
        if let Some(tracking) = &mut self.tracking {
            let looked = match &looked {
                Some(boxes) => Looked::At(boxes),
                None => Looked::Everywhere,
            };
            let detector = (&self.loaded.detector, self.loaded.generation);
            events = tracking.update(&self.camera, detector, now, &observations, looked);
            let proposal = |detection: &frcnn::Detection| match looked {
                Looked::At(boxes) => boxes.get(detection.proposal as usize).copied(),
                Looked::Everywhere => None,
            };
            let from: Vec<BBox> = detections.iter().map_while(proposal).collect();
            tracking.identify(&mut seen, &observations, &from);
        }
        // Weaker ones are there for the tracker alone.
        let bundles = self.loaded.detector.manifest().score_threshold;
        let threshold = self.model.score_threshold.unwrap_or(bundles);
        seen.retain(|seen| seen.score > threshold || seen.id.is_some());
        let objects =
            self.tracking.as_ref().map(|tracking| tracking.states(&self.classes)).unwrap_or_default();
        let picture = self.take_picture(frame, &objects, shared);
        self.tell_events(&events, shared);
        let line = shared.all || (self.tracking.is_none() && !seen.is_empty());
        shared.status.send(&Message::Frame(Arc::new(FrameResult {
            camera: self.name.clone(),
            captured: waiting.captured,
            number: waiting.number,
            width: size.0,
            height: size.1,
            proposals: facts.proposals,
            ms: facts.total.as_secs_f64() * 1000.0,
            detections: seen,
            objects,
            picture,
            line,
        })));
        Ok(())
    }

    /// The frame's pixels, where a door or the snapshots want them.
    fn take_picture(&self, frame: &Frame, objects: &[ObjectState], shared: &Shared) -> Option<Arc<Picture>> {
        let kept = shared.snapshots();
        let kept = kept.as_ref().filter(|kept| kept.wants(&self.name, objects));
        if kept.is_none() && !shared.status.wants_picture(&self.name) {
            return None;
        }
        let picture = Arc::new(picture(frame));
        if let Some(kept) = kept {
            kept.see(&self.name, &picture, objects);
        }
        Some(picture)
    }

    fn seen(&self, detection: &frcnn::Detection) -> Seen {
        let frcnn::Detection { class_id, score, bbox, .. } = detection;
        let class = self.classes.get(usize::from(*class_id)).cloned().unwrap_or_else(|| "".into());
        Seen { class, score: *score, bbox: [bbox.x1, bbox.y1, bbox.x2, bbox.y2], id: None }
    }

    /// Detections, and the boxes that were looked at; none: the whole frame was.
    fn run(
        &mut self,
        frame: &Frame,
        waiting: &Waiting,
        facts: &mut Facts,
        start: Instant,
    ) -> Result<(Detections, Option<Vec<BBox>>), String> {
        let by: &mut dyn Propose = match (&mut self.boxes, &mut self.network) {
            (Boxes::Rpn, network) => {
                let detections = network.detect(frame, None, facts)?;
                facts.propose = facts.stages.rpn + facts.stages.proposals;
                facts.total = start.elapsed();
                return Ok((detections, None));
            }
            (Boxes::Grid(grid), _) => grid,
            (Boxes::Motion(motion), _) => &mut **motion,
        };
        let proposed = match waiting.timed {
            true => by.propose_at(frame, waiting.time, MAX_PROPOSALS),
            false => by.propose(frame, MAX_PROPOSALS),
        };
        let (mut proposals, mut again) = (proposed.boxes, Vec::new());
        if let (Boxes::Motion(_), Some(tracking)) = (&self.boxes, &self.tracking) {
            again = tracking.look_again(waiting.time);
            let around = tracking.look_around(waiting.time);
            // Where the network runs anyway, what stands still is looked at as a whole, and not only where parts of it are still told
            // from the background.
            if !proposals.is_empty() || !again.is_empty() || !around.is_empty() {
                let places = tracking.places();
                let is_place = |place: &BBox| places.iter().any(|one| one.iou(place, 1.0) >= SAME_PLACE);
                let others = again.iter().filter(|place| !is_place(place));
                let clip = |place: &BBox| place.clip(frame.width(), frame.height());
                proposals.extend(places.iter().chain(others).chain(&around).map(clip));
            }
        }
        facts.proposals = proposals.len();
        facts.propose = start.elapsed().saturating_sub(facts.convert);
        let mut detections = Detections::new();
        // Where there is nothing to look at, the network does not run.
        if !proposals.is_empty() {
            detections = self.network.detect(frame, Some(&proposals), facts)?;
        }
        facts.total = start.elapsed();
        // Behind the proposals, whose positions count.
        proposals.extend(again);
        let looked = matches!(self.boxes, Boxes::Motion(_)).then_some(proposals);
        Ok((detections, looked))
    }

    fn count(&self, facts: &Facts, detections: usize) {
        let status = &self.status;
        let stages = [
            facts.convert,
            facts.propose,
            facts.stages.preprocess,
            facts.stages.trunk,
            facts.stages.roi_pool,
            facts.stages.head,
            facts.stages.postprocess,
            facts.total,
        ];
        status.add(Count::FramesStill, u64::from(facts.proposals == 0));
        status.add(Count::NotFinite, facts.not_finite as u64);
        status.add(Count::Detections, detections as u64);
        // Without reuse the whole trunk runs, unless nothing moves.
        let (mut trunks, mut tolerance) = (f64::from(u8::from(!facts.stages.trunk.is_zero())), None);
        if let Some(reuse) = facts.reuse.filter(|reuse| reuse.cells > 0) {
            status.add(Count::Cells, reuse.cells as u64);
            status.add(Count::CellsChanged, reuse.cells_changed as u64);
            status.add(Count::Regions, reuse.rois as u64);
            status.add(Count::RegionsReused, reuse.rois_reused as u64);
            status.set(Count::KeptBytes, reuse.kept_bytes);
            (trunks, tolerance) = (reuse.trunk_share, Some(reuse.tolerance));
        }
        status.completed(stages, trunks, tolerance);
    }

    /// What is not as it was.
    fn tell_changes(&mut self, facts: &Facts, size: (u32, u32), number: u64, shared: &Shared) {
        if let Some(before) = self.size.replace(size)
            && before != size
        {
            self.status.add(Count::FramesResized, 1);
            self.report(
                shared,
                "size_changed",
                format!("{} x {}, from {} x {}", size.0, size.1, before.0, before.1),
            );
        }
        if facts.not_finite > 0 && self.diverged != Some(self.loaded.generation) {
            self.diverged = Some(self.loaded.generation);
            let told = format!(
                "frame {number}: {} predictions are left out: score or box is not finite (did the training diverge?)",
                facts.not_finite
            );
            self.report(shared, "predictions_not_finite", told);
        }
    }

    /// Nothing can be in them: pixels of another size, perhaps.
    fn tell_outside(&self, size: (u32, u32), shared: &Shared) {
        for told in tracking::outside(&self.camera, size) {
            self.report(shared, "zone_outside", told);
        }
    }

    fn tell_events(&self, events: &[Event], shared: &Shared) {
        let Some(tracking) = &self.tracking else { return };
        for event in events {
            let mut told = tracking.event(&self.name, event, &self.classes);
            use crate::event::ObjectChange::{Ended, Started};
            match told.change {
                Started => {
                    shared.give_id(&self.name, told.id);
                    self.status.add(Count::ObjectsStarted, 1);
                }
                Ended => self.status.add(Count::ObjectsEnded, 1),
                _ => {}
            }
            if let Some(kept) = &*shared.snapshots() {
                if told.change == Ended {
                    match kept.end(told) {
                        Some(at_once) => told = at_once,
                        None => continue,
                    }
                } else {
                    told.snapshot = kept.best(&self.name, told.id);
                }
            }
            shared.status.send(&Message::Object(Arc::new(told)));
        }
    }

    /// Nothing will come for a while, or ever: objects end, and what is known of the view is forgotten.
    pub(crate) fn lost(&mut self, shared: &Shared) {
        self.end_objects(shared);
        self.boxes = boxes(&self.camera, &self.loaded.detector);
    }

    /// Tells that objects end, and that none is in view.
    fn end_objects(&mut self, shared: &Shared) {
        let (Some(tracking), Some((width, height))) = (&mut self.tracking, self.size) else { return };
        let (events, captured) = (tracking.finish(), tracking.last());
        if events.is_empty() {
            return;
        }
        self.tell_events(&events, shared);
        shared.status.send(&Message::Frame(Arc::new(FrameResult {
            camera: self.name.clone(),
            captured,
            number: self.status.get(Count::FramesRead),
            width,
            height,
            proposals: 0,
            ms: 0.0,
            detections: Vec::new(),
            objects: Vec::new(),
            picture: None,
            line: false,
        })));
    }

    /// Takes up a model that was loaded since the last frame.
    fn follow_reload(&mut self, slot: &Slot, shared: &Shared) -> Result<(), String> {
        if let Some(newer) = slot.newer(self.loaded.generation) {
            self.network = network(&self.camera, &newer.detector)?;
            let classes = classes(&newer.detector);
            if classes != self.classes {
                // Its numbers mean others from now on.
                self.end_objects(shared);
                self.classes = classes;
            }
            if matches!(self.boxes, Boxes::Rpn) != is_rpn(&self.camera, &newer.detector) {
                self.boxes = boxes(&self.camera, &newer.detector);
            }
            self.loaded = newer;
        }
        Ok(())
    }
}

fn is_rpn(camera: &Camera, detector: &Detector) -> bool {
    detector.has_rpn() && matches!(camera.proposer, None | Some(Proposer::Model))
}

fn boxes(camera: &Camera, detector: &Detector) -> Boxes {
    match camera.proposer {
        _ if is_rpn(camera, detector) => Boxes::Rpn,
        None | Some(Proposer::Motion) => Boxes::Motion(Box::new(Motion::with(camera.motion.options()))),
        Some(Proposer::Grid | Proposer::Model) => Boxes::Grid(Grid),
    }
}

/// Whether the model goes with what the camera's settings ask for.
pub(crate) fn check(camera: &Camera, detector: &Detector) -> Result<(), String> {
    network(camera, detector)?;
    crate::tracking::check(camera, detector)
}

/// A stream, unless the camera's settings say otherwise.
fn network(camera: &Camera, detector: &Detector) -> Result<Network, String> {
    if !camera.reuse {
        return Ok(Network::Session(Box::new(detector.session())));
    }
    let tolerance = camera.tolerance.map_or(Tolerance::Learned, Tolerance::Fixed);
    let stream = detector.stream(StreamOptions { tolerance, ..StreamOptions::default() });
    Ok(Network::Stream(Box::new(stream.map_err(|error| error.to_string())?)))
}

/// A copy of a frame's pixels.
fn picture(frame: &Frame) -> Picture {
    let (width, height) = (frame.width(), frame.height());
    let mut rgb = Vec::with_capacity(3 * width as usize * height as usize);
    for y in 0..height as usize {
        let row = frame.row(y);
        match frame.format() {
            PixelFormat::Rgb8 => rgb.extend_from_slice(row),
            format => {
                let [b, g, r] = format.bgr_offsets();
                rgb.extend(row.chunks_exact(format.bytes()).flat_map(|pixel| [pixel[r], pixel[g], pixel[b]]));
            }
        }
    }
    Picture { width, height, rgb }
}
