//! One model per family of trunks; together they use the compiler's whole vocabulary.

use frcnn_compiler::onnx_writer::{attr, tensor};
use frcnn_onnx::pb::ModelProto;

use super::Case;
use super::graph::{Blob, Conv, Graph};

/// Every model of this file.
pub(crate) const ALL: &[Case] = &[
    ("vgg_like", vgg_like),
    ("alexnet_like", alexnet_like),
    ("squeezenet_like", squeezenet_like),
    ("resnet_like", resnet_like),
    ("same_upper", same_upper),
    ("mobilenetv2_like", mobilenetv2_like),
    ("mobilenetv3_like", mobilenetv3_like),
    ("mobilenetv3_hard_sigmoid", mobilenetv3_hard_sigmoid),
    ("inception_like", inception_like),
    ("preactivation", preactivation),
];

/// 3x3 convolutions in pairs, 2x2 pools; pooled 7x7 at stride 4.
pub(crate) fn vgg_like() -> ModelProto {
    let (mut g, data) = Graph::new("vgg_like");
    let mut top = g.conv_relu("conv1_1", &data, Conv::same(8, 3));
    top = g.conv_relu("conv1_2", &top, Conv::same(10, 3));
    top = g.max_pool("pool1", &top, [2, 2, 0], false);
    top = g.conv_relu("conv2_1", &top, Conv::same(12, 3));
    top = g.conv_relu("conv2_2", &top, Conv::same(16, 3));
    top = g.max_pool("pool2", &top, [2, 2, 0], true);
    top = g.conv_relu("conv3_1", &top, Conv::same(20, 3));
    g.plain_head(&top, 7, 4)
}

/// 11x11 stride 4, groups, ceil-mode pools with padding, LRN after and before the pool; pooled 6x6 at stride 16.
///
/// LRN's alpha is far above the published 1e-4: at that value a window or a divisor in error would not be seen.
pub(crate) fn alexnet_like() -> ModelProto {
    let lrn = |size, alpha, bias| {
        [
            attr::int("size", size),
            attr::float("alpha", alpha),
            attr::float("beta", 0.75),
            attr::float("bias", bias),
        ]
    };
    let (mut g, data) = Graph::new("alexnet_like");
    let mut top = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(12, 11) });
    top = g.max_pool("pool1", &top, [3, 2, 1], true);
    top = g.unary("LRN", "norm1", &top, lrn(5, 0.5, 1.0));
    top = g.conv_relu("conv2", &top, Conv { groups: 2, ..Conv::same(16, 5) });
    top = g.unary("LRN", "norm2", &top, lrn(3, 0.7, 2.0));
    top = g.max_pool("pool2", &top, [3, 2, 0], true);
    top = g.conv_relu("conv3", &top, Conv::same(18, 3));
    top = g.conv_relu("conv4", &top, Conv { groups: 2, ..Conv::same(20, 3) });
    g.plain_head(&top, 6, 16)
}

/// Fire modules and ceil-mode pools without padding; pooled 5x5 at stride 8.
pub(crate) fn squeezenet_like() -> ModelProto {
    let (mut g, data) = Graph::new("squeezenet_like");
    let mut top = g.conv_relu("conv1", &data, Conv { out: 12, kernel: 7, stride: 2, ..Conv::default() });
    top = g.max_pool("pool1", &top, [3, 2, 0], true);
    top = fire(&mut g, "fire2", &top, 4);
    top = fire(&mut g, "fire3", &top, 5);
    top = g.max_pool("pool4", &top, [3, 2, 0], true);
    top = fire(&mut g, "fire5", &top, 6);
    g.plain_head(&top, 5, 8)
}

fn fire(g: &mut Graph, name: &str, x: &Blob, squeeze: i64) -> Blob {
    let squeezed = g.conv_relu(&format!("{name}_squeeze1x1"), x, Conv::same(squeeze, 1));
    let small = g.conv_relu(&format!("{name}_expand1x1"), &squeezed, Conv::same(2 * squeeze, 1));
    let large = g.conv_relu(&format!("{name}_expand3x3"), &squeezed, Conv::same(3 * squeeze, 3));
    g.concat(&format!("{name}_concat"), &[&small, &large])
}

