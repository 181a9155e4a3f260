//! Stage by stage against libtorch's tensors: for the demo model and its picture, which are part of the repository, and
//! for two photos of the reference data.
//!
//! Each stage reads the reference's own input, so that an error shows where it is made. Tolerances are
//! shares of the largest magnitude of the reference's tensor:
//!
//! | stage | tolerance | why |
//! |---|---|---|
//! | data | 1e-3 grey levels, absolute | f32 weights of the resize |
//! | conv | 1e-4 | 25 layers of f32 sums in another order |
//! | pool5 | none: bit for bit | a maximum does not round |
//! | fc6, fc7, cls_score, bbox_pred | 1e-5 | one or two f32 sums of up to 18432 terms in another order |
//! | cls_prob | 1e-5 | probabilities of scores up to 16 |
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use frcnn::{Detector, F32Products, FeatureMap, ImageBlob, Roi, Session};
use frcnn_bundle::Bundle;
use frcnn_compiler::Options;
use frcnn_core::{largest_difference, relative_difference};
use frcnn_kernels::Bf16Isa;
use frcnn_tests::tensors::{self, Tensor};
use frcnn_tests::{Photo, bccd, compile_file, detector};

struct Reference {
    file: tensors::Reference,
    photo: Photo,
    session: Session,
    spatial_scale: f32,
}

impl Reference {
    fn all() -> Vec<Reference> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let demo = root.join("model-export/demo");
        let bundle = compile_file(&demo.join("model.onnx"), &Options::default()).bundle;
        let tensors = root.join("tests/reference/demo.safetensors");
        let mut all = vec![Reference::open(&bundle, &tensors, &demo.join("scene.jpg"))];
        if let Some(shared) = frcnn_testkit::shared() {
            let bundle = bccd(&shared);
            all.extend(["BloodImage_00007", "BloodImage_00011"].map(|stem| {
                let tensors = shared.join(format!("models/bccd-squeezenet/reference/{stem}.safetensors"));
                let photo = shared.join(format!("data/bccd/PNGImages/{stem}.png"));
                Reference::open(&bundle, &tensors, &photo)
            }));
        }
        all
    }

    fn open(bundle: &Arc<Bundle>, tensors: &Path, photo: &Path) -> Reference {
        Reference {
            file: tensors::Reference::open(tensors),
            photo: Photo::open(photo),
            session: detector(bundle, 2).session(),
            spatial_scale: frcnn_tests::roi_pooling(bundle.contents()).spatial_scale,
        }
    }

    fn map(&self) -> FeatureMap {
        let conv = self.file.f32("conv").channels_last();
        FeatureMap::new(&conv.data, conv.shape[1], conv.shape[2], conv.shape[3]).unwrap()
    }

    fn rois(&self) -> Vec<Roi> {
        let rois = self.file.f32("rois").data;
        rois.chunks_exact(5)
            .map(|r| Roi::from_network(0, r[1], r[2], r[3], r[4], self.spatial_scale))
            .collect()
    }
}

fn assert_near(stage: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    let apart = relative_difference(found, expected);
    assert!(apart <= tolerance, "{stage}: off by {apart:e} of the largest");
}

#[test]
fn data() {
    for mut reference in Reference::all() {
        let expected = reference.file.f32("data").channels_last();
        let blobs = reference.session.preprocess(&reference.photo.frame()).unwrap();
        let [blob] = &blobs[..] else { panic!("{} blobs", blobs.len()) };
        assert_eq!([1, blob.height, blob.width, 3], expected.shape[..]);
        let worst = largest_difference(&blob.data, &expected.data);
        assert!(worst <= 1e-3, "off by {worst} grey levels");
    }
}

#[test]
fn conv() {
    for reference in Reference::all() {
        let data = reference.file.f32("data").channels_last();
        let (height, width) = (data.shape[1], data.shape[2]);
        let blob = ImageBlob::new(data.data, height, width, 1.0);
        let map = reference.session.trunk(&blob).unwrap();
        let expected = reference.file.f32("conv").channels_last();
        assert_eq!([1, map.height(), map.width(), map.channels()], expected.shape[..]);
        assert_near("conv", map.data().unwrap(), &expected.data, 1e-4);
    }
}

#[test]
fn pool5() {
    for reference in Reference::all() {
        let pooled = reference.session.roi_pool(&[reference.map()], &reference.rois()).unwrap();
        let expected = reference.file.f32("pool5").channels_last();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&pooled) == bits(&expected.data), "pool5 differs");
    }
}

#[test]
fn head() {
    for mut reference in Reference::all() {
        let pooled = reference.file.f32("pool5").channels_last();
        let stages = reference.session.head_stages(&pooled.data).unwrap();
        let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["fc6", "fc7", "cls_score", "bbox_pred", "cls_prob"]);
        for stage in &stages {
            let Tensor { shape, data } = reference.file.f32(&stage.name);
            assert_eq!(stage.shape, shape, "{}", stage.name);
            assert_near(&stage.name, &stage.data, &data, 1e-5);
        }
        let output = reference.session.head(&pooled.data).unwrap();
        assert_near("cls_prob", &output.cls_prob, &reference.file.f32("cls_prob").data, 1e-5);
        assert_near("bbox_pred", &output.bbox_pred, &reference.file.f32("bbox_pred").data, 1e-5);
    }
}

/// Either choice keeps the tolerance, and only AMX makes one of them.
#[test]
fn how_f32_products_are_computed_is_a_choice() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-export/demo");
    let bundle = compile_file(&demo.join("model.onnx"), &Options::default()).bundle;
    let reference = tensors::Reference::open(&demo.join("../../tests/reference/demo.safetensors"));
    let pooled = reference.f32("pool5").channels_last();
    let fc6 = |f32_products| {
        let options = frcnn::Options { threads: Some(2), f32_products, ..frcnn::Options::default() };
        let session = Detector::new(bundle.clone(), &options).unwrap().session();
        let stages = session.head_stages(&pooled.data).unwrap();
        stages.into_iter().find(|stage| stage.name == "fc6").unwrap().data
    };
    let [exact, bf16x3] = [F32Products::Exact, F32Products::Bf16x3].map(fc6);
    for fc6 in [&exact, &bf16x3] {
        assert_near("fc6", fc6, &reference.f32("fc6").data, 1e-5);
    }
    assert!((exact == bf16x3) == (Bf16Isa::detect() != Some(Bf16Isa::Amx)));
}

/// No stage is handed the reference's input: from the photo to the predictions.
#[test]
fn all_the_way() {
    for mut reference in Reference::all() {
        let blobs = reference.session.preprocess(&reference.photo.frame()).unwrap();
        let map = reference.session.trunk(&blobs[0]).unwrap();
        let pooled = reference.session.roi_pool(&[map], &reference.rois()).unwrap();
        let output = reference.session.head(&pooled).unwrap();
        assert_near("cls_prob", &output.cls_prob, &reference.file.f32("cls_prob").data, 1e-4);
        assert_near("bbox_pred", &output.bbox_pred, &reference.file.f32("bbox_pred").data, 1e-4);
    }
}
