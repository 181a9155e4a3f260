//! Data sets and detections from files, and what becomes of files with mistakes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};

use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Detection, Location, Region, coco, voc};
use tempfile::TempDir;

/// Two photos, a cat and a difficult dog, a person with a part that has a box of its own.
const A: &str = "<annotation><object><name>cat</name><difficult>0</difficult><bndbox><xmin>11</xmin><ymin>21</ymin>\
    <xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>";
const B: &str = "<annotation><object><name> dog </name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>\
    <xmax>10.5</xmax><ymax>10</ymax></bndbox></object><object><part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>\
    <name>person</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>8</ymax></bndbox></object></annotation>";

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn voc_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("ImageSets/Main/test.txt", "000004\nb  1\n\n"),
        ("Annotations/000004.xml", A),
        ("Annotations/b.xml", B),
        ("JPEGImages/000004.png", ""),
        ("PNGImages/b.PNG", ""),
    ];
    write(folder.path(), &files);
    folder
}

fn coco_text(images: &str, annotations: &str, categories: &str) -> String {
    format!(
        r#"{{"info": {{}}, "images": [{images}], "annotations": [{annotations}], "categories": [{categories}]}}"#
    )
}

const IMAGES: &str = r#"{"id": 9, "file_name": "b.jpg", "width": 5}, {"id": 4, "file_name": "sub/a.jpg"}"#;
const ANNOTATIONS: &str = r#"{"id": 1, "image_id": 4, "category_id": 18, "bbox": [10, 20, 20, 20], "area": 150.5, "iscrowd": 0},
    {"id": 0, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9.5, 10], "iscrowd": 1, "segmentation": {"counts": [1]}}"#;
const CATEGORIES: &str = r#"{"id": 18, "name": "dog"}, {"id": 3, "name": "car", "supercategory": "x"}"#;

fn coco_folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("annotations/instances_val.json", text), ("val/b.jpg", "")]);
    folder
}

fn open(folder: &Path, split: &str) -> Result<Dataset, String> {
    Dataset::open(&Location::new(folder, split)).map_err(|error| error.to_string())
}

