//! What the compiler tells of a network, for people and as JSON.

use frcnn_compiler::{AssumedInput, CompileReport, Drift, Precision};
use frcnn_core::Printable;
use frcnn_harness::auto::AutoReport;
use frcnn_harness::cascade::CascadeReport;
use frcnn_harness::quantize::FoundAgain;
use serde::Serialize;

use crate::tables::{self, FactoredRow};
use crate::{auto, calibrate, cascade, units};

/// What `--report` writes.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) report: CompileReport,
    /// What int8 still finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) found_again: Option<FoundAgain>,
    /// How `--precision auto` chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auto: Option<AutoReport>,
    /// Layers that keep an exacter type, for theirs gains no time on the board.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) exacter: Vec<String>,
    /// What the cascade drops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cascade: Option<CascadeReport>,
}

/// The report for people, the same on every run: without the files that were written, and without [`times`].
pub(super) fn text(report: &Report) -> String {
    let Report { report, found_again, auto, exacter, cascade } = report;
    let mut text = tables::network(&report.cost);
    if !report.factored.is_empty() {
        text += "\n";
        text += &tables::factored(report.factored.iter().map(|layer| FactoredRow {
            layer: &layer.layer,
            rank: layer.rank as u64,
            energy: layer.energy,
            relative_error: layer.relative_error,
            parameters_before: layer.parameters_before,
            parameters_after: layer.parameters_after,
        }));
    }
    for reason in &report.not_factored {
        text += &format!("\n Not factored: {}\n", Printable(reason));
    }
    text += &format!("\n{}", input(&report.input));
    let agreement = &report.agreement;
    let [height, width] = agreement.blob;
    text += &format!(
        "\nAgreement with the ONNX file{}: blob of {height} x {width}, {} RoIs, largest difference relative to the stage's largest value\n\n",
        before(report),
        agreement.rois
    );
    let stages = [
        ("conv", Some(agreement.conv)),
        ("rpn", agreement.rpn),
        ("cls_prob", Some(agreement.cls_prob)),
        ("bbox_pred", Some(agreement.bbox_pred)),
    ];
    let stages = stages.into_iter().filter_map(|(stage, error)| Some((stage, units::difference(error?))));
    text += &tables::pairs(&stages.collect::<Vec<_>>());
    let rounding = format!("rounding to {}", report.precision.name());
    for (step, drift) in [("factoring", &report.drift), (&rounding, &report.rounding)] {
        text += &drift.as_ref().map_or(String::new(), |drift| changes(step, drift));
    }
    if let (Some(int8), Some(found_again)) = (&report.int8, found_again) {
        text += &calibrate::text(int8, found_again);
    }
    if !exacter.is_empty() {
        text += &format!(
            "\nExacter than asked for, as a coarser type gains no time there: {}\n",
            Printable(exacter.join(", "))
        );
    }
    text += &auto.as_ref().map_or(String::new(), auto::text);
    text + &cascade.as_ref().map_or(String::new(), cascade::text)
}

/// What was measured with a clock.
pub(super) fn times(report: &Report) -> String {
    let heads = report.cascade.as_ref().and_then(|cascade| cascade.heads.as_ref());
    heads.map_or(String::new(), cascade::times_text)
}

/// What the network is taken to read, and where that went.
fn input(input: &AssumedInput) -> String {
    let mut text = format!("Assumed: {}\n", input.assumed);
    if !input.in_graph.is_empty() {
        text +=
            &format!("         and what the graph does to the image first: {}\n", input.in_graph.join(", "));
    }
    if !input.folded_into.is_empty() {
        text += &format!("         folded into {}\n", input.folded_into.join(", "));
    }
    if !input.added.is_empty() {
        text += &format!(
            "         no convolution alone reads the image, so a 1 x 1 convolution brings it there: {}\n",
            input.added.join(", ")
        );
    }
    text
}

/// What was done after the comparison.
fn before(report: &CompileReport) -> String {
    let to = report.precision.name();
    match (report.drift.is_some(), report.precision != Precision::F32) {
        (false, false) => String::new(),
        (true, false) => " before factoring".to_string(),
        (false, true) => format!(" before rounding to {to}"),
        (true, true) => format!(" before factoring and rounding to {to}"),
    }
}

fn changes(step: &str, drift: &Drift) -> String {
    format!("\nDrift that {step} alone causes, largest change\n\n")
        + &tables::pairs(&[
            ("cls_prob", units::difference(drift.cls_prob)),
            ("bbox_pred", units::difference(drift.bbox_pred)),
        ])
}
