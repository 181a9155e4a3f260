//! A finished predecessor as the files that `frcnn compile` takes.
//!
//! | method | files |
//! |---|---|
//! | SPPnet | `model.onnx`: data, rois → cls_score (margins), bbox_pred; `manifest.json` |
//! | R-CNN | `model.onnx`: crops → cls_prob; `svm.safetensors`: SVMs and regressors; `manifest.json` |

use std::collections::BTreeMap;
use std::path::Path;

use frcnn_onnx::writer;
use tch::Tensor;

use super::{FC7, POOL5};
use crate::config::{Config, TrainingMethod};
use crate::error::Error;
use crate::files;
use crate::network::{Op, TorchLayer, TorchNetwork};
use crate::tensors::TensorFile;

type Tensors = BTreeMap<String, Tensor>;

/// Writes them; `model.onnx` last.
pub(super) fn write(
    config: &Config,
    mut network: TorchNetwork,
    svms: &Tensors,
    boxes: &Tensors,
    path: &Path,
) -> Result<(), Error> {
    let manifest_path = path.with_file_name("manifest.json");
    files::write_json(&manifest_path, &manifest(config, &manifest_path)?)?;
    let name = config.arch.name();
    let model = if config.method == TrainingMethod::Rcnn {
        let of =
            |tensors: &Tensors, name: &str| tensors.get(name).map(Tensor::shallow_clone).unwrap_or_default();
        let tensors = [
            ("svm.weight", of(svms, "weight")),
            ("svm.bias", of(svms, "bias")),
            ("bbox.weight", of(boxes, "weight")),
            ("bbox.bias", of(boxes, "bias")),
        ];
        let metadata = [("features", FC7), ("bbox_features", POOL5)];
        let file = TensorFile {
            tensors: tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect(),
            metadata: metadata.map(|(key, value)| (key.to_string(), value.to_string())).into(),
        };
        file.write(&path.with_file_name("svm.safetensors"))?;
        network.to_classifier_onnx(name, config.arch.crop_side())
    } else {
        replace_softmax(&mut network, svms);
        add_regressors(&mut network, boxes);
        network.to_onnx(name)
    };
    Ok(writer::write(&model, path)?)
}

/// What is said of the model in the manifest at `path`: scores are margins.
pub(crate) fn manifest(config: &Config, path: &Path) -> Result<serde_json::Value, Error> {
    let mut manifest = serde_json::to_value(config.manifest()).map_err(|error| Error::file(path, error))?;
    if let Some(fields) = manifest.as_object_mut() {
        fields.insert("scores".to_string(), "margins".into());
        // The default of margins.
        fields.remove("score_threshold");
    }
    Ok(manifest)
}

/// Puts SVMs in the place of cls_score; the background scores 0 and there is no softmax.
pub(super) fn replace_softmax(network: &mut TorchNetwork, svms: &Tensors) {
    network.layers.retain(|layer| layer.op != Op::Softmax);
    for (part, svm) in svms {
        network.weights.insert(format!("cls_score.{part}"), with_background(svm, 1));
    }
}

/// Adds a bbox_pred that reads pool5.
fn add_regressors(network: &mut TorchNetwork, boxes: &Tensors) {
    for (part, regressor) in boxes {
        network.weights.insert(format!("bbox_pred.{part}"), with_background(regressor, 4));
    }
    network.layers.push(TorchLayer {
        name: "bbox_pred".to_string(),
        op: Op::Linear,
        inputs: vec![POOL5.to_string()],
    });
}

