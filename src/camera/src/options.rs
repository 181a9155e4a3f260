//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::config::{Camera, Colour, Config, Error, Format, Http, Model, Mqtt, Proposer, Size, Stride};

/// Finds objects in the frames of cameras; prints a JSON line for each frame that has some, or for what objects do.
#[derive(Debug, Parser)]
#[command(
    name = "frcnn-camera",
    version,
    after_help = "Examples:
  frcnn-camera -m street.frcnn -i rtsp://camera/stream --objects --mqtt localhost --metrics 9477
  frcnn-camera -m cells.frcnn -i /dev/video0 -s 640x480
  ffmpeg -i street.mp4 -f rawvideo -pix_fmt nv12 - | frcnn-camera -m street.frcnn -f nv12 -s 1280x720
  ffmpeg -i rtsp://camera/ -c:v mjpeg -f mjpeg - | frcnn-camera -m street.frcnn -f mjpeg --live
  frcnn-camera --config /etc/frcnn/cameras.toml

Exit codes: 0 asked to end, or all of a recording was read; 1 cannot start; 2 wrong options or file; 3 a stream was cut or \
ended unasked; 4 standard output failed; 5 the broker did not take every message."
)]
pub(crate) struct Options {
    /// A file that says it all, for one camera or several; read again at SIGHUP
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["model", "input", "format", "size", "stride", "colour", "live", "proposer", "tolerance", "no_reuse", "score_threshold", "threads", "objects", "mqtt", "topic", "metrics"])]
    config: Option<PathBuf>,
    /// A bundle that `frcnn compile` wrote; read again at SIGHUP
    #[arg(short, long, value_name = "FILE", required_unless_present = "config")]
    model: Option<PathBuf>,
    /// A URL, a video file or /dev/videoN, which ffmpeg reads; with --format a FIFO or a file of raw frames or JPEGs; - for
    /// standard input
    #[arg(short, long, value_name = "INPUT", default_value = "-")]
    input: String,
    /// How frames lie in the bytes of an input: rgb24 bgr24 gray8 yuyv uyvy nv12 nv21 i420 mjpeg rgba bgra
    #[arg(short, long, value_parser = str::parse::<Format>)]
    format: Option<Format>,
    /// Of raw frames; of a camera, as near as it has; others are scaled to it
    #[arg(short, long, value_name = "WxH")]
    size: Option<Size>,
    /// Rows of raw frames: packed, as ffmpeg writes them; gstreamer, which pads them to 4 bytes; or the BYTES from row to row
    /// [default: packed]
    #[arg(long, value_name = "LAYOUT")]
    stride: Option<Stride>,
    /// Of raw frames: bt601 bt601-full bt709 bt709-full [default: bt601]
    #[arg(long, value_parser = str::parse::<Colour>)]
    colour: Option<Colour>,
    /// Drop frames rather than fall behind; always on for a URL and a device
    #[arg(long)]
    live: bool,
    /// Where boxes come from [default: model if the bundle has a region proposal network (RPN), else motion]
    #[arg(long, value_parser = named(&Proposer::ALL))]
    proposer: Option<Proposer>,
    /// Mean difference in grey levels from which a cell of 8 x 8 pixels is looked at anew; 0: any [default: what exceeds the
    /// camera's noise, learned from its frames]
    #[arg(long, value_name = "LEVELS", allow_negative_numbers = true, value_parser = levels)]
    tolerance: Option<f32>,
    /// Compute every frame as a whole, in place of what has changed
    #[arg(long, conflicts_with = "tolerance")]
    no_reuse: bool,
    /// Only detections with a greater score [default: the bundle's]
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = finite)]
    score_threshold: Option<f32>,
    /// Threads that work on one frame [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Follow objects: a line when one starts, stops, moves on or ends, in place of a line for each frame
    #[arg(long)]
    objects: bool,
    /// Print a line for every frame, too
    #[arg(long, action = ArgAction::SetTrue)]
    all: bool,
    /// Publish to a broker as well: HOST[:PORT], or mqtt[s]://[USER@]HOST[:PORT]; the password is FRCNN_MQTT_PASSWORD
    #[arg(long, value_name = "BROKER")]
    mqtt: Option<String>,
    /// Of the MQTT topics [default: frcnn-camera]
    #[arg(long, value_name = "PREFIX")]
    topic: Option<String>,
    /// Prometheus metrics on http://127.0.0.1:PORT/metrics; 0 for a free port
    #[arg(long, value_name = "PORT")]
    metrics: Option<u16>,
}

