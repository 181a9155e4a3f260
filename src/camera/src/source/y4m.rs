//! YUV4MPEG2, which ffmpeg and GStreamer write: raw frames of 4:2:0 with their size in a header.

use std::io;
use std::time::Duration;

use frcnn_files::try_resize;
use frcnn_images::camera::{Colour, Format};

use super::input::{Got, Input};
use super::layout::Layout;
use super::{Parser, Step};
use crate::config::Stride;

/// A line of the header, or before a frame, is shorter than this.
const LINE: usize = 1024;
/// Bytes of a frame at most: some more than 8192 x 8192 pixels take.
const MOST: usize = 128 << 20;

/// What each frame begins with.
const FRAME: &[u8] = b"FRAME";

/// The stream, from its header on.
#[derive(Default)]
pub(crate) struct Y4m {
    /// Rows may be padded, which is against the format: GStreamer 1.22 writes them so, and newer ones do not.
    may_pad: bool,
    header: Option<Header>,
    /// As rows were found to lie.
    layout: Option<Layout>,
    /// A line without its end, or a frame's and the beginning of the next.
    bytes: Vec<u8>,
    have: usize,
    in_frame: bool,
    done: bool,
    frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    layout: Layout,
    /// Of one frame.
    seconds: f64,
}

fn damaged(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

impl Header {
    fn parse(line: &[u8]) -> io::Result<Header> {
        let line = std::str::from_utf8(line).map_err(|_| damaged("no YUV4MPEG2 header"))?;
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(damaged("no YUV4MPEG2 header"));
        }
        let (mut width, mut height, mut seconds) = (0, 0, 0.04);
        let mut format = Format::I420;
        let mut colour = Colour::Bt601Limited;
        for word in words {
            let Some(kind) = word.chars().next() else { continue };
            let value = &word[kind.len_utf8()..];
            match kind {
                'W' => width = value.parse().unwrap_or(0),
                'H' => height = value.parse().unwrap_or(0),
                'F' => {
                    let (frames, per) = value.split_once(':').unwrap_or((value, "1"));
                    let rate = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
                    if let (Some(frames), Some(per)) = (rate(frames), rate(per)) {
                        seconds = (per / frames).clamp(1e-4, 60.0);
                    }
                }
                'C' if value.starts_with("420") && !value.starts_with("420p1") => format = Format::I420,
                'C' if value == "mono" => format = Format::Gray8,
                'C' => return Err(damaged(format!("frames of {value}, and not of 4:2:0"))),
                'X' if value == "COLORRANGE=FULL" => colour = Colour::Bt601Full,
                _ => {}
            }
        }
        let sides = 1..=frcnn::Frame::MAX_SIDE;
        let layout = Layout { format, colour, width, height, stride: Stride::Packed };
        if !sides.contains(&width) || !sides.contains(&height) || layout.size() > MOST {
            let most = format!("at most {} on a side and {} MiB", frcnn::Frame::MAX_SIDE, MOST >> 20);
            return Err(damaged(format!("frames of {width} x {height} pixels; they may have {most}")));
        }
        Ok(Header { layout, seconds })
    }
}

impl Y4m {
    /// What ffmpeg writes.
    pub(crate) fn packed() -> Y4m {
        Y4m::default()
    }

    /// What GStreamer writes, in which rows are packed or padded.
    pub(crate) fn of_gstreamer() -> Y4m {
        Y4m { may_pad: true, ..Y4m::default() }
    }

    /// Bytes up to `len`; `Err` holds what there is instead.
    fn fill(&mut self, len: usize, input: &mut Input) -> io::Result<Result<(), Got>> {
        if self.bytes.len() < len {
            try_resize(&mut self.bytes, len, 0)
                .map_err(|error| damaged(format!("no memory for {} bytes", error.bytes)))?;
        }
        while self.have < len {
            match input.read(&mut self.bytes[self.have..])? {
                Got::Bytes(bytes) => self.have += bytes,
                other => return Ok(Err(other)),
            }
        }
        Ok(Ok(()))
    }