/// Convolutions without bias and batch normalisation, a basic block, a bottleneck with a strided 1x1 shortcut;
/// pooled 7x7 at stride 8.
pub(crate) fn resnet_like() -> ModelProto {
    let (mut g, data) = Graph::new("resnet_like");
    let no_bias = Conv { bias: false, ..Conv::default() };
    let stem = Conv { out: 12, kernel: 7, stride: 2, pads: [3; 4], ..no_bias };
    let mut top = conv_bn(&mut g, "conv1", &data, stem);
    top = g.relu(&top);
    top = g.max_pool("maxpool", &top, [3, 2, 1], false);

    let branch = conv_bn(&mut g, "layer1.conv1", &top, Conv { bias: false, ..Conv::same(10, 3) });
    let branch = g.relu(&branch);
    let branch = conv_bn(&mut g, "layer1.conv2", &branch, Conv { bias: false, ..Conv::same(12, 3) });
    top = g.binary("Add", "layer1.add", &branch, &top.name);
    top = g.relu(&top);

    let branch = conv_bn(&mut g, "layer2.conv1", &top, Conv { out: 6, ..no_bias });
    let branch = g.relu(&branch);
    let strided = Conv { stride: 2, bias: false, ..Conv::same(8, 3) };
    let branch = conv_bn(&mut g, "layer2.conv2", &branch, strided);
    let branch = g.relu(&branch);
    let branch = conv_bn(&mut g, "layer2.conv3", &branch, Conv { out: 20, ..no_bias });
    let shortcut = conv_bn(&mut g, "layer2.downsample", &top, Conv { out: 20, stride: 2, ..no_bias });
    top = g.binary("Add", "layer2.add", &branch, &shortcut.name);
    top = g.relu(&top);
    g.plain_head(&top, 7, 8)
}

fn conv_bn(g: &mut Graph, name: &str, x: &Blob, conv: Conv) -> Blob {
    let conv = g.conv(name, x, conv);
    // Not the default of 1e-5: an epsilon that is not read shows.
    g.batch_norm(&format!("{name}_bn"), &conv, 1e-2)
}

/// `auto_pad` in place of explicit pads: an even kernel (one cell more at the bottom right), a strided one (whose padding
/// depends on the map's size) and `VALID`; pooled 4x4 at stride 4.
pub(crate) fn same_upper() -> ModelProto {
    let auto =
        |out, kernel, stride, rule| Conv { out, kernel, stride, auto_pad: Some(rule), ..Conv::default() };
    let (mut g, data) = Graph::new("same_upper");
    let mut top = g.conv_relu("strided", &data, auto(10, 3, 2, "SAME_UPPER"));
    top = g.conv_relu("even", &top, auto(12, 4, 1, "SAME_UPPER"));
    top = g.conv_relu("strided_again", &top, auto(14, 5, 2, "SAME_UPPER"));
    top = g.conv_relu("valid", &top, auto(16, 2, 1, "VALID"));
    g.plain_head(&top, 4, 4)
}

/// Depthwise convolutions, `Clip` at 0 and 6 (bounds as initializers and as `Constant` nodes), linear bottlenecks;
/// pooled 5x5 at stride 8.
pub(crate) fn mobilenetv2_like() -> ModelProto {
    let (mut g, data) = Graph::new("mobilenetv2_like");
    g.scalar("zero", 0.0);
    g.scalar("six", 6.0);
    for (name, value) in [("constant_zero", 0.0), ("constant_six", 6.0)] {
        g.onnx.node("Constant", name, &[], [attr::tensor("value", tensor::f32("", &[], &[value]))]);
    }
    let no_bias = Conv { bias: false, ..Conv::default() };
    let mut top = conv_bn(&mut g, "stem", &data, Conv { stride: 2, bias: false, ..Conv::same(8, 3) });
    top = clip(&mut g, &top, ["zero", "six"]);
    for (name, out, stride) in [("block1", 10, 2), ("block2", 10, 1), ("block3", 14, 2)] {
        let wide = 3 * top.channels;
        let expand = conv_bn(&mut g, &format!("{name}.expand"), &top, Conv { out: wide, ..no_bias });
        let expand = clip(&mut g, &expand, ["constant_zero", "constant_six"]);
        let depthwise = Conv { stride, groups: wide, bias: false, ..Conv::same(wide, 3) };
        let depthwise = conv_bn(&mut g, &format!("{name}.depthwise"), &expand, depthwise);
        let depthwise = clip(&mut g, &depthwise, ["zero", "six"]);
        let project = conv_bn(&mut g, &format!("{name}.project"), &depthwise, Conv { out, ..no_bias });
        top = if (stride, out) == (1, top.channels) {
            g.binary("Add", &format!("{name}.add"), &top, &project.name)
        } else {
            project
        };
    }
    // ReLU written as a Clip with a lower bound only.
    g.onnx.node("Clip", "last", &[&top.name, "zero"], []);
    let top = Blob { name: "last".to_owned(), ..top };
    g.plain_head(&top, 5, 8)
}

