//! A bundle with a region proposal network: the commands let it propose by itself, unless they are told otherwise.

use std::fs;

use frcnn::{Detector, Frame};
use frcnn_bundle::{BundleWriter, Cascade, Graph};
use image::RgbImage;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Fixture, fails, frcnn, json_lines, stdout, succeed, text};
use crate::pyramid::pyramid;

/// Proposals of an image at most, as the bundle says.
const MOST: u64 = 70;

/// The small network of the runtime's own tests, and photos.
struct Faster(TempDir);

impl Faster {
    fn new() -> Faster {
        let faster = Faster(tempfile::tempdir().unwrap());
        fs::write(faster.path("faster.frcnn"), pyramid().to_bytes()).unwrap();
        for (name, size) in [("a.png", (150, 100)), ("b.png", (90, 120))] {
            photo(size).save(faster.path(name)).unwrap();
        }
        faster
    }

    fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name)).to_string()
    }

    /// The photos as a data set.
    fn data(&self) -> String {
        let root = self.0.path().join("voc");
        for folder in ["Annotations", "ImageSets/Main", "JPEGImages"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("ImageSets/Main/test.txt"), "a\nb\n").unwrap();
        for stem in ["a", "b"] {
            fs::copy(self.path(&format!("{stem}.png")), root.join(format!("JPEGImages/{stem}.png"))).unwrap();
            crate::dataset::annotate(&root, stem, "class 1");
        }
        text(&root).to_string()
    }

    fn run(&self, command: &str, more: &[&str]) -> std::process::Output {
        frcnn(&[&[command, &self.path("faster.frcnn")], more].concat())
    }

    fn json(&self, command: &str, more: &[&str]) -> Value {
        let output = succeed(&[&[command, &self.path("faster.frcnn"), "--json"], more].concat());
        serde_json::from_str(&stdout(&output)).unwrap()
    }
}

/// Waves of all colours.
fn photo((width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |a: f32, b: f32| 127.0 + 60.0 * ((x as f32 * a).sin() + (y as f32 * b).cos());
        image::Rgb([wave(0.3, 0.11), wave(0.07, 0.23), wave(0.19, 0.4)].map(|v| v as u8))
    })
}

#[test]
fn detect_lets_the_network_propose() {
    let faster = Faster::new();
    let (a, b) = (faster.path("a.png"), faster.path("b.png"));
    let lines = json_lines(&succeed(&["detect", &faster.path("faster.frcnn"), &a, &b, "--json"]));
    let detector = Detector::open(faster.path("faster.frcnn")).unwrap();
    let mut session = detector.session();
    for (line, size) in lines.iter().zip([(150, 100), (90, 120)]) {
        let pixels = photo(size);
        let frame = Frame::rgb8(pixels.as_raw(), size.0, size.1).unwrap();
        let found = session.detect_frame(&frame).unwrap();
        assert!(!found.is_empty());
        let scores: Vec<f32> = found.iter().map(|detection| detection.score).collect();
        let told = line["detections"].as_array().unwrap().iter();
        let told: Vec<f32> = told.map(|found| found["score"].as_f64().unwrap() as f32).collect();
        assert_eq!(told, scores);
        let count = line["proposals"]["count"].as_u64().unwrap();
        assert_eq!(line["proposals"]["from"], "rpn");
        assert_eq!(count, session.proposals().len() as u64);
        assert!((1..=MOST).contains(&count), "{line}");
        let time = |stage: &str| line["timing_ms"][stage].as_f64().unwrap();
        assert!(time("rpn") > 0.0 && time("proposals") > 0.0, "{line}");
    }
    let said = faster.json("detect", &[&a, "--proposals-from", "rpn"]);
    assert_eq!(said["detections"], lines[0]["detections"]);
    let table = stdout(&faster.run("detect", &[&a]));
    assert!(table.contains("of its RPN"), "{table}");
}

