//! The page in a browser: what it shows, and zones drawn on it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use frcnn_camera::config::{self, Config};
use frcnn_camera::event::{CameraEvent, Door, FrameResult, Message, ObjectChange, ObjectState};
use frcnn_camera::http::Server;
use frcnn_camera::snapshots::Snapshots;
use frcnn_camera::status::{Count, State, Status};

use crate::browser::Browser;
use crate::{camera, change, frame, object, scene};

/// Two cameras that run, and one that is lost.
#[test]
fn the_page_shows_cameras_objects_and_zones() {
    let Some(mut browser) = Browser::open(1280, 1500) else { return };
    let status = Status::new(true);
    let folder = tempfile::tempdir().unwrap();
    let key = "correct-horse-battery-staple";
    let key_file = folder.path().join("key");
    fs::write(&key_file, key).unwrap();
    let http = config::Http { listen: "127.0.0.1:0".into(), key_file: Some(key_file), metrics_only: false };
    let odd = "<script>alert(1)</script>";
    let cameras = [
        camera("yard", &["disc", odd], &["porch"]),
        camera("gate", &["disc"], &[]),
        camera("shed", &["disc"], &[]),
    ];
    let server = Arc::new(Server::start(&http, &cameras, status.clone()).unwrap());
    status.camera(&"yard".into()).set_state(State::Running);
    status.camera(&"gate".into()).set_state(State::Running);
    status.camera(&"shed".into()).set_state(State::Lost);
    status.camera(&"gate".into()).add(Count::FramesDropped, 3);

    let picture = scene();
    let (width, height) = (picture.width as f32, picture.height as f32);
    let at = |id, class: &str, zones: &[&str], x: f32, y: f32, side: f32| ObjectState {
        bbox: [x * width, y * height, (x + side) * width, (y + side) * height],
        first_seen: SystemTime::now() - Duration::from_secs(40 * id),
        ..object(id, class, zones)
    };
    let seen = [
        at(1, "disc", &["porch"], 0.6, 0.4, 0.25),
        ObjectState { stationary: true, ..at(2, odd, &[], 0.1, 0.02, 0.3) },
        at(3, "disc", &[], 0.3, 0.55, 0.2),
    ];
    let snapshots = Snapshots::open(&config::Snapshots { folder: None, max_mb: 1 }, status.clone()).unwrap();
    for name in ["yard", "gate"] {
        snapshots.see(&name.into(), &picture, &seen);
        for (object, doing) in
            seen.iter().zip([ObjectChange::Started, ObjectChange::Stopped, ObjectChange::Ended])
        {
            let jpeg = snapshots.best(&name.into(), object.id).map(|snapshot| snapshot.jpeg);
            server.send(&change(name, doing, object, jpeg.as_deref()));
        }
    }
    server.send(&Message::Camera(Arc::new(CameraEvent::now(
        Some("shed".into()),
        "camera_lost",
        "rtsp://192.168.1.20/stream: ffmpeg ended: Connection refused",
    ))));
    server.send(&Message::Camera(Arc::new(CameraEvent::now(None, "model_reloaded", "street.frcnn"))));

    // Frames come, and their pixels only while somebody looks.
    let (stop, pictures) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let feeder = {
        let (server, stop, pictures) = (server.clone(), stop.clone(), pictures.clone());
        let seen = seen.to_vec();
        thread::spawn(move || {
            for number in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for name in ["yard", "gate"] {
                    let wanted = server.wants_picture(name).then(|| picture.clone());
                    pictures.fetch_add(u64::from(wanted.is_some()), Ordering::Relaxed);
                    let (width, height) = (picture.width, picture.height);
                    let frame =
                        FrameResult { width, height, picture: wanted, ..frame(name, number, seen.clone()) };
                    server.send(&Message::Frame(Arc::new(frame)));
                }
                thread::sleep(Duration::from_millis(40));
            }
        })
    };
    thread::sleep(Duration::from_millis(300));
    assert_eq!(pictures.load(Ordering::Relaxed), 0);

    // The key, typed in.
    browser.go(&format!("http://{}/", server.address()));
    browser.wait("document.querySelector('input[name=key]')");
    browser.worth(&format!(
        "document.querySelector('input[name=key]').value = '{key}'; document.forms[0].submit()"
    ));
    browser.wait("document.querySelectorAll('.camera').length === 3");
    assert_eq!(browser.worth("location.search"), "");

    browser.wait("document.querySelectorAll('.camera .mark').length === 6");
    let frames =
        "[...document.querySelectorAll('.stage img')].filter(i => i.naturalWidth > 100).length === 2";
    browser.wait(frames);
    let text = browser.worth("document.body.innerText").as_str().unwrap().to_owned();
    for part in [
        "2 of 3 cameras running",
        "3 dropped",
        "lost",
        "disc 1 0.93",
        &format!("{odd} 2 0.93"),
        "standing still",
        "camera_lost",
        "Connection refused",
        "porch",
        "The camera is lost",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(browser.worth("document.scripts.length"), 1, "a name became a script");
    browser
        .wait("[...document.querySelectorAll('.object img')].filter(i => i.naturalWidth > 10).length === 6");
    // Boxes are where they should be.
    let place = browser.worth(
        "(() => { const s = document.querySelector('.stage').getBoundingClientRect(); \
         const m = document.querySelector('.mark').getBoundingClientRect(); \
         return [(m.left - s.left) / s.width, (m.top - s.top) / s.height, m.width / s.width]; })()",
    );
    let place: Vec<f64> = serde_json::from_value(place).unwrap();
    for (is, should) in place.iter().zip([0.6, 0.4, 0.25]) {
        assert!((is - should).abs() < 0.01, "{place:?}");
    }

    // Zones, drawn by clicks; the fourth click closes at the first corner.
    browser.click(".draw", 0.5, 0.5);
    let corners = [(0.1, 0.2), (0.8, 0.25), (0.5, 0.9), (0.1, 0.2)];
    for (x, y) in corners {
        browser.click(".stage", x, y);
    }
    browser.wait("document.querySelector('polygon.new') && !document.querySelector('.drawn').hidden");
    let toml = browser.worth("document.querySelector('.toml').value").as_str().unwrap().to_owned();
    assert!(toml.contains("name = \"zone1\""), "{toml}");
    keep(&mut browser, folder.path());
    // What the page shows can be copied into the file.
    let file =
        format!("[model]\npath = \"m\"\n[[camera]]\nname = \"yard\"\ninput = \"x\"\nzones = [\n{toml}]\n");
    let drawn = Config::parse(&file).unwrap().cameras.remove(0).zones.remove(0).polygon;
    assert!(drawn.is_relative() && drawn.0.len() == 3, "{drawn:?}");
    for (corner, (x, y)) in drawn.0.iter().zip(corners) {
        assert!((corner[0] - x as f32).abs() < 0.01 && (corner[1] - y as f32).abs() < 0.01, "{drawn:?}");
    }
    // On a camera without zones, the whole list.
    browser.worth("document.querySelectorAll('.draw')[0].click()");
    browser.click(".forget", 0.5, 0.5);
    browser.wait("document.querySelectorAll('polygon.new').length === 0");

    // Without names and boxes, where they are not wanted.
    browser.click(".show-boxes", 0.5, 0.5);
    browser.wait("document.querySelectorAll('.camera')[0].querySelectorAll('.mark').length === 0");

    // A daemon that goes is seen to have gone.
    stop.store(true, Ordering::Relaxed);
    feeder.join().unwrap();
    server.close(Duration::ZERO);
    browser.wait("!document.querySelector('#trouble').hidden");
    let refused = |error: &String| {
        error.contains("ERR_CONNECTION") || error.contains("ERR_EMPTY_RESPONSE") || error.contains("401")
    };
    let errors: Vec<&String> = browser.errors.iter().filter(|error| !refused(error)).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// A picture of the page, to be looked at where FRCNN_PAGE names a file; and that there is colour in it in any case.
fn keep(browser: &mut Browser, folder: &Path) {
    let path = std::env::var_os("FRCNN_PAGE").map_or_else(|| folder.join("page.png"), Into::into);
    browser.picture(&path);
    let picture = image::open(&path).unwrap().into_rgb8();
    // The colour of the first class.
    let count = picture.pixels().filter(|pixel| pixel.0 == [0x56, 0xb4, 0xe9]).count();
    assert!(count > 300, "{count} pixels of the boxes");
}
