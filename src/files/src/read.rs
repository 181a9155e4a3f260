//! Reading within a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::try_reserve;

/// Most bytes that are read of a device or a pipe: it has no length of its own, and may never end.
const STREAM: u64 = 1 << 30;

/// Opens a regular file, and gives its length.
///
/// # Errors
/// The file cannot be opened; or it is a folder, pipe, socket or device. These are not opened, since opening a pipe waits for
/// its writer.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// Reads `len` bytes, for which memory is reserved first.
///
/// # Errors
/// Reading fails or ends before that, or there is no memory for so much.
pub fn read_exactly(reader: impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = reserve(len)?;
    reader.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "became shorter while it was read"))
    }
}

/// Reads a whole file of at most `limit` bytes; of a device or an open pipe (`/dev/stdin`, say) at most a GiB.
///
/// # Errors
/// The file cannot be read, is larger, does not fit into memory, or is a folder, or a pipe that lies in one.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, len, limit) = if is_open_stream(path)? {
        (File::open(path)?, 0, limit.min(STREAM))
    } else {
        let (file, len) = open_regular(path)?;
        (file, len, limit)
    };
    let too_large = || {
        let problem = format!("is larger than {limit} bytes, the most that is read of such a file");
        io::Error::new(io::ErrorKind::FileTooLarge, problem)
    };
    if len > limit {
        return Err(too_large());
    }
    let mut bytes = reserve(len)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// An empty vector with memory for `len` bytes.
fn reserve(len: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let problem = format!("has {len} bytes, more than there is memory for");
        io::Error::new(io::ErrorKind::OutOfMemory, problem)
    };
    let mut bytes = Vec::new();
    let len = usize::try_from(len).map_err(|_| too_large())?;
    try_reserve(&mut bytes, len).map_err(|_| too_large())?;
    Ok(bytes)
}

/// Whether a path names a device, or a pipe that is open already: standard input, or a shell's `<(command)`.
fn is_open_stream(path: &Path) -> io::Result<bool> {
    if !["/dev", "/proc"].iter().any(|folder| path.starts_with(folder)) {
        return Ok(false);
    }
    let metadata = fs::metadata(path)?;
    Ok(!metadata.is_file() && !metadata.is_dir())
}

/// # Errors
/// No regular file: the text says what it is.
fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let (error, kind) = match metadata.is_dir() {
        true => (io::ErrorKind::IsADirectory, "folder"),
        false => (io::ErrorKind::InvalidInput, special(metadata.file_type())),
    };
    Err(io::Error::new(error, format!("is a {kind} and no file; name a file")))
}

#[cfg(unix)]
fn special(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn special(_: fs::FileType) -> &'static str {
    "device"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        let error = read_at_most(&path, 4).unwrap_err().to_string();
        assert!(error.contains("larger than 4 bytes"), "{error}");
        assert!(read_at_most(folder.path(), 9).unwrap_err().to_string().contains("is a folder"));
        assert!(read_at_most(&folder.path().join("absent"), 9).is_err());
    }

    #[test]
    fn so_many_bytes_are_read_and_no_fewer() {
        assert_eq!(read_exactly(&b"12345"[..], 3).unwrap(), b"123");
        let shorter = read_exactly(&b"12345"[..], 6).unwrap_err();
        assert_eq!(shorter.kind(), io::ErrorKind::UnexpectedEof);
        let endless = read_exactly(io::repeat(0), u64::MAX).unwrap_err().to_string();
        assert!(endless.contains("more than there is memory for"), "{endless}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_device_without_end_ends_at_the_limit() {
        let error = read_at_most(Path::new("/dev/zero"), 100_000).unwrap_err().to_string();
        assert!(error.contains("larger than 100000 bytes"), "{error}");
    }

    /// Opening a pipe that nobody writes to would wait forever.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_no_regular_file_is_named_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link, socket] = ["pipe.json", "link.json", "socket"].map(|name| folder.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (folder.path(), "folder"),
            (&pipe, "pipe"),
            (&link, "pipe"),
            (&socket, "socket"),
            (Path::new("/dev/zero"), "device"),
        ] {
            let due = format!("is a {kind} and no file; name a file");
            assert_eq!(open_regular(path).unwrap_err().to_string(), due);
            if kind != "device" {
                assert_eq!(read_at_most(path, 9).unwrap_err().to_string(), due);
            }
        }
    }
}
