//! The service as its clients find it: each test starts `frcnn-serve` on the demo model and talks to it over sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a test's failure"
)]

mod doods;
mod fixture;
mod limits;
mod vision;
mod zmq;