#[test]
fn other_boxes_take_the_place_of_the_networks_own() {
    let faster = Faster::new();
    let (a, boxes) = (faster.path("a.png"), faster.path("boxes.json"));
    fs::write(&boxes, "[[10, 10, 60, 60], [0, 0, 90, 80]]").unwrap();
    let line = faster.json("detect", &[&a, "--proposals", &boxes]);
    assert_eq!(line["proposals"], serde_json::json!({"count": 2, "from": "file"}));
    assert_eq!(line["timing_ms"]["rpn"], 0.0);
    let line = faster.json("detect", &[&a, "--proposals-from", "grid", "--max-proposals", "30"]);
    assert_eq!(line["proposals"]["from"], "grid");
    assert!(line["proposals"]["count"].as_u64().unwrap() <= 30);

    fails(&faster.run("detect", &[&a, "--max-proposals", "30"]), 2, &["--max-proposals", "RPN"]);
    let fixture = Fixture::get();
    let refused = fixture.detect(&[&a, "--proposals-from", "rpn"]);
    fails(&refused, 1, &["model.frcnn: is of a fast-rcnn, which has no RPN", "selective-search"]);
    let usual = json_lines(&fixture.detect(&[&a, "--json"]));
    assert_eq!(usual[0]["proposals"]["from"], "selective-search");
}

#[test]
fn bench_measures_the_stages_of_proposing() {
    let faster = Faster::new();
    let a = faster.path("a.png");
    let report = faster.json("bench", &["--image", &a, "--runs", "3", "--threads", "1"]);
    let stages = report["stages"].as_object().unwrap();
    assert_eq!(stages.len(), 8);
    let p50 = |stage: &str| stages[stage]["p50_ms"].as_f64().unwrap();
    assert!(p50("rpn") > 0.0 && p50("proposals") > 0.0 && p50("rpn") < p50("total"), "{report}");
    assert_eq!((&report["boxes_from"], &report["random_boxes"]), (&"rpn".into(), &false.into()));
    let told = faster.json("detect", &[&a]);
    assert_eq!(report["rois"], told["proposals"]["count"]);
    assert_eq!(report["distinct_rois"], report["rois"], "each has a region of its own");
    let table = stdout(&faster.run("bench", &["--image", &a, "--runs", "1"]));
    assert!(
        ["proposed by its RPN", "RPN ", "proposals "].iter().all(|words| table.contains(words)),
        "{table}"
    );

    let random = faster.json("bench", &["--image", &a, "--runs", "1", "--rois", "20"]);
    assert_eq!((&random["boxes_from"], &random["rois"]), (&"random".into(), &20.into()));
    assert_eq!(random["stages"].as_object().unwrap().len(), 6);
}

