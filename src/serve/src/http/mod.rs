//! The interfaces over HTTP.

mod body;
mod connections;
mod doods;
mod form;
mod vision;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::connections::Connections;
use crate::args::Dialect;
use crate::door::House;
use crate::key::Key;
use crate::refusal::Refusal;

/// Connections at once; one more closes the one that has been without a request for longest.
const CONNECTIONS: usize = 512;
/// How long a request's head may take, how long a connection may be idle, and how long an answer may wait to be read.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// Bytes of the longest head.
const HEAD_BYTES: usize = 64 << 10;

/// What the routes share.
pub(crate) struct Web {
    house: Arc<House>,
    key: Option<Key>,
    dialect: Dialect,
}

impl Web {
    /// Whether a key in the head is the right one; true where none is asked for.
    fn key_in_head(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.key else { return true };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // The second is what DOODS' clients have.
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        bearer.or(text("doods-auth-key")).is_some_and(|shown| key.is(shown))
    }
}

fn routes(web: Arc<Web>) -> Router {
    Router::new()
        .route("/v1/vision/detection", post(vision::detection))
        .route("/v1/vision/custom/list", any(vision::list))
        .route("/v1/vision/custom/{name}", post(vision::custom))
        .route("/v1/status/ping", any(vision::ping))
        .route("/v1/server/status/ping", any(vision::ping))
        .route("/v1/status/updateavailable", any(vision::update_available))
        .route("/detectors", get(doods::detectors))
        .route("/detect", post(doods::detect))
        .route("/labelmap.txt", get(labelmap))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || text(StatusCode::OK, "ok\n".to_string())))
        .fallback(async || {
            let error = "no such route; see frcnn-serve --help";
            answer(StatusCode::NOT_FOUND, &json!({ "success": false, "error": error, "duration": 0 }))
        })
        .with_state(web)
}

/// Answers until `ending` says so, and then the requests that are there.
pub(crate) async fn serve(
    listener: TcpListener,
    house: Arc<House>,
    key: Option<Key>,
    dialect: Dialect,
    mut ending: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(routes(Arc::new(Web { house, key, dialect })));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    let open = GracefulShutdown::new();
    let connections = Connections::new(CONNECTIONS);
    let mut sweep = interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                connections.sweep(HEAD_TIME);
                continue;
            }
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let Ok((stream, _)) = accepted else {
            // No descriptors, perhaps; some may be closed soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let ticket = tokio::select! {
            ticket = connections.enter() => Arc::new(ticket),
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let (of_request, routes) = (ticket.clone(), service.clone());
        let service = service_fn(move |request| {
            let (ticket, answer) = (of_request.clone(), routes.call(request));
            async move {
                // Not before: an answer that has no room behind others, which are not read, is not being made.
                ticket.begin();
                let answer = answer.await;
                ticket.end();
                answer
            }
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            tokio::select! {
                // What goes wrong with a connection is its client's to know.
                _ = connection => {}
                () = ticket.closed() => {}
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// An answer in JSON, in one piece: its length stands in its head, and Blue Iris reads no other.
fn answer(status: StatusCode, value: &Value) -> Response {
    respond(status, "application/json", value.to_string())
}

/// No request follows a body that is too large: the rest of it is not waited for.
fn closing(mut response: Response, outcome: Option<&Refusal>) -> Response {
    if let Some(Refusal::TooLarge(_)) = outcome {
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

fn text(status: StatusCode, text: String) -> Response {
    respond(status, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

async fn metrics(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response {
    if !web.key_in_head(&headers) {
        return text(StatusCode::FORBIDDEN, "the key is missing or wrong\n".to_string());
    }
    text(StatusCode::OK, web.house.metrics.text(&web.house))
}

/// Frigate's file of classes, for ids as its zmq detector gets them.
async fn labelmap(State(web): State<Arc<Web>>) -> Response {
    let labels = web.house.models.base.labels().iter().enumerate();
    text(StatusCode::OK, labels.map(|(id, label)| format!("{id} {label}\n")).collect())
}
