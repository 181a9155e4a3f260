//! What is shown of a camera: its last frame, made a JPEG while somebody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
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
    /// Of the frame.
    number: u64,
    jpeg: Bytes,
    /// Not before then is another made.
    next: Instant,
}

/// A frame and its picture.
pub(super) struct Shown {
    pub(super) frame: Arc<FrameResult>,
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
            encoded: Mutex::new(Encoded { number: 0, jpeg: Bytes::new(), next: now }),
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

    /// The newest picture, of another frame than `seen`; none where none comes in ten seconds.
    pub(super) async fn show(&self, seen: Option<u64>) -> Option<Shown> {
        self.look();
        let waiting = async {
            let mut frames = self.frame.subscribe();
            let news =
                |frame: &Option<Arc<FrameResult>>| frame.as_ref().is_some_and(|f| Some(f.number) != seen);
            // Several who look wait for one picture.
            frames.wait_for(news).await.ok()?;
            let mut encoded = self.encoded.lock().await;
            let current = frames.borrow_and_update().clone()?;
            if current.number != encoded.number {
                sleep_until(encoded.next).await;
                self.look();
                let frame = frames.borrow_and_update().clone()?;
                let picture = frame.picture.clone()?;
                let made = tokio::task::spawn_blocking(move || jpeg::whole(&picture, LONGEST_SIDE)).await;
                *encoded = Encoded {
                    number: frame.number,
                    jpeg: made.ok()?.ok()?.into(),
                    next: Instant::now() + APART,
                };
                return Some(Shown { frame, jpeg: encoded.jpeg.clone() });
            }
            Some(Shown { frame: current, jpeg: encoded.jpeg.clone() })
        };
        timeout(PATIENCE, waiting).await.ok().flatten()
    }

    /// What the last frame says, for those who do not look at the picture.
    pub(super) fn size(&self) -> Option<[u32; 2]> {
        self.frame.borrow().as_ref().map(|frame| [frame.width, frame.height])
    }
}

impl Shown {
    /// Length of the JSON (four bytes, the lowest first), the JSON, the JPEG: boxes are those of this very picture.
    pub(super) fn together(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&FrameView::of(&self.frame)).unwrap_or_default();
        let length = u32::try_from(json.len()).unwrap_or(0).to_le_bytes();
        [&length, &json[..], &self.jpeg].concat()
    }
}

#[derive(Serialize)]
struct FrameView<'a> {
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
