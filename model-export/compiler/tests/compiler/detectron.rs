//! detectron2's ways with the same stages: BGR in 0..255, RoIAlign by half pixels with as many points as a bin has cells, boxes without
//! the added pixel, a stage of convolutions for each region (C4), its own rule of levels (FPN). ONNX Runtime and a plain
//! reference in Python are the referees.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common::nodes::model_of;
use frcnn::{BBox, Detector, Frame};
use frcnn_bundle::{Bundle, DetectionMethod, LevelRule, Op, Regions, Resize};
use frcnn_compiler::{Description, Options, compile, description_of, emit_onnx, onnx_writer};
use frcnn_core::relative_difference;
use image::RgbImage;
use prost::Message;
use serde_json::Value;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value as TypeValue};
use tract_onnx::pb::{ModelProto, TypeProto};

/// Two strided layers in the place of res2 to res4: a map of 1/16.
const C4_TRUNK: &str = "
    c1 = Conv data stem.weight:8x3x7x7 stem.bias:8 | kernel_shape=[7,7] pads=[3,3,3,3] strides=[4,4]
    r1 = Relu c1
    c2 = Conv r1 c2.weight:12x8x5x5 c2.bias:12 | kernel_shape=[5,5] pads=[2,2,2,2] strides=[4,4]
    map = Relu c2
    rpn_conv = Conv map rpn_conv.weight:12x12x3x3 rpn_conv.bias:12 | kernel_shape=[3,3] pads=[1,1,1,1]
    rpn_conv_relu = Relu rpn_conv
    rpn_logits.0 = Conv rpn_conv_relu logits.weight:3x12x1x1 logits.bias:3 | kernel_shape=[1,1]
    rpn_deltas.0 = Conv rpn_conv_relu deltas.weight:12x12x1x1 deltas.bias:12 | kernel_shape=[1,1]
";
/// Boxes and their batch indices apart.
const BOXES: &str = "
    boxes = Slice rois =[1] =[5] =[1]
    column = Slice rois =[0] =[1] =[1]
    batch = Squeeze column =[1]
    batch_indices = Cast batch | to=7
";
const C4_POOL: &str = "
    pooled = RoiAlign map boxes batch_indices | coordinate_transformation_mode=half_pixel mode=avg output_height=14 \
        output_width=14 sampling_ratio=0 spatial_scale=0.0625
";
/// res5: a strided block with a projection, and one without, frozen batch normalisation behind the first; then the mean.
const RES5: &str = "
    a1 = Conv pooled a1.weight:6x12x1x1 | kernel_shape=[1,1] strides=[2,2]
    a1_scaled = Mul a1 a1.scale:1x6x1x1
    a1_norm = Add a1_scaled a1.shift:1x6x1x1
    a1_relu = Relu a1_norm
    a2 = Conv a1_relu a2.weight:6x6x3x3 a2.bias:6 | kernel_shape=[3,3] pads=[1,1,1,1]
    a2_relu = Relu a2
    a3 = Conv a2_relu a3.weight:20x6x1x1 a3.bias:20 | kernel_shape=[1,1]
    shortcut = Conv pooled shortcut.weight:20x12x1x1 shortcut.bias:20 | kernel_shape=[1,1] strides=[2,2]
    a_sum = Add a3 shortcut
    a = Relu a_sum
    b1 = Conv a b1.weight:7x20x1x1 b1.bias:7 | kernel_shape=[1,1]
    b1_relu = Relu b1
    b2 = Conv b1_relu b2.weight:7x7x3x3 b2.bias:7 | kernel_shape=[3,3] pads=[1,1,1,1]
    b2_relu = Relu b2
    b3 = Conv b2_relu b3.weight:20x7x1x1 b3.bias:20 | kernel_shape=[1,1]
    b_sum = Add b3 a
    b = Relu b_sum
    mean = ReduceMean b | axes=[2,3] keepdims=0
    cls_score = Gemm mean cls_score.weight:4x20 cls_score.bias:4 | transB=1
    cls_prob = Softmax cls_score | axis=1
    bbox_pred = Gemm mean bbox_pred.weight:16x20 bbox_pred.bias:16 | transB=1
";
const C4_OUTPUTS: [&str; 4] = ["cls_prob", "bbox_pred", "rpn_logits.0", "rpn_deltas.0"];

