//! A detector over the images of a data set.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use frcnn::{BBox, Detections, Detector, Frame, Session, Timings};
use frcnn_eval::{Dataset, Image, RunDetection, RunImage};
use image::RgbImage;

use crate::Error;

/// An image's pixels and the boxes to look at.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Red, green, blue.
    pub pixels: RgbImage,
    /// In image pixels, corners as the bundle's; none where the network's own RPN makes them.
    pub boxes: Option<Vec<BBox>>,
}

impl Loaded {
    pub(crate) fn frame(&self) -> Result<Frame<'_>, frcnn::Error> {
        let (width, height) = self.pixels.dimensions();
        Ok(Frame::rgb8(self.pixels.as_raw(), width, height)?)
    }

    /// Detects objects among the boxes, or those that the session's network proposes.
    pub(crate) fn detect(&self, session: &mut Session) -> Result<Detections, frcnn::Error> {
        session.detect_among(&self.frame()?, self.boxes.as_deref())
    }

    /// The boxes that were given, or those that the session's network proposes.
    pub(crate) fn boxes_of(&self, session: &mut Session) -> Result<Cow<'_, [BBox]>, frcnn::Error> {
        match &self.boxes {
            Some(boxes) => Ok(Cow::Borrowed(boxes)),
            None => {
                session.detect_frame(&self.frame()?)?;
                Ok(Cow::Owned(session.proposals().to_vec()))
            }
        }
    }
}

/// One image of a run.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Position of the image in the data set.
    pub position: usize,
    /// The image.
    pub image: &'a Image,
    /// What was found, and how long each stage took; or why not.
    pub outcome: Result<(RunImage, Timings), Error>,
}

/// The `index`-th of `count` parts of a data set: every `count`-th image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { index: 1, count: 1 };

    /// Whether the image at `position` belongs to this part.
    pub fn has(&self, position: usize) -> bool {
        position % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Reads `1/4`, the first of four.
    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err("not I/N with I from 1 to N, such as 1/4".to_string()),
        }
    }
}

/// Detects in the images at `positions`, `workers` at a time; `load` is called by the workers, `each` here, in the order
/// in which images are finished. An image that fails does not end the run.
///
/// Images side by side, each on one thread, finish sooner than one image on many threads, so `detector` should have
/// one thread where there are several workers.
///
/// # Errors
/// What `each` returns, at once.
pub fn run<'a>(
    detector: &Detector,
    dataset: &'a Dataset,
    positions: &[usize],
    workers: usize,
    load: impl Fn(&Image) -> Result<Loaded, Error> + Sync,
    mut each: impl FnMut(Finished<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let queue = Mutex::new(positions.iter().copied());
    let next = || queue.lock().ok()?.next();
    let workers = workers.clamp(1, positions.len().max(1));
    // Bounded, so that workers do not run ahead of a slow receiver.
    let (sender, receiver) = mpsc::sync_channel(workers);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, load) = (sender.clone(), &next, &load);
            scope.spawn(move || {
                let mut session = detector.session();
                while let Some(position) = next() {
                    let Some(image) = dataset.images.get(position) else { continue };
                    let outcome =
                        load(image).and_then(|loaded| detect(detector, &mut session, image, &loaded));
                    // The receiver is gone when the run was ended.
                    if sender.send(Finished { position, image, outcome }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let ended = receiver.iter().try_for_each(&mut each);
        drop(receiver);
        ended
    })
}

fn detect(
    detector: &Detector,
    session: &mut Session,
    image: &Image,
    loaded: &Loaded,
) -> Result<(RunImage, Timings), Error> {
    let of_image = |error: frcnn::Error| Error::file(&image.path, error);
    let detections = loaded.detect(session).map_err(of_image)?;
    Ok((run_image(detector, image, &detections), *session.timings()))
}

/// Detections as a run keeps them: with inclusive corners, whatever those of the bundle's boxes are.
pub(crate) fn run_image(detector: &Detector, image: &Image, detections: &Detections) -> RunImage {
    // A box has the same width by both: `x2 - x1 + width_offset`, and `x2 - x1 + 1`.
    let beyond = 1.0 - detector.manifest().width_offset();
    let detections = detections.iter().map(|found| RunDetection {
        class: detector.class_name(found.class_id).to_string(),
        score: found.score,
        r#box: [found.bbox.x1, found.bbox.y1, found.bbox.x2 - beyond, found.bbox.y2 - beyond],
    });
    RunImage { image: image.stem.clone(), detections: detections.collect() }
}

/// The middle one; the mean of the middle two.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let middle = times.len() / 2;
    let at = |position: usize| times.get(position).copied().unwrap_or_default();
    if times.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_and_complete() {
        assert_eq!("1/1".parse(), Ok(Shard::WHOLE));
        for count in 1..6 {
            let shards: Vec<Shard> = (1..=count).map(|i| format!("{i}/{count}").parse().unwrap()).collect();
            for position in 0..20 {
                assert_eq!(shards.iter().filter(|shard| shard.has(position)).count(), 1);
            }
        }
        for text in ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        let ms =
            |times: &[u64]| median(times.iter().map(|&t| Duration::from_millis(t)).collect()).as_millis();
        assert_eq!((ms(&[9, 1, 2]), ms(&[4, 2]), ms(&[])), (2, 3, 0));
    }
}
