//! Limits, cut connections, and the end.

use std::io::Write;
use std::time::Instant;

use crate::fixture::{Answer, PATIENCE, Service, bundle, form, post, scene, small_scene};

const DETECTION: &str = "/v1/vision/detection";
const FORM: &str = "Content-Type: multipart/form-data; boundary=XyZ\r\n";

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    small_scene(width, height).write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn others_reach_it_only_with_a_key() {
    let bundle = bundle().to_str().unwrap();
    for (arguments, code, word) in [
        (&["--listen", "0.0.0.0:0"][..], 2, "--key-file"),
        (&["--zmq", "tcp://0.0.0.0:0"], 2, "--zmq-open"),
        (&["--key-file", "/dev/null"], 1, "openssl rand"),
        (&["--listen", "127.0.0.1:0", "--zmq", "ipc:///absent/folder/socket"], 1, "/absent/folder/socket"),
    ] {
        let (status, text) = Service::refused(&[&[bundle], arguments].concat());
        assert!(status == Some(code) && text.contains(word), "{status:?} {text}");
    }
    let (status, text) = Service::refused(&["absent.frcnn"]);
    assert!(status == Some(1) && text.contains("absent.frcnn: No such file"), "{text}");
}

#[test]
fn bodies_have_a_limit() {
    let service = Service::start(&["--max-body-mb", "1", "--dialect", "deepstack"]);
    let large = vec![7; 1_500_000];
    // As it is announced, and as it comes.
    let announced = service.form(DETECTION, "", &[("image", &large)]);
    assert_eq!(announced.status, 400, "{}", announced.text());
    assert!(announced.text().contains("larger than 1000000 bytes"));
    let mut chunked =
        format!("POST {DETECTION} HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    for chunk in large.chunks(100_000) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(service.raw(&chunked).status, 400);
    assert_eq!(service.post("/detect", "", &large).status, 413);
    // A picture of few bytes and many pixels.
    let mut bomb = std::io::Cursor::new(Vec::new());
    let black = image::GrayImage::new(14_000, 14_000);
    black.write_to(&mut bomb, image::ImageFormat::Png).unwrap();
    let bomb = bomb.into_inner();
    assert!(bomb.len() < 1_000_000, "{}", bomb.len());
    let answer = service.form(DETECTION, "", &[("image", &bomb)]);
    assert!(answer.status == 400 && answer.text().contains("limit is"), "{}", answer.text());
    assert_eq!(service.form(DETECTION, "", &[("image", &scene())]).status, 200);
    service.settle();
}

/// Nothing of the body has come, or half of it, when the answer is there; whoever sends all of it first gets the answer as well.
#[test]
fn what_is_announced_as_too_large_is_refused_at_once() {
    let service = Service::start(&["--max-body-mb", "1", "--dialect", "deepstack"]);
    for (path, status) in [("/detect", 413), (DETECTION, 400)] {
        for (length, sent) in [(50_000_000, 0), (50_000_000, 700_000), (1_800_000, 1_800_000)] {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\n{FORM}{expect}Content-Length: {length}\r\n\r\n"
                );
                let mut stream = service.connect();
                stream.write_all(head.as_bytes()).unwrap();
                let begun = Instant::now();
                if expect.is_empty() {
                    stream.write_all(&vec![7; sent]).unwrap();
                }
                let answer = Answer::read(&mut stream);
                assert_eq!((answer.status, answer.closes), (status, true), "{path} {length} {sent} {expect}");
                assert!(answer.text().contains("larger than 1000000 bytes"), "{}", answer.text());
                // Far less than a body may take.
                assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
            }
        }
    }
    service.settle();
}

#[test]
fn cut_connections_and_garbage_harm_nobody() {
    let service = Service::start(&[]);
    let whole = post(DETECTION, FORM, &form(&[("image", &scene())]));
    assert_eq!(service.raw(&whole).status, 200);
    let before = service.memory();
    for part in [1, 30, 150, 1000, whole.len() / 2, whole.len() - 1] {
        for _ in 0..4 {
            let mut stream = service.connect();
            stream.write_all(&whole[..part]).unwrap();
        }
    }
    // Gone before the answer.
    for _ in 0..4 {
        let mut stream = service.connect();
        stream.write_all(&whole).unwrap();
    }
    for garbage in
        [&b"\0\xff\xfe"[..], b"GET\r\n\r\n", b"POST / HTTP/9\r\n\r\n", &[b'A'; 40_000], b"\x16\x03\x01\x02\0"]
    {
        let mut stream = service.connect();
        let _ = stream.write_all(garbage);
    }
    // Two requests over one connection, the second of which comes early.
    let mut stream = service.connect();
    stream.write_all(&[&whole[..], &whole].concat()).unwrap();
    assert_eq!((Answer::read(&mut stream).status, Answer::read(&mut stream).status), (200, 200));
    service.settle();
    let grown = service.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}

