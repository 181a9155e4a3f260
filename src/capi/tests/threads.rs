//! Sessions, reloads and log callbacks on threads of their own, through the C functions. `interleavings.rs` tries every
//! order in which the parts of it can take turns; here all of it is real. What must hold, holds however fast each
//! thread is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "the interface under test is C's")]

#[path = "../examples/colours/bundle.rs"]
mod bundle;

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bundle::Variant;
use frcnn_capi::*;

const SESSIONS: u64 = 3;
/// At least so many frames …
const FRAMES: u64 = 200;
/// … and as many as it takes to have worked with this reload; more than `MAX_FRAMES` it never takes.
const GENERATION: u64 = 5;
const MAX_FRAMES: u64 = 1_000_000;
const SIDE: u32 = 64;
const BOX: FrcnnBox = FrcnnBox { x1: 16.0, y1: 16.0, x2: 47.0, y2: 47.0 };

/// Red is class 1 of the bundle that is opened, and class 3 of that which every other reload puts in its place.
fn red(generation: u64) -> u32 {
    if generation % 2 == 1 { 1 } else { 3 }
}

/// A pointer that several threads use, as C may.
#[derive(Clone, Copy)]
struct Model(*mut FrcnnModel);
// SAFETY: a model may be used by any number of threads at once.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

/// A red square on black.
fn picture() -> Vec<u8> {
    let inside = 16..48;
    let red = |x: u32, y: u32| if inside.contains(&x) && inside.contains(&y) { 255 } else { 0 };
    (0..SIDE * SIDE).flat_map(|i| [red(i % SIDE, i / SIDE), 0, 0]).collect()
}

struct Session {
    session: *mut FrcnnSession,
    /// The newest model that was seen at work on frames that were detected at once, and on those that were polled: a
    /// frame that waits to be polled may be older than one that was detected meanwhile.
    generations: [u64; 2],
    /// The last polled frame.
    polled: u64,
}

impl Session {
    /// Every other one is a stream.
    fn new(Model(model): Model, number: u64) -> Session {
        let mut session = null_mut();
        // SAFETY: the model is valid, `session` writable.
        let made = unsafe {
            match number % 2 {
                0 => frcnn_session_new(model, null(), &raw mut session),
                _ => frcnn_stream_new(model, null(), &raw mut session),
            }
        };
        assert_eq!(made, FrcnnResult::Ok);
        Session { session, generations: [1; 2], polled: 0 }
    }

    /// Holds what came to the detector that the report names, and gives the frame's number.
    fn hold(&mut self, way: usize, result: FrcnnResult, found: &[FrcnnDetection; 4], count: usize) -> u64 {
        assert_eq!((result, count), (FrcnnResult::Ok, 1));
        // SAFETY: all zeros are a report; its size is then set, and the session is valid.
        let mut report: FrcnnReport = unsafe { std::mem::zeroed() };
        report.struct_size = size_of::<FrcnnReport>();
        // SAFETY: as above.
        assert_eq!(unsafe { frcnn_session_report(self.session, &raw mut report) }, FrcnnResult::Ok);
        assert_eq!(found[0].class_id, red(report.model_generation), "generation {}", report.model_generation);
        assert!(report.model_generation >= self.generations[way], "an older model came back");
        self.generations[way] = report.model_generation;
        report.frame_id
    }

    fn detect(&mut self, frame: &FrcnnFrame) {
        let (mut found, mut count) = (none(), 0);
        // SAFETY: the frame's bytes outlive the call; one box, four detections.
        let result = unsafe {
            frcnn_session_detect(self.session, frame, &BOX, 1, found.as_mut_ptr(), 4, &raw mut count)
        };
        assert_eq!(self.hold(0, result, &found, count), frame.id);
    }

    fn submit(&mut self, frame: &FrcnnFrame) {
        // SAFETY: the frame's bytes outlive the call; one box.
        assert_eq!(unsafe { frcnn_session_submit(self.session, frame, &BOX, 1) }, FrcnnResult::Ok);
    }

    /// Whether there was a result.
    fn poll(&mut self, timeout: u32) -> bool {
        let (mut found, mut count) = (none(), 0);
        // SAFETY: four detections.
        let result =
            unsafe { frcnn_session_poll(self.session, timeout, found.as_mut_ptr(), 4, &raw mut count) };
        if matches!(result, FrcnnResult::NotReady | FrcnnResult::Idle) {
            return false;
        }
        let id = self.hold(1, result, &found, count);
        assert!(id > self.polled, "{id} after {}", self.polled);
        self.polled = id;
        true
    }

    fn stats(&self) -> FrcnnStats {
        // SAFETY: all zeros are statistics; their size is then set, and the session is valid.
        let mut stats: FrcnnStats = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of::<FrcnnStats>();
        // SAFETY: as above.
        assert_eq!(unsafe { frcnn_session_stats(self.session, &raw mut stats) }, FrcnnResult::Ok);
        stats
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: it is valid, and used no more.
        unsafe { frcnn_session_free(self.session) };
    }
}

fn none() -> [FrcnnDetection; 4] {
    let bbox = FrcnnBox { x1: 0.0, y1: 0.0, x2: 0.0, y2: 0.0 };
    [FrcnnDetection { class_id: 0, score: 0.0, bbox, proposal: 0 }; 4]
}

