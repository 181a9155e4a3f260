//! A network from ONNX: what this trainer and `frcnn compile --emit-onnx` write, and PyTorch of such networks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use frcnn_onnx::pb::tensor_proto::DataType;
use frcnn_onnx::pb::{ModelProto, NodeProto, TensorProto};
use prost::Message;
use tch::Tensor;

use super::{DATA, Layer, Network, Op, ROIS};
use crate::error::Error;
use crate::files;

/// Reads a network.
pub(crate) fn read_onnx(path: &Path) -> Result<Network, Error> {
    let bytes = files::read(path)?;
    let problem = |problem: String| Error::file(path, problem);
    let model = ModelProto::decode(&*bytes).map_err(|error| problem(format!("not an ONNX file: {error}")))?;
    let graph = model.graph.ok_or_else(|| problem("an ONNX file without a graph".to_string()))?;
    let initializers: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut reader = Reader { initializers, weights: BTreeMap::new() };
    let mut layers = Vec::new();
    for node in &graph.node {
        let layer = reader
            .layer(node)
            .map_err(|what| problem(format!("node `{}` ({}): {what}", node.name, node.op_type)))?;
        layers.push(layer);
    }
    let network = Network { layers, weights: reader.weights };
    for output in ["cls_prob", "bbox_pred"] {
        if !network.layers.iter().any(|layer| layer.name == output) {
            return Err(problem(format!("computes no `{output}`: not a Fast R-CNN of the documented form")));
        }
    }
    if network.roi_pool().is_none() || network.class_count().is_none() {
        return Err(problem(
            "has no MaxRoiPool node, or no fully connected layer before cls_prob".to_string(),
        ));
    }
    Ok(network)
}

struct Reader<'a> {
    initializers: HashMap<&'a str, &'a TensorProto>,
    weights: BTreeMap<String, Tensor>,
}

impl Reader<'_> {
    fn layer(&mut self, node: &NodeProto) -> Result<Layer, String> {
        let [name] = &node.output[..] else { return Err("has several outputs".to_string()) };
        let op =
            match node.op_type.as_str() {
                "Conv" => {
                    self.weights(node, name, false)?;
                    expect(node, "dilations", 1)?;
                    Op::Conv {
                        stride: same(node, "strides", 1)?,
                        pad: same(node, "pads", 0)?,
                        groups: int(node, "group", 1),
                    }
                }
                "Gemm" => {
                    self.weights(node, name, int(node, "transB", 0) == 0)?;
                    for (factor, name) in
                        [(float(node, "alpha", 1.0), "alpha"), (float(node, "beta", 1.0), "beta")]
                    {
                        if factor != 1.0 {
                            return Err(format!("`{name}` is {factor}, not 1"));
                        }
                    }
                    if int(node, "transA", 0) != 0 {
                        return Err("`transA` is not 0".to_string());
                    }
                    Op::Linear
                }
                "MatMul" => {
                    self.weights(node, name, true)?;
                    Op::Linear
                }
                "MaxPool" => {
                    expect(node, "dilations", 1)?;
                    Op::MaxPool {
                        kernel: same(node, "kernel_shape", 1)?,
                        stride: same(node, "strides", 1)?,
                        pad: same(node, "pads", 0)?,
                        ceil: int(node, "ceil_mode", 0) != 0,
                    }
                }
                "LRN" => Op::Lrn {
                    size: int(node, "size", 1),
                    alpha: f64::from(float(node, "alpha", 1e-4)),
                    beta: f64::from(float(node, "beta", 0.75)),
                    k: f64::from(float(node, "bias", 1.0)),
                },
                "MaxRoiPool" => {
                    if node.input.get(1).map(String::as_str) != Some(ROIS) {
                        return Err(format!("its RoIs are not the input `{ROIS}`"));
                    }
                    Op::RoiPool {
                        pooled: same(node, "pooled_shape", 1)?,
                        spatial_scale: float(node, "spatial_scale", 1.0),
                    }
                }
                "Relu" => Op::Relu,
                "Flatten" if int(node, "axis", 1) == 1 => Op::Flatten,
                "Concat" if int(node, "axis", 0) == 1 => Op::Concat,
                "Softmax" if matches!(int(node, "axis", -1), 1 | -1) => Op::Softmax,
                "Dropout" => Op::Dropout,
                _ => return Err(
                    "only Conv, Relu, MaxPool, LRN, Concat, MaxRoiPool, Flatten, Gemm, MatMul, Dropout and \
                             Softmax over channels can be run"
                        .to_string(),
                ),
            };
        let read = node.input.iter().filter(|input| {
            !self.initializers.contains_key(input.as_str()) && !input.is_empty() && *input != ROIS
        });
        let inputs: Vec<String> = read.cloned().collect();
        if inputs.is_empty() {
            return Err(format!("reads neither `{DATA}` nor another node"));
        }
        Ok(Layer { name: name.clone(), op, inputs })
    }

    /// Stores the constants that a node reads as the layer's weight and bias.
    fn weights(&mut self, node: &NodeProto, layer: &str, transposed: bool) -> Result<(), String> {
        for (input, part) in
            node.input.iter().skip(1).filter(|input| !input.is_empty()).zip(["weight", "bias"])
        {
            let constant =
                self.initializers.get(input.as_str()).ok_or_else(|| format!("`{input}` is no constant"))?;
            let mut value = tensor(constant)?;
            if part == "weight" && transposed {
                value = value.transpose(0, 1).contiguous();
            }
            self.weights.insert(format!("{layer}.{part}"), value);
        }
        Ok(())
    }
}

