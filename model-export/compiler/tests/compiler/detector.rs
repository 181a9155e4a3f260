//! Faster R-CNN as torchvision exports it, of a small network: what is read of the file, and what is said of one that is not as
//! it should be. The exporter's own files are tried by `model-export/pytorch/test-torchvision`.

use crate::common::detector::{ANCHORS, Numbers, text};
use crate::common::nodes::model;
use frcnn_bundle::{Bundle, ChannelOrder, Contents, DetectionMethod, LevelRule, Op, Regions, Resize};
use frcnn_compiler::{Compiled, Description, Error, Options, Svd, compile, lower_onnx};
use prost::Message;
use tract_onnx::pb::ModelProto;

const OUTPUTS: [&str; 3] = ["boxes", "labels", "scores"];

fn compile_bytes(bytes: &[u8], description: &Description) -> Result<Compiled, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    compile(&path, description, &Options::default(), &mut |_| {})
}

fn try_compile(model: &ModelProto) -> Result<Compiled, Error> {
    compile_bytes(&model.encode_to_vec(), &Description::default())
}

fn of_text(text: &str) -> Result<Compiled, Error> {
    try_compile(&model(text, &OUTPUTS))
}

/// The numbers of a compiled detector, where they lie in its bundle.
fn assert_read(compiled: &Compiled, n: &Numbers) {
    let contents = compiled.bundle.contents();
    let manifest = &contents.manifest;
    assert_eq!(
        (manifest.scales.as_slice(), manifest.max_long_side),
        (&[n.min_size as u32][..], n.max_size as u32)
    );
    assert_eq!((manifest.resize, manifest.pad_multiple), (Resize::Torchvision, n.multiple as u32));
    assert_eq!((manifest.channel_order, manifest.pixel_scale), (ChannelOrder::Rgb, 1.0));
    assert_eq!((manifest.pixel_means, manifest.pixel_stds), ([0.41, 0.42, 0.43], [0.21, 0.22, 0.23]));
    assert_eq!((manifest.box_weights, manifest.box_width_offset), (n.weights, 0.0));
    assert_eq!((manifest.score_threshold, manifest.min_box_side), (n.score, n.side));
    assert_eq!((manifest.nms_iou, manifest.nms_keeps_equal, manifest.nms_width_offset), (n.iou, true, 0.0));
    assert_eq!(manifest.max_detections, n.detections);
    let rpn = contents.rpn.as_ref().unwrap();
    assert_eq!((rpn.pre_nms_top_n, rpn.post_nms_top_n), (n.pre_nms, n.post_nms));
    assert_eq!((rpn.nms_iou, rpn.min_side, rpn.score_threshold), (n.rpn_iou, n.rpn_side, n.rpn_score));
    assert_eq!((rpn.box_weights, &rpn.strides), (n.rpn_weights, &None));
    assert_eq!(rpn.anchors, ANCHORS.map(|map| map.to_vec()));
    let Regions::RoiAlign(align) = &contents.regions else { panic!("no RoIAlign") };
    assert_eq!((align.pooled, align.sampling_ratio, align.half_pixel), ([3, 3], n.sampling_ratio, false));
    assert_eq!(align.spatial_scales, [0.25, 0.125]);
    let rule = LevelRule {
        canonical_size: n.canonical_size,
        canonical_level: n.canonical_level as u32,
        finest_level: 2,
    };
    assert_eq!(align.level_rule, rule);
}

#[test]
fn every_number_is_read_from_the_file() {
    let plain = Numbers::default();
    let compiled = of_text(&text(&plain)).unwrap_or_else(|error| panic!("{error}"));
    assert_read(&compiled, &plain);
    let contents = compiled.bundle.contents();
    assert_eq!(contents.method(), DetectionMethod::FasterRcnn);
    assert_eq!(contents.manifest.classes, ["__background__", "1", "2", "3"]);
    assert_eq!(contents.trunk.outputs.len(), 3);
    // Frozen batch normalisation is part of its convolution.
    assert!(contents.trunk.layers.iter().all(|layer| !matches!(layer.op, Op::Affine(_))));
    let other = Numbers {
        min_size: 97.0,
        max_size: 301.0,
        multiple: 32.0,
        pre_nms: 51,
        post_nms: 29,
        rpn_iou: 0.8,
        rpn_score: 0.0,
        rpn_side: 0.5,
        rpn_weights: [1.0; 4],
        weights: [10.0, 10.0, 5.0, 5.0],
        score: 0.5,
        iou: 0.3,
        side: 1.0,
        detections: 7,
        canonical_size: 224.0,
        canonical_level: 4.0,
        sampling_ratio: 0,
    };
    assert_read(&of_text(&text(&other)).unwrap_or_else(|error| panic!("{error}")), &other);
}

