//! The publisher against mosquitto.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn_camera::config;
use frcnn_camera::event::{CameraEvent, CameraInfo, Door, Message, ObjectChange};
use frcnn_camera::mqtt::{QUEUE, connect};
use frcnn_camera::status::{State, Status, Total};
use serde_json::Value;

use crate::broker::{Broker, Cable, Subscriber};
use crate::{Kept, PATIENCE, camera, change, frame, object, wait_for};

fn config(url: &str) -> config::Mqtt {
    config::Mqtt { url: url.into(), name: Some("barn".into()), ..config::Mqtt::default() }
}

/// A door, how it does, and what it reports.
struct Daemon {
    door: Box<dyn Door>,
    status: Arc<Status>,
    reports: Kept,
}

impl Daemon {
    fn new(config: &config::Mqtt, cameras: &[CameraInfo]) -> Daemon {
        let (status, reports) = (Status::new(true), Kept::default());
        for camera in cameras {
            status.camera(&camera.name).set_state(State::Running);
        }
        status.open(vec![Arc::new(reports.clone())]);
        let door = connect(config, cameras, status.clone()).unwrap();
        Daemon { door: Box::new(door), status, reports }
    }

    fn connected(self) -> Daemon {
        wait_for("connected", || self.status.get(Total::MqttConnected) == 1);
        self
    }
}

fn frames(subscriber: &Subscriber, topic: &str) -> Vec<u64> {
    let lines = subscriber.all().into_iter().filter(|got| got.topic == topic);
    let number = |text: String| serde_json::from_str::<Value>(&text).unwrap()["frame"].as_u64();
    lines.filter_map(|got| number(got.text())).collect()
}

#[test]
fn lines_states_counts_and_snapshots() {
    let Some(broker) = Broker::open() else { return };
    let subscriber = broker.subscribe("#");
    let cameras = [camera("front", &["person", "a/b <x>"], &["porch"]), camera("back", &["person"], &[])];
    let daemon = Daemon::new(&config(&broker.url()), &cameras).connected();
    subscriber.wait("yard/availability/barn", "online");
    subscriber.wait("yard/front/state", "running");
    subscriber.wait("yard/front/objects/a%2Fb <x>/porch", "0");
    let (one, two) = (object(1, "person", &["porch"]), object(2, "a/b <x>", &[]));
    daemon.door.send(&Message::Frame(Arc::new(frame("front", 7, vec![one.clone(), two]))));
    let jpeg = [0xff, 0xd8, 0, 10, 13, 0xff, 0xd9];
    daemon.door.send(&change("front", ObjectChange::Started, &one, Some(&jpeg)));
    let event = |camera, event| Message::Camera(Arc::new(CameraEvent::now(camera, event, "x")));
    daemon.door.send(&event(Some("back".into()), "camera_lost"));
    daemon.door.send(&event(None, "model_reloaded"));
    daemon.status.camera(&"back".into()).set_state(State::Lost);
    subscriber.wait("yard/front/objects/person", "1");
    subscriber.wait("yard/front/objects/person/porch", "1");
    subscriber.wait("yard/front/objects/a%2Fb <x>", "1");
    subscriber.wait("yard/back/state", "lost");
    wait_for("all lines", || daemon.status.get(Total::MqttPublished) == 4);
    // The broker has them; the subscriber gets them.
    wait_for("the frame", || frames(&subscriber, "yard/front/detections") == [7]);
    for (topic, event) in [
        ("yard/front/events", "object_started"),
        ("yard/back/events", "camera_lost"),
        ("yard/events", "model_reloaded"),
    ] {
        wait_for(event, || subscriber.last(topic).is_some_and(|got| got.text().contains(event)));
    }
    wait_for("the snapshot", || {
        subscriber.last("yard/front/snapshot").is_some_and(|got| got.payload == jpeg)
    });
    assert!(subscriber.all().iter().all(|got| !got.topic.starts_with("homeassistant/")));

    // Whoever comes later gets what the broker keeps, and no lines.
    let later = broker.subscribe("yard/#");
    later.wait("yard/front/objects/person/porch", "1");
    wait_for("the snapshot", || later.last("yard/front/snapshot").is_some_and(|got| got.kept));
    assert!(later.last("yard/front/detections").is_none());

    daemon.door.send(&Message::Frame(Arc::new(frame("front", 8, Vec::new()))));
    daemon.door.close(PATIENCE);
    subscriber.wait("yard/availability/barn", "offline");
    assert_eq!(frames(&subscriber, "yard/front/detections"), [7, 8]);
    assert_eq!((daemon.status.get(Total::MqttConnected), daemon.status.get(Total::MqttDropped)), (0, 0));
}

