//! Motion on sequences that are rendered here: objects with known boxes, noise, changing light.
#![cfg(feature = "motion")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::time::Duration;

use frcnn_core::{BBox, Frame, PixelFormat};
use frcnn_proposals::{Motion, MotionOptions, Notice, Proposals, Propose};

/// Cells are 2 x 2 pixels.
const WIDTH: i32 = 400;
const HEIGHT: i32 = 220;
/// Frames after which the background is known.
const LEARNED: u32 = 10;

/// What a frame shows.
#[derive(Clone, Copy, Default)]
struct Scene {
    /// Left upper corner and sides of a dark object, where there is one.
    object: Option<[i32; 4]>,
    /// Greatest noise of a pixel, in grey levels.
    noise: i32,
    /// Added to every pixel.
    light: i32,
    /// Which background.
    place: i32,
    /// For the noise.
    seed: u32,
}

impl Scene {
    fn render(&self) -> Vec<u8> {
        let mut state = self.seed.wrapping_mul(0x9E37_79B9) | 1;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if self.noise == 0 { 0 } else { (state >> 8) as i32 % (2 * self.noise + 1) - self.noise }
        };
        let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let ground = 90 + (x * (1 + self.place) / 9 + y / 5 + self.place * 71) % 100;
                let [left, top, width, height] = self.object.unwrap_or_default();
                let inside = (left..left + width).contains(&x) && (top..top + height).contains(&y);
                let colour = if inside { [30, 25, 60] } else { [ground, ground + 10, ground - 15] };
                pixels.extend(colour.map(|v| (v + self.light + noise()).clamp(0, 255) as u8));
            }
        }
        pixels
    }

    fn truth(&self) -> BBox {
        let [left, top, width, height] = self.object.unwrap_or_default().map(|v| v as f32);
        BBox::new(left, top, left + width - 1.0, top + height - 1.0)
    }
}

fn look(motion: &mut Motion, scene: &Scene) -> Proposals {
    let pixels = scene.render();
    motion.propose(&Frame::rgb8(&pixels, WIDTH as u32, HEIGHT as u32).unwrap(), 2000)
}

/// Motion that has seen the scene without objects for long enough.
fn learned(scene: &Scene) -> Motion {
    let mut motion = Motion::new();
    for seed in 0..LEARNED + 10 {
        let proposals = look(&mut motion, &Scene { seed, object: None, ..*scene });
        assert_eq!(proposals.notice, (seed + 1 < LEARNED).then_some(Notice::Learning), "frame {seed}");
        assert!(proposals.boxes.is_empty(), "frame {seed}: {:?}", proposals.boxes);
    }
    motion
}

fn best(proposals: &Proposals, object: BBox) -> f32 {
    proposals.boxes.iter().map(|b| b.iou(&object, 1.0)).max_by(f32::total_cmp).unwrap_or(0.0)
}

#[test]
fn a_moving_object_is_boxed_in_every_frame() {
    for noise in [0, 12] {
        let still = Scene { noise, ..Scene::default() };
        let mut motion = learned(&still);
        for step in 0..20 {
            let object = Some([40 + 15 * step, 60 + 3 * step, 60, 90]);
            let scene = Scene { object, seed: 1000 + step as u32, ..still };
            let proposals = look(&mut motion, &scene);
            // The region is eroded or grown by a cell at most.
            assert!(best(&proposals, scene.truth()) > 0.85, "noise {noise}, frame {step}: {proposals:?}");
            assert!(
                proposals.boxes[0].iou(&scene.truth(), 1.0) > 0.7,
                "frame {step}: {:?}",
                proposals.boxes[0]
            );
        }
    }
}