fn clip(g: &mut Graph, x: &Blob, [min, max]: [&str; 2]) -> Blob {
    let name = format!("{}_clip", x.name);
    g.onnx.node("Clip", &name, &[&x.name, min, max], []);
    Blob { name, channels: x.channels }
}

/// How a hard swish is written.
#[derive(Clone, Copy)]
enum HardSwish {
    /// One node, of opset 14.
    Node,
    /// `x * HardSigmoid(x)`, as exported for opset 13.
    Product,
}

/// The `HardSwish` node (so opset 14), squeeze-and-excite with `HardSigmoid`; pooled 5x5 at stride 8.
pub(crate) fn mobilenetv3_like() -> ModelProto {
    mobilenetv3("mobilenetv3_like", HardSwish::Node)
}

/// The same network with hard swish as a product, for opset 13.
pub(crate) fn mobilenetv3_hard_sigmoid() -> ModelProto {
    mobilenetv3("mobilenetv3_hard_sigmoid", HardSwish::Product)
}

fn mobilenetv3(name: &str, form: HardSwish) -> ModelProto {
    let (mut g, data) = Graph::new(name);
    let mut top = g.conv("stem", &data, Conv { stride: 2, ..Conv::same(8, 3) });
    top = hard_swish(&mut g, &top, form);

    let mut branch = g.conv("block1.depthwise", &top, Conv { stride: 2, groups: 8, ..Conv::same(8, 5) });
    branch = hard_swish(&mut g, &branch, form);
    branch = squeeze_excite(&mut g, "block1.se", &branch, hard_sigmoid);
    top = g.conv("block1.project", &branch, Conv::same(12, 1));

    branch = g.conv("block2.expand", &top, Conv::same(18, 1));
    // SiLU, which exporters write as a product.
    let sigmoid = g.unary("Sigmoid", "block2.sigmoid", &branch, []);
    branch = g.binary("Mul", "block2.silu", &branch, &sigmoid.name);
    branch = g.conv("block2.depthwise", &branch, Conv { stride: 2, groups: 18, ..Conv::same(18, 3) });
    branch = squeeze_excite(&mut g, "block2.se", &branch, |g, x| {
        g.unary("Sigmoid", &format!("{}_sigmoid", x.name), x, [])
    });
    top = g.conv("block2.project", &branch, Conv::same(16, 1));
    top = hard_swish(&mut g, &top, form);
    g.plain_head(&top, 5, 8)
}

fn hard_swish(g: &mut Graph, x: &Blob, form: HardSwish) -> Blob {
    let name = format!("{}_hardswish", x.name);
    match form {
        HardSwish::Node => g.unary("HardSwish", &name, x, []),
        HardSwish::Product => {
            let gate = hard_sigmoid(g, x);
            g.binary("Mul", &name, x, &gate.name)
        }
    }
}

fn hard_sigmoid(g: &mut Graph, x: &Blob) -> Blob {
    let attributes = [attr::float("alpha", 1.0 / 6.0), attr::float("beta", 0.5)];
    g.unary("HardSigmoid", &format!("{}_hardsigmoid", x.name), x, attributes)
}

/// Channel gates from the whole map's average: [1,C,Hf,Wf] times [1,C,1,1].
fn squeeze_excite(g: &mut Graph, name: &str, x: &Blob, gate: fn(&mut Graph, &Blob) -> Blob) -> Blob {
    let mean = g.unary("GlobalAveragePool", &format!("{name}.mean"), x, []);
    let hidden = g.conv_relu(&format!("{name}.reduce"), &mean, Conv::same(5, 1));
    let logits = g.conv(&format!("{name}.expand"), &hidden, Conv::same(x.channels, 1));
    let gates = gate(g, &logits);
    g.binary("Mul", &format!("{name}.scale"), x, &gates.name)
}

