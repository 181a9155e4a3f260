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
//! | read the files, and make the model plain: types, tensors, names | `source`, `signature`, `prepare` |
//! | what a model may ask for | `limits`, `guard`, `finite` |
//! | ONNX's messages: names, attributes, dimensions, which node makes what | `onnx` |
//! | find the `MaxRoiPool` nodes and what lies before and behind them | `split`, `rois` |
//! | evaluate constant expressions | `constants` |
//! | ONNX nodes to the bundle's layers, weights to channels last | `lower`, `network` |
//! | the manifest's channel order, scale and deviations into the first convolution | `input` |
//! | the strides that are said, held against the trunk's | `strides` |
//! | an R-CNN: a classifier and the weights of its SVMs | `rcnn`, `svm` |
//! | check against tract-onnx on a seeded input | `referee`, `culprit`, `magnitude` |
//! | truncated SVD of fully connected layers | `svd`, `factor` |
//! | reduced precision, of each layer by itself | `precision`, `int8` |
//! | what layers read on photos, for int8 | `calibrate`, `histogram` |
//! | what is asked for, and a checked network made smaller by it | `options`, `compiled` |
//! | a cascade's judge, read off the weights | `judge` |
//! | a bundle as ONNX again | `emit` |
//! | a bundle as the source of a program: a crate, or C | `program` |
//! | the published architectures, untrained | [`arch`], [`onnx_writer`] |
//!
//! The same input gives the same bytes: nothing of the time, the machine or a path goes into a bundle.
#![forbid(unsafe_code)]

pub mod arch;

mod calibrate;
mod check_cost;
mod compiled;
mod constants;
mod culprit;
mod description;
mod emit;
mod error;
mod factor;
mod finite;
mod graph_inputs;
mod guard;
mod histogram;
mod input;
mod int8;
mod int8_check;
mod judge;
mod limits;
mod lower;
mod magnitude;
mod network;
mod onnx;
mod options;
mod precision;
mod prepare;
mod program;
mod rcnn;
mod referee;
mod report;
mod roi_align;
mod rois;
mod rpn;
mod signature;
mod source;
mod split;
mod strides;
mod svd;
mod svm;
mod torchvision;
mod view;
mod weights;

use std::path::Path;
use std::sync::Arc;

use frcnn_bundle::Bundle;
use tract_onnx::pb::{GraphProto, ModelProto};

use compiled::{CheckedNetwork, origin};
use lower::Lowering;
use network::Said;
use referee::{OwnedSplit, SampleRun};
use source::ModelFile;
use split::Split;
use svm::Svm;
use torchvision::Detector;

pub use calibrate::{CalibratedInput, Calibration, Calibrator};
pub use compiled::Compiled;
pub use description::{Description, description_of};
pub use emit::{EmitError, emit_onnx};
pub use error::{Error, Problem};
pub use frcnn_bundle::Precision;
pub use frcnn_onnx::writer as onnx_writer;
pub use graph_inputs::evenly;
pub use options::{Options, Svd};
pub use precision::{Precisions, fits_int8, uniform};
pub use program::{Program, ProgramKind, ProgramOptions, emit_program};
pub use report::{Agreement, AssumedInput, CompileReport, Drift, FactoredLayer, Int8Report, StoredLayer};
pub use rpn::Rules;
pub use source::{external_files, load_manifest, load_rcnn_manifest};

/// Compiles the model in the file `onnx`. `progress` is told of each step as it starts.
///
/// # Errors
/// The file cannot be read, the model is not a Fast R-CNN that the vocabulary covers, the manifest or the
/// ranks do not fit it, or the result does not agree with tract-onnx's own run of the model.
pub fn compile(
    onnx: &Path,
    description: impl Into<Description>,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Error> {
    progress("reading the model");
    let source = ModelFile::read(onnx)?;
    compile_source(source, &description.into(), options, progress)
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
    description: impl Into<Description>,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Error> {
    progress("reading the model");
    let source = ModelFile::read(onnx)?;
    let svm = Svm::read(svm)?;
    let refused = |problem| Error::Model { path: onnx.to_path_buf(), problem };
    let description = description.into();
    description.check_rules(false, None).map_err(refused)?;
    let manifest = description.manifest().map_err(refused)?;
    source.plain.check(manifest).map_err(refused)?;
    rcnn::compile(source, &svm, manifest, options, progress)
        .map_err(|problem| Error::Model { path: onnx.to_path_buf(), problem })
}

/// The network of the file `onnx` as a bundle that was not held against tract-onnx's run of it, for those who hold it against
/// a run of their own.
///
/// # Errors
/// As [`compile`], but for the comparison.
pub fn lower_onnx(onnx: &Path, description: impl Into<Description>) -> Result<Bundle, Error> {
    let description = description.into();
    let lower = |ModelFile { model, detector, plain, sha256 }: ModelFile| {
        let graph = model.graph.as_ref().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
        let split = split(&model, graph, detector.as_ref())?;
        let said = Said { description: &description, detector: detector.as_ref(), plain };
        let mut lowering = Lowering::new(&model);
        let network = network::lower(&split, &mut lowering, &said, origin(sha256))?;
        lowering.check_finite()?;
        let bundle = std::mem::take(&mut lowering.weights).into_bundle(network.contents)?;
        strides::check(bundle.contents())?;
        Ok(bundle)
    };
    lower(ModelFile::read(onnx)?).map_err(|problem| Error::Model { path: onnx.to_path_buf(), problem })
}

fn compile_source(
    source: ModelFile,
    description: &Description,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Problem> {
    let ModelFile { model, detector, plain, sha256 } = source;
    let graph = model.graph.as_ref().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;

    progress("lowering the network");
    let split = split(&model, graph, detector.as_ref())?;
    let said = Said { description, detector: detector.as_ref(), plain };
    let mut lowering = Lowering::new(&model);
    let network = network::lower(&split, &mut lowering, &said, origin(sha256))?;
    lowering.check_finite()?;
    let bundle = Arc::new(std::mem::take(&mut lowering.weights).into_bundle(network.contents)?);
    strides::check(bundle.contents())?;

    progress("checking against tract-onnx");
    let owned_split = OwnedSplit::new(&split, &lowering);
    let fixed_rois = split.fixed_rois();
    drop(lowering);
    let split_model = owned_split.apply(model);
    let sample = SampleRun::run(&bundle, fixed_rois)?;
    let (scores_first, softmax_added) = (network.scores_first, network.softmax_added);
    let agreement = sample.compare(split_model, &network.levels, &bundle, scores_first, softmax_added)?;
    let checked =
        CheckedNetwork { bundle, aliases: network.aliases, input: network.input, sample, agreement };
    checked.finish(options, progress)
}

/// The parts of a model, of which `detector` knows if it was exported whole.
fn split<'a>(
    model: &'a ModelProto,
    graph: &'a GraphProto,
    detector: Option<&'a Detector>,
) -> Result<Split<'a>, Problem> {
    if let Some(detector) = detector {
        return Ok(Split::of_detector(graph, detector));
    }
    let split = Split::find(model, graph)?;
    if let Some(rois) = &split.rois {
        rois::check(model, rois)?;
    }
    Ok(split)
}

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