/// Maps of 1/4 and 1/8, as many RPN outputs, and one of 1/16 that the RPN alone reads.
const FPN_TRUNK: &str = "
    c1 = Conv data stem.weight:8x3x7x7 stem.bias:8 | kernel_shape=[7,7] pads=[3,3,3,3] strides=[4,4]
    r1 = Relu c1
    c2 = Conv r1 c2.weight:10x8x3x3 c2.bias:10 | kernel_shape=[3,3] pads=[1,1,1,1] strides=[2,2]
    r2 = Relu c2
    lateral1 = Conv r2 lateral1.weight:12x10x1x1 lateral1.bias:12 | kernel_shape=[1,1]
    lateral0 = Conv r1 lateral0.weight:12x8x1x1 lateral0.bias:12 | kernel_shape=[1,1]
    up = Resize lateral1 _ =[1.0,1.0,2.0,2.0] | coordinate_transformation_mode=asymmetric mode=nearest nearest_mode=floor
    sum = Add lateral0 up
    p2 = Conv sum p2.weight:12x12x3x3 p2.bias:12 | kernel_shape=[3,3] pads=[1,1,1,1]
    p3 = Conv lateral1 p3.weight:12x12x3x3 p3.bias:12 | kernel_shape=[3,3] pads=[1,1,1,1]
    p4 = MaxPool p3 | kernel_shape=[1,1] strides=[2,2]
";
/// `ROIPooler`, with `index_put_` as the exporter writes it. `EPSILON` stands where torchvision has none.
const FPN_POOL: &str = "
    x2 = Gather boxes =2 | axis=1
    x1 = Gather boxes =0 | axis=1
    w = Sub x2 x1
    y2 = Gather boxes =3 | axis=1
    y1 = Gather boxes =1 | axis=1
    h = Sub y2 y1
    area = Mul w h
    side = Sqrt area
    share = Div side =64.0
    share_e = Add share =0.00000001
    ln = Log share_e
    log2 = Div ln =0.6931471824645996
    level = Add log2 =3.0
    floor = Floor level
    bounded = Clip floor =2.0 =3.0
    bounded_i = Cast bounded | to=7
    number = Sub bounded_i =2
    count = Shape rois
    rows = Slice count =[0] =[1]
    shape = Concat rows =[12] =[4] =[4] | axis=0
    none = ConstantOfShape shape
";

fn fpn_level(level: usize, before: &str) -> String {
    let scale = [0.25, 0.125][level];
    format!(
        "is{level} = Equal number ={level}
         of{level} = NonZero is{level}
         turned{level} = Transpose of{level} | perm=[1,0]
         split{level} = Split turned{level} =[1] | axis=1
         which{level} = Squeeze split{level} =[1]
         rois{level} = Gather rois which{level} | axis=0
         first{level} = Gather rois{level} =[0] | axis=1
         image{level} = Squeeze first{level} =[1]
         image_i{level} = Cast image{level} | to=7
         four{level} = Gather rois{level} =[1,2,3,4] | axis=1
         align{level} = RoiAlign p{n} four{level} image_i{level} | coordinate_transformation_mode=half_pixel output_height=4 \
            output_width=4 sampling_ratio=0 spatial_scale={scale:?}
         shaped{level} = Reshape align{level} =[-1,12,4,4]
         spread{level} = Unsqueeze which{level} =[1]
         merged{level} = ScatterND {before} spread{level} shaped{level}\n",
        n = level + 2
    )
}

const FC_HEAD: &str = "
    flat = Flatten merged1 | axis=1
    fc6 = Gemm flat fc6.weight:21x192 fc6.bias:21 | transB=1
    fc6_relu = Relu fc6
    cls_score = Gemm fc6_relu fc_score.weight:4x21 fc_score.bias:4 | transB=1
    cls_prob = Softmax cls_score | axis=1
    bbox_pred = Gemm fc6_relu bbox_pred.weight:16x21 bbox_pred.bias:16 | transB=1
";

fn fpn(pool: &str) -> String {
    [FPN_TRUNK, BOXES, pool, &fpn_level(0, "none"), &fpn_level(1, "merged0"), FC_HEAD].concat()
}

