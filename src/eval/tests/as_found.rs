//! Data sets and detections as people have them: names, encodings, and the forms that other programs take and write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::Path;

use encoding_rs::{Encoding, GBK, UTF_8, WINDOWS_1252};
use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Location, Region, Warning, coco, voc};
use tempfile::TempDir;

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn open(folder: &TempDir) -> Dataset {
    Dataset::open(&Location::new(folder.path(), "test")).unwrap()
}

fn warnings(dataset: &Dataset) -> Vec<String> {
    dataset.warnings.iter().map(Warning::to_string).collect()
}

/// The mAP of detections that lie in `dets` or `res.json`, by VOC10+.
fn voc_map(folder: &TempDir, name: &str) -> Option<f64> {
    let mut dataset = open(folder);
    let found = formats::read(&folder.path().join(name), None, Corners::Inclusive, &mut dataset).unwrap();
    voc(&dataset, &found, 0.5).map10
}

fn coco_ap(folder: &TempDir) -> Result<Option<f64>, String> {
    let mut dataset =
        Dataset::open(&Location::new(folder.path(), "test")).map_err(|error| error.to_string())?;
    let found = formats::read(&folder.path().join("res.json"), None, Corners::Inclusive, &mut dataset);
    Ok(rounded(coco(&dataset, &found.map_err(|error| error.to_string())?).summary.ap))
}

/// A mean of a hundred ones is one but for the last bit.
fn rounded(ap: Option<f64>) -> Option<f64> {
    ap.map(|ap| (ap * 1e9).round() / 1e9)
}

const BOX: &str = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>";

/// One object of `class`, and one more that `second` describes.
fn xml(declaration: &str, class: &str, second: &str) -> String {
    format!(
        "{declaration}<annotation><size><width>100</width><height>80</height></size><object><name>{class}</name>\
         {BOX}</object>{second}</annotation>"
    )
}

/// A data set of one image, each of whose files is in the same encoding, and the detection of its object.
fn voc_set(stem: &str, class: &str, declaration: &str, encode: &dyn Fn(&str) -> Vec<u8>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format!("Annotations/{stem}.xml"), encode(&xml(declaration, class, "")));
    write(folder.path(), "ImageSets/Main/test.txt", stem);
    write(folder.path(), &format!("dets/comp4_det_test_{class}.txt"), format!("{stem} 0.9 11 21 40 60\n"));
    folder
}