/// `compile` itself holds every part against tract-onnx's run of it, and fails where they do not agree.
#[test]
fn every_part_agrees_with_the_referee() {
    let agreement = of_text(&text(&Numbers::default())).unwrap().report.agreement;
    for (stage, error) in
        [("conv", agreement.conv), ("cls_prob", agreement.cls_prob), ("bbox_pred", agreement.bbox_pred)]
    {
        assert!(error < 1e-4, "{stage} is off by {error:e}");
    }
}

/// What proposes is not factored, and keeps its weights.
#[test]
fn the_heads_layers_are_factored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model(&text(&Numbers::default()), &OUTPUTS).encode_to_vec()).unwrap();
    let with = |svd: Svd| {
        let options = Options { svd, ..Options::default() };
        let compiled = compile(&path, Description::default(), &options, &mut |_| {});
        compiled.unwrap_or_else(|error| panic!("{error}")).bundle
    };
    let proposing = |bundle: &Bundle| -> Vec<(String, Vec<f32>)> {
        let contents = bundle.contents();
        let layers = &contents.rpn.as_ref().unwrap().graph.layers;
        let weight =
            |id: u32| (contents.sections[id as usize].name.clone(), bundle.weights_as_f32(id).into_owned());
        layers.iter().flat_map(|layer| layer.op.sections()).map(weight).collect()
    };
    let (plain, factored) = (with(Svd::None), with(Svd::Ranks(vec![("fc6".to_string(), 4)])));
    assert_eq!(factored.contents().factored.len(), 1);
    assert!(proposing(&plain).len() >= 6);
    assert_eq!(proposing(&factored), proposing(&plain));
}

#[test]
fn classes_get_their_names() {
    let bytes = model(&text(&Numbers::default()), &OUTPUTS).encode_to_vec();
    let named = |names: &[&str]| Description::of_classes(names.iter().map(|name| name.to_string())).unwrap();
    let compiled = compile_bytes(&bytes, &named(&["cat", "dog", "cow"])).unwrap();
    assert_eq!(compiled.bundle.contents().manifest.classes, ["__background__", "cat", "dog", "cow"]);
    assert_read(&compiled, &Numbers::default());
    let error = compile_bytes(&bytes, &named(&["cat"])).unwrap_err().to_string();
    assert!(error.contains("scores 4 classes") && error.contains("names 2"), "{error}");
}