/// The RPN's head on each of the maps `p2` and so on.
fn fpn_rpn() -> String {
    let of = |level: usize| {
        format!(
            "h{level} = Conv p{n} rpn_conv.weight:12x12x3x3 rpn_conv.bias:12 | kernel_shape=[3,3] pads=[1,1,1,1]
             hr{level} = Relu h{level}
             rpn_logits.{level} = Conv hr{level} logits.weight:3x12x1x1 logits.bias:3 | kernel_shape=[1,1]
             rpn_deltas.{level} = Conv hr{level} deltas.weight:12x12x1x1 deltas.bias:12 | kernel_shape=[1,1]\n",
            n = level + 2
        )
    };
    (0..3).map(of).collect()
}

const FPN_OUTPUTS: [&str; 8] = [
    "cls_prob",
    "bbox_pred",
    "rpn_logits.0",
    "rpn_logits.1",
    "rpn_logits.2",
    "rpn_deltas.0",
    "rpn_deltas.1",
    "rpn_deltas.2",
];

/// Anchors of three ratios and one size each, which detectron2 does not round.
fn anchors(sizes: &[f32]) -> Vec<Vec<[f32; 4]>> {
    let of = |size: &f32| {
        [0.5f32, 1.0, 2.0].map(|ratio| {
            let (w, h) = (size / ratio.sqrt() / 2.0, size * ratio.sqrt() / 2.0);
            [-w, -h, w, h]
        })
    };
    sizes.iter().map(|size| of(size).to_vec()).collect()
}

/// `manifest.json` of these anchors and strides; no RPN where there are none.
fn manifest(sizes: &[f32], strides: &[u32], pad_multiple: u32) -> Value {
    let mut manifest = serde_json::json!({
        "classes": ["__background__", "a", "b", "c"],
        "channel_order": "bgr", "pixel_scale": 255, "pixel_means": [103.53, 116.28, 123.675], "pixel_stds": [1, 1, 1],
        "scales": [200], "max_long_side": 333, "resize": "detectron2", "pad_multiple": pad_multiple,
        "box_width_offset": 0, "nms_width_offset": 0, "nms_keeps_equal": true, "box_weights": [10, 10, 5, 5],
        "score_threshold": 0.15, "nms_iou": 0.5, "max_detections": 100, "min_box_side": 1e-30,
    });
    if !sizes.is_empty() {
        manifest["rpn"] = serde_json::json!({
            "anchors": anchors(sizes), "strides": strides, "pre_nms_top_n": 120, "post_nms_top_n": 60, "nms_iou": 0.7,
            "min_side": 1e-30, "score_threshold": 0,
        });
    }
    manifest
}

/// The weights drawn are of layers that keep what variance they read: pixels become small, and boxes move by a part of their
/// size.
fn settled(mut model: ModelProto) -> ModelProto {
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let factor = match tensor.name.as_str() {
            "stem.weight" => 0.015,
            "deltas.weight" | "deltas.bias" => 0.1,
            "cls_score.weight" => 6.0,
            "bbox_pred.weight" => 3.0,
            "fc_score.weight" => 2.0,
            name if name.ends_with(".bias") => 0.2,
            _ => 1.0,
        };
        tensor.float_data.iter_mut().for_each(|value| *value *= factor);
        // There all boxes would be background.
        if tensor.name == "fc_score.bias" {
            tensor.float_data[0] -= 40.0;
        }
    }
    let graph = model.graph.as_mut().unwrap();
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        // ONNX Runtime wants to know.
        let tensor = TensorType { elem_type: DataType::Float as i32, shape: None };
        value.r#type = Some(TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() });
    }
    model
}

/// Compiles these nodes in `folder`, where they are then `model.onnx`.
fn compile_in(folder: &Path, text: &str, outputs: &[&str], manifest: &Value) -> Result<Arc<Bundle>, String> {
    let (onnx, json) = (folder.join("model.onnx"), folder.join("manifest.json"));
    fs::write(&onnx, settled(model_of(text, &["data", "rois"], outputs)).encode_to_vec()).unwrap();
    fs::write(&json, manifest.to_string()).unwrap();
    let description = Description::load(&json).map_err(|error| error.to_string())?;
    let compiled = compile(&onnx, &description, &Options::default(), &mut |_| {});
    Ok(compiled.map_err(|error| error.to_string())?.bundle)
}