fn as_is(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn utf16(mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> impl Fn(&str) -> Vec<u8> {
    move |text| mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
}

#[test]
fn names_with_spaces_are_names() {
    for (list, stem) in [
        ("my photo 1", "my photo 1"),
        ("my photo 1\r\n", "my photo 1"),
        ("  my photo 1  \n\n", "my photo 1"),
        ("my photo 1  1\n", "my photo 1"),
        ("two  blanks -1\n", "two  blanks"),
    ] {
        let folder = voc_set(stem, "traffic  light", "", &as_is);
        write(folder.path(), "ImageSets/Main/test.txt", list);
        assert_eq!(open(&folder).images[0].stem, stem, "{list:?}");
        assert_eq!(voc_map(&folder, "dets"), Some(1.0), "{list:?}");
        write(folder.path(), &format!("texts/{stem}.txt"), "traffic  light 0.9 10 20 39 59\r\n");
        assert_eq!(voc_map(&folder, "texts"), Some(1.0), "{list:?}");
    }
}

#[test]
fn byte_order_marks_are_no_part_of_names() {
    for mark in ["", "\u{feff}"] {
        for end in ["\n", "\r\n", "\r"] {
            let folder =
                voc_set("a", "cat", "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n", &as_is);
            write(folder.path(), "ImageSets/Main/test.txt", format!("{mark}a{end}"));
            write(folder.path(), "dets/comp4_det_test_cat.txt", format!("{mark}a 0.9 11 21 40 60{end}"));
            write(folder.path(), "texts/a.txt", format!("{mark}cat 0.9 10 20 39 59{end}"));
            assert_eq!((voc_map(&folder, "dets"), voc_map(&folder, "texts")), (Some(1.0), Some(1.0)));
        }
    }
}

#[test]
fn annotations_have_the_encoding_that_they_declare() {
    let declared = |label: &str| format!("<?xml version=\"1.0\" encoding=\"{label}\"?>");
    let cases: [(&str, &str, &'static Encoding); 5] = [
        ("ISO-8859-1", "vélo", WINDOWS_1252),
        ("iso-8859-15", "œuf", encoding_rs::ISO_8859_15),
        ("GBK", "自行车", GBK),
        ("GB2312", "自行车", GBK),
        ("UTF-8", "vélo", UTF_8),
    ];
    for (label, class, encoding) in cases {
        let encode = |text: &str| encoding.encode(text).0.into_owned();
        let folder = voc_set("a", class, &declared(label), &encode);
        assert_eq!(open(&folder).classes, [class], "{label}");
        assert_eq!(voc_map(&folder, "dets"), Some(1.0), "{label}");
    }
    for (mark, bytes) in [
        (&b"\xff\xfe"[..], u16::to_le_bytes as fn(u16) -> [u8; 2]),
        (b"\xfe\xff", u16::to_be_bytes),
        (b"", u16::to_le_bytes),
        (b"", u16::to_be_bytes),
    ] {
        for declaration in [declared("utf-16"), declared("UTF-16LE"), String::new()] {
            let folder = voc_set("a", "自行车", &declaration, &utf16(mark, bytes));
            assert_eq!(open(&folder).classes, ["自行车"]);
            write(folder.path(), "ImageSets/Main/test.txt", utf16(mark, bytes)("a\r\n"));
            assert_eq!(voc_map(&folder, "dets"), Some(1.0));
        }
    }
    // What claims to be UTF-16 and is not, as .NET writes it; and what claims nothing and is not UTF-8.
    assert_eq!(open(&voc_set("a", "vélo", &declared("utf-16"), &as_is)).classes, ["vélo"]);
    let latin1 = |text: &str| WINDOWS_1252.encode(text).0.into_owned();
    let folder = voc_set("a", "vélo", "", &latin1);
    let error = Dataset::open(&Location::new(folder.path(), "test")).unwrap_err().to_string();
    assert!(error.contains("a.xml: is not UTF-8 text; save it as UTF-8"), "{error}");
}

/// Names of files have no encoding; those of another system's are its own.
#[test]
#[cfg(unix)]
fn comp4_files_may_be_named_in_another_encoding() {
    use std::os::unix::ffi::OsStrExt;
    for (class, encoding) in [("vélo", WINDOWS_1252), ("自行车", GBK), ("自転車", encoding_rs::SHIFT_JIS)]
    {
        let folder = voc_set("a", class, "", &as_is);
        let name = encoding.encode(&format!("comp4_det_test_{class}.txt")).0.into_owned();
        let dets = folder.path().join("foreign");
        fs::create_dir(&dets).unwrap();
        fs::write(dets.join(std::ffi::OsStr::from_bytes(&name)), "a 0.9 11 21 40 60\n").unwrap();
        assert_eq!(voc_map(&folder, "foreign"), Some(1.0), "{class}");
        let mut other = open(&voc_set("a", "cat", "", &as_is));
        let error = formats::read(&dets, None, Corners::Inclusive, &mut other).unwrap_err().to_string();
        assert!(error.contains("is not in the data set; classes are cat"), "{error}");
    }
}

#[test]
fn difficult_is_written_in_many_ways() {
    let second = |difficult: &str| {
        format!(
            "<object><name>cat</name><truncated>True</truncated><occluded>?</occluded>{difficult}{BOX}</object>"
        )
    };
    let read = |difficult: &str| {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), "Annotations/a.xml", xml("", "cat", &second(difficult)));
        let dataset = open(&folder);
        (dataset.truths[1].ignore, warnings(&dataset))
    };
    for yes in
        ["1", "True", "true", "TRUE", "yes", "Yes", " 1 ", "1.0", "2", "y", "t", "<!-- -->1", "<![CDATA[1]]>"]
    {
        assert_eq!(read(&format!("<difficult>{yes}</difficult>")), (true, Vec::new()), "{yes}");
    }
    for no in ["0", "False", "no", "0.0", "", "Unspecified", "n"] {
        assert_eq!(read(&format!("<difficult>{no}</difficult>")), (false, Vec::new()), "{no}");
    }
    assert_eq!(read(""), (false, Vec::new()));
    let (ignored, warnings) = read("<difficult>perhaps</difficult>");
    assert!(!ignored && warnings.len() == 1 && warnings[0].contains("neither yes nor no"), "{warnings:?}");
    assert!(warnings[0].contains("a.xml") && warnings[0].contains("perhaps"), "{warnings:?}");
}

#[test]
fn reversed_boxes_are_turned_and_counted() {
    let folder = voc_set("a", "cat", "", &as_is);
    let corners = |corners: [&str; 4]| {
        let [x1, y1, x2, y2] = corners;
        format!(
            "<object><name>cat</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>\
             </bndbox></object>"
        )
    };
    let second =
        [["40", "21", "11", "60"], ["11.5", "60", "40", "21"], ["5", "6", "5", "6"]].map(corners).concat();
    write(folder.path(), "Annotations/a.xml", xml("", "cat", &second));
    let dataset = open(&folder);
    let regions: Vec<[f64; 4]> = dataset.truths.iter().map(|truth| truth.region.inclusive()).collect();
    assert_eq!(
        regions,
        [[10.0, 20.0, 39.0, 59.0], [10.0, 20.0, 39.0, 59.0], [10.5, 20.0, 39.0, 59.0], [4.0, 5.0, 4.0, 5.0]]
    );
    let warnings = warnings(&dataset);
    assert!(warnings.len() == 1 && warnings[0].starts_with("2 objects have xmin > xmax"), "{warnings:?}");
}

#[test]
fn sizes_are_read_where_there_are_any() {
    for (size, expected) in [
        ("<size><width>100</width><height>80</height><depth>3</depth></size>", Some((100, 80))),
        ("<size><width>100.0</width><height> 80 </height></size>", Some((100, 80))),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size/>", None),
        ("", None),
    ] {
        let folder = voc_set("a", "cat", "", &as_is);
        let text = format!("<annotation>{size}<object><name>cat</name>{BOX}</object></annotation>");
        write(folder.path(), "Annotations/a.xml", text);
        assert_eq!(open(&folder).images[0].size, expected, "{size}");
    }
}

#[test]
fn stems_that_are_paths_are_refused() {
    let long = "x".repeat(300);
    for stem in ["../../x", "/etc/passwd", "..", "a/b", "a\\b", "a\0b", &long] {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), "ImageSets/Main/test.txt", format!("a\n{stem}\n"));
        let error = Dataset::open(&Location::new(folder.path(), "test")).unwrap_err().to_string();
        assert!(error.contains("test.txt: image `") && error.contains("a name, not a path"), "{error}");
    }
}

