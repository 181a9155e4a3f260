//! The detections of a run over a data set, written as they are found.
//!
//! A file of lines: what was run, then one line per image. A run that was interrupted goes on behind the last whole
//! line; runs over shards of the images are merged by reading all their files. What a line says is the caller's: it is a [`RunLine`],
//! of a data set a [`RunImage`].
//!
//! ```text
//! {"frcnn_run":1,"classes":["RBC","WBC"],"settings":{"bundle":"6f…","split":"test"}}
//! {"image":"000004","detections":[{"class":"RBC","score":0.98,"box":[17.0,297.5,133.0,401.0]}]}
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Dataset, Detection, Error, Problem, Region, limits};

/// Version of the format.
const VERSION: u32 = 1;

/// What was run; files that are merged or continued must agree in all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    frcnn_run: u32,
    /// The detector's classes, without the background.
    pub classes: Vec<String>,
    /// Whatever changes the detections or their number: bundle, split, thresholds.
    pub settings: BTreeMap<String, String>,
}

impl RunHeader {
    /// Of a run of these classes with these settings.
    pub fn new(classes: Vec<String>, settings: BTreeMap<String, String>) -> RunHeader {
        RunHeader { frcnn_run: VERSION, classes, settings }
    }

    /// In which setting another run differs.
    fn difference(&self, other: &RunHeader) -> Option<String> {
        if self.classes != other.classes {
            return Some(format!("classes {:?} and {:?}", self.classes, other.classes));
        }
        let value = |header: &RunHeader, key| header.settings.get(key).cloned().unwrap_or_default();
        let key = self
            .settings
            .keys()
            .chain(other.settings.keys())
            .find(|&key| value(self, key) != value(other, key))?;
        Some(format!("{key} `{}` and `{}`", value(self, key), value(other, key)))
    }
}

/// What was found in one image, as one line of a run's file.
pub trait RunLine: Serialize + DeserializeOwned {
    /// Which of the run's images it is of; two lines of one run with the same key are of the same image.
    fn key(&self) -> String;

    /// Whether another line of the image has found the same.
    fn agrees(&self, other: &Self) -> bool;
}

/// What was found in one image of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunImage {
    /// Its stem.
    pub image: String,
    /// Best first.
    pub detections: Vec<RunDetection>,
}

/// One detection of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetection {
    /// The class's name.
    pub class: String,
    /// Its probability.
    pub score: f32,
    /// x1, y1, x2, y2 in pixels, corners inclusive.
    pub r#box: [f32; 4],
}

impl RunLine for RunImage {
    fn key(&self) -> String {
        self.image.clone()
    }

    fn agrees(&self, other: &RunImage) -> bool {
        self == other
    }
}

impl RunImage {
    /// The detections as they are scored.
    ///
    /// # Errors
    /// A class or the image is not in the data set; `path` is named.
    pub fn detections(&self, dataset: &Dataset, image: usize, path: &Path) -> Result<Vec<Detection>, Error> {
        let detection = |found: &RunDetection| {
            let hint = String::new();
            let id = format!("`{}`", found.class);
            let class = dataset
                .class(&found.class)
                .ok_or_else(|| Error::new(path, Problem::Unknown { what: "class", id, hint }))?;
            let region = Region::from_inclusive(found.r#box.map(f64::from));
            if !found.score.is_finite() || !region.is_finite() {
                let problem = format!("`{}` has a detection with a number that is not finite", self.image);
                return Err(Error::syntax(path, problem));
            }
            Ok(Detection { image, class, score: f64::from(found.score), region })
        };
        self.detections.iter().map(detection).collect()
    }
}

/// A run's file, open for more images.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    file: File,
}

impl RunFile {
    /// Starts a file, or opens one that an earlier run with the same `header` left and gives its lines.
    ///
    /// # Errors
    /// The file is of another run, or cannot be read or written.
    pub fn open<L: RunLine>(path: &Path, header: &RunHeader) -> Result<(RunFile, Vec<L>), Error> {
        let io = |error| Error::new(path, error);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        // Two runs that write at once would cut each other's lines. Some file systems know no locks.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let problem = "another command is writing it; wait for that, or name another file".to_string();
            return Err(Error::new(path, Problem::Run(problem)));
        }
        let bytes = frcnn_files::read_at_most(path, limits::TEXT).map_err(io)?;
        let (lines, keep) = if bytes.is_empty() {
            (Vec::new(), 0)
        } else {
            let Contents { header: found, lines, whole } = parse(path, &bytes)?;
            if let Some(difference) = header.difference(&found) {
                let problem = format!("is of another run: {difference}; remove it or name another file");
                return Err(Error::new(path, Problem::Run(problem)));
            }
            (lines, whole)
        };
        // A line that was cut short by whatever ended the run.
        file.set_len(keep as u64).map_err(io)?;
        let mut run = RunFile { path: path.to_path_buf(), file };
        if keep == 0 {
            run.line(header)?;
        }
        Ok((run, lines))
    }

    /// Adds an image; it is in the file when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, line: &impl RunLine) -> Result<(), Error> {
        self.line(line)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value).map_err(|error| Error::syntax(&self.path, error))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| Error::new(&self.path, error))
    }
}

