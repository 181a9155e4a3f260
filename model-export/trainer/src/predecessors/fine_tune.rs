//! Fine-tuning with softmax: SPPnet's fc layers on pooled features from disk, R-CNN's network on warped crops.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use frcnn_core::BBox;
use image::imageops;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Reduction, Tensor};

use super::POOL5;
use super::features::Reader;
use super::regions::{PhotoRegions, Pools};
use super::rows::{RowFile, RowWriter};
use super::warp::Pixels;
use crate::config::Config;
use crate::console;
use crate::data::decode;
use crate::error::Error;
use crate::network::{DATA, Run, TorchNetwork};
use crate::recipe::Recipe;
use crate::run_dir::RunDir;
use crate::tensors::{TensorFile, values};
use crate::train::{LabelledRoi, Log, Sgd, rate_factors, sample};

/// Pooled features of some boxes of every photo and of its mirror image, one row for each, and beside them their classes.
pub(super) fn pool(
    config: &Config,
    reader: &Reader<'_>,
    photos: &[PhotoRegions<'_>],
    output: &Path,
) -> Result<(), Error> {
    let mut rows = RowWriter::create(output)?;
    let mut labels = Vec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(config.recipe.seed);
    let bar = console::progress(photos.len() as u64, "pooling");
    for photo in photos {
        bar.inc(1);
        let image = decode(&photo.photo.path)?;
        for mirrored in [false, true] {
            let sampled = sample(&photo.labelled, &config.recipe, &mut rng);
            if sampled.is_empty() {
                continue;
            }
            let boxes: Vec<BBox> = sampled
                .iter()
                .map(|roi| if mirrored { mirror(&roi.bbox, image.width()) } else { roi.bbox })
                .collect();
            let [pooled] = if mirrored {
                reader.read(&imageops::flip_horizontal(&image), &boxes, [POOL5])
            } else {
                reader.read(&image, &boxes, [POOL5])
            };
            rows.write(&values(&pooled))?;
            labels.extend(sampled.iter().map(|roi| class_of(roi, &config.recipe) as f32));
        }
    }
    bar.finish_and_clear();
    let tensors = [("labels".to_string(), Tensor::from_slice(&labels))].into();
    TensorFile { tensors, ..TensorFile::default() }.write(&labels_of(output))?;
    rows.finish()
}

fn labels_of(rows: &Path) -> std::path::PathBuf {
    rows.with_extension("labels.safetensors")
}

fn class_of(roi: &LabelledRoi, recipe: &Recipe) -> i64 {
    if roi.is_foreground(recipe) { i64::from(roi.class) } else { 0 }
}

fn mirror(bbox: &BBox, width: u32) -> BBox {
    let right = width as f32 - 1.0;
    BBox::new(right - bbox.x2, bbox.y1, right - bbox.x1, bbox.y2)
}

/// Trains the fc layers on what [`pool`] wrote.
pub(super) fn on_rows(
    config: &Config,
    network: &mut TorchNetwork,
    pooled: &Path,
    run_dir: &RunDir,
    device: Device,
) -> Result<(), Error> {
    let labels = TensorFile::read(&labels_of(pooled))?.tensors.remove("labels").unwrap_or_default();
    let labels: Vec<i64> = values(&labels).into_iter().map(|label| label as i64).collect();
    let rows = RowFile::open(pooled, labels.len())?;
    let pools = Pools::new(labels.iter().enumerate().map(|(row, &label)| (row, label > 0)));
    let frozen: Vec<String> = network.convolutions().map(str::to_string).collect();
    fine_tune(config, network, (POOL5, &frozen), run_dir, device, |rng| {
        let drawn = pools.draw(&config.recipe, rng);
        let mut values = Vec::with_capacity(drawn.len() * rows.width);
        for &row in &drawn {
            values.extend(rows.read(row..row + 1)?);
        }
        let input = Tensor::from_slice(&values).view([-1, rows.width as i64]);
        Ok((input, drawn.iter().map(|&row| labels[row]).collect()))
    })
}

/// Trains the network on crops of boxes, some of them mirrored. Like R-CNN's its mini-batches are drawn from all photos.
pub(super) fn on_crops(
    config: &Config,
    network: &mut TorchNetwork,
    photos: &[PhotoRegions<'_>],
    run_dir: &RunDir,
    device: Device,
) -> Result<(), Error> {
    let recipe = &config.recipe;
    let usable = photos.iter().enumerate().flat_map(|(photo, regions)| {
        let boxes = regions.labelled.iter().enumerate();
        let used = boxes.filter(|(_, roi)| roi.is_foreground(recipe) || roi.is_background(recipe));
        used.map(move |(i, roi)| ((photo, i), roi.is_foreground(recipe)))
    });
    let pools = Pools::new(usable);
    let frozen = recipe.frozen.clone().unwrap_or_default();
    fine_tune(config, network, (DATA, &frozen), run_dir, device, |rng| {
        let drawn = pools.draw(recipe, rng);
        let (mut crops, mut labels) = (Vec::with_capacity(drawn.len()), Vec::with_capacity(drawn.len()));
        // Each photo is decoded once for a mini-batch, however many of its boxes are drawn.
        let mut decoded: HashMap<usize, Pixels> = HashMap::new();
        for (photo, i) in drawn {
            let regions = &photos[photo];
            let pixels = match decoded.entry(photo) {
                Entry::Occupied(pixels) => pixels.into_mut(),
                Entry::Vacant(slot) => {
                    slot.insert(Pixels::new(&decode(&regions.photo.path)?, &config.preprocessing()))
                }
            };
            let crop = pixels.warp(&regions.boxes[i..=i], config.arch.crop_side());
            let flip = rng.random::<f32>() < recipe.flip_probability;
            crops.push(if flip { crop.flip([3]) } else { crop });
            labels.push(class_of(&regions.labelled[i], recipe));
        }
        Ok((Tensor::cat(&crops, 0), labels))
    })
}

/// Trains all layers behind the blob `start` that are not frozen. A mini-batch is what `start` holds, and the classes.
fn fine_tune(
    config: &Config,
    network: &mut TorchNetwork,
    (start, frozen): (&str, &[String]),
    run_dir: &RunDir,
    device: Device,
    mut batch: impl FnMut(&mut ChaCha8Rng) -> Result<(Tensor, Vec<i64>), Error>,
) -> Result<(), Error> {
    let recipe = &config.recipe;
    let mut sgd = Sgd::new(rate_factors(config, network));
    for (name, weight) in &mut network.weights {
        let layer = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
        let trained = !frozen.iter().any(|frozen| frozen == layer);
        *weight = weight.detach().set_requires_grad(trained);
    }
    let mut log = Log::open(run_dir, 0, recipe.iterations, recipe.images_per_batch)?;
    for i in 0..recipe.iterations {
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
        rng.set_stream(i);
        let (input, labels) = batch(&mut rng)?;
        tch::manual_seed(recipe.seed.wrapping_mul(1 << 32).wrapping_add(i) as i64);
        let how = Run { dropout: Some(recipe.dropout), exact: false };
        let mut blobs = network.run_from(start, &input.to_device(device), how, &[], &["cls_score"]);
        let scores = blobs.remove("cls_score").unwrap_or_default();
        let labels = Tensor::from_slice(&labels).to_device(device);
        let loss = scores.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
        loss.backward();
        let lr = recipe.lr_at(i);
        sgd.step(&mut network.weights, recipe, lr);
        let loss = loss.double_value(&[]);
        if !loss.is_finite() {
            let problem = format!(
                "the loss is no longer a number in iteration {i}: try a smaller --lr, a third of it, say"
            );
            return Err(Error::Training(problem));
        }
        log.add(i + 1, &[loss, 0.0], lr)?;
    }
    log.flush()?;
    for weight in network.weights.values_mut() {
        *weight = weight.detach();
    }
    Ok(())
}
