//! The multi-task loss of a mini-batch.
//!
//! ```text
//! L = -log p_u + lambda [u >= 1] sum smoothL1(t^u - v)        both averaged over all R RoIs
//! ```
//! (Girshick, ICCV 2015, equations 1 to 3.)

use tch::{Kind, Reduction, Tensor};

use super::batch::Minibatch;

/// Both terms, each a scalar that can be differentiated.
#[derive(Debug)]
pub(super) struct Losses {
    pub(super) cls: Tensor,
    /// Not yet multiplied by lambda.
    pub(super) bbox: Tensor,
}

/// `cls_score` is `[R, K+1]`, `bbox_pred` `[R, 4(K+1)]`; R is not 0.
pub(super) fn losses(cls_score: &Tensor, bbox_pred: &Tensor, batch: &Minibatch) -> Losses {
    let device = cls_score.device();
    let labels = Tensor::from_slice(&batch.labels).to_device(device);
    let cls = cls_score.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);

    let rois = batch.labels.len() as f64;
    let scores = cls_score.size().get(1).copied().unwrap_or(1);
    // Rows of bbox_pred as [R * (K + 1), 4]: the four numbers of an RoI's own class.
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (i, (&label, regression)) in batch.labels.iter().zip(&batch.regressions).enumerate() {
        if label > 0 {
            rows.push(i as i64 * scores + label);
            targets.extend_from_slice(regression);
        }
    }
    let rows = Tensor::from_slice(&rows).to_device(device);
    let targets = Tensor::from_slice(&targets).view([-1, 4]).to_device(device);
    let predicted = bbox_pred.reshape([-1, 4]).index_select(0, &rows);
    let bbox = predicted.smooth_l1_loss(&targets, Reduction::Sum, 1.0).to_kind(Kind::Float) / rois;
    Losses { cls, bbox }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(labels: Vec<i64>, regressions: Vec<[f32; 4]>) -> Minibatch {
        let rois = vec![[0.0; 5]; labels.len()];
        Minibatch { data: Tensor::new(), scenes: Vec::new(), rois, labels, regressions }
    }

    #[test]
    fn both_terms_by_hand() {
        // Two RoIs, one object class. Scores are equal: each costs ln 2.
        let cls_score = Tensor::zeros([2, 2], (Kind::Float, tch::Device::Cpu));
        let bbox_pred = Tensor::from_slice(&[
            9.0f32, 9.0, 9.0, 9.0, 0.0, 0.5, 3.0, 0.0, 7.0, 7.0, 7.0, 7.0, 1.0, 1.0, 1.0, 1.0,
        ]);
        let batch = batch(vec![1, 0], vec![[0.0; 4]; 2]);
        let losses = losses(&cls_score, &bbox_pred.view([2, 8]), &batch);
        assert!((losses.cls.double_value(&[]) - 2f64.ln()).abs() < 1e-6);
        // 0.5^2 / 2 and 3 - 1/2, over two RoIs.
        assert!((losses.bbox.double_value(&[]) - (0.125 + 2.5) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn background_alone_has_no_box_loss_and_its_gradient_is_zero() {
        let cls_score = Tensor::zeros([1, 2], (Kind::Float, tch::Device::Cpu));
        let bbox_pred = Tensor::ones([1, 8], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let losses = losses(&cls_score, &bbox_pred, &batch(vec![0], vec![[5.0; 4]]));
        assert_eq!(losses.bbox.double_value(&[]), 0.0);
        losses.bbox.backward();
        assert_eq!(bbox_pred.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }
}
