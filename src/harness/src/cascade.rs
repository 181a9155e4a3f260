//! A cascade's judge and threshold, chosen and measured on photos with objects.
//!
//! The photos are cut in two, every other one by name. A rank of the judge and a threshold are chosen on one half and
//! checked on the other; each half may lose half of the points that may be lost, because photos that neither has seen lose
//! more or less. A threshold is good where all below it are: mAP on few photos rises and falls by chance. The cheapest is
//! chosen by a model of what layers take in their precisions on a CPU ([`judge_share`]): beside a head in int8, a judge, which
//! computes in f32, costs more than its multiply-accumulates say. The same photos and CPU give the same choice: times are
//! measured, and nothing is chosen by them.

use std::sync::Arc;
use std::time::Duration;

use frcnn::{
    AlignedRois, BBox, Detector, FeatureMap, HeadOutput, ImageBlob, NO_ROI, Options, ProjectedRois, Session,
    Timings, cpu::TypeModel, judge_share,
};
use frcnn_bundle::{Bundle, BundleWriter, Chosen, Regions, Scores};
use frcnn_compiler::Compiled;
use frcnn_eval::{Dataset, Detection, Image, voc};
use serde::Serialize;

use crate::Error;
use crate::run::{Loaded, median, run_image};
use crate::sweep::{Sweep, SweepRow, finds_something};

/// Overlap at which networks are scored.
const IOU: f64 = 0.5;
/// Ranks of judges that are tried.
const RANKS: [usize; 4] = [8, 16, 32, 64];
/// Thresholds of probabilities that are tried, ascending.
const KEEPS: [f32; 18] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7];
/// Those of margins, of which support vectors have -1 and 1.
const MARGINS: [f32; 13] = [-3.0, -2.5, -2.0, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5];
/// A probability above which an object is likelier than background.
const MORE_LIKELY_THAN_NOT: f32 = 0.5;
/// Photos on which times are measured, at most.
const TIMED: usize = 16;
/// The same for each setting of a sweep.
const SWEPT: usize = 8;

/// What a network is measured on.
#[derive(Clone, Copy)]
pub struct Photos<'a> {
    /// Images and their objects.
    pub dataset: &'a Dataset,
    /// Gives pixels and boxes of an image.
    pub load: &'a (dyn Fn(&Image) -> Result<Loaded, Error> + Sync),
    /// Threads that work on one image.
    pub threads: Option<usize>,
}

/// What a cascade drops, what that costs and what it saves.
#[derive(Clone, Debug, Serialize)]
pub struct CascadeReport {
    /// Nothing where no cascade was good enough.
    pub judge: Option<JudgeReport>,
    /// Points of mAP that the network may lose.
    pub max_drop: f64,
    /// On the photos that rank and threshold were chosen on; nothing where they were given.
    pub chosen_on: Option<Measured>,
    /// On the others.
    pub checked_on: Option<Measured>,
    /// Thresholds that the others asked to go back by.
    pub steps_back: usize,
    /// On some of the others.
    pub heads: Option<HeadTimes>,
}

/// A judge.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JudgeReport {
    /// Singular values that were kept of each hidden layer.
    pub rank: u32,
    /// Regions below it are dropped.
    pub keep: f32,
    /// The judge's multiply-accumulates, over the head's.
    pub cost: f64,
}

/// A threshold on some photos.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Photos.
    pub photos: usize,
    /// Share of their distinct regions that is dropped.
    pub dropped: f64,
    /// VOC10+ mAP at IoU 0.5 without a cascade, in 0..=1.
    pub before: f64,
    /// With it.
    pub after: f64,
    /// Points lost.
    pub drop: f64,
}

/// Median times of RoI pooling, judge and head of whole detections, without and with the cascade in turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HeadTimes {
    /// Milliseconds without the cascade.
    pub before_ms: f64,
    /// Milliseconds with it.
    pub after_ms: f64,
    /// Those of whole detections without it.
    pub total_before_ms: f64,
    /// And with it.
    pub total_after_ms: f64,
    /// Photos.
    pub photos: usize,
    /// Threads.
    pub threads: usize,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub enum CascadeStep<'a> {
    /// Factoring layers.
    Making,
    /// One more photo is judged.
    Judging,
    /// One more photo is detected in with and without the cascade.
    Timing,
    /// One more setting of a sweep is measured, the last of these.
    Measured(&'a [SweepRow]),
}

