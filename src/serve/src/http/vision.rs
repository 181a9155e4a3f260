//! `/v1`: DeepStack's interface, and CodeProject.AI's, which is the same with more fields.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::form::Form;
use super::{Web, answer, body, closing};
use crate::args::Dialect;
use crate::detect::Found;
use crate::door::Door;
use crate::refusal::Refusal;

/// Frigate's client writes predictions into 20 rows and does not count them.
const MOST_FOR_FRIGATE: usize = 20;
/// DeepStack's default of `min_confidence`.
const MIN_CONFIDENCE: f32 = 0.4;

/// `POST /v1/vision/detection`
pub(crate) async fn detection(State(web): State<Arc<Web>>, headers: HeaderMap, body: Body) -> Response {
    respond(&web, &headers, body, None, MOST_FOR_FRIGATE).await
}

/// `POST /v1/vision/custom/NAME`
pub(crate) async fn custom(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(&web, &headers, body, Some(&name), usize::MAX).await
}

/// `POST /v1/vision/custom/list`
pub(crate) async fn list(State(web): State<Arc<Web>>) -> Response {
    answer(StatusCode::OK, &json!({ "success": true, "models": [web.house.models.base.name] }))
}

/// `GET /v1/status/ping`
pub(crate) async fn ping() -> Response {
    answer(StatusCode::OK, &json!({ "success": true }))
}

/// `GET /v1/status/updateavailable`
pub(crate) async fn update_available() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    answer(
        StatusCode::OK,
        &json!({ "success": true, "updateAvailable": false, "message": "", "version": version, "current": version }),
    )
}

async fn respond(web: &Web, headers: &HeaderMap, body: Body, name: Option<&str>, most: usize) -> Response {
    let begun = Instant::now();
    let outcome = look(web, headers, body, name).await;
    web.house.metrics.answered(Door::Vision, outcome.as_ref().err());
    let all = begun.elapsed();
    let (status, mut value) = match &outcome {
        Ok((found, min_confidence)) => {
            (StatusCode::OK, predictions(found, *min_confidence, most, web.dialect, all))
        }
        Err(refusal) => {
            let status = match refusal {
                // DeepStack has no status of its own for it.
                Refusal::TooLarge(_) => StatusCode::BAD_REQUEST,
                refusal => {
                    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                }
            };
            (status, json!({ "success": false, "error": refusal.to_string(), "duration": 0 }))
        }
    };
    if web.dialect == Dialect::Deepstack {
        return closing(answer(status, &value), outcome.err().as_ref());
    }
    value["code"] = status.as_u16().into();
    value["moduleId"] = "frcnn".into();
    value["processedBy"] = "localhost".into();
    value["timestampUTC"] = httpdate::fmt_http_date(SystemTime::now()).into();
    value["analysisRoundTripMs"] = milliseconds(all);
    closing(answer(StatusCode::OK, &value), outcome.err().as_ref())
}

async fn look(
    web: &Web,
    headers: &HeaderMap,
    body: Body,
    name: Option<&str>,
) -> Result<(Found, f32), Refusal> {
    let house = &web.house;
    let (bytes, held) = body::read(house, headers, body).await?;
    let form = Form::parse(headers.get(header::CONTENT_TYPE).cloned(), bytes).await;
    let shown = form.as_ref().ok().and_then(|form| form.api_key.as_deref());
    if !web.key_in_head(headers)
        && !web.key.as_ref().is_some_and(|key| shown.is_some_and(|shown| key.is(shown)))
    {
        return Err(Refusal::Key);
    }
    let form = form?;
    let model = &house.models.base;
    if let Some(name) = name.filter(|name| *name != model.name) {
        return Err(Refusal::Bad(format!("there is no model `{name}`; there is `{}`", model.name)));
    }
    let image = form.image.ok_or_else(|| Refusal::Bad("the form has no field `image`".to_string()))?;
    let found = house.queue.ask(crate::detect::Input::File(image), model.clone(), held).await?;
    Ok((found, form.min_confidence.unwrap_or(MIN_CONFIDENCE)))
}

fn predictions(found: &Found, min_confidence: f32, most: usize, dialect: Dialect, all: Duration) -> Value {
    let objects = found.objects.iter().filter(|object| object.score >= min_confidence).take(most);
    let predictions: Vec<Value> = objects
        .map(|object| {
            let [x_min, y_min, x_max, y_max] = object.pixels;
            json!({
                "confidence": (f64::from(object.score) * 1e4).round() / 1e4, "label": object.label,
                "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max,
            })
        })
        .collect();
    if dialect == Dialect::Deepstack {
        return json!({ "success": true, "predictions": predictions, "duration": 0 });
    }
    let count = predictions.len();
    let message = match predictions.first() {
        None => "No objects found".to_string(),
        Some(_) => {
            let mut labels: Vec<&str> = predictions.iter().filter_map(|one| one["label"].as_str()).collect();
            labels.dedup();
            format!("Found {}", labels.join(", "))
        }
    };
    json!({
        "success": true, "predictions": predictions, "duration": 0, "count": count, "message": message,
        "inferenceMs": milliseconds(found.inference), "processMs": milliseconds(found.took.min(all)),
    })
}

fn milliseconds(time: Duration) -> Value {
    (time.as_millis() as u64).into()
}
