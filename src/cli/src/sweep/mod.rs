//! `frcnn sweep`: how far a network can be factored before it finds less.

mod progress;
mod rows;

use std::path::{Path, PathBuf};

use frcnn_bundle::Bundle;
use frcnn_compiler::{Description, Svd, compile};
use frcnn_core::Printable;
use frcnn_eval::Dataset;
use frcnn_harness::cascade::{self, CascadeStep};
use frcnn_harness::plot;
use frcnn_harness::sweep::{Subject, Sweep, SweepRow, SweepStep, combinations, sweep};
use indicatif::ProgressBar;

use crate::console;
use crate::data::{DataArgs, Loader};
use crate::described;
use crate::error::Error;
use crate::files;
use crate::inputs::boxes::BoxSource;
use crate::inputs::decode::PhotoArgs;
use crate::outputs::{Input, check_outputs};
use crate::parse;
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units;
use progress::Progress;
use rows::{Csv, Identity};

/// Compile a network with several SVD ranks, and measure what each costs and loses
///
/// Each setting is compiled, run over the data set on this machine and scored (mAP by VOC10+ at IoU 0.5); the first row is
/// the network as it is. Times are medians per image, one image at a time. Of the settings that lose at most --max-drop
/// points, the smallest bundle, which is recommended, and the fastest are named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn sweep vgg16.onnx --data VOC2007 --ranks fc6=1024,512,256 fc7=256,128 --plot trade-off.svg
  frcnn sweep model.onnx --data VOC2007 --energies 0.99,0.95,0.9,0.8 --csv sweep.csv
  frcnn sweep model.onnx --data VOC2007 --cascade 8,16,32 --keep 0.05,0.1,0.2 --plot cascades.svg
  frcnn compile model.onnx -o small.frcnn --svd auto --data VOC2007 --max-drop 0.3

With several layers after --ranks, every combination is measured.

With --csv, each setting that is measured is in FILE at once. The same command goes on behind them; more settings \
are added to those that are there. A file of another model, data set or machine is refused.

With --cascade, every rank of the judge with every threshold: the first row is the network without \
a cascade, mAP is of all photos, and times are medians of at most 8 of them, of detections with and \
without in turn; head ms has RoI pooling in it. Recommended is the cascade with the least work: the share of regions that stay, and what the judge takes of the \
head's time by a model of this CPU.")]
pub(crate) struct Args {
    /// A file of torchvision's exporter, or a trained network with inputs `data` and `rois` and MaxRoiPool or RoiAlign
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The data set's folder, or COCO's annotation file
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    part: DataArgs,
    /// Ranks to try for each layer
    #[arg(long, value_name = "LAYER=RANK,...", num_args = 1.., value_parser = ranks, required_unless_present_any = ["energies", "cascade"])]
    ranks: Vec<(String, Vec<usize>)>,
    /// Shares of the squared singular values to keep, in every hidden fully connected layer
    #[arg(long, value_name = "SHARE,...", value_delimiter = ',', value_parser = parse::energy)]
    energies: Vec<f64>,
    /// Ranks of a cascade's judge to try, each with each threshold of --keep, in place of factoring the network
    #[arg(long, value_name = "RANK,...", value_delimiter = ',', requires = "keep", conflicts_with_all = ["ranks", "energies"])]
    cascade: Vec<usize>,
    /// Thresholds of the cascade: regions that the judge gives less are dropped
    #[arg(
        long,
        value_name = "T,...",
        value_delimiter = ',',
        requires = "cascade",
        allow_negative_numbers = true
    )]
    keep: Vec<f32>,
    /// Points of mAP that the recommended setting may lose
    #[arg(long, value_name = "POINTS", default_value_t = frcnn_harness::MAX_DROP, value_parser = parse::points)]
    max_drop: f64,
    /// Classes, pixel means, scales, thresholds and box conventions [default: manifest.json beside the model]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Threads that work on one image [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    photos: PhotoArgs,
    /// Write the table as CSV, row by row as settings are measured; started again, go on behind them
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
    args.photos.apply();
    let manifest_path = described::manifest_of(&args.model, args.manifest.as_ref());
    let outputs: Vec<&Path> = args.csv.iter().chain(&args.plot).map(PathBuf::as_path).collect();
    let inputs = [Input::Model(&args.model), Input::File(&manifest_path), args.part.input(&args.data)];
    check_outputs(&outputs, &inputs)?;
    if let Some(path) = &args.plot
        && path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("svg"))
    {
        return Err(Error::Usage(format!("--plot {}: plots are written as .svg", Printable(path.display()))));
    }
    let csv = args.csv.as_deref().map(|path| Csv::open(path, !args.cascade.is_empty())).transpose()?;
    let description = described::describe(&args.model, args.manifest.as_ref())?;
    let classes = description.classes().ok_or_else(|| described::absent(&manifest_path, true))?;
    let dataset = args.part.open(&args.data, Some(classes))?;
    let proposals = args.part.proposals(&args.data, dataset.images.len())?.keeping();
    if !args.cascade.is_empty() {
        return cascades(args, &description, &dataset, &proposals, csv);
    }
    let mut settings = combinations(&args.ranks);
    settings.extend(args.energies.iter().map(|&energy| Svd::Energy(energy)));

    let loader = Loader::new(&dataset, &proposals);
    let load = |image: &frcnn_eval::Image, has_rpn: bool| match has_rpn && !args.part.names_proposals() {
        true => loader.load_without_boxes(image),
        false => loader.load(image),
    };
    let subject = Subject {
        precision: frcnn_compiler::Precision::F32,
        onnx: &args.model,
        description: &description,
        dataset: &dataset,
        threads: args.threads,
        load: &load,
    };
    let known = &mut |bundle: &Bundle| match &csv {
        Some(csv) => csv.known(Identity::new(bundle, &dataset, (&args.data, &args.part), args.threads)),
        None => Ok(Vec::new()),
    };
    let mut progress = Progress::new(settings.len() + 1, dataset.images.len());
    let result = sweep(&subject, &settings, args.max_drop, known, &mut |step| {
        progress.tell(step);
        match (step, &csv) {
            (SweepStep::Measured(rows), Some(csv)) => csv.write(rows, args.max_drop),
            _ => Ok(()),
        }
    });
    progress.finish();
    loader.warn();
    give(args, &result?, csv.as_ref(), plot::trade_off)
}

