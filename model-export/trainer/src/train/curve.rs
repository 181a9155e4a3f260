//! The losses so far as a picture.

use frcnn_loss_plot::{Run, png};

use super::log::{self, Line};
use crate::error::Error;
use crate::files;
use crate::run_dir::RunDir;

/// Draws `loss.png` from `log.jsonl`.
pub(super) fn draw(run_dir: &RunDir) -> Result<(), Error> {
    let lines = log::read(&run_dir.path("log.jsonl"))?;
    if lines.is_empty() {
        return Ok(());
    }
    let path = run_dir.path("loss.png");
    let png = png(&run(&lines)).map_err(|error| Error::file(&path, format!("cannot be drawn: {error}")))?;
    files::write(&path, &png)
}

fn run(lines: &[Line]) -> Run<'static> {
    let of = |loss: fn(&Line) -> f64| lines.iter().map(loss).collect::<Vec<f64>>();
    let mut losses = vec![
        ("classification + boxes", of(|line| line.loss_cls + line.loss_bbox)),
        ("classification", of(|line| line.loss_cls)),
        ("boxes", of(|line| line.loss_bbox)),
    ];
    if lines.iter().any(|line| line.loss_rpn_cls.is_some()) {
        losses.push(("anchors", of(|line| line.loss_rpn_cls.unwrap_or_default())));
        losses.push(("anchors' boxes", of(|line| line.loss_rpn_bbox.unwrap_or_default())));
    }
    Run {
        iterations: lines.iter().map(|line| line.iteration).collect(),
        losses,
        learning_rates: of(|line| line.lr),
    }
}
