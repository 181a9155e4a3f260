//! Detections drawn into their image, as `frcnn detect --out` draws them.

use std::io::Cursor;
use std::path::PathBuf;

use frcnn::{BBox, Detection};
use frcnn_files::{FileId, write_atomically};
use image::ImageFormat;
use serde::Deserialize;

use crate::call::{Array, Call, Reply};
use crate::error::{Failure, Kind};
use crate::picture::Image;

#[derive(Deserialize)]
struct Arguments {
    image: Image,
    /// Which array.
    boxes: usize,
    /// Scores and labels of the boxes, best first.
    found: Vec<(f32, u16)>,
    /// Names of all classes.
    classes: Vec<String>,
    path: Option<PathBuf>,
}

/// Writes the picture to a path, as a PNG, or gives its pixels, height and width where there is none.
pub(crate) fn draw(call: &Call) -> Result<Reply, Failure> {
    let Arguments { image, boxes, found, classes, path } = call.arguments()?;
    let boxes = call.boxes(Some(boxes))?.unwrap_or_default();
    let detection =
        |(&bbox, (score, class_id)): (&BBox, (f32, u16))| Detection { class_id, score, bbox, proposal: 0 };
    let detections: Vec<Detection> = boxes.iter().zip(found).map(detection).collect();
    let name = |class: u16| classes.get(usize::from(class)).map_or("", String::as_str);
    let mut pixels = image.pixels(call)?;
    frcnn_images::draw::draw(&mut pixels, &detections, name);
    let Some(path) = path else {
        return Reply::new(&(pixels.height(), pixels.width()), vec![Array::U8(pixels.into_raw())]);
    };
    let refused = |problem: String| Failure::file(Kind::Image, &path, problem);
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        return Err(refused("the picture is written as a PNG; call it .png".to_string()));
    }
    if matches!(&image, Image::Path(photo) if path.exists() && FileId::of(photo) == FileId::of(&path)) {
        return Err(refused("is the image itself, which would be lost; name another file".to_string()));
    }
    let mut png = Cursor::new(Vec::new());
    pixels.write_to(&mut png, ImageFormat::Png).map_err(|error| refused(error.to_string()))?;
    write_atomically(&path, png.get_ref()).map_err(|error| refused(error.to_string()))?;
    Reply::of(&())
}
