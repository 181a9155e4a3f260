//! COCO annotations and results, then their scores.
#![no_main]

use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Format, Location, coco, voc};
use frcnn_fuzz::folder::{Folder, parts};
use frcnn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

const ANNOTATIONS: &str = r#"{"info": {}, "images": [{"id": 7, "file_name": "a/b.jpg", "width": 30, "height": 20}, {"id": "8", "file_name": "c.png", "height": 20.0, "width": 30}],
"categories": [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 3, "name": "dog"}],
"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 8.5], "area": 80, "iscrowd": 0, "segmentation": [[1, 2, 11, 2, 11, 10]]},
{"id": 2, "image_id": 8, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25.0, "iscrowd": true, "ignore": 1, "segmentation": {"counts": [1, 2], "size": [20, 30]}}]}"#;
const RESULTS: &str = r#"[{"image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 8], "score": 0.9}, {"image_id": "8", "category_id": 3, "bbox": [0, 0, 5, 5], "score": 1e-3}]"#;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let text = format!("{ANNOTATIONS}\n----\n{RESULTS}");
    let wide: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    vec![
        ("plain".into(), text.clone().into_bytes()),
        ("bom".into(), format!("\u{feff}{text}").into_bytes()),
        ("utf16".into(), wide),
    ]
}

fuzz_target!(
    init: { seed(seeds); },
    |input: &[u8]| {
        let [annotations, results] = parts(input);
        FOLDER.with(|folder| {
            folder.write("annotations/instances_val.json", annotations);
            let location = Location { format: Some(Format::Coco), ..Location::new(folder.path(), "val") };
            let Ok(mut dataset) = Dataset::open(&location) else { return };
            let results = folder.write("results.json", results);
            let found = formats::read(&results, Some(Kind::Coco), Corners::Inclusive, &mut dataset).unwrap_or_default();
            for score in [voc(&dataset, &found, 0.5).map10, coco(&dataset, &found).summary.ap] {
                assert!(score.is_none_or(|score| (0.0..=1.0).contains(&score)), "{score:?}");
            }
        });
    }
);
