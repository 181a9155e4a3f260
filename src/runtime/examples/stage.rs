//! `stage BUNDLE PHOTO WIDTHxHEIGHT BOXES FOLDER STAGE...`: computes stages of a detection twice each on one thread, and marks
//! the second time on standard error for benches/peers/arm to count. PHOTO is bytes, red, green, blue; BOXES are little-endian
//! f32, x1, y1, x2, y2, no two of which may pool the same cells. A STAGE is `trunk`, `roi_pool`, `head` or `whole`. FOLDER is
//! where outputs go, a file of little-endian f32 each: maps and pooled features channels last, detections as class, score,
//! x1, y1, x2, y2.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use frcnn::{BBox, Bundle, Detector, Frame, Options, ProjectedRois, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, photo, size, boxes, folder, stages @ ..] = &arguments[..] else {
        return Err("usage: stage BUNDLE PHOTO WIDTHxHEIGHT BOXES FOLDER STAGE...".into());
    };
    let (width, height) = size.split_once('x').ok_or("not WIDTHxHEIGHT")?;
    let photo = fs::read(photo)?;
    let frame = Frame::rgb8(&photo, width.parse()?, height.parse()?)?;
    let numbers = fs::read(boxes)?;
    let numbers: Vec<f32> = numbers.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let boxes: Vec<BBox> =
        numbers.as_chunks().0.iter().map(|&[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2)).collect();
    let options = Options { threads: Some(1), ..Options::default() };
    let mut session = Detector::new(Bundle::open(bundle)?, &options)?.session();
    for stage in stages {
        for (name, values) in compute(&mut session, &frame, &boxes, stage)? {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            fs::write(Path::new(folder).join(name), bytes)?;
        }
    }
    Ok(())
}

/// A name and its values.
type Output = (&'static str, Vec<f32>);

/// The outputs of a stage.
fn compute(
    session: &mut Session,
    frame: &Frame,
    boxes: &[BBox],
    stage: &str,
) -> Result<Vec<Output>, Box<dyn Error>> {
    if stage == "whole" {
        let found = second_time(stage, || session.detect(frame, boxes))?;
        let values = found
            .iter()
            .flat_map(|d| [d.class_id as f32, d.score, d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2]);
        return Ok(vec![("detections", values.collect())]);
    }
    let blobs = session.preprocess(frame)?;
    let blob = blobs.first().ok_or("no scale")?;
    if stage == "trunk" {
        let map = second_time(stage, || session.trunk(blob))?;
        return Ok(vec![("map", map.data()?.to_vec())]);
    }
    let maps = [session.trunk(blob)?];
    let ProjectedRois { rois, index, .. } = session.project(boxes, &blobs)?;
    match stage {
        "roi_pool" => {
            let pooled = second_time(stage, || session.roi_pool(&maps, &rois))?;
            Ok(vec![("pooled", of_boxes(&pooled, &index, rois.len()))])
        }
        "head" => {
            let features = session.roi_pool(&maps, &rois)?;
            let output = second_time(stage, || session.head(&features))?;
            let [cls_prob, bbox_pred] =
                [output.cls_prob, output.bbox_pred].map(|rows| of_boxes(&rows, &index, rois.len()));
            Ok(vec![("cls_prob", cls_prob), ("bbox_pred", bbox_pred)])
        }
        _ => Err(format!("{stage}: no such stage").into()),
    }
}

/// Rows of RoIs in the order of boxes.
fn of_boxes(rows: &[f32], index: &[u32], rois: usize) -> Vec<f32> {
    let length = rows.len() / rois.max(1);
    index.iter().flat_map(|&roi| rows.iter().skip(roi as usize * length).take(length)).copied().collect()
}

/// Computes twice and returns the second result. What the marks themselves cost is known from the first two.
fn second_time<T>(
    stage: &str,
    mut compute: impl FnMut() -> Result<T, frcnn::Error>,
) -> Result<T, Box<dyn Error>> {
    // In one call of the system each: the counts stand before it.
    let mark = |what| io::stderr().write_all(format!("mark: {stage} {what}\n").as_bytes());
    mark("begin")?;
    compute()?;
    mark("idle")?;
    mark("from")?;
    let result = compute()?;
    mark("to")?;
    Ok(result)
}
