//! From a network that was checked to the bundle that the options ask for.

use std::sync::Arc;

use frcnn::NetworkCost;
use frcnn_bundle::{Bundle, Origin, Precision, nominal_size};

use crate::error::Problem;
use crate::options::{Options, Svd};
use crate::referee::SampleRun;
use crate::report::{Agreement, AssumedInput, CompileReport};
use crate::{factor, precision};

/// A compiled network.
#[derive(Debug)]
pub struct Compiled {
    /// The bundle, checked and ready to be written or run.
    pub bundle: Arc<Bundle>,
    /// What a deployer wants to know about it.
    pub report: CompileReport,
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
        let (bundle, rounding) = match options.precision {
            Precision::F32 => (bundle, None),
            precision => {
                progress(&format!("rounding to {}", precision.name()));
                let rounded = Arc::new(precision::round(&bundle, precision)?);
                let drift = sample.rounding(&bundle, &rounded)?;
                (rounded, Some(drift))
            }
        };
        let (height, width) = nominal_size(bundle.contents());
        let report = CompileReport {
            cost: NetworkCost::new(bundle.contents(), height, width)?,
            factored,
            not_factored,
            input,
            agreement,
            drift,
            precision: options.precision,
            rounding,
            file_bytes: bundle.file_len() as u64,
        };
        Ok(Compiled { bundle, report })
    }
}

/// Where a bundle came from: the model's hash, and this compiler.
pub(crate) fn origin(onnx_sha256: [u8; 32]) -> Origin {
    let compiler = concat!("frcnn-compiler ", env!("CARGO_PKG_VERSION")).to_string();
    Origin { onnx_sha256, compiler }
}
