//! `frcnn compile`: a trained ONNX becomes a bundle.

mod emit;
mod report;

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use frcnn::cpu::TypeModel;
use frcnn_compiler::{
    Compiled, Description, Options, Precision, Svd, compile, compile_rcnn, description_of, emit_onnx,
    load_rcnn_manifest, onnx_writer, uniform,
};
use frcnn_core::Printable;
use frcnn_files::Staged;
use frcnn_harness::auto::AutoReport;
use frcnn_harness::quantize::{FoundAgain, Quantized};
use frcnn_harness::sweep::{self, Subject, Sweep};
use frcnn_harness::{Board, MAX_DROP, worthwhile};
use indicatif::ProgressBar;

use crate::auto;
use crate::calibrate;
use crate::cascade::{self, CascadeChoice};
use crate::console;
use crate::data::{DataArgs, Loader};
use crate::described;
use crate::detect::Check;
use crate::error::Error;
use crate::files;
use crate::inputs::decode::PhotoArgs;
use crate::outputs::{self, Input};
use crate::parse;
use crate::units;
use report::Report;

/// Compile a trained Faster R-CNN, Fast R-CNN, SPPnet or R-CNN from ONNX into a .frcnn bundle
///
/// The bundle holds everything that `frcnn detect` and the `frcnn` library need. Before it is written, it is run
/// beside the ONNX file on the same input, and refused if the two disagree.
///
/// A Faster R-CNN is a file of torchvision's own exporter, or one with the outputs `rpn_logits.0`, `rpn_deltas.0` and so on and a
/// manifest with `rpn`. One MaxRoiPool, or RoiAlign of one map or a pyramid's, without them makes a Fast R-CNN; several MaxRoiPool
/// that pool one map, each flattened and all joined, an SPPnet. None is R-CNN, whose ONNX file is a plain classifier of images of
/// one size: --method rcnn crops and warps each proposal to that size, and takes linear SVMs and box regressors from another file.
///
/// No ONNX file says whether its network reads blue, green, red in 0..255 or red, green, blue in 0..1; with the wrong ones
/// it runs and finds next to nothing. The manifest says, the report repeats what is assumed, and --check shows what is found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn compile model.onnx -o model.frcnn
  frcnn compile model.onnx -o small.frcnn --svd-energy 0.9 --report report.json
  frcnn compile model.onnx -o model.frcnn --check photo.jpg
  frcnn compile torchvision.onnx -o faster.frcnn --classes cat,dog --check photo.jpg
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --manifest voc.json
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --emit-onnx vgg16-svd.onnx
  frcnn compile vgg16.onnx -o vgg16.frcnn --svd fc6=1024,fc7=256 --precision f16
  frcnn compile model.onnx -o model.frcnn --precision int8 --calibrate photos/
  frcnn compile model.onnx -o model.frcnn --precision int8 --calibrate VOC2007 --split train
  frcnn compile model.onnx -o model.frcnn --precision int8 --for raspberry-pi-4 --calibrate photos/
  frcnn compile model.onnx -o model.frcnn --precision auto --for raspberry-pi-5 --data VOC2007 --split val --max-drop 0.3
  frcnn compile model.onnx -o model.frcnn --cascade auto --data VOC2007 --split val --max-drop 0.3
  frcnn compile model.onnx -o model.frcnn --cascade rank=64,keep=0.02
  frcnn compile classifier.onnx --method rcnn --svm svm.safetensors -o rcnn.frcnn
  frcnn compile model.onnx -o small.frcnn --svd auto --data VOC2007 --split val --max-drop 0.3
  frcnn compile model.onnx --emit crate cells/ && cd cells && cargo test
  frcnn compile model.onnx --svd-energy 0.9 --emit c cells/ -o cells.frcnn

--svd auto keeps less and less of the energy of the hidden fully connected layers, runs each \
network over the data set, and takes the smallest that loses at most --max-drop points of mAP \
(VOC10+ at IoU 0.5). `frcnn sweep` shows the whole trade-off.

--precision auto gives each layer the type that is fastest on the board, by a model of costs, and \
takes back those that lose most until the network loses at most --max-drop points, on one half of \
the photos and on the other, which nothing else is chosen by. The report shows what each layer \
gains and loses. To factor as well, let --svd auto find the ranks first and name them with --svd.

