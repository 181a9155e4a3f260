//! Photos as people have them, through the command: what is read is read alike by all commands, and what is not is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;

use image::metadata::Orientation;
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba,
};
use serde_json::Value;

use crate::dataset::voc;
use crate::fixture::{Fixture, fails, frcnn, json_lines, stderr, stdout, succeed, text};
use crate::pictures::{
    cmyk_jpeg, encoded, grey_blocks, grey_blocks_jpeg, jpeg, jpeg_held, other_frame, palette_png, png,
    png_held, raw_png, scene, without,
};

/// `detect --json` on a folder: by each image's name without its folder, everything but the times.
fn detect(fixture: &Fixture, folder: &Path) -> BTreeMap<String, Value> {
    let output =
        fixture.detect(&["--json", "--score-threshold", "0", "--proposals-from", "grid", text(folder)]);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    let by_name = |mut line: Value| {
        let fields = line.as_object_mut().unwrap();
        fields.remove("timing_ms");
        let image = fields.remove("image").unwrap();
        assert!(!fields["detections"].as_array().unwrap().is_empty(), "{image}: nothing is found");
        (image.as_str().unwrap().rsplit('/').next().unwrap().to_string(), line)
    };
    json_lines(&output).into_iter().map(by_name).collect()
}

fn turned(image: RgbImage, orientation: u8) -> RgbImage {
    let mut image = DynamicImage::from(image);
    image.apply_orientation(Orientation::from_exif(orientation).unwrap());
    image.into_rgb8()
}

/// However the camera was held, the boxes are those of the picture as it is shown.
#[test]
fn orientation_is_applied_before_anything_is_found() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("held");
    let (jpeg, png) = (jpeg(), png());
    let stored = image::load_from_memory(&jpeg).unwrap().into_rgb8();
    for held in 1..=8 {
        let write =
            |name: &str, bytes: &[u8]| fs::write(folder.join(format!("{held}-{name}")), bytes).unwrap();
        write("held.jpg", &jpeg_held(&jpeg, held));
        write("held.jpg.upright.png", &encoded(turned(stored.clone(), held), ImageFormat::Png));
        write("held.png", &png_held(&png, held));
        write("held.png.upright.png", &encoded(turned(scene(), held), ImageFormat::Png));
    }
    let found = detect(&fixture, &folder);
    assert_eq!(found.len(), 32);
    for held in 1..=8 {
        for name in [format!("{held}-held.jpg"), format!("{held}-held.png")] {
            assert_eq!(found[&name], found[&format!("{name}.upright.png")], "{name}");
            let sides = if held < 5 { (120, 90) } else { (90, 120) };
            assert_eq!((&found[&name]["width"], &found[&name]["height"]), (&sides.0.into(), &sides.1.into()));
        }
    }
    // Turned the other way something else is found: the network sees what the test compares.
    assert_ne!(found["6-held.png"]["detections"], found["8-held.png"]["detections"]);
}

/// The same for scores, and for boxes that are made once.
#[test]
fn orientation_is_applied_by_eval_and_proposals() {
    let fixture = Fixture::get();
    let (root, upright) = (voc(&fixture, "held-eval"), voc(&fixture, "upright-eval"));
    let jpeg = jpeg();
    let stored = image::load_from_memory(&jpeg).unwrap().into_rgb8();
    for (stem, held) in [("a", 6), ("b", 3)] {
        let name = format!("JPEGImages/{stem}.png");
        fs::write(root.join(&name), jpeg_held(&jpeg, held)).unwrap();
        fs::write(upright.join(&name), encoded(turned(stored.clone(), held), ImageFormat::Png)).unwrap();
    }
    let scores = |root: &Path| {
        let boxes = root.join("proposals.safetensors");
        succeed(&["proposals", text(&root.join("JPEGImages")), "-o", text(&boxes)]);
        let eval = ["eval", &fixture.path("model.frcnn"), "--data", text(root), "--json"];
        (fs::read(boxes).unwrap(), stdout(&succeed(&eval)))
    };
    assert_eq!(scores(&root), scores(&upright));
}

