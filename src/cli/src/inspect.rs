//! `frcnn inspect`: what is in a bundle.

mod rpn;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use frcnn::{Demand, DetectionMethod, ExpectedReuse, Limits, NetworkCost, Options, PlannedLayer};
use frcnn_bundle::{
    Bundle, Cascade, Chosen, Factored, Int8, LevelRule, Manifest, Precision, Regions, Resize, Scores,
    nominal_size,
};
use frcnn_core::Printable;
use serde::Serialize;

use crate::console;
use crate::cost::CostArgs;
use crate::error::Error;
use crate::files;
use crate::tables::Column::{Numbers, Words};
use crate::tables::{self, FactoredRow, table};
use crate::units;
use rpn::RpnSummary;

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
    /// Threads that work on one image, for which memory is counted and algorithms are chosen [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    #[command(flatten)]
    cost: CostArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if args.plan {
        return plan(args);
    }
    if let Some(name) = args.cost.given() {
        return Err(Error::Usage(format!(
            "{name} bounds how layers run, which --plan shows: ask for `frcnn inspect {} --plan {name} ...`",
            Printable(args.bundle.display())
        )));
    }
    let threads = Options { threads: args.threads, ..Options::default() }.thread_count();
    let bundle = files::open_bundle(&args.bundle)?;
    let summary = Summary::new(&bundle, threads).map_err(|error| Error::file(&args.bundle, error))?;
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
    let options = Options {
        threads: args.threads,
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
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
    if let Some(measured_on) = files::tuned_on(&args.bundle, &detector) {
        text += &format!("\nAlgorithms are {}.\n", files::tuned_by(measured_on, detector.threads()));
    }
    text += "\nms: of a convolution alone, as `frcnn tune` measured it on this machine. FLOP: what is expected on one thread, as \
             operations of a matrix product that takes as long.\n";
    text += &streams(&detector).map_err(|error| Error::file(&args.bundle, error))?;
    console::result(&text)
}

/// What a stream's memory buys: `reuse_mib`.
fn streams(detector: &frcnn::Detector) -> Result<String, frcnn::Error> {
    const CHANGED: f64 = 0.03;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for mib in [0, 16, 32, 64, 128, 256, 512, 1024] {
        let Some(ExpectedReuse { map_bytes, trunk_share }) = detector.expected_reuse(mib, CHANGED)? else {
            return Ok(String::new());
        };
        // More does not find more to keep.
        if last.replace(map_bytes) == Some(map_bytes) && mib > 16 {
            break;
        }
        rows.push(vec![mib.to_string(), units::bytes(map_bytes), units::percent(trunk_share)]);
    }
    let columns = [Numbers("reuse_mib"), Numbers("maps kept"), Numbers("trunk")];
    Ok(format!(
        "\nStreams: by the MiB of maps that a stream may keep, what it keeps and how much of the trunk a frame costs in whose middle \
         {} have changed\n\n{}",
        units::percent(CHANGED),
        table(&columns, rows)
    ))
}

/// What `--json` writes.
#[derive(Serialize)]
struct Summary<'a> {
    manifest: &'a Manifest,
    /// Of blue, green and red pixels in 0..255: what the device subtracts.
    blob_means: [f32; 3],
    source: Provenance<'a>,
    /// The coarsest.
    precision: Precision,
    /// Layers with weights of each precision, of those that may have another than f32.
    layer_precisions: BTreeMap<&'static str, usize>,
    #[serde(skip)]
    precisions: String,
    /// For which the layers' precisions were chosen.
    board: Option<&'a str>,
    format: u32,
    file_bytes: usize,
    method: DetectionMethod,
    regions: &'a Regions,
    rpn: Option<RpnSummary<'a>>,
    factored: &'a [Factored],
    cascade: Option<CascadeSummary>,
    cost: NetworkCost,
    /// What a 4:3 photo with 2000 RoIs asks for.
    demand: Demand,
    limits: Limits,
    sections: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Provenance<'a> {
    onnx_sha256: String,
    compiler: &'a str,
}

/// A first judge that drops regions before the head runs.
#[derive(Serialize)]
struct CascadeSummary {
    rank: u32,
    keep: f32,
    /// The judge's multiply-accumulates over the head's.
    judge_cost: f64,
    /// What it does on photos that the threshold was not chosen on, if that was measured.
    chosen: Option<ChosenSummary>,
}

