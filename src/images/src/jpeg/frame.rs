//! The header of a frame (SOF) and of its scans (SOS): ITU-T T.81, B.2.2 and B.2.3.

use crate::Error;

/// One colour channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    id: u8,
    /// Sampling factors, 1 to 4.
    pub(super) h: u32,
    pub(super) v: u32,
}

/// What a SOF segment says.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) progressive: bool,
    /// 1, 3 or 4.
    pub(super) components: Vec<Component>,
    h_max: u32,
    v_max: u32,
}

/// What an SOS segment says.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    /// First and last coefficient in zigzag order, 0 to 63.
    pub(super) from: u8,
    pub(super) to: u8,
    /// Bit positions of successive approximation: of the scan before, and of this one.
    pub(super) high: u8,
    pub(super) low: u8,
}

/// A component within a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Index into [`Frame::components`].
    pub(super) component: usize,
    /// Indices of its DC and AC tables, 0 to 3.
    pub(super) tables: [usize; 2],
}

impl Frame {
    /// `kind` is the low half of the marker: 0, 1 and 2 are read.
    pub(super) fn parse(kind: u8, body: &[u8]) -> Result<Frame, Error> {
        let unsupported = |what: &str| {
            Err(Error::Unsupported(format!(
                "is {what} JPEG; supported are baseline and progressive JPEG of 8 bits with Huffman coding"
            )))
        };
        match kind {
            0..=2 => {}
            3 | 7 => return unsupported("a lossless"),
            9..=11 | 13..=15 => return unsupported("an arithmetic-coded"),
            _ => return unsupported("a hierarchical"),
        }
        let bad = |problem: &str| Error::Damaged(format!("the JPEG's frame header {problem}"));
        let [precision, h1, h0, w1, w0, count, components @ ..] = body else {
            return Err(bad("is too short"));
        };
        if *precision != 8 {
            return unsupported(&format!("a {precision}-bit"));
        }
        let height = u32::from(u16::from_be_bytes([*h1, *h0]));
        let width = u32::from(u16::from_be_bytes([*w1, *w0]));
        if width == 0 {
            return Err(bad("says a width of 0"));
        }
        if height == 0 {
            return Err(bad("says a height of 0 (a DNL segment that says it later is not read)"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return unsupported(&format!("a {count}-channel"));
        }
        if components.len() != usize::from(*count) * 3 {
            return Err(bad("is too short or too long"));
        }
        let components: Vec<Component> = components
            .chunks_exact(3)
            .map(|c| Component { id: c[0], h: u32::from(c[1] >> 4), v: u32::from(c[1] & 15) })
            .collect();
        if components.iter().any(|c| !(1..=4).contains(&c.h) || !(1..=4).contains(&c.v)) {
            return Err(bad("has a sampling factor that is not 1 to 4"));
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        Ok(Frame { width, height, progressive: kind == 2, components, h_max, v_max })
    }

    /// Minimum coded units of an interleaved scan: columns, rows.
    pub(super) fn units(&self) -> (u32, u32) {
        (self.width.div_ceil(8 * self.h_max), self.height.div_ceil(8 * self.v_max))
    }

    /// Blocks of 8 x 8 that a component keeps, padded to whole units: columns, rows.
    pub(super) fn padded(&self, component: Component) -> (u32, u32) {
        let (columns, rows) = self.units();
        (columns * component.h, rows * component.v)
    }

    /// Blocks of a component in a scan of its own: columns, rows.
    pub(super) fn blocks(&self, component: Component) -> (u32, u32) {
        let side = |pixels: u32, factor: u32, most: u32| (pixels * factor).div_ceil(most).div_ceil(8);
        (side(self.width, component.h, self.h_max), side(self.height, component.v, self.v_max))
    }

    /// Units of a scan, and blocks in all of them. A scan of one component has its blocks as units.
    pub(super) fn extent(&self, scan: &Scan) -> (u64, u64) {
        if let [part] = scan.parts[..] {
            let (columns, rows) = self.blocks(self.components[part.component]);
            let units = u64::from(columns) * u64::from(rows);
            return (units, units);
        }
        let (columns, rows) = self.units();
        let units = u64::from(columns) * u64::from(rows);
        let each: u32 =
            scan.parts.iter().map(|part| self.components[part.component]).map(|c| c.h * c.v).sum();
        (units, units * u64::from(each))
    }

    /// Blocks of all components, padded.
    pub(super) fn all_blocks(&self) -> u64 {
        let blocks = |c: &Component| {
            let (columns, rows) = self.padded(*c);
            u64::from(columns) * u64::from(rows)
        };
        self.components.iter().map(blocks).sum()
    }

    /// Reads a scan's header and checks it against this frame.
    pub(super) fn scan(&self, body: &[u8]) -> Result<Scan, Error> {
        let bad = || Error::Damaged("a JPEG scan's header is not one".to_string());
        let (count, rest) = body.split_first().ok_or_else(bad)?;
        let (parts, rest) = rest.split_at_checked(usize::from(*count) * 2).ok_or_else(bad)?;
        let [from, to, approximation] = *rest else { return Err(bad()) };
        let part = |pair: &[u8]| {
            let component = self.components.iter().position(|c| c.id == pair[0])?;
            let tables = [usize::from(pair[1] >> 4), usize::from(pair[1] & 15)];
            tables.iter().all(|table| *table < 4).then_some(Part { component, tables })
        };
        let parts: Vec<Part> =
            parts.chunks_exact(2).map(|pair| part(pair).ok_or_else(bad)).collect::<Result<_, _>>()?;
        let repeated = (1..parts.len()).any(|i| parts[..i].iter().any(|p| p.component == parts[i].component));
        if parts.is_empty() || repeated {
            return Err(bad());
        }
        let scan = Scan { parts, from, to, high: approximation >> 4, low: approximation & 15 };
        let right = if self.progressive {
            let band = (from == 0 && to == 0) || (from > 0 && from <= to && to < 64 && scan.parts.len() == 1);
            band && scan.low < 14 && (scan.high == 0 || scan.high == scan.low + 1)
        } else {
            // Other values stand in the files of some cameras, where they mean nothing.
            true
        };
        if right { Ok(scan) } else { Err(bad()) }
    }
}
