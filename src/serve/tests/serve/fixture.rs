//! A running service, and clients of few lines.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use frcnn::{Detector, Frame, SelectiveSearch};
use image::RgbImage;
use serde_json::Value;

/// What no answer takes longer than.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model-export/demo")
}

/// The demo model, compiled once for all tests.
pub(crate) fn bundle() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes.frcnn");
        let manifest = frcnn_compiler::load_manifest(&demo().join("manifest.json")).unwrap();
        let options = frcnn_compiler::Options::default();
        let compiled =
            frcnn_compiler::compile(&demo().join("model.onnx"), &manifest, &options, &mut |_| {}).unwrap();
        compiled.bundle.write(&path).unwrap();
        path
    })
}

/// The demo scene as a JPEG.
pub(crate) fn scene() -> Vec<u8> {
    std::fs::read(demo().join("scene.jpg")).unwrap()
}

/// The demo scene's pixels, made smaller.
pub(crate) fn small_scene(width: u32, height: u32) -> RgbImage {
    let scene = image::load_from_memory(&scene()).unwrap().to_rgb8();
    image::imageops::resize(&scene, width, height, image::imageops::FilterType::Triangle)
}

/// What the library finds in a picture: class from 0 on, score, corners.
pub(crate) fn found_by_library(pixels: &RgbImage) -> Vec<(usize, f32, [f32; 4])> {
    let detector = Detector::open(bundle()).unwrap();
    let frame = Frame::rgb8(pixels.as_raw(), pixels.width(), pixels.height()).unwrap();
    let mut search = SelectiveSearch { threads: detector.threads(), ..SelectiveSearch::default() };
    let (found, _) = detector.session().detect_with(&frame, &mut search, 2000).unwrap();
    found
        .iter()
        .map(|d| (usize::from(d.class_id) - 1, d.score, [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2]))
        .collect()
}

/// A running `frcnn-serve`, which is told to end when it is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) http: String,
    pub(crate) zmq: String,
}

impl Service {
    /// On free ports, with more arguments.
    pub(crate) fn start(arguments: &[&str]) -> Service {
        let (service, lines) = Service::start_unread(arguments);
        std::thread::spawn(move || lines.for_each(drop));
        service
    }

    /// The same; nobody reads what it says later.
    pub(crate) fn start_unread(arguments: &[&str]) -> (Service, Lines<BufReader<ChildStderr>>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frcnn-serve"));
        command.arg(bundle()).args(["--listen", "127.0.0.1:0", "--zmq", "tcp://127.0.0.1:0"]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, places) = line.split_once(" at http://")?;
            let (http, zmq) = places.split_once(" and tcp://")?;
            Some((http.to_string(), zmq.to_string()))
        });
        let (http, zmq) = started.expect("it says where it listens");
        (Service { child, http, zmq }, lines)
    }

    /// What `frcnn-serve` says that refuses these arguments, and its exit code.
    pub(crate) fn refused(arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_frcnn-serve")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Tells it to end; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let told = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request as it is, and reads one answer.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Answer::read(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, head: &str, body: &[u8]) -> Answer {
        self.raw(&post(path, head, body))
    }

    /// Posts a form of fields.
    pub(crate) fn form(&self, path: &str, head: &str, fields: &[(&str, &[u8])]) -> Answer {
        let head = format!("Content-Type: multipart/form-data; boundary=XyZ\r\n{head}");
        self.post(path, &head, &form(fields))
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }

    /// Waits until nobody waits, and no request holds memory.
    pub(crate) fn settle(&self) {
        self.wait_for("frcnn_serve_held_bytes", |bytes| bytes == 0.0);
        self.wait_for("frcnn_serve_waiting", |requests| requests == 0.0);
    }

    /// Waits until a metric's value is as it should be.
    pub(crate) fn wait_for(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        while !holds(self.metric(name)) {
            assert!(begun.elapsed() < PATIENCE, "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Bytes that the process has in memory.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request with a body.
pub(crate) fn post(path: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A form's body.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if *name == "image" { "; filename=\"image.jpg\"" } else { "" };
        body.extend(
            format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes(),
        );
        body.extend_from_slice(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--XyZ--\r\n");
    body
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The connection takes no other request.
    pub(crate) closes: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(stream: &mut TcpStream) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            // A read with a timeout is interrupted where a machine is paused; this one goes on.
            if let Err(error) = stream.read_exact(&mut byte) {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head));
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Blue Iris reads no other answer.
        assert!(!head.contains("transfer-encoding"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        Answer { status, closes: head.contains("connection: close"), body }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
