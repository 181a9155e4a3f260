//! SPPnet and R-CNN from an image and boxes to margins and box deltas, against ONNX Runtime and, for what ONNX does not
//! hold, a few lines of numpy.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common;
use crate::common::classifier::{SIDE, classifier, svm};
use crate::common::graph::CLASSES;
use frcnn::{BBox, Detector, Frame, Roi};
use frcnn_bundle::{Bundle, DetectionMethod, Manifest, Regions, Scores, Warp};
use frcnn_compiler::arch::{Arch, new_rcnn, new_sppnet};
use frcnn_compiler::onnx_writer::write;
use frcnn_compiler::{Options, Svd, compile, compile_rcnn, emit_onnx};
use frcnn_core::{largest_magnitude, relative_difference};
use frcnn_onnx::pb::ModelProto;

/// Odd sizes, and boxes that reach over every edge of the image when they are dilated.
const SIZE: [u32; 2] = [61, 83];
const BOXES: [[f32; 4]; 6] = [
    [0.0, 0.0, 82.0, 60.0],
    [10.0, 12.0, 40.0, 33.0],
    [70.0, 50.0, 82.0, 60.0],
    [5.5, 0.25, 17.0, 58.75],
    [30.0, 40.0, 30.0, 41.0],
    [-20.0, -9.0, 12.0, 14.0],
];

fn manifest(scores: Scores) -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![120, 90];
    (manifest.scores, manifest.score_threshold) = (scores, scores.default_threshold());
    manifest
}

fn pixels() -> Vec<u8> {
    let [height, width] = SIZE;
    (0..height * width * 3).map(|i| (i * 7919 % 251) as u8).collect()
}

fn boxes() -> Vec<BBox> {
    BOXES.map(|[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2)).to_vec()
}

fn compile_in(
    folder: &Path,
    model: &ModelProto,
    svm: &[u8],
    options: &Options,
) -> Result<frcnn_compiler::Compiled, frcnn_compiler::Error> {
    let (onnx, weights) = (folder.join("classifier.onnx"), folder.join("svm.safetensors"));
    write(model, &onnx).unwrap();
    fs::write(&weights, svm).unwrap();
    compile_rcnn(&onnx, &weights, &manifest(Scores::Margins), options, &mut |_| {})
}

fn rcnn(model: &ModelProto, svm: &[u8]) -> Result<Arc<Bundle>, String> {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compile_in(folder.path(), model, svm, &Options::default());
    compiled.map(|compiled| compiled.bundle).map_err(|error| error.to_string())
}

/// Scores and deltas of every box, stage by stage.
fn run(bundle: &Arc<Bundle>) -> [Vec<f32>; 2] {
    let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
    let (pixels, [height, width]) = (pixels(), SIZE);
    let frame = Frame::rgb8(&pixels, width, height).unwrap();
    let mut session = detector.session();
    let blobs = session.preprocess(&frame).unwrap();
    let projected = session.project(&boxes(), &blobs).unwrap();
    let features = match bundle.contents().regions {
        Regions::Warp(_) => {
            assert_eq!((blobs.len(), blobs[0].height, blobs[0].width), (1, height as usize, width as usize));
            session.trunk_of_crops(&session.warp(&blobs[0], &projected.rois).unwrap()).unwrap()
        }
        Regions::RoiPooling(_) | Regions::RoiAlign(_) => {
            let maps: Vec<_> = blobs.iter().map(|blob| session.trunk(blob).unwrap()).collect();
            session.roi_pool(&maps, &projected.rois).unwrap()
        }
    };
    let output = session.head(&features).unwrap();
    let columns = CLASSES as usize + 1;
    [(output.cls_prob, columns), (output.bbox_pred, 4 * columns)].map(|(rows, columns)| {
        let row = |&roi: &u32| &rows[roi as usize * columns..][..columns];
        projected.index.iter().flat_map(row).copied().collect()
    })
}

/// The published cropping in float64, pixel by pixel, and the published resize of an image; then ONNX Runtime, and for
/// R-CNN the margins and deltas of the values that the SVMs and regressors read.
const REFEREE: &str = r#"
import json, struct, sys, numpy as np, onnx, onnxruntime as ort
folder, method, features, bbox_features = sys.argv[1:5]
case = json.load(open(f"{folder}/case.json"))
h, w = case["size"]
means = np.array([102.9801, 115.9465, 122.7717])
image = np.fromfile(f"{folder}/pixels.u8", np.uint8).reshape(h, w, 3)[..., ::-1].astype(np.float64) - means

