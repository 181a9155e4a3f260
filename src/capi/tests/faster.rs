//! A model with a region proposal network, through the C functions: it proposes by itself, unless it is told otherwise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "the interface under test is C's")]

#[path = "../../runtime/tests/hostile/build.rs"]
#[allow(dead_code, reason = "it serves other tests")]
mod build;
#[path = "../../runtime/tests/faster/pyramid.rs"]
#[allow(dead_code, reason = "it serves other tests")]
mod pyramid;

use std::ptr::{null, null_mut};

use frcnn::{Detections, Detector, Frame, Options};
use frcnn_capi::*;

const WIDTH: u32 = 131;
const HEIGHT: u32 = 97;
const ROOM: usize = 512;

/// Waves of all colours.
fn pixels() -> Vec<u8> {
    let pixel = |i: u32| {
        let (x, y) = ((i % WIDTH) as f32, (i / WIDTH) as f32);
        let wave = |a: f32, b: f32| (127.0 + 60.0 * ((x * a).sin() + (y * b).cos())) as u8;
        [wave(0.3, 0.11), wave(0.07, 0.23), wave(0.19, 0.4)]
    };
    (0..WIDTH * HEIGHT).flat_map(pixel).collect()
}

struct Session(*mut FrcnnSession);

impl Session {
    /// By default, or with a proposer.
    fn new(model: *mut FrcnnModel, proposer: Option<FrcnnProposer>) -> Session {
        let mut session = null_mut();
        let options = proposer.map(|proposer| {
            let (size, reserved) = (size_of::<FrcnnSessionOptions>(), 0);
            FrcnnSessionOptions { struct_size: size, proposer: proposer as u32, reserved }
        });
        let options = options.as_ref().map_or(null(), std::ptr::from_ref);
        // SAFETY: the model is valid, the options live, `session` is writable.
        assert_eq!(unsafe { frcnn_session_new(model, options, &raw mut session) }, FrcnnResult::Ok);
        Session(session)
    }

    /// A stream that takes any byte for a change.
    fn stream(model: *mut FrcnnModel) -> Session {
        let mut stream = null_mut();
        let options = FrcnnStreamOptions {
            struct_size: size_of::<FrcnnStreamOptions>(),
            proposer: FrcnnProposer::Model as u32,
            tolerance: 0.0,
            reuse_mib: 64,
            reserved: 0,
        };
        // SAFETY: the model is valid, the options live, `stream` is writable.
        assert_eq!(unsafe { frcnn_stream_new(model, &raw const options, &raw mut stream) }, FrcnnResult::Ok);
        Session(stream)
    }

    fn reuse(&self) -> FrcnnReuse {
        // SAFETY: all zeros are a value; its size is then set, and the session is valid.
        unsafe {
            let mut reuse: FrcnnReuse = std::mem::zeroed();
            reuse.struct_size = size_of::<FrcnnReuse>();
            assert_eq!(frcnn_stream_reuse(self.0, &raw mut reuse), FrcnnResult::Ok);
            reuse
        }
    }

    /// The detections among these boxes, or among those of the session's proposer.
    fn detect(&self, frame: &FrcnnFrame, boxes: Option<&[FrcnnBox]>) -> Vec<FrcnnDetection> {
        let (at, boxes) = boxes.map_or((null(), 0), |boxes| (boxes.as_ptr(), boxes.len()));
        let (mut found, mut count) = (Vec::with_capacity(ROOM), 0);
        // SAFETY: the frame's bytes outlive the call; there is room for as many detections as is said, and `count` are written.
        unsafe {
            let result =
                frcnn_session_detect(self.0, frame, at, boxes, found.as_mut_ptr(), ROOM, &raw mut count);
            assert_eq!(result, FrcnnResult::Ok);
            found.set_len(count);
        }
        found
    }

    fn submit_and_poll(&self, frame: &FrcnnFrame) -> Vec<FrcnnDetection> {
        let (mut found, mut count) = (Vec::with_capacity(ROOM), 0);
        // SAFETY: as above.
        unsafe {
            assert_eq!(frcnn_session_submit(self.0, frame, null(), 0), FrcnnResult::Ok);
            let result = frcnn_session_poll(self.0, 60_000, found.as_mut_ptr(), ROOM, &raw mut count);
            assert_eq!(result, FrcnnResult::Ok);
            found.set_len(count);
        }
        found
    }

