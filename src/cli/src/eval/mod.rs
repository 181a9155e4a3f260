//! `frcnn eval`: how good a detector is on a data set, or how good somebody else's detections are.

mod detect;
mod report;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use frcnn_core::Printable;
use frcnn_eval::formats::{self, Corners, Kind};
use frcnn_eval::{Dataset, Detection, Problem, RunImage, coco, merge, voc};
use frcnn_harness::Shard;
use frcnn_harness::cascade::{HeadTimes, Measured};
use frcnn_harness::page::{Evaluation, evaluation};

use crate::console;
use crate::cost::CostArgs;
use crate::data::DataArgs;
use crate::error::Error;
use crate::files;
use crate::inputs::decode::PhotoArgs;
use crate::outputs::{self, Input};
use report::EvalReport;

pub(crate) use detect::bar;

/// Score a detector, or detections from a file, on a VOC or COCO data set
///
/// Prints average precision per class by VOC07 (11 points), VOC10+ (area under the curve) and COCO (mean over IoU .50 to
/// .95), as the official programs compute them; `difficult` and `iscrowd` objects count neither way.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  frcnn eval model.frcnn --data VOC2007 --split test --proposals boxes.safetensors
  frcnn eval model.frcnn --data coco --split val2017 --run run.jsonl --html report.html
  frcnn eval --detections results.json --ground-truth coco --split val2017
  frcnn eval --detections found/ --ground-truth VOC2007 --corners xywh

On a cluster, each job a part; any machine puts them together:
  frcnn eval model.frcnn --data VOC2007 --shard 1/8 --run part1.jsonl
  frcnn eval merge part*.jsonl --data VOC2007

Detections:
  NAME.json
      COCO results; where the data set has no ids, image_id is the image's stem and category_id the class's name
  a folder, comp*.txt
      VOC comp4, one file per class: STEM score x1 y1 x2 y2, pixels from 1
  a folder, STEM.txt
      one file per image: class score x1 y1 x2 y2, or with --corners xywh class score x y width height; pixels from 0

--save writes the same, without loss.

A bundle with a cascade is run without it as well: the share of regions that it drops, mAP (VOC10+ at \
IoU 0.5) and the heads' time without and with it follow the scores.

A class without objects has no score and is left out of means. A score that is NaN, an image or \
a COCO category that the data set does not have, and an id that occurs twice are errors.")]
pub(crate) struct Args {
    #[command(subcommand)]
    merge: Option<Merge>,
    #[command(flatten)]
    eval: EvalArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Merge {
    /// Put the parts of a sharded run together and score them
    #[command(after_help = "Examples:
  frcnn eval merge part*.jsonl --data VOC2007 --html report.html")]
    Merge(MergeArgs),
}

#[derive(Debug, clap::Args)]
struct MergeArgs {
    /// Files that `frcnn eval --shard --run` wrote
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    scoring: Scoring,
}

#[derive(Debug, clap::Args)]
struct EvalArgs {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE", required_unless_present = "detections", conflicts_with = "detections")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    scoring: Scoring,
    /// Score these detections instead of a bundle's
    #[arg(long, value_name = "PATH")]
    detections: Option<PathBuf>,
    /// What the detections are [default: .json is coco, a folder with comp*.txt is voc, any other text]
    #[arg(long, value_enum, value_name = "KIND", requires = "detections")]
    detections_format: Option<DetectionFormat>,
    /// Keep each image's detections in FILE as they are found; started again, go on behind them
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "detections")]
    run: Option<PathBuf>,
    /// Only the I-th of N parts of the data set, without scores; see `frcnn eval merge`
    #[arg(long, value_name = "I/N", requires = "run")]
    shard: Option<Shard>,
    /// Images that are worked on at a time, each by one thread [default: the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    photos: PhotoArgs,
    #[command(flatten)]
    cost: CostArgs,
}

