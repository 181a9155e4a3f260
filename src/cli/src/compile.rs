//! `frcnn compile`: a trained ONNX becomes a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use frcnn_compiler::{
    Compiled, Drift, Options, Precision, Report, Svd, compile, emit_onnx, load_manifest, onnx_writer,
};
use indicatif::ProgressBar;

use crate::console;
use crate::error::Error;
use crate::files;
use crate::tables::{self, FactoredRow};
use crate::units;

/// Compile a trained Fast R-CNN from ONNX into a .frcnn bundle
///
/// The bundle holds everything that `frcnn detect` and the `frcnn` library need. Before it is written, it is run
/// beside the ONNX file on the same input, and refused if the two disagree.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn compile model.onnx -o model.frcnn
  frcnn compile model.onnx -o small.frcnn --svd-energy 0.9 --report report.json
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --manifest voc.json
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --emit-onnx vgg16-svd.onnx
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --precision bf16")]
pub(crate) struct Args {
    /// Trained network with inputs `data` and `rois` and one MaxRoiPool
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The bundle to write
    #[arg(short, long, value_name = "OUT.frcnn")]
    output: PathBuf,
    /// Classes, pixel means, scales, thresholds and box conventions [default: manifest.json beside the model]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Factor these fully connected layers to these ranks, such as fc6=1024,fc7=256
    #[arg(long, value_name = "LAYER=RANK,...", value_parser = Svd::parse_ranks, conflicts_with = "svd_energy")]
    svd: Option<Svd>,
    /// Factor hidden fully connected layers, keeping this share of the squared singular values
    #[arg(long, value_name = "SHARE", value_parser = energy)]
    svd_energy: Option<f64>,
    /// What weights are stored as and layers computed in
    ///
    /// bf16 halves the file and takes a fraction of the time on CPUs that multiply bf16 values (AMX, AVX512-BF16). On
    /// others it is as fast as f32. The report tells how much it changes.
    #[arg(long, value_name = "TYPE", default_value = Precision::F32.name(), value_parser = precisions())]
    precision: Precision,
    /// Also write the compiled network, factored layers included, as ONNX for other runtimes
    #[arg(long, value_name = "FILE.onnx")]
    emit_onnx: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Print no progress and no report
    #[arg(short, long)]
    quiet: bool,
}

fn energy(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "not a number")?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("must be above 0 and at most 1".to_string()) }
}

fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name)).try_map(|name| {
        Precision::ALL.into_iter().find(|precision| precision.name() == name).ok_or("no such precision")
    })
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let manifest_path = args.manifest.clone().unwrap_or_else(|| files::beside(&args.model, "manifest.json"));
    fs::metadata(&args.model).map_err(|error| Error::file(&args.model, error))?;
    explain_if_absent(&manifest_path, args.manifest.is_none())?;
    for output in [Some(&args.output), args.emit_onnx.as_ref(), args.report.as_ref()].into_iter().flatten() {
        files::check_output(output, &[&args.model, &manifest_path])?;
    }
    let manifest = load_manifest(&manifest_path)?;
    let svd = match (&args.svd, args.svd_energy) {
        (Some(ranks), _) => ranks.clone(),
        (None, Some(energy)) => Svd::Energy(energy),
        (None, None) => Svd::None,
    };

    // Hidden by itself where standard error is no terminal.
    let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut progress = |step: &str| spinner.set_message(step.to_string());
    let compiled =
        compile(&args.model, &manifest, &Options { svd, precision: args.precision }, &mut progress);
    spinner.finish_and_clear();
    let Compiled { bundle, report } = compiled?;

    files::write(&args.output, bundle.as_bytes())?;
    if let Some(path) = &args.emit_onnx {
        let model = emit_onnx(&bundle).map_err(|error| Error::file(path, error))?;
        onnx_writer::write(&model, path)?;
    }
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Error::file(path, error))?;
        files::write(path, (json + "\n").as_bytes())?;
    }
    if args.quiet {
        return Ok(());
    }
    let emitted = args.emit_onnx.iter().map(|path| format!("{}\n", path.display()));
    console::result(&(text(&report, &args.output) + &emitted.collect::<String>()))
}

fn explain_if_absent(manifest: &Path, by_default: bool) -> Result<(), Error> {
    if manifest.exists() {
        return Ok(());
    }
    let or_name = if by_default { ", or name another with --manifest" } else { "" };
    let problem = format!(
        "there is no such manifest; write one{or_name}. Only the classes are required, background first:\n  \
         {{\"classes\": [\"__background__\", \"cat\", \"dog\"]}}"
    );
    Err(Error::file(manifest, problem))
}

fn text(report: &Report, output: &Path) -> String {
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
        text += &format!("\n Not factored: {reason}\n");
    }
    let agreement = &report.agreement;
    let [height, width] = agreement.blob;
    text += &format!(
        "\nAgreement with the ONNX file{}: blob of {height} x {width}, {} RoIs, largest difference relative to the stage's largest value\n\n",
        before(report),
        agreement.rois
    );
    text += &tables::pairs(&[
        ("conv", units::difference(agreement.conv)),
        ("cls_prob", units::difference(agreement.cls_prob)),
        ("bbox_pred", units::difference(agreement.bbox_pred)),
    ]);
    for (step, drift) in [("factoring", &report.drift), ("rounding to bf16", &report.rounding)] {
        text += &drift.as_ref().map_or(String::new(), |drift| changes(step, drift));
    }
    text + &format!("\n{}  {}\n", output.display(), units::bytes(report.file_bytes))
}

/// What was done after the comparison.
fn before(report: &Report) -> &'static str {
    match (&report.drift, &report.rounding) {
        (None, None) => "",
        (Some(_), None) => " before factoring",
        (None, Some(_)) => " before rounding to bf16",
        (Some(_), Some(_)) => " before factoring and rounding to bf16",
    }
}

fn changes(step: &str, drift: &Drift) -> String {
    format!("\nDrift that {step} alone causes, largest change\n\n")
        + &tables::pairs(&[
            ("cls_prob", units::difference(drift.cls_prob)),
            ("bbox_pred", units::difference(drift.bbox_pred)),
        ])
}
