//! `frcnn-train fit`: trains a network on a data set.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use tch::Device;

use crate::arch::{Arch, PIXEL_RMS};
use crate::config::{Config, TrainingMethod, regions};
use crate::console;
use crate::data::{BoxSource, Dataset, DatasetProposals};
use crate::device::{self, Choice};
use crate::error::Error;
use crate::files;
use crate::init;
use crate::predecessors;
use crate::recipe::{Pooling, Recipe};
use crate::run_dir::RunDir;
use crate::train::{Stop, Survey, Trainer, survey, survey_objects};

/// Train a network on a data set in PASCAL VOC's layout
///
/// Every number of the recipe is a flag whose default is the Fast R-CNN paper's. The folder --out gets config.json,
/// checkpoint.safetensors, log.jsonl and loss.png. Ctrl-C writes a checkpoint; --resume goes on from it and ends with
/// the weights that an unbroken run would have.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train fit --data VOC2007 --arch vgg16 --init vgg16.safetensors --proposals ss.safetensors --out runs/vgg16
  frcnn-train fit --data data/synth --arch tiny --proposals grid --scales 240 --lr 0.01 --out runs/tiny
  frcnn-train fit --resume --out runs/tiny

  With proposals that are learned in the same trunk:
  frcnn-train fit --rpn --data VOC2007 --arch vgg16 --init vgg16.safetensors --bg-iou-low 0 --out runs/vgg16-rpn

  Its predecessors, in their stages; the last one writes model.onnx for `frcnn compile`:
  frcnn-train fit --method sppnet --data VOC2007 --arch vgg16 --init vgg16.safetensors --out runs/sppnet
  frcnn-train fit --method rcnn --data VOC2007 --arch caffenet --init caffenet.caffemodel --bg-iou-low 0 --out runs/rcnn")]
pub(crate) struct Args {
    /// The folder with ImageSets, Annotations and JPEGImages (JPEG or PNG, whatever they are called)
    #[arg(long, value_name = "VOC_DIR", required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// The split to learn from
    #[arg(long, default_value = "trainval")]
    split: String,
    /// What to train
    #[arg(long, value_enum, default_value = "fast-rcnn")]
    method: TrainingMethod,
    /// The network
    #[arg(long, value_enum, required_unless_present = "resume")]
    arch: Option<Arch>,
    /// Names of the object classes in their order; by default all that occur, sorted
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    classes: Option<Vec<String>>,
    /// Boxes for every photo: selective-search, grid, or a safetensors file with a tensor [N, 4] for each stem
    /// [default: selective-search]
    #[arg(long, value_name = "METHOD|FILE", conflicts_with = "rpn")]
    proposals: Option<BoxSource>,
    /// Weights to begin with: .safetensors (our layer names or torchvision's) or .caffemodel
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// The folder of this run
    #[arg(long, value_name = "RUN_DIR")]
    out: PathBuf,
    /// Go on with the run in --out, with its settings; --data and --proposals may say where these lie now
    #[arg(long)]
    resume: bool,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: Choice,
    #[command(flatten, next_help_heading = "Recipe")]
    recipe: Recipe,
}

/// Flags that may stand beside --resume.
const WITH_RESUME: [&str; 6] = ["resume", "out", "device", "data", "proposals", "lenient"];

pub(crate) fn run(args: &Args, matches: &ArgMatches) -> Result<(), Error> {
    let device = args.device.device()?;
    let run_dir = RunDir::new(&args.out);
    if args.resume {
        refuse_other_flags(matches)?;
        return resume(args, &run_dir, device);
    }
    args.recipe.check()?;
    refuse_ablations(args)?;
    run_dir.check_new()?;
    begin(args, &run_dir, device)
}

fn refuse_other_flags(matches: &ArgMatches) -> Result<(), Error> {
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut ids = matches.ids().map(clap::Id::as_str).filter(|id| !WITH_RESUME.contains(id));
    // Groups have identifiers too, but no source of a value.
    let known: Vec<String> = crate::Cli::command()
        .find_subcommand("fit")
        .map(|fit| fit.get_arguments().map(|arg| arg.get_id().to_string()).collect())
        .unwrap_or_default();
    match ids.find(|id| known.iter().any(|known| known == id) && given(id)) {
        Some(id) => {
            let flag = id.replace('_', "-");
            Err(Error::Usage(format!("--{flag}: a run that is resumed keeps its settings; leave it out")))
        }
        None => Ok(()),
    }
}

