//! Channel order, scale, means and deviations: of the manifest, and of nodes before the first convolution. One network, said
//! in many ways, must find the same in the same photo.

use std::sync::Arc;

use crate::common::graph::{Blob, Conv, Graph};
use frcnn::{BBox, Detector, Frame, Options};
use frcnn_bundle::{Bundle, ChannelOrder, Manifest, Op};
use frcnn_compiler::onnx_writer::{attr, tensor};
use frcnn_compiler::{Compiled, compile, emit_onnx};
use frcnn_core::relative_difference;
use frcnn_onnx::pb::ModelProto;

const MEANS: [f32; 3] = [0.485, 0.456, 0.406];
const STDS: [f32; 3] = [0.229, 0.224, 0.225];

/// Published: bgr, 0..255.
fn published() -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![240];
    manifest.pixel_means = [0.406, 0.456, 0.485].map(|mean: f32| mean * 255.0);
    manifest
}

/// torchvision's: rgb, 0..1.
fn torchvision() -> Manifest {
    Manifest {
        channel_order: ChannelOrder::Rgb,
        pixel_scale: 1.0,
        pixel_means: MEANS,
        pixel_stds: STDS,
        ..published()
    }
}

/// Nothing but the order is left to the manifest.
fn raw(channel_order: ChannelOrder) -> Manifest {
    Manifest { channel_order, pixel_means: [0.0; 3], ..published() }
}

/// A small network whose first convolution has padding; `front` stands before it.
fn network(groups: i64, front: impl Fn(&mut Graph, Blob) -> Blob) -> ModelProto {
    let (mut g, data) = Graph::new("network");
    let image = front(&mut g, data);
    let mut top = g.conv_relu("conv1", &image, Conv { stride: 2, groups, ..Conv::same(6, 5) });
    top = g.conv_relu("conv2", &top, Conv { stride: 2, ..Conv::same(8, 3) });
    let mut model = g.plain_head(&top, 3, 4);
    for node in model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
        if node.op_type == "Split" {
            node.output = ["r", "g", "b"].map(str::to_owned).to_vec();
        }
    }
    model
}

fn plain(_: &mut Graph, data: Blob) -> Blob {
    data
}

/// The network with weights for rgb in 0..1, over deviations, where it has them for bgr in 0..255: the same function of a
/// pixel, up to rounding.
fn for_torchvision(mut model: ModelProto) -> ModelProto {
    let graph = model.graph.as_mut().unwrap();
    let weight = graph.initializer.iter_mut().find(|tensor| tensor.name == "conv1.weight").unwrap();
    let dims: Vec<usize> = weight.dims.iter().map(|&side| side as usize).collect();
    let taps = dims[2] * dims[3];
    let bytes = weight.raw_data.as_chunks::<4>().0;
    let old: Vec<f32> = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let new = old.chunks_exact(3 * taps).flat_map(|filter| {
        (0..3).flat_map(move |c| {
            let channel = &filter[(2 - c) * taps..(3 - c) * taps];
            channel.iter().map(move |weight| (f64::from(*weight) * 255.0 * f64::from(STDS[c])) as f32)
        })
    });
    *weight = tensor::f32("conv1.weight", &weight.dims.clone(), &new.collect::<Vec<f32>>());
    model
}