def away(x):  # rounds half away from zero
    return int(np.floor(abs(x) + 0.5) * np.sign(x))

def resize(a, rows, columns, sy=None, sx=None):  # bilinear, half-pixel centres, edges repeated
    def taps(n, size, scale):
        at = np.clip((np.arange(size) + 0.5) / scale - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, n - 1), at - low
    y0, y1, v = taps(len(a), rows, sy or rows / len(a))
    x0, x1, u = taps(a.shape[1], columns, sx or columns / a.shape[1])
    a = a[y0] * (1 - v)[:, None, None] + a[y1] * v[:, None, None]
    return a[:, x0] * (1 - u)[:, None] + a[:, x1] * u[:, None]

def crop(box, side, context=16):
    scale = side / (side - 2 * context)
    half = (box[2:] - box[:2] + 1) / 2
    centre = box[:2] + half
    x1, y1, x2, y2 = (away(c) for c in np.concatenate([centre - half * scale, centre + half * scale]))
    out = np.zeros((side, side, 3))
    cx1, cy1, cx2, cy2 = max(x1, 0), max(y1, 0), min(x2, w - 1), min(y2, h - 1)
    sx, sy = side / (x2 - x1 + 1), side / (y2 - y1 + 1)
    px, py = away((cx1 - x1) * sx), away((cy1 - y1) * sy)
    columns = min(away((cx2 - cx1 + 1) * sx), side - px)
    rows = min(away((cy2 - cy1 + 1) * sy), side - py)
    out[py:py + rows, px:px + columns] = resize(image[cy1:cy2 + 1, cx1:cx2 + 1], rows, columns)
    return out

def nchw(a):
    return np.ascontiguousarray(a.transpose(2, 0, 1))[None].astype(np.float32)

boxes = np.array(case["boxes"])
if method == "r-cnn":
    model = onnx.load(f"{folder}/classifier.onnx")
    for name in {features, bbox_features}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    raw = open(f"{folder}/svm.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    def tensor(name):
        t = header[name]
        begin, end = t["data_offsets"]
        return np.frombuffer(raw[8 + n + begin:8 + n + end], np.float32).reshape(t["shape"])
    scores, deltas = [], []
    for box in boxes:
        f, b = session.run([features, bbox_features], {"data": nchw(crop(box, case["side"]))})
        scores.append(np.r_[0, tensor("svm.weight") @ f.ravel() + tensor("svm.bias")])
        regressed = tensor("bbox.weight") @ b.ravel() + tensor("bbox.bias") if "bbox.weight" in header else 0 * np.tile(scores[-1][1:], 4)
        deltas.append(np.r_[0, 0, 0, 0, regressed])
else:
    session = ort.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
    scales = [short / min(h, w) for short in case["scales"]]
    area = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    scores, deltas = [], []
    for box, a in zip(boxes, area):
        s = scales[int(np.argmin([abs(a * s * s - 224 * 224) for s in scales]))]
        data = nchw(resize(image, int(np.rint(h * s)), int(np.rint(w * s)), s, s))
        roi = np.r_[0, box * s][None].astype(np.float32)
        score, delta = session.run(["cls_score", "bbox_pred"], {"data": data, "rois": roi})
        scores.append(score[0])
        deltas.append(delta[0])
np.array(scores, np.float32).tofile(f"{folder}/scores.f32")
np.array(deltas, np.float32).tofile(f"{folder}/deltas.f32")
"#;

/// What the referee makes of the model in `folder`; none without it.
fn referee(folder: &Path, method: DetectionMethod, features: [&str; 2]) -> Option<[Vec<f32>; 2]> {
    let python = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime")?;
    let case = serde_json::json!({
        "size": SIZE, "boxes": BOXES, "side": SIDE, "scales": manifest(Scores::Margins).scales
    });
    fs::write(folder.join("case.json"), case.to_string()).unwrap();
    fs::write(folder.join("pixels.u8"), pixels()).unwrap();
    let arguments = [folder.to_str().unwrap(), method.name(), features[0], features[1]];
    let run = Command::new(python).arg("-c").arg(REFEREE).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(["scores.f32", "deltas.f32"].map(|name| {
        let bytes = fs::read(folder.join(name)).unwrap();
        bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }))
}

fn assert_agree(what: &str, found: &[Vec<f32>; 2], expected: &[Vec<f32>; 2]) {
    for (found, expected) in found.iter().zip(expected) {
        let (off, largest) = (relative_difference(found, expected), largest_magnitude(expected));
        // Sums of some hundred products in another order, of pixels that were resized in f32.
        assert!(off <= 1e-4 && largest > 0.01, "{what}: off by {off:e} of {largest:e}");
    }
}

#[test]
fn sppnet_computes_what_onnx_runtime_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write(&common::heads::sppnet_boxes_from_pooled(), &path).unwrap();
    let compiled = compile(&path, &manifest(Scores::Margins), &Options::default(), &mut |_| {}).unwrap();
    let found = run(&compiled.bundle);
    assert!(found[0].iter().any(|&margin| margin < 0.0), "a softmax's are not: {:?}", found[0]);
    if let Some(expected) = referee(folder.path(), DetectionMethod::Sppnet, ["", ""]) {
        assert_agree("sppnet", &found, &expected);
    }
}

