//! What a sweep is doing: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use frcnn_core::Printable;
use frcnn_harness::cascade::CascadeStep;
use frcnn_harness::sweep::{SweepRow, SweepStep};
use indicatif::ProgressBar;

use crate::console;
use crate::eval::bar;
use crate::units;

/// Lines between two settings come no closer.
const PAUSE: Duration = Duration::from_secs(30);

/// Of a sweep over so many settings.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Where there is no terminal.
    lines: bool,
    settings: usize,
    images: usize,
    /// Steps of one kind in a row.
    done: usize,
    what: String,
    last: Instant,
}

impl Progress {
    pub(super) fn new(settings: usize, images: usize) -> Progress {
        let bar = bar((settings * images) as u64);
        let lines = !stderr().is_terminal();
        Progress { bar, lines, settings, images, done: 0, what: String::new(), last: Instant::now() }
    }

    pub(super) fn tell(&mut self, step: SweepStep) {
        super::advance(&self.bar, step);
        match step {
            SweepStep::Compiling(setting) => self.begin(&format!("{}: compiling", Printable(setting))),
            SweepStep::Image(setting) => self.count(&Printable(setting).to_string()),
            SweepStep::Measured(rows) => self.measured(rows),
        }
    }

    pub(super) fn tell_of_cascade(&mut self, step: CascadeStep) {
        match step {
            CascadeStep::Making => self.begin("making judges"),
            CascadeStep::Judging => self.count("judging"),
            CascadeStep::Timing => self.count("measuring times"),
            CascadeStep::Measured(rows) => self.measured(rows),
        }
        self.bar.set_message(format!("{}: {}", self.what, self.done));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&mut self, what: &str) {
        (self.what, self.done) = (what.to_string(), 0);
        self.say(&format!("sweep: {what}"));
    }

    /// One more image.
    fn count(&mut self, what: &str) {
        if self.what != what {
            (self.what, self.done) = (what.to_string(), 0);
        }
        self.done += 1;
        if self.last.elapsed() >= PAUSE {
            self.say(&format!("sweep: {what}: {} of {} images", self.done, self.images));
        }
    }

    fn measured(&mut self, rows: &[SweepRow]) {
        let Some(row) = rows.last() else { return };
        let figures = format!(
            "mAP {:.2} ({:+.2} points lost), {:.1} ms an image, {}",
            row.map * 100.0,
            row.drop,
            units::milliseconds(row.total),
            units::bytes(row.file_bytes)
        );
        // An earlier sweep may have left more than this one asks for.
        let (measured, all) = (rows.len(), self.settings.max(rows.len()));
        self.say(&format!("sweep: {measured} of {all}: {}: {figures}", Printable(&row.setting)));
    }

    fn say(&mut self, line: &str) {
        self.last = Instant::now();
        if self.lines {
            console::note(line);
        }
    }
}
