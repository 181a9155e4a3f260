//! Threads, sessions and sizes: the same frame gives the same detections, whoever runs it.
#![allow(clippy::unwrap_used)]

use frcnn::{Detector, Error};
use frcnn_tests::{Photo, boxes, detector, untrained};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let photo = Photo::synthetic(320, 240);
    let proposals = boxes(200, 320.0, 240.0, 1);
    let expected = detector(&untrained(), 1).detect(&photo.frame(), &proposals).unwrap();
    assert!(!expected.is_empty());
    for threads in [2, 3, 5] {
        let found = detector(&untrained(), threads).detect(&photo.frame(), &proposals).unwrap();
        assert_eq!(found, expected, "{threads} threads");
    }
}

#[test]
fn one_detector_serves_several_threads() {
    let detector = detector(&untrained(), 2);
    let proposals = boxes(60, 200.0, 150.0, 2);
    let photos = [Photo::synthetic(200, 150), Photo::synthetic(240, 160), Photo::synthetic(150, 200)];
    let expected: Vec<_> = photos.iter().map(|p| detector.detect(&p.frame(), &proposals).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (detector, photos, proposals, expected) = (&detector, &photos, &proposals, &expected);
            scope.spawn(move || {
                let mut session = detector.session();
                for (photo, expected) in photos.iter().zip(expected) {
                    assert_eq!(&session.detect(&photo.frame(), proposals).unwrap(), expected);
                    assert_eq!(&detector.detect(&photo.frame(), proposals).unwrap(), expected);
                }
            });
        }
    });
}

/// More sizes than plans are kept for, seen twice.
#[test]
fn sizes_come_and_go() {
    let detector = detector(&untrained(), 1);
    let mut session = detector.session();
    let proposals = boxes(20, 100.0, 100.0, 5);
    let mut first = Vec::new();
    for round in 0..2 {
        for (i, width) in (100..100 + 11 * 17).step_by(17).enumerate() {
            let detections = session.detect(&Photo::synthetic(width, 100).frame(), &proposals).unwrap();
            if round == 0 {
                first.push(detections);
            } else {
                assert_eq!(detections, first[i], "width {width}");
            }
        }
    }
}

#[test]
fn an_image_that_is_too_narrow_for_the_trunk_is_an_error() {
    let detector = detector(&untrained(), 1);
    // 3000 x 2 pixels become 1000 x 1: no 7 x 7 kernel fits.
    let error = detector.detect(&Photo::synthetic(3000, 2).frame(), &[]).unwrap_err();
    assert!(matches!(error, Error::BlobSize { height: 1, width: 1000, .. }), "{error}");
    assert!(error.to_string().contains("conv1"), "{error}");
}

#[test]
fn the_ways_to_open_agree() {
    let bundle = untrained();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.frcnn");
    bundle.write(&path).unwrap();
    let photo = Photo::synthetic(200, 150);
    let proposals = boxes(30, 200.0, 150.0, 9);
    let opened = Detector::open(&path).unwrap().detect(&photo.frame(), &proposals).unwrap();
    let in_memory =
        Detector::from_bytes(&bundle.to_bytes()).unwrap().detect(&photo.frame(), &proposals).unwrap();
    assert_eq!(opened, in_memory);

    let missing = Detector::open(folder.path().join("missing.frcnn")).unwrap_err().to_string();
    assert!(missing.contains("missing.frcnn"), "{missing}");
}
