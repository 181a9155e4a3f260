//! Whether scans are whole, by reading their Huffman codes and nothing else.
//!
//! Only what later codes depend on is kept: which coefficients are not zero (a refinement scan has one bit for each),
//! 64 bits for each block.

use frcnn_files::try_resize;

use super::frame::{Frame, Scan};
use super::tables::{Table, Tables};
use crate::Error;

/// What has been read of a picture in several scans.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By component: bit `k` of a block is set where its coefficient `k` (zigzag) is not zero.
    nonzero: Vec<Vec<u64>>,
    /// By component and coefficient: the bit down to which it has come.
    bits: Vec<[Option<u8>; 64]>,
}

impl Seen {
    /// Reads one scan. `segments` are its entropy-coded bytes, divided at the restart markers.
    pub(super) fn scan(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        tables: &Tables<'_>,
        segments: &[&[u8]],
        interval: u32,
    ) -> Result<(), Error> {
        let count = frame.components.len();
        self.bits.resize(count, [None; 64]);
        self.nonzero.resize(count, Vec::new());
        let coefficients = if frame.progressive { scan.from..=scan.to } else { 0..=63 };
        for part in &scan.parts {
            for k in coefficients.clone() {
                let bit = &mut self.bits[part.component][usize::from(k)];
                let due = if scan.high == 0 || !frame.progressive { None } else { Some(scan.high) };
                if *bit != due {
                    return Err(Error::Damaged("the JPEG's scans do not follow one another".to_string()));
                }
                *bit = Some(if frame.progressive { scan.low } else { 0 });
            }
        }
        let huffman: Vec<[Option<Huffman>; 2]> = scan
            .parts
            .iter()
            .map(|part| {
                let of = |class: usize| tables[class][part.tables[class]].map(Huffman::new).transpose();
                Ok([of(0)?, of(1)?])
            })
            .collect::<Result<_, Error>>()?;
        if frame.progressive && scan.from > 0 {
            // The scans before this one were whole, so that the file is as large as its blocks demand.
            let component = scan.parts[0].component;
            let (columns, rows) = frame.padded(frame.components[component]);
            let blocks = columns as usize * rows as usize;
            let nonzero = &mut self.nonzero[component];
            if nonzero.is_empty() {
                try_resize(nonzero, blocks, 0).map_err(|_| Error::TooLarge("too many blocks".to_string()))?;
            }
        }

        let (units, _) = frame.extent(scan);
        let interval = if interval == 0 { units } else { u64::from(interval) };
        let stride = frame.blocks(frame.components[scan.parts[0].component]).0 as usize;
        let padded = frame.padded(frame.components[scan.parts[0].component]).0 as usize;
        let mut unit = 0;
        for segment in segments {
            let mut bits = Bits::new(segment);
            let mut run = 0;
            for _ in 0..interval.min(units - unit) {
                for (part, huffman) in scan.parts.iter().zip(&huffman) {
                    let component = frame.components[part.component];
                    let blocks = if scan.parts.len() == 1 { 1 } else { component.h * component.v };
                    for _ in 0..blocks {
                        let read = match (frame.progressive, scan.from) {
                            (false, _) => sequential(&mut bits, huffman),
                            (true, 0) if scan.high > 0 => bits.take(1).map(|_| ()),
                            (true, 0) => dc(&mut bits, huffman),
                            (true, _) => {
                                let at = unit as usize / stride * padded + unit as usize % stride;
                                let block = &mut self.nonzero[part.component][at];
                                if scan.high == 0 {
                                    ac_first(&mut bits, huffman, scan, block, &mut run)
                                } else {
                                    ac_refine(&mut bits, huffman, scan, block, &mut run)
                                }
                            }
                        };
                        read.ok_or_else(|| early(unit, units))?;
                    }
                }
                unit += 1;
            }
        }
        if unit < units { Err(early(unit, units)) } else { Ok(()) }
    }

    /// # Errors
    /// Scans are missing: not every bit of every coefficient has come.
    pub(super) fn complete(&self) -> Result<(), Error> {
        if self.bits.iter().flatten().all(|bit| *bit == Some(0)) {
            return Ok(());
        }
        Err(Error::Short("the JPEG's last scans are missing".to_string()))
    }
}

fn early(unit: u64, units: u64) -> Error {
    Error::Short(format!("a scan of the JPEG is damaged or ends early ({unit} of {units} blocks are whole)"))
}

fn dc(bits: &mut Bits<'_>, [dc, _]: &[Option<Huffman>; 2]) -> Option<()> {
    let size = bits.symbol(dc.as_ref()?)?;
    bits.take(u32::from(size.min(16))).map(|_| ())
}

fn sequential(bits: &mut Bits<'_>, tables: &[Option<Huffman>; 2]) -> Option<()> {
    dc(bits, tables)?;
    let ac = tables[1].as_ref()?;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                bits.take(size)?;
                k += run + 1;
            }
        }
    }
    Some(())
}

