//! A detector in parts with a region proposal network: `rpn_logits.0` and `rpn_deltas.0` beside the two outputs of any Fast
//! R-CNN, and a manifest that says what stands in no layer.

use crate::common::nodes::model_of;
use frcnn_bundle::{DetectionMethod, Regions};
use frcnn_compiler::{Compiled, Description, Options, compile};
use prost::Message;

const TRUNK: &str = "
    c1 = Conv data c1.weight:5x3x5x5 c1.bias:5 | kernel_shape=[5,5] pads=[2,2,2,2] strides=[8,8]
    map = Relu c1
";
const RPN: &str = "
    rpn_conv = Conv map rpn_conv.weight:7x5x3x3 rpn_conv.bias:7 | kernel_shape=[3,3] pads=[1,1,1,1]
    rpn_conv_relu = Relu rpn_conv
    rpn_logits.0 = Conv rpn_conv_relu logits.weight:2x7x1x1 logits.bias:2 | kernel_shape=[1,1]
    rpn_deltas.0 = Conv rpn_conv_relu deltas.weight:8x7x1x1 deltas.bias:8 | kernel_shape=[1,1]
";
const MAX_POOL: &str = "
    pooled = MaxRoiPool map rois | pooled_shape=[3,3] spatial_scale=0.125
";
const ALIGN: &str = "
    boxes = Slice rois =[1] =[5] =[1]
    column = Slice rois =[0] =[1] =[1]
    batch = Squeeze column =[1]
    batch_indices = Cast batch | to=7
    pooled = RoiAlign map boxes batch_indices | output_height=3 output_width=3 sampling_ratio=2 spatial_scale=0.125
";
const HEAD: &str = "
    flat = Flatten pooled | axis=1
    fc6 = Gemm flat fc6.weight:11x45 fc6.bias:11 | transB=1
    fc6_relu = Relu fc6
    cls_score = Gemm fc6_relu cls_score.weight:3x11 cls_score.bias:3 | transB=1
    cls_prob = Softmax cls_score | axis=1
    bbox_pred = Gemm fc6_relu bbox_pred.weight:12x11 bbox_pred.bias:12 | transB=1
";
const OUTPUTS: [&str; 4] = ["cls_prob", "bbox_pred", "rpn_logits.0", "rpn_deltas.0"];
const RULES: &str = r#"{"anchors": [[[-10, -11, 10, 11], [-14, -7, 14, 7]]], "pre_nms_top_n": 77, "post_nms_top_n": 33,
    "nms_iou": 0.65, "min_side": 0.5, "score_threshold": 0.02"#;

/// Compiles these nodes with a manifest that has `rules` as `rpn`, if there are any.
fn try_compile(text: &str, outputs: &[&str], rules: &str) -> Result<Compiled, String> {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, json) = (folder.path().join("model.onnx"), folder.path().join("manifest.json"));
    std::fs::write(&onnx, model_of(text, &["data", "rois"], outputs).encode_to_vec()).unwrap();
    let rules = if rules.is_empty() { String::new() } else { format!(r#", "rpn": {rules}"#) };
    let manifest = format!(
        r#"{{"classes": ["__background__", "a", "b"], "scales": [240], "box_width_offset": 0, "nms_width_offset": 0{rules}}}"#
    );
    std::fs::write(&json, manifest).unwrap();
    let description = Description::load(&json).map_err(|error| error.to_string())?;
    compile(&onnx, &description, &Options::default(), &mut |_| {}).map_err(|error| error.to_string())
}

#[test]
fn it_compiles_with_either_pooling() {
    for pool in [MAX_POOL, ALIGN] {
        let text = [TRUNK, RPN, pool, HEAD].concat();
        let compiled =
            try_compile(&text, &OUTPUTS, &format!("{RULES}}}")).unwrap_or_else(|error| panic!("{error}"));
        let contents = compiled.bundle.contents();
        assert_eq!(contents.method(), DetectionMethod::FasterRcnn);
        assert_eq!(matches!(contents.regions, Regions::RoiAlign(_)), pool == ALIGN);
        let rpn = contents.rpn.as_ref().unwrap();
        assert_eq!(rpn.anchors, [[[-10.0, -11.0, 10.0, 11.0], [-14.0, -7.0, 14.0, 7.0]]]);
        assert_eq!((rpn.pre_nms_top_n, rpn.post_nms_top_n), (77, 33));
        assert_eq!((rpn.nms_iou, rpn.min_side, rpn.score_threshold), (0.65, 0.5, 0.02));
        assert_eq!((rpn.box_weights, &rpn.strides), ([1.0; 4], &None));
        let names: Vec<&str> = rpn.graph.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["rpn_conv", "rpn_conv_relu", "rpn_logits.0", "rpn_deltas.0"]);
        let (plain, outputs) = ([TRUNK, pool, HEAD].concat(), &OUTPUTS[..2]);
        let without = try_compile(&plain, outputs, "").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(without.bundle.contents().method(), DetectionMethod::FastRcnn);
    }
}

