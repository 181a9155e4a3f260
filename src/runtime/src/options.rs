//! What a user may choose when a detector is opened.

use frcnn_kernels::F32Products;

use crate::cost::Limits;
use crate::{Error, MAX_DETECTIONS, Manifest, Tuning};

/// Choices made when a [`Detector`](crate::Detector) is opened. What is `None` keeps the manifest's value.
///
/// Versions to come may have more fields, so a literal ends with `..Options::default()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Threads that work on one frame. Default: the physical cores that the process may use. Results are
    /// the same for any number.
    pub threads: Option<usize>,
    /// A detection's score must be greater than this; at least 0 and below 1, or any number for margins.
    pub score_threshold: Option<f32>,
    /// IoU from which a detection is suppressed by a better one of its class; above 0 and at most 1.
    pub nms_iou: Option<f32>,
    /// Detections per image at most; 1 to [`MAX_DETECTIONS`].
    pub max_detections: Option<usize>,
    /// How fully connected layers with f32 or f16 weights multiply. On a CPU without AMX every choice gives the same bits; layers
    /// with bf16 weights, and those with f16 weights on a CPU that computes in f16 and has no AMX, are not concerned.
    pub f32_products: F32Products,
    /// Bytes that the detector may take at once, at its peak: its [`Demand`](crate::Demand) on a 4:3 photo with 2000 boxes,
    /// opening included; not the program itself, nor photos and what makes boxes. Convolutions that lose least by it get
    /// algorithms with fewer weights. Default: no bound but that of `limits`.
    pub memory: Option<u64>,
    /// By which algorithms convolutions are computed, measured on this machine: see [`Tuning::beside`]. One of another
    /// CPU or bundle is not used, and [`Detector::tuned`](crate::Detector::tuned) says so.
    pub tuning: Option<Tuning>,
    /// What the bundle may ask for on one frame, when it is opened for a photo of usual shape, and for each frame as it is.
    pub limits: Limits,
}

/// Options with nothing left open.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) score_threshold: f32,
    pub(crate) nms_iou: f32,
    pub(crate) max_detections: usize,
    pub(crate) f32_products: F32Products,
    pub(crate) limits: Limits,
}

/// Choices one after another: `Options::new().with_threads(2).with_score_threshold(0.5)`. Ranges are those of the fields.
impl Options {
    /// The manifest's values, and default limits.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// With as many [`threads`](Options::threads).
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Options {
        Options { threads: Some(threads), ..self }
    }

    /// With this [`score_threshold`](Options::score_threshold).
    #[must_use]
    pub fn with_score_threshold(self, score: f32) -> Options {
        Options { score_threshold: Some(score), ..self }
    }

    /// With this [`nms_iou`](Options::nms_iou).
    #[must_use]
    pub fn with_nms_iou(self, iou: f32) -> Options {
        Options { nms_iou: Some(iou), ..self }
    }

    /// With at most as many detections per image: [`max_detections`](Options::max_detections).
    #[must_use]
    pub fn with_max_detections(self, count: usize) -> Options {
        Options { max_detections: Some(count), ..self }
    }

    /// With these [`f32_products`](Options::f32_products).
    #[must_use]
    pub fn with_f32_products(self, products: F32Products) -> Options {
        Options { f32_products: products, ..self }
    }

    /// With at most as many bytes of [`memory`](Options::memory).
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Options {
        Options { memory: Some(bytes), ..self }
    }

    /// With this [`tuning`](Options::tuning).
    #[must_use]
    pub fn with_tuning(self, tuning: Tuning) -> Options {
        Options { tuning: Some(tuning), ..self }
    }

    /// With these [`limits`](Options::limits).
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Options {
        Options { limits, ..self }
    }
}

impl Options {
    /// Threads that work on one frame: as many as were asked for, or else the physical cores that the process may use.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(default_threads)
    }

    pub(crate) fn settle(&self, manifest: &Manifest) -> Result<Settings, Error> {
        let settings = Settings {
            threads: self.thread_count(),
            score_threshold: self.score_threshold.unwrap_or(manifest.score_threshold),
            nms_iou: self.nms_iou.unwrap_or(manifest.nms_iou),
            max_detections: self.max_detections.unwrap_or(manifest.max_detections as usize),
            f32_products: self.f32_products,
            limits: self.limits,
        };
        let check = |ok: bool, problem: &str| {
            if ok { Ok(()) } else { Err(Error::Options(problem.to_string())) }
        };
        check((1..=1024).contains(&settings.threads), "threads must be 1 to 1024")?;
        if let Err(range) = manifest.scores.check_threshold(settings.score_threshold) {
            return Err(Error::Options(format!("score_threshold must be {range}")));
        }
        check(settings.nms_iou > 0.0 && settings.nms_iou <= 1.0, "nms_iou must be above 0 and at most 1")?;
        check(
            (1..=MAX_DETECTIONS).contains(&settings.max_detections),
            &format!("max_detections must be 1 to {MAX_DETECTIONS}"),
        )?;
        Ok(settings)
    }
}

/// A second hardware thread on a core adds nothing to products that fill its vector units already.
fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    num_cpus::get_physical().clamp(1, allowed)
}
