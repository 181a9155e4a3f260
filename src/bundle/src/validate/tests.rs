//! What a bundle with RoIAlign, a pyramid and an RPN must be. What holds of all bundles is tested on published networks.

use crate::{
    BundleWriter, Contents, Conv, Error, Gemm, Graph, Layer, LevelRule, Manifest, Op, Origin, Regions,
    Resize, RoiAlign, RoiPooling, Rpn, Warp,
};

const CHANNELS: u32 = 2;

/// The file's bytes, with sections that the layers refer to.
fn finish(contents: Contents) -> Result<crate::Bundle, Error> {
    let mut writer = BundleWriter::new();
    for shape in [&[3, 3, 3, 2][..], &[1, 1, 2, 2], &[1, 1, 2, 8], &[18, 2], &[18, 8], &[1, 1, 2, 3]] {
        writer.add("w", shape, vec![0.5; shape.iter().product()]);
    }
    writer.finish(contents).and_then(|bundle| crate::Bundle::from_bytes(&bundle.to_bytes()))
}

fn layer(op: Op, inputs: &[u32]) -> Layer {
    Layer { name: op.name().to_string(), op, inputs: inputs.to_vec() }
}

fn conv([from, to]: [u32; 2], kernel: u32, stride: u32, weight: u32) -> Op {
    Op::Conv(Conv {
        in_channels: from,
        out_channels: to,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        group: 1,
        weight,
        bias: None,
    })
}

/// A trunk of two maps, the finer of which sees the coarser one, and of a third that only the RPN reads; two anchors a cell.
fn pyramid() -> Contents {
    let trunk = vec![
        layer(conv([3, CHANNELS], 3, 4, 0), &[0]),
        layer(conv([CHANNELS; 2], 1, 2, 1), &[1]),
        layer(Op::Upsample, &[2, 1]),
        layer(Op::Add, &[1, 3]),
        layer(conv([CHANNELS; 2], 1, 2, 1), &[2]),
    ];
    let gemm = |out_features, weight| Op::Gemm(Gemm { in_features: 18, out_features, weight, bias: None });
    let head = vec![
        layer(Op::Flatten, &[0]),
        layer(gemm(2, 3), &[1]),
        layer(Op::Softmax, &[2]),
        layer(gemm(8, 4), &[1]),
    ];
    let rpn = vec![layer(conv([CHANNELS, 2], 1, 1, 1), &[0]), layer(conv([CHANNELS, 8], 1, 1, 2), &[0])];
    let mut manifest = Manifest::new(vec!["__background__".into(), "a".into()]);
    (manifest.scales, manifest.max_long_side) = (vec![100], 130);
    (manifest.resize, manifest.pad_multiple) = (Resize::Torchvision, 32);
    Contents {
        blob_means: [0.0; 3],
        manifest,
        trunk: Graph { layers: trunk, outputs: vec![4, 2, 5] },
        regions: Regions::RoiAlign(RoiAlign {
            pooled: [3, 3],
            sampling_ratio: 2,
            half_pixel: false,
            spatial_scales: vec![0.25, 0.125],
            level_rule: LevelRule { canonical_size: 224.0, canonical_level: 4, finest_level: 2 },
        }),
        head: Graph { layers: head, outputs: vec![3, 4] },
        sections: Vec::new(),
        factored: Vec::new(),
        cascade: None,
        rpn: Some(Rpn {
            graph: Graph { layers: rpn, outputs: vec![1, 2] },
            anchors: vec![vec![[-8.0, -8.0, 8.0, 8.0], [-16.0, -4.0, 16.0, 4.0]]; 3],
            strides: None,
            box_weights: [1.0; 4],
            pre_nms_top_n: 100,
            post_nms_top_n: 50,
            nms_iou: 0.7,
            min_side: 1e-3,
            score_threshold: 0.0,
        }),
        board: None,
        origin: Origin { onnx_sha256: [0; 32], compiler: "a test".into() },
    }
}

fn rpn(contents: &mut Contents) -> &mut Rpn {
    contents.rpn.as_mut().unwrap()
}

