//! Why a model was not compiled.

use std::io;
use std::path::PathBuf;

use frcnn_bundle::ManifestError;

/// The operators that `lower` knows, for messages.
const SUPPORTED: &str = "Conv, MaxPool, AveragePool, GlobalAveragePool, ReduceMean, LRN, BatchNormalization, Relu, \
     LeakyRelu, PRelu (of one slope), Clip, Sigmoid, HardSigmoid, HardSwish, Concat, Add, Sub, Mul, Div, Flatten, Reshape, Squeeze, Gemm, MatMul, \
     Softmax, Dropout, Identity, Cast (between real numbers), Unsqueeze, Pad (with zeros, before a Conv), Resize (to the nearest cell, before an Add), Gather, Slice and Split of an \
     image's channels, and what is common of constants";

/// Why a model was not compiled. The text names the file, what is wrong with it and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read a file.
    #[error("{path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The manifest has a mistake.
    #[error("{path}: {error}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The mistake.
        error: ManifestError,
    },
    /// A choice of ranks that cannot be read.
    #[error("`{0}` is not LAYER=RANK; ranks are given like fc6=256,fc7=64")]
    Ranks(String),
    /// The model is not one that can be compiled.
    #[error("{path}: {problem}", path = path.display(), problem = shortened(problem))]
    Model {
        /// The model.
        path: PathBuf,
        /// Why not.
        problem: Problem,
    },
}

