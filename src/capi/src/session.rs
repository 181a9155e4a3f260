//! `frcnn_session`: one thread's way from frames to detections.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::time::Duration;

use frcnn::{BBox, Detections, StreamOptions};
use frcnn_files::scratch;

use crate::engine::{Engine, Facts};
use crate::frame::{FrcnnFrame, view};
use crate::model::FrcnnModel;
use crate::proposer::FrcnnProposer;
use crate::result::{Failure, FrcnnResult};
use crate::sized::{self, Versioned};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::worker::Worker;

/// The buffers with which a model works on frames of one size after another. As many threads as there are sessions may work
/// at once.
///
/// Any thread may call any function of a session at any time, but for frcnn_session_free: frames may be submitted on one
/// thread and polled on another, which do not wait for each other. frcnn_session_report and frcnn_stream_reuse tell of the
/// last frame that frcnn_session_detect or frcnn_session_poll gave a result of, on whichever thread; so one thread at a
/// time should fetch results and ask about them.
pub struct FrcnnSession {
    engine: Arc<Mutex<Engine>>,
    /// From the first frame that is submitted, or the first question for the descriptor.
    worker: OnceLock<Worker>,
    /// Held by the one who starts it.
    starts: Mutex<()>,
    /// Of the last frame that was detected or polled.
    facts: Mutex<Facts>,
    /// The caller's boxes as the runtime reads them; empty while a call has them.
    boxes: Mutex<Vec<BBox>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Choices made when a session is made. frcnn_session_options_init sets the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnSessionOptions {
    /// sizeof(frcnn_session_options).
    pub struct_size: usize,
    /// A frcnn_proposer.
    pub proposer: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, `struct_size` first; integers.
unsafe impl Versioned for FrcnnSessionOptions {
    const NAME: &'static str = "frcnn_session_options";
    const FIRST_SIZE: usize = size_of::<FrcnnSessionOptions>();
}

/// A box in image pixels, counted from 0; the corners (x1, y1) and (x2, y2) belong to it, so that it is x2 - x1 + 1 wide. Where the
/// manifest's `box_width_offset` and `nms_width_offset` are 0, as of torchvision's and detectron2's detectors, they are edges, and it is
/// x2 - x1 wide. Never changes within an ABI version, as arrays of it are handed over.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnBox {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

/// An object. Never changes within an ABI version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnDetection {
    /// From 1; frcnn_model_class_name tells its name.
    pub class_id: u32,
    /// 0 to 1, or a margin.
    pub score: f32,
    /// Where it is, inside the image.
    pub bbox: FrcnnBox,
    /// The position of the box that it was found from, among the frame's proposals.
    pub proposal: u32,
}

/// What there is to say about the last frame beside its detections. Times are nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnReport {
    /// sizeof(frcnn_report).
    pub struct_size: usize,
    /// The frame's.
    pub frame_id: u64,
    /// Which of the model's reloads looked at the frame: see frcnn_model_generation.
    pub model_generation: u64,
    /// Columns of the picture; 0 if it could not be read.
    pub width: u32,
    /// Rows of it.
    pub height: u32,
    /// Boxes that the network was asked about, or that it proposed itself. Asked about none, it did not run.
    pub proposals: u64,
    /// The camera's format to RGB, JPEG included.
    pub convert_ns: u64,
    /// Making proposals; of a model that makes them itself, from its feature maps on.
    pub propose_ns: u64,
    /// Resizing, means.
    pub preprocess_ns: u64,
    /// Convolutional trunk.
    pub trunk_ns: u64,
    /// RoI pooling.
    pub roi_pool_ns: u64,
    /// Fully connected layers.
    pub head_ns: u64,
    /// Box decoding and non-maximum suppression.
    pub postprocess_ns: u64,
    /// All of it; 0 if the frame failed.
    pub total_ns: u64,
    /// Predictions that were left out because their score, or the box that would have been detected, is not finite: signs
    /// of a network that diverged in training, or of proposals far beyond any image.
    pub not_finite: u64,
}

// SAFETY: `repr(C)`, `struct_size` first; integers.
unsafe impl Versioned for FrcnnReport {
    const NAME: &'static str = "frcnn_report";
    const FIRST_SIZE: usize = std::mem::offset_of!(FrcnnReport, not_finite);
}