#[test]
fn voc_is_read_as_its_development_kit_reads_it() {
    let folder = voc_folder();
    let dataset = open(folder.path(), "test").unwrap();
    assert_eq!(dataset.classes, ["cat", "dog", "person"]);
    let stems: Vec<&str> = dataset.images.iter().map(|image| image.stem.as_str()).collect();
    assert_eq!(stems, ["000004", "b"]);
    assert_eq!(dataset.images[0].path, folder.path().join("JPEGImages/000004.png"));
    // Pixels from 0; both corners inside.
    assert_eq!(dataset.truths[0].region, Region { x: 10.0, y: 20.0, width: 20.0, height: 20.0 });
    assert_eq!(dataset.truths[1].region, Region { x: 0.0, y: 0.0, width: 10.5, height: 10.0 });
    assert_eq!(dataset.truths.iter().map(|truth| truth.ignore).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(dataset.truths[2].region.inclusive(), [4.0, 5.0, 6.0, 7.0]);

    let png = Location { images: Some("PNGImages".into()), ..Location::new(folder.path(), "test") };
    assert_eq!(Dataset::open(&png).unwrap().images[1].path, folder.path().join("PNGImages/b.PNG"));
}

#[test]
fn mistakes_in_voc_name_the_file() {
    for (file, text, words) in [
        ("ImageSets/Main/test.txt", "000004\nb\n000004\n", "test.txt: image `000004` occurs twice"),
        ("ImageSets/Main/test.txt", "", "has no images"),
        ("ImageSets/Main/test.txt", "c", "c.xml: "),
        ("Annotations/b.xml", "<annotation><object>", "b.xml: "),
        ("Annotations/b.xml", "<a><object><name>x</name></object></a>", "object 1, `x`, has no bndbox"),
        ("Annotations/b.xml", "<a><object/></a>", "object 1 has no name"),
        (
            "Annotations/b.xml",
            &A.replace("30", "NaN"),
            "object 1, `cat`, has the xmax `NaN`, which is no finite number",
        ),
    ] {
        let folder = voc_folder();
        write(folder.path(), &[(file, text)]);
        let error = open(folder.path(), "test").unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let folder = voc_folder();
    let error = open(folder.path(), "tset").unwrap_err();
    assert!(error.contains("tset.txt: ") && error.contains("the splits are test"), "{error}");
    let error = open(&folder.path().join("Annotations"), "test").unwrap_err();
    assert!(error.contains("neither VOC"), "{error}");
    assert!(open(&folder.path().join("absent"), "test").unwrap_err().contains("absent: "));
}

#[test]
fn coco_is_ordered_by_ids() {
    let folder = coco_folder(&coco_text(IMAGES, ANNOTATIONS, CATEGORIES));
    let dataset = open(folder.path(), "val").unwrap();
    assert_eq!(
        (dataset.classes.as_slice(), dataset.category_ids.as_slice()),
        (&["car".into(), "dog".into()][..], &[3.into(), 18.into()][..])
    );
    let images: Vec<_> = dataset.images.iter().map(|image| (image.id.clone(), image.stem.as_str())).collect();
    assert_eq!(images, [(Some(4.into()), "a"), (Some(9.into()), "b")]);
    assert_eq!(dataset.images[0].path, folder.path().join("val/sub/a.jpg"));
    let [dog, car] = dataset.truths[..] else { panic!("{:?}", dataset.truths) };
    assert_eq!((dog.image, dog.class, dog.area, dog.ignore), (0, 1, 150.5, false));
    // Without `area` the box's; a crowd is ignored.
    assert_eq!((car.image, car.class, car.area, car.ignore, car.crowd), (1, 0, 95.0, true, true));
    let by_file = open(&folder.path().join("annotations/instances_val.json"), "val").unwrap();
    assert_eq!(by_file, dataset);
}

#[test]
fn mistakes_in_coco_name_record_and_field() {
    let twice = |part: &str| format!("{part}, {part}");
    let with = |from: &str, to: &str| coco_text(IMAGES, &ANNOTATIONS.replace(from, to), CATEGORIES);
    let named = |name: &str| coco_text(&IMAGES.replace("sub/a.jpg", name), ANNOTATIONS, CATEGORIES);
    for (text, words) in [
        (
            coco_text(&(IMAGES.to_string() + r#", {"id": 4, "file_name": "c.jpg"}"#), "", ""),
            "image id 4 occurs twice",
        ),
        (coco_text(IMAGES, &twice(ANNOTATIONS), CATEGORIES), "annotation id 1 occurs twice"),
        (
            coco_text(IMAGES, "", r#"{"id": 3, "name": "a"}, {"id": 3.0, "name": "b"}"#),
            "category id 3 occurs twice",
        ),
        (coco_text("", "", ""), "has no images"),
        (with("9.5", "NaN"), "annotation id 0: bbox: [2] is NaN, not a finite number"),
        (with("9.5", "-Infinity"), "annotation id 0: bbox: [2] is -inf, not a finite number"),
        (with("9.5", "1e999"), "annotations[1]: bbox: number out of range"),
        (with(", 9.5, 10]", "]"), "annotation id 0: bbox: has 2 numbers, not x, y, width, height"),
        (with("[0, 0, 9.5, 10]", "{}"), "annotation id 0: bbox: is an object, not [x, y, width, height]"),
        (with("\"bbox\": [0, 0, 9.5, 10], ", ""), "annotation id 0: bbox: is missing"),
        (with("150.5", "\"150.5\""), "annotation id 1: area: is the text \"150.5\", not a number"),
        (with("\"iscrowd\": 1", "\"iscrowd\": \"0\""), "annotation id 0: iscrowd: is the text \"0\""),
        (with("\"image_id\": 4, ", ""), "annotations[0]: id 1: image_id: is missing"),
        (
            with("\"image_id\": 4", "\"image_id\": [4]"),
            "annotations[0]: id 1: image_id: is a list of 1, which is no id",
        ),
        (with("\"id\": 0, ", ""), "annotations[1]: id: is missing"),
        (coco_text(r#"{"file_name": "a.jpg"}"#, "", ""), "images[0]: id: is missing"),
        (coco_text(IMAGES, "", r#"{"id": null, "name": "a"}"#), "categories[0]: id: is null, which is no id"),
        (coco_text(IMAGES, "7", ""), "annotations[0]: invalid type: integer `7`"),
        (named("/etc/passwd"), "images[1]: id 4: file_name: `/etc/passwd` is not inside the images' folder"),
        (named("../../x.jpg"), "images[1]: id 4: file_name: `../../x.jpg` is not inside"),
        (named("a/../../x.jpg"), "is not inside"),
        (named(r"..\\x.jpg"), "is not inside"),
        (named(r"a\u0000.jpg"), "has a NUL character"),
        (named(&"long".repeat(100)), "has more than 240 bytes"),
        ("{\"images\": []}".to_string(), "has no annotations"),
        ("[]".to_string(), "an object with images, annotations and categories"),
        ("".to_string(), "EOF"),
        ("[".repeat(1_000_000), "instances_val.json: "),
        (format!("{{\"images\": {}", "[".repeat(1_000_000)), "instances_val.json: images[0]: "),
        (
            format!("{{\"images\": [{{\"id\": {}", "[".repeat(1_000_000)),
            "images[0]: id: recursion limit exceeded",
        ),
    ] {
        let folder = coco_folder(&text);
        let error = open(folder.path(), "val").unwrap_err();
        assert!(error.contains(words) && error.contains(folder.path().to_str().unwrap()), "{words}: {error}");
    }
    let folder = coco_folder(&coco_text(IMAGES, ANNOTATIONS, CATEGORIES));
    write(folder.path(), &[("annotations/person_keypoints_val.json", "{}"), ("annotations/notes.txt", "")]);
    let error = open(folder.path(), "vla").unwrap_err();
    assert!(
        error.contains("instances_vla.json: ") && error.contains("the splits are person_keypoints_val, val"),
        "{error}"
    );
}

fn found(image: usize, class: usize, score: f64, region: [f64; 4]) -> Detection {
    let [x, y, width, height] = region;
    Detection { image, class, score, region: Region { x, y, width, height } }
}

#[test]
fn every_format_gives_back_what_was_written() {
    let (voc_set, coco_set) = (voc_folder(), coco_folder(&coco_text(IMAGES, ANNOTATIONS, CATEGORIES)));
    let list = [
        found(0, 0, 0.123_456_789_012_345_6, [1.1, 2.25, 3.5, 4.75]),
        found(1, 1, f64::from(0.3f32), [0.0, 0.0, 639.7, 479.3]),
        found(1, 1, 0.3, [5.0, 6.0, 7.0, 8.0]),
    ];
    for mut dataset in [open(voc_set.path(), "test").unwrap(), open(coco_set.path(), "val").unwrap()] {
        for (kind, corners, name) in [
            (Kind::Coco, Corners::Inclusive, "r.json"),
            (Kind::Voc, Corners::Inclusive, "voc"),
            (Kind::Text, Corners::Inclusive, "text"),
            (Kind::Text, Corners::Size, "sizes"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            formats::write(&path, kind, corners, &dataset, &list).unwrap();
            let mut back = formats::read(&path, None, corners, &mut dataset).unwrap();
            back.sort_by_key(|d| d.image);
            assert_eq!(back.len(), list.len(), "{kind:?}");
            for (a, b) in back.iter().zip(&list) {
                assert_eq!((a.image, a.class, a.score), (b.image, b.class, b.score), "{kind:?}");
                // Inclusive corners are a sum away from a width.
                assert!(
                    (a.region.width - b.region.width).abs() < 1e-9 && (a.region.x - b.region.x).abs() < 1e-9
                );
            }
        }
    }
}

#[test]
fn files_of_other_programs_are_understood() {
    let folder = voc_folder();
    let mut dataset = open(folder.path(), "test").unwrap();
    let results = tempfile::tempdir().unwrap();
    // The cat exactly, in each format's own way of counting.
    write(
        results.path(),
        &[
            ("comp/comp4-7f_det_test_cat.txt", "000004 0.990 11.0 21.0 30.0 40.0\n"),
            ("text/000004.txt", "cat 0.99 10 20 29 39\n\n"),
            ("sizes/000004.txt", "cat 0.99 10 20 20 20\n"),
            (
                "r.json",
                r#"[{"image_id": 4, "category_id": 1, "bbox": [10, 20, 20, 20], "score": 1, "id": 3}]"#,
            ),
        ],
    );
    for (name, corners) in [
        ("comp", Corners::Inclusive),
        ("text", Corners::Inclusive),
        ("sizes", Corners::Size),
        ("r.json", Corners::Inclusive),
    ] {
        let list = formats::read(&results.path().join(name), None, corners, &mut dataset).unwrap();
        assert_eq!(list.len(), 1, "{name}");
        assert_eq!(
            (list[0].image, list[0].class, list[0].region),
            (0, 0, dataset.truths[0].region),
            "{name}"
        );
        let scores = voc(&dataset, &list, 0.5);
        // Of three classes one is found, one has only a difficult object and one is missed.
        let aps: Vec<_> = scores.classes.iter().map(|class| class.ap10).collect();
        assert_eq!((aps, scores.map10), (vec![Some(1.0), None, Some(0.0)], Some(0.5)));
        assert!((coco(&dataset, &list).summary.ap.unwrap() - 0.5).abs() < 1e-9);
    }
}

#[test]
fn mistakes_in_detections_name_file_and_line() {
    let folder = voc_folder();
    let mut dataset = open(folder.path(), "test").unwrap();
    let record = |image: &str, class: i64, score: &str| {
        format!(
            r#"[{{"image_id": {image}, "category_id": {class}, "bbox": [1, 2, 3, 4], "score": {score}}}]"#
        )
    };
    for (file, text, words) in [
        ("text/b.txt", "cat 0.5 1 2 3 4\ncat NaN 1 2 3 4", "b.txt: line 2: a number is not finite"),
        ("text/b.txt", "cat 0.5 1 2 3 inf", "line 1: a number is not finite"),
        ("text/b.txt", "cat 0.5 1 2 3", "line 1: not a name, a score and four numbers"),
        ("text/b.txt", "cat 0.5 1 2 x 4", "line 1: not a name"),
        ("text/c.txt", "cat 0.5 1 2 3 4", "image `c` is not in the data set; images are 000004, b"),
        ("comp/comp4_det_test_cat.txt", "c 0.5 1 2 3 4", "line 1: image `c` is not in"),
        (
            "r.json",
            &record("\"c\"", 1, "0.5"),
            "detections[0]: image_id: `c` is not in the data set (its images have no ids",
        ),
        ("r.json", &record("7", 1, "0.5"), "detections[0]: image_id: 7 is not in"),
        (
            "r.json",
            &record("\"b\"", 4, "0.5"),
            "detections[0]: category_id: 4 is not in the data set; categories are",
        ),
        ("r.json", &record("\"b\"", 1, "NaN"), "detections[0]: score: is NaN, not a finite number"),
        ("r.json", &record("\"b\"", 1, "1e999"), "detections[0]: score: number out of range"),
        ("r.json", &record("\"b\"", 1, "\"0.5\""), "score: is the text \"0.5\", not a number"),
        ("r.json", &record("\"b\"", 1, "null"), "score: is null, not a number"),
        ("r.json", &record("\"b\"", 1, "0.5").replace("4]", "4, 5]"), "bbox: has 5 numbers"),
        ("r.json", &record("\"b\"", 1, "0.5").replace("4]", "\"4\"]"), "bbox: [3] is the text \"4\""),
        ("r.json", &record("\"b\"", 1, "0.5").replace("\"bbox\"", "\"box\""), "bbox: is missing"),
        ("r.json", "{}", "r.json: "),
        ("empty/readme.md", "", "has no .txt files"),
    ] {
        let results = tempfile::tempdir().unwrap();
        write(results.path(), &[(file, text)]);
        let path = Path::new(file).components().next().map(|first| results.path().join(first)).unwrap();
        let error = formats::read(&path, None, Corners::Inclusive, &mut dataset).unwrap_err().to_string();
        assert!(error.contains(words), "{file}: {error}");
    }
    let absent = formats::read(&PathBuf::from("absent.json"), None, Corners::Inclusive, &mut dataset);
    assert!(absent.unwrap_err().to_string().contains("absent.json: "));
}

/// COCO lists its classes; VOC does not, so a class may be one that happens not to be annotated.
#[test]
fn a_class_without_objects_is_an_error_only_where_classes_are_listed() {
    let (voc_set, coco_set) = (voc_folder(), coco_folder(&coco_text(IMAGES, ANNOTATIONS, CATEGORIES)));
    let results = tempfile::tempdir().unwrap();
    let record = |image: &str| {
        format!(r#"[{{"image_id": {image}, "category_id": "zebra", "bbox": [1, 2, 3, 4], "score": 0.5}}]"#)
    };
    let files = [
        ("text/b.txt", "zebra 0.5 1 2 3 4"),
        ("comp/comp4_det_test_zebra.txt", "b 0.5 1 2 3 4"),
        ("r.json", &record("\"b\"")),
    ];
    write(results.path(), &files);
    for name in ["text", "comp", "r.json"] {
        let read = |dataset: &mut Dataset| {
            formats::read(&results.path().join(name), None, Corners::Inclusive, dataset)
        };
        write(results.path(), &[("r.json", &record("\"b\""))]);
        let mut dataset = open(voc_set.path(), "test").unwrap();
        let list = read(&mut dataset).unwrap();
        assert_eq!((list[0].class, dataset.classes[3].as_str()), (3, "zebra"), "{name}");
        assert_eq!(voc(&dataset, &list, 0.5).classes[3].ap10, None);
        // COCO's images have ids.
        write(results.path(), &[("r.json", &record("9"))]);
        let error = read(&mut open(coco_set.path(), "val").unwrap()).unwrap_err().to_string();
        assert!(error.contains("`zebra` is not in the data set"), "{error}");
    }
}

#[test]
fn classes_that_are_not_annotated_come_from_the_detector() {
    let folder = voc_folder();
    let mut dataset = open(folder.path(), "test").unwrap();
    let missing = dataset.meet_classes(&["person".into(), "cat".into(), "zebra".into()]);
    assert_eq!(missing, ["dog"]);
    assert_eq!(dataset.classes, ["cat", "dog", "person", "zebra"]);
    let scores = voc(&dataset, &[found(0, 3, 0.9, [0.0, 0.0, 9.0, 9.0])], 0.5);
    assert_eq!(scores.classes[3].ap10, None);
}

/// Roboflow's lists begin with a category that is no class of objects.
#[test]
fn classes_that_no_object_has_are_not_missed() {
    let categories = format!(r#"{CATEGORIES}, {{"id": 0, "name": "cells", "supercategory": "none"}}"#);
    let folder = coco_folder(&coco_text(IMAGES, ANNOTATIONS, &categories));
    let mut dataset = open(folder.path(), "val").unwrap();
    assert!(dataset.classes.contains(&"cells".to_string()));
    assert!(dataset.clone().meet_classes(&["dog".into(), "car".into()]).is_empty());
    assert_eq!(dataset.meet_classes(&["dog".into()]), ["car"]);
}

#[test]
fn nothing_found_scores_nothing() {
    let folder = voc_folder();
    let dataset = open(folder.path(), "test").unwrap();
    assert_eq!(voc(&dataset, &[], 0.5).map10, Some(0.0));
    let summary = coco(&dataset, &[]).summary;
    assert_eq!((summary.ap, summary.ar100, summary.ap_large), (Some(0.0), Some(0.0), None));
}