/// What `emit_onnx` makes of a bundle, which takes the place of the model in `folder`, compiled again.
fn emitted_in(folder: &Path, bundle: &Bundle) -> Arc<Bundle> {
    let (onnx, json) = (folder.join("model.onnx"), folder.join("manifest.json"));
    onnx_writer::write(&emit_onnx(bundle).unwrap(), &onnx).unwrap();
    fs::write(&json, description_of(bundle.contents()).unwrap()).unwrap();
    let description = Description::load(&json).unwrap();
    compile(&onnx, &description, &Options::default(), &mut |_| {})
        .unwrap_or_else(|error| panic!("{error}"))
        .bundle
}

fn photo() -> RgbImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/scene.jpg");
    image::open(path).unwrap().into_rgb8()
}

/// The scores, the box deltas and the whole detection by ONNX Runtime and what detectron2 does between its parts.
const PLAIN: &str = r#"
import json, sys
import numpy as np, onnxruntime as ort
folder = sys.argv[1]
said = json.load(open(f"{folder}/asked.json"))
manifest = json.load(open(f"{folder}/manifest.json"))
height, width = said["image"]
data = np.fromfile(f"{folder}/data.f32", np.float32).reshape(1, 3, *said["blob"])
session = ort.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])

def network(boxes, names):
    rois = np.concatenate([np.zeros((len(boxes), 1)), boxes], 1).astype(np.float32)
    return session.run(names, {"data": data, "rois": rois})

def decoded(boxes, deltas, weights):
    wx, wy, ww, wh = weights
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x, y = boxes[:, 0] + w / 2, boxes[:, 1] + h / 2
    limit = np.log(1000 / 16)
    x, y = x + deltas[:, 0] / wx * w, y + deltas[:, 1] / wy * h
    w, h = w * np.exp(np.minimum(deltas[:, 2] / ww, limit)), h * np.exp(np.minimum(deltas[:, 3] / wh, limit))
    made = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    return made.clip(0, [width, height, width, height])

def suppressed(boxes, scores, iou):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        for j in kept:
            lo, hi = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
            shared = (hi - lo).clip(0).prod()
            if shared / ((boxes[i, 2:] - boxes[i, :2]).prod() + (boxes[j, 2:] - boxes[j, :2]).prod() - shared) > iou:
                break
        else:
            kept.append(i)
    return np.array(kept, int)

def proposals(rpn):
    boxes, scores = [], []
    for level, (anchors, stride) in enumerate(zip(rpn["anchors"], rpn["strides"])):
        logits, deltas = network(np.zeros((1, 4)), [f"rpn_logits.{level}", f"rpn_deltas.{level}"])
        _, count, rows, columns = logits.shape
        logits = logits[0].transpose(1, 2, 0).reshape(-1).astype(np.float64)
        deltas = deltas.reshape(count, 4, rows, columns).transpose(2, 3, 0, 1).reshape(-1, 4).astype(np.float64)
        y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
        places = np.stack([x, y, x, y], -1).reshape(-1, 1, 4) + np.array(anchors)
        best = np.argsort(-logits, kind="stable")[: rpn["pre_nms_top_n"]]
        made, logits = decoded(places.reshape(-1, 4)[best], deltas[best], [1, 1, 1, 1]), logits[best]
        whole = ((made[:, 2:] - made[:, :2]) > 0).all(1)
        made, logits = made[whole], logits[whole]
        kept = suppressed(made, logits, rpn["nms_iou"])
        boxes.append(made[kept])
        scores.append(logits[kept])
    boxes, scores = np.concatenate(boxes), np.concatenate(scores)
    return boxes[np.argsort(-scores, kind="stable")][: rpn["post_nms_top_n"]]

boxes = np.array(said["boxes"]) if "boxes" in said else proposals(manifest["rpn"])
scores, deltas = network(boxes, ["cls_prob", "bbox_pred"])
found = []
for number in range(1, scores.shape[1]):
    likely = scores[:, number] > manifest["score_threshold"]
    of_class = decoded(boxes[likely], deltas[likely, 4 * number : 4 * number + 4].astype(np.float64), manifest["box_weights"])
    whole = ((of_class[:, 2:] - of_class[:, :2]) > 0).all(1)
    of_class, likely = of_class[whole], scores[likely, number][whole]
    for place in suppressed(of_class, likely, manifest["nms_iou"]):
        found.append([number, float(likely[place]), *of_class[place].tolist()])
