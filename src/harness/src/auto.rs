//! A precision for each layer: the fastest on a board that keeps mAP within a budget.
//!
//! 1. The photos are cut in two: every other one, by name, is for choosing, the others are for the check alone.
//! 2. Each layer begins with the fastest precision that gains time on the board ([`Ladder`]); int8 layers are calibrated on
//!    photos of the choosing part.
//! 3. Each layer alone is scored with its precision, which gives the order in which layers are taken back: those that lose most
//!    mAP first, and of equal ones that whose scores move most.
//! 4. Layers go back, a precision at a time, until the network loses no more than the budget on the choosing part, and then on the
//!    part for the check.
//!
//! Nothing of it is random, and results do not depend on threads: the same files give the same bytes.

use std::sync::Arc;

use frcnn::{BBox, Bundle, Detector, Options, Session};
use frcnn_bundle::Regions;
use frcnn_compiler::{Calibration, Compiled, Precision, Precisions};
use frcnn_eval::{Dataset, Detection, Image, voc};
use serde::Serialize;

use crate::quantize::{Photos, QuantizeStep, calibrate, with_boxes};
use crate::run::{Finished, Loaded, run};
use crate::{Board, Error, Ladder};

/// Overlap at which networks are scored.
const IOU: f64 = 0.5;
/// Photos on which layers' scores are compared, and regions of each.
const COMPARED: usize = 4;
const COMPARED_REGIONS: usize = 64;

/// What is chosen for.
pub struct Subject<'a> {
    /// The network in f32.
    pub exact: &'a Compiled,
    /// The machine that it is to run on.
    pub board: &'a Board,
    /// Photos to choose and check on.
    pub dataset: &'a Dataset,
    /// Gives pixels and boxes of an image.
    pub load: &'a (dyn Fn(&Image) -> Result<Loaded, Error> + Sync),
    /// Points of mAP that may be lost.
    pub max_drop: f64,
    /// Images at a time.
    pub workers: usize,
}

/// What was chosen, and why.
#[derive(Clone, Debug, Serialize)]
pub struct AutoReport {
    /// The board.
    pub board: String,
    /// Points of mAP that might be lost.
    pub max_drop: f64,
    /// Every ungrouped convolution and fully connected layer, in the order in which they run.
    pub layers: Vec<LayerChoice>,
    /// Expected time of these layers on the board, as a share of that in f32.
    pub expected_time: f64,
    /// mAP on the photos that precisions were chosen on.
    pub chosen_on: Score,
    /// mAP on the others.
    pub checked_on: Score,
    /// Steps back to exacter precisions, that the photos for choosing asked for.
    pub taken_back: usize,
    /// Those that only the photos for the check asked for. Unless it is 0, `checked_on` was chosen by, too.
    pub taken_back_by_check: usize,
    /// Photos that int8 layers were calibrated on, among those that were chosen on.
    pub calibrated_on: usize,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerChoice {
    /// Its name.
    pub layer: String,
    /// What it computes in.
    pub precision: Precision,
    /// The share of its time that this is expected to save on the board.
    pub gain: f64,
    /// The share of all these layers' time in f32 that it takes.
    pub share: f64,
    /// The fastest precision, and the first choice; f32 where no other gains anything.
    pub fastest: Precision,
    /// Points of mAP that the network loses when this layer alone is of that precision, on the photos that were chosen on. Negative
    /// where it gains some.
    pub loss: Option<f64>,
    /// The mean change of a class's score, or of a box delta, then, on a few photos.
    pub drift: Option<f64>,
    /// Why it is not of the fastest precision, or why f32 is that.
    pub note: Option<&'static str>,
}

/// mAP of a network before and after, VOC10+ at IoU 0.5, in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Photos.
    pub photos: usize,
    /// In f32.
    pub before: f64,
    /// With the chosen precisions.
    pub after: f64,
    /// Points lost.
    pub drop: f64,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub enum AutoStep<'a> {
    /// Looking at what int8 layers read on one more photo.
    Calibrating,
    /// One more photo is scored, of a network that is described so.
    Scoring(&'a str),
}

/// Chooses.
///
/// # Errors
/// There are too few photos, an image fails, the f32 network finds nothing on them, or a network does not run.
pub fn choose(
    subject: &Subject,
    progress: &mut dyn FnMut(AutoStep) -> Result<(), Error>,
) -> Result<(Compiled, AutoReport), Error> {
    let mut search = Search::new(subject, progress)?;
    let ranked = search.rank()?;
    let (taken_back, after) = search.take_back(&ranked)?;
    search.finish(&ranked, taken_back, after)
}

/// The positions of every other image by name, and of those between.
pub(crate) fn cut(dataset: &Dataset) -> [Vec<usize>; 2] {
    let mut positions: Vec<usize> = (0..dataset.images.len()).collect();
    positions.sort_by_key(|&position| dataset.images.get(position).map(|image| &image.stem));
    [0, 1].map(|first| positions.iter().copied().skip(first).step_by(2).collect())
}

/// The part to choose on, and the part for the check.
const CHOOSE: usize = 0;
const CHECK: usize = 1;

struct Search<'a> {
    subject: &'a Subject<'a>,
    progress: &'a mut dyn FnMut(AutoStep) -> Result<(), Error>,
    parts: [Dataset; 2],
    ladders: Vec<Ladder>,
    /// The rung of each layer.
    rungs: Vec<usize>,
    calibration: Calibration,
    /// mAP of the f32 network on each part.
    before: [f64; 2],
}