    /// A line, which is short: byte by byte costs nothing beside the frame behind it.
    fn line(&mut self, input: &mut Input) -> io::Result<Result<(), Got>> {
        while self.bytes.last() != Some(&b'\n') || self.have == 0 {
            if self.have == LINE {
                return Err(damaged("a header without an end"));
            }
            if let Err(other) = self.fill(self.have + 1, input)? {
                self.bytes.truncate(self.have);
                return Ok(Err(other));
            }
        }
        Ok(Ok(()))
    }

    /// How rows lie, which shows at what follows the first frame.
    fn learn(&mut self, packed: Layout, input: &mut Input) -> io::Result<Result<Layout, Got>> {
        let padded = packed.with(Stride::Gstreamer);
        let (size, padded_size) = (packed.size(), padded.size());
        if !self.may_pad || size == padded_size {
            return Ok(Ok(packed));
        }
        Ok(match self.fill(size + FRAME.len(), input)? {
            Ok(()) if self.bytes[size..].starts_with(FRAME) => Ok(packed),
            Ok(()) => Ok(padded),
            Err(Got::End) if self.have == size => Ok(packed),
            Err(Got::End) if self.have == padded_size => Ok(padded),
            Err(other) => Err(other),
        })
    }

    /// The first `len` bytes are done with.
    fn pass(&mut self, len: usize) {
        self.bytes.truncate(self.have);
        self.bytes.drain(..len);
        self.have -= len;
    }

    fn ended(&self, got: Got) -> Step<'static> {
        match got {
            Got::End if self.have == 0 && !self.in_frame => Step::End,
            Got::End => Step::Cut("the stream ended within a frame".into()),
            _ => Step::Nothing,
        }
    }
}

