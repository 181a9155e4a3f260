//! ONNX Runtime as a referee: one image and its boxes, which it and this project's own runtime both read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use frcnn::{BBox, Detector, ImageBlob};
use frcnn_bundle::{Bundle, Regions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs each model on its `data` and the same `rois`, and writes its outputs beside it.
const RUN: &str = r#"
import sys, numpy as np, onnx, onnxruntime as ort
folder, h, w, optimised = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "true"
options = ort.SessionOptions()
if not optimised:
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
rois = np.fromfile(f"{folder}/rois.f32", np.float32).reshape(-1, 5)
for path in sys.argv[5:]:
    onnx.checker.check_model(path)
    data = np.fromfile(path + ".data", np.float32).reshape(1, 3, h, w)
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    cls_prob, bbox_pred = session.run(["cls_prob", "bbox_pred"], {"data": data, "rois": rois})
    assert cls_prob.shape == (len(rois), 4) and bbox_pred.shape == (len(rois), 16), path
    cls_prob.tofile(path + ".cls_prob")
    bbox_pred.tofile(path + ".bbox_pred")
"#;

const SIZE: [usize; 2] = [107, 131];

/// An image and boxes.
pub(crate) struct Input {
    blob: ImageBlob,
    boxes: Vec<BBox>,
}

impl Input {
    pub(crate) fn new() -> Input {
        let [height, width] = SIZE;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let data = (0..height * width * 3).map(|_| rng.random_range(-128.0..128.0)).collect();
        let mut span = |len: usize| {
            let start = rng.random_range(0.0..len as f32 - 20.0);
            (start, start + rng.random_range(9.0..60.0))
        };
        let boxes = (0..32).map(|_| (span(width), span(height)));
        let boxes = boxes.map(|((x1, x2), (y1, y2))| BBox::new(x1, y1, x2, y2)).collect();
        Input { blob: ImageBlob::new(data, height, width, 1.0), boxes }
    }

    /// `cls_prob` and `bbox_pred` of every box, by this project's runtime.
    pub(crate) fn run(&self, bundle: &Arc<Bundle>) -> [Vec<f32>; 2] {
        let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
        let mut session = detector.session();
        let map = session.trunk(&self.blob).unwrap();
        let (pooled, index) = match bundle.contents().regions {
            Regions::RoiAlign(_) => {
                let aligned = session.align_rois(&self.boxes).unwrap();
                (session.roi_align(&[map], &aligned.rois).unwrap(), aligned.index)
            }
            _ => {
                let projected = session.project(&self.boxes, std::slice::from_ref(&self.blob)).unwrap();
                (session.roi_pool(&[map], &projected.rois).unwrap(), projected.index)
            }
        };
        let output = session.head(&pooled).unwrap();
        [(output.cls_prob, 4), (output.bbox_pred, 16)].map(|(rows, columns)| {
            let row = |&roi: &u32| &rows[roi as usize * columns..][..columns];
            index.iter().flat_map(row).copied().collect()
        })
    }

    /// The same of every model, by ONNX Runtime in `python`. The models lie in `folder`; each reads as `data` what the bundle
    /// beside it, which was made of it, takes for its blob. `optimised` is whether ONNX Runtime may rewrite the graph.
    pub(crate) fn referee(
        &self,
        python: &Path,
        folder: &Path,
        models: &[(PathBuf, &Bundle)],
        optimised: bool,
    ) -> Vec<[Vec<f32>; 2]> {
        let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        for (path, bundle) in models {
            let data = bundle.contents().network_input().of_blob(&self.blob.data);
            let planes = (0..3).flat_map(|c| data.iter().skip(c).step_by(3)).copied();
            fs::write(format!("{}.data", path.display()), bytes(planes.collect())).unwrap();
        }
        let models: Vec<&PathBuf> = models.iter().map(|(path, _)| path).collect();
        let rois = self.boxes.iter().flat_map(|b| [0.0, b.x1, b.y1, b.x2, b.y2]);
        fs::write(folder.join("rois.f32"), bytes(rois.collect())).unwrap();
        let sides = SIZE.map(|side| side.to_string());
        let run = Command::new(python)
            .arg("-c")
            .arg(RUN)
            .arg(folder)
            .args(sides)
            .arg(optimised.to_string())
            .args(&models)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let output = |path: &Path, name: &str| {
            let bytes = fs::read(format!("{}.{name}", path.display())).unwrap();
            bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        };
        models.iter().map(|path| ["cls_prob", "bbox_pred"].map(|name| output(path, name))).collect()
    }
}