The safetensors file of --svm has svm.weight [K, D] and svm.bias [K] for K classes, and may have \
bbox.weight [4K, D5] and bbox.bias [4K], not normalised. They read what the classifier's last \
fully connected layer reads, and the map that is flattened before the first; metadata `features` \
and `bbox_features` name other values of the ONNX file.

--emit crate makes a crate with `enum Class`, constants and `Detector::detect`; --emit c a header, \
an assembler file and a test. A class `traffic light` becomes Class::TrafficLight, or \
CELLS_CLASS_TRAFFIC_LIGHT in a folder cells/. What is no letter or digit of ASCII separates words; \
a name without any is its number; `2wheeler` is Class2wheeler, `self` ClassSelf; of two that become \
the same name the second has its number behind it. The files say the whole rule.")]
pub(crate) struct Args {
    /// A file of torchvision's exporter, a trained network with inputs `data` and `rois` and MaxRoiPool or RoiAlign, or a classifier
    /// with the input `data`
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The bundle to write; may be left out with --emit
    #[arg(short, long, value_name = "OUT.frcnn", required_unless_present = "emit")]
    output: Option<PathBuf>,
    /// Write the network as part of a program into the folder DIR: `crate`, for Rust, or `c`; may be given for both
    ///
    /// The program opens no file: weights, classes and thresholds are in it. DIR gives it its name; it is made, or is empty, or has
    /// files that --emit wrote before, which are replaced. A test that comes with it holds what the network gives against what it gave
    /// here.
    #[arg(long, num_args = 2, value_names = ["KIND", "DIR"], action = clap::ArgAction::Append)]
    emit: Vec<OsString>,
    /// The folder of the crate frcnn that an emitted crate depends on [default: src/runtime of the work tree that this command was
    /// built from; if that is gone, none: the release of the same version]
    #[arg(long, value_name = "DIR", requires = "emit")]
    frcnn_path: Option<PathBuf>,
    /// Classes, pixel means, scales, thresholds and box conventions [default: manifest.json beside the model]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The classes' names, the background not among them, where nothing else has to be said [default: those of the manifest, or of a file
    /// of torchvision's without one 1, 2 and so on]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = trimmed, conflicts_with = "manifest")]
    classes: Vec<String>,
    /// What the ONNX file is [default: a Faster R-CNN, Fast R-CNN or SPPnet, which its nodes and outputs tell]
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
    /// Add a first judge that drops regions which are plainly background, before the head looks at them
    ///
    /// The judge is the head with hidden fully connected layers of a low rank, by SVD; the network needs two or more fully connected
    /// layers. It drops a region where the probabilities of all classes but the background add up to less than `keep` (of margins:
    /// where the largest is less). What stays gets exactly the scores and boxes that it would get without (on CPUs with AMX, to the last bits of f32 products). auto chooses rank and
    /// threshold on one half of the photos of --data and checks them on the other. With --data, rank and threshold given by hand are
    /// measured on all of its photos.
    #[arg(long, value_name = "auto|rank=N,keep=T", value_parser = CascadeChoice::parse)]
    cascade: Option<CascadeChoice>,
    /// What the weights of convolutions and fully connected layers are stored as
    ///
    /// f16 halves the file. Arm CPUs with FP16 (Cortex-A55, A76 and later) and x86 CPUs with AVX512-FP16 compute in it, in little
    /// more than half the time, and round what layers read, too. Other CPUs compute in f32, with the results of f32 weights of the
    /// rounded values. bf16 halves the file, too, rounds eight times as coarsely, and takes less time, with AMX a fraction of it, on
    /// CPUs that multiply bf16 values (AMX, AVX512-BF16), which round what layers read, too. The report tells how much it changes.
    /// --emit-onnx writes the rounded weights as f32.
    ///
    /// int8 makes a quarter of them, and layers multiply whole numbers, of which every CPU makes the same sums: fully connected layers
    /// and 1x1 convolutions but those that give scores and box deltas. Other convolutions become f16, for Winograd's algorithm
    /// computes them as fast in f32; the one that reads the image stays f32. It wants photos: see --calibrate. --emit-onnx
    /// writes QuantizeLinear and DequantizeLinear.
    ///
    /// auto chooses for each layer, for the board of --for and by the photos of --data.
    #[arg(long, value_name = "TYPE", default_value = Precision::F32.name(), value_parser = precisions())]
    precision: PrecisionChoice,
    /// The board that it is for: layers for which the type gains no time there keep an exacter one [default of auto: this]
    ///
    /// One of those in targets (raspberry-pi-4, raspberry-pi-5, jetson-orin-nano, rk3588, imx8m-plus, aarch64-server, x86-64), `this`
    /// machine, or the path of a .toml file that describes one like those. Times are expected ones, by a model of costs.
    #[arg(long = "for", value_name = "BOARD", value_parser = Board::find)]
    board: Option<Board>,
    /// Photos like those that the network is for, by which int8 layers round what they read: a folder of them, or a data set and
    /// --split, but not the images that the result is scored on
    ///
    /// Of these, 32 are looked at, evenly spaced, with the data set's proposals or those of selective search; 8 others show what
    /// int8 still finds.
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
    /// Also write the compiled network, factored layers included, as ONNX for other runtimes
    ///
    /// With int8 layers it has QuantizeLinear and DequantizeLinear nodes, which `frcnn compile` does not read: compile the original
    /// again. With an RPN its anchors and rules go beside it, into FILE.manifest.json.
    #[arg(long, value_name = "FILE.onnx")]
    emit_onnx: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Draw what the bundle finds in this photo, among boxes of its RPN, or without one of selective search
    #[arg(long, value_name = "PHOTO")]
    check: Option<PathBuf>,
    /// Where to draw it [default: OUT.check.png beside the bundle]
    #[arg(long, value_name = "FILE.png", requires = "check")]
    check_out: Option<PathBuf>,
    #[command(flatten)]
    photos: PhotoArgs,
    /// Print no progress and no report
    #[arg(short, long)]
    quiet: bool,
    /// The data set's folder, or COCO's annotation file
    #[arg(long, value_name = "DIR", help_heading = AUTO)]
    data: Option<PathBuf>,
    /// Points of mAP that may be lost [default: 0.3]
    #[arg(long, value_name = "POINTS", value_parser = parse::points, help_heading = AUTO)]
    max_drop: Option<f64>,
    #[command(flatten, next_help_heading = AUTO)]
    part: DataArgs,
}

