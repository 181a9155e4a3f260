//! Small text files: `manifest.json`, and results as VOC's comp4 and as text.
#![no_main]

use frcnn_bundle::Manifest;
use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Format, Location};
use frcnn_fuzz::folder::{Folder, parts};
use frcnn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = r#"{"name": "cells", "classes": ["__background__", "cat", "dog"], "channel_order": "rgb", "pixel_scale": 1,
"pixel_means": [0.485, 0.456, 0.406], "pixel_stds": [0.229, 0.224, 0.225], "scales": [600], "max_long_side": 1000, "box_weights": [10, 10, 5, 5],
"scores": "probabilities", "score_threshold": 0.05, "nms_iou": 0.3, "max_detections": 100}"#;
const COMP4: &str = "a 0.9 1 2 11 10\na b 1e-3 3 3 9 9\n";
const TEXT: &str = "cat 0.9 0 1 10 9\nbig dog -1.5 2 2 8 8\n";
const ANNOTATION: &[u8] = b"<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>10</ymax></bndbox></object></annotation>";

thread_local! {
    static FOLDER: Folder = folder();
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("ImageSets/Main/test.txt", b"a");
    folder.write("Annotations/a.xml", ANNOTATION);
    folder
}

fuzz_target!(
    init: {
        seed(|| vec![("all".into(), format!("{MANIFEST}\n----\n{COMP4}\n----\n{TEXT}").into_bytes())]);
    },
    |input: &[u8]| {
        let [manifest, comp4, text] = parts(input);
        if let Ok(manifest) = std::str::from_utf8(manifest) {
            // What was read can be written and read again.
            if let Ok(read) = Manifest::from_json(manifest) {
                let written = serde_json::to_string(&read).unwrap();
                assert_eq!(Manifest::from_json(&written).unwrap(), read);
            }
        }
        FOLDER.with(|folder| {
            let location = Location { format: Some(Format::Voc), ..Location::new(folder.path(), "test") };
            let dataset = Dataset::open(&location).unwrap();
            folder.write("comp4/comp4_det_test_cat.txt", comp4);
            folder.write("text/a.txt", text);
            for (name, kind) in [("comp4", Kind::Voc), ("text", Kind::Text)] {
                for corners in [Corners::Inclusive, Corners::Size] {
                    let read = formats::read(&folder.path().join(name), Some(kind), corners, &mut dataset.clone());
                    let finite = |found: &frcnn_eval::Detection| found.score.is_finite();
                    assert!(read.unwrap_or_default().iter().all(finite));
                }
            }
        });
    }
);