/// A class can be called anything; a file cannot.
#[test]
fn what_cannot_name_a_file_is_written_to_none() {
    for class in ["a/b", "/../../x", "..", "a\\b", "a&#10;b"] {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), "Annotations/a.xml", xml("", class, ""));
        let dataset = open(&folder);
        let out = folder.path().join("out/of/here");
        let written = formats::write(&out, Kind::Voc, Corners::Inclusive, &dataset, &[]);
        if class == ".." {
            assert!(written.is_err());
            continue;
        }
        let error = written.unwrap_err().to_string();
        assert!(error.contains("so no file can be named by it"), "{error}");
        assert!(!folder.path().join("out").exists());
        formats::write(&folder.path().join("r.json"), Kind::Coco, Corners::Inclusive, &dataset, &[]).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_be_written_stays() {
    let folder = voc_set("a", "cat", "", &as_is);
    let dataset = open(&folder);
    let full = formats::write(Path::new("/dev/full"), Kind::Coco, Corners::Inclusive, &dataset, &[]);
    assert!(full.unwrap_err().to_string().starts_with("/dev/full: No space left"));
    // One of the files of a folder cannot be replaced: none is.
    let out = folder.path().join("out");
    let mut two = dataset.clone();
    two.meet_classes(&["dog".to_string()]);
    write(&out, "comp4_det_cat.txt", "old");
    fs::create_dir(out.join("comp4_det_dog.txt")).unwrap();
    assert!(formats::write(&out, Kind::Voc, Corners::Inclusive, &two, &[]).is_err());
    assert_eq!(fs::read(out.join("comp4_det_cat.txt")).unwrap(), b"old");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
}