type Progress<'a> = dyn FnMut(CascadeStep) -> Result<(), Error> + 'a;

/// Chooses rank and threshold so that at most `max_drop` points are lost, and the heads take the least on a CPU.
///
/// # Errors
/// The network can have no cascade, there are too few photos, or an image fails.
pub fn choose(
    whole: &Compiled,
    photos: Photos,
    max_drop: f64,
    model: &TypeModel,
    progress: &mut Progress,
) -> Result<(Compiled, CascadeReport), Error> {
    let none = |max_drop| CascadeReport {
        judge: None,
        max_drop,
        chosen_on: None,
        checked_on: None,
        steps_back: 0,
        heads: None,
    };
    progress(CascadeStep::Making)?;
    let keeps = keeps(whole);
    let largest = whole.largest_judge_rank().map_err(stage)?;
    let ranks: Vec<usize> = RANKS.into_iter().filter(|&rank| rank <= largest).collect();
    let ranks = if ranks.is_empty() { vec![largest] } else { ranks };
    let judges = whole.with_cascades(&ranks, 0.0).map_err(stage)?;
    let halves = crate::auto::cut(photos.dataset).map(|part| photos.dataset.part(&part));
    if halves.iter().any(|half| half.images.is_empty()) {
        let problem = "--cascade auto: one photo is too few, for every other one is for the check alone";
        return Err(Error::Stage(problem.to_string()));
    }
    let bundles: Vec<&Arc<Bundle>> = judges.iter().map(|judge| &judge.bundle).collect();
    let [chosen_on, for_check] = halves.each_ref().map(|dataset| Photos { dataset, ..photos });
    let chosen_on = Trial::run(&whole.bundle, &bundles, &keeps, chosen_on, progress)?;
    let checked_on = Trial::run(&whole.bundle, &bundles, &keeps, for_check, progress)?;
    if chosen_on.before == 0.0 || checked_on.before == 0.0 {
        return Err(Error::Stage(
            "--cascade auto: the network finds none of the objects that half of the photos have (mAP 0), so nothing can be chosen \
             by it: are these photos of what the network is for, and is its manifest right?"
                .to_string(),
        ));
    }
    let allowed = max_drop / 2.0;
    let shares: Vec<f64> = judges.iter().map(|judge| share(judge, model)).collect::<Result<_, Error>>()?;
    let candidates = shares.iter().enumerate().filter_map(|(position, share)| {
        let first = chosen_on.highest(position, allowed)?;
        let keep = first.min(checked_on.highest(position, allowed)?);
        let cost = share + 1.0 - chosen_on.measured(position, keep).dropped;
        Some((cost, position, keep, first - keep))
    });
    let cheapest = candidates.filter(|(cost, ..)| *cost < 1.0).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, position, keep, steps_back)) = cheapest else {
        return Ok((whole.clone(), none(max_drop)));
    };
    let (judge, threshold) = (&judges[position], keeps[keep]);
    let measured = checked_on.measured(position, keep);
    let compiled = judge.with_threshold(threshold, Some(record(&measured))).map_err(stage)?;
    let heads = Some(times([&whole.bundle, &compiled.bundle], for_check, TIMED, progress)?);
    let report = CascadeReport {
        judge: Some(judge_report(&compiled)),
        max_drop,
        chosen_on: Some(chosen_on.measured(position, keep)),
        checked_on: Some(measured),
        steps_back,
        heads,
    };
    Ok((compiled, report))
}

