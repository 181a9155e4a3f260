//! A trained ONNX file becomes a bundle, as by `frcnn compile`.

use std::path::{Path, PathBuf};

use frcnn_compiler::{CompileReport, Compiled, Description, Options, Precision, Svd, uniform};
use frcnn_files::Staged;
use frcnn_harness::quantize::{FoundAgain, Photos, Quantized, quantize};
use frcnn_harness::{Loaded, selective_search};
use frcnn_images::{Folder, no_images};
use serde::{Deserialize, Serialize};

use crate::call::{Call, Reply};
use crate::error::{Failure, Kind};
use crate::picture::of_file;

/// What the command's `--report` has.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    report: CompileReport,
    /// What int8 still finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    found_again: Option<FoundAgain>,
}

/// What is asked for.
#[derive(Deserialize)]
struct Wishes {
    onnx: PathBuf,
    out: PathBuf,
    manifest: Option<PathBuf>,
    classes: Option<Vec<String>>,
    /// Such as `fc6=256,fc7=64`.
    ranks: Option<String>,
    /// A share of the squared singular values, where there are no ranks.
    energy: Option<f64>,
    precision: String,
    /// Photos, or folders of them.
    calibrate: Vec<PathBuf>,
}

impl Wishes {
    fn svd(&self) -> Result<Svd, Failure> {
        match (&self.ranks, self.energy) {
            (Some(ranks), _) => Ok(Svd::parse_ranks(ranks)?),
            (None, Some(energy)) if energy > 0.0 && energy <= 1.0 => Ok(Svd::Energy(energy)),
            (None, Some(energy)) => {
                let problem = format!("svd is the energy {energy}; it is above 0 and at most 1");
                Err(Failure::new(Kind::Option, problem))
            }
            (None, None) => Ok(Svd::None),
        }
    }

    fn precision(&self) -> Result<Precision, Failure> {
        let known = Precision::ALL.into_iter().find(|known| known.name() == self.precision);
        known.ok_or_else(|| {
            let names = Precision::ALL.map(Precision::name).join(", ");
            Failure::new(Kind::Option, format_args!("precision is {:?}; there are {names}", self.precision))
        })
    }
}

/// Writes the bundle; the report.
pub(crate) fn compile(call: &Call) -> Result<Reply, Failure> {
    Reply::of(&run(&call.arguments()?)?)
}

fn run(wishes: &Wishes) -> Result<Report, Failure> {
    let (svd, precision) = (wishes.svd()?, wishes.precision()?);
    check(wishes, precision)?;
    let Wishes { onnx, out, manifest, classes, calibrate, .. } = wishes;
    let is_int8 = precision == Precision::Int8;
    let description = describe(onnx, manifest.as_deref(), classes.as_deref())?;
    // int8 is made of what the layers read, which is known in f32.
    let options = Options { svd, precision: if is_int8 { Precision::F32 } else { precision } };
    let compiled = frcnn_compiler::compile(onnx, &description, &options, &mut |_| {})?;
    let (Compiled { bundle, report, .. }, found_again) = if is_int8 {
        let Quantized { compiled, found_again } = int8(&compiled, calibrate)?;
        (compiled, Some(found_again))
    } else {
        (compiled, None)
    };
    let refused = |error: std::io::Error| Failure::file(Kind::Compile, out, error);
    Staged::new(out, bundle.pieces()).and_then(Staged::commit).map_err(refused)?;
    Ok(Report { report, found_again })
}

/// Before minutes of work.
fn check(wishes: &Wishes, precision: Precision) -> Result<(), Failure> {
    let Wishes { onnx, out, calibrate, .. } = wishes;
    let wrong = |problem: &str| Err(Failure::new(Kind::Option, problem));
    match (precision == Precision::Int8, calibrate.is_empty()) {
        (true, true) => {
            return wrong("precision int8: give photos like those that the network is for as calibrate");
        }
        (false, false) => return wrong("calibrate is for precision int8"),
        _ => {}
    }
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = if !folder.is_dir() {
        "its folder does not exist"
    } else if out.is_dir() {
        "is a folder; name a file"
    } else if out.canonicalize().is_ok_and(|out| onnx.canonicalize().is_ok_and(|onnx| onnx == out)) {
        "is read as well; name another file to write"
    } else {
        return Ok(());
    };
    Err(Failure::file(Kind::Option, out, problem))
}

/// What is said of the model beside its file: classes, the manifest that is named, or the one beside it if there is one.
fn describe(
    onnx: &Path,
    manifest: Option<&Path>,
    classes: Option<&[String]>,
) -> Result<Description, Failure> {
    if let Some(classes) = classes {
        let description = Description::of_classes(classes.iter().cloned());
        return description.map_err(|error| Failure::new(Kind::Option, format_args!("classes: {error}")));
    }
    let beside = onnx.with_file_name("manifest.json");
    match manifest {
        Some(manifest) => Ok(Description::load(manifest)?),
        None if beside.exists() => Ok(Description::load(&beside)?),
        None => Ok(Description::default()),
    }
}

fn int8(exact: &Compiled, photos: &[PathBuf]) -> Result<Quantized, Failure> {
    let mut files = Vec::new();
    for path in photos {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| Failure::file(Kind::Image, path, error);
        let Folder { images, .. } = Folder::read(path).map_err(unreadable)?;
        if images.is_empty() {
            return Err(Failure::file(Kind::Image, path, no_images()));
        }
        files.extend(images);
    }
    let has_rpn = exact.bundle.contents().rpn.is_some();
    let load = |photo: usize| load(&files[photo], has_rpn);
    let photos = Photos { count: files.len(), load: &load };
    Ok(quantize(exact, &uniform(exact.bundle.contents(), Precision::Int8), &photos, &mut |_| {})?)
}

/// A photo with its boxes, unless the network proposes by itself.
pub(crate) fn load(path: &Path, has_rpn: bool) -> Result<Loaded, frcnn_harness::Error> {
    let pixels = of_file(path).map_err(|failure| frcnn_harness::Error::Stage(failure.text))?;
    let boxes = match has_rpn {
        true => None,
        false => Some(selective_search(&pixels).map_err(frcnn::Error::from)?),
    };
    Ok(Loaded { pixels, boxes })
}