#[test]
fn what_a_picture_is_decides_its_content() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("kinds");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let as_png = |image: DynamicImage| encoded(image, ImageFormat::Png);
    let wide = |value: u8| u16::from(value) * 257;

    write("scene.png", &png());
    write("scene-is-png.jpg", &png());
    write("scene-is-png.JPEG", &png());
    let sixteen = ImageBuffer::from_fn(120, 90, |x, y| Rgb(scene().get_pixel(x, y).0.map(wide)));
    write("scene-16-bit.png", &as_png(DynamicImage::ImageRgb16(sixteen)));
    let clear = ImageBuffer::from_fn(120, 90, |x, y| {
        let Rgb([r, g, b]) = *scene().get_pixel(x, y);
        Rgba([r, g, b, x as u8])
    });
    write("scene-alpha.png", &as_png(DynamicImage::ImageRgba8(clear)));

    let jpeg = jpeg();
    write("photo.png", &as_png(image::load_from_memory(&jpeg).unwrap()));
    write("photo-is-jpeg.png", &jpeg);
    write("photo-no-tables.jpg", &without(&jpeg, 0xc4));
    write("photo-bare.jfif", &without(&without(&jpeg, 0xc4), 0xe0));
    write("photo-with-more-behind.jpe", &[&jpeg[..], &jpeg, &[0; 100]].concat());

    let grey = GrayImage::from_fn(120, 90, |x, y| Luma([(x + y) as u8]));
    let of_grey = |x, y| grey.get_pixel(x, y).0[0];
    write("grey.png", &as_png(DynamicImage::from(grey.clone()).into_rgb8().into()));
    write("grey-8-bit.png", &as_png(grey.clone().into()));
    let alpha = GrayAlphaImage::from_fn(120, 90, |x, y| LumaA([of_grey(x, y), y as u8]));
    write("grey-alpha.png", &as_png(alpha.into()));
    let sixteen = ImageBuffer::from_fn(120, 90, |x, y| Luma([wide(of_grey(x, y))]));
    write("grey-16-bit.png", &as_png(DynamicImage::ImageLuma16(sixteen)));

    write("blocks.png", &as_png(grey_blocks().into()));
    write("blocks-palette.png", &palette_png());
    write("blocks-baseline.jpg", &grey_blocks_jpeg(false));
    write("blocks-progressive.jpg", &grey_blocks_jpeg(true));

    write("quarter.png", &as_png(RgbImage::from_pixel(120, 90, Rgb([64; 3])).into()));
    write("quarter-cmyk.jpg", &cmyk_jpeg());

    let found = detect(&fixture, &folder);
    assert_eq!(found.len(), 20);
    for (name, lines) in &found {
        let plain = name.split(['-', '.']).next().unwrap();
        assert_eq!(lines, &found[&format!("{plain}.png")], "{name}");
    }
    let plain = ["scene.png", "photo.png", "grey.png", "blocks.png", "quarter.png"];
    for (i, a) in plain.iter().enumerate() {
        assert!(plain[..i].iter().all(|b| found[*a] != found[*b]), "{a} gives what another does");
    }
}