/// Ablations are Fast R-CNN's.
fn refuse_ablations(args: &Args) -> Result<(), Error> {
    let recipe = &args.recipe;
    if args.method != TrainingMethod::FastRcnn && (recipe.proposing.rpn || recipe.pool == Pooling::Align) {
        let problem = "--rpn and --pool align are Fast R-CNN's; leave out --method";
        return Err(Error::Usage(problem.to_string()));
    }
    if args.method != TrainingMethod::FastRcnn && (recipe.fc_only || recipe.cls_only || recipe.stage_wise) {
        let problem =
            "--fc-only, --cls-only and --stage-wise are ablations of Fast R-CNN; leave out --method";
        return Err(Error::Usage(problem.to_string()));
    }
    Ok(())
}

/// Hidden layers that are new behind a trained trunk begin as many times below He's deviation.
///
/// A short fine-tuning leaves most of what they began as, and it is noise on boxes unlike those of the training: from He's
/// deviation SqueezeNet on the blood cells reached 70.9 mAP, 76.2 once SVD had cut six tenths of fc6's and fc7's energy,
/// and 81.2 from a quarter of it.
const NEW_HIDDEN: f64 = 4.0;

fn begin(args: &Args, run_dir: &RunDir, device: Device) -> Result<(), Error> {
    let (Some(data), Some(arch)) = (&args.data, args.arch) else {
        return Err(Error::Usage("--data and --arch are needed".to_string()));
    };
    let recipe = &args.recipe;
    let photos = Dataset::open(data, &args.split, args.classes.as_deref())?;
    tch::manual_seed(recipe.seed as i64);
    let mut network = args.method.network(arch, photos.classes.len() - 1, regions(recipe));
    check_frozen(recipe, network.learned())?;
    let mut shrunk = false;
    let mut new_layers = network.learned().map(str::to_string).collect();
    if let Some(path) = &args.init {
        let mut weights = init::read_weights(path, arch, &recipe.pixel_means)?;
        if args.method == TrainingMethod::Sppnet {
            // A pyramid has another number of bins than what any classifier's fc6 reads.
            weights.retain(|name, _| !name.starts_with("fc6."));
        }
        let report = init::fill(&mut network, weights).map_err(|problem| Error::file(path, problem))?;
        for line in report.lines() {
            console::note(format_args!("{}: {line}", path.display()));
        }
        new_layers = report.random;
        // New fully connected layers learn nothing from features of some tens (ImageNet's trunks read +-128): they
        // diverge at learning rates at which anything happens. Layers that were trained on such features want them.
        shrunk = new_layers.contains("fc6") && network.shrink_features(PIXEL_RMS);
        for layer in ["fc6", "fc7"].into_iter().filter(|&layer| new_layers.contains(layer)) {
            network.shrink_weight(layer, NEW_HIDDEN);
        }
    }
    let _lock = run_dir.lock()?;
    // One that began and ended since this command looked.
    run_dir.check_new()?;
    let source = args.proposals.clone().unwrap_or_default();
    let proposals = open_proposals(&source, &photos, recipe, run_dir)?;
    let survey = look(&photos, proposals.as_ref(), recipe)?;
    if args.method == TrainingMethod::FastRcnn && !new_layers.contains("bbox_pred") {
        // A published snapshot has its normalisation folded in.
        network.unfold_bbox(&survey.normalisation);
    }
    let config = Config {
        method: args.method,
        arch,
        classes: photos.classes.clone(),
        data: files::absolute(data)?,
        split: args.split.clone(),
        proposals: source.absolute()?,
        init: args.init.as_deref().map(files::absolute).transpose()?,
        new_layers,
        shrunk,
        recipe: recipe.clone(),
    };
    run_dir.write_config(&config)?;
    if !photos.problems.is_empty() {
        files::write(&run_dir.path("data-problems.txt"), photos.problems.to_string().as_bytes())?;
    }
    if config.method != TrainingMethod::FastRcnn {
        predecessors::begin(run_dir, &network)?;
        return train_predecessor(&config, &photos, proposals.as_ref(), run_dir, device);
    }
    let mut trainer = Trainer::new(&config, run_dir, network, survey.normalisation.clone(), device);
    train(&mut trainer, &photos, &survey, proposals.as_ref(), run_dir, device)
}