/// Measures a cascade that was given by hand, on all photos.
///
/// # Errors
/// An image fails, or there is nothing to score with.
pub fn measure(
    by_hand: &Compiled,
    photos: Photos,
    progress: &mut Progress,
) -> Result<(Compiled, CascadeReport), Error> {
    let keep = by_hand.bundle.contents().cascade.as_ref().map_or(0.0, |cascade| cascade.keep);
    let (measured, heads) = measure_bundle(&by_hand.bundle, photos, progress)?;
    let compiled = by_hand.with_threshold(keep, Some(record(&measured))).map_err(stage)?;
    let report = CascadeReport {
        judge: Some(judge_report(&compiled)),
        max_drop: 0.0,
        chosen_on: None,
        checked_on: Some(measured),
        steps_back: 0,
        heads: Some(heads),
    };
    Ok((compiled, report))
}

/// What a user may not have meant with a threshold that was given by hand and is not measured.
pub fn doubt(by_hand: &Compiled) -> Option<String> {
    let contents = by_hand.bundle.contents();
    let keep = contents.cascade.as_ref()?.keep;
    let is_high = contents.manifest.scores == Scores::Probabilities && keep > MORE_LIKELY_THAN_NOT;
    is_high.then(|| {
        format!(
            "cascade: keep={keep} drops regions that the judge takes for objects rather than for background, too, so that little or \
             nothing may be found; measure what it loses on a data set, or lower it: 0.02 drops what is plainly background"
        )
    })
}

/// What a bundle's cascade drops and costs on some photos, and what it saves.
///
/// # Errors
/// As [`measure`].
pub fn measure_bundle(
    bundle: &Arc<Bundle>,
    photos: Photos,
    progress: &mut Progress,
) -> Result<(Measured, HeadTimes), Error> {
    let whole = without_cascade(bundle)?;
    let keep = bundle.contents().cascade.as_ref().map_or(0.0, |cascade| cascade.keep);
    let trial = Trial::run(&whole, &[bundle], &[keep], photos, progress)?;
    Ok((trial.measured(0, 0), times([&whole, bundle], photos, TIMED, progress)?))
}

/// The network without a cascade, then with each of the ranks and thresholds. Recommended is that with the least work, by
/// the time of the judge on this CPU and the share dropped, that loses at most `max_drop` points. The rows of `known` have been measured already:
/// the first is the network without a cascade, and their settings are not measured anew.
///
/// # Errors
/// The network can have no such cascade, or an image fails.
pub fn sweep(
    whole: &Compiled,
    photos: Photos,
    (ranks, keeps): (&[usize], &[f32]),
    max_drop: f64,
    known: Vec<SweepRow>,
    progress: &mut Progress,
) -> Result<Sweep, Error> {
    keeps.iter().try_for_each(|&keep| whole.check_keep(keep)).map_err(stage)?;
    let images = photos.dataset.images.len();
    let mut rows = known;
    let named = |rank: usize, keep: f32| format!("rank={rank},keep={keep}");
    let is_known = |rows: &[SweepRow], setting: &str| rows.iter().any(|row| row.setting == setting);
    let is_wanted = |rank: &usize| keeps.iter().any(|&keep| !is_known(&rows, &named(*rank, keep)));
    let ranks: Vec<usize> = ranks.iter().copied().filter(is_wanted).collect();
    if ranks.is_empty() {
        return Ok(Sweep::new(rows, max_drop, images));
    }
    progress(CascadeStep::Making)?;
    let model = TypeModel::detect();
    let first = keeps.first().copied().unwrap_or(0.0);
    let judges = whole.with_cascades(&ranks, first).map_err(stage)?;
    let bundles: Vec<&Arc<Bundle>> = judges.iter().map(|judge| &judge.bundle).collect();
    let trial = Trial::run(&whole.bundle, &bundles, keeps, photos, progress)?;
    let milliseconds = |ms: f64| Duration::from_secs_f64(ms / 1e3);
    let row = |compiled: &Compiled, setting: String| SweepRow {
        setting,
        ranks: Vec::new(),
        parameters: compiled.report.cost.parameters,
        file_bytes: compiled.report.file_bytes,
        head: Duration::ZERO,
        total: Duration::ZERO,
        map: trial.before,
        drop: 0.0,
        dropped: Some(0.0),
        work: Some(1.0),
    };
    // The time without a cascade is measured anew beside each setting.
    let times_whole = rows.is_empty();
    if times_whole {
        rows.push(row(whole, "no cascade".to_string()));
    }
    finds_something("sweep", &rows)?;
    let mut befores = Vec::new();
    for (position, judge) in judges.iter().enumerate() {
        for (threshold, &keep) in keeps.iter().enumerate() {
            let judge = judge.with_threshold(keep, None).map_err(stage)?;
            let rank = judge_report(&judge).rank as usize;
            let setting = named(rank, keep);
            if is_known(&rows, &setting) {
                continue;
            }
            let share = share(&judge, &model)?;
            let heads = times([&whole.bundle, &judge.bundle], photos, SWEPT, progress)?;
            befores.push((heads.before_ms, heads.total_before_ms));
            let Measured { dropped, after, drop, .. } = trial.measured(position, threshold);
            rows.push(SweepRow {
                ranks: vec![("judge".to_string(), rank)],
                head: milliseconds(heads.after_ms),
                total: milliseconds(heads.total_after_ms),
                map: after,
                drop,
                dropped: Some(dropped),
                work: Some(share + 1.0 - dropped),
                ..row(&judge, setting)
            });
            if let Some(first) = rows.first_mut().filter(|_| times_whole) {
                let middle = |of: fn(&(f64, f64)) -> f64| {
                    median(befores.iter().map(|b| milliseconds(of(b))).collect())
                };
                (first.head, first.total) = (middle(|before| before.0), middle(|before| before.1));
            }
            progress(CascadeStep::Measured(&rows))?;
        }
    }
    Ok(Sweep::new(rows, max_drop, images))
}