#[test]
fn what_is_not_read_is_named_with_what_is() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("not-read");
    let jpeg = jpeg();
    let cases: [(&str, Vec<u8>, &str); 17] = [
        ("text", b"my holidays\n".to_vec(), "is a text; supported are JPEG and PNG"),
        ("nothing", Vec::new(), "is empty; supported are JPEG and PNG"),
        ("page", b"<!DOCTYPE html><html>".to_vec(), "supported are JPEG and PNG"),
        ("webp", b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(), "is a WebP picture; supported are JPEG and PNG"),
        ("bmp", b"BM\x36\0\0\0\0\0\0\0".to_vec(), "is a BMP picture; supported are JPEG and PNG"),
        ("gif", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), "is a GIF picture; supported are JPEG and PNG"),
        ("tiff", b"II\x2a\0\x08\0\0\0".to_vec(), "is a TIFF picture"),
        (
            "heic",
            b"\0\0\0\x18ftypheic\0\0\0\0".to_vec(),
            "is a HEIC or HEIF picture; supported are JPEG and PNG",
        ),
        ("avif", b"\0\0\0\x1cftypavif\0\0\0\0".to_vec(), "is an AVIF picture; supported are JPEG and PNG"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "is a Git LFS pointer"),
        (
            "12-bit",
            other_frame(&jpeg, 4, 12),
            "is a 12-bit JPEG; supported are baseline and progressive JPEG",
        ),
        ("arithmetic", other_frame(&jpeg, 1, 0xc9), "is an arithmetic-coded JPEG; supported are baseline"),
        ("lossless", other_frame(&jpeg, 1, 0xc3), "is a lossless JPEG; supported are baseline"),
        ("hierarchical", other_frame(&jpeg, 1, 0xc5), "is a hierarchical JPEG; supported are baseline"),
        ("two-channel", other_frame(&jpeg, 9, 2), "is a 2-channel JPEG; supported are baseline"),
        ("no-pixels", jpeg[..jpeg.len().min(100)].to_vec(), "is cut short"),
        ("no-height", other_frame(&other_frame(&jpeg, 5, 0), 6, 0), "a height of 0"),
    ];
    for (name, bytes, _) in &cases {
        fs::write(folder.join(format!("{name}.jpg")), bytes).unwrap();
    }
    fs::write(folder.join("good.png"), png()).unwrap();
    let boxes = folder.join("boxes.safetensors");
    for output in [
        fixture.detect(&["--json", text(&folder)]),
        frcnn(&["proposals", "--json", text(&folder), "-o", text(&boxes)]),
        // No leniency makes a picture of what is none.
        fixture.detect(&["--json", text(&folder), "--lenient"]),
    ] {
        let errors = stderr(&output);
        fails(&output, 1, &["17 of 18 images failed"]);
        for (name, _, words) in &cases {
            let mut lines = errors.lines().filter(|line| line.contains(&format!("/{name}.jpg: ")));
            let line = lines.next().unwrap_or_default();
            assert!(line.starts_with("error: ") && line.contains(words), "`{words}` is not in: {line}");
            assert_eq!(lines.next(), None);
        }
        let lines = json_lines(&output);
        assert!(lines.len() == 1 && lines[0]["image"].as_str().unwrap().ends_with("/good.png"), "{lines:?}");
    }
}