/// What happened to the frames that were submitted. All but those waiting or in work are completed, failed or dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnStats {
    /// sizeof(frcnn_stats).
    pub struct_size: usize,
    /// Calls of frcnn_session_submit that succeeded.
    pub submitted: u64,
    /// Looked at, with or without detections.
    pub completed: u64,
    /// Looked at in vain; polling them gives the error.
    pub failed: u64,
    /// Never looked at, because a newer frame came before their turn.
    pub dropped: u64,
    /// Results given up because 16 newer ones had not been polled.
    pub forgotten: u64,
}

// SAFETY: `repr(C)`, `struct_size` first; integers.
unsafe impl Versioned for FrcnnStats {
    const NAME: &'static str = "frcnn_stats";
    const FIRST_SIZE: usize = size_of::<FrcnnStats>();
}

impl FrcnnReport {
    fn of(facts: &Facts) -> FrcnnReport {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        FrcnnReport {
            struct_size: size_of::<FrcnnReport>(),
            frame_id: facts.id,
            model_generation: facts.generation,
            width: facts.size.0,
            height: facts.size.1,
            proposals: facts.proposals as u64,
            convert_ns: ns(facts.convert),
            propose_ns: ns(facts.propose),
            preprocess_ns: ns(facts.stages.preprocess),
            trunk_ns: ns(facts.stages.trunk),
            roi_pool_ns: ns(facts.stages.roi_pool),
            head_ns: ns(facts.stages.head),
            postprocess_ns: ns(facts.stages.postprocess),
            total_ns: ns(facts.total),
            not_finite: facts.not_finite as u64,
        }
    }
}

impl FrcnnSession {
    pub(crate) fn new(
        model: &FrcnnModel,
        proposer: FrcnnProposer,
        stream: Option<StreamOptions>,
    ) -> Result<FrcnnSession, Failure> {
        let engine = Arc::new(Mutex::new(Engine::new(model.slot.clone(), proposer, stream)?));
        Ok(FrcnnSession {
            engine,
            worker: OnceLock::new(),
            starts: Mutex::default(),
            facts: Mutex::default(),
            boxes: Mutex::default(),
        })
    }

    /// Of the last frame that was detected or polled.
    pub(crate) fn facts(&self) -> Facts {
        *lock(&self.facts)
    }

    /// The session's thread, started if need be.
    fn worker(&self) -> Result<&Worker, Failure> {
        let _alone = lock(&self.starts);
        match self.worker.get() {
            Some(worker) => Ok(worker),
            None => {
                let worker = Worker::start(self.engine.clone())?;
                Ok(self.worker.get_or_init(|| worker))
            }
        }
    }

    /// Calls `work` with the caller's boxes, or with none to have the proposer asked.
    ///
    /// # Safety
    /// `proposals` is NULL or points at `count` boxes.
    unsafe fn with_boxes<T>(
        &self,
        proposals: *const FrcnnBox,
        count: usize,
        work: impl FnOnce(Option<&[BBox]>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if proposals.is_null() {
            return if count == 0 { work(None) } else { Err(Failure::null("proposals")) };
        }
        if count > isize::MAX as usize / size_of::<FrcnnBox>() {
            return Err(Failure::new(
                FrcnnResult::InvalidArgument,
                "`proposal_count` is more than memory has",
            ));
        }
        // Taken, so that a thread that detects keeps no other from submitting.
        let mut boxes = std::mem::take(&mut *lock(&self.boxes));
        scratch::empty(&mut boxes, count)?;
        boxes.extend((0..count).map(|i| {
            // SAFETY: says the caller; not NULL and not too long. Nothing says that it is aligned.
            let b = unsafe { proposals.add(i).read_unaligned() };
            BBox::new(b.x1, b.y1, b.x2, b.y2)
        }));
        let outcome = work(Some(&boxes));
        *lock(&self.boxes) = boxes;
        outcome
    }
}

/// Hands detections over, best first, as many as fit.
///
/// # Safety
/// `capacity` detections are writable at `to`, and `count` is.
unsafe fn hand_over(
    found: &Detections,
    to: *mut FrcnnDetection,
    capacity: usize,
    count: *mut usize,
) -> Result<(), Failure> {
    for (i, d) in found.iter().take(capacity).enumerate() {
        let bbox = FrcnnBox { x1: d.bbox.x1, y1: d.bbox.y1, x2: d.bbox.x2, y2: d.bbox.y2 };
        let detection =
            FrcnnDetection { class_id: d.class_id.into(), score: d.score, bbox, proposal: d.proposal };
        // SAFETY: `i` is below `capacity`.
        unsafe { to.add(i).write_unaligned(detection) };
    }
    // SAFETY: says the caller.
    unsafe { *count = found.len() };
    if found.len() > capacity {
        let message = format!("{} detections do not fit into an array of {capacity}", found.len());
        return Err(Failure::new(FrcnnResult::BufferTooSmall, message));
    }
    Ok(())
}

/// Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_session_options).
///
/// # Safety
/// `options` points at `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_options_init(
    options: *mut FrcnnSessionOptions,
    struct_size: usize,
) -> FrcnnResult {
    guard!(options => {
        let defaults = FrcnnSessionOptions { struct_size, proposer: FrcnnProposer::Model as u32, reserved: 0 };
        // SAFETY: says the caller.
        unsafe { sized::init(options, &defaults, struct_size) }
    })
}