/// A parser of one of some names.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl clap::builder::TypedValueParser<Value = T> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(all.iter().map(|(name, _)| *name)).try_map(|word| {
        let found = all.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value).ok_or("unknown")
    })
}

fn levels(text: &str) -> Result<f32, String> {
    let levels = text.parse().ok().filter(|levels| (0.0..=255.0).contains(levels));
    levels.ok_or_else(|| "must be from 0 to 255".into())
}

fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|score: &f32| score.is_finite()).ok_or_else(|| "is not a number".into())
}

impl Options {
    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    /// What the file says, or what the options say.
    ///
    /// # Errors
    /// Something is missing, or does not go together.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        if let Some(path) = &self.config {
            return Ok(Config { all: self.all, ..Config::open(path)? });
        }
        let camera = Camera {
            format: self.format,
            size: self.size,
            stride: self.stride,
            colour: self.colour,
            live: self.live.then_some(true),
            proposer: self.proposer,
            tolerance: self.tolerance,
            reuse: !self.no_reuse,
            objects: self.objects,
            ..Camera::new("camera", &self.input)
        };
        let config = Config {
            model: Model {
                path: self.model.clone().unwrap_or_default(),
                threads: self.threads.map(|threads| threads as usize),
                score_threshold: self.score_threshold,
            },
            cameras: vec![camera],
            mqtt: self.mqtt.as_ref().map(|broker| Mqtt {
                url: match &self.topic {
                    Some(topic) => format!("{}/{topic}", broker.trim_end_matches('/')),
                    None => broker.clone(),
                },
                single: true,
                ..Mqtt::default()
            }),
            http: self.metrics.map(|port| Http {
                listen: format!("127.0.0.1:{port}"),
                key_file: None,
                metrics_only: true,
            }),
            snapshots: None,
            from_file: false,
            all: self.all,
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn config(line: &str) -> Result<Config, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let options = Options::try_parse_from(["frcnn-camera"].into_iter().chain(words));
        options.map_err(|error| error.to_string())?.config().map_err(|error| error.0)
    }

    #[test]
    fn the_command_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_become_one_camera() {
        let config = config(
            "-m a.frcnn -f nv12 -s 640x480 --stride gstreamer --colour bt709-full --live --proposer grid --tolerance 1.5 \
             --score-threshold -0.5 --threads 2 --all --mqtt ::1 --topic yard/a --metrics 0",
        );
        let config = config.unwrap();
        let camera = &config.cameras[0];
        assert_eq!((camera.format, camera.live, camera.objects), (Some(Format::Nv12), Some(true), false));
        assert_eq!((camera.stride, camera.colour), (Some(Stride::Gstreamer), Some(Colour::Bt709Full)));
        assert_eq!(config.mqtt.unwrap().url, "::1/yard/a");
        assert_eq!(config.http.unwrap().listen, "127.0.0.1:0");
        assert_eq!(config.model.score_threshold, Some(-0.5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("", "--model"),
            ("-m a -f nv13 -s 1x1", "nv13"),
            ("-m a -f nv12", "--format and --size"),
            ("-m a -f nv12 -s 640", "640x480"),
            ("-m a -f mjpeg --tolerance -1", "--tolerance"),
            ("-m a -f mjpeg --tolerance nan", "--tolerance"),
            ("-m a -f mjpeg --no-reuse --tolerance 1", "--no-reuse"),
            ("-m a -f mjpeg --stride packed", "stride"),
            ("-m a -f mjpeg --score-threshold inf", "--score-threshold"),
            ("-m a -f mjpeg --threads 0", "--threads"),
            ("--config a.toml -m a", "--config"),
            ("--config /nowhere/a.toml", "/nowhere/a.toml"),
        ] {
            let error = config(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
