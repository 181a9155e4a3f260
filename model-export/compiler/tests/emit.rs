//! What `emit_onnx` writes: the same network, for the compiler and for ONNX Runtime.
#![allow(clippy::unwrap_used, reason = "clippy's own exemption for tests ends at functions marked #[test]")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use frcnn::{BBox, Detector, ImageBlob};
use frcnn_bundle::{Bundle, Contents, Manifest, Op};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::{Compiled, Options, Svd, compile, emit_onnx, onnx_writer};
use frcnn_core::{largest_difference, relative_difference};
use frcnn_onnx::pb::ModelProto;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![240];
    manifest
}

/// Writes the model into `folder` and compiles it.
fn compile_in(folder: &Path, name: &str, model: &ModelProto, svd: Svd) -> Compiled {
    let path = folder.join(name).with_extension("onnx");
    onnx_writer::write(model, &path).unwrap();
    compile(&path, &manifest(), &Options { svd, ..Options::default() }, &mut |_| {}).unwrap()
}

fn again(bundle: &Bundle) -> Arc<Bundle> {
    let folder = tempfile::tempdir().unwrap();
    compile_in(folder.path(), "again", &emit_onnx(bundle).unwrap(), Svd::None).bundle
}

/// Models that compile: `same_upper` pads by an amount that depends on the image.
fn good() -> impl Iterator<Item = common::Case> {
    common::good().filter(|(name, _)| *name != "same_upper")
}

fn bits(bundle: &Bundle) -> Vec<u32> {
    let sections = 0..bundle.contents().sections.len() as u32;
    sections.flat_map(|id| bundle.weights(id)).map(|weight| weight.to_bits()).collect()
}

#[test]
fn what_was_emitted_compiles_to_the_same_bundle() {
    for (name, model) in good() {
        let folder = tempfile::tempdir().unwrap();
        let first = compile_in(folder.path(), name, &model(), Svd::None).bundle;
        let second = again(&first);
        // All but the hash of the ONNX file that it was made from; this compares sections by their hashes, too.
        let source = first.contents().source.clone();
        assert_eq!(first.contents(), &Contents { source, ..second.contents().clone() }, "{name}");
        assert!(bits(&first) == bits(&second), "{name}: the weights differ");
    }
}

#[test]
fn factored_layers_are_emitted_as_two() {
    let folder = tempfile::tempdir().unwrap();
    let svd = Svd::parse_ranks("fc6=7,fc7=5").unwrap();
    let model = common::heads::gemm_trans_b();
    let first = compile_in(folder.path(), "model", &model, svd).bundle;
    let names: Vec<String> =
        emit_onnx(&first).unwrap().graph.unwrap().node.into_iter().map(|node| node.name).collect();
    assert!(["fc6_L", "fc6_U", "fc7_L", "fc7_U"].iter().all(|name| names.contains(&name.to_string())));

    let second = again(&first);
    assert!(bits(&first) == bits(&second), "the weights differ");
    let gemms = |bundle: &Bundle| {
        let layers = bundle.contents().head.layers.clone().into_iter();
        layers.filter(|layer| matches!(layer.op, Op::Gemm(_))).collect::<Vec<_>>()
    };
    let (first, second) = (gemms(&first), gemms(&second));
    // The compiler names hidden layers by their order.
    assert_eq!(second.iter().map(|l| &*l.name).collect::<Vec<_>>()[..4], ["fc6", "fc7", "fc8", "fc9"]);
    assert_eq!(first.len(), second.len());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((&a.op, &a.inputs), (&b.op, &b.inputs));
    }
}

