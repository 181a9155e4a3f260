//! Reading within a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of what has no length of its own, a device or a pipe: it may never end.
const STREAM: u64 = 1 << 30;

/// Reads a whole file of at most `limit` bytes; of a device or an open pipe (`/dev/stdin`, say) at most a GiB.
///
/// # Errors
/// The file cannot be read, is larger, does not fit into memory, or is a pipe that lies in a folder.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    refuse_named_pipe(path)?;
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

/// Opening a pipe that lies in a folder waits for its writer, maybe forever. Those below `/dev` and `/proc` are open
/// already: standard input, or a shell's `<(command)`.
fn refuse_named_pipe(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let open_already = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
        if !open_already && std::fs::metadata(path)?.file_type().is_fifo() {
            let problem = "is a pipe, which may never be written to; name a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
    }
    Ok(())
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

    #[test]
    #[cfg(unix)]
    fn a_pipe_in_a_folder_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.json");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = read_at_most(&path, 9).unwrap_err().to_string();
        assert_eq!(error, "is a pipe, which may never be written to; name a file");
    }
}