/// The command itself holds the stream to whole detections.
#[test]
fn bench_measures_streams_of_its_own_proposals() {
    let faster = Faster::new();
    let a = faster.path("a.png");
    let report = faster.json("bench", &["--stream", "--image", &a, "--runs", "2", "--threads", "1"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    let (still, new) = (&rows[0], &rows[5]);
    assert_eq!((&still["trunk_share"], &still["rois_reused"]), (&0.0.into(), &1.0.into()), "{report}");
    assert_eq!(new["trunk_share"], 1.0, "{report}");
    assert!((1..=MOST).contains(&report["rois"].as_u64().unwrap()), "{report}");
    let given = faster.json("bench", &["--stream", "--image", &a, "--runs", "1", "--rois", "20"]);
    assert_eq!(given["rois"], 20);
}

#[test]
fn inspect_tells_how_it_proposes_and_pools() {
    let faster = Faster::new();
    let report = faster.json("inspect", &[]);
    let rpn = &report["rpn"];
    assert_eq!(report["method"], "faster-rcnn");
    assert_eq!((&rpn["pre_nms_top_n"], &rpn["post_nms_top_n"]), (&90.into(), &MOST.into()));
    let anchors = rpn["anchors"].as_array().unwrap();
    assert!(anchors.len() == 3 && anchors.iter().all(|of_map| of_map.as_array().unwrap().len() == 3));
    let table = stdout(&faster.run("inspect", &[]));
    let words = [
        "RPN, the first map",
        "RPN MACs",
        "the likeliest 90 of each map",
        "70 at most",
        "as torchvision does it; padded to multiples of 12",
        "RoIAlign",
        "2 x 2 points a bin",
        "spatial scales 0.25, 0.125",
        "an equal one is kept",
    ];
    for words in words {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
    let plan = stdout(&faster.run("inspect", &["--plan"]));
    assert!(plan.contains("Streams: "), "{plan}");
    assert!(plan.lines().any(|line| line.trim_start().starts_with("rpn")), "{plan}");
}

#[test]
fn eval_scores_what_the_network_proposes() {
    let faster = Faster::new();
    let root = faster.data();
    let (a, b) = (faster.path("a.png"), faster.path("b.png"));
    let found = |more: &[&str]| -> usize {
        let lines = json_lines(&faster.run("detect", &[&[a.as_str(), &b, "--json"], more].concat()));
        lines.iter().map(|line| line["detections"].as_array().unwrap().len()).sum()
    };
    let score = |more: &[&str]| faster.json("eval", &[&["--data", &root], more].concat());
    assert_eq!(score(&[])["detections"], found(&[]));
    let boxes = faster.path("boxes.json");
    fs::write(&boxes, r#"{"a": [[10, 10, 60, 60]], "b": [[0, 0, 90, 80]]}"#).unwrap();
    assert_eq!(score(&["--proposals", &boxes])["detections"], found(&["--proposals", &boxes]));
}

/// What a threshold is measured to drop is what detections with it drop.
#[test]
fn eval_tells_what_a_cascade_drops_of_aligned_regions() {
    let faster = Faster::new();
    let bundle = pyramid();
    let mut contents = bundle.contents().clone();
    // The head's own scores.
    let judge = Graph { layers: contents.head.layers[..5].to_vec(), outputs: vec![5] };
    contents.cascade = Some(Cascade { judge, keep: 0.6, rank: 24, chosen: None });
    let bundle = BundleWriter::of(&bundle).finish(contents).unwrap();
    fs::write(faster.path("faster.frcnn"), bundle.to_bytes()).unwrap();

    let mut session = Detector::open(faster.path("faster.frcnn")).unwrap().session();
    let (mut dropped, mut all) = (0, 0);
    for size in [(150, 100), (90, 120)] {
        let pixels = photo(size);
        session.detect_frame(&Frame::rgb8(pixels.as_raw(), size.0, size.1).unwrap()).unwrap();
        dropped += session.dropped().0;
        all += session.dropped().1;
    }
    assert!((1..all).contains(&dropped), "{dropped} of {all}");
    let report = faster.json("eval", &["--data", &faster.data()]);
    let cascade = &report["cascade"];
    assert_eq!(cascade["dropped"], dropped as f64 / all as f64, "{report}");
    assert_eq!(cascade["after"], report["voc"]["map10"], "{report}");
}

#[test]
fn compare_has_the_stages_of_proposing() {
    let faster = Faster::new();
    let (bundle, a) = (faster.path("faster.frcnn"), faster.path("a.png"));
    let report = faster.json("compare", &["--against", &bundle, "--image", &a]);
    let stages = report["images"][0]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    let place_of = |name: &str| {
        let place = names.iter().position(|known| *known == name);
        place.unwrap_or_else(|| panic!("`{name}` is not in {names:?}"))
    };
    for name in ["data", "p2", "p3", "p4", "rpn_logits.2", "rpn_deltas.0", "proposals", "roi_align"] {
        assert_eq!(stages[place_of(name)]["difference"]["max_abs"], 0.0, "{name}");
    }
    for name in ["p2", "rpn_logits.0", "proposals", "roi_align"] {
        assert_eq!(stages[place_of(name)]["alone"]["max_abs"], 0.0, "{name}");
    }
    let proposals = &stages[place_of("proposals")];
    assert_eq!(report["agrees"], true, "{proposals}");

    // One that proposes other boxes is told apart at the first stage that differs.
    let mut builder = crate::pyramid::builder();
    builder.rpn.as_mut().unwrap().box_weights = [2.0; 4];
    let other = faster.path("other.frcnn");
    fs::write(&other, builder.finish(crate::pyramid::CHANNELS as usize).unwrap().to_bytes()).unwrap();
    let differs = faster.run("compare", &["--against", &other, "--image", &a]);
    fails(&differs, 1, &[]);
    let table = stdout(&differs);
    assert!(table.contains("proposals"), "{table}");
}

/// Channels first, as reference files have maps.
fn planes(values: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels)).copied().collect()
}

/// A reference file of the network's own stages on a photo, of which `spoil` changes one value.
fn write_reference(faster: &Faster, path: &str, spoil: &str) {
    let size = (150, 100);
    let pixels = photo(size);
    let frame = Frame::rgb8(pixels.as_raw(), size.0, size.1).unwrap();
    let detector = Detector::open(faster.path("faster.frcnn")).unwrap();
    let mut session = detector.session();
    let blob = session.preprocess(&frame).unwrap().remove(0);
    let data = detector.contents().network_input().of_blob(&blob.data);
    let mut tensors = vec![("data".to_string(), vec![1, 3, blob.height, blob.width], planes(&data, 3))];
    let maps = session.maps(&blob).unwrap();
    let of_map = |name: String, map: &frcnn::FeatureMap| {
        let channels = map.channels();
        (name, vec![1, channels, map.height(), map.width()], planes(map.data().unwrap(), channels))
    };
    let mut outputs = Vec::new();
    for (number, map) in maps.iter().enumerate() {
        tensors.push(of_map(format!("p{}", number + 2), map));
        outputs.push(session.rpn(map).unwrap());
        let output = &outputs[number];
        tensors.push(of_map(format!("rpn_logits.{number}"), &output.logits));
        tensors.push(of_map(format!("rpn_deltas.{number}"), &output.deltas));
    }
    let boxes = session.filter_proposals(&outputs, &blob).unwrap().boxes;
    let count = boxes.len();
    let corners = boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect();
    tensors.push(("proposals".to_string(), vec![count, 4], corners));
    let rois = boxes.iter().flat_map(|b| [0.0, b.x1, b.y1, b.x2, b.y2]).collect();
    tensors.push(("rois".to_string(), vec![count, 5], rois));
    let aligned = session.align_rois(&boxes).unwrap();
    let features = session.roi_align(&maps, &aligned.rois).unwrap();
    let channels = crate::pyramid::CHANNELS as usize;
    let each = features.len() / aligned.rois.len();
    let of_box = |&roi: &u32| features[roi as usize * each..][..each].to_vec();
    let ordered: Vec<Vec<f32>> = aligned.index.iter().map(of_box).collect();
    let planar = ordered.iter().flat_map(|region| planes(region, channels)).collect();
    let side = (each / channels).isqrt();
    tensors.push(("roi_align".to_string(), vec![count, channels, side, side], planar));
    let output = session.head(&ordered.concat()).unwrap();
    for (name, values) in [("cls_prob", output.cls_prob), ("bbox_pred", output.bbox_pred)] {
        tensors.push((name.to_string(), vec![count, values.len() / count], values));
    }
    if let Some((.., values)) = tensors.iter_mut().find(|(name, ..)| name == spoil) {
        values[7] += 0.5;
    }
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// A reference file, such as PyTorch's, may have every stage of proposing.
#[test]
fn compare_holds_a_reference_against_each_stage_of_proposing() {
    let faster = Faster::new();
    let (a, reference) = (faster.path("a.png"), faster.path("stages.safetensors"));
    write_reference(&faster, &reference, "");
    let report = faster.json("compare", &["--reference", &reference, "--image", &a]);
    assert_eq!(report["agrees"], true, "{report}");
    let stages = report["images"][0]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    let rpn =
        ["rpn_logits.0", "rpn_logits.1", "rpn_logits.2", "rpn_deltas.0", "rpn_deltas.1", "rpn_deltas.2"];
    let expected =
        [&["data", "p2", "p3", "p4"], &rpn[..], &["proposals", "roi_align", "cls_prob", "bbox_pred"]];
    assert_eq!(names, expected.concat());
    // Each stage behind the reference's own one, too.
    assert!(stages[1..].iter().all(|stage| stage["alone"]["max_abs"] == 0.0), "{report}");
    // Where the reference begins, without the photo.
    assert_eq!(faster.json("compare", &["--reference", &reference])["agrees"], true);

    for spoiled in ["p3", "rpn_deltas.1", "proposals", "roi_align"] {
        write_reference(&faster, &reference, spoiled);
        let output = faster.run("compare", &["--reference", &reference, "--image", &a, "--json"]);
        fails(&output, 1, &[]);
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let stages = report["images"][0]["stages"].as_array().unwrap();
        let wrong: Vec<&str> = stages
            .iter()
            .filter(|stage| stage["difference"]["max_abs"].as_f64().unwrap() > 0.1)
            .map(|stage| stage["stage"].as_str().unwrap())
            .collect();
        assert_eq!(wrong, [spoiled], "{report}");
    }
}
