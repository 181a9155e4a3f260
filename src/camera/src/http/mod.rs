//! Over HTTP: metrics for Prometheus, whether the daemon is well, and a page that shows the cameras.
//!
//! ```text
//! /metrics                 Prometheus, text format 0.0.4
//! /healthz                 200 `ok`, or 503 where a camera is stalled or lost; needs no key
//! /                        the page
//! /api/state               JSON: cameras, objects, events
//! /api/frames              ?CAMERA=NUMBER&CAMERA=...: the next frames of cameras after those, as soon as there is one:
//!                          boxes and picture together (`Shown::append_to`). One request for all, since browsers have six
//! /cameras/CAMERA.jpg      the newest picture
//! /objects/CAMERA/ID.jpg   an object's
//! ```
//! All of it runs on one thread, with another for making JPEGs. Clients cost nothing until their request is whole; see
//! `connections` for how many there may be.

mod access;
mod connections;
mod page;
mod recent;
mod view;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

use self::access::{Access, Verdict, decoded};
use self::connections::{Connections, IDLE};
use self::page::Pages;
use self::recent::Recent;
use self::view::View;
use crate::config;
use crate::event::{CameraInfo, Door, Message};
use crate::status::{Count, State, Status, Total};
use crate::stderr::eprint_line;

/// The port cannot be served as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[http] {0}")]
pub struct Error(String);

/// Serves until it is dropped, by a thread of its own; says on standard error where. It may take the place of a server that is
/// closed, and then shows what happened before.
///
/// # Errors
/// The address is not one, is taken, or can be reached by others and there is no key.
pub(crate) fn serve(
    config: &config::Http,
    cameras: &[CameraInfo],
    status: Arc<Status>,
    before: Option<&Server>,
) -> Result<Server, Error> {
    let recent = before.map(|before| before.shared.recent.clone());
    let server = Server::start_with(config, cameras, status, recent.unwrap_or_default())?;
    let what = if config.metrics_only { "metrics on" } else { "page and metrics on" };
    let path = if config.metrics_only { "metrics" } else { "" };
    eprint_line(&format!("frcnn-camera: {what} http://{}/{path}", server.address));
    Ok(server)
}

/// Address and key.
///
/// # Errors
/// The address is not one, or can be reached by others and there is no key.
pub(crate) fn check(config: &config::Http) -> Result<(), Error> {
    access(config).map(|_| ())
}

fn access(config: &config::Http) -> Result<(SocketAddr, Access), Error> {
    let listen: SocketAddr = config.listen.parse().map_err(|_| {
        Error(format!(
            "listen: `{}` is no address and port, such as 127.0.0.1:9477 or [::1]:9477",
            config.listen
        ))
    })?;
    Ok((listen, Access::new(listen, config.key_file.as_deref()).map_err(Error)?))
}

/// The door.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    status: Arc<Status>,
    access: Access,
    pages: Pages,
    metrics_only: bool,
    /// In the order of the file.
    views: RwLock<Vec<Arc<View>>>,
    /// Another server's, too, while it takes that one's place.
    recent: Arc<Mutex<Recent>>,
    stop: Notify,
}

impl Server {
    /// Serves until it is dropped, by a thread of its own.
    ///
    /// # Errors
    /// The address is not one, is taken, or can be reached by others and there is no key.
    pub fn start(
        config: &config::Http,
        cameras: &[CameraInfo],
        status: Arc<Status>,
    ) -> Result<Server, Error> {
        Server::start_with(config, cameras, status, Arc::default())
    }