#[derive(Serialize)]
struct ChosenSummary {
    photos: u32,
    dropped: f32,
    map_before: f32,
    map_after: f32,
    /// The heads' multiply-accumulates with the cascade over those without.
    expected_heads: f64,
}

impl CascadeSummary {
    fn new(cascade: &Cascade, cost: &NetworkCost) -> CascadeSummary {
        let judge_cost = cost.judge_macs_per_roi as f64 / (cost.head_macs_per_roi as f64).max(1.0);
        let chosen = cascade.chosen.map(|Chosen { photos, dropped, map_before, map_after }| ChosenSummary {
            photos,
            dropped,
            map_before,
            map_after,
            expected_heads: judge_cost + 1.0 - f64::from(dropped),
        });
        CascadeSummary { rank: cascade.rank, keep: cascade.keep, judge_cost, chosen }
    }

    fn text(&self) -> String {
        let mut text = "Cascade\n\n".to_string()
            + &tables::pairs(&[
                (
                    "judge",
                    format!("rank {}, {} of the head's MACs", self.rank, units::percent(self.judge_cost)),
                ),
                ("drops", format!("regions that the judge gives less than {}", self.keep)),
            ]);
        if let Some(chosen) = &self.chosen {
            text += &tables::pairs(&[
                ("dropped", units::percent(f64::from(chosen.dropped))),
                (
                    "mAP",
                    format!(
                        "{:.2} without, {:.2} with it, on {} photos that the threshold was not chosen on",
                        chosen.map_before * 100.0,
                        chosen.map_after * 100.0,
                        chosen.photos
                    ),
                ),
                (
                    "heads",
                    format!(
                        "{} of their MACs without it; compile --report, eval and sweep measure their times",
                        units::percent(chosen.expected_heads)
                    ),
                ),
            ]);
        }
        text
    }
}

#[derive(Serialize)]
struct Section<'a> {
    name: &'a str,
    shape: &'a [u32],
    precision: Precision,
    /// Of int8 weights: how their layer rounds what it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Reads>,
    offset: u64,
    bytes: u64,
    xxh3_128: String,
}

/// How an int8 layer makes u8 of what it reads.
#[derive(Clone, Copy, Serialize)]
struct Reads {
    /// The least value that is not clipped, and the largest.
    from: f32,
    to: f32,
    step: f32,
    zero_point: u8,
}

impl From<Int8> for Reads {
    fn from(int8: Int8) -> Reads {
        let (step, zero_point) = (int8.input_scale, int8.input_zero_point);
        let value = |stored: u8| (f32::from(stored) - f32::from(zero_point)) * step;
        Reads { from: value(0), to: value(u8::MAX), step, zero_point }
    }
}

impl Summary<'_> {
    fn new(bundle: &Bundle, threads: usize) -> Result<Summary<'_>, frcnn_bundle::Error> {
        let contents = bundle.contents();
        let (height, width) = nominal_size(contents);
        let cost = NetworkCost::new(contents, height, width)?;
        let sections = contents.sections.iter().map(|section| Section {
            name: &section.name,
            shape: &section.shape,
            precision: section.precision,
            reads: section.int8.map(Reads::from),
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
            precision: contents.precision(),
            layer_precisions: contents.layer_precisions().into_iter().map(|(p, n)| (p.name(), n)).collect(),
            precisions: contents.precision_names(),
            board: contents.board.as_deref(),
            format: bundle.format_version(),
            file_bytes: bundle.file_len(),
            method: contents.method(),
            regions: &contents.regions,
            rpn: contents.rpn.as_ref().map(RpnSummary::new),
            factored: &contents.factored,
            cascade: contents.cascade.as_ref().map(|cascade| CascadeSummary::new(cascade, &cost)),
            cost,
            demand: Demand::nominal(contents, threads)?,
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
        ("format", summary.format.to_string()),
        ("precision", summary.precisions.clone()),
        ("made for", summary.board.unwrap_or("any machine").to_string()),
        ("compiler", summary.source.compiler.to_string()),
        ("ONNX sha256", summary.source.onnx_sha256.clone()),
        regions(summary.regions),
    ]);
    if let Some(rpn) = &summary.rpn {
        text += "\n";
        text += &rpn.text();
    }
    text += "\n";
    text += &tables::network(&summary.cost);
    text += "\n";
    text += &tables::demand(&summary.demand, &summary.limits);
    if !summary.factored.is_empty() {
        text += "\n";
        text += &tables::factored(summary.factored.iter().map(factored_row));
    }
    if let Some(cascade) = &summary.cascade {
        text += "\n";
        text += &cascade.text();
    }
    text += "\n";
    text += &sections(&summary.sections);
    if summary.sections.iter().any(|section| section.reads.is_some()) {
        text += "\n";
        text += &int8_layers(&summary.sections);
    }
    text
}

