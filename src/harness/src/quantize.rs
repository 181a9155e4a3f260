//! int8: calibrated on some photos of a data set, and held against the f32 network on others.

use std::sync::Arc;

use frcnn::{Bundle, Detector, Options, Session};
use frcnn_bundle::Scores;
use frcnn_compiler::{Calibration, Calibrator, Compiled, Precisions, Problem, evenly};
use frcnn_eval::{Found, pair};
use serde::Serialize;

use crate::Error;
use crate::run::Loaded;

/// Photos that layers are calibrated on.
const CALIBRATED: usize = 32;
/// Photos on which both networks are compared.
const COMPARED: usize = 8;
/// Two detections are of one object if they overlap by so much.
const SAME_OBJECT: f32 = 0.5;

/// Photos in an order that is always the same.
pub struct Photos<'a> {
    /// How many there are.
    pub count: usize,
    /// Pixels and boxes of one of them.
    pub load: &'a dyn Fn(usize) -> Result<Loaded, Error>,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub enum QuantizeStep<'a> {
    /// Looking at what layers read on the next photo, of so many.
    Calibrating(usize),
    /// A photo is passed over.
    PassedOver(&'a Error),
    /// Running both networks on the next photo, of so many.
    Comparing(usize),
}

/// A network in int8.
#[derive(Debug)]
pub struct Quantized {
    /// The network and its report.
    pub compiled: Compiled,
    /// What it still finds.
    pub found_again: FoundAgain,
}

/// What a network finds of what its f32 network finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FoundAgain {
    /// Photos that both looked at.
    pub photos: usize,
    /// Whether layers were calibrated on them: there were no others.
    pub calibrated_on: bool,
    /// Objects that the f32 network finds with a score above 0.5, or a margin above 0.
    pub exact: usize,
    /// Those of them that the other finds so as well, of the same class and with an overlap of at least 0.5.
    pub again: usize,
    /// Those that it alone finds.
    pub more: usize,
}

/// Makes layers of an f32 network int8, or what else `precisions` says, as `--precision int8` does.
///
/// # Errors
/// No photo can be read, the network does not run on one, or int8 finds nothing of what f32 finds.
pub fn quantize(
    exact: &Compiled,
    precisions: &Precisions,
    photos: &Photos,
    progress: &mut dyn FnMut(QuantizeStep),
) -> Result<Quantized, Error> {
    let parts = Parts::of(photos.count);
    let calibrated = calibrate(&exact.bundle, precisions, photos, progress)?;
    let Calibrated { calibration, sample, passed_over } = calibrated;
    let precisions = calibration.without_vanishing(precisions.clone());
    let boxes = sample.boxes.as_deref().unwrap_or_default();
    let compiled =
        exact.with_precisions(&precisions, &calibration, (&sample.frame()?, boxes)).map_err(refused)?;
    let parts = parts.without(&passed_over);
    let found_again = found_again([&exact.bundle, &compiled.bundle], photos, &parts, progress)?;
    Ok(Quantized { compiled, found_again })
}

/// What layers were seen to read.
pub struct Calibrated {
    /// Of all layers that are to be int8.
    pub calibration: Calibration,
    /// The first photo, with its boxes.
    pub sample: Loaded,
    /// Photos that were passed over, in ascending order.
    pub passed_over: Vec<usize>,
}

/// Calibrates the layers that are to be int8 on some of the photos, evenly spaced.
///
/// # Errors
/// No photo can be read, or the network does not run on one.
pub fn calibrate(
    exact: &Arc<Bundle>,
    precisions: &Precisions,
    photos: &Photos,
    progress: &mut dyn FnMut(QuantizeStep),
) -> Result<Calibrated, Error> {
    let calibrated_on = Parts::of(photos.count).calibrated_on;
    let mut calibrator = Calibrator::new(exact, precisions).map_err(refused)?;
    let (mut sample, mut passed_over, mut proposer) = (None, Vec::new(), None);
    for &photo in &calibrated_on {
        progress(QuantizeStep::Calibrating(calibrated_on.len()));
        match (photos.load)(photo) {
            Ok(loaded) => {
                let loaded = with_boxes(loaded, exact, &mut proposer)?;
                let boxes = loaded.boxes.as_deref().unwrap_or_default();
                calibrator.observe(&loaded.frame()?, boxes).map_err(refused)?;
                sample.get_or_insert(loaded);
            }
            Err(error) => {
                progress(QuantizeStep::PassedOver(&error));
                passed_over.push(photo);
            }
        }
    }
    let calibration = calibrator.finish().map_err(refused)?;
    let sample = sample.ok_or_else(|| refused(Problem::NothingToCalibrateOn))?;
    Ok(Calibrated { calibration, sample, passed_over })
}

