//! The port and its clients: those that behave, and those that do not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use frcnn_camera::config;
use frcnn_camera::event::{Door, FrameResult, Message, ObjectChange};
use frcnn_camera::http::Server;
use frcnn_camera::status::{Count, State, Status};
use serde_json::Value;

use crate::{PATIENCE, camera, change, frame, object, scene, wait_for};

fn config() -> config::Http {
    config::Http { listen: "127.0.0.1:0".into(), ..config::Http::default() }
}

struct Site {
    server: Server,
    status: Arc<Status>,
}

impl Site {
    fn new(config: &config::Http) -> Site {
        let status = Status::new(true);
        let server =
            Server::start(config, &[camera("front", &["person"], &["porch"])], status.clone()).unwrap();
        status.camera(&"front".into()).set_state(State::Running);
        Site { server, status }
    }

    fn get(&self, path: &str) -> Reply {
        get(self.server.address(), path, &[])
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
        line.map_or("", |line| &line[name.len() + 2..])
    }
}

fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Reply {
    request(address, &format!("GET {path} HTTP/1.1"), headers)
}

fn request(address: SocketAddr, line: &str, headers: &[&str]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host =
        if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    stream.write_all(format!("{line}\r\n{host}{more}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body: bytes[end + 4..].to_vec() }
}

/// What an answer of `/api/frames` holds.
fn shown(reply: &Reply) -> Vec<(Value, Vec<u8>)> {
    let (mut rest, mut shown) = (&reply.body[..], Vec::new());
    let part = |rest: &mut &[u8]| {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let part = rest[4..4 + length].to_vec();
        *rest = &rest[4 + length..];
        part
    };
    while !rest.is_empty() {
        let what = serde_json::from_slice(&part(&mut rest)).unwrap();
        shown.push((what, part(&mut rest)));
    }
    shown
}

fn pictured(number: u64) -> FrameResult {
    let picture = scene();
    let seen = frame("front", number, vec![object(4, "person", &["porch"])]);
    FrameResult { width: picture.width, height: picture.height, picture: Some(picture), ..seen }
}

#[test]
fn metrics_health_and_what_is_not_there() {
    let site = Site::new(&config());
    site.status.camera(&"front".into()).add(Count::FramesRead, 3);
    let metrics = site.get("/metrics");
    assert_eq!(
        (metrics.status, metrics.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(metrics.text().contains("frcnn_camera_frames_read_total{camera=\"front\"} 3\n"));
    assert_eq!(site.get("/healthz").text(), "ok\n");
    site.status.camera(&"front".into()).set_state(State::Stalled);
    assert_eq!(
        (site.get("/healthz").status, site.get("/healthz").text()),
        (503, "1 of 1 cameras stalled or lost\n")
    );
    for path in [
        "/nothing",
        "/cameras/back.jpg",
        "/cameras/front",
        "/objects/front/7.jpg",
        "/api/frames/back",
        "//",
        "/%00",
    ] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
    let posted = request(site.server.address(), "POST /metrics HTTP/1.1", &["Content-Length: 5"]);
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    let only = config::Http { metrics_only: true, ..config() };
    let only = Site::new(&only);
    assert_eq!(
        (only.get("/metrics").status, only.get("/").status, only.get("/api/state").status),
        (200, 404, 404)
    );
}

#[test]
fn pages_hold_browsers_to_themselves() {
    let site = Site::new(&config());
    let page = site.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), value);
        assert_eq!(site.get("/metrics").header(name), value);
    }
    let text = page.text();
    for outside in ["http://", "https://", "src=\"//", "@import", "url("] {
        assert!(!text.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
    }
}

#[test]
fn names_are_data() {
    let site = Site::new(&config());
    let odd = object(5, "<script>alert(1)</script>", &["</td>"]);
    site.server.send(&change("front", ObjectChange::Started, &odd, Some(&[0xff, 0xd8])));
    let state = site.get("/api/state");
    assert_eq!(state.header("content-type"), "application/json");
    let state: Value = serde_json::from_slice(&state.body).unwrap();
    assert_eq!(state["objects"][0]["class"], "<script>alert(1)</script>");
    assert_eq!(state["cameras"][0]["zones"][0]["name"], "porch");
    assert_eq!(site.get("/objects/front/5.jpg").body, [0xff, 0xd8]);
    // An object that changes stays where it is, with its picture.
    site.server.send(&change("front", ObjectChange::Started, &object(6, "person", &[]), None));
    site.server.send(&change("front", ObjectChange::Ended, &odd, None));
    let state: Value = serde_json::from_slice(&site.get("/api/state").body).unwrap();
    assert_eq!((&state["objects"][0]["id"], &state["objects"][1]["ended"]), (&6.into(), &true.into()));
    assert_eq!(site.get("/objects/front/5.jpg").body.len(), 2);
}

#[test]
fn pictures_are_made_for_those_who_look() {
    let site = Site::new(&config());
    assert!(!site.server.wants_picture("front"));
    let address = site.server.address();
    let asked = thread::spawn(move || get(address, "/api/frames?front=&back=", &[]));
    wait_for("a picture is wanted", || site.server.wants_picture("front"));
    assert!(!site.server.wants_picture("back"));
    site.server.send(&Message::Frame(Arc::new(pictured(41))));
    let reply = asked.join().unwrap();
    let [(what, jpeg)] = &shown(&reply)[..] else { panic!("one picture") };
    assert_eq!((&what["number"], &what["objects"][0]["id"]), (&41.into(), &4.into()));
    let picture = image::load_from_memory(jpeg).unwrap();
    assert_eq!((&what["width"], &what["height"]), (&picture.width().into(), &picture.height().into()));
    let picture = site.get("/cameras/front.jpg");
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/jpeg"));
    // The same bytes: it was made once.
    assert_eq!(picture.body, *jpeg);
    wait_for("nobody looks any more", || !site.server.wants_picture("front"));
}

/// However fast frames come and however many look, ten pictures a second are made, and all get them.
#[test]
fn pictures_come_at_a_bounded_rate() {
    let site = Site::new(&config());
    let (address, first) = (site.server.address(), pictured(1));
    let look = move || {
        let mut seen = vec![0];
        while seen.len() <= 8 {
            let last = *seen.last().unwrap();
            let reply = get(address, &format!("/api/frames?front={last}"), &[]);
            let number = shown(&reply)[0].0["number"].as_u64().unwrap();
            assert!(number > last, "{number} after {last}");
            seen.push(number);
        }
        seen.split_off(1)
    };
    let begun = Instant::now();
    let lookers: Vec<_> = (0..4).map(|_| thread::spawn(look)).collect();
    for number in 1.. {
        if lookers.iter().all(thread::JoinHandle::is_finished) {
            break;
        }
        site.server.send(&Message::Frame(Arc::new(FrameResult { number, ..first.clone() })));
        thread::sleep(Duration::from_millis(5));
    }
    let time = begun.elapsed();
    let pictures: BTreeSet<u64> = lookers.into_iter().flat_map(|looker| looker.join().unwrap()).collect();
    // However late one is whom the machine holds up: between the first and the last of them lie tenths of a second.
    assert!((pictures.len() - 1) as u128 <= time.as_millis() / 100, "{pictures:?} in {time:?}");
}

/// One camera that is fast keeps no other from being shown, and one that is silent holds nothing up.
#[test]
fn cameras_are_shown_together() {
    let (status, names) = (Status::new(true), ["fast", "slow", "silent"]);
    let server = Server::start(&config(), &names.map(|name| camera(name, &[], &[])), status).unwrap();
    let (address, first) = (server.address(), pictured(1));
    let looker = thread::spawn(move || {
        let mut seen = std::collections::BTreeMap::from([("fast".to_owned(), 0), ("slow".to_owned(), 0)]);
        let begun = Instant::now();
        while seen["slow"] < 3 || seen["fast"] < 20 {
            let query = format!("/api/frames?fast={}&slow={}&silent=", seen["fast"], seen["slow"]);
            for (what, _) in shown(&get(address, &query, &[])) {
                let known = seen.get_mut(what["camera"].as_str().unwrap()).unwrap();
                let number = what["number"].as_u64().unwrap();
                assert!(number > *known);
                *known = number;
            }
            assert!(begun.elapsed() < PATIENCE, "{seen:?}");
        }
    });
    for number in 1.. {
        if looker.is_finished() {
            break;
        }
        let send = |name: &str, number| {
            server.send(&Message::Frame(Arc::new(FrameResult {
                camera: name.into(),
                number,
                ..first.clone()
            })));
        };
        send("fast", number);
        if number % 20 == 1 {
            send("slow", 1 + number / 20);
        }
        thread::sleep(Duration::from_millis(10));
    }
    looker.join().unwrap();
}

#[test]
fn other_machines_need_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let start = |config: &config::Http| Server::start(config, &[], Status::new(true)).map(drop);
    let everywhere = config::Http { listen: "0.0.0.0:0".into(), ..config() };
    let error = start(&everywhere).unwrap_err().to_string();
    assert!(error.contains("[http] listen") && error.contains("key_file"), "{error}");
    fs::write(&file, "short").unwrap();
    let with_key = config::Http { key_file: Some(file.clone()), ..everywhere };
    assert!(start(&with_key).unwrap_err().to_string().contains("at least 16"));
    assert!(start(&config::Http { listen: "localhost".into(), ..config() }).is_err());

    let key = "correct-horse-battery-staple";
    fs::write(&file, format!("{key}\n")).unwrap();
    let site = Site::new(&with_key);
    let address = SocketAddr::from(([127, 0, 0, 1], site.server.address().port()));
    let ask = |path: &str, headers: &[&str]| get(address, path, headers);
    for path in ["/metrics", "/api/state", "/cameras/front.jpg", "/metrics?key=wrong-horse-battery-staple"] {
        let reply = ask(path, &[]);
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer"), "{path}");
        assert!(!reply.text().contains("front"));
    }
    let page = ask("/", &[]);
    assert!(page.status == 401 && page.text().contains("name=\"key\"") && !page.text().contains("<script>"));
    assert_eq!(ask("/healthz", &[]).status, 200);
    assert_eq!(ask("/metrics", &[&format!("Authorization: Bearer {key}")]).status, 200);
    assert_eq!(ask("/metrics", &["Authorization: Bearer x"]).status, 401);
    let welcome = ask(&format!("//evil.example/?key={key}"), &[]);
    assert_eq!((welcome.status, welcome.header("location")), (303, "/evil.example/"));
    let welcome = ask(&format!("/?key={key}"), &[]);
    assert_eq!((welcome.status, welcome.header("location")), (303, "/"));
    let cookie = welcome.header("set-cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(key),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(ask("/", &[&format!("Cookie: {cookie}")]).status, 200);
    assert_eq!(ask("/", &[&format!("Cookie: {cookie}0")]).status, 401);
}

/// A page of another site that has its name point to this machine sees nothing.
#[test]
fn other_names_for_this_machine_are_refused() {
    let site = Site::new(&config());
    let ask = |host: &str| get(site.server.address(), "/api/state", &[&format!("Host: {host}")]).status;
    assert_eq!((ask("evil.example"), ask("127.0.0.1:1"), ask("localhost")), (403, 200, 200));
}

/// A thousand connections that say nothing, and clients that send a byte a second: whoever asks gets an answer.
#[test]
fn idle_and_slow_clients_hold_nobody_up() {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: most.maximum.or(Some(4096)), maximum: most.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let site = Site::new(&config());
    let address = site.server.address();
    let idle: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(address).unwrap()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for byte in b"GET /metrics HTTP/1.1\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                    .iter()
                    .cycle()
                {
                    if stop.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(250));
                }
            })
        })
        .collect();
    // One who never reads what he asked for.
    let mut deaf = TcpStream::connect(address).unwrap();
    deaf.write_all(&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300)).unwrap();
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(site.get("/metrics").status, 200);
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    // An idle connection is closed after a longer time than this: nobody waits for that.
    assert!(times[10] < Duration::from_secs(8), "{times:?}");
    // One that stays and asks again and again is not closed for those that do nothing.
    let mut stays = TcpStream::connect(address).unwrap();
    stays.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..5 {
        stays.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut reply, mut byte) = (Vec::new(), [0]);
        while !reply.ends_with(b"\r\n\r\nok\n") {
            stays.read_exact(&mut byte).unwrap();
            reply.push(byte[0]);
        }
        assert!(reply.starts_with(b"HTTP/1.1 200"));
        let more: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(site.get("/metrics").status, 200);
        drop(more);
    }
    // Of the thousand, the server keeps few.
    let open = idle.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&**stream).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    let open = open.count();
    assert!(open <= 128, "{open} of 1000 are open");
    stop.store(true, Ordering::Relaxed);
    slow.into_iter().for_each(|slow| slow.join().unwrap());
    drop((deaf, stays));
}