/// What a layer does to the network when it alone is of its fastest precision.
struct Ranked {
    layer: usize,
    /// Points of mAP.
    loss: f64,
    drift: f64,
}

/// Steps back that each part asked for.
type TakenBack = [usize; 2];

impl<'a> Search<'a> {
    fn new(
        subject: &'a Subject<'a>,
        progress: &'a mut dyn FnMut(AutoStep) -> Result<(), Error>,
    ) -> Result<Search<'a>, Error> {
        let ladders = Ladder::all(&subject.exact.bundle, subject.board)?;
        let parts = cut(subject.dataset).map(|part| subject.dataset.part(&part));
        if parts.iter().any(|part| part.images.is_empty()) {
            let problem =
                "--precision auto: one photo is too few, for every other one is for the check alone";
            return Err(Error::Stage(problem.to_string()));
        }
        let rungs = ladders.iter().map(|ladder| ladder.rungs.len().saturating_sub(1)).collect();
        let calibration = Calibration::default();
        let mut search = Search { subject, progress, parts, ladders, rungs, calibration, before: [0.0; 2] };
        let exact = &subject.exact.bundle;
        search.before = [search.map(CHOOSE, exact, "f32")?, search.map(CHECK, exact, "f32")?];
        if search.before.contains(&0.0) {
            return Err(Error::Stage(
                "--precision auto: the f32 network finds none of the objects that the data set has (mAP 0), so nothing can be \
                 chosen by it: are these photos of what the network is for, and is its manifest right?"
                    .to_string(),
            ));
        }
        search.calibrate()?;
        Ok(search)
    }

    /// Calibrates the layers that may become int8.
    fn calibrate(&mut self) -> Result<(), Error> {
        let precisions: Precisions = self
            .ladders
            .iter()
            .filter(|ladder| ladder.rungs.iter().any(|rung| rung.precision == Precision::Int8))
            .map(|ladder| (ladder.weight, Precision::Int8))
            .collect();
        if precisions.is_empty() {
            return Ok(());
        }
        let images = &self.parts[CHOOSE].images;
        let mut failed = None;
        let load = |photo: usize| (self.subject.load)(&images[photo]);
        let photos = Photos { count: images.len(), load: &load };
        let calibrated = calibrate(&self.subject.exact.bundle, &precisions, &photos, &mut |step| {
            let told = match step {
                QuantizeStep::PassedOver(error) => Err(Error::Stage(error.to_string())),
                _ => (self.progress)(AutoStep::Calibrating),
            };
            failed = failed.take().or(told.err());
        })?;
        self.calibration = calibrated.calibration;
        let kept = self.calibration.without_vanishing(precisions);
        for (ladder, rung) in self.ladders.iter_mut().zip(&mut self.rungs) {
            if kept.get(&ladder.weight).is_some_and(|&precision| precision != Precision::Int8) {
                ladder.rungs.retain(|rung| rung.precision != Precision::Int8);
                *rung = ladder.rungs.len() - 1;
                ladder.vanishes = true;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The network with the layers of these positions on their rungs, and all others in f32.
    fn bundle(&self, layers: impl Iterator<Item = usize>) -> Result<Arc<Bundle>, Error> {
        let precisions = self.precisions(layers);
        self.subject.exact.rounded(&precisions, &self.calibration).map_err(Error::Refused)
    }

    fn precisions(&self, layers: impl Iterator<Item = usize>) -> Precisions {
        let rounded = layers.filter(|&layer| self.rungs[layer] > 0);
        rounded.map(|layer| (self.ladders[layer].weight, self.precision(layer))).collect()
    }

    fn precision(&self, layer: usize) -> Precision {
        self.ladders[layer].rungs.get(self.rungs[layer]).map_or(Precision::F32, |rung| rung.precision)
    }

    /// mAP on a part.
    fn map(&mut self, part: usize, bundle: &Arc<Bundle>, what: &str) -> Result<f64, Error> {
        let detector = Detector::new(bundle.clone(), &Options { threads: Some(1), ..Options::default() })?;
        let dataset = &self.parts[part];
        let all: Vec<usize> = (0..dataset.images.len()).collect();
        let mut found: Vec<Vec<Detection>> = vec![Vec::new(); all.len()];
        run(&detector, dataset, &all, self.subject.workers, self.subject.load, |finished| {
            let Finished { position, image, outcome } = finished;
            found[position] = outcome?.0.detections(dataset, position, &image.path)?;
            (self.progress)(AutoStep::Scoring(what))
        })?;
        // In the order of the photos, whichever was finished first.
        let map = voc(dataset, &found.concat(), IOU).map10;
        map.ok_or_else(|| {
            Error::Stage("--precision auto: half of the photos have no object to score with".to_string())
        })
    }

    /// Points of mAP that a network loses on a part.
    fn loss(&mut self, part: usize, bundle: &Arc<Bundle>, what: &str) -> Result<f64, Error> {
        Ok((self.before[part] - self.map(part, bundle, what)?) * 100.0)
    }

    /// The layers of which a faster precision is tried, those first that lose most by it.
    fn rank(&mut self) -> Result<Vec<Ranked>, Error> {
        let exact = self.outputs(&self.subject.exact.bundle)?;
        let mut ranked = Vec::new();
        for layer in (0..self.ladders.len()).filter(|&layer| self.rungs[layer] > 0).collect::<Vec<_>>() {
            let bundle = self.bundle(std::iter::once(layer))?;
            let what = format!("{} in {}", self.ladders[layer].layer, self.precision(layer).name());
            let loss = self.loss(CHOOSE, &bundle, &what)?;
            let rounded = self.outputs(&bundle)?;
            let change = |(a, b): (&f32, &f32)| f64::from((a - b).abs());
            let drift = exact.iter().zip(&rounded).map(change).sum::<f64>() / exact.len().max(1) as f64;
            ranked.push(Ranked { layer, loss, drift });
        }
        // Stable: of layers that are equal in all, the last of the network goes back first.
        ranked.reverse();
        ranked.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(b.drift.total_cmp(&a.drift)));
        Ok(ranked)
    }

    /// What the network says of some regions of some photos for choosing.
    fn outputs(&self, bundle: &Arc<Bundle>) -> Result<Vec<f32>, Error> {
        let mut session = Detector::new(bundle.clone(), &Options::default())?.session();
        let (mut all, mut proposer) = (Vec::new(), None);
        for image in self.parts[CHOOSE].images.iter().take(COMPARED) {
            let photo = with_boxes((self.subject.load)(image)?, &self.subject.exact.bundle, &mut proposer)?;
            all.extend(outputs(&mut session, &bundle.contents().regions, &photo)?);
        }
        Ok(all)
    }

    /// Takes layers back until both parts lose no more than the budget.
    fn take_back(&mut self, ranked: &[Ranked]) -> Result<(TakenBack, [f64; 2]), Error> {
        let mut taken_back = [0; 2];
        // Each round takes every layer back by one rung.
        let mut order = Vec::new();
        loop {
            let bundle = self.bundle(0..self.ladders.len())?;
            let what = if taken_back == [0; 2] { "all layers" } else { "fewer layers" };
            let mut losses = [self.loss(CHOOSE, &bundle, what)?, 0.0];
            let mut asks = (losses[CHOOSE] > self.subject.max_drop).then_some(CHOOSE);
            if asks.is_none() {
                losses[CHECK] = self.loss(CHECK, &bundle, what)?;
                asks = (losses[CHECK] > self.subject.max_drop).then_some(CHECK);
            }
            let Some(asks) = asks else {
                let after = [CHOOSE, CHECK].map(|part| self.before[part] - losses[part] / 100.0);
                return Ok((taken_back, after));
            };
            if order.is_empty() {
                order = ranked
                    .iter()
                    .rev()
                    .map(|ranked| ranked.layer)
                    .filter(|&layer| self.rungs[layer] > 0)
                    .collect();
            }
            // In f32 nothing is lost, so there is a layer left.
            let Some(worst) = order.pop() else {
                return Err(Error::Stage("--precision auto: f32 does not score twice alike".to_string()));
            };
            self.rungs[worst] -= 1;
            taken_back[asks] += 1;
        }
    }

    fn finish(
        self,
        ranked: &[Ranked],
        taken_back: TakenBack,
        after: [f64; 2],
    ) -> Result<(Compiled, AutoReport), Error> {
        let Search { subject, ladders, rungs, calibration, .. } = &self;
        let exact = subject.exact;
        let total: f64 = ladders.iter().map(Ladder::exact_cost).sum::<f64>().max(f64::MIN_POSITIVE);
        let layers: Vec<LayerChoice> = ladders
            .iter()
            .enumerate()
            .map(|(position, ladder)| {
                let alone = ranked.iter().find(|ranked| ranked.layer == position);
                LayerChoice {
                    layer: ladder.layer.clone(),
                    precision: self.precision(position),
                    gain: ladder.gain(rungs[position]),
                    share: ladder.exact_cost() / total,
                    fastest: ladder.rungs.last().map_or(Precision::F32, |rung| rung.precision),
                    loss: alone.map(|alone| alone.loss),
                    drift: alone.map(|alone| alone.drift),
                    note: match (ladder.rungs.len() - 1, rungs[position]) {
                        (0, _) if ladder.reads_image => Some("reads the image"),
                        (0, _) if ladder.vanishes => Some("int8 would lose some regions"),
                        (0, _) => Some("no type gains here"),
                        (last, now) if now < last => Some("taken back"),
                        _ => None,
                    },
                }
            })
            .collect();
        let precisions = self.precisions(0..ladders.len());
        let is_int8 = precisions.values().any(|&precision| precision == Precision::Int8);
        let score = |part: usize| Score {
            photos: self.parts[part].images.len(),
            before: self.before[part],
            after: after[part],
            drop: (self.before[part] - after[part]) * 100.0,
        };
        let report = AutoReport {
            board: subject.board.name.clone(),
            max_drop: subject.max_drop,
            expected_time: 1.0 - layers.iter().map(|layer| layer.share * layer.gain).sum::<f64>(),
            layers,
            chosen_on: score(CHOOSE),
            checked_on: score(CHECK),
            taken_back: taken_back[CHOOSE],
            taken_back_by_check: taken_back[CHECK],
            calibrated_on: if is_int8 { calibration.photos } else { 0 },
        };
        if precisions.is_empty() {
            return Ok((exact.clone(), report));
        }
        let first = self.parts[CHOOSE].images.first().map(subject.load).transpose()?;
        let photo = first.ok_or_else(|| Error::Stage("there is no photo".to_string()))?;
        let photo = with_boxes(photo, &exact.bundle, &mut None)?;
        let boxes = photo.boxes.as_deref().unwrap_or_default();
        let compiled = exact
            .with_precisions(&precisions, calibration, (&photo.frame()?, boxes))
            .map_err(Error::Refused)?;
        Ok((compiled, report))
    }
}

/// Every class's score and box deltas of some of a photo's regions.
fn outputs(session: &mut Session, regions: &Regions, photo: &Loaded) -> Result<Vec<f32>, Error> {
    let blobs = session.preprocess(&photo.frame()?)?;
    let boxes = photo.boxes.as_deref().unwrap_or_default();
    let boxes = boxes.get(..COMPARED_REGIONS).unwrap_or(boxes);
    let features = match (regions, &blobs[..]) {
        (Regions::RoiAlign(_), [blob]) => {
            let boxes: Vec<BBox> = boxes.iter().map(|bbox| blob.to_blob(bbox)).collect();
            session.roi_align(&session.maps(blob)?, &session.align_rois(&boxes)?.rois)?
        }
        _ => {
            let rois = session.project(boxes, &blobs)?.rois;
            let maps = blobs.iter().map(|blob| session.trunk(blob)).collect::<Result<Vec<_>, _>>()?;
            session.roi_pool(&maps, &rois)?
        }
    };
    let output = session.head(&features)?;
    Ok([output.cls_prob, output.bbox_pred].concat())
}
