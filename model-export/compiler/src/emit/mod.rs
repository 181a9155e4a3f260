//! A bundle's network as standard ONNX again, factored layers included, so that any runtime can run the very same
//! computation.
//!
//! ```text
//! bundle, channels last              ONNX, channels first
//! Conv   [Kh, Kw, Ci/g, Co]    ──►   Conv [Co, Ci/g, Kh, Kw]
//! Gemm   [in, out]             ──►   Gemm [out, in], transB; columns of (y, x, c) become columns of (c, y, x)
//! Affine x * scale + shift     ──►   BatchNormalization of mean 0, variance 1 and epsilon 0
//! RoI pooling                  ──►   MaxRoiPool; of several levels each, Flatten and Concat
//! RoIAlign of a pyramid        ──►   RoiAlign for each map, on the RoIs of its level
//! RPN                          ──►   its layers on each map, with the same weights: rpn_logits.N, rpn_deltas.N
//! Upsample                     ──►   Resize to the size of the map that it is added to
//! int8 weights and input       ──►   DequantizeLinear; QuantizeLinear, DequantizeLinear (QDQ)
//! ```
//!
//! Every other layer has an ONNX operator of the same name and attributes. Compiling what was emitted gives the same
//! layers and, bit for bit, the same weights, but for int8 ones, which are not read back: that is why an affine layer becomes one node and not a `Mul` and an
//! `Add`. Only fully connected layers are named anew, since the compiler names them by their order: `fc6_L`, `fc6_U`
//! become `fc6`, `fc7`.

mod names;
mod order;
mod regions;

use std::collections::HashMap;

use frcnn_bundle::{
    Bundle, Conv, Gemm, Graph, Layer, NetworkInput, Op, Pool, Regions, RoiPooling, SectionId, Shape, Weights,
    nominal_size,
};
use frcnn_onnx::pb::{AttributeProto, ModelProto};
use frcnn_onnx::writer::{Dim, OnnxWriter, attr, tensor};

use names::Names;
use order::{Order, conv_weight, gemm_weight};

const DATA: &str = "data";
const ROIS: &str = "rois";
const OUTPUTS: [&str; 2] = ["cls_prob", "bbox_pred"];

/// A layer that ONNX, channels first, has no word for. Of what this crate compiles, only an R-CNN has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer `{layer}` cannot be written as ONNX: {problem}")]
pub struct EmitError {
    /// The layer.
    pub layer: String,
    /// What keeps it.
    pub problem: String,
}

