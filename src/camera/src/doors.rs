//! The doors that a configuration asks for, which another configuration can change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use frcnn::Detector;

use crate::config::{self, Camera, Config};
use crate::event::{CameraEvent, CameraInfo, Door, ZoneInfo};
use crate::http::{self, Server};
use crate::mqtt::Publisher;
use crate::run::Note;
use crate::shared::Shared;
use crate::signals::Asked;
use crate::snapshots::Snapshots;
use crate::status::Status;
use crate::stdout::Stdout;
use crate::tracking::classes;

/// For the last messages of a door.
pub(crate) const CLOSE: Duration = Duration::from_secs(5);
/// Of a file that a table names so much is looked at.
const MOST: u64 = 1 << 20;

/// Those that are open.
pub(crate) struct Doors {
    stdout: Arc<dyn Door>,
    http: Option<Open<config::Http, Server>>,
    mqtt: Option<Open<config::Mqtt, Publisher>>,
    /// Threads of doors that are no longer wanted, and send what they still have.
    leaving: Vec<JoinHandle<()>>,
}

/// A door, and what it was opened by.
struct Open<T, D> {
    table: Table<T>,
    door: Arc<D>,
}

/// A table of the file, and what the files hold that it names: it has changed where either has.
#[derive(Clone, PartialEq)]
struct Table<T> {
    config: T,
    files: Vec<Option<Vec<u8>>>,
}

impl<T: Clone> Table<T> {
    fn of(config: &T, files: &[&Option<PathBuf>]) -> Table<T> {
        // One that cannot be read is refused by whoever needs it.
        let read = |path: &&Option<PathBuf>| frcnn_files::read_at_most(path.as_ref()?, MOST).ok();
        Table { config: config.clone(), files: files.iter().map(read).collect() }
    }
}

fn http_table(config: &Config) -> Option<Table<config::Http>> {
    config.http.as_ref().map(|http| Table::of(http, &[&http.key_file]))
}

fn mqtt_table(config: &Config) -> Option<Table<config::Mqtt>> {
    config.mqtt.as_ref().map(|mqtt| Table::of(mqtt, &[&mqtt.password_file, &mqtt.ca_file]))
}

/// Whether a door is open by this table, or none is and none is wanted.
fn is_same<T: PartialEq, D>(open: &Option<Open<T, D>>, wanted: &Option<Table<T>>) -> bool {
    open.as_ref().map(|open| &open.table) == wanted.as_ref()
}

fn serve(
    table: Table<config::Http>,
    cameras: &[CameraInfo],
    status: &Arc<Status>,
    before: Option<&Server>,
) -> Result<Open<config::Http, Server>, String> {
    let server = http::serve(&table.config, cameras, status.clone(), before);
    let server = server.map_err(|error| error.to_string())?;
    Ok(Open { table, door: Arc::new(server) })
}

/// Connects to nobody yet.
fn publisher(
    table: Table<config::Mqtt>,
    cameras: &[CameraInfo],
    status: &Arc<Status>,
) -> Result<Open<config::Mqtt, Publisher>, String> {
    let publisher =
        Publisher::new(&table.config, cameras, status.clone()).map_err(|error| error.to_string())?;
    Ok(Open { table, door: Arc::new(publisher) })
}

impl Doors {
    /// Opens all of them.
    ///
    /// # Errors
    /// One cannot be opened; the error names the table of the file and the key.
    pub(crate) fn open(
        config: &Config,
        cameras: &[CameraInfo],
        status: &Arc<Status>,
        (notes, asked): (&Sender<Note>, &Asked),
    ) -> Result<Doors, String> {
        let stdout = Stdout::open(notes.clone(), asked.clone())
            .map_err(|error| format!("standard output: {error}"))?;
        let http = http_table(config).map(|table| serve(table, cameras, status, None)).transpose()?;
        let mqtt = mqtt_table(config).map(|table| publisher(table, cameras, status)).transpose()?;
        if let Some(open) = &mqtt {
            open.door.start(|| ()).map_err(|error| error.to_string())?;
        }
        let doors = Doors { stdout: Arc::new(stdout), http, mqtt, leaving: Vec::new() };
        status.open(doors.list());
        Ok(doors)
    }

    fn list(&self) -> Vec<Arc<dyn Door>> {
        let mut doors = vec![self.stdout.clone()];
        doors.extend(self.http.as_ref().map(|open| open.door.clone() as Arc<dyn Door>));
        doors.extend(self.mqtt.as_ref().map(|open| open.door.clone() as Arc<dyn Door>));
        doors
    }

    /// Opens, changes and closes what another configuration asks for in another way; the others stay as they are.
    ///
    /// # Errors
    /// One cannot be opened; the error names the table of the file and the key. Then all are as they were.
    pub(crate) fn change(
        &mut self,
        before: &Config,
        config: &Config,
        cameras: &[CameraInfo],
        shared: &Shared,
    ) -> Result<(), String> {
        let (http, mqtt) = (http_table(config), mqtt_table(config));
        // What can fail comes first, and what has an effect last.
        let same_broker = is_same(&self.mqtt, &mqtt);
        let mut other_broker = None;
        if !same_broker {
            other_broker = mqtt.map(|table| publisher(table, cameras, &shared.status)).transpose()?;
        }
        let pictures = Pictures::of(before, config, &shared.status)?;
        if !is_same(&self.http, &http) {
            self.change_http(http, cameras, &shared.status)?;
        }
        pictures.take_up(shared);
        if !same_broker {
            let old = std::mem::replace(&mut self.mqtt, other_broker);
            self.exchange_broker(old.map(|open| open.door), &shared.status);
        }
        Ok(())
    }

