//! From what a client sent to the objects in it.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use frcnn::{Frame, SelectiveSearch, Session};

use crate::model::Loaded;
use crate::refusal::Refusal;

/// Boxes that selective search makes of a picture at most, as `frcnn detect` has it.
const MAX_PROPOSALS: usize = 2000;
/// Bytes that a picture may take with its decoder: some 80 megapixels.
const MAX_PICTURE: u64 = 256 << 20;
/// Longest side of a picture.
const MAX_SIDE: u32 = 16_384;
/// Sessions that a worker keeps: of the bundle that serves, and of one that came over the network.
const SESSIONS: usize = 2;

/// A picture as it was sent.
#[derive(Debug)]
pub(crate) enum Input {
    /// A JPEG or PNG file.
    File(Vec<u8>),
    /// The same in base64.
    Base64(String),
    /// Red, green, blue of each pixel, rows from the top.
    Pixels { width: u32, height: u32, values: Values },
}

/// Values of pixels, `height` times `width` times 3.
#[derive(Debug)]
pub(crate) enum Values {
    /// 0..255.
    Bytes(Vec<u8>),
    /// f32, little-endian: 0..1, or 0..255 where one of them is above 1.
    Floats(Vec<u8>),
}

/// What is in a picture.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Best first.
    pub(crate) objects: Vec<Object>,
    /// How long the picture was looked at, without the time in which it was waiting.
    pub(crate) took: Duration,
    /// How much of that the network took, and what makes boxes.
    pub(crate) inference: Duration,
}

/// An object in a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// From 0 on: the background does not count.
    pub(crate) class: usize,
    pub(crate) label: String,
    /// 0..1.
    pub(crate) score: f32,
    /// Left, top, right and bottom edge, as parts of the picture's width and height: 0..1.
    pub(crate) edges: [f32; 4],
    /// Its corner pixels: `x_min`, `y_min`, `x_max`, `y_max`.
    pub(crate) pixels: [u32; 4],
}

/// A thread's buffers, for one model and the next.
#[derive(Default)]
pub(crate) struct Eye {
    sessions: Vec<(Arc<Loaded>, Session)>,
}

impl Eye {
    /// Detects the objects in a picture. A panic, which would be a fault of ours, is an error as well.
    pub(crate) fn look(&mut self, input: Input, model: &Arc<Loaded>) -> Result<Found, Refusal> {
        catch_unwind(AssertUnwindSafe(|| self.detect(input, model))).unwrap_or_else(|_| {
            // Whatever state they are in.
            self.sessions.clear();
            Err(Refusal::Failed("the detector failed on this picture; please report it".to_string()))
        })
    }

    fn detect(&mut self, input: Input, model: &Arc<Loaded>) -> Result<Found, Refusal> {
        let begun = Instant::now();
        let (pixels, width, height) = input.decode()?;
        let frame = Frame::rgb8(&pixels, width, height).map_err(|error| Refusal::Bad(error.to_string()))?;
        let decoded = Instant::now();
        let session = self.session(model);
        let detections = if model.detector.has_rpn() {
            session.detect_frame(&frame)
        } else {
            let mut search =
                SelectiveSearch { threads: model.detector.threads(), ..SelectiveSearch::default() };
            session.detect_with(&frame, &mut search, MAX_PROPOSALS).map(|(detections, _)| detections)
        };
        let detections = detections.map_err(|error| match error {
            frcnn::Error::BlobSize { .. } | frcnn::Error::Limit(_) | frcnn::Error::Frame(_) => {
                Refusal::Bad(error.to_string())
            }
            error => Refusal::Failed(error.to_string()),
        })?;
        let size = [width as f32, height as f32];
        let beyond = model.detector.manifest().width_offset();
        let objects = detections.iter().map(|found| {
            let corners = [found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2];
            // A pixel's right edge lies one pixel beyond its left one, where corners are pixels.
            let edge = |i: usize| (corners[i] + if i < 2 { 0.0 } else { beyond }) / size[i % 2];
            let pixel = |i: usize| corners[i].round().clamp(0.0, size[i % 2] - 1.0) as u32;
            Object {
                class: usize::from(found.class_id).saturating_sub(1),
                label: model.detector.class_name(found.class_id).to_string(),
                score: found.score.clamp(0.0, 1.0),
                edges: [0, 1, 2, 3].map(|i| edge(i).clamp(0.0, 1.0)),
                pixels: [0, 1, 2, 3].map(pixel),
            }
        });
        let objects = objects.collect();
        Ok(Found { objects, took: begun.elapsed(), inference: decoded.elapsed() })
    }