fn compiled(model: &ModelProto, manifest: &Manifest) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    frcnn_compiler::onnx_writer::write(model, &path).unwrap();
    compile(&path, manifest, &Default::default(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// The feature map and the head's outputs of a photo.
fn stages(bundle: &Arc<Bundle>) -> [Vec<f32>; 3] {
    let (width, height) = (96, 80);
    let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let frame = Frame::rgb8(&pixels, width as u32, height as u32).unwrap();
    let detector = Detector::new(bundle.clone(), &Options::default()).unwrap();
    let mut session = detector.session();
    let blobs = session.preprocess(&frame).unwrap();
    let map = session.trunk(&blobs[0]).unwrap();
    let boxes = [BBox::new(0.0, 0.0, 50.0, 40.0), BBox::new(20.0, 10.0, 95.0, 79.0)];
    let rois = session.project(&boxes, &blobs).unwrap().rois;
    let conv = map.data().unwrap().to_vec();
    let features = session.roi_pool(&[map], &rois).unwrap();
    let output = session.head(&features).unwrap();
    [conv, output.cls_prob, output.bbox_pred]
}

#[track_caller]
fn assert_same(name: &str, found: &Arc<Bundle>, expected: &Arc<Bundle>) {
    for (found, expected) in stages(found).iter().zip(stages(expected)) {
        let error = relative_difference(found, &expected);
        // Means of 100 grey levels and weights, rounded to f32 at different places.
        assert!(error < 1e-5, "{name}: off by {error:e}");
    }
}

fn layers(bundle: &Bundle) -> usize {
    bundle.contents().trunk.layers.len()
}

#[test]
fn order_scale_and_deviations_go_into_the_first_convolution() {
    let expected = compiled(&network(1, plain), &published());
    assert_eq!(expected.report.input.folded_into, [""; 0]);
    let found = compiled(&for_torchvision(network(1, plain)), &torchvision());
    assert_same("torchvision", &found.bundle, &expected.bundle);
    assert_eq!(layers(&found.bundle), layers(&expected.bundle));
    assert_eq!(found.report.input.folded_into, ["conv1"]);
    assert!(found.report.input.assumed.contains("rgb in 0..1"), "{}", found.report.input.assumed);
    assert!(expected.report.input.assumed.contains("bgr in 0..255"), "{}", expected.report.input.assumed);
    // The wrong order is another network.
    let wrong = compiled(&for_torchvision(network(1, plain)), &published());
    assert!(relative_difference(&stages(&wrong.bundle)[0], &stages(&expected.bundle)[0]) > 0.1);
}

#[test]
fn another_order_alone_is_exact() {
    let bgr = compiled(&network(1, plain), &published());
    let manifest = Manifest { channel_order: ChannelOrder::Rgb, ..published() };
    let rgb = compiled(&network(1, plain), &manifest);
    let weights = |compiled: &Compiled| {
        let Op::Conv(conv) = &compiled.bundle.contents().trunk.layers[0].op else { panic!("no convolution") };
        compiled.bundle.weights_as_f32(conv.weight).into_owned()
    };
    let (bgr, rgb) = (weights(&bgr), weights(&rgb));
    let filters = 6;
    for (a, b) in bgr.chunks_exact(3 * filters).zip(rgb.chunks_exact(3 * filters)) {
        for c in 0..3 {
            assert_eq!(a[c * filters..(c + 1) * filters], b[(2 - c) * filters..(3 - c) * filters]);
        }
    }
}

/// A front, the manifest that goes with it, and its name.
type Front = (&'static str, fn(&mut Graph, Blob) -> Blob, Manifest);

fn constant(g: &mut Graph, name: &str, values: &[f32]) {
    let dims: &[i64] = if values.len() == 1 { &[] } else { &[1, 3, 1, 1] };
    g.onnx.initializer(tensor::f32(name, dims, values));
}

fn step(g: &mut Graph, op: &str, x: Blob, values: &[f32]) -> Blob {
    let name = format!("{}_{}", x.name, op.to_lowercase());
    constant(g, &format!("{name}.c"), values);
    g.binary(op, &name, &x, &format!("{name}.c"))
}

fn gather(g: &mut Graph, x: Blob, indices: &[i64]) -> Blob {
    let name = format!("{}_gather", x.name);
    g.integers(&format!("{name}.i"), indices);
    g.onnx.node("Gather", &name, &[&x.name, &format!("{name}.i")], [attr::int("axis", 1)]);
    Blob { name, channels: 3 }
}

fn slice(g: &mut Graph, x: Blob) -> Blob {
    for (name, value) in [("start", -1), ("end", i64::MIN), ("axis", 1), ("step", -1)] {
        g.integers(name, &[value]);
    }
    g.onnx.node("Slice", "flipped", &[&x.name, "start", "end", "axis", "step"], []);
    Blob { name: "flipped".to_owned(), channels: 3 }
}

fn split(g: &mut Graph, x: Blob) -> Blob {
    g.integers("parts", &[1, 1, 1]);
    // `network` names its outputs.
    g.onnx.node("Split", "r", &[&x.name, "parts"], [attr::int("axis", 1)]);
    let [r, gr, b] = ["r", "g", "b"].map(|name| Blob { name: name.to_owned(), channels: 1 });
    g.concat("joined", &[&b, &gr, &r])
}

fn normalise(g: &mut Graph, x: Blob) -> Blob {
    let x = step(g, "Div", x, &[255.0]);
    let x = step(g, "Sub", x, &MEANS);
    step(g, "Div", x, &STDS)
}

fn normalise_by_mul_and_add(g: &mut Graph, x: Blob) -> Blob {
    let x = step(g, "Mul", x, &STDS.map(|std| 1.0 / (255.0 * std)));
    step(g, "Add", x, &[0, 1, 2].map(|c| -MEANS[c] / STDS[c]))
}

fn normalise_by_batch_norm(g: &mut Graph, x: Blob) -> Blob {
    for (name, values) in [
        ("bn.scale", [1.0; 3]),
        ("bn.bias", [0.0; 3]),
        ("bn.mean", MEANS.map(|mean| mean * 255.0)),
        ("bn.var", STDS.map(|std| (std * 255.0).powi(2))),
    ] {
        g.onnx.initializer(tensor::f32(name, &[3], &values));
    }
    g.onnx.node(
        "BatchNormalization",
        "bn",
        &[&x.name, "bn.scale", "bn.bias", "bn.mean", "bn.var"],
        [attr::float("epsilon", 0.0)],
    );
    Blob { name: "bn".to_owned(), channels: 3 }
}

/// Everything after which the image is torchvision's.
fn fronts() -> Vec<Front> {
    let (bgr, rgb) = (raw(ChannelOrder::Bgr), raw(ChannelOrder::Rgb));
    let half = Manifest { channel_order: ChannelOrder::Rgb, pixel_scale: 1.0, ..rgb.clone() };
    vec![
        (
            "Gather and Sub, Div",
            |g, x| {
                let x = gather(g, x, &[2, 1, 0]);
                normalise(g, x)
            },
            bgr.clone(),
        ),
        (
            "negative indices",
            |g, x| {
                let x = gather(g, x, &[-1, -2, -3]);
                normalise(g, x)
            },
            bgr.clone(),
        ),
        (
            "Gather behind",
            |g, x| {
                let x = step(g, "Sub", x, &[0.406, 0.456, 0.485].map(|m: f32| m * 255.0));
                let x = step(g, "Div", x, &[255.0]);
                let x = gather(g, x, &[2, 1, 0]);
                step(g, "Div", x, &STDS)
            },
            bgr.clone(),
        ),
        (
            "Slice",
            |g, x| {
                let x = slice(g, x);
                normalise(g, x)
            },
            bgr.clone(),
        ),
        (
            "Split and Concat",
            |g, x| {
                let x = split(g, x);
                normalise(g, x)
            },
            bgr,
        ),
        ("Mul and Add", normalise_by_mul_and_add, rgb.clone()),
        ("BatchNormalization", normalise_by_batch_norm, rgb.clone()),
        (
            "both the manifest and the graph",
            |g, x| {
                let x = step(g, "Sub", x, &MEANS);
                step(g, "Div", x, &STDS)
            },
            half,
        ),
        (
            "the graph only subtracts",
            |g, x| step(g, "Sub", x, &[0, 1, 2].map(|c| MEANS[c] / STDS[c])),
            Manifest { pixel_scale: 1.0, pixel_stds: STDS, ..rgb },
        ),
    ]
}

#[test]
fn what_the_graph_does_to_the_image_is_folded() {
    let expected = compiled(&network(1, plain), &published()).bundle;
    for (name, front, manifest) in fronts() {
        let found = compiled(&for_torchvision(network(1, front)), &manifest);
        assert_same(name, &found.bundle, &expected);
        assert_eq!(layers(&found.bundle), layers(&expected), "{name}");
        let input = &found.report.input;
        assert!(!input.in_graph.is_empty() && input.added.is_empty(), "{name}: {input:?}");
        let means = relative_difference(&found.bundle.contents().blob_means, &published().pixel_means);
        // Rounded a handful of times on the way.
        assert!(means < 1e-6, "{name}: means off by {means:e}");
        // A written ONNX reads what the first read.
        let again = compiled(&emit_onnx(&found.bundle).unwrap(), &manifest);
        assert_same(name, &again.bundle, &expected);
    }
}

#[test]
fn grouped_convolutions_take_the_order_too() {
    let model = || for_torchvision(network(3, plain));
    // Each filter of a grouped convolution reads one channel: no permutation of the image is the published network.
    let rgb = compiled(&model(), &Manifest { pixel_means: [0.0; 3], ..torchvision() });
    assert_eq!(rgb.report.input.added, [""; 0]);
    let bgr = compiled(&model(), &Manifest { channel_order: ChannelOrder::Bgr, ..torchvision() });
    let Op::Conv(conv) = &bgr.bundle.contents().trunk.layers[0].op else { panic!("no convolution") };
    assert_eq!(conv.group, 3);
    let Op::Conv(conv) = &rgb.bundle.contents().trunk.layers[0].op else { panic!("no convolution") };
    assert_eq!(conv.group, 1);
}

#[test]
fn what_no_convolution_can_take_is_a_layer() {
    // A pooling reads the image first; two convolutions read it with different means; one reads it raw, one normalised.
    let pooled = |g: &mut Graph, x: Blob| g.max_pool("pool0", &x, [3, 1, 1], false);
    let found = compiled(&network(1, pooled), &torchvision());
    assert_eq!(found.report.input.added, ["input"]);
    let both = || {
        let (mut g, data) = Graph::new("both");
        let dark = step(&mut g, "Sub", data.clone(), &[0.5]);
        let a = g.conv_relu("a", &dark, Conv { stride: 4, ..Conv::same(6, 5) });
        let b = g.conv_relu("b", &data, Conv { stride: 4, ..Conv::same(6, 5) });
        let top = g.concat("join", &[&a, &b]);
        g.plain_head(&top, 3, 4)
    };
    for manifest in [torchvision(), published()] {
        // compile itself checks that the values are those of the ONNX file.
        let input = compiled(&both(), &manifest).report.input;
        assert_eq!(input.added.len(), 1, "{input:?}");
    }
}

#[test]
fn other_choices_of_channels_are_refused() {
    let refused = |front: fn(&mut Graph, Blob) -> Blob| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        frcnn_compiler::onnx_writer::write(&network(1, front), &path).unwrap();
        compile(&path, &published(), &Default::default(), &mut |_| {}).unwrap_err().to_string()
    };
    let error = refused(|g, x| gather(g, x, &[3, 1, 0]));
    assert!(error.contains("data_gather") && error.contains("no channel 3 of 3"), "{error}");
    let error = refused(|g, x| {
        let x = g.conv("conv0", &x, Conv::same(8, 3));
        gather(g, x, &[2, 1, 0])
    });
    assert!(error.contains("3 of 8 channels"), "{error}");
}