/// A photo is found whatever its extension looks like; what is in it is another question.
#[test]
fn images_have_many_extensions() {
    for extension in ["jpg", "JPG", "Jpg", "jpeg", "JPEG", "jpe", "jfif", "png", "PNG", "webp", "tif"] {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), &format!("JPEGImages/a.{extension}"), "");
        assert_eq!(open(&folder).images[0].path, folder.path().join(format!("JPEGImages/a.{extension}")));
    }
}

/// Sizes that are read as corners, corners that are read as sizes.
#[test]
fn detections_that_can_find_nothing_are_counted() {
    let folder = voc_set("a", "cat", "", &as_is);
    let doubts = |lines: &str, corners: Corners| {
        write(folder.path(), "texts/a.txt", lines);
        let mut dataset = open(&folder);
        let path = folder.path().join("texts");
        let found = formats::read(&path, Some(Kind::Text), corners, &mut dataset).unwrap();
        formats::doubts(&dataset, &found).iter().map(Warning::to_string).collect::<Vec<String>>()
    };
    assert_eq!(doubts("cat 0.9 10 20 39 59\ncat 0.8 -1 -1 101 81\n", Corners::Inclusive), [""; 0]);
    let sizes = doubts("cat 0.9 50 40 30 40\ncat 0.9 10 20 30 40\n", Corners::Inclusive);
    assert!(sizes.len() == 1 && sizes[0].starts_with("1 detections have no area"), "{sizes:?}");
    let corners = doubts("cat 0.9 50 40 79 79\ncat 0.9 10 20 39 59\n", Corners::Size);
    assert!(
        corners.len() == 1 && corners[0].starts_with("1 detections reach out of their image"),
        "{corners:?}"
    );
    assert!(corners[0].contains("(first: image a, ["), "{corners:?}");
}

/// The list and the annotation that is not there are both named.
#[test]
fn a_missing_annotation_is_told_with_its_list() {
    for name in ["b", "a.jpg", "# names"] {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), "ImageSets/Main/test.txt", format!("a\n{name}\n"));
        let error = Dataset::open(&Location::new(folder.path(), "test")).unwrap_err().to_string();
        assert!(error.contains(&format!("Annotations/{name}.xml: ")), "{error}");
        assert!(error.contains("test.txt names its image"), "{error}");
    }
    let folder = voc_set("a", "cat", "", &as_is);
    fs::rename(folder.path().join("Annotations"), folder.path().join("annotations")).unwrap();
    let error = Dataset::open(&Location::new(folder.path(), "test")).unwrap_err().to_string();
    assert!(error.contains("there must be ImageSets and Annotations"), "{error}");
}

/// Another program's XML may have its objects elsewhere: none of them is read, and that is said.
#[test]
fn objects_that_are_not_where_voc_has_them_are_counted() {
    let object = format!("<object><name>cat</name>{BOX}</object>");
    for (text, lost) in [
        (format!("<annotations><annotation>{object}</annotation></annotations>"), true),
        (format!("<annotation>{}</annotation>", object.replace("object>", "Object>")), true),
        (format!("<annotation xmlns=\"http://x\">{object}</annotation>"), false),
        ("<annotation/>".to_string(), false),
    ] {
        let folder = voc_set("a", "cat", "", &as_is);
        write(folder.path(), "Annotations/a.xml", &text);
        let dataset = open(&folder);
        assert_eq!(dataset.truths.is_empty(), lost || !text.contains("cat"), "{text}");
        let warned = warnings(&dataset);
        assert_eq!(warned.len(), usize::from(lost), "{warned:?}");
        assert!(
            warned.iter().all(|warning| warning.contains("not directly below the root (first: ")),
            "{warned:?}"
        );
    }
}

