//! Training a region proposal network together with the detector that judges its proposals.
//!
//! ```text
//!            ┌▶ logits, deltas ─┬▶ anchors that are sampled ─▶ two losses
//! blob ─▶ map                   └▶ proposals, and the objects ─▶ RoIs that are sampled
//!            └─────────────────────────────────────────────────────┴▶ head ─▶ two losses
//! ```
//!
//! Ren et al., section 3.2, "approximate joint training": nothing flows back through the boxes of proposals.

use frcnn_bundle::Rpn;
use frcnn_core::BBox;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Reduction, Tensor};

use super::batch::{Batches, Minibatch, sample};
use super::label::label;
use super::loss::Losses;
use crate::config::Config;
use crate::data::Object;
use crate::network::Normalisation;
use crate::rpn::{AnchorGrid, AnchorTargets, RpnOutput};

/// Where the smooth L1 loss of an anchor's regression becomes linear: the published sigma of 3.
const BETA: f64 = 1.0 / 9.0;

/// A photo whose RoIs the network proposes.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Rows and columns of the blob that are the photo; what lies beyond is padding.
    pub(super) image: [u32; 2],
    /// Network pixels per pixel of the photo.
    pub(super) scale: f64,
    /// Those that count, in pixels of the photo, mirrored if it is.
    pub(super) objects: Vec<Object>,
}

impl Scene {
    fn objects_in_network(&self) -> Vec<BBox> {
        self.objects.iter().map(|object| scaled(&object.bbox, self.scale)).collect()
    }
}

fn scaled(bbox: &BBox, factor: f64) -> BBox {
    let BBox { x1, y1, x2, y2 } = *bbox;
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|corner| (f64::from(corner) * factor) as f32);
    BBox::new(x1, y1, x2, y2)
}

/// What the region proposal network of a run is taught.
#[derive(Debug)]
pub(super) struct Proposing {
    rules: Rpn,
}

impl Proposing {
    /// That of a run in which proposals are learned.
    pub(super) fn of(config: &Config) -> Option<Proposing> {
        Some(Proposing { rules: config.recipe.proposing.training_rules(config.arch.stride())? })
    }

    /// The anchors of each image of the blob `data`.
    pub(super) fn grid(&self, output: &RpnOutput, data: &Tensor) -> AnchorGrid<'_> {
        output.grid(&self.rules, data)
    }

    /// Both losses of the anchors that are sampled, averaged over these.
    pub(super) fn losses(
        &self,
        output: &RpnOutput,
        grid: &AnchorGrid<'_>,
        scenes: &[Scene],
        rng: &mut ChaCha8Rng,
    ) -> Losses {
        let targets: Vec<_> = scenes
            .iter()
            .map(|scene| AnchorTargets::sample(grid, &scene.objects_in_network(), rng))
            .collect();
        anchor_losses(output, grid.len(), &targets)
    }

    /// Adds RoIs of each photo to the mini-batch: proposals, and the objects themselves.
    pub(super) fn add_rois(
        &self,
        output: &RpnOutput,
        grid: &AnchorGrid<'_>,
        batches: &Batches<'_>,
        batch: &mut Minibatch,
        rng: &mut ChaCha8Rng,
    ) {
        let images: Vec<[u32; 2]> = batch.scenes.iter().map(|scene| scene.image).collect();
        let proposals = output.proposals(grid, &images, &self.rules);
        let scenes = std::mem::take(&mut batch.scenes);
        for (position, (scene, proposals)) in scenes.iter().zip(proposals).enumerate() {
            let boxes: Vec<BBox> = proposals.iter().map(|bbox| scaled(bbox, 1.0 / scene.scale)).collect();
            for roi in sample(&label(&scene.objects, &boxes, batches.coder()), batches.recipe, rng) {
                batches.add_roi(position, scene.scale, &roi, batch);
            }
        }
    }
}

