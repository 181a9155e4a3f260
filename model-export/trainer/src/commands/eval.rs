//! `frcnn-train eval`: average precision of a trained model on a split.

use std::path::PathBuf;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use super::model::Model;
use crate::console;
use crate::data::{Dataset, Proposals, decode};
use crate::detect::Detector;
use crate::device::Choice;
use crate::error::Error;
use crate::score::{AveragePrecision, average_precision, mean};

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
    /// Boxes for every photo; by default those that the run was trained with, and for an ONNX file a coarse grid
    #[arg(long, value_name = "FILE")]
    proposals: Option<PathBuf>,
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

#[derive(Debug, Serialize)]
struct Row<'a> {
    class: &'a str,
    objects: usize,
    /// `null` for a class without objects.
    ap_voc07: Option<f64>,
    ap_voc10: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    images: usize,
    classes: Vec<Row<'a>>,
    map_voc07: f64,
    map_voc10: f64,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let device = args.device.device()?;
    let model = Model::open(&args.model, device)?;
    let classes = model.manifest.classes.get(1..).unwrap_or_default();
    let data = Dataset::open(&args.data, &args.split, Some(classes))?;
    for line in data.problems.summary() {
        console::warning(line);
    }
    let proposals = Proposals::open(args.proposals.as_deref().or(model.proposals.as_deref()))?;
    let detector =
        Detector { network: &model.network, manifest: &model.manifest, device, bbox: !args.no_bbox };
    let bar = console::progress(data.photos.len() as u64, "detecting");
    let mut found = Vec::with_capacity(data.photos.len());
    for photo in &data.photos {
        found.push(detector.detect(&decode(&photo.path)?, &proposals.of(photo)?));
        bar.inc(1);
    }
    bar.finish_and_clear();

    let rows: Vec<(&str, AveragePrecision)> = (1u16..)
        .zip(classes)
        .map(|(class, name)| (name.as_str(), average_precision(&data.photos, &found, class)))
        .collect();
    let report = Report {
        images: data.photos.len(),
        map_voc07: mean(rows.iter().map(|(_, ap)| ap.voc07)),
        map_voc10: mean(rows.iter().map(|(_, ap)| ap.voc10)),
        classes: rows
            .iter()
            .map(|(class, ap)| Row {
                class,
                objects: ap.objects,
                ap_voc07: Some(ap.voc07).filter(|ap| !ap.is_nan()),
                ap_voc10: Some(ap.voc10).filter(|ap| !ap.is_nan()),
            })
            .collect(),
    };
    if args.json {
        let text = serde_json::to_string(&report).map_err(|error| Error::file(&args.model, error))?;
        return console::result(&(text + "\n"));
    }
    console::result(&table(&report))
}

fn table(report: &Report<'_>) -> String {
    let shown = |ap: Option<f64>| ap.map_or("-".to_string(), |ap| format!("{ap:.4}"));
    const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(["class", "objects", "AP VOC07", "AP VOC10+"]);
    for row in &report.classes {
        table.add_row([
            row.class.to_string(),
            row.objects.to_string(),
            shown(row.ap_voc07),
            shown(row.ap_voc10),
        ]);
    }
    let objects: usize = report.classes.iter().map(|row| row.objects).sum();
    table.add_row([
        "mean".to_string(),
        objects.to_string(),
        shown(Some(report.map_voc07)),
        shown(Some(report.map_voc10)),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt() + "\n"
}
