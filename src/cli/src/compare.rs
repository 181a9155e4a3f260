//! `frcnn compare`: outputs here against reference outputs, stage by stage.

use std::path::{Path, PathBuf};

use frcnn::{Detector, Options};
use frcnn_compiler::compile;
use frcnn_core::Printable;
use frcnn_eval::{Drift, Measure, Role, TensorFile, Tolerances, roles};
use frcnn_harness::compare::{self, Comparison, Names};
use frcnn_harness::page::comparison;
use serde::Serialize;

use crate::console;
use crate::cost::CostArgs;
use crate::described;
use crate::error::Error;
use crate::files;
use crate::inputs::boxes::BoxSource;
use crate::inputs::decode::{self, PhotoArgs};
use crate::inputs::images::{self, ImageFile, Inputs};
use crate::outputs::{Input, check_output};
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units::difference;

/// Compare outputs with reference outputs, stage by stage and detection by detection
///
/// Says where the two sides first diverge and what to look at. The exit code is 1 if a stage differs by more than its
/// tolerance: its largest difference, over the reference's largest magnitude, or behind int8 layers the norm of all differences,
/// over the reference's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn compare model.frcnn --reference gpu.safetensors --html report.html
  frcnn compare model.onnx --reference gpu.safetensors --image photo.png
  frcnn compare model.frcnn --reference gpu.safetensors --against other-gpu.safetensors
  frcnn compare model.frcnn --against small.frcnn --image photos/ --proposals boxes.safetensors

References:
  A safetensors file of one image with any of data [1, 3, H, W], rois [R, 5] (batch index and corners \
  in network pixels), conv [1, C, H, W], pool5 [R, C, P, P], fc6, fc7, cls_score, cls_prob, bbox_pred; \
  an SPPnet's pool5 is [R, F], each level flattened and joined. Of networks with a feature pyramid the \
  maps are p2, p3 and so on; of those with an RPN there are rpn_logits.L and rpn_deltas.L [1, A or 4 A, H, W] \
  of each map, counted from 0, and proposals [N, 4] in network pixels; RoIAlign's is roi_align [R, C, P, P]. \
  A blob that is padded gives proposals to compare only with --image.

  Metadata: im_scale, device, library, tf32, onnx_sha256 and whatever else is to be shown.

  `alone` is a stage's error on the reference's own input, which tells the stage that makes an error \
  (`begins here`) from those that pass it on (`follows`). Of all layers of the head that is what was pooled, so that an error \
  of the first is in the others, too.

Tolerances:
  --tolerance 1e-3 for all stages, --tolerance conv=1e-3,fc6=1e-4 for some. Without: data 1e-5, and of each file that is \
  stored in half precision or bf16 what that rounds at most, 2^-11 or 2^-8, more; others \
  1e-4; behind layers with f16 weights, or of a reference in half precision or TF32, some 90 times \
  that; behind bf16 layers, or of a reference in bf16, 256 times. Behind N int8 layers, which clip what is rare, the norm of all \
  differences may be sqrt(N) / 16 of the reference's. NaN equals nothing, not even NaN: a stage that has one differs.")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote, or an ONNX file with its manifest
    #[arg(value_name = "BUNDLE|MODEL.onnx")]
    model: PathBuf,
    /// Reference outputs
    #[arg(long, value_name = "FILE.safetensors", required_unless_present = "against")]
    reference: Option<PathBuf>,
    /// A second reference file, compared with the first; without a reference, a second bundle or ONNX file
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The photo that the reference was made from; for two bundles, photos or folders of them
    #[arg(long = "image", value_name = "IMAGE", num_args = 1..)]
    images: Vec<PathBuf>,
    /// The photos' boxes (.safetensors or .json), for two bundles [default: the first one's RPN's, or selective search]
    #[arg(long, value_name = "FILE", conflicts_with = "reference")]
    proposals: Option<PathBuf>,
    /// Classes, pixel means, scales and conventions of an ONNX file [default: manifest.json beside it]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Largest relative error allowed, of all stages or by name
    #[arg(long, value_name = "[STAGE=]SHARE,...", value_delimiter = ',', value_parser = tolerance)]
    tolerance: Vec<(Option<String>, f64)>,
    /// Threads that work on one image [default: the physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write a page with everything, and both sides' boxes on the image
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    photos: PhotoArgs,
    #[command(flatten)]
    cost: CostArgs,
}

fn tolerance(text: &str) -> Result<(Option<String>, f64), String> {
    let (stage, share) = match text.split_once('=') {
        Some((stage, share)) => (Some(stage.to_string()), share),
        None => (None, text),
    };
    let share = share.parse::<f64>().ok().filter(|share| share.is_finite() && *share >= 0.0);
    share.map(|share| (stage, share)).ok_or_else(|| "not a number of at least 0".to_string())
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report<'a> {
    agrees: bool,
    images: Vec<ImageReport<'a>>,
}