#[test]
fn one_camera_of_the_command_line_has_the_old_topics() {
    let Some(broker) = Broker::open() else { return };
    let subscriber = broker.subscribe("#");
    let single = config::Mqtt { single: true, ..config(&format!("{}/yard", broker.address)) };
    let daemon = Daemon::new(&single, &[camera("camera", &["person"], &[])]);
    // Sent before there is a connection, and closed at once: it is not lost.
    daemon.door.send(&Message::Frame(Arc::new(frame("camera", 1, vec![object(1, "person", &[])]))));
    daemon.door.send(&Message::Camera(Arc::new(CameraEvent::now(Some("camera".into()), "stream_cut", "x"))));
    daemon.door.close(PATIENCE);
    subscriber.wait("yard/availability", "offline");
    subscriber.wait("yard/objects/person", "1");
    assert_eq!(frames(&subscriber, "yard/detections"), [1]);
    assert!(subscriber.last("yard/detections").unwrap().text().contains("stream_cut"));
}

#[test]
fn home_assistant_finds_what_there_is_and_nothing_else() {
    let Some(broker) = Broker::open() else { return };
    // What an earlier run left: one of ours, whose state goes with it, and a neighbour's.
    let stale = "homeassistant/sensor/frcnn-yard/front-count-cat/config";
    let neighbour = "homeassistant/sensor/other/front/config";
    broker.publish(stale, r#"{"state_topic": "yard/front/objects/cat"}"#, &["-r"]);
    broker.publish("yard/front/objects/cat", "1", &["-r"]);
    broker.publish(neighbour, "{}", &["-r"]);
    let subscriber = broker.subscribe("#");
    let found = config::Mqtt { discovery: true, ..config(&broker.url()) };
    let daemon = Daemon::new(&found, &[camera("front", &["person"], &["porch", "gate"])]).connected();
    subscriber.wait(stale, "");
    subscriber.wait("yard/front/objects/cat", "");
    let entity =
        |component: &str, id: &str| format!("homeassistant/{component}/frcnn-yard/front-{id}/config");
    let porch = entity("binary_sensor", "occupancy-person-porch");
    wait_for("its entities", || {
        let topics = [porch.clone(), entity("sensor", "count-person"), entity("image", "snapshot")];
        topics.iter().all(|topic| subscriber.last(topic).is_some_and(|got| !got.payload.is_empty()))
    });
    // What an entity says of topics holds of the topics.
    let what: Value = serde_json::from_slice(&subscriber.last(&porch).unwrap().payload).unwrap();
    subscriber.wait(what["state_topic"].as_str().unwrap(), "0");
    subscriber.wait(what["availability"][0]["topic"].as_str().unwrap(), "online");
    subscriber.wait(what["availability"][1]["topic"].as_str().unwrap(), "running");
    // They are kept for a Home Assistant that starts later.
    let later = broker.subscribe("homeassistant/#");
    wait_for("kept", || later.last(&porch).is_some_and(|got| got.kept));
    // A Home Assistant that has started is told again.
    let count = |topic: &str| subscriber.all().iter().filter(|got| got.topic == topic).count();
    let (before, state) = (count(&porch), count("yard/front/objects/person/porch"));
    broker.publish("homeassistant/status", "online", &[]);
    wait_for("told again", || count(&porch) > before && count("yard/front/objects/person/porch") > state);
    // A reload without one zone, and with another.
    daemon.door.cameras(&[camera("front", &["person"], &["gate", "street"])]);
    subscriber.wait(&porch, "");
    subscriber.wait("yard/front/objects/person/porch", "");
    subscriber.wait("yard/front/objects/person/street", "0");
    assert!(!subscriber.last(&entity("binary_sensor", "occupancy-person-gate")).unwrap().payload.is_empty());
    daemon.door.cameras(&[]);
    subscriber.wait(&entity("sensor", "state"), "");
    assert_eq!(subscriber.last(neighbour).unwrap().text(), "{}");
    daemon.door.close(PATIENCE);
}

/// Each has an availability of its own, and leaves the other's cameras alone.
#[test]
fn two_daemons_with_one_prefix() {
    let Some(broker) = Broker::open() else { return };
    let subscriber = broker.subscribe("#");
    let found = |id: &str| config::Mqtt { discovery: true, name: Some(id.into()), ..config(&broker.url()) };
    let cable = Cable::new(broker.address);
    let barn = Daemon::new(&found("barn"), &[camera("front", &["person"], &[])]).connected();
    let entity = |camera: &str| format!("homeassistant/sensor/frcnn-yard/{camera}-count-person/config");
    wait_for("its entity", || subscriber.last(&entity("front")).is_some());
    let shed = config::Mqtt { url: format!("mqtt://{}/yard", cable.address), ..found("shed") };
    let shed = Daemon::new(&shed, &[camera("back", &["person"], &[])]).connected();
    subscriber.wait("yard/availability/shed", "online");
    wait_for("its entity", || subscriber.last(&entity("back")).is_some());
    for (camera, daemon) in [("front", "barn"), ("back", "shed")] {
        let what: Value = serde_json::from_slice(&subscriber.last(&entity(camera)).unwrap().payload).unwrap();
        assert_eq!(what["availability"][0]["topic"], format!("yard/availability/{daemon}"));
    }
    // The end of one is not the other's, whether it says so or the broker.
    cable.cut();
    subscriber.wait("yard/availability/shed", "offline");
    subscriber.wait("yard/availability/shed", "online");
    shed.door.close(PATIENCE);
    subscriber.wait("yard/availability/shed", "offline");
    barn.door.send(&Message::Frame(Arc::new(frame("front", 1, Vec::new()))));
    wait_for("it goes on", || frames(&subscriber, "yard/front/detections") == [1]);
    for (topic, last) in [("yard/availability/barn", "online"), ("yard/front/objects/person", "0")] {
        assert_eq!(subscriber.last(topic).unwrap().text(), last);
    }
    assert!(subscriber.all().iter().all(|got| got.topic != entity("front") || !got.payload.is_empty()));
    assert!(![&barn, &shed].iter().any(|daemon| daemon.reports.has(&["mqtt_shared"])));
    barn.door.close(PATIENCE);
}

/// Where two have the same availability both say so, and who is there is `online` whatever the other's end says.
#[test]
fn two_daemons_with_one_availability() {
    let Some(broker) = Broker::open() else { return };
    let subscriber = broker.subscribe("#");
    // Without a name the machine's name counts.
    let same = config::Mqtt { name: None, ..config(&broker.url()) };
    let daemons = ["front", "back"].map(|name| Daemon::new(&same, &[camera(name, &[], &[])]).connected());
    for daemon in &daemons {
        wait_for("told", || daemon.reports.has(&["mqtt_shared", "yard/availability/", "name"]));
    }
    let [left, right] = daemons;
    let told = |text: &str| {
        let availability = |topic: &str| topic.starts_with("yard/availability/");
        subscriber.all().iter().filter(|got| availability(&got.topic) && got.text() == text).count()
    };
    let before = told("online");
    right.door.close(PATIENCE);
    wait_for("its end", || told("offline") == 1);
    wait_for("the other is there", || told("online") > before);
    // What a process that was killed had left with the broker may come late.
    let topic =
        subscriber.all().iter().find(|got| got.topic.starts_with("yard/avail")).unwrap().topic.clone();
    let before = told("online");
    broker.publish(&topic, "offline", &["-r"]);
    wait_for("it is there", || told("online") > before);
    left.door.close(PATIENCE);
    wait_for("its end", || subscriber.last(&topic).unwrap().text() == "offline");
}

/// A user and a password; then TLS besides, on IPv6, with certificates of our own.
#[test]
fn passwords_tls_and_ipv6() {
    let Some(mut broker) = Broker::new("::1", |folder| {
        let certificates = rcgen::generate_simple_self_signed(["::1".into(), "localhost".into()]).unwrap();
        fs::write(folder.join("tls.pem"), certificates.cert.pem()).unwrap();
        fs::write(folder.join("tls.key"), certificates.signing_key.serialize_pem()).unwrap();
        let stranger = rcgen::generate_simple_self_signed(["::1".into()]).unwrap();
        fs::write(folder.join("stranger.pem"), stranger.cert.pem()).unwrap();
        fs::write(folder.join("password"), "swordfish 1\n").unwrap();
        let mut make = Command::new("mosquitto_passwd");
        make.args(["-b", "-c"]).arg(folder.join("users")).args(["owner", "swordfish 1"]);
        let made = make.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let place = folder.display();
        format!(
            "allow_anonymous false\npassword_file {place}/users\ncertfile {place}/tls.pem\nkeyfile {place}/tls.key"
        )
    }) else {
        return;
    };
    broker.start();
    let (ca, password) = (broker.folder().join("tls.pem"), broker.folder().join("password"));
    broker.clients(&["--cafile", &ca.display().to_string(), "-u", "owner", "-P", "swordfish 1"]);
    let with = |url: &str, ca: &str, password: Option<&Path>| config::Mqtt {
        ca_file: Some(broker.folder().join(ca)),
        password_file: password.map(Path::to_owned),
        ..config(url)
    };
    let url = format!("mqtts://owner@{}/yard", broker.address);
    let subscriber = broker.subscribe("yard/#");
    let right =
        Daemon::new(&with(&url, "tls.pem", Some(&password)), &[camera("front", &[], &[])]).connected();
    right.door.send(&Message::Frame(Arc::new(frame("front", 1, Vec::new()))));
    right.door.close(PATIENCE);
    subscriber.wait("yard/availability/barn", "offline");
    assert_eq!(frames(&subscriber, "yard/front/detections"), [1]);

    let refused = |config: &config::Mqtt, parts: &[&str]| {
        let daemon = Daemon::new(config, &[]);
        wait_for(&format!("{parts:?}"), || daemon.reports.has(parts));
        assert!(daemon.status.get(Total::MqttFailed) >= 1 && daemon.status.get(Total::MqttConnected) == 0);
        assert!(daemon.reports.has(&["mqtt_unreachable", "mqtts://[::1]:"]));
    };
    let wrong = broker.folder().join("wrong");
    fs::write(&wrong, "swordfish 2\n").unwrap();
    refused(&with(&url, "tls.pem", Some(&wrong)), &["refuses"]);
    refused(&with(&url.replace("owner@", ""), "tls.pem", None), &["refuses"]);
    refused(&with(&url, "stranger.pem", Some(&password)), &["certificate"]);
}

#[test]
fn what_cannot_work_is_refused_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "\n").unwrap();
    let refused = |config: config::Mqtt, parts: &[&str]| {
        let error = connect(&config, &[], Status::new(true)).err().expect("is refused").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refused(config("mqtt://a:b@c"), &["[mqtt] url", "password_file"]);
    refused(config("mqtt://c/#"), &["[mqtt] url", "prefix"]);
    refused(config::Mqtt { name: Some(String::new()), ..config("mqtt://c") }, &["[mqtt] name"]);
    let password = |file: &Path| config::Mqtt { password_file: Some(file.into()), ..config("mqtt://u@c") };
    refused(password(&folder.path().join("absent")), &["[mqtt] password_file", "absent"]);
    refused(password(&file), &["[mqtt] password_file", "empty"]);
    let ca = |url| config::Mqtt { ca_file: Some(file.clone()), ..config(url) };
    refused(ca("mqtts://c"), &["[mqtt] ca_file", "CERTIFICATE"]);
    refused(ca("mqtt://c"), &["[mqtt] ca_file", "mqtts://"]);
}