/// Two images with an object each, found exactly.
struct CocoFiles {
    truth: String,
    results: String,
}

impl CocoFiles {
    fn new() -> CocoFiles {
        CocoFiles {
            truth: r#"{"images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
                {"id": 2, "file_name": "b.jpg", "width": 100, "height": 80}],
                "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0},
                {"id": 2, "image_id": 2, "category_id": 2, "bbox": [5, 5, 50, 50], "area": 2500, "iscrowd": 0}],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}"#
                .to_string(),
            results: r#"[{"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.9},
                {"image_id": 2, "category_id": 2, "bbox": [5, 5, 50, 50], "score": 0.8}]"#
                .to_string(),
        }
    }

    fn truth(mut self, changes: &[(&str, &str)]) -> CocoFiles {
        for (from, to) in changes {
            assert!(self.truth.contains(from), "{from}");
            self.truth = self.truth.replace(from, to);
        }
        self
    }

    fn results(mut self, changes: &[(&str, &str)]) -> CocoFiles {
        for (from, to) in changes {
            assert!(self.results.contains(from), "{from}");
            self.results = self.results.replace(from, to);
        }
        self
    }

    fn written(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "annotations/instances_test.json", &self.truth);
        write(folder.path(), "res.json", &self.results);
        folder
    }

    /// AP, and what was warned of.
    fn scored(&self) -> (Result<Option<f64>, String>, Vec<String>) {
        let folder = self.written();
        (coco_ap(&folder), warnings(&open(&folder)))
    }
}

const TRUE_IDS: [(&str, &str); 2] =
    [("\"image_id\": 1,", "\"image_id\": X,"), ("\"id\": 1, \"file", "\"id\": X, \"file")];

#[test]
fn ids_are_what_python_takes_for_equal() {
    for (in_truth, in_results) in [
        ("\"1\"", "\"1\""),
        ("\"1\"", "1"),
        ("1", "\"1\""),
        ("1", "\"0001\""),
        ("1", "1.0"),
        ("1.0", "1"),
        ("true", "1"),
        ("1.5", "1.5"),
        ("\"a\"", "\"a\""),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        let truth = TRUE_IDS.map(|(from, to)| (from, to.replace('X', in_truth)));
        let truth: Vec<(&str, &str)> = truth.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let files = CocoFiles::new()
            .truth(&truth)
            .results(&[("\"image_id\": 1", &format!("\"image_id\": {in_results}"))]);
        assert_eq!(files.scored(), (Ok(Some(1.0)), Vec::new()), "{in_truth} and {in_results}");
    }
    for category in ["\"1\"", "1.0", "true", "\"01\""] {
        let changed = format!("\"category_id\": {category}");
        let files = CocoFiles::new().results(&[("\"category_id\": 1", &changed)]);
        assert_eq!(files.scored(), (Ok(Some(1.0)), Vec::new()), "{category}");
        let files = CocoFiles::new().truth(&[("\"category_id\": 1", &changed)]);
        let expected = if category.starts_with('"') { 1 } else { 0 };
        assert_eq!(
            files.scored().1.len(),
            expected,
            "{category}: a text in the truth is another id, as in Python"
        );
    }
}

