//! Pictures of objects: each one's best frame, cropped, as a JPEG; kept in a folder of limited size.
//!
//! Files are written by a thread of their own, which then tells that their objects have ended: no event names a file that is not there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::config;
use crate::event::{CameraEvent, Message, ObjectEvent, ObjectState, Picture, Snapshot};
use crate::jpeg;
use crate::names::slug;
use crate::status::{Status, Total};

/// Longer sides of snapshots are made this long.
const LONGEST_SIDE: u32 = 640;
/// Of the box's sides, on each of its sides; and pixels at least.
const MARGIN: f32 = 0.25;
const LEAST_MARGIN: f32 = 16.0;
/// A frame is better than the best so far if its score is greater by this: else a new JPEG would be made for each of a
/// slowly rising row of scores.
const BETTER: f32 = 0.01;
/// Objects whose pictures are kept at once. More have none.
const OBJECTS: usize = 1024;
/// Pictures that wait to be written at most; more are given up, and counted as failed.
const WAITING: usize = 64;
/// An event waits so long for its file at most; it is told without one then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[snapshots] folder {0}: {1}")]
pub struct Error(String, String);

/// The best pictures of all objects in view, and the folder of those that have gone. All cameras share it.
pub struct Snapshots {
    best: Mutex<HashMap<(Arc<str>, u64), Best>>,
    writer: Option<Writer>,
    status: Arc<Status>,
}

struct Best {
    score: f32,
    jpeg: Arc<[u8]>,
}

struct Writer {
    /// Bytes that the folder may have.
    most: Arc<AtomicU64>,
    files: Option<SyncSender<File>>,
    untold: Arc<Untold>,
    thread: Option<JoinHandle<()>>,
}

/// To be written.
struct File {
    name: String,
    jpeg: Arc<[u8]>,
    /// Of the event that is to name it.
    event: u64,
}

/// Events that wait for their files, by number, and since when; without the event while it is being told.
#[derive(Default)]
struct Untold {
    next: AtomicU64,
    events: Mutex<BTreeMap<u64, (Instant, Option<ObjectEvent>)>>,
}

impl Snapshots {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// The folder cannot be made, read or written.
    pub fn open(config: &config::Snapshots, status: Arc<Status>) -> Result<Snapshots, Error> {
        let writer = match &config.folder {
            Some(folder) => Some(Writer::open(folder, bytes(config.max_mb), status.clone())?),
            None => None,
        };
        Ok(Snapshots { best: Mutex::default(), writer, status })
    }

    /// Whether [`see`](Self::see) would take a picture: a frame need have pixels only then.
    pub fn wants(&self, camera: &Arc<str>, objects: &[ObjectState]) -> bool {
        let best = lock(&self.best);
        objects.iter().any(|object| is_better(&best, camera, object))
    }

    /// Takes pictures of the objects of a frame that are better to be seen than in any before.
    pub fn see(&self, camera: &Arc<str>, picture: &Picture, objects: &[ObjectState]) {
        for object in objects {
            if !is_better(&lock(&self.best), camera, object) {
                continue;
            }
            let area = crop(object.bbox, picture.width, picture.height);
            // A box that lies outside gives none.
            let Ok(jpeg) = jpeg::part(picture, area, LONGEST_SIDE) else { continue };
            let taken = Best { score: object.score, jpeg: jpeg.into() };
            lock(&self.best).insert((camera.clone(), object.id), taken);
        }
    }

    /// The best picture so far of an object in view; it has no file yet.
    pub fn best(&self, camera: &Arc<str>, id: u64) -> Option<Snapshot> {
        let best = lock(&self.best);
        let best = best.get(&(camera.clone(), id))?;
        Some(Snapshot { jpeg: best.jpeg.clone(), file: None })
    }

