//! Frigate's `zmq` detector, by a REQ socket of our own; `clients.py` asks by libzmq.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::fixture::{PATIENCE, Service, bundle, found_by_library, small_scene};

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A REQ socket.
struct Req(TcpStream);

impl Req {
    fn connect(service: &Service) -> Req {
        let mut stream = TcpStream::connect(&service.zmq).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
        greeting[12..16].copy_from_slice(b"NULL");
        stream.write_all(&greeting).unwrap();
        let mut theirs = [0; 64];
        stream.read_exact(&mut theirs).unwrap();
        assert_eq!((theirs[0], theirs[9], theirs[10], &theirs[12..17]), (0xff, 0x7f, 3, &b"NULL\0"[..]));
        let mut req = Req(stream);
        req.frame(COMMAND, b"\x05READY\x0bSocket-Type\0\0\0\x03REQ");
        let (flags, ready) = req.read_frame().unwrap();
        assert!(flags == COMMAND && ready.ends_with(b"Socket-Type\0\0\0\x03REP"));
        req
    }

    fn frame(&mut self, flags: u8, bytes: &[u8]) {
        let mut all = vec![flags | LONG];
        all.extend((bytes.len() as u64).to_be_bytes());
        all.extend_from_slice(bytes);
        // A service that cuts us off may do so at any time.
        let _ = self.0.write_all(&all);
    }

    fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head[..1]).ok()?;
        let length = if head[0] & LONG == 0 { 1 } else { 8 };
        self.0.read_exact(&mut head[9 - length..]).ok()?;
        let length = head[9 - length..].iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok()?;
        Some((head[0] & !LONG, bytes))
    }

    fn ask(&mut self, frames: &[&[u8]]) -> Option<Vec<u8>> {
        self.frame(MORE, b"");
        for (position, frame) in frames.iter().enumerate() {
            self.frame(if position + 1 < frames.len() { MORE } else { 0 }, frame);
        }
        let (flags, empty) = self.read_frame()?;
        assert_eq!((flags, empty.len()), (MORE, 0));
        let (flags, reply) = self.read_frame()?;
        assert_eq!(flags, 0);
        Some(reply)
    }

    fn model(&mut self, header: Value, bytes: &[u8]) -> Value {
        let header = header.to_string();
        let frames = [header.as_bytes(), bytes];
        let frames = if bytes.is_empty() { &frames[..1] } else { &frames[..] };
        serde_json::from_slice(&self.ask(frames).unwrap()).unwrap()
    }

    fn rows(&mut self, shape: &[u32], dtype: &str, tensor: &[u8]) -> Option<Vec<[f32; 6]>> {
        let header = json!({ "shape": shape, "dtype": dtype, "model_type": "ssd" }).to_string();
        let reply = self.ask(&[header.as_bytes(), tensor])?;
        assert_eq!(reply.len(), 480);
        let values: Vec<f32> =
            reply.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        Some(values.as_chunks::<6>().0.to_vec())
    }
}

#[test]
fn tensors_are_answered_as_frigate_reads_them() {
    let service = Service::start(&[]);
    let pixels = small_scene(320, 320);
    let mut req = Req::connect(&service);
    // Without --models, the bundle of the command line serves whatever it is called.
    let reply = req.model(json!({ "model_request": true, "model_name": "yolo.onnx" }), b"");
    assert_eq!(reply, json!({ "model_available": true, "model_loaded": true }));
    let rows = req.rows(&[1, 320, 320, 3], "uint8", pixels.as_raw()).unwrap();
    let library = found_by_library(&pixels);
    assert!(library.len() > 5);
    for (row, (class, score, [x1, y1, x2, y2])) in rows.iter().zip(&library) {
        let edges = [y1 / 320.0, x1 / 320.0, (y2 + 1.0) / 320.0, (x2 + 1.0) / 320.0];
        let due = [*class as f32, *score, edges[0], edges[1], edges[2], edges[3]];
        assert!(row.iter().zip(due).all(|(a, b)| (a - b).abs() < 1e-5), "{row:?} {due:?}");
    }
    assert!(rows.iter().skip(library.len()).all(|row| *row == [0.0; 6]));
    assert!(rows.is_sorted_by(|a, b| a[1] >= b[1]));
    // The same pixels as floats, of either range.
    for scale in [1.0, 255.0] {
        let floats: Vec<u8> =
            pixels.as_raw().iter().flat_map(|v| (f32::from(*v) / scale).to_le_bytes()).collect();
        assert_eq!(req.rows(&[1, 320, 320, 3], "float32", &floats).unwrap(), rows);
    }
    // No picture, no object; and the connection lives on.
    for (shape, dtype, bytes) in [
        (&[1, 320, 320, 3][..], "uint8", 10),
        (&[1, 3, 320, 320], "uint8", 307_200),
        (&[1, 2, 2, 3], "float64", 96),
        (&[1, 1, 1, 3], "uint8", 3),
    ] {
        let rows = req.rows(shape, dtype, &vec![1; bytes]).unwrap();
        assert_eq!(rows, [[0.0; 6]; 20], "{shape:?} {dtype}");
    }
    assert_eq!(req.ask(&[b"no JSON", b"x"]), None, "a header that is none: cut off");
    assert_eq!(Req::connect(&service).rows(&[1, 320, 320, 3], "uint8", pixels.as_raw()).unwrap(), rows);
}