/// Files called `2.jpg` and `1.jpg` with the ids 1 and 2: a text is an id, and never a file's stem.
#[test]
fn an_id_given_as_text_is_never_a_stem() {
    let crossed = || CocoFiles::new().truth(&[("a.jpg", "2.jpg"), ("b.jpg", "1.jpg")]);
    let texts = [("\"image_id\": 1", "\"image_id\": \"1\""), ("\"image_id\": 2", "\"image_id\": \"2\"")];
    assert_eq!(crossed().results(&texts).scored(), (Ok(Some(1.0)), Vec::new()));
    let (error, _) = CocoFiles::new().results(&[("\"image_id\": 1", "\"image_id\": \"a\"")]).scored();
    let error = error.unwrap_err();
    assert!(
        error.contains("detections[0]: image_id: `a` is not in the data set (an image's `id`"),
        "{error}"
    );
    // Two ids that say one number: neither is meant by a third notation.
    let both = [
        ("\"image_id\": 1,", "\"image_id\": \"01\","),
        ("\"id\": 1, \"file", "\"id\": \"01\", \"file"),
        ("\"image_id\": 2,", "\"image_id\": \"1\","),
        ("\"id\": 2, \"file", "\"id\": \"1\", \"file"),
    ];
    let (error, _) =
        CocoFiles::new().truth(&both).results(&[("\"image_id\": 2", "\"image_id\": 1")]).scored();
    assert!(error.unwrap_err().contains("says the number of two images"));
    assert_eq!(
        CocoFiles::new()
            .truth(&both)
            .results(&[
                ("\"image_id\": 1", "\"image_id\": \"01\""),
                ("\"image_id\": 2", "\"image_id\": \"1\"")
            ])
            .scored()
            .0,
        Ok(Some(1.0))
    );
}

#[test]
fn what_a_score_does_not_need_may_be_missing_or_odd() {
    let right = (Ok(Some(1.0)), Vec::new());
    let changed = |changes: &[(&str, &str)]| CocoFiles::new().truth(changes).scored();
    for crowd in ["false", "0.0", "null"] {
        assert_eq!(changed(&[("\"iscrowd\": 0", &format!("\"iscrowd\": {crowd}"))]), right, "{crowd}");
    }
    let url = [
        ("\"file_name\": \"a.jpg\"", "\"coco_url\": \"http://x/val2017/1.jpg\""),
        ("\"file_name\": \"b.jpg\", ", ""),
    ];
    assert_eq!(changed(&url), right);
    assert_eq!(changed(&[("b.jpg", "a.png")]), right);
    assert_eq!(changed(&[("b.jpg", "x/a.jpg")]), right);
    assert_eq!(changed(&[("{\"images\"", "\u{feff}{\"images\"")]), right);
    assert_eq!(changed(&[("\"name\": \"cat\"", "\"supercategory\": NaN")]), right);
    assert_eq!(changed(&[("[10, 20, 30, 40]", "[\"10\", 20.0, 30, 4e1]")]), right);
    assert_eq!(
        changed(&[("{\"id\": 1, \"file", "{\"license\": [[{}]], \"id\": 7, \"id\": 1, \"file")]),
        right
    );
    let marked = CocoFiles::new().results(&[("[{", "\u{feff}[{")]);
    assert_eq!(marked.scored(), right);
    let utf16: Vec<u8> = utf16(b"\xff\xfe", u16::to_le_bytes)(&CocoFiles::new().results);
    let folder = CocoFiles::new().written();
    write(folder.path(), "res.json", utf16);
    assert_eq!(coco_ap(&folder), Ok(Some(1.0)));
}

