//! Bundles whose hashes are right, whatever else is wrong with them.

mod file;
mod fit;
mod mutate;
mod seeds;

pub use file::{PRELUDE, put_together, record_len, set_prelude};
pub use mutate::mutate;
pub use seeds::seeds;

use frcnn_bundle::Contents;

/// Larger sections are left without their weights: what a bundle declares must be refused without them.
const MAX_SECTION: u64 = 1 << 16;

/// A file of `contents` whose weights come from `pool`, which is repeated.
fn fill(contents: Contents, pool: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = pool.iter().copied().cycle();
    let weights: Vec<Vec<u8>> = contents
        .sections
        .iter()
        .map(|section| {
            let len = if section.bytes <= MAX_SECTION { section.bytes as usize } else { 0 };
            // Each section begins where an f32 of the pool does.
            let mut data: Vec<u8> = bytes.by_ref().take(len.next_multiple_of(4)).collect();
            data.resize(len, 0);
            data
        })
        .collect();
    put_together(contents, &weights)
}
