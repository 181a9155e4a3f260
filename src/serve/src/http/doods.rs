//! DOODS' interface.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Web, answer, body, closing};
use crate::detect::{Found, Input, Object};
use crate::door::Door;
use crate::refusal::Refusal;

/// What the one detector is called.
const NAME: &str = "default";
/// Bytes of the longest id, which comes back.
const MAX_ID: usize = 256;

/// Regions of a request at most.
const MAX_REGIONS: usize = 256;

#[derive(Deserialize)]
struct Request {
    id: Option<String>,
    detector_name: Option<String>,
    data: String,
    #[serde(default)]
    detect: Least,
    #[serde(default)]
    regions: Vec<Region>,
}

/// Least confidence by label, in percent; `*` is any that is not named.
#[derive(Default, Deserialize)]
struct Least(HashMap<String, f32>);

impl Least {
    fn wants(&self, label: &str, percent: f32) -> bool {
        let least = self.0.get(label).or_else(|| self.0.get("*"));
        least.is_some_and(|least| percent >= *least)
    }
}

/// A part of the picture in which other confidences count.
#[derive(Deserialize)]
struct Region {
    /// Comes back with what is found by this region.
    id: Option<String>,
    /// Shares of the picture's height and width.
    top: f32,
    left: f32,
    bottom: f32,
    right: f32,
    detect: Least,
    /// Only what lies in it as a whole is meant; else whatever touches it.
    #[serde(default)]
    covers: bool,
}

impl Region {
    fn check(&self) -> Result<(), String> {
        let shares = |from: f32, to: f32| 0.0 <= from && from < to && to <= 1.0;
        if !shares(self.left, self.right) || !shares(self.top, self.bottom) {
            return Err(
                "`left` < `right` and `top` < `bottom` are shares of the picture, from 0 to 1".to_string()
            );
        }
        if self.id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(format!("`id` is longer than {MAX_ID} bytes"));
        }
        Ok(())
    }

    fn holds(&self, object: &Object) -> bool {
        let [left, top, right, bottom] = object.edges;
        match self.covers {
            true => self.left <= left && self.top <= top && right <= self.right && bottom <= self.bottom,
            false => left <= self.right && top <= self.bottom && self.left <= right && self.top <= bottom,
        }
    }
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
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            closing(answer(status, &value), Some(&refusal))
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
    let Request { id, detector_name, data, detect, regions } = request;
    let (id, detector_name) = (id.unwrap_or_default(), detector_name.unwrap_or_default());
    if ![NAME, "", &house.models.base.name].contains(&&detector_name[..]) {
        return Err(Refusal::Bad(format!("field `detector_name`: there is only `{NAME}`")));
    }
    if id.len() > MAX_ID {
        return Err(Refusal::Bad(format!("field `id`: longer than {MAX_ID} bytes")));
    }
    if regions.len() > MAX_REGIONS {
        return Err(Refusal::Bad(format!("field `regions`: more than {MAX_REGIONS}")));
    }
    let checked = regions.iter().try_for_each(Region::check);
    checked.map_err(|problem| Refusal::Bad(format!("field `regions`: {problem}")))?;
    let found = house.queue.ask(Input::Base64(data), house.models.base.clone(), held).await?;
    Ok(json!({ "id": id, "detections": detections(&found, &detect, &regions) }))
}