fn stage(problem: impl std::fmt::Display) -> Error {
    Error::Stage(problem.to_string())
}

fn keeps(compiled: &Compiled) -> Vec<f32> {
    match compiled.bundle.contents().manifest.scores {
        Scores::Probabilities => KEEPS.to_vec(),
        Scores::Margins => MARGINS.to_vec(),
    }
}

fn record(measured: &Measured) -> Chosen {
    Chosen {
        photos: measured.photos as u32,
        dropped: measured.dropped as f32,
        map_before: measured.before as f32,
        map_after: measured.after as f32,
    }
}

fn judge_cost(compiled: &Compiled) -> f64 {
    let cost = &compiled.report.cost;
    cost.judge_macs_per_roi as f64 / (cost.head_macs_per_roi as f64).max(1.0)
}

/// What the judge takes of the head's time.
fn share(compiled: &Compiled, model: &TypeModel) -> Result<f64, Error> {
    judge_share(compiled.bundle.contents(), model).map_err(stage)
}

fn judge_report(compiled: &Compiled) -> JudgeReport {
    let cascade = compiled.bundle.contents().cascade.as_ref();
    let (rank, keep) = cascade.map_or((0, 0.0), |cascade| (cascade.rank, cascade.keep));
    JudgeReport { rank, keep, cost: judge_cost(compiled) }
}

/// The same network without its cascade.
fn without_cascade(bundle: &Bundle) -> Result<Arc<Bundle>, Error> {
    let mut contents = bundle.contents().clone();
    contents.cascade = None;
    BundleWriter::of(bundle).finish(contents).map(Arc::new).map_err(stage)
}

/// Judges and thresholds on some photos.
struct Trial {
    photos: usize,
    before: f64,
    /// `[judge][threshold]`: share dropped, and mAP.
    after: Vec<Vec<(f64, f64)>>,
}

