//! Whether stages agree, and which one to look at if they do not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::difference::Difference;

/// How coarsely the coarser side computes, or rounds its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision on both sides.
    F32,
    /// 10 bits of mantissa: half precision, or a GPU's TF32.
    F16,
    /// 7 bits of mantissa.
    Bf16,
}

impl Precision {
    /// Of a reference file: its tensors' type, or TF32 where its metadata says so.
    pub fn of_reference(dtype: &str, tf32: Option<&str>) -> Precision {
        match (dtype, tf32) {
            ("BF16", _) => Precision::Bf16,
            ("F16", _) | (_, Some("on" | "true" | "1")) => Precision::F16,
            _ => Precision::F32,
        }
    }

    /// The coarser of two.
    #[must_use]
    pub fn coarser(self, other: Precision) -> Precision {
        std::cmp::max_by_key(self, other, |precision| *precision as u8)
    }

    /// The rounding of one value, over that of f32: 2^-11 of a value in f16, 2^-8 in bf16, 2^-24 in f32.
    fn coarseness(self) -> f64 {
        match self {
            Precision::F32 => 1.0,
            Precision::F16 => f64::from(1 << 13),
            Precision::Bf16 => f64::from(1 << 16),
        }
    }
}

/// Largest difference that a stage may have, as a share of the reference's largest magnitude.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerances {
    precision: Precision,
    of_all: Option<f64>,
    of_stage: BTreeMap<String, f64>,
}

impl Tolerances {
    /// What rounding explains at a precision. In f32: `data` 1e-5 (the resize's weights; a thousandth of a grey
    /// level), every other stage 1e-4 (25 layers of sums in another order). Coarser values round the more, but errors
    /// of random sign grow slower than their number: the square root of the coarseness.
    pub fn of(precision: Precision) -> Tolerances {
        Tolerances { precision, of_all: None, of_stage: BTreeMap::new() }
    }

    /// One tolerance for all stages that have none of their own.
    #[must_use]
    pub fn with_all(self, tolerance: f64) -> Tolerances {
        Tolerances { of_all: Some(tolerance), ..self }
    }

    /// A stage's own tolerance.
    #[must_use]
    pub fn with_stage(mut self, stage: &str, tolerance: f64) -> Tolerances {
        self.of_stage.insert(stage.to_string(), tolerance);
        self
    }

    /// That of a stage.
    pub fn get(&self, stage: &str) -> f64 {
        let f32_rounding = if stage == "data" { 1e-5 } else { 1e-4 };
        let default = f32_rounding * self.precision.coarseness().sqrt();
        self.of_stage.get(stage).copied().or(self.of_all).unwrap_or(default)
    }

    /// The stages with a tolerance of their own.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.of_stage.keys().map(String::as_str)
    }
}

/// One stage, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageResult {
    /// `data`, `conv`, `pool5`, `fc6` …
    pub stage: String,
    /// How it differs when every stage before it is computed, too.
    pub difference: Difference,
    /// How it differs when it reads the reference's own input; none where that is not known.
    pub alone: Option<Difference>,
    /// Largest [`Difference::relative`] allowed.
    pub tolerance: f64,
}

impl StageResult {
    /// Whether both differences are within the tolerance.
    pub fn agrees(&self) -> bool {
        let within = |difference: &Difference| difference.relative <= self.tolerance;
        within(&self.difference) && self.alone.as_ref().is_none_or(within)
    }

    /// Whether the stage itself makes an error, as opposed to passing one on.
    fn makes_an_error(&self) -> bool {
        match &self.alone {
            Some(alone) => alone.relative > self.tolerance,
            None => !self.agrees(),
        }
    }
}

/// In words, where the stages first diverge and what to look at.
pub fn explain(stages: &[StageResult]) -> String {
    let Some(first) = stages.iter().position(|stage| !stage.agrees()) else {
        return match stages {
            [] => "There is no stage that both sides have.".to_string(),
            _ => "All stages agree within their tolerances.".to_string(),
        };
    };
    let (before, rest) = stages.split_at(first);
    let culprit = rest.iter().find(|stage| stage.makes_an_error()).or(rest.first());
    let (Some(diverges), Some(culprit)) = (rest.first(), culprit) else { return String::new() };
    let (agree, not) = match before {
        [] => (String::new(), "differs"),
        [only] => (format!("{} agrees, ", only.stage), "does not"),
        [.., last] => (format!("Stages up to {} agree, ", last.stage), "does not"),
    };
    let cause = if culprit.stage == diverges.stage {
        advice(&diverges.stage, before).to_string()
    } else {
        format!(
            "errors within its tolerance grow on the way; the first stage that makes one of its own is {}: {}",
            culprit.stage,
            advice(&culprit.stage, before)
        )
    };
    format!(
        "{agree}{} {not} (relative error {:.1e}, allowed {:.0e}): {cause}.",
        diverges.stage, diverges.difference.relative, diverges.tolerance
    )
}

