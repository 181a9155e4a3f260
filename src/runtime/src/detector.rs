//! The detector that threads share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_bundle::{Bundle, Contents, Manifest};

use crate::cost::Demand;
use crate::head::{Head, sum_order};
use crate::model::{Model, in_pool};
use crate::network::{Network, trunk_shapes};
use crate::ops::{Resources, UnpackedConv, UnpackedLinear, UnpackedWeights, choose};
use crate::options::Options;
use crate::trunk::Trunk;
use crate::{BBox, Detections, Error, Frame, PlannedLayer, Session, Tuned, Tuning};

/// A detector that is ready to run. Cloning is cheap and gives the same detector.
#[derive(Clone)]
pub struct Detector {
    pub(crate) model: Arc<Model>,
    idle: Arc<Mutex<Vec<Session>>>,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector")
            .field("model", &self.manifest().name)
            .field("settings", &self.model.settings)
            .finish_non_exhaustive()
    }
}

impl Detector {
    /// Opens a `.frcnn` file with default [`Options`], and with the [`Tuning`] beside it if there is one.
    ///
    /// # Errors
    /// The file cannot be read or is not a valid bundle.
    pub fn open(path: impl AsRef<Path>) -> Result<Detector, Error> {
        // A file that is no tuning is nothing to fail for: `frcnn` tells of it.
        let tuning = Tuning::beside(path.as_ref()).unwrap_or_default();
        let options = Options { tuning, ..Options::default() };
        Detector::new(Bundle::open(path)?, &options)
    }

    /// The same for a bundle in memory, such as `include_bytes!` gives; the bytes are copied.
    ///
    /// # Errors
    /// The bytes are not a valid bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Detector, Error> {
        Detector::new(Bundle::from_bytes(bytes)?, &Options::default())
    }

    /// Makes a bundle ready to run.
    ///
    /// Weights are packed for this CPU, and the bundle's own let go layer by layer: hand over the bundle unless it is
    /// needed for something else.
    ///
    /// # Errors
    /// An option is out of range, the bundle asks for more than the limits allow, or the threads cannot be started.
    pub fn new(bundle: impl Into<Arc<Bundle>>, options: &Options) -> Result<Detector, Error> {
        let (contents, weights) = Arc::unwrap_or_clone(bundle.into()).into_parts();
        let settings = options.settle(&contents.manifest)?;
        let demand = Demand::nominal(&contents, settings.threads)?;
        settings.limits.check(&demand)?;
        let pool = match settings.threads {
            1 => None,
            threads => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|i| format!("frcnn-{i}"))
                    .build()
                    .map_err(|error| Error::Threads(error.to_string()))?,
            ),
        };
        let [_, map] = trunk_shapes(&contents);
        let region = contents.region_shape(map);
        let mut convs = UnpackedConv::of_network(&contents, &weights);
        let tuned = choose_algorithms(&mut convs, options, &demand)?;
        let unpacked = UnpackedWeights {
            convs,
            linears: UnpackedLinear::all(&contents.head, &weights, sum_order(&contents, map.channels())),
        };
        let network = Network::new(contents, &weights);
        drop(weights);
        let packed = in_pool(pool.as_ref(), || unpacked.pack(settings.threads, settings.f32_products))?;
        let resources = Resources::new(settings.threads, network, packed);
        let head = Head::new(region, &resources)?;
        let trunk = Trunk::new(resources.clone(), settings.limits);
        let model = Arc::new(Model { settings, resources, trunk, head, pool, tuned });
        Ok(Detector { model, idle: Arc::default() })
    }

    /// Detects objects among `proposals`, boxes in image pixels.
    ///
    /// May be called from several threads at once. A thread that detects often keeps a
    /// [`session`](Detector::session) of its own, which also tells timings.
    ///
    /// # Errors
    /// The frame, scaled as the manifest says, is too small for the trunk.
    pub fn detect(&self, frame: &Frame, proposals: &[BBox]) -> Result<Detections, Error> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut session = taken.unwrap_or_else(|| self.session());
        let detections = session.detect(frame, proposals);
        idle().push(session);
        detections
    }

    /// The working state for one thread.
    pub fn session(&self) -> Session {
        Session::new(self.model.clone())
    }

    /// Classes, preprocessing, thresholds and box conventions.
    pub fn manifest(&self) -> &Manifest {
        &self.contents().manifest
    }

    /// Everything that the bundle has but its weights.
    pub fn contents(&self) -> &Contents {
        self.model.contents()
    }

    /// How each layer runs on this machine: by which algorithm, as part of which other layer, or why not. Convolutions'
    /// algorithms are chosen for a photo of usual shape (4:3).
    pub fn plan(&self) -> Vec<PlannedLayer> {
        let mut layers = self.model.trunk.planned();
        layers.extend(self.model.head.planned());
        layers
    }

    /// Whether convolutions' algorithms were chosen by [`Options::tuning`].
    pub fn tuned(&self) -> &Tuned {
        &self.model.tuned
    }

    /// A class's name; empty for an id that does not exist. Class 0 is the background.
    pub fn class_name(&self, class_id: u16) -> &str {
        self.manifest().classes.get(usize::from(class_id)).map_or("", String::as_str)
    }

    /// Threads that work on one frame.
    pub fn threads(&self) -> usize {
        self.model.settings.threads
    }
}

/// Chooses each convolution's algorithm, within the memory that the options leave beside all else.
fn choose_algorithms(convs: &mut [UnpackedConv], options: &Options, demand: &Demand) -> Result<Tuned, Error> {
    let others = demand.memory.saturating_sub(UnpackedConv::max_weight_bytes(convs));
    let for_convs = options.memory.map(|memory| memory.saturating_sub(others));
    choose(convs, options.tuning.as_ref(), for_convs).map_err(|least| {
        let least = others.saturating_add(least).div_ceil(1 << 20);
        Error::Options(format!(
            "memory must be at least {least} MiB: what the network takes with the fewest weights that it can hold"
        ))
    })
}
