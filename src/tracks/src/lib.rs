//! Objects that last: tracks over the detections of a fixed camera.
//!
//! A detector says what is in each frame; a [`Tracker`] says which of it is the same object as before.
//!
//! ```text
//! observations ──refuse, mask──► ──assign in two rounds──► tracks ──► objects(), events
//!                                        ▲                   │
//!                                        └──Kalman filters───┴──look_again()──► more proposals for the next frame
//! ```
//!
//! - Where an object will be is predicted by a Kalman filter of constant velocity (Bewley et al., *Simple Online and
//!   Realtime Tracking*, ICIP 2016).
//! - Observations of a high score are assigned first, those of a low one to the objects that are left (Zhang et al.,
//!   *ByteTrack*, ECCV 2022). Each round is one optimal assignment.
//! - All rates are in seconds, and frames may come at any times.
//! - An object that stands still is one for as long as the detector finds it when it looks at its place. A motion model
//!   no longer proposes that place, so [`Tracker::look_again`] does.
//!
//! ```
//! use std::time::Duration;
//! use frcnn_core::BBox;
//! use frcnn_tracks::{Change, Looked, Observation, Options, Tracker};
//!
//! let mut tracker = Tracker::new(Options::default())?;
//! for frame in 0..10 {
//!     let x = 10.0 + 4.0 * frame as f32;
//!     let car = Observation { class: 7, score: 0.9, bbox: BBox::new(x, 50.0, x + 39.0, 69.0) };
//!     let time = Duration::from_millis(40 * frame);
//!     for event in tracker.update(time, &[car], Looked::Everywhere) {
//!         assert_eq!((event.change, event.object.id, event.object.class), (Change::Started, 1, 7));
//!     }
//! }
//! assert_eq!(tracker.objects().count(), 1);
//! # Ok::<(), frcnn_tracks::OptionsError>(())
//! ```
#![forbid(unsafe_code)]

mod assign;
mod filter;
mod jitter;
mod object;
mod observation;
mod options;
mod path;
mod polygon;
mod rules;
mod stillness;
mod track;
mod tracker;
mod view;
mod votes;

pub use object::{Change, Event, Object};
pub use observation::{Looked, Observation};
pub use options::{MAX_OBJECTS, MAX_PATH, Options, OptionsError};
pub use path::PathPoint;
pub use polygon::{MAX_POINTS, Polygon, PolygonError};
pub use rules::{ClassRule, MAX_MASKS, MAX_ZONES, Rules, Zone, Zones};
pub use tracker::{Counts, MAX_OBSERVATIONS, Tracker};

/// The example of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