/// What the request as a whole asks for, or else the first region that does. Where it asks for nothing, all is meant.
fn detections(found: &Found, detect: &Least, regions: &[Region]) -> Vec<Value> {
    let all = detect.0.is_empty() && regions.is_empty();
    let mut detections = Vec::new();
    for object in &found.objects {
        let percent = object.score * 100.0;
        let [left, top, right, bottom] = object.edges;
        let mut value = json!({
            "top": top, "left": left, "bottom": bottom, "right": right,
            "label": object.label, "confidence": percent,
        });
        if !all && !detect.wants(&object.label, percent) {
            let wants =
                |region: &&Region| region.holds(object) && region.detect.wants(&object.label, percent);
            let Some(region) = regions.iter().find(wants) else { continue };
            if let Some(id) = &region.id {
                value["region_id"] = id.as_str().into();
            }
        }
        detections.push(value);
    }
    detections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(label: &str, score: f32, edges: [f32; 4]) -> Object {
        Object { class: 0, label: label.to_string(), score, edges, pixels: [0; 4] }
    }

    fn found(detect: Value, regions: Value) -> Vec<String> {
        let objects = vec![
            object("cat", 0.9, [0.0, 0.25, 0.5, 0.75]),
            object("dog", 0.6, [0.1, 0.1, 0.2, 0.2]),
            object("cow", 0.4, [0.6, 0.6, 0.9, 0.9]),
        ];
        let found = Found { objects, ..Found::default() };
        let (detect, regions): (Least, Vec<Region>) =
            serde_json::from_value(json!([detect, regions])).unwrap();
        assert!(regions.iter().all(|region| region.check().is_ok()));
        let name = |one: &Value| {
            let region = one["region_id"].as_str().map(|id| format!(" in {id}"));
            one["label"].as_str().unwrap().to_string() + &region.unwrap_or_default()
        };
        detections(&found, &detect, &regions).iter().map(name).collect()
    }

    #[test]
    fn labels_have_their_own_confidence() {
        let labels = |detect| found(detect, json!([]));
        assert_eq!(labels(json!({})), ["cat", "dog", "cow"]);
        assert_eq!(labels(json!({ "*": 50 })), ["cat", "dog"]);
        assert_eq!(labels(json!({ "*": 50, "cat": 95, "cow": 40 })), ["dog", "cow"]);
        assert_eq!(labels(json!({ "horse": 1 })), [""; 0]);
        let objects = vec![object("cat", 0.9, [0.0, 0.25, 0.5, 0.75])];
        let one = &detections(&Found { objects, ..Found::default() }, &Least::default(), &[])[0];
        assert_eq!((one["top"].as_f64(), one["right"].as_f64()), (Some(0.25), Some(0.5)));
        assert!(one.get("region_id").is_none());
    }

    #[test]
    fn regions_have_theirs() {
        let region = |[top, left, bottom, right]: [f32; 4], covers: bool, detect: Value| json!({ "id": "yard", "top": top, "left": left, "bottom": bottom, "right": right, "covers": covers, "detect": detect });
        let upper = [0.0, 0.0, 0.5, 0.5];
        // The cat is half in it.
        let any = json!({ "*": 1 });
        assert_eq!(
            found(json!({}), json!([region(upper, false, any.clone())])),
            ["cat in yard", "dog in yard"]
        );
        assert_eq!(found(json!({}), json!([region(upper, true, any.clone())])), ["dog in yard"]);
        assert_eq!(
            found(json!({}), json!([region(upper, false, json!({ "dog": 70, "*": 1 }))])),
            ["cat in yard"]
        );
        // What the whole request asks for comes first, and the first of several regions.
        let more = json!([region(upper, true, any.clone()), { "top": 0, "left": 0, "bottom": 1, "right": 1, "detect": { "cow": 30 } }]);
        assert_eq!(found(json!({ "cat": 90, "dog": 70 }), more), ["cat", "dog in yard", "cow"]);
        assert_eq!(found(json!({}), json!([region(upper, false, json!({}))])), [""; 0]);
    }

    #[test]
    fn regions_are_shares_of_the_picture() {
        let problem = |text: &str| {
            let region: Region = serde_json::from_str(text).unwrap();
            region.check().is_err()
        };
        assert!(!problem(r#"{"top": 0, "left": 0, "bottom": 1, "right": 1, "detect": {}}"#));
        for wrong in ["30, 40, 270, 360", "0.5, 0, 0.5, 1", "0, 1, 1, 0", "-0.1, 0, 1, 1", "0, 0, 1, 1e30"] {
            let numbers: Vec<&str> = wrong.split(", ").collect();
            let [top, left, bottom, right] = numbers[..] else { panic!() };
            assert!(
                problem(&format!(
                    r#"{{"top": {top}, "left": {left}, "bottom": {bottom}, "right": {right}, "detect": {{}}}}"#
                )),
                "{wrong}"
            );
        }
    }
}
