//! JPEGs one after another on a pipe: `ffmpeg … -f mjpeg -` and many network cameras write them, the latter often as parts of a
//! multipart HTTP response.
//!
//! A JPEG is followed segment by segment, so that a thumbnail inside it is not taken for its end. Where that fails, the next start
//! of an image is looked for and the frame is counted as corrupt. What looks whole may still be damaged inside; the decoder finds
//! that. Between images there may be zeros, further ends of an image, and the lines of multipart; other bytes are counted as one
//! corrupt frame.
//!
//! No byte is looked at more than a few times, whatever the stream holds.

use std::io;

use frcnn_files::try_resize;
use frcnn_images::camera::Image;

use super::input::{Got, Input};
use super::{Parser, Step};

/// Of one image at most.
const ROOM: usize = 16 << 20;
/// Room for further bytes that is made at a time.
const CHUNK: usize = 64 << 10;
/// Bytes of multipart's lines before an image at most.
const TEXT: usize = 64 << 10;
/// Bytes by which the beginning of a line is known.
const WORD: usize = 10;

/// Where the stream stands.
#[derive(Default)]
pub(crate) struct Mjpeg {
    bytes: Vec<u8>,
    /// What was read and not given back.
    start: usize,
    end: usize,
    image: Option<Walk>,
    /// The image at `start` was handed out.
    handed_out: bool,
    /// Before it lies the segment in which the last image broke, with a thumbnail, perhaps.
    nested: usize,
    gap: Gap,
    /// The damage at hand was told.
    counted: bool,
    ended: bool,
}

/// Of the image that begins at `start`.
#[derive(Clone, Copy)]
struct Walk {
    /// `at` stands in compressed pixels.
    in_scan: bool,
    /// How far it was followed.
    at: usize,
    /// Where to look for another start if this is none.
    retry: usize,
}

/// Of the bytes between images.
#[derive(Default)]
struct Gap {
    /// How a line begins.
    line: Vec<u8>,
    text: usize,
    /// There are lines that are none of multipart's …
    strange: bool,
    /// … unless such were seen before or beside them.
    multipart: bool,
}

impl Gap {
    fn end_line(&mut self) {
        if self.line.len() >= 8 && self.line[..8].eq_ignore_ascii_case(b"content-") {
            self.multipart = true;
        } else if !self.line.is_empty() && !self.line.starts_with(b"--") {
            self.strange = true;
        }
        self.line.clear();
    }

    /// A byte that is neither padding nor a marker; whether it belongs there.
    fn take(&mut self, byte: u8) -> bool {
        if byte == b'\r' || byte == b'\n' {
            self.end_line();
        } else if (byte < b' ' && byte != b'\t') || byte > b'~' || self.text >= TEXT {
            return false;
        } else {
            if self.line.len() < WORD {
                self.line.push(byte);
            }
            self.text += 1;
        }
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Whole,
    More,
    Broken,
}

impl Mjpeg {
    /// Whether what lay between two images must be told as corrupt.
    fn end_gap(&mut self) -> bool {
        self.gap.end_line();
        let corrupt = self.gap.strange && !self.gap.multipart && !self.counted;
        self.gap.strange = false;
        self.gap.text = 0;
        self.counted |= corrupt;
        corrupt
    }

    /// Passes over what lies between images, up to a start; whether something was lost.
    fn pass_gap(&mut self) -> bool {
        while self.start < self.end {
            let byte = self.bytes[self.start];
            if byte == 0xff {
                if self.start + 1 == self.end {
                    return false;
                }
                match self.bytes[self.start + 1] {
                    0xd8 => {
                        let behind = self.start + 2;
                        self.image = Some(Walk { in_scan: false, at: behind, retry: behind });
                        return self.end_gap();
                    }
                    0xd9 => {
                        self.start += 2;
                        continue;
                    }
                    0xff => {
                        self.start += 1;
                        continue;
                    }
                    _ => {}
                }
            }
            self.start += 1;
            if byte != 0 && !self.gap.take(byte) && !self.counted {
                self.counted = true;
                return true;
            }
        }
        false
    }

