use super::*;
use crate::{Bundle, Error, Int8, Layer, Op, Resize, RoiPooling, Warp};

fn network(regions: Regions, head: Graph, sections: Vec<OldSection>) -> Network {
    Network {
        trunk: Graph { layers: Vec::new(), outputs: vec![0] },
        regions,
        head,
        sections,
        factored: Vec::new(),
        _precision: OldPrecision::F32,
        origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
    }
}

fn manifest_2() -> Manifest2 {
    Manifest2 {
        name: "old".into(),
        classes: vec!["__background__".into(), "cat".into()],
        pixel_means_bgr: [1.0, 2.0, 3.0],
        scales: vec![480],
        max_long_side: 900,
        box_width_offset: 0.0,
        nms_width_offset: 1.0,
        scores: Scores::Margins,
        score_threshold: -2.0,
        nms_iou: 0.5,
        max_detections: 7,
    }
}

fn manifest_3() -> Manifest3 {
    Manifest3 {
        name: "old".into(),
        classes: vec!["__background__".into(), "cat".into()],
        channel_order: ChannelOrder::Rgb,
        pixel_scale: 1.0,
        pixel_means: [0.1, 0.2, 0.3],
        pixel_stds: [0.4, 0.5, 0.6],
        scales: vec![123, 456],
        max_long_side: 900,
        box_width_offset: 0.0,
        nms_width_offset: 0.5,
        box_weights: [1.0, 2.0, 3.0, 4.0],
        scores: Scores::Margins,
        score_threshold: -2.0,
        nms_iou: 0.5,
        max_detections: 7,
    }
}

/// Whether a manifest says what [`manifest_3`] said, and has the published values of what that did not say.
fn means_manifest_3(manifest: &Manifest) -> bool {
    let old = manifest_3();
    let new = (manifest.resize, manifest.pad_multiple, manifest.nms_keeps_equal, manifest.min_box_side);
    new == (Resize::Published, 1, false, 0.0)
        && (&manifest.name, &manifest.classes, &manifest.scales) == (&old.name, &old.classes, &old.scales)
        && (manifest.channel_order, manifest.pixel_scale) == (ChannelOrder::Rgb, 1.0)
        && (manifest.pixel_means, manifest.pixel_stds) == (old.pixel_means, old.pixel_stds)
        && (manifest.max_long_side, manifest.max_detections) == (900, 7)
        && (manifest.box_width_offset, manifest.nms_width_offset) == (0.0, 0.5)
        && manifest.box_weights == old.box_weights
        && (manifest.scores, manifest.score_threshold, manifest.nms_iou) == (Scores::Margins, -2.0, 0.5)
}

#[test]
fn a_record_of_format_2_means_what_it_meant() {
    let warp = Regions::Warp(Warp { side: 64, context: 16 });
    let record =
        Record2 { manifest: manifest_2(), network: network(warp.clone(), Graph::default(), Vec::new()) };
    let mut bytes = postcard::to_stdvec(&record).unwrap();
    bytes.push(9);
    let (contents, rest) = decode_2(&bytes).unwrap();
    assert_eq!(rest, [9]);
    let manifest = &contents.manifest;
    assert_eq!((manifest.channel_order, manifest.pixel_scale), (ChannelOrder::Bgr, 255.0));
    assert_eq!((manifest.pixel_means, contents.blob_means), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]));
    assert_eq!((manifest.pixel_stds, manifest.box_weights), ([1.0; 3], [1.0; 4]));
    assert_eq!((manifest.scales.as_slice(), manifest.max_long_side), ([480].as_slice(), 900));
    assert_eq!((manifest.box_width_offset, manifest.nms_width_offset), (0.0, 1.0));
    assert_eq!((manifest.scores, manifest.score_threshold), (Scores::Margins, -2.0));
    assert_eq!((manifest.nms_iou, manifest.max_detections), (0.5, 7));
    assert_eq!(contents.regions, warp);
    assert_eq!(contents.origin, record.network.origin);
}

#[test]
fn lengths_of_format_3_tell_what_values_are() {
    let section = |bytes| OldSection { name: "w".into(), shape: vec![3, 5], offset: 0, bytes, hash: 0 };
    let sections = vec![section(60), section(30), section(45)];
    let warp = Regions::Warp(Warp { side: 64, context: 16 });
    let mut record = Record3 {
        manifest: manifest_3(),
        blob_means: [4.0, 5.0, 6.0],
        network: network(warp, Graph::default(), sections),
    };
    record.network._precision = OldPrecision::Bf16;
    let bytes = postcard::to_stdvec(&record).unwrap();
    let (contents, rest) = decode_3(&bytes).unwrap();
    assert!(rest.is_empty());
    assert!(means_manifest_3(&contents.manifest), "{:?}", contents.manifest);
    assert_eq!(contents.blob_means, [4.0, 5.0, 6.0]);
    assert_eq!(contents.precision(), Precision::Bf16);
    let precisions: Vec<Precision> = contents.sections.iter().map(|section| section.precision).collect();
    assert_eq!(precisions, [Precision::F32, Precision::Bf16, Precision::F32]);
    let fit: Vec<bool> = contents.sections.iter().map(Section::length_fits).collect();
    assert_eq!(fit, [true, true, false]);
}

