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
    /// Whole numbers: one scale for all values of a map.
    Int8,
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

    /// The rounding of one value, over that of f32: 2^-11 of a value in f16, 2^-8 in bf16, 2^-24 in f32. In int8 it is one for all
    /// values of a map, of whose range half a step is 2^-9.
    fn coarseness(self) -> f64 {
        match self {
            Precision::F32 => 1.0,
            Precision::F16 => f64::from(1 << 13),
            Precision::Bf16 => f64::from(1 << 16),
            Precision::Int8 => f64::from(1 << 18),
        }
    }

    /// What a value may lose, as a share of it, when it is stored in a floating-point type and rounded to the nearest: half a unit
    /// in the last place, 2^-(p + 1) with p bits of mantissa: 2^-24 in f32, 2^-11 in f16, 2^-8 in bf16.
    fn unit_roundoff(self) -> f64 {
        self.coarseness() / f64::from(1 << 24)
    }
}

/// By what a stage's difference is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// [`Difference::relative`]: the largest one.
    Largest,
    /// [`Difference::norm`]: all together, for int8 layers clip rare values, by however much.
    Norm,
}

impl Measure {
    /// How large a difference is.
    pub fn of(self, difference: &Difference) -> f64 {
        match self {
            Measure::Largest => difference.relative,
            Measure::Norm => difference.norm,
        }
    }
}

/// The layers that a stage's values have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passed {
    coarsest: Precision,
    int8: usize,
}

/// Differences that stages may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerances {
    computed: Precision,
    stored: Vec<Precision>,
    passed: BTreeMap<String, Passed>,
    of_all: Option<f64>,
    of_stage: BTreeMap<String, f64>,
}

/// [`Difference::norm`] that an int8 layer may make: the values of a map are a thirtieth of the range of its steps, as a mean
/// of squares, and a step's rounding is 1 / sqrt(12) of it, so that rounding is 3 % of them; as much again for what is clipped.
const NORM_OF_INT8: f64 = 1.0 / 16.0;

impl Tolerances {
    /// What rounding explains where the coarser side was `computed` with a precision, and where what is compared was `stored` with
    /// others, one for each side that is a file.
    ///
    /// In f32: `data` 1e-5 (the resize's weights; a thousandth of a grey level), every other stage 1e-4 (25 layers of sums in
    /// another order). Coarser values round the more, but errors of random sign grow slower than their number: the square root of
    /// the coarseness.
    ///
    /// `data` passes no layer: its values are rounded once by each side that stores them, and nothing averages that out. A value v
    /// that is rounded to the nearest moves by at most u |v|, where u is half a unit in the last place of 1, and |v| is at most the
    /// largest magnitude L, over which differences are taken. So |difference| / L <= 1e-5 + u1 + u2, with u = 2^-11 for a side that
    /// is stored in f16, 2^-8 in bf16 and 0 in f32, whose rounding the 1e-5 has in it.
    pub fn of(computed: Precision, stored: &[Precision]) -> Tolerances {
        let (passed, of_stage) = (BTreeMap::new(), BTreeMap::new());
        Tolerances { computed, stored: stored.to_vec(), passed, of_all: None, of_stage }
    }

