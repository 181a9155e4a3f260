//! `frcnn detect`: images in, detections out.

#[cfg(feature = "compile")]
mod check;
#[cfg(feature = "compile")]
mod parts;
mod pictures;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use frcnn::{Detector, Frame, Grid, Motion, Options, Propose, SelectiveSearch, Session};
use frcnn_core::Printable;
use indicatif::ProgressBar;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
use crate::files;
use crate::inputs::decode::PhotoArgs;
use crate::inputs::images::{self, ImageFile, Inputs};
use crate::inputs::proposals::ProposalFile;
use crate::inputs::{decode, progress_bar};
use crate::products::ProductArgs;
use crate::units;
#[cfg(feature = "compile")]
pub(crate) use check::Check;
use pictures::Pictures;
use report::{ImageReport, Looked};

/// Detect objects in images
///
/// Prints what was found in each image, best first: class, score, and the box x1, y1, x2, y2 in pixels, counted from 0 in
/// the image as it is shown (EXIF orientation applied). x2 and y2 are a box's last pixels, so that it is x2 - x1 + 1 wide;
/// or its edges, and it is x2 - x1 wide, where the manifest's `box_width_offset` and `nms_width_offset` are 0, as of torchvision's
/// and detectron2's detectors (`frcnn inspect` has them as `width offset`). An image that fails is reported by name and the rest go on;
/// the exit code is then 1.
#[derive(Debug, clap::Args)]
#[cfg_attr(
    feature = "compile",
    command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)
)]
#[command(after_help = "Examples:
  frcnn detect model.frcnn photo.jpg --out drawn
  frcnn detect model.frcnn photos/ --proposals boxes.safetensors --json > found.jsonl
  frcnn detect model.frcnn photo.jpg --proposals boxes.json --score-threshold 0.5
  frcnn detect model.frcnn frames/ --proposals-from motion --json
  frcnn detect faster.frcnn photo.jpg --proposals-from rpn

  On a cluster, each job a part (targets/cluster of the source); any machine puts them together:
  frcnn detect model.frcnn photos/ --shard 1/8 --run part1.jsonl
  frcnn detect merge part*.jsonl > found.jsonl

