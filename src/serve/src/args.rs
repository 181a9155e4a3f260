//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use frcnn::{Limits, Options};

/// Serve a detector to camera software
///
/// Answers DeepStack's, CodeProject.AI's and DOODS' requests over HTTP, and those of Frigate's `zmq` detector. It listens to
/// this machine only, unless told otherwise, and ends well on SIGTERM: whoever has asked by then is answered.
#[derive(Debug, clap::Parser)]
#[command(name = "frcnn-serve", version, max_term_width = 100)]
#[command(after_help = "Examples:
  frcnn-serve model.frcnn
  frcnn-serve model.frcnn --zmq tcp://127.0.0.1:5555
  frcnn-serve model.frcnn --zmq ipc:///run/frigate/zmq_detector --models /var/lib/frcnn
  frcnn-serve model.frcnn --dialect deepstack --listen 0.0.0.0:5000 --key-file /etc/frcnn/key
  curl -F image=@photo.jpg -F min_confidence=0.5 http://127.0.0.1:32168/v1/vision/detection

What to write into:
  Blue Iris       AI server 127.0.0.1:32168 (CodeProject.AI), custom model: the bundle's name without .frcnn
  Frigate         detectors: {frcnn: {type: zmq, endpoint: \"tcp://127.0.0.1:5555\"}} and a labelmap: /labelmap.txt
  Frigate         detectors: {frcnn: {type: deepstack, api_url: \"http://127.0.0.1:32168/v1/vision/detection\"}}
  Home Assistant  image_processing: doods, url http://127.0.0.1:32168, detector default
  Prometheus      http://127.0.0.1:32168/metrics; a load balancer asks /healthz")]
pub(crate) struct Args {
    /// A bundle that `frcnn compile` wrote
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// Where HTTP is answered; other than a loopback address only with --key-file
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:32168")]
    pub(crate) listen: SocketAddr,
    /// Where Frigate's zmq detector is answered: tcp://IP:PORT or ipc:///PATH [default: nowhere]
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) zmq: Option<crate::zmq::Endpoint>,
    /// Let --zmq be another than a loopback address: Frigate's client has no key, so whoever reaches it may ask
    #[arg(long, requires = "zmq", conflicts_with = "models")]
    pub(crate) zmq_open: bool,
    /// Take bundles that come over ZeroMQ, and keep them in this folder [default: they are refused, and BUNDLE serves]
    #[arg(long, value_name = "DIR", requires = "zmq")]
    pub(crate) models: Option<PathBuf>,
    /// A file with the key that HTTP requests must show: as field `api_key`, or in a header `Authorization: Bearer KEY`
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Whose answers /v1 gives
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Dialect::Codeproject)]
    pub(crate) dialect: Dialect,
    /// Only detections with a greater score; a request's own `min_confidence` counts beside it [default: the bundle's]
    #[arg(long, value_name = "SCORE")]
    score_threshold: Option<f32>,
    /// Pictures that are looked at side by side, each by a session of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Threads that work on one picture [default: the physical cores, shared among the workers]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Requests that may wait; one more is refused (503)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) queue: u32,
    /// Longest time that a request waits for its turn; one that has waited longer is refused and not computed
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    max_wait_ms: u64,
    /// Largest body of an HTTP request, and largest tensor over ZeroMQ, in MB; eight times as much is held at once
    #[arg(long, value_name = "MB", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=500))]
    max_body_mb: u32,
    /// Largest bundle that is taken over ZeroMQ, in MB
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=2000))]
    max_model_mb: u32,
    /// Let bundles ask for this many times the default limits: 3 GiB of memory, 4e12 operations and 1000 layers
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    max_cost: f64,
}

/// Whose answers the routes under /v1 give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// CodeProject.AI's, for Blue Iris: more fields, and status 200 whatever happens
    Codeproject,
    /// DeepStack's: status 400, 403, 500 or 503 where there is no answer
    Deepstack,
}

impl Args {
    /// With which every detector is made.
    pub(crate) fn options(&self) -> Options {
        let shared = || (Options::default().thread_count() / self.workers as usize).max(1);
        Options {
            threads: Some(self.threads.unwrap_or_else(shared)),
            score_threshold: self.score_threshold,
            limits: Limits::times(self.max_cost),
            ..Options::default()
        }
    }

    pub(crate) fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms)
    }

    /// Bytes of the largest request.
    pub(crate) fn max_body(&self) -> usize {
        self.max_body_mb as usize * 1_000_000
    }

    /// Bytes of the largest bundle that comes over the network.
    pub(crate) fn max_model(&self) -> usize {
        self.max_model_mb as usize * 1_000_000
    }

    /// Why nobody may listen as these arguments say.
    pub(crate) fn refused(&self) -> Option<String> {
        if !self.listen.ip().is_loopback() && self.key_file.is_none() {
            return Some(format!(
                "--listen {}: other machines reach this address, and anybody there could ask for detections; add --key-file FILE, or \
                 listen to 127.0.0.1",
                self.listen
            ));
        }
        match &self.zmq {
            Some(endpoint) if !endpoint.is_local() && !self.zmq_open => Some(format!(
                "--zmq {endpoint}: other machines reach this address, and Frigate's client has no key to show; listen to 127.0.0.1 or to \
                 an ipc:// path, or add --zmq-open if only those reach it that may"
            )),
            _ => None,
        }
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: Option<f64> = text.parse().ok().filter(|&factor| factor > 0.0);
    factor.ok_or_else(|| "not a number above 0 such as 0.5 or 2".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    fn refused(arguments: &str) -> Option<String> {
        let words = format!("frcnn-serve b.frcnn {arguments}");
        Args::try_parse_from(words.split_whitespace()).unwrap().refused()
    }

    #[test]
    fn arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn others_reach_it_only_with_a_key() {
        for allowed in [
            "",
            "--listen [::1]:80",
            "--listen 127.8.0.1:80 --zmq ipc:///tmp/x",
            "--listen 0.0.0.0:80 --key-file k",
            "--zmq tcp://0.0.0.0:5555 --zmq-open",
        ] {
            assert_eq!(refused(allowed), None, "{allowed}");
        }
        assert!(refused("--listen 0.0.0.0:80").unwrap().contains("--key-file"));
        assert!(refused("--listen [::]:80").unwrap().contains("--key-file"));
        assert!(refused("--zmq tcp://192.168.1.4:80 --key-file k").unwrap().contains("--zmq-open"));
        let both = ["frcnn-serve", "b.frcnn", "--zmq", "tcp://0.0.0.0:1", "--zmq-open", "--models", "m"];
        assert!(Args::try_parse_from(both).is_err(), "bundles come from known machines only");
    }
}
