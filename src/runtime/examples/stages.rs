//! Runs a Fast R-CNN stage by stage and tells what each hands on, as one does to hold it against another implementation.
//!
//! ```sh
//! cargo run --release -- compile model-export/demo/model.onnx -o demo.frcnn
//! cargo run --release -p frcnn --example stages -- demo.frcnn model-export/demo/scene.jpg
//! ```

use std::error::Error;

use frcnn::{Detector, Frame, Propose, SelectiveSearch};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, photo] = &arguments[..] else { return Err("usage: stages BUNDLE PHOTO".into()) };

    let photo = image::open(photo)?.into_rgb8();
    let frame = Frame::rgb8(photo.as_raw(), photo.width(), photo.height())?;
    let proposals = SelectiveSearch::default().propose(&frame, 2000).boxes;

    let detector = Detector::open(bundle)?;
    let mut session = detector.session();
    let blobs = session.preprocess(&frame)?;
    for blob in &blobs {
        tell("data", &[blob.height, blob.width, 3], &blob.data);
    }
    let mut maps = Vec::new();
    for blob in &blobs {
        let map = session.trunk(blob)?;
        tell("conv", &[map.height(), map.width(), map.channels()], map.data()?);
        maps.push(map);
    }
    let regions = session.project(&proposals, &blobs)?;
    println!("rois: {} of {} boxes", regions.rois.len(), proposals.len());
    let features = session.roi_pool(&maps, &regions.rois)?;
    let count = regions.rois.len();
    let each = |values: &[f32]| [count, values.len() / count.max(1)];
    tell("pool5", &each(&features), &features);
    for stage in session.head_stages(&features)? {
        tell(&stage.name, &stage.shape, &stage.data);
    }
    let output = session.head(&features)?;
    let detections = session.postprocess(&proposals, &regions.index, &output, frame.width(), frame.height());
    println!("detections: {}", detections.len());

    // What all stages in one go give.
    assert_eq!(session.detect(&frame, &proposals)?.len(), detections.len());
    Ok(())
}

fn tell(name: &str, shape: &[usize], values: &[f32]) {
    // In an order in which NaN has a place: it shows.
    let least = values.iter().copied().min_by(f32::total_cmp).unwrap_or_default();
    let most = values.iter().copied().max_by(f32::total_cmp).unwrap_or_default();
    println!("{name}: {shape:?}, from {least} to {most}");
}
