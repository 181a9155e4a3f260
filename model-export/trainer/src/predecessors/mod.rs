//! Fast R-CNN's predecessors, trained as they were published: in stages, with features on disk between them.
//!
//! ```text
//!           initial weights
//! SPPnet         │  pool: 64 boxes of every photo and its mirror image, trunk as it is ─▶ pooled.f32
//!                ▼
//! both      fine-tune: softmax                    (SPPnet: fc layers, on pooled.f32; R-CNN: all layers, on warped crops)
//!                ▼
//!           features: every box of every photo ─▶ fc7.f32; proposals near an object ─▶ pool5.f32
//!                ├──▶ svms: one for each class, on fc7.f32
//!                └──▶ boxes: ridge regression for each class, on pool5.f32
//!                ▼
//!           model.onnx, manifest.json             (R-CNN: and svm.safetensors)
//! ```
//!
//! He et al., *Spatial pyramid pooling in deep convolutional networks*, ECCV 2014; Girshick et al., *Rich feature
//! hierarchies*, CVPR 2014. A stage whose file is there is not done again; one that was interrupted begins anew. How long
//! each took is in `stages.jsonl`.

mod export;
mod features;
mod fine_tune;
mod mining;
mod regions;
mod ridge;
mod rows;
mod stages;
mod svm;
mod warp;

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Tensor};

use crate::config::{Config, TrainingMethod};
use crate::console;
use crate::data::{Dataset, DatasetProposals, decode};
use crate::error::Error;
use crate::network::TorchNetwork;
use crate::run_dir::{RunDir, fill};
use crate::tensors::{TensorFile, values};
pub(crate) use export::manifest;
use features::{Reader, View};
use regions::PhotoRegions;
use rows::{RowFile, RowWriter};
use stages::StageRunner;

/// The hidden layer that SVMs read, after its ReLU.
const FC7: &str = "fc7_relu";
/// What boxes are regressed from.
const POOL5: &str = "pool5";
/// Ridge regression's lambda.
const LAMBDA: f64 = 1000.0;

/// Keeps the weights that a run of stages begins with.
pub(crate) fn begin(run_dir: &RunDir, network: &TorchNetwork) -> Result<(), Error> {
    write_weights(&run_dir.path("initial.safetensors"), network)
}

/// All stages that are not done yet.
pub(crate) fn train(
    config: &Config,
    data: &Dataset,
    proposals: &DatasetProposals,
    run_dir: &RunDir,
    device: Device,
) -> Result<(), Error> {
    let photos = PhotoRegions::of_all(&data.photos, proposals)?;
    let classes = config.classes.len();
    let stages = StageRunner::new(run_dir);
    let mut network = config.network();
    read_weights(&run_dir.path("initial.safetensors"), &mut network)?;
    network.move_to(device);

    let pooled = run_dir.path("pooled.f32");
    if config.method == TrainingMethod::Sppnet {
        stages.run("pool", &pooled, |path| {
            fine_tune::pool(config, &reader(config, &network, device), &photos, path)
        })?;
    }
    let tuned = run_dir.path("fine-tuned.safetensors");
    stages.run("fine-tune", &tuned, |path| {
        match config.method {
            TrainingMethod::Rcnn => fine_tune::on_crops(config, &mut network, &photos, run_dir, device)?,
            _ => fine_tune::on_rows(config, &mut network, &pooled, run_dir, device)?,
        }
        write_weights(path, &network)
    })?;
    read_weights(&tuned, &mut network)?;
    network.move_to(device);

    let (fc7, pool5) = (run_dir.path("fc7.f32"), run_dir.path("pool5.f32"));
    stages.run("features", &fc7, |path| {
        write_features(&reader(config, &network, device), &photos, path, Some(&pool5))
    })?;
    let svms = run_dir.path("svms.safetensors");
    stages.run("svms", &svms, |path| train_svms(&photos, &fc7, classes, path))?;
    let boxes = run_dir.path("boxes.safetensors");
    stages.run("boxes", &boxes, |path| regress_boxes(&photos, &pool5, classes, path))?;
    let model = run_dir.path("model.onnx");
    stages.run("export", &model, |path| {
        network.move_to(Device::Cpu);
        let (svms, boxes) = (TensorFile::read(&svms)?.tensors, TensorFile::read(&boxes)?.tensors);
        export::write(config, network, &svms, &boxes, path)
    })
}