/// What `--method` can be.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CompileMethod {
    Rcnn,
}

/// Over the options that only they read.
const AUTO: &str = "Options of --svd auto, --precision auto, --cascade and --calibrate";

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

/// What `--precision` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PrecisionChoice {
    Auto,
    All(Precision),
}

impl PrecisionChoice {
    fn name(self) -> &'static str {
        match self {
            PrecisionChoice::Auto => "auto",
            PrecisionChoice::All(precision) => precision.name(),
        }
    }
}

/// Of `cat, dog` the second is `dog`.
fn trimmed(name: &str) -> Result<String, Infallible> {
    Ok(name.trim().to_string())
}

fn precisions() -> impl TypedValueParser<Value = PrecisionChoice> {
    let all = || Precision::ALL.into_iter().map(PrecisionChoice::All).chain([PrecisionChoice::Auto]);
    let names: Vec<&str> = all().map(PrecisionChoice::name).collect();
    PossibleValuesParser::new(names)
        .try_map(move |name| all().find(|choice| choice.name() == name).ok_or("no such precision"))
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    args.photos.apply();
    let manifest_path = described::manifest_of(&args.model, args.manifest.as_ref());
    fs::metadata(&args.model).map_err(|error| Error::file(&args.model, error))?;
    let emits = emit::Emit::all(args)?;
    let picture = match (&args.check, &args.check_out, &args.output) {
        (None, _, _) => None,
        (Some(_), Some(path), _) => Some(path.clone()),
        (Some(_), None, Some(output)) => Some(output.with_extension("check.png")),
        (Some(_), None, None) => {
            return Err(Error::Usage("--check without -o: name the picture with --check-out".to_string()));
        }
    };
    let beside = args.emit_onnx.as_ref().map(|path| path.with_extension("manifest.json"));
    let written = [&args.emit_onnx, &args.report, &picture, &beside].map(Option::as_ref);
    let written = [args.output.as_ref()].into_iter().chain(written);
    let written: Vec<&Path> = written.flatten().map(PathBuf::as_path).collect();
    outputs::check_outputs(&written, &inputs(args, &manifest_path))?;
    emits.iter().try_for_each(|emit| emit.check_others(&written))?;
    check_precision(args)?;
    check_unused(args)?;
    check_cascade(args)?;
    if args.svm.is_some() && matches!(args.svd, Some(Choice::Auto)) {
        return Err(Error::Usage(
            "--svd auto is for a Fast R-CNN or SPPnet, not for --method rcnn".to_string(),
        ));
    }
    let description = describe(args, &manifest_path)?;
    let check = match (&args.check, picture) {
        (Some(photo), Some(picture)) => Some(Check::open(photo, picture)?),
        _ => None,
    };
    let (compiled, chosen) = match (&args.svd, args.svd_energy) {
        (Some(Choice::Auto), _) => {
            let (sweep, compiled) = choose(args, &description)?;
            (compiled, Some(sweep))
        }
        (Some(Choice::Ranks(ranks)), _) => (with_svd(args, &description, ranks.clone())?, None),
        (None, Some(energy)) => (with_svd(args, &description, Svd::Energy(energy))?, None),
        (None, None) => (with_svd(args, &description, Svd::None)?, None),
    };
    let Rounded { compiled, found_again, auto, exacter } = rounded(args, compiled)?;
    let (Compiled { bundle, report, .. }, cascade) = match args.cascade {
        Some(choice) => {
            let (spinner, data) = (spinner(args), args.data.as_deref().map(|data| (data, &args.part)));
            let model = args.board.as_ref().map_or_else(TypeModel::detect, |board| board.model);
            let max_drop = args.max_drop.unwrap_or(MAX_DROP);
            let result = cascade::run(compiled, choice, data, (max_drop, &model), &spinner);
            spinner.finish_and_clear();
            result?
        }
        None => (compiled, None),
    };
    let report = Report { report, found_again, auto, exacter, cascade };
    let told = report::text(&report);

    let description = beside.filter(|_| bundle.contents().rpn.is_some());

    // All are written before the first takes its place: a full disk leaves every older file as it was.
    let mut staged = Vec::new();
    if let Some(path) = &args.output {
        let file = Staged::new(path, bundle.pieces()).map_err(|error| Error::file(path, error))?;
        staged.push((path, file));
    }
    if let Some(path) = &args.emit_onnx {
        let model = emit_onnx(&bundle).map_err(|error| Error::file(path, error))?;
        staged.push((path, onnx_writer::stage(&model, path)?));
    }
    if let Some(path) = &description {
        // Of an RPN no ONNX file says the rules, nor a torchvision file's own manifest.json.
        let json = description_of(bundle.contents()).map_err(|error| Error::file(path, error))?;
        staged.push((path, files::stage(path, json.as_bytes())?));
    }
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Error::file(path, error))? + "\n";
        staged.push((path, files::stage(path, json.as_bytes())?));
    }
    let folders = emits.iter().map(|emit| emit.stage(&bundle, &told)).collect::<Result<Vec<_>, Error>>()?;
    for (path, staged) in staged {
        staged.commit().map_err(|error| Error::file(path, error))?;
    }
    for (emit, folder) in emits.iter().zip(folders) {
        folder.commit().map_err(|error| Error::file(emit.dir(), error))?;
    }
    let checked = match check {
        Some(check) => "\n".to_string() + &check.run(bundle)?,
        None => String::new(),
    };
    if args.quiet {
        return Ok(());
    }
    let written = args.output.iter().map(PathBuf::as_path).chain(emits.iter().map(emit::Emit::dir));
    let bytes = units::bytes(report.report.file_bytes);
    let written = written.map(|path| format!("{}  {bytes}\n", Printable(path.display())));
    let emitted = args.emit_onnx.iter().chain(&description);
    let emitted = emitted.map(|path| format!("{}\n", Printable(path.display())));
    let chosen = chosen.map_or(String::new(), |sweep| crate::sweep::text(&sweep) + "\n");
    let files: String = written.chain(emitted).collect();
    console::result(&(chosen + &told + &report::times(&report) + "\n" + &files + &checked))
}