fn anchor_losses(output: &RpnOutput, anchors: usize, targets: &[AnchorTargets]) -> Losses {
    let device = output.logits.device();
    let (mut places, mut labels, mut objects, mut regressions) = (vec![], vec![], vec![], vec![]);
    for (image, of_image) in targets.iter().enumerate() {
        let place = |&place: &usize| (image * anchors + place) as i64;
        objects.extend(of_image.objects.iter().map(place));
        regressions.extend_from_slice(of_image.regressions.as_flattened());
        for (taught, some) in [(1.0f32, &of_image.objects), (0.0, &of_image.background)] {
            places.extend(some.iter().map(place));
            labels.extend(some.iter().map(|_| taught));
        }
    }
    let index = |places: &[i64]| Tensor::from_slice(places).to_device(device);
    let labels = Tensor::from_slice(&labels).to_device(device);
    let logits = output.logits.reshape([-1]).index_select(0, &index(&places));
    let cls = logits.binary_cross_entropy_with_logits::<Tensor>(&labels, None, None, Reduction::Mean);
    let wanted = Tensor::from_slice(&regressions).view([-1, 4]).to_device(device);
    let found = output.deltas.reshape([-1, 4]).index_select(0, &index(&objects));
    let bbox = found.smooth_l1_loss(&wanted, Reduction::Sum, BETA).to_kind(Kind::Float) / places.len() as f64;
    Losses { cls, bbox }
}

/// How the regressions of learned proposals' RoIs are normalised, for all classes: as was found useful on PASCAL VOC, for what
/// the proposals will be like is not known before.
pub(super) fn normalisation(classes: usize) -> Normalisation {
    Normalisation { mean: vec![[0.0; 4]; classes], std: vec![[0.1, 0.1, 0.2, 0.2]; classes] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn both_terms_by_hand() {
        // Two images of 1 x 2 cells with one anchor each; every logit is 0 and costs ln 2.
        let logits = Tensor::zeros([2, 1, 1, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let deltas: Vec<f32> = (0..16).map(|i| i as f32 / 100.0).collect();
        let deltas = Tensor::from_slice(&deltas).view([2, 4, 1, 2]).set_requires_grad(true);
        let output = RpnOutput::new(&logits, &deltas);
        let none = AnchorTargets { background: vec![0], ..AnchorTargets::default() };
        let one = AnchorTargets {
            objects: vec![1],
            regressions: vec![[0.09, 0.11, 2.13, 0.15]],
            background: vec![0],
        };
        let losses = anchor_losses(&output, 2, &[none, one]);
        assert!((losses.cls.double_value(&[]) - 2f64.ln()).abs() < 1e-6);
        // The deltas of the second image's second anchor are .09, .11, .13 and .15: one of them is off by 2.
        assert!((losses.bbox.double_value(&[]) - (2.0 - BETA / 2.0) / 3.0).abs() < 1e-6);
        (losses.cls + losses.bbox).backward();
        // Half a mistake of three anchors: sigmoid(0) - label, over 3.
        let gradient = Vec::<f32>::try_from(logits.grad().reshape([-1])).unwrap();
        for (found, expected) in gradient.iter().zip([0.5 / 3.0, 0.0, 0.5 / 3.0, -0.5 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
        let gradient = Vec::<f32>::try_from(deltas.grad().reshape([-1])).unwrap();
        assert!(gradient.iter().enumerate().all(|(i, g)| (*g != 0.0) == (i == 13)), "{gradient:?}");
    }

    #[test]
    fn photos_without_objects_have_no_box_loss() {
        let zeros = |channels| Tensor::zeros([1, channels, 2, 2], (Kind::Float, Device::Cpu));
        let background = AnchorTargets { background: vec![0, 3], ..AnchorTargets::default() };
        let losses = anchor_losses(&RpnOutput::new(&zeros(1), &zeros(4)), 4, &[background]);
        assert_eq!(losses.bbox.double_value(&[]), 0.0);
    }
}