/// The network of `bundle` as an ONNX model with inputs `data` `[1, 3, H, W]` and `rois` `[R, 5]`, and outputs
/// `cls_prob` `[R, K+1]` and `bbox_pred` `[R, 4(K+1)]`. Weights are f32; those that the bundle has in bf16 or f16 have the
/// values to which they were rounded. int8 ones are int8, before a `DequantizeLinear` with a scale for each output channel; what
/// their layer reads goes through `QuantizeLinear` and `DequantizeLinear`.
///
/// `data` is that of the ONNX file that the bundle was made of, so that the same manifest goes with both: where the device's
/// blob is another, the first nodes bring channel order, scale and means from one to the other. The operator set is 13, or
/// 14 or 16 where a layer needs it.
///
/// With an RPN there are the outputs `rpn_logits.N` and `rpn_deltas.N` of each of the trunk's maps, and
/// [`description_of`](crate::description_of) says what becomes of them.
///
/// # Errors
/// A row that was flattened from a map is joined, normalised by a softmax or given out before a fully connected layer
/// has read it: its values lie in another order in ONNX. Or the bundle is an R-CNN, whose regions are cut out of the image
/// before the network.
pub fn emit_onnx(bundle: &Bundle) -> Result<ModelProto, EmitError> {
    let contents = bundle.contents();
    let refused = |problem: &str| Err(EmitError { layer: DATA.to_string(), problem: problem.to_string() });
    if let Regions::Warp(_) = &contents.regions {
        return refused("it is a region that R-CNN cuts out of the image, for which ONNX has no operator");
    }
    let scores = contents.manifest.classes.len() as i64;
    let mut onnx = OnnxWriter::new(if contents.rpn.is_some() { "faster_rcnn" } else { "fast_rcnn" });
    onnx.input(DATA, &[Dim::Size(1), Dim::Size(3), Dim::Symbol("H"), Dim::Symbol("W")]);
    onnx.input(ROIS, &[Dim::Symbol("R"), Dim::Size(5)]);
    let mut reserved = vec![DATA.to_string(), ROIS.to_string()];
    reserved.extend(OUTPUTS.map(str::to_string));
    if contents.rpn.is_some() {
        reserved.extend((0..contents.trunk.outputs.len()).flat_map(rpn_outputs));
    }
    let reserved: Vec<&str> = reserved.iter().map(String::as_str).collect();
    let mut emitter = Emitter { bundle, onnx, names: Names::reserving(&reserved), position: 0, shared: None };

    let (height, width) = nominal_size(contents);
    let image = Value { name: emitter.blob(&contents.network_input()), order: Order::AsOnDevice };
    let trunk = &contents.trunk;
    let (values, shapes) = emitter.graph(trunk, image, Shape::Map { height, width, channels: 3 }, &[])?;
    let given = |&value: &u32| Some((values.get(value as usize)?.name.clone(), *shapes.get(value as usize)?));
    let maps: Vec<(String, Shape)> = trunk.outputs.iter().filter_map(given).collect();
    let nothing = (DATA.to_string(), Shape::Flat { features: 0 });
    let (first, map) = maps.first().cloned().unwrap_or(nothing);
    let pool5 = match &contents.regions {
        Regions::RoiAlign(align) => {
            let pooled = maps.iter().take(contents.pooled_maps()).map(|(name, _)| name.clone());
            emitter.roi_align(align, &pooled.collect::<Vec<_>>(), map.channels())
        }
        Regions::RoiPooling(pooling) => emitter.roi_pooling(pooling, &first, map.channels()),
        // Refused above.
        Regions::Warp(_) => Value { name: first, order: Order::AsOnDevice },
    };
    let (head, regions) = (&contents.head, contents.region_shape(map));
    let (values, _) = emitter.graph(head, pool5, regions, &OUTPUTS)?;
    for ((&value, name), columns) in head.outputs.iter().zip(OUTPUTS).zip([scores, 4 * scores]) {
        if values.get(value as usize).is_none_or(|value| value.order != Order::AsOnDevice) {
            return Err(EmitError { layer: name.to_string(), problem: order::PROBLEM.to_string() });
        }
        emitter.onnx.output(name, &[Dim::Symbol("R"), Dim::Size(columns)]);
    }
    if let Some(rpn) = &contents.rpn {
        emitter.rpn(rpn, &maps)?;
    }
    Ok(emitter.onnx.finish())
}

/// Names of what an RPN gives of the trunk's map at `level`.
fn rpn_outputs(level: usize) -> [String; 2] {
    [format!("rpn_logits.{level}"), format!("rpn_deltas.{level}")]
}

/// A value that is already computed in the model.
struct Value {
    name: String,
    order: Order,
}

struct Emitter<'a> {
    bundle: &'a Bundle,
    onnx: OnnxWriter,
    names: Names,
    /// The layer at hand, in its graph.
    position: usize,
    /// Constants of an RPN's layers, by layer and part, which are the same on all maps.
    shared: Option<HashMap<(usize, String), String>>,
}

