//! What a frame comes to when the system has no memory for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "the interface under test is C's, and an allocator is no safe thing")]

#[path = "../examples/colours/bundle.rs"]
mod bundle;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

use bundle::Variant;
use frcnn_capi::*;

/// The system's allocator, which has no memory for [`TOO_LARGE`] bytes and more.
struct Bounded;

static TOO_LARGE: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: the system's allocator, or NULL, as an allocator may always give.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= TOO_LARGE.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Of the frame, and of the blob that it is scaled to.
const SIDE: u32 = 64;
const BLOB_SIDE: usize = 512;
const BLOB_BYTES: usize = BLOB_SIDE * BLOB_SIDE * 3 * 4;

#[test]
fn a_blob_without_memory_is_a_result_and_the_session_goes_on() {
    let bundle = bundle::colours(BLOB_SIDE as u32, &Variant::PLAIN).unwrap().to_bytes();
    let pixels = vec![0u8; (SIDE * SIDE * 3) as usize];
    let (mut model, mut session) = (null_mut(), null_mut());
    // SAFETY: all zeros are a frame; its fields are set below.
    let mut frame: FrcnnFrame = unsafe { std::mem::zeroed() };
    frame.struct_size = size_of::<FrcnnFrame>();
    (frame.width, frame.height, frame.format) = (SIDE, SIDE, FrcnnPixelFormat::Rgb24 as u32);
    frame.planes[0] = FrcnnPlane { data: pixels.as_ptr(), size: pixels.len(), stride: SIDE as usize * 3 };
    let detect = |session: *mut FrcnnSession| {
        let bbox = FrcnnBox { x1: 16.0, y1: 16.0, x2: 47.0, y2: 47.0 };
        let mut found = [FrcnnDetection { class_id: 0, score: 0.0, bbox, proposal: 0 }; 4];
        let mut count = 0;
        // SAFETY: the session is valid, the frame's bytes are there, one box, four detections.
        unsafe { frcnn_session_detect(session, &frame, &bbox, 1, found.as_mut_ptr(), 4, &raw mut count) }
    };
    // SAFETY: the bundle's bytes, and where the model and the session go.
    unsafe {
        let opened = frcnn_model_open_bytes(bundle.as_ptr(), bundle.len(), null(), &raw mut model);
        assert_eq!(opened, FrcnnResult::Ok);
        assert_eq!(frcnn_session_new(model, null(), &raw mut session), FrcnnResult::Ok);
    }

    TOO_LARGE.store(BLOB_BYTES, Ordering::Relaxed);
    let refused = detect(session);
    TOO_LARGE.store(usize::MAX, Ordering::Relaxed);
    // SAFETY: a C string until this thread's next call.
    let said = unsafe { CStr::from_ptr(frcnn_last_error_message()) }.to_str().unwrap();
    assert_eq!(said, format!("no memory for the trunk's input: {BLOB_BYTES} bytes"));
    assert_eq!(refused, FrcnnResult::Internal);
    assert_eq!(detect(session), FrcnnResult::Ok);

    // SAFETY: both are used no more.
    unsafe {
        frcnn_session_free(session);
        frcnn_model_free(model);
    }
}