    fn session(&mut self, model: &Arc<Loaded>) -> &mut Session {
        let wanted = |of: &Arc<Loaded>| Arc::ptr_eq(of, model);
        self.sessions.retain(|(of, _)| wanted(of) || !of.is_retired());
        let known = self.sessions.iter().position(|(of, _)| wanted(of));
        let entry = match known {
            Some(position) => self.sessions.remove(position),
            None => (model.clone(), model.detector.session()),
        };
        self.sessions.insert(0, entry);
        self.sessions.truncate(SESSIONS);
        &mut self.sessions[0].1
    }

    /// Lets go of what is kept for models that others have taken the place of.
    pub(crate) fn forget_retired(&mut self) {
        self.sessions.retain(|(of, _)| !of.is_retired());
    }
}

impl Input {
    fn decode(&self) -> Result<(Cow<'_, [u8]>, u32, u32), Refusal> {
        match self {
            Input::File(bytes) => picture(bytes),
            Input::Base64(text) => {
                // What a browser calls such a picture stands before it.
                let text = text.split_once("base64,").map_or(&text[..], |(_, data)| data);
                let bytes =
                    STANDARD.decode(text.trim()).map_err(|error| Refusal::Bad(format!("base64: {error}")))?;
                picture(&bytes)
            }
            Input::Pixels { width, height, values } => {
                let pixels = match values {
                    Values::Bytes(bytes) => Cow::Borrowed(&bytes[..]),
                    Values::Floats(bytes) => Cow::Owned(bytes_of_floats(bytes)?),
                };
                Ok((pixels, *width, *height))
            }
        }
    }
}

fn picture(bytes: &[u8]) -> Result<(Cow<'static, [u8]>, u32, u32), Refusal> {
    let mut options = frcnn_images::Options::default();
    (options.max_bytes, options.max_side) = (MAX_PICTURE, MAX_SIDE);
    let picture =
        frcnn_images::decode(bytes, &options).map_err(|error| Refusal::Bad(format!("image: {error}")))?;
    Ok((Cow::Owned(picture.pixels), picture.width, picture.height))
}

/// Pixels as bytes. Those who send 0..1 send nothing above 1; those who send 0..255 do, unless the picture is black.
fn bytes_of_floats(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let values = || bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    if !values().all(f32::is_finite) {
        return Err(Refusal::Bad("the tensor has values that are not finite".to_string()));
    }
    let (least, most) = (values().fold(0.0, f32::min), values().fold(1.0, f32::max));
    // A little below zero is what a scaled picture may have; the conversion saturates.
    if least < -most / 4.0 {
        let range = format!("the tensor has values from {least} to {most}");
        return Err(Refusal::Bad(format!("{range}; floats are from 0 to 1 or from 0 to 255")));
    }
    let scale = if most > 1.0 { 1.0 } else { 255.0 };
    Ok(values().map(|value| (value * scale).round() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_both_ranges_are_bytes() {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(bytes_of_floats(&bytes(&[0.0, 0.5, 1.0])).unwrap(), [0, 128, 255]);
        assert_eq!(bytes_of_floats(&bytes(&[0.0, 0.6, 200.4, 300.0, -5.0])).unwrap(), [0, 1, 200, 255, 0]);
        assert!(bytes_of_floats(&bytes(&[0.0, f32::NAN])).is_err());
        // Scaled to -1..1, or less a mean: half of the picture would be black.
        assert!(bytes_of_floats(&bytes(&[-1.0, 0.5, 1.0])).is_err());
        assert!(bytes_of_floats(&bytes(&[-103.9, 0.5, 151.0])).is_err());
        assert_eq!(bytes_of_floats(&bytes(&[-0.2, -0.01, 0.0])).unwrap(), [0, 0, 0]);
    }

    #[test]
    fn garbage_is_no_picture() {
        for input in [
            Input::File(b"\xff\xd8\xff garbage".to_vec()),
            Input::Base64("***".into()),
            Input::Base64(String::new()),
        ] {
            assert!(matches!(input.decode(), Err(Refusal::Bad(_))), "{input:?}");
        }
    }
}
