//! SIGHUP: file and model are read again by a thread of their own; frames go on meanwhile, and so does what was, if the new is no
//! good.

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use frcnn::Detector;

use crate::config::Config;
use crate::run::{Note, check};

/// What was read.
pub(crate) enum Reloaded {
    /// The file's, if there is one, and the model.
    New(Box<Config>, Detector),
    /// The file is no good.
    ConfigKept(String),
    /// The model is no good.
    ModelKept(String),
}

/// Starts the thread; it sends a [`Note::Reloaded`].
pub(crate) fn start(file: Option<PathBuf>, present: Config, notes: Sender<Note>) {
    let theirs = notes.clone();
    let work = move || {
        let read = catch_unwind(|| read(file, present));
        let read = read.unwrap_or_else(|_| Reloaded::ModelKept("a fault inside frcnn".into()));
        // Nobody listens when the daemon is about to end.
        let _ = theirs.send(Note::Reloaded(read));
    };
    if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(work) {
        let _ = notes.send(Note::Reloaded(Reloaded::ModelKept(format!("no thread: {error}"))));
    }
}

fn read(file: Option<PathBuf>, present: Config) -> Reloaded {
    let config = match file {
        None => present,
        Some(path) => match Config::open(&path) {
            Ok(config) => Config { all: present.all, ..config },
            Err(error) => return Reloaded::ConfigKept(error.0),
        },
    };
    let detector = match crate::model::open(&config) {
        Ok(detector) => detector,
        Err(problem) => return Reloaded::ModelKept(problem),
    };
    match check(&config, &detector) {
        Ok(()) => Reloaded::New(Box::new(config), detector),
        Err(problem) if config.from_file => Reloaded::ConfigKept(problem),
        Err(problem) => Reloaded::ModelKept(problem),
    }
}
