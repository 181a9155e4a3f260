//! To an MQTT broker: lines of JSON, and what the broker keeps (states, counts, snapshots, Home Assistant's discovery).
//!
//! ```text
//! Message ──► Outbox: lines in order, at most 1024 │ the latest of each retained topic ──► client: 16 in flight ──► broker
//! ```
//! Lines have quality of service 1. What is not acknowledged when a connection is lost is sent again in the next, so a
//! line may arrive twice. While there is no broker, the oldest lines are given up for new ones, and counted.

mod address;
mod client;
mod counts;
mod discovery;
mod outbox;
mod tls;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{Broker, LastWill, MqttOptions, NetworkOptions, QoS, Transport};
use tokio::sync::Notify;

use self::client::Shared;
use self::counts::Counts;
use self::outbox::{Line, Outbox};
use self::topics::Topics;
use crate::config;
use crate::event::{CameraInfo, Door, FrameResult, Message};
use crate::names::slug;
use crate::status::{Status, Total};

pub use self::address::{Address, DEFAULT_PREFIX};
pub use self::outbox::QUEUE;

/// Longer messages are not published.
const LONGEST: usize = 8 << 20;

/// A broker cannot be published to as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[mqtt] {0}")]
pub struct Error(String);

/// Publishes to a broker by a thread of its own. The broker need not be there yet: that it is not is reported as
/// `mqtt_unreachable` as soon as it shows, and counted.
///
/// # Errors
/// The address, a file with a password or certificates cannot be used: the error names the key.
pub fn connect(
    config: &config::Mqtt,
    cameras: &[CameraInfo],
    status: Arc<Status>,
) -> Result<Publisher, Error> {
    let publisher = Publisher::new(config, cameras, status)?;
    publisher.start(|| ())?;
    Ok(publisher)
}

/// The environment's, or the first line of a file.
fn password(environment: Option<OsString>, file: Option<&Path>) -> Result<Option<String>, Error> {
    if let Some(password) = environment {
        let password =
            password.into_string().map_err(|_| Error("FRCNN_MQTT_PASSWORD: is not UTF-8".to_owned()))?;
        return Ok(Some(password));
    }
    let Some(file) = file else { return Ok(None) };
    let named = |problem: &str| Error(format!("password_file {}: {problem}", file.display()));
    let bytes = frcnn_files::read_at_most(file, 64 << 10).map_err(|error| named(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| named("is not UTF-8"))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        return Err(named("its first line is empty; that is where the password stands"));
    }
    Ok(Some(password.to_owned()))
}

/// This machine's name.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    slug(name.trim()).chars().take(30).collect()
}

fn check_name(config: &config::Mqtt) -> Result<(), Error> {
    let fine = |id: &String| (1..=64).contains(&id.len()) && !id.chars().any(char::is_control);
    match config.name.as_ref().is_none_or(fine) {
        true => Ok(()),
        false => Err(Error("name: is 1 to 64 bytes without control characters".to_owned())),
    }
}

fn options(
    address: &Address,
    password: Option<String>,
    config: &config::Mqtt,
    topics: &Topics,
) -> Result<MqttOptions, Error> {
    // Whoever has the same as another ends its connection; two containers may have the same machine's name and process's number.
    let chance = RandomState::new().build_hasher().finish() as u32;
    let name = format!("frcnn-camera-{}-{chance:08x}", machine());
    let mut options = MqttOptions::new(name, Broker::tcp(address.host.clone(), address.port));
    options.set_keep_alive(20).set_inflight(64).set_max_packet_size(1 << 20, LONGEST + (64 << 10));
    options.set_last_will(LastWill::new(topics.availability(), "offline", QoS::AtLeastOnce, true));
    match (&address.user, password) {
        (Some(user), Some(password)) => options.set_credentials(user.clone(), password),
        (Some(user), None) => options.set_username(user.clone()),
        (None, Some(_)) => {
            return Err(Error(format!(
                "url: there is a password, but no user; write {}",
                address.to_string().replacen("://", "://USER@", 1)
            )));
        }
        (None, None) => &mut options,
    };
    if address.tls {
        let tls = tls::config(config.ca_file.as_deref()).map_err(Error)?;
        options.set_transport(Transport::tls_with_config(tls.into()));
    } else if config.ca_file.is_some() {
        return Err(Error("ca_file: is for TLS; write mqtts:// in url".to_owned()));
    }
    // The library's own way takes the colons of IPv6 for a port's.
    let place = match address.host.contains(':') {
        true => format!("[{}]:{}", address.host, address.port),
        false => format!("{}:{}", address.host, address.port),
    };
    options.set_socket_connector(move |_, network: NetworkOptions| {
        let place = place.clone();
        async move { rumqttc::default_socket_connect(place, network).await }
    });
    Ok(options)
}

