//! Training: the paper's single stage, or its ablations.
//!
//! ```text
//! survey ─▶ usable photos, normalisation
//!                                  ┌────────────── iteration i ─────────────┐
//! photos, proposals ─▶ loader ─▶ Minibatch ─▶ network ─▶ losses ─▶ gradients ─▶ SGD
//!  (a thread of its own)                                            every few: log, checkpoint
//! ```
//!
//! Where proposals are learned, too, RoIs are added to the mini-batch in the middle of the network: [`joint`].

mod batch;
mod curve;
mod joint;
mod label;
mod log;
mod loss;
mod sgd;
mod stop;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use tch::{Device, Tensor};

use crate::arch::PIXEL_RMS;
use crate::config::Config;
use crate::data::{Dataset, DatasetProposals};
use crate::error::Error;
use crate::network::{Normalisation, RPN_DELTAS, RPN_LOGITS, Run, TorchNetwork};
use crate::recipe::Objective;
use crate::rpn::RpnOutput;
use crate::run_dir::{Checkpoint, RunDir};
pub(crate) use batch::sample;
use batch::{Batches, Minibatch};
use joint::Proposing;
pub(crate) use label::{CODER, LabelledRoi, Survey, label, survey, survey_objects};
pub(crate) use log::Log;
use loss::{Losses, losses};
pub(crate) use sgd::Sgd;
pub(crate) use stop::Stop;

/// Mini-batches that the loader makes ahead.
const AHEAD: usize = 2;

/// A run, ready to go on from some iteration.
#[derive(Debug)]
pub(crate) struct Trainer<'a> {
    config: &'a Config,
    run_dir: &'a RunDir,
    network: TorchNetwork,
    sgd: Sgd,
    normalisation: Normalisation,
    /// Where proposals are learned.
    proposing: Option<Proposing>,
    iteration: u64,
    device: Device,
}

/// What the losses of RoIs are computed from.
const SCORES_AND_BOXES: [&str; 2] = ["cls_score", "bbox_pred"];

