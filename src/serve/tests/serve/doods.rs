//! DOODS' interface.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::fixture::{Service, scene};

#[test]
fn pictures_in_base64() {
    let service = Service::start(&[]);
    let detectors = service.get("/detectors").json();
    let labels = ["box", "cross", "disc", "ring", "star", "triangle"];
    assert_eq!(detectors["detectors"][0]["name"], "default");
    assert_eq!(detectors["detectors"][0]["labels"], json!(labels));

    let data = STANDARD.encode(scene());
    let ask = |value: serde_json::Value| service.post("/detect", "", value.to_string().as_bytes());
    let answer = ask(json!({ "detector_name": "default", "data": data, "detect": { "*": 50 }, "id": "7" }));
    let value = answer.json();
    assert_eq!((answer.status, &value["id"]), (200, &"7".into()));
    let found = value["detections"].as_array().unwrap();
    assert!(found.len() > 3, "{value}");
    for one in found {
        let edge = |name: &str| one[name].as_f64().unwrap();
        assert!(
            (50.0..=100.0).contains(&edge("confidence")) && labels.contains(&one["label"].as_str().unwrap())
        );
        let (top, left, bottom, right) = (edge("top"), edge("left"), edge("bottom"), edge("right"));
        assert!(
            0.0 <= top && top < bottom && bottom <= 1.0 && 0.0 <= left && left < right && right <= 1.0,
            "{one}"
        );
    }
    let discs = ask(json!({ "data": data, "detect": { "disc": 50 } })).json();
    let discs = discs["detections"].as_array().unwrap().len();
    assert_eq!(discs, found.iter().filter(|one| one["label"] == "disc").count());
    // Where nothing else is asked for, only what a region covers, of its labels.
    let region = |detect| json!({ "top": 0, "left": 0, "bottom": 1, "right": 0.5, "covers": true, "id": "left", "detect": detect });
    let left = ask(json!({ "data": data, "id": null, "regions": [region(json!({ "*": 50 }))] })).json();
    let right_edge = |one: &serde_json::Value| one["right"].as_f64().unwrap();
    let left = left["detections"].as_array().unwrap();
    assert_eq!(left.len(), found.iter().filter(|one| right_edge(one) <= 0.5).count());
    assert!(!left.is_empty() && left.len() < found.len());
    assert!(left.iter().all(|one| one["region_id"] == "left" && right_edge(one) <= 0.5), "{left:?}");
    for (value, word) in [
        (
            json!({ "data": data, "regions": [{ "top": 0, "left": 0, "bottom": 240, "right": 320, "detect": {} }] }),
            "shares",
        ),
        (json!({ "data": data, "regions": [{ "top": 0, "left": 0, "bottom": 1, "right": 1 }] }), "detect"),
        (json!({ "data": data, "regions": vec![region(json!({})); 257] }), "more than 256"),
        (json!({ "data": "***" }), "base64"),
        (json!({ "data": STANDARD.encode("no picture") }), "image"),
        (json!({ "data": data, "detector_name": "other" }), "default"),
        (json!({ "data": 7 }), "not a request"),
        (json!([]), "not a request"),
    ] {
        let answer = ask(value);
        let error = answer.json()["error"].as_str().unwrap().to_string();
        assert!(answer.status == 400 && error.contains(word), "{word}: {error}");
    }
    assert_eq!(service.get("/detect").status, 405);
}
