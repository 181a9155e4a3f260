//! Networks of int8 layers: which layers they are, how they are calibrated, and what others make of the ONNX that is written.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::classifier::{classifier, svm};
use crate::common::onnxruntime::Input;
use frcnn::{BBox, Frame};
use frcnn_bundle::{Bundle, Layer, Manifest, Op};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::{
    Calibration, Calibrator, Compiled, Options, Precision, Precisions, compile, compile_rcnn, emit_onnx,
    onnx_writer, uniform,
};
use frcnn_onnx::pb::ModelProto;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIZE: [u32; 2] = [131, 107];

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![107];
    manifest
}

fn compile_in(folder: &Path, name: &str, model: &ModelProto) -> Compiled {
    let path = folder.join(name).with_extension("onnx");
    onnx_writer::write(model, &path).unwrap();
    compile(&path, &manifest(), &Options::default(), &mut |_| {}).unwrap()
}

/// Random pixels, and boxes of all sizes.
fn photo(seed: u64) -> (Vec<u8>, Vec<BBox>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pixels = (0..SIZE[0] * SIZE[1] * 3).map(|_| rng.random()).collect();
    let boxes = (0..40).map(|_| {
        let mut span = |len: u32| {
            let start = rng.random_range(0.0..len as f32 - 20.0);
            (start, start + rng.random_range(9.0..60.0))
        };
        let ((x1, x2), (y1, y2)) = (span(SIZE[0]), span(SIZE[1]));
        BBox::new(x1, y1, x2, y2)
    });
    let boxes = boxes.collect();
    (pixels, boxes)
}

fn calibrate(exact: &Compiled, precisions: &Precisions) -> Calibration {
    let mut calibrator = Calibrator::new(&exact.bundle, precisions).unwrap();
    for seed in 1..4 {
        let (pixels, boxes) = photo(seed);
        calibrator.observe(&Frame::rgb8(&pixels, SIZE[0], SIZE[1]).unwrap(), &boxes).unwrap();
    }
    calibrator.finish().unwrap()
}

/// The network with its weights so; each int8 layer is held against its definition on the way.
fn assigned(exact: &Compiled, precisions: &Precisions) -> Compiled {
    let (pixels, boxes) = photo(0);
    let frame = Frame::rgb8(&pixels, SIZE[0], SIZE[1]).unwrap();
    exact.with_precisions(precisions, &calibrate(exact, precisions), (&frame, &boxes)).unwrap()
}

fn layers(bundle: &Bundle) -> impl Iterator<Item = &Layer> {
    bundle.contents().trunk.layers.iter().chain(&bundle.contents().head.layers)
}

/// All layers that may be int8, even the one that reads the image.
fn everything(bundle: &Bundle) -> Precisions {
    layers(bundle).filter_map(|layer| Some((layer.op.reducible_weight()?, Precision::Int8))).collect()
}

fn precision_of(bundle: &Bundle, op: &Op) -> Option<Precision> {
    Some(bundle.contents().sections[op.reducible_weight()? as usize].precision)
}

#[test]
fn products_of_matrices_are_int8_and_other_convolutions_f16() {
    let folder = tempfile::tempdir().unwrap();
    let exact = compile_in(folder.path(), "model", &new_model(Arch::SqueezeNet, 3, 0).unwrap().onnx);
    let compiled = assigned(&exact, &uniform(exact.bundle.contents(), Precision::Int8));
    let bundle = &compiled.bundle;
    let mut seen = [0; 4];
    for layer in layers(bundle) {
        let due = match &layer.op {
            Op::Conv(conv) if conv.in_channels == 3 => Precision::F32,
            Op::Conv(conv) if conv.kernel == [3, 3] => Precision::F16,
            Op::Gemm(_) if ["cls_score", "bbox_pred"].contains(&&*layer.name) => Precision::F32,
            Op::Conv(_) | Op::Gemm(_) => Precision::Int8,
            _ => continue,
        };
        assert_eq!(precision_of(bundle, &layer.op), Some(due), "{}", layer.name);
        seen[due as usize] += 1;
    }
    assert!(
        seen[Precision::F32 as usize] == 3
            && seen[Precision::F16 as usize] > 5
            && seen[Precision::Int8 as usize] > 10
    );

    let again = Bundle::from_bytes(&bundle.to_bytes()).unwrap();
    assert_eq!(again.contents(), bundle.contents());
    let (whole, small) = (exact.bundle.file_len() as f64, bundle.file_len() as f64);
    assert!(small < 0.3 * whole, "{small} of {whole} bytes");

    let report = compiled.report.int8.unwrap();
    assert_eq!((report.photos, compiled.report.precision), (3, Precision::Int8));
    for layer in &report.layers {
        assert_eq!(layer.input.is_some(), layer.precision == Precision::Int8, "{}", layer.layer);
        let errors = match layer.precision {
            Precision::F32 => 0.0..=0.0,
            Precision::F16 => 1e-5..=1e-3,
            _ => 1e-3..=2e-2,
        };
        assert!(errors.contains(&layer.weight_error), "{} {}", layer.layer, layer.weight_error);
        if let Some(input) = &layer.input {
            // Behind a ReLU.
            assert!(input.range[0] == 0.0 && input.zero_point == 0 && input.range[1] > 0.0, "{input:?}");
            let kept = f64::from(input.scale) * 255.0 / f64::from(input.range[1]);
            assert!(kept > 0.1 && kept < 1.0 + 1e-6 && input.clipped < 0.01, "{input:?}");
        }
    }
}

