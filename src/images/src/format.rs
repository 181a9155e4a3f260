//! What a file is, by its first bytes.

#[cfg(feature = "png")]
use crate::Error;

/// Extensions by which the pictures of a folder are known, in lower case.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

/// Formats that are read, for messages.
pub const SUPPORTED: &str = "JPEG and PNG";

/// Formats that are read.
#[cfg(feature = "png")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jpeg,
    Png,
}

/// The name of what begins with `head` (the first 32 bytes say enough), with its article.
#[must_use]
pub fn found(head: &[u8]) -> &'static str {
    const BY_START: [(&[u8], &str); 26] = [
        (b"\xff\xd8", "a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"GIF87a", "a GIF picture"),
        (b"GIF89a", "a GIF picture"),
        (b"BM", "a BMP picture"),
        (b"II\x2a\0", "a TIFF picture (or a camera's raw file)"),
        (b"MM\0\x2a", "a TIFF picture (or a camera's raw file)"),
        (b"II\x2b\0", "a BigTIFF picture"),
        (b"MM\0\x2b", "a BigTIFF picture"),
        (b"\0\0\x01\0", "an icon (ICO)"),
        (b"\xff\x0a", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
        (b"\x89JNG", "a JNG picture"),
        (b"qoif", "a QOI picture"),
        (b"8BPS", "a Photoshop document"),
        (b"%PDF", "a PDF document"),
        (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
        (b"#?RADIANCE", "a Radiance HDR picture"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"PK\x03\x04", "a zip archive"),
        (b"frcnn", "a frcnn bundle"),
        (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
        (b"version https://git-lfs", "a Git LFS pointer (the picture itself was not fetched)"),
        (b"\x93NUMPY", "a NumPy array"),
    ];
    if head.is_empty() {
        return "empty";
    }
    if head.starts_with(b"RIFF") {
        return match head.get(8..12) {
            Some(b"WEBP") => "a WebP picture",
            Some(b"AVI ") => "an AVI video",
            _ => "a RIFF file",
        };
    }
    if head.get(4..8) == Some(b"ftyp") {
        return match head.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF picture",
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1") => {
                "a HEIC or HEIF picture"
            }
            Some(b"crx ") => "a camera's raw file (CR3)",
            _ => "an MP4 or QuickTime video",
        };
    }
    if let Some((_, name)) = BY_START.iter().find(|(start, _)| head.starts_with(start)) {
        return name;
    }
    if matches!(head, [b'P', b'1'..=b'7', white, ..] if white.is_ascii_whitespace()) {
        return "a PNM picture";
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if text.starts_with(b"<svg") {
        return "an SVG drawing";
    }
    if text.starts_with(b"<") {
        return "an HTML, XML or SVG text";
    }
    if text.iter().all(|byte| (0x20..0x7f).contains(byte) || byte.is_ascii_whitespace()) && !text.is_empty() {
        return "a text";
    }
    "of an unknown format"
}

/// JPEG or PNG.
///
/// # Errors
/// What was found instead, and what is supported.
#[cfg(feature = "png")]
pub(crate) fn of(head: &[u8]) -> Result<Format, Error> {
    if head.starts_with(b"\xff\xd8") {
        return Ok(Format::Jpeg);
    }
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Format::Png);
    }
    let found = found(&head[..head.len().min(64)]);
    Err(Error::Unsupported(format!("is {found}; supported are {SUPPORTED}, whatever the file is called")))
}
