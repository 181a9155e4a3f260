//! `frcnn new`: an untrained network to train from, to measure and to test with.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use frcnn_compiler::arch::{Arch, ArchError, NewModel, NewRcnn, new_model, new_rcnn, new_sppnet};
use frcnn_compiler::onnx_writer;
use frcnn_core::Printable;

use crate::console;
use crate::error::Error;
use crate::files;
use crate::outputs;

/// Write an untrained network as ONNX, and the manifest.json that goes beside it
///
/// The weights are random (He's rule) and depend on nothing but the seed, so the network detects nothing before it is
/// trained. With --method sppnet or rcnn it is one of Fast R-CNN's predecessors; R-CNN's linear SVMs and box regressors
/// are written beside it, as svm.safetensors. With 20 classes the manifest has the names of PASCAL VOC; edit it for other names, means or scales.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn new --arch squeezenet --classes 3 -o model.onnx
  frcnn new --arch vgg16 --classes 20 --seed 7 -o nets/vgg16/model.onnx
  frcnn new --arch vgg16 --method sppnet --classes 20 -o sppnet/model.onnx
  frcnn new --arch vgg16 --method rcnn --classes 20 -o rcnn/classifier.onnx")]
pub(crate) struct Args {
    /// The network
    #[arg(long, value_parser = archs())]
    arch: Arch,
    /// The system that it is a network of
    #[arg(long, value_enum, default_value = "fast-rcnn")]
    method: NetworkMethod,
    /// Object classes, background not counted
    #[arg(long, value_name = "K")]
    classes: u32,
    /// Which random weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The ONNX file to write; manifest.json goes into the same folder
    #[arg(short, long, value_name = "MODEL.onnx")]
    output: PathBuf,
    /// Replace files that exist already
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NetworkMethod {
    FastRcnn,
    Sppnet,
    Rcnn,
}

fn archs() -> impl TypedValueParser<Value = Arch> {
    PossibleValuesParser::new(Arch::ALL.map(Arch::name)).try_map(|name| name.parse::<Arch>())
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let manifest_path = files::beside(&args.output, "manifest.json");
    outputs::check_outputs(&[&args.output, &manifest_path], &[])?;
    if !args.force && args.output.exists() {
        return Err(Error::file(&args.output, "exists; --force replaces it by an untrained network"));
    }
    let (NewModel { onnx, manifest }, svm) = make(args).map_err(|error| Error::Usage(error.to_string()))?;
    let manifest =
        serde_json::to_string_pretty(&manifest).map_err(|error| Error::file(&manifest_path, error))?;
    let mut beside = vec![(manifest_path, (manifest + "\n").into_bytes())];
    beside.extend(svm.map(|svm| (files::beside(&args.output, "svm.safetensors"), svm)));
    if !args.force {
        for (path, bytes) in &beside {
            refuse_to_replace(path, bytes)?;
        }
    }
    let mut staged = vec![(&args.output, onnx_writer::stage(&onnx, &args.output)?)];
    for (path, bytes) in &beside {
        staged.push((path, files::stage(path, bytes)?));
    }
    let mut written = String::new();
    for (path, staged) in staged {
        staged.commit().map_err(|error| Error::file(path, error))?;
        written += &format!("{}\n", Printable(path.display()));
    }
    console::result(&written)
}

/// The network, and R-CNN's file of SVMs.
fn make(args: &Args) -> Result<(NewModel, Option<Vec<u8>>), ArchError> {
    let &Args { arch, classes, seed, .. } = args;
    Ok(match args.method {
        NetworkMethod::FastRcnn => (new_model(arch, classes, seed)?, None),
        NetworkMethod::Sppnet => (new_sppnet(arch, classes, seed)?, None),
        NetworkMethod::Rcnn => {
            let NewRcnn { onnx, svm, manifest } = new_rcnn(arch, classes, seed)?;
            (NewModel { onnx, manifest }, Some(svm))
        }
    })
}

/// Another model's files must not be lost; one that says the same may stand.
fn refuse_to_replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if path.exists() && files::read(path)? != bytes {
        let problem = "exists and differs from the one to be written; \
                       choose another folder with -o, or replace it with --force";
        return Err(Error::file(path, problem));
    }
    Ok(())
}
