//! Reading within a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of what has no length of its own, a device or a pipe: it may never end.
const STREAM: u64 = 1 << 30;

/// Reads a whole file of at most `limit` bytes; of a device or a pipe at most a GiB.
///
/// # Errors
/// The file cannot be read, is larger, or does not fit into memory.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; name a file"));
    }
    let limit = if metadata.is_file() { limit } else { limit.min(STREAM) };
    let too_large = || {
        let problem = format!("is larger than {limit} bytes, the most that is read of such a file");
        io::Error::new(io::ErrorKind::FileTooLarge, problem)
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // Limits are far below what a usize holds on the systems that have such files.
    let expected = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    bytes.try_reserve_exact(expected).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        let error = read_at_most(&path, 4).unwrap_err().to_string();
        assert!(error.contains("larger than 4 bytes"), "{error}");
        assert!(read_at_most(folder.path(), 9).unwrap_err().to_string().contains("is a folder"));
        assert!(read_at_most(&folder.path().join("absent"), 9).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_device_without_end_ends_at_the_limit() {
        let error = read_at_most(Path::new("/dev/zero"), 100_000).unwrap_err().to_string();
        assert!(error.contains("larger than 100000 bytes"), "{error}");
    }
}
