//! Compiling every generated model. `compile` itself checks each against tract-onnx's run of it and fails
//! on disagreement, so a model that compiles agrees.

use std::path::Path;

use crate::common;
use frcnn_bundle::{Bundle, DetectionMethod, Manifest, Op, Regions, Scores, Weights};
use frcnn_compiler::{Compiled, Error, Options, Precision, Svd, compile};
use frcnn_core::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use frcnn_onnx::pb::ModelProto;

fn manifest(classes: usize) -> Manifest {
    let names = (1..classes).map(|i| format!("class{i}"));
    let mut manifest = Manifest::new(std::iter::once("__background__".to_string()).chain(names).collect());
    manifest.scales = vec![240];
    manifest
}

fn compile_with(model: &ModelProto, manifest: &Manifest, svd: Svd) -> Result<Compiled, Error> {
    compile_to(model, manifest, &Options { svd, ..Options::default() })
}

fn compile_to(model: &ModelProto, manifest: &Manifest, options: &Options) -> Result<Compiled, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    frcnn_compiler::onnx_writer::write(model, &path).unwrap();
    compile(&path, manifest, options, &mut |_| {})
}

fn try_compile(model: &ModelProto, svd: Svd) -> Result<Compiled, Error> {
    compile_with(model, &manifest(4), svd)
}

/// `same_upper` pads by an amount that depends on the image: it has its own test.
fn good() -> Vec<common::Case> {
    common::good().filter(|(name, _)| *name != "same_upper").collect()
}

#[test]
fn every_trunk_and_head_compiles_and_agrees() {
    for (name, model) in good() {
        let compiled = try_compile(&model(), Svd::None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let agreement = &compiled.report.agreement;
        // Rounding alone; compile's own limit is wider.
        for (stage, error) in
            [("conv", agreement.conv), ("cls_prob", agreement.cls_prob), ("bbox_pred", agreement.bbox_pred)]
        {
            assert!(error < 1e-4, "{name}: {stage} is off by {error:e}");
        }
    }
}

#[test]
fn the_weights_of_layers_with_many_products_are_rounded() {
    // Scores near 1/4, whose logits move by some hundredths in bf16, by an eighth of it in f16.
    let bf16 = |weight| bf16_to_f32(bf16_from_f32(weight));
    rounds_weights(Precision::Bf16, bf16, 0.05);
    rounds_weights(Precision::F16, |weight| f16_to_f32(f16_from_f32(weight)), 0.05 / 8.0);
}

fn rounds_weights(precision: Precision, round: impl Fn(f32) -> f32, largest_drift: f64) {
    let options = Options { precision, ..Options::default() };
    for (name, model) in good() {
        let exact = try_compile(&model(), Svd::None).unwrap().bundle;
        let rounded = compile_to(&model(), &manifest(4), &options).unwrap();
        assert_eq!(rounded.report.precision, precision, "{name}");
        let drift = rounded.report.rounding.unwrap_or_else(|| panic!("{name}: no drift"));
        assert!(drift.cls_prob < largest_drift, "{name}: a score moved by {}", drift.cls_prob);

        let rounded = rounded.bundle;
        assert_eq!(rounded.contents().precision(), precision, "{name}");
        assert_eq!(Bundle::from_bytes(&rounded.to_bytes()).unwrap().contents(), rounded.contents());
        let contents = exact.contents();
        for layer in contents.trunk.layers.iter().chain(&contents.head.layers) {
            for id in layer.op.sections() {
                let weights = exact.weights_as_f32(id);
                let is_first = matches!(&layer.op, Op::Conv(conv) if conv.in_channels == 3);
                let rounds = layer.op.reducible_weight() == Some(id) && !is_first;
                let expected: Vec<f32> = if rounds {
                    weights.iter().map(|&weight| round(weight)).collect()
                } else {
                    let is_f32 = matches!(rounded.weights(id), Some(Weights::F32(_)));
                    assert!(is_f32, "{name}: {} is f32", layer.name);
                    weights.into_owned()
                };
                assert_eq!(rounded.weights_as_f32(id), expected, "{name}: {}", layer.name);
            }
        }
    }
}

#[test]
fn padding_that_depends_on_the_image_is_named() {
    let error = try_compile(&common::trunks::same_upper(), Svd::None).unwrap_err().to_string();
    assert!(error.contains("SAME_UPPER") && error.contains("explicit pads"), "{error}");
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let words: &[(&str, &[&str])] = &[
        ("no_roi_pool", &["no MaxRoiPool"]),
        ("two_roi_pools", &["2 MaxRoiPool", "pool4", "pool5", "different feature maps"]),
        ("levels_of_two_scales", &["4 MaxRoiPool", "pool5_1x1", "different spatial scales"]),
        ("levels_of_two_rois", &["4 MaxRoiPool", "pool5_1x1", "different rois"]),
        ("level_not_flattened", &["pool5_1x1_flat", "Relu", "flatten each"]),
        ("level_left_out", &["do not depend", "pool5_1x1"]),
        ("level_twice", &["`pool5` (Concat)", "twice"]),
        ("erf_in_trunk", &["conv1_erf", "Erf", "supported are Conv"]),
        ("einsum_in_head", &["pool5_flat", "Einsum", "supported are Conv"]),
        ("missing_rois", &["rois"]),
        ("one_channel", &["[1, 1, ?, ?]", "[1, 3, H, W]"]),
        ("bbox_pred_width", &["4 and 12", "4(K+1)"]),
        ("one_output", &["1"]),
        ("extra_output", &["3", "fc7_relu"]),
    ];
    for (name, model) in common::broken::ALL {
        let error = try_compile(&model(), Svd::None).unwrap_err().to_string();
        let (_, words) = words.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}"));
        for word in words.iter().chain([&"model.onnx"]) {
            assert!(error.contains(word), "{name}: `{word}` is not in: {error}");
        }
    }
}

