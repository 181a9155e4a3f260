//! The test models themselves: what a test that reads them relies on.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::common::{broken, good};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::onnx_writer::write;
use frcnn_onnx::pb::ModelProto;

/// Every value is defined once, and before it is read.
fn assert_well_formed(name: &str, model: &ModelProto) {
    let graph = model.graph.as_ref().unwrap();
    let mut defined = HashSet::new();
    let inputs = graph.input.iter().map(|input| &input.name);
    for value in inputs.chain(graph.initializer.iter().map(|tensor| &tensor.name)) {
        assert!(defined.insert(value), "{name}: {value} is defined twice");
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(defined.contains(input), "{name}: {} reads {input} before it is defined", node.name);
        }
        for output in &node.output {
            assert!(defined.insert(output), "{name}: {output} is defined twice");
        }
    }
    for output in &graph.output {
        assert!(defined.contains(&output.name), "{name}: nothing computes {}", output.name);
    }
}

fn roi_pools(model: &ModelProto) -> usize {
    let nodes = &model.graph.as_ref().unwrap().node;
    nodes.iter().filter(|node| ["MaxRoiPool", "RoiAlign"].contains(&node.op_type.as_str())).count()
}

#[test]
fn good_models_are_well_formed_and_pool_once_or_at_every_level() {
    for (name, build) in good() {
        let model = build();
        assert_well_formed(name, &model);
        let levels = if name.starts_with("sppnet") { 4 } else { 1 };
        assert_eq!(roi_pools(&model), levels, "{name}");
    }
}

#[test]
fn broken_models_are_well_formed_all_the_same() {
    for (name, build) in broken::ALL {
        assert_well_formed(name, &build());
    }
}

/// Runs each model in ONNX Runtime on a random image of each size and random RoIs.
const RUN: &str = r#"
import sys, numpy as np, onnx, onnxruntime as ort
for path in sys.argv[1:]:
    onnx.checker.check_model(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for h, w in [(96, 128), (75, 101)]:
        data = rng.uniform(-128, 128, (1, 3, h, w)).astype(np.float32)
        x1, y1 = rng.uniform(0, w - 20, 32), rng.uniform(0, h - 20, 32)
        rois = np.stack([0 * x1, x1, y1, x1 + rng.uniform(9, 60, 32), y1 + rng.uniform(9, 60, 32)], 1)
        feeds = {"data": data, "rois": rois.astype(np.float32)}
        for output, value in zip(session.get_outputs(), session.run(None, feeds)):
            assert value.shape == (32, {"cls_prob": 4, "cls_score": 4, "bbox_pred": 16}[output.name]), path
            assert np.isfinite(value).all(), path
            assert np.abs(value).max() < 1e3, (path, np.abs(value).max())
            assert value.std(0).min() > 1e-4, (path, output.name, "does not depend on the RoI")
            if output.name == "cls_prob":
                assert np.allclose(value.sum(1), 1, atol=1e-5), path
"#;

#[test]
fn onnx_runtime_runs_every_good_model() {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let dir = env::temp_dir().join(format!("frcnn-testgraphs-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let models = good().map(|(name, build)| (name, build()));
    let squeezenet = ("squeezenet", new_model(Arch::SqueezeNet, 3, 0).unwrap().onnx);
    let paths: Vec<PathBuf> = models
        .chain([squeezenet])
        .map(|(name, model)| {
            let path = dir.join(name).with_extension("onnx");
            write(&model, &path).unwrap();
            path
        })
        .collect();
    let run = Command::new(python).arg("-c").arg(RUN).args(&paths).output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
