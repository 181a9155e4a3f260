//! The crate.

use std::sync::Arc;

use frcnn_bundle::{Bundle, Regions};

use super::fill::fill;
use super::reference::{HEIGHT, Reference, WIDTH, lowest_score, tolerance};
use super::{Program, ProgramOptions, facts, identifiers};
use crate::Problem;

/// The release of `frcnn` that the crate is written for: that of this workspace.
const FRCNN_VERSION: &str = env!("CARGO_PKG_VERSION");
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

pub(super) fn emit(bundle: &Arc<Bundle>, options: &ProgramOptions<'_>) -> Result<Program, Problem> {
    let contents = bundle.contents();
    let manifest = &contents.manifest;
    let reference = Reference::new(bundle)?;
    let variants = identifiers::variants(facts::classes(bundle));
    let package = identifiers::package(options.dir);
    let dependency = match options.frcnn {
        Some(path) => format!("{{ version = \"{FRCNN_VERSION}\", path = {} }}", facts::toml_string(path)?),
        None => format!("\"{FRCNN_VERSION}\""),
    };
    let enumerated = variants.iter().zip(facts::classes(bundle)).map(|(variant, (number, name))| {
        let doc = format!("Class {number}, {}.", facts::code(name));
        format!("    #[doc = {doc:?}]\n    {variant} = {number},\n")
    });
    let ranks = contents.factored.iter().map(|layer| format!("({:?}, {})", layer.layer, layer.rank));
    let words = [
        ("PACKAGE", package.clone()),
        ("LIBRARY", package.replace('-', "_")),
        ("FRCNN", dependency),
        ("RUST_VERSION", RUST_VERSION.to_string()),
        ("REPORT", facts::code_block(options.report)),
        ("RULE", identifiers::RUST_RULE.to_string()),
        ("VARIANTS", enumerated.collect()),
        ("COUNT", variants.len().to_string()),
        ("CLASS_COUNT", facts::class_count(bundle)),
        ("CLASSES", list(variants.iter().map(|variant| format!("Class::{variant}")))),
        ("NAMES", list(facts::classes(bundle).map(|(_, name)| format!("{name:?}")))),
        ("MODEL", format!("{:?}", manifest.name)),
        ("METHOD", format!("{:?}", contents.method().name())),
        ("SHA256", format!("{:?}", facts::onnx_sha256(bundle))),
        ("COMPILER", format!("{:?}", contents.origin.compiler)),
        ("PRECISION", format!("{:?}", contents.precision().name())),
        ("SCORE_THRESHOLD", format!("{:?}", manifest.score_threshold)),
        ("NMS_IOU", format!("{:?}", manifest.nms_iou)),
        ("MAX_DETECTIONS", manifest.max_detections.to_string()),
        ("SCALES", format!("{:?}", manifest.scales)),
        ("MAX_LONG_SIDE", manifest.max_long_side.to_string()),
        ("RANKS", format!("[{}]", ranks.collect::<Vec<_>>().join(", "))),
        ("DETECT", detect(bundle).to_string()),
        ("WIDTH", WIDTH.to_string()),
        ("HEIGHT", HEIGHT.to_string()),
        ("BOXES", reference.boxes.to_string()),
        ("FEATURES", features(bundle).to_string()),
        ("RPN", rpn(bundle, &reference)),
        ("CLS_PROB", reference.cls_prob.len().to_string()),
        ("BBOX_PRED", reference.bbox_pred.len().to_string()),
        ("LOWEST", format!("{:?}", lowest_score(manifest.scores))),
        ("TOLERANCE", format!("{:?}", tolerance(contents.precision()))),
        ("SOME", some(&reference).to_string()),
    ];
    let text = |name: &str, template: &str| (name.to_string(), fill(template, &words).into_bytes());
    let files = vec![
        text("Cargo.toml", include_str!("crate/Cargo.toml.in")),
        text(".cargo/config.toml", include_str!("crate/config.toml.in")),
        text("rustfmt.toml", include_str!("crate/rustfmt.toml.in")),
        text("README.md", include_str!("crate/README.md.in")),
        text("src/lib.rs", include_str!("crate/lib.rs.in")),
        text("tests/self_test.rs", include_str!("crate/self_test.rs.in")),
        ("tests/reference.bin".to_string(), reference.bytes()),
    ];
    Ok(Program { bundle: bundle.clone(), bundle_name: "src/model.frcnn".to_string(), files })
}

/// One line each.
fn list(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("    {item},\n")).collect()
}

/// How [`Detector::detect`] of the crate gets its boxes.
fn detect(bundle: &Bundle) -> &'static str {
    match bundle.contents().rpn {
        Some(_) => include_str!("crate/detect_rpn.rs.in"),
        None => include_str!("crate/detect_proposals.rs.in"),
    }
}

/// The stages from blobs to what the head reads.
fn features(bundle: &Bundle) -> &'static str {
    match bundle.contents().regions {
        Regions::Warp(_) => include_str!("crate/features_warp.rs.in"),
        Regions::RoiAlign(_) => include_str!("crate/features_align.rs.in"),
        Regions::RoiPooling(_) => include_str!("crate/features_pool.rs.in"),
    }
}

fn rpn(bundle: &Bundle, reference: &Reference) -> String {
    match bundle.contents().rpn {
        Some(_) => {
            let words = [("RPN_LOGITS", reference.rpn_logits.len().to_string())];
            fill(include_str!("crate/rpn.rs.in"), &words)
        }
        None => String::new(),
    }
}

/// What must hold of the detections on the picture.
fn some(reference: &Reference) -> &'static str {
    match reference.detections {
        0 => {
            "// The network finds nothing in this picture, whatever the threshold.\n    assert!(found.is_empty());"
        }
        _ => "assert!(!found.is_empty());",
    }
}
