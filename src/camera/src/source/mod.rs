//! Where frames come from.
//!
//! | input | how |
//! |---|---|
//! | `-` | standard input: raw frames or JPEGs |
//! | a file or FIFO, with `format` | the same |
//! | a URL, `/dev/videoN`, any other file | `ffmpeg` or `gst-launch-1.0`, which this starts, writes YUV4MPEG2 |
//!
//! A new kind of stream is one more [`Parser`].

mod child;
mod ffmpeg;
mod gstreamer;
mod input;
mod layout;
mod mjpeg;
mod raw;
mod y4m;

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use frcnn_images::camera::Image;

pub(crate) use child::{Child, Handle, without_passwords};
use input::Input;
use layout::Layout;
use mjpeg::Mjpeg;
use raw::Raw;
use y4m::Y4m;

use crate::config::{Camera, Format, Reader, Stride};

/// What a look at a stream gave.
pub(crate) enum Step<'a> {
    /// A whole frame, and its time in the recording where the stream tells it.
    Frame(Image<&'a [u8]>, Option<Duration>),
    /// None yet.
    Nothing,
    /// Part of a frame was lost; go on.
    Corrupt,
    /// The stream ended in the middle of a frame.
    Cut(String),
    /// The stream ended.
    End,
}

/// Takes a stream apart.
pub(crate) trait Parser: Send {
    /// The next frame, or why there is none. Waits a moment at most.
    fn next<'a>(&'a mut self, input: &mut Input) -> io::Result<Step<'a>>;
}

/// What an input is, which says what its end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Standard input that is a pipe: it cannot be opened again.
    Pipe,
    /// A recording: its end is the end.
    File,
    /// A camera: it never ends. It is opened again.
    Camera,
}

/// An open source.
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// What was assumed of the input.
    pub(crate) assumed: Option<String>,
    pub(crate) child: Option<Child>,
    input: Input,
    parser: Box<dyn Parser>,
}

impl Source {
    pub(crate) fn next(&mut self) -> io::Result<Step<'_>> {
        self.input.begin();
        self.parser.next(&mut self.input)
    }
}

/// How an input is read, by its name and by what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Standard,
    Path,
    Child,
}

fn way(camera: &Camera) -> Way {
    if camera.input == "-" {
        return Way::Standard;
    }
    match camera.format {
        _ if is_url(&camera.input) || is_device(&camera.input) => Way::Child,
        Some(_) => Way::Path,
        None if is_fifo(&camera.input) => Way::Path,
        None => Way::Child,
    }
}

fn is_fifo(input: &str) -> bool {
    std::fs::metadata(input).is_ok_and(|about| about.file_type().is_fifo())
}

/// Whether what one reader has read of an input no other gets.
pub(crate) fn is_pipe(camera: &Camera) -> bool {
    match way(camera) {
        Way::Standard => true,
        Way::Path => is_fifo(&camera.input),
        Way::Child => false,
    }
}

/// Whether an input is the path of a file, FIFO or device.
pub(crate) fn is_path(input: &str) -> bool {
    !input.is_empty() && input != "-" && !is_url(input)
}

fn is_url(input: &str) -> bool {
    input.contains("://")
}

fn is_device(input: &str) -> bool {
    input.starts_with("/dev/video") || input.starts_with("/dev/v4l/")
}

/// Whether an input is a file of its own format, such as a film. Frames of a given format may come from a FIFO that another program
/// has still to make, and cameras come and go.
pub(crate) fn is_recording(camera: &Camera) -> bool {
    way(camera) == Way::Child && !is_url(&camera.input) && !is_device(&camera.input)
}

/// Whether frames are to be dropped rather than that they wait, if nobody says.
pub(crate) fn is_live(camera: &Camera) -> bool {
    camera.live.unwrap_or_else(|| is_url(&camera.input) || is_device(&camera.input))
}

