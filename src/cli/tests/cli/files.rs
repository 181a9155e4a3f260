//! What is written: whole or not at all, whatever happens meanwhile.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbImage;

use crate::dataset::voc;
use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// A network of 230 MB: writing it takes long enough to be interrupted.
#[test]
fn a_signal_leaves_nothing_half_written() {
    let fixture = Fixture::get();
    for (number, signal) in [(2, "INT"), (15, "TERM"), (1, "HUP")] {
        let folder = fixture.fresh(&format!("signal-{signal}"));
        let model = folder.join("model.onnx");
        // Programs that a shell starts in its background, and all that these start, ignore Ctrl-C.
        let mut child = Command::new("env")
            .args(["--default-signal=INT,HUP,TERM", env!("CARGO_BIN_EXE_frcnn")])
            .args(["new", "--arch", "caffenet", "--classes", "3", "-o", text(&model)])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !names(&folder).iter().any(|name| name.ends_with(".partial")) {
            assert!(child.try_wait().unwrap().is_none(), "it ended before its file was seen");
            assert!(started.elapsed() < Duration::from_secs(120), "it never began to write");
            std::thread::sleep(Duration::from_micros(200));
        }
        let killed =
            Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{signal}");
        assert_eq!(names(&folder), [""; 0], "{signal}");
    }
}

/// `ulimit -f` stands for a full disk: writing fails in the middle of a file.
#[test]
fn what_cannot_be_written_leaves_older_files_as_they_were() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("full");
    let [bundle, onnx, report] = ["b.frcnn", "b.onnx", "b.json"].map(|name| folder.join(name));
    for path in [&bundle, &onnx, &report] {
        fs::write(path, "old").unwrap();
    }
    let limited = |blocks: u32, arguments: &[&str]| {
        let command = format!("ulimit -f {blocks}; exec \"$@\"");
        let program = env!("CARGO_BIN_EXE_frcnn");
        Command::new("bash").args(["-c", &command, "bash", program]).args(arguments).output().unwrap()
    };
    let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let compile = [
        "compile",
        &model,
        "-o",
        text(&bundle),
        "--manifest",
        &manifest,
        "--emit-onnx",
        text(&onnx),
        "--report",
        text(&report),
    ];
    // First the bundle does not fit; then only the ONNX file, which is written after it, does not.
    let bytes = fs::metadata(fixture.path("model.frcnn")).unwrap().len().div_ceil(1024) as u32;
    for blocks in [100, bytes - 20] {
        fails(&limited(blocks, &compile), 1, &["b.", "File too large"]);
        for path in [&bundle, &onnx, &report] {
            assert_eq!(fs::read(path).unwrap(), b"old", "{}", path.display());
        }
        assert_eq!(names(&folder), ["b.frcnn", "b.json", "b.onnx"]);
    }

    let root = voc(&fixture, "full-eval");
    let [dets, save, page] = ["dets", "save.json", "page.html"].map(|name| root.join(name));
    fs::create_dir(&dets).unwrap();
    let many: String = (0..500).map(|n| format!("class1 0.9 30 20 110 {}\n", 80 + n)).collect();
    fs::write(dets.join("a.txt"), many).unwrap();
    fs::write(&save, "old").unwrap();
    fs::write(&page, "old").unwrap();
    let score = ["eval", "--detections", text(&dets), "--data", text(&root)];
    let saved = limited(8, &[&score[..], &["--save", text(&save)]].concat());
    fails(&saved, 1, &["save.json: File too large"]);
    let shown = limited(8, &[&score[..], &["--html", text(&page)]].concat());
    fails(&shown, 1, &["page.html: File too large"]);
    assert_eq!((fs::read(&save).unwrap(), fs::read(&page).unwrap()), (b"old".to_vec(), b"old".to_vec()));
    let full = frcnn(&[&score[..], &["--save", "/dev/full", "--save-format", "coco"]].concat());
    fails(&full, 1, &["/dev/full: No space left on device"]);
    assert!(names(&root).iter().all(|name| !name.ends_with(".partial")));
}