/// More than may be open, which say nothing, or half of a request: the last is answered.
#[test]
fn idle_connections_shut_nobody_out() {
    let service = Service::start(&[]);
    let mut idle: Vec<_> = (0..520).map(|_| service.connect()).collect();
    for stream in idle.iter_mut().rev().take(300) {
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n");
    }
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(service.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
    // Nobody waits until those that are idle are let go.
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

/// Of every client that is cut off it says so: far more than a pipe takes. It answers all the same, ends, and tells whoever reads again.
#[test]
fn a_standard_error_that_nobody_reads_holds_nothing_up() {
    let (mut service, lines) = Service::start_unread(&[]);
    for _ in 0..2000 {
        let mut stream = std::net::TcpStream::connect(&service.zmq).unwrap();
        let _ = stream.write_all(
            b"GET / HTTP/1.1\r\n\r\nno handshake of ZeroMQ, which has 64 bytes and begins otherwise",
        );
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    }
    assert_eq!(service.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    let said = std::thread::spawn(move || lines.map(Result::unwrap).collect::<Vec<_>>());
    assert_eq!(service.end(), Some(0));
    let said = said.join().unwrap();
    assert!(said.iter().any(|line| line.contains("lines are left out")), "{} lines", said.len());
    assert!(said.last().unwrap().ends_with("ended"), "{:?}", said.last());
}

/// What became of as many requests as there are streams, which come at once, over and over until some are refused: on a busy machine
/// one may be answered before the next comes.
fn refused(service: &Service, at_once: usize) -> Vec<u16> {
    let request = post(DETECTION, FORM, &form(&[("image", &scene())]));
    let (begun, mut statuses) = (Instant::now(), Vec::new());
    while !statuses.contains(&503) {
        assert!(begun.elapsed() < PATIENCE, "{statuses:?}");
        let mut streams: Vec<_> = (0..at_once).map(|_| service.connect()).collect();
        for stream in &mut streams {
            stream.write_all(&request).unwrap();
        }
        statuses.extend(streams.iter_mut().map(|stream| Answer::read(stream).status));
    }
    statuses
}

#[test]
fn more_than_may_wait_is_refused_and_each_is_answered_once() {
    let service = Service::start(&["--queue", "2", "--max-wait-ms", "60000", "--dialect", "deepstack"]);
    let statuses = refused(&service, 16);
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    assert!(of(200) >= 2 && of(200) + of(503) == statuses.len(), "{statuses:?}");
    let ok = service.metric("frcnn_serve_requests_total{interface=\"vision\",outcome=\"ok\"}");
    let busy = service.metric("frcnn_serve_requests_total{interface=\"vision\",outcome=\"busy\"}");
    let looked = service.metric("frcnn_serve_look_seconds_count");
    assert_eq!((ok, busy, looked), (of(200) as f64, of(503) as f64, of(200) as f64));
}

#[test]
fn who_has_waited_too_long_is_not_computed() {
    let service = Service::start(&["--max-wait-ms", "1", "--dialect", "deepstack"]);
    let statuses = refused(&service, 8);
    let late = statuses.iter().filter(|status| **status == 503).count();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(service.metric("frcnn_serve_look_seconds_count"), (statuses.len() - late) as f64);
}

#[test]
fn who_has_asked_before_the_end_is_answered() {
    let mut service = Service::start(&["--queue", "8", "--max-wait-ms", "60000"]);
    let request = post(DETECTION, FORM, &form(&[("image", &png(800, 600))]));
    let mut idle = service.connect();
    let mut streams: Vec<_> = (0..3).map(|_| service.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&request).unwrap();
    }
    // However far they have come.
    assert_eq!(service.end(), Some(0));
    for stream in &mut streams {
        let answer = Answer::read(stream);
        assert_eq!(
            (answer.status, answer.json()["success"].as_bool()),
            (200, Some(true)),
            "{}",
            answer.text()
        );
    }
    let mut nothing = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut idle, &mut nothing).unwrap_or(0), 0);
}
