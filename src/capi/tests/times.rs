//! When frames were captured, as C says it: what has stopped is background after a time, and not after so many frames.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "the interface under test is C's")]

#[path = "../examples/colours/bundle.rs"]
mod bundle;

use std::ptr::{null, null_mut};

use frcnn_capi::*;

const SIDE: u32 = 64;
const SECOND: u64 = 1_000_000_000;
/// Frames without the square, from which the background is learned.
const LEARNED: u64 = 15;
/// Frames with it.
const FRAMES: u64 = 100;

/// A red square on black, or black alone.
fn picture(square: bool) -> Vec<u8> {
    let red = |x: u32, y: u32| if square && x.abs_diff(32) < 16 && y.abs_diff(32) < 16 { 255 } else { 0 };
    (0..SIDE * SIDE).flat_map(|i| [red(i % SIDE, i / SIDE), 0, 0]).collect()
}

/// Where boxes come from motion.
struct Session(*mut FrcnnSession);

impl Session {
    fn new(model: *mut FrcnnModel, is_stream: bool) -> Session {
        let (mut session, proposer) = (null_mut(), FrcnnProposer::Motion as u32);
        // SAFETY: options are what they say they are, the model is valid and `session` writable.
        let made = unsafe {
            if is_stream {
                let mut options: FrcnnStreamOptions = std::mem::zeroed();
                frcnn_stream_options_init(&raw mut options, size_of::<FrcnnStreamOptions>());
                options.proposer = proposer;
                frcnn_stream_new(model, &raw const options, &raw mut session)
            } else {
                let struct_size = size_of::<FrcnnSessionOptions>();
                let options = FrcnnSessionOptions { struct_size, proposer, reserved: 0 };
                frcnn_session_new(model, &raw const options, &raw mut session)
            }
        };
        assert_eq!(made, FrcnnResult::Ok);
        Session(session)
    }

    /// How many boxes a frame had.
    fn proposals(&self, frame: &FrcnnFrame, submit: bool) -> u64 {
        let mut count = 0;
        // SAFETY: the frame's bytes outlive the calls; no detection fits into no array. All zeros are a report, whose size is
        // then set.
        unsafe {
            let found = if submit {
                assert_eq!(frcnn_session_submit(self.0, frame, null(), 0), FrcnnResult::Ok);
                frcnn_session_poll(self.0, 60_000, null_mut(), 0, &raw mut count)
            } else {
                frcnn_session_detect(self.0, frame, null(), 0, null_mut(), 0, &raw mut count)
            };
            assert!(matches!(found, FrcnnResult::Ok | FrcnnResult::BufferTooSmall), "{found:?}");
            let mut report: FrcnnReport = std::mem::zeroed();
            report.struct_size = size_of::<FrcnnReport>();
            assert_eq!(frcnn_session_report(self.0, &raw mut report), FrcnnResult::Ok);
            report.proposals
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: it is valid, and used no more.
        unsafe { frcnn_session_free(self.0) };
    }
}

#[test]
fn what_stops_is_background_by_the_time_of_capture() {
    let bytes = bundle::colours(SIDE, &bundle::Variant::PLAIN).unwrap().to_bytes();
    let mut model = null_mut();
    // SAFETY: the bytes are readable, `model` is writable.
    let opened = unsafe { frcnn_model_open_bytes(bytes.as_ptr(), bytes.len(), null(), &raw mut model) };
    assert_eq!(opened, FrcnnResult::Ok);
    let [empty, square] = [false, true].map(picture);
    // Of which frame with the square on there is no box.
    let absorbed = |is_stream, submit, struct_size, second| {
        let session = Session::new(model, is_stream);
        let proposals = |i: u64, pixels: &[u8]| {
            let plane = FrcnnPlane { data: pixels.as_ptr(), size: pixels.len(), stride: 3 * SIDE as usize };
            let frame = FrcnnFrame {
                struct_size,
                id: i,
                width: SIDE,
                height: SIDE,
                format: FrcnnPixelFormat::Rgb24 as u32,
                colour: 0,
                planes: [plane; 3],
                time_ns: i * second,
            };
            session.proposals(&frame, submit)
        };
        assert!((1..=LEARNED).all(|i| proposals(i, &empty) == 0));
        (1..=FRAMES).find(|i| proposals(LEARNED + i, &square) == 0)
    };
    let (size, before) = (size_of::<FrcnnFrame>(), std::mem::offset_of!(FrcnnFrame, time_ns));
    for (is_stream, submit) in [(false, false), (false, true), (true, false), (true, true)] {
        let seconds = absorbed(is_stream, submit, size, SECOND);
        assert!(seconds.is_some_and(|seconds| (30..80).contains(&seconds)), "after {seconds:?}");
    }
    // Nobody knows; or the program's header has no such field.
    assert_eq!(absorbed(false, false, size, 0), None);
    assert_eq!(absorbed(false, false, before, SECOND), None);
    // SAFETY: it is valid, and used no more.
    unsafe { frcnn_model_free(model) };
}
