//! A trained ONNX file becomes a bundle, as by `frcnn compile`.

use std::path::{Path, PathBuf};

use frcnn::cpu::TypeModel;
use frcnn_compiler::{CompileReport, Compiled, Description, Options, Precision, Precisions, Svd, uniform};
use frcnn_eval::{Dataset, Location};
use frcnn_files::{FileId, Staged, folder_of};
use frcnn_harness::auto::AutoReport;
use frcnn_harness::cascade::{CascadeReport, doubt};
use frcnn_harness::quantize::{FoundAgain, Photos, Quantized, quantize};
use frcnn_harness::{Board, MAX_DROP, worthwhile};
use frcnn_images::{Folder, no_images};
use serde::{Deserialize, Serialize};

use crate::call::{Call, Reply};
use crate::choices::{Choices, Photographs};
use crate::dataset::load;
use crate::error::{Failure, Kind};

/// What the command's `--report` has.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    report: CompileReport,
    /// What int8 still finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    found_again: Option<FoundAgain>,
    /// How `auto` chose precisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto: Option<AutoReport>,
    /// Layers that keep an exacter type, for theirs gains no time on the board.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exacter: Vec<String>,
    /// What the cascade drops.
    #[serde(skip_serializing_if = "Option::is_none")]
    cascade: Option<CascadeReport>,
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
    #[serde(rename = "svd")]
    energy: Option<f64>,
    precision: String,
    /// Photos, or folders of them.
    calibrate: Vec<PathBuf>,
    /// The name of a board, or a file that describes one.
    board: Option<String>,
    cascade: Option<Cascade>,
    /// The data set to choose by.
    data: Option<PathBuf>,
    split: String,
    /// Points of mAP.
    max_drop: Option<f64>,
}

/// A cascade, as it is asked for.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Cascade {
    ByHand {
        rank: usize,
        keep: f32,
    },
    /// `auto`
    Auto(Auto),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Auto {
    Auto,
}

/// What weights are to be stored as.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Auto,
    All(Precision),
}

/// What is said of a model lies in a file of this name beside it.
const MANIFEST: &str = "manifest.json";
/// The word for what is to be chosen.
const AUTO: &str = "auto";

impl Wishes {
    fn svd_is_auto(&self) -> bool {
        self.ranks.as_deref() == Some(AUTO)
    }

    /// Where it is not to be chosen.
    fn svd(&self) -> Result<Svd, Failure> {
        match (&self.ranks, self.energy) {
            (Some(_), _) if self.svd_is_auto() => Ok(Svd::None),
            (Some(ranks), _) => Ok(Svd::parse_ranks(ranks)?),
            (None, Some(energy)) if energy > 0.0 && energy <= 1.0 => Ok(Svd::Energy(energy)),
            (None, Some(energy)) => {
                let problem = format!("svd is the energy {energy}; it is above 0 and at most 1");
                Err(Failure::new(Kind::Option, problem))
            }
            (None, None) => Ok(Svd::None),
        }
    }

    fn stored(&self) -> Result<Stored, Failure> {
        if self.precision == AUTO {
            return Ok(Stored::Auto);
        }
        let known = Precision::ALL.into_iter().find(|known| known.name() == self.precision);
        known.map(Stored::All).ok_or_else(|| {
            let names = Precision::ALL.map(Precision::name).join(", ");
            Failure::new(
                Kind::Option,
                format_args!("precision is {:?}; there are {names}, {AUTO}", self.precision),
            )
        })
    }

    fn board(&self) -> Result<Option<Board>, Failure> {
        let found = self.board.as_deref().map(Board::find).transpose();
        found.map_err(|problem| Failure::new(Kind::Option, problem))
    }
}

/// Writes the bundle; the report, and doubts about the data set and the cascade.
pub(crate) fn compile(call: &Call) -> Result<Reply, Failure> {
    Reply::of(&run(&call.arguments()?)?)
}