    /// An object has gone; its event gets its best picture. Where that is to have a file, the event is told once that was written;
    /// else it is given back, to be told at once.
    #[must_use]
    pub fn end(&self, mut event: ObjectEvent) -> Option<ObjectEvent> {
        let Some(Best { jpeg, .. }) = lock(&self.best).remove(&(event.camera.clone(), event.id)) else {
            return Some(event);
        };
        event.snapshot = Some(Snapshot { jpeg: jpeg.clone(), file: None });
        let Some((writer, files)) =
            self.writer.as_ref().and_then(|writer| Some((writer, writer.files.as_ref()?)))
        else {
            return Some(event);
        };
        let name = file_name(&event.camera, event.id, &event.class, event.first_seen);
        let number = writer.untold.put(event);
        match files.try_send(File { name, jpeg, event: number }) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.status.add(Total::SnapshotsFailed, 1);
                let event = writer.untold.take(number);
                writer.untold.told(number);
                event
            }
        }
    }

    /// Events whose files take too long to be written; they are to be told without.
    pub(crate) fn late(&self) -> Vec<ObjectEvent> {
        self.writer.as_ref().map(|writer| writer.untold.since(PATIENCE)).unwrap_or_default()
    }

    /// Waits until events have been told, [`PATIENCE`] at most, and gives the others.
    pub(crate) fn last(&self) -> Vec<ObjectEvent> {
        let Some(writer) = &self.writer else { return Vec::new() };
        let until = Instant::now() + PATIENCE;
        while !lock(&writer.untold.events).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        writer.untold.since(Duration::ZERO)
    }

    /// The folder may have so many MB, from the next picture on.
    pub(crate) fn limit(&self, max_mb: u64) {
        if let Some(writer) = &self.writer {
            writer.most.store(bytes(max_mb), Ordering::Relaxed);
        }
    }

    /// Takes the pictures of objects in view that another has taken.
    pub(crate) fn inherit(&self, other: &Snapshots) {
        *lock(&self.best) = std::mem::take(&mut *lock(&other.best));
    }

    /// A camera is gone, with all its objects.
    pub fn forget(&self, camera: &str) {
        lock(&self.best).retain(|(name, _), _| &**name != camera);
    }
}

/// Waits until what was taken is written.
impl Drop for Snapshots {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.files = None;
            if let Some(thread) = writer.thread.take() {
                // One that panicked writes no more.
                let _ = thread.join();
            }
        }
    }
}

fn is_better(best: &HashMap<(Arc<str>, u64), Best>, camera: &Arc<str>, object: &ObjectState) -> bool {
    match best.get(&(camera.clone(), object.id)) {
        Some(known) => object.score > known.score + BETTER,
        None => best.len() < OBJECTS,
    }
}

/// The box with its margin, within the picture: x, y, width and height.
fn crop([x1, y1, x2, y2]: [f32; 4], width: u32, height: u32) -> [u32; 4] {
    let side = |from: f32, to: f32, length: u32| {
        let margin = (MARGIN * (to - from)).max(LEAST_MARGIN);
        // Numbers that are not finite become 0 here.
        let first = (from - margin).floor().clamp(0.0, length as f32) as u32;
        let end = (to + 1.0 + margin).ceil().clamp(0.0, length as f32) as u32;
        (first, end.saturating_sub(first))
    };
    let ((x, width), (y, height)) = (side(x1, x2, width), side(y1, y2, height));
    [x, y, width, height]
}

fn bytes(mb: u64) -> u64 {
    mb.saturating_mul(1_000_000)
}

/// Sorted by name, files are sorted by time.
fn file_name(camera: &str, id: u64, class: &str, first_seen: SystemTime) -> String {
    let time = humantime::format_rfc3339_millis(first_seen).to_string().replace(['-', ':'], "");
    format!("{time}-{}-{}-{id}.jpg", slug(camera), slug(class))
}

/// Whether [`file_name`] makes such names: no other file is ever removed.
fn is_ours(name: &str) -> bool {
    let pattern = b"ddddddddTdddddd.dddZ-";
    let begins = name.len() > pattern.len()
        && name.bytes().zip(pattern).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            wanted => byte == *wanted,
        });
    begins && name.ends_with(".jpg")
}

impl Untold {
    fn put(&self, event: ObjectEvent) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.events).insert(number, (Instant::now(), Some(event)));
        number
    }

    /// None where it waited too long.
    fn take(&self, number: u64) -> Option<ObjectEvent> {
        lock(&self.events).get_mut(&number)?.1.take()
    }

    fn told(&self, number: u64) {
        lock(&self.events).remove(&number);
    }

    /// Takes those that have waited for so long.
    fn since(&self, time: Duration) -> Vec<ObjectEvent> {
        let mut events = lock(&self.events);
        let late = events.values_mut().filter(|(since, _)| since.elapsed() >= time);
        late.filter_map(|(_, event)| event.take()).collect()
    }
}

