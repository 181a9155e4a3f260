//! A network that is ready to run, which all sessions of a detector share.

use frcnn_bundle::Contents;
use frcnn_kernels::with_team;

use crate::Error;
use crate::cost::Demand;
use crate::head::Head;
use crate::judge::Judge;
use crate::ops::Resources;
use crate::options::Settings;
use crate::rpn::RpnHead;
use crate::trunk::Trunk;
use crate::tuning::Tuned;

/// The graphs, and the threads that work on them.
pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) resources: Resources,
    pub(crate) trunk: Trunk,
    pub(crate) head: Head,
    /// What makes proposals, where the network learned to.
    pub(crate) rpn: Option<RpnHead>,
    /// What drops regions before the head runs.
    pub(crate) judge: Option<Judge>,
    /// None with one thread: then the caller's does the work.
    pub(crate) pool: Option<rayon::ThreadPool>,
    /// Whether algorithms were chosen by a tuning.
    pub(crate) tuned: Tuned,
}

impl Model {
    pub(crate) fn contents(&self) -> &Contents {
        &self.resources.network.contents
    }

    /// Whether a frame with `rois` proposals is within the limits.
    pub(crate) fn check(&self, blobs: &[[usize; 2]], rois: usize) -> Result<(), Error> {
        // A blob that does not go through is the trunk's to name.
        let plans = &self.resources.weights.plans;
        let demand = Demand::planned(self.contents(), plans, blobs, rois, self.settings.threads);
        let Ok(demand) = demand else {
            return Ok(());
        };
        Ok(self.settings.limits.check(&demand)?)
    }

    /// Runs `work` on a frame, or on a stage of one, whose buffers are kept for the next.
    pub(crate) fn on_frame<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let _frame = self.resources.buffers.frame();
        self.in_pool(|| with_team(work))
    }

    /// Runs `work` where the kernels find the detector's threads.
    pub(crate) fn in_pool<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_pool(self.pool.as_ref(), work)
    }
}

/// The same before there is a model.
pub(crate) fn in_pool<T: Send>(pool: Option<&rayon::ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
