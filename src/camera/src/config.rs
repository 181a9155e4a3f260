//! What the daemon is to do: a TOML file, or what the command line's options say of one camera.
//!
//! ```toml
//! [model]
//! path = "street.frcnn"
//!
//! [[camera]]
//! name = "yard"
//! input = "rtsp://192.168.1.20/stream"
//! zones = [{ name = "gate", polygon = [[0.1, 0.5], [0.4, 0.5], [0.4, 1.0], [0.1, 1.0]] }]
//! ```

mod camera;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use frcnn_images::camera::{Colour, Format};
use serde::Deserialize;

pub use camera::{Camera, Motion, Polygon, Proposer, Reader, Size, Stride, Zone};

/// A file of this length at most is read.
const MOST: u64 = 1 << 20;

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bundle.
    pub model: Model,
    /// At least one, of different names.
    #[serde(rename = "camera", default)]
    pub cameras: Vec<Camera>,
    /// The broker, if there is one.
    pub mqtt: Option<Mqtt>,
    /// The port, if there is to be one.
    pub http: Option<Http>,
    /// Whether pictures of objects are kept.
    pub snapshots: Option<Snapshots>,
    /// The cameras are those of a file, and not the one of the command line.
    #[serde(skip)]
    pub from_file: bool,
    /// A line for every frame.
    #[serde(skip)]
    pub all: bool,
}

/// `[model]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A bundle that `frcnn compile` wrote; read again at SIGHUP.
    pub path: PathBuf,
    /// Threads that work on one frame; by default the physical cores.
    pub threads: Option<usize>,
    /// Only detections with a greater score; by default the bundle's.
    pub score_threshold: Option<f32>,
}

/// `[mqtt]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtts://user@host:8883/prefix`; `mqtt://` without TLS, port 1883. The prefix of topics is `frcnn-camera` by default.
    pub url: String,
    /// A file with the password; the environment's `FRCNN_MQTT_PASSWORD` stands before it.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that the broker's must be signed by; by default those of the Web.
    pub ca_file: Option<PathBuf>,
    /// The last level of PREFIX/availability/NAME: daemons that share a broker and a prefix need one each. By default the machine's.
    pub name: Option<String>,
    /// Home Assistant is told of the cameras (topics below `homeassistant/`).
    #[serde(default)]
    pub discovery: bool,
    /// Topics are those of the command line's one camera: PREFIX/detections has each line, PREFIX/availability the state.
    #[serde(skip)]
    pub single: bool,
}

/// `[http]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port, such as `127.0.0.1:9477`; port 0 is a free one. Another address than this machine's own needs a key.
    pub listen: String,
    /// A file with the key that clients give.
    pub key_file: Option<PathBuf>,
    /// Only /metrics is served: the command line's `--metrics`.
    #[serde(skip)]
    pub metrics_only: bool,
}

/// `[snapshots]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// Where JPEGs of objects are kept; without it they only go through the doors.
    pub folder: Option<PathBuf>,
    /// The folder's size at most, in MB; the oldest go first.
    #[serde(default = "default_max_mb")]
    pub max_mb: u64,
}

fn default_max_mb() -> u64 {
    500
}

