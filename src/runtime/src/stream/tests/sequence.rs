//! The frames of a camera, and a stream held against detections of its composites.

use crate::stream::{Stream, StreamOptions, Tolerance};
use crate::trunk::FeatureMap;
use crate::{BBox, Detector, Frame, HeadOutput, Session};

/// A camera's pixels.
pub(super) struct Camera {
    pub(super) pixels: Vec<u8>,
    width: usize,
    height: usize,
    state: u32,
}

impl Camera {
    pub(super) fn new(width: usize, height: usize, seed: u32) -> Camera {
        let mut camera = Camera { pixels: vec![0; width * height * 3], width, height, state: seed };
        for i in 0..camera.pixels.len() {
            camera.pixels[i] = (camera.next() >> 24) as u8;
        }
        camera
    }

    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.state
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() >> 8) as usize % most.max(1)
    }

    /// Something moves: rectangles get other pixels.
    pub(super) fn change(&mut self, rectangles: usize, side: usize) {
        for _ in 0..rectangles {
            let (x, y) = (self.below(self.width), self.below(self.height));
            let (w, h) = (1 + self.below(side), 1 + self.below(side));
            for y in y..(y + h).min(self.height) {
                for x in x..(x + w).min(self.width) {
                    let value = (self.next() >> 24) as u8;
                    self.pixels[(y * self.width + x) * 3 + self.state as usize % 3] = value;
                }
            }
        }
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        Frame::rgb8(&self.pixels, self.width as u32, self.height as u32).unwrap()
    }

    pub(super) fn boxes(&mut self, count: usize) -> Vec<BBox> {
        let corner = |camera: &mut Camera| {
            let (w, h) = (camera.width, camera.height);
            [camera.below(w + 20) as f32 - 10.0, camera.below(h + 20) as f32 - 10.0]
        };
        let any = |camera: &mut Camera| {
            let ([x1, y1], [x2, y2]) = (corner(camera), corner(camera));
            BBox::new(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2))
        };
        (0..count).map(|_| any(self)).collect()
    }
}

/// The bits of maps are those of others.
fn same(maps: &[FeatureMap], expected: &[FeatureMap], what: &str) {
    assert_eq!(maps.len(), expected.len(), "{what}");
    for (number, (map, expected)) in maps.iter().zip(expected).enumerate() {
        let bits = |map: &FeatureMap| map.data().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((map.height(), map.width()), (expected.height(), expected.width()));
        let (found, expected) = (bits(map), bits(expected));
        let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
        let place = wrong.map(|i| {
            let cell = i / map.channels();
            (cell / map.width(), cell % map.width(), i % map.channels())
        });
        assert_eq!(place, None, "{what}, {number}");
    }
}

/// Every stage of a stream against a detection from the start, among boxes or the network's own.
pub(super) fn check_among(
    stream: &mut Stream,
    session: &mut Session,
    camera: &Camera,
    boxes: Option<&[BBox]>,
    what: &str,
) {
    let found = stream.detect_among(&camera.frame(), boxes).unwrap();
    let composite = stream.composite().unwrap();
    if stream.options.tolerance == Tolerance::Fixed(0.0) {
        assert!(composite.packed().unwrap() == camera.pixels, "{what}: the composite is the frame");
    }
    let what = &format!("{what}, {:?}", stream.reuse());
    let blobs = session.preprocess(&composite).unwrap();
    let mut maps = Vec::new();
    for (level, blob) in stream.maps.trunk.iter().zip(&blobs) {
        let expected = session.maps(blob).unwrap();
        same(&level.maps().unwrap(), &expected, &format!("the map, {what}"));
        maps.extend(expected);
    }
    if boxes.is_none() {
        assert_eq!(stream.maps.rpn.len(), maps.len());
        for (level, map) in stream.maps.rpn.iter().zip(&maps) {
            let expected = session.rpn(map).unwrap();
            let expected = [expected.logits, expected.deltas];
            same(&level.maps().unwrap(), &expected, &format!("the RPN, {what}"));
        }
    }
    let expected = session.detect_among(&composite, boxes).unwrap();
    if boxes.is_none() {
        let corners = |boxes: &[BBox]| {
            boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(corners(stream.proposals()), corners(session.proposals()), "the proposals, {what}");
    }
    assert_eq!(stream.not_finite(), session.not_finite(), "{what}");
    let bits = |output: &HeadOutput| {
        output.cls_prob.iter().chain(&output.bbox_pred).map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let (found_bits, expected_bits) = (bits(stream.regions.output()), bits(&session.output));
    assert_eq!(found_bits.len(), expected_bits.len(), "{what}");
    assert_eq!(stream.session.dropped(), session.dropped(), "{what}");
    let wrong = found_bits.iter().zip(&expected_bits).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "the head, {what}");
    assert_eq!(found, expected, "{what}");
}

pub(super) fn check(stream: &mut Stream, session: &mut Session, camera: &Camera, boxes: &[BBox], what: &str) {
    check_among(stream, session, camera, Some(boxes), what);
}

/// A sequence of frames: nothing changes, something does, all of it does, and boxes come and go.
pub(super) fn check_sequence(
    detector: &Detector,
    options: StreamOptions,
    (width, height): (usize, usize),
    seed: u32,
) {
    let mut camera = Camera::new(width, height, seed);
    let mut stream = detector.stream(options).unwrap();
    let mut session = detector.session();
    let mut boxes = camera.boxes(40);
    // Given, the network's own, or both in turn, which know nothing of each other.
    let sources: &[bool] = match (detector.has_rpn(), seed % 3) {
        (false, _) | (true, 0) => &[true],
        (true, 1) => &[false],
        (true, _) => &[false, true, true, false],
    };
    let mut sources = sources.iter().cycle();
    let mut check = |camera: &Camera, boxes: &[BBox], what: &str| {
        let given = sources.next().is_some_and(|&given| given).then_some(boxes);
        check_among(&mut stream, &mut session, camera, given, what);
        *stream.reuse()
    };
    let is_exact = options.tolerance == Tolerance::Fixed(0.0);
    check(&camera, &boxes, "the first frame");
    let reuse = check(&camera, &boxes, "the same frame");
    if is_exact {
        assert_eq!((reuse.cells_changed, reuse.trunk_share), (0, 0.0));
    }
    if is_exact && (!detector.has_rpn() || seed % 3 < 2) {
        assert_eq!(reuse.rois_reused, reuse.rois);
    }
    for (rectangles, side) in [(1, 12), (1, 1), (2, 30), (40, 4), (1, 400), (3, 9)] {
        camera.change(rectangles, side);
        boxes.truncate(30);
        boxes.extend(camera.boxes(10));
        check(&camera, &boxes, &format!("{rectangles} of {side}"));
    }
}
