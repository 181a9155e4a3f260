use super::*;
use crate::tensors::values;
use frcnn::{BBox, Detector, ImageBlob, Options};
use frcnn_bundle::{ChannelOrder, Manifest};
use frcnn_core::relative_difference;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The compiler's own test models.
#[path = "../../../../compiler/tests/common/mod.rs"]
mod common;

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![240];
    manifest
}

#[test]
fn what_compiles_is_run_and_agrees_with_the_runtime() {
    let (height, width) = (197, 259);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let data: Vec<f32> = (0..height * width * 3).map(|_| rng.random_range(-128.0..128.0)).collect();
    let blob = Tensor::from_slice(&data).view([1, height as i64, width as i64, 3]).permute([0, 3, 1, 2]);
    let boxes = [[3.0, 5.0, 90.0, 80.0], [40.0, 20.0, 250.0, 190.0], [100.0, 90.0, 120.0, 100.0]];
    let rois = boxes.map(|[x1, y1, x2, y2]: [f32; 4]| [0.0, x1, y1, x2, y2]);
    let boxes = boxes.map(|[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2));
    let mut seen = 0;
    // `same_upper` does not compile: it pads by an amount that depends on the image.
    for (name, model) in common::good().filter(|(name, _)| *name != "same_upper") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        frcnn_onnx::writer::write(&model(), &path).unwrap();
        for order in [ChannelOrder::Bgr, ChannelOrder::Rgb] {
            let manifest = Manifest { channel_order: order, ..manifest() };
            let bundle = frcnn_compiler::lower_onnx(&path, &manifest).unwrap();
            let detector = Detector::new(bundle, &Options::default()).unwrap();
            let mut session = detector.session();
            let blobs = [ImageBlob::new(data.clone(), height, width, 1.0)];
            let map = session.trunk(&blobs[0]).unwrap();
            let (features, index) = match detector.contents().regions {
                Regions::RoiAlign(_) => {
                    let aligned = session.align_rois(&boxes).unwrap();
                    (session.roi_align(&[map], &aligned.rois).unwrap(), aligned.index)
                }
                _ => {
                    let projected = session.project(&boxes, &blobs).unwrap();
                    (session.roi_pool(&[map], &projected.rois).unwrap(), projected.index)
                }
            };
            let output = session.head(&features).unwrap();
            let of_box = |values: &[f32], columns: usize| -> Vec<f32> {
                let rows = index.iter().map(|&row| row as usize * columns);
                rows.flat_map(|start| values[start..start + columns].to_vec()).collect()
            };

            let network = Compiled::read(&path, &manifest, Device::Cpu).unwrap();
            let stages = tch::no_grad(|| network.stages(&blob, &rois));
            for (stage, columns, expected) in
                [("cls_prob", 4, &output.cls_prob), ("bbox_pred", 16, &output.bbox_pred)]
            {
                let found = stages.iter().find(|(known, _)| known == stage).unwrap();
                let error = relative_difference(&values(&found.1), &of_box(expected, columns));
                // Sums in another order, Winograd's among them.
                assert!(error < 1e-4, "{name} {order:?}: {stage} is off by {error:e}");
            }
            let [cls_prob, _] = tch::no_grad(|| network.predict(&network.feature_map(&blob), &rois));
            assert_eq!(values(&cls_prob), values(&stages.iter().find(|(k, _)| k == "cls_prob").unwrap().1));
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen} models");
}

#[test]
fn what_does_not_compile_is_named() {
    for (name, model) in common::broken::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        frcnn_onnx::writer::write(&model(), &path).unwrap();
        let error = Compiled::read(&path, &manifest(), Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("model.onnx"), "{name}: {error}");
    }
}

#[test]
fn a_blob_that_is_too_small_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    frcnn_onnx::writer::write(&common::trunks::alexnet_like(), &path).unwrap();
    let network = Compiled::read(&path, &manifest(), Device::Cpu).unwrap();
    let blob = |side: i64| Tensor::zeros([1, 3, side, side], (Kind::Float, Device::Cpu));
    assert!(network.check(&blob(200)).is_ok());
    assert!(network.check(&blob(2)).unwrap_err().contains("too small"));
}