fn regions(regions: &Regions) -> (&'static str, String) {
    match regions {
        Regions::RoiPooling(pooling) => {
            let levels: Vec<String> =
                pooling.pooled.iter().map(|[rows, columns]| format!("{rows} x {columns}")).collect();
            ("RoI pooling", format!("{}, spatial scale {}", levels.join(", "), pooling.spatial_scale))
        }
        Regions::RoiAlign(align) => {
            let [rows, columns] = align.pooled;
            let points = match align.sampling_ratio {
                0 => "as many points a bin as it has cells".to_string(),
                ratio => format!("{ratio} x {ratio} points a bin"),
            };
            let scales: Vec<String> = align.spatial_scales.iter().map(f32::to_string).collect();
            let corners =
                if align.half_pixel { "corners less half a cell" } else { "sides of a cell at least" };
            let LevelRule { canonical_size, canonical_level, finest_level } = align.level_rule;
            let level = match scales.len() {
                1 => String::new(),
                _ => format!(
                    "; a side of {canonical_size} is of level {canonical_level}, the first map of {finest_level}"
                ),
            };
            (
                "RoIAlign",
                format!(
                    "{rows} x {columns}, {points}, {corners}, spatial scales {}{level}",
                    scales.join(", ")
                ),
            )
        }
        Regions::Warp(warp) => (
            "regions",
            format!("warped to {0} x {0}, {1} of it context on each side", warp.side, warp.context),
        ),
    }
}

/// By which rule an image becomes a blob.
fn resizing(manifest: &Manifest) -> String {
    let rule = match manifest.resize {
        Resize::Published => "sides rounded to the nearest, one scale",
        Resize::Torchvision => "sides rounded down, a scale for each axis, as torchvision does it",
        Resize::Detectron2 => "sides rounded to the nearest, a scale for each axis, as detectron2 does it",
    };
    match manifest.pad_multiple {
        0 | 1 => rule.to_string(),
        multiple => format!("{rule}; padded to multiples of {multiple} at the right and the bottom"),
    }
}

fn manifest(manifest: &Manifest) -> String {
    let keeps = if manifest.nms_keeps_equal { "; an equal one is kept" } else { "" };
    let shortest = match manifest.min_box_side {
        0.0 => "any".to_string(),
        side => format!("{side} pixels"),
    };
    let scales: Vec<String> = manifest.scales.iter().map(u32::to_string).collect();
    let box_weights: Vec<String> = manifest.box_weights.iter().map(f32::to_string).collect();
    tables::pairs(&[
        ("name", manifest.name.clone()),
        ("classes", format!("{} ({})", manifest.classes.len(), manifest.classes.join(", "))),
        ("network reads", manifest.input_line()),
        ("short side", format!("{}; long side at most {}", scales.join(", "), manifest.max_long_side)),
        ("resizing", resizing(manifest)),
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
        ("NMS IoU", format!("{}{keeps}", manifest.nms_iou)),
        ("shortest side", shortest),
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

/// What layers with int8 weights read.
fn int8_layers(sections: &[Section<'_>]) -> String {
    let columns =
        [Words("int8 weights"), Numbers("read from"), Numbers("to"), Numbers("step"), Numbers("zero")];
    let rows = sections.iter().filter_map(|section| {
        let Reads { from, to, step, zero_point } = section.reads?;
        Some(vec![
            section.name.to_string(),
            format!("{from:.4}"),
            format!("{to:.4}"),
            format!("{step:.3e}"),
            zero_point.to_string(),
        ])
    });
    table(&columns, rows)
}
