//! Weights in Caffe's `.caffemodel` files, with the field numbers of the published [`caffe.proto`].
//!
//! [`caffe.proto`]: https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto

use std::collections::BTreeSet;

use prost::Message;

/// A blob has no more dimensions: Caffe's `kMaxBlobAxes`.
pub const MAX_DIMENSIONS: usize = 32;

/// A weight or a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    /// Of its layer; different from that of every other one.
    pub layer: String,
    /// `weight` or `bias`.
    pub part: &'static str,
    /// At most [`MAX_DIMENSIONS`] dimensions, none of them 0; of older files always four.
    pub shape: Vec<i64>,
    /// Finite, as many as the shape has.
    pub values: Vec<f32>,
}

/// Why there are no weights to be had.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Protobuf is against it.
    #[error("not a .caffemodel, or damaged: {0}")]
    Decode(prost::DecodeError),
    /// The file can be read, but holds nothing.
    #[error("has no layer with weights: a prototxt, or a file from before 2013?")]
    Empty,
    /// Which of them is meant cannot be known.
    #[error("two layers with weights are called `{0}`")]
    Duplicate(String),
    /// A blob that no network has.
    #[error("layer `{layer}`, {part}: {problem}")]
    Blob {
        /// Its name.
        layer: String,
        /// `weight` or `bias`.
        part: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// The first two blobs of every layer that has any: weight and bias, in the file's order.
///
/// # Errors
/// Not such a file; no weights in it; values that do not fit their shape or are not finite; two layers of one name.
pub fn read(bytes: &[u8]) -> Result<Vec<Blob>, Error> {
    let net = NetParameter::decode(bytes).map_err(Error::Decode)?;
    let new = net.layer.into_iter().map(|layer| (layer.name, layer.blobs));
    let old = net.layers.into_iter().map(|layer| (layer.name, layer.blobs));
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for (name, blobs) in new.chain(old).filter(|(_, blobs)| !blobs.is_empty()) {
        let layer = name.unwrap_or_default();
        if !names.insert(layer.clone()) {
            return Err(Error::Duplicate(layer));
        }
        for (blob, part) in blobs.into_iter().zip(["weight", "bias"]) {
            match blob.shape_and_values() {
                Ok((shape, values)) => read.push(Blob { layer: layer.clone(), part, shape, values }),
                Err(problem) => return Err(Error::Blob { layer, part, problem }),
            }
        }
    }
    if read.is_empty() { Err(Error::Empty) } else { Ok(read) }
}

impl BlobProto {
    fn shape_and_values(self) -> Result<(Vec<i64>, Vec<f32>), String> {
        let legacy = [self.num, self.channels, self.height, self.width];
        let shape = match self.shape {
            Some(shape) => shape.dim,
            None => legacy.iter().map(|side| i64::from(side.unwrap_or(1))).collect(),
        };
        let values = if self.data.is_empty() {
            self.double_data.iter().map(|&value| value as f32).collect()
        } else {
            self.data
        };
        if shape.len() > MAX_DIMENSIONS {
            return Err(format!("{} dimensions; there are at most {MAX_DIMENSIONS}", shape.len()));
        }
        let fits = |side: &i64| if *side > 0 { Some(*side) } else { None };
        let wanted = shape.iter().try_fold(1i64, |product, side| product.checked_mul(fits(side)?));
        if wanted != i64::try_from(values.len()).ok() {
            return Err(format!("{} values for the shape {shape:?}", values.len()));
        }
        let not_finite = values.iter().filter(|value| !value.is_finite()).count();
        if not_finite > 0 {
            let all = values.len();
            return Err(format!("{not_finite} of {all} values are not finite (did the training diverge?)"));
        }
        Ok((shape, values))
    }
}

/// A network; fields without weights are passed over.
#[derive(Clone, PartialEq, Message)]
pub struct NetParameter {
    /// Of files from 2014 until today.
    #[prost(message, repeated, tag = "100")]
    pub layer: Vec<LayerParameter>,
    /// Of files from 2013 and 2014.
    #[prost(message, repeated, tag = "2")]
    pub layers: Vec<V1LayerParameter>,
}

/// A layer.
#[derive(Clone, PartialEq, Message)]
pub struct LayerParameter {
    /// Any text.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Weight, bias; of some layers more, or none.
    #[prost(message, repeated, tag = "7")]
    pub blobs: Vec<BlobProto>,
}

/// A layer of an older file.
#[derive(Clone, PartialEq, Message)]
pub struct V1LayerParameter {
    /// Any text.
    #[prost(string, optional, tag = "4")]
    pub name: Option<String>,
    /// Weight, bias; of some layers more, or none.
    #[prost(message, repeated, tag = "6")]
    pub blobs: Vec<BlobProto>,
}

/// Numbers.
#[derive(Clone, PartialEq, Message)]
pub struct BlobProto {
    /// Without it, the last four fields.
    #[prost(message, optional, tag = "7")]
    pub shape: Option<BlobShape>,
    /// Values, the last dimension fastest.
    #[prost(float, repeated, tag = "5")]
    pub data: Vec<f32>,
    /// In their place.
    #[prost(double, repeated, tag = "8")]
    pub double_data: Vec<f64>,
    /// First dimension of older files.
    #[prost(int32, optional, tag = "1")]
    pub num: Option<i32>,
    /// Second.
    #[prost(int32, optional, tag = "2")]
    pub channels: Option<i32>,
    /// Third.
    #[prost(int32, optional, tag = "3")]
    pub height: Option<i32>,
    /// Fourth.
    #[prost(int32, optional, tag = "4")]
    pub width: Option<i32>,
}

/// Dimensions, in order.
#[derive(Clone, PartialEq, Message)]
pub struct BlobShape {
    /// Their sizes.
    #[prost(int64, repeated, tag = "1")]
    pub dim: Vec<i64>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shaped(shape: &[i64], data: &[f32]) -> BlobProto {
        BlobProto {
            shape: Some(BlobShape { dim: shape.to_vec() }),
            data: data.to_vec(),
            ..BlobProto::default()
        }
    }

    fn net(blobs: Vec<BlobProto>) -> NetParameter {
        let layer = LayerParameter { name: Some("conv1".into()), blobs };
        let relu = LayerParameter { name: Some("relu1".into()), blobs: vec![] };
        NetParameter { layer: vec![layer, relu.clone(), relu], layers: vec![] }
    }

    fn problem(blob: BlobProto) -> String {
        read(&net(vec![blob]).encode_to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn both_generations_and_widths_of_numbers() {
        let conv = vec![shaped(&[2, 1], &[1.0, 2.0]), shaped(&[2], &[3.0, 4.0])];
        let mut file = net(conv);
        let old = BlobProto {
            double_data: vec![0.5; 6],
            channels: Some(2),
            width: Some(3),
            ..BlobProto::default()
        };
        // A third blob is no weight and no bias.
        let blobs = vec![old, shaped(&[1], &[1.0]), shaped(&[], &[7.0])];
        file.layers.push(V1LayerParameter { name: Some("fc6".into()), blobs });
        let blob = |layer: &str, part, shape: &[i64], values: &[f32]| Blob {
            layer: layer.into(),
            part,
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        assert_eq!(
            read(&file.encode_to_vec()).unwrap(),
            [
                blob("conv1", "weight", &[2, 1], &[1.0, 2.0]),
                blob("conv1", "bias", &[2], &[3.0, 4.0]),
                blob("fc6", "weight", &[1, 2, 1, 3], &[0.5; 6]),
                blob("fc6", "bias", &[1], &[1.0]),
            ]
        );
    }

    #[test]
    fn what_no_network_has_is_named() {
        for (blob, said) in [
            (shaped(&[3], &[1.0, 2.0]), "2 values for the shape [3]"),
            (shaped(&[-1, -2], &[1.0, 2.0]), "2 values for the shape [-1, -2]"),
            (shaped(&[i64::MAX, 4], &[]), "0 values"),
            (shaped(&[1 << 62, 0], &[]), "0 values"),
            (shaped(&[1 << 33, 1 << 33], &[1.0]), "1 values"),
            (shaped(&[1; 33], &[1.0]), "33 dimensions"),
            (shaped(&[2], &[f32::NAN, f32::INFINITY]), "2 of 2 values are not finite"),
            (BlobProto { double_data: vec![1e300], ..BlobProto::default() }, "1 of 1 values are not finite"),
            (BlobProto::default(), "0 values"),
        ] {
            let problem = problem(blob);
            assert!(problem.starts_with("layer `conv1`, weight: ") && problem.contains(said), "{problem}");
        }
        let mut twice = net(vec![shaped(&[1], &[1.0])]);
        twice.layer.push(twice.layer[0].clone());
        assert_eq!(read(&twice.encode_to_vec()), Err(Error::Duplicate("conv1".into())));
        assert_eq!(read(&net(vec![]).encode_to_vec()), Err(Error::Empty));
        assert_eq!(read(b""), Err(Error::Empty));
    }

    #[test]
    fn cut_files_are_damaged() {
        let whole = net(vec![shaped(&[2], &[1.0, 2.0])]).encode_to_vec();
        assert!(read(&whole).is_ok());
        // The last layers are relu1, twice, of 10 bytes each: without them the file is another one.
        let ends = [0, whole.len() - 20, whole.len() - 10];
        for len in (0..whole.len()).filter(|len| !ends.contains(len)) {
            assert!(matches!(read(&whole[..len]), Err(Error::Decode(_))), "{len}");
        }
    }
}