impl Writer {
    fn open(folder: &Path, most: u64, status: Arc<Status>) -> Result<Writer, Error> {
        let named = |error: std::io::Error| Error(folder.display().to_string(), error.to_string());
        fs::create_dir_all(folder).map_err(named)?;
        let most = Arc::new(AtomicU64::new(most));
        let mut kept =
            Kept { folder: folder.to_owned(), files: BTreeMap::new(), bytes: 0, most: most.clone() };
        for entry in fs::read_dir(folder).map_err(named)? {
            let entry = entry.map_err(named)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(data) = entry.metadata()
                && data.is_file()
                && is_ours(&name)
            {
                kept.add(name, data.len());
            }
        }
        kept.trim(0);
        // Shows at once what would only show with the first object. A disk that is full now need not be so then.
        match tempfile_in(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                status.report(failed_event(folder, &error));
            }
            tried => tried.map_err(named)?,
        }
        let (files, waiting) = sync_channel(WAITING);
        let untold = Arc::<Untold>::default();
        let theirs = untold.clone();
        let thread = std::thread::Builder::new().name("snapshots".into());
        let thread = thread.spawn(move || write(kept, &waiting, &theirs, &status)).map_err(named)?;
        Ok(Writer { most, files: Some(files), untold, thread: Some(thread) })
    }
}

/// Whether the folder can be written.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    // Staged beside the name and dropped: nothing stays.
    frcnn_files::Staged::new(&folder.join("probe.jpg"), [&b"-"[..]]).map(drop)
}

fn failed_event(path: &Path, error: &std::io::Error) -> CameraEvent {
    CameraEvent::now(None, "snapshot_failed", format!("{}: {error}", path.display()))
}

fn write(mut kept: Kept, waiting: &Receiver<File>, untold: &Untold, status: &Status) {
    let mut failed = false;
    while let Ok(File { name, jpeg, event }) = waiting.recv() {
        kept.trim(jpeg.len() as u64);
        let path = kept.folder.join(&name);
        let written = kept.write(&path, &jpeg);
        if let Some(mut told) = untold.take(event) {
            told.snapshot =
                Some(Snapshot { jpeg: jpeg.clone(), file: written.is_ok().then(|| path.clone()) });
            status.send(&Message::Object(Arc::new(told)));
        }
        untold.told(event);
        match &written {
            Ok(()) => {
                kept.add(name, jpeg.len() as u64);
                status.add(Total::SnapshotsWritten, 1);
            }
            Err(error) => {
                status.add(Total::SnapshotsFailed, 1);
                if !failed {
                    status.report(failed_event(&path, error));
                }
            }
        }
        failed = written.is_err();
    }
}

/// What the folder holds of ours, oldest first.
struct Kept {
    folder: PathBuf,
    files: BTreeMap<String, u64>,
    bytes: u64,
    most: Arc<AtomicU64>,
}