/// That there is no broker is told at once; the newest lines wait for one, in order, and the others are counted.
#[test]
fn a_broker_that_comes_late() {
    let Some(mut broker) = Broker::new("127.0.0.1", |_| "allow_anonymous true".into()) else { return };
    let daemon = Daemon::new(&config(&broker.url()), &[camera("front", &[], &[])]);
    wait_for("reported", || daemon.reports.has(&["mqtt_unreachable", "mqtt://127.0.0.1:", "refused"]));
    assert!(daemon.status.get(Total::MqttFailed) >= 1);
    let more = 300;
    for number in 1..=(QUEUE + more) as u64 {
        daemon.door.send(&Message::Frame(Arc::new(frame("front", number, Vec::new()))));
    }
    assert_eq!(daemon.status.get(Total::MqttDropped), more as u64);
    broker.start();
    let subscriber = broker.subscribe("yard/#");
    let daemon = daemon.connected();
    assert!(daemon.reports.has(&["mqtt_connected"]));
    wait_for("all that waited", || daemon.status.get(Total::MqttPublished) == QUEUE as u64);
    let expected: Vec<u64> = (more as u64 + 1..=(more + QUEUE) as u64).collect();
    let first = expected.len() - 900;
    // The subscriber may have come after the first.
    wait_for("they arrive", || frames(&subscriber, "yard/front/detections").ends_with(&expected[first..]));
    assert_eq!(daemon.status.get(Total::MqttDropped), more as u64);
}

