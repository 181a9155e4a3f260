//! RoIAlign against ONNX Runtime's, on the same map and RoIs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use frcnn_core::BBox;
use frcnn_kernels::{AlignedRoi, FeatureMap, RoiAlign, ScaledMap, roi_align_into};
use frcnn_testkit::python;

/// Runs the operator once for each line of `cases`: PH PW SAMPLING_RATIO MODE SCALE. Maps are channels first there.
const RUN: &str = r#"
import sys, numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper
folder, h, w, c = sys.argv[1], *map(int, sys.argv[2:5])
x = np.fromfile(f"{folder}/map.f32", np.float32).reshape(1, h, w, c).transpose(0, 3, 1, 2).copy()
rois = np.fromfile(f"{folder}/rois.f32", np.float32).reshape(-1, 4)
batch = np.zeros(len(rois), np.int64)
for i, case in enumerate(open(f"{folder}/cases")):
    ph, pw, ratio, mode, scale = case.split()
    node = helper.make_node("RoiAlign", ["x", "rois", "batch"], ["y"], output_height=int(ph), output_width=int(pw),
        sampling_ratio=int(ratio), coordinate_transformation_mode=mode, spatial_scale=float(scale))
    graph = helper.make_graph([node], "g", [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, rois.shape),
        helper.make_tensor_value_info("batch", TensorProto.INT64, batch.shape),
    ], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(rois), c, int(ph), int(pw)])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, = session.run(None, {"x": x, "rois": rois, "batch": batch})
    y.transpose(0, 2, 3, 1).copy().tofile(f"{folder}/{i}.f32")
"#;

const HEIGHT: usize = 40;
const WIDTH: usize = 53;
const CHANNELS: usize = 21;

/// Values in -1..1 that follow from their position.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let mixed = (0..count).map(|i| (i + 1).wrapping_mul(0x9E37_79B9 + 2 * seed) >> 7 & 0xFFFF);
    mixed.map(|bits| bits as f32 / 32768.0 - 1.0).collect()
}

#[test]
fn onnx_runtime_agrees() {
    let Some(python) = python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("roi_align");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().copied().flat_map(f32::to_le_bytes).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    let mut data = values(HEIGHT * WIDTH * CHANNELS, 0);
    // Larger at the right and at the bottom: the mean of a large bin says where it lies.
    let cells = data.chunks_exact_mut(CHANNELS).enumerate();
    cells.for_each(|(i, cell)| {
        cell.iter_mut().for_each(|value| *value += (i % WIDTH + i / WIDTH) as f32 / 16.0)
    });
    // In pixels of a map of stride 16, from its middle on, which reach beyond it on all sides. None is inverted, at which ONNX Runtime
    // fails where the number of points depends on it.
    let corners = values(4 * 200, 1);
    let rois = corners.as_chunks().0.iter().map(|[x, y, w, h]| {
        let (x, y) = (424.0 + 500.0 * x, 320.0 + 400.0 * y);
        BBox::new(x, y, x + 300.0 * w + 300.0, y + 300.0 * h + 300.0)
    });
    let rois: Vec<BBox> = rois.collect();
    write("map.f32", &data);
    write("rois.f32", &rois.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect::<Vec<_>>());

    let mut cases = vec![];
    for (pooled, sampling_ratio, spatial_scale) in [
        ([7, 7], 2, 0.0625),
        ([7, 7], 0, 0.0625),
        ([14, 14], 2, 0.07),
        ([3, 5], 0, 0.05),
        ([2, 1], 5, 0.03125),
    ] {
        for half_pixel in [false, true] {
            cases.push((RoiAlign { pooled, sampling_ratio, half_pixel }, spatial_scale));
        }
    }
    let line = |(align, scale): &(RoiAlign, f32)| {
        let [ph, pw] = align.pooled;
        let mode = if align.half_pixel { "half_pixel" } else { "output_half_pixel" };
        format!("{ph} {pw} {} {mode} {scale}\n", align.sampling_ratio)
    };
    fs::write(folder.join("cases"), cases.iter().map(line).collect::<String>()).unwrap();
    let sides = [HEIGHT, WIDTH, CHANNELS].map(|side| side.to_string());
    let run = Command::new(python).args(["-c", RUN]).arg(&folder).args(sides).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let map = FeatureMap::new(&data, HEIGHT, WIDTH, CHANNELS).unwrap();
    let rois: Vec<AlignedRoi> = rois.into_iter().map(|bbox| AlignedRoi { level: 0, bbox }).collect();
    for (i, (align, spatial_scale)) in cases.into_iter().enumerate() {
        let bytes = fs::read(folder.join(format!("{i}.f32"))).unwrap();
        let expected: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let mut out = vec![f32::NAN; rois.len() * align.bins() * CHANNELS];
        roi_align_into(&[ScaledMap { map, spatial_scale }], &rois, &align, 1, &mut out).unwrap();
        assert_eq!(out.len(), expected.len());
        let largest = expected.iter().copied().fold(0.0, f32::max);
        assert!(largest > 1.0, "{align:?}: nothing to compare");
        for (roi, (out, expected)) in out.iter().zip(&expected).enumerate() {
            let roi = rois[roi / (align.bins() * CHANNELS)];
            assert!((out - expected).abs() < 1e-5, "{out}, not {expected}: {align:?}, {roi:?}");
        }
    }
}