found.sort(key=lambda one: -one[1])
answer = {"found": found[: manifest["max_detections"]], "boxes": boxes.tolist()}
json.dump({**answer, "cls_prob": scores.tolist(), "bbox_pred": deltas.tolist()}, open(f"{folder}/answer.json", "w"))
"#;

/// What the referees say of the model in `folder`, on its blob of the photo; of `boxes` in its pixels, or of its own proposals.
fn referee(python: &Path, folder: &Path, bundle: &Arc<Bundle>, boxes: Option<&[BBox]>) -> Value {
    let picture = photo();
    let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
    let frame = Frame::rgb8(picture.as_raw(), picture.width(), picture.height()).unwrap();
    let blob = detector.session().preprocess(&frame).unwrap().remove(0);
    let data = bundle.contents().network_input().of_blob(&blob.data);
    let planes = (0..3).flat_map(|c| data.iter().skip(c).step_by(3)).flat_map(|value| value.to_le_bytes());
    fs::write(folder.join("data.f32"), planes.collect::<Vec<u8>>()).unwrap();
    let mut asked = serde_json::json!({"image": blob.image, "blob": [blob.height, blob.width]});
    if let Some(boxes) = boxes {
        asked["boxes"] = boxes.iter().map(|b| [b.x1, b.y1, b.x2, b.y2]).collect();
    }
    fs::write(folder.join("asked.json"), asked.to_string()).unwrap();
    let run = Command::new(python).args(["-c", PLAIN]).arg(folder).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&fs::read(folder.join("answer.json")).unwrap()).unwrap()
}

/// Rows of a JSON array, one behind the other.
fn values(rows: &Value) -> Vec<f32> {
    let row =
        |row: &Value| row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect::<Vec<_>>();
    rows.as_array().unwrap().iter().flat_map(row).collect()
}

/// Class, score and box in pixels of the photo.
type Found = (usize, f32, BBox);

fn whole_detection(bundle: &Arc<Bundle>, boxes: Option<&[BBox]>) -> Vec<Found> {
    let picture = photo();
    let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
    let mut session = detector.session();
    let frame = Frame::rgb8(picture.as_raw(), picture.width(), picture.height()).unwrap();
    let found = match boxes {
        Some(boxes) => session.detect(&frame, boxes).unwrap(),
        None => session.detect_frame(&frame).unwrap(),
    };
    found.iter().map(|d| (usize::from(d.class_id), d.score, d.bbox)).collect()
}

/// Each of these with a score that matters has its like among those.
fn assert_among(these: &[Found], those: &[Found], threshold: f32) {
    for (class, score, bbox) in these.iter().filter(|(_, score, _)| *score >= threshold + 0.002) {
        let alike = |other: &&Found| {
            other.0 == *class && (other.1 - score).abs() <= 0.002 && other.2.iou(bbox, 0.0) >= 0.99
        };
        assert!(those.iter().any(|other| alike(&other)), "{class} {score} {bbox:?} is not in {those:?}");
    }
}

/// The whole way from the photo, beside the referees'.
fn assert_detects_the_same(python: &Path, folder: &Path, bundle: &Arc<Bundle>) {
    let answer = referee(python, folder, bundle, None);
    let picture = photo();
    let (image, threshold) =
        ([picture.height(), picture.width()], bundle.contents().manifest.score_threshold);
    let fit = bundle.contents().manifest.fit(image[0], image[1], 200);
    let expected: Vec<Found> = answer["found"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let number = |place: usize| found[place].as_f64().unwrap();
            let [down, right] = fit.scale;
            let corner = |place: usize, scale: f64| (number(place) / scale) as f32;
            let bbox = BBox::new(corner(2, right), corner(3, down), corner(4, right), corner(5, down));
            (number(0) as usize, number(1) as f32, bbox)
        })
        .collect();
    let found = whole_detection(bundle, None);
    assert!(expected.len() >= 8, "{expected:?}");
    assert_among(&expected, &found, threshold);
    assert_among(&found, &expected, threshold);
}

