//! `frcnn compile`: a trained ONNX becomes a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use frcnn::Manifest;
use frcnn_compiler::{
    AssumedInput, CompileReport, Compiled, Drift, Options, Precision, Svd, compile, compile_rcnn, emit_onnx,
    load_manifest, load_rcnn_manifest, onnx_writer,
};
use frcnn_core::Printable;
use frcnn_files::Staged;
use frcnn_harness::sweep::{self, Subject, Sweep};
use indicatif::ProgressBar;

use crate::console;
use crate::data::{DataArgs, Loader};
use crate::detect::Check;
use crate::error::Error;
use crate::files;
use crate::parse;
use crate::tables::{self, FactoredRow};
use crate::units;

/// Compile a trained Fast R-CNN, SPPnet or R-CNN from ONNX into a .frcnn bundle
///
/// The bundle holds everything that `frcnn detect` and the `frcnn` library need. Before it is written, it is run
/// beside the ONNX file on the same input, and refused if the two disagree.
///
/// One MaxRoiPool makes a Fast R-CNN; several that pool one map, each flattened and all joined, make an SPPnet. Neither is
/// R-CNN, whose ONNX file is a plain classifier of images of one size: --method rcnn crops and warps each proposal to that
/// size, and takes linear SVMs and box regressors from another file.
///
/// No ONNX file says whether its network reads blue, green, red in 0..255 or red, green, blue in 0..1; with the wrong ones
/// it runs and finds next to nothing. The manifest says, the report repeats what is assumed, and --check shows what is found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn compile model.onnx -o model.frcnn
  frcnn compile model.onnx -o small.frcnn --svd-energy 0.9 --report report.json
  frcnn compile model.onnx -o model.frcnn --check photo.jpg
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --manifest voc.json
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --emit-onnx vgg16-svd.onnx
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --precision f16
  frcnn compile classifier.onnx --method rcnn --svm svm.safetensors -o rcnn.frcnn
  frcnn compile model.onnx -o small.frcnn --svd auto --data VOC2007 --split val --max-drop 0.3

--svd auto keeps less and less of the energy of the hidden fully connected layers, runs each
network over the data set, and takes the smallest that loses at most --max-drop points of mAP
(VOC10+ at IoU 0.5). `frcnn sweep` shows the whole trade-off.

The safetensors file of --svm has svm.weight [K, D] and svm.bias [K] for K classes, and may have
bbox.weight [4K, D5] and bbox.bias [4K], not normalised. They read what the classifier's last
fully connected layer reads, and the map that is flattened before the first; metadata `features`
and `bbox_features` name other values of the ONNX file.")]
pub(crate) struct Args {
    /// Trained network with inputs `data` and `rois` and MaxRoiPool, or a classifier with the input `data`
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The bundle to write
    #[arg(short, long, value_name = "OUT.frcnn")]
    output: PathBuf,
    /// Classes, pixel means, scales, thresholds and box conventions [default: manifest.json beside the model]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// What the ONNX file is [default: a Fast R-CNN or SPPnet, which its MaxRoiPool nodes tell]
    #[arg(long, value_name = "METHOD", requires = "svm", conflicts_with = "emit_onnx")]
    method: Option<CompileMethod>,
    /// Linear SVMs and box regressors of an R-CNN
    #[arg(long, value_name = "FILE.safetensors", requires = "method")]
    svm: Option<PathBuf>,
    /// Factor these fully connected layers to these ranks, such as fc6=1024,fc7=256, or as far as --data shows to be good
    #[arg(long, value_name = "LAYER=RANK,...|auto", value_parser = Choice::parse, conflicts_with = "svd_energy")]
    svd: Option<Choice>,
    /// Factor hidden fully connected layers, keeping this share of the squared singular values
    #[arg(long, value_name = "SHARE", value_parser = parse::energy)]
    svd_energy: Option<f64>,
    /// What the weights of convolutions and fully connected layers are stored as
    ///
    /// f16 halves the file; layers compute in f32, with the results of f32 weights of the rounded values. bf16 halves it,
    /// too, rounds eight times as coarsely, and takes less time, with AMX a fraction of it, on CPUs that multiply bf16 values (AMX,
    /// AVX512-BF16), which round what layers read, too. The report tells how much it changes. --emit-onnx writes the
    /// rounded weights as f32.
    #[arg(long, value_name = "TYPE", default_value = Precision::F32.name(), value_parser = precisions())]
    precision: Precision,
    /// Also write the compiled network, factored layers included, as ONNX for other runtimes
    #[arg(long, value_name = "FILE.onnx")]
    emit_onnx: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Draw what the bundle finds in this photo, among boxes of selective search
    #[arg(long, value_name = "PHOTO")]
    check: Option<PathBuf>,
    /// Where to draw it [default: OUT.check.png beside the bundle]
    #[arg(long, value_name = "FILE.png", requires = "check")]
    check_out: Option<PathBuf>,
    /// Print no progress and no report
    #[arg(short, long)]
    quiet: bool,
    /// The data set's folder, or COCO's annotation file
    #[arg(long, value_name = "DIR", requires = "svd", help_heading = AUTO)]
    data: Option<PathBuf>,
    /// Points of mAP that may be lost
    #[arg(long, value_name = "POINTS", default_value_t = 0.3, value_parser = parse::points, help_heading = AUTO)]
    max_drop: f64,
    #[command(flatten, next_help_heading = AUTO)]
    part: DataArgs,
}