/// `AveragePool` with and without the padding counted and in ceil mode, a dilated convolution, asymmetric pads, `LeakyRelu`,
/// a `Concat` of three; pooled 6x6 at stride 4.
pub(crate) fn inception_like() -> ModelProto {
    let (mut g, data) = Graph::new("inception_like");
    let asymmetric = Conv { out: 10, kernel: 4, stride: 2, pads: [1, 0, 2, 3], ..Conv::default() };
    let mut top = g.conv("conv1", &data, asymmetric);
    top = g.unary("LeakyRelu", "conv1_leaky", &top, [attr::float("alpha", 0.1)]);
    top = average_pool(&mut g, "pool1", &top, [3, 2, 0], true, false);

    let average = average_pool(&mut g, "mixed.average", &top, [3, 1, 1], false, false);
    let average = g.conv_relu("mixed.average_project", &average, Conv::same(5, 1));
    let padded = average_pool(&mut g, "mixed.padded", &top, [3, 1, 1], false, true);
    let dilated = Conv { out: 7, kernel: 3, dilation: 2, pads: [2; 4], ..Conv::default() };
    let dilated = g.conv("mixed.dilated", &top, dilated);
    // Without an attribute LeakyRelu's slope is 0.01.
    let dilated = g.unary("LeakyRelu", "mixed.dilated_leaky", &dilated, []);
    top = g.concat("mixed.concat", &[&average, &padded, &dilated]);
    g.plain_head(&top, 6, 4)
}

fn average_pool(
    g: &mut Graph,
    name: &str,
    x: &Blob,
    [kernel, stride, pad]: [i64; 3],
    ceil: bool,
    count_padding: bool,
) -> Blob {
    g.unary(
        "AveragePool",
        name,
        x,
        [
            attr::int("ceil_mode", ceil.into()),
            attr::int("count_include_pad", count_padding.into()),
            attr::ints("kernel_shape", &[kernel; 2]),
            attr::ints("pads", &[pad; 4]),
            attr::ints("strides", &[stride; 2]),
        ],
    )
}

/// Batch normalisation that no convolution precedes, and `Mul` and `Add` by per-channel constants of shape [C,1,1] and
/// [1,C,1,1] and by a scalar, the constant on either side; pooled 5x5 at stride 4. The last map has negative features.
pub(crate) fn preactivation() -> ModelProto {
    let (mut g, data) = Graph::new("preactivation");
    g.scalar("pixel_scale", 1.0 / 60.0);
    let data = g.binary("Mul", "scaled", &data, "pixel_scale");
    let mut top = g.batch_norm("data_bn", &data, 1e-5);
    top = g.conv("conv1", &top, Conv { stride: 2, ..Conv::same(9, 3) });
    // A constant less what is computed.
    let most = g.weight("turned.most", &[1, 9, 1, 1], 0.0, 0.3);
    g.onnx.node("Sub", "turned", &[&most, &top.name], []);
    top = Blob { name: "turned".to_owned(), ..top };
    top = g.max_pool("pool1", &top, [2, 2, 0], false);

    let mut branch = g.batch_norm("bn1", &top, 1e-5);
    branch = g.relu(&branch);
    branch = g.conv("conv2", &branch, Conv::same(9, 3));
    top = g.binary("Add", "add", &branch, &top.name);
    // An affine layer of its own, as a frozen batch normalisation is exported; the sum feeds two layers, so the affine
    // one cannot be folded into conv2.
    let gain = g.weight("affine.gain", &[9, 1, 1], 1.0, 0.3);
    let shift = g.weight("affine.shift", &[1, 9, 1, 1], 0.0, 0.3);
    let gained = g.binary("Mul", "affine_gained", &top, &gain);
    g.onnx.node("Add", "affine", &[&shift, &gained.name], []);
    let affine = Blob { name: "affine".to_owned(), ..gained };
    branch = g.relu(&affine);
    branch = g.conv("conv3", &branch, Conv::same(9, 1));
    top = g.binary("Add", "add2", &top, &branch.name);
    g.plain_head(&top, 5, 4)
}