#[test]
fn strides_are_as_the_manifest_says() {
    let text = [TRUNK, RPN, MAX_POOL, HEAD].concat();
    let with = |strides: &str| try_compile(&text, &OUTPUTS, &format!("{RULES}, \"strides\": {strides}}}"));
    let compiled = with("[8]").unwrap();
    assert_eq!(compiled.bundle.contents().rpn.as_ref().unwrap().strides, Some(vec![8]));
    for wrong in ["[8, 16]", "[0]"] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains("strides"), "{wrong}: {error}");
    }
}

#[test]
fn strides_and_scales_are_held_against_the_trunk() {
    let refused = |error: Result<Compiled, String>, words: &[&str]| {
        let error = error.err().unwrap_or_else(|| panic!("{words:?}: it compiles"));
        words.iter().for_each(|word| assert!(error.contains(word), "`{word}` is not in: {error}"));
    };
    let text = [TRUNK, RPN, MAX_POOL, HEAD].concat();
    let with = |strides: &str| try_compile(&text, &OUTPUTS, &format!("{RULES}, \"strides\": {strides}}}"));
    for (wrong, says) in [("[16]", "every 16"), ("[4]", "every 4")] {
        refused(with(wrong), &["a cell for every 8 pixels", "`strides`", says]);
    }
    for (pool, of) in [(MAX_POOL, "0.0625"), (ALIGN, "1.0"), (ALIGN, "0.25")] {
        let pool = pool.replace("spatial_scale=0.125", &format!("spatial_scale={of}"));
        let plain = try_compile(&[TRUNK, &pool, HEAD].concat(), &OUTPUTS[..2], "");
        refused(plain, &["a cell for every 8 pixels", "spatial_scale"]);
    }
    // Windows without padding lose most of a small map, and no stride.
    let valid = TRUNK.replace("5x3x5x5", "5x3x101x101").replace("[5,5] pads=[2,2,2,2]", "[101,101]");
    try_compile(&[&valid, MAX_POOL, HEAD].concat(), &OUTPUTS[..2], "").unwrap();
}

#[test]
fn what_does_not_fit_is_named() {
    let text = [TRUNK, RPN, MAX_POOL, HEAD].concat();
    let rules = format!("{RULES}}}");
    let refused = |text: &str, outputs: &[&str], rules: &str, words: &[&str]| {
        let error =
            try_compile(text, outputs, rules).err().unwrap_or_else(|| panic!("{words:?}: it compiles"));
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    refused(&text, &OUTPUTS, "", &["rpn_logits.0", "`rpn`", "anchors"]);
    refused(
        &[TRUNK, MAX_POOL, HEAD].concat(),
        &OUTPUTS[..2],
        &rules,
        &["`rpn`", "has no outputs `rpn_logits.0`"],
    );
    refused(&text, &OUTPUTS[..3], &rules, &["rpn_deltas.0", "missing"]);
    refused(&text, &OUTPUTS, &rules.replace("nms_iou", "nms_iuo"), &["manifest.json", "nms_iuo"]);
    let unlike = |from: &str, to: &str, words: &[&str]| {
        refused(&text, &OUTPUTS, &rules.replace(from, to).replace('{', "{\n"), words);
    };
    unlike("77", "77.0", &["manifest.json: `rpn`: ", "77.0", "expected u32 at line 2 column"]);
    refused(&text, &OUTPUTS, "null", &["`rpn`: invalid type: null, expected an object with `anchors`"]);
    refused(&text, &OUTPUTS, &format!("{rules},\n\n \"pad_multiple\": 1.5"), &["1.5", "at line 4 column"]);
    let one_anchor = rules.replace(", [-14, -7, 14, 7]", "");
    refused(&text, &OUTPUTS, &one_anchor, &["invalid bundle", "30x40x1"]);
    let other_map = text.replace("Conv map rpn_conv", "Conv c1 rpn_conv");
    refused(&other_map, &OUTPUTS, &rules, &["pooled from"]);
    let both =
        text.replace("flat = Flatten pooled", "pooled_2 = RoiAlign map rois rois\n flat = Flatten pooled");
    refused(&both, &OUTPUTS, &rules, &["`pooled_2` (RoiAlign)", "in one way"]);
}