/// The broker says `offline` for who is gone, and every line of a lost connection is sent in the next.
#[test]
fn a_connection_that_is_cut() {
    let Some(broker) = Broker::open() else { return };
    let cable = Cable::new(broker.address);
    let subscriber = broker.subscribe("yard/#");
    let daemon =
        Daemon::new(&config(&format!("mqtt://{}/yard", cable.address)), &[camera("front", &["a"], &[])]);
    let daemon = daemon.connected();
    subscriber.wait("yard/availability/barn", "online");
    for number in 1..=400 {
        daemon.door.send(&Message::Frame(Arc::new(frame("front", number, vec![object(1, "a", &[])]))));
        if number == 200 {
            wait_for("some are sent", || daemon.status.get(Total::MqttPublished) > 50);
            cable.cut();
        }
    }
    wait_for("the cut is seen", || daemon.reports.has(&["mqtt_lost"]));
    wait_for("the broker tells both", || {
        let told = subscriber.all().into_iter().filter(|got| got.topic == "yard/availability/barn");
        let told: Vec<String> = told.map(|got| got.text()).collect();
        told.ends_with(&["offline".into(), "online".into()])
    });
    wait_for("all are acknowledged", || daemon.status.get(Total::MqttPublished) == 400);
    wait_for("all arrive", || {
        let mut numbers = frames(&subscriber, "yard/front/detections");
        // A line may arrive twice.
        numbers.sort_unstable();
        numbers.dedup();
        numbers == (1..=400).collect::<Vec<u64>>()
    });
    assert_eq!(daemon.status.get(Total::MqttDropped), 0);
    assert_eq!(daemon.status.get(Total::MqttFailed), 1);
}

