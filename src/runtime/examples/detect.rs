//! Finds objects in a photo and prints them.
//!
//! The demo model of this repository finds boxes, crosses, discs, rings, stars and triangles; `frcnn compile` makes its bundle:
//!
//! ```sh
//! cargo run --release -- compile model-export/demo/model.onnx -o demo.frcnn
//! cargo run --release -p frcnn --example detect -- demo.frcnn model-export/demo/scene.jpg
//! ```

use std::error::Error;

use frcnn::{Detector, Frame, Options, SelectiveSearch};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, photo] = &arguments[..] else { return Err("usage: detect BUNDLE PHOTO".into()) };

    let photo = image::open(photo)?.into_rgb8();
    let frame = Frame::rgb8(photo.as_raw(), photo.width(), photo.height())?;

    let detector = Detector::open_with(bundle, Options::new().with_score_threshold(0.5))?;
    let mut session = detector.session();
    let detections = if detector.has_rpn() {
        // A Faster R-CNN makes its own proposals.
        session.detect_frame(&frame)?
    } else {
        session.detect_with(&frame, &mut SelectiveSearch::default(), 2000)?.0
    };

    for detection in &detections {
        let b = detection.bbox;
        let class = detector.class_name(detection.class_id);
        println!("{class} {:.3} {:.0} {:.0} {:.0} {:.0}", detection.score, b.x1, b.y1, b.x2, b.y2);
    }
    eprintln!("{} objects in {:.1?}", detections.len(), session.timings().total());
    Ok(())
}
