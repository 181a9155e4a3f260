//! A Faster R-CNN with a feature pyramid, made by hand, against every stage's definition.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "tests")]

#[path = "../hostile/build.rs"]
mod build;
mod hostile;
mod plain;
mod pyramid;
mod rules;

use frcnn::{BBox, Bundle, Detection, Detector, FeatureMap, Frame, Options, RpnOutput, Session};

use plain::{Map, Scored};
use pyramid::{Noise, pyramid};

/// Width and height of photos: of whole multiples, and not.
const SIZES: [(u32, u32); 4] = [(150, 100), (131, 97), (60, 117), (40, 40)];

/// Smooth coloured noise.
pub(crate) fn pixels(width: u32, height: u32) -> Vec<u8> {
    let mut noise = Noise(width * 31 + height);
    let waves: Vec<[f32; 3]> = (0..3).map(|_| [noise.next(), noise.next(), noise.next()]).collect();
    let place = |i: u32| ((i / 3 % width) as f32, (i / 3 / width) as f32);
    (0..width * height * 3)
        .map(|i| {
            let ((x, y), [a, b, c]) = (place(i), waves[i as usize % 3]);
            let wave = (x * a * 0.5 + 6.0 * b).sin() + (y * b * 0.4 + 5.0 * c).cos();
            (127.0 + 50.0 * wave + 20.0 * noise.next()) as u8
        })
        .collect()
}

pub(crate) fn detector(bundle: &Bundle, threads: usize) -> Detector {
    Detector::new(bundle.clone(), &Options { threads: Some(threads), ..Options::default() }).unwrap()
}

fn map(map: &FeatureMap) -> Map {
    Map::new(map.data().unwrap(), [map.height(), map.width(), map.channels()])
}

/// Rounding of f32 sums of some hundred products of order 1.
fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1f64, |most, v| most.max(v.abs()));
    for (place, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() <= 2e-5 * size, "{what} at {place}: {found} {expected}");
    }
}

/// The same boxes in the same order. Their corners are sums of numbers up to 1000.
fn same_boxes(found: &[BBox], scores: &[f32], expected: &[Scored], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((found, score), expected) in found.iter().zip(scores).zip(expected) {
        let found = [found.x1, found.y1, found.x2, found.y2];
        let is_near = found.iter().zip(expected.bbox).all(|(f, e)| (f64::from(*f) - e).abs() < 2e-3);
        let is_sure = (f64::from(*score) - expected.score).abs() < 1e-5;
        assert!(is_near && is_sure, "{what}: {found:?} {score}, {expected:?}");
    }
}

#[test]
fn every_stage_is_its_definition() {
    every_stage(&pyramid());
    // Strides that are said, other than those of the sizes.
    let mut builder = pyramid::builder();
    builder.rpn.as_mut().unwrap().strides = Some(vec![5, 7, 16]);
    every_stage(&builder.finish(pyramid::CHANNELS as usize).unwrap());
}

fn every_stage(bundle: &Bundle) {
    let contents = bundle.contents();
    let (rpn, align) = (contents.rpn.as_ref().unwrap(), plain::align_of(bundle));
    for (width, height) in SIZES {
        let what = format!("{width} x {height}");
        let photo = pixels(width, height);
        let frame = Frame::rgb8(&photo, width, height).unwrap();
        let mut session = detector(bundle, 1).session();
        let blob = session.preprocess(&frame).unwrap().remove(0);
        assert!(
            blob.height.is_multiple_of(12)
                && blob.width.is_multiple_of(12)
                && blob.image != [blob.height, blob.width]
        );

        let maps = session.maps(&blob).unwrap();
        let values =
            plain::graph(bundle, &contents.trunk, Map::new(&blob.data, [blob.height, blob.width, 3]));
        assert_eq!(maps.len(), 3);
        for (found, &value) in maps.iter().zip(&contents.trunk.outputs) {
            let expected = &values[value as usize];
            assert_eq!([found.height(), found.width(), found.channels()], expected.size, "{what}");
            near(found.data().unwrap(), &expected.data, &what);
        }

        let outputs: Vec<RpnOutput> = maps.iter().map(|map| session.rpn(map).unwrap()).collect();
        for (output, input) in outputs.iter().zip(&maps) {
            let values = plain::graph(bundle, &rpn.graph, map(input));
            near(output.logits.data().unwrap(), &values[3].data, &what);
            near(output.deltas.data().unwrap(), &values[4].data, &what);
        }

        let proposals = session.filter_proposals(&outputs, &blob).unwrap();
        let of_maps: Vec<[Map; 2]> =
            outputs.iter().map(|output| [map(&output.logits), map(&output.deltas)]).collect();
        let expected = plain::proposals(rpn, &of_maps, [blob.height, blob.width], blob.image);
        assert!(expected.len() > 30, "{what}: {}", expected.len());
        same_boxes(&proposals.boxes, &proposals.scores, &expected, &what);

        let rois = session.align_rois(&proposals.boxes).unwrap();
        let features = session.roi_align(&maps, &rois.rois).unwrap();
        let all: Vec<Map> = maps.iter().map(map).collect();
        let each = features.len() / rois.rois.len();
        let mut levels = [0; 2];
        for (bbox, &place) in proposals.boxes.iter().zip(&rois.index) {
            let (level, expected) = plain::roi_align(align, &all, bbox);
            assert_eq!(usize::from(rois.rois[place as usize].level), level, "{what} {bbox:?}");
            near(&features[place as usize * each..][..each], &expected, &what);
            levels[level] += 1;
        }
        assert!(levels.iter().all(|&count| count > 0), "{what}: {levels:?}");

        let output = session.head(&features).unwrap();
        let classes = pyramid::CLASSES;
        for (row, features) in features.chunks(each).enumerate() {
            let values = plain::graph(bundle, &contents.head, Map::new(features, [3, 3, each / 9]));
            near(&output.cls_prob[row * classes..][..classes], &values[5].data, &what);
            near(&output.bbox_pred[row * 4 * classes..][..4 * classes], &values[6].data, &what);
        }

        let found = session.detect_frame(&frame).unwrap();
        let expected =
            detections(bundle, &proposals.boxes, &rois.index, &output, blob.image, (width, height));
        assert!(found.len() > 5 && found.len() < 100, "{what}: {}", found.len());
        let boxes: Vec<BBox> = found.iter().map(|d| d.bbox).collect();
        let scores: Vec<f32> = found.iter().map(|d| d.score).collect();
        same_boxes(&boxes, &scores, &expected, &what);
        assert!(found.iter().zip(&expected).all(|(f, e)| usize::from(f.class_id) == e.group));
    }
}