#[derive(Serialize)]
struct ImageReport<'a> {
    image: &'a str,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    args.photos.apply();
    if let Some(path) = &args.html {
        let manifest = described::manifest_of(&args.model, args.manifest.as_ref());
        let models = [Some(&args.model), args.against.as_ref()].into_iter().flatten();
        let files = [Some(&manifest), args.reference.as_ref(), args.proposals.as_ref()].into_iter().flatten();
        let inputs = models.map(|path| Input::Model(path)).chain(files.map(|path| Input::File(path)));
        let inputs = inputs.chain(args.images.iter().map(|path| Input::Photos(path)));
        check_output(path, &inputs.collect::<Vec<_>>())?;
    }
    let detector = open(&args.model, args)?;
    let comparisons = match (&args.reference, &args.against) {
        (Some(reference), against) => vec![with_files(args, &detector, reference, against.as_deref())?],
        (None, Some(against)) => with_detector(args, &detector, &open(against, args)?, against)?,
        (None, None) => return Err(Error::Usage("name a --reference, or a bundle --against".to_string())),
    };
    check_stages(args, &comparisons)?;
    let agrees = comparisons.iter().all(|(_, comparison)| comparison.agrees());
    if let Some(path) = &args.html {
        let title = format!("{}: stage by stage", name(&args.model));
        let class_name = |class: u16| detector.class_name(class).to_string();
        files::write(path, comparison(&title, &comparisons, &class_name)?.as_bytes())?;
    }
    if args.json {
        let images = comparisons.iter().map(|(image, comparison)| ImageReport { image, comparison });
        let report = Report { agrees, images: images.collect() };
        console::json(&report)?;
    } else {
        console::result(&comparisons.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    }
    if agrees { Ok(()) } else { Err(Error::Reported) }
}

fn with_files(
    args: &Args,
    detector: &Detector,
    reference: &Path,
    against: Option<&Path>,
) -> Result<(String, Comparison), Error> {
    let photo = match &args.images[..] {
        [] => None,
        [photo] => Some(decode::rgb8(photo)?),
        _ => return Err(Error::Usage("a reference is of one image; name one --image".to_string())),
    };
    let file = TensorFile::open(reference)?;
    let image = file.metadata.get("image").cloned().unwrap_or_else(|| name(reference));
    let comparison = match against {
        Some(against) => {
            if against.extension().is_none_or(|extension| extension != "safetensors") {
                return Err(Error::file(
                    against,
                    "beside --reference, name another .safetensors reference file",
                ));
            }
            let other = TensorFile::open(against)?;
            let tolerances = tolerances(args, &[&file, &other], &[]);
            let (first, second) = (reference.display().to_string(), against.display().to_string());
            let names = Names { reference: &first, found: &second };
            compare::files(Some(detector), [&file, &other], photo.as_ref(), &tolerances, names)?
        }
        None => {
            let (first, second) = (reference.display().to_string(), name(&args.model));
            let names = Names { reference: &first, found: &second };
            let tolerances = tolerances(args, &[&file], &[detector]);
            compare::with_reference(detector, &file, photo.as_ref(), &tolerances, names)?
        }
    };
    Ok((image, comparison))
}

fn with_detector(
    args: &Args,
    first: &Detector,
    second: &Detector,
    against: &Path,
) -> Result<Vec<(String, Comparison)>, Error> {
    if args.images.is_empty() {
        return Err(Error::Usage("two bundles are compared on photos: name them with --image".to_string()));
    }
    if first.manifest().classes != second.manifest().classes {
        return Err(Error::file(against, "has other classes than the first bundle"));
    }
    let Inputs { images, unreadable } = images::list(&args.images);
    if let Some(error) = unreadable.into_iter().next() {
        return Err(error);
    }
    let proposals = match (&args.proposals, first.has_rpn()) {
        (None, true) => BoxSource::Learned,
        (file, _) => BoxSource::open(file.as_deref(), images.len())?,
    };
    let (reference, found) = (name(&args.model), name(against));
    let tolerances = tolerances(args, &[], &[first, second]);
    let compare = |image: &ImageFile| {
        let photo = decode::rgb8(&image.path)?;
        let boxes = proposals.of(image, &photo)?;
        let names = Names { reference: &reference, found: &found };
        let comparison = compare::detectors([first, second], &photo, boxes.as_deref(), &tolerances, names)?;
        Ok((image.path.display().to_string(), comparison))
    };
    images.iter().map(compare).collect()
}

