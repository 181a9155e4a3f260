//! A bundle that is part of the program is read where it lies, and finds what an opened file does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use frcnn::{Bundle, Detector, Options};
use frcnn_bundle::Weights;
use frcnn_fuzz::bundle::seeds;
use frcnn_tests::{Photo, boxes, untrained};

/// `bytes`, `behind` bytes behind an address that is a multiple of 64, for as long as the test runs.
fn program(bytes: &[u8], behind: usize) -> &'static [u8] {
    let room = Vec::leak(vec![0u8; bytes.len() + behind + 64]);
    let start = room.as_ptr().align_offset(64) + behind;
    let place = &mut room[start..start + bytes.len()];
    place.copy_from_slice(bytes);
    place
}

fn sections(bundle: &Bundle) -> impl Iterator<Item = &Weights> {
    (0..).map_while(|id| bundle.weights(id))
}

fn is_static(weights: &Weights) -> bool {
    match weights {
        Weights::F32(values) => values.are_static(),
        Weights::Bf16(bits) | Weights::F16(bits) => bits.are_static(),
        Weights::Int8(values) => values.are_static(),
    }
}

#[test]
fn weights_stay_where_they_are() {
    let mut seen = Vec::new();
    for (name, file) in seeds() {
        let bundle = Bundle::from_static(program(&file, 0)).unwrap();
        assert!(sections(&bundle).all(is_static), "{name}");
        assert_eq!(bundle.to_bytes(), file, "{name}");
        assert!(sections(&bundle.clone()).all(is_static), "{name}");
        seen.extend(bundle.contents().sections.iter().map(|section| section.precision));
        // What nobody promises to keep is copied.
        assert!(!sections(&Bundle::from_bytes(&file).unwrap()).any(is_static), "{name}");
    }
    for precision in frcnn_bundle::Precision::ALL {
        assert!(seen.contains(&precision), "no seed has {precision:?}");
    }
}

#[test]
fn what_is_not_aligned_is_copied() {
    let file = untrained().to_bytes();
    for behind in [1, 2, 3] {
        let bundle = Bundle::from_static(program(&file, behind)).unwrap();
        assert!(!sections(&bundle).any(is_static), "{behind}");
        assert_eq!(bundle.to_bytes(), file);
    }
    assert!(sections(&Bundle::from_static(program(&file, 4)).unwrap()).all(is_static));
}

#[test]
fn it_finds_what_an_opened_file_does() {
    let bundle = untrained();
    let photo = Photo::synthetic(200, 150);
    let proposals = boxes(60, 200.0, 150.0, 2);
    let options = Options { threads: Some(2), score_threshold: Some(0.0), ..Options::default() };
    let find = |bundle| Detector::new(bundle, &options).unwrap().detect(&photo.frame(), &proposals).unwrap();
    let expected = find((*bundle).clone());
    assert!(!expected.is_empty());
    assert_eq!(find(Bundle::from_static(program(&bundle.to_bytes(), 0)).unwrap()), expected);
}

#[test]
fn damage_is_found_there_as_well() {
    let file = untrained().to_bytes();
    let problem = |bytes: &[u8]| Bundle::from_static(program(bytes, 0)).unwrap_err().to_string();
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(problem(&flipped).contains("does not match its hash"));
    for len in [0, 63, 64, file.len() / 2, file.len() - 1] {
        let expected = Bundle::from_bytes(&file[..len]).unwrap_err().to_string();
        assert_eq!(problem(&file[..len]), expected, "{len} bytes");
    }
}
