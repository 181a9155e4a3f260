//! `.caffemodel` files, with the field numbers of the published `caffe.proto`.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use tch::Tensor;

use super::our_name;
use crate::error::Error;
use crate::files;

#[derive(Clone, PartialEq, Message)]
struct NetParameter {
    /// Files from 2014 until today.
    #[prost(message, repeated, tag = "100")]
    layer: Vec<LayerParameter>,
    /// Files of 2013 and 2014.
    #[prost(message, repeated, tag = "2")]
    layers: Vec<V1LayerParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct LayerParameter {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, repeated, tag = "7")]
    blobs: Vec<BlobProto>,
}

#[derive(Clone, PartialEq, Message)]
struct V1LayerParameter {
    #[prost(string, optional, tag = "4")]
    name: Option<String>,
    #[prost(message, repeated, tag = "6")]
    blobs: Vec<BlobProto>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobProto {
    #[prost(message, optional, tag = "7")]
    shape: Option<BlobShape>,
    #[prost(float, repeated, tag = "5")]
    data: Vec<f32>,
    #[prost(double, repeated, tag = "8")]
    double_data: Vec<f64>,
    /// Before there was a `shape`: num, channels, height, width.
    #[prost(int32, optional, tag = "1")]
    num: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    channels: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    height: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    width: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    dim: Vec<i64>,
}

/// The weights of every layer that has a weight and a bias, under our names.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let wrong = |problem: String| Error::file(path, problem);
    let net = NetParameter::decode(&*files::read(path)?)
        .map_err(|error| wrong(format!("not a .caffemodel, or damaged: {error}")))?;
    let new = net.layer.into_iter().map(|layer| (layer.name, layer.blobs));
    let old = net.layers.into_iter().map(|layer| (layer.name, layer.blobs));
    let mut weights = BTreeMap::new();
    for (name, blobs) in new.chain(old) {
        let name = name.unwrap_or_default();
        for (blob, part) in blobs.into_iter().zip(["weight", "bias"]) {
            let tensor = blob.tensor().map_err(|what| wrong(format!("layer `{name}`, {part}: {what}")))?;
            weights.insert(our_name(&format!("{name}.{part}")), tensor);
        }
    }
    if weights.is_empty() {
        return Err(wrong("has no layer with weights: a prototxt, or a file from before 2013?".to_string()));
    }
    Ok(weights)
}

impl BlobProto {
    fn tensor(self) -> Result<Tensor, String> {
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
        let wanted = shape.iter().try_fold(
            1i64,
            |product, &side| {
                if side < 0 { None } else { product.checked_mul(side) }
            },
        );
        if wanted != Some(values.len() as i64) {
            return Err(format!("{} values for the shape {shape:?}", values.len()));
        }
        Ok(Tensor::from_slice(&values).reshape(&shape[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::init::fill;

    fn blob(shape: &[i64], legacy: bool) -> BlobProto {
        let len = shape.iter().product::<i64>();
        let data = (0..len).map(|i| i as f32).collect();
        if !legacy {
            return BlobProto { shape: Some(BlobShape { dim: shape.to_vec() }), data, ..Default::default() };
        }
        let mut sides = [1i32; 4];
        for (side, value) in sides.iter_mut().rev().zip(shape.iter().rev()) {
            *side = *value as i32;
        }
        let [num, channels, height, width] = sides.map(Some);
        BlobProto { num, channels, height, width, data, ..Default::default() }
    }

    fn read_bytes(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.caffemodel");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    /// VGG_CNN_M's conv1 and fc7 in either generation of the format.
    fn net(legacy: bool) -> NetParameter {
        let layers = [("conv1", vec![96, 3, 7, 7], 96), ("fc8", vec![10, 4], 10), ("relu1", vec![], 0)];
        let mut net = NetParameter::default();
        for (name, weight, bias) in layers {
            let blobs = if bias == 0 { vec![] } else { vec![blob(&weight, legacy), blob(&[bias], legacy)] };
            let name = Some(name.to_string());
            if legacy {
                net.layers.push(V1LayerParameter { name, blobs });
            } else {
                net.layer.push(LayerParameter { name, blobs });
            }
        }
        net
    }

    #[test]
    fn both_generations_of_layers_fill_the_same() {
        for legacy in [false, true] {
            let weights = read_bytes(&net(legacy).encode_to_vec()).unwrap();
            let mut network = Arch::VggCnnM1024.network(1);
            let report = fill(&mut network, weights).unwrap();
            assert_eq!(report.filled, ["conv1"], "{legacy}");
            assert_eq!(report.unused, ["fc8.bias", "fc8.weight"]);
            assert_eq!(network.weights["conv1.weight"].double_value(&[1, 0, 0, 0]), 147.0);
            assert_eq!(network.weights["conv1.bias"].double_value(&[95]), 95.0);
        }
    }

    #[test]
    fn damage_is_named() {
        let mut net = net(false);
        net.layer[0].blobs[0].data.pop();
        let error = read_bytes(&net.encode_to_vec()).unwrap_err().to_string();
        assert!(error.contains("`conv1`, weight: 14111 values"), "{error}");
        let whole = self::net(false).encode_to_vec();
        assert!(read_bytes(&whole[..whole.len() - 1]).is_err());
        assert!(read_bytes(b"").unwrap_err().to_string().contains("no layer with weights"));
    }
}
