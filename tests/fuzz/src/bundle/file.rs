//! A bundle's file, byte by byte: of contents and weights that no writer takes.

use frcnn_bundle::{Contents, FORMAT_VERSION};
use xxhash_rust::xxh3::xxh3_128;

/// Length of the part at the start of every file.
pub const PRELUDE: usize = 64;
const ALIGN: usize = 64;

/// The contents record of a file and what comes after it, if the record can be read.
pub(super) fn take_apart(file: &[u8]) -> Option<(Contents, &[u8])> {
    let (contents, rest) = postcard::take_from_bytes(file.get(PRELUDE..)?).ok()?;
    Some((contents, rest))
}

/// A file of these contents and the bytes of each section, whatever they are: offsets, hashes and the prelude are right. A
/// section's stated length stays as it is, so it may be wrong. None where offsets overflow.
#[must_use]
pub fn put_together(mut contents: Contents, weights: &[Vec<u8>]) -> Option<Vec<u8>> {
    for (section, data) in contents.sections.iter_mut().zip(weights) {
        section.hash = xxh3_128(data);
    }
    // Offsets depend on the record's length and the other way round.
    let mut record = Vec::new();
    for _ in 0..8 {
        let mut end = PRELUDE + record.len();
        for section in &mut contents.sections {
            section.offset = end.next_multiple_of(ALIGN) as u64;
            end = (section.offset as usize).checked_add(usize::try_from(section.bytes).ok()?)?;
        }
        let next = postcard::to_stdvec(&contents).ok()?;
        let settled = next.len() == record.len();
        record = next;
        if settled {
            break;
        }
    }
    let mut file = vec![0; PRELUDE];
    file.extend_from_slice(&record);
    for data in weights {
        file.resize(file.len().next_multiple_of(ALIGN), 0);
        file.extend_from_slice(data);
    }
    set_prelude(&mut file, record.len());
    Some(file)
}

/// Writes the prelude of a file whose record is `record` bytes long.
pub fn set_prelude(file: &mut Vec<u8>, record: usize) {
    file.resize(file.len().max(PRELUDE), 0);
    let record = record.min(file.len() - PRELUDE);
    let len = file.len() as u64;
    let hash = xxh3_128(&file[PRELUDE..PRELUDE + record]);
    file[..PRELUDE].fill(0);
    file[..8].copy_from_slice(b"\x89FRCNN\r\n");
    file[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    file[16..24].copy_from_slice(&(record as u64).to_le_bytes());
    file[24..32].copy_from_slice(&len.to_le_bytes());
    file[32..48].copy_from_slice(&hash.to_le_bytes());
}

/// Length of the record that a file's prelude declares, at most what there is.
#[must_use]
pub fn record_len(file: &[u8]) -> usize {
    let declared = file.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    usize::try_from(declared).unwrap_or(usize::MAX).min(file.len().saturating_sub(PRELUDE))
}
