//! Every number of the training, with the paper's as its default.

use clap::{Args, ValueEnum};
use frcnn_core::BoxCoder;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rpn::RpnRecipe;

/// How to train.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// Mini-batches to train on
    #[arg(long, default_value_t = 40_000, value_name = "N")]
    pub(crate) iterations: u64,
    /// Learning rate of weights
    #[arg(long, default_value_t = 0.001)]
    pub(crate) lr: f64,
    /// Iterations after which the learning rate drops; three quarters of all by default
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub(crate) lr_steps: Option<Vec<u64>>,
    /// What the learning rate is multiplied by there
    #[arg(long, default_value_t = 0.1)]
    pub(crate) lr_gamma: f64,
    /// Learning rate of biases over that of weights
    #[arg(long, default_value_t = 2.0)]
    pub(crate) bias_lr_factor: f64,
    /// Learning rate of layers that --init did not fill, over that of the others
    #[arg(long, default_value_t = 1.0)]
    pub(crate) new_lr_factor: f64,
    /// Momentum
    #[arg(long, default_value_t = 0.9)]
    pub(crate) momentum: f64,
    /// Weight decay; biases have none
    #[arg(long, default_value_t = 0.0005)]
    pub(crate) weight_decay: f64,
    /// Photos of a mini-batch
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(crate) images_per_batch: usize,
    /// RoIs of each photo
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) rois_per_image: usize,
    /// At most this share of them is foreground
    #[arg(long, default_value_t = 0.25)]
    pub(crate) fg_fraction: f32,
    /// Foreground overlaps its object by this IoU or more
    #[arg(long, default_value_t = 0.5)]
    pub(crate) fg_iou: f32,
    /// Background overlaps some object by this IoU or more …
    #[arg(long, default_value_t = 0.1)]
    pub(crate) bg_iou_low: f32,
    /// … and none by this or more
    #[arg(long, default_value_t = 0.5)]
    pub(crate) bg_iou_high: f32,
    /// Probability that a photo is mirrored
    #[arg(long, default_value_t = 0.5)]
    pub(crate) flip_probability: f32,
    /// Weight of the bounding-box loss
    #[arg(long, default_value_t = 1.0)]
    pub(crate) lambda: f64,
    /// Share of fc6's and fc7's outputs that are dropped
    #[arg(long, default_value_t = 0.5)]
    pub(crate) dropout: f64,
    /// Pixels of a photo's short side; several, of which one is drawn for each photo: 480,576,688,864,1200 in the paper
    #[arg(long, value_delimiter = ',', default_value = "600", value_name = "PIXELS,…")]
    pub(crate) scales: Vec<u32>,
    /// Pixels that the long side does not exceed
    #[arg(long, default_value_t = 1000, value_name = "PIXELS")]
    pub(crate) max_long_side: u32,
    /// Means that are subtracted from blue, green and red
    #[arg(long, value_delimiter = ',', default_values_t = [102.9801, 115.9465, 122.7717])]
    pub(crate) pixel_means: Vec<f32>,
    /// Which random numbers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Layers that are not trained, or `none`; by default those that the paper freezes in this network
    #[arg(long, value_delimiter = ',', value_name = "LAYER,…")]
    pub(crate) frozen: Option<Vec<String>>,
    /// Ablation: train fully connected layers only, as SPPnet did
    #[arg(long, conflicts_with = "frozen")]
    pub(crate) fc_only: bool,
    /// Ablation: classification loss only; evaluate with --no-bbox
    #[arg(long)]
    pub(crate) cls_only: bool,
    /// Ablation: classification loss first, then bbox_pred alone, --iterations each
    #[arg(long, conflicts_with = "cls_only")]
    pub(crate) stage_wise: bool,
    /// How RoIs are pooled
    #[arg(long, value_enum, default_value = "max")]
    #[serde(default)]
    pub(crate) pool: Pooling,
    #[command(flatten)]
    #[serde(default)]
    pub(crate) proposing: RpnRecipe,
    /// Iterations between checkpoints
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) checkpoint_every: u64,
}

/// How RoIs are pooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pooling {
    /// RoI pooling: rounded to cells, the maximum of each bin
    #[default]
    Max,
    /// RoIAlign: the mean of four points of each bin, between cells
    Align,
}

/// What one iteration learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objective {
    /// Both losses.
    Joint,
    /// The classification loss.
    Classes,
    /// The bounding-box loss, bbox_pred alone.
    Boxes,
}

