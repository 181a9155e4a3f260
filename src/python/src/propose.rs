//! Boxes to look at, without a network.

use serde::Deserialize;

use crate::call::{Call, Reply, array_of_boxes};
use crate::error::Failure;
use crate::picture::Image;
use crate::pool::pool;
use crate::source::made;

#[derive(Deserialize)]
struct Arguments {
    image: Image,
    method: String,
    max_proposals: usize,
    threads: Option<usize>,
}

/// Boxes, best first.
pub(crate) fn propose(call: &Call) -> Result<Reply, Failure> {
    let Arguments { image, method, max_proposals, threads } = call.arguments()?;
    let threads = frcnn::Options { threads, ..frcnn::Options::default() }.thread_count();
    let mut by = made(&method, threads)?;
    let pool = pool("threads", threads)?;
    let made = image.with_frame(call, |frame| Ok(pool.install(|| by.propose(frame, max_proposals))))?;
    Reply::new(&(), vec![array_of_boxes(made.boxes.iter())])
}
