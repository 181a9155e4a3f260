//! From a network that was checked to the bundle that the options ask for.

use std::sync::Arc;

use frcnn::{BBox, Frame, NetworkCost};
use frcnn_bundle::{Bundle, BundleWriter, Cascade, Chosen, Layer, Origin, Precision, nominal_size};

use crate::calibrate::Calibration;
use crate::error::Problem;
use crate::options::{Options, Svd};
use crate::precision::Precisions;
use crate::referee::SampleRun;
use crate::report::{Agreement, AssumedInput, CompileReport, Int8Report, StoredLayer};
use crate::{factor, int8, int8_check, judge, precision};

/// A compiled network.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The bundle, checked and ready to be written or run.
    pub bundle: Arc<Bundle>,
    /// What a deployer wants to know about it.
    pub report: CompileReport,
    /// What the f32 network was run on.
    sample: Arc<SampleRun>,
}

impl Compiled {
    /// The bundle of [`Compiled::with_precisions`], which was not run.
    ///
    /// # Errors
    /// A layer that is to be int8 was not calibrated, or weights overflow.
    pub fn rounded(
        &self,
        precisions: &Precisions,
        calibration: &Calibration,
    ) -> Result<Arc<Bundle>, Problem> {
        Ok(Arc::new(precision::assign(&self.bundle, precisions, calibration)?))
    }

    /// The same network, whose bundle names the board that its layers' precisions were chosen for.
    ///
    /// # Errors
    /// The name is too long.
    pub fn for_board(self, board: &str) -> Result<Compiled, Problem> {
        let bundle = Arc::new(self.bundle.for_board(board)?);
        let report = CompileReport { file_bytes: bundle.file_len() as u64, ..self.report };
        Ok(Compiled { bundle, report, sample: self.sample })
    }

    /// This f32 network with weights stored as `precisions` says, of 16 bits or f32, and the drift that it causes.
    ///
    /// # Errors
    /// Weights overflow, or the network does not run.
    pub fn with_halves(&self, precisions: &Precisions) -> Result<Compiled, Problem> {
        let bundle = self.rounded(precisions, &Calibration::default())?;
        let contents = bundle.contents();
        let (height, width) = nominal_size(contents);
        let report = CompileReport {
            cost: NetworkCost::new(contents, height, width)?,
            precision: contents.precision(),
            rounding: Some(self.sample.rounding(&self.bundle, &bundle)?),
            file_bytes: bundle.file_len() as u64,
            ..self.report.clone()
        };
        Ok(Compiled { bundle, report, sample: self.sample.clone() })
    }

    /// This f32 network with weights stored as `precisions` says. Its layers were calibrated where they become int8, and each
    /// of these is held against its definition on `photo`, a frame with boxes.
    ///
    /// # Errors
    /// A layer that is to be int8 was not calibrated, weights overflow, or the network does not run as it should.
    pub fn with_precisions(
        &self,
        precisions: &Precisions,
        calibration: &Calibration,
        photo: (&Frame, &[BBox]),
    ) -> Result<Compiled, Problem> {
        let exact = &self.bundle;
        let bundle = self.rounded(precisions, calibration)?;
        int8_check::check(&bundle, photo.0, photo.1)?;
        let contents = bundle.contents();
        let (height, width) = nominal_size(contents);
        let stored = |layer: &Layer| {
            let weight = layer.op.reducible_weight()?;
            let precision = contents.sections.get(weight as usize)?.precision;
            let input = calibration.inputs.iter().find(|input| input.section == weight);
            Some(StoredLayer {
                layer: layer.name.clone(),
                precision,
                weight_error: int8::relative_error(
                    &exact.weights_as_f32(weight),
                    &bundle.weights_as_f32(weight),
                ),
                input: input.cloned(),
            })
        };
        let report = CompileReport {
            cost: NetworkCost::new(contents, height, width)?,
            precision: contents.precision(),
            int8: Some(Int8Report {
                photos: calibration.photos,
                regions: calibration.regions,
                layers: contents
                    .trunk
                    .layers
                    .iter()
                    .chain(&contents.head.layers)
                    .filter_map(stored)
                    .collect(),
            }),
            file_bytes: bundle.file_len() as u64,
            ..self.report.clone()
        };
        Ok(Compiled { bundle, report, sample: self.sample.clone() })
    }
}