/// What the manifest's rules make of the head's predictions, in pixels of the image.
fn detections(
    bundle: &Bundle,
    boxes: &[BBox],
    index: &[u32],
    output: &frcnn::HeadOutput,
    in_blob: [usize; 2],
    (width, height): (u32, u32),
) -> Vec<Scored> {
    let manifest = &bundle.contents().manifest;
    let classes = manifest.classes.len();
    let mut all = Vec::new();
    for (bbox, &row) in boxes.iter().zip(index) {
        let bbox = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
        for class in 1..classes {
            let place = row as usize * classes + class;
            let score = f64::from(output.cls_prob[place]);
            let delta = [0, 1, 2, 3].map(|i| f64::from(output.bbox_pred[4 * place + i]));
            let bbox = plain::clip(plain::decode(bbox, delta, manifest.box_weights), in_blob);
            let least = f64::from(manifest.min_box_side);
            if score > f64::from(manifest.score_threshold)
                && bbox[2] - bbox[0] >= least
                && bbox[3] - bbox[1] >= least
            {
                all.push(Scored { bbox, score, group: class });
            }
        }
    }
    let mut kept = plain::suppress(all, f64::from(manifest.nms_iou), manifest.max_detections as usize);
    let (down, right) = (f64::from(height) / in_blob[0] as f64, f64::from(width) / in_blob[1] as f64);
    for Scored { bbox: [x1, y1, x2, y2], .. } in &mut kept {
        (*x1, *x2) = (*x1 * right, *x2 * right);
        (*y1, *y2) = (*y1 * down, *y2 * down);
    }
    kept
}

fn bits(found: &[Detection]) -> Vec<(u16, u32, [u32; 4], u32)> {
    let corners = |d: &Detection| [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2].map(f32::to_bits);
    found.iter().map(|d| (d.class_id, d.score.to_bits(), corners(d), d.proposal)).collect()
}

#[test]
fn a_detection_is_its_stages_for_any_number_of_threads() {
    let bundle = pyramid();
    let mut sessions: Vec<Session> = (1..4).map(|threads| detector(&bundle, threads).session()).collect();
    // A small frame after a large one finds nothing of it.
    for (width, height) in SIZES.into_iter().chain(SIZES) {
        let photo = pixels(width, height);
        let frame = Frame::rgb8(&photo, width, height).unwrap();
        let all: Vec<_> = sessions.iter_mut().map(|session| session.detect_frame(&frame).unwrap()).collect();
        for other in &all {
            assert_eq!(bits(other), bits(&all[0]), "{width} x {height}");
        }
        let session = &mut sessions[0];
        assert_eq!(session.not_finite(), 0);
        let timings = *session.timings();
        assert!(timings.rpn.as_nanos() > 0 && timings.proposals.as_nanos() > 0);
        let learned = session.proposals().to_vec();
        let (right, bottom) = (width as f32, height as f32);
        assert!(learned.iter().all(|b| b.is_valid() && b.x1 >= 0.0 && b.x2 <= right && b.y2 <= bottom));
        assert!(all[0].iter().all(|d| (d.proposal as usize) < learned.len()));

        // Given back to it, they are the same but for a rounding.
        let again = session.detect(&frame, &learned).unwrap();
        assert_eq!(again.len(), all[0].len(), "{width} x {height}");
        for (a, b) in again.iter().zip(&all[0]) {
            assert_eq!((a.class_id, a.proposal), (b.class_id, b.proposal));
            assert!((a.score - b.score).abs() < 1e-4 && a.bbox.iou(&b.bbox, 0.0) > 0.999, "{a:?} {b:?}");
        }
        // Others are others.
        let one = session.detect(&frame, &learned[..1]).unwrap();
        assert!(one.iter().all(|d| d.proposal == 0));
    }
}