/// A bundle, and what is emitted of it and compiled again, against ONNX Runtime.
fn assert_is_the_same_everywhere(folder: &Path, bundle: &Arc<Bundle>) {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnxruntime") else { return };
    assert_agrees(&python, folder, bundle);
    assert_detects_the_same(&python, folder, bundle);
    let again = emitted_in(folder, bundle);
    assert_eq!(whole_detection(&again, None), whole_detection(bundle, None));
    assert_detects_the_same(&python, folder, &again);
}

/// Scores and deltas of boxes of all sizes.
fn assert_agrees(python: &Path, folder: &Path, bundle: &Arc<Bundle>) {
    let mut boxes = Vec::new();
    for (number, side) in [3.0f32, 9.5, 17.0, 31.9, 32.1, 50.0, 77.7, 120.0, 180.0].into_iter().enumerate() {
        let (x, y) = (11.3 * number as f32 % 80.0, 5.9 * number as f32 % 17.0);
        boxes.push(BBox::new(x, y, x + side, y + side));
        boxes.push(BBox::new(x, y, x + side * 0.6, y + side * 0.9));
    }
    boxes.push(BBox::new(-20.0, -30.0, 40.0, 50.0));
    boxes.push(BBox::new(0.0, 0.0, 266.0, 200.0));
    let answer = referee(python, folder, bundle, Some(&boxes));
    let detector = Detector::new(bundle.clone(), &frcnn::Options::default()).unwrap();
    let mut session = detector.session();
    let picture = photo();
    let frame = Frame::rgb8(picture.as_raw(), picture.width(), picture.height()).unwrap();
    let blob = session.preprocess(&frame).unwrap().remove(0);
    let maps = session.maps(&blob).unwrap();
    let rois = session.align_rois(&boxes).unwrap();
    let features = session.roi_align(&maps, &rois.rois).unwrap();
    let output = session.head(&features).unwrap();
    for (name, found, columns) in [("cls_prob", &output.cls_prob, 4), ("bbox_pred", &output.bbox_pred, 16)] {
        let ordered: Vec<f32> =
            rois.index.iter().flat_map(|&roi| &found[roi as usize * columns..][..columns]).copied().collect();
        let expected = values(&answer[name]);
        let difference = relative_difference(&ordered, &expected);
        assert!(difference <= 1e-4, "{name} is off by {difference:e} of the largest");
        let first = &expected[..columns];
        assert!(expected.chunks(columns).any(|row| row != first), "{name} is the same for all boxes");
    }
}

#[test]
fn a_stage_of_convolutions_for_each_region() {
    let folder = tempfile::tempdir().unwrap();
    let text = [C4_TRUNK, BOXES, C4_POOL, RES5].concat();
    let bundle = compile_in(folder.path(), &text, &C4_OUTPUTS, &manifest(&[64.0], &[16], 1)).unwrap();
    let contents = bundle.contents();
    assert_eq!(contents.method(), DetectionMethod::FasterRcnn);
    let Regions::RoiAlign(align) = &contents.regions else { panic!("no RoIAlign") };
    assert_eq!((align.pooled, align.sampling_ratio, align.half_pixel), ([14, 14], 0, true));
    assert_eq!(align.spatial_scales, [0.0625]);
    let count = |is: fn(&Op) -> bool| contents.head.layers.iter().filter(|layer| is(&layer.op)).count();
    assert_eq!(count(|op| matches!(op, Op::Conv(_))), 7);
    assert_eq!((count(|op| *op == Op::GlobalAveragePool), count(|op| matches!(op, Op::Affine(_)))), (1, 0));
    let manifest = &contents.manifest;
    assert_eq!((manifest.resize, manifest.fit(480, 640, 200).image), (Resize::Detectron2, [200, 267]));
    assert_eq!((manifest.box_width_offset, manifest.nms_width_offset), (0.0, 0.0));
    assert_is_the_same_everywhere(folder.path(), &bundle);
}