    fn start_with(
        config: &config::Http,
        cameras: &[CameraInfo],
        status: Arc<Status>,
        recent: Arc<Mutex<Recent>>,
    ) -> Result<Server, Error> {
        let (listen, mut access) = access(config)?;
        let taken = |error: std::io::Error| Error(format!("listen: {listen}: {error}"));
        // One thread makes JPEGs: more would take cores from the detector.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.map_err(taken)?;
        let listener = bind(&runtime, listen).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        access.set_port(address.port());
        let shared = Arc::new(Shared {
            status,
            access,
            pages: Pages::new(),
            metrics_only: config.metrics_only,
            views: RwLock::default(),
            recent,
            stop: Notify::new(),
        });
        shared.set_cameras(cameras);
        let thread = std::thread::Builder::new().name("http".into());
        let thread = {
            let shared = shared.clone();
            thread.spawn(move || run(runtime, listener, &shared)).map_err(taken)?
        };
        Ok(Server { address, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Where it listens: the port that was free, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Door for Server {
    fn send(&self, message: &Message) {
        match message {
            Message::Frame(frame) => {
                if let Some(view) = self.shared.view(&frame.camera) {
                    view.update(frame);
                }
            }
            Message::Object(object) => self.shared.recent().object(object),
            Message::Camera(event) => self.shared.recent().event(event),
        }
    }

    fn cameras(&self, cameras: &[CameraInfo]) {
        self.shared.set_cameras(cameras);
    }

    fn wants_picture(&self, camera: &str) -> bool {
        self.shared.view(camera).is_some_and(|view| view.is_looked_at())
    }

    fn close(&self, _: Duration) {
        self.shared.stop.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // One that panicked serves nothing any more.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// Many may knock at once, and wait for the thread.
fn bind(runtime: &Runtime, listen: SocketAddr) -> std::io::Result<TcpListener> {
    let _within = runtime.enter();
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Those of a daemon that has just ended may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(1024)
}

fn run(runtime: Runtime, listener: TcpListener, shared: &Arc<Shared>) {
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener, shared) => {}
            () = shared.stop.notified() => {}
        }
    });
    runtime.shutdown_background();
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    let connections = Arc::new(Connections::default());
    let mut sweep = interval(Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                connections.sweep(IDLE);
                continue;
            }
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, say: who has waited longest goes, and it is tried again.
            connections.close_one();
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Answers are small and whole.
        let _ = stream.set_nodelay(true);
        let (ticket, shared) = (Arc::new(connections.enter()), shared.clone());
        tokio::spawn(async move {
            let of_request = ticket.clone();
            let service = service_fn(move |request| {
                let (ticket, shared) = (of_request.clone(), shared.clone());
                async move {
                    ticket.begin();
                    let response = respond(&shared, &request).await;
                    ticket.end();
                    Ok::<_, Infallible>(response)
                }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.max_buf_size(16 << 10).serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // Whatever ended it, there is nobody to tell.
                _ = connection => {}
                () = ticket.closed() => {}
            }
        });
        // In a flood, each is heard once before it may have to go for the next.
        tokio::task::yield_now().await;
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const JPEG: &str = "image/jpeg";

fn not_found() -> Answer {
    answer(StatusCode::NOT_FOUND, TEXT, "There is nothing here.\n")
}

async fn respond(shared: &Shared, request: &Request<Incoming>) -> Answer {
    let mut response = dispatch(shared, request).await;
    // The body of a request is not read; what follows it could not be told from it.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(policy) = HeaderValue::from_str(&shared.pages.policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn dispatch(shared: &Shared, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Only GET and HEAD.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path();
    if path == "/healthz" && !shared.metrics_only {
        return shared.health();
    }
    match shared.access.judge(request.uri(), request.headers()) {
        Verdict::Allowed => {}
        Verdict::Welcome { cookie } => {
            let mut response = answer(StatusCode::SEE_OTHER, TEXT, "");
            // The key is no longer in the address then, which browsers remember. Never another host's: one slash.
            let to = format!("/{}", path.trim_start_matches('/'));
            for (name, value) in [(header::SET_COOKIE, cookie), (header::LOCATION, to)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(name, value);
                }
            }
            return response;
        }
        Verdict::NoKey if path == "/" => {
            return answer(StatusCode::UNAUTHORIZED, HTML, shared.pages.key.clone());
        }
        Verdict::NoKey => {
            let mut response = answer(
                StatusCode::UNAUTHORIZED,
                TEXT,
                "A key is needed: `Authorization: Bearer KEY`, or ?key=KEY.\n",
            );
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        Verdict::Stranger => {
            return answer(
                StatusCode::FORBIDDEN,
                TEXT,
                "Without a key, this machine answers to localhost and its own addresses only: set key_file in [http].\n",
            );
        }
    }
    let parts: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts[..] {
        ["metrics"] => {
            answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shared.status.prometheus())
        }
        _ if shared.metrics_only => not_found(),
        [""] => answer(StatusCode::OK, HTML, shared.pages.main.clone()),
        ["api", "state"] => answer(StatusCode::OK, JSON, shared.state().to_string()),
        ["api", "frames"] => {
            let asked = shared.asked(request.uri().query().unwrap_or_default());
            if asked.is_empty() {
                return not_found();
            }
            let shown = view::show(&asked).await;
            if shown.is_empty() {
                return answer(StatusCode::NO_CONTENT, TEXT, "");
            }
            let mut body = Vec::new();
            shown.iter().for_each(|shown| shown.append_to(&mut body));
            answer(StatusCode::OK, "application/octet-stream", body)
        }
        ["cameras", file] => {
            let view = file.strip_suffix(".jpg").and_then(|camera| shared.view(camera));
            let Some(view) = view else { return not_found() };
            match view::show(&[(view, None)]).await.pop() {
                Some(shown) => answer(StatusCode::OK, JPEG, shown.jpeg),
                None => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "There is no picture yet.\n"),
            }
        }
        ["objects", camera, file] => {
            let id = file.strip_suffix(".jpg").and_then(|id| id.parse().ok());
            match id.and_then(|id| shared.recent().picture(camera, id)) {
                Some(jpeg) => answer(StatusCode::OK, JPEG, jpeg),
                None => not_found(),
            }
        }
        _ => not_found(),
    }
}

impl Shared {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> Vec<Arc<View>> {
        self.views.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn view(&self, camera: &str) -> Option<Arc<View>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.iter().find(|view| &*view.info.name == camera).cloned()
    }

    /// The cameras that a query names, each once, and the frames that were seen of them.
    fn asked(&self, query: &str) -> Vec<(Arc<View>, Option<u64>)> {
        let pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let seen = |view: Arc<View>| {
            let (_, number) = pairs.iter().find(|(name, _)| *decoded(name) == *view.info.name)?;
            Some((view, number.parse().ok()))
        };
        self.views().into_iter().filter_map(seen).collect()
    }

    fn set_cameras(&self, cameras: &[CameraInfo]) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(&mut *views);
        *views = cameras
            .iter()
            .map(|camera| {
                let same = known.iter().find(|view| view.info == *camera);
                same.cloned().unwrap_or_else(|| Arc::new(View::new(camera.clone())))
            })
            .collect();
    }

    fn health(&self) -> Answer {
        let ill = |state| matches!(state, State::Stalled | State::Lost);
        let cameras = self.status.cameras();
        // No names: whoever asks needs no key.
        match cameras.iter().filter(|camera| ill(camera.state())).count() {
            0 => answer(StatusCode::OK, TEXT, "ok\n"),
            count => {
                let problem = format!("{count} of {} cameras stalled or lost\n", cameras.len());
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, problem)
            }
        }
    }

    /// What the page shows beside pictures.
    fn state(&self) -> serde_json::Value {
        let cameras = self.status.cameras();
        let of = |view: &Arc<View>| {
            let camera = cameras.iter().find(|camera| *camera.name() == view.info.name);
            let get = |count| camera.map_or(0, |camera| camera.get(count));
            let zone =
                |zone: &crate::event::ZoneInfo| json!({ "name": &*zone.name, "polygon": zone.polygon });
            json!({
                "name": &*view.info.name,
                "state": camera.map_or(State::Starting, |camera| camera.state()).name(),
                "fps": camera.map_or(0.0, |camera| camera.frame_rate()),
                "frames": get(Count::FramesCompleted),
                "dropped": get(Count::FramesDropped),
                "corrupt": get(Count::FramesCorrupt),
                "objects": get(Count::ObjectsStarted),
                "size": view.size(),
                "zones": view.info.zones.iter().map(zone).collect::<Vec<_>>(),
            })
        };
        let recent = self.recent();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cameras": self.views().iter().map(of).collect::<Vec<_>>(),
            "objects": recent.objects(),
            "events": recent.events(),
            "mqtt": self.status.get(Total::MqttConnected) > 0,
        })
    }
}
