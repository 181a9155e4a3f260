//! Compiles a trained Fast R-CNN, SPPnet or R-CNN from ONNX into a `.frcnn` bundle.
//!
//! ```text
//! model.onnx ──split──► trunk ┐           ┌──► referee: tract-onnx runs the same
//!  (at MaxRoiPool)      head  ┴─lower──► bundle ──factor (SVD)──► smaller bundle
//! manifest.json ───────────────────────────┘
//! ```
//!
//! | step | module |
//! |---|---|
//! | read the files, and make the model plain: types, tensors, names | `source`, `prepare` |
//! | what a model may ask for | `limits`, `guard`, `finite` |
//! | ONNX's messages: names, attributes, dimensions, which node makes what | `onnx` |
//! | find the `MaxRoiPool` nodes and what lies before and behind them | `split`, `rois` |
//! | evaluate constant expressions | `constants` |
//! | ONNX nodes to the bundle's layers, weights to channels last | `lower`, `network` |
//! | the manifest's channel order, scale and deviations into the first convolution | `input` |
//! | an R-CNN: a classifier and the weights of its SVMs | `rcnn`, `svm` |
//! | check against tract-onnx on a seeded input | `referee`, `culprit`, `magnitude` |
//! | truncated SVD of fully connected layers | `svd`, `factor` |
//! | reduced precision | `precision` |
//! | a bundle as ONNX again | `emit` |
//! | the published architectures, untrained | [`arch`], [`onnx_writer`] |
//!
//! The same input gives the same bytes: nothing of the time, the machine or a path goes into a bundle.
#![forbid(unsafe_code)]

pub mod arch;

mod check_cost;
mod constants;
mod culprit;
mod emit;
mod error;
mod factor;
mod finite;
mod guard;
mod input;
mod limits;
mod lower;
mod magnitude;
mod network;
mod onnx;
mod precision;
mod prepare;
mod rcnn;
mod referee;
mod report;
mod rois;
mod source;
mod split;
mod svd;
mod svm;
mod weights;

use std::path::Path;
use std::sync::Arc;

use frcnn::NetworkCost;
use frcnn_bundle::{Bundle, Manifest, nominal_size};

use lower::Lowering;
use referee::{OwnedSplit, SampleRun};
use source::ModelFile;
use split::Split;
use svm::Svm;

pub use emit::{EmitError, emit_onnx};
pub use error::{Error, Problem};
pub use frcnn_bundle::Precision;
pub use frcnn_onnx::writer as onnx_writer;
pub use report::{Agreement, Drift, FactoredLayer, Input, Report};
pub use source::{load_manifest, load_rcnn_manifest};

/// Which fully connected layers to factor, and how far.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Svd {
    /// None.
    #[default]
    None,
    /// These layers at these ranks. A layer is meant by its published name (`fc6` is the first hidden
    /// fully connected layer), its ONNX node's name, or the stem of its weight's name.
    Ranks(Vec<(String, usize)>),
    /// Every hidden fully connected layer, at the smallest rank that keeps this share of its squared
    /// singular values; above 0 and at most 1.
    Energy(f64),
}

/// What to do while compiling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Factoring of fully connected layers.
    pub svd: Svd,
    /// What weights are stored as, and layers computed in.
    pub precision: Precision,
}

/// A compiled network.
#[derive(Debug)]
pub struct Compiled {
    /// The bundle, checked and ready to be written or run.
    pub bundle: Arc<Bundle>,
    /// What a deployer wants to know about it.
    pub report: Report,
}