impl Trial {
    /// Runs the head on all regions of each photo, once, and each judge. What a threshold leaves of the detections follows
    /// from that: what stays gets the same scores.
    fn run(
        whole: &Arc<Bundle>,
        judges: &[&Arc<Bundle>],
        keeps: &[f32],
        photos: Photos,
        progress: &mut Progress,
    ) -> Result<Trial, Error> {
        let options = Options { threads: photos.threads, ..Options::default() };
        let detector = |bundle: &Arc<Bundle>| Detector::new(bundle.clone(), &options);
        let (whole, dataset) = (detector(whole)?, photos.dataset);
        let judges: Vec<Session> =
            judges.iter().map(|bundle| Ok(detector(bundle)?.session())).collect::<Result<_, Error>>()?;
        let mut session = whole.session();
        let (mut before, mut all): (Vec<Detection>, usize) = (Vec::new(), 0);
        let mut after = vec![vec![(0, Vec::<Detection>::new()); keeps.len()]; judges.len()];
        for (position, image) in dataset.images.iter().enumerate() {
            let loaded = (photos.load)(image)?;
            let (width, height) = loaded.pixels.dimensions();
            let of_image = |error: frcnn::Error| Error::file(&image.path, error);
            let boxes = loaded.boxes_of(&mut session).map_err(of_image)?;
            let regions = &whole.contents().regions;
            let photo = Photo::run(&mut session, regions, &loaded, &boxes).map_err(of_image)?;
            let mut detections = |index: &[u32]| {
                let found = session.postprocess(&boxes, index, &photo.output, width, height);
                Ok::<_, Error>(run_image(&whole, image, &found).detections(dataset, position, &image.path)?)
            };
            before.extend(detections(photo.rois.index())?);
            all += photo.rois.len();
            for (judge, after) in judges.iter().zip(&mut after) {
                let foreground = photo.rois.judge(judge, &photo.maps).map_err(of_image)?;
                let foreground = foreground.unwrap_or_default();
                for (&keep, (dropped, found)) in keeps.iter().zip(after) {
                    let mut index = photo.rois.index().to_vec();
                    let is_dropped = |row: u32| foreground.get(row as usize).is_some_and(|&f| f < keep);
                    index.iter_mut().filter(|row| is_dropped(**row)).for_each(|row| *row = NO_ROI);
                    *dropped += foreground.iter().filter(|&&f| f < keep).count();
                    found.extend(detections(&index)?);
                }
            }
            progress(CascadeStep::Judging)?;
        }
        let map = |found: &[Detection]| {
            voc(dataset, found, IOU).map10.ok_or_else(|| {
                Error::Stage("--cascade: there is no object to score with on some of the photos".to_string())
            })
        };
        let scored = |(dropped, found): (usize, Vec<Detection>)| {
            Ok((dropped as f64 / all.max(1) as f64, map(&found)?))
        };
        let after = after.into_iter().map(|judge| judge.into_iter().map(scored).collect());
        Ok(Trial {
            photos: dataset.images.len(),
            before: map(&before)?,
            after: after.collect::<Result<_, Error>>()?,
        })
    }

    fn measured(&self, judge: usize, keep: usize) -> Measured {
        let (dropped, after) = self.after[judge][keep];
        let drop = (self.before - after) * 100.0;
        Measured { photos: self.photos, dropped, before: self.before, after, drop }
    }

    /// The position of the highest threshold that, like all below it, loses at most so many points.
    fn highest(&self, judge: usize, allowed: f64) -> Option<usize> {
        let good = |&keep: &usize| self.measured(judge, keep).drop <= allowed;
        (0..self.after[judge].len()).take_while(good).last()
    }
}

/// What the network gives of a photo.
struct Photo {
    maps: Vec<FeatureMap>,
    rois: Rois,
    output: HeadOutput,
}

/// The RoIs of a photo, as the network pools them.
enum Rois {
    Projected(ProjectedRois),
    Aligned(AlignedRois),
}

impl Rois {
    fn of(
        session: &Session,
        regions: &Regions,
        boxes: &[BBox],
        blobs: &[ImageBlob],
    ) -> Result<Rois, frcnn::Error> {
        match (regions, blobs) {
            (Regions::RoiAlign(_), [blob]) => {
                let boxes: Vec<BBox> = boxes.iter().map(|bbox| blob.to_blob(bbox)).collect();
                session.align_rois(&boxes).map(Rois::Aligned)
            }
            _ => session.project(boxes, blobs).map(Rois::Projected),
        }
    }

    fn len(&self) -> usize {
        match self {
            Rois::Projected(rois) => rois.rois.len(),
            Rois::Aligned(rois) => rois.rois.len(),
        }
    }

    fn index(&self) -> &[u32] {
        match self {
            Rois::Projected(rois) => &rois.index,
            Rois::Aligned(rois) => &rois.index,
        }
    }

