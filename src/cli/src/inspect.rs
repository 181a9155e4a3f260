//! `frcnn inspect`: what is in a bundle.

use std::path::PathBuf;

use frcnn::{Demand, DetectionMethod, Limits, NetworkCost, Options, PlannedLayer};
use frcnn_bundle::{Bundle, Factored, Manifest, Precision, Regions, Scores, nominal_size};
use serde::Serialize;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
use crate::files;
use crate::tables::Column::{Numbers, Words};
use crate::tables::{self, FactoredRow, table};
use crate::units;

/// Print what is in a bundle: manifest, layers, costs, SVD ranks and weight sections
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn inspect model.frcnn
  frcnn inspect model.frcnn --plan
  frcnn inspect model.frcnn --json | jq .manifest.classes")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// How each layer runs on this machine, instead: by which algorithm and products, as part of which other layer, or why not
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    cost: CostArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if args.plan {
        return plan(args);
    }
    let bundle = files::open_bundle(&args.bundle)?;
    let summary = Summary::new(&bundle).map_err(|error| Error::file(&args.bundle, error))?;
    if args.json { console::json(&summary) } else { console::result(&text(&summary)) }
}

fn plan(args: &Args) -> Result<(), Error> {
    #[derive(Serialize)]
    struct PlanRow<'a> {
        graph: &'a str,
        layer: &'a str,
        op: &'a str,
        by: &'a str,
        products: Option<&'a str>,
        reason: Option<&'a str>,
        flops: Option<f64>,
        ms: Option<f64>,
    }
    let options = Options { limits: args.cost.limits(), memory: args.cost.memory(), ..Options::default() };
    let detector = files::open_detector(&args.bundle, &options)?;
    let layers = detector.plan();
    if args.json {
        let rows =
            layers.iter().map(|PlannedLayer { graph, layer, op, by, products, reason, flops, ms }| PlanRow {
                graph,
                layer,
                op,
                by,
                products: products.as_deref(),
                reason: *reason,
                flops: *flops,
                ms: *ms,
            });
        return console::json(&rows.collect::<Vec<_>>());
    }
    let columns = [
        Words("graph"),
        Words("layer"),
        Words("op"),
        Words("computed by"),
        Words("products"),
        Numbers("time"),
        Words("why not fused"),
    ];
    let row = |layer: &PlannedLayer| {
        let time = match (layer.ms, layer.flops) {
            (Some(ms), _) => format!("{ms:.3} ms"),
            (None, Some(flops)) => format!("{}FLOP", units::count(flops as u64)),
            (None, None) => String::new(),
        };
        let PlannedLayer { graph, layer, op, by, products, reason, .. } = layer.clone();
        let (products, reason) = (products.unwrap_or_default(), reason.unwrap_or_default());
        vec![graph.into(), layer, op.into(), by, products, time, reason.into()]
    };
    let mut text = table(&columns, layers.iter().map(row));
    text += "\nms: of a convolution alone, as `frcnn tune` measured it on this machine. FLOP: what is expected on one thread, as \
             operations of a matrix product that takes as long.\n";
    console::result(&text)
}

/// What `--json` writes.
#[derive(Serialize)]
struct Summary<'a> {
    manifest: &'a Manifest,
    /// Of blue, green and red pixels in 0..255: what the device subtracts.
    blob_means: [f32; 3],
    source: Provenance<'a>,
    precision: Precision,
    file_bytes: usize,
    method: DetectionMethod,
    regions: &'a Regions,
    factored: &'a [Factored],
    cost: NetworkCost,
    /// What a 4:3 photo with 2000 RoIs asks for, on one thread.
    demand: Demand,
    limits: Limits,
    sections: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Provenance<'a> {
    onnx_sha256: String,
    compiler: &'a str,
}

#[derive(Serialize)]
struct Section<'a> {
    name: &'a str,
    shape: &'a [u32],
    precision: Precision,
    offset: u64,
    bytes: u64,
    xxh3_128: String,
}