/// The door.
pub struct Publisher {
    shared: Arc<Shared>,
    told: Mutex<Told>,
    /// Until it has a thread.
    options: Mutex<Option<MqttOptions>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What has been told of cameras.
#[derive(Default)]
struct Told {
    counts: BTreeMap<Arc<str>, Counts>,
    /// Topics that the broker keeps something for because of them.
    topics: BTreeSet<String>,
}

impl Publisher {
    /// One that keeps what it is sent, and connects to nobody yet.
    ///
    /// # Errors
    /// See [`connect`].
    pub(crate) fn new(
        config: &config::Mqtt,
        cameras: &[CameraInfo],
        status: Arc<Status>,
    ) -> Result<Publisher, Error> {
        let address = Address::parse(&config.url).map_err(|problem| Error(format!("url: {problem}")))?;
        let password = password(std::env::var_os("FRCNN_MQTT_PASSWORD"), config.password_file.as_deref())?;
        check_name(config)?;
        let daemon = (!config.single).then(|| config.name.clone().unwrap_or_else(machine));
        let topics = Topics::new(address.prefix.as_deref().unwrap_or(DEFAULT_PREFIX), daemon.as_deref());
        let options = options(&address, password, config, &topics)?;
        let shared = Arc::new(Shared {
            outbox: Mutex::new(Outbox::default()),
            wake: Notify::new(),
            status,
            topics,
            discovery: config.discovery,
            single: config.single,
            cameras: Mutex::default(),
            address: address.to_string(),
        });
        let (told, thread) = (Mutex::default(), Mutex::default());
        let publisher = Publisher { shared, told, options: Mutex::new(Some(options)), thread };
        publisher.cameras(cameras);
        Ok(publisher)
    }

    /// Starts the thread, which does something else `before` it connects.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(&self, before: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let Some(options) = lock(&self.options).take() else { return Ok(()) };
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("mqtt".into());
        let thread = thread.spawn(move || {
            before();
            client::run(options, &shared);
        });
        *lock(&self.thread) = Some(thread.map_err(|error| Error(format!("no thread for it: {error}")))?);
        Ok(())
    }

    /// As it stands in topics.
    fn name<'a>(&self, camera: &'a str) -> &'a str {
        if self.shared.single { "" } else { camera }
    }

    /// Where a line goes.
    fn topic(&self, message: &Message) -> String {
        let topics = &self.shared.topics;
        match message {
            _ if self.shared.single => topics.of_camera("", "detections"),
            Message::Frame(frame) => topics.of_camera(&frame.camera, "detections"),
            Message::Object(object) => topics.of_camera(&object.camera, "events"),
            Message::Camera(event) => topics.of_camera(event.camera.as_deref().unwrap_or(""), "events"),
        }
    }

    fn push(&self, message: &Message) {
        let line = Line { topic: self.topic(message).into(), payload: message.json().into() };
        let dropped = match line.payload.len() {
            ..=LONGEST => self.shared.outbox().push(line),
            _ => true,
        };
        self.shared.status.add(Total::MqttDropped, u64::from(dropped));
    }

    fn count(&self, frame: &FrameResult) {
        let mut told = lock(&self.told);
        let Some(counts) = told.counts.get_mut(&frame.camera) else { return };
        let name = self.name(&frame.camera);
        for ((class, zone), count) in counts.update(frame) {
            let topic = self.shared.topics.count(name, &class, zone.as_deref());
            self.shared.outbox().retain(topic, count.to_string().into());
        }
    }
}

impl Door for Publisher {
    fn send(&self, message: &Message) {
        match message {
            Message::Frame(frame) => {
                self.count(frame);
                if frame.line {
                    self.push(message);
                }
            }
            Message::Object(object) => {
                if let Some(snapshot) = &object.snapshot
                    && snapshot.jpeg.len() <= LONGEST
                {
                    let topic = self.shared.topics.of_camera(self.name(&object.camera), "snapshot");
                    self.shared.outbox().retain(topic, Bytes::copy_from_slice(&snapshot.jpeg));
                }
                self.push(message);
            }
            Message::Camera(_) => self.push(message),
        }
        self.shared.wake.notify_one();
    }

    fn cameras(&self, cameras: &[CameraInfo]) {
        let topics = &self.shared.topics;
        let mut told = lock(&self.told);
        *lock(&self.shared.cameras) = cameras.iter().map(|camera| camera.name.clone()).collect();
        let mut known = std::mem::take(&mut told.counts);
        let mut kept = BTreeSet::new();
        let mut outbox = self.shared.outbox();
        for camera in cameras {
            let name = self.name(&camera.name);
            let mut counts = known.remove(&camera.name).unwrap_or_else(|| Counts::new(camera));
            counts.change(camera);
            for ((class, zone), count) in counts.all() {
                let topic = topics.count(name, class, zone.as_deref());
                kept.insert(topic.clone());
                outbox.retain(topic, count.to_string().into());
            }
            told.counts.insert(camera.name.clone(), counts);
            kept.extend(["state", "snapshot"].map(|what| topics.of_camera(name, what)));
            if self.shared.discovery {
                for (topic, what) in discovery::entities(topics, camera, !self.shared.single) {
                    kept.insert(topic.clone());
                    outbox.retain(topic, what.to_string().into());
                }
            }
        }
        let gone = std::mem::replace(&mut told.topics, kept.clone());
        for topic in gone.difference(&kept) {
            outbox.forget(topic.clone());
        }
        drop(outbox);
        self.shared.wake.notify_one();
    }

    fn close(&self, limit: Duration) {
        self.shared.outbox().close(Instant::now() + limit);
        self.shared.wake.notify_one();
        if let Some(thread) = lock(&self.thread).take() {
            // One that panicked has nothing to say any more.
            let _ = thread.join();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_environments_password_stands_before_the_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of the file \nmore\n").unwrap();
        let (environment, file) = (Some("of the environment".into()), Some(file.path()));
        assert_eq!(password(environment, file).unwrap().unwrap(), "of the environment");
        assert_eq!(password(None, file).unwrap().unwrap(), "of the file ");
        assert_eq!(password(None, None), Ok(None));
    }
}
