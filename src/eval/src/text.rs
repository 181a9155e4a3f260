//! Text as its makers encoded it.

use std::path::Path;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::{Error, limits};

/// Reads a file: UTF-8, or whatever its byte-order mark says. The mark is no part of the text.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, Error> {
    let bytes = frcnn_files::read_at_most(path, limit).map_err(|error| Error::new(path, error))?;
    let (encoding, mark) = by_bytes(&bytes).unwrap_or((UTF_8, 0));
    decode(path, bytes, encoding, mark)
}

/// Reads an XML file: in the encoding that its byte-order mark or its declaration says, else UTF-8.
pub(crate) fn read_xml(path: &Path) -> Result<String, Error> {
    let bytes = frcnn_files::read_at_most(path, limits::XML).map_err(|error| Error::new(path, error))?;
    if let Some((encoding, mark)) = by_bytes(&bytes) {
        return decode(path, bytes, encoding, mark);
    }
    let encoding = match declared(&bytes) {
        None => UTF_8,
        Some(label) => match Encoding::for_label(label) {
            // The declaration could not be read here if this were true: programs write it and then UTF-8.
            Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => UTF_8,
            Some(encoding) => encoding,
            None => {
                let label = String::from_utf8_lossy(label);
                return Err(Error::syntax(
                    path,
                    format_args!("its encoding `{label}` is not known; use UTF-8"),
                ));
            }
        },
    };
    decode(path, bytes, encoding, 0)
}

/// The lines, whatever ends them, with their positions.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Of an old Mac.
    let end = if text.contains('\n') { '\n' } else { '\r' };
    text.split(end).enumerate()
}

/// By the mark at the beginning and its length; or, as text begins with an ASCII character, by where its zero byte is.
fn by_bytes(bytes: &[u8]) -> Option<(&'static Encoding, usize)> {
    Encoding::for_bom(bytes).or(match bytes {
        [0, 1..=255, ..] => Some((UTF_16BE, 0)),
        [1..=255, 0, ..] => Some((UTF_16LE, 0)),
        _ => None,
    })
}

fn decode(
    path: &Path,
    mut bytes: Vec<u8>,
    encoding: &'static Encoding,
    mark: usize,
) -> Result<String, Error> {
    let wrong = || {
        let problem = format!(
            "is not {} text; save it as UTF-8, or XML with its encoding in its first line",
            encoding.name()
        );
        Error::syntax(path, problem)
    };
    if encoding == UTF_8 {
        bytes.drain(..mark);
        return String::from_utf8(bytes).map_err(|_| wrong());
    }
    let text = bytes.get(mark..).unwrap_or_default();
    let text = encoding.decode_without_bom_handling_and_without_replacement(text).ok_or_else(wrong)?;
    Ok(text.into_owned())
}

/// The encoding that an XML declaration names.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).take(1000).position(|two| two == b"?>")?;
    let declaration = bytes.get(..end).filter(|text| text.starts_with(b"<?xml"))?;
    let name = b"encoding";
    let place = declaration.windows(name.len()).position(|window| window == name)?;
    let value = declaration.get(place + name.len()..)?.trim_ascii_start().strip_prefix(b"=")?;
    let (quote, value) = value.trim_ascii_start().split_first()?;
    let end = value.iter().position(|byte| byte == quote)?;
    value.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{GBK, WINDOWS_1252};

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn xml(bytes: &[u8]) -> Result<String, String> {
        let (_folder, path) = written(bytes);
        read_xml(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn marks_tell_the_encoding_and_are_no_text() {
        let text = "vélo 自行车\r\n";
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", utf16(text, u16::to_le_bytes).as_slice()].concat(),
            [b"\xfe\xff", utf16(text, u16::to_be_bytes).as_slice()].concat(),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            let (_folder, path) = written(&bytes);
            assert_eq!(read(&path, 100).unwrap(), text);
        }
        for bytes in [&b"v\xe9lo"[..], b"\xff\xfea"] {
            let (_folder, path) = written(bytes);
            let error = read(&path, 100).unwrap_err().to_string();
            assert!(error.contains("file: is not UTF-") && error.contains("save it as UTF-8"), "{error}");
        }
        let (_folder, path) = written(b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("larger than 4 bytes"));
    }

    #[test]
    fn declarations_tell_the_encoding_of_xml() {
        for (label, word, encoding) in [
            ("ISO-8859-1", "vélo", WINDOWS_1252),
            ("windows-1252", "vélo", WINDOWS_1252),
            ("GBK", "自行车", GBK),
            ("gb2312", "自行车", GBK),
            ("Shift_JIS", "自転車", encoding_rs::SHIFT_JIS),
            ("utf-8", "vélo", UTF_8),
        ] {
            for quote in ["\"", "'"] {
                let text = format!("<?xml version=\"1.0\" encoding = {quote}{label}{quote} ?><a>{word}</a>");
                assert_eq!(xml(&encoding.encode(&text).0).unwrap(), text, "{label}");
            }
        }
        let claims = "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>vélo</a>";
        for bytes in [
            claims.as_bytes().to_vec(),
            utf16(claims, u16::to_le_bytes),
            [b"\xfe\xff", utf16(claims, u16::to_be_bytes).as_slice()].concat(),
            [b"\xef\xbb\xbf", claims.as_bytes()].concat(),
        ] {
            assert_eq!(xml(&bytes).unwrap(), claims);
        }
        assert!(xml(b"<a>v\xe9lo</a>").unwrap_err().contains("is not UTF-8 text"));
        let unknown = xml(b"<?xml version='1.0' encoding='klingon'?><a/>").unwrap_err();
        assert!(unknown.contains("`klingon` is not known"), "{unknown}");
    }

    #[test]
    fn lines_end_in_three_ways() {
        let words = |text| lines(text).map(|(_, line)| line.trim()).collect::<Vec<_>>();
        for text in ["a\nb", "a\r\nb", "a\rb"] {
            assert_eq!(words(text), ["a", "b"]);
        }
    }
}