#[test]
fn a_record_of_format_4_means_what_it_meant() {
    let section = |precision| Section4 {
        name: "w".into(),
        shape: vec![3, 5],
        precision,
        offset: 64,
        bytes: 30,
        hash: 1,
    };
    let record = Record4 {
        manifest: manifest_3(),
        blob_means: [4.0, 5.0, 6.0],
        trunk: Graph { layers: Vec::new(), outputs: vec![0] },
        regions: Regions::Warp(Warp { side: 64, context: 16 }),
        head: Graph::default(),
        sections: vec![section(Precision::F32), section(Precision::F16)],
        factored: Vec::new(),
        _precision: Precision::F16,
        origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
    };
    let bytes = postcard::to_stdvec(&record).unwrap();
    let (contents, rest) = decode_4(&bytes).unwrap();
    assert!(rest.is_empty());
    assert!(means_manifest_3(&contents.manifest), "{:?}", contents.manifest);
    assert_eq!(contents.blob_means, [4.0, 5.0, 6.0]);
    assert_eq!((&contents.trunk, &contents.regions), (&record.trunk, &record.regions));
    assert_eq!((&contents.origin, contents.precision()), (&record.origin, Precision::F16));
    let same = |(new, old): (&Section, &Section4)| {
        let shape_and_place = (&new.shape, new.offset, new.bytes, new.hash);
        (&new.name, new.precision, new.int8) == (&old.name, old.precision, None)
            && shape_and_place == (&old.shape, old.offset, old.bytes, old.hash)
    };
    assert!(contents.sections.iter().zip(&record.sections).all(same));
}

#[test]
fn a_record_of_format_5_means_what_it_meant() {
    let section = |precision, int8| Section {
        name: "w".into(),
        shape: vec![3, 5],
        precision,
        int8,
        offset: 64,
        bytes: 15,
        hash: 1,
    };
    let int8 = Int8 { scales: 1, input_scale: 0.5, input_zero_point: 3 };
    let record = Record5 {
        manifest: manifest_3(),
        blob_means: [4.0, 5.0, 6.0],
        trunk: Graph { layers: Vec::new(), outputs: vec![0] },
        regions: Regions::Warp(Warp { side: 64, context: 16 }),
        head: Graph::default(),
        sections: vec![section(Precision::Int8, Some(int8)), section(Precision::F32, None)],
        factored: Vec::new(),
        origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
        board: Some("raspberry-pi-5".into()),
    };
    let bytes = postcard::to_stdvec(&record).unwrap();
    let (contents, rest) = decode_5(&bytes).unwrap();
    assert!(rest.is_empty());
    assert!(means_manifest_3(&contents.manifest), "{:?}", contents.manifest);
    assert_eq!(contents.blob_means, [4.0, 5.0, 6.0]);
    assert_eq!((&contents.trunk, &contents.regions), (&record.trunk, &record.regions));
    assert_eq!((&contents.sections, &contents.origin), (&record.sections, &record.origin));
    assert_eq!(contents.board, record.board);
    assert_eq!((contents.cascade, contents.rpn), (None, None));
}

/// No hash covers the version; the record tells.
#[test]
fn the_other_version_is_found_out() {
    let layer = |op: Op, inputs: &[u32]| Layer { name: String::new(), op, inputs: inputs.to_vec() };
    let head = vec![layer(Op::Flatten, &[0]), layer(Op::Softmax, &[1]), layer(Op::Concat, &[1; 4])];
    let record = Record2 {
        manifest: Manifest2 {
            classes: vec!["__background__".into(), "cat".into(), "dog".into()],
            scores: Scores::Probabilities,
            score_threshold: 0.5,
            ..manifest_2()
        },
        network: network(
            Regions::RoiPooling(RoiPooling { pooled: vec![[1, 1]], spatial_scale: 1.0 }),
            Graph { layers: head, outputs: vec![2, 3] },
            Vec::new(),
        ),
    };
    let record = postcard::to_stdvec(&record).unwrap();
    let file = |version: u32| {
        let mut file = b"\x89FRCNN\r\n".to_vec();
        file.extend([version.to_le_bytes(), [0; 4]].concat());
        file.extend([record.len() as u64, 64 + record.len() as u64].map(u64::to_le_bytes).concat());
        file.extend(xxhash_rust::xxh3::xxh3_128(&record).to_le_bytes());
        file.resize(64, 0);
        [file, record.clone()].concat()
    };
    assert_eq!(Bundle::from_bytes(&file(2)).unwrap().contents().manifest.scales, [480]);
    for version in [3, 4, 5, 6] {
        let error = Bundle::from_bytes(&file(version)).unwrap_err();
        assert!(matches!(error, Error::OtherVersion { stated, actual: 2 } if stated == version), "{error}");
    }
    for version in [0, 1, 7, u32::MAX] {
        let error = Bundle::from_bytes(&file(version)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("bundle format {version}; this program reads formats 2 to 6")),
            "{error}"
        );
    }
}
