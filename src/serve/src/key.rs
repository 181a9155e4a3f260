//! The key that requests must show.

use std::path::Path;

/// Bytes of the shortest key.
const SHORTEST: usize = 16;
/// Bytes of the longest one, with what stands around it in its file.
const LONGEST: u64 = 4096;

/// A key that is known to this service and to those who may ask.
pub(crate) struct Key(String);

impl Key {
    /// Reads a key from a file: its text without what is blank before and behind it.
    pub(crate) fn open(path: &Path) -> Result<Key, String> {
        let bytes = frcnn_files::read_at_most(path, LONGEST).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "is no text".to_string())?;
        let key = text.trim();
        if key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a key has at least {SHORTEST} letters, digits or signs of ASCII in one word; make one by `openssl rand -hex 16`"
            ));
        }
        Ok(Key(key.to_string()))
    }

    /// Whether `shown` is the key, in a time that does not tell how much of it is right.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let (key, shown) = (self.0.as_bytes(), shown.trim().as_bytes());
        let differing = key.iter().zip(shown).fold(0u8, |all, (a, b)| all | (a ^ b));
        key.len() == shown.len() && std::hint::black_box(differing) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, " 0123456789abcdef\n").unwrap();
        let key = Key::open(&path).unwrap();
        assert!(key.is("0123456789abcdef"));
        for wrong in ["", "0123456789abcdeg", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!key.is(wrong), "{wrong}");
        }
        for bad in ["", "short", "0123456789 abcdef", "0123456789\u{e9}abcdef"] {
            std::fs::write(&path, bad).unwrap();
            assert!(Key::open(&path).is_err(), "{bad}");
        }
    }
}