impl Summary<'_> {
    fn new(bundle: &Bundle) -> Result<Summary<'_>, frcnn_bundle::Error> {
        let contents = bundle.contents();
        let (height, width) = nominal_size(contents);
        let sections = contents.sections.iter().map(|section| Section {
            name: &section.name,
            shape: &section.shape,
            precision: section.precision,
            offset: section.offset,
            bytes: section.bytes,
            xxh3_128: format!("{:032x}", section.hash),
        });
        Ok(Summary {
            manifest: &contents.manifest,
            blob_means: contents.blob_means,
            source: Provenance {
                onnx_sha256: contents.origin.onnx_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
                compiler: &contents.origin.compiler,
            },
            precision: contents.precision,
            file_bytes: bundle.file_len(),
            method: contents.method(),
            regions: &contents.regions,
            factored: &contents.factored,
            cost: NetworkCost::new(contents, height, width)?,
            demand: Demand::nominal(contents, 1)?,
            limits: Limits::default(),
            sections: sections.collect(),
        })
    }
}

fn text(summary: &Summary<'_>) -> String {
    let mut text = "Manifest\n\n".to_string() + &manifest(summary.manifest);
    text += "\nBundle\n\n";
    let [blue, green, red] = summary.blob_means;
    text += &tables::pairs(&[
        ("method", summary.method.name().to_string()),
        ("file", format!("{} ({} bytes)", units::bytes(summary.file_bytes as u64), summary.file_bytes)),
        ("device subtracts", format!("blue {blue}, green {green}, red {red}")),
        ("precision", summary.precision.name().to_string()),
        ("compiler", summary.source.compiler.to_string()),
        ("ONNX sha256", summary.source.onnx_sha256.clone()),
        regions(summary.regions),
    ]);
    text += "\n";
    text += &tables::network(&summary.cost);
    text += "\n";
    text += &tables::demand(&summary.demand, &summary.limits);
    if !summary.factored.is_empty() {
        text += "\n";
        text += &tables::factored(summary.factored.iter().map(factored_row));
    }
    text += "\n";
    text + &sections(&summary.sections)
}

fn regions(regions: &Regions) -> (&'static str, String) {
    match regions {
        Regions::RoiPooling(pooling) => {
            let levels: Vec<String> =
                pooling.pooled.iter().map(|[rows, columns]| format!("{rows} x {columns}")).collect();
            ("RoI pooling", format!("{}, spatial scale {}", levels.join(", "), pooling.spatial_scale))
        }
        Regions::Warp(warp) => (
            "regions",
            format!("warped to {0} x {0}, {1} of it context on each side", warp.side, warp.context),
        ),
    }
}

fn manifest(manifest: &Manifest) -> String {
    let scales: Vec<String> = manifest.scales.iter().map(u32::to_string).collect();
    let box_weights: Vec<String> = manifest.box_weights.iter().map(f32::to_string).collect();
    tables::pairs(&[
        ("name", manifest.name.clone()),
        ("classes", format!("{} ({})", manifest.classes.len(), manifest.classes.join(", "))),
        ("network reads", manifest.input_line()),
        ("short side", format!("{}; long side at most {}", scales.join(", "), manifest.max_long_side)),
        (
            "width offset",
            format!("{} of boxes, {} in NMS", manifest.box_width_offset, manifest.nms_width_offset),
        ),
        ("box weights", box_weights.join(", ")),
        (
            "scores",
            match manifest.scores {
                Scores::Probabilities => "probabilities",
                Scores::Margins => "margins of linear SVMs",
            }
            .to_string(),
        ),
        ("score threshold", manifest.score_threshold.to_string()),
        ("NMS IoU", manifest.nms_iou.to_string()),
        ("max detections", manifest.max_detections.to_string()),
    ])
}

fn factored_row(factored: &Factored) -> FactoredRow<'_> {
    let [from, to] = factored.features.map(u64::from);
    let rank = u64::from(factored.rank);
    FactoredRow {
        layer: &factored.layer,
        rank,
        energy: f64::from(factored.energy),
        relative_error: f64::from(factored.relative_error),
        // Of a file that lies, more than there are numbers.
        parameters_before: from.saturating_mul(to),
        parameters_after: rank.saturating_mul(from + to),
    }
}

fn sections(sections: &[Section<'_>]) -> String {
    let columns = [
        Words("section"),
        Numbers("shape"),
        Words("values"),
        Numbers("bytes"),
        Numbers("offset"),
        Words("xxh3-128"),
    ];
    table(
        &columns,
        sections.iter().map(|section| {
            let shape: Vec<String> = section.shape.iter().map(u32::to_string).collect();
            vec![
                section.name.to_string(),
                shape.join("x"),
                section.precision.name().to_string(),
                section.bytes.to_string(),
                section.offset.to_string(),
                section.xxh3_128.clone(),
            ]
        }),
    )
}