#[test]
fn who_sends_garbage_is_cut_off_and_others_are_not() {
    let service = Service::start(&["--max-body-mb", "1"]);
    let pixels = small_scene(160, 120);
    let mut other = Req::connect(&service);
    let before = other.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).unwrap();
    let header = json!({ "shape": [1, 120, 160, 3], "dtype": "uint8" }).to_string();
    // A frame of 2^60 bytes is announced.
    let mut huge = Req::connect(&service);
    huge.frame(MORE, b"");
    huge.frame(MORE, header.as_bytes());
    huge.0.write_all(&[LONG, 0x10, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(huge.read_frame().is_none());
    // More than a tensor may have; a bundle, which is not taken; frames without end; no delimiter.
    let mut large = Req::connect(&service);
    assert!(large.ask(&[header.as_bytes(), &vec![0; 1_000_001]]).is_none());
    let data = json!({ "model_data": true, "model_name": "x" }).to_string();
    assert!(Req::connect(&service).ask(&[data.as_bytes(), &vec![0; 2_000_000]]).is_none());
    assert!(Req::connect(&service).ask(&[b"{}", b"1", b"2"]).is_none());
    let mut bare = Req::connect(&service);
    bare.frame(0, b"{}");
    assert!(bare.read_frame().is_none());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 200], &[0; 64], b""] {
        let mut stream = TcpStream::connect(&service.zmq).unwrap();
        stream.write_all(garbage).unwrap();
        // It may have been cut off already.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    // Cut in the midst of a request, and gone before the reply.
    for length in [0, 10, 30_000] {
        let mut cut = Req::connect(&service);
        cut.frame(MORE, b"");
        cut.frame(MORE, header.as_bytes());
        cut.0.write_all(&[LONG, 0, 0, 0, 0, 0, 0, 0xe1, 0]).unwrap();
        cut.0.write_all(&pixels.as_raw()[..length]).unwrap();
    }
    for _ in 0..3 {
        let mut gone = Req::connect(&service);
        gone.frame(MORE, b"");
        gone.frame(MORE, header.as_bytes());
        gone.frame(0, pixels.as_raw());
    }
    assert_eq!(other.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).unwrap(), before);
    service.wait_for("frcnn_serve_garbage_total", |count| count >= 8.0);
    service.settle();
}

#[test]
fn a_bundle_that_comes_over_the_wire_is_validated_before_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    let service = Service::start(&["--models", models.to_str().unwrap(), "--max-model-mb", "20"]);
    let good = std::fs::read(bundle()).unwrap();
    let mut req = Req::connect(&service);
    let request = |name: &str| json!({ "model_request": true, "model_name": name });
    let data = |name: &str| json!({ "model_data": true, "model_name": name });
    let (no, yes) = (
        json!({ "model_available": false, "model_loaded": false }),
        json!({ "model_available": true, "model_loaded": true }),
    );
    let (refused, saved) = (
        json!({ "model_saved": false, "model_loaded": false }),
        json!({ "model_saved": true, "model_loaded": true }),
    );
    let kept = || std::fs::read_dir(&models).unwrap().count();

    assert_eq!(req.model(request("shapes.frcnn"), b""), yes, "the bundle of the command line");
    assert_eq!(req.model(request("mine"), b""), no);
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let longer = [&good[..], b"x"].concat();
    for wrong in [&b"x"[..], &damaged, &good[..middle], &longer] {
        assert_eq!(req.model(data("mine"), wrong), refused);
    }
    for name in ["../mine", "/tmp/mine", "a/b", "..", "", ".mine", "mine\0", "shapes"] {
        assert_eq!(req.model(data(name), &good), refused, "{name:?}");
    }
    assert_eq!((kept(), std::fs::read_dir(folder.path()).unwrap().count()), (0, 1));
    assert_eq!(req.model(data("mine.frcnn"), &good), saved);
    assert_eq!(std::fs::read(models.join("mine.frcnn")).unwrap(), good);
    let pixels = small_scene(160, 120);
    let rows = req.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).unwrap();
    assert!(rows[0][1] > 0.3, "{rows:?}");

    // Another takes its place: whoever asks the one before is told to ask for it again.
    let mut second = Req::connect(&service);
    assert_eq!(second.model(data("other"), &good), saved);
    assert_eq!(second.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).unwrap(), rows);
    assert!(req.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).is_none());
    let mut again = Req::connect(&service);
    assert_eq!(again.model(request("mine"), b""), yes, "from the folder");
    assert_eq!(again.rows(&[1, 120, 160, 3], "uint8", pixels.as_raw()).unwrap(), rows);
    // There is an end to it.
    for number in 0..14 {
        std::fs::write(models.join(format!("{number}.frcnn")), "x").unwrap();
    }
    assert_eq!(again.model(data("one-more"), &good), refused);
    assert_eq!(again.model(request("3"), b""), no, "what is no bundle in the folder");
}