/// All that is read.
fn inputs<'a>(args: &'a Args, manifest: &'a Path) -> Vec<Input<'a>> {
    let board = args.board.as_ref().map(|board| Path::new(&board.name));
    let files = [Some(manifest), args.svm.as_deref(), args.check.as_deref(), board];
    let mut inputs = vec![Input::Model(&args.model)];
    inputs.extend(files.into_iter().flatten().map(Input::File));
    inputs.extend(args.calibrate.as_deref().map(Input::Photos));
    inputs.extend(args.calibrate.iter().chain(&args.data).map(|root| args.part.input(root)));
    inputs
}

/// A network that was compiled as `--precision` asks for, and what there is to say of it.
struct Rounded {
    compiled: Compiled,
    found_again: Option<FoundAgain>,
    auto: Option<AutoReport>,
    /// Layers for which the type gains nothing on the board of `--for`.
    exacter: Vec<String>,
}

fn rounded(args: &Args, compiled: Compiled) -> Result<Rounded, Error> {
    let spinner = spinner(args);
    let rounded = match (args.precision, &args.board, &args.calibrate, &args.data) {
        (PrecisionChoice::Auto, board, _, Some(data)) => {
            let board = match board {
                Some(board) => board.clone(),
                None => Board::find("this").map_err(Error::Usage)?,
            };
            let chosen =
                auto::run(&compiled, &board, data, &args.part, args.max_drop.unwrap_or(MAX_DROP), &spinner);
            chosen.map(|(compiled, auto)| Rounded {
                compiled,
                found_again: None,
                auto: Some(auto),
                exacter: Vec::new(),
            })
        }
        (PrecisionChoice::All(Precision::Int8), board, Some(photos), _) => {
            let (precisions, exacter) = match board {
                Some(board) => worthwhile(&compiled.bundle, board, Precision::Int8)?,
                None => (uniform(compiled.bundle.contents(), Precision::Int8), Vec::new()),
            };
            if args.data.as_deref().is_some_and(|data| same_folder(data, photos)) {
                let folder = photos.display();
                console::warning(format_args!(
                    "{}: int8 layers are rounded by the photos that the result is scored on, so the score flatters",
                    Printable(folder)
                ));
            }
            let quantized = calibrate::run(&compiled, &precisions, photos, &args.part, &spinner);
            quantized.map(|Quantized { compiled, found_again }| Rounded {
                compiled,
                found_again: Some(found_again),
                auto: None,
                exacter,
            })
        }
        (PrecisionChoice::All(precision), Some(board), _, _) => {
            let (precisions, exacter) = worthwhile(&compiled.bundle, board, precision)?;
            let compiled = compiled.with_halves(&precisions);
            let compiled = compiled.map_err(|problem| Error::file(&args.model, problem))?;
            Ok(Rounded { compiled, found_again: None, auto: None, exacter })
        }
        _ => Ok(Rounded { compiled, found_again: None, auto: None, exacter: Vec::new() }),
    };
    spinner.finish_and_clear();
    let mut rounded = rounded.map_err(|error| match error {
        Error::Harness(error) => Error::Harness(error.of_model(&args.model)),
        other => other,
    })?;
    let board = match (&rounded.auto, &args.board) {
        (Some(auto), _) => Some(&auto.board),
        (None, board) => board.as_ref().map(|board| &board.name),
    };
    if let Some(board) = board
        && rounded.compiled.report.precision != Precision::F32
    {
        let named = rounded.compiled.for_board(board);
        rounded.compiled = named.map_err(|problem| Error::file(&args.model, problem))?;
    }
    Ok(rounded)
}