    fn pool(&self, session: &Session, maps: &[FeatureMap]) -> Result<Vec<f32>, frcnn::Error> {
        match self {
            Rois::Projected(rois) => session.roi_pool(maps, &rois.rois),
            Rois::Aligned(rois) => session.roi_align(maps, &rois.rois),
        }
    }

    fn judge(&self, session: &Session, maps: &[FeatureMap]) -> Result<Option<Vec<f32>>, frcnn::Error> {
        match self {
            Rois::Projected(rois) => session.judge(maps, &rois.rois),
            Rois::Aligned(rois) => session.judge_aligned(maps, &rois.rois),
        }
    }
}

impl Photo {
    fn run(
        session: &mut Session,
        regions: &Regions,
        loaded: &Loaded,
        boxes: &[BBox],
    ) -> Result<Photo, frcnn::Error> {
        let blobs = session.preprocess(&loaded.frame()?)?;
        let maps = blobs.iter().map(|blob| session.maps(blob)).collect::<Result<Vec<_>, _>>()?.concat();
        let rois = Rois::of(session, regions, boxes, &blobs)?;
        let features = rois.pool(session, &maps)?;
        let output = session.head(&features)?;
        Ok(Photo { maps, rois, output })
    }
}

/// Whole detections without and with a cascade, in turn, on at most so many of the photos.
fn times(
    [without, with]: [&Arc<Bundle>; 2],
    photos: Photos,
    at_most: usize,
    progress: &mut Progress,
) -> Result<HeadTimes, Error> {
    let options = Options { threads: photos.threads, ..Options::default() };
    let detectors = [Detector::new(without.clone(), &options)?, Detector::new(with.clone(), &options)?];
    let mut sessions = detectors.each_ref().map(Detector::session);
    let mut timings: [Vec<Timings>; 2] = Default::default();
    let images: Vec<&Image> = photos.dataset.images.iter().take(at_most).collect();
    for (position, image) in images.iter().enumerate() {
        let loaded = (photos.load)(image)?;
        let of_image = |error: frcnn::Error| Error::file(&image.path, error);
        // The first photo once more, beforehand: plans are made and buffers filled.
        for warm_up in if position == 0 { &[true, false][..] } else { &[false] } {
            for (session, timings) in sessions.iter_mut().zip(&mut timings) {
                loaded.detect(session).map_err(of_image)?;
                if !warm_up {
                    timings.push(*session.timings());
                }
            }
        }
        progress(CascadeStep::Timing)?;
    }
    let of = |timings: &[Timings], stage: fn(&Timings) -> Duration| {
        median(timings.iter().map(stage).collect()).as_secs_f64() * 1e3
    };
    let [before, after] = &timings;
    let heads = |timings: &Timings| timings.roi_pool + timings.head;
    Ok(HeadTimes {
        before_ms: of(before, heads),
        after_ms: of(after, heads),
        total_before_ms: of(before, Timings::total),
        total_after_ms: of(after, Timings::total),
        photos: images.len(),
        threads: detectors[0].threads(),
    })
}

#[cfg(test)]
mod tests {
    use frcnn_bundle::Cascade;

    use super::*;

    #[test]
    fn a_threshold_is_good_where_all_below_it_are() {
        let trial = |drops: &[f64]| Trial {
            photos: 3,
            before: 0.5,
            after: vec![drops.iter().map(|drop| (0.25, 0.5 - drop / 100.0)).collect()],
        };
        assert_eq!(trial(&[0.0, 0.1, 0.2, 0.1]).highest(0, 0.15), Some(1));
        assert_eq!(trial(&[0.0, -0.5, 0.14]).highest(0, 0.15), Some(2));
        assert_eq!(trial(&[0.2, 0.0]).highest(0, 0.15), None);
        let measured = trial(&[1.0]).measured(0, 0);
        assert_eq!((measured.photos, measured.dropped, measured.before), (3, 0.25, 0.5));
        assert!((measured.drop - 1.0).abs() < 1e-9);
    }

    #[test]
    fn thresholds_ascend() {
        assert!(KEEPS.is_sorted() && MARGINS.is_sorted());
        assert!(KEEPS.iter().all(|&keep| Cascade::check_keep(Scores::Probabilities, keep).is_ok()));
    }
}
