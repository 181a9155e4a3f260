//! Finds what moves before a fixed camera, and computes only what has changed.
//!
//! Frames come on standard input, red, green, blue, one byte each, as ffmpeg gives them of a camera or a video:
//!
//! ```sh
//! cargo run --release -- compile model-export/demo/model.onnx -o demo.frcnn
//! ffmpeg -i video.mp4 -s 640x480 -f rawvideo -pix_fmt rgb24 - |
//!     cargo run --release -p frcnn --example stream -- demo.frcnn 640 480
//! ```

use std::error::Error;
use std::io::{self, Read};

use frcnn::{Detector, Frame, Motion, StreamOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, width, height] = &arguments[..] else {
        return Err("usage: stream BUNDLE WIDTH HEIGHT < frames".into());
    };
    let (width, height): (u16, u16) = (width.parse()?, height.parse()?);

    let detector = Detector::open(bundle)?;
    // One stream and one source of proposals for each camera: both keep what they know of the last frames.
    let mut stream = detector.stream(StreamOptions::default())?;
    let mut motion = Motion::new();

    let mut pixels = vec![0; usize::from(width) * usize::from(height) * 3];
    let mut input = io::stdin().lock();
    for number in 0.. {
        match input.read_exact(&mut pixels) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let frame = Frame::rgb8(&pixels, width.into(), height.into())?;
        let (detections, proposals) = stream.detect_with(&frame, &mut motion, 2000)?;
        let names: Vec<&str> = detections.iter().map(|found| detector.class_name(found.class_id)).collect();
        let computed = 100.0 * stream.reuse().trunk_share;
        let boxes = proposals.boxes.len();
        println!("frame {number}: {boxes} boxes, {computed:.0} % of the trunk, {names:?}");
    }
    Ok(())
}
