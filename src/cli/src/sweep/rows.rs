//! The CSV of a sweep, which is written as settings are measured, and from which a sweep goes on.

use std::cell::OnceCell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csv::StringRecord;
use frcnn_bundle::Bundle;
use frcnn_core::Printable;
use frcnn_eval::Dataset;
use frcnn_files::write_atomically;
use frcnn_harness::processor;
use frcnn_harness::sweep::{Sweep, SweepRow};
use sha2::{Digest, Sha256};

use crate::console;
use crate::data::DataArgs;
use crate::error::Error;
use crate::units;

/// Its columns. Those from `dropped` to `work` are empty but of cascades; the last three are the same in all rows, and must be those
/// of the sweep that goes on.
const COLUMNS: [&str; 15] = [
    "setting",
    "ranks",
    "parameters",
    "file_bytes",
    "head_ms",
    "total_ms",
    "map",
    "drop_points",
    "dropped",
    "work",
    "fastest",
    "recommended",
    "model",
    "data",
    "machine",
];
/// More than any sweep has.
const MAX_BYTES: u64 = 16 << 20;

/// What the rows of a file have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    /// A hash of weights, graph and manifest.
    model: String,
    /// A hash of images, objects and the names of the files that boxes come from.
    data: String,
    /// Processor and threads, for times.
    machine: String,
}

impl Identity {
    /// Of a sweep over a network, which `bundle` is as it is.
    pub(super) fn new(
        bundle: &Bundle,
        dataset: &Dataset,
        (root, part): (&Path, &DataArgs),
        threads: Option<usize>,
    ) -> Identity {
        let contents = bundle.contents();
        let hashes: Vec<u128> = contents.sections.iter().map(|section| section.hash).collect();
        let mut model = format!(
            "{hashes:?} {:?} {:?} {:?}",
            contents.origin.onnx_sha256, contents.manifest, contents.rpn
        );
        // Scores from before continuous boxes were measured as such are those of another sweep.
        if contents.manifest.corners_are_edges() {
            model += " measured as continuous";
        }
        let images: Vec<_> = dataset.images.iter().map(|image| (&image.stem, image.size)).collect();
        let boxes = part.proposals_file(root);
        let boxes = boxes.as_deref().and_then(Path::file_name).unwrap_or_default();
        let data =
            format!("{images:?} {:?} {:?} {:?} {boxes:?}", dataset.classes, dataset.truths, part.settings());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.map_or(format!("{cores} cores"), |threads| units::several(threads, "thread"));
        let machine = format!("{}, {threads}", Printable(processor()));
        Identity { model: hash(&model), data: hash(&data), machine }
    }

    fn of(record: &StringRecord) -> Identity {
        let field = |name| field(record, name).to_string();
        Identity { model: field("model"), data: field("data"), machine: field("machine") }
    }