impl Emitter<'_> {
    /// Adds what makes the device's blob of `data`, and gives its name.
    fn blob(&mut self, input: &NetworkInput) -> String {
        if input.is_blob() {
            return DATA.to_string();
        }
        let mut name = DATA.to_string();
        // Smaller ones come of rounding means of some hundred grey levels.
        const GREY_LEVELS: f64 = 1e-3;
        let shift: [f32; 3] = std::array::from_fn(|c| (-input.shift[c] / input.scale[c]) as f32);
        let scale = input.scale.map(|scale| scale.recip() as f32);
        for (op_type, neutral, values, least) in [("Mul", 1.0, scale, 0.0), ("Add", 0.0, shift, GREY_LEVELS)]
        {
            if values.iter().any(|value| f64::from((value - neutral).abs()) > least) {
                let output = self.names.unique(&format!("blob_{}", op_type.to_lowercase()));
                let constant = self.constant(&output, "value", &[3, 1, 1], &values);
                self.onnx.node(op_type, &output, &[&name, &constant], []);
                name = output;
            }
        }
        if input.channels != [0, 1, 2] {
            let output = self.names.unique("blob");
            let indices = self.names.unique("blob.indices");
            // Channel b of the blob is the one of `data` whose channel b is.
            let places: Vec<i64> = (0..3)
                .filter_map(|b| input.channels.iter().position(|&c| c == b))
                .map(|place| place as i64)
                .collect();
            self.onnx.initializer(tensor::i64(&indices, &[3], &places));
            self.onnx.node("Gather", &output, &[&name, &indices], [attr::int("axis", 1)]);
            name = output;
        }
        name
    }

    /// Adds RoI pooling of a map of so many channels; gives what the head reads.
    fn roi_pooling(&mut self, pooling: &RoiPooling, map: &str, channels: usize) -> Value {
        if let [level] = pooling.pooled[..] {
            let name = self.roi_pool("pool5", map, level, pooling.spatial_scale);
            return Value { name, order: Order::AsOnDevice };
        }
        let (mut rows, mut maps) = (Vec::new(), Vec::new());
        for &[height, width] in &pooling.pooled {
            let name = format!("pool5_{height}x{width}");
            let level = self.roi_pool(&name, map, [height, width], pooling.spatial_scale);
            let row = self.names.unique(&format!("{name}_flat"));
            self.onnx.node("Flatten", &row, &[&level], [attr::int("axis", 1)]);
            rows.push(row);
            maps.push([height as usize, width as usize, channels]);
        }
        let name = self.names.unique("pool5");
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        self.onnx.node("Concat", &name, &rows, [attr::int("axis", 1)]);
        Value { name, order: Order::ChannelsFirst(maps.into()) }
    }

    fn roi_pool(&mut self, name: &str, map: &str, [height, width]: [u32; 2], spatial_scale: f32) -> String {
        let name = self.names.unique(name);
        let attributes = [
            attr::ints("pooled_shape", &[height.into(), width.into()]),
            attr::float("spatial_scale", spatial_scale),
        ];
        self.onnx.node("MaxRoiPool", &name, &[map, ROIS], attributes);
        name
    }

    /// Adds a graph's layers; gives its values and their shapes. Its outputs get the names `outputs`.
    fn graph(
        &mut self,
        graph: &Graph,
        input: Value,
        shape: Shape,
        outputs: &[&str],
    ) -> Result<(Vec<Value>, Vec<Shape>), EmitError> {
        let shapes = graph.infer(shape).map_err(|(position, problem)| EmitError {
            layer: graph.layers.get(position).map(|layer| layer.name.clone()).unwrap_or_default(),
            problem,
        })?;
        let mut values = vec![input];
        for (position, layer) in graph.layers.iter().enumerate() {
            self.position = position;
            let given = graph.outputs.iter().position(|&output| output as usize == values.len());
            let name = match given.and_then(|position| outputs.get(position)) {
                Some(&output) => output.to_string(),
                None => self.names.unique(&layer.name),
            };
            let read: Vec<&Value> =
                layer.inputs.iter().filter_map(|&value| values.get(value as usize)).collect();
            let shape = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
            let order = Order::after(
                layer,
                &read.iter().map(|value| value.order.clone()).collect::<Vec<_>>(),
                shape,
            )?;
            self.layer(layer, &name, &read);
            values.push(Value { name, order });
        }
        Ok((values, shapes))
    }

    fn layer(&mut self, layer: &Layer, name: &str, read: &[&Value]) {
        if let (Op::Upsample, [small, large]) = (&layer.op, read) {
            return self.upsample(name, &small.name, &large.name);
        }
        let mut inputs: Vec<String> = read.iter().map(|value| value.name.clone()).collect();
        let order = read.first().map_or(&Order::AsOnDevice, |value| &value.order);
        let mut attributes = Vec::new();
        let op_type = match &layer.op {
            Op::Conv(conv) => {
                self.quantise(name, conv.weight, &mut inputs);
                inputs.extend(self.conv_weights(name, conv));
                attributes = window(conv.kernel, conv.stride, conv.pads);
                attributes.push(attr::ints("dilations", &conv.dilation.map(i64::from)));
                attributes.push(attr::int("group", conv.group.into()));
                "Conv"
            }
            Op::MaxPool(pool) => {
                attributes = pooling(pool);
                "MaxPool"
            }
            Op::AveragePool { pool, count_include_pad } => {
                attributes = pooling(pool);
                attributes.push(attr::int("count_include_pad", (*count_include_pad).into()));
                "AveragePool"
            }
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::Lrn { size, alpha, beta, k } => {
                attributes.push(attr::int("size", (*size).into()));
                attributes.extend([("alpha", alpha), ("beta", beta), ("bias", k)].map(float));
                "LRN"
            }
            Op::Relu => "Relu",
            Op::LeakyRelu { alpha } => {
                attributes.push(float(("alpha", alpha)));
                "LeakyRelu"
            }
            Op::Clip { low, high } => {
                inputs.extend(self.bounds(name, *low, *high));
                "Clip"
            }
            Op::Sigmoid => "Sigmoid",
            Op::HardSigmoid { alpha, beta } => {
                attributes.extend([("alpha", alpha), ("beta", beta)].map(float));
                "HardSigmoid"
            }
            Op::HardSwish => "HardSwish",
            Op::Concat => {
                attributes.push(attr::int("axis", 1));
                "Concat"
            }
            Op::Add => "Add",
            Op::Mul => "Mul",
            Op::Affine(affine) => {
                let channels = affine.channels as usize;
                let [scale, shift] =
                    [affine.scale, affine.shift].map(|id| order.to_onnx(&self.bundle.weights_as_f32(id)));
                for (part, values) in [
                    ("scale", scale),
                    ("shift", shift),
                    ("mean", vec![0.0; channels]),
                    ("variance", vec![1.0; channels]),
                ] {
                    inputs.push(self.constant(name, part, &[channels], &values));
                }
                attributes.push(attr::float("epsilon", 0.0));
                "BatchNormalization"
            }
            Op::Flatten => {
                attributes.push(attr::int("axis", 1));
                "Flatten"
            }
            Op::Gemm(gemm) => {
                self.quantise(name, gemm.weight, &mut inputs);
                inputs.extend(self.gemm_weights(name, gemm, order));
                attributes.push(attr::int("transB", 1));
                "Gemm"
            }
            Op::Softmax => {
                attributes.push(attr::int("axis", 1));
                "Softmax"
            }
            // Of two maps, as every one: see above.
            Op::Upsample => "Resize",
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.onnx.node(op_type, name, &inputs, attributes);
    }

    fn conv_weights(&mut self, layer: &str, conv: &Conv) -> Vec<String> {
        let [kh, kw] = conv.kernel.map(|k| k as usize);
        let (ci, co) = ((conv.in_channels / conv.group) as usize, conv.out_channels as usize);
        let dims = [co, ci, kh, kw];
        let weight = match self.bundle.weights(conv.weight) {
            Some(Weights::Int8(values)) => {
                self.int8_weight(layer, conv.weight, &dims, &conv_weight(values, kh * kw, ci, co))
            }
            _ => {
                let values = self.bundle.weights_as_f32(conv.weight);
                self.constant(layer, "weight", &dims, &conv_weight(&values, kh * kw, ci, co))
            }
        };
        [weight].into_iter().chain(self.bias(layer, conv.bias)).collect()
    }

    fn gemm_weights(&mut self, layer: &str, gemm: &Gemm, order: &Order) -> Vec<String> {
        let (rows, columns) = (gemm.in_features as usize, gemm.out_features as usize);
        let dims = [columns, rows];
        let weight = match self.bundle.weights(gemm.weight) {
            Some(Weights::Int8(values)) => {
                self.int8_weight(layer, gemm.weight, &dims, &gemm_weight(values, rows, columns, order))
            }
            _ => {
                let values = self.bundle.weights_as_f32(gemm.weight);
                self.constant(layer, "weight", &dims, &gemm_weight(&values, rows, columns, order))
            }
        };
        [weight].into_iter().chain(self.bias(layer, gemm.bias)).collect()
    }

    /// Puts the rounding of what an int8 layer reads, its first input, before the layer. Nothing of a layer of another kind.
    fn quantise(&mut self, layer: &str, weight: SectionId, inputs: &mut [String]) {
        let int8 = self.bundle.contents().sections.get(weight as usize).and_then(|section| section.int8);
        let (Some(int8), Some(input)) = (int8, inputs.first_mut()) else { return };
        let scale = self.constant(layer, "input_scale", &[], &[int8.input_scale]);
        let zero = self.names.unique(&format!("{layer}.input_zero_point"));
        self.onnx.initializer(tensor::u8(&zero, &[], &[int8.input_zero_point]));
        for (op_type, name) in [("QuantizeLinear", "input_u8"), ("DequantizeLinear", "input_rounded")] {
            let output = self.names.unique(&format!("{layer}.{name}"));
            self.onnx.node(op_type, &output, &[&*input, &scale, &zero], []);
            *input = output;
        }
    }

    /// int8 weights, output channels first, and what makes real numbers of them.
    fn int8_weight(&mut self, layer: &str, weight: SectionId, dims: &[usize], values: &[i8]) -> String {
        let values_of_one = self.bundle.scales(weight).unwrap_or_default();
        let channels = values_of_one.len();
        let scales = self.constant(layer, "scales", &[channels], values_of_one);
        let [int8, zeros] = ["int8", "zero_points"].map(|part| self.names.unique(&format!("{layer}.{part}")));
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        self.onnx.initializer(tensor::i8(&int8, &dims, values));
        self.onnx.initializer(tensor::i8(&zeros, &[channels as i64], &vec![0; channels]));
        let output = self.names.unique(&format!("{layer}.weight"));
        self.onnx.node("DequantizeLinear", &output, &[&int8, &scales, &zeros], [attr::int("axis", 0)]);
        output
    }

    fn bias(&mut self, layer: &str, bias: Option<SectionId>) -> Option<String> {
        let values = self.bundle.weights_as_f32(bias?);
        Some(self.constant(layer, "bias", &[values.len()], &values))
    }

    /// `Clip` takes its bounds as inputs; one that bounds nothing is left out, at the end by leaving the input away.
    fn bounds(&mut self, layer: &str, low: f32, high: f32) -> Vec<String> {
        let mut bound = |part, value: f32| {
            if value.is_infinite() { String::new() } else { self.constant(layer, part, &[], &[value]) }
        };
        let mut bounds = vec![bound("min", low), bound("max", high)];
        while bounds.last().is_some_and(String::is_empty) {
            bounds.pop();
        }
        bounds
    }

    fn constant(&mut self, layer: &str, part: &str, dims: &[usize], values: &[f32]) -> String {
        let key = (self.position, part.to_string());
        if let Some(name) = self.shared.as_ref().and_then(|shared| shared.get(&key)) {
            return name.clone();
        }
        let name = self.names.unique(&format!("{layer}.{part}"));
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        self.onnx.initializer(tensor::f32(&name, &dims, values));
        if let Some(shared) = &mut self.shared {
            shared.insert(key, name.clone());
        }
        name
    }
}

fn float((name, value): (&str, &f32)) -> AttributeProto {
    attr::float(name, *value)
}

fn window(kernel: [u32; 2], stride: [u32; 2], pads: [u32; 4]) -> Vec<AttributeProto> {
    vec![
        attr::ints("kernel_shape", &kernel.map(i64::from)),
        attr::ints("strides", &stride.map(i64::from)),
        attr::ints("pads", &pads.map(i64::from)),
    ]
}

fn pooling(pool: &Pool) -> Vec<AttributeProto> {
    let mut attributes = window(pool.kernel, pool.stride, pool.pads);
    attributes.push(attr::int("ceil_mode", pool.ceil_mode.into()));
    attributes
}