fn resume(args: &Args, run_dir: &RunDir, device: Device) -> Result<(), Error> {
    let config = run_dir.read_config()?;
    let _lock = run_dir.lock()?;
    let data = args.data.as_ref().unwrap_or(&config.data);
    let photos = Dataset::open(data, &config.split, config.classes.get(1..))?;
    let source = args.proposals.as_ref().unwrap_or(&config.proposals);
    let proposals = open_proposals(source, &photos, &config.recipe, run_dir)?;
    if config.method != TrainingMethod::FastRcnn {
        return train_predecessor(&config, &photos, proposals.as_ref(), run_dir, device);
    }
    let checkpoint = run_dir.read_checkpoint()?;
    let survey = look(&photos, proposals.as_ref(), &config.recipe)?;
    let mut trainer = Trainer::resume(&config, run_dir, config.network(), checkpoint, device)?;
    train(&mut trainer, &photos, &survey, proposals.as_ref(), run_dir, device)
}

/// The boxes of all photos, unless they are learned.
fn open_proposals(
    source: &BoxSource,
    photos: &Dataset,
    recipe: &Recipe,
    run_dir: &RunDir,
) -> Result<Option<DatasetProposals>, Error> {
    if recipe.proposing.rpn {
        return Ok(None);
    }
    source.open(&photos.photos, Some(&run_dir.boxes())).map(Some)
}

/// Ctrl-C ends the program; the stages that are done stay done.
fn train_predecessor(
    config: &Config,
    photos: &Dataset,
    proposals: Option<&DatasetProposals>,
    run_dir: &RunDir,
    device: Device,
) -> Result<(), Error> {
    // They learn none: `refuse_ablations`.
    let Some(proposals) = proposals else { return Ok(()) };
    predecessors::train(config, photos, proposals, run_dir, device)?;
    console::result(&format!("{}\n", run_dir.path("model.onnx").display()))
}

fn train(
    trainer: &mut Trainer<'_>,
    photos: &Dataset,
    survey: &Survey,
    proposals: Option<&DatasetProposals>,
    run_dir: &RunDir,
    device: Device,
) -> Result<(), Error> {
    console::note(format_args!(
        "training on {}: {} of {} photos, {} {}, classes {}",
        device::name(device),
        survey.usable.len(),
        photos.photos.len(),
        survey.foreground,
        if proposals.is_some() { "foreground RoIs" } else { "objects" },
        photos.classes[1..].join(" ")
    ));
    let outcome = trainer.run(photos, &survey.usable, proposals, &Stop::on_interrupt()?);
    let folder = run_dir.path("");
    if let Err(Error::Interrupted) = outcome {
        console::note(format_args!(
            "stopped; go on with: frcnn-train fit --resume --out {}",
            folder.display()
        ));
    }
    outcome?;
    console::result(&format!("{}\n", folder.display()))
}

/// Looks at every photo, tells what is wrong, and refuses what cannot be learned from.
fn look(photos: &Dataset, proposals: Option<&DatasetProposals>, recipe: &Recipe) -> Result<Survey, Error> {
    for line in photos.problems.summary() {
        console::warning(line);
    }
    let classes = photos.classes.len();
    let survey = match proposals {
        Some(proposals) => survey(&photos.photos, proposals, classes, recipe)?,
        None => survey_objects(&photos.photos, classes),
    };
    let left_out = photos.photos.len() - survey.usable.len();
    if left_out > 0 && proposals.is_none() {
        console::warning(format_args!("{left_out} photos left out: they have no object that counts"));
    } else if left_out > 0 {
        console::warning(format_args!(
            "{left_out} photos left out: none of their boxes is foreground or background by the --fg-iou and --bg-iou flags"
        ));
    }
    if survey.usable.is_empty() || survey.foreground == 0 {
        return Err(Error::Training(
            "no box of any photo overlaps an object enough to learn from: are these the proposals of these photos?"
                .to_string(),
        ));
    }
    Ok(survey)
}

fn check_frozen<'a>(recipe: &Recipe, layers: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let layers: Vec<&str> = layers.collect();
    let frozen = recipe.frozen.iter().flatten();
    match frozen.into_iter().find(|name| *name != "none" && !layers.contains(&name.as_str())) {
        Some(name) => {
            Err(Error::Usage(format!("--frozen {name}: the network's layers are {}", layers.join(" "))))
        }
        None => Ok(()),
    }
}