#[test]
fn two_objects_are_two_regions_and_their_pair() {
    let mut motion = learned(&Scene::default());
    let mut pixels = Scene { object: Some([100, 100, 40, 60]), ..Scene::default() }.render();
    let other = Scene { object: Some([150, 110, 40, 50]), ..Scene::default() };
    for (i, v) in other.render().iter().enumerate() {
        pixels[i] = pixels[i].min(*v);
    }
    let proposals = motion.propose(&Frame::rgb8(&pixels, WIDTH as u32, HEIGHT as u32).unwrap(), 2000);
    for truth in [BBox::new(100.0, 100.0, 139.0, 159.0), other.truth(), BBox::new(100.0, 100.0, 189.0, 159.0)]
    {
        assert!(best(&proposals, truth) > 0.85, "{truth:?}: {:?}", proposals.boxes);
    }
}

/// Half a grey level a frame, 60 in all: more than what foreground must depart by.
#[test]
fn a_slow_change_of_light_is_no_motion() {
    let still = Scene { noise: 6, ..Scene::default() };
    let mut motion = learned(&still);
    for frame in 0..120 {
        let scene = Scene { light: frame / 2, seed: 2000 + frame as u32, ..still };
        let proposals = look(&mut motion, &scene);
        assert!(proposals.boxes.is_empty() && proposals.notice.is_none(), "frame {frame}: {proposals:?}");
    }
    let object = Scene { object: Some([200, 100, 80, 80]), light: 60, seed: 5000, ..still };
    assert!(best(&look(&mut motion, &object), object.truth()) > 0.8);
}

#[test]
fn a_lamp_is_no_motion_and_hides_none() {
    let still = Scene { noise: 4, ..Scene::default() };
    let mut motion = learned(&still);
    let lit = Scene { light: 25, object: Some([300, 150, 60, 60]), seed: 77, ..still };
    let proposals = look(&mut motion, &lit);
    assert_eq!(proposals.notice, None);
    assert!(best(&proposals, lit.truth()) > 0.8, "{:?}", proposals.boxes);
}

#[test]
fn another_scene_is_learned_anew_and_said_so() {
    let mut motion = learned(&Scene::default());
    let moved = Scene { place: 2, ..Scene::default() };
    let proposals = look(&mut motion, &moved);
    assert_eq!((proposals.notice, proposals.boxes.len()), (Some(Notice::SceneChanged), 0));
    for _ in 2..LEARNED {
        assert_eq!(look(&mut motion, &moved).notice, Some(Notice::Learning));
    }
    assert_eq!(look(&mut motion, &moved).notice, None);
    let object = Scene { object: Some([200, 100, 80, 80]), ..moved };
    assert!(best(&look(&mut motion, &object), object.truth()) > 0.85);
}

/// A lamp goes out: every pixel loses its share, so no common difference explains it.
#[test]
fn lights_out_are_said_so() {
    let still = Scene { noise: 4, ..Scene::default() };
    let mut motion = learned(&still);
    let mut dark = |seed| {
        let pixels: Vec<u8> = Scene { seed, ..still }.render().iter().map(|v| v / 4).collect();
        motion.propose(&Frame::rgb8(&pixels, WIDTH as u32, HEIGHT as u32).unwrap(), 2000)
    };
    let first = dark(300);
    assert_eq!((first.notice, first.boxes.len()), (Some(Notice::SceneChanged), 0));
    for seed in 2..LEARNED {
        assert_eq!(dark(300 + seed).notice, Some(Notice::Learning));
    }
    let settled = dark(400);
    assert_eq!((settled.notice, settled.boxes.len()), (None, 0));
}

#[test]
fn thirty_objects_in_a_large_frame() {
    let (width, height) = (1280, 720);
    let still: Vec<u8> = (0..width * height * 3).map(|i| 90 + (i * 7 % 61) as u8).collect();
    let render = |step: usize| -> Vec<u8> {
        let mut pixels = still.clone();
        for object in 0..30 {
            let (left, top) = (object % 10 * 120 + step % 40, object / 10 * 220 + 30);
            for y in top..top + 90 {
                pixels[(y * width + left) * 3..][..50 * 3].fill(20);
            }
        }
        pixels
    };
    let mut motion = Motion::new();
    let mut look =
        |pixels: &[u8]| motion.propose(&Frame::rgb8(pixels, width as u32, height as u32).unwrap(), 2000);
    for _ in 0..20 {
        look(&still);
    }
    for step in 0..30 {
        let boxes = look(&render(step)).boxes.len();
        assert!(boxes > 100, "{boxes} boxes in frame {step}");
    }
}

