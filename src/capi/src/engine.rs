//! One frame through all of it: pixels, boxes, network.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use frcnn::{BBox, Detections, Detector};

use crate::frame::Image;
use crate::pixels::Converter;
use crate::proposer::{FrcnnProposer, Proposer};
use crate::result::Failure;
use crate::slot::{Loaded, Slot};
use crate::sync::Arc;

/// What there is to say about a frame beside its detections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) id: u64,
    /// Of the model, when the frame was looked at.
    pub(crate) generation: u64,
    pub(crate) size: (u32, u32),
    pub(crate) proposals: usize,
    /// Predictions that were left out.
    pub(crate) not_finite: usize,
    pub(crate) convert: Duration,
    pub(crate) propose: Duration,
    pub(crate) stages: frcnn::Timings,
    pub(crate) total: Duration,
}

/// A session's way from frames to detections, with every buffer that is used again.
pub(crate) struct Engine {
    slot: Arc<Slot<Detector>>,
    loaded: Loaded<Detector>,
    session: frcnn::Session,
    converter: Converter,
    proposer: Proposer,
}

impl Engine {
    pub(crate) fn new(slot: Arc<Slot<Detector>>, proposer: FrcnnProposer) -> Engine {
        let loaded = slot.loaded();
        let session = loaded.detector.session();
        let (converter, proposer) = (Converter::default(), Proposer::new(proposer));
        Engine { slot, loaded, session, converter, proposer }
    }

    /// Detects among `proposals`, or among the proposer's where there are none. Without a single box to look at, the
    /// network does not run. `facts` is filled as far as the frame gets.
    pub(crate) fn run(
        &mut self,
        image: &Image<&[u8]>,
        proposals: Option<&[BBox]>,
        facts: &mut Facts,
    ) -> Result<Detections, Failure> {
        let start = Instant::now();
        self.follow_reload();
        *facts = Facts { id: image.id, generation: self.loaded.generation, ..Facts::default() };
        let frame = self.converter.run(image)?;
        facts.size = (frame.width(), frame.height());
        facts.convert = start.elapsed();

        let proposals = match proposals {
            Some(proposals) => Cow::Borrowed(proposals),
            None => Cow::Owned(self.proposer.run(&frame)),
        };
        facts.proposals = proposals.len();
        facts.propose = start.elapsed() - facts.convert;

        let mut detections = Detections::new();
        if !proposals.is_empty() {
            detections = self.session.detect(&frame, &proposals)?;
            facts.stages = *self.session.timings();
            facts.not_finite = self.session.not_finite();
        }
        facts.total = start.elapsed();
        Ok(detections)
    }

    /// Takes up a model that was loaded since the last frame.
    fn follow_reload(&mut self) {
        if let Some(newer) = self.slot.newer(&self.loaded) {
            self.loaded = newer;
            self.session = self.loaded.detector.session();
            log::debug!("a session goes on with model generation {}", self.loaded.generation);
        }
    }
}