impl Compiled {
    /// This network with a cascade: before its head a judge, of each of these ranks, that drops regions below `keep`. The judge
    /// is read off the weights as they are, so that this is the last step.
    ///
    /// # Errors
    /// The network can have no judge of such a rank, or `keep` is no threshold for its scores.
    pub fn with_cascades(&self, ranks: &[usize], keep: f32) -> Result<Vec<Compiled>, Problem> {
        let compiled = |bundle: Bundle| self.of_same_network(bundle);
        judge::with_cascades(&self.bundle, ranks, keep)?.into_iter().map(compiled).collect()
    }

    /// The largest rank that a cascade's judge of this network can have.
    ///
    /// # Errors
    /// The network can have none: the error says why.
    pub fn largest_judge_rank(&self) -> Result<usize, Problem> {
        judge::largest_rank(&self.bundle)
    }

    /// Whether a cascade of this network may drop regions below `keep`.
    ///
    /// # Errors
    /// `keep` is no threshold for its scores.
    pub fn check_keep(&self, keep: f32) -> Result<(), Problem> {
        judge::check_keep(self.bundle.contents().manifest.scores, keep)
    }

    /// This network, whose cascade drops regions below `keep`, and what is known of that.
    ///
    /// # Errors
    /// `keep` is no threshold for its scores.
    pub fn with_threshold(&self, keep: f32, chosen: Option<Chosen>) -> Result<Compiled, Problem> {
        self.check_keep(keep)?;
        let mut contents = self.bundle.contents().clone();
        contents.cascade = contents.cascade.map(|cascade| Cascade { keep, chosen, ..cascade });
        self.of_same_network(BundleWriter::of(&self.bundle).finish(contents)?)
    }

    fn of_same_network(&self, bundle: Bundle) -> Result<Compiled, Problem> {
        let (height, width) = nominal_size(bundle.contents());
        let report = CompileReport {
            cost: NetworkCost::new(bundle.contents(), height, width)?,
            file_bytes: bundle.file_len() as u64,
            ..self.report.clone()
        };
        Ok(Compiled { bundle: Arc::new(bundle), report, sample: self.sample.clone() })
    }
}

/// A lowered network that agreed with tract-onnx's run of the model, and has not been made smaller.
pub(crate) struct CheckedNetwork {
    pub(crate) bundle: Arc<Bundle>,
    /// The names by which a user may mean each of the head's layers.
    pub(crate) aliases: Vec<Vec<String>>,
    pub(crate) input: AssumedInput,
    pub(crate) sample: SampleRun,
    pub(crate) agreement: Agreement,
}

impl CheckedNetwork {
    /// Makes the network smaller, as the options say.
    pub(crate) fn finish(
        self,
        options: &Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Compiled, Problem> {
        let CheckedNetwork { bundle, aliases, input, sample, agreement } = self;
        let (bundle, factored, not_factored, drift) = if options.svd == Svd::None {
            (bundle, Vec::new(), Vec::new(), None)
        } else {
            let result = factor::factor(&bundle, &aliases, &options.svd, progress)?;
            let factored = Arc::new(result.bundle);
            let drift = if result.layers.is_empty() { None } else { Some(sample.drift(&factored)?) };
            (factored, result.layers, result.left_whole, drift)
        };
        let (height, width) = nominal_size(bundle.contents());
        let report = CompileReport {
            cost: NetworkCost::new(bundle.contents(), height, width)?,
            factored,
            not_factored,
            input,
            agreement,
            drift,
            precision: Precision::F32,
            rounding: None,
            int8: None,
            file_bytes: bundle.file_len() as u64,
        };
        let exact = Compiled { bundle, report, sample: Arc::new(sample) };
        if options.precision == Precision::F32 {
            return Ok(exact);
        }
        progress(&format!("rounding to {}", options.precision.name()));
        exact.with_halves(&precision::uniform(exact.bundle.contents(), options.precision))
    }
}

/// Where a bundle came from: the model's hash, and this compiler.
pub(crate) fn origin(onnx_sha256: [u8; 32]) -> Origin {
    let compiler = concat!("frcnn-compiler ", env!("CARGO_PKG_VERSION")).to_string();
    Origin { onnx_sha256, compiler }
}