#[test]
fn what_stays_becomes_background() {
    let mut motion = learned(&Scene::default());
    let parked = Scene { object: Some([200, 100, 80, 80]), ..Scene::default() };
    let first = look(&mut motion, &parked);
    assert!(!first.boxes.is_empty());
    let pixels = parked.render();
    let frame = Frame::rgb8(&pixels, WIDTH as u32, HEIGHT as u32).unwrap();
    let gone = (0..1500).position(|_| motion.propose(&frame, 1).boxes.is_empty()).unwrap();
    assert!((100..1500).contains(&gone), "after {gone} frames");
}

/// Seconds until what has stopped is background, at a rate of frames; they are late by up to half of what lies between them.
fn absorbed_after(options: MotionOptions, fps: f32) -> f32 {
    let mut motion = Motion::with(options);
    let [still, parked] = [None, Some([200, 100, 80, 80])]
        .map(|object| Scene { object, noise: 3, ..Scene::default() }.render());
    let at = |frame: u32| (frame as f32 + if frame % 2 == 1 { 0.5 } else { 0.0 }) / fps;
    let mut look = |pixels: &[u8], frame| {
        let frame_of = Frame::rgb8(pixels, WIDTH as u32, HEIGHT as u32).unwrap();
        motion.propose_at(&frame_of, Duration::from_secs_f32(at(frame)), 1).boxes.is_empty()
    };
    let learned = LEARNED + 10;
    assert!((0..learned).all(|frame| look(&still, frame)) && !look(&parked, learned));
    let absorbed = (learned + 1..learned + 1500).find(|&frame| look(&parked, frame)).unwrap();
    at(absorbed) - at(learned)
}

#[test]
fn rates_are_in_seconds() {
    for absorbs in [4.0, 9.0] {
        let options = MotionOptions { absorbs: Duration::from_secs_f32(absorbs), ..MotionOptions::default() };
        for fps in [2.0, 5.0, 12.5, 25.0, 50.0] {
            let time = absorbed_after(options, fps);
            // One frame later it is seen to be so.
            assert!(
                (0.9 * absorbs..1.1 * absorbs + 1.5 / fps).contains(&time),
                "{time} of {absorbs} at {fps}"
            );
        }
    }
}

/// A clock that goes back, one that stands and one that jumps by a day: the view is known as before.
#[test]
fn a_clock_that_jumps_blinds_nobody() {
    let mut motion = learned(&Scene::default());
    let parked = Scene { object: Some([200, 100, 80, 80]), ..Scene::default() };
    let pixels = parked.render();
    let frame = Frame::rgb8(&pixels, WIDTH as u32, HEIGHT as u32).unwrap();
    for seconds in [100, 100, 50, 86_450, 86_450] {
        let proposals = motion.propose_at(&frame, Duration::from_secs(seconds), 2000);
        assert!(best(&proposals, parked.truth()) > 0.85, "at {seconds}: {proposals:?}");
    }
}

#[test]
fn another_size_starts_over() {
    let mut motion = learned(&Scene::default());
    let small = vec![128; 64 * 48];
    let frame = Frame::new(&small, 64, 48, 64, PixelFormat::Gray8).unwrap();
    assert_eq!(motion.propose(&frame, 10).notice, Some(Notice::Learning));
}

#[test]
fn frames_of_any_size() {
    for (width, height) in [(1, 1), (1, 500), (500, 1), (2, 3), (333, 777)] {
        let mut motion = Motion::new();
        for frame in 0..30u32 {
            let pixels: Vec<u8> =
                (0..width * height).map(|i| (i * (frame % 13 * 7 + 1) % 251) as u8).collect();
            let frame = Frame::new(&pixels, width, height, width as usize, PixelFormat::Gray8).unwrap();
            for b in motion.propose(&frame, 50).boxes {
                assert!(b.is_valid() && b == b.clip(width, height), "{b:?} in {width} x {height}");
            }
        }
    }
}
