//! `frcnn tune`: measures by which algorithms a bundle's convolutions are fastest on this machine.

use std::path::PathBuf;

use frcnn::{Options, TuneReport, TuneStep, TunedLayer, Tuning};
use frcnn_core::Printable;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
use crate::files;
use crate::outputs::{self, Input};
use crate::tables::Column::{Numbers, Words};
use crate::tables::table;

/// Measure which algorithm is fastest for each convolution on this machine, and keep it in BUNDLE.tune
///
/// Every command reads BUNDLE.tune where it lies beside the bundle. Other algorithms change the last bits of scores. On
/// another CPU, or with a network of other layers or sizes, the file is not used; without it algorithms are chosen by a model
/// of their cost. It is written where the whole network gains a hundredth or more. It is used with any number of threads, so
/// that results do not depend on it; measure with as many as the network will run with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn tune model.frcnn
  frcnn tune model.frcnn --threads 2 --json
  frcnn inspect model.frcnn --plan")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Threads that work on one frame [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cost: CostArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let bundle = files::open_bundle(&args.bundle)?;
    let path = Tuning::path(&args.bundle);
    let options = Options {
        threads: args.threads,
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    // Found out before minutes of work.
    outputs::check_output(&path, &[Input::File(&args.bundle)])?;
    drop(files::stage(&path, b"")?);
    let progress = ProgressBar::new(0).with_style(style());
    let step = &mut |step: TuneStep<'_>| {
        progress.set_length(step.layers as u64);
        progress.set_position(step.done as u64);
        progress.set_message(Printable(step.layer.unwrap_or("the whole network")).to_string());
    };
    let report = Tuning::measure(&bundle, &options, step).map_err(|error| match error {
        frcnn::Error::Options(problem) => {
            Error::Usage(format!("{}: {problem}", Printable(args.bundle.display())))
        }
        other => Error::file(&args.bundle, other),
    })?;
    progress.finish_and_clear();
    let written = report.gains();
    if written {
        files::write(&path, &report.tuning.to_bytes())?;
    }
    if args.json {
        #[derive(Serialize)]
        struct Output<'a> {
            #[serde(flatten)]
            report: &'a TuneReport,
            written: Option<String>,
        }
        let written = written.then(|| path.display().to_string());
        return console::json(&Output { report: &report, written });
    }
    if report.tuning.layers.is_empty() {
        return console::result("No layer has a choice of algorithms: there is nothing to tune.\n");
    }
    let outcome = match (written, path.exists()) {
        (true, _) => format!("Written to {}.", Printable(path.display())),
        (false, true) => format!("That is no gain; {} stays as it was.", Printable(path.display())),
        (false, false) => "That is no gain: no file is written.".to_string(),
    };
    console::result(&format!(
        "{}\nTrunk and head of a frame: {:.2} ms by the expected algorithms, {:.2} ms by the fastest. {outcome}\n",
        layers(&report.tuning),
        report.expected_ms,
        report.tuned_ms
    ))
}

fn style() -> ProgressStyle {
    // The template is the program's own.
    ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn layers(tuning: &Tuning) -> String {
    let row = |layer: &TunedLayer| {
        let times = layer.times.iter().map(|(algorithm, ms)| format!("{algorithm} {ms:.3}"));
        let least = layer.times.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        vec![
            layer.layer.clone(),
            layer.shape.clone(),
            least.map_or(String::new(), |(_, ms)| format!("{ms:.3}")),
            times.collect::<Vec<_>>().join(", "),
        ]
    };
    let columns = [
        Words("layer"),
        Words("window, channels, weights, maps"),
        Numbers("least ms"),
        Words("ms by algorithm"),
    ];
    table(&columns, tuning.layers.iter().map(row))
}
