//! `frcnn compile --precision auto`: the photos, and what is told of the choice.

use std::path::Path;

use frcnn_compiler::{Compiled, Precision};
use frcnn_harness::Board;
use frcnn_harness::auto::{AutoReport, AutoStep, LayerChoice, Score, Subject, choose};
use indicatif::ProgressBar;

use crate::data::{DataArgs, Loader};
use crate::error::Error;
use crate::tables::Column::{Numbers, Words};
use crate::tables::table;
use crate::units;

/// Chooses precisions for `board` by the photos of `root` that `part` names.
pub(crate) fn run(
    exact: &Compiled,
    board: &Board,
    root: &Path,
    part: &DataArgs,
    max_drop: f64,
    spinner: &ProgressBar,
) -> Result<(Compiled, AutoReport), Error> {
    let classes = &exact.bundle.contents().manifest.classes;
    let dataset = part.open(root, Some(classes))?;
    let boxes = part.proposals_for(exact.bundle.contents(), root, dataset.images.len())?.keeping();
    let loader = Loader::new(&dataset, &boxes);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let subject = Subject { exact, board, dataset: &dataset, load: &load, max_drop, workers };
    let (mut last, mut done) = (String::new(), 0);
    let result = choose(&subject, &mut |step| {
        let what = match step {
            AutoStep::Calibrating => "calibrating".to_string(),
            AutoStep::Scoring(what) => format!("scoring {what}"),
        };
        done = if what == last { done + 1 } else { 1 };
        spinner.set_message(format!("{what}: photo {done}"));
        last = what;
        Ok(())
    });
    loader.warn();
    Ok(result?)
}

/// A line for each layer, and what all of them come to.
pub(crate) fn text(report: &AutoReport) -> String {
    let columns = [
        Words("layer"),
        Words("chosen"),
        Numbers("gain"),
        Numbers("of all"),
        Words("fastest"),
        Numbers("alone loses"),
        Numbers("outputs move"),
        Words(""),
    ];
    let row = |layer: &LayerChoice| {
        vec![
            layer.layer.clone(),
            layer.precision.name().to_string(),
            units::percent(layer.gain),
            units::percent(layer.share),
            layer.fastest.name().to_string(),
            layer.loss.map_or(String::new(), |loss| format!("{loss:.2}")),
            layer.drift.map_or(String::new(), units::difference),
            layer.note.unwrap_or_default().to_string(),
        ]
    };
    let board = &report.board;
    let mut text = format!(
        "\nPrecisions for {board}. Gain: the share of a layer's time that its precision saves there, by a model of costs; of all: \
         of the time of these layers in f32. Alone loses: points of mAP when this layer alone is of the fastest precision\n\n"
    );
    text += &table(&columns, report.layers.iter().map(row));
    text += &if report.expected_time < 1.0 {
        format!(
            "\nThese layers are expected to take {} of their time in f32 on {board}\n",
            units::percent(report.expected_time)
        )
    } else if report.layers.iter().all(|layer| layer.fastest == Precision::F32) {
        format!(
            "\nAll layers stay f32: no other type gains 5% of any layer's time on {board}. --precision f16 makes the file half as \
             large all the same\n"
        )
    } else {
        "\nAll layers stay f32: with any other type the network loses more than it may\n".to_string()
    };
    let score = |score: &Score| {
        let Score { photos, before, after, drop } = score;
        format!(
            "mAP {:.2} in f32, {:.2} now, {:.2} points {}, on {}",
            before * 100.0,
            after * 100.0,
            drop.abs(),
            if *drop < 0.0 { "gained" } else { "lost" },
            units::several(*photos, "photo")
        )
    };
    text += &format!("{} that precisions were chosen on\n", score(&report.chosen_on));
    let which = match report.taken_back_by_check {
        0 => "that nothing was chosen on".to_string(),
        steps => format!("for the check, which asked for {} back", units::several(steps, "step")),
    };
    text += &format!("{} {which}\n", score(&report.checked_on));
    if report.layers.iter().any(|layer| layer.precision == Precision::F16) && !frcnn_harness::computes_f16() {
        text += "f16 layers computed in f32 here, with weights rounded to f16: a CPU that computes in f16 rounds what they read and their \
                 sums as well, to 11 significant bits\n";
    }
    text
}
