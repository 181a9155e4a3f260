//! `.caffemodel` files as tensors.

use std::collections::BTreeMap;
use std::path::Path;

use frcnn_onnx::caffe;
use tch::Tensor;

use super::our_name;
use crate::error::Error;
use crate::files;

/// The weights of every layer that has a weight and a bias, under our names.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let blobs = caffe::read(&files::read(path)?).map_err(|error| Error::file(path, error))?;
    let mut weights = BTreeMap::new();
    for caffe::Blob { layer, part, shape, values } in blobs {
        let name = our_name(&format!("{layer}.{part}"));
        if weights.contains_key(&name) {
            return Err(Error::file(
                path,
                format!("two layers are called `{name}` here, one of them `{layer}`"),
            ));
        }
        weights.insert(name, Tensor::from_slice(&values).reshape(&shape[..]));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use frcnn_onnx::caffe::{BlobProto, BlobShape, LayerParameter, NetParameter, V1LayerParameter};
    use prost::Message;

    use super::*;
    use crate::arch::{Arch, Regions};
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

    fn read_net(net: &NetParameter) -> Result<BTreeMap<String, Tensor>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.caffemodel");
        std::fs::write(&path, net.encode_to_vec()).unwrap();
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
            let weights = read_net(&net(legacy)).unwrap();
            let mut network = Arch::VggCnnM1024.network(1, Regions::default());
            let report = fill(&mut network, weights).unwrap();
            assert_eq!(report.filled, ["conv1"], "{legacy}");
            assert_eq!(report.unused, ["fc8.bias", "fc8.weight"]);
            assert_eq!(network.weights["conv1.weight"].double_value(&[1, 0, 0, 0]), 147.0);
            assert_eq!(network.weights["conv1.bias"].double_value(&[95]), 95.0);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_file() {
        let mut cut = net(false);
        cut.layer[0].blobs[0].data.pop();
        let error = read_net(&cut).unwrap_err().to_string();
        assert!(error.contains("m.caffemodel") && error.contains("`conv1`, weight: 14111 values"), "{error}");
        let mut alike = net(false);
        for (layer, name) in alike.layer.iter_mut().zip(["a/b", "a_b"]) {
            layer.name = Some(name.to_string());
        }
        let error = read_net(&alike).unwrap_err().to_string();
        assert!(error.contains("m.caffemodel") && error.contains("`a_b.weight`"), "{error}");
    }
}
