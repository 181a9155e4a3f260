//! Raw frames on a pipe, one after another: packed as `ffmpeg … -f rawvideo -` writes them, or padded as GStreamer does.
//! Nothing in the bytes tells the two apart. A file's size may; otherwise they are taken as packed, and that is said.

use std::io;

use frcnn_files::try_resize;

use super::input::{Got, Input};
use super::layout::Layout;
use super::{Parser, Step};
use crate::config::Stride;

/// The frame at hand.
pub(crate) struct Raw {
    layout: Layout,
    bytes: Vec<u8>,
    have: usize,
    /// That were read.
    total: u64,
}

impl Raw {
    /// `said`: how rows lie, if the user said so. The text is what was assumed of it.
    pub(crate) fn new(
        layout: Layout,
        said: Option<Stride>,
        input: &Input,
    ) -> Result<(Raw, Option<String>), String> {
        let (layout, assumed) = match said {
            Some(stride) => (layout.with(stride), None),
            None => assume(layout, input.size().unwrap_or(0)),
        };
        let mut bytes = Vec::new();
        try_resize(&mut bytes, layout.size(), 0)
            .map_err(|error| format!("no memory for a frame of {} bytes", error.bytes))?;
        Ok((Raw { layout, bytes, have: 0, total: 0 }, assumed))
    }

    /// The stream ended where no frame does: what would have fitted.
    fn explain_rest(&self) -> String {
        let size = self.bytes.len();
        let fits = |stride| self.total.is_multiple_of(self.layout.with(stride).size() as u64);
        let hint = match self.layout.stride {
            Stride::Packed | Stride::Bytes(_) if fits(Stride::Gstreamer) => {
                "; they are whole frames by --stride gstreamer"
            }
            Stride::Gstreamer | Stride::Bytes(_) if fits(Stride::Packed) => {
                "; they are whole frames by --stride packed"
            }
            _ => "",
        };
        format!("the stream ended within a frame: {} bytes are not a multiple of {size}{hint}", self.total)
    }
}

/// Where nothing was said: the layout, and what is assumed if the layouts differ.
fn assume(layout: Layout, file: u64) -> (Layout, Option<String>) {
    let (packed, padded) = (layout.with(Stride::Packed), layout.with(Stride::Gstreamer));
    let (short, long) = (packed.size() as u64, padded.size() as u64);
    if short == long {
        return (packed, None);
    }
    let fits = |size: u64| file > 0 && file.is_multiple_of(size);
    if fits(short) && !fits(long) {
        return (packed, None);
    }
    let is_padded = fits(long) && !fits(short);
    let told = format!(
        "{} x {}: frames are taken as {}; ffmpeg writes {short} bytes a frame, GStreamer {long}; --stride packed, gstreamer or BYTES \
         says which",
        layout.width,
        layout.height,
        if is_padded { "GStreamer's by the file's size" } else { "packed" },
    );
    (if is_padded { padded } else { packed }, Some(told))
}

impl Parser for Raw {
    fn next<'a>(&'a mut self, input: &mut Input) -> io::Result<Step<'a>> {
        if self.have == self.bytes.len() {
            self.have = 0;
        }
        while self.have < self.bytes.len() {
            match input.read(&mut self.bytes[self.have..])? {
                Got::Bytes(bytes) => {
                    self.have += bytes;
                    self.total += bytes as u64;
                }
                Got::Nothing => return Ok(Step::Nothing),
                Got::End if self.have == 0 => return Ok(Step::End),
                Got::End => return Ok(Step::Cut(self.explain_rest())),
            }
        }
        match self.layout.image(&self.bytes) {
            Ok(image) => Ok(Step::Frame(image, None)),
            Err(_) => Ok(Step::Corrupt),
        }
    }
}