    /// Layers of these precisions are passed by the values of a stage. Those of int8 round independently: their errors' squares
    /// add up.
    #[must_use]
    pub fn with_layers(mut self, stage: &str, layers: &[Precision]) -> Tolerances {
        let none = Passed { coarsest: Precision::F32, int8: 0 };
        let passed = self.passed.entry(stage.to_string()).or_insert(none);
        for &layer in layers {
            passed.coarsest = passed.coarsest.coarser(layer);
            passed.int8 += usize::from(layer == Precision::Int8);
        }
        self
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

    /// That of a stage, and what it is of: the largest difference where it was given.
    pub fn get(&self, stage: &str) -> (f64, Measure) {
        if let Some(given) = self.of_stage.get(stage).copied().or(self.of_all) {
            return (given, Measure::Largest);
        }
        let largest =
            |f32: f64, precision: Precision| (f32 * precision.coarseness().sqrt(), Measure::Largest);
        if stage == "data" {
            let coarse = self.stored.iter().filter(|&&stored| stored != Precision::F32);
            return (1e-5 + coarse.map(|stored| stored.unit_roundoff()).sum::<f64>(), Measure::Largest);
        }
        let rounded = self.stored.iter().fold(self.computed, |coarsest, &stored| coarsest.coarser(stored));
        match self.passed.get(stage) {
            Some(Passed { int8, .. }) if *int8 > 0 => (NORM_OF_INT8 * (*int8 as f64).sqrt(), Measure::Norm),
            Some(Passed { coarsest, .. }) => largest(1e-4, rounded.coarser(*coarsest)),
            None => largest(1e-4, rounded),
        }
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
    /// The stage whose reference values `alone` was computed from, where that is not the one right before: what lies between has its
    /// part in it.
    pub alone_from: Option<String>,
    /// Largest difference allowed.
    pub tolerance: f64,
    /// By what it is measured.
    pub measure: Measure,
}

impl StageResult {
    /// Whether both differences are within the tolerance.
    pub fn agrees(&self) -> bool {
        self.allows(&self.difference) && self.alone.as_ref().is_none_or(|alone| self.allows(alone))
    }

    fn allows(&self, difference: &Difference) -> bool {
        self.measure.of(difference) <= self.tolerance
    }

    /// Whether the stage itself makes an error, as opposed to passing one on.
    fn makes_an_error(&self) -> bool {
        match &self.alone {
            Some(alone) => !self.allows(alone),
            None => !self.agrees(),
        }
    }
}

/// What a stage has to do with the place where two sides diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is within its tolerance.
    Agrees,
    /// The difference begins here: the first stage that makes an error of its own, as [`explain`] names it.
    Begins,
    /// Beyond its tolerance behind that stage, and not known to make an error of its own: on the reference's input it is within
    /// its tolerance, or was not computed on it, or only through a stage that makes an error.
    Follows,
    /// Beyond its tolerance for a reason of its own, or before the stage that makes the first error.
    Beyond,
}

/// The role of each stage.
pub fn roles(stages: &[StageResult]) -> Vec<Role> {
    let begins = beginning(stages);
    let role = |(position, stage): (usize, &StageResult)| {
        let errs_alone = |stage: &StageResult| stage.alone.as_ref().is_some_and(|alone| !stage.allows(alone));
        // An error on the way from the stage that it was computed from.
        let passes_on = || {
            let mut before = stages.iter().take(position);
            stage.alone_from.is_some()
                && before.any(|before| before.alone_from == stage.alone_from && errs_alone(before))
        };
        let errs = || errs_alone(stage) && !passes_on();
        match begins {
            Some(begins) if begins == position => Role::Begins,
            _ if stage.agrees() => Role::Agrees,
            Some(begins) if begins < position && !errs() => Role::Follows,
            _ => Role::Beyond,
        }
    };
    stages.iter().enumerate().map(role).collect()
}

/// The first stage that makes an error of its own; where none is known to, the first that is beyond its tolerance.
fn beginning(stages: &[StageResult]) -> Option<usize> {
    let first = stages.iter().position(|stage| !stage.agrees())?;
    let culprit = stages.iter().skip(first).position(StageResult::makes_an_error);
    Some(first + culprit.unwrap_or(0))
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
    let culprit = beginning(stages).and_then(|begins| stages.get(begins));
    let (Some(diverges), Some(culprit)) = (rest.first(), culprit) else { return String::new() };
    let (agree, not) = match before {
        [] => (String::new(), "differs"),
        [only] => (format!("{} agrees, ", only.stage), "does not"),
        [.., last] => (format!("Stages up to {} agree, ", last.stage), "does not"),
    };
    let cause = if culprit.stage == diverges.stage {
        advice(diverges, before).to_string()
    } else {
        format!(
            "errors within its tolerance grow on the way; the first stage that makes one of its own is {}: {}",
            culprit.stage,
            advice(culprit, before)
        )
    };
    format!(
        "{agree}{} {not} ({} {:.1e}, allowed {:.0e}): {cause}.{}",
        diverges.stage,
        match diverges.measure {
            Measure::Largest => "relative error",
            Measure::Norm => "error in the norm",
        },
        diverges.measure.of(&diverges.difference),
        diverges.tolerance,
        not_a_number(culprit)
    )
}

/// Which side has NaN, if one has.
fn not_a_number(stage: &StageResult) -> String {
    let elements: u64 = stage.difference.ulps.counts.iter().sum();
    match stage.difference.nan {
        [0, 0] => String::new(),
        [reference, found] => format!(
            " Of the {elements} values of {}, {reference} are NaN in the reference and {found} in the other side; NaN equals nothing, \
             not even NaN.",
            stage.stage
        ),
    }
}

fn advice(stage: &StageResult, before: &[StageResult]) -> &'static str {
    if stage.measure == Measure::Norm {
        return "that is more than int8 rounds: was it calibrated on photos like this one? Compare the bundle in f32, too";
    }
    let compared = |name: &str| before.iter().any(|stage| stage.stage == name);
    match stage.stage.as_str() {
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
        StageResult {
            stage: name.into(),
            difference: of(error),
            alone: Some(of(alone)),
            alone_from: None,
            tolerance: 1e-4,
            measure: Measure::Largest,
        }
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
    fn what_begins_a_difference_is_told_from_what_follows() {
        use Role::{Agrees, Begins, Beyond, Follows};
        let of = |stages: &[(f32, f32)]| {
            roles(&stages.iter().map(|&(error, alone)| stage("s", error, alone)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[(0.0, 0.0), (1e-5, 0.0)]), [Agrees, Agrees]);
        let trunk = [(0.0, 0.0), (0.1, 0.1), (0.1, 0.0), (1e-5, 0.0), (0.2, 0.1), (0.2, 0.0)];
        assert_eq!(of(&trunk), [Agrees, Begins, Follows, Agrees, Beyond, Follows]);
        // Errors that grew, and a stage behind them that makes one.
        assert_eq!(
            of(&[(1e-5, 1e-5), (1e-3, 0.0), (1e-3, 1e-3), (1e-3, 0.0)])[1..],
            [Beyond, Begins, Follows]
        );
        assert_eq!(of(&[(1e-5, 1e-5), (1e-3, 0.0), (1e-3, 0.0)])[1..], [Begins, Follows]);
        // A head is computed from its input alone: what its first layer does is in all of them.
        let head = |error: f32, alone: f32| StageResult {
            alone_from: Some("pool5".into()),
            ..stage("s", error, alone)
        };
        let head =
            [stage("pool5", 0.0, 0.0), head(1e-5, 1e-5), head(0.1, 0.1), head(0.2, 0.2), head(1e-5, 1e-5)];
        assert_eq!(roles(&head), [Agrees, Agrees, Begins, Follows, Agrees]);
        // Of two files nothing is known on the reference's input.
        let files = [0.0, 0.1, 0.1].map(|error| StageResult { alone: None, ..stage("s", error, 0.0) });
        assert_eq!(roles(&files), [Agrees, Begins, Follows]);
    }

    #[test]
    fn nan_on_both_sides_is_no_agreement_and_is_told() {
        let tensor = |values: [f32; 3]| Tensor { shape: vec![3], data: values.to_vec() };
        let broken = tensor([1.0, f32::NAN, f32::NAN]);
        let mut result = StageResult { alone: None, ..stage("fc6", 0.0, 0.0) };
        result.difference = difference(&broken, &broken).unwrap();
        for measure in [Measure::Largest, Measure::Norm] {
            let result = StageResult { measure, tolerance: 1e30, ..result.clone() };
            assert!(!result.agrees());
            let text = explain(&[result]);
            assert!(
                text.contains("Of the 3 values of fc6, 2 are NaN in the reference and 2 in the other side"),
                "{text}"
            );
        }
        result.difference = difference(&tensor([1.0, 2.0, 3.0]), &broken).unwrap();
        assert!(explain(&[result]).contains("0 are NaN in the reference and 2 in the other side"));
    }

    /// Half a unit in the last place is what rounding to the nearest costs at most; a unit is more.
    #[test]
    fn data_may_be_rounded_once_by_each_side_that_stores_it() {
        use half::{bf16, f16};
        // Grey levels without their mean, and between.
        let exact: Vec<f32> = (-1960..=2440).map(|step| step as f32 / 16.0 * 1.000_37).collect();
        let tensor = |of: &dyn Fn(f32) -> f32| Tensor {
            shape: vec![exact.len()],
            data: exact.iter().map(|&value| of(value)).collect(),
        };
        let agrees = |stored: &[Precision], reference: &Tensor, found: &Tensor| {
            let (tolerance, measure) = Tolerances::of(Precision::F32, stored).get("data");
            measure.of(&difference(reference, found).unwrap()) <= tolerance
        };
        let exact = tensor(&|value| value);
        // Bits of the mantissa that are dropped: of its 23, bf16 has 7, f16 10.
        let cut = |bits: u32| move |value: f32| f32::from_bits(value.to_bits() & !((1 << bits) - 1));
        for (precision, rounded, cut) in [
            (Precision::Bf16, tensor(&|value| bf16::from_f32(value).to_f32()), tensor(&cut(16))),
            (Precision::F16, tensor(&|value| f16::from_f32(value).to_f32()), tensor(&cut(13))),
        ] {
            assert!(agrees(&[precision], &rounded, &exact), "{precision:?}");
            assert!(agrees(&[Precision::F32, precision], &exact, &rounded), "{precision:?}");
            assert!(!agrees(&[Precision::F32], &rounded, &exact), "{precision:?}");
            // Values that are cut are off by up to a whole unit.
            assert!(!agrees(&[precision], &cut, &exact), "{precision:?}");
            assert!(!agrees(&[Precision::F32, precision], &exact, &cut), "{precision:?}");
        }
        // A honest rounding that the square root of the coarseness, 1e-5 * 256, did not explain.
        let tie = |v: f32| Tensor { shape: vec![1], data: vec![v] };
        let d = difference(&tie(bf16::from_f32(128.5).to_f32()), &tie(128.5)).unwrap();
        assert!(d.relative > 256.0 * 1e-5 && d.relative <= 1.0 / 256.0);
    }

    #[test]
    fn tolerances_follow_the_precision_unless_they_are_given() {
        let [f32, f16, bf16, int8] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8];
        let largest = |tolerances: &Tolerances, stage: &str| match tolerances.get(stage) {
            (tolerance, Measure::Largest) => tolerance,
            norm => panic!("{norm:?}"),
        };
        let exact = Tolerances::of(f32, &[f32]);
        assert_eq!((largest(&exact, "data"), largest(&exact, "fc6")), (1e-5, 1e-4));
        let given = exact.clone().with_all(0.5).with_stage("conv", 0.25);
        assert_eq!((largest(&given, "data"), largest(&given, "conv")), (0.5, 0.25));
        assert_eq!(Precision::of_reference("F32", Some("on")), f16);
        assert_eq!(Precision::of_reference("F32", Some("off")), f32);
        let relative = |precision| largest(&Tolerances::of(precision, &[f32]), "fc6") / 1e-4;
        assert_eq!([f16, bf16].map(|p| relative(p).round()), [91.0, 256.0]);
        assert_eq!([f32.coarser(f16), bf16.coarser(f16), f32.coarser(f32)], [f16, bf16, f32]);

        // Layers' rounding is no matter to what they read.
        let of_layers = exact.with_layers("conv", &[f32, f16]).with_layers("fc6", &[f32, f16, int8, int8]);
        assert_eq!((largest(&of_layers, "data"), largest(&of_layers, "bbox_pred")), (1e-5, 1e-4));
        assert_eq!((largest(&of_layers, "conv") / 1e-4).round(), 91.0);
        assert_eq!(of_layers.get("fc6"), (NORM_OF_INT8 * 2f64.sqrt(), Measure::Norm));
        assert_eq!(largest(&of_layers.with_stage("fc6", 0.5), "fc6"), 0.5);
        // A reference's data are rounded by how they are stored, once for each side.
        for (stored, expected) in [
            (&[bf16][..], 1.0 / 256.0),
            (&[f16], 1.0 / 2048.0),
            (&[f32, bf16], 1.0 / 256.0),
            (&[bf16, bf16], 1.0 / 128.0),
        ] {
            let tolerances = Tolerances::of(f16, stored);
            assert!((largest(&tolerances, "data") - 1e-5 - expected).abs() < 1e-12, "{stored:?}");
        }
        assert_eq!((largest(&Tolerances::of(f32, &[bf16]), "fc6") / 1e-4).round(), 256.0);
    }

    #[test]
    fn int8_is_held_to_all_differences_together() {
        let tensor = |values: &[f32]| Tensor { shape: vec![4], data: values.to_vec() };
        let result = |found: &[f32]| {
            let difference = difference(&tensor(&[1.0, 2.0, 2.0, 4.0]), &tensor(found)).unwrap();
            StageResult {
                stage: "conv".into(),
                difference,
                alone: None,
                alone_from: None,
                tolerance: 0.25,
                measure: Measure::Norm,
            }
        };
        // A fifth of the norm, and a quarter of the largest value.
        let clipped = result(&[1.0, 2.0, 2.0, 3.0]);
        assert!(clipped.agrees() && clipped.difference.norm == 0.2 && clipped.difference.relative == 0.25);
        for wrong in [[2.0, 3.0, 3.0, 5.0], [f32::NAN, 2.0, 2.0, 4.0], [1.0, 2.0, 2.0, f32::INFINITY]] {
            assert!(!result(&wrong).agrees(), "{wrong:?}");
            assert!(explain(&[result(&wrong)]).contains("calibrated on photos like this one"));
        }
    }
}
