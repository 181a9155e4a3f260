//! mosquitto on loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::wait_for;

/// The end of a topic that subscribers are tried by.
const PROBE: &str = "probe/of/a/subscriber";

/// One that nobody has. It is not of the ports that connections take by themselves: one of those could have it, or be its own other
/// end, until mosquitto listens.
fn free_address(ip: &str) -> SocketAddr {
    let next =
        || 10_000 + (37 * (std::process::id() % 10_000) + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 22_000;
    let ports = std::iter::repeat_with(next).take(1000);
    let mut free = ports.filter_map(|port| TcpListener::bind((ip, port as u16)).ok());
    free.next().expect("a free port").local_addr().unwrap()
}

static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Broker {
    program: PathBuf,
    folder: tempfile::TempDir,
    process: Option<Child>,
    pub(crate) address: SocketAddr,
    /// For mosquitto_pub and mosquitto_sub.
    client: Vec<String>,
}

/// A message, as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) kept: bool,
    pub(crate) payload: Vec<u8>,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// What a subscriber has got so far; it leaves with this.
pub(crate) struct Subscriber {
    process: Child,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Subscriber {
    pub(crate) fn all(&self) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|got| !got.topic.ends_with(PROBE)).cloned().collect()
    }

    /// The last message of a topic, if there was one.
    pub(crate) fn last(&self, topic: &str) -> Option<Got> {
        self.all().into_iter().rev().find(|got| got.topic == topic)
    }

    pub(crate) fn wait(&self, topic: &str, text: &str) {
        let is = || self.last(topic).is_some_and(|got| got.text() == text);
        wait_for(&format!("{topic} = {text}"), is);
    }
}

impl Broker {
    /// On an address of `ip`, with more lines of configuration. None where there is no mosquitto.
    pub(crate) fn new(ip: &str, more: impl FnOnce(&std::path::Path) -> String) -> Option<Broker> {
        let program = frcnn_testkit::program("mosquitto", "mosquitto")?;
        frcnn_testkit::program("mosquitto", "mosquitto_sub")?;
        let folder = tempfile::tempdir().unwrap();
        let address = free_address(ip);
        // Not as `mosquitto`, who may not read the folder.
        let config = format!("user root\nlistener {} {ip}\n{}\n", address.port(), more(folder.path()));
        fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let client = vec!["-h".into(), ip.into(), "-p".into(), address.port().to_string()];
        Some(Broker { program, folder, process: None, address, client })
    }

    pub(crate) fn open() -> Option<Broker> {
        let mut broker = Broker::new("127.0.0.1", |_| "allow_anonymous true".into())?;
        broker.start();
        Some(broker)
    }

    /// Options for mosquitto's clients.
    pub(crate) fn clients(&mut self, more: &[&str]) {
        self.client.extend(more.iter().map(|word| (*word).to_owned()));
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}/yard", self.address)
    }

    pub(crate) fn start(&mut self) {
        let config = self.folder.path().join("mosquitto.conf");
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        wait_for("mosquitto listens", || TcpStream::connect(self.address).is_ok());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn subscribe(&self, topic: &str) -> Subscriber {
        let mut command = Command::new("mosquitto_sub");
        command.args(&self.client).args(["-q", "1", "-t", topic, "-F", "%t %r %x"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let kept = got.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parts = line.rsplitn(3, ' ');
                let (payload, retained, topic) = (parts.next(), parts.next(), parts.next());
                let hex = payload.unwrap().as_bytes();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                kept.lock().unwrap().push(Got {
                    topic: topic.unwrap().to_owned(),
                    kept: retained == Some("1"),
                    payload: hex.chunks(2).map(byte).collect(),
                });
            }
        });
        // It has subscribed when it gets what is published now.
        let probe = topic.replace('#', PROBE);
        wait_for("a subscription", || {
            self.publish(&probe, "x", &[]);
            got.lock().unwrap().iter().any(|got| got.topic == probe)
        });
        Subscriber { process, got }
    }

    pub(crate) fn publish(&self, topic: &str, text: &str, more: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(&self.client).args(["-q", "1", "-t", topic, "-m", text]).args(more);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A way to a broker that can be cut.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    pub(crate) fn new(to: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let kept = streams.clone();
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(to) else { continue };
                kept.lock().unwrap().extend([from.try_clone().unwrap(), to.try_clone().unwrap()]);
                for (mut from, mut to) in
                    [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to.try_clone().unwrap(), from)]
                {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                    });
                }
            }
        });
        Cable { address, streams }
    }

    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        thread::sleep(Duration::from_millis(10));
    }
}
