//! DeepStack's and CodeProject.AI's interface.

use serde_json::Value;

use crate::fixture::{Service, found_by_library, scene};

const DETECTION: &str = "/v1/vision/detection";

fn predictions(value: &Value) -> &Vec<Value> {
    value["predictions"].as_array().unwrap()
}

#[test]
fn objects_are_those_that_the_library_finds() {
    let service = Service::start(&[]);
    let answer = service.form(DETECTION, "", &[("image", &scene()), ("min_confidence", b"0.3")]);
    let value = answer.json();
    assert_eq!((answer.status, &value["success"]), (200, &true.into()), "{value}");
    let pixels = image::load_from_memory(&scene()).unwrap().to_rgb8();
    let library: Vec<_> =
        found_by_library(&pixels).into_iter().filter(|found| found.1 >= 0.3).take(20).collect();
    assert!(library.len() > 5, "{library:?}");
    assert_eq!(predictions(&value).len(), library.len());
    let classes = ["box", "cross", "disc", "ring", "star", "triangle"];
    for (one, (class, score, corners)) in predictions(&value).iter().zip(&library) {
        assert_eq!(one["label"], classes[*class]);
        // Two decoders of JPEG may differ by a little.
        assert!((one["confidence"].as_f64().unwrap() - f64::from(*score)).abs() < 0.05, "{one} {score}");
        for (name, corner) in ["x_min", "y_min", "x_max", "y_max"].iter().zip(corners) {
            assert!((one[name].as_i64().unwrap() as f32 - corner).abs() <= 3.0, "{one} {corners:?}");
        }
    }
    // The default of DeepStack.
    let default = service.form(DETECTION, "", &[("image", &scene())]).json();
    assert!(predictions(&default).iter().all(|one| one["confidence"].as_f64().unwrap() >= 0.4));
}

#[test]
fn codeproject_has_more_fields_and_always_200() {
    let service = Service::start(&["--score-threshold", "0"]);
    let good = service.form("/v1/vision/custom/shapes", "", &[("image", &scene()), ("min_confidence", b"0")]);
    let value = good.json();
    let many = predictions(&value).len();
    assert_eq!((value["count"].as_u64(), &value["code"]), (Some(many as u64), &200.into()));
    for name in [
        "message",
        "inferenceMs",
        "processMs",
        "analysisRoundTripMs",
        "processedBy",
        "timestampUTC",
        "moduleId",
    ] {
        assert!(!value[name].is_null(), "{name}: {value}");
    }
    // Frigate's client does not count.
    let for_frigate = service.form(DETECTION, "", &[("image", &scene()), ("min_confidence", b"0")]).json();
    assert!(many > 20, "{many} predictions test nothing");
    assert_eq!(predictions(&for_frigate)[..], predictions(&value)[..20]);
    for (path, fields) in [
        (DETECTION, vec![("image", &b"garbage"[..])]),
        (DETECTION, vec![("picture", &b"x"[..])]),
        (DETECTION, vec![("image", &scene()), ("min_confidence", b"nan")]),
        ("/v1/vision/custom/other", vec![("image", &scene())]),
    ] {
        let answer = service.form(path, "", &fields);
        let value = answer.json();
        assert_eq!(
            (answer.status, &value["success"], &value["code"]),
            (200, &false.into(), &400.into()),
            "{value}"
        );
        assert!(value["error"].is_string() && value["predictions"].is_null(), "{value}");
    }
    let list = service.post("/v1/vision/custom/list", "", b"").json();
    assert_eq!(list["models"], serde_json::json!(["shapes"]));
    for path in ["/v1/status/ping", "/v1/server/status/ping", "/v1/status/updateavailable"] {
        assert_eq!(service.get(path).json()["success"], true, "{path}");
    }
    assert_eq!(service.get("/healthz").text(), "ok\n");
    assert!(service.get("/labelmap.txt").text().starts_with("0 box\n1 cross\n"));
    assert_eq!(service.get("/v2").status, 404);
}

#[test]
fn deepstack_says_by_its_status_what_is_wrong() {
    let service = Service::start(&["--dialect", "deepstack"]);
    let good = service.form(DETECTION, "", &[("image", &scene())]);
    let value = good.json();
    assert_eq!((good.status, value["success"].as_bool(), &value["duration"]), (200, Some(true), &0.into()));
    assert_eq!(value.as_object().unwrap().len(), 3, "{value}");
    let mut cut = scene();
    cut.truncate(cut.len() / 2);
    let png = b"\x89PNG\r\n\x1a\n garbage";
    for (fields, word) in [
        (vec![("image", &cut[..])], "end early"),
        (vec![("image", png)], "PNG"),
        (vec![("image", b"")], "image"),
        (vec![], "image"),
        (vec![("image", &scene()), ("min_confidence", b"2")], "min_confidence"),
        (vec![("image", &scene()), ("min_confidence", b"\xff")], "min_confidence"),
        (vec![("x", b"y"); 40], "fields"),
    ] {
        let answer = service.form(DETECTION, "", &fields);
        let value = answer.json();
        assert_eq!((answer.status, &value["success"]), (400, &false.into()), "{value}");
        assert!(value["error"].as_str().unwrap().contains(word), "{word}: {value}");
    }
    for (head, body) in [
        ("", &b"no form"[..]),
        ("Content-Type: multipart/form-data\r\n", b"x"),
        (
            "Content-Type: multipart/form-data; boundary=XyZ\r\n",
            b"--XyZ\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx",
        ),
        ("Content-Type: image/jpeg\r\n", &scene()),
    ] {
        assert_eq!(service.post(DETECTION, head, body).status, 400, "{head}");
    }
}

#[test]
fn a_key_is_asked_for_where_one_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "0123456789abcdef0123\n").unwrap();
    let file = file.to_str().unwrap();
    let service = Service::start(&["--key-file", file, "--dialect", "deepstack"]);
    let image = scene();
    let (right, bearer) = (&b"0123456789abcdef0123"[..], "Authorization: Bearer 0123456789abcdef0123\r\n");
    let status = |head: &str, fields: &[(&str, &[u8])]| service.form(DETECTION, head, fields).status;
    assert_eq!(status("", &[("image", &image)]), 403);
    assert_eq!(status("", &[("image", &image), ("api_key", b"0123456789abcdef0124")]), 403);
    assert_eq!(status("Authorization: Bearer no\r\n", &[("image", &image)]), 403);
    // Who has no key does not learn what is wrong with a picture.
    assert_eq!(status("", &[("image", b"garbage")]), 403);
    assert_eq!(status("", &[("image", &image), ("api_key", right)]), 200);
    assert_eq!(status(bearer, &[("image", &image)]), 200);
    assert_eq!(service.get("/metrics").status, 403);
    let metrics = service.raw(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{bearer}\r\n").as_bytes());
    assert!(metrics.text().contains("{interface=\"vision\",outcome=\"key\"} 4"), "{}", metrics.text());
    assert_eq!(service.post("/detect", "", b"{\"data\": \"\"}").status, 403);
    assert_eq!(service.get("/v1/status/ping").status, 200);

    let codeproject = Service::start(&["--key-file", file]);
    let answer = codeproject.form(DETECTION, "", &[("image", &image)]);
    assert_eq!((answer.status, &answer.json()["code"]), (200, &403.into()));
}
