//! The detector that threads share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_bundle::{Bundle, Contents, Manifest, Regions, Shape, nominal_size};

use crate::cost::Demand;
use crate::crops;
use crate::head::{Head, sum_order};
use crate::model::{Model, in_pool};
use crate::network::Network;
use crate::ops::{Resources, UnpackedConv, UnpackedLinear, UnpackedWeights};
use crate::options::Options;
use crate::trunk::Trunk;
use crate::{BBox, Detections, Error, Frame, PlannedLayer, Session};

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
    /// Opens a `.frcnn` file with default [`Options`].
    ///
    /// # Errors
    /// The file cannot be read or is not a valid bundle.
    pub fn open(path: impl AsRef<Path>) -> Result<Detector, Error> {
        Detector::new(Bundle::open(path)?, &Options::default())
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
        settings.limits.check(&Demand::nominal(&contents, settings.threads)?)?;
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
        let [image, map] = trunk_shapes(&contents);
        let region = contents.region_shape(map);
        let blobs = match contents.regions {
            Regions::RoiPooling(_) => 1,
            Regions::Warp(_) => crops::TRUNK_BATCH,
        };
        let graphs = [(&contents.trunk, image, blobs), (&contents.head, region, 1)];
        let unpacked = UnpackedWeights {
            convs: UnpackedConv::all(&contents, &weights, graphs),
            linears: UnpackedLinear::all(&contents.head, &weights, sum_order(&contents, map.channels())),
        };
        let network = Network::new(contents, &weights);
        drop(weights);
        let packed = in_pool(pool.as_ref(), || unpacked.pack(settings.threads, settings.f32_products))?;
        let resources = Resources::new(settings.threads, network, packed);
        let head = Head::new(region, &resources)?;
        let trunk = Trunk::new(resources.clone(), settings.limits);
        let model = Arc::new(Model { settings, resources, trunk, head, pool });
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

    /// A class's name; empty for an id that does not exist. Class 0 is the background.
    pub fn class_name(&self, class_id: u16) -> &str {
        self.manifest().classes.get(usize::from(class_id)).map_or("", String::as_str)
    }

    /// Threads that work on one frame.
    pub fn threads(&self) -> usize {
        self.model.settings.threads
    }
}

/// What the trunk reads and gives, for a blob of the nominal size.
fn trunk_shapes(contents: &Contents) -> [Shape; 2] {
    let (height, width) = nominal_size(contents);
    let image = Shape::Map { height, width, channels: 3 };
    let shapes = contents.trunk.infer(image).unwrap_or_default();
    // Validation has seen that the trunk gives a map.
    let map = contents.trunk.outputs.first().and_then(|&value| shapes.get(value as usize));
    [image, map.copied().unwrap_or(image)]
}
