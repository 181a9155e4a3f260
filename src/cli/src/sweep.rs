//! `frcnn sweep`: how far a network can be factored before it finds less.

use std::path::{Path, PathBuf};

use frcnn_compiler::{Svd, load_manifest};
use frcnn_core::Printable;
use frcnn_harness::plot;
use frcnn_harness::sweep::{Subject, Sweep, SweepRow, SweepStep, combinations, sweep};
use indicatif::ProgressBar;

use crate::console;
use crate::data::{DataArgs, Loader};
use crate::error::Error;
use crate::eval::bar;
use crate::files;
use crate::parse;
use crate::tables::Column::{Numbers, Words};
use crate::tables::table;
use crate::units;

/// Compile a network with several SVD ranks, and measure what each costs and loses
///
/// Each setting is compiled, run over the data set on this machine and scored (mAP by VOC10+ at IoU 0.5); the first row is
/// the network as it is. Times are medians per image, one image at a time. Recommended is the smallest bundle that loses
/// at most --max-drop points.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn sweep vgg16.onnx --data VOC2007 --ranks fc6=1024,512,256 fc7=256,128 --plot trade-off.svg
  frcnn sweep model.onnx --data VOC2007 --energies 0.99,0.95,0.9,0.8 --csv sweep.csv
  frcnn compile model.onnx -o small.frcnn --svd auto --data VOC2007 --max-drop 0.3

With several layers after --ranks, every combination is measured.")]
pub(crate) struct Args {
    /// Trained network with inputs `data` and `rois` and one MaxRoiPool
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The data set's folder, or COCO's annotation file
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    part: DataArgs,
    /// Ranks to try for each layer
    #[arg(long, value_name = "LAYER=RANK,...", num_args = 1.., value_parser = ranks, required_unless_present = "energies")]
    ranks: Vec<(String, Vec<usize>)>,
    /// Shares of the squared singular values to keep, in every hidden fully connected layer
    #[arg(long, value_name = "SHARE,...", value_delimiter = ',', value_parser = parse::energy)]
    energies: Vec<f64>,
    /// Points of mAP that the recommended setting may lose
    #[arg(long, value_name = "POINTS", default_value_t = 0.3, value_parser = parse::points)]
    max_drop: f64,
    /// Classes, pixel means, scales, thresholds and box conventions [default: manifest.json beside the model]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Threads that work on one image [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write a plot of mAP against time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn ranks(text: &str) -> Result<(String, Vec<usize>), String> {
    let wrong = || "not LAYER=RANK,RANK,... such as fc6=1024,512".to_string();
    let (layer, ranks) = text.split_once('=').filter(|(layer, _)| !layer.is_empty()).ok_or_else(wrong)?;
    let ranks = ranks.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    Ok((layer.to_string(), ranks))
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let manifest_path = args.manifest.clone().unwrap_or_else(|| files::beside(&args.model, "manifest.json"));
    let outputs: Vec<&Path> = args.csv.iter().chain(&args.plot).map(PathBuf::as_path).collect();
    files::check_outputs(&outputs, &[&args.model, &manifest_path])?;
    if let Some(path) = &args.plot
        && path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("svg"))
    {
        return Err(Error::Usage(format!("--plot {}: plots are written as .svg", Printable(path.display()))));
    }
    let manifest = load_manifest(&manifest_path)?;
    let dataset = args.part.open(&args.data, Some(&manifest.classes))?;
    let proposals = args.part.proposals(&args.data, &dataset)?;
    let mut settings = combinations(&args.ranks);
    settings.extend(args.energies.iter().map(|&energy| Svd::Energy(energy)));

    let loader = Loader::new(&dataset, &proposals);
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let subject = Subject {
        precision: frcnn_compiler::Precision::F32,
        onnx: &args.model,
        manifest: &manifest,
        dataset: &dataset,
        threads: args.threads,
        load: &load,
    };
    let progress = bar(((settings.len() + 1) * dataset.images.len()) as u64);
    let result = sweep(&subject, &settings, args.max_drop, &mut |step| {
        advance(&progress, step);
        Ok(())
    });
    progress.finish_and_clear();
    loader.warn();
    let result = result?;
    if let Some(path) = &args.csv {
        files::write(path, csv(&result).as_bytes())?;
    }
    if let Some(path) = &args.plot {
        files::write(path, plot::trade_off(&result)?.as_bytes())?;
    }
    if args.json { console::json(&result) } else { console::result(&text(&result)) }
}

pub(crate) fn advance(progress: &ProgressBar, step: SweepStep) {
    match step {
        SweepStep::Compiling(setting) => progress.set_message(format!("compiling: {}", Printable(setting))),
        SweepStep::Image(setting) => {
            progress.set_message(Printable(setting).to_string());
            progress.inc(1);
        }
    }
}

pub(crate) fn text(sweep: &Sweep) -> String {
    let columns = [
        Words("setting"),
        Words("ranks"),
        Numbers("parameters"),
        Numbers("bundle"),
        Numbers("head ms"),
        Numbers("total ms"),
        Numbers("mAP"),
        Numbers("drop"),
        Words(""),
    ];
    let rows = sweep.rows.iter().enumerate().map(|(position, row)| {
        vec![
            row.setting.clone(),
            if layers(row) == row.setting { String::new() } else { layers(row) },
            units::count(row.parameters),
            units::bytes(row.file_bytes),
            format!("{:.1}", units::milliseconds(row.head)),
            format!("{:.1}", units::milliseconds(row.total)),
            format!("{:.2}", row.map * 100.0),
            format!("{:+.2}", row.drop),
            if position == sweep.recommended { "recommended" } else { "" }.to_string(),
        ]
    });
    format!(
        "{}\n {} images; drop is in points of mAP, at most {} allowed\n",
        table(&columns, rows),
        sweep.images,
        sweep.max_drop
    )
}

fn layers(row: &SweepRow) -> String {
    row.ranks.iter().map(|(layer, rank)| format!("{layer}={rank}")).collect::<Vec<_>>().join(" ")
}

/// A field of CSV, in quotation marks where it has to be.
fn field(text: &str) -> String {
    let text = Printable(text).to_string();
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn csv(sweep: &Sweep) -> String {
    let head = "setting,ranks,parameters,file_bytes,head_ms,total_ms,map,drop_points,recommended\n";
    let line = |(position, row): (usize, &SweepRow)| {
        format!(
            "{},{},{},{},{},{},{},{},{}\n",
            field(&row.setting),
            field(&layers(row)),
            row.parameters,
            row.file_bytes,
            units::milliseconds(row.head),
            units::milliseconds(row.total),
            row.map,
            row.drop,
            position == sweep.recommended
        )
    };
    head.to_string() + &sweep.rows.iter().enumerate().map(line).collect::<String>()
}