fn advice(stage: &str, before: &[StageResult]) -> &'static str {
    let compared = |name: &str| before.iter().any(|stage| stage.stage == name);
    match stage {
        "data" => {
            "look at the preprocessing: the decoder (JPEG decoders differ; PNG is exact), channel order, pixel means, \
             scale, and the resize"
        }
        "rois" => "look at the projection of the boxes: im_scale, and the order of the corners",
        "conv" if compared("data") => {
            "look at the trunk: weights, ceil mode of pooling, LRN's alpha, padding"
        }
        "conv" => "look at the preprocessing of `data`, which was not compared, and at the trunk",
        "pool5" => "look at the RoI pooling: spatial_scale, rounding of corners, and the RoIs themselves",
        "cls_prob" => "look at the softmax and its axis",
        "bbox_pred" => "look at its weights: is the normalisation of the targets folded in?",
        _ => {
            "look at this layer's weights, the order in which pooled values are read, and at factoring (SVD)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tensor, difference};

    fn stage(name: &str, error: f32, alone: f32) -> StageResult {
        let of = |error: f32| {
            let tensor = |v| Tensor { shape: vec![2], data: vec![1.0, v] };
            difference(&tensor(0.5), &tensor(0.5 + error)).unwrap()
        };
        StageResult { stage: name.into(), difference: of(error), alone: Some(of(alone)), tolerance: 1e-4 }
    }

    #[test]
    fn the_stage_that_makes_the_error_is_named() {
        let agree = [stage("data", 0.0, 0.0), stage("conv", 1e-5, 1e-5)];
        assert_eq!(explain(&agree), "All stages agree within their tolerances.");
        let trunk = [stage("data", 0.0, 0.0), stage("conv", 0.1, 0.1), stage("pool5", 0.1, 0.0)];
        assert!(explain(&trunk).starts_with("data agrees, conv does not (relative error 1.0e-1"));
        assert!(explain(&trunk).contains("look at the trunk"), "{}", explain(&trunk));
        let decoder = [stage("data", 0.1, 0.1), stage("conv", 0.1, 0.0)];
        assert!(explain(&decoder).starts_with("data differs (relative error 1.0e-1"));
        assert!(explain(&decoder).contains("look at the preprocessing: the decoder"));
        let no_data = [stage("conv", 0.1, 0.1)];
        assert!(explain(&no_data).contains("preprocessing of `data`, which was not compared"));
        let grown = [stage("conv", 1e-5, 1e-5), stage("pool5", 1e-3, 0.0), stage("fc6", 1e-3, 1e-3)];
        assert!(explain(&grown).contains("makes one of its own is fc6"), "{}", explain(&grown));
        assert!(explain(&[]).contains("no stage"));
    }

    #[test]
    fn tolerances_follow_the_precision_unless_they_are_given() {
        let f32_default = Tolerances::of(Precision::F32);
        assert_eq!((f32_default.get("data"), f32_default.get("fc6")), (1e-5, 1e-4));
        let given = f32_default.with_all(0.5).with_stage("conv", 0.25);
        assert_eq!((given.get("data"), given.get("conv")), (0.5, 0.25));
        assert_eq!(Precision::of_reference("F32", Some("on")), Precision::F16);
        assert_eq!(Precision::of_reference("F32", Some("off")), Precision::F32);
        assert!(Tolerances::of(Precision::Bf16).get("conv") > Tolerances::of(Precision::F16).get("conv"));
        let relative = |precision| Tolerances::of(precision).get("fc6") / 1e-4;
        assert_eq!([Precision::F16, Precision::Bf16].map(|p| relative(p).round()), [91.0, 256.0]);
        let [f32, f16, bf16] = [Precision::F32, Precision::F16, Precision::Bf16];
        assert_eq!([f32.coarser(f16), bf16.coarser(f16), f32.coarser(f32)], [f16, bf16, f32]);
    }
}