/// `rows` rows of zeros before all others.
fn with_background(tensor: &Tensor, rows: i64) -> Tensor {
    let mut size = tensor.size();
    if let Some(first) = size.first_mut() {
        *first = rows;
    }
    Tensor::cat(&[Tensor::zeros(size, (tensor.kind(), tensor.device())), tensor.shallow_clone()], 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::network::{DATA, Run};
    use std::process::Command;
    use tch::{Device, Kind};

    const CLASSES: i64 = 3;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn svms_and_boxes(bins: i64) -> (Tensors, Tensors) {
        let tensors = |weight: Tensor, bias: Tensor| -> Tensors {
            [("weight".to_string(), weight), ("bias".to_string(), bias)].into()
        };
        let svms = tensors(random(&[CLASSES, 128]) * 0.1, random(&[CLASSES]));
        (svms, tensors(random(&[4 * CLASSES, 64 * bins]) * 0.01, random(&[4 * CLASSES])))
    }

    /// ONNX Runtime must give for the model what `tensors` says.
    fn referee(folder: &Path, tensors: &[(&str, &Tensor)]) {
        let reference = folder.join("reference.safetensors");
        let tensors =
            tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect();
        TensorFile { tensors, ..TensorFile::default() }.write(&reference).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/referee.py");
        let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
        let output =
            Command::new(python).arg(script).arg(folder.join("model.onnx")).arg(reference).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }

    fn config(method: TrainingMethod) -> Config {
        Config {
            method,
            arch: Arch::Tiny,
            classes: ["__background__", "a", "b", "c"].map(str::to_string).to_vec(),
            data: "data".into(),
            split: "trainval".into(),
            proposals: Default::default(),
            init: None,
            new_layers: Default::default(),
            shrunk: false,
            recipe: crate::recipe::Recipe::default(),
        }
    }

    #[test]
    fn an_sppnet_is_one_file_with_margins_and_boxes() {
        tch::manual_seed(1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let (svms, boxes) = svms_and_boxes(50);
        let network = Arch::Tiny.sppnet(CLASSES as usize);

        // What the file must compute, from the trained network, the SVMs and the regressors by themselves.
        let data = random(&[1, 3, 97, 130]) * 60.0;
        let rois =
            [[0.0f32, 3.0, 5.0, 60.0, 90.0], [0.0, 0.0, 0.0, 129.0, 96.0], [0.0, 40.0, 40.0, 41.0, 43.0]];
        let blobs = network.run(Run::default(), &data, &rois, &[FC7, POOL5]);
        let scores = blobs[FC7].linear(&svms["weight"], Some(&svms["bias"]));
        let deltas = blobs[POOL5].linear(&boxes["weight"], Some(&boxes["bias"]));
        let zeros = |columns| Tensor::zeros([3, columns], (Kind::Float, Device::Cpu));
        let cls_score = Tensor::cat(&[zeros(1), scores], 1);
        let bbox_pred = Tensor::cat(&[zeros(4), deltas], 1);

        write(&config(TrainingMethod::Sppnet), network, &svms, &boxes, &path).unwrap();
        let rois = Tensor::from_slice(rois.as_flattened()).view([3, 5]);
        let tensors =
            [("data", &data), ("rois", &rois), ("cls_score", &cls_score), ("bbox_pred", &bbox_pred)];
        referee(folder.path(), &tensors);
        let manifest = files::read_text(&folder.path().join("manifest.json")).unwrap();
        assert!(manifest.contains(r#""scores": "margins""#), "{manifest}");
    }

    #[test]
    fn an_r_cnn_is_a_classifier_and_the_weights_that_read_it() {
        tch::manual_seed(1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let (svms, boxes) = svms_and_boxes(36);
        let network = Arch::Tiny.classifier(CLASSES as usize);
        let crops = random(&[2, 3, 96, 96]) * 60.0;
        let blobs = network.run_from(DATA, &crops, Run::default(), &[], &["cls_prob"]);
        write(&config(TrainingMethod::Rcnn), network, &svms, &boxes, &path).unwrap();
        referee(folder.path(), &[("data", &crops), ("cls_prob", &blobs["cls_prob"])]);

        let file = TensorFile::read(&folder.path().join("svm.safetensors")).unwrap();
        assert_eq!(file.tensors["svm.weight"], svms["weight"]);
        assert_eq!(file.tensors["bbox.bias"], boxes["bias"]);
        // The values that they read are in the model.
        let onnx = files::read(&path).unwrap();
        for key in ["features", "bbox_features"] {
            let name = file.metadata[key].as_bytes();
            assert!(onnx.windows(name.len()).any(|bytes| bytes == name), "{key}");
        }
    }
}
