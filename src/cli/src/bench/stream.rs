//! `frcnn bench --stream`: what a frame costs by what of it has changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use frcnn::{BBox, Detections, Detector, Frame, Options, Session, Stream, StreamOptions, Tolerance};
use image::RgbImage;
use serde::Serialize;

use super::report::Percentiles;
use super::scene::Scene;
use super::work::Work;
use crate::error::Error;
use crate::files;
use crate::inputs::decode;
use crate::inputs::images::{self, Inputs};
#[cfg(feature = "compile")]
use crate::outputs::{Input, check_output};
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units::{self, milliseconds};

/// Shares of the frame that the object covers.
const SHARES: [f64; 6] = [0.0, 0.03, 0.1, 0.25, 0.5, 1.0];
/// Frames before the clock counts.
const WARM_UP: u32 = 2;

/// How streams are measured.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// Measure a stream beside whole detections: what a frame costs by what of it has changed
    #[arg(long)]
    pub(super) stream: bool,
    /// Frames of one fixed camera, in their order: images, or a folder of them; in place of made ones
    #[arg(long, value_name = "IMAGE", num_args = 1.., requires = "stream", conflicts_with_all = ["image", "size", "runs"])]
    pub(super) frames: Vec<PathBuf>,
    /// Grey levels that a cell of 8 x 8 pixels may differ by [default: learned from the frames; 0 of made ones]
    #[arg(long, value_name = "LEVELS", requires = "stream")]
    tolerance: Option<f32>,
    /// MiB of feature maps that may be kept from frame to frame
    #[arg(long, value_name = "MIB", default_value_t = StreamOptions::default().reuse_mib, requires = "stream")]
    reuse_mib: u32,
    /// Write a plot of time against the share that has changed
    #[cfg(feature = "compile")]
    #[arg(long, value_name = "FILE.svg", requires = "stream", conflicts_with = "frames")]
    pub(super) plot: Option<PathBuf>,
}

impl StreamArgs {
    fn options(&self) -> StreamOptions {
        let of_frames = if self.frames.is_empty() { Tolerance::Fixed(0.0) } else { Tolerance::Learned };
        StreamOptions {
            tolerance: self.tolerance.map_or(of_frames, Tolerance::Fixed),
            reuse_mib: self.reuse_mib,
        }
    }
}

/// What `--json` writes.
#[derive(Serialize)]
pub(super) struct StreamReport {
    bundle: String,
    threads: usize,
    rois: usize,
    /// Height and width.
    frame: [u32; 2],
    reuse_mib: u32,
    /// Most of what the stream has kept, in MiB.
    kept_mib: f64,
    pub(super) rows: Vec<Row>,
}

/// Frames of which as much has changed.
#[derive(Serialize)]
pub(super) struct Row {
    /// Share of the frame that the object covers; null of frames that were given.
    object: Option<f64>,
    frames: usize,
    /// Means over the frames: share of the cells that have changed, of the trunk's work that was done, of the distinct RoIs that
    /// kept the head's output; grey levels tolerated.
    pub(super) cells_changed: f64,
    trunk_share: f64,
    rois_reused: f64,
    tolerance: f64,
    full: Times,
    stream: Times,
    /// The medians' ratios.
    pub(super) of_full: f64,
    pub(super) of_trunk: f64,
    /// Of the frames' detections in the stream, those that whole detection has, and the other way round: of the same class with
    /// an IoU of 0.9. Null of a command without `eval`.
    precision: Option<f64>,
    recall: Option<f64>,
}

#[derive(Serialize)]
struct Times {
    total: Percentiles,
    trunk: Percentiles,
}

