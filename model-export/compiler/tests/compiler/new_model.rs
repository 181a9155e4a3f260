//! The networks of `frcnn new`: their sizes against the published ones, and their bytes against themselves.

use frcnn_compiler::arch::{Arch, ArchError, MAX_CLASSES, new_model};
use frcnn_onnx::pb::{ModelProto, TensorProto};
use prost::Message;

/// Parameters of the layers whose names `of` accepts, weights and biases.
fn parameters(model: &ModelProto, of: impl Fn(&str) -> bool) -> i64 {
    let initializers = &model.graph.as_ref().unwrap().initializer;
    let layer = |tensor: &TensorProto| tensor.name.rsplit_once('.').unwrap().0.to_owned();
    initializers.iter().filter(|t| of(&layer(t))).map(|t| t.dims.iter().product::<i64>()).sum()
}

fn conv_parameters(model: &ModelProto) -> i64 {
    parameters(model, |layer| layer.starts_with("conv") || layer.starts_with("fire"))
}

fn dims(model: &ModelProto, tensor: &str) -> Vec<i64> {
    let initializers = &model.graph.as_ref().unwrap().initializer;
    initializers.iter().find(|t| t.name == tensor).unwrap().dims.clone()
}

fn model(arch: Arch, classes: u32) -> ModelProto {
    new_model(arch, classes, 0).unwrap().onnx
}

#[test]
fn vgg16_has_the_published_size() {
    let model = model(Arch::Vgg16, 20);
    assert_eq!(conv_parameters(&model), 14_714_688);
    // The classifier's 138,357,544 without its fc8 of 1000 x 4096 + 1000.
    assert_eq!(
        parameters(&model, |layer| !["cls_score", "bbox_pred"].contains(&layer)),
        138_357_544 - 4_097_000
    );
    assert_eq!(dims(&model, "fc6.weight"), [4096, 25_088]);
    assert_eq!(dims(&model, "cls_score.weight"), [21, 4096]);
    assert_eq!(dims(&model, "bbox_pred.weight"), [84, 4096]);
}

#[test]
fn caffenet_has_the_published_size() {
    let model = model(Arch::CaffeNet, 20);
    // The classifier's 60,965,224 without its fc8.
    assert_eq!(
        parameters(&model, |layer| !["cls_score", "bbox_pred"].contains(&layer)),
        60_965_224 - 4_097_000
    );
    assert_eq!(dims(&model, "conv4.weight"), [384, 192, 3, 3]);
}

#[test]
fn vgg_cnn_m_1024_has_the_published_size() {
    let model = model(Arch::VggCnnM1024, 20);
    assert_eq!(conv_parameters(&model), 14_208 + 614_656 + 1_180_160 + 2 * 2_359_808);
    assert_eq!(dims(&model, "fc6.weight"), [4096, 512 * 6 * 6]);
    assert_eq!(dims(&model, "fc7.weight"), [1024, 4096]);
}

#[test]
fn squeezenet_has_the_published_size() {
    let model = model(Arch::SqueezeNet, 3);
    // The classifier's 1,248,424 without fire9 (197,184) and conv10 (513,000).
    assert_eq!(conv_parameters(&model), 1_248_424 - 197_184 - 513_000);
    assert_eq!(dims(&model, "fc6.weight"), [512, 18_432]);
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let encode = |seed| new_model(Arch::SqueezeNet, 3, seed).unwrap().onnx.encode_to_vec();
    let model = encode(5);
    assert!(model == encode(5));
    assert!(model != encode(6));
}

#[test]
fn the_trunk_does_not_depend_on_the_classes() {
    let weight = |classes| model(Arch::SqueezeNet, classes).graph.unwrap().initializer.swap_remove(0);
    assert!(weight(1) == weight(20));
}

#[test]
fn names_read_back_and_others_are_refused() {
    for arch in Arch::ALL {
        assert_eq!(arch.to_string().parse(), Ok(arch));
    }
    assert_eq!(
        "vgg19".parse::<Arch>().unwrap_err().to_string(),
        "unknown architecture \"vgg19\": expected one of vgg16, vgg_cnn_m_1024, caffenet, squeezenet"
    );
}

#[test]
fn class_counts_out_of_range_are_refused() {
    for classes in [0, MAX_CLASSES + 1, u32::MAX] {
        assert_eq!(new_model(Arch::SqueezeNet, classes, 0).unwrap_err(), ArchError::Classes { classes });
    }
}

#[test]
fn the_manifest_spells_out_the_published_conventions() {
    let manifest = new_model(Arch::SqueezeNet, 1, 0).unwrap().manifest;
    assert_eq!(
        serde_json::to_string(&manifest).unwrap(),
        r#"{"name":"squeezenet","classes":["__background__","class1"],"#.to_owned()
            + r#""channel_order":"bgr","pixel_scale":255.0,"pixel_means":[102.9801,115.9465,122.7717],"#
            + r#""pixel_stds":[1.0,1.0,1.0],"scales":[600],"max_long_side":1000,"resize":"published","pad_multiple":1,"#
            + r#""box_width_offset":1.0,"nms_width_offset":1.0,"box_weights":[1.0,1.0,1.0,1.0],"scores":"probabilities","score_threshold":0.05,"nms_iou":0.3,"nms_keeps_equal":false,"min_box_side":0.0,"#
            + r#""max_detections":100}"#
    );
}