/// A disk that is full takes no other image's line either: what fits of it would stand behind a half one.
#[test]
fn detect_ends_where_standard_output_takes_nothing() {
    let fixture = Fixture::get();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let photos = fixture.path("photos");
    let output = Command::new(env!("CARGO_BIN_EXE_frcnn"))
        .args(["detect", &fixture.path("model.frcnn"), &photos, "--json"])
        .stdout(full)
        .output()
        .unwrap();
    fails(&output, 1, &[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "error: standard output: No space left on device (os error 28)\n");
}

#[test]
fn devices_pipes_and_links_are_outputs() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "streams");
    let dets = root.join("dets");
    fs::create_dir(&dets).unwrap();
    fs::write(dets.join("a.txt"), "class1 0.9 30 20 110 80\n").unwrap();
    let score =
        ["eval", "--detections", text(&dets), "--data", text(&root), "--save-format", "coco", "--save"];
    let output = succeed(&[&score[..], &["/dev/stdout"]].concat());
    assert!(stdout(&output).starts_with("[{\"image_id\":\"a\""), "{}", stdout(&output));

    let pipe = root.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    succeed(&[&score[..], &[text(&pipe)]].concat());
    assert!(reader.join().unwrap().starts_with("[{\"image_id\""));

    let (real, link) = (root.join("real.json"), root.join("link.json"));
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink("real.json", &link).unwrap();
    succeed(&[&score[..], &[text(&link)]].concat());
    assert!(fs::read_to_string(&real).unwrap().starts_with("[{\"image_id\""));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn an_output_is_no_input_and_no_other_output() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "in-and-out");
    let dets = root.join("r.json");
    let record = r#"[{"image_id": "a", "category_id": "class1", "bbox": [30, 20, 81, 61], "score": 0.9}]"#;
    fs::write(&dets, record).unwrap();
    let score = ["eval", "--detections", text(&dets), "--data", text(&root)];
    fails(&frcnn(&[&score[..], &["--save", text(&dets)]].concat()), 1, &["r.json: is read as well"]);
    fails(&frcnn(&[&score[..], &["--html", text(&dets)]].concat()), 1, &["r.json: is read as well"]);
    let both = root.join("o.json");
    let twice = [&score[..], &["--html", text(&both), "--save", text(&both)]].concat();
    fails(&frcnn(&twice), 1, &["o.json: is to be written twice"]);
    assert_eq!(fs::read_to_string(&dets).unwrap(), record);

    let texts = root.join("texts");
    fs::create_dir(&texts).unwrap();
    fs::write(texts.join("a.txt"), "class1 0.9 30 20 110 80\n").unwrap();
    let score = ["eval", "--detections", text(&texts), "--data", text(&root), "--save", text(&texts)];
    fails(&frcnn(&score), 1, &["texts: is read as well"]);
    assert_eq!(names(&texts), ["a.txt"]);

    let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let out = root.join("b.frcnn");
    let compile = ["compile", &model, "-o", text(&out), "--manifest", &manifest, "--report", text(&out)];
    fails(&frcnn(&compile), 1, &["b.frcnn: is to be written twice"]);
    assert!(!out.exists());
}

/// An ONNX file of one tensor, which it keeps in `beside`.
fn with_tensor_in(beside: &str) -> Vec<u8> {
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let entry = [field(1, b"location"), field(2, beside.as_bytes())].concat();
    let (graph, initializer, external_data) = (7, 5, 13);
    field(graph, &field(initializer, &field(external_data, &entry)))
}

