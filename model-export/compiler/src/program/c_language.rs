//! A header, an assembler file and a test for C.

use std::fmt::Write;
use std::sync::Arc;

use frcnn_bundle::Bundle;

use super::fill::fill;
use super::reference::{HEIGHT, Reference, WIDTH, lowest_score, tolerance};
use super::{Program, ProgramOptions, facts, identifiers};
use crate::Problem;

/// The header of a program whose names begin with `prefix`.
pub(super) fn header_name(prefix: &str) -> String {
    // No header of the system has such a name.
    format!("{prefix}_model.h")
}

pub(super) fn emit(bundle: &Arc<Bundle>, options: &ProgramOptions<'_>) -> Result<Program, Problem> {
    let contents = bundle.contents();
    let manifest = &contents.manifest;
    let reference = Reference::new(bundle)?;
    let prefix = identifiers::prefix(options.dir);
    let capitals = prefix.to_ascii_uppercase();
    let mut enumerated = String::new();
    for (constant, (number, _)) in
        identifiers::constants(facts::classes(bundle)).iter().zip(facts::classes(bundle))
    {
        let _ = writeln!(enumerated, "    {capitals}_CLASS_{constant} = {number},");
    }
    let names = manifest.classes.iter().map(|name| format!("    {}, \\\n", facts::c_string(name)));
    let ranks = contents.factored.iter().map(|layer| format!("{}={}", layer.layer, layer.rank));
    let scales = manifest.scales.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let best = reference.best.iter().map(|(class, score)| format!("    {{{class}, {score:?}f}},\n"));
    let words = [
        ("PREFIX", prefix.clone()),
        ("CAPITALS", capitals.clone()),
        ("CLASS_COUNT", facts::class_count(bundle)),
        ("REPORT", facts::code_block(options.report)),
        ("RULE", identifiers::C_RULE.to_string()),
        ("WRAPPED_RULE", wrapped(identifiers::C_RULE)),
        ("VARIANTS", enumerated),
        ("COUNT", manifest.classes.len().to_string()),
        ("NAMES", names.collect()),
        ("SIZE", bundle.file_len().to_string()),
        ("MODEL", facts::c_string(&manifest.name)),
        ("METHOD", facts::c_string(contents.method().name())),
        ("SHA256", facts::c_string(&facts::onnx_sha256(bundle))),
        ("COMPILER", facts::c_string(&contents.origin.compiler)),
        ("PRECISION", facts::c_string(contents.precision().name())),
        ("SCORE_THRESHOLD", format!("{:?}f", manifest.score_threshold)),
        ("NMS_IOU", format!("{:?}f", manifest.nms_iou)),
        ("MAX_DETECTIONS", manifest.max_detections.to_string()),
        ("SCALES", format!("{{{scales}}}")),
        ("MAX_LONG_SIDE", manifest.max_long_side.to_string()),
        ("RANKS", facts::c_string(&ranks.collect::<Vec<_>>().join(","))),
        ("WIDTH", WIDTH.to_string()),
        ("HEIGHT", HEIGHT.to_string()),
        ("BOXES", reference.boxes.to_string()),
        ("LOWEST", format!("{:?}f", lowest_score(manifest.scores))),
        ("TOLERANCE", format!("{:?}f", tolerance(contents.precision()))),
        ("BEST_COUNT", reference.best.len().to_string()),
        // An array of nothing is none in C.
        ("BEST", if reference.best.is_empty() { "    {0, 0.0f},\n".to_string() } else { best.collect() }),
    ];
    let text = |name: String, template: &str| (name, fill(template, &words).into_bytes());
    let files = vec![
        text(header_name(&prefix), include_str!("c/model.h.in")),
        text(format!("{prefix}_model.S"), include_str!("c/model.S.in")),
        text(format!("{prefix}_test.c"), include_str!("c/test.c.in")),
        text("README.md".to_string(), include_str!("c/README.md.in")),
    ];
    Ok(Program { bundle: bundle.clone(), bundle_name: format!("{prefix}_model.frcnn"), files })
}

/// The lines of a comment in C.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from(" *");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > 110 {
            lines += &line;
            lines.push('\n');
            line = String::from(" *");
        }
        line.push(' ');
        line += word;
    }
    lines + &line
}