/// Makes a session of a model. `options` may be NULL for the defaults. `*session`, to be freed by frcnn_session_free, is
/// NULL unless the result is FRCNN_RESULT_OK.
///
/// # Safety
/// `model` is valid, `options` NULL or valid, `session` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_new(
    model: *const FrcnnModel,
    options: *const FrcnnSessionOptions,
    session: *mut *mut FrcnnSession,
) -> FrcnnResult {
    guard!(model, session => {
        // SAFETY: says the caller.
        unsafe { *session = std::ptr::null_mut() };
        let mut proposer = FrcnnProposer::Model;
        if !options.is_null() {
            // SAFETY: says the caller.
            let options = unsafe { sized::read(options) }?;
            let refused = |message: String| Failure::new(FrcnnResult::InvalidArgument, message);
            if options.reserved != 0 {
                return Err(refused("frcnn_session_options: `reserved` must be 0".into()));
            }
            proposer = FrcnnProposer::checked(options.proposer)?;
        }
        // SAFETY: says the caller.
        let made = FrcnnSession::new(unsafe { &*model }, proposer, None)?;
        // SAFETY: says the caller.
        unsafe { *session = Box::into_raw(Box::new(made)) };
        Ok(())
    })
}

/// Frees a session; NULL is passed over. Waits for a frame in work; frames and results not fetched are given up.
///
/// # Safety
/// `session` is NULL or from frcnn_session_new, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_free(session: *mut FrcnnSession) {
    // The result says only that a NULL was passed over.
    let _ = guard!(session => {
        // SAFETY: says the caller.
        drop(unsafe { Box::from_raw(session) });
        Ok(())
    });
}

/// Detects objects in a frame, and returns when that is done.
///
/// `proposals` are the `proposal_count` boxes to look at; an invalid one (a corner not finite, or x2 < x1, or y2 < y1)
/// is passed over. NULL asks the session's proposer (FRCNN_PROPOSER_MODEL unless another was chosen). `detections` takes up to `capacity`
/// detections, best first, and `*count` tells how many were found: if more than `capacity`, the result is
/// FRCNN_RESULT_BUFFER_TOO_SMALL. FRCNN_MAX_DETECTIONS are always enough. `detections` may be NULL if `capacity` is 0.
///
/// # Safety
/// `session` and `frame` are valid; `proposals` and `detections` have as many elements as stated; `count` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_detect(
    session: *mut FrcnnSession,
    frame: *const FrcnnFrame,
    proposals: *const FrcnnBox,
    proposal_count: usize,
    detections: *mut FrcnnDetection,
    capacity: usize,
    count: *mut usize,
) -> FrcnnResult {
    guard!(session, frame, count => {
        // SAFETY: says the caller.
        let (session, image) = unsafe {
            *count = 0;
            (&*session, view(frame)?)
        };
        if detections.is_null() && capacity > 0 {
            return Err(Failure::null("detections"));
        }
        let detect = |boxes: Option<&[BBox]>| {
            let mut facts = Facts { id: image.id, ..Facts::default() };
            let found = lock(&session.engine).run(&image, boxes, &mut facts);
            *lock(&session.facts) = facts;
            found
        };
        // SAFETY: says the caller.
        let found = unsafe { session.with_boxes(proposals, proposal_count, detect) }?;
        // SAFETY: says the caller.
        unsafe { hand_over(&found, detections, capacity, count) }
    })
}

