//! A JPEG's segments: which are needed, and whether its scans are whole.
//!
//! The decoder behind this reads bits behind the end of a scan as zeros and says nothing. So each scan is held to its
//! length here, in one of two ways:
//!
//! - A picture in one sequential scan (a camera's frames, most photos) gets 64 ones behind its data. No Huffman code
//!   consists of ones only, so a decoder that needs more bits than there are meets an error. This costs no time.
//! - Progressive pictures and those in several scans are read code by code first ([`entropy`](super::entropy)).

use frcnn_files::try_reserve;
use memchr::memchr;

use super::Rules;
use super::entropy::Seen;
use super::frame::{Frame, Scan};
use super::tables::{self, STANDARD, Tables};
use crate::error::{Error, within};
use crate::orientation;

/// What the decoder gets.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) bytes: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// EXIF, 1 to 8.
    pub(super) orientation: u8,
    /// The end-of-image marker is there.
    pub(super) ended: bool,
}

/// Ones behind a scan: more than a decoder takes for what it is in the middle of (15 bits) and the code after it (16).
const ONES: [u8; 16] = [255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0];

/// Reads the segments of `jpeg` and writes those that the decoder needs.
///
/// Huffman tables that are missing become the standard ones (T.81, K.3), as in a camera's MJPEG. Bytes between
/// segments and behind the end are passed over.
pub(super) fn walk(jpeg: &[u8], rules: &Rules) -> Result<Walked, Error> {
    let mut walk = Walk {
        jpeg,
        at: 2,
        out: Vec::new(),
        tables: Tables::default(),
        frame: None,
        interval: 0,
        orientation: 1,
        scans: 0,
        seen: None,
        rules,
    };
    let capacity = jpeg.len().saturating_add(1024);
    let no_memory =
        |_| Error::TooLarge(format!("a JPEG of {capacity} bytes is more than there is memory for"));
    try_reserve(&mut walk.out, capacity).map_err(no_memory)?;
    walk.out.extend([0xff, 0xd8]);
    let outcome = walk.segments();
    let ended = outcome.is_ok();
    match outcome {
        Err(Stop::Refused(error)) if !rules.lenient || walk.scans == 0 => return Err(error),
        _ => {}
    }
    let Some(frame) = walk.frame.filter(|_| walk.scans > 0) else {
        return Err(Error::Short("the JPEG ends before its pixels".to_string()));
    };
    if let (Some(seen), false) = (walk.seen, rules.lenient) {
        seen.complete()?;
    }
    walk.out.extend([0xff, 0xd9]);
    let Walk { out: bytes, orientation, .. } = walk;
    Ok(Walked { bytes, width: frame.width, height: frame.height, orientation, ended })
}

/// Why the walk ended before the end of the image.
enum Stop {
    /// No more segments.
    NoEnd,
    Refused(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

struct Walk<'a> {
    jpeg: &'a [u8],
    at: usize,
    out: Vec<u8>,
    tables: Tables<'a>,
    frame: Option<Frame>,
    /// Units between restart markers, 0 for none.
    interval: u32,
    orientation: u8,
    scans: u32,
    /// Only where the scans are read here.
    seen: Option<Seen>,
    rules: &'a Rules,
}

/// More scans are against no rule, but each costs the decoder a pass over all blocks. libjpeg's script has 10.
const MAX_SCANS: u32 = 100;

impl<'a> Walk<'a> {
    fn segments(&mut self) -> Result<(), Stop> {
        loop {
            let (marker, body) = segment(self.jpeg, &mut self.at)?.ok_or(Stop::NoEnd)?;
            match marker {
                0xd9 => return Ok(()),
                0xc4 => {
                    tables::parse(body, &mut self.tables)?;
                    self.copy(marker, body);
                }
                0xcc => {
                    Frame::parse(9, body)?;
                }
                0xc0..=0xcf if marker != 0xc8 => {
                    if self.frame.is_some() {
                        return Err(Error::Damaged("the JPEG has two frame headers".to_string()).into());
                    }
                    self.frame = Some(self.checked(Frame::parse(marker & 15, body)?)?);
                    self.copy(marker, body);
                }
                0xdb => self.copy(marker, body),
                0xdd => {
                    let interval = body.try_into().map(u16::from_be_bytes);
                    let bad = |_| Error::Damaged("the JPEG's restart interval is none".to_string());
                    self.interval = u32::from(interval.map_err(bad)?);
                    self.copy(marker, body);
                }
                0xda => self.scan(body)?,
                0xe1 => self.orientation = exif(body).unwrap_or(self.orientation),
                // Adobe's says which colours the channels are: 0 to 2; others are taken for what the channels suggest.
                0xee if body.starts_with(b"Adobe")
                    && body.get(11).is_some_and(|transform| *transform < 3) =>
                {
                    self.copy(marker, &body[..12]);
                }
                _ => {}
            }
        }
    }

