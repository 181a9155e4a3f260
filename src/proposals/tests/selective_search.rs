//! Selective search on images of any kind and size.
#![cfg(feature = "selective-search")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use frcnn_core::{BBox, Frame, PixelFormat};
use frcnn_proposals::stages::{ColourSpace, Edges, Planes, segment};
use frcnn_proposals::{Mode, Proposals, Propose, SelectiveSearch};
use proptest::prelude::*;

fn search(pixels: &[u8], width: u32, height: u32, change: impl FnOnce(&mut SelectiveSearch)) -> Proposals {
    let mut search = SelectiveSearch { threads: 1, ..SelectiveSearch::default() };
    change(&mut search);
    search.propose(&Frame::rgb8(pixels, width, height).unwrap(), usize::MAX)
}

/// Noise that depends on nothing but the seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A ground with a disc and two rectangles of other colours, one across the other.
fn scene(width: usize, height: usize) -> Vec<u8> {
    let pixel = |x: usize, y: usize| -> [u8; 3] {
        let (dx, dy) = (x as i64 - 70, y as i64 - 60);
        match (dx * dx + dy * dy < 40 * 40, (130..200).contains(&x), (90..120).contains(&y)) {
            (true, ..) => [200, 60, 60],
            (_, true, true) => [60, 180, 80],
            (_, true, _) if (40..150).contains(&y) => [50, 70, 190],
            _ => [210, 205, 190],
        }
    };
    (0..width * height).flat_map(|i| pixel(i % width, i / width)).collect()
}

/// Every promise that holds for all images.
fn check(proposals: &Proposals, width: u32, height: u32) {
    assert!(!proposals.boxes.is_empty());
    let mut seen = std::collections::HashSet::new();
    for b in &proposals.boxes {
        assert!(b.is_valid() && *b == b.clip(width, height), "{b:?} in {width} x {height}");
        let corners = [b.x1, b.y1, b.x2, b.y2];
        assert!(corners.iter().all(|v| v.fract() == 0.0), "{b:?}");
        assert!(seen.insert(corners.map(|v| v as u32)), "{b:?} twice");
        if width <= 500 && height <= 1500 {
            assert!(b.width(1.0) >= width.min(20) as f32 && b.height(1.0) >= height.min(20) as f32, "{b:?}");
        }
    }
}

fn best(proposals: &Proposals, object: BBox) -> f32 {
    proposals.boxes.iter().map(|b| b.iou(&object, 1.0)).max_by(f32::total_cmp).unwrap_or(0.0)
}

#[test]
fn objects_are_found_whole_and_together() {
    let proposals = search(&scene(250, 180), 250, 180, |_| {});
    check(&proposals, 250, 180);
    // Smoothing may move an edge by a pixel or two.
    for object in [
        BBox::new(31.0, 21.0, 109.0, 99.0),   // the disc
        BBox::new(130.0, 90.0, 199.0, 119.0), // the green part
        BBox::new(130.0, 40.0, 199.0, 149.0), // all that stands on the right
        BBox::new(0.0, 0.0, 249.0, 179.0),    // the image
    ] {
        assert!(best(&proposals, object) > 0.9, "{object:?}: {}", best(&proposals, object));
    }
}

#[test]
fn a_constant_image_is_one_region() {
    for (width, height) in [(1, 1), (1, 300), (300, 1), (2, 2), (19, 21), (640, 480), (3000, 7)] {
        for shade in [0, 128, 255] {
            let proposals = search(&vec![shade; (width * height * 3) as usize], width, height, |_| {});
            let all = BBox::new(0.0, 0.0, width as f32 - 1.0, height as f32 - 1.0);
            assert_eq!(proposals.boxes, [all], "{width} x {height}");
        }
    }
}

#[test]
fn threads_do_not_matter_and_the_seed_does() {
    let pixels =
        scene(250, 180).iter().zip(noise(250 * 180 * 3, 5)).map(|(v, n)| v ^ (n & 15)).collect::<Vec<u8>>();
    for mode in [Mode::Fast, Mode::Quality, Mode::Published] {
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
            pool.install(|| search(&pixels, 250, 180, |s| *s = SelectiveSearch { mode, seed, threads }).boxes)
        };
        let one = run(1, 3);
        for threads in [2, 3, 4, 100] {
            assert_eq!(run(threads, 3), one, "{threads} threads");
        }
        let other = run(1, 4);
        assert_ne!(other, one, "the seed changes the order");
        let sorted = |mut boxes: Vec<BBox>| {
            boxes.sort_by_key(|b| [b.x1, b.y1, b.x2, b.y2].map(|v| v as u32));
            boxes
        };
        assert_eq!(sorted(other), sorted(one), "and nothing but the order");
    }
}

#[test]
fn a_maximum_keeps_the_first() {
    let pixels = scene(250, 180);
    let frame = Frame::rgb8(&pixels, 250, 180).unwrap();
    let mut search = SelectiveSearch::default();
    let all = search.propose(&frame, usize::MAX).boxes;
    for max in [0, 1, 7, all.len(), all.len() + 1] {
        assert_eq!(search.propose(&frame, max).boxes, all[..max.min(all.len())]);
    }
}

#[test]
fn quality_finds_all_that_fast_finds() {
    let pixels = scene(250, 180);
    let [fast, quality] =
        [Mode::Fast, Mode::Quality].map(|mode| search(&pixels, 250, 180, |s| s.mode = mode).boxes);
    assert!(fast.iter().all(|b| quality.contains(b)));
}

