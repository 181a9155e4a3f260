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

pub mod config;
pub mod event;
pub mod http;
mod jpeg;
pub mod metrics;
pub mod mqtt;
mod names;
pub mod snapshots;
pub mod status;
#[cfg(test)]
mod testing;
