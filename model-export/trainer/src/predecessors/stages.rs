//! Stages of training: each done once, and how long it took.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::console;
use crate::error::Error;
use crate::run_dir::RunDir;

/// The stages of a run.
#[derive(Debug)]
pub(super) struct StageRunner {
    log: PathBuf,
}

/// A line of `stages.jsonl`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    stage: &'a str,
    seconds: f64,
}

impl StageRunner {
    pub(super) fn new(run_dir: &RunDir) -> StageRunner {
        StageRunner { log: run_dir.path("stages.jsonl") }
    }

    /// Does a stage unless its output is there. It writes the output last, and whole.
    pub(super) fn run(
        &self,
        stage: &str,
        output: &Path,
        work: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if output.exists() {
            console::note(format_args!("{stage}: {} is there", output.display()));
            return Ok(());
        }
        let begun = Instant::now();
        work(output)?;
        let seconds = begun.elapsed().as_secs_f64();
        console::note(format_args!("{stage}: {seconds:.1} s"));
        let line =
            serde_json::to_string(&Line { stage, seconds }).map_err(|error| Error::file(&self.log, error))?;
        let file = OpenOptions::new().append(true).create(true).open(&self.log);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.map_err(|error| Error::file(&self.log, error))
    }
}
