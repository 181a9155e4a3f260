//! `frcnn-train export`: the trained network as ONNX, for `frcnn compile`.

use std::path::{Path, PathBuf};

use frcnn_bundle::{MAX_PROPOSALS, Manifest, PIXEL_MEANS_BGR};
use frcnn_core::{BACKGROUND, VOC_CLASSES};
use frcnn_onnx::writer;
use tch::{Device, Tensor};

use crate::arch::{Arch, Regions};
use crate::config::Description;
use crate::console;
use crate::error::Error;
use crate::files;
use crate::init;
use crate::network::TorchNetwork;
use crate::run_dir::RunDir;

/// Write a trained network as ONNX, and the manifest.json that goes beside it
///
/// The network is a run of `frcnn-train fit`, or a Fast R-CNN that somebody else trained: a published .caffemodel, or a
/// .safetensors with all of the network's layers. `frcnn compile` takes the result; so do ONNX Runtime and OpenVINO.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train export runs/tiny -o model.onnx
  frcnn-train export vgg16_fast_rcnn_iter_40000.caffemodel --arch vgg16 -o vgg16/model.onnx")]
pub(crate) struct Args {
    /// The folder of a run, or a file of weights
    #[arg(value_name = "RUN_DIR|WEIGHTS")]
    model: PathBuf,
    /// The network that a file of weights belongs to
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Names of a file's object classes; by default PASCAL VOC's 20, in alphabetical order
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", requires = "arch")]
    classes: Option<Vec<String>>,
    /// Proposals of a photo at most, of a run that learned to make them [default: the run's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROPOSALS)))]
    rpn_proposals: Option<u32>,
    /// The ONNX file to write; manifest.json goes into the same folder
    #[arg(short, long, value_name = "MODEL.onnx")]
    output: PathBuf,
    /// Replace the manifest.json of another model
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let inputs = match args.model.is_dir() {
        true => RunDir::new(&args.model).inputs().to_vec(),
        false => vec![args.model.clone()],
    };
    files::check_model(&args.output, &inputs)?;
    let (network, description) = match (args.model.is_dir(), args.arch) {
        (true, None) => {
            let (mut config, network) = RunDir::new(&args.model).read_network(Device::Cpu)?;
            let proposing = &mut config.recipe.proposing;
            proposing.rpn_proposals = args.rpn_proposals.unwrap_or(proposing.rpn_proposals);
            (network, config.description())
        }
        (true, Some(_)) => {
            return Err(Error::Usage("--arch: a run knows its network; leave it out".to_string()));
        }
        (false, Some(arch)) => {
            let (network, manifest) = from_weights(&args.model, arch, args.classes.as_deref())?;
            (network, Description { manifest, rpn: None })
        }
        (false, None) if args.model.exists() => {
            return Err(Error::Usage("a file of weights needs --arch, its network".to_string()));
        }
        (false, None) => return Err(Error::file(&args.model, "there is no such run or file")),
    };
    let manifest_path = args.output.with_file_name("manifest.json");
    files::check_manifest(&manifest_path, &description, args.force)?;
    writer::write(&network.to_onnx(&description.manifest.name), &args.output)?;
    files::write_json(&manifest_path, &description)?;
    console::result(&format!("{}\n{}\n", args.output.display(), manifest_path.display()))
}

/// A whole Fast R-CNN out of a file; its bbox_pred is taken to give plain regressions, as published snapshots do.
fn from_weights(
    path: &Path,
    arch: Arch,
    classes: Option<&[String]>,
) -> Result<(TorchNetwork, Manifest), Error> {
    let wrong = |problem: String| Error::file(path, problem);
    let weights = init::read_weights(path, arch, &PIXEL_MEANS_BGR)?;
    let scores = weights.get("cls_score.bias").map_or(0, Tensor::numel);
    if scores < 2 {
        return Err(wrong("has no layer cls_score: a classifier; train it with `fit --init`".to_string()));
    }
    let classes: Vec<String> = match classes {
        Some(classes) => classes.to_vec(),
        None => VOC_CLASSES.map(str::to_string).to_vec(),
    };
    if classes.len() + 1 != scores {
        let problem = format!("scores {} object classes, {} are named; --classes", scores - 1, classes.len());
        return Err(wrong(problem));
    }
    let mut network = arch.network(classes.len(), Regions::default());
    let report = init::fill(&mut network, weights).map_err(wrong)?;
    if !report.random.is_empty() {
        let missing: Vec<&str> = report.random.iter().map(String::as_str).collect();
        return Err(wrong(format!("is no whole {}: it lacks {}", arch.name(), missing.join(" "))));
    }
    for line in report.lines() {
        console::note(format_args!("{}: {line}", path.display()));
    }
    let classes = std::iter::once(BACKGROUND.to_string()).chain(classes).collect();
    Ok((network, Manifest { name: arch.name().to_string(), ..Manifest::new(classes) }))
}
