//! The detector, which can be exchanged while frames are looked at.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use frcnn::{Bundle, Detector, Options, Tuning};

use crate::config::{Camera, Config};

/// A detector and how many there were.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) detector: Detector,
    /// 1, and one more for each reload.
    pub(crate) generation: u64,
}

/// The present detector.
pub(crate) struct Slot {
    loaded: Mutex<Loaded>,
    generation: AtomicU64,
}

impl Slot {
    pub(crate) fn new(detector: Detector) -> Slot {
        Slot { loaded: Mutex::new(Loaded { detector, generation: 1 }), generation: AtomicU64::new(1) }
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The present detector, where it is another than that of `generation`.
    pub(crate) fn newer(&self, generation: u64) -> Option<Loaded> {
        (self.generation.load(Ordering::Acquire) != generation).then(|| self.loaded())
    }

    /// Puts a detector in place of the present one.
    pub(crate) fn put(&self, detector: Detector) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = loaded.generation + 1;
        *loaded = Loaded { detector, generation };
        self.generation.store(generation, Ordering::Release);
    }
}

/// Opens the bundle. Where objects are followed, weaker sights than `score_threshold` are needed, too: they keep an object that
/// stronger ones began, and a class's own threshold may be below it.
///
/// # Errors
/// The file is no bundle, asks for too much, or an option does not suit it; all name the file.
pub(crate) fn open(config: &Config) -> Result<Detector, String> {
    let (model, path) = (&config.model, &config.model.path);
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bundle = Bundle::open(path).map_err(|error| named(&error))?;
    let manifest = &bundle.contents().manifest;
    let mut score_threshold = model.score_threshold;
    if let Some(threshold) = score_threshold {
        let refused = |range| named(&format!("the score threshold must be {range}"));
        manifest.scores.check_threshold(threshold).map_err(refused)?;
    }
    let following: Vec<&Camera> = config.cameras.iter().filter(|camera| camera.objects).collect();
    if !following.is_empty() {
        // Those that no score can have are refused later.
        let is_valid = |score: &f32| manifest.scores.check_threshold(*score).is_ok();
        let of_classes = following.iter().flat_map(|camera| camera.thresholds.values().copied());
        let all = of_classes.filter(is_valid).chain(score_threshold);
        score_threshold = Some(all.fold(manifest.score_threshold, f32::min));
    }
    let options =
        Options { threads: model.threads, score_threshold, tuning: tuning(path), ..Options::default() };
    Detector::new(bundle, &options).map_err(|error| named(&error))
}

fn tuning(path: &Path) -> Option<Tuning> {
    Tuning::beside(path).unwrap_or_else(|problem| {
        log::warn!("{}: {problem}; it is not used", Tuning::path(path).display());
        None
    })
}