/// A field of the manifest goes before the file's number.
#[test]
fn a_manifest_overrides_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, json) = (folder.path().join("model.onnx"), folder.path().join("manifest.json"));
    std::fs::write(&onnx, model(&text(&Numbers::default()), &OUTPUTS).encode_to_vec()).unwrap();
    std::fs::write(&json, r#"{"classes": ["__background__", "a", "b", "c"], "score_threshold": 0.6}"#)
        .unwrap();
    let description = Description::load(&json).unwrap();
    let compiled = compile(&onnx, &description, &Options::default(), &mut |_| {}).unwrap();
    assert_read(&compiled, &Numbers { score: 0.6, ..Numbers::default() });
    // Numbers that no bundle has are the model's own.
    let many = Numbers { detections: 600, ..Numbers::default() };
    let classes = Description::of_classes(["a", "b", "c"].map(str::to_string)).unwrap();
    let bytes = model(&text(&many), &OUTPUTS).encode_to_vec();
    let error = compile_bytes(&bytes, &classes).unwrap_err().to_string();
    assert!(error.contains("max_detections") && error.contains("goes before the model"), "{error}");
    // How it proposes is not among them.
    let rules = r#"{"anchors": [], "pre_nms_top_n": 1, "post_nms_top_n": 1, "nms_iou": 0.5, "min_side": 0, "score_threshold": 0}"#;
    std::fs::write(&json, format!(r#"{{"classes": ["__background__", "a", "b", "c"], "rpn": {rules}}}"#))
        .unwrap();
    let description = Description::load(&json).unwrap();
    let error = compile(&onnx, &description, &Options::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("leave `rpn` out"), "{error}");
}

/// `If`s whose condition the exporter knew are not there.
#[test]
fn suppression_need_not_be_in_a_branch() {
    let mut flat = String::new();
    for line in text(&Numbers::default()).lines().map(str::trim) {
        let is_frame = line.contains(" = If ") || line == "}";
        if !is_frame {
            flat += &format!("{}\n", line.replace("rpn_if", "rpn_chosen").replace("det_if", "det_chosen"));
        }
    }
    assert!(flat.contains("Slice rpn_chosen"));
    assert_read(&of_text(&flat).unwrap_or_else(|error| panic!("{error}")), &Numbers::default());
}

/// The text with `from` replaced by `to`, which must be there.
fn with(from: &str, to: &str) -> String {
    let text = text(&Numbers::default());
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

#[test]
fn what_is_not_as_torchvision_makes_it_is_named() {
    for (from, to, words) in [
        ("blob = Concat padded_1", "blob = Concat padded_1 padded_1", &["`blob`", "several images"][..]),
        ("mode=constant", "mode=reflect", &["`padded`", "Pad", "zeros"]),
        ("mode=linear", "mode=cubic", &["`resized`", "bilinear"]),
        (
            "resized = Resize batch _ _ sizes",
            "resized = Resize batch _ _ =[1,3,99,99]",
            &["`resized`", "fixed_size"],
        ),
        ("less = Sub image", "turned = Neg image\nless = Sub turned", &["`less`", "as it is given"]),
        ("perm=[0,3,4,1,2]", "perm=[0,4,3,1,2]", &["`l20`", "row by row"]),
        ("largest=1", "largest=0", &["`top0`", "lowest"]),
        (
            "logits1 = Conv h1 logits.weight",
            "logits1 = Conv h1 other.weight",
            &["`logits1`", "same on all maps"],
        ),
        ("shifted1 = Add", "shifted1 = Mul", &["`proposals`", "no anchors"]),
        ("_cw = Clip rpn_dw _ =4.135", "_cw = Clip rpn_dw _ =3.135", &["`rpn_cw`", "ln(1000 / 16)"]),
        ("rpn_good = GreaterOrEqual", "rpn_good = Greater", &["`proposals`", "least score"]),
        ("det_good = Greater", "det_good = GreaterOrEqual", &["`found`", "threshold"]),
        ("rpn_step = Add rpn_max =1.0", "rpn_step = Add rpn_max =2.0", &["`rpn_step`", "largest coordinate"]),
        (
            "det_sn = Slice prob_of_image =[1]",
            "det_sn = Slice prob_of_image =[0]",
            &["`cls_prob`", "background"],
        ),
        ("floor = Floor above", "floor = Round above", &["`floor`", "level"]),
        ("log2 = Div ln =0.693", "log2 = Div ln =2.302", &["`log2`", "level"]),
        (
            "merged1 = ScatterElements merged0",
            "merged1 = ScatterElements none",
            &["`align0`", "else than boxes"],
        ),
        ("align1 = RoiAlign map_1", "align1 = RoiAlign map_2", &["`align0`", "first of the maps"]),
        ("cls_prob = Softmax", "cls_prob = Sigmoid", &["`cls_prob`", "class scores"]),
        ("r2 = Relu c2", "r2 = Erf c2", &["Erf"]),
    ] {
        let error = of_text(&with(from, to)).err().unwrap_or_else(|| panic!("{to}: it compiles")).to_string();
        for word in words.iter().chain(&["model.onnx"]) {
            assert!(error.contains(word), "{to}: `{word}` is not in: {error}");
        }
        if error.contains("not understood") {
            assert!(
                error.contains("dynamo=False") && error.contains("model-export/pytorch"),
                "{to}: {error}"
            );
        }
    }
}

/// Without any one node there is an error, or, where nothing is read of it, the same detector.
#[test]
fn a_node_that_is_missing_is_missed() {
    let whole = text(&Numbers::default());
    let lines: Vec<&str> =
        whole.lines().filter(|line| line.contains(" = ") && !line.contains(" = If ")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let lower = |text: &str| {
        std::fs::write(&path, model(text, &OUTPUTS).encode_to_vec()).unwrap();
        lower_onnx(&path, Description::default())
    };
    let bundle = lower(&whole).unwrap();
    let mut refused = 0;
    for line in &lines {
        match lower(&whole.replacen(line, "", 1)) {
            Ok(other) => {
                let parts = |bundle: &Bundle| {
                    let Contents { manifest, trunk, regions, head, rpn, .. } = bundle.contents().clone();
                    (manifest, trunk, regions, head, rpn)
                };
                assert!(parts(&other) == parts(&bundle), "without {line}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > lines.len() / 3, "{refused} of {}", lines.len());
}

#[test]
fn other_detectors_are_named() {
    let plain = text(&Numbers::default());
    // A Mask R-CNN pools what it found once more.
    let masks = format!(
        "{plain}
        mask_pool = RoiAlign map_0 found labels | output_height=14 output_width=14 spatial_scale=0.25
        masks = Sigmoid mask_pool\n"
    );
    let error = try_compile(&model(&masks, &["boxes", "labels", "scores", "masks"])).unwrap_err().to_string();
    assert!(error.contains("`mask_pool` (RoiAlign)") && error.contains("4 outputs"), "{error}");
    // A RetinaNet suppresses what it found, and pools nothing.
    let one_stage = "
        c = Conv image c.weight:4x3x3x3 | kernel_shape=[3,3]
        boxes = Reshape c =[1,-1,4]
        scores = Sigmoid c
        nms = NonMaxSuppression boxes scores =[100] =[0.5]
        labels = Gather nms =[1] | axis=1
    ";
    let error = try_compile(&model(one_stage, &OUTPUTS)).unwrap_err().to_string();
    assert!(error.contains("`nms` (NonMaxSuppression)") && error.contains("one-stage detector"), "{error}");
}

#[test]
fn a_model_in_training_mode_is_named() {
    let trained = with(
        "r2 = Relu c2",
        "r2 = BatchNormalization c2 bn.scale:7 bn.bias:7 bn.mean:7 bn.scale:7 | training_mode=1",
    );
    let error = of_text(&trained).unwrap_err().to_string();
    assert!(error.contains("`r2`") && error.contains("model.eval()"), "{error}");
}

/// Where the exporter of torch.export has no translation there are operators of another domain, or functions of the file's own.
#[test]
fn an_export_by_dynamo_is_named() {
    let mut other_domain = model(&text(&Numbers::default()), &OUTPUTS);
    for node in &mut other_domain.graph.as_mut().unwrap().node {
        for graph in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            for node in graph.node.iter_mut().filter(|node| node.op_type == "NonMaxSuppression") {
                (node.op_type, node.domain) = ("nms".to_string(), "torchvision".to_string());
            }
        }
    }
    let error = try_compile(&other_domain).unwrap_err().to_string();
    assert!(error.contains("nms") && error.contains("torchvision"), "{error}");
    assert!(error.contains("dynamo=False"), "{error}");
}

#[test]
fn a_file_that_was_cut_short_is_named() {
    let whole = model(&text(&Numbers::default()), &OUTPUTS).encode_to_vec();
    for len in [0, 1, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let error = compile_bytes(&whole[..len], &Description::default()).unwrap_err().to_string();
        assert!(error.contains("truncated") || error.contains("no graph"), "{len}: {error}");
    }
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    let [a, b] = [(); 2].map(|()| of_text(&text(&Numbers::default())).unwrap().bundle.to_bytes());
    assert!(a == b);
}