/// What `--method` can be.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CompileMethod {
    Rcnn,
}

/// Over the options that only it reads.
const AUTO: &str = "Options of --svd auto";

/// What `--svd` asks for.
#[derive(Clone, Debug)]
enum Choice {
    Auto,
    Ranks(Svd),
}

impl Choice {
    fn parse(text: &str) -> Result<Choice, frcnn_compiler::Error> {
        if text == "auto" { Ok(Choice::Auto) } else { Svd::parse_ranks(text).map(Choice::Ranks) }
    }
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
    let picture = args.check.as_ref().map(|_| match &args.check_out {
        Some(path) => path.clone(),
        None => args.output.with_extension("check.png"),
    });
    let read = [Some(&args.model), Some(&manifest_path), args.svm.as_ref(), args.check.as_ref()];
    let read: Vec<&Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
    let written = [Some(&args.output), args.emit_onnx.as_ref(), args.report.as_ref(), picture.as_ref()];
    let written: Vec<&Path> = written.into_iter().flatten().map(PathBuf::as_path).collect();
    files::check_outputs(&written, &read)?;
    if args.data.is_some() && !matches!(args.svd, Some(Choice::Auto)) {
        return Err(Error::Usage("--data is for --svd auto".to_string()));
    }
    if args.svm.is_some() && matches!(args.svd, Some(Choice::Auto)) {
        return Err(Error::Usage(
            "--svd auto is for a Fast R-CNN or SPPnet, not for --method rcnn".to_string(),
        ));
    }
    let manifest = match args.svm {
        Some(_) => load_rcnn_manifest(&manifest_path)?,
        None => load_manifest(&manifest_path)?,
    };
    let check = match (&args.check, picture) {
        (Some(photo), Some(picture)) => Some(Check::open(photo, picture)?),
        _ => None,
    };
    let (Compiled { bundle, report }, chosen) = match (&args.svd, args.svd_energy) {
        (Some(Choice::Auto), _) => {
            let (sweep, compiled) = choose(args, &manifest)?;
            (compiled, Some(sweep))
        }
        (Some(Choice::Ranks(ranks)), _) => (with_svd(args, &manifest, ranks.clone())?, None),
        (None, Some(energy)) => (with_svd(args, &manifest, Svd::Energy(energy))?, None),
        (None, None) => (with_svd(args, &manifest, Svd::None)?, None),
    };

