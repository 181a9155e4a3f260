//! How training goes: a progress bar, and `log.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::console;
use crate::error::Error;
use crate::files;
use crate::run_dir::RunDir;

/// Iterations that one line of the log is the mean of.
const PER_LINE: u64 = 20;

/// A line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Iterations done so far.
    pub(super) iteration: u64,
    /// Classification loss, mean since the line before.
    pub(super) loss_cls: f64,
    /// Bounding-box loss times lambda, mean since the line before.
    pub(super) loss_bbox: f64,
    /// The same of a region proposal network's anchors, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss_rpn_cls: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss_rpn_bbox: Option<f64>,
    pub(super) lr: f64,
    pub(super) images_per_s: f64,
}

/// The log of a run that goes on.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bar: ProgressBar,
    images_per_batch: usize,
    since: Instant,
    /// Of each loss.
    sums: Vec<f64>,
    count: u64,
    lr: f64,
    iteration: u64,
}

impl Log {
    /// Goes on with the log at `iteration`: lines beyond, of a run that was interrupted, are taken out.
    pub(crate) fn open(
        run_dir: &RunDir,
        iteration: u64,
        total: u64,
        images_per_batch: usize,
    ) -> Result<Log, Error> {
        let path = run_dir.path("log.jsonl");
        let kept: Vec<Line> = read(&path)?.into_iter().filter(|line| line.iteration <= iteration).collect();
        let mut text = String::new();
        for line in &kept {
            text += &json(line, &path)?;
        }
        files::write(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| Error::file(&path, error))?;
        let bar = console::styled(total, "{bar:24} {pos}/{len}  {msg}  {eta} left");
        bar.set_position(iteration);
        bar.reset_eta();
        let since = Instant::now();
        Ok(Log { path, file, bar, images_per_batch, since, sums: Vec::new(), count: 0, lr: 0.0, iteration })
    }

    /// One more iteration: the losses of classes and of boxes, and both of a region proposal network where there is one.
    pub(crate) fn add(&mut self, iteration: u64, losses: &[f64], lr: f64) -> Result<(), Error> {
        self.bar.set_position(iteration);
        self.iteration = iteration;
        self.lr = lr;
        self.count += 1;
        self.sums.resize(losses.len(), 0.0);
        for (sum, loss) in self.sums.iter_mut().zip(losses) {
            *sum += loss;
        }
        if iteration.is_multiple_of(PER_LINE) { self.flush() } else { Ok(()) }
    }

    /// Writes what has been added since the last line.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.count == 0 {
            return Ok(());
        }
        let count = self.count as f64;
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        let mean = |loss: usize| Some(self.sums.get(loss)? / count);
        let line = Line {
            iteration: self.iteration,
            loss_cls: mean(0).unwrap_or_default(),
            loss_bbox: mean(1).unwrap_or_default(),
            loss_rpn_cls: mean(2),
            loss_rpn_bbox: mean(3),
            lr: self.lr,
            images_per_s: count * self.images_per_batch as f64 / seconds,
        };
        let rpn = match (line.loss_rpn_cls, line.loss_rpn_bbox) {
            (Some(cls), Some(bbox)) => format!("  rpn {cls:.3} {bbox:.3}"),
            _ => String::new(),
        };
        self.bar.set_message(format!(
            "cls {:.3}  bbox {:.3}{rpn}  lr {:.0e}  {:.1} images/s",
            line.loss_cls, line.loss_bbox, line.lr, line.images_per_s
        ));
        let text = json(&line, &self.path)?;
        self.file.write_all(text.as_bytes()).map_err(|error| Error::file(&self.path, error))?;
        (self.since, self.sums, self.count) = (Instant::now(), Vec::new(), 0);
        Ok(())
    }
}

fn json(line: &Line, path: &std::path::Path) -> Result<String, Error> {
    Ok(serde_json::to_string(line).map_err(|error| Error::file(path, error))? + "\n")
}

/// The lines so far; a last one that was cut off is passed over.
pub(super) fn read(path: &std::path::Path) -> Result<Vec<Line>, Error> {
    let Ok(file) = File::open(path) else { return Ok(Vec::new()) };
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| Error::file(path, error))?;
        if let Ok(line) = serde_json::from_str(&line) {
            lines.push(line);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_log_forgets_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(folder.path());
        let mut log = Log::open(&run_dir, 0, 100, 2).unwrap();
        for i in 1..=60 {
            log.add(i, &[1.0, i as f64], 0.1).unwrap();
        }
        let lines = read(&run_dir.path("log.jsonl")).unwrap();
        assert_eq!(lines.iter().map(|l| l.iteration).collect::<Vec<_>>(), [20, 40, 60]);
        assert_eq!((lines[1].loss_cls, lines[1].loss_bbox), (1.0, 30.5));
        let mut log = Log::open(&run_dir, 40, 100, 2).unwrap();
        log.add(41, &[1.0, 2.0, 3.0, 4.0], 0.1).unwrap();
        log.flush().unwrap();
        let lines = read(&run_dir.path("log.jsonl")).unwrap();
        assert_eq!(lines.iter().map(|l| l.iteration).collect::<Vec<_>>(), [20, 40, 41]);
        assert_eq!((lines[1].loss_rpn_cls, lines[2].loss_rpn_cls), (None, Some(3.0)));
        assert_eq!(lines[2].loss_rpn_bbox, Some(4.0));
    }
}
