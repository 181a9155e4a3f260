//! Files that appear whole or not at all.

use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` beside `path` and renames the result to it, so that an interrupted or failed write
/// leaves what was there before.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_pieces(path, [bytes])
}

/// The same for bytes in several places, which follow one another in the file.
pub(crate) fn write_pieces<'a>(path: &Path, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = readable_by_others(&mut tempfile::Builder::new()).tempfile_in(folder)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Temporary files are private by default; this one becomes an ordinary file, subject to the umask.
#[cfg(unix)]
fn readable_by_others<'a, 'b, 'c>(
    builder: &'a mut tempfile::Builder<'b, 'c>,
) -> &'a mut tempfile::Builder<'b, 'c> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(std::fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn readable_by_others<'a, 'b, 'c>(
    builder: &'a mut tempfile::Builder<'b, 'c>,
) -> &'a mut tempfile::Builder<'b, 'c> {
    builder
}