/// `--cascade`.
fn cascades(
    args: &Args,
    description: &Description,
    dataset: &Dataset,
    proposals: &BoxSource,
    csv: Option<Csv>,
) -> Result<(), Error> {
    let options = frcnn_compiler::Options::default();
    let whole = compile(&args.model, description, &options, &mut |_| {})?;
    let identity = || Identity::new(&whole.bundle, dataset, (&args.data, &args.part), args.threads);
    let known = csv.as_ref().map(|csv| csv.known(identity())).transpose()?;
    let learned = BoxSource::Learned;
    let proposes = whole.bundle.contents().rpn.is_some() && !args.part.names_proposals();
    let loader = Loader::new(dataset, if proposes { &learned } else { proposals });
    let load = |image: &frcnn_eval::Image| loader.load(image);
    let photos = cascade::Photos { dataset, load: &load, threads: args.threads };
    let settings = (&args.cascade[..], &args.keep[..]);
    let mut progress = Progress::new(args.cascade.len() * args.keep.len() + 1, dataset.images.len());
    let result =
        cascade::sweep(&whole, photos, settings, args.max_drop, known.unwrap_or_default(), &mut |step| {
            progress.tell_of_cascade(step);
            match (step, &csv) {
                (CascadeStep::Measured(rows), Some(csv)) => csv.write(rows, args.max_drop),
                _ => Ok(()),
            }
        });
    progress.finish();
    loader.warn();
    give(args, &result?, csv.as_ref(), plot::cascades)
}

/// Writes and prints what is asked for.
fn give(
    args: &Args,
    sweep: &Sweep,
    csv: Option<&Csv>,
    plot: fn(&Sweep) -> Result<String, frcnn_harness::Error>,
) -> Result<(), Error> {
    if let Some(csv) = csv {
        csv.write(&sweep.rows, args.max_drop)?;
    }
    if let Some(path) = &args.plot {
        files::write(path, plot(sweep)?.as_bytes())?;
    }
    if args.json { console::json(sweep) } else { console::result(&text(sweep)) }
}

pub(crate) fn advance(progress: &ProgressBar, step: SweepStep) {
    match step {
        SweepStep::Compiling(setting) => progress.set_message(format!("compiling: {}", Printable(setting))),
        SweepStep::Image(setting) => {
            progress.set_message(Printable(setting).to_string());
            progress.inc(1);
        }
        SweepStep::Measured(_) => {}
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
        Numbers(if are_cascades(sweep) { "dropped" } else { "" }),
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
            row.dropped.map_or(String::new(), units::percent),
            match (position == sweep.recommended, position == sweep.fastest) {
                (true, true) => "recommended, fastest",
                (true, false) => "recommended",
                (false, true) => "fastest",
                (false, false) => "",
            }
            .to_string(),
        ]
    });
    let dropped = if are_cascades(sweep) { "; dropped: of the regions" } else { "" };
    format!(
        "{}\n {}; drop is in points of mAP, at most {} allowed{dropped}\n\n{}",
        table(&columns, rows),
        units::several(sweep.images, "image"),
        sweep.max_drop,
        best(sweep)
    )
}

/// The smallest and the fastest by name.
fn best(sweep: &Sweep) -> String {
    let of = |position: usize, figure: fn(&SweepRow) -> String| {
        let row = sweep.rows.get(position);
        row.map_or(String::new(), |row| format!("{} ({}, {:+.2} points)", row.setting, figure(row), row.drop))
    };
    let time = |row: &SweepRow| format!("{:.1} ms an image", units::milliseconds(row.total));
    let (smallest, figure): (_, fn(&SweepRow) -> String) = if are_cascades(sweep) {
        ("least work", |row| format!("{} of the head's", units::percent(row.work.unwrap_or(1.0))))
    } else {
        ("smallest", |row| units::bytes(row.file_bytes))
    };
    pairs(&[
        (smallest, of(sweep.recommended, figure) + ": recommended"),
        ("fastest", of(sweep.fastest, time)),
    ])
}

fn are_cascades(sweep: &Sweep) -> bool {
    sweep.rows.iter().any(|row| row.dropped.is_some())
}

fn layers(row: &SweepRow) -> String {
    row.ranks.iter().map(|(layer, rank)| format!("{layer}={rank}")).collect::<Vec<_>>().join(" ")
}
