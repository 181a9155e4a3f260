//! `frcnn-train eval`: average precision of a trained model on a split.

use std::path::PathBuf;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use frcnn_bundle::MAX_PROPOSALS;
use frcnn_core::{BBox, Printable};
use frcnn_eval::{Detection, VocClass, voc};
use serde::Serialize;

use super::model::Model;
use super::recall::{BOXES, Recall, Row};
use crate::console;
use crate::data::{BoxSource, Dataset, decode, region};
use crate::detect::Detector;
use crate::device::Choice;
use crate::error::Error;

/// Average precision of a trained model, per class, at an IoU of 0.5
///
/// Scores by both of PASCAL VOC's rules: VOC07 takes 11 points of the precision-recall curve, VOC10+ its area. Objects
/// marked difficult count neither way. Detections are those of the manifest's thresholds.
///
/// Recall is the share of the objects that some proposal overlaps by an IoU of 0.5 and of 0.7, among the first 100, 300 and
/// 1000 of each photo. A network that makes proposals is judged on these, unless --proposals names others; then the recall of
/// both is given.
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
    /// Proposals of a photo that are judged at most, of a network that makes them [default: its own number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROPOSALS)))]
    rpn_proposals: Option<u32>,
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
    recall: Vec<Row>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let device = args.device.device()?;
    let mut model = Model::open(&args.model, device)?;
    if let Some(rpn) = &mut model.rpn {
        rpn.post_nms_top_n = args.rpn_proposals.unwrap_or(rpn.post_nms_top_n);
    }
    let classes = model.manifest.classes.get(1..).unwrap_or_default();
    let data = Dataset::open(&args.data, &args.split, Some(classes))?;
    for line in data.problems.summary() {
        console::warning(line);
    }
    let source = match (&args.proposals, &model.rpn) {
        (None, Some(_)) => None,
        (given, _) => Some(given.as_ref().unwrap_or(&model.proposals)),
    };
    let given = source.map(|source| source.open(&data.photos, model.boxes.as_deref())).transpose()?;
    let detector = Detector {
        network: &model.network,
        manifest: &model.manifest,
        rpn: model.rpn.as_ref(),
        device,
        bbox: !args.no_bbox,
    };
    let most = model.rpn.as_ref().map_or(0, |rpn| rpn.post_nms_top_n).max(BOXES[BOXES.len() - 1] as u32);
    // Corners of learned boxes are edges, those of objects the last pixels.
    let beyond = 1.0 - model.manifest.box_width_offset;
    let inclusive = |bbox: &BBox| BBox::new(bbox.x1, bbox.y1, bbox.x2 - beyond, bbox.y2 - beyond);
    let bar = console::progress(data.photos.len() as u64, "detecting");
    let mut found = Vec::new();
    let (mut recall_of_rpn, mut recall_of_given) = (Recall::default(), Recall::default());
    for (image, photo) in data.photos.iter().enumerate() {
        let pixels = decode(&photo.path)?;
        let proposed = detector.propose(&pixels, most, false);
        if let Some(proposed) = &proposed {
            let boxes: Vec<BBox> = proposed.boxes.iter().map(inclusive).collect();
            recall_of_rpn.add(&photo.objects, &boxes);
        }
        let detections = match (&given, &proposed) {
            (Some(given), _) => {
                let boxes = given.of(photo)?;
                recall_of_given.add(&photo.objects, &boxes);
                detector.detect(&pixels, &boxes)
            }
            (None, Some(proposed)) => detector.detect_proposed(&pixels, proposed),
            (None, None) => Vec::new(),
        };
        for detection in detections {
            found.push(Detection {
                image,
                class: usize::from(detection.class_id).saturating_sub(1),
                score: f64::from(detection.score),
                region: region(&inclusive(&detection.bbox)),
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
    let mut recall = Vec::new();
    if model.rpn.is_some() {
        recall.extend(recall_of_rpn.rows("rpn"));
    }
    if let Some(source) = source {
        recall.extend(recall_of_given.rows(&source.to_string()));
    }
    let report = Report {
        recall,
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
    let mut table = empty_table(["class", "objects", "AP VOC07", "AP VOC10+"]);
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
    let mut recall = empty_table(["proposals", "boxes", "recall@0.5", "recall@0.7"]);
    for row in &report.recall {
        let shares = [row.recall_50, row.recall_70].map(|share| format!("{share:.4}"));
        let [at_50, at_70] = shares;
        recall.add_row([Printable(&row.proposals).to_string(), row.boxes.to_string(), at_50, at_70]);
    }
    [table, recall].map(|table| aligned(table) + "\n").join("\n")
}

fn empty_table(header: [&str; 4]) -> Table {
    const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(header);
    table
}

/// Its text, numbers to the right.
fn aligned(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
