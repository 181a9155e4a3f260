//! A bundle's detections on a data set.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use frcnn::{Detector, Options};
use frcnn_core::Printable;
use frcnn_eval::{Dataset, Detection, Problem, RunFile, RunHeader, RunImage};
use frcnn_harness::cascade::{HeadTimes, Measured, Photos, measure_bundle};
use frcnn_harness::{Finished, Shard, run};
use indicatif::{ProgressBar, ProgressStyle};

use super::{EvalArgs, incomplete};
use crate::console;
use crate::data::Loader;
use crate::error::Error;
use crate::files;
use crate::runs;
use crate::units;

/// None if only a part was to be run.
pub(super) fn detect(args: &EvalArgs, bundle: &Path) -> Result<Option<(Dataset, Vec<Detection>)>, Error> {
    let scoring = &args.scoring;
    // Images side by side, each on one thread, is the quickest way through many.
    let options = Options {
        threads: Some(1),
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    let detector = files::open_detector(bundle, &options)?;
    let dataset = scoring.part.open(scoring.data()?, Some(&detector.manifest().classes))?;
    let data = scoring.data()?;
    let proposals = scoring.part.proposals_for(detector.contents(), data, dataset.images.len())?;

    let opened =
        args.run.as_deref().map(|path| RunFile::open::<RunImage>(path, &header(args, &detector, &dataset)));
    let (mut file, mut found) =
        opened.transpose()?.map_or((None, Vec::new()), |(file, found)| (Some(file), found));
    let done = by_stem(&found);
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let stem = |position: usize| dataset.images.get(position).map_or("", |image| image.stem.as_str());
    let mine: Vec<usize> = (0..dataset.images.len()).filter(|&position| shard.has(position)).collect();
    let todo: Vec<usize> =
        mine.iter().copied().filter(|&position| !done.contains_key(stem(position))).collect();

    let progress = bar(mine.len() as u64);
    progress.set_position((mine.len() - todo.len()) as u64);
    let workers = args.threads.map_or_else(workers, usize::from);
    let mut failed = 0;
    let loader = Loader::new(&dataset, &proposals);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let outcome = run(&detector, &dataset, &todo, workers, load, |Finished { image, outcome, .. }| {
        progress.set_message(Printable(&image.stem).to_string());
        match outcome {
            Ok((image, _)) => {
                file.as_mut().map_or(Ok(()), |file| file.add(&image))?;
                found.push(image);
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| console::error(error));
            }
        }
        progress.inc(1);
        Ok(())
    });
    progress.finish_and_clear();
    loader.warn();
    outcome?;
    if failed > 0 {
        let again = if args.run.is_some() { "; the same command goes on with those" } else { "" };
        console::error(format_args!("{failed} of {} images failed, so there is no score{again}", mine.len()));
        return Err(Error::Reported);
    }
    if let (Some(shard), Some(path)) = (args.shard, &args.run)
        && shard != Shard::WHOLE
    {
        let text = format!(
            "{}: {}; `frcnn eval merge` scores all parts\n",
            Printable(path.display()),
            units::several(mine.len(), "image")
        );
        return console::result(&text).map(|()| None);
    }
    let detections = detections_of(&dataset, &found, args.run.as_deref().unwrap_or(bundle))?;
    Ok(Some((dataset, detections)))
}

/// What the bundle's cascade does on the data set, if it has one: each photo is run without it as well.
pub(super) fn cascade(
    args: &EvalArgs,
    path: &Path,
    dataset: &Dataset,
) -> Result<Option<(Measured, HeadTimes)>, Error> {
    let bundle = files::open_bundle(path)?;
    if bundle.contents().cascade.is_none() {
        return Ok(None);
    }
    let scoring = &args.scoring;
    let data = scoring.data()?;
    let proposals = scoring.part.proposals_for(bundle.contents(), data, dataset.images.len())?;
    let loader = Loader::new(dataset, &proposals);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let photos = Photos { dataset, load: &load, threads: args.threads.map(usize::from) };
    let progress = bar(dataset.images.len() as u64);
    progress.set_message("without the cascade");
    let measured = measure_bundle(&Arc::new(bundle), photos, &mut |_| {
        progress.inc(1);
        Ok(())
    });
    progress.finish_and_clear();
    Ok(Some(measured?))
}

/// In the data set's order, so that results do not depend on which image was finished first.
pub(super) fn detections_of(
    dataset: &Dataset,
    images: &[RunImage],
    path: &Path,
) -> Result<Vec<Detection>, Error> {
    let found = by_stem(images);
    let stems = dataset.stems();
    if let Some(image) = images.iter().find(|image| !stems.contains_key(image.image.as_str())) {
        let (id, hint) = (format!("`{}`", image.image), "; name the right --data and --split".to_string());
        let problem = Problem::Unknown { what: "image", id, hint };
        return Err(frcnn_eval::Error { path: path.to_path_buf(), problem }.into());
    }
    let missing: Vec<&str> = dataset
        .images
        .iter()
        .map(|image| image.stem.as_str())
        .filter(|stem| !found.contains_key(stem))
        .collect();
    if let Some(first) = missing.first() {
        return Err(incomplete(path, missing.len(), dataset.images.len(), first));
    }
    let mut detections = Vec::new();
    for (position, image) in dataset.images.iter().enumerate() {
        if let Some(found) = found.get(image.stem.as_str()) {
            detections.extend(found.detections(dataset, position, path)?);
        }
    }
    Ok(detections)
}

fn by_stem(images: &[RunImage]) -> HashMap<&str, &RunImage> {
    images.iter().map(|image| (image.image.as_str(), image)).collect()
}

/// What must agree for detections to be of one run.
fn header(args: &EvalArgs, detector: &Detector, dataset: &Dataset) -> RunHeader {
    let [split, images, proposals] = args.scoring.part.settings();
    let mut header = runs::header(
        detector,
        [split, images, proposals, ("number of images", dataset.images.len().to_string())],
    );
    // Files that frcnn wrote before it brought continuous corners to inclusive ones are of another run.
    if detector.manifest().corners_are_edges() {
        header.settings.insert("corners".to_string(), "inclusive".to_string());
    }
    header
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Hidden by itself where standard error is no terminal.
pub(crate) fn bar(images: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left  {wide_msg}");
    ProgressBar::new(images).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