/// Runs each model on the same `data` and `rois`, and writes its outputs beside it.
const RUN: &str = r#"
import sys, numpy as np, onnx, onnxruntime as ort
folder, h, w = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = np.fromfile(f"{folder}/data.f32", np.float32).reshape(1, 3, h, w)
rois = np.fromfile(f"{folder}/rois.f32", np.float32).reshape(-1, 5)
for path in sys.argv[4:]:
    onnx.checker.check_model(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    cls_prob, bbox_pred = session.run(["cls_prob", "bbox_pred"], {"data": data, "rois": rois})
    assert cls_prob.shape == (len(rois), 4) and bbox_pred.shape == (len(rois), 16), path
    cls_prob.tofile(path + ".cls_prob")
    bbox_pred.tofile(path + ".bbox_pred")
"#;

const SIZE: [usize; 2] = [107, 131];

/// An image and boxes that ONNX Runtime and this project's own both read.
struct Input {
    blob: ImageBlob,
    boxes: Vec<BBox>,
}

impl Input {
    fn new() -> Input {
        let [height, width] = SIZE;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let data = (0..height * width * 3).map(|_| rng.random_range(-128.0..128.0)).collect();
        let mut span = |len: usize| {
            let start = rng.random_range(0.0..len as f32 - 20.0);
            (start, start + rng.random_range(9.0..60.0))
        };
        let boxes = (0..32).map(|_| (span(width), span(height)));
        let boxes = boxes.map(|((x1, x2), (y1, y2))| BBox::new(x1, y1, x2, y2)).collect();
        Input { blob: ImageBlob { data, height, width, im_scale: 1.0 }, boxes }
    }

    fn write(&self, folder: &Path) {
        let planes = (0..3).flat_map(|c| self.blob.data.iter().skip(c).step_by(3)).copied();
        let rois = self.boxes.iter().flat_map(|b| [0.0, b.x1, b.y1, b.x2, b.y2]);
        let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        fs::write(folder.join("data.f32"), bytes(planes.collect())).unwrap();
        fs::write(folder.join("rois.f32"), bytes(rois.collect())).unwrap();
    }

    /// `cls_prob` and `bbox_pred` of every box.
    fn run(&self, bundle: &Arc<Bundle>) -> [Vec<f32>; 2] {
        let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
        let mut session = detector.session();
        let map = session.trunk(&self.blob).unwrap();
        let projected = session.project(&self.boxes, std::slice::from_ref(&self.blob)).unwrap();
        let pooled = session.roi_pool(&[map], &projected.rois).unwrap();
        let output = session.head(&pooled).unwrap();
        [(output.cls_prob, 4), (output.bbox_pred, 16)].map(|(rows, columns)| {
            let row = |&roi: &u32| &rows[roi as usize * columns..][..columns];
            projected.index.iter().flat_map(row).copied().collect()
        })
    }
}

/// What ONNX Runtime made of the model at `path`.
fn outputs(path: &Path) -> [Vec<f32>; 2] {
    ["cls_prob", "bbox_pred"].map(|name| {
        let bytes = fs::read(format!("{}.{name}", path.display())).unwrap();
        bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    })
}

#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input = Input::new();
    input.write(folder);

    let compiled =
        |(name, model): (&str, ModelProto), svd| (name.to_string(), compile_in(folder, name, &model, svd));
    let squeezenet = || ("squeezenet", new_model(Arch::SqueezeNet, 3, 0).unwrap().onnx);
    let svd = Svd::parse_ranks("fc6=40,fc7=20").unwrap();
    let mut models: Vec<(String, Compiled)> =
        good().map(|(name, model)| compiled((name, model()), Svd::None)).collect();
    models.push(compiled(squeezenet(), Svd::None));
    let (_, factored) = compiled(squeezenet(), svd);
    let drift = factored.report.drift.clone().unwrap();
    models.push(("factored".to_string(), factored));
    let paths: Vec<_> = models.iter().map(|(name, _)| folder.join(format!("{name}_emitted.onnx"))).collect();
    for (path, (_, compiled)) in paths.iter().zip(&models) {
        onnx_writer::write(&emit_onnx(&compiled.bundle).unwrap(), path).unwrap();
    }
    let original = folder.join("squeezenet.onnx");
    let arguments = SIZE.map(|side| side.to_string()).into_iter();
    let read = paths.iter().chain([&original]).map(|path| path.to_str().unwrap().to_string());
    let arguments = [folder.to_str().unwrap().to_string()].into_iter().chain(arguments).chain(read);
    let run = Command::new(python).arg("-c").arg(RUN).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    for (path, (name, compiled)) in paths.iter().zip(&models) {
        for (found, expected) in outputs(path).iter().zip(input.run(&compiled.bundle)) {
            // Sums of up to 18,432 products, added up in another order.
            let difference = relative_difference(found, &expected);
            assert!(difference <= 1e-4, "{name}: off by {difference:e} of the largest");
        }
    }
    let [factored, whole] = [outputs(paths.last().unwrap()), outputs(&original)];
    for (found, expected, drift) in
        [(&factored[0], &whole[0], drift.cls_prob), (&factored[1], &whole[1], drift.bbox_pred)]
    {
        // The report looked at other RoIs, and half as many: its largest change says how large changes are, no more.
        let difference = largest_difference(found, expected);
        assert!(difference > drift / 4.0 && difference < drift * 4.0, "{difference:e}, drift {drift:e}");
    }
}