#[test]
fn a_pyramid_with_its_own_rule_of_levels() {
    let folder = tempfile::tempdir().unwrap();
    let text = fpn(FPN_POOL) + &fpn_rpn();
    let sizes = [16.0, 40.0, 90.0];
    let bundle = compile_in(folder.path(), &text, &FPN_OUTPUTS, &manifest(&sizes, &[4, 8, 16], 32)).unwrap();
    let contents = bundle.contents();
    assert_eq!((contents.method(), contents.trunk.outputs.len()), (DetectionMethod::FasterRcnn, 3));
    let Regions::RoiAlign(align) = &contents.regions else { panic!("no RoIAlign") };
    assert_eq!(
        (align.sampling_ratio, align.half_pixel, &align.spatial_scales[..]),
        (0, true, &[0.25, 0.125][..])
    );
    assert_eq!(align.level_rule, LevelRule { canonical_size: 64.0, canonical_level: 3, finest_level: 2 });
    assert_is_the_same_everywhere(folder.path(), &bundle);
}

/// Fast R-CNN with a pyramid: no RPN, boxes from elsewhere.
#[test]
fn a_pyramid_takes_boxes_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let bundle =
        compile_in(folder.path(), &fpn(FPN_POOL), &FPN_OUTPUTS[..2], &manifest(&[], &[], 32)).unwrap();
    assert_eq!(bundle.contents().method(), DetectionMethod::FastRcnn);
    assert_eq!(bundle.contents().trunk.outputs.len(), 2, "p4 is read by nobody");
    let boxes: Vec<BBox> = (0..40)
        .map(|n| {
            let (x, y, side) = (13.0 * n as f32, 7.0 * n as f32, 30.0 + 9.0 * n as f32);
            BBox::new(x, y, (x + side).min(640.0), (y + side).min(480.0))
        })
        .collect();
    assert!(!whole_detection(&bundle, Some(&boxes)).is_empty());
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnxruntime") else { return };
    assert_agrees(&python, folder.path(), &bundle);
}

#[test]
fn what_is_not_the_contracts_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, outputs: &[&str], manifest: &Value, words: &[&str]| {
        let error = compile_in(folder.path(), text, outputs, manifest)
            .err()
            .unwrap_or_else(|| panic!("{words:?}: it compiles"));
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    let c4 = [C4_TRUNK, BOXES, C4_POOL, RES5].concat();
    let with = |from: &str, to: &str| {
        assert!(c4.contains(from), "{from}");
        c4.replace(from, to)
    };
    let rules = manifest(&[64.0], &[16], 1);
    refused(&with("mode=avg", "mode=max"), &C4_OUTPUTS, &rules, &["`pooled` (RoiAlign)", "not averaged"]);
    let no_box = with("bbox_pred.weight:16x20 bbox_pred.bias:16", "bbox_pred.weight:12x20 bbox_pred.bias:12");
    refused(
        &no_box,
        &C4_OUTPUTS,
        &rules,
        &["4 and 12 wide", "background is the last class", "four zeros first"],
    );
    let one_box = with("cls_score.weight:4x20 cls_score.bias:4", "cls_score.weight:5x20 cls_score.bias:5")
        .replace("bbox_pred.weight:16x20 bbox_pred.bias:16", "bbox_pred.weight:4x20 bbox_pred.bias:4");
    refused(&one_box, &C4_OUTPUTS, &rules, &["5 and 4 wide", "share one box"]);
    let mut no_strides = rules.clone();
    no_strides["rpn"]["strides"] = serde_json::json!([16, 32]);
    refused(&c4, &C4_OUTPUTS, &no_strides, &["strides"]);

    let pyramid = manifest(&[], &[], 32);
    let fpn_with = |from: &str, to: &str| {
        let text = fpn(FPN_POOL);
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    for (from, to, words) in [
        ("share_e = Add share =0.00000001", "share_e = Add share =0.1", &["`share_e`", "level"][..]),
        (
            "merged1 = ScatterND merged0 spread1",
            "merged1 = ScatterND merged0 spread0",
            &["`merged1`", "regions"],
        ),
        ("merged1 = ScatterND merged0", "merged1 = ScatterND none", &["`merged1`", "regions"]),
        ("spread1 shaped1\n", "spread1 shaped1 | reduction=add\n", &["`merged1`", "regions"]),
        (
            "align1 = RoiAlign p3 four1 image_i1 | coordinate_transformation_mode=half_pixel",
            "align1 = RoiAlign p3 four1 image_i1 | coordinate_transformation_mode=output_half_pixel",
            &["`align1`", "another way"],
        ),
    ] {
        refused(&fpn_with(from, to), &FPN_OUTPUTS[..2], &pyramid, words);
    }
}
