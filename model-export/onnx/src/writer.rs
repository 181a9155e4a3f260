//! Builds an ONNX model node by node and writes it to a file.
//!
//! ```text
//! data ──▶ Conv "conv1" ──▶ Relu "conv1_relu" ──▶ …        inputs, nodes, outputs: by name
//!            ▲      ▲
//!   conv1.weight  conv1.bias                               initializers: raw little-endian bytes
//! ```
//!
//! A node has one output, and the output has the node's name: so a layer, its blob and the name the compiler
//! reports are one string. Nodes must be added in an order in which every input is already defined.
//!
//! A weight's bytes are moved into the model and copied once, when the file is encoded.

use std::io;
use std::path::{Path, PathBuf};

use frcnn_files::Staged;
use prost::Message;

use crate::pb::tensor_proto::DataType;
use crate::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

/// The ONNX operator set that the models are written for, where no node needs a later one.
pub const OPSET: i64 = 13;

const IR_VERSION: i64 = 8;

/// Readers refuse a protobuf message from 2 GiB on.
const MAX_BYTES: usize = i32::MAX as usize;

/// One dimension of a model's input or output.
#[derive(Clone, Copy, Debug)]
pub enum Dim<'a> {
    /// A size known when the model is written.
    Size(i64),
    /// A size that each run chooses; equal names are equal sizes.
    Symbol(&'a str),
}

/// A graph under construction.
#[derive(Debug)]
pub struct OnnxWriter {
    graph: GraphProto,
    opset: i64,
}

impl OnnxWriter {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.to_owned(), ..Default::default() }, opset: OPSET }
    }

    /// Declares an f32 input of the model.
    pub fn input(&mut self, name: &str, dims: &[Dim<'_>]) {
        self.graph.input.push(value_info(name, dims));
    }

    /// Declares an f32 output of the model: the node of that name computes it.
    pub fn output(&mut self, name: &str, dims: &[Dim<'_>]) {
        self.graph.output.push(value_info(name, dims));
    }

    /// Adds a constant that nodes refer to by the tensor's name.
    pub fn initializer(&mut self, tensor: TensorProto) {
        self.graph.initializer.push(tensor);
    }

    /// Adds a node; its output has the node's name.
    pub fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) {
        self.opset = self.opset.max(match op_type {
            "HardSwish" => 14,
            // From where it says in which place points lie.
            "RoiAlign" => 16,
            _ => OPSET,
        });
        self.graph.node.push(NodeProto {
            op_type: op_type.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute: attributes.into_iter().collect(),
            ..Default::default()
        });
    }

    /// The finished model.
    pub fn finish(self) -> ModelProto {
        ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset }],
            producer_name: "frcnn".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
        }
    }
}

fn value_info(name: &str, dims: &[Dim<'_>]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = dims
        .iter()
        .map(|dim| match dim {
            Dim::Size(size) => Value::DimValue(*size),
            Dim::Symbol(name) => Value::DimParam((*name).to_owned()),
        })
        .map(|value| Dimension { value: Some(value) })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type) }
}

/// Constants: initializers of a graph, or the `value` of a `Constant` node.
pub mod tensor {
    use super::{DataType, TensorProto};

    /// An f32 tensor; no `dims` make a scalar.
    pub fn f32(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        f32_bytes(name, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An f32 tensor from its little-endian bytes, which are moved and not copied.
    pub fn f32_bytes(name: &str, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
        tensor(name, dims, DataType::Float, bytes)
    }

    /// An i64 tensor: shapes, axes and indices.
    pub fn i64(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
        tensor(name, dims, DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An int8 tensor: weights.
    pub fn i8(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
        tensor(name, dims, DataType::Int8, values.iter().map(|value| value.cast_unsigned()).collect())
    }

    /// A u8 tensor; no `dims` make a scalar.
    pub fn u8(name: &str, dims: &[i64], values: &[u8]) -> TensorProto {
        tensor(name, dims, DataType::Uint8, values.to_vec())
    }

    fn tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: data_type as i32,
            raw_data,
            ..Default::default()
        }
    }
}

/// Attributes of a node.
pub mod attr {
    use super::{AttributeProto, TensorProto};
    use crate::pb::attribute_proto::AttributeType;

    /// One integer.
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto { i: value, ..of_type(name, AttributeType::Int) }
    }

    /// A list of integers.
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto { ints: values.to_vec(), ..of_type(name, AttributeType::Ints) }
    }