/// Leaves a copy of a frame to the session's own thread and returns at once; frcnn_session_poll gives its detections.
///
/// One frame waits while another is in work. A newer one takes its place, and frcnn_stats.dropped counts the older.
///
/// # Safety
/// As of frcnn_session_detect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_submit(
    session: *mut FrcnnSession,
    frame: *const FrcnnFrame,
    proposals: *const FrcnnBox,
    proposal_count: usize,
) -> FrcnnResult {
    guard!(session, frame => {
        // SAFETY: says the caller.
        let (session, image) = unsafe { (&*session, view(frame)?) };
        let worker = session.worker()?;
        // SAFETY: says the caller.
        unsafe { session.with_boxes(proposals, proposal_count, |boxes| worker.submit(&image, boxes)) }
    })
}

/// Fetches the result of the oldest submitted frame that has one; waits up to `timeout_ms` milliseconds while frames are
/// in work. Detections are handed over as by frcnn_session_detect, and frcnn_session_report tells which frame it was.
///
/// FRCNN_RESULT_NOT_READY: none is done yet. FRCNN_RESULT_IDLE: none is in work. Another code is that of the frame.
///
/// # Safety
/// As of frcnn_session_detect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_poll(
    session: *mut FrcnnSession,
    timeout_ms: u32,
    detections: *mut FrcnnDetection,
    capacity: usize,
    count: *mut usize,
) -> FrcnnResult {
    guard!(session, count => {
        // SAFETY: says the caller.
        let session = unsafe {
            *count = 0;
            &*session
        };
        if detections.is_null() && capacity > 0 {
            return Err(Failure::null("detections"));
        }
        let Some(worker) = session.worker.get() else {
            return Err(Failure::new(FrcnnResult::Idle, "no frame was submitted"));
        };
        let done = worker.poll(Duration::from_millis(timeout_ms.into()))?;
        *lock(&session.facts) = done.facts;
        // SAFETY: says the caller.
        unsafe { hand_over(&done.outcome?, detections, capacity, count) }
    })
}

/// Gives a descriptor to wait on in place of polling, by poll(2), epoll or an event loop: it is readable while a result waits
/// for frcnn_session_poll, and not any more once the last was fetched.
///
/// It is the session's, the same at every call, and closed by frcnn_session_free; it must not be read, written or closed.
/// The first call starts the session's thread.
///
/// # Safety
/// `session` is valid, `fd` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_fd(session: *mut FrcnnSession, fd: *mut c_int) -> FrcnnResult {
    guard!(session, fd => {
        // SAFETY: says the caller.
        unsafe { *fd = (*session).worker()?.descriptor()? };
        Ok(())
    })
}

/// Tells about the last frame that frcnn_session_detect or frcnn_session_poll gave a result of.
///
/// # Safety
/// `session` is valid, `report` writable with its `struct_size` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_report(
    session: *const FrcnnSession,
    report: *mut FrcnnReport,
) -> FrcnnResult {
    guard!(session, report => {
        // SAFETY: says the caller.
        unsafe { sized::write(report, &FrcnnReport::of(&(*session).facts())) }
    })
}

/// Counts the frames that were submitted.
///
/// # Safety
/// `session` is valid, `stats` writable with its `struct_size` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_session_stats(
    session: *const FrcnnSession,
    stats: *mut FrcnnStats,
) -> FrcnnResult {
    guard!(session, stats => {
        // SAFETY: says the caller.
        let counts = unsafe { &*session }.worker.get().map(Worker::counts).unwrap_or_default();
        let counted = FrcnnStats {
            struct_size: size_of::<FrcnnStats>(),
            submitted: counts.submitted,
            completed: counts.completed,
            failed: counts.failed,
            dropped: counts.dropped,
            forgotten: counts.forgotten,
        };
        // SAFETY: says the caller.
        unsafe { sized::write(stats, &counted) }
    })
}
