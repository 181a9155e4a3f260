//! Boxes from safetensors and JSON files, then a detection among them.
#![no_main]

use frcnn::{BBox, Bundle, Detector, Options};
use frcnn_eval::TensorFile;
use frcnn_fuzz::folder::Folder;
use frcnn_fuzz::{bundle, contract, seed};
use frcnn_proposals::BoxFile;
use libfuzzer_sys::fuzz_target;
use safetensors::tensor::{Dtype, TensorView, serialize};

/// More boxes than this take the time of the detector, not of the reader.
const MAX_BOXES: usize = 500;

thread_local! {
    static DETECTOR: Detector = detector();
    static PICTURE: Vec<u8> = contract::picture();
    static FOLDER: Folder = Folder::new();
}

fn detector() -> Detector {
    let (_, file) = bundle::seeds().swap_remove(0);
    let options = Options { threads: Some(1), ..Options::default() };
    Detector::new(Bundle::from_bytes(&file).unwrap(), &options).unwrap()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let corners = [1u8, 2, 9, 8, 0, 0, 23, 17];
    let wide = |size: usize| -> Vec<u8> {
        corners.iter().flat_map(|&c| std::iter::once(c).chain(vec![0; size - 1])).collect()
    };
    let tensors =
        [(Dtype::U16, wide(2)), (Dtype::I32, wide(4)), (Dtype::I64, wide(8)), (Dtype::F32, wide(4))];
    let tensors = tensors.iter().map(|(dtype, bytes)| {
        let tensor = TensorView::new(*dtype, vec![2, 4], bytes).unwrap();
        (format!("{dtype:?}"), serialize([("a", tensor)], None).unwrap())
    });
    let texts =
        [("one", "[[1, 2, 9, 8], [5, 6, 7e2, -8.5]]"), ("lists", r#"{"a": [[1, 2, 9, 8]], "b": []}"#)];
    tensors.chain(texts.map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))).collect()
}

fn detect(boxes: &[BBox]) {
    let boxes = &boxes[..boxes.len().min(MAX_BOXES)];
    DETECTOR.with(|detector| {
        let found = PICTURE.with(|pixels| detector.detect(&contract::frame(pixels), boxes));
        contract::hold(&found.unwrap(), detector.manifest(), boxes.len());
    });
}

fuzz_target!(
    init: { seed(seeds); },
    |file: &[u8]| {
        if let Ok(boxes) = BoxFile::parse(file.to_vec()) {
            let _ = boxes.made_by();
            for stem in boxes.stems() {
                if let Ok(boxes) = boxes.boxes(&stem) {
                    detect(&boxes);
                }
            }
            let path = FOLDER.with(|folder| folder.write("reference.safetensors", file));
            if let Ok(tensors) = TensorFile::open(&path) {
                for name in tensors.names() {
                    let _ = tensors.get(name);
                }
            }
        }
        // As the command line reads them.
        if let Ok(boxes) = serde_json::from_slice::<Vec<[f32; 4]>>(file) {
            detect(&boxes.into_iter().map(|[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2)).collect::<Vec<_>>());
        }
    }
);
