//! The detector that threads share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_bundle::{Bundle, Contents, Manifest, Precision, SectionId, nominal_blobs};
use frcnn_kernels::give_back_free_pages;

use crate::cost::{Demand, nominal_rois};
use crate::head::{Head, sum_order};
use crate::head_stages::stage_weights;
use crate::judge::Judge;
use crate::model::{Model, in_pool};
use crate::network::{Network, trunk_shapes};
use crate::ops::{ConvPlan, Resources, UnpackedConv, UnpackedLinear, UnpackedWeights, choose};
use crate::options::Options;
use crate::rpn::RpnHead;
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
        Detector::open_with(path, Options::default())
    }

    /// The same with other [`Options`]. The [`Tuning`] beside the file is used if they have none.
    ///
    /// # Errors
    /// The file cannot be read or is not a valid bundle; as [`new`](Detector::new).
    pub fn open_with(path: impl AsRef<Path>, mut options: Options) -> Result<Detector, Error> {
        if options.tuning.is_none() {
            // A file that is no tuning is nothing to fail for: `frcnn` tells of it.
            options.tuning = Tuning::beside(path.as_ref()).unwrap_or_default();
        }
        Detector::new(Bundle::open(path)?, &options)
    }

    /// The same for a bundle in memory; the bytes are copied.
    ///
    /// # Errors
    /// The bytes are not a valid bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Detector, Error> {
        Detector::new(Bundle::from_bytes(bytes)?, &Options::default())
    }

    /// The same for a bundle in the program, such as `include_bytes!` gives, see [`Bundle::from_static`]: weights are read
    /// where they lie. Biases stay there; those of convolutions and fully connected layers are packed for this CPU, as
    /// everywhere, so that one packed copy of them is in memory.
    ///
    /// # Errors
    /// The bytes are not a valid bundle.
    pub fn from_static(bytes: &'static [u8]) -> Result<Detector, Error> {
        Detector::new(Bundle::from_static(bytes)?, &Options::default())
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
        let mut plans = ConvPlan::all(&contents);
        let tuned = choose_algorithms(&mut plans, &contents, options, settings.threads)?;
        let unpacked = UnpackedWeights {
            convs: UnpackedConv::all(plans, &contents, &weights),
            linears: UnpackedLinear::all(&contents, &weights, sum_order(&contents, map.channels())),
        };
        let network = Network::new(contents, &weights);
        drop(weights);
        let packed = in_pool(pool.as_ref(), || unpacked.pack(settings.threads, settings.f32_products))?;
        give_back_free_pages();
        let resources = Resources::new(settings.threads, network, packed);
        let head = Head::new("head", &resources.network.contents.head, region, &resources)?;
        let judge = Judge::new(region, &resources)?;
        let rpn = RpnHead::new(&resources);
        let trunk = Trunk::new(resources.clone(), settings.limits);
        let model = Arc::new(Model { settings, resources, trunk, head, rpn, judge, pool, tuned });
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
        self.with_session(|session| session.detect(frame, proposals))
    }

    /// Detects objects among the proposals of the network's own RPN, see [`Session::detect_frame`].
    ///
    /// # Errors
    /// As [`detect`](Detector::detect), or the bundle has no RPN.
    pub fn detect_frame(&self, frame: &Frame) -> Result<Detections, Error> {
        self.with_session(|session| session.detect_frame(frame))
    }

    /// Whether the network makes proposals of its own: [`detect_frame`](Detector::detect_frame) works.
    pub fn has_rpn(&self) -> bool {
        self.model.rpn.is_some()
    }

    fn with_session<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut session = taken.unwrap_or_else(|| self.session());
        let done = work(&mut session);
        idle().push(session);
        done
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
        layers.extend(self.model.rpn.iter().flat_map(RpnHead::planned));
        layers.extend(self.model.head.planned());
        layers.extend(self.model.judge.iter().flat_map(|judge| judge.head().planned()));
        layers
    }

    /// The precisions of the layers that the values of each stage have passed: of maps, of what the RPN gives of each, of pooled
    /// features and of the head's named layers,
    /// see [`Session::head_stages`].
    pub fn stage_precisions(&self) -> Vec<(String, Vec<Precision>)> {
        let contents = self.contents();
        let precision = |id: SectionId| contents.sections.get(id as usize).map(|section| section.precision);
        let stages = stage_weights(contents).into_iter();
        stages.map(|(stage, ids)| (stage, ids.into_iter().filter_map(precision).collect())).collect()
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

    /// Runs `work` on the detector's threads, where what it leaves to rayon, such as selective search, takes no others. With
    /// one thread that is the caller's, and `work` must ask for no more itself.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.model.in_pool(work)
    }
}

/// Chooses each convolution's algorithm, within the memory that the options leave.
fn choose_algorithms(
    plans: &mut [ConvPlan],
    contents: &Contents,
    options: &Options,
    threads: usize,
) -> Result<Tuned, Error> {
    let blobs = nominal_blobs(contents);
    let memory = |plans: &[ConvPlan]| {
        let demand =
            Demand::planned(contents, &plans.iter().collect(), &blobs, nominal_rois(contents), threads);
        demand.map_or(u64::MAX, |demand| demand.memory)
    };
    choose(plans, options.tuning.as_ref(), options.memory, memory).map_err(|least| {
        let (mib, plural) = (least.div_ceil(1 << 20), if threads == 1 { "" } else { "s" });
        Error::Options(format!(
            "memory must be at least {mib} MiB with {threads} thread{plural}: what the network takes with the fewest weights that it \
             can hold"
        ))
    })
}
