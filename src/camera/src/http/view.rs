//! What is shown of a camera: its last frame, made a JPEG while somebody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::event::{CameraInfo, FrameResult, Seen, seconds};
use crate::jpeg;

/// From one picture of a camera to the next, for all who look together.
const APART: Duration = Duration::from_millis(100);
/// Somebody who asked for a picture is taken to look for so long.
const LOOKS: Duration = Duration::from_secs(5);
/// Whoever waits for a picture gets an empty answer then, and asks again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer sides of pictures are made this long.
const LONGEST_SIDE: u32 = 1280;

/// One camera's.
pub(super) struct View {
    pub(super) info: CameraInfo,
    frame: watch::Sender<Option<Arc<FrameResult>>>,
    begun: Instant,
    /// Milliseconds from `begun` until which somebody is taken to look.
    looked_at: AtomicU64,
    encoded: Mutex<Encoded>,
}

struct Encoded {
    shown: Option<Shown>,
    /// Not before then is another made.
    next: Instant,
}

/// A frame and its picture.
#[derive(Clone)]
pub(super) struct Shown {
    frame: Arc<FrameResult>,
    pub(super) jpeg: Bytes,
}

impl View {
    pub(super) fn new(info: CameraInfo) -> View {
        let now = Instant::now();
        View {
            info,
            frame: watch::Sender::new(None),
            begun: now,
            looked_at: AtomicU64::new(0),
            encoded: Mutex::new(Encoded { shown: None, next: now }),
        }
    }

    /// There is another frame.
    pub(super) fn update(&self, frame: &Arc<FrameResult>) {
        // Without a picture there is nothing to show; and the one before is better than none.
        if frame.picture.is_some() {
            self.frame.send_replace(Some(frame.clone()));
        }
    }

    /// Whether pictures are wanted.
    pub(super) fn is_looked_at(&self) -> bool {
        self.begun.elapsed().as_millis() < u128::from(self.looked_at.load(Ordering::Relaxed))
    }

    fn look(&self) {
        let until = (self.begun.elapsed() + LOOKS).as_millis();
        self.looked_at.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether there is another frame than `seen`.
    fn has_news(&self, seen: Option<u64>) -> bool {
        self.frame.borrow().as_ref().is_some_and(|frame| Some(frame.number) != seen)
    }

    /// Until there is another frame than `seen`.
    async fn news(&self, seen: Option<u64>) {
        let mut frames = self.frame.subscribe();
        // The sender lives as long as this.
        let _ = frames.wait_for(|frame| frame.as_ref().is_some_and(|frame| Some(frame.number) != seen)).await;
    }

    /// Makes a JPEG of the newest frame where there is none yet, but not too soon after the one before.
    async fn newest(&self) -> Option<Shown> {
        // Several who look wait for one picture.
        let mut encoded = self.encoded.lock().await;
        let number = self.frame.borrow().as_ref().map(|frame| frame.number);
        if let Some(shown) = encoded.shown.as_ref().filter(|shown| Some(shown.frame.number) == number) {
            return Some(shown.clone());
        }
        sleep_until(encoded.next).await;
        self.look();
        let frame = self.frame.borrow().clone()?;
        let picture = frame.picture.clone()?;
        let jpeg =
            tokio::task::spawn_blocking(move || jpeg::whole(&picture, LONGEST_SIDE)).await.ok()?.ok()?;
        let shown = Shown { frame, jpeg: jpeg.into() };
        *encoded = Encoded { shown: Some(shown.clone()), next: Instant::now() + APART };
        Some(shown)
    }

    /// What the last frame says, for those who do not look at the picture.
    pub(super) fn size(&self) -> Option<[u32; 2]> {
        self.frame.borrow().as_ref().map(|frame| [frame.width, frame.height])
    }
}

/// The newest pictures of those cameras that have other frames than those seen, as soon as one has; none where none has
/// for a while. All of them: a camera whose pictures take long to make is not left behind by the others.
pub(super) async fn show(asked: &[(Arc<View>, Option<u64>)]) -> Vec<Shown> {
    asked.iter().for_each(|(view, _)| view.look());
    let mut news: FuturesUnordered<_> = asked.iter().map(|(view, seen)| view.news(*seen)).collect();
    if timeout(PATIENCE, news.next()).await.is_err() {
        return Vec::new();
    }
    let shown = asked.iter().filter(|(view, seen)| view.has_news(*seen)).map(|(view, _)| view.newest());
    shown.collect::<FuturesUnordered<_>>().filter_map(async |shown| shown).collect().await
}

impl Shown {
    /// Appends what the frame says, as JSON, and its picture, as JPEG: before each its length (four bytes, the lowest
    /// first). The boxes are those of this very picture.
    pub(super) fn append_to(&self, body: &mut Vec<u8>) {
        let json = serde_json::to_vec(&FrameView::of(&self.frame)).unwrap_or_default();
        for part in [&json[..], &self.jpeg] {
            body.extend(u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
            body.extend(part);
        }
    }
}

#[derive(Serialize)]
struct FrameView<'a> {
    camera: &'a str,
    number: u64,
    time: f64,
    width: u32,
    height: u32,
    ms: f64,
    objects: Vec<ObjectView<'a>>,
    detections: &'a [Seen],
}

#[derive(Serialize)]
struct ObjectView<'a> {
    id: u64,
    class: &'a str,
    score: f32,
    #[serde(rename = "box")]
    bbox: [f32; 4],
    stationary: bool,
    zones: &'a [Arc<str>],
}

impl FrameView<'_> {
    fn of(frame: &FrameResult) -> FrameView<'_> {
        let objects = frame.objects.iter().map(|object| ObjectView {
            id: object.id,
            class: &object.class,
            score: object.score,
            bbox: object.bbox,
            stationary: object.stationary,
            zones: &object.zones,
        });
        FrameView {
            camera: &frame.camera,
            number: frame.number,
            time: seconds(frame.captured),
            width: frame.width,
            height: frame.height,
            ms: frame.ms,
            objects: objects.collect(),
            detections: &frame.detections,
        }
    }
}