#[test]
fn rcnn_computes_what_onnx_runtime_and_numpy_do() {
    for (name, model, svm, features) in [
        ("defaults", classifier(false), svm(24, Some(160), &[]), ["drop7", "pool5"]),
        ("batch of one", classifier(true), svm(24, Some(160), &[]), ["drop7", "pool5"]),
        ("no regressors", classifier(false), svm(24, None, &[]), ["drop7", "pool5"]),
        (
            "other features",
            classifier(false),
            svm(160, Some(32), &[("features", "pool5"), ("bbox_features", "fc6_relu")]),
            ["pool5", "fc6_relu"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let bundle = compile_in(folder.path(), &model, &svm, &Options::default()).unwrap().bundle;
        assert_eq!(bundle.contents().method(), DetectionMethod::RCnn);
        let found = run(&bundle);
        if let Some(expected) = referee(folder.path(), DetectionMethod::RCnn, features) {
            if name == "no regressors" {
                assert!(found[1].iter().all(|&delta| delta == 0.0));
                assert_agree(name, &[found[0].clone(), vec![1.0]], &[expected[0].clone(), vec![1.0]]);
            } else {
                assert_agree(name, &found, &expected);
            }
        }
    }
}

#[test]
fn detecting_is_the_stages_one_after_the_other() {
    let bundle = rcnn(&classifier(false), &svm(24, Some(160), &[])).unwrap();
    for threads in [1, 3] {
        let options = frcnn::Options {
            threads: Some(threads),
            score_threshold: Some(-100.0),
            ..frcnn::Options::default()
        };
        let detector = Detector::new(bundle.clone(), &options).unwrap();
        let (pixels, [height, width]) = (pixels(), SIZE);
        let frame = Frame::rgb8(&pixels, width, height).unwrap();
        // More than the head takes at once, not a multiple of what the trunk does, with doubles and boxes that are none.
        let mut many: Vec<BBox> = (0..700)
            .map(|i| {
                let (x, y) = ((i * 37 % 60) as f32, (i * 23 % 40) as f32);
                BBox::new(x, y, x + (i % 19) as f32, y + (i % 17) as f32)
            })
            .collect();
        many.extend([BBox::new(5.0, 5.0, 1.0, 9.0), many[0]]);
        let mut session = detector.session();
        let together = session.detect(&frame, &many).unwrap();
        assert!(!together.is_empty() && session.timings().roi_pool.as_nanos() > 0);

        let blobs = session.preprocess(&frame).unwrap();
        let windows: Vec<Roi> = many.iter().map(|bbox| Roi::window(bbox, SIDE as u32, 16, 1.0)).collect();
        let crops = session.warp(&blobs[0], &windows).unwrap();
        let output = session.head(&session.trunk_of_crops(&crops).unwrap()).unwrap();
        let index: Vec<u32> =
            many.iter().zip(0..).map(|(bbox, i)| if bbox.is_valid() { i } else { frcnn::NO_ROI }).collect();
        let alone = session.postprocess(&many, &index, &output, width, height);
        assert_eq!(together, alone, "{threads} threads");
        assert!(session.detect(&frame, &[]).unwrap().is_empty());
    }
}

#[test]
fn stages_of_another_method_are_errors() {
    let bundle = rcnn(&classifier(false), &svm(24, None, &[])).unwrap();
    let session = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap().session();
    let error = session.roi_pool(&[], &[]).unwrap_err().to_string();
    assert!(error.contains("r-cnn") && error.contains("roi_pool"), "{error}");
    let error = emit_onnx(&bundle).unwrap_err().to_string();
    assert!(error.contains("R-CNN"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write(&common::heads::sppnet(), &path).unwrap();
    let sppnet = compile(&path, &manifest(Scores::Probabilities), &Options::default(), &mut |_| {}).unwrap();
    let session = Detector::new(sppnet.bundle, &frcnn::Options::default()).unwrap().session();
    assert!(session.trunk_of_crops(&[]).unwrap_err().to_string().contains("sppnet"));
}

#[test]
fn an_rcnn_is_factored_and_rounded_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { svd: Svd::parse_ranks("fc6=9,fc7=8").unwrap(), precision: frcnn_compiler::Precision::Bf16 };
    let compiled = compile_in(folder.path(), &classifier(false), &svm(24, Some(160), &[]), &options).unwrap();
    assert_eq!(compiled.report.factored.len(), 2);
    assert!(compiled.report.drift.is_some() && compiled.report.rounding.is_some());
    let contents = compiled.bundle.contents();
    assert_eq!(contents.regions, Regions::Warp(Warp { side: SIDE as u32, context: 16 }));
    assert!(contents.head.layers.iter().any(|layer| layer.name == "fc6_L"));
    assert_eq!(contents.manifest.scores, Scores::Margins);
}

#[test]
fn what_does_not_fit_is_named() {
    let svm24 = || svm(24, Some(160), &[]);
    for (what, model, svm, words) in [
        ("a detector", common::heads::gemm_trans_b(), svm24(), &["2 inputs", "[N, 3, S, S]"][..]),
        ("features", classifier(false), svm(23, None, &[]), &["frcnn.cls_score", "23 features", "24"]),
        ("no such value", classifier(false), svm(24, None, &[("features", "fc9")]), &["fc9"]),
        (
            "a map before the flattened one",
            classifier(false),
            svm(24, Some(810), &[("bbox_features", "conv1_relu")]),
            &["behind it"],
        ),
        (
            "not safetensors",
            classifier(false),
            b"SVMs".to_vec(),
            &["svm.safetensors", "not a safetensors file"],
        ),
    ] {
        let error = rcnn(&model, &svm).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{what}: `{word}` is not in: {error}");
        }
    }
}

#[test]
fn new_predecessors_compile() {
    let folder = tempfile::tempdir().unwrap();
    let sppnet = new_sppnet(Arch::SqueezeNet, 3, 0).unwrap();
    let path = folder.path().join("model.onnx");
    write(&sppnet.onnx, &path).unwrap();
    let compiled = compile(&path, &sppnet.manifest, &Options::default(), &mut |_| {}).unwrap();
    assert_eq!(compiled.bundle.contents().method(), DetectionMethod::Sppnet);
    let rcnn = new_rcnn(Arch::SqueezeNet, 3, 0).unwrap();
    let compiled = compile_in(folder.path(), &rcnn.onnx, &rcnn.svm, &Options::default()).unwrap();
    let contents = compiled.bundle.contents();
    assert_eq!(contents.regions, Regions::Warp(Warp { side: 227, context: 16 }));
    // As the Fast R-CNN's, but for the last layers.
    let fc6 = compiled.report.cost.layers.iter().find(|layer| layer.name == "fc6").unwrap();
    assert_eq!(fc6.parameters, 18_432 * 512 + 512);
}

/// Each of the four tensors, first and last value.
#[test]
fn svm_weights_that_are_not_finite_are_refused_by_name() {
    let good = svm(24, Some(160), &[]);
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&good).unwrap();
    for name in ["svm.weight", "svm.bias", "bbox.weight", "bbox.bias"] {
        let (start, end) = metadata.info(name).unwrap().data_offsets;
        let values = (end - start) / 4;
        for (place, bad) in [(0, f32::NAN), (values - 1, f32::INFINITY), (values / 2, f32::NEG_INFINITY)] {
            let mut weights = good.clone();
            weights[8 + header + start + 4 * place..][..4].copy_from_slice(&bad.to_le_bytes());
            let error = rcnn(&classifier(false), &weights).unwrap_err();
            let count = format!("1 of the {values} values of `{name}`");
            for words in ["svm.safetensors", "SVM weights", &count, "not finite", "did the training diverge?"]
            {
                assert!(error.contains(words), "{name} {place}: `{words}` is not in: {error}");
            }
        }
    }
}