/// Thousands of connections a second, of which some say half a request and some a whole one whose answer they do not read.
#[test]
fn a_flood_of_connections_holds_nobody_up() {
    let site = Site::new(&config());
    let (address, stop) = (site.server.address(), Arc::new(AtomicBool::new(false)));
    let flood = |says: &'static [u8]| {
        let stop = stop.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address) else { continue };
                // It may have been closed again.
                let _ = stream.write_all(says);
                kept.push(stream);
                if kept.len() > 100 {
                    kept.clear();
                }
            }
        })
    };
    let floods = [&b""[..], b"GET /m", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].map(flood);
    let mut times = Vec::new();
    for _ in 0..60 {
        let begun = Instant::now();
        assert_eq!(site.get("/metrics").status, 200);
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    times.sort();
    assert!(times[30] < Duration::from_secs(5), "{times:?}");
}

#[test]
fn garbage_is_no_request() {
    let site = Site::new(&config());
    for garbage in [
        &b"\0\xff\xfe\r\n\r\n"[..],
        b"GET\r\n\r\n",
        &[b'a'; 100_000],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01",
    ] {
        let mut stream = TcpStream::connect(site.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have hung up already.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        assert!(
            reply.is_empty() || reply.starts_with(b"HTTP/1.1 4"),
            "{:?}",
            String::from_utf8_lossy(&reply)
        );
    }
    assert_eq!(site.get("/metrics").status, 200);
    drop(site);
}
