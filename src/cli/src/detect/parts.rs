//! `frcnn detect --run` and `--shard`: detections that are kept in a file as they are found, by one job or by several, and
//! `frcnn detect merge`, which makes of the files what one command would have printed.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use frcnn::Detector;
use frcnn_core::Printable;
use frcnn_eval::{RunFile, RunHeader, RunLine, merge};
use frcnn_harness::Shard;
use xxhash_rust::xxh3::xxh3_128;

use super::report::ImageReport;
use super::{DetectArgs, ProposalsFrom};
use crate::console;
use crate::error::Error;
use crate::inputs::images::ImageFile;
use crate::runs;
use crate::units;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Merge {
    /// Put the parts of a sharded run together, in the order of one run
    ///
    /// Prints the lines that one `frcnn detect --json` would have printed. All parts must be of the same bundle, options and
    /// images. Images that no part has are counted, and the exit code is then 1.
    #[command(after_help = "Examples:
  frcnn detect merge part*.jsonl > found.jsonl")]
    Merge {
        /// Files that `frcnn detect --shard --run` wrote
        #[arg(value_name = "PART", required = true)]
        parts: Vec<PathBuf>,
    },
}

/// Which images, and where their detections are kept.
#[derive(Debug, clap::Args)]
pub(super) struct PartArgs {
    /// Keep each image's detections in FILE as they are found and print none; started again, go on behind them
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "json")]
    run: Option<PathBuf>,
    /// Only the I-th of N parts of the images; see `frcnn detect merge`
    #[arg(long, value_name = "I/N", requires = "run")]
    shard: Option<Shard>,
}

/// A run's file, and what it does not have yet.
pub(super) struct Part {
    path: PathBuf,
    file: RunFile,
    /// Positions of this part's images.
    mine: usize,
    pub(super) todo: Vec<usize>,
}

/// The key under which a run's file has the number of all images.
const IMAGES: &str = "number of images";

impl RunLine for ImageReport<'static> {
    fn key(&self) -> String {
        // The same file may be named twice.
        format!("{}. {}", self.position().map_or(0, |position| position + 1), self.image())
    }

    fn agrees(&self, other: &Self) -> bool {
        self.finds_the_same(other)
    }
}

impl Part {
    /// None where nothing is to be kept.
    pub(super) fn open(
        args: &DetectArgs,
        detector: &Detector,
        images: &[ImageFile],
    ) -> Result<Option<Part>, Error> {
        let PartArgs { run: Some(path), shard } = &args.part else { return Ok(None) };
        if matches!(args.proposals_from, Some(ProposalsFrom::Motion)) {
            let problem = "--run and --shard are not for --proposals-from motion, which has to see every frame before one";
            return Err(Error::Usage(problem.to_string()));
        }
        let (file, found) = RunFile::open::<ImageReport>(path, &header(args, detector, images))?;
        let shard = shard.unwrap_or(Shard::WHOLE);
        let mine: Vec<usize> = (0..images.len()).filter(|&position| shard.has(position)).collect();
        let mut done = vec![false; images.len()];
        for position in found.iter().filter_map(ImageReport::position) {
            if let Some(done) = done.get_mut(position) {
                *done = true;
            }
        }
        let is_done = |position: usize| done.get(position).copied().unwrap_or_default();
        let todo = mine.iter().copied().filter(|&position| !is_done(position)).collect();
        Ok(Some(Part { path: path.clone(), file, mine: mine.len(), todo }))
    }

    pub(super) fn add(&mut self, position: usize, report: ImageReport) -> Result<(), Error> {
        Ok(self.file.add(&report.kept_at(position))?)
    }

    /// Says what the file has, after all but `failed` images went well.
    pub(super) fn close(self, failed: usize) -> Result<(), Error> {
        console::result(&format!(
            "{}: {}; `frcnn detect merge` puts all parts together\n",
            Printable(self.path.display()),
            units::several(self.mine - failed, "image")
        ))
    }
}

/// What must agree for detections to be of one run.
fn header(args: &DetectArgs, detector: &Detector, images: &[ImageFile]) -> RunHeader {
    let proposals = args.proposals.as_deref().and_then(Path::file_name);
    let method = args.proposals_from.and_then(|method| method.to_possible_value());
    // Jobs may see the same folder at different paths.
    let names =
        images.iter().flat_map(|image| [image.path.file_name().unwrap_or_default().as_encoded_bytes(), b"/"]);
    let names: Vec<u8> = names.flatten().copied().collect();
    runs::header(
        detector,
        [
            ("command", "detect".to_string()),
            (IMAGES, images.len().to_string()),
            ("names of images", format!("{:032x}", xxh3_128(&names))),
            ("--proposals", told(proposals.map(OsStr::to_string_lossy))),
            ("--proposals-from", told(method.as_ref().map(PossibleValue::get_name))),
            ("--max-proposals", told(args.max_proposals)),
            ("--score-threshold", told(args.score_threshold)),
            ("--max-detections", told(args.max_detections)),
            ("--nms-iou", told(args.nms_iou)),
            ("--f32-products", args.products.to_string()),
            ("--lenient", args.photos.to_string()),
        ],
    )
}

fn told(value: Option<impl Display>) -> String {
    value.map_or("not given".to_string(), |value| value.to_string())
}

impl Merge {
    pub(super) fn run(&self) -> Result<(), Error> {
        let Merge::Merge { parts } = self;
        let (header, mut found) = merge::<ImageReport>(parts)?;
        let first = parts.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let (Some("detect"), Some(images)) = (
            header.settings.get("command").map(String::as_str),
            header.settings.get(IMAGES).and_then(|images| images.parse::<usize>().ok()),
        ) else {
            return Err(Error::file(first, "is no file of `frcnn detect --run`"));
        };
        found.sort_by_key(ImageReport::position);
        found.iter().try_for_each(|report| console::json(&report.as_printed()))?;
        let mut positions = found.iter().filter_map(ImageReport::position);
        let absent = (0..images).find(|&position| positions.next() != Some(position));
        match absent {
            Some(absent) => Err(Error::file(
                first,
                format_args!(
                    "{} of the run's {} are in no part, number {} first: the commands of the parts, given again, go on with those",
                    images.saturating_sub(found.len()),
                    units::several(images, "image"),
                    absent + 1
                ),
            )),
            None => Ok(()),
        }
    }
}