#[test]
fn what_may_be_a_mistake_is_counted() {
    let more = |annotation: &str| format!("\"annotations\": [{annotation},");
    let changed = |change: (&str, &str)| CocoFiles::new().truth(&[change]).scored();
    let one = |(ap, warnings): (Result<Option<f64>, String>, Vec<String>), words: &str| {
        assert_eq!(ap, Ok(Some(1.0)), "{words}");
        assert!(warnings.len() == 1 && warnings[0].contains(words), "{words}: {warnings:?}");
    };
    let lost = more(r#"{"id": 9, "image_id": 77, "category_id": 1}"#);
    one(changed(("\"annotations\": [", &lost)), "1 annotations are of an image that is not there");
    let lost = more(r#"{"id": 9, "image_id": 1, "category_id": 77, "bbox": [1]}"#);
    one(changed(("\"annotations\": [", &lost)), "annotation 9, category id 77");
    one(changed(("\"area\": 1200, ", "")), "1 annotations have no area");
    one(changed(("\"dog\"}", "\"dog\"}, {\"id\": 3, \"name\": \"cat\"}")), "share their name");
    let empty = more(
        r#"{"id": 9, "image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4], "area": 12, "iscrowd": 1}"#,
    );
    one(changed(("\"annotations\": [", &empty)), "annotation 9");
}

#[test]
fn categories_of_one_name_are_told_apart() {
    let files = CocoFiles::new().truth(&[("\"dog\"}", "\"dog\"}, {\"id\": 3, \"name\": \"cat\"}")]);
    let folder = files.written();
    let dataset = open(&folder);
    assert_eq!(dataset.classes, ["cat (id 1)", "dog", "cat (id 3)"]);
    // By id there is no question; by name there is.
    assert_eq!(coco_ap(&folder), Ok(Some(1.0)));
    write(
        folder.path(),
        "res.json",
        CocoFiles::new().results(&[("\"category_id\": 1", "\"category_id\": \"cat\"")]).results,
    );
    assert!(coco_ap(&folder).unwrap_err().contains("category_id: `cat` is not in the data set"));
}

#[test]
fn images_that_share_a_stem_keep_their_own_results() {
    for other in ["a.png", "x/a.jpg", "a.jpg"] {
        let folder = CocoFiles::new().truth(&[("b.jpg", other)]).written();
        let mut dataset = open(&folder);
        let found =
            formats::read(&folder.path().join("res.json"), None, Corners::Inclusive, &mut dataset).unwrap();
        for (kind, name) in [(Kind::Text, "texts"), (Kind::Voc, "comp"), (Kind::Coco, "again.json")] {
            let path = folder.path().join(name);
            formats::write(&path, kind, Corners::Inclusive, &dataset, &found).unwrap();
            let back = formats::read(&path, Some(kind), Corners::Inclusive, &mut dataset).unwrap();
            assert_eq!(rounded(coco(&dataset, &back).summary.ap), Some(1.0), "{other} {name}");
        }
    }
    let subfolder = CocoFiles::new().truth(&[("b.jpg", "x/a.jpg")]).written();
    assert_eq!(open(&subfolder).images[1].path, subfolder.path().join("x/a.jpg"));
}

/// LVIS mixes the images of two folders and says so in their addresses.
#[test]
fn an_address_tells_the_folder() {
    let url = [
        ("\"file_name\": \"a.jpg\"", "\"coco_url\": \"http://x/train2017/1.jpg\""),
        ("\"file_name\": \"b.jpg\"", "\"coco_url\": \"http://x/val2017/2.jpg\""),
    ];
    let folder = CocoFiles::new().truth(&url).written();
    write(folder.path(), "test/2.jpg", "");
    write(folder.path(), "train2017/1.jpg", "");
    let paths: Vec<_> = open(&folder).images.into_iter().map(|image| image.path).collect();
    assert_eq!(paths, [folder.path().join("train2017/1.jpg"), folder.path().join("test/2.jpg")]);
}

/// Deep annotations end in an error and not at the end of the stack; what a file declares is not believed.
#[test]
fn hostile_files_end_in_errors() {
    let folder = voc_set("a", "cat", "", &as_is);
    let bomb =
        "<!DOCTYPE a [<!ENTITY x \"xxxxxxxxxx\"><!ENTITY y \"&x;&x;&x;\">]><annotation>&y;</annotation>";
    for text in
        ["<a>".repeat(200_000), "<object>".repeat(100_000) + &"</object>".repeat(100_000), bomb.to_string()]
    {
        write(folder.path(), "Annotations/a.xml", text);
        match Dataset::open(&Location::new(folder.path(), "test")) {
            Ok(dataset) => panic!("{} classes", dataset.classes.len()),
            Err(error) => assert!(error.to_string().contains("a.xml: "), "{error}"),
        }
    }
    assert_eq!(
        Region { x: 0.0, y: 0.0, width: -1.0, height: 1.0 }.iou(&Region {
            x: 0.0,
            y: 0.0,
            width: 2.0,
            height: 2.0
        }),
        0.0
    );
}