#[test]
fn classes_must_match() {
    let model = common::heads::gemm_trans_b();
    let error = compile_with(&model, &manifest(3), Svd::None).unwrap_err().to_string();
    assert!(error.contains("scores 4 classes") && error.contains("names 3"), "{error}");
    let mut without_background = manifest(3);
    without_background.classes = ["a", "b", "c"].map(str::to_string).to_vec();
    let error = compile_with(&model, &without_background, Svd::None).unwrap_err().to_string();
    assert!(error.contains("first class must be the background"), "{error}");
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let compile =
        |path: &Path| compile(path, &manifest(4), &Options::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(compile(&path).contains("model.onnx"));
    frcnn_compiler::onnx_writer::write(&common::heads::gemm_trans_b(), &path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = compile(&path);
        assert!(error.contains("truncated") || error.contains("no graph"), "{len}: {error}");
    }
    std::fs::write(&path, "not a protobuf at all").unwrap();
    assert!(compile(&path).contains("not an ONNX model"));
}

#[test]
fn same_input_same_bytes() {
    let model = common::trunks::resnet_like();
    for svd in [Svd::None, Svd::Ranks(vec![("fc6".into(), 5)])] {
        let [a, b] = [(); 2].map(|()| try_compile(&model, svd.clone()).unwrap().bundle);
        assert!(a.to_bytes() == b.to_bytes(), "{svd:?}");
    }
}

#[test]
fn layers_have_their_published_names() {
    // PyTorch's exporter names everything after modules; here the order tells.
    let compiled = try_compile(&common::heads::exporter_names(), Svd::None).unwrap();
    let gemms: Vec<&str> = compiled
        .bundle
        .contents()
        .head
        .layers
        .iter()
        .filter_map(|layer| match layer.op {
            Op::Gemm(_) => Some(layer.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(gemms[..2], ["fc6", "fc7"]);
    assert!(gemms.contains(&"cls_score") && gemms.contains(&"bbox_pred"), "{gemms:?}");
}

#[test]
fn levels_become_one_row_in_the_order_of_their_concat() {
    let compiled = try_compile(&common::heads::sppnet(), Svd::None).unwrap();
    let contents = compiled.bundle.contents();
    let Regions::RoiPooling(pooling) = &contents.regions else { panic!("it is an R-CNN") };
    assert_eq!(pooling.pooled, [[2, 4], [3, 3], [2, 2], [1, 1]]);
    assert_eq!(contents.method(), DetectionMethod::Sppnet);
    assert!(matches!(contents.head.layers[0].op, Op::Gemm(_)), "{:?}", contents.head.layers[0]);
    let one = try_compile(&common::heads::gemm_trans_b(), Svd::None).unwrap();
    assert_eq!(one.bundle.contents().method(), DetectionMethod::FastRcnn);
}

#[test]
fn margins_get_no_softmax() {
    let margins = Manifest { scores: Scores::Margins, score_threshold: -1.0, ..manifest(4) };
    let plain = common::heads::sppnet_boxes_from_pooled();
    let has_softmax = |manifest: &Manifest| {
        let compiled = compile_with(&plain, manifest, Svd::None).unwrap();
        compiled.bundle.contents().head.layers.iter().any(|layer| layer.op == Op::Softmax)
    };
    assert!(has_softmax(&manifest(4)) && !has_softmax(&margins));
    let error = compile_with(&common::heads::sppnet(), &margins, Svd::None).unwrap_err().to_string();
    assert!(error.contains("softmax") && error.contains("margins"), "{error}");
}

#[test]
fn batch_normalisation_leaves_no_layer_behind_a_convolution() {
    let compiled = try_compile(&common::trunks::resnet_like(), Svd::None).unwrap();
    let trunk = &compiled.bundle.contents().trunk;
    assert!(trunk.layers.iter().all(|layer| !matches!(layer.op, Op::Affine(_))));
}

mod svd {
    use super::*;

    fn ranks(text: &str) -> Svd {
        Svd::parse_ranks(text).unwrap()
    }

    #[test]
    fn a_factored_layer_becomes_two() {
        let compiled = try_compile(&common::heads::gemm_trans_b(), ranks("fc6=7")).unwrap();
        let layers = &compiled.bundle.contents().head.layers;
        let at = layers.iter().position(|layer| layer.name == "fc6_L").unwrap();
        let (Op::Gemm(lower), Op::Gemm(upper)) = (&layers[at].op, &layers[at + 1].op) else {
            panic!("fc6_L is not followed by a fully connected layer")
        };
        assert_eq!(layers[at + 1].name, "fc6_U");
        assert_eq!((lower.out_features, upper.in_features), (7, 7));
        assert!(lower.bias.is_none() && upper.bias.is_some());
        let report = &compiled.report.factored[0];
        assert_eq!((report.layer.as_str(), report.rank), ("fc6", 7));
        let (rows, columns) = (report.in_features as u64, report.out_features as u64);
        assert_eq!(
            (report.parameters_before, report.parameters_after),
            (rows * columns, 7 * (rows + columns))
        );
        // What is not kept is what is lost: |W - UL|^2 / |W|^2 = 1 - energy, for the best rank-7 factors.
        assert!((report.relative_error.powi(2) - (1.0 - report.energy)).abs() < 1e-5, "{report:?}");
        assert!(compiled.report.drift.is_some());
    }

    #[test]
    fn a_full_rank_changes_nothing_but_rounding() {
        full_rank(common::heads::gemm_trans_b());
        full_rank(common::heads::sppnet());
    }

    fn full_rank(model: ModelProto) {
        let whole = try_compile(&model, Svd::None).unwrap();
        let rank = whole
            .report
            .cost
            .layers
            .iter()
            .find(|l| l.name == "fc6")
            .unwrap()
            .output
            .parse::<usize>()
            .unwrap();
        let factored = try_compile(&model, Svd::Ranks(vec![("fc6".into(), rank)])).unwrap();
        assert!(factored.report.factored[0].relative_error < 1e-6);
        let drift = factored.report.drift.unwrap();
        assert!(drift.cls_prob < 1e-5 && drift.bbox_pred < 1e-4, "{drift:?}");
    }

    #[test]
    fn energy_chooses_the_smallest_rank() {
        let model = common::heads::gemm_trans_b();
        let compiled = try_compile(&model, Svd::Energy(0.3)).unwrap();
        for layer in &compiled.report.factored {
            assert!(layer.energy >= 0.3, "{layer:?}");
            let one_less = vec![(layer.layer.clone(), layer.rank - 1)];
            if layer.rank > 1 {
                let less = try_compile(&model, Svd::Ranks(one_less)).unwrap();
                assert!(less.report.factored[0].energy < 0.3, "{:?}", less.report.factored[0]);
            }
        }
        // Random weights have a flat spectrum: nearly all of it needs nearly all ranks.
        let all = try_compile(&model, Svd::Energy(1.0)).unwrap();
        assert!(all.report.factored.is_empty() && !all.report.not_factored.is_empty());
    }

    #[test]
    fn layers_may_be_meant_by_their_onnx_names() {
        let model = common::heads::exporter_names();
        let names = model.graph.as_ref().unwrap().node.iter();
        let gemm = names.filter(|n| n.op_type == "Gemm").map(|n| n.name.clone()).next().unwrap();
        let by_name = try_compile(&model, Svd::Ranks(vec![(gemm, 4)])).unwrap();
        let by_order = try_compile(&model, ranks("fc6=4")).unwrap();
        assert!(by_name.bundle.to_bytes() == by_order.bundle.to_bytes());
    }

    #[test]
    fn mistakes_are_named() {
        let model = common::heads::gemm_trans_b();
        for (text, words) in [
            ("fc6=0", ["rank 0", "1 to"]),
            ("fc6=100000", ["rank 100000", "1 to"]),
            ("fc9=4", ["fc9", "fc6"]),
            ("fc6=4,fc6=5", ["fc6", "twice"]),
        ] {
            let error = try_compile(&model, ranks(text)).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
        for text in ["fc6", "fc6=", "=4", "fc6=x", "", "fc6=4,"] {
            assert!(Svd::parse_ranks(text).is_err(), "{text}");
        }
        for energy in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(try_compile(&model, Svd::Energy(energy)).is_err(), "{energy}");
        }
    }
}

mod rois_in_the_graph {
    use super::*;
    use frcnn_compiler::onnx_writer::{attr, tensor};
    use frcnn_onnx::pb::{AttributeProto, NodeProto, tensor_shape_proto::dimension::Value, type_proto};

    fn node(op_type: &str, output: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto {
            op_type: op_type.to_string(),
            name: output.to_string(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.to_string()],
            attribute,
            ..Default::default()
        }
    }

    /// A model whose `rois` go through `nodes`, the last of which makes `made`, and have `columns`.
    fn model(nodes: Vec<NodeProto>, columns: i64) -> ModelProto {
        let mut model = common::heads::gemm_trans_b();
        let graph = model.graph.as_mut().unwrap();
        let roi_pool = graph.node.iter_mut().find(|n| n.op_type == "MaxRoiPool").unwrap();
        roi_pool.input[1] = "made".to_string();
        graph.node.splice(0..0, nodes);
        let rois = graph.input.iter_mut().find(|i| i.name == "rois").unwrap();
        let Some(type_proto::Value::TensorType(rois)) = &mut rois.r#type.as_mut().unwrap().value else {
            panic!("rois are no tensor")
        };
        rois.shape.as_mut().unwrap().dim[1].value = Some(Value::DimValue(columns));
        let integers = [("zero", 0), ("one", 1)];
        graph.initializer.extend(integers.map(|(name, value)| tensor::i64(name, &[1], &[value])));
        graph.initializer.push(tensor::f32("two", &[1], &[2.0]));
        model
    }

    /// What PyTorch exports for `roi_pool(map, [boxes], ...)`.
    #[test]
    fn a_batch_index_before_boxes_is_understood() {
        let nodes = vec![
            node("Slice", "column", &["rois", "zero", "one", "one"], vec![]),
            node("Shape", "shape", &["column"], vec![]),
            node("ConstantOfShape", "index", &["shape"], vec![]),
            node("Concat", "made", &["index", "rois"], vec![attr::int("axis", 1)]),
        ];
        try_compile(&model(nodes, 4), Svd::None).unwrap();
    }

    #[test]
    fn anything_else_is_refused() {
        let doubled = model(vec![node("Mul", "made", &["rois", "two"], vec![])], 5);
        let error = try_compile(&doubled, Svd::None).unwrap_err().to_string();
        assert!(error.contains("`made`") && error.contains("computed in the graph"), "{error}");
        let error = try_compile(&model(vec![], 4), Svd::None).unwrap_err().to_string();
        assert!(error.contains("made"), "{error}");
    }
}