/// A trained Fast R-CNN with linear SVMs on fc7 in the place of its softmax: section 5.4 of the paper. What is computed
/// on the way goes into `folder`.
pub(crate) fn svm_for_softmax(
    config: &Config,
    mut network: TorchNetwork,
    data: &Dataset,
    proposals: &DatasetProposals,
    folder: &RunDir,
    device: Device,
) -> Result<TorchNetwork, Error> {
    let photos = PhotoRegions::of_all(&data.photos, proposals)?;
    let stages = StageRunner::new(folder);
    let (fc7, svms) = (folder.path("fc7.f32"), folder.path("svms.safetensors"));
    stages.run("features", &fc7, |path| {
        write_features(&reader(config, &network, device), &photos, path, None)
    })?;
    stages.run("svms", &svms, |path| train_svms(&photos, &fc7, config.classes.len(), path))?;
    network.move_to(Device::Cpu);
    export::replace_softmax(&mut network, &TensorFile::read(&svms)?.tensors);
    Ok(network)
}

fn reader<'a>(config: &'a Config, network: &'a TorchNetwork, device: Device) -> Reader<'a> {
    let view = match config.method {
        TrainingMethod::Rcnn => View::Warped(config.arch.crop_side()),
        TrainingMethod::FastRcnn | TrainingMethod::Sppnet => View::Pooled(&config.recipe.scales),
    };
    Reader { network, preprocessing: config.preprocessing(), device, view }
}

/// fc7 of every box, and pool5 of those that boxes are regressed from.
fn write_features(
    reader: &Reader<'_>,
    photos: &[PhotoRegions<'_>],
    fc7: &Path,
    pool5: Option<&Path>,
) -> Result<(), Error> {
    let mut fc7 = RowWriter::create(fc7)?;
    let mut pool5 = pool5.map(RowWriter::create).transpose()?;
    let bar = console::progress(photos.len() as u64, "features");
    for photo in photos {
        bar.inc(1);
        if photo.boxes.is_empty() {
            continue;
        }
        let image = decode(&photo.photo.path)?;
        let [features] = reader.read(&image, &photo.boxes, [FC7]);
        fc7.write(&values(&features))?;
        let near: Vec<_> = photo.regressed().map(|(_, roi)| roi.bbox).collect();
        if let (Some(pool5), false) = (&mut pool5, near.is_empty()) {
            let [pooled] = reader.read(&image, &near, [POOL5]);
            pool5.write(&values(&pooled))?;
        }
    }
    bar.finish_and_clear();
    if let Some(pool5) = pool5 {
        pool5.finish()?;
    }
    // Last: its file says that the stage is done.
    fc7.finish()
}

fn train_svms(photos: &[PhotoRegions<'_>], fc7: &Path, classes: usize, output: &Path) -> Result<(), Error> {
    let features = RowFile::open(fc7, photos.last().map_or(0, |photo| photo.rows.end))?;
    let machines = mining::train(photos, &features, classes)?;
    let weights: Vec<f32> =
        machines.iter().flat_map(|svm| &svm.weight).map(|&weight| weight as f32).collect();
    let biases: Vec<f32> = machines.iter().map(|svm| svm.bias as f32).collect();
    let weight = Tensor::from_slice(&weights).view([machines.len() as i64, features.width as i64]);
    write_tensors(output, [("weight", weight), ("bias", Tensor::from_slice(&biases))])
}

fn regress_boxes(
    photos: &[PhotoRegions<'_>],
    pool5: &Path,
    classes: usize,
    output: &Path,
) -> Result<(), Error> {
    let near: Vec<_> = photos.iter().flat_map(|photo| photo.regressed().map(|(_, roi)| *roi)).collect();
    let rows = RowFile::open(pool5, near.len())?;
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    let scale = rows.scale_to_mean_norm(near.len())?;
    for class in 1..classes {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (i, roi) in near.iter().enumerate().filter(|(_, roi)| usize::from(roi.class) == class) {
            x.extend(rows.read(i..i + 1)?);
            y.extend(roi.regression);
        }
        let x = Tensor::from_slice(&x).view([-1, rows.width as i64]) * f64::from(scale);
        let (weight, bias) = ridge::ridge(&x, &Tensor::from_slice(&y).view([-1, 4]), LAMBDA);
        weights.push(weight * f64::from(scale));
        biases.push(bias);
    }
    write_tensors(output, [("weight", Tensor::cat(&weights, 0)), ("bias", Tensor::cat(&biases, 0))])
}

fn write_weights(path: &Path, network: &TorchNetwork) -> Result<(), Error> {
    let tensors = network.weights.iter().map(|(name, weight)| (name.clone(), weight.detach())).collect();
    TensorFile { tensors, ..TensorFile::default() }.write(path)
}

fn read_weights(path: &Path, network: &mut TorchNetwork) -> Result<(), Error> {
    fill(network, TensorFile::read(path)?.tensors).map_err(|problem| Error::file(path, problem))
}

fn write_tensors<const N: usize>(path: &Path, tensors: [(&str, Tensor); N]) -> Result<(), Error> {
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
    TensorFile { tensors, ..TensorFile::default() }.write(path)
}
