//! One frame through all of it: pixels, boxes, network.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use frcnn::{BBox, Detections, Detector, Frame, StreamOptions};
use frcnn_images::camera::Converter;

use crate::frame::Image;
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
    /// Of a stream, if the network ran.
    pub(crate) reuse: Option<frcnn::Reuse>,
}

/// The network with the buffers of one thread.
enum Network {
    Session(Box<frcnn::Session>),
    Stream(Box<frcnn::Stream>),
}

impl Network {
    fn new(detector: &Detector, stream: Option<StreamOptions>) -> Result<Network, Failure> {
        Ok(match stream {
            None => Network::Session(Box::new(detector.session())),
            Some(options) => Network::Stream(Box::new(detector.stream(options)?)),
        })
    }

    /// Detects among `proposals`, or where there are none among those of the network itself.
    fn run(
        &mut self,
        frame: &Frame,
        proposals: Option<&[BBox]>,
        facts: &mut Facts,
    ) -> Result<Detections, Failure> {
        let (detections, learned);
        match self {
            Network::Session(session) => {
                detections = session.detect_among(frame, proposals)?;
                (facts.stages, facts.not_finite) = (*session.timings(), session.not_finite());
                learned = session.proposals().len();
            }
            Network::Stream(stream) => {
                detections = stream.detect_among(frame, proposals)?;
                (facts.stages, facts.not_finite) = (*stream.timings(), stream.not_finite());
                facts.reuse = Some(*stream.reuse());
                learned = stream.proposals().len();
            }
        }
        facts.proposals = proposals.map_or(learned, <[BBox]>::len);
        Ok(detections)
    }
}

/// A session's way from frames to detections, with every buffer that is used again.
pub(crate) struct Engine {
    slot: Arc<Slot<Detector>>,
    loaded: Loaded<Detector>,
    network: Network,
    /// With which a stream is made, after a reload too.
    stream: Option<StreamOptions>,
    converter: Converter,
    proposer: Proposer,
}

impl Engine {
    pub(crate) fn new(
        slot: Arc<Slot<Detector>>,
        proposer: FrcnnProposer,
        stream: Option<StreamOptions>,
    ) -> Result<Engine, Failure> {
        let loaded = slot.loaded();
        let network = Network::new(&loaded.detector, stream)?;
        let proposer = Proposer::new(proposer, &loaded.detector, stream.is_some());
        let converter = Converter::default();
        Ok(Engine { slot, loaded, network, stream, converter, proposer })
    }

    /// Detects among `proposals`, or among the proposer's where there are none. Without a single box to look at, the
    /// network does not run, unless it proposes itself. `facts` is filled as far as the frame gets.
    pub(crate) fn run(
        &mut self,
        image: &Image<&[u8]>,
        proposals: Option<&[BBox]>,
        facts: &mut Facts,
    ) -> Result<Detections, Failure> {
        let start = Instant::now();
        self.follow_reload()?;
        *facts = Facts { id: image.id, generation: self.loaded.generation, ..Facts::default() };
        let frame = self.converter.run(&image.pixels)?;
        facts.size = (frame.width(), frame.height());
        facts.convert = start.elapsed();

        if proposals.is_none() && self.proposer.is_rpn_of(&self.loaded.detector) {
            let detections = self.network.run(&frame, None, facts)?;
            facts.propose = facts.stages.rpn + facts.stages.proposals;
            facts.total = start.elapsed();
            return Ok(detections);
        }
        let proposals = match proposals {
            Some(proposals) => Cow::Borrowed(proposals),
            None => Cow::Owned(self.proposer.run(&frame, image.time, &self.loaded.detector)),
        };
        facts.proposals = proposals.len();
        facts.propose = start.elapsed() - facts.convert;

        let mut detections = Detections::new();
        if !proposals.is_empty() {
            detections = self.network.run(&frame, Some(&proposals), facts)?;
        }
        facts.total = start.elapsed();
        Ok(detections)
    }

    /// Takes up a model that was loaded since the last frame.
    fn follow_reload(&mut self) -> Result<(), Failure> {
        if let Some(newer) = self.slot.newer(&self.loaded) {
            self.network = Network::new(&newer.detector, self.stream)?;
            self.loaded = newer;
            log::debug!("a session goes on with model generation {}", self.loaded.generation);
        }
        Ok(())
    }
}
