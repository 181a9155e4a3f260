//! `frcnn bench`: how fast a bundle runs on this machine, and how much memory it takes.

mod measure;
mod report;
mod work;

use std::path::PathBuf;

use frcnn::Options;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
use crate::products::ProductArgs;
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

The frame is resized as the bundle's manifest says; the size of the resulting blob is reported.
Boxes that pool the same features share one pass of the head: the number of distinct RoIs is
reported as well.

The stages of an R-CNN: `roi_pool` is cutting regions out and warping them, `trunk` runs on each of
them. It takes a second for some dozen boxes: ask for few with --rois and --runs.

JSON:
  Sizes are [height, width]; `blob` has one for each of the manifest's scales. Times are in
  milliseconds. `peak_rss_mib` is null where the system does not tell (Linux does).")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Height and width of a random frame in pixels
    #[arg(long, value_name = "HxW", default_value = "600x800", conflicts_with = "image")]
    size: Size,
    /// Number of random boxes
    #[arg(long, value_name = "N", default_value_t = 2000, conflicts_with = "proposals",
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rois: u32,
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
    products: ProductArgs,
    #[command(flatten)]
    cost: CostArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let work = match &args.image {
        Some(image) => Work::of_photo(image, args.proposals.as_deref(), args.rois, args.seed)?,
        None => Work::random(args.size, args.rois, args.seed),
    };
    let options = Options {
        threads: args.threads,
        f32_products: args.products.into(),
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    let report = measure::measure(&args.bundle, &work, &options, args.runs)?;
    if args.json { console::json(&report) } else { console::result(&report.text()) }
}