/// What is wrong with a file, or with what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Config {
    /// Reads a file; relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// The file cannot be read or is longer than 1 MiB, or see [`parse`](Config::parse).
    pub fn open(path: &Path) -> Result<Config, Error> {
        let named = |problem: &dyn std::fmt::Display| Error(format!("{}: {problem}", path.display()));
        let bytes = frcnn_files::read_at_most(path, MOST).map_err(|error| named(&error))?;
        let text = String::from_utf8(bytes).map_err(|_| named(&"is not text in UTF-8"))?;
        let mut config = Config::read(&text).map_err(|error| named(&error))?;
        config.start_from(path.parent().unwrap_or(Path::new("")));
        config.check().map_err(|error| named(&error))?;
        Ok(config)
    }

    /// A file's text.
    ///
    /// # Errors
    /// It is no TOML, has a key that nobody knows or lacks one that is needed, or a value is out of range: the error names table and
    /// key.
    pub fn parse(text: &str) -> Result<Config, Error> {
        let config = Config::read(text)?;
        config.check()?;
        Ok(config)
    }

    fn read(text: &str) -> Result<Config, Error> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| Error(error.to_string().trim_end().into()))?;
        config.from_file = true;
        Ok(config)
    }

    fn start_from(&mut self, folder: &Path) {
        let mqtt = self.mqtt.iter_mut().flat_map(|mqtt| [&mut mqtt.password_file, &mut mqtt.ca_file]);
        let http = self.http.iter_mut().map(|http| &mut http.key_file);
        let snapshots = self.snapshots.iter_mut().map(|snapshots| &mut snapshots.folder);
        for path in mqtt.chain(http).chain(snapshots).flatten() {
            *path = folder.join(&*path);
        }
        if !self.model.path.as_os_str().is_empty() {
            self.model.path = folder.join(&self.model.path);
        }
        for camera in self.cameras.iter_mut().filter(|camera| crate::source::is_path(&camera.input)) {
            // A folder whose name is no text cannot stand in an input.
            if let Some(path) = folder.join(&camera.input).to_str() {
                camera.input = path.into();
            }
        }
    }

    /// What no type says.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error(problem));
        if self.model.path.as_os_str().is_empty() {
            return refuse("[model] path: is empty".into());
        }
        if matches!(self.model.threads, Some(threads) if !(1..=1024).contains(&threads)) {
            return refuse("[model] threads: must be 1 to 1024".into());
        }
        if matches!(self.model.score_threshold, Some(score) if !score.is_finite()) {
            return refuse("[model] score_threshold: is not a number".into());
        }
        if self.cameras.is_empty() {
            return refuse("there is no [[camera]]".into());
        }
        if matches!(&self.snapshots, Some(snapshots) if snapshots.max_mb == 0) {
            return refuse("[snapshots] max_mb: must be at least 1".into());
        }
        let mut names = BTreeSet::new();
        for (i, camera) in self.cameras.iter().enumerate() {
            let here = |problem: &str| match self.from_file {
                true => Error(format!("[[camera]] {}, `{}`: {problem}", i + 1, camera.name)),
                false => Error(problem.into()),
            };
            if !is_name(&camera.name) {
                return Err(here("name: must be letters, digits, `-` and `_`"));
            }
            if !names.insert(&camera.name) {
                return Err(here("name: another camera has it, too"));
            }
            camera.check().map_err(|problem| here(&problem))?;
            crate::source::check(camera).map_err(|problem| here(&problem))?;
        }
        let mut pipes = BTreeSet::new();
        for camera in self.cameras.iter().filter(|camera| crate::source::is_pipe(camera)) {
            if !pipes.insert(&camera.input) {
                let input = if camera.input == "-" { "standard input" } else { &camera.input };
                return refuse(format!("[[camera]] input: only one camera can read {input}"));
            }
        }
        Ok(())
    }
}