impl Kept {
    fn write(&self, path: &Path, jpeg: &[u8]) -> std::io::Result<()> {
        match frcnn_files::write_atomically(path, jpeg) {
            // Somebody has cleared up.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder)?;
                frcnn_files::write_atomically(path, jpeg)
            }
            written => written,
        }
    }

    fn add(&mut self, name: String, bytes: u64) {
        self.bytes += bytes;
        self.bytes -= self.files.insert(name, bytes).unwrap_or(0);
    }

    /// Removes the oldest until `more` bytes find room.
    fn trim(&mut self, more: u64) {
        while self.bytes.saturating_add(more) > self.most.load(Ordering::Relaxed)
            && let Some((name, bytes)) = self.files.pop_first()
        {
            // One that somebody else has removed is gone, too; one that cannot be removed shows when the next is written.
            let _ = fs::remove_file(self.folder.join(name));
            self.bytes -= bytes;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::testing::object;

    fn picture() -> Picture {
        let pixel = |i: u32| [(i % 160) as u8, (i / 160) as u8, (i % 7) as u8 * 30];
        Picture { width: 160, height: 120, rgb: (0..160 * 120).flat_map(pixel).collect() }
    }

    fn at(id: u64, score: f32) -> ObjectState {
        ObjectState { score, ..object(id, "a/b", &[]) }
    }

    fn ended(camera: &Arc<str>, id: u64, first_seen: SystemTime) -> ObjectEvent {
        ObjectEvent {
            camera: camera.clone(),
            change: crate::event::ObjectChange::Ended,
            captured: first_seen,
            id,
            class: "a/b".into(),
            best_score: 0.5,
            best_box: [0.0; 4],
            bbox: [0.0; 4],
            path: Vec::new(),
            zones: Vec::new(),
            first_seen,
            snapshot: None,
        }
    }

    /// What is told, as lines of JSON.
    struct Lines(Mutex<Vec<serde_json::Value>>);

    impl crate::event::Door for Lines {
        fn send(&self, message: &Message) {
            lock(&self.0).push(serde_json::from_str(&message.json()).unwrap());
        }

        fn close(&self, _: Duration) {}
    }

    fn lines(status: &Status) -> Arc<Lines> {
        let lines = Arc::new(Lines(Mutex::default()));
        status.open(vec![lines.clone()]);
        lines
    }

    impl Lines {
        /// Files that events of objects name, if they name one.
        fn files(&self) -> Vec<Option<PathBuf>> {
            let told = lock(&self.0);
            let told = told.iter().filter(|line| line["event"] == "object_ended");
            told.map(|line| line["snapshot"].as_str().map(PathBuf::from)).collect()
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_best_frame_is_kept() {
        let snapshots =
            Snapshots::open(&config::Snapshots { folder: None, max_mb: 1 }, Status::new(true)).unwrap();
        let (camera, picture) = (Arc::from("yard"), picture());
        assert!(snapshots.wants(&camera, &[at(1, 0.5)]));
        snapshots.see(&camera, &picture, &[at(1, 0.5)]);
        assert!(!snapshots.wants(&camera, &[at(1, 0.5), at(1, 0.4), at(1, f32::NAN)]));
        assert!(snapshots.wants(&camera, &[at(1, 0.6)]));
        let first = snapshots.best(&camera, 1).unwrap().jpeg;
        let moved = ObjectState { bbox: [80.0, 50.0, 120.0, 90.0], ..at(1, 0.6) };
        snapshots.see(&camera, &picture, &[moved]);
        let second = snapshots.end(ended(&camera, 1, UNIX_EPOCH)).unwrap().snapshot.unwrap();
        assert!(second.jpeg != first && second.file.is_none());
        // 41 pixels, and 16 at each side.
        let image = image::load_from_memory(&second.jpeg).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (73, 73));
        assert!(image.get_pixel(36, 36).0[0].abs_diff(100) < 12, "{:?}", image.get_pixel(36, 36));
        assert!(snapshots.best(&camera, 1).is_none());
    }

    #[test]
    fn the_oldest_files_go_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        let status = Status::new(true);
        let write = |range: std::ops::Range<u64>| {
            let config = config::Snapshots { folder: Some(folder.clone()), max_mb: 1 };
            let snapshots = Snapshots::open(&config, status.clone()).unwrap();
            let camera = Arc::from("yard");
            for i in range {
                let jpeg = Arc::from(vec![7; 300_000]);
                lock(&snapshots.best).insert((Arc::clone(&camera), i), Best { score: 0.5, jpeg });
                assert!(snapshots.end(ended(&camera, i, UNIX_EPOCH + Duration::from_secs(i))).is_none());
            }
        };
        write(0..1);
        fs::write(folder.join("mine.jpg"), vec![0; 2_000_000]).unwrap();
        write(1..5);
        let names = names(&folder);
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(
            names[0].starts_with("19700101T000002.000Z-yard-a_b-") && names[0].ends_with("-2.jpg"),
            "{names:?}"
        );
        assert_eq!(names[3], "mine.jpg");
        assert_eq!((status.get(Total::SnapshotsWritten), status.get(Total::SnapshotsFailed)), (5, 0));
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, status) = (folder.path().join("a/b"), Status::new(true));
        let config = config::Snapshots { folder: Some(folder.clone()), max_mb: 1 };
        let snapshots = Snapshots::open(&config, status.clone()).unwrap();
        fs::remove_dir_all(folder.parent().unwrap()).unwrap();
        let best = Best { score: 0.5, jpeg: Arc::from(vec![7; 100]) };
        lock(&snapshots.best).insert(("yard".into(), 1), best);
        let told = lines(&status);
        assert!(snapshots.end(ended(&"yard".into(), 1, UNIX_EPOCH)).is_none());
        drop(snapshots);
        let [Some(file)] = &told.files()[..] else { panic!("{:?}", lock(&told.0)) };
        assert_eq!(fs::read(file).unwrap(), [7; 100]);
        assert_eq!(status.get(Total::SnapshotsFailed), 0);
    }

    #[test]
    fn a_file_that_was_not_written_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let (path, status) = (folder.path().join("a"), Status::new(true));
        let config = config::Snapshots { folder: Some(path.clone()), max_mb: 1 };
        let snapshots = Snapshots::open(&config, status.clone()).unwrap();
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "no folder").unwrap();
        let (told, camera) = (lines(&status), Arc::from("yard"));
        for id in 1..4 {
            snapshots.see(&camera, &picture(), &[at(id, 0.5)]);
            assert!(snapshots.end(ended(&camera, id, UNIX_EPOCH)).is_none());
        }
        assert!(snapshots.last().is_empty());
        assert_eq!(told.files(), [None, None, None]);
        assert_eq!(status.get(Total::SnapshotsFailed), 3);
        fs::remove_file(&path).unwrap();
        snapshots.see(&camera, &picture(), &[at(4, 0.5)]);
        assert!(snapshots.end(ended(&camera, 4, UNIX_EPOCH)).is_none());
        drop(snapshots);
        assert!(matches!(&told.files()[3], Some(file) if file.is_file()), "{:?}", told.files());
        let failed = lock(&told.0).iter().filter(|line| line["event"] == "snapshot_failed").count();
        assert_eq!(failed, 1);
    }

    #[test]
    fn an_event_does_not_wait_long_for_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let status = Status::new(true);
        let config = config::Snapshots { folder: Some(folder.path().into()), max_mb: 1 };
        let snapshots = Snapshots::open(&config, status.clone()).unwrap();
        let camera = Arc::from("yard");
        // Writing to it waits until somebody reads, as with a disk that does not answer.
        let pipe = folder.path().join(file_name(&camera, 1, "a/b", UNIX_EPOCH));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let told = lines(&status);
        snapshots.see(&camera, &picture(), &[at(1, 0.5)]);
        assert!(snapshots.end(ended(&camera, 1, UNIX_EPOCH)).is_none());
        assert!(snapshots.late().is_empty());
        let begun = Instant::now();
        let [late] = &snapshots.last()[..] else { panic!() };
        assert!(begun.elapsed() >= PATIENCE / 2);
        assert!(matches!(&late.snapshot, Some(Snapshot { file: None, .. })));
        assert!(!fs::read(&pipe).unwrap().is_empty());
        drop(snapshots);
        // It has been told.
        assert!(told.files().is_empty());
        assert_eq!(status.get(Total::SnapshotsWritten), 1);
    }

    #[test]
    fn folder_and_limit_may_be_others_while_objects_are_in_view() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let config = |i: usize| config::Snapshots { folder: Some(folders[i].path().into()), max_mb: 1 };
        let (status, camera) = (Status::new(true), Arc::from("yard"));
        let first = Snapshots::open(&config(0), status.clone()).unwrap();
        first.see(&camera, &picture(), &[at(1, 0.5)]);
        let second = Snapshots::open(&config(1), status.clone()).unwrap();
        second.inherit(&first);
        let told = lines(&status);
        assert!(first.end(ended(&camera, 1, UNIX_EPOCH)).unwrap().snapshot.is_none());
        assert!(second.end(ended(&camera, 1, UNIX_EPOCH)).is_none());
        assert!(second.last().is_empty());
        assert!(matches!(&told.files()[..], [Some(file)] if file.starts_with(folders[1].path())));
        // No room for any but the last.
        second.limit(0);
        for id in 2..4 {
            second.see(&camera, &picture(), &[at(id, 0.5)]);
            assert!(second.end(ended(&camera, id, UNIX_EPOCH)).is_none());
        }
        drop(second);
        let left = names(folders[1].path());
        assert!(left.len() == 1 && left[0].ends_with("-3.jpg"), "{left:?}");
    }

    #[test]
    fn names_are_no_paths() {
        let name = file_name("../../x", 7, "<script>/..", UNIX_EPOCH);
        assert!(is_ours(&name) && !name.contains('/') && !name.contains(".."), "{name}");
        assert!(!is_ours("photo.jpg") && !is_ours("20261130T120000.000Z-x.png") && !is_ours(""));
    }

    #[test]
    fn boxes_that_make_no_sense_give_no_picture() {
        let snapshots =
            Snapshots::open(&config::Snapshots { folder: None, max_mb: 1 }, Status::new(true)).unwrap();
        let camera = Arc::from("yard");
        for (id, bbox) in [[500.0, 500.0, 600.0, 600.0], [f32::NAN; 4], [-900.0, -900.0, -800.0, -800.0]]
            .into_iter()
            .enumerate()
        {
            snapshots.see(&camera, &picture(), &[ObjectState { bbox, ..at(id as u64, 0.5) }]);
            assert!(snapshots.best(&camera, id as u64).is_none(), "{bbox:?}");
        }
        let everything = ObjectState { bbox: [-9e9, -9e9, 9e9, 9e9], ..at(9, 0.5) };
        snapshots.see(&camera, &picture(), &[everything]);
        assert!(snapshots.best(&camera, 9).is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        let config = config::Snapshots { folder: Some(path), max_mb: 1 };
        assert!(Snapshots::open(&config, Status::new(true)).err().unwrap().to_string().contains("file"));
    }
}