    // All are written before the first takes its place: a full disk leaves every older file as it was.
    let bundle_file =
        Staged::new(&args.output, bundle.pieces()).map_err(|error| Error::file(&args.output, error))?;
    let mut staged = vec![(&args.output, bundle_file)];
    if let Some(path) = &args.emit_onnx {
        let model = emit_onnx(&bundle).map_err(|error| Error::file(path, error))?;
        staged.push((path, onnx_writer::stage(&model, path)?));
    }
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Error::file(path, error))? + "\n";
        staged.push((path, files::stage(path, json.as_bytes())?));
    }
    for (path, staged) in staged {
        staged.commit().map_err(|error| Error::file(path, error))?;
    }
    let checked = match check {
        Some(check) => "\n".to_string() + &check.run(bundle)?,
        None => String::new(),
    };
    if args.quiet {
        return Ok(());
    }
    let emitted = args.emit_onnx.iter().map(|path| format!("{}\n", Printable(path.display())));
    let chosen = chosen.map_or(String::new(), |sweep| crate::sweep::text(&sweep) + "\n");
    console::result(&(chosen + &text(&report, &args.output) + &emitted.collect::<String>() + &checked))
}

fn with_svd(args: &Args, manifest: &Manifest, svd: Svd) -> Result<Compiled, Error> {
    // Hidden by itself where standard error is no terminal.
    let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut progress = |step: &str| spinner.set_message(Printable(step).to_string());
    let options = Options { svd, precision: args.precision };
    let compiled = match &args.svm {
        Some(svm) => compile_rcnn(&args.model, svm, manifest, &options, &mut progress),
        None => compile(&args.model, manifest, &options, &mut progress),
    };
    spinner.finish_and_clear();
    Ok(compiled?)
}

/// `--svd auto`.
fn choose(args: &Args, manifest: &Manifest) -> Result<(Sweep, Compiled), Error> {
    let no_data = || Error::Usage("--svd auto: name the data set to choose on with --data".to_string());
    let data = args.data.as_ref().ok_or_else(no_data)?;
    let dataset = args.part.open(data, Some(&manifest.classes))?;
    let proposals = args.part.proposals(data, &dataset)?;
    let loader = Loader::new(&dataset, &proposals);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let subject = Subject {
        onnx: &args.model,
        manifest,
        precision: args.precision,
        dataset: &dataset,
        threads: None,
        load: &load,
    };
    // How many settings will be tried is not known before.
    let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let result = sweep::choose(&subject, args.max_drop, &mut |step| {
        crate::sweep::advance(&spinner, step);
        Ok(())
    });
    spinner.finish_and_clear();
    loader.warn();
    Ok(result?)
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

fn text(report: &CompileReport, output: &Path) -> String {
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
    text += &tables::pairs(&[
        ("conv", units::difference(agreement.conv)),
        ("cls_prob", units::difference(agreement.cls_prob)),
        ("bbox_pred", units::difference(agreement.bbox_pred)),
    ]);
    let rounding = format!("rounding to {}", report.precision.name());
    for (step, drift) in [("factoring", &report.drift), (&rounding, &report.rounding)] {
        text += &drift.as_ref().map_or(String::new(), |drift| changes(step, drift));
    }
    text + &format!("\n{}  {}\n", Printable(output.display()), units::bytes(report.file_bytes))
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
    match (&report.drift, &report.rounding) {
        (None, None) => String::new(),
        (Some(_), None) => " before factoring".to_string(),
        (None, Some(_)) => format!(" before rounding to {to}"),
        (Some(_), Some(_)) => format!(" before factoring and rounding to {to}"),
    }
}

fn changes(step: &str, drift: &Drift) -> String {
    format!("\nDrift that {step} alone causes, largest change\n\n")
        + &tables::pairs(&[
            ("cls_prob", units::difference(drift.cls_prob)),
            ("bbox_pred", units::difference(drift.bbox_pred)),
        ])
}