    fn change_http(
        &mut self,
        wanted: Option<Table<config::Http>>,
        cameras: &[CameraInfo],
        status: &Arc<Status>,
    ) -> Result<(), String> {
        if let Some(table) = &wanted {
            http::check(&table.config).map_err(|error| error.to_string())?;
        }
        let old = self.http.take();
        // The address that is wanted may be the one that it has.
        if let Some(old) = &old {
            old.door.close(Duration::ZERO);
        }
        let mut changed = Ok(());
        let before = old.as_ref().map(|old| &*old.door);
        self.http = match wanted.map(|table| serve(table, cameras, status, before)).transpose() {
            Ok(open) => open,
            Err(problem) => {
                let again = old.map(|old| serve(old.table, cameras, status, Some(&old.door))).transpose();
                changed = Err(match &again {
                    Ok(_) => problem,
                    Err(again) => format!("{problem}; and what was is not there any more: {again}"),
                });
                again.ok().flatten()
            }
        };
        status.open(self.list());
        changed
    }

    /// Another publisher is there, or none; the old one says what it still has before the other begins, as both may have the same broker.
    fn exchange_broker(&mut self, old: Option<Arc<Publisher>>, status: &Arc<Status>) {
        // From here on nobody sends the old one anything.
        status.open(self.list());
        let leave = move || {
            if let Some(old) = old {
                old.close(CLOSE);
            }
        };
        let begun = match &self.mqtt {
            Some(open) => open.door.start(leave).map_err(|error| error.to_string()),
            None => {
                let thread = thread::Builder::new().name("mqtt-leaves".into()).spawn(leave);
                thread.map(|thread| self.leaving.push(thread)).map_err(|error| format!("no thread: {error}"))
            }
        };
        if let Err(problem) = begun {
            status.report(CameraEvent::now(None, "mqtt_failed", problem));
        }
    }

    /// Waits for doors that are no longer wanted, which have sent what they had by then or have given it up.
    pub(crate) fn join(self) {
        for thread in self.leaving {
            // One that panicked sends no more.
            let _ = thread.join();
        }
    }
}

/// What is to become of the pictures of objects.
enum Pictures {
    Same,
    /// The folder may have so many MB.
    Most(u64),
    Other(Option<Snapshots>),
}

impl Pictures {
    fn of(before: &Config, config: &Config, status: &Arc<Status>) -> Result<Pictures, String> {
        match (&before.snapshots, &config.snapshots) {
            (before, wanted) if before == wanted => Ok(Pictures::Same),
            (_, None) => Ok(Pictures::Other(None)),
            (Some(before), Some(wanted)) if before.folder == wanted.folder => {
                Ok(Pictures::Most(wanted.max_mb))
            }
            (_, Some(wanted)) => {
                let opened = Snapshots::open(wanted, status.clone()).map_err(|error| error.to_string())?;
                Ok(Pictures::Other(Some(opened)))
            }
        }
    }

    fn take_up(self, shared: &Shared) {
        let mut place = shared.snapshots();
        match self {
            Pictures::Same => {}
            Pictures::Most(max_mb) => {
                if let Some(kept) = &*place {
                    kept.limit(max_mb);
                }
            }
            Pictures::Other(other) => {
                if let (Some(old), Some(other)) = (&*place, &other) {
                    other.inherit(old);
                }
                let old = std::mem::replace(&mut *place, other);
                drop(place);
                // What was taken is written.
                drop(old);
            }
        }
    }
}

/// What doors know of cameras.
pub(crate) fn infos(config: &Config, detector: &Detector) -> Vec<CameraInfo> {
    let classes = classes(detector).split_off(1);
    let info = |camera: &Camera| CameraInfo {
        name: camera.name.as_str().into(),
        classes: classes.clone(),
        zones: camera
            .zones
            .iter()
            .map(|zone| ZoneInfo { name: zone.name.as_str().into(), polygon: zone.polygon.0.clone() })
            .collect(),
    };
    config.cameras.iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::time::SystemTime;

    use super::*;
    use crate::event::{Message, ObjectChange, ObjectEvent};

    fn state(server: &Server) -> serde_json::Value {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let request = "GET /api/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[test]
    fn another_page_shows_what_happened_before() {
        let with = |metrics_only| Config {
            http: Some(config::Http { listen: "127.0.0.1:0".into(), key_file: None, metrics_only }),
            ..Config::default()
        };
        let (status, (notes, _)) = (Status::new(true), channel());
        let shared = Shared::new(status.clone(), None, false);
        let mut doors = Doors::open(&with(false), &[], &status, (&notes, &Asked::default())).unwrap();
        let seen = ObjectEvent {
            camera: "yard".into(),
            change: ObjectChange::Started,
            captured: SystemTime::now(),
            id: 7,
            class: "disc".into(),
            best_score: 0.9,
            best_box: [0.0; 4],
            bbox: [0.0; 4],
            path: Vec::new(),
            zones: Vec::new(),
            first_seen: SystemTime::now(),
            snapshot: None,
        };
        let door = |doors: &Doors| doors.http.as_ref().unwrap().door.clone();
        door(&doors).send(&Message::Object(Arc::new(seen)));
        door(&doors).send(&Message::Camera(Arc::new(CameraEvent::now(None, "model_reloaded", "a"))));
        let before = state(&door(&doors));
        // To metrics alone, and back.
        for metrics_only in [true, false] {
            let (old, new) = (with(!metrics_only), with(metrics_only));
            doors.change(&old, &new, &[], &shared).unwrap();
        }
        let after = state(&door(&doors));
        assert_eq!((&after["objects"][0]["id"], &after["events"][0]["detail"]), (&7.into(), &"a".into()));
        assert_eq!((&after["objects"], &after["events"]), (&before["objects"], &before["events"]));
    }
}