/// G.1.2.2: the first scan of a band of coefficients.
fn ac_first(
    bits: &mut Bits<'_>,
    tables: &[Option<Huffman>; 2],
    scan: &Scan,
    block: &mut u64,
    run: &mut u32,
) -> Option<()> {
    if *run > 0 {
        *run -= 1;
        return Some(());
    }
    let ac = tables[1].as_ref()?;
    let mut k = u32::from(scan.from);
    while k <= u32::from(scan.to) {
        let symbol = bits.symbol(ac)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match (zeros, size) {
            (15, 0) => k += 16,
            (_, 0) => {
                *run = (1 << zeros) + bits.take(zeros)? - 1;
                break;
            }
            _ => {
                bits.take(size)?;
                k += zeros;
                *block |= 1 << (k & 63);
                k += 1;
            }
        }
    }
    Some(())
}

/// G.1.2.3: one more bit of a band: a bit for each coefficient that is not zero, codes for those that become so.
fn ac_refine(
    bits: &mut Bits<'_>,
    tables: &[Option<Huffman>; 2],
    scan: &Scan,
    block: &mut u64,
    run: &mut u32,
) -> Option<()> {
    let ac = tables[1].as_ref()?;
    let end = u32::from(scan.to);
    let mut k = u32::from(scan.from);
    if *run == 0 {
        while k <= end {
            let symbol = bits.symbol(ac)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            if size != 0 {
                bits.take(1)?;
            }
            while k <= end {
                if *block >> k & 1 == 1 {
                    bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size != 0 && k <= end {
                *block |= 1 << k;
            }
            k += 1;
        }
    }
    if *run > 0 {
        for k in k..=end {
            if *block >> k & 1 == 1 {
                bits.take(1)?;
            }
        }
        *run -= 1;
    }
    Some(())
}

/// A table made ready: T.81, Annex C.
struct Huffman {
    /// By the next 9 bits: length and symbol of a code that short, length 0 otherwise.
    short: Vec<(u8, u8)>,
    /// By length: one more than the last code, and what to add to a code for the index of its symbol.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

const SHORT: u32 = 9;

impl Huffman {
    fn new(table: Table<'_>) -> Result<Huffman, Error> {
        let mut huffman =
            Huffman { short: vec![(0, 0); 1 << SHORT], ends: [(0, 0); 17], symbols: table.symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(table.counts) {
            let count = u32::from(*count);
            // A code of ones only stays unused.
            if count > 0 && code + count >= 1 << length {
                return Err(Error::Damaged("a Huffman table has too many codes".to_string()));
            }
            if length <= SHORT {
                for (offset, symbol) in table.symbols[index..index + count as usize].iter().enumerate() {
                    let first = ((code as usize) + offset) << (SHORT - length);
                    huffman.short[first..first + (1 << (SHORT - length))].fill((length as u8, *symbol));
                }
            }
            huffman.ends[length as usize] = (code + count, index as i32 - code as i32);
            code = (code + count) << 1;
            index += count as usize;
        }
        Ok(huffman)
    }
}

/// Bits of a segment, stuffing taken out.
struct Bits<'a> {
    bytes: std::slice::Iter<'a, u8>,
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(segment: &'a [u8]) -> Bits<'a> {
        Bits { bytes: segment.iter(), buffer: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.bytes.next() else { return };
            if *byte == 0xff {
                // Behind it stands a 0; where it does not, the 255 is fill before a marker.
                if self.bytes.next() != Some(&0) {
                    self.bytes = [].iter();
                    return;
                }
            }
            self.buffer = self.buffer << 8 | u64::from(*byte);
            self.count += 8;
        }
    }

    /// The next `count` bits, at most 16, or none where fewer are left.
    fn take(&mut self, count: u32) -> Option<u32> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count)?;
        Some((self.buffer >> self.count) as u32 & ((1 << count) - 1))
    }

    fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        if self.count < 16 {
            self.fill();
        }
        // The next 16 bits, zeros behind the last.
        let next = if self.count >= 16 {
            self.buffer >> (self.count - 16)
        } else {
            self.buffer << (16 - self.count)
        };
        let next = (next & 0xffff) as u32;
        let (length, symbol) = table.short[(next >> (16 - SHORT)) as usize];
        if length > 0 {
            self.count = self.count.checked_sub(u32::from(length))?;
            return Some(symbol);
        }
        for length in SHORT + 1..=16 {
            let code = next >> (16 - length);
            let (end, offset) = table.ends[length as usize];
            if code < end {
                self.count = self.count.checked_sub(length)?;
                return table.symbols.get(usize::try_from(code as i32 + offset).ok()?).copied();
            }
        }
        None
    }
}
