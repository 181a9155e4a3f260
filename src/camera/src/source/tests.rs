use std::io::Write;

use super::*;
use crate::config::{Reader, Size};

fn steps(camera: &Camera) -> Vec<String> {
    let mut source = open(camera, &Handle::default()).unwrap();
    let mut converter = frcnn_images::camera::Converter::default();
    let mut steps = Vec::new();
    loop {
        steps.push(match source.next().unwrap() {
            Step::Frame(image, _) => match converter.run(&image) {
                Ok(frame) => format!("{}x{} {:?}", frame.width(), frame.height(), &frame.row(0)[..3]),
                Err(error) => format!("{error}"),
            },
            Step::Corrupt => "corrupt".into(),
            Step::Nothing => continue,
            Step::Cut(problem) => {
                steps.push(problem);
                return steps;
            }
            Step::End => return steps,
        });
    }
}

fn file(bytes: &[u8], format: Format, size: Option<Size>) -> (tempfile::NamedTempFile, Camera) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut camera = Camera::new("a", file.path().to_str().unwrap());
    (camera.format, camera.size) = (Some(format), size);
    (file, camera)
}

const FOUR_BY_TWO: Option<Size> = Some(Size { width: 4, height: 2 });

#[test]
fn raw_frames_of_a_file() {
    let bytes: Vec<u8> = (0..48).collect();
    let (_file, camera) = file(&bytes, Format::Rgb24, FOUR_BY_TWO);
    assert_eq!(steps(&camera), ["4x2 [0, 1, 2]", "4x2 [24, 25, 26]"]);
    let (_file, camera) = file(&bytes[..40], Format::Rgb24, FOUR_BY_TWO);
    assert_eq!(steps(&camera)[1], "the stream ended within a frame: 40 bytes are not a multiple of 24");
}

/// A file's size says how its rows lie, where only one layout fits.
#[test]
fn padded_rows_of_a_file() {
    let size = Some(Size { width: 5, height: 2 });
    let (_file, camera) = file(&[7; 16 * 3], Format::Gray8, size);
    let source = open(&camera, &Handle::default()).unwrap();
    assert!(source.assumed.unwrap().contains("GStreamer's by the file's size"));
    let (_file, camera) = file(&[7; 10 * 3], Format::Gray8, size);
    assert_eq!(open(&camera, &Handle::default()).unwrap().assumed, None);
    let (_file, camera) = file(&[7; 33], Format::Gray8, size);
    let source = open(&camera, &Handle::default()).unwrap();
    assert!(source.assumed.unwrap().contains("are taken as packed"));
}

/// A grey JPEG of 16 x 16 pixels, without Huffman tables.
fn jpeg() -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    jpeg.extend([1; 64]);
    jpeg.extend([0xff, 0xc0, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x11, 0]);
    jpeg.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    jpeg.extend([0x28, 0xa2, 0x8a, 0xff, 0xd9]);
    jpeg
}

#[test]
fn jpegs_with_damage_and_text_between_them() {
    let grey = "16x16 [128, 128, 128]";
    let mut damaged = jpeg();
    damaged[20..60].fill(0);
    damaged[2] = 0;
    let cases: [(Vec<u8>, &[&str]); 7] = [
        ([jpeg(), jpeg()].concat(), &[grey, grey]),
        ([&jpeg(), &b"\0\0\0\xff\xd9"[..], &jpeg()].concat(), &[grey, grey]),
        (
            [&b"HTTP/1.0 200 OK\r\nContent-Type: a\r\n\r\n--x\r\n"[..], &jpeg(), b"\r\n--x--\r\n"].concat(),
            &[grey],
        ),
        ([&jpeg(), &b"garbage\n"[..], &jpeg()].concat(), &[grey, "corrupt", grey]),
        ([damaged, jpeg()].concat(), &["corrupt", grey]),
        ([&jpeg(), &jpeg()[..40]].concat(), &[grey, "the stream ended within a frame"]),
        (b"\xff\xd8".repeat(1000), &["corrupt"]),
    ];
    for (bytes, expected) in cases {
        let (_file, camera) = file(&bytes, Format::Mjpeg, None);
        assert_eq!(steps(&camera), expected, "{:?}", &bytes[..20]);
    }
}

/// However the bytes are handed over.
#[test]
fn a_fifo_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut camera = Camera::new("a", path.to_str().unwrap());
    camera.format = Some(Format::Mjpeg);
    let mut source = open(&camera, &Handle::default()).unwrap();
    assert_eq!(source.kind, Kind::Camera);
    // Nobody writes yet.
    assert!(matches!(source.next().unwrap(), Step::Nothing));
    let writer = std::thread::spawn(move || {
        let mut fifo = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for byte in [jpeg(), jpeg()].concat() {
            fifo.write_all(&[byte]).unwrap();
        }
    });
    let mut frames = 0;
    loop {
        match source.next().unwrap() {
            Step::Frame(..) => frames += 1,
            Step::End => break,
            Step::Nothing => {}
            Step::Corrupt | Step::Cut(_) => panic!("no damage"),
        }
    }
    writer.join().unwrap();
    assert_eq!(frames, 2);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let with = |input: &str, change: fn(&mut Camera)| {
        let mut camera = Camera::new("a", input);
        change(&mut camera);
        check(&camera).err().unwrap_or_default()
    };
    assert!(with("-", |_| {}).contains("--format and --size"));
    assert_eq!(with("-", |camera| camera.format = Some(Format::Mjpeg)), "");
    assert!(
        with("-", |camera| {
            (camera.format, camera.size) = (Some(Format::Rgb24), FOUR_BY_TWO);
            camera.stride = Some(Stride::Bytes(11));
        })
        .contains("12 bytes")
    );
    assert!(with("rtsp://a", |camera| camera.stride = Some(Stride::Packed)).contains("stride"));
    assert!(with("rtsp://a", |camera| camera.format = Some(Format::Nv12)).contains("format"));
    assert_eq!(with("/dev/video0", |camera| camera.format = Some(Format::Nv12)), "");
    assert_eq!(with("street.mp4", |camera| camera.reader = Reader::Gstreamer), "");
}
