//! `frcnn proposals recall`: how many of a data set's objects some box comes near.

use std::path::{Path, PathBuf};

use frcnn_core::Printable;
use frcnn_eval::{Dataset, Location};
use serde::Serialize;

use super::measure::{ClassRecall, Coverage, IOUS, Point};
use crate::console;
use crate::error::Error;
use crate::files;
use crate::inputs::images::ImageFile;
use crate::inputs::progress_bar;
use crate::inputs::proposals::ProposalFile;
use crate::outputs::{Input, check_output};
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use frcnn_images::draw::plot::{Curve, plot};

/// Measure how well boxes cover the objects of a data set
///
/// Recall is the share of the objects that some box overlaps by an IoU of at least 0.5, 0.7 and 0.9. ABO is the mean over a
/// class's objects of the best overlap, MABO the mean of that over the classes. Objects that are difficult or have no area
/// are passed over.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn proposals recall --data VOC2007 --split test boxes.safetensors
  frcnn proposals recall --data VOC2007 --split test boxes.safetensors --plot recall.png

The data set is in PASCAL VOC layout (Annotations/STEM.xml, ImageSets/Main/SPLIT.txt) or COCO's \
(annotations/instances_SPLIT.json).")]
pub(super) struct Args {
    /// Boxes that `frcnn proposals` wrote (.safetensors or .json)
    #[arg(value_name = "FILE")]
    proposals: PathBuf,
    /// The data set's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of its images
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// Draw recall against the number of boxes
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    images: usize,
    boxes_per_image: f64,
    passed_over: usize,
    ious: [f64; 3],
    classes: Vec<ClassRecall>,
    mabo: f64,
    curve: Vec<Point>,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let location = Location::new(&args.data, &args.split);
    if let Some(path) = &args.plot {
        let dataset = Input::DataSet { location: location.clone(), boxes: None };
        check_output(path, &[Input::File(&args.proposals), dataset])?;
    }
    let dataset = Dataset::open(&location)?;
    for warning in dataset.warnings.iter() {
        console::warning(format_args!("{}: {warning}", Printable(args.data.display())));
    }
    let proposals = ProposalFile::open(&args.proposals, dataset.images.len())?;
    let mut objects = vec![Vec::new(); dataset.images.len()];
    for truth in &dataset.truths {
        objects[truth.image].push(truth);
    }
    let mut coverage = Coverage::new(&dataset.classes);
    let progress = progress_bar(dataset.images.len());
    for (image, objects) in dataset.images.iter().zip(objects) {
        let key = ImageFile { path: image.path.clone(), stem: image.stem.clone() };
        coverage.add(objects.into_iter(), &proposals.of(&key)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    if coverage.objects() == 0 {
        return Err(Error::file(
            &args.data,
            format!("the images of `{}` have no objects that count", args.split),
        ));
    }

    let report = Report::new(&coverage);
    if let Some(path) = &args.plot {
        files::write(path, &report.plot(path)?)?;
    }
    if args.json { console::json(&report) } else { console::result(&report.text()) }
}

impl Report {
    fn new(coverage: &Coverage) -> Report {
        let curve = coverage.curve();
        Report {
            images: coverage.images,
            boxes_per_image: coverage.boxes as f64 / coverage.images.max(1) as f64,
            passed_over: coverage.passed_over,
            ious: IOUS,
            classes: coverage.rows(),
            mabo: curve.last().map_or(0.0, |point| point.mabo),
            curve,
        }
    }

    fn text(&self) -> String {
        let share = |value: &f64| format!("{value:.3}");
        let recall = |row: &[f64; 3]| row.iter().map(share).collect::<Vec<String>>();
        let at = [Numbers("recall@0.5"), Numbers("@0.7"), Numbers("@0.9")];
        let classes = table(
            &[&[Words("class"), Numbers("objects")], &at[..], &[Numbers("ABO")]].concat(),
            self.classes.iter().map(|row| {
                let names = vec![row.class.clone(), row.objects.to_string()];
                [names, recall(&row.recall), vec![share(&row.average_best_overlap)]].concat()
            }),
        );
        let curve = table(
            &[&[Numbers("first boxes")], &at[..], &[Numbers("MABO")]].concat(),
            self.curve.iter().map(|point| {
                [vec![point.boxes.to_string()], recall(&point.recall), vec![share(&point.mabo)]].concat()
            }),
        );
        let summary = pairs(&[
            ("images", self.images.to_string()),
            ("boxes per image", format!("{:.0}", self.boxes_per_image)),
            ("objects passed over", self.passed_over.to_string()),
            ("MABO", share(&self.mabo)),
        ]);
        format!("{summary}\n{classes}\n{curve}")
    }

    /// A PNG.
    fn plot(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let curve = |name: String, value: &dyn Fn(&Point) -> f64| Curve {
            name,
            points: self.curve.iter().map(|point| (point.boxes as f64, value(point))).collect(),
        };
        let recalls =
            IOUS.iter().enumerate().map(|(i, iou)| curve(format!("recall@{iou}"), &|p| p.recall[i]));
        let curves: Vec<Curve> = recalls.chain([curve("MABO".to_string(), &|p| p.mabo)]).collect();
        plot("boxes per image", &curves).map_err(|error| Error::file(path, error))
    }
}