#[test]
fn files_that_others_lead_to_are_not_replaced() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "led-to");
    let at = |name: &str| text(&root.join(name)).to_string();
    fs::write(at("model.onnx"), with_tensor_in("weights.bin")).unwrap();
    fs::write(at("weights.bin"), "weights").unwrap();
    fs::write(at("JPEGImages/notes.txt"), "no photo").unwrap();
    std::os::unix::fs::symlink("weights.bin", at("link")).unwrap();
    let refused = |output: &str, command: &[&str]| {
        let before = fs::read(at(output)).unwrap();
        fails(&frcnn(&[command, &[&at(output)]].concat()), 1, &["is read as well"]);
        assert_eq!(fs::read(at(output)).unwrap(), before, "{output}");
    };
    let (broken, photos) = (at("model.onnx"), at("JPEGImages"));
    refused("weights.bin", &["compile", &broken, "-o"]);
    refused("link", &["compile", &broken, "-o"]);
    let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let new = at("new.frcnn");
    let compile = ["compile", &model, "--manifest", &manifest, "-o", &new];
    let int8 = ["--precision", "int8", "--calibrate"];
    refused("JPEGImages/a.png", &[&compile[..], &int8, &[&photos, "--report"]].concat());
    let data = text(&root).to_string();
    refused("JPEGImages/b.png", &[&compile[..], &int8, &[&data, "--split", "test", "--report"]].concat());
    let bundle = fixture.path("model.frcnn");
    let eval = ["eval", &bundle, "--data", &data];
    for read in ["JPEGImages/a.png", "Annotations/b.xml", "ImageSets/Main/test.txt"] {
        refused(read, &[&eval[..], &["--html"]].concat());
        refused(
            read,
            &["sweep", &model, "--manifest", &manifest, "--data", &data, "--energies", "0.9", "--csv"],
        );
    }
    refused("boxes.json", &[&eval[..], &["--proposals", &at("boxes.json"), "--html"]].concat());
    refused("JPEGImages/a.png", &["compare", &bundle, "--against", &bundle, "--image", &photos, "--html"]);
    let lists = at("ImageSets/Main");
    let score = [&eval[..], &["--save-format", "text", "--save", &lists]].concat();
    fails(&frcnn(&score), 1, &["Main: is read as well; name another folder"]);
    // What nothing reads is replaced.
    let notes = at("JPEGImages/notes.txt");
    let boxes = at("boxes.json");
    succeed(&[&eval[..], &["--proposals", &boxes, "--html", &notes]].concat());
    assert!(fs::read_to_string(&notes).unwrap().contains("<html"));
    assert!(!Path::new(&new).exists());
}

#[test]
fn two_commands_add_to_one_file_of_boxes() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("two-proposals");
    let boxes = folder.join("boxes.safetensors");
    for half in ["x", "y"] {
        fs::create_dir(folder.join(half)).unwrap();
        for n in 0..20u8 {
            let photo = RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * n, y as u8 * 5, n * 12]));
            photo.save(folder.join(half).join(format!("{half}{n}.png"))).unwrap();
        }
    }
    let run = |half: &str| {
        Command::new(env!("CARGO_BIN_EXE_frcnn"))
            .args(["proposals", text(&folder.join(half)), "-o", text(&boxes), "--threads", "1"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [run("x"), run("y")];
    assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
    let output =
        succeed(&["proposals", text(&folder.join("x")), text(&folder.join("y")), "-o", text(&boxes)]);
    assert!(stdout(&output).contains("40 images, 0 of them new"), "{}", stdout(&output));
    assert_eq!(names(&folder), ["boxes.safetensors", "x", "y"]);
}

#[test]
fn names_of_a_data_set_lead_nowhere() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "climbing");
    let inner = root.join("deep/inner");
    fs::create_dir_all(&inner).unwrap();
    let before = names(&root);
    fs::write(root.join("ImageSets/Main/test.txt"), "a\n../../climbed\n").unwrap();
    let bundle = fixture.path("model.frcnn");
    let save = [text(&inner), "--save-format", "text"];
    fails(
        &frcnn(&[&["eval", &bundle, "--data", text(&root), "--save"], &save[..]].concat()),
        1,
        &["test.txt: image `../../climbed` has a path separator"],
    );
    fs::create_dir(root.join("annotations")).unwrap();
    for name in ["../../climbed.jpg", "/climbed.jpg", "C:\\\\climbed.jpg"] {
        let json = format!(
            r#"{{"images": [{{"id": 1, "file_name": "{name}"}}], "annotations": [], "categories": [{{"id": 1, "name": "class1"}}]}}"#
        );
        fs::write(root.join("annotations/instances_test.json"), json).unwrap();
        let eval = ["eval", &bundle, "--data", text(&root), "--format", "coco", "--save"];
        fails(
            &frcnn(&[&eval[..], &save[..]].concat()),
            1,
            &["images[0]: id 1: file_name: ", "is not inside"],
        );
    }
    fs::remove_dir_all(root.join("annotations")).unwrap();
    assert_eq!((names(&root), names(&inner)), (before, Vec::new()));
}