/// A photo with the boxes that the RPN of `exact` proposes where it has none of its own. `proposer` is made where it is needed.
pub(crate) fn with_boxes(
    loaded: Loaded,
    exact: &Arc<Bundle>,
    proposer: &mut Option<Session>,
) -> Result<Loaded, Error> {
    if loaded.boxes.is_some() {
        return Ok(loaded);
    }
    let session = match proposer {
        Some(session) => session,
        None => proposer.insert(Detector::new(exact.clone(), &Options::default())?.session()),
    };
    let boxes = loaded.boxes_of(session)?.into_owned();
    Ok(Loaded { boxes: Some(boxes), ..loaded })
}

/// Which photos are for what.
struct Parts {
    calibrated_on: Vec<usize>,
    compared_on: Vec<usize>,
    /// Whether no photo was left for the comparison alone.
    same: bool,
}

impl Parts {
    fn of(count: usize) -> Parts {
        let calibrated_on: Vec<usize> = evenly(count, CALIBRATED).collect();
        let others: Vec<usize> =
            (0..count).filter(|photo| calibrated_on.binary_search(photo).is_err()).collect();
        let same = others.is_empty();
        let of = if same { &calibrated_on } else { &others };
        let compared_on = evenly(of.len(), COMPARED).filter_map(|place| of.get(place).copied()).collect();
        Parts { calibrated_on, compared_on, same }
    }

    /// Without comparing on photos that were passed over already.
    fn without(mut self, passed_over: &[usize]) -> Parts {
        self.compared_on.retain(|photo| passed_over.binary_search(photo).is_err());
        self
    }
}

/// What the second network finds of what the first one does.
fn found_again(
    networks: [&Arc<Bundle>; 2],
    photos: &Photos,
    parts: &Parts,
    progress: &mut dyn FnMut(QuantizeStep),
) -> Result<FoundAgain, Error> {
    let mut sessions = Vec::new();
    for bundle in networks {
        let score_threshold = match bundle.contents().manifest.scores {
            Scores::Probabilities => 0.5,
            Scores::Margins => 0.0,
        };
        let options = Options { score_threshold: Some(score_threshold), ..Options::default() };
        sessions.push(Detector::new(bundle.clone(), &options)?.session());
    }
    let width_offset = networks[0].contents().manifest.width_offset();
    let mut sum = FoundAgain { photos: 0, calibrated_on: parts.same, exact: 0, again: 0, more: 0 };
    for &photo in &parts.compared_on {
        progress(QuantizeStep::Comparing(parts.compared_on.len()));
        let loaded = match (photos.load)(photo) {
            Ok(loaded) => loaded,
            Err(error) => {
                progress(QuantizeStep::PassedOver(&error));
                continue;
            }
        };
        let mut found = Vec::new();
        for session in &mut sessions {
            let detections = loaded.detect(session)?;
            let of = |d: &frcnn::Detection| Found { class_id: d.class_id, score: d.score, bbox: d.bbox };
            found.push(detections.iter().map(of).collect::<Vec<_>>());
        }
        if let [exact, other] = &found[..] {
            let again = pair(exact, other, SAME_OBJECT, width_offset).len();
            sum.photos += 1;
            sum.exact += exact.len();
            sum.again += again;
            sum.more += other.len() - again;
        }
    }
    if sum.exact > 0 && sum.again == 0 {
        return Err(Error::Stage(format!(
            "in int8 the network finds none of the {} objects that it finds in f32 on {} photos: nothing was written. Calibrate on \
             photos like those that it is for, or compile with --precision f16",
            sum.exact, sum.photos
        )));
    }
    Ok(sum)
}

fn refused(problem: Problem) -> Error {
    Error::Refused(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_compared_on_photos_of_their_own() {
        let parts = Parts::of(100);
        assert_eq!((parts.calibrated_on.len(), parts.compared_on.len(), parts.same), (32, 8, false));
        assert!(parts.compared_on.iter().all(|photo| !parts.calibrated_on.contains(photo)));
        let few = Parts::of(3);
        assert_eq!((few.calibrated_on, few.compared_on, few.same), (vec![0, 1, 2], vec![0, 1, 2], true));
        let two_more = Parts::of(34);
        assert_eq!((two_more.calibrated_on.len(), two_more.compared_on.len(), two_more.same), (32, 2, false));
        assert!(Parts::of(0).compared_on.is_empty());
    }
}
