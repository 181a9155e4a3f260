//! The program from end to end on images that it draws itself: train, stop and resume, score, export.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

/// Small and quick: 120 x 160 pixels.
const SMALL: [&str; 8] = ["--arch", "tiny", "--scales", "120", "--lr", "0.01", "--proposals", "grid"];
/// The same with proposals that are learned.
const RPN: [&str; 7] = ["--rpn", "--anchors", "16,24,36,54,80/1", "--pool", "align", "--bg-iou-low", "0"];

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frcnn-train"));
    // Tests run side by side: threads that spin while they wait would take the cores from each other.
    command.env("OMP_WAIT_POLICY", "passive");
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

/// Runs the program, which must succeed; gives its standard output.
fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, which must fail with this exit code; gives what it says.
fn fails(code: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Four images to learn from and one to test on.
fn scenes() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    ok(&["synth", path(&folder.path().join("data")), "--images", "5", "--seed", "3"]);
    folder
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn fit(folder: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let (data, out) = (folder.join("data"), folder.join(name));
    let mut args = vec!["fit", "--data", path(&data), "--out", path(&out)];
    // Boxes are learned, or they are given.
    args.extend(if more.contains(&"--rpn") { &SMALL[..6] } else { &SMALL });
    args.extend(more);
    args.into_iter().map(str::to_string).collect()
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn four_images_are_learned_by_heart_then_exported() {
    let folder = scenes();
    let (data, run_dir) = (folder.path().join("data"), folder.path().join("run"));
    let recipe =
        ["--iterations", "500", "--dropout", "0", "--flip-probability", "0", "--images-per-batch", "4"];
    ok(&refs(&fit(folder.path(), "run", &recipe)));

    let log = fs::read_to_string(run_dir.join("log.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let loss =
        |line: &serde_json::Value| line["loss_cls"].as_f64().unwrap() + line["loss_bbox"].as_f64().unwrap();
    let (first, last) = (loss(&lines[0]), loss(lines.last().unwrap()));
    assert!(first > 0.5 && last < 0.05, "from {first} to {last}");
    assert!(run_dir.join("loss.png").is_file());

    let report = ok(&["eval", path(&run_dir), "--data", path(&data), "--split", "trainval", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let map = report["map_voc10"].as_f64().unwrap();
    assert!(map > 0.95, "{report}");
    let table = ok(&["eval", path(&run_dir), "--data", path(&data), "--split", "trainval", "--no-bbox"]);
    assert!(table.contains("mean"), "{table}");

    export_is_the_same_network(&folder, &run_dir, &data, map, false);
}

#[test]
fn proposals_are_learned_with_the_detector() {
    let folder = scenes();
    let (data, run_dir) = (folder.path().join("data"), folder.path().join("run"));
    let recipe =
        ["--iterations", "600", "--dropout", "0", "--flip-probability", "0", "--images-per-batch", "4"];
    ok(&refs(&fit(folder.path(), "run", &[&recipe[..], &RPN].concat())));

    let log = fs::read_to_string(run_dir.join("log.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for loss in ["loss_cls", "loss_bbox", "loss_rpn_cls", "loss_rpn_bbox"] {
        let of_line = |line: &serde_json::Value| line[loss].as_f64().unwrap();
        let (first, last) = (of_line(&lines[0]), of_line(lines.last().unwrap()));
        assert!(last < 0.5 * first, "{loss} from {first} to {last}");
    }
    let eval = ["eval", path(&run_dir), "--data", path(&data), "--split", "trainval"];
    let report = ok(&[&eval[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let map = report["map_voc10"].as_f64().unwrap();
    assert!(map > 0.9, "{report}");
    let of_rpn = &report["recall"][0];
    assert_eq!((of_rpn["proposals"].as_str(), of_rpn["boxes"].as_u64()), (Some("rpn"), Some(100)));
    assert!(of_rpn["recall_50"].as_f64().unwrap() > 0.95, "{report}");
    // Beside boxes from outside, which are then judged.
    let table = ok(&[&eval[..], &["--proposals", "grid", "--rpn-proposals", "20"]].concat());
    assert!(table.contains("rpn ") && table.contains("grid "), "{table}");

    let refused = fails(1, &["svm", path(&run_dir), "-o", path(&folder.path().join("svm.onnx"))]);
    assert!(refused.contains("its own proposals"), "{refused}");
    export_is_the_same_network(&folder, &run_dir, &data, map, true);
}

/// The ONNX file gives what the run gives: read by this program, and by ONNX Runtime where it is installed.
fn export_is_the_same_network(folder: &TempDir, run_dir: &Path, data: &Path, map: f64, proposes: bool) {
    let onnx = folder.path().join("model.onnx");
    let export = ["export", path(run_dir), "-o", path(&onnx)];
    // Another model's manifest stays, unless it is said that it need not.
    let manifest = folder.path().join("manifest.json");
    fs::write(&manifest, r#"{"classes": ["__background__", "another"]}"#).unwrap();
    let refused = fails(1, &export);
    assert!(refused.contains("manifest.json") && refused.contains("--force") && !onnx.exists(), "{refused}");
    ok(&[&export[..], &["--force"]].concat());
    ok(&export);
    let config = run_dir.join("config.json");
    let refused = fails(1, &["export", path(run_dir), "-o", path(&config)]);
    assert!(refused.contains("is read as well"), "{refused}");
    // The run's own boxes: an ONNX file does not say what it was trained on, unless it makes them itself.
    let eval = ["eval", path(&onnx), "--data", path(data), "--split", "trainval", "--json"];
    let boxes: &[&str] = if proposes { &[] } else { &["--proposals", "grid"] };
    if !proposes {
        let report = ok(&[&eval[..], boxes].concat());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert!((report["map_voc10"].as_f64().unwrap() - map).abs() < 1e-9, "{report}, not {map}");
    }

    let image = data.join("JPEGImages/000004.jpg");
    let references = ["run.safetensors", "onnx.safetensors"].map(|name| folder.path().join(name));
    let models = [(run_dir, &references[0]), (&onnx, &references[1])];
    for (model, output) in models.into_iter().take(if proposes { 1 } else { 2 }) {
        ok(&["reference", path(model), "--images", path(&image), "--device", "cpu", "-o", path(output)]);
    }
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/referee.py");
    let arguments = [path(&script), path(&onnx), path(&references[0])];
    let output = Command::new(python).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_interrupted_run_ends_with_the_weights_of_an_unbroken_one() {
    interrupted(&[]);
}

#[test]
fn an_interrupted_run_that_learns_proposals_does_so_too() {
    interrupted(&RPN);
}

fn interrupted(more: &[&str]) {
    let folder = scenes();
    let recipe = ["--iterations", "80", "--checkpoint-every", "10", "--images-per-batch", "1"];
    let recipe = [&recipe[..], more].concat();
    ok(&refs(&fit(folder.path(), "whole", &recipe)));

    let broken = folder.path().join("broken");
    let mut child =
        program().args(fit(folder.path(), "broken", &recipe)).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !broken.join("checkpoint.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    // As Ctrl-C, which is ignored where a shell runs these tests in its background.
    let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let out = path(&broken);
    let refused = fails(2, &["fit", "--resume", "--out", out, "--lr", "0.5"]);
    assert!(refused.contains("--lr"), "{refused}");
    ok(&["fit", "--resume", "--out", out]);
    let checkpoint = |name: &str| fs::read(folder.path().join(name).join("checkpoint.safetensors")).unwrap();
    assert!(checkpoint("whole") == checkpoint("broken"), "the weights differ");
    // Iterations that came after the checkpoint are not twice in the log.
    let log = fs::read_to_string(broken.join("log.jsonl")).unwrap();
    let iterations: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["iteration"].as_u64().unwrap())
        .collect();
    assert!(iterations.is_sorted_by(|a, b| a < b) && iterations.last() == Some(&80), "{iterations:?}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = scenes();
    let args = fit(folder.path(), "run", &["--iterations", "200"]);
    let args: Vec<&str> = args.iter().map(|arg| if arg == "0.01" { "1e6" } else { arg.as_str() }).collect();
    let said = fails(1, &args);
    assert!(said.contains("smaller --lr"), "{said}");
}

#[test]
fn new_layers_learn_from_the_features_of_a_classifier() {
    let folder = scenes();
    let recipe = ["--iterations", "300", "--images-per-batch", "1", "--checkpoint-every", "300"];
    ok(&refs(&fit(folder.path(), "first", &recipe)));
    // Its trunk, made to give features of some tens as those that were trained on ImageNet do.
    let bytes = fs::read(folder.path().join("first/checkpoint.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let convolutions = file.iter().filter(|(name, _)| name.starts_with("conv"));
    let larger: Vec<_> = convolutions
        .map(|(name, tensor)| {
            let factor = if name == "conv1.weight" || name.ends_with(".bias") { 60.0 } else { 1.0 };
            let values = tensor.data().as_chunks::<4>().0.iter().map(|&v| f32::from_le_bytes(v) * factor);
            (name, tensor.shape().to_vec(), values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
        })
        .collect();
    let views = larger
        .iter()
        .map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let trunk = folder.path().join("trunk.safetensors");
    fs::write(&trunk, safetensors::serialize(views, None).unwrap()).unwrap();

    let output =
        run(&refs(&fit(folder.path(), "second", &[&recipe[..], &["--init", path(&trunk)]].concat())));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for line in ["filled: conv1 conv2 conv3 conv4 conv5", "random: bbox_pred cls_score fc6 fc7"] {
        assert!(said.contains(line), "{said}");
    }
    let loss = |name: &str| {
        let log = fs::read_to_string(folder.path().join(name).join("log.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        line["loss_cls"].as_f64().unwrap()
    };
    // The features were learned already.
    assert!(loss("second") < loss("first"), "{} and {}", loss("second"), loss("first"));
}

#[test]
fn ablations_train_what_they_say() {
    let folder = scenes();
    let weights = |name: &str| {
        let bytes = fs::read(folder.path().join(name).join("checkpoint.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let velocities = file.names().into_iter().filter_map(|n| n.strip_prefix("velocity/"));
        let mut layers: Vec<String> =
            velocities.filter_map(|n| n.strip_suffix(".weight")).map(str::to_string).collect();
        layers.sort();
        layers
    };
    let short = ["--iterations", "2", "--images-per-batch", "1"];
    for (name, flags, trained) in [
        ("fc", &["--fc-only"][..], &["bbox_pred", "cls_score", "fc6", "fc7"][..]),
        ("frozen", &["--frozen", "conv1,conv2,conv3,conv4,conv5,fc6"], &["bbox_pred", "cls_score", "fc7"]),
        ("cls", &["--cls-only"], &["cls_score", "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]),
        (
            "stages",
            &["--stage-wise"],
            &["bbox_pred", "cls_score", "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"],
        ),
    ] {
        ok(&refs(&fit(folder.path(), name, &[&short[..], flags].concat())));
        assert_eq!(weights(name), trained, "{name}");
    }
    // Five scales.
    let args = fit(folder.path(), "scales", &short);
    let args: Vec<&str> = args.iter().map(|a| if a == "120" { "96,120,144" } else { a }).collect();
    ok(&args);
    ok(&["eval", path(&folder.path().join("scales")), "--data", path(&folder.path().join("data"))]);
}

#[test]
fn mistakes_are_said_at_once() {
    let folder = scenes();
    let data = folder.path().join("data");
    let (data, out) = (path(&data), folder.path().join("run"));
    let said = fails(2, &["fit", "--data", data, "--arch", "tiny", "--out", path(&out), "--dropout", "1"]);
    assert!(said.contains("--dropout"), "{said}");
    let said = fails(2, &["fit", "--data", data, "--arch", "tiny", "--out", path(&out), "--frozen", "conv9"]);
    assert!(said.contains("conv9") && said.contains("conv5"), "{said}");
    for (flags, words) in [
        (&["--rpn", "--cls-only"][..], "leave out --rpn"),
        (&["--rpn", "--scales", "480,600"], "at one of --scales"),
        (&["--pool", "align", "--scales", "480,600"], "at one of --scales"),
        (&["--rpn", "--proposals", "grid"], "--proposals"),
        (&["--anchors", "32,x/1"], "32,x"),
        (&["--pool", "align", "--method", "sppnet"], "leave out --method"),
    ] {
        let fit = ["fit", "--data", data, "--arch", "tiny", "--out", path(&out)];
        let said = fails(2, &[&fit[..], flags].concat());
        assert!(said.contains(words), "{flags:?}: {said}");
    }
    let said = fails(1, &["fit", "--resume", "--out", path(&out)]);
    assert!(said.contains("config.json"), "{said}");
    let said = fails(1, &["eval", "absent.onnx", "--data", data]);
    assert!(said.contains("absent.onnx"), "{said}");
    assert!(!out.exists());
}

/// Writes `to` as the data set `from` with each photo changed by `change`, and gives how many there are.
fn changed(from: &Path, to: &Path, change: impl Fn(usize, Vec<u8>) -> Vec<u8>) -> usize {
    for folder in ["ImageSets/Main", "Annotations", "JPEGImages"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        let mut paths: Vec<_> =
            fs::read_dir(from.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for (position, path) in paths.iter().enumerate() {
            let bytes = fs::read(path).unwrap();
            let bytes = if folder == "JPEGImages" { change(position, bytes) } else { bytes };
            fs::write(to.join(folder).join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    fs::read_dir(to.join("JPEGImages")).unwrap().count()
}

/// The JPEG as a camera writes it that was held in this way (EXIF, tag 274).
fn held(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    let exif = [&b"Exif\0\0"[..], tiff, &[orientation, 0, 0, 0, 0, 0, 0]].concat();
    [&jpeg[..2], &[0xff, 0xe1, 0, exif.len() as u8 + 2], &exif, &jpeg[2..]].concat()
}

/// Every orientation, and PNG files that are called .jpg: what is learned is what upright pixels teach, to the last bit.
#[test]
fn photos_are_learned_from_as_they_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [drawn, cameras, pixels] = ["data", "cameras", "pixels"].map(|name| folder.path().join(name));
    ok(&["synth", path(&drawn), "--images", "10", "--seed", "3"]);
    let orientation = |position: usize| position as u8 % 8 + 1;
    changed(&drawn, &cameras, |position, jpeg| held(&jpeg, orientation(position)));
    let photos = changed(&drawn, &pixels, |position, jpeg| {
        let mut image = image::load_from_memory(&jpeg).unwrap();
        let how = image::metadata::Orientation::from_exif(orientation(position)).unwrap();
        image.apply_orientation(how);
        let mut png = std::io::Cursor::new(Vec::new());
        image.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    });
    assert_eq!(photos, 10);
    let weights = |data: &Path| {
        let out = folder.path().join(format!("run-{}", data.file_name().unwrap().to_str().unwrap()));
        let fit = ["fit", "--data", path(data), "--out", path(&out), "--iterations", "6", "--device", "cpu"];
        ok(&[&fit[..], &SMALL].concat());
        fs::read(out.join("checkpoint.safetensors")).unwrap()
    };
    let learned = weights(&cameras);
    assert!(learned == weights(&pixels), "the weights differ");
    assert!(learned != weights(&drawn), "orientation changes nothing");

    let run = folder.path().join("run-cameras");
    let scores =
        |data: &Path| ok(&["eval", path(&run), "--data", path(data), "--split", "trainval", "--json"]);
    assert_eq!(scores(&cameras), scores(&pixels));
}

/// Found before training begins, whatever the boxes are made by.
#[test]
fn photos_that_are_cut_short_are_refused_unless_lenient() {
    let folder = scenes();
    let cut = folder.path().join("data/JPEGImages/000002.jpg");
    let whole = fs::read(&cut).unwrap();
    let half = &whole[..whole.len() / 2];
    for (name, bytes) in [("half", half.to_vec()), ("ended", [half, &[0xff, 0xd9]].concat())] {
        fs::write(&cut, bytes).unwrap();
        let fit = fit(folder.path(), name, &["--iterations", "2"]);
        let said = fails(1, &refs(&fit));
        assert!(
            said.contains("000002.jpg: is ") && said.contains("--lenient takes it as far as it goes"),
            "{said}"
        );
        assert!(!folder.path().join(name).exists(), "a refused run left a folder");
        let output = run(&[&refs(&fit)[..], &["--lenient"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let warned = said.lines().filter(|line| line.contains("000002.jpg: is "));
        let warned: Vec<&str> = warned.collect();
        assert!(
            matches!(warned[..], [line] if line.starts_with("warning: ") && line.ends_with("; taken as far as it goes")),
            "{said}"
        );
        let data = folder.path().join("data");
        let eval = ["eval", path(&folder.path().join(name)), "--data", path(&data), "--split", "trainval"]
            .map(str::to_string);
        assert!(fails(1, &refs(&eval)).contains("000002.jpg"));
        ok(&[&refs(&eval)[..], &["--lenient"]].concat());
    }
    fs::write(&cut, "no picture").unwrap();
    let said = fails(1, &[&refs(&fit(folder.path(), "words", &[]))[..], &["--lenient"]].concat());
    assert!(said.contains("000002.jpg: is a text; supported are JPEG and PNG"), "{said}");
}

/// Two runs in one folder would write each other's checkpoints.
#[test]
fn a_folder_has_one_run_at_a_time() {
    let folder = scenes();
    let out = folder.path().join("run");
    let begin = fit(folder.path(), "run", &["--iterations", "100000", "--checkpoint-every", "5"]);
    let mut first = program().args(&begin).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !out.join("checkpoint.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let resumed = fails(1, &["fit", "--resume", "--out", path(&out)]);
    let begun_again = fails(1, &refs(&begin));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(resumed.contains("run: another frcnn-train is at work in this folder"), "{resumed}");
    assert!(begun_again.contains("holds a run already"), "{begun_again}");
    // A program that is killed holds nothing any more, and what it left is no obstacle.
    let written = || fs::metadata(out.join("checkpoint.safetensors")).unwrap().modified().unwrap();
    let (before, begun) = (written(), Instant::now());
    let resume = ["fit", "--resume", "--out", path(&out)];
    let mut second = program().args(resume).stderr(Stdio::null()).spawn().unwrap();
    while written() == before {
        assert!(second.try_wait().unwrap().is_none(), "it did not go on");
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    second.kill().unwrap();
    second.wait().unwrap();

    // At the very beginning, when neither has a configuration yet.
    let fresh = folder.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    let lock = fs::File::create(fresh.join("lock")).unwrap();
    lock.lock().unwrap();
    let args = fit(folder.path(), "fresh", &["--iterations", "1"]);
    let said = fails(1, &refs(&args));
    assert!(said.contains("fresh: another frcnn-train is at work in this folder"), "{said}");
    assert!(!fresh.join("config.json").exists());
    drop(lock);
    ok(&refs(&args));
}

/// What a terminal would act on is escaped in clap's words too.
#[test]
fn arguments_reach_the_terminal_escaped() {
    let said = fails(2, &["fit", "--out", "x", "--arch", "\u{1b}]0;title\u{7}\u{1b}[2J"]);
    assert!(!said.contains(['\u{1b}', '\u{7}']) && said.contains("--arch"), "{said:?}");
    assert!(fails(2, &["fit"]).contains("--out"));
}
