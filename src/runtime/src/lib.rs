//! Runs a trained Fast R-CNN, Faster R-CNN, SPPnet or R-CNN on a CPU.
//!
//! A [`Detector`] is opened from a `.frcnn` bundle that `frcnn compile` made. It can be shared between
//! threads; each thread works in a cheap [`Session`] of its own, which owns the buffers that are reused
//! from frame to frame.
//!
//! ```no_run
//! use frcnn::{BBox, Detector, Frame};
//!
//! # fn main() -> Result<(), frcnn::Error> {
//! # let (pixels, width, height) = (vec![0u8; 640 * 480 * 3], 640, 480);
//! let detector = Detector::open("cells.frcnn")?;
//! let frame = Frame::rgb8(&pixels, width, height)?;
//! let proposals = [BBox::new(49.0, 102.0, 93.0, 133.0)];
//! for detection in &detector.detect(&frame, &proposals)? {
//!     println!("{} {:.2} {:?}", detector.class_name(detection.class_id), detection.score, detection.bbox);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The way of data
//!
//! ```text
//! Frame ──preprocess──► ImageBlob ──trunk──► FeatureMap ─┐
//!                                                        ├─roi_pool──► [R,P,P,C] ──head──► cls_prob, bbox_pred
//! &[BBox] ────────────────project──────────► &[Roi] ─────┘                                        │
//!                                                          Detections ◄──postprocess (decode, NMS)┘
//! ```
//!
//! [`Session::detect`] goes all the way; each stage is also a method of its own that hands out its
//! tensor, which is what conformance tests and debugging need.
//!
//! SPPnet is the same with several pooled levels, one behind the other: `[R, B, C]`, where `B` counts the bins of all.
//! R-CNN runs the trunk on each region, which [`Session::warp`] cuts out of the image:
//!
//! ```text
//! Frame ──preprocess──► ImageBlob ─┐
//!                                  ├─warp──► [R,S,S,3] ──trunk_of_crops──► [R,Hf,Wf,C] ──head──► margins, bbox_pred
//! &[BBox] ──project──► &[Roi] ─────┘
//! ```
//!
//! Faster R-CNN makes its own proposals of its feature maps, which [`Session::detect_frame`] looks at: the maps of a pyramid, or
//! one. RoIAlign pools regions from the map that suits their size:
//!
//! ```text
//! Frame ──preprocess──► ImageBlob ──maps──► FeatureMaps ─┬─rpn──► RpnOutputs ──filter_proposals──► RpnProposals
//!                                                        │                                            │ align_rois
//!                                                        └─roi_align──► [R,P,P,C] ──head──► ...       └──► &[AlignedRoi]
//! ```
//!
//! Letters: `H x W` blob, `Hf x Wf` feature map, `C` its channels, `R` RoIs, `P` pooled side, `K` object
//! classes (class 0 is the background, so there are K + 1 scores), `S` the side of R-CNN's input.
//!
//! # Which proposals are detected
//!
//! Any number from 0 to 100,000 and more; the head runs in chunks. A proposal with a coordinate that is
//! not finite, or with `x2 < x1` or `y2 < y1`, is passed over: it yields no detection. A proposal partly
//! or wholly outside the image is pooled where it meets the feature map (bins that do not are 0), and
//! what it detects is clipped to the image.
//!
//! # Features
//!
//! `selective-search`, `motion` and `tracks`, all on by default. Without them, boxes are the caller's, those of a [`Grid`] or those of the
//! network itself.
#![forbid(unsafe_code)]

// Tests of this crate share what makes bundles with those that see it from outside.
#[cfg(test)]
extern crate self as frcnn;

mod area;
mod boxes;
mod cost;
mod crops;
mod detector;
mod error;
mod fusion;
mod head;
mod head_parts;
mod head_stages;
mod judge;
mod model;
mod network;
mod ops;
mod options;
mod plan;
mod plan_cache;
mod planned;
mod pooling;
mod postprocess;
mod preprocess;
mod propose;
mod raise;
mod rois;
mod rpn;
mod session;
mod stream;
mod trunk;
mod tuning;

/// What a bundle holds: its manifest, graphs and weights.
pub use frcnn_bundle as bundle;

/// CPUs, and what layers take on them: what [`LayerTypes`] is made of.
pub mod cpu {
    pub use frcnn_core::{Seen, Window};
    pub use frcnn_kernels::{
        CacheInfo, ConvAlgorithm, ConvShape, ConvWeights, Cpu, Isa, PoolShape, SharedCache, TypeCosts,
        TypeModel,
    };
}

pub use cost::{
    Demand, Excess, LayerCost, LayerTypes, Limits, NOMINAL_ROIS, NetworkCost, Resource, judge_share,
    nominal_rois,
};
pub use detector::Detector;
pub use error::{Error, ErrorKind};
pub use frcnn_bundle::{
    Bundle, Contents, DetectionMethod, Error as BundleError, MAX_DETECTIONS, Manifest, ManifestError,
    Precision, Scores,
};
pub use frcnn_core::{BBox, Detection, Frame, FrameError, NO_ROI, PixelFormat, Roi, RoiLevels, ShapeError};
pub use frcnn_kernels::{AlignedRoi, F32Products};
pub use frcnn_proposals::{Grid, Notice, ProposalMethod, Proposals, Propose};
#[cfg(feature = "selective-search")]
pub use frcnn_proposals::{Mode, SelectiveSearch};
#[cfg(feature = "motion")]
pub use frcnn_proposals::{Motion, MotionOptions};
#[cfg(feature = "tracks")]
pub use frcnn_tracks as tracks;
pub use head::{HeadOutput, NamedTensor};
pub use options::Options;
pub use planned::PlannedLayer;
pub use preprocess::ImageBlob;
pub use propose::RpnProposals;
pub use rois::{AlignedRois, ProjectedRois, Rois};
pub use rpn::RpnOutput;
pub use session::{GraphInput, Session, Timings};
pub use stream::{ExpectedReuse, Reuse, Stream, StreamOptions, Tolerance};
pub use trunk::FeatureMap;
pub use tuning::{TuneReport, TuneStep, Tuned, TunedLayer, Tuning};

/// What threads may share and hand over.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Detector>();
    shared::<Bundle>();
    shared::<Detections>();
    shared::<Error>();
    shared::<FeatureMap>();
    shared::<Frame<'static>>();
    shared::<Options>();
    shared::<Session>();
    shared::<Stream>();
};

/// The detections of one image, best first.
pub type Detections = frcnn_core::Detections<MAX_DETECTIONS>;

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