/// Reads the files of the shards of one run. An image may be in several if what was found is the same.
///
/// # Errors
/// A file cannot be read, is of another run than the first, or has other detections for an image.
pub fn merge<L: RunLine>(paths: &[PathBuf]) -> Result<(RunHeader, Vec<L>), Error> {
    let mut merged: Option<RunHeader> = None;
    let mut lines: Vec<L> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for path in paths {
        let bytes = frcnn_files::read_at_most(path, limits::TEXT).map_err(|error| Error::new(path, error))?;
        let contents = parse::<L>(path, &bytes)?;
        let header = merged.get_or_insert_with(|| contents.header.clone());
        if let Some(difference) = header.difference(&contents.header) {
            let problem = format!("is of another run than the first file: {difference}");
            return Err(Error::new(path, Problem::Run(problem)));
        }
        for line in contents.lines {
            let key = line.key();
            match seen.get(&key).and_then(|&position| lines.get(position)) {
                Some(before) if before.agrees(&line) => {}
                Some(_) => {
                    let problem = format!("has other detections for `{key}` than a file before it");
                    return Err(Error::new(path, Problem::Run(problem)));
                }
                None => {
                    seen.insert(key, lines.len());
                    lines.push(line);
                }
            }
        }
    }
    let nothing = || Error::new(Path::new(""), Problem::Run("there are no files to merge".to_string()));
    Ok((merged.ok_or_else(nothing)?, lines))
}

struct Contents<L> {
    header: RunHeader,
    lines: Vec<L>,
    /// Bytes up to the end of the last whole line.
    whole: usize,
}

fn parse<L: RunLine>(path: &Path, bytes: &[u8]) -> Result<Contents<L>, Error> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |position| position + 1);
    let mut lines = bytes.get(..whole).unwrap_or_default().split_inclusive(|&byte| byte == b'\n').enumerate();
    let no_run =
        || Error::syntax(path, "not a file of `--run`, or cut in its first line; remove it to begin anew");
    let (_, first) = lines.next().ok_or_else(no_run)?;
    let header: RunHeader = serde_json::from_slice(first).map_err(|_| no_run())?;
    if header.frcnn_run != VERSION {
        return Err(Error::syntax(path, format_args!("format {}, not {VERSION}", header.frcnn_run)));
    }
    let line = |(index, line)| serde_json::from_slice(line).map_err(|error| Error::line(path, index, error));
    Ok(Contents { header, lines: lines.map(line).collect::<Result<_, Error>>()?, whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn header(split: &str) -> RunHeader {
        RunHeader::new(vec!["cat".into()], [("split".to_string(), split.to_string())].into())
    }

    fn open(path: &Path, split: &str) -> Result<(RunFile, Vec<RunImage>), Error> {
        RunFile::open(path, &header(split))
    }

    fn image(stem: &str, score: f32) -> RunImage {
        let detections = vec![RunDetection { class: "cat".into(), score, r#box: [1.0, 2.0, 3.5, 4.1] }];
        RunImage { image: stem.into(), detections }
    }

    #[test]
    fn a_run_goes_on_behind_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let (mut run, before) = open(&path, "test").unwrap();
        assert!(before.is_empty());
        run.add(&image("a", 0.1)).unwrap();
        run.add(&image("b", 0.2)).unwrap();
        drop(run);
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let opened = open(&path, "test");
            let lines = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
            if cut > 0 && lines == 0 {
                assert!(opened.unwrap_err().to_string().contains("run.jsonl: not a file of"));
                continue;
            }
            let (mut run, before) = opened.unwrap();
            assert_eq!(before.len(), lines.saturating_sub(1), "cut at {cut}");
            for missing in [image("a", 0.1), image("b", 0.2)].iter().skip(before.len()) {
                run.add(missing).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), bytes, "cut at {cut}");
        }
    }

    #[test]
    fn another_run_is_not_mixed_in() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["1", "2", "3", "4"].map(|name| folder.path().join(name));
        let write = |path: &Path, split: &str, images: &[RunImage]| {
            let (mut run, _) = open(path, split).unwrap();
            images.iter().for_each(|image| run.add(image).unwrap());
        };
        write(&paths[0], "test", &[image("a", 0.1)]);
        write(&paths[1], "test", &[image("b", 0.2), image("a", 0.1)]);
        write(&paths[2], "test", &[image("a", 0.3)]);
        write(&paths[3], "val", &[]);
        let (_, images) = merge::<RunImage>(&paths[..2]).unwrap();
        assert_eq!(images, [image("a", 0.1), image("b", 0.2)]);
        let error = merge::<RunImage>(&paths[..3]).unwrap_err().to_string();
        assert!(error.contains("other detections for `a`"), "{error}");
        let error = merge::<RunImage>(&[paths[0].clone(), paths[3].clone()]).unwrap_err().to_string();
        assert!(error.contains("split `test` and `val`"), "{error}");
        let error = open(&paths[3], "test").unwrap_err().to_string();
        assert!(error.contains("is of another run"), "{error}");
        let held = open(&paths[0], "test").unwrap();
        let error = open(&paths[0], "test").unwrap_err().to_string();
        assert!(error.contains("another command is writing it"), "{error}");
        drop(held);
        assert!(open(&paths[0], "test").is_ok());
        assert!(merge::<RunImage>(&[]).is_err());
    }
}