    /// Follows the JPEG at the start as far as there are bytes.
    fn follow(&mut self, walk: &mut Walk) -> Progress {
        let bytes = &self.bytes[..self.end];
        loop {
            if walk.in_scan {
                let found = memchr::memchr(0xff, &bytes[walk.at..]);
                walk.at = found.map_or(self.end, |found| walk.at + found);
                walk.retry = walk.at;
                match bytes.get(walk.at + 1) {
                    None => return Progress::More,
                    // A stuffed FF, or a restart marker.
                    Some(0x00 | 0xd0..=0xd7) => {
                        walk.at += 2;
                        continue;
                    }
                    // A fill byte.
                    Some(0xff) => {
                        walk.at += 1;
                        continue;
                    }
                    Some(_) => walk.in_scan = false,
                }
            }
            let Some(&[ff, marker]) = bytes.get(walk.at..walk.at + 2) else { return Progress::More };
            match (ff, marker) {
                (0xff, 0xff) => {
                    walk.at += 1;
                    continue;
                }
                (0xff, 0xd9) => {
                    walk.at += 2;
                    return Progress::Whole;
                }
                (0xff, 0xd8) => {
                    walk.retry = walk.at;
                    return Progress::Broken;
                }
                (0xff, 0xc0..=0xcf | 0xda..) => {}
                _ => return Progress::Broken,
            }
            let Some(&[high, low]) = bytes.get(walk.at + 2..walk.at + 4) else { return Progress::More };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < 2 {
                return Progress::Broken;
            }
            if length > self.end - walk.at - 2 {
                return Progress::More;
            }
            walk.retry = walk.at + 2;
            walk.at += 2 + length;
            walk.in_scan = marker == 0xda;
            // Damage from here on is that of another image.
            if walk.at > self.nested {
                self.counted = false;
            }
        }
    }

    /// Goes on behind an image that is none; whether that must be told.
    fn give_up(&mut self, from: usize, nested: usize) -> bool {
        let corrupt = !self.counted;
        self.start = from.min(self.end);
        self.nested = nested;
        self.image = None;
        self.counted = true;
        corrupt
    }

    /// Moves what is kept to the front, if that costs no more than was read since, or if there is no other room.
    fn make_room(&mut self) {
        let (kept, moved) = (self.end - self.start, self.start);
        if moved == 0 || (kept > moved && self.end < ROOM) {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, kept);
        self.nested = self.nested.saturating_sub(moved);
        if let Some(walk) = &mut self.image {
            walk.at = walk.at.saturating_sub(moved);
            walk.retry = walk.retry.saturating_sub(moved);
        }
        // One huge image does not keep its memory for ever.
        if self.bytes.len() > CHUNK && self.end < self.bytes.len() / 8 {
            self.bytes.truncate((self.end + CHUNK).next_multiple_of(CHUNK));
            self.bytes.shrink_to_fit();
        }
    }

    fn read(&mut self, input: &mut Input) -> io::Result<Got> {
        let room = (self.end + CHUNK).min(ROOM);
        if self.bytes.len() < room {
            let grown = try_resize(&mut self.bytes, room, 0);
            grown.map_err(|error| io::Error::other(format!("no memory for {} bytes", error.bytes)))?;
        }
        let got = input.read(&mut self.bytes[self.end..room])?;
        if let Got::Bytes(bytes) = got {
            self.end += bytes;
        }
        Ok(got)
    }
}

impl Parser for Mjpeg {
    fn next<'a>(&'a mut self, input: &mut Input) -> io::Result<Step<'a>> {
        if std::mem::take(&mut self.handed_out) {
            self.start = self.image.take().map_or(self.start, |walk| walk.at);
            self.counted = false;
        }
        loop {
            if self.image.is_none() && self.pass_gap() {
                return Ok(Step::Corrupt);
            }
            let mut progress = Progress::More;
            if let Some(mut walk) = self.image {
                progress = self.follow(&mut walk);
                self.image = Some(walk);
            }
            self.make_room();
            let full = progress == Progress::More && self.end == ROOM;
            if let Some(walk) = self.image {
                if progress == Progress::Whole && walk.at > self.nested {
                    self.handed_out = true;
                    return Ok(Step::Frame(Image::jpeg(&self.bytes[self.start..walk.at]), None));
                }
                if progress != Progress::More || full {
                    // A whole thumbnail of a broken image, a broken image, or one that is too large.
                    let from = if progress == Progress::Broken { walk.retry } else { walk.at };
                    let nested = if progress == Progress::Broken { walk.at } else { self.nested };
                    if self.give_up(from, nested) {
                        return Ok(Step::Corrupt);
                    }
                    continue;
                }
            }
            if self.ended {
                if self.image.is_none() && self.end_gap() {
                    return Ok(Step::Corrupt);
                }
                let cut = self.start < self.end && !self.counted;
                self.start = self.end;
                self.image = None;
                return Ok(if cut { Step::Cut("the stream ended within a frame".into()) } else { Step::End });
            }
            match self.read(input)? {
                Got::Bytes(_) => {}
                Got::Nothing => return Ok(Step::Nothing),
                Got::End => self.ended = true,
            }
        }
    }
}