#[test]
fn thin_boxes_are_of_the_published_mode_alone() {
    // A stripe 9 pixels high: a region in every mode, a box in one.
    let stripe = BBox::new(0.0, 80.0, 249.0, 88.0);
    let pixels: Vec<u8> = (0..180)
        .flat_map(|y| if (80..89).contains(&y) { [30, 40, 160] } else { [220, 215, 200] }.repeat(250))
        .collect();
    for (mode, found) in [(Mode::Fast, false), (Mode::Quality, false), (Mode::Published, true)] {
        let overlap = best(&search(&pixels, 250, 180, |s| s.mode = mode), stripe);
        assert_eq!(overlap > 0.7, found, "{mode:?}: {overlap}");
    }
}

#[test]
fn pixel_formats_and_strides_agree() {
    let rgb = scene(250, 180);
    let expected = search(&rgb, 250, 180, |_| {}).boxes;
    let mut padded = Vec::new();
    for row in rgb.chunks(250 * 3) {
        padded.extend(row.chunks(3).flat_map(|p| [p[2], p[1], p[0], 77]));
        padded.extend([9; 24]);
    }
    let frame = Frame::new(&padded, 250, 180, 250 * 4 + 24, PixelFormat::Bgra8).unwrap();
    assert_eq!(SelectiveSearch::default().propose(&frame, usize::MAX).boxes, expected);

    let gray: Vec<u8> = rgb.chunks(3).map(|p| p[1]).collect();
    let tripled: Vec<u8> = gray.iter().flat_map(|&v| [v; 3]).collect();
    let frame = Frame::new(&gray, 250, 180, 250, PixelFormat::Gray8).unwrap();
    let found = SelectiveSearch::default().propose(&frame, usize::MAX).boxes;
    assert_eq!(found, search(&tripled, 250, 180, |_| {}).boxes);
}

/// Boxes of an image four times as large are the same boxes four times as large, but for what the resize does.
#[test]
fn large_images_are_worked_on_small_and_mapped_back() {
    let small = scene(500, 200);
    let large: Vec<u8> = (0..2000 * 800)
        .flat_map(|i| {
            let at = ((i / 2000 / 4) * 500 + i % 2000 / 4) * 3;
            [small[at], small[at + 1], small[at + 2]]
        })
        .collect();
    let proposals = search(&large, 2000, 800, |_| {});
    check(&proposals, 2000, 800);
    assert!(best(&proposals, BBox::new(124.0, 84.0, 439.0, 399.0)) > 0.85);
    assert!(best(&proposals, BBox::new(0.0, 0.0, 1999.0, 799.0)) == 1.0);
}

/// Without optimisation, or emulated, images at which the work has no end are small.
fn is_slow() -> bool {
    cfg!(debug_assertions) || frcnn_testkit::emulated()
}

/// The most regions that an image can have.
#[test]
fn noise_ends() {
    let (width, height) = if is_slow() { (120, 90) } else { (640, 480) };
    let proposals = search(&noise((width * height * 3) as usize, 1), width, height, |_| {});
    check(&proposals, width, height);
}

/// What bounds the work on any image: however it looks, every region has at least k pixels.
#[test]
fn regions_are_never_more_than_fit() {
    let (width, height) = (160, 120);
    let blocks = |side: usize| -> Vec<u8> {
        let colours = noise(width * height * 3, 9);
        (0..width * height)
            .flat_map(|i| {
                let at = ((i / width / side) * width + i % width / side) * 3;
                [colours[at], colours[at + 1], colours[at + 2]]
            })
            .collect()
    };
    for side in 1..12 {
        let edges = Edges::new(&Planes::new(ColourSpace::Lab, &blocks(side)), width, height);
        for k in [50.0, 100.0] {
            let count = segment(&edges, k).count;
            assert!(count <= width * height / k as usize, "blocks of {side}: {count} regions at k = {k}");
        }
    }
}

/// One region that touches all others is the most work that grouping can have: every step compares it with all again.
#[test]
fn many_islands_end() {
    let (width, height) = if is_slow() { (120, 90) } else { (500, 375) };
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            let (x, y) = (i % width, i / width);
            let shade = ((x / 12 * 7 + y / 12 * 13) % 100) as u8;
            if x % 12 < 9 && y % 12 < 9 { [shade, 20, 180 - shade] } else { [230, 225, 220] }
        })
        .collect();
    let proposals = search(&pixels, width as u32, height as u32, |_| {});
    check(&proposals, width as u32, height as u32);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(40)))]

    #[test]
    fn any_image_gives_a_valid_list(
        width in 1u32..90, height in 1u32..90, seed in any::<u64>(), mask in prop::sample::select(&[0u8, 1, 31, 128, 255]),
    ) {
        let pixels: Vec<u8> =
            noise((width * height * 3) as usize, seed).iter().map(|v| v & mask).collect();
        check(&search(&pixels, width, height, |_| {}), width, height);
    }

    #[test]
    fn long_thin_images(long in 500u32..4000, thin in 1u32..4, upright in any::<bool>(), seed in any::<u64>()) {
        let (width, height) = if upright { (thin, long) } else { (long, thin) };
        check(&search(&noise((long * thin * 3) as usize, seed), width, height, |_| {}), width, height);
    }
}