/// Half a photo is no photo, unless the user says so; then each is warned of, and the upper half is there.
#[test]
fn photos_that_are_cut_short_are_refused_by_every_command() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "cut-short");
    let (jpeg, png) = (jpeg(), png());
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let ended = [&jpeg[..jpeg.len() / 2], &[0xff, 0xd9]].concat();
    let (model, bundle) = (fixture.path("model.onnx"), fixture.path("model.frcnn"));
    let manifest = fixture.path("small.json");
    let path = |name: &str| text(&root.join(name)).to_string();
    let (photo, boxes, out) = (path("JPEGImages/a.png"), path("boxes.json"), path("out.frcnn"));
    let (made, drawn, data) = (path("made.safetensors"), path("drawn.png"), text(&root).to_string());
    let commands: [&[&str]; 7] = [
        &["detect", &bundle, &photo],
        &["proposals", &photo, "-o", &made],
        &["eval", &bundle, "--data", &data, "--proposals", &boxes],
        &["compile", &model, "-o", &out, "--manifest", &manifest, "--check", &photo, "--check-out", &drawn],
        &["compare", &bundle, "--against", &bundle, "--image", &photo],
        &["bench", &bundle, "--image", &photo, "--runs", "1"],
        &[
            "sweep",
            &model,
            "--data",
            &data,
            "--manifest",
            &manifest,
            "--proposals",
            &boxes,
            "--energies",
            "0.9",
        ],
    ];
    for (kind, bytes) in [("half", half(&jpeg)), ("ended", ended), ("png", half(&png))] {
        fs::write(&photo, bytes).unwrap();
        // The last four take seconds each: once is enough.
        let commands = if kind == "half" { &commands[..] } else { &commands[..3] };
        for command in commands {
            fails(
                &frcnn(command),
                1,
                &["error: ", "JPEGImages/a.png: is ", "--lenient takes it as far as it goes"],
            );
            for not_there in [&made, &drawn, &out] {
                assert!(!Path::new(not_there).exists(), "{kind}, {command:?} left {not_there}");
            }
        }
        for command in commands {
            let output = succeed(&[*command, &["--lenient"]].concat());
            let errors = stderr(&output);
            let warning = |line: &&str| {
                line.starts_with("warning: ")
                    && line.contains("a.png: is ")
                    && line.contains("as far as it goes")
            };
            assert!(errors.lines().any(|line| warning(&line)), "{kind}, {command:?}: {errors}");
            for written in [&made, &drawn, &out] {
                let _ = fs::remove_file(written);
            }
        }
    }
    // What is whole gives no word, lenient or not.
    fs::write(&photo, jpeg).unwrap();
    assert_eq!(stderr(&succeed(&["detect", &bundle, &photo, "--lenient"])), "");
}

#[test]
fn eval_counts_images_of_another_size_than_annotated() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "resized");
    let annotate = |stem: &str, width: u32, height: u32| {
        let object = "<object><name>class1</name><bndbox><xmin>31</xmin><ymin>21</ymin><xmax>61</xmax><ymax>61</ymax></bndbox></object>";
        let size = format!("<size><width>{width}</width><height>{height}</height><depth>3</depth></size>");
        let xml = format!("<annotation>{size}{object}</annotation>");
        fs::write(root.join(format!("Annotations/{stem}.xml")), xml).unwrap();
    };
    let eval = |more: &[&str]| {
        let boxes = root.join("boxes.json");
        let usual = [
            "eval",
            &fixture.path("model.frcnn"),
            "--data",
            text(&root),
            "--proposals",
            text(&boxes),
            "--json",
        ];
        stderr(&succeed(&[&usual[..], more].concat()))
    };
    annotate("a", 120, 90);
    annotate("b", 120, 90);
    assert_eq!(eval(&[]), "");
    annotate("b", 240, 180);
    let words = eval(&[]);
    for part in ["warning: 1 images are not of the size", "b.png: is 120 x 90, annotated as 240 x 180"] {
        assert!(words.contains(part), "{words}");
    }
    annotate("a", 90, 120);
    let words = eval(&[]);
    for part in ["warning: 2 images", "a.png: is 120 x 90, annotated as 90 x 120 before it is turned upright"]
    {
        assert!(words.contains(part), "{words}");
    }
    // Without a size only what does not fit tells.
    let unsized_xml = |stem: &str, right: u32| {
        let object = format!(
            "<object><name>class1</name><bndbox><xmin>31</xmin><ymin>21</ymin><xmax>{right}</xmax><ymax>61</ymax></bndbox></object>"
        );
        fs::write(root.join(format!("Annotations/{stem}.xml")), format!("<annotation>{object}</annotation>"))
            .unwrap();
    };
    unsized_xml("a", 121);
    unsized_xml("b", 120);
    assert_eq!(eval(&[]), "");
    unsized_xml("b", 222);
    let words = eval(&[]);
    for part in [
        "warning: 1 images are smaller than what is annotated",
        "b.png: is 120 x 90, its objects reach to 222 x 61",
    ] {
        assert!(words.contains(part), "{words}");
    }
    // COCO's `width` and `height` likewise.
    let coco = root.join("coco.json");
    let json = r#"{"images": [{"id": 1, "file_name": "a.png", "width": 120, "height": 91}, {"id": 2, "file_name": "b.png", "width": 120, "height": 90}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 20, 30, 40], "area": 1200, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "class1"}]}"#;
    fs::write(&coco, json).unwrap();
    let (images, boxes) = (root.join("JPEGImages"), root.join("boxes.json"));
    let eval = ["eval", &fixture.path("model.frcnn"), "--data", text(&coco), "--images", text(&images)];
    let words = stderr(&succeed(&[&eval[..], &["--proposals", text(&boxes), "--json"]].concat()));
    assert!(words.contains("warning: 1 images") && words.contains("annotated as 120 x 91"), "{words}");
}

