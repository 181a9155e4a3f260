//! `frcnn-train svm`: linear SVMs in the place of a Fast R-CNN's softmax.

use std::path::PathBuf;

use frcnn_onnx::writer;

use crate::console;
use crate::data::Dataset;
use crate::device::Choice;
use crate::error::Error;
use crate::files;
use crate::predecessors;
use crate::run_dir::RunDir;

/// Put linear SVMs in the place of a trained Fast R-CNN's softmax, and write it as ONNX
///
/// One SVM for each class, trained on fc7 with hard-negative mining as in R-CNN: the comparison of the paper's section
/// 5.4. Features go to RUN_DIR/svm.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train svm runs/tiny -o tiny-svm/model.onnx
  frcnn compile tiny-svm/model.onnx -o tiny-svm.frcnn")]
pub(crate) struct Args {
    /// The folder of a run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// The ONNX file to write; manifest.json goes into the same folder
    #[arg(short, long, value_name = "MODEL.onnx")]
    output: PathBuf,
    /// Replace the manifest.json of another model
    #[arg(long)]
    force: bool,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: Choice,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let run_dir = RunDir::new(&args.run);
    files::check_model(&args.output, &[&run_dir.inputs()[..], &[run_dir.boxes()]].concat())?;
    let device = args.device.device()?;
    let (config, network) = run_dir.read_network(device)?;
    if config.recipe.proposing.rpn {
        let problem = "makes its own proposals; SVMs are trained on those of a run without --rpn";
        return Err(Error::file(&args.run, problem));
    }
    let manifest_path = args.output.with_file_name("manifest.json");
    let manifest = predecessors::manifest(&config, &manifest_path)?;
    files::check_manifest(&manifest_path, &manifest, args.force)?;
    let photos = Dataset::open(&config.data, &config.split, config.classes.get(1..))?;
    let proposals = config.proposals.open(&photos.photos, Some(&run_dir.boxes()))?;
    let folder = args.run.join("svm");
    let folder = RunDir::new(&folder);
    let _lock = folder.lock()?;
    let network = predecessors::svm_for_softmax(&config, network, &photos, &proposals, &folder, device)?;
    files::write_json(&manifest_path, &manifest)?;
    writer::write(&network.to_onnx(config.arch.name()), &args.output)?;
    console::result(&format!("{}\n", args.output.display()))
}
