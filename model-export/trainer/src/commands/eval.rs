//! `frcnn-train eval`: average precision of a trained model on a split.

use std::path::PathBuf;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use frcnn_core::Printable;
use frcnn_eval::{Detection, VocClass, voc};
use serde::Serialize;

use super::model::Model;
use crate::console;
use crate::data::{BoxSource, Dataset, decode, region};
use crate::detect::Detector;
use crate::device::Choice;
use crate::error::Error;

/// Average precision of a trained model, per class, at an IoU of 0.5
///
/// Scores by both of PASCAL VOC's rules: VOC07 takes 11 points of the precision-recall curve, VOC10+ its area. Objects
/// marked difficult count neither way. Detections are those of the manifest's thresholds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train eval runs/tiny --data data/synth --split test
  frcnn-train eval model.onnx --data VOC2007 --proposals ss.safetensors --json")]
pub(crate) struct Args {
    /// The folder of a run, or an ONNX file with its manifest.json beside it
    #[arg(value_name = "RUN_DIR|MODEL.onnx")]
    model: PathBuf,
    /// The folder with ImageSets, Annotations and JPEGImages
    #[arg(long, value_name = "VOC_DIR")]
    data: PathBuf,
    /// The split to score
    #[arg(long, default_value = "test")]
    split: String,
    /// Boxes for every photo: selective-search, grid, or a safetensors file with a tensor [N, 4] for each stem; by default
    /// as the run was trained, and selective-search for an ONNX file
    #[arg(long, value_name = "METHOD|FILE")]
    proposals: Option<BoxSource>,
    /// Ablation: a detection's box is its proposal
    #[arg(long)]
    no_bbox: bool,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The overlap above which a detection finds an object.
const IOU: f64 = 0.5;

#[derive(Debug, Serialize)]
struct ClassPrecision {
    class: String,
    objects: usize,
    /// `null` for a class without objects.
    ap_voc07: Option<f64>,
    ap_voc10: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    images: usize,
    classes: Vec<ClassPrecision>,
    map_voc07: Option<f64>,
    map_voc10: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let device = args.device.device()?;
    let model = Model::open(&args.model, device)?;
    let classes = model.manifest.classes.get(1..).unwrap_or_default();
    let data = Dataset::open(&args.data, &args.split, Some(classes))?;
    for line in data.problems.summary() {
        console::warning(line);
    }
    let source = args.proposals.as_ref().unwrap_or(&model.proposals);
    let proposals = source.open(&data.photos, model.boxes.as_deref())?;
    let detector =
        Detector { network: &model.network, manifest: &model.manifest, device, bbox: !args.no_bbox };
    let bar = console::progress(data.photos.len() as u64, "detecting");
    let mut found = Vec::new();
    for (image, photo) in data.photos.iter().enumerate() {
        for detection in detector.detect(&decode(&photo.path)?, &proposals.of(photo)?) {
            found.push(Detection {
                image,
                class: usize::from(detection.class_id).saturating_sub(1),
                score: f64::from(detection.score),
                region: region(&detection.bbox),
            });
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let scores = voc(&data.truth(), &found, IOU);
    let row = |class: &VocClass| ClassPrecision {
        class: class.name.clone(),
        objects: class.objects,
        ap_voc07: class.ap07,
        ap_voc10: class.ap10,
    };
    let report = Report {
        images: data.photos.len(),
        classes: scores.classes.iter().map(row).collect(),
        map_voc07: scores.map07,
        map_voc10: scores.map10,
    };
    if args.json {
        return console::json(&report);
    }
    console::result(&table(&report))
}

fn table(report: &Report) -> String {
    let shown = |ap: Option<f64>| ap.map_or("-".to_string(), |ap| format!("{ap:.4}"));
    const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(["class", "objects", "AP VOC07", "AP VOC10+"]);
    for row in &report.classes {
        table.add_row([
            Printable(&row.class).to_string(),
            row.objects.to_string(),
            shown(row.ap_voc07),
            shown(row.ap_voc10),
        ]);
    }
    let objects: usize = report.classes.iter().map(|row| row.objects).sum();
    table.add_row([
        "mean".to_string(),
        objects.to_string(),
        shown(report.map_voc07),
        shown(report.map_voc10),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt() + "\n"
}
