//! Bundles whose hashes are right, then a detection.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use frcnn::{Bundle, Detector, Limits, Options};
use frcnn_fuzz::{bundle, contract, seed};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static OPENED: AtomicU64 = AtomicU64::new(0);
static DETECTED: AtomicU64 = AtomicU64::new(0);

/// What costs more is refused, and so many more are tried.
const LIMITS: Limits = Limits { memory: 64 << 20, operations: 50_000_000, layers: 60 };

thread_local! {
    static PICTURE: Vec<u8> = contract::picture();
}

fuzz_target!(
    init: {
        seed(bundle::seeds);
    },
    |file: &[u8]| {
        let Ok(bundle) = Bundle::from_bytes(file) else { return };
        OPENED.fetch_add(1, Ordering::Relaxed);
        let manifest = bundle.contents().manifest.clone();
        let options = Options { threads: Some(1), limits: LIMITS, ..Options::default() };
        let Ok(detector) = Detector::new(bundle, &options) else { return };
        let detections = PICTURE.with(|pixels| detector.detect(&contract::frame(pixels), &contract::PROPOSALS));
        if let Ok(detections) = detections {
            DETECTED.fetch_add(1, Ordering::Relaxed);
            contract::hold(&detections, &manifest, contract::PROPOSALS.len());
        }
        if detector.has_rpn() {
            let mut session = detector.session();
            let detections = PICTURE.with(|pixels| session.detect_frame(&contract::frame(pixels)));
            if let Ok(detections) = detections {
                contract::hold(&detections, &manifest, session.proposals().len());
            }
        }
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut bytes = |mut plain: Vec<u8>| {
        let len = plain.len();
        plain.resize(len + 64, 0);
        let room = plain.len();
        let len = fuzzer_mutate(&mut plain, len, room);
        plain.truncate(len);
        plain
    };
    let changed = bundle::mutate(&data[..size], seed, &mut bytes);
    let size = changed.len().min(max_size);
    data[..size].copy_from_slice(&changed[..size]);
    size
});