impl Recipe {
    /// Whether every number lies in its range; the error says which does not.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fraction = |value: f32| (0.0..=1.0).contains(&value);
        let rules = [
            (self.iterations > 0, "--iterations must be at least 1"),
            (self.lr.is_finite() && self.lr > 0.0, "--lr must be positive"),
            (self.lr_gamma > 0.0 && self.lr_gamma <= 1.0, "--lr-gamma must be above 0 and at most 1"),
            (
                self.bias_lr_factor >= 0.0 && self.new_lr_factor >= 0.0,
                "learning rate factors must not be negative",
            ),
            ((0.0..1.0).contains(&self.momentum), "--momentum must be at least 0 and below 1"),
            (self.weight_decay >= 0.0, "--weight-decay must not be negative"),
            (self.images_per_batch > 0, "--images-per-batch must be at least 1"),
            (self.rois_per_image > 0, "--rois-per-image must be at least 1"),
            (fraction(self.fg_fraction), "--fg-fraction must lie between 0 and 1"),
            (fraction(self.fg_iou), "--fg-iou must lie between 0 and 1"),
            (fraction(self.bg_iou_low) && fraction(self.bg_iou_high), "--bg-iou-… must lie between 0 and 1"),
            (self.bg_iou_low < self.bg_iou_high, "--bg-iou-low must be below --bg-iou-high"),
            (self.bg_iou_high <= self.fg_iou, "--bg-iou-high must not be above --fg-iou"),
            (fraction(self.flip_probability), "--flip-probability must lie between 0 and 1"),
            (self.lambda >= 0.0, "--lambda must not be negative"),
            ((0.0..1.0).contains(&self.dropout), "--dropout must be at least 0 and below 1"),
            (
                (1..=16).contains(&self.scales.len())
                    && self.scales.iter().all(|s| (16..=20_000).contains(s)),
                "--scales must be 1 to 16 lengths of 16 to 20000 pixels",
            ),
            ((16..=20_000).contains(&self.max_long_side), "--max-long-side must be 16 to 20000 pixels"),
            (self.pixel_means.len() == 3, "--pixel-means must be three numbers"),
            (
                !self.proposing.rpn || !(self.fc_only || self.cls_only || self.stage_wise),
                "--fc-only, --cls-only and --stage-wise are ablations with proposals from outside; leave out --rpn",
            ),
            (
                self.scales.len() == 1 || !(self.proposing.rpn || self.pool == Pooling::Align),
                "--rpn and --pool align work at one of --scales",
            ),
            (self.checkpoint_every > 0, "--checkpoint-every must be at least 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Usage((*rule).to_string())),
            None => Ok(()),
        }
    }

    /// Added to `x2 - x1` for a box's width: corners of pixels belong to boxes that come from outside, those that are learned
    /// are continuous.
    pub(crate) fn width_offset(&self) -> f32 {
        if self.proposing.rpn { 0.0 } else { 1.0 }
    }

    /// From boxes to what the network is taught of them, and back.
    pub(crate) fn coder(&self) -> BoxCoder {
        BoxCoder { width_offset: self.width_offset(), weights: [1.0; 4] }
    }

    /// Iterations of all stages.
    pub(crate) fn total_iterations(&self) -> u64 {
        if self.stage_wise { 2 * self.iterations } else { self.iterations }
    }

    /// What iteration `i` (from 0) learns.
    pub(crate) fn objective(&self, i: u64) -> Objective {
        match (self.cls_only, self.stage_wise) {
            (true, _) => Objective::Classes,
            (_, true) if i < self.iterations => Objective::Classes,
            (_, true) => Objective::Boxes,
            _ => Objective::Joint,
        }
    }

    /// The learning rate of weights in iteration `i` (from 0). Each stage starts anew.
    pub(crate) fn lr_at(&self, i: u64) -> f64 {
        let i = i % self.iterations;
        let drops = match &self.lr_steps {
            Some(steps) => steps.iter().filter(|step| i >= **step).count(),
            None => usize::from(i >= self.iterations - self.iterations / 4),
        };
        self.lr * self.lr_gamma.powi(drops as i32)
    }
}

#[cfg(test)]
impl Default for Recipe {
    fn default() -> Recipe {
        use clap::{Command, FromArgMatches};
        let matches = Recipe::augment_args(Command::new("fit")).get_matches_from(["fit"]);
        Recipe::from_arg_matches(&matches).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_papers() {
        let recipe = Recipe::default();
        recipe.check().unwrap();
        assert_eq!((recipe.lr_at(0), recipe.lr_at(29_999)), (0.001, 0.001));
        assert!((recipe.lr_at(30_000) - 0.0001).abs() < 1e-12);
        assert_eq!(recipe.scales, [600]);
        assert_eq!(recipe.objective(0), Objective::Joint);
    }

    #[test]
    fn stages_follow_each_other() {
        let recipe = Recipe { stage_wise: true, iterations: 100, ..Recipe::default() };
        assert_eq!(recipe.total_iterations(), 200);
        assert_eq!((recipe.objective(99), recipe.objective(100)), (Objective::Classes, Objective::Boxes));
        assert_eq!(recipe.lr_at(100), recipe.lr);
    }
}