    fn report(&self) -> FrcnnReport {
        // SAFETY: all zeros are a report; its size is then set, and the session is valid.
        unsafe {
            let mut report: FrcnnReport = std::mem::zeroed();
            report.struct_size = size_of::<FrcnnReport>();
            assert_eq!(frcnn_session_report(self.0, &raw mut report), FrcnnResult::Ok);
            report
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: it is valid, and used no more.
        unsafe { frcnn_session_free(self.0) };
    }
}

fn same(found: &[FrcnnDetection], expected: &Detections) {
    let of_c = |d: &FrcnnDetection| {
        let bbox = [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2].map(f32::to_bits);
        (d.class_id, d.score.to_bits(), bbox, d.proposal)
    };
    let of_rust = |d: &frcnn::Detection| {
        let bbox = [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2].map(f32::to_bits);
        (u32::from(d.class_id), d.score.to_bits(), bbox, d.proposal)
    };
    let found: Vec<_> = found.iter().map(of_c).collect();
    assert_eq!(found, expected.iter().map(of_rust).collect::<Vec<_>>());
}

#[test]
fn the_model_proposes_where_nobody_else_does() {
    let pixels = pixels();
    let bundle = pyramid::pyramid();
    let bytes = bundle.to_bytes();
    let detector = Detector::new(bundle, &Options::default()).unwrap();
    let picture = Frame::rgb8(&pixels, WIDTH, HEIGHT).unwrap();
    let mut direct = detector.session();
    let expected = direct.detect_frame(&picture).unwrap();
    assert!(!expected.is_empty());

    let mut model = null_mut();
    // SAFETY: the bytes are readable, `model` is writable.
    let opened = unsafe { frcnn_model_open_bytes(bytes.as_ptr(), bytes.len(), null(), &raw mut model) };
    assert_eq!(opened, FrcnnResult::Ok);
    let mut has_rpn = 7;
    // SAFETY: the model is valid.
    assert_eq!(unsafe { frcnn_model_has_rpn(model, &raw mut has_rpn) }, FrcnnResult::Ok);
    assert_eq!(has_rpn, 1);

    let plane = FrcnnPlane { data: pixels.as_ptr(), size: pixels.len(), stride: 3 * WIDTH as usize };
    let frame = FrcnnFrame {
        struct_size: size_of::<FrcnnFrame>(),
        id: 5,
        width: WIDTH,
        height: HEIGHT,
        format: FrcnnPixelFormat::Rgb24 as u32,
        colour: 0,
        planes: [plane; 3],
        time_ns: 0,
    };
    for proposer in [None, Some(FrcnnProposer::Model)] {
        let session = Session::new(model, proposer);
        same(&session.detect(&frame, None), &expected);
        let report = session.report();
        assert_eq!(report.proposals, direct.proposals().len() as u64);
        assert!(report.propose_ns > 0 && report.trunk_ns > 0 && report.not_finite == 0, "{report:?}");
        assert!(report.total_ns >= report.propose_ns + report.trunk_ns + report.head_ns, "{report:?}");
        same(&session.submit_and_poll(&frame), &expected);

        // Boxes that are given take the place of its own.
        let boxes = [FrcnnBox { x1: 10.0, y1: 10.0, x2: 60.0, y2: 60.0 }];
        let given = direct.detect(&picture, &[frcnn::BBox::new(10.0, 10.0, 60.0, 60.0)]).unwrap();
        same(&session.detect(&frame, Some(&boxes)), &given);
        assert_eq!(session.report().proposals, 1);
        assert!(session.detect(&frame, Some(&[])).is_empty());
        direct.detect_frame(&picture).unwrap();
    }
    let grid = Session::new(model, Some(FrcnnProposer::Grid));
    grid.detect(&frame, None);
    assert!(grid.report().proposals > direct.proposals().len() as u64);

    // A stream proposes by itself, too, and keeps what has not changed.
    let stream = Session::stream(model);
    for looks in 0..2 {
        same(&stream.detect(&frame, None), &expected);
        assert_eq!(stream.report().proposals, direct.proposals().len() as u64);
        let reuse = stream.reuse();
        assert!(reuse.rois > 0 && reuse.rois_reused == looks * reuse.rois, "{reuse:?}");
        assert_eq!(reuse.trunk_share, 1.0 - looks as f32);
    }
    let boxes = [FrcnnBox { x1: 10.0, y1: 10.0, x2: 60.0, y2: 60.0 }];
    let given = direct.detect(&picture, &[frcnn::BBox::new(10.0, 10.0, 60.0, 60.0)]).unwrap();
    same(&stream.detect(&frame, Some(&boxes)), &given);
    // SAFETY: it is valid, and used no more.
    unsafe { frcnn_model_free(model) };
}