fn same_folder(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// What is said of the model beside its file.
fn describe(args: &Args, manifest: &Path) -> Result<Description, Error> {
    if !args.classes.is_empty() {
        let classes = args.classes.iter().cloned();
        return Description::of_classes(classes).map_err(|error| Error::Usage(format!("--classes: {error}")));
    }
    if args.svm.is_none() {
        return described::describe(&args.model, args.manifest.as_ref());
    }
    if !manifest.exists() {
        return Err(described::absent(manifest, args.manifest.is_none()));
    }
    Ok(Description::from(&load_rcnn_manifest(manifest)?))
}

fn with_svd(args: &Args, description: &Description, svd: Svd) -> Result<Compiled, Error> {
    let spinner = spinner(args);
    let mut progress = |step: &str| spinner.set_message(Printable(step).to_string());
    let options = Options { svd, precision: before_choosing(args) };
    let compiled = match &args.svm {
        Some(svm) => compile_rcnn(&args.model, svm, description, &options, &mut progress),
        None => compile(&args.model, description, &options, &mut progress),
    };
    spinner.finish_and_clear();
    compiled.map_err(|error| described::explained(error, &args.model))
}

/// `--svd auto`.
fn choose(args: &Args, description: &Description) -> Result<(Sweep, Compiled), Error> {
    let no_data = || Error::Usage("--svd auto: name the data set to choose on with --data".to_string());
    let data = args.data.as_ref().ok_or_else(no_data)?;
    let unnamed = || Error::Usage("--svd auto: name the classes with --classes or in a manifest".to_string());
    let dataset = args.part.open(data, Some(description.classes().ok_or_else(unnamed)?))?;
    let proposals = args.part.proposals(data, dataset.images.len())?.keeping();
    let loader = Loader::new(&dataset, &proposals);
    let load = |image: &frcnn_eval::Image, has_rpn: bool| match has_rpn && !args.part.names_proposals() {
        true => loader.load_without_boxes(image),
        false => loader.load(image),
    };
    let subject = Subject {
        onnx: &args.model,
        description,
        precision: before_choosing(args),
        dataset: &dataset,
        threads: None,
        load: &load,
    };
    // How many settings will be tried is not known before.
    let spinner = spinner(args);
    let result = sweep::choose(&subject, args.max_drop.unwrap_or(MAX_DROP), &mut |step| {
        crate::sweep::advance(&spinner, step);
        Ok(())
    });
    spinner.finish_and_clear();
    loader.warn();
    Ok(result?)
}

fn spinner(args: &Args) -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Options that nothing would read.
fn check_unused(args: &Args) -> Result<(), Error> {
    let chooses = matches!(args.svd, Some(Choice::Auto))
        || args.precision == PrecisionChoice::Auto
        || matches!(args.cascade, Some(CascadeChoice::Auto));
    let reads_photos = chooses || args.cascade.is_some();
    if args.data.is_some() && !reads_photos {
        return Err(Error::Usage("--data is for --svd auto, --precision auto and --cascade".to_string()));
    }
    if args.max_drop.is_some() && !chooses {
        return Err(Error::Usage(
            "--max-drop is for --svd auto, --precision auto and --cascade auto".to_string(),
        ));
    }
    match args.part.given() {
        Some(name) if !reads_photos && args.calibrate.is_none() => Err(Error::Usage(format!(
            "{name} is for --svd auto, --precision auto, --cascade and --calibrate"
        ))),
        _ => Ok(()),
    }
}

fn check_cascade(args: &Args) -> Result<(), Error> {
    let problem = match args.cascade {
        Some(CascadeChoice::Auto) if args.data.is_none() => {
            "--cascade auto: name the data set to choose on with --data"
        }
        Some(_) if args.svm.is_some() => {
            "--cascade is for a Fast R-CNN or SPPnet, not for --method rcnn: an R-CNN's time goes into the trunk, which has run on a \
             region before a judge could look at it"
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(problem.to_string()))
}

fn check_precision(args: &Args) -> Result<(), Error> {
    use PrecisionChoice::{All, Auto};
    let has_photos = args.calibrate.is_some();
    let problem = match args.precision {
        Auto if args.data.is_none() => "--precision auto: name the data set to choose on with --data",
        Auto if args.svm.is_some() => "--precision auto is for a Fast R-CNN or SPPnet, not for --method rcnn",
        Auto if matches!(args.svd, Some(Choice::Auto)) => {
            "--svd auto and --precision auto: let --svd auto find the ranks first, and name them with --svd"
        }
        All(Precision::Int8) if !has_photos => {
            "--precision int8: name photos like those that the network is for with --calibrate DIR"
        }
        All(Precision::F32 | Precision::Bf16 | Precision::F16) | Auto if has_photos => {
            "--calibrate is for --precision int8"
        }
        All(Precision::F32) if args.board.is_some() => "--for is for --precision auto, int8, f16 and bf16",
        _ => return Ok(()),
    };
    Err(Error::Usage(problem.to_string()))
}

/// What the network is compiled to before photos or a board are looked at.
fn before_choosing(args: &Args) -> Precision {
    match args.precision {
        PrecisionChoice::Auto | PrecisionChoice::All(Precision::Int8) => Precision::F32,
        PrecisionChoice::All(_) if args.board.is_some() => Precision::F32,
        PrecisionChoice::All(precision) => precision,
    }
}
