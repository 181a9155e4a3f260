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

/// The stream, from its header on.
#[derive(Default)]
pub(crate) struct Y4m {
    header: Option<Header>,
    /// A line without its end, or a frame's.
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
            return Err(damaged(format!("frames of {width} x {height} pixels")));
        }
        Ok(Header { layout, seconds })
    }
}

impl Y4m {
    /// Bytes up to `len`; `Err` holds what there is instead.
    fn fill(&mut self, len: usize, input: &mut Input) -> io::Result<Result<(), Got>> {
        try_resize(&mut self.bytes, len, 0)
            .map_err(|error| damaged(format!("no memory for {} bytes", error.bytes)))?;
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

    fn start(&mut self) {
        self.have = 0;
        self.bytes.clear();
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
            self.start();
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                if let Err(got) = self.line(input)? {
                    return Ok(self.ended(got));
                }
                let header = Header::parse(&self.bytes[..self.have - 1])?;
                self.start();
                *self.header.insert(header)
            }
        };
        if !self.in_frame {
            if let Err(got) = self.line(input)? {
                return Ok(self.ended(got));
            }
            if !self.bytes.starts_with(b"FRAME") {
                return Err(damaged("no frame where one must begin"));
            }
            self.start();
            self.in_frame = true;
        }
        if let Err(got) = self.fill(header.layout.size(), input)? {
            return Ok(self.ended(got));
        }
        self.done = true;
        self.frames += 1;
        let time = Duration::from_secs_f64((self.frames - 1) as f64 * header.seconds);
        let image = header.layout.image(&self.bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(Step::Frame(image, Some(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
