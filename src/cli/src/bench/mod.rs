//! `frcnn bench`: how fast a bundle runs on this machine, and how much memory it takes.

mod measure;
mod report;
mod scene;
mod stream;
mod work;

use std::path::PathBuf;

use frcnn::Options;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
#[cfg(feature = "compile")]
use crate::files;
use crate::inputs::decode::PhotoArgs;
#[cfg(feature = "compile")]
use crate::outputs::Input;
use crate::products::ProductArgs;
use stream::StreamArgs;
use work::{Size, Work};

/// Measure how fast a bundle runs: opening, first detection, each stage, and peak memory
///
/// Opens the bundle with its file in the page cache, detects once, once more to warm up, and then --runs times. A
/// percentile is one of the times measured (nearest rank); the stages' percentiles need not add up to the total's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn bench model.frcnn
  frcnn bench vgg16.frcnn --size 600x800 --rois 2000 --threads 1 --json > bench.json
  frcnn bench model.frcnn --memory 300M
  frcnn bench model.frcnn --image photo.jpg --proposals boxes.json --runs 50
  frcnn bench model.frcnn --stream --image photo.jpg
  ffmpeg -i street.mp4 frames/%05d.png && frcnn bench model.frcnn --stream --frames frames/

The frame is resized as the bundle's manifest says; the size of the resulting blob is reported. \
Boxes that pool the same features share one pass of the head: the number of distinct RoIs is \
reported as well.

Of a bundle with a cascade, `roi_pool` and `head` have the judge's part in them, and the share that \
it dropped is reported: `dropped`, null where there is no cascade. Of random boxes it is not what it \
is of a photo's own.

A bundle with an RPN proposes by itself, unless --rois or --proposals are given: `rpn` is the maps to \
logits and box deltas of anchors, `proposals` those to boxes. On noise it proposes what it proposes on \
noise: give a photo with --image.

The stages of an R-CNN: `roi_pool` is cutting regions out and warping them, `trunk` runs on each of \
them. It takes a second for some dozen boxes: ask for few with --rois and --runs.

A stream (--stream) keeps what has not changed since the frame before. An object that covers 0, 3, 10, 25, \
50 and 100 % of the picture moves through it; each frame is detected as a whole and in the stream, in turn, \
with boxes that stay, or with those of the bundle's RPN. Both must find the same unless a --tolerance is given. Of frames that were \
given the table has one row.

JSON:
  Sizes are [height, width]; `blob` has one for each of the manifest's scales. Times are in \
  milliseconds. `peak_rss_mib` is null where the system does not tell (Linux does).")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Height and width of a random frame in pixels
    #[arg(long, value_name = "HxW", default_value = "600x800", conflicts_with = "image")]
    size: Size,
    /// Number of random boxes [default: 2000; none if the bundle has an RPN, which then makes them]
    #[arg(long, value_name = "N", conflicts_with = "proposals", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rois: Option<u32>,
    /// Threads that work on one frame [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Detections to measure
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// A photo in place of the random frame
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The photo's boxes (.safetensors or .json), in place of random ones
    #[arg(long, value_name = "FILE", requires = "image")]
    proposals: Option<PathBuf>,
    /// Which random frame and boxes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stream: StreamArgs,
    #[command(flatten)]
    products: ProductArgs,
    #[command(flatten)]
    photos: PhotoArgs,
    #[command(flatten)]
    cost: CostArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    args.photos.apply();
    let options = Options {
        threads: args.threads,
        f32_products: args.products.into(),
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    if args.stream.stream {
        return run_stream(args, &options);
    }
    let work = work(args)?;
    let report = measure::measure(&args.bundle, &work, given(args), &options, args.runs)?;
    if args.json { console::json(&report) } else { console::result(&report.text()) }
}

/// Whether boxes were asked for that are not the network's own.
fn given(args: &Args) -> bool {
    args.rois.is_some() || args.proposals.is_some()
}

/// Random boxes.
fn rois(args: &Args) -> u32 {
    args.rois.unwrap_or(2000)
}

fn work(args: &Args) -> Result<Work, Error> {
    match &args.image {
        Some(image) => Work::of_photo(image, args.proposals.as_deref(), rois(args), args.seed),
        None => Ok(Work::random(args.size, rois(args), args.seed)),
    }
}

fn run_stream(args: &Args, options: &Options) -> Result<(), Error> {
    #[cfg(feature = "compile")]
    if let Some(path) = &args.stream.plot {
        let files = args.image.iter().chain(&args.proposals).map(|path| Input::File(path));
        let inputs: Vec<Input> = files.chain([Input::Model(&args.bundle)]).collect();
        stream::check_plot(path, &inputs)?;
    }
    let work = |first| match first {
        Some(pixels) => Ok(Work::of_pixels(pixels, rois(args), args.seed)),
        None => work(args),
    };
    let report = stream::measure(&args.bundle, &args.stream, work, given(args), options, args.runs)?;
    #[cfg(feature = "compile")]
    if let Some(path) = &args.stream.plot {
        files::write(path, report.plot()?.as_bytes())?;
    }
    if args.json { console::json(&report) } else { console::result(&report.text()) }
}