    /// Why rows of another identity are of no use here.
    fn difference(&self, found: &Identity) -> Option<String> {
        let Identity { model, data, machine } = self;
        if found.model != *model {
            Some(format!(
                "is of another model or manifest ({}, this one is {model})",
                Printable(&found.model)
            ))
        } else if found.data != *data {
            let what = "other images, objects or proposals";
            Some(format!("is of another data set: {what} ({}, this one is {data})", Printable(&found.data)))
        } else if found.machine != *machine {
            let found = Printable(&found.machine);
            Some(format!("has times of another machine or number of threads ({found}; here {machine})"))
        } else {
            None
        }
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A sweep's CSV.
pub(super) struct Csv {
    path: PathBuf,
    /// What an earlier sweep has left in it.
    earlier: Vec<(Identity, SweepRow)>,
    identity: OnceCell<Identity>,
}

impl Csv {
    /// Reads what an earlier sweep left, if there is a file. Whether this one is over cascades must be the same.
    pub(super) fn open(path: &Path, cascades: bool) -> Result<Csv, Error> {
        let bytes = match frcnn_files::read_at_most(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file(path, error)),
        };
        let earlier = read(&bytes).map_err(|problem| refused(path, &problem))?;
        let first = if cascades { "no cascade" } else { "not factored" };
        if earlier.first().is_some_and(|(_, row)| row.setting != first) {
            let [is, this] =
                if cascades { ["ranks of layers", "cascades"] } else { ["cascades", "ranks of layers"] };
            let problem = format!(
                "its first row is not `{first}`: is it of a sweep over {is}? This one is over {this}"
            );
            return Err(refused(path, &problem));
        }
        Ok(Csv { path: path.to_path_buf(), earlier, identity: OnceCell::new() })
    }

    /// What an earlier sweep of the same identity has measured.
    pub(super) fn known(&self, identity: Identity) -> Result<Vec<SweepRow>, frcnn_harness::Error> {
        if let Some(problem) = self.earlier.iter().find_map(|(found, _)| identity.difference(found)) {
            return Err(frcnn_harness::Error::file(&self.path, advised(&problem)));
        }
        let _ = self.identity.set(identity);
        if !self.earlier.is_empty() {
            let known = units::several(self.earlier.len(), "setting");
            console::note(&format!("sweep: {known} of {} measured before", Printable(self.path.display())));
        }
        Ok(self.earlier.iter().map(|(_, row)| row.clone()).collect())
    }

    /// Writes all rows so far. The file appears whole or not at all.
    pub(super) fn write(&self, rows: &[SweepRow], max_drop: f64) -> Result<(), frcnn_harness::Error> {
        let Some(identity) = self.identity.get() else { return Ok(()) };
        let failed = |problem: String| frcnn_harness::Error::file(&self.path, problem);
        let text = written(&Sweep::new(rows.to_vec(), max_drop, 0), identity).map_err(failed)?;
        write_atomically(&self.path, &text).map_err(|error| failed(error.to_string()))
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::file(path, advised(problem))
}

fn advised(problem: &str) -> String {
    format!("{problem}; remove it, or name another file with --csv")
}

fn written(sweep: &Sweep, identity: &Identity) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut line = |fields: &[String]| writer.write_record(fields).map_err(|error| error.to_string());
    line(&COLUMNS.map(str::to_string))?;
    let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for (position, row) in sweep.rows.iter().enumerate() {
        line(&[
            row.setting.clone(),
            super::layers(row),
            row.parameters.to_string(),
            row.file_bytes.to_string(),
            units::milliseconds(row.head).to_string(),
            units::milliseconds(row.total).to_string(),
            row.map.to_string(),
            row.drop.to_string(),
            or_empty(row.dropped),
            or_empty(row.work),
            (position == sweep.fastest).to_string(),
            (position == sweep.recommended).to_string(),
            identity.model.clone(),
            identity.data.clone(),
            identity.machine.clone(),
        ])?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

fn read(bytes: &[u8]) -> Result<Vec<(Identity, SweepRow)>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = csv::Reader::from_reader(bytes);
    let no_sweep = "is no CSV that this version of `frcnn sweep` has written";
    if reader.headers().map_err(|error| format!("{no_sweep}: {error}"))? != COLUMNS.as_slice() {
        return Err(no_sweep.to_string());
    }
    let mut rows: Vec<(Identity, SweepRow)> = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let at = |problem: String| format!("line {}: {problem}", index + 2);
        let record = record.map_err(|error| at(error.to_string()))?;
        let row = row(&record).map_err(at)?;
        if rows.iter().any(|(_, known)| known.setting == row.setting) {
            return Err(at(format!("`{}` is there a second time", Printable(&row.setting))));
        }
        rows.push((Identity::of(&record), row));
    }
    Ok(rows)
}

fn field<'a>(record: &'a StringRecord, name: &str) -> &'a str {
    COLUMNS
        .iter()
        .position(|column| *column == name)
        .and_then(|column| record.get(column))
        .unwrap_or_default()
}

fn row(record: &StringRecord) -> Result<SweepRow, String> {
    let wrong =
        |name: &str, what: &str| format!("{name} is `{}`, not {what}", Printable(field(record, name)));
    let whole = |name| field(record, name).parse::<u64>().map_err(|_| wrong(name, "a whole number"));
    let number = |name: &str, from: f64, to: f64| {
        let number = field(record, name).parse::<f64>().ok().filter(|number| (from..=to).contains(number));
        number.ok_or_else(|| wrong(name, &format!("a number from {from} to {to}")))
    };
    // A day is longer than any image takes.
    let time =
        |name| number(name, 0.0, 86_400_000.0).map(|ms| Duration::from_nanos((ms * 1e6).round() as u64));
    let optional =
        |name, to| if field(record, name).is_empty() { Ok(None) } else { number(name, 0.0, to).map(Some) };
    Ok(SweepRow {
        setting: field(record, "setting").to_string(),
        ranks: ranks(field(record, "ranks")).ok_or_else(|| wrong("ranks", "LAYER=RANK ..."))?,
        parameters: whole("parameters")?,
        file_bytes: whole("file_bytes")?,
        head: time("head_ms")?,
        total: time("total_ms")?,
        map: number("map", 0.0, 1.0)?,
        drop: number("drop_points", -100.0, 100.0)?,
        dropped: optional("dropped", 1.0)?,
        work: optional("work", 1e6)?,
    })
}

