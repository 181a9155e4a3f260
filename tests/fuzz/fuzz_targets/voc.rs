//! A VOC folder of one or two images, then its scores.
#![no_main]

use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Format, Location, coco, voc};
use frcnn_fuzz::folder::{Folder, parts};
use frcnn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

const ANNOTATION: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>a b.jpg</filename><size><width>30</width><height>20</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11.5</xmax><ymax>10</ymax></bndbox></object>
<object><name>dog</name><difficult>True</difficult><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object>
</annotation>"#;
const FOUND: &str = "cat 0.9 0 1 10 9\ndog 1e-3 2 2 8 8\n";

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let text = |list: &str, encoding: &str| {
        format!("{list}\n----\n{}\n----\n{FOUND}", ANNOTATION.replace("utf-8", encoding)).into_bytes()
    };
    let mut latin = text("a", "ISO-8859-1");
    let name = latin.windows(3).position(|bytes| bytes == b"cat").unwrap_or_default();
    latin[name] = 0xe9;
    vec![
        ("plain".into(), text("a\n", "utf-8")),
        ("columns".into(), text("\u{feff}a 1\nb -1\n", "UTF-16")),
        ("latin".into(), latin),
        ("gbk".into(), text("a", "GBK")),
    ]
}

fuzz_target!(
    init: { seed(seeds); },
    |input: &[u8]| {
        let [list, annotation, found] = parts(input);
        FOLDER.with(|folder| {
            folder.write("ImageSets/Main/test.txt", list);
            folder.write("Annotations/a.xml", annotation);
            folder.write("Annotations/b.xml", annotation);
            let location = Location { format: Some(Format::Voc), ..Location::new(folder.path(), "test") };
            let Ok(mut dataset) = Dataset::open(&location) else { return };
            folder.write("found/a.txt", found);
            let text = Some(Kind::Text);
            let found = formats::read(&folder.path().join("found"), text, Corners::Inclusive, &mut dataset);
            let found = found.unwrap_or_default();
            for score in [voc(&dataset, &found, 0.5).map10, coco(&dataset, &found).summary.ap] {
                assert!(score.is_none_or(|score| (0.0..=1.0).contains(&score)), "{score:?}");
            }
        });
    }
);
