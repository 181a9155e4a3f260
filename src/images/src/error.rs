//! Why a picture was refused.

use std::io;

use frcnn_files::{NoMemory, try_resize};

/// Why a picture was refused. The messages name no file: whoever opened it knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read, or is a folder, pipe, device or socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not of a format, or of a kind of a format, that is read.
    #[error("{0}")]
    Unsupported(String),
    /// It would take more memory, or has more pixels, than is allowed.
    #[error("{0}")]
    TooLarge(String),
    /// It ends before its pixels do.
    #[error("is cut short: {0}")]
    Short(String),
    /// Something in it is against its format.
    #[error("is damaged: {0}")]
    Damaged(String),
}

/// `needed` bytes against the `most` that are allowed.
pub(crate) fn within(width: u32, height: u32, needed: u64, most: u64) -> Result<(), Error> {
    if needed <= most {
        return Ok(());
    }
    const MIB: u64 = 1 << 20;
    let needed = needed.div_ceil(MIB);
    // What the file itself takes is off the limit already.
    let most = most.div_ceil(MIB);
    Err(Error::TooLarge(format!(
        "{width} x {height} pixels would take {needed} MiB of memory; the limit is {most} MiB; make the picture smaller"
    )))
}

/// A vector of `len` zeros in `buffer`, or an error where there is no memory for it.
pub(crate) fn resize(buffer: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    try_resize(buffer, len, 0).map_err(|NoMemory { bytes }| {
        Error::TooLarge(format!(
            "needs {bytes} bytes of memory, more than there is; make the picture smaller"
        ))
    })
}