/// The reverse of [`layers`](super::layers); a layer's name may have blanks.
fn ranks(text: &str) -> Option<Vec<(String, usize)>> {
    let (mut ranks, mut name) = (Vec::new(), String::new());
    for word in text.split(' ').filter(|_| !text.is_empty()) {
        let end = word.rsplit_once('=').and_then(|(end, rank)| Some((end, rank.parse().ok()?)));
        let _ = write!(name, "{}", end.map_or(word, |(end, _)| end));
        match end {
            Some((_, rank)) => ranks.push((std::mem::take(&mut name), rank)),
            None => name.push(' '),
        }
    }
    name.is_empty().then_some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { model: "a1".into(), data: "b2".into(), machine: "cpu: x, y (x86_64), 2 cores".into() }
    }

    fn row(setting: &str, ranks: &[(&str, usize)]) -> SweepRow {
        SweepRow {
            setting: setting.into(),
            ranks: ranks.iter().map(|(layer, rank)| (layer.to_string(), *rank)).collect(),
            parameters: 1_234_567,
            file_bytes: 4_938_268,
            head: Duration::from_micros(12_345),
            total: Duration::from_micros(67_890),
            map: 0.1 + 0.2,
            drop: -0.012_345_678_901_234_5,
            dropped: None,
            work: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again_exactly() {
        let rows = [
            row("not factored", &[]),
            row("a \"quoted\", one=8 fc7=4", &[("a \"quoted\", one", 8), ("fc7", 4)]),
            SweepRow { dropped: Some(0.75), work: Some(0.3), ..row("rank=8,keep=0.1", &[("judge", 8)]) },
        ];
        let text = written(&Sweep::new(rows.to_vec(), 0.3, 2), &identity()).unwrap();
        for (found, expected) in read(&text).unwrap().iter().zip(&rows) {
            assert_eq!(found.0, identity());
            assert_eq!(format!("{:?}", found.1), format!("{expected:?}"));
        }
        assert_eq!(read(&text).unwrap().len(), 3);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_sweep_is_refused_with_the_reason() {
        let text = written(&Sweep::new(vec![row("not factored", &[])], 0.3, 2), &identity()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let problem = |text: &str| read(text.as_bytes()).map(|_| ()).unwrap_err();
        assert!(problem("setting,map\nnot factored,0.5\n").contains("is no CSV that this version"));
        assert!(problem("no table").contains("is no CSV"));
        for (from, to, words) in [
            ("0.30000000000000004", "NaN", "line 2: map is `NaN`, not a number from 0 to 1"),
            ("0.30000000000000004", "1.5", "map is `1.5`"),
            ("67.89", "-1", "total_ms is `-1`"),
            ("67.89", "1e300", "total_ms is `1e300`"),
            ("1234567", "1e6", "parameters is `1e6`, not a whole number"),
            ("not factored,", "not factored,fc6=", "ranks is `fc6=`"),
            (",true", ",tr\nue", "line 2: "),
        ] {
            assert!(
                problem(&text.replacen(from, to, 1)).contains(words),
                "{words}: {}",
                problem(&text.replacen(from, to, 1))
            );
        }
        let twice = format!("{text}{}", text.lines().nth(1).unwrap());
        assert!(problem(&twice).contains("line 3: `not factored` is there a second time"));
        assert!(read(&[text.as_bytes(), b"\xff\xfe,\n"].concat()).is_err());
    }

    #[test]
    fn another_identity_is_named() {
        let other = |change: &dyn Fn(&mut Identity)| {
            let mut other = identity();
            change(&mut other);
            identity().difference(&other)
        };
        assert_eq!(other(&|_| {}), None);
        assert!(
            other(&|other| other.model = "\u{1b}x".into())
                .unwrap()
                .contains("another model or manifest (\\u{1b}x, this one is a1)")
        );
        assert!(other(&|other| other.data.clear()).unwrap().contains("another data set"));
        assert!(
            other(&|other| other.machine.push('s')).unwrap().contains("another machine or number of threads")
        );
    }
}