#[test]
fn the_same_photos_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let exact = compile_in(folder.path(), "model", &common::trunks::squeezenet_like());
    let precisions = everything(&exact.bundle);
    let [first, second] = [(); 2].map(|()| assigned(&exact, &precisions).bundle.to_bytes());
    assert!(first == second);
}

#[test]
fn what_cannot_be_calibrated_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    onnx_writer::write(&common::heads::gemm_trans_b(), &path).unwrap();
    let options = Options { precision: Precision::Int8, ..Options::default() };
    let error = compile(&path, &manifest(), &options, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("layer `fc6` cannot be int8: its input was not calibrated"), "{error}");

    let exact = compile(&path, &manifest(), &Options::default(), &mut |_| {}).unwrap();
    let precisions = everything(&exact.bundle);
    let nothing = Calibrator::new(&exact.bundle, &precisions).unwrap().finish().unwrap_err().to_string();
    let mut without_boxes = Calibrator::new(&exact.bundle, &precisions).unwrap();
    let (pixels, _) = photo(0);
    without_boxes.observe(&Frame::rgb8(&pixels, SIZE[0], SIZE[1]).unwrap(), &[]).unwrap();
    let no_region = without_boxes.finish().unwrap_err().to_string();
    for error in [nothing, no_region] {
        assert!(error.contains("no photo with a region to calibrate int8 on"), "{error}");
    }
}

/// Margins, and a trunk that runs on each region.
#[test]
fn an_rcnn_has_int8_layers_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let [model, weights] = ["model.onnx", "svm.safetensors"].map(|name| folder.path().join(name));
    onnx_writer::write(&classifier(false), &model).unwrap();
    std::fs::write(&weights, svm(24, Some(160), &[])).unwrap();
    let mut manifest = manifest();
    (manifest.scores, manifest.score_threshold) = (frcnn_bundle::Scores::Margins, -1.0);
    let exact = compile_rcnn(&model, &weights, &manifest, &Options::default(), &mut |_| {}).unwrap();
    let compiled = assigned(&exact, &everything(&exact.bundle));
    assert!(
        layers(&compiled.bundle)
            .all(|layer| precision_of(&compiled.bundle, &layer.op) != Some(Precision::F32))
    );
}

/// ONNX Runtime, and with it others, run the very network: what is left of a difference is the rounding of f32 sums, by which
/// a value now and then becomes the next u8. Its optimisations are off: they round biases to int32, in steps of a product's, which
/// moves these small networks by half of what quantisation does.
#[test]
fn onnx_runtime_runs_the_same_int8_network() {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input = Input::new();
    let cases = common::good().filter(|(name, _)| *name != "same_upper");
    let mut networks: Vec<(&str, Compiled, Compiled)> = cases
        .map(|(name, model)| {
            let exact = compile_in(folder, name, &model());
            let compiled = assigned(&exact, &everything(&exact.bundle));
            (name, exact, compiled)
        })
        .collect();
    // Computed, but not written as ONNX.
    networks.retain(|(name, ..)| *name != "roi_align");
    let emitted: Vec<(PathBuf, &Bundle)> = networks
        .iter()
        .map(|(name, _, compiled)| {
            let path = folder.join(format!("{name}_qdq.onnx"));
            let model = emit_onnx(&compiled.bundle).unwrap();
            let count = |op: &str| {
                model.graph.as_ref().unwrap().node.iter().filter(|node| node.op_type == op).count()
            };
            let int8 = layers(&compiled.bundle).filter(|layer| layer.op.reducible_weight().is_some()).count();
            assert_eq!((count("QuantizeLinear"), count("DequantizeLinear")), (int8, 2 * int8), "{name}");
            onnx_writer::write(&model, &path).unwrap();
            (path, &*compiled.bundle)
        })
        .collect();
    let outputs = input.referee(&python, folder, &emitted, false);
    let mean = |a: &[f32], b: &[f32]| {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum();
        sum / a.len() as f64
    };
    let mut moved = 0;
    for (outputs, (name, exact, compiled)) in outputs.iter().zip(&networks) {
        let ours = input.run(&compiled.bundle);
        for ((found, ours), exact) in outputs.iter().zip(ours).zip(input.run(&exact.bundle)) {
            let (difference, quantisation) = (mean(found, &ours), mean(found, &exact));
            assert!(
                difference <= 0.1 * quantisation + 1e-7,
                "{name}: {difference:e} from ONNX Runtime, and f32 is {quantisation:e} from it"
            );
            moved += usize::from(quantisation > 1e-5);
        }
    }
    assert!(moved > networks.len(), "quantisation changes next to nothing, and nothing was tested");
}
