//! `frcnn compile --cascade`: what is asked for, the photos, and what is told of it.

use std::path::Path;

use frcnn::cpu::TypeModel;
use frcnn_compiler::Compiled;
use frcnn_harness::cascade::{
    CascadeReport, CascadeStep, HeadTimes, Measured, Photos, choose, doubt, measure,
};
use indicatif::ProgressBar;

use crate::console;
use crate::data::{DataArgs, Loader};
use crate::error::Error;
use crate::units;

/// What `--cascade` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CascadeChoice {
    Auto,
    ByHand { rank: usize, keep: f32 },
}

impl CascadeChoice {
    /// Reads `auto`, or `rank=64,keep=0.02` in either order.
    pub(crate) fn parse(text: &str) -> Result<CascadeChoice, String> {
        if text == "auto" {
            return Ok(CascadeChoice::Auto);
        }
        let wrong = || format!("`{text}` is neither auto nor such as rank=64,keep=0.02");
        let (mut rank, mut keep) = (None, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), value.trim());
            match name {
                "rank" if rank.is_none() => rank = Some(value.parse().map_err(|_| wrong())?),
                "keep" if keep.is_none() => {
                    keep = Some(value.parse().ok().filter(|keep: &f32| keep.is_finite()).ok_or_else(wrong)?);
                }
                _ => return Err(wrong()),
            }
        }
        rank.zip(keep).map(|(rank, keep)| CascadeChoice::ByHand { rank, keep }).ok_or_else(wrong)
    }
}

/// The network with the cascade that `choice` asks for, chosen or measured on the photos of `data` that `part` names.
pub(crate) fn run(
    compiled: Compiled,
    choice: CascadeChoice,
    data: Option<(&Path, &DataArgs)>,
    (max_drop, model): (f64, &TypeModel),
    spinner: &ProgressBar,
) -> Result<(Compiled, Option<CascadeReport>), Error> {
    let by_hand = match choice {
        CascadeChoice::Auto => None,
        CascadeChoice::ByHand { rank, keep } => {
            spinner.set_message("making the cascade's judge");
            compiled.with_cascades(&[rank], keep).map_err(|problem| Error::Usage(problem.to_string()))?.pop()
        }
    };
    let Some((root, part)) = data else {
        if let Some(doubt) = by_hand.as_ref().and_then(doubt) {
            spinner.suspend(|| console::warning(doubt));
        }
        return Ok((by_hand.unwrap_or(compiled), None));
    };
    let dataset = part.open(root, Some(&compiled.bundle.contents().manifest.classes))?;
    let boxes = part.proposals_for(compiled.bundle.contents(), root, dataset.images.len())?;
    let loader = Loader::new(&dataset, &boxes);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let photos = Photos { dataset: &dataset, load: &load, threads: None };
    let mut progress = told_on(spinner);
    let result = match &by_hand {
        Some(by_hand) => measure(by_hand, photos, &mut progress),
        None => choose(&compiled, photos, max_drop, model, &mut progress),
    };
    loader.warn();
    let (compiled, report) = result?;
    Ok((compiled, Some(report)))
}

/// Tells a spinner what is done.
pub(crate) fn told_on(
    spinner: &ProgressBar,
) -> impl FnMut(CascadeStep) -> Result<(), frcnn_harness::Error> + use<'_> {
    let mut last = ("", 0);
    move |step| {
        let what = match step {
            CascadeStep::Making => "making judges",
            CascadeStep::Judging => "judging",
            CascadeStep::Timing | CascadeStep::Measured(_) => "measuring times",
        };
        last = (what, if what == last.0 { last.1 + 1 } else { 1 });
        spinner.set_message(format!("{what}: {}", last.1));
        Ok(())
    }
}

/// What a cascade drops and what that costs, the same on every run. What it saves is [`times_text`]'s.
pub(crate) fn text(report: &CascadeReport) -> String {
    let CascadeReport { judge: Some(judge), .. } = report else {
        return format!(
            "\nNo cascade: with every judge and threshold that was tried the network loses more than {} points of mAP on half of \
             the photos, or saves nothing\n",
            report.max_drop / 2.0
        );
    };
    let mut text = format!(
        "\nCascade: a judge of rank {}, {} of the head's multiply-accumulates, drops regions that it gives less than {}\n",
        judge.rank,
        units::percent(judge.cost),
        judge.keep
    );
    if let Some(chosen_on) = &report.chosen_on {
        text += &format!("{} that the threshold was chosen on\n", measured(chosen_on));
    }
    let which = match (&report.chosen_on, report.steps_back) {
        (None, _) | (_, 0) => "that the threshold was not chosen on".to_string(),
        (_, steps) => format!("for the check, which asked for {steps} steps back"),
    };
    if let Some(checked_on) = &report.checked_on {
        text += &format!("{} {which}\n", measured(checked_on));
    }
    text
}

pub(crate) fn measured(measured: &Measured) -> String {
    let Measured { photos, dropped, before, after, drop } = measured;
    format!(
        "{} of the regions dropped, mAP {:.2} without, {:.2} with it, {drop:.2} points lost, on {photos} photos",
        units::percent(*dropped),
        before * 100.0,
        after * 100.0
    )
}

/// The heads' time without and with a cascade.
pub(crate) fn times_text(times: &HeadTimes) -> String {
    let &HeadTimes { before_ms, after_ms, total_before_ms, total_after_ms, photos, threads } = times;
    let ratio = |after: f64, before: f64| format!("{:.2} x", after / before.max(f64::MIN_POSITIVE));
    let plural = if threads == 1 { "" } else { "s" };
    let nothing = "The cascade gains no time here: judge it on a quiet machine, or compile without it.\n";
    format!(
        "Heads (RoI pooling, judge and head): {before_ms:.1} ms without, {after_ms:.1} ms with it ({}); whole detections \
         {total_before_ms:.1} and {total_after_ms:.1} ms ({}): medians of {photos} photos on {threads} thread{plural}\n{}",
        ratio(after_ms, before_ms),
        ratio(total_after_ms, total_before_ms),
        if after_ms < before_ms { "" } else { nothing },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked_for() {
        let by_hand = |rank, keep| Ok(CascadeChoice::ByHand { rank, keep });
        assert_eq!(CascadeChoice::parse("auto"), Ok(CascadeChoice::Auto));
        assert_eq!(CascadeChoice::parse("rank=64,keep=0.02"), by_hand(64, 0.02));
        assert_eq!(CascadeChoice::parse("keep=-1, rank=8"), by_hand(8, -1.0));
        for text in [
            "",
            "none",
            "rank=64",
            "keep=0.02",
            "rank=64,keep=0.02,keep=0.1",
            "rank=64;keep=0.02",
            "rank=-1,keep=0.02",
            "rank=6.5,keep=0.02",
            "rank=64,keep=NaN",
            "rank=64,keep=inf",
            "rank=64,keep=",
            "rank=64,keep=0.02,",
        ] {
            let problem = CascadeChoice::parse(text).unwrap_err();
            assert!(problem.contains("rank=64,keep=0.02"), "{text}: {problem}");
        }
    }
}