/// The limit is one on what a picture becomes, not on its file: 100 bytes that want gigabytes are refused with the limit
/// in the message, in less memory than they want.
#[cfg(target_os = "linux")]
#[test]
fn pictures_that_are_too_large_are_refused_before_memory_is_taken() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("large");
    let rows = [0; 64];
    let large = other_frame(&other_frame(&jpeg(), 5, 0x80), 7, 0x80);
    for (name, bytes) in [
        ("grey-1-bit.png", raw_png((32_768, 32_768), 1, 0, &[], &rows)),
        ("palette-1-bit.png", raw_png((32_768, 32_768), 1, 3, &[0, 0, 0], &rows)),
        ("colour-16-bit.png", raw_png((20_000, 20_000), 16, 6, &[], &rows)),
        ("claims.jpg", large),
    ] {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        let boxes = folder.join("boxes.safetensors");
        // 1.5 GiB of addresses: what is refused has not been reserved.
        let limited = |arguments: &[&str]| {
            let program = env!("CARGO_BIN_EXE_frcnn");
            let command = ["-c", "ulimit -v 1572864; exec \"$@\"", "bash", program];
            Command::new("bash").args(command).args(arguments).output().unwrap()
        };
        let bundle = fixture.path("model.frcnn");
        for more in [&[][..], &["--lenient"]] {
            let detect = [&["detect", &bundle, text(&path), "--threads", "1"], more].concat();
            let propose = [&["proposals", text(&path), "-o", text(&boxes), "--threads", "1"], more].concat();
            for output in [limited(&detect), limited(&propose)] {
                fails(&output, 1, &[name, "the limit is 1024 MiB"]);
            }
        }
    }
}

/// To open a pipe is to wait for a writer, who may never come.
#[cfg(target_os = "linux")]
#[test]
fn pipes_and_folders_that_are_called_photos_stop_nobody() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("pipes");
    let pipe = folder.join("pipe.jpg");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(folder.join("folder.jpg")).unwrap();
    fs::write(folder.join("good.png"), png()).unwrap();
    let boxes = folder.join("boxes.safetensors");
    for output in [
        fixture.detect(&["--json", text(&folder)]),
        frcnn(&["proposals", "--json", text(&folder), "-o", text(&boxes)]),
    ] {
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("pipe.jpg: passed over, is no regular file"), "{}", stderr(&output));
        assert_eq!(json_lines(&output).len(), 1);
    }
    let photo = folder.join("folder.jpg");
    fails(&fixture.detect(&[text(&photo)]), 1, &["folder.jpg: the folder has no file called .jpg, "]);
    fails(&fixture.detect(&[text(&pipe)]), 1, &["pipe.jpg: is a pipe"]);
    let of_data = voc(&fixture, "pipe-of-data");
    let image = of_data.join("JPEGImages/a.png");
    fs::remove_file(&image).unwrap();
    assert!(Command::new("mkfifo").arg(&image).status().unwrap().success());
    let eval = ["eval", &fixture.path("model.frcnn"), "--data", text(&of_data), "--images", "JPEGImages"];
    fails(&frcnn(&eval), 1, &["1 of 2 images failed"]);
}