fn run(wishes: &Wishes) -> Result<(Report, Vec<String>), Failure> {
    let (svd, stored, board) = (wishes.svd()?, wishes.stored()?, wishes.board()?);
    check(wishes, stored)?;
    let Wishes { onnx, out, manifest, classes, data, split, .. } = wishes;
    let description = describe(onnx, manifest.as_deref(), classes.as_deref())?;
    let photographs = data.as_deref().map(|data| Photographs::new(data, split));
    let choices = photographs
        .as_ref()
        .map(|photographs| Choices { photographs, max_drop: wishes.max_drop.unwrap_or(MAX_DROP) });
    // int8 is made of what the layers read, which is known in f32; so is what gains time on a board.
    let precision = match stored {
        Stored::All(precision) if precision != Precision::Int8 && board.is_none() => precision,
        _ => Precision::F32,
    };
    let compiled = match &choices {
        Some(choices) if wishes.svd_is_auto() => choices.svd(onnx, &description, precision)?,
        _ => frcnn_compiler::compile(onnx, &description, &Options { svd, precision }, &mut |_| {})?,
    };
    let model = board.as_ref().map_or_else(TypeModel::detect, |board| board.model);
    let Rounded { compiled, found_again, auto, exacter } = rounded(wishes, compiled, stored, board, choices)?;
    let mut doubts = Vec::new();
    let (Compiled { bundle, report, .. }, cascade) = match (wishes.cascade, &choices) {
        (None, _) => (compiled, None),
        (Some(Cascade::Auto(Auto::Auto)), Some(choices)) => choices.cascade(&compiled, &model)?,
        (Some(Cascade::Auto(Auto::Auto)), None) => return Err(no_data("cascade")),
        (Some(Cascade::ByHand { rank, keep }), choices) => {
            let refused = |problem| Failure::new(Kind::Option, format_args!("cascade: {problem}"));
            let by_hand = compiled.with_cascades(&[rank], keep).map_err(refused)?.pop().unwrap_or(compiled);
            match choices {
                Some(choices) => choices.measured(&by_hand)?,
                None => {
                    doubts.extend(doubt(&by_hand));
                    (by_hand, None)
                }
            }
        }
    };
    let refused = |error: std::io::Error| Failure::file(Kind::Compile, out, error);
    Staged::new(out, bundle.pieces()).and_then(Staged::commit).map_err(refused)?;
    doubts.extend(photographs.map(Photographs::doubts).unwrap_or_default());
    Ok((Report { report, found_again, auto, exacter, cascade }, doubts))
}

/// What `precision` asks for, done.
struct Rounded {
    compiled: Compiled,
    found_again: Option<FoundAgain>,
    auto: Option<AutoReport>,
    exacter: Vec<String>,
}

fn rounded(
    wishes: &Wishes,
    compiled: Compiled,
    stored: Stored,
    board: Option<Board>,
    choices: Option<Choices>,
) -> Result<Rounded, Failure> {
    let mut rounded = Rounded { compiled, found_again: None, auto: None, exacter: Vec::new() };
    let exact = &rounded.compiled;
    let worthwhile_on = |precision| match &board {
        Some(board) => worthwhile(&exact.bundle, board, precision),
        None => Ok((uniform(exact.bundle.contents(), precision), Vec::new())),
    };
    let refused = |problem| Failure::file(Kind::Compile, &wishes.onnx, problem);
    match (stored, choices) {
        (Stored::Auto, Some(choices)) => {
            let (compiled, auto) = choices.precisions(exact, board.as_ref())?;
            rounded = Rounded { compiled, auto: Some(auto), ..rounded };
        }
        (Stored::Auto, None) => return Err(no_data("precision")),
        (Stored::All(Precision::Int8), _) => {
            let (precisions, exacter) = worthwhile_on(Precision::Int8)?;
            let Quantized { compiled, found_again } = int8(exact, &precisions, wishes)?;
            rounded = Rounded { compiled, found_again: Some(found_again), exacter, auto: None };
        }
        (Stored::All(precision), _) if board.is_some() => {
            let (precisions, exacter) = worthwhile_on(precision)?;
            let compiled = exact.with_halves(&precisions).map_err(refused)?;
            rounded = Rounded { compiled, exacter, ..rounded };
        }
        (Stored::All(_), _) => {}
    }
    let named = rounded.auto.as_ref().map(|auto| auto.board.clone()).or(board.map(|board| board.name));
    if let Some(board) = named
        && rounded.compiled.report.precision != Precision::F32
    {
        rounded.compiled = rounded.compiled.for_board(&board).map_err(refused)?;
    }
    Ok(rounded)
}

