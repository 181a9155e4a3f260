//! The daemon `frcnn-camera`: finds objects in the frames of one camera or several.
//!
//! ```text
//! source ──► lane (one frame waits) ──┐                                       ┌──► standard output
//! source ──► lane ────────────────────┼──► detector: fair turns ──► Message ──┼──► MQTT
//! source ──► lane ────────────────────┘    one model, one thread pool         └──► HTTP: metrics, page
//! ```
//!
//! Each camera has a thread that reads its source. One thread looks at frames, camera after camera, with the model's pool of
//! threads. The main thread waits for signals and for time to pass.
#![forbid(unsafe_code)]

mod camera;
pub mod config;
mod doors;
mod engine;
pub mod event;
pub mod http;
mod jpeg;
mod logging;
pub mod metrics;
mod model;
pub mod mqtt;
mod names;
mod notify;
mod options;
mod reload;
mod run;
mod shared;
mod signals;
pub mod snapshots;
mod source;
pub mod status;
mod stderr;
mod stdout;
#[cfg(test)]
mod testing;
mod tracking;
mod turns;
mod worker;

pub use run::main;
