//! `frcnn proposals`: boxes of a whole data set, made once and kept in a file; and how good they are.

#[cfg(feature = "compile")]
mod measure;
#[cfg(feature = "compile")]
mod recall;
mod store;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use frcnn::{Frame, Grid, Mode, Proposals, Propose, SelectiveSearch};
use frcnn_core::Printable;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::console;
use crate::error::Error;
use crate::inputs::decode::PhotoArgs;
use crate::inputs::images::{self, ImageFile, Inputs};
use crate::inputs::{decode, progress_bar};
use crate::outputs::{Input, check_output};
use crate::units::{self, milliseconds};
use store::{Settings, Store};

/// Make boxes to look at for many images, and measure them
///
/// Writes one tensor [N, 4] of uint16 per image, named by the image's stem: x1, y1, x2, y2 in pixels, corners inclusive,
/// best first. What is done is saved every minute: called again, the command goes on where it was stopped.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  frcnn proposals photos/ -o boxes.safetensors
  frcnn proposals VOC2007/JPEGImages -o boxes.safetensors --mode quality --max-proposals 4000
  frcnn proposals recall --data VOC2007 --split test boxes.safetensors

An image that fails is reported by name and the rest go on; the exit code is then 1. Where all fail, FILE stays as it was. \
Boxes that depend on the frames before (motion) are made by `frcnn detect --proposals-from motion`."
)]
pub(crate) struct Args {
    #[cfg(feature = "compile")]
    #[command(subcommand)]
    recall: Option<Recall>,
    /// JPEG or PNG files, whatever they are called; of a folder, those called .jpg, .jpeg, .jpe, .jfif or .png
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// The file to write, or to continue (.safetensors)
    #[arg(short, long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// How the boxes are made
    #[arg(long, value_name = "METHOD", default_value = "selective-search")]
    from: SingleImageMethod,
    /// Selective search: how many strategies [default: fast]
    #[arg(long)]
    mode: Option<SearchMode>,
    /// Boxes per image at most
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    max_proposals: u32,
    /// Which random order of equally good boxes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images that are worked on at once [default: the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Begin anew where FILE exists
    #[arg(long)]
    force: bool,
    /// One JSON object per image and line, in the order in which they are done
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    photos: PhotoArgs,
}

#[cfg(feature = "compile")]
#[derive(Debug, clap::Subcommand)]
enum Recall {
    Recall(recall::Args),
}

/// Methods that look at one image alone.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum SingleImageMethod {
    SelectiveSearch,
    Grid,
}

/// Strategies of selective search.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum SearchMode {
    /// 8 strategies, about 2000 boxes of a photo
    Fast,
    /// 80 strategies, about 10,000 boxes, ten times slower
    Quality,
    /// 16 strategies that come nearest to the boxes published with Fast R-CNN, thin ones too; about 3000 boxes
    Published,
}

/// What is done is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    #[cfg(feature = "compile")]
    if let Some(Recall::Recall(args)) = &args.recall {
        return recall::run(args);
    }
    let out = args.out.as_deref().ok_or_else(|| Error::Usage("--out FILE is needed".to_string()))?;
    precompute(args, out)
}

fn precompute(args: &Args, out: &Path) -> Result<(), Error> {
    args.photos.apply();
    if args.mode.is_some() && args.from != SingleImageMethod::SelectiveSearch {
        return Err(Error::Usage("--mode is one of selective search".to_string()));
    }
    let Inputs { images, unreadable } = images::list(&args.images);
    let inputs: Vec<Input> = images.iter().map(|image| Input::File(&image.path)).collect();
    check_output(out, &inputs)?;
    refuse_equal_stems(&images)?;
    let mut store = Store::open(out, args.settings(), args.force)?;
    unreadable.iter().for_each(console::error);
    let (known, missing): (Vec<ImageFile>, Vec<ImageFile>) =
        images.into_iter().partition(|image| store.has(&image.stem));

    let progress = progress_bar(known.len() + missing.len());
    progress.inc(known.len() as u64);
    progress.reset_eta();
    let start = Instant::now();
    let outcome = make_all(args, &missing, &mut store, &progress);
    progress.finish_and_clear();
    // Whatever stopped the work, what is done stays done.
    store.save()?;
    let failed = outcome? + unreadable.len();
    let boxes: usize = missing.iter().map(|image| store.count(&image.stem)).sum();
    let made = missing.len() + unreadable.len() - failed;
    if !args.json && store.len() > 0 {
        console::result(&format!(
            "{}: {}, {made} of them new with {boxes} boxes in {:.1} s\n",
            Printable(out.display()),
            units::several(store.len(), "image"),
            start.elapsed().as_secs_f64()
        ))?;
    }
    if failed == 0 {
        return Ok(());
    }
    let all = known.len() + missing.len() + unreadable.len();
    let nothing = if made == 0 { "; nothing was written" } else { "" };
    console::error(format_args!("{failed} of {all} images failed{nothing}"));
    Err(Error::Reported)
}