/// What to score on, and what to do with the scores.
#[derive(Debug, clap::Args)]
struct Scoring {
    /// The data set's folder, or COCO's annotation file
    // An `Option` for `merge`, whose arguments are its own: what `eval` requires is absent there.
    #[arg(long, value_name = "DIR", visible_alias = "ground-truth", required = true)]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: DataArgs,
    /// Overlap above which VOC counts an object as found
    #[arg(long, default_value_t = 0.5, value_parser = iou)]
    iou: f64,
    /// Write the detections: a .json file for COCO results, or a folder
    #[arg(long, value_name = "PATH")]
    save: Option<PathBuf>,
    /// What to write into the folder [default: coco for .json, else voc]
    #[arg(long, value_enum, value_name = "KIND", requires = "save")]
    save_format: Option<DetectionFormat>,
    /// What the four numbers of text files are
    #[arg(long, value_enum, default_value = "xyxy")]
    corners: CornersArg,
    /// Write a page with precision-recall curves, best thresholds, a confusion matrix, and the worst and best images
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Draw only detections with at least this score, and count only them in the confusion matrix
    #[arg(long, value_name = "SCORE", default_value_t = 0.5, requires = "html")]
    html_score: f64,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DetectionFormat {
    Coco,
    Voc,
    Text,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CornersArg {
    Xyxy,
    Xywh,
}

fn iou(text: &str) -> Result<f64, String> {
    let iou = text.parse().map_err(|_| "not a number")?;
    if (0.0..1.0).contains(&iou) { Ok(iou) } else { Err("must be at least 0 and below 1".to_string()) }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    match &args.merge {
        Some(Merge::Merge(merge)) => merge_parts(merge),
        None => evaluate(&args.eval),
    }
}

fn evaluate(args: &EvalArgs) -> Result<(), Error> {
    args.photos.apply();
    let scoring = &args.scoring;
    let files = [&args.detections, &args.run].into_iter().flatten().map(|path| Input::File(path));
    scoring.check_outputs(files.chain(args.bundle.as_deref().map(Input::Model)).collect())?;
    let mut cascade = None;
    let (dataset, detections, title) = match (&args.bundle, &args.detections) {
        (Some(bundle), _) => {
            let Some((dataset, detections)) = detect::detect(args, bundle)? else { return Ok(()) };
            cascade = detect::cascade(args, bundle, &dataset)?;
            (dataset, detections, bundle)
        }
        (None, Some(path)) => {
            let mut dataset = scoring.part.open(scoring.data()?, None)?;
            let annotated = dataset.classes.len();
            let kind = args.detections_format.map(DetectionFormat::kind);
            let detections = formats::read(path, kind, scoring.corners(), &mut dataset)?;
            for warning in formats::doubts(&dataset, &detections).iter() {
                console::warning(format_args!("{}: {warning}", Printable(path.display())));
            }
            for class in dataset.classes.iter().skip(annotated) {
                console::warning(format_args!(
                    "no object is of class `{}`, which has detections: it gets no score",
                    Printable(class)
                ));
            }
            (dataset, detections, path)
        }
        (None, None) => return Err(Error::Usage("name a BUNDLE or --detections".to_string())),
    };
    scoring.report(&dataset, &detections, title, cascade)
}

fn merge_parts(args: &MergeArgs) -> Result<(), Error> {
    let scoring = &args.scoring;
    scoring.check_outputs(args.parts.iter().map(|path| Input::File(path)).collect())?;
    let (header, images) = merge::<RunImage>(&args.parts)?;
    let classes = [&[String::new()], header.classes.as_slice()].concat();
    let dataset = scoring.part.open(scoring.data()?, Some(&classes))?;
    let first = args.parts.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let detections = detect::detections_of(&dataset, &images, first)?;
    scoring.report(&dataset, &detections, first, None)
}

impl Scoring {
    fn data(&self) -> Result<&Path, Error> {
        self.data.as_deref().ok_or_else(|| Error::Usage("name the data set with --data".to_string()))
    }

    fn corners(&self) -> Corners {
        match self.corners {
            CornersArg::Xyxy => Corners::Inclusive,
            CornersArg::Xywh => Corners::Size,
        }
    }

    /// Before hours of work; `inputs` are read besides the data set.
    fn check_outputs(&self, mut inputs: Vec<Input>) -> Result<(), Error> {
        inputs.push(self.part.input(self.data()?));
        let mut files: Vec<&Path> = self.html.iter().map(PathBuf::as_path).collect();
        match (&self.save, self.save_kind()) {
            (Some(path), Kind::Coco) => files.push(path),
            (Some(path), _) if path.is_file() => {
                return Err(Error::file(path, "is a file; name a folder, or a .json file"));
            }
            (Some(path), _) => outputs::check_text_folder(path, &inputs)?,
            (None, _) => {}
        }
        outputs::check_outputs(&files, &inputs)
    }

    fn save_kind(&self) -> Kind {
        let json = self.save.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e == "json"));
        match self.save_format {
            Some(format) => format.kind(),
            None if json => Kind::Coco,
            None => Kind::Voc,
        }
    }

    fn report(
        &self,
        dataset: &Dataset,
        detections: &[Detection],
        title: &Path,
        cascade: Option<(Measured, HeadTimes)>,
    ) -> Result<(), Error> {
        let (voc, coco) = (voc(dataset, detections, self.iou), coco(dataset, detections));
        if let Some(path) = &self.save {
            formats::write(path, self.save_kind(), self.corners(), dataset, detections)?;
        }
        if let Some(path) = &self.html {
            let title = format!("{} on {} {}", title.display(), self.data()?.display(), self.part.split());
            let page = evaluation(&Evaluation {
                title: &title,
                dataset,
                detections,
                voc: &voc,
                coco: &coco,
                min_score: self.html_score,
            });
            files::write(path, page?.as_bytes())?;
        }
        let report = EvalReport {
            images: dataset.images.len(),
            objects: dataset.truths.len(),
            detections: detections.len(),
            voc,
            coco,
            cascade: cascade.map(|(measured, heads)| report::CascadeEval { measured, heads }),
        };
        if self.json { console::json(&report) } else { console::result(&report.text()) }
    }
}

impl DetectionFormat {
    fn kind(self) -> Kind {
        match self {
            DetectionFormat::Coco => Kind::Coco,
            DetectionFormat::Voc => Kind::Voc,
            DetectionFormat::Text => Kind::Text,
        }
    }
}

/// Some images are in none of the files.
fn incomplete(path: &Path, missing: usize, of: usize, first: &str) -> Error {
    let problem = format!(
        "{missing} of the data set's {of} images are missing, `{first}` among them: run the remaining parts, or name the right --split"
    );
    frcnn_eval::Error { path: path.to_path_buf(), problem: Problem::Run(problem) }.into()
}