fn align(contents: &mut Contents) -> &mut RoiAlign {
    match &mut contents.regions {
        Regions::RoiAlign(align) => align,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pyramid_comes_back_as_it_was() {
    let bundle = finish(pyramid()).unwrap();
    let contents = bundle.contents();
    let before = Contents { sections: contents.sections.clone(), ..pyramid() };
    assert_eq!(contents, &before);
    assert_eq!((contents.method().name(), contents.pooled_maps()), ("faster-rcnn", 2));
    let graphs: Vec<&str> = contents.graphs().map(|(which, _)| which).collect();
    assert_eq!(graphs, ["trunk", "head", "rpn"]);
    // A 4:3 photo at 100 would be 133 long.
    assert_eq!(crate::nominal_blobs(contents), [[128, 160]]);
    let mut proposed_elsewhere = pyramid();
    proposed_elsewhere.rpn = None;
    proposed_elsewhere.trunk.outputs.pop();
    let bundle = finish(proposed_elsewhere).unwrap();
    assert_eq!(bundle.contents().method().name(), "fast-rcnn");
}

#[test]
fn max_pooled_regions_may_be_proposed() {
    let mut contents = pyramid();
    contents.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3]], spatial_scale: 0.25 });
    contents.trunk.outputs.truncate(1);
    rpn(&mut contents).anchors.truncate(1);
    assert_eq!(finish(contents).unwrap().contents().method().name(), "faster-rcnn");
}

#[test]
fn what_does_not_fit_is_named() {
    type Spoil = fn(&mut Contents);
    let cases: [(Spoil, &str); 17] = [
        (|c| c.trunk.outputs.clear(), "the trunk gives 0 feature maps, and 2 maps are read"),
        (|c| c.rpn = None, "the trunk gives 3 feature maps, and 2 maps are read"),
        (|c| c.trunk.outputs[2] = 2, "gives a feature map twice"),
        (|c| c.trunk.outputs[2] = 9, "a value that no layer makes"),
        (
            |c| {
                c.trunk.outputs = vec![1; 17];
                rpn(c).anchors = vec![vec![[-1.0, -1.0, 1.0, 1.0]]; 17];
            },
            "the trunk gives 17 feature maps, more than 16",
        ),
        // The third map has the image's channels.
        (|c| c.trunk.outputs[1] = 0, "maps of 2 and of 3 channels"),
        (|c| c.trunk.outputs[2] = 0, "it reads 2 channels and is given 3"),
        (|c| c.manifest.scales.push(200), "2 image scales do not go with RoIAlign"),
        (
            |c| {
                c.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3]], spatial_scale: 0.25 });
                c.manifest.scales.push(200);
            },
            "2 image scales do not go with an RPN",
        ),
        (
            |c| {
                let pooled = vec![[3, 3], [1, 1]];
                c.regions = Regions::RoiPooling(RoiPooling { pooled, spatial_scale: 0.25 });
            },
            "an RPN does not go with SPPnet's",
        ),
        (|c| c.regions = Regions::Warp(Warp { side: 64, context: 0 }), "an R-CNN has none"),
        (|c| align(c).sampling_ratio = 100, "sampling ratio 100"),
        (|c| rpn(c).anchors.truncate(2), "anchors for 2 maps"),
        (|c| rpn(c).nms_iou = 0.0, "nms_iou"),
        (
            |c| rpn(c).graph.outputs = vec![2, 1],
            "the RPN must give [32x40x2, 32x40x8], and gives [32x40x8, 32x40x2]",
        ),
        (|c| rpn(c).graph.outputs = vec![1], "and gives [32x40x2]"),
        (
            |c| {
                rpn(c).graph.layers.push(layer(Op::Flatten, &[1]));
                rpn(c).graph.outputs = vec![3, 2];
            },
            "Flatten makes a row of features",
        ),
    ];
    for (spoil, words) in cases {
        let mut contents = pyramid();
        spoil(&mut contents);
        let error = finish(contents).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
