//! DOODS' interface.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Web, answer, body};
use crate::detect::{Found, Input};
use crate::door::Door;
use crate::refusal::Refusal;

/// What the one detector is called.
const NAME: &str = "default";
/// Bytes of the longest id, which comes back.
const MAX_ID: usize = 256;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: String,
    #[serde(default)]
    detector_name: String,
    data: String,
    /// Least confidence by label, in percent; `*` is any.
    #[serde(default)]
    detect: HashMap<String, f32>,
}

/// `GET /detectors`
pub(crate) async fn detectors(State(web): State<Arc<Web>>) -> Response {
    let model = &web.house.models.base;
    let detector = json!({
        "name": NAME, "type": "frcnn", "model": model.name, "labels": model.labels(),
        // Pictures of any size are taken.
        "width": 0, "height": 0,
    });
    answer(StatusCode::OK, &json!({ "detectors": [detector] }))
}

/// `POST /detect`
pub(crate) async fn detect(State(web): State<Arc<Web>>, headers: HeaderMap, body: Body) -> Response {
    let outcome = look(&web, &headers, body).await;
    web.house.metrics.answered(Door::Doods, outcome.as_ref().err());
    match outcome {
        Ok(value) => answer(StatusCode::OK, &value),
        Err(refusal) => {
            let status = refusal.status();
            let value = json!({ "error": refusal.to_string(), "code": status });
            answer(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &value)
        }
    }
}

async fn look(web: &Web, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let house = &web.house;
    let (bytes, held) = body::read(house, headers, body).await?;
    if !web.key_in_head(headers) {
        return Err(Refusal::Key);
    }
    let request: Request =
        serde_json::from_slice(&bytes).map_err(|error| Refusal::Bad(format!("not a request: {error}")))?;
    drop(bytes);
    let Request { id, detector_name, data, detect } = request;
    if ![NAME, "", &house.models.base.name].contains(&&detector_name[..]) {
        return Err(Refusal::Bad(format!("field `detector_name`: there is only `{NAME}`")));
    }
    if id.len() > MAX_ID {
        return Err(Refusal::Bad(format!("field `id`: longer than {MAX_ID} bytes")));
    }
    let found = house.queue.ask(Input::Base64(data), house.models.base.clone(), held).await?;
    Ok(json!({ "id": id, "detections": detections(&found, &detect) }))
}

fn detections(found: &Found, detect: &HashMap<String, f32>) -> Vec<Value> {
    let wanted = |label: &str, percent: f32| {
        let least = detect.get(label).or_else(|| detect.get("*"));
        detect.is_empty() || least.is_some_and(|least| percent >= *least)
    };
    let objects = found.objects.iter().filter(|object| wanted(&object.label, object.score * 100.0));
    let detections = objects.map(|object| {
        let [left, top, right, bottom] = object.edges;
        json!({
            "top": top, "left": left, "bottom": bottom, "right": right,
            "label": object.label, "confidence": object.score * 100.0,
        })
    });
    detections.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Object;

    #[test]
    fn labels_have_their_own_confidence() {
        let object = |label: &str, score: f32| Object {
            class: 0,
            label: label.to_string(),
            score,
            edges: [0.0, 0.25, 0.5, 0.75],
            pixels: [0; 4],
        };
        let found = Found {
            objects: vec![object("cat", 0.9), object("dog", 0.6), object("cow", 0.4)],
            ..Found::default()
        };
        let labels = |detect: &[(&str, f32)]| -> Vec<String> {
            let detect = detect.iter().map(|(label, least)| (label.to_string(), *least)).collect();
            let detections = detections(&found, &detect);
            detections.iter().map(|one| one["label"].as_str().unwrap().to_string()).collect()
        };
        assert_eq!(labels(&[]), ["cat", "dog", "cow"]);
        assert_eq!(labels(&[("*", 50.0)]), ["cat", "dog"]);
        assert_eq!(labels(&[("*", 50.0), ("cat", 95.0), ("cow", 40.0)]), ["dog", "cow"]);
        assert_eq!(labels(&[("horse", 1.0)]), [""; 0]);
        let one = &detections(&found, &HashMap::new())[0];
        assert_eq!((one["top"].as_f64(), one["right"].as_f64()), (Some(0.25), Some(0.5)));
    }
}