/// Opens the bundle and measures; whole detections and the stream's take turns. If the bundle has an RPN it makes the boxes, unless
/// some are `given`.
pub(super) fn measure(
    bundle: &Path,
    args: &StreamArgs,
    work: impl FnOnce(Option<RgbImage>) -> Result<Work, Error>,
    given: bool,
    options: &Options,
    runs: u32,
) -> Result<StreamReport, Error> {
    let Inputs { images, unreadable } = images::list(&args.frames);
    if let Some(error) = unreadable.into_iter().next() {
        return Err(error);
    }
    if let [only] = &images[..] {
        let problem = "--frames: a stream is compared with whole detections from its second frame on; name two frames or more";
        return Err(Error::file(&only.path, problem));
    }
    let first = images.first().map(|image| decode::rgb8(&image.path)).transpose()?;
    let work = work(first)?;
    let detector = files::open_detector(bundle, options)?;
    let boxes = (given || !detector.has_rpn()).then_some(&work.boxes[..]);
    let mut bench = Bench::new(bundle, &detector, args.options(), boxes)?;
    let mut rows = Vec::new();
    if images.is_empty() {
        for share in SHARES {
            let scene = Scene::new(&work.pixels, share);
            let mut row = Measured::default();
            for time in 0..WARM_UP + runs {
                bench.frame(&scene.frame(time), (time >= WARM_UP).then_some(&mut row))?;
            }
            rows.push(row.row(Some(share)));
        }
    } else {
        let mut row = Measured::default();
        for (number, image) in images.iter().enumerate() {
            let pixels = decode::rgb8(&image.path)?;
            if pixels.dimensions() != work.pixels.dimensions() {
                return Err(Error::file(&image.path, "is of another size than the frame before"));
            }
            bench.frame(&pixels, (number > 0).then_some(&mut row))?;
        }
        rows.push(row.row(None));
    }
    Ok(StreamReport {
        bundle: bundle.display().to_string(),
        threads: detector.threads(),
        rois: boxes.map_or(bench.session.proposals().len(), <[BBox]>::len),
        frame: [work.pixels.height(), work.pixels.width()],
        reuse_mib: args.reuse_mib,
        kept_mib: bench.kept_bytes as f64 / f64::from(1 << 20),
        rows,
    })
}

struct Bench<'a> {
    bundle: &'a Path,
    /// None: the network's own.
    boxes: Option<&'a [BBox]>,
    session: Session,
    stream: Stream,
    /// Whether both must find the same.
    is_exact: bool,
    /// Of boxes, by the manifest.
    width_offset: f32,
    kept_bytes: u64,
}

impl<'a> Bench<'a> {
    fn new(
        bundle: &'a Path,
        detector: &Detector,
        options: StreamOptions,
        boxes: Option<&'a [BBox]>,
    ) -> Result<Bench<'a>, Error> {
        let is_exact = options.tolerance == Tolerance::Fixed(0.0);
        let stream = detector.stream(options).map_err(|error| match error {
            frcnn::Error::Options(problem) => Error::Usage(problem),
            other => Error::file(bundle, other),
        })?;
        let width_offset = detector.manifest().width_offset();
        Ok(Bench {
            bundle,
            boxes,
            session: detector.session(),
            stream,
            is_exact,
            width_offset,
            kept_bytes: 0,
        })
    }

    fn frame(&mut self, pixels: &RgbImage, row: Option<&mut Measured>) -> Result<(), Error> {
        let failed = |error: frcnn::Error| Error::file(self.bundle, error);
        let frame = Frame::rgb8(pixels.as_raw(), pixels.width(), pixels.height());
        let frame = frame.map_err(|error| failed(error.into()))?;
        let start = Instant::now();
        let expected = self.session.detect_among(&frame, self.boxes).map_err(failed)?;
        let full = milliseconds(start.elapsed());
        let start = Instant::now();
        let found = self.stream.detect_among(&frame, self.boxes).map_err(failed)?;
        let stream = milliseconds(start.elapsed());
        if self.is_exact && found != expected {
            return Err(Error::file(
                self.bundle,
                "a fault of frcnn: the stream finds something else than a whole detection",
            ));
        }
        let reuse = self.stream.reuse();
        self.kept_bytes = self.kept_bytes.max(reuse.kept_bytes);
        if let Some(row) = row {
            row.full.push(full);
            row.stream.push(stream);
            row.full_trunk.push(milliseconds(self.session.timings().trunk));
            row.stream_trunk.push(milliseconds(self.stream.timings().trunk));
            row.cells_changed += reuse.cells_changed as f64 / reuse.cells.max(1) as f64;
            row.trunk_share += reuse.trunk_share;
            row.rois_reused += reuse.rois_reused as f64 / reuse.rois.max(1) as f64;
            row.tolerance += f64::from(reuse.tolerance);
            row.expected += expected.len();
            row.found += found.len();
            let also = alike(&expected, &found, self.width_offset);
            row.alike = row.alike.and_then(|alike| Some(alike + also?));
        }
        Ok(())
    }
}

/// Detections of both that are of the same thing.
#[cfg(feature = "compile")]
fn alike(expected: &Detections, found: &Detections, width_offset: f32) -> Option<usize> {
    use frcnn_eval::{Found, pair};
    let list = |detections: &Detections| -> Vec<Found> {
        let found = |d: &frcnn::Detection| Found { class_id: d.class_id, score: d.score, bbox: d.bbox };
        detections.iter().map(found).collect()
    };
    Some(pair(&list(expected), &list(found), 0.9, width_offset).len())
}

#[cfg(not(feature = "compile"))]
fn alike(_: &Detections, _: &Detections, _: f32) -> Option<usize> {
    None
}

