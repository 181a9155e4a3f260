//! Bundles whose hashes are right, whatever else is wrong with them.

mod fit;
mod mutate;
mod seeds;

pub use mutate::mutate;
pub use seeds::seeds;

use frcnn_bundle::{Contents, FORMAT_VERSION};
use xxhash_rust::xxh3::xxh3_128;

const PRELUDE: usize = 64;
const ALIGN: usize = 64;
/// Larger sections are left without their weights: what a bundle declares must be refused without them.
const MAX_SECTION: u64 = 1 << 16;

/// The contents record of a file and what comes after it, if the record can be read.
fn take_apart(file: &[u8]) -> Option<(Contents, &[u8])> {
    let (contents, rest) = postcard::take_from_bytes(file.get(PRELUDE..)?).ok()?;
    Some((contents, rest))
}

/// A file of `contents`: offsets, hashes and lengths are set, and weights come from `pool`, which is repeated.
fn put_together(mut contents: Contents, pool: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = pool.iter().copied().cycle();
    let weights: Vec<Vec<u8>> = contents
        .sections
        .iter()
        .map(|section| {
            let len = if section.bytes <= MAX_SECTION { section.bytes as usize } else { 0 };
            let mut data: Vec<u8> = bytes.by_ref().take(len).collect();
            data.resize(len, 0);
            data
        })
        .collect();
    for (section, data) in contents.sections.iter_mut().zip(&weights) {
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
    for data in &weights {
        file.resize(file.len().next_multiple_of(ALIGN), 0);
        file.extend_from_slice(data);
    }
    set_prelude(&mut file, record.len());
    Some(file)
}

/// Writes the prelude of a file whose record is `record` bytes long.
fn set_prelude(file: &mut Vec<u8>, record: usize) {
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
fn record_len(file: &[u8]) -> usize {
    let declared = file.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    usize::try_from(declared).unwrap_or(usize::MAX).min(file.len().saturating_sub(PRELUDE))
}