fn no_data(what: &str) -> Failure {
    Failure::new(Kind::Option, format_args!("{what} auto: name the data set to choose on as data"))
}

/// Before minutes of work.
fn check(wishes: &Wishes, stored: Stored) -> Result<(), Failure> {
    let Wishes { out, calibrate, .. } = wishes;
    let wrong = |problem: &str| Err(Failure::new(Kind::Option, problem));
    match (stored == Stored::All(Precision::Int8), calibrate.is_empty()) {
        (true, true) => {
            return wrong("precision int8: give photos like those that the network is for as calibrate");
        }
        (false, false) => return wrong("calibrate is for precision int8"),
        _ => {}
    }
    let choosing = [
        ("svd", wishes.svd_is_auto()),
        ("precision", stored == Stored::Auto),
        ("cascade", matches!(wishes.cascade, Some(Cascade::Auto(_)))),
    ];
    let chosen = choosing.into_iter().find(|&(_, chooses)| chooses).map(|(what, _)| what);
    match (chosen, &wishes.data, wishes.max_drop) {
        (Some(what), None, _) => return Err(no_data(what)),
        (None, Some(_), _) if wishes.cascade.is_none() => {
            return wrong("data is for svd auto, precision auto and cascade");
        }
        (None, _, Some(_)) => return wrong("max_drop is for svd auto, precision auto and cascade auto"),
        (_, _, Some(points)) if !(0.0..=100.0).contains(&points) => {
            return wrong("max_drop is a number of points of mAP: 0 to 100");
        }
        _ => {}
    }
    if wishes.svd_is_auto() && stored == Stored::Auto {
        return wrong("svd auto and precision auto: let svd auto find the ranks first, and name them as svd");
    }
    if wishes.board.is_some() && stored == Stored::All(Precision::F32) {
        return wrong("board is for precision auto, int8, f16 and bf16");
    }
    let problem = if !folder_of(out).is_dir() {
        "its folder does not exist"
    } else if out.is_dir() {
        "is a folder; name a file"
    } else if out.exists() && reads(wishes, &FileId::of(out)) {
        "is read as well; name another file to write"
    } else {
        return Ok(());
    };
    Err(Failure::file(Kind::Option, out, problem))
}

/// Whether the bundle is made of that file.
fn reads(wishes: &Wishes, file: &FileId) -> bool {
    let Wishes { onnx, manifest, calibrate, data, split, .. } = wishes;
    let photos = |path: &PathBuf| Folder::read(path).map_or(vec![path.clone()], |folder| folder.images);
    let data = data.iter().flat_map(|data| Dataset::files(&Location::new(data, split)).unwrap_or_default());
    let manifest = manifest.clone().unwrap_or_else(|| onnx.with_file_name(MANIFEST));
    let mut read = [onnx.clone(), manifest]
        .into_iter()
        .chain(frcnn_compiler::external_files(onnx))
        .chain(calibrate.iter().flat_map(photos))
        .chain(data);
    read.any(|path| FileId::of(&path) == *file)
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
    let beside = onnx.with_file_name(MANIFEST);
    match manifest {
        Some(manifest) => Ok(Description::load(manifest)?),
        None if beside.exists() => Ok(Description::load(&beside)?),
        None => Ok(Description::default()),
    }
}

fn int8(exact: &Compiled, precisions: &Precisions, wishes: &Wishes) -> Result<Quantized, Failure> {
    let mut files = Vec::new();
    for path in &wishes.calibrate {
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
    let load = |photo: usize| load(&files[photo], has_rpn, None);
    let photos = Photos { count: files.len(), load: &load };
    let quantized = quantize(exact, precisions, &photos, &mut |_| {});
    Ok(quantized.map_err(|error| error.of_model(&wishes.onnx))?)
}