/// Sums over the frames of a row.
struct Measured {
    full: Vec<f64>,
    full_trunk: Vec<f64>,
    stream: Vec<f64>,
    stream_trunk: Vec<f64>,
    cells_changed: f64,
    trunk_share: f64,
    rois_reused: f64,
    tolerance: f64,
    expected: usize,
    found: usize,
    alike: Option<usize>,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            full: Vec::new(),
            full_trunk: Vec::new(),
            stream: Vec::new(),
            stream_trunk: Vec::new(),
            cells_changed: 0.0,
            trunk_share: 0.0,
            rois_reused: 0.0,
            tolerance: 0.0,
            expected: 0,
            found: 0,
            alike: Some(0),
        }
    }
}

impl Measured {
    fn row(self, object: Option<f64>) -> Row {
        let frames = self.full.len();
        let mean = |sum: f64| sum / frames.max(1) as f64;
        // Of no detections, all are alike.
        let share = |of: usize| self.alike.map(|alike| if of == 0 { 1.0 } else { alike as f64 / of as f64 });
        let (precision, recall) = (share(self.found), share(self.expected));
        let times = |total, trunk| Times { total: Percentiles::of(total), trunk: Percentiles::of(trunk) };
        let (full, stream) = (times(self.full, self.full_trunk), times(self.stream, self.stream_trunk));
        let ratio = |a: Percentiles, b: Percentiles| a.p50_ms / b.p50_ms.max(f64::MIN_POSITIVE);
        Row {
            object,
            frames,
            cells_changed: mean(self.cells_changed),
            trunk_share: mean(self.trunk_share),
            rois_reused: mean(self.rois_reused),
            tolerance: mean(self.tolerance),
            of_full: ratio(stream.total, full.total),
            of_trunk: ratio(stream.trunk, full.trunk),
            full,
            stream,
            precision,
            recall,
        }
    }
}

impl StreamReport {
    /// For people.
    pub(super) fn text(&self) -> String {
        let [height, width] = self.frame;
        let kept = units::bytes((self.kept_mib * f64::from(1 << 20)) as u64);
        let mut facts = vec![
            ("bundle", self.bundle.clone()),
            ("frame", format!("{height} x {width}")),
            ("RoIs", self.rois.to_string()),
            ("threads", self.threads.to_string()),
            ("kept from frame to frame", format!("{kept}; {} MiB of maps at most", self.reuse_mib)),
        ];
        for row in self.rows.iter().filter(|row| row.object.is_none()) {
            facts.push(("frames", row.frames.to_string()));
            facts.push(("tolerance", format!("{:.1} grey levels on average", row.tolerance)));
            if let (Some(precision), Some(recall)) = (row.precision, row.recall) {
                let shares = format!("precision {precision:.3}, recall {recall:.3} at IoU 0.9");
                facts.push(("boxes against whole detections", shares));
            }
        }
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let rows = self.rows.iter().map(|row| {
            vec![
                row.object.map_or("frames".to_string(), |share| format!("{:.0} %", 100.0 * share)),
                percent(row.cells_changed),
                percent(row.trunk_share),
                percent(row.rois_reused),
                format!("{:.2}", row.full.total.p50_ms),
                format!("{:.2}", row.stream.total.p50_ms),
                format!("{:.3}", row.of_full),
                format!("{:.3}", row.of_trunk),
            ]
        });
        let columns = [
            Words("object"),
            Numbers("cells %"),
            Numbers("trunk %"),
            Numbers("RoIs kept %"),
            Numbers("whole ms"),
            Numbers("stream ms"),
            Numbers("of whole"),
            Numbers("trunk of whole"),
        ];
        format!("{}\n{}", pairs(&facts), table(&columns, rows))
    }

    /// Shares of the time of a whole detection and of a whole trunk, against that of the cells that have changed.
    #[cfg(feature = "compile")]
    pub(super) fn plot(&self) -> Result<String, Error> {
        let points = |of: fn(&Row) -> f64| self.rows.iter().map(|row| (row.cells_changed, of(row))).collect();
        let curves = [("whole detection", points(|row| row.of_full)), ("trunk", points(|row| row.of_trunk))];
        Ok(frcnn_harness::plot::reuse(&curves)?)
    }
}

/// Whether a plot can be written where it was asked for.
#[cfg(feature = "compile")]
pub(super) fn check_plot(path: &Path, inputs: &[Input]) -> Result<(), Error> {
    use frcnn_core::Printable;
    check_output(path, inputs)?;
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("svg") => Ok(()),
        _ => Err(Error::Usage(format!("--plot {}: plots are written as .svg", Printable(path.display())))),
    }
}
