//! From arguments to a service, and to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args::Args;
use crate::budget::Budget;
use crate::door::House;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::model::{Loaded, Models};
use crate::queue::Queue;
use crate::{http, say, zmq};

/// How long requests may take that were there when the service was told to end.
const LAST_ANSWERS: Duration = Duration::from_secs(20);
/// So long after that signal all goes on: what was sent before it is in sockets that nobody has looked at yet.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// How many times the largest request all requests together may hold.
const BODIES: usize = 8;

/// Why there is no service, and the exit code that says so.
pub(crate) struct Problem {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { text, code: 1 }
    }
}

/// Serves until a signal ends it.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    if let Some(text) = args.refused() {
        return Err(Problem { text, code: 2 });
    }
    let named = |path: &std::path::Path| {
        let name = path.display().to_string();
        move |problem: String| if problem.starts_with(&name) { problem } else { format!("{name}: {problem}") }
    };
    let key = args.key_file.as_deref().map(|path| Key::open(path).map_err(named(path))).transpose()?;
    let options = args.options();
    let base = Arc::new(Loaded::open(&args.bundle, &options).map_err(named(&args.bundle))?);
    let mut models = Models::new(base.clone());
    if let Some(folder) = &args.models {
        std::fs::create_dir_all(folder).map_err(|error| named(folder)(error.to_string()))?;
        models = models.with_folder(folder, &options, args.max_model());
    }
    let metrics = Arc::new(Metrics::default());
    let house = Arc::new(House {
        models,
        queue: Queue::new(args.queue as usize, args.max_wait(), metrics.clone()),
        budget: Budget::new(args.max_body() * BODIES),
        metrics,
        max_body: args.max_body(),
    });
    let mut workers = Vec::new();
    for number in 0..args.workers {
        let house = house.clone();
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        workers.push(thread.spawn(move || house.queue.work()).map_err(|error| error.to_string())?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(args, key, &house, &base))?;
    // What is left are connections that did not end in time.
    runtime.shutdown_background();
    for worker in workers {
        let _ = worker.join();
    }
    Ok(())
}

async fn serve(args: &Args, key: Option<Key>, house: &Arc<House>, base: &Loaded) -> Result<(), String> {
    let at = |place: &dyn std::fmt::Display| {
        let place = place.to_string();
        move |error: std::io::Error| format!("cannot listen to {place}: {error}")
    };
    let listener = TcpListener::bind(args.listen).await.map_err(at(&args.listen))?;
    let address = listener.local_addr().map_err(at(&args.listen))?;
    let zmq = match &args.zmq {
        Some(endpoint) => Some(zmq::Listener::bind(endpoint).await.map_err(at(endpoint))?),
        None => None,
    };
    let signals =
        signal(SignalKind::terminate()).and_then(|ends| Ok((ends, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = signals.map_err(|error| format!("signals: {error}"))?;

    let (end, ending) = watch::channel(false);
    let http = tokio::spawn(http::serve(listener, house.clone(), key, args.dialect, ending.clone()));
    let door = zmq.as_ref().map(|zmq| format!(" and {}", zmq.place())).unwrap_or_default();
    let zmq = zmq.map(|zmq| tokio::spawn(zmq.serve(house.clone(), ending)));
    let from = if base.detector.has_rpn() { "its own proposals" } else { "selective search" };
    let (classes, threads) = (base.labels().len(), base.detector.threads());
    say(format_args!(
        "{} ({classes} classes, {from}, {} x {threads} threads) at http://{address}{door}",
        base.name, args.workers
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    say("ending: what was asked is still answered");
    tokio::time::sleep(LAST_LOOK).await;
    let _ = end.send(true);
    let last = async {
        let _ = http.await;
        if let Some(zmq) = zmq {
            let _ = zmq.await;
        }
    };
    if tokio::time::timeout(LAST_ANSWERS, last).await.is_err() {
        say(format_args!("ended with connections open after {} s", LAST_ANSWERS.as_secs()));
    }
    house.queue.end();
    say("ended");
    Ok(())
}