    /// One float.
    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto { f: value, ..of_type(name, AttributeType::Float) }
    }

    /// A string.
    pub fn string(name: &str, value: &str) -> AttributeProto {
        AttributeProto { s: value.as_bytes().to_vec(), ..of_type(name, AttributeType::String) }
    }

    /// A tensor.
    pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
        AttributeProto { t: Some(value), ..of_type(name, AttributeType::Tensor) }
    }

    fn of_type(name: &str, r#type: AttributeType) -> AttributeProto {
        AttributeProto { name: name.to_owned(), r#type: r#type as i32, ..Default::default() }
    }
}

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system refused.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file that was to be written.
        path: PathBuf,
        /// What the file system said.
        error: io::Error,
    },
    /// The model does not fit in one protobuf message.
    #[error("cannot write {}: the model takes {bytes} bytes, and an ONNX file stays below 2 GiB", path.display())]
    TooLarge {
        /// The file that was to be written.
        path: PathBuf,
        /// The encoded size.
        bytes: usize,
    },
}

impl WriteError {
    /// The file that was to be written.
    pub fn path(&self) -> &Path {
        match self {
            WriteError::Io { path, .. } | WriteError::TooLarge { path, .. } => path,
        }
    }
}

/// Writes the model to `path`.
///
/// The bytes go to a file beside it that is then renamed: nobody ever finds half a model under `path`, and an older
/// file of that name stays when writing fails.
///
/// # Errors
/// [`WriteError`] when the file cannot be written or the model takes 2 GiB or more.
pub fn write(model: &ModelProto, path: &Path) -> Result<(), WriteError> {
    let io = |error| WriteError::Io { path: path.to_owned(), error };
    stage(model, path)?.commit().map_err(io)
}

/// The same up to the renaming, which is left to the caller: for files that belong together.
///
/// # Errors
/// See [`write()`].
pub fn stage(model: &ModelProto, path: &Path) -> Result<Staged, WriteError> {
    let bytes = model.encoded_len();
    if bytes > MAX_BYTES {
        return Err(WriteError::TooLarge { path: path.to_owned(), bytes });
    }
    Staged::new(path, [model.encode_to_vec().as_slice()])
        .map_err(|error| WriteError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn small() -> ModelProto {
        let mut onnx = OnnxWriter::new("small");
        onnx.input("x", &[Dim::Symbol("R"), Dim::Size(2)]);
        onnx.initializer(tensor::f32("w", &[2], &[1.0, -2.5]));
        onnx.initializer(tensor::i64("axes", &[1], &[-1]));
        onnx.node("Mul", "y", &["x", "w"], []);
        onnx.node("LeakyRelu", "z", &["y"], [attr::float("alpha", 0.1)]);
        onnx.output("z", &[Dim::Symbol("R"), Dim::Size(2)]);
        onnx.finish()
    }

    #[test]
    fn the_operator_set_has_every_node() {
        let mut onnx = OnnxWriter::new("later");
        onnx.node("HardSwish", "y", &["x"], []);
        onnx.node("Relu", "z", &["y"], []);
        assert_eq!(onnx.finish().opset_import[0].version, 14);
    }

    #[test]
    fn an_encoded_model_decodes_to_itself() {
        let model = small();
        assert_eq!(ModelProto::decode(model.encode_to_vec().as_slice()).unwrap(), model);
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 13));
        let graph = model.graph.unwrap();
        assert_eq!(graph.initializer[0].raw_data, [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
        assert_eq!(graph.initializer[1].raw_data, [0xff; 8]);
        assert_eq!(graph.node[1].output, ["z"]);
    }

    #[test]
    fn a_written_model_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = std::env::temp_dir().join(format!("frcnn-onnx-writer-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("model.onnx");
        fs::write(&path, "an older file").unwrap();
        write(&small(), &path).unwrap();
        assert_eq!(ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap(), small());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn errors_name_the_file() {
        for path in ["/nowhere/at/all/model.onnx", "/"] {
            let error = write(&small(), Path::new(path)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write {path}: ")), "{error}");
        }
    }
}