    fn copy(&mut self, marker: u8, body: &[u8]) {
        let [high, low] = (body.len() as u16 + 2).to_be_bytes();
        self.out.extend([0xff, marker, high, low]);
        self.out.extend(body);
    }

    fn checked(&self, frame: Frame) -> Result<Frame, Error> {
        let (width, height) = (frame.width, frame.height);
        let side = self.rules.max_side;
        if width.max(height) > side {
            return Err(Error::TooLarge(format!("{width} x {height} pixels; the longest side is {side}")));
        }
        Ok(frame)
    }

    fn scan(&mut self, body: &'a [u8]) -> Result<(), Stop> {
        let Some(frame) = &self.frame else {
            return Err(Error::Damaged("the JPEG has a scan before its frame header".to_string()).into());
        };
        let scan = frame.scan(body)?;
        let alone = !frame.progressive && scan.parts.len() == frame.components.len();
        if self.scans == 0 {
            let turned = self.rules.upright && (5..=8).contains(&self.orientation);
            let copies = if turned { 2 } else { 1 };
            let pixels = u64::from(frame.width) * u64::from(frame.height) * 3;
            // What the decoder keeps of the whole picture: coefficients in 16 bits, here 64 bits for each block.
            let blocks = if alone { 0 } else { frame.all_blocks() * (64 * 2 + 8) };
            // Rows of samples in 16 bits, before and after upsampling, at most 32 high.
            let rows = u64::from(frame.width) * frame.components.len() as u64 * 32 * 2 * 2;
            let needed = (pixels * copies).max(pixels + blocks) + rows + self.jpeg.len() as u64;
            within(frame.width, frame.height, needed, self.rules.max_bytes)?;
            if !frame.progressive {
                self.standard_tables();
            }
        } else if alone || self.seen.is_none() {
            return Err(Error::Damaged("the JPEG has more scans than pixels".to_string()).into());
        }
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(Error::Unsupported(format!("is a JPEG of more than {MAX_SCANS} scans")).into());
        }
        let (segments, in_order) = self.entropy_coded();
        let strict = self.check(&scan, alone, &segments, in_order);
        self.copy(0xda, body);
        let last = segments.len() - 1;
        for (index, segment) in segments.iter().enumerate() {
            self.out.extend_from_slice(segment);
            if alone && !self.rules.lenient {
                self.out.extend(ONES);
            }
            if index < last {
                self.out.extend([0xff, 0xd0 + (index % 8) as u8]);
            }
        }
        Ok(strict?)
    }

    /// Whether the scan has as many restart intervals and bits as its blocks demand.
    fn check(&mut self, scan: &Scan, alone: bool, segments: &[&[u8]], in_order: bool) -> Result<(), Error> {
        let Some(frame) = &self.frame else { return Ok(()) };
        let (units, blocks) = frame.extent(scan);
        let due = if self.interval == 0 { 1 } else { units.div_ceil(u64::from(self.interval)) };
        let found = segments.len() as u64;
        if self.interval == 0 && found > 1 {
            return Err(Error::Damaged("the JPEG has restart markers that it does not announce".to_string()));
        }
        if !in_order {
            return Err(Error::Damaged("a restart interval of the JPEG is missing".to_string()));
        }
        if found < due {
            let problem = format!("the JPEG has {found} restart intervals of {due}");
            return Err(Error::Short(problem));
        }
        let shortest =
            |class: usize, index: usize| self.tables[class][index].map_or(1, |table| table.shortest());
        let bits: u64 = segments.iter().map(|segment| segment.len() as u64 * 8).sum();
        let refines = frame.progressive && scan.high > 0;
        if !(frame.progressive && scan.from > 0) {
            let ac = |index| if frame.progressive { 0 } else { shortest(1, index) };
            let each = scan
                .parts
                .iter()
                .map(|p| if refines { 1 } else { shortest(0, p.tables[0]) + ac(p.tables[1]) });
            let least = blocks * each.min().unwrap_or(1);
            if bits < least {
                let (width, height) = (frame.width, frame.height);
                return Err(Error::Short(format!(
                    "the JPEG claims {width} x {height} pixels, which take {least} bits or more, and has {bits}"
                )));
            }
        }
        if alone {
            return Ok(());
        }
        let seen = self.seen.get_or_insert_default();
        seen.scan(frame, scan, &self.tables, segments, self.interval)
    }

