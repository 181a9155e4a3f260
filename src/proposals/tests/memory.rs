//! Peak memory. One test in a process of its own: others that ran beside it would count.
#![cfg(feature = "selective-search")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use frcnn_core::Frame;
use frcnn_proposals::{Mode, Propose, SelectiveSearch};

/// Peak of the whole process, with the image that it looks at.
const MAX_KIB: u64 = 300_000;

/// The most memory that this process ever had, in KiB, which the kernel calls kB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Blocks of 8 x 8 pixels of noise: what is worked on is 500 pixels wide, and as many regions as there can be.
#[test]
fn twelve_megapixels_fit() {
    if frcnn_testkit::need("procfs", peak()).is_none() {
        return;
    }
    let (width, height) = (4000, 3000);
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut pixels = Vec::with_capacity(width * height * 3);
    for _ in 0..height / 8 {
        let row: Vec<u8> = (0..width / 8).flat_map(|_| [noise(), noise(), noise()].repeat(8)).collect();
        (0..8).for_each(|_| pixels.extend_from_slice(&row));
    }
    let frame = Frame::rgb8(&pixels, width as u32, height as u32).unwrap();
    // Slow without optimisation.
    let modes = if cfg!(debug_assertions) { &[Mode::Fast][..] } else { &[Mode::Fast, Mode::Quality] };
    for &mode in modes {
        let proposals = SelectiveSearch { mode, ..SelectiveSearch::default() }.propose(&frame, 2000);
        let peak = peak().unwrap();
        println!("{mode:?}: {} boxes, {peak} KiB", proposals.boxes.len());
        assert!(peak < MAX_KIB, "{mode:?}: {peak} KiB");
    }
}
