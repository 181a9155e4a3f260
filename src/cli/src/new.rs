//! `frcnn new`: an untrained network to train from, to measure and to test with.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::onnx_writer;

use crate::console;
use crate::error::Error;
use crate::files;

/// Write an untrained network as ONNX, and the manifest.json that goes beside it
///
/// The weights are random (He's rule) and depend on nothing but the seed, so the network detects nothing before it is
/// trained. With 20 classes the manifest has the names of PASCAL VOC; edit it for other names, means or scales.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn new --arch squeezenet --classes 3 -o model.onnx
  frcnn new --arch vgg16 --classes 20 --seed 7 -o nets/vgg16/model.onnx")]
pub(crate) struct Args {
    /// The network
    #[arg(long, value_parser = archs())]
    arch: Arch,
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

fn archs() -> impl TypedValueParser<Value = Arch> {
    PossibleValuesParser::new(Arch::ALL.map(Arch::name)).try_map(|name| name.parse::<Arch>())
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let manifest_path = files::beside(&args.output, "manifest.json");
    files::check_output(&args.output, &[])?;
    if !args.force && args.output.exists() {
        return Err(Error::file(&args.output, "exists; --force replaces it by an untrained network"));
    }
    let model = new_model(args.arch, args.classes, args.seed).map_err(|e| Error::Usage(e.to_string()))?;
    let manifest = serde_json::to_string_pretty(&model.manifest)
        .map_err(|error| Error::file(&manifest_path, error))?
        + "\n";
    if !args.force {
        refuse_to_replace(&manifest_path, &manifest)?;
    }
    onnx_writer::write(&model.onnx, &args.output)?;
    files::write(&manifest_path, manifest.as_bytes())?;
    console::result(&format!("{}\n{}\n", args.output.display(), manifest_path.display()))
}

/// Another model's manifest must not be lost; one that says the same may stand.
fn refuse_to_replace(path: &Path, manifest: &str) -> Result<(), Error> {
    if path.exists() && files::read(path)? != manifest.as_bytes() {
        let problem = "exists and differs from the one to be written; \
                       choose another folder with -o, or replace it with --force";
        return Err(Error::file(path, problem));
    }
    Ok(())
}