    /// Puts the standard tables where the file has none.
    fn standard_tables(&mut self) {
        for (class, (tables, standard)) in (0..).zip(self.tables.iter_mut().zip(STANDARD)) {
            for (index, (table, standard)) in (0..).zip(tables.iter_mut().zip(standard)) {
                if table.is_none() {
                    standard.write(class, index, &mut self.out);
                    *table = Some(standard);
                }
            }
        }
    }

    /// The bytes up to the next marker that is no restart marker, divided at those, and whether those count up.
    fn entropy_coded(&mut self) -> (Vec<&'a [u8]>, bool) {
        let jpeg = self.jpeg;
        let (mut segments, mut start, mut at, mut in_order) = (Vec::new(), self.at, self.at, true);
        loop {
            let Some(found) = memchr(0xff, &jpeg[at..]) else {
                segments.push(&jpeg[start..]);
                self.at = jpeg.len();
                return (segments, in_order);
            };
            at += found;
            match jpeg.get(at + 1) {
                Some(0) => at += 2,
                // Fill bytes before a marker; the first of them ends the data.
                Some(0xff) => {
                    let fill = jpeg[at..].iter().take_while(|byte| **byte == 0xff).count();
                    match jpeg.get(at + fill) {
                        // 255 and stuffing behind other fill.
                        Some(0) => at += fill + 1,
                        Some(marker @ 0xd0..=0xd7) => {
                            in_order &= usize::from(marker - 0xd0) == segments.len() % 8;
                            segments.push(&jpeg[start..at]);
                            at += fill + 1;
                            start = at;
                        }
                        _ => {
                            segments.push(&jpeg[start..at]);
                            self.at = at;
                            return (segments, in_order);
                        }
                    }
                }
                Some(marker @ 0xd0..=0xd7) => {
                    in_order &= usize::from(marker - 0xd0) == segments.len() % 8;
                    segments.push(&jpeg[start..at]);
                    at += 2;
                    start = at;
                }
                _ => {
                    segments.push(&jpeg[start..at]);
                    self.at = at;
                    return (segments, in_order);
                }
            }
        }
    }
}

/// The next marker and what belongs to it; none at the end of the data.
fn segment<'a>(jpeg: &'a [u8], at: &mut usize) -> Result<Option<(u8, &'a [u8])>, Error> {
    loop {
        let Some(found) = memchr(0xff, jpeg.get(*at..).unwrap_or_default()) else {
            *at = jpeg.len();
            return Ok(None);
        };
        *at += found + 1;
        let Some(&marker) = jpeg.get(*at) else { return Ok(None) };
        match marker {
            // Stuffing or fill: no marker.
            0 | 0xff => {}
            0xd9 => {
                *at += 1;
                return Ok(Some((marker, &[])));
            }
            // Markers without a segment, out of place.
            0x01 | 0xd0..=0xd8 => *at += 1,
            _ => {
                let cut = || Error::Short("the JPEG ends within a segment".to_string());
                let rest = &jpeg[*at + 1..];
                let [high, low, ..] = rest else { return Err(cut()) };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length < 2 {
                    return Err(Error::Damaged("a segment of the JPEG has no length".to_string()));
                }
                let body = rest.get(2..length).ok_or_else(cut)?;
                *at += 1 + length;
                return Ok(Some((marker, body)));
            }
        }
    }
}

/// The orientation of an APP1 segment, none where it is no EXIF block.
fn exif(body: &[u8]) -> Option<u8> {
    body.strip_prefix(b"Exif\0\0").map(orientation::of_exif)
}