impl Args {
    fn settings(&self) -> Settings {
        let method = match (self.from, self.search_mode()) {
            (SingleImageMethod::SelectiveSearch, Mode::Fast) => "selective-search fast",
            (SingleImageMethod::SelectiveSearch, Mode::Quality) => "selective-search quality",
            (SingleImageMethod::SelectiveSearch, Mode::Published) => "selective-search published",
            (SingleImageMethod::Grid, _) => "grid",
        };
        Settings { method, seed: self.seed, max_proposals: self.max_proposals }
    }

    fn search_mode(&self) -> Mode {
        match self.mode {
            None | Some(SearchMode::Fast) => Mode::Fast,
            Some(SearchMode::Quality) => Mode::Quality,
            Some(SearchMode::Published) => Mode::Published,
        }
    }

    /// One for each thread.
    fn source(&self) -> Box<dyn Propose> {
        match self.from {
            SingleImageMethod::SelectiveSearch => {
                Box::new(SelectiveSearch { mode: self.search_mode(), seed: self.seed, threads: 1 })
            }
            SingleImageMethod::Grid => Box::new(Grid),
        }
    }

    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(cores, usize::from)
    }
}

/// The stem is the key in the file.
fn refuse_equal_stems(images: &[ImageFile]) -> Result<(), Error> {
    let Some([before, image]) = images::equal_stems(images) else { return Ok(()) };
    let problem =
        format!("has the same stem as {}; write them to two files", Printable(before.path.display()));
    Err(Error::file(&image.path, problem))
}

/// Gives the number of images that failed.
fn make_all(
    args: &Args,
    images: &[ImageFile],
    store: &mut Store,
    progress: &ProgressBar,
) -> Result<usize, Error> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..args.threads().min(images.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                let mut source = args.source();
                while let Some(image) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let made = make(source.as_mut(), image, args.max_proposals as usize);
                    if sender.send((image, made)).is_err() {
                        // Nobody listens any more: the file cannot be written.
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut failed, mut saved) = (0, Instant::now());
        // Moved in, so that it is dropped when saving fails and the threads stop.
        let receiver = receiver;
        for (image, made) in &receiver {
            match made {
                Ok((size, proposals)) => {
                    store.add(&image.stem, &proposals.boxes);
                    if args.json {
                        progress.suspend(|| Line::new(image, size, &proposals).print())?;
                    }
                }
                Err(error) => {
                    progress.suspend(|| console::error(error));
                    failed += 1;
                }
            }
            progress.set_message(Printable(image.path.display()).to_string());
            progress.inc(1);
            if saved.elapsed() > SAVE_EVERY {
                store.save()?;
                saved = Instant::now();
            }
        }
        Ok(failed)
    })
}

fn make(source: &mut dyn Propose, image: &ImageFile, max: usize) -> Result<((u32, u32), Proposals), Error> {
    let pixels = decode::rgb8(&image.path)?;
    let frame = Frame::rgb8(pixels.as_raw(), pixels.width(), pixels.height());
    let frame = frame.map_err(|error| Error::file(&image.path, error))?;
    Ok((pixels.dimensions(), source.propose(&frame, max)))
}

/// What `--json` writes of an image.
#[derive(Serialize)]
struct Line {
    image: String,
    width: u32,
    height: u32,
    proposals: usize,
    /// Without decoding.
    elapsed_ms: f64,
}

impl Line {
    fn new(image: &ImageFile, (width, height): (u32, u32), proposals: &Proposals) -> Line {
        Line {
            image: image.path.display().to_string(),
            width,
            height,
            proposals: proposals.boxes.len(),
            elapsed_ms: milliseconds(proposals.elapsed),
        }
    }

    fn print(&self) -> Result<(), Error> {
        console::json(self)
    }
}