/// Whether two cameras read the same in the same way: what else differs is a matter of settings.
pub(crate) fn is_same(a: &Camera, b: &Camera) -> bool {
    let how = |camera: &Camera| {
        let live = (is_live(camera), camera.live == Some(false));
        (camera.format, camera.size, camera.stride, camera.colour, live, camera.reader)
    };
    a.input == b.input && how(a) == how(b)
}

/// What can be said of an input before it is opened.
///
/// # Errors
/// What is missing, or does not go together.
pub(crate) fn check(camera: &Camera) -> Result<(), String> {
    let raw = camera.format != Some(Format::Mjpeg);
    match way(camera) {
        Way::Child if camera.stride.is_some() => {
            return Err("stride: is for raw frames on a pipe or in a file".into());
        }
        Way::Child if camera.colour.is_some() => {
            return Err("colour: is for raw frames on a pipe or in a file".into());
        }
        Way::Child if is_url(&camera.input) && camera.format.is_some() => {
            return Err("format: a URL is read by ffmpeg or GStreamer, which know it".into());
        }
        Way::Child => return Ok(()),
        Way::Standard | Way::Path => {}
    }
    if !raw {
        return match camera.stride {
            Some(_) => Err("stride: is for raw frames, not for JPEGs".into()),
            None => Ok(()),
        };
    }
    let Some(layout) = layout(camera) else {
        let from = if camera.input == "-" { "standard input" } else { "a pipe or file" };
        return Err(format!("raw frames on {from} need --format and --size (format, size)"));
    };
    if let Some(Stride::Bytes(bytes)) = camera.stride
        && bytes < layout.row()
    {
        return Err(format!("stride: rows of {} pixels have {} bytes", layout.width, layout.row()));
    }
    Ok(())
}

fn layout(camera: &Camera) -> Option<Layout> {
    let size = camera.size?;
    let format = camera.format.filter(|format| *format != Format::Mjpeg)?;
    let colour = camera.colour.unwrap_or_default();
    Some(Layout { format, colour, width: size.width, height: size.height, stride: Stride::Packed })
}

/// Opens a camera's input. `handle` is where whoever ends the program finds the child.
///
/// # Errors
/// It is not there, or nothing can be started that reads it.
pub(crate) fn open(camera: &Camera, handle: &Handle) -> Result<Source, String> {
    let path = Path::new(&camera.input);
    let here = |error: &dyn std::fmt::Display| format!("{}: {error}", camera.input);
    let (input, kind) = match way(camera) {
        Way::Child => {
            if !is_url(&camera.input)
                && let Err(error) = std::fs::metadata(path)
            {
                return Err(here(&error));
            }
            let kind = if is_recording(camera) { Kind::File } else { Kind::Camera };
            let (child, output) = child::start(camera, kind, is_live(camera), handle)?;
            let input = Input::of(output).map_err(|error| here(&error))?;
            let parser = Box::new(match camera.reader {
                Reader::Ffmpeg => Y4m::packed(),
                Reader::Gstreamer => Y4m::of_gstreamer(),
            });
            return Ok(Source { kind, assumed: None, child: Some(child), input, parser });
        }
        Way::Standard => {
            let input = Input::standard().map_err(|error| format!("standard input: {error}"))?;
            let kind = if input.size().is_some() { Kind::File } else { Kind::Pipe };
            (input, kind)
        }
        Way::Path => {
            let input = Input::open(path).map_err(|error| here(&error))?;
            let kind = if input.size().is_some() { Kind::File } else { Kind::Camera };
            (input, kind)
        }
    };
    let (parser, assumed): (Box<dyn Parser>, _) = match layout(camera) {
        Some(layout) => {
            let (raw, assumed) = Raw::new(layout, camera.stride, &input)?;
            (Box::new(raw), assumed)
        }
        None => (Box::new(Mjpeg::default()), None),
    };
    Ok(Source { kind, assumed, child: None, input, parser })
}

#[cfg(test)]
mod tests;