/// Goes into topics, labels and names of files as it is.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[model]\npath = \"m.frcnn\"\n[[camera]]\nname = \"yard\"\ninput = \"rtsp://a/b\"\n";

    #[test]
    fn the_least_file_has_defaults() {
        let config = Config::parse(LEAST).unwrap();
        assert_eq!(config.cameras, [Camera::new("yard", "rtsp://a/b")]);
        assert!(config.from_file && !config.all && config.mqtt.is_none());
    }

    #[test]
    fn paths_start_from_the_files_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frcnn.toml");
        std::fs::write(
            &path,
            format!(
                "{LEAST}[snapshots]\nfolder = \"/var/s\"\n[http]\nlisten = \"[::1]:1\"\nkey_file = \"k\"\n"
            ),
        )
        .unwrap();
        let config = Config::open(&path).unwrap();
        assert_eq!(config.cameras[0].input, "rtsp://a/b");
        assert_eq!(config.model.path, folder.path().join("m.frcnn"));
        assert_eq!(config.snapshots.unwrap().folder, Some("/var/s".into()));
        assert_eq!(config.http.unwrap().key_file, Some(folder.path().join("k")));
        let input = |input: &str| {
            std::fs::write(&path, LEAST.replace("rtsp://a/b", input)).unwrap();
            Config::open(&path).map(|config| config.cameras[0].input.clone()).map_err(|error| error.0)
        };
        assert_eq!(input("films/monday.mkv").unwrap(), text(&folder.path().join("films/monday.mkv")));
        assert_eq!(input("/dev/video0").unwrap(), "/dev/video0");
        assert!(input("").unwrap_err().contains("input: is empty"));
        assert!(input("-").unwrap_err().contains("format"));
        // What an input is, is looked up where it is: a FIFO wants a format.
        let fifo = std::process::Command::new("mkfifo").arg(folder.path().join("frames")).status().unwrap();
        assert!(fifo.success());
        assert!(input("frames").unwrap_err().contains("format"));
        // And gives each byte to one reader.
        let camera = |name: &str| {
            format!(
                "[[camera]]\nname = \"{name}\"\ninput = \"frames\"\nformat = \"nv12\"\nsize = \"64x48\"\n"
            )
        };
        let config = |cameras: String| {
            std::fs::write(&path, format!("[model]\npath = \"m\"\n{cameras}")).unwrap();
            Config::open(&path).map_err(|error| error.0)
        };
        assert_eq!(config(camera("a")).unwrap().cameras.len(), 1);
        let error = config(camera("a") + &camera("b")).unwrap_err();
        assert!(error.contains("only one camera can read") && error.contains("frames"), "{error}");
    }

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// Whoever wrote it finds the place.
    #[test]
    fn errors_name_table_and_key() {
        let with = |more: &str| Config::parse(&format!("{LEAST}{more}")).unwrap_err().0;
        let corners = |count: usize| {
            format!("{:?}", [vec![[0.0, 0.5], [0.5, 0.5]], vec![[0.5, 1.0]; count - 2]].concat())
        };
        let zone = |i: usize| format!("{{ name = \"z{i}\", polygon = {} }}", corners(3));
        let zones = |count: usize| (0..count).map(zone).collect::<Vec<String>>().join(", ");
        Config::parse(&format!("{LEAST}zones = [{}]\nmasks = [{}]", zones(64), corners(256))).unwrap();
        for (more, words) in [
            ("colour = \"bt602\"", &["line 6", "bt602"][..]),
            ("colr = \"bt601\"", &["line 6", "colr"]),
            ("size = \"640\"", &["640", "640x480"]),
            ("stride = 0", &["gstreamer"]),
            ("tolerance = -1", &["yard", "tolerance"]),
            ("tolerance = nan", &["yard", "tolerance"]),
            ("tolerance = 1\nreuse = false", &["tolerance", "reuse"]),
            ("motion = { absorbs = 0 }", &["yard", "motion"]),
            ("motion = { follows = nan }", &["yard", "motion"]),
            ("motion = { frames = 9 }", &["line 6", "frames"]),
            ("masks = [[[0, 0], [1, 1]]]", &["yard", "masks", "2 corners"]),
            ("zones = [{ name = \"a b\", polygon = [[0, 0], [1, 1], [0, 1]] }]", &["zones", "a b"]),
            (
                "zones = [{ name = \"a\", polygon = [[0, 0], [inf, 1], [0, 1]] }]",
                &["zones", "`a`", "polygon"],
            ),
            ("masks = [[[0, 0], [1, 0], [1, 1.1]]]", &["masks", "1 pixels", "from 0 to 1"]),
            ("masks = [[[0, 0], [1, 0], [1, -4]]]", &["masks", "1 pixels", "from 0 to 1"]),
            ("masks = [[[0, 0], [1, 0], [0.5, 0]]]", &["masks", "encloses nothing"]),
            ("masks = [[[0, 0], [0.5, 0.5], [1, 1]]]", &["masks", "encloses nothing"]),
            ("masks = [[[0, 0], [300, 300.5], [100, 100]]]", &["masks", "encloses nothing"]),
            ("masks = [[[-90, 0], [-10, 0], [-10, 90]]]", &["masks", "outside"]),
            ("thresholds = { red = nan }", &["thresholds", "red"]),
            (&format!("zones = [{}]", zones(65)), &["yard", "zones", "65", "64"]),
            (&format!("masks = [{}]", vec![corners(3); 65].join(", ")), &["yard", "masks", "65", "64"]),
            (&format!("masks = [{}]", corners(257)), &["yard", "masks", "257 corners"]),
            ("objects = false\nthresholds = { red = 0.5 }", &["yard", "thresholds", "objects = false"]),
            ("objects = false\ncool_down = 1", &["yard", "cool_down", "objects = false"]),
            ("[[camera]]\nname = \"yard\"\ninput = \"x\"", &["2", "yard", "another"]),
            ("[[camera]]\nname = \"a/b\"\ninput = \"x\"", &["a/b", "letters"]),
            ("[mqtt]\n", &["url"]),
            ("[snapshots]\nmax_mb = 0", &["[snapshots] max_mb"]),
        ] {
            let error = with(more);
            assert!(words.iter().all(|word| error.contains(word)), "{more}: {error}");
        }
        assert!(Config::parse("[model]\npath = \"m\"").unwrap_err().0.contains("[[camera]]"));
    }
}