/// A bundle as it is; an ONNX file is compiled in memory.
fn open(path: &Path, args: &Args) -> Result<Detector, Error> {
    let options = Options {
        threads: args.threads,
        limits: args.cost.limits(),
        memory: args.cost.memory(),
        ..Options::default()
    };
    if path.extension().is_none_or(|extension| extension != "onnx") {
        return files::open_detector(path, &options);
    }
    let description = described::describe(path, args.manifest.as_ref())?;
    let compiled = compile(path, &description, &frcnn_compiler::Options::default(), &mut |_| {});
    let compiled = compiled.map_err(|error| described::explained(error, path))?;
    Detector::new(compiled.bundle, &options).map_err(|error| Error::file(path, error))
}

/// What the rounding of references and of the layers of `detectors` explains, unless the arguments say what is allowed.
fn tolerances(args: &Args, files: &[&TensorFile], detectors: &[&Detector]) -> Tolerances {
    let explained = compare::explained(files, detectors);
    args.tolerance.iter().fold(explained, |tolerances, (stage, share)| match stage {
        Some(stage) => tolerances.with_stage(stage, *share),
        None => tolerances.with_all(*share),
    })
}

/// A tolerance for a stage that was not compared was most likely meant for another.
fn check_stages(args: &Args, comparisons: &[(String, Comparison)]) -> Result<(), Error> {
    let stages = || comparisons.iter().flat_map(|(_, c)| c.stages.iter().map(|stage| stage.stage.as_str()));
    let wished = args.tolerance.iter().filter_map(|(stage, _)| stage.as_deref());
    for stage in wished {
        if !stages().any(|known| known == stage) {
            let mut known: Vec<&str> = stages().collect();
            known.dedup();
            let known = known.join(", ");
            return Err(Error::Usage(format!(
                "--tolerance: stage `{stage}` was not compared; there are {known}"
            )));
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text((image, comparison): &(String, Comparison)) -> String {
    let columns = [
        Words("stage"),
        Numbers("max abs"),
        Numbers("relative"),
        Numbers("norm"),
        Numbers("alone"),
        Numbers("allowed"),
        Numbers("cosine"),
        Numbers("equal"),
        Numbers("worst at"),
        Numbers("reference"),
        Numbers("found"),
        Words(""),
    ];
    let rows = comparison.stages.iter().zip(roles(&comparison.stages)).map(|(stage, role)| {
        let d = &stage.difference;
        let elements: u64 = d.ulps.counts.iter().sum();
        let equal = d.ulps.counts.first().copied().unwrap_or(0) as f64 / (elements.max(1)) as f64;
        let mut row = vec![
            stage.stage.clone(),
            difference(d.max_abs),
            difference(d.relative),
            difference(d.norm),
            stage.alone.as_ref().map_or(String::new(), |alone| difference(stage.measure.of(alone))),
            match stage.measure {
                Measure::Largest => difference(stage.tolerance),
                Measure::Norm => format!("norm {}", difference(stage.tolerance)),
            },
            format!("{:.8}", d.cosine),
            format!("{:.1} %", equal * 100.0),
        ];
        row.extend(match &d.worst {
            Some(worst) => {
                let index: Vec<String> = worst.index.iter().map(usize::to_string).collect();
                [format!("[{}]", index.join(",")), worst.reference.to_string(), worst.found.to_string()]
            }
            None => Default::default(),
        });
        let role = match role {
            Role::Agrees => "",
            Role::Begins => "begins here",
            Role::Follows => "follows",
            Role::Beyond => "beyond",
        };
        row.push(role.to_string());
        row
    });
    let [reference, found] = &comparison.sides;
    let mut text = format!(
        "{}: {} against {}\n\n{}",
        Printable(image),
        Printable(&found.name),
        Printable(&reference.name),
        table(&columns, rows)
    );
    if let Some(detections) = &comparison.detections {
        let drift = &detections.drift;
        text += "\nDetections\n\n";
        let counts =
            ("matched, missing, extra", format!("{}, {}, {}", drift.matched, drift.missing, drift.extra));
        text += &match drifted(drift) {
            Some([scores, corners, iou]) => pairs(&[counts, scores, corners, iou]),
            None => pairs(&[counts, ("drift", "none matched".to_string())]),
        };
    }
    text + &format!("\n{}\n", comparison.verdict)
}

/// How far matched detections are apart; nothing where none matched.
fn drifted(drift: &Drift) -> Option<[(&'static str, String); 3]> {
    let of = |value: Option<f32>| value.map(|value| difference(value.into()));
    let scores = format!("{}, {}", of(drift.max_score)?, of(drift.mean_score)?);
    Some([
        ("score drift, largest and mean", scores),
        ("corner drift, largest, in pixels", of(drift.max_corner)?),
        ("smallest IoU of a pair", format!("{:.6}", drift.min_iou?)),
    ])
}