/// Submits, polls and now and then detects; then everything is polled, and every frame is accounted for.
fn use_session(model: Model, number: u64, pixels: &[u8]) -> u64 {
    let mut session = Session::new(model, number);
    let plane = FrcnnPlane { data: pixels.as_ptr(), size: pixels.len(), stride: 3 * SIDE as usize };
    let mut frame = FrcnnFrame {
        struct_size: size_of::<FrcnnFrame>(),
        id: 0,
        width: SIDE,
        height: SIDE,
        format: FrcnnPixelFormat::Rgb24 as u32,
        colour: 0,
        planes: [plane; 3],
        time_ns: 0,
    };
    let mut polled = 0;
    let mut id = 0;
    while id < FRAMES || session.generations.contains(&1) || session.generations[1] < GENERATION {
        id += 1;
        assert!(id < MAX_FRAMES, "no reload reaches the session");
        frame.id = id;
        session.submit(&frame);
        if id % 5 == 0 {
            session.detect(&frame);
        }
        polled += u64::from(id % 2 == 0 && session.poll(0));
        let stats = session.stats();
        let in_work = stats.submitted - stats.completed - stats.failed - stats.dropped;
        assert!(stats.submitted == id && in_work <= 2, "{stats:?}");
    }
    // One that misses its wake-up waits for a minute, and then says NOT_READY.
    while session.poll(60_000) {
        polled += 1;
    }
    let stats = session.stats();
    assert_eq!(session.polled, id, "the newest frame was lost");
    assert_eq!((stats.submitted, stats.failed), (id, 0));
    assert_eq!((stats.completed + stats.dropped, stats.completed), (id, polled + stats.forgotten));
    // The last frames are given up with the session, one of them in work.
    session.submit(&frame);
    session.submit(&frame);
    session.generations.into_iter().max().unwrap()
}

static LISTENS: AtomicBool = AtomicBool::new(false);
static HEARD: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn listen(_: u32, _: *const c_char, _: *const c_char, _: *mut c_void) {
    assert!(LISTENS.load(Ordering::SeqCst), "a callback runs after it was taken away");
    HEARD.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn sessions_reloads_and_callbacks_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, variant: &Variant| {
        let path = folder.path().join(name);
        bundle::colours(SIDE, variant).unwrap().write(&path).unwrap();
        let c = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        c(&path)
    };
    let plain = path("plain.frcnn", &Variant::PLAIN);
    let turned = path("turned.frcnn", &Variant { classes: [3, 1, 2], ..Variant::PLAIN });
    let mut model = Model(null_mut());
    // SAFETY: a C string, the default options, a writable model.
    assert_eq!(unsafe { frcnn_model_open(plain.as_ptr(), null(), &raw mut model.0) }, FrcnnResult::Ok);
    let pixels = picture();
    let done = AtomicBool::new(false);

    let (reloads, newest) = std::thread::scope(|threads| {
        let pixels = &pixels;
        let sessions: Vec<_> =
            (0..SESSIONS).map(|number| threads.spawn(move || use_session(model, number, pixels))).collect();
        let reloader = threads.spawn(|| {
            let Model(model) = { model };
            let mut generation = 1;
            while !done.load(Ordering::SeqCst) {
                let path = if generation % 2 == 1 { &turned } else { &plain };
                // SAFETY: a C string, a valid model.
                assert_eq!(unsafe { frcnn_model_reload(model, path.as_ptr()) }, FrcnnResult::Ok);
                let mut now = 0;
                // SAFETY: a valid model, a writable number.
                assert_eq!(unsafe { frcnn_model_generation(model, &raw mut now) }, FrcnnResult::Ok);
                generation += 1;
                assert_eq!(now, generation);
            }
            generation - 1
        });
        let listener = threads.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                LISTENS.store(true, Ordering::SeqCst);
                assert_eq!(frcnn_log_set_callback(Some(listen), 5, null_mut()), FrcnnResult::Ok);
                std::thread::sleep(Duration::from_millis(1));
                assert_eq!(frcnn_log_set_callback(None, 5, null_mut()), FrcnnResult::Ok);
                LISTENS.store(false, Ordering::SeqCst);
            }
        });
        // Before anything can fail, or the others would go on for ever.
        let sessions: Vec<_> = sessions.into_iter().map(|session| session.join()).collect();
        done.store(true, Ordering::SeqCst);
        listener.join().unwrap();
        let newest = sessions.into_iter().map(|generation| generation.unwrap()).max();
        (reloader.join().unwrap(), newest.unwrap())
    });
    let heard = HEARD.load(Ordering::SeqCst);
    println!("{reloads} reloads, frames followed up to {newest}, {heard} messages meanwhile");
    assert!(newest <= reloads + 1);
    // What the listener was for: it hears of a reload.
    LISTENS.store(true, Ordering::SeqCst);
    assert_eq!(frcnn_log_set_callback(Some(listen), 3, null_mut()), FrcnnResult::Ok);
    // SAFETY: a valid model.
    assert_eq!(unsafe { frcnn_model_reload(model.0, null()) }, FrcnnResult::Ok);
    assert_eq!(HEARD.load(Ordering::SeqCst), heard + 1);
    assert_eq!(frcnn_log_set_callback(None, 0, null_mut()), FrcnnResult::Ok);
    // SAFETY: it is valid, and used no more.
    unsafe { frcnn_model_free(model.0) };
}