fn tensor(constant: &TensorProto) -> Result<Tensor, String> {
    let name = &constant.name;
    if constant.data_type != DataType::Float as i32 {
        return Err(format!("`{name}` is not f32"));
    }
    let raw = constant.raw_data.as_chunks::<4>().0;
    let values: Vec<f32> = if raw.is_empty() {
        constant.float_data.clone()
    } else {
        raw.iter().map(|&b| f32::from_le_bytes(b)).collect()
    };
    if constant.dims.iter().product::<i64>() != values.len() as i64 {
        return Err(format!("`{name}` has {} values for the shape {:?}", values.len(), constant.dims));
    }
    Ok(Tensor::from_slice(&values).view(&constant.dims[..]))
}

fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
}

fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.f)
}

/// A list of equal integers as one.
fn same(node: &NodeProto, name: &str, default: i64) -> Result<i64, String> {
    let Some(attribute) = node.attribute.iter().find(|a| a.name == name) else { return Ok(default) };
    match &attribute.ints[..] {
        [] => Ok(default),
        [first, rest @ ..] if rest.iter().all(|value| value == first) => Ok(*first),
        values => Err(format!("`{name}` is {values:?}: only equal values can be run")),
    }
}

fn expect(node: &NodeProto, name: &str, value: i64) -> Result<(), String> {
    match same(node, name, value)? {
        found if found == value => Ok(()),
        found => Err(format!("`{name}` is {found}, not {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use frcnn_onnx::writer;

    fn write_and_read(model: &ModelProto) -> Result<Network, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        writer::write(model, &path).unwrap();
        read_onnx(&path)
    }

    #[test]
    fn what_is_written_is_read() {
        for arch in [Arch::Tiny, Arch::SqueezeNet, Arch::CaffeNet] {
            let network = arch.network(3);
            let back = write_and_read(&network.to_onnx(arch.name())).unwrap();
            let ops = |network: &Network| -> Vec<(String, Op)> {
                let kept = network.layers.iter().filter(|layer| layer.op != Op::Dropout);
                kept.map(|layer| (layer.name.clone(), layer.op)).collect()
            };
            let rounded = |(name, op): (String, Op)| match op {
                // ONNX has f32 where libtorch takes f64.
                Op::Lrn { size, alpha, beta, k } => {
                    let f32 = |value: f64| f64::from(value as f32);
                    (name, Op::Lrn { size, alpha: f32(alpha), beta: f32(beta), k: f32(k) })
                }
                op => (name, op),
            };
            assert_eq!(ops(&back), ops(&network).into_iter().map(rounded).collect::<Vec<_>>());
            assert_eq!(back.class_count(), Some(4));
            assert!(network.weights.iter().all(|(name, weight)| back.weights[name] == *weight));
        }
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let model = |change: &dyn Fn(&mut ModelProto)| {
            let mut model = Arch::Tiny.network(1).to_onnx("tiny");
            change(&mut model);
            write_and_read(&model).unwrap_err().to_string()
        };
        let graph = |model: &mut ModelProto, at: usize, op: &str| {
            model.graph.as_mut().unwrap().node[at].op_type = op.to_string();
        };
        let error = model(&|model| graph(model, 1, "Gelu"));
        assert!(error.contains("`conv1_relu` (Gelu)"), "{error}");
        let error = model(&|model| model.graph.as_mut().unwrap().initializer.clear());
        assert!(error.contains("`conv1.weight` is no constant"), "{error}");
        let error = model(&|model| model.graph.as_mut().unwrap().node.truncate(20));
        assert!(error.contains("computes no `"), "{error}");
        let error = model(&|model| model.graph = None);
        assert!(error.contains("without a graph"), "{error}");
    }
}