impl<'a> Trainer<'a> {
    /// A run from its beginning. `network` gives normalised regressions.
    pub(crate) fn new(
        config: &'a Config,
        run_dir: &'a RunDir,
        network: TorchNetwork,
        normalisation: Normalisation,
        device: Device,
    ) -> Trainer<'a> {
        let sgd = Sgd::new(rate_factors(config, &network));
        let proposing = Proposing::of(config);
        let mut trainer =
            Trainer { config, run_dir, network, sgd, normalisation, proposing, iteration: 0, device };
        trainer.network.move_to(device);
        trainer
    }

    /// A run that goes on where a checkpoint was written.
    pub(crate) fn resume(
        config: &'a Config,
        run_dir: &'a RunDir,
        mut network: TorchNetwork,
        checkpoint: Checkpoint,
        device: Device,
    ) -> Result<Trainer<'a>, Error> {
        crate::run_dir::fill(&mut network, checkpoint.weights)
            .map_err(|what| Error::file(&run_dir.path("checkpoint.safetensors"), what))?;
        let mut trainer = Trainer::new(config, run_dir, network, checkpoint.normalisation, device);
        let on_device = |(name, velocity): (String, Tensor)| (name, velocity.to_device(device));
        trainer.sgd.velocities = checkpoint.velocities.into_iter().map(on_device).collect();
        trainer.iteration = checkpoint.iteration;
        Ok(trainer)
    }

    /// Trains to the end, or until `stop` is asked for; either way the last thing is a checkpoint. There are no `proposals`
    /// where the network learns them.
    pub(crate) fn run(
        &mut self,
        data: &Dataset,
        usable: &[usize],
        proposals: Option<&DatasetProposals>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let recipe = &self.config.recipe;
        let (first, total) = (self.iteration, recipe.total_iterations());
        let normalisation = self.normalisation.clone();
        let batches = Batches {
            photos: &data.photos,
            usable,
            proposals,
            normalisation: &normalisation,
            recipe,
            preprocessing: self.config.preprocessing(),
        };
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let batches = &batches;
            scope.spawn(move || {
                for i in first..total {
                    // An error is the last thing sent. When nobody receives any more, training has ended.
                    let batch = batches.make(i);
                    let failed = batch.is_err();
                    if sender.send(batch).is_err() || failed {
                        break;
                    }
                }
            });
            self.iterate(total, batches, &receiver, stop)
        })
    }

    fn iterate(
        &mut self,
        total: u64,
        batches: &Batches<'_>,
        loaded: &Receiver<Result<Minibatch, Error>>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let recipe = &self.config.recipe;
        let mut log = Log::open(self.run_dir, self.iteration, total, recipe.images_per_batch)?;
        let mut objective = None;
        while self.iteration < total {
            let i = self.iteration;
            if objective != Some(recipe.objective(i)) {
                objective = Some(recipe.objective(i));
                self.choose_trained(recipe.objective(i));
            }
            let Ok(batch) = loaded.recv() else {
                return Err(Error::Training("the loader of photos ended early".to_string()));
            };
            let lr = recipe.lr_at(i);
            let losses = self.step(batch?, batches, recipe.objective(i), lr);
            if !losses.iter().all(|loss| loss.is_finite()) {
                return Err(self.diverged(i, &losses, lr));
            }
            self.iteration += 1;
            log.add(self.iteration, &losses, lr)?;
            let stopping = stop.requested();
            if stopping || self.iteration == total || self.iteration.is_multiple_of(recipe.checkpoint_every) {
                log.flush()?;
                self.checkpoint()?;
                curve::draw(self.run_dir)?;
            }
            if stopping && self.iteration < total {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// One mini-batch; gives the losses of classes and of boxes, times lambda, and then those of anchors.
    fn step(
        &mut self,
        mut batch: Minibatch,
        batches: &Batches<'_>,
        objective: Objective,
        lr: f64,
    ) -> Vec<f64> {
        let recipe = &self.config.recipe;
        // Dropout depends on the iteration alone, as the mini-batch does.
        tch::manual_seed(recipe.seed.wrapping_mul(1 << 32).wrapping_add(self.iteration) as i64);
        let run = Run { dropout: Some(recipe.dropout), exact: false };
        let data = batch.data.to_device(self.device);
        let (of_anchors, of_rois) = match &self.proposing {
            Some(proposing) => {
                let (map, output) = self.map_and_anchors(run, &data);
                let mut rng = batches.rng_of_proposals(self.iteration);
                let grid = proposing.grid(&output, &data);
                let of_anchors = proposing.losses(&output, &grid, &batch.scenes, &mut rng);
                proposing.add_rois(&output, &grid, batches, &mut batch, &mut rng);
                (Some(of_anchors), self.losses_of_rois(run, &batch, &map, true))
            }
            None => (None, self.losses_of_rois(run, &batch, &data, false)),
        };
        let mut terms = Vec::new();
        if let Some(Losses { cls, bbox }) = of_rois {
            terms.extend([
                (cls, objective != Objective::Boxes),
                (bbox * recipe.lambda, objective != Objective::Classes),
            ]);
        }
        let rois = terms.len();
        terms.extend(of_anchors.into_iter().flat_map(|Losses { cls, bbox }| [(cls, true), (bbox, true)]));
        let learned = terms.iter().filter(|(_, learned)| *learned).map(|(loss, _)| loss);
        if let Some(total) = learned.map(Tensor::shallow_clone).reduce(|a, b| a + b) {
            total.backward();
            self.sgd.step(&mut self.network.weights, recipe, lr);
        }
        let mut losses = if rois == 0 { vec![0.0; 2] } else { Vec::new() };
        losses.extend(terms.iter().map(|(loss, _)| loss.double_value(&[])));
        losses
    }

    /// The feature map, and what the region proposal network says of its anchors.
    fn map_and_anchors(&self, run: Run, data: &Tensor) -> (Tensor, RpnOutput) {
        let map = self.network.feature_map().to_string();
        let wanted = [map.as_str(), RPN_LOGITS, RPN_DELTAS];
        let mut blobs = self.network.run(run, data, &[], &wanted);
        let [map, logits, deltas] = wanted.map(|name| blobs.remove(name).unwrap_or_default());
        (map, RpnOutput::new(&logits, &deltas))
    }

    /// Both losses of the RoIs, if there are any, from the image blob or from its feature map.
    fn losses_of_rois(&self, run: Run, batch: &Minibatch, blob: &Tensor, is_map: bool) -> Option<Losses> {
        if batch.rois.is_empty() {
            return None;
        }
        let mut blobs = if is_map {
            self.network.head(run, blob, &batch.rois, &SCORES_AND_BOXES)
        } else {
            self.network.run(run, blob, &batch.rois, &SCORES_AND_BOXES)
        };
        let [cls_score, bbox_pred] = SCORES_AND_BOXES.map(|name| blobs.remove(name).unwrap_or_default());
        Some(losses(&cls_score, &bbox_pred, batch))
    }

    /// Tells libtorch which weights want a gradient.
    fn choose_trained(&mut self, objective: Objective) {
        let config = self.config;
        let frozen: Vec<String> = match (&config.recipe.frozen, config.recipe.fc_only) {
            (_, true) => self.network.convolutions().map(str::to_string).collect(),
            (Some(layers), _) => layers.clone(),
            (None, _) => config.arch.frozen().iter().map(|layer| (*layer).to_string()).collect(),
        };
        for (name, weight) in &mut self.network.weights {
            let layer = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
            let trained = match objective {
                Objective::Joint => !frozen.iter().any(|f| f == layer),
                Objective::Classes => layer != "bbox_pred" && !frozen.iter().any(|f| f == layer),
                Objective::Boxes => layer == "bbox_pred",
            };
            *weight = weight.detach().set_requires_grad(trained);
        }
    }

    fn checkpoint(&self) -> Result<(), Error> {
        let copy = |map: &BTreeMap<String, Tensor>| {
            map.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect()
        };
        self.run_dir.write_checkpoint(&Checkpoint {
            iteration: self.iteration,
            weights: copy(&self.network.weights),
            velocities: copy(&self.sgd.velocities),
            normalisation: self.normalisation.clone(),
        })
    }

    fn diverged(&self, i: u64, losses: &[f64], lr: f64) -> Error {
        let names = ["classification", "boxes", "anchors", "anchors' boxes"];
        let losses: Vec<String> =
            names.iter().zip(losses).map(|(name, loss)| format!("{name} {loss}")).collect();
        let losses = losses.join(", ");
        Error::Training(format!(
            "the loss is no longer a number in iteration {i} ({losses}, learning rate {lr}). \
             What helps most is a smaller --lr, a third of it, say; then --new-lr-factor 1, and --init where there is \
             none. The last checkpoint, of before, stays in {}",
            self.run_dir.path("").display()
        ))
    }
}

/// Each weight's learning rate over that of weights.
pub(crate) fn rate_factors(config: &Config, network: &TorchNetwork) -> BTreeMap<String, f64> {
    let recipe = &config.recipe;
    let factor = |name: &String| {
        let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
        let is_new = config.new_layers.contains(layer);
        let mut factor = if is_new { recipe.new_lr_factor } else { 1.0 };
        if part == "bias" {
            factor *= recipe.bias_lr_factor;
        } else if (is_new || config.shrunk) && network.reads_pixels(layer) {
            // Made for pixels of +-128, its weights are as many times smaller than others as its gradients are greater:
            // it learns as if pixels were of order 1 and its weights as large as others'.
            factor /= PIXEL_RMS * PIXEL_RMS;
        }
        factor
    };
    network.weights.keys().map(|name| (name.clone(), factor(name))).collect()
}