impl Parser for Y4m {
    fn next<'a>(&'a mut self, input: &mut Input) -> io::Result<Step<'a>> {
        if std::mem::take(&mut self.done) {
            self.in_frame = false;
            self.pass(self.layout.map_or(0, |layout| layout.size()));
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                if let Err(got) = self.line(input)? {
                    return Ok(self.ended(got));
                }
                let header = Header::parse(&self.bytes[..self.have - 1])?;
                self.pass(self.have);
                *self.header.insert(header)
            }
        };
        if !self.in_frame {
            if let Err(got) = self.line(input)? {
                return Ok(self.ended(got));
            }
            if !self.bytes.starts_with(FRAME) {
                return Err(damaged("no frame where one must begin"));
            }
            self.pass(self.have);
            self.in_frame = true;
        }
        let layout = match self.layout {
            Some(layout) => layout,
            None => match self.learn(header.layout, input)? {
                Ok(layout) => *self.layout.insert(layout),
                Err(got) => return Ok(self.ended(got)),
            },
        };
        let size = layout.size();
        if let Err(got) = self.fill(size, input)? {
            return Ok(self.ended(got));
        }
        self.done = true;
        self.frames += 1;
        let time = Duration::from_secs_f64((self.frames - 1) as f64 * header.seconds);
        let image = layout.image(&self.bytes[..size]).map_err(|error| damaged(error.to_string()))?;
        Ok(Step::Frame(image, Some(time)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Corners of each frame, and how the stream ended.
    fn corners(bytes: &[u8], mut parser: Y4m) -> (Vec<[u8; 2]>, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut input = Input::open(file.path()).unwrap();
        let mut converter = frcnn_images::camera::Converter::default();
        let mut frames = Vec::new();
        loop {
            match parser.next(&mut input) {
                Ok(Step::Frame(image, _)) => {
                    let frame = converter.run(&image).unwrap();
                    let last = frame.row(frame.height() as usize - 1);
                    frames.push([frame.row(0)[0], last[last.len() - 1]]);
                }
                Ok(Step::End) => return (frames, "end".into()),
                Ok(Step::Cut(problem)) => return (frames, problem),
                Ok(Step::Nothing | Step::Corrupt) => {}
                Err(error) => return (frames, error.to_string()),
            }
        }
    }

    /// Grey frames with black first and white last pixels; what rows are padded with is no colour of theirs.
    fn stream(layout: Layout, frames: usize) -> Vec<u8> {
        let (stride, rows) = match layout.stride {
            Stride::Packed => (layout.row(), layout.height as usize),
            _ => (layout.row().next_multiple_of(4), (layout.height as usize).next_multiple_of(2)),
        };
        let mut frame = vec![128; layout.size()];
        frame[..stride * rows].fill(126);
        frame[0] = 16;
        frame[(layout.height as usize - 1) * stride + layout.row() - 1] = 235;
        let mut bytes =
            format!("YUV4MPEG2 C420 W{} H{} Ip F25:1\n", layout.width, layout.height).into_bytes();
        (0..frames).for_each(|_| bytes.extend([b"FRAME\n", &frame[..]].concat()));
        bytes
    }

    #[test]
    fn rows_of_gstreamer_are_packed_or_padded() {
        for (width, height) in [(7, 2), (321, 241), (854, 480), (16, 3), (640, 480)] {
            let (format, colour) = (Format::I420, Colour::Bt601Limited);
            let layout = |stride| Layout { format, colour, width, height, stride };
            let padded = layout(Stride::Gstreamer).size() > layout(Stride::Packed).size();
            for frames in 1..=3 {
                let whole = (vec![[0, 255]; frames], "end".to_string());
                for stride in [Stride::Packed, Stride::Gstreamer] {
                    let bytes = stream(layout(stride), frames);
                    assert_eq!(corners(&bytes, Y4m::of_gstreamer()), whole, "{width} x {height} {stride:?}");
                    let (_, end) = corners(&bytes[..bytes.len() - 1], Y4m::of_gstreamer());
                    assert_eq!(end, "the stream ended within a frame", "{width} x {height} {stride:?}");
                }
                assert_eq!(corners(&stream(layout(Stride::Packed), frames), Y4m::packed()), whole);
                let (_, end) = corners(&stream(layout(Stride::Gstreamer), 2), Y4m::packed());
                assert_eq!(end != "end", padded, "{end}");
            }
        }
    }

    #[test]
    fn headers_of_ffmpeg_and_gstreamer() {
        let header = Header::parse(
            b"YUV4MPEG2 W321 H241 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED",
        )
        .unwrap();
        assert_eq!(
            (header.layout.width, header.layout.height, header.layout.size()),
            (321, 241, 321 * 241 + 2 * 161 * 121)
        );
        assert!((header.seconds - 1001.0 / 30000.0).abs() < 1e-9);
        assert_eq!(header.layout.colour, Colour::Bt601Limited);
        let header = Header::parse(b"YUV4MPEG2 C420 W4 H2 Ip F0:0 A1:1").unwrap();
        assert_eq!((header.layout.size(), header.seconds), (12, 0.04));
    }

    #[test]
    fn hostile_headers_are_refused() {
        for line in [
            &b"YUV4MPEG"[..],
            b"YUV4MPEG2",
            b"YUV4MPEG2 W0 H4",
            b"YUV4MPEG2 W99999 H4",
            b"YUV4MPEG2 W30000 H30000",
            b"YUV4MPEG2 W4 H4 C444",
            b"YUV4MPEG2 W4 H4 C420p10",
            b"YUV4MPEG2 W-4 H4 \xff",
            "YUV4MPEG2 W4 H4 é".as_bytes(),
        ] {
            let refused = Header::parse(line).is_err();
            assert_eq!(refused, line != "YUV4MPEG2 W4 H4 é".as_bytes(), "{}", String::from_utf8_lossy(line));
        }
    }
}