/// A broker that starts again and remembers nothing is told all that it is to keep.
#[test]
fn a_broker_that_forgets() {
    let Some(mut broker) = Broker::open() else { return };
    let found = config::Mqtt { discovery: true, ..config(&broker.url()) };
    let daemon = Daemon::new(&found, &[camera("front", &["person"], &[])]).connected();
    daemon.door.send(&Message::Frame(Arc::new(frame("front", 1, vec![object(1, "person", &[])]))));
    wait_for("published", || daemon.status.get(Total::MqttPublished) == 1);
    broker.stop();
    wait_for("gone", || daemon.status.get(Total::MqttConnected) == 0);
    broker.start();
    let daemon = daemon.connected();
    let subscriber = broker.subscribe("#");
    subscriber.wait("yard/front/objects/person", "1");
    subscriber.wait("yard/front/state", "running");
    subscriber.wait("yard/availability/barn", "online");
    let count = "homeassistant/sensor/frcnn-yard/front-count-person/config";
    wait_for("discovery", || subscriber.last(count).is_some());
    assert!(subscriber.last("yard/front/detections").is_none());
    daemon.door.close(PATIENCE);
}

/// A machine that does not answer holds nothing up, and closing does not wait for it.
#[test]
fn a_broker_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::new(&config(&format!("mqtt://{}", silent.local_addr().unwrap())), &[]);
    daemon.door.send(&Message::Camera(Arc::new(CameraEvent::now(None, "x", "y"))));
    let begun = Instant::now();
    daemon.door.close(Duration::from_millis(500));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(daemon.status.get(Total::MqttDropped), 1);
}