/// Compiles the model in the file `onnx`. `progress` is told of each step as it starts.
///
/// # Errors
/// The file cannot be read, the model is not a Fast R-CNN that the vocabulary covers, the manifest or the
/// ranks do not fit it, or the result does not agree with tract-onnx's own run of the model.
pub fn compile(
    onnx: &Path,
    manifest: &Manifest,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Error> {
    progress("reading the model");
    let source = ModelFile::read(onnx)?;
    compile_source(source, manifest, options, progress)
        .map_err(|problem| Error::Model { path: onnx.to_path_buf(), problem })
}

/// Compiles an R-CNN: the classifier in the file `onnx`, with `data` `[N, 3, S, S]`, and the safetensors file `svm` with
/// `svm.weight` `[K, D]` and `svm.bias` `[K]`, and, unless proposals are taken as they are, `bbox.weight` `[4K, D5]` and
/// `bbox.bias` `[4K]`. Its metadata may name the ONNX values that they read: `features`, by default what the classifier's
/// last fully connected layer reads, and `bbox_features`, by default the map that is flattened before the first one.
///
/// The manifest says that scores are margins; see [`load_rcnn_manifest`].
///
/// # Errors
/// As [`compile`], or the weights do not fit the classifier.
pub fn compile_rcnn(
    onnx: &Path,
    svm: &Path,
    manifest: &Manifest,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Error> {
    progress("reading the model");
    let source = ModelFile::read(onnx)?;
    let svm = Svm::read(svm)?;
    rcnn::compile(source, &svm, manifest, options, progress)
        .map_err(|problem| Error::Model { path: onnx.to_path_buf(), problem })
}

/// The network of the file `onnx` as a bundle that was not held against tract-onnx's run of it, for those who hold it against
/// a run of their own.
///
/// # Errors
/// As [`compile`], but for the comparison.
pub fn lower_onnx(onnx: &Path, manifest: &Manifest) -> Result<Bundle, Error> {
    let lower = |ModelFile { model, sha256 }: ModelFile| {
        let graph = model.graph.as_ref().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
        let split = Split::find(graph)?;
        rois::check(&model, &split)?;
        let mut lowering = Lowering::new(&model);
        let network = network::lower(&split, &mut lowering, manifest, record(sha256))?;
        lowering.check_finite()?;
        std::mem::take(&mut lowering.weights).into_bundle(network.contents)
    };
    lower(ModelFile::read(onnx)?).map_err(|problem| Error::Model { path: onnx.to_path_buf(), problem })
}

fn compile_source(
    source: ModelFile,
    manifest: &Manifest,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Problem> {
    let ModelFile { model, sha256 } = source;
    let graph = model.graph.as_ref().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;

    progress("lowering the network");
    let split = Split::find(graph)?;
    rois::check(&model, &split)?;
    let mut lowering = Lowering::new(&model);
    let network = network::lower(&split, &mut lowering, manifest, record(sha256))?;
    lowering.check_finite()?;
    let bundle = Arc::new(std::mem::take(&mut lowering.weights).into_bundle(network.contents)?);

    progress("checking against tract-onnx");
    let owned_split = OwnedSplit::new(&split, &lowering);
    let fixed_rois = split.fixed_rois;
    drop(lowering);
    let split_model = owned_split.apply(model);
    let sample = SampleRun::run(&bundle, fixed_rois)?;
    let (scores_first, softmax_added) = (network.scores_first, network.softmax_added);
    let agreement = sample.compare(split_model, &network.levels, &bundle, scores_first, softmax_added)?;
    let checked = Checked { bundle, aliases: network.aliases, input: network.input, sample, agreement };
    finish(checked, options, progress)
}

/// Where a bundle came from.
fn record(onnx_sha256: [u8; 32]) -> frcnn_bundle::Origin {
    let compiler = concat!("frcnn-compiler ", env!("CARGO_PKG_VERSION")).to_string();
    frcnn_bundle::Origin { onnx_sha256, compiler }
}

/// A network that was checked.
struct Checked {
    bundle: Arc<Bundle>,
    /// Names of the head's layers.
    aliases: Vec<Vec<String>>,
    input: Input,
    sample: SampleRun,
    agreement: Agreement,
}

/// Makes a checked network smaller, as the options say.
fn finish(checked: Checked, options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Compiled, Problem> {
    let Checked { bundle, aliases, input, sample, agreement } = checked;
    let (bundle, factored, not_factored, drift) = if options.svd == Svd::None {
        (bundle, Vec::new(), Vec::new(), None)
    } else {
        let result = factor::factor(&bundle, &aliases, &options.svd, progress)?;
        let factored = Arc::new(result.bundle);
        let drift = if result.layers.is_empty() { None } else { Some(sample.drift(&factored)?) };
        (factored, result.layers, result.left_whole, drift)
    };
    let (bundle, rounding) = match options.precision {
        Precision::F32 => (bundle, None),
        Precision::Bf16 => {
            progress("rounding to bf16");
            let rounded = Arc::new(precision::to_bf16(&bundle)?);
            let drift = sample.rounding(&bundle, &rounded)?;
            (rounded, Some(drift))
        }
    };
    let (height, width) = nominal_size(bundle.contents());
    let report = Report {
        cost: NetworkCost::new(bundle.contents(), height, width)?,
        factored,
        not_factored,
        input,
        agreement,
        drift,
        rounding,
        file_bytes: bundle.file_len() as u64,
    };
    Ok(Compiled { bundle, report })
}

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