/// A problem in a message that can be read: names and lists in a file may be of any length.
fn shortened(problem: &Problem) -> String {
    const LONGEST: usize = 2_000;
    let text = problem.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ... and so on", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// What keeps a model from being compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No program can be made of the network.
    #[error("{0}")]
    Program(String),
    /// Not a protobuf, or cut short.
    #[error("not an ONNX model, or truncated: {0}")]
    NotOnnx(String),
    /// There is no RoI pooling to split the graph at.
    #[error(
        "no MaxRoiPool and no RoiAlign node: this is no Fast R-CNN (torchvision's `roi_pool` and `roi_align` export as these)"
    )]
    NoRoiPool,
    /// There are several that do not pool the same regions of one map.
    #[error(
        "{count} MaxRoiPool nodes ({names}) with different {what}; a Fast R-CNN has one, and the levels of an SPPnet all \
         pool the same rois from one feature map at one spatial scale"
    )]
    SeveralRoiPools {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
        /// In what they differ.
        what: &'static str,
    },
    /// The model's inputs are not those of a Fast R-CNN.
    #[error(
        "inputs: {0}; a Fast R-CNN reads `data` [1, 3, H, W] and `rois` [R, 5] (batch index, x1, y1, x2, y2)"
    )]
    Inputs(String),
    /// What the manifest says of pixels is not what the model reads.
    #[error(
        "its image is one of bytes (uint8), so that it reads pixels of 0 to 255 as they are, and the manifest says something else; let it \
         say \"pixel_scale\": 255, \"pixel_means\": [0, 0, 0], \"pixel_stds\": [1, 1, 1], and \"channel_order\""
    )]
    Bytes,
    /// The model's outputs are not those of a Fast R-CNN.
    #[error("outputs: {0}")]
    Outputs(String),
    /// The classifier of an R-CNN is not one.
    #[error("classifier: {0}")]
    Classifier(String),
    /// The weights of an R-CNN's SVMs and regressors cannot be used.
    #[error("SVM weights: {0}")]
    Svm(String),
    /// An operator outside the vocabulary.
    #[error("node `{node}`: operator {op} is not supported; supported are {supported}", supported = SUPPORTED)]
    Operator {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// An operator of the vocabulary, used in a way that it does not cover.
    #[error("node `{node}` ({op}): {problem}")]
    Node {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What is not covered.
        problem: String,
    },
    /// A model with inputs `data` and `rois`, and nothing that says its classes.
    #[error(
        "no manifest says which classes it has; write a manifest.json beside it, or name another with --manifest. Only the \
         classes are required, background first:\n  {{\"classes\": [\"__background__\", \"cat\", \"dog\"]}}"
    )]
    NoManifest,
    /// An RPN of which only the network is there.
    #[error(
        "it has the outputs of a region proposal network, `rpn_logits.0` and so on, and the manifest does not say as `rpn` \
         which anchors these are of, and how many proposals are kept; frcnn-train writes both"
    )]
    NoRules,
    /// The rules of an RPN that is not there.
    #[error(
        "the manifest says as `rpn` how a region proposal network proposes, and the model has no outputs `rpn_logits.0`, \
         `rpn_deltas.0` and so on; leave `rpn` out, or export the model with them"
    )]
    NoRpn,
    /// The rules of an RPN beside those of a file that has its own.
    #[error(
        "the manifest has `rpn`, and a file of torchvision's exporter says itself how its RPN proposes; leave `rpn` out"
    )]
    RulesTwice,
    /// A node of a detector that was exported whole, where it is not as torchvision makes it.
    #[error(
        "node `{node}` ({op}) is not understood: {why}. A Faster R-CNN is compiled from what torchvision's own exporter writes of \
         it, `torch.onnx.export(model.eval(), ([image],), \"model.onnx\", dynamo=False, opset_version=17)`, or in parts, as \
         model-export/pytorch/export.py writes them of any module"
    )]
    NotUnderstood {
        /// The first node that is not.
        node: String,
        /// Its operator.
        op: String,
        /// What was expected.
        why: String,
    },
    /// A node of an operator set that is not ONNX's own.
    #[error(
        "node `{node}`: {op} is an operator of the domain `{domain}`, not ONNX's own, and would compute something else; \
         export the model with standard operators only"
    )]
    Domain {
        /// The node.
        node: String,
        /// The domain of its operator.
        domain: String,
        /// Its operator.
        op: String,
    },
    /// A node of ONNX Runtime's own, in a file that it has optimised.
    #[error(
        "node `{node}`: {op} is an operator of ONNX Runtime's own domain `{domain}`: the file was optimised by ONNX Runtime; compile the one \
         that it was made of, or let it optimise with GraphOptimizationLevel.ORT_ENABLE_BASIC, which keeps standard operators"
    )]
    Optimised {
        /// The node.
        node: String,
        /// The domain of its operator.
        domain: String,
        /// Its operator.
        op: String,
    },
    /// A node that calls a function of the model's own.
    #[error(
        "node `{node}`: {op}{of} is a function that the model itself defines; inline it first, with \
         onnx.inliner.inline_local_functions", of = if domain.is_empty() { String::new() } else { format!(" of `{domain}`") }
    )]
    Function {
        /// The node.
        node: String,
        /// The domain of the function.
        domain: String,
        /// Its name.
        op: String,
    },
    /// A network that computes with integers.
    #[error("node `{node}`: {what}: this model is quantised; export the float model")]
    Quantised {
        /// The node.
        node: String,
        /// What tells.
        what: String,
    },
    /// A network as it is while it is trained.
    #[error(
        "node `{node}` ({op}): the model was exported in training mode: call model.eval() before the export"
    )]
    Training {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// Regions or anchors that would lie elsewhere in the map than in the image.
    #[error(
        "map {level} of the trunk has a cell for every {actual:.0} pixels, and {said} says for every {pixels:.0}: nothing would \
         be found where it is"
    )]
    Stride {
        /// Which of the trunk's maps.
        level: usize,
        /// What says so.
        said: String,
        /// Pixels by that.
        pixels: f32,
        /// Pixels by the trunk's layers.
        actual: f32,
    },
    /// Weights with NaN or infinity.
    #[error("weights that are not finite: {0}; did the training diverge?")]
    NotFinite(String),
    /// Weights that are finite until they are brought into the form that the device reads.
    #[error("layer `{layer}`: {count} of {total} weights are not finite {when}")]
    Overflow {
        /// The layer.
        layer: String,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// In which step.
        when: &'static str,
    },
    /// The network gives no numbers, as the model does.
    #[error(
        "{count} of {total} values of `{stage}` are not finite on a picture of random pixels, in tract-onnx's run of the \
         model; did the training diverge?"
    )]
    NotFiniteOutput {
        /// `conv`, `cls_prob` or `bbox_pred`.
        stage: &'static str,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
    },
    /// Values get so large that f32 no longer tells what the network gives.
    #[error(
        "values overflow f32 in layer `{layer}` ({op}), or are too large for it to compute with: {} on a picture of random \
         pixels, after which the compiled network and tract-onnx's run of the model no longer agree on `{stage}`; did the training diverge? \
         Nothing was written",
        if largest.is_finite() { format!("up to {largest:.1e}") } else { "infinity or NaN".to_string() }
    )]
    TooLarge {
        /// The first layer, in the model's order, that makes such values.
        layer: String,
        /// Its operator.
        op: String,
        /// The largest magnitude among them.
        largest: f32,
        /// `conv`, `cls_prob` or `bbox_pred`.
        stage: &'static str,
    },
    /// A stage has another shape in tract-onnx's run.
    #[error(
        "the compiled network gives {found:?} on `{stage}`, and tract-onnx {expected:?}; nothing was written. If the \
         model runs in ONNX Runtime, please report it with the model"
    )]
    Shape {
        /// `conv`.
        stage: &'static str,
        /// The compiled network's.
        found: Vec<usize>,
        /// tract's.
        expected: Vec<usize>,
    },
    /// The model asks for more than a model may.
    #[error("{0}")]
    Limit(String),
    /// A choice of ranks that does not fit the model.
    #[error("SVD: {0}")]
    Svd(String),
    /// A cascade that the model cannot have.
    #[error("cascade: {0}")]
    Cascade(String),
    /// A layer is to be int8, and nobody has seen what it reads.
    #[error(
        "layer `{layer}` cannot be int8: its input was not calibrated on photos; name some with --calibrate"
    )]
    NotCalibrated {
        /// The layer.
        layer: String,
    },
    /// There were no photos, or no regions in them.
    #[error("there is no photo with a region to calibrate int8 on")]
    NothingToCalibrateOn,
    /// What a layer reads on a photo is no number.
    #[error(
        "layer `{layer}` reads {count} values that are not finite on a photo, so that nothing says how to round them; did the training \
         diverge? `--precision f32` keeps the network as it is"
    )]
    NotFiniteInput {
        /// The layer.
        layer: String,
        /// How many.
        count: u64,
    },
    /// An int8 layer gives something else than its definition does.
    #[error(
        "layer `{layer}` in int8 disagrees with its definition: relative error {error:.2e}, allowed {allowed:.0e}; nothing was \
         written. This is a mistake in the runtime: please report it with the model and the CPU"
    )]
    Int8Disagreement {
        /// The layer.
        layer: String,
        /// Largest difference, relative to the layer's largest magnitude.
        error: f64,
        /// What rounding explains.
        allowed: f64,
    },
    /// The lowered network is not valid.
    #[error(transparent)]
    Bundle(#[from] frcnn_bundle::Error),
    /// The compiled network does not run.
    #[error("the compiled network does not run: {0}")]
    Runtime(frcnn::Error),
    /// tract-onnx, the referee, does not run the model.
    #[error("tract-onnx cannot run the {part} to check the result: {message}")]
    Referee {
        /// `trunk`, `head` or a constant expression.
        part: String,
        /// What it said.
        message: String,
    },
    /// The compiled network gives other values than the model.
    #[error(
        "the compiled network disagrees with tract-onnx on `{stage}`: relative error {error:.2e}, allowed {allowed:.0e}; \
         nothing was written. This is a mistake in the compiler: please report it with the model"
    )]
    Disagreement {
        /// `conv`, `cls_prob` or `bbox_pred`.
        stage: &'static str,
        /// Largest difference, relative to the stage's largest magnitude.
        error: f64,
        /// What rounding explains.
        allowed: f64,
    },
}

impl From<frcnn::Error> for Problem {
    fn from(error: frcnn::Error) -> Problem {
        Problem::Runtime(error)
    }
}