Proposals:
  boxes.safetensors
      one tensor [N, 4] of uint16, int32, int64 or float32 per image, named by the image's stem
  boxes.json
      [[x1, y1, x2, y2], ...] for a single image, or {\"STEM\": [[x1, y1, x2, y2], ...], ...}

Without --proposals they are made of each image, by the network's own RPN if the bundle has one. --proposals-from:
  rpn
      by the network's region proposal network, which is a Faster R-CNN's; as many as its bundle says
  selective-search
      of regions of like colour and texture, in its fast mode
  motion
      around what moves; the images are then frames of one fixed camera, in the order given
  grid
      the same coarse boxes whatever the image shows: objects smaller than a tenth of it are often missed, and the boxes \
      found fit less well")]
pub(crate) struct Args {
    #[cfg(feature = "compile")]
    #[command(subcommand)]
    merge: Option<parts::Merge>,
    #[command(flatten)]
    detect: DetectArgs,
}

#[derive(Debug, clap::Args)]
struct DetectArgs {
    /// A bundle that `frcnn compile` wrote
    // An `Option` for `merge`, whose arguments are its own: what `detect` requires is absent there.
    #[arg(value_name = "BUNDLE", required = true)]
    bundle: Option<PathBuf>,
    /// JPEG or PNG files, whatever they are called; of a folder, those called .jpg, .jpeg, .jpe, .jfif or .png
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Boxes to look at (.safetensors or .json) [default: made of each image]
    #[arg(long, value_name = "FILE")]
    proposals: Option<PathBuf>,
    /// How boxes are made where no file has them [default: rpn if the bundle has one, or selective-search]
    #[arg(long, value_name = "METHOD", conflicts_with = "proposals")]
    proposals_from: Option<ProposalsFrom>,
    /// Boxes made per image at most, other than by an RPN [default: 2000]
    #[arg(long, value_name = "N", conflicts_with = "proposals", value_parser = clap::value_parser!(u32).range(1..))]
    max_proposals: Option<u32>,
    /// Write each image with its detections drawn as DIR/STEM.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object per image and line
    #[arg(long)]
    json: bool,
    /// Threads that work on one image [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Only detections with a greater score [default: the bundle's]
    #[arg(long, value_name = "SCORE")]
    score_threshold: Option<f32>,
    /// At most this many detections per image [default: the bundle's]
    #[arg(long, value_name = "N")]
    max_detections: Option<usize>,
    /// IoU from which a better detection of a class suppresses another [default: the bundle's]
    #[arg(long, value_name = "IOU")]
    nms_iou: Option<f32>,
    #[cfg(feature = "compile")]
    #[command(flatten)]
    part: parts::PartArgs,
    #[command(flatten)]
    products: ProductArgs,
    #[command(flatten)]
    photos: PhotoArgs,
    #[command(flatten)]
    cost: CostArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProposalsFrom {
    Rpn,
    SelectiveSearch,
    Motion,
    Grid,
}

/// Boxes made per image at most, unless it is said.
const MAX_PROPOSALS: u32 = 2000;

/// Where the boxes of an image come from.
enum ProposalSource {
    File(ProposalFile),
    /// The network's own RPN.
    Learned,
    Made {
        by: Box<dyn Propose>,
        max: usize,
    },
}

impl ProposalSource {
    fn open(args: &DetectArgs, detector: &Detector, images: usize) -> Result<ProposalSource, Error> {
        if let Some(path) = &args.proposals {
            return Ok(ProposalSource::File(ProposalFile::open(path, images)?));
        }
        let from = match args.proposals_from {
            Some(from) => from,
            None if detector.has_rpn() => ProposalsFrom::Rpn,
            None => ProposalsFrom::SelectiveSearch,
        };
        let by: Box<dyn Propose> = match from {
            ProposalsFrom::Rpn if !detector.has_rpn() => {
                let problem = format!(
                    "is of a {}, which has no RPN (region proposal network): --proposals-from selective-search, motion or grid",
                    detector.contents().method().name()
                );
                return Err(Error::file(args.bundle()?, problem));
            }
            ProposalsFrom::Rpn if args.max_proposals.is_some() => {
                let problem = "--max-proposals is not for an RPN, which makes as many as its bundle says";
                return Err(Error::Usage(problem.to_string()));
            }
            ProposalsFrom::Rpn => return Ok(ProposalSource::Learned),
            ProposalsFrom::SelectiveSearch => {
                Box::new(SelectiveSearch { threads: detector.threads(), ..SelectiveSearch::default() })
            }
            ProposalsFrom::Motion => Box::new(Motion::new()),
            ProposalsFrom::Grid => Box::new(Grid),
        };
        Ok(ProposalSource::Made { by, max: args.max_proposals.unwrap_or(MAX_PROPOSALS) as usize })
    }
}

impl DetectArgs {
    fn bundle(&self) -> Result<&Path, Error> {
        self.bundle.as_deref().ok_or_else(|| Error::Usage("name a BUNDLE".to_string()))
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    #[cfg(feature = "compile")]
    if let Some(merge) = &args.merge {
        return merge.run();
    }
    detect(&args.detect)
}

fn detect(args: &DetectArgs) -> Result<(), Error> {
    args.photos.apply();
    let detector = open_detector(args)?;
    let Inputs { images, unreadable } = images::list(&args.images);
    let total = images.len() + unreadable.len();
    let source = ProposalSource::open(args, &detector, total)?;
    let (todo, found) = open_found(args, &detector, &images)?;
    let pictures = args.out.as_deref().map(|folder| Pictures::plan(folder, &images)).transpose()?;

    if matches!(source, ProposalSource::File(_))
        && let Some([before, image]) = images::equal_stems(&images)
        && before.path != image.path
    {
        console::warning(format_args!(
            "{}: has the same stem as {}, so both get the same boxes",
            Printable(image.path.display()),
            Printable(before.path.display())
        ));
    }
    unreadable.iter().for_each(console::error);
    let mut worker = Worker { session: detector.session(), detector, source, pictures, found };
    let progress = progress_bar(todo.len());
    let failed = worker.detect_all(&images, &todo, &progress);
    progress.finish_and_clear();
    let failed = failed?;
    #[cfg(feature = "compile")]
    if let Reports::Kept(part) = worker.found {
        part.close(failed)?;
    }
    let tried = todo.len() + unreadable.len();
    match failed + unreadable.len() {
        0 => Ok(()),
        1 if total == 1 => Err(Error::Reported),
        failed => {
            console::error(format_args!("{failed} of {tried} images failed"));
            Err(Error::Reported)
        }
    }
}

/// Which images to look at, by their positions, and where to tell of them.
fn open_found(
    args: &DetectArgs,
    detector: &Detector,
    images: &[ImageFile],
) -> Result<(Vec<usize>, Reports), Error> {
    #[cfg(feature = "compile")]
    if let Some(mut part) = parts::Part::open(args, detector, images)? {
        return Ok((std::mem::take(&mut part.todo), Reports::Kept(part)));
    }
    #[cfg(not(feature = "compile"))]
    let _ = detector;
    Ok(((0..images.len()).collect(), if args.json { Reports::Json } else { Reports::Text }))
}

fn open_detector(args: &DetectArgs) -> Result<Detector, Error> {
    let options = Options {
        threads: args.threads,
        score_threshold: args.score_threshold,
        nms_iou: args.nms_iou,
        max_detections: args.max_detections,
        f32_products: args.products.into(),
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    files::open_detector(args.bundle()?, &options)
}

/// What stays the same from image to image.
struct Worker {
    detector: Detector,
    session: Session,
    source: ProposalSource,
    pictures: Option<Pictures>,
    found: Reports,
}

/// Where detections go.
enum Reports {
    Text,
    Json,
    #[cfg(feature = "compile")]
    Kept(parts::Part),
}

impl Worker {
    /// Reports on the images at `todo` and gives the number of those that failed.
    fn detect_all(
        &mut self,
        images: &[ImageFile],
        todo: &[usize],
        progress: &ProgressBar,
    ) -> Result<usize, Error> {
        let mut failed = 0;
        for &position in todo {
            let Some(image) = images.get(position) else { continue };
            progress.set_message(Printable(image.path.display()).to_string());
            match self.detect(position, image, progress) {
                Ok(()) => {}
                // Nothing more can be told.
                Err(error @ (Error::Closed | Error::Output(_))) => return Err(error),
                // Nothing more can be kept.
                #[cfg(feature = "compile")]
                Err(error @ Error::Eval(_)) => return Err(error),
                Err(error) => {
                    progress.suspend(|| console::error(error));
                    failed += 1;
                }
            }
            progress.inc(1);
        }
        Ok(failed)
    }

    fn detect(&mut self, position: usize, image: &ImageFile, progress: &ProgressBar) -> Result<(), Error> {
        let start = Instant::now();
        let pixels = decode::rgb8(&image.path)?;
        let decode = start.elapsed();

        let (width, height) = pixels.dimensions();
        let of_image = |error: frcnn::Error| Error::file(&image.path, error);
        let frame = Frame::rgb8(pixels.as_raw(), width, height).map_err(|error| of_image(error.into()))?;
        let warn = |text: std::fmt::Arguments<'_>| {
            progress
                .suspend(|| console::warning(format_args!("{}: {text}", Printable(image.path.display()))));
        };
        let (detections, looked) = match &mut self.source {
            ProposalSource::File(file) => {
                let boxes = file.of(image)?;
                let invalid = boxes.iter().filter(|b| !b.is_valid()).count();
                if invalid > 0 {
                    warn(format_args!(
                        "{invalid} of {} proposals are passed over: x2 < x1, y2 < y1 or not finite (a box is x1, y1, x2, y2)",
                        boxes.len()
                    ));
                }
                let looked = Looked { count: boxes.len(), from: "file".to_string(), made_in: Duration::ZERO };
                (self.session.detect(&frame, &boxes).map_err(of_image)?, looked)
            }
            ProposalSource::Learned => {
                let detections = self.session.detect_frame(&frame).map_err(of_image)?;
                (detections, Looked::learned(&self.session))
            }
            ProposalSource::Made { by, max } => {
                let (detections, made) =
                    self.session.detect_with(&frame, by.as_mut(), *max).map_err(of_image)?;
                if let Some(notice) = made.notice {
                    warn(format_args!("{}: {notice}", made.method));
                }
                (detections, Looked::made(&made))
            }
        };

        let not_finite = self.session.not_finite();
        if not_finite > 0 {
            warn(format_args!(
                "{} left out: score or box is not finite (did the training diverge?)",
                units::several(not_finite, "prediction")
            ));
        }
        let picture = match &self.pictures {
            Some(pictures) => Some(pictures.write(position, pixels, &detections, &self.detector)?),
            None => None,
        };
        let report = ImageReport::new(
            image,
            (width, height),
            &detections,
            &self.detector,
            decode,
            &looked,
            &self.session,
        );
        progress.suspend(|| match &mut self.found {
            Reports::Json => console::json(&report),
            Reports::Text => console::result(&report.text(picture)),
            #[cfg(feature = "compile")]
            Reports::Kept(part) => part.add(position, report),
        })
    }
}
