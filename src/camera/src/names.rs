//! Names of cameras, classes and zones as parts of topics, identifiers and files.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// `name` as letters, digits, `-` and `_` of ASCII, at most 64 of them. Others become `_`, and a part of the name's
/// SHA-256 follows then, so that different names stay different.
#[must_use]
pub(crate) fn slug(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        return name.to_owned();
    }
    let mut text: String = name.chars().take(48).map(|c| if plain(c) { c } else { '_' }).collect();
    text.push('-');
    for byte in &Sha256::digest(name.as_bytes())[..4] {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn names_stay_different_and_harmless() {
        assert_eq!(slug("front_door-2"), "front_door-2");
        let odd = ["", "a/b", "a_b/", "a+b", "../..", "Haustür", "x y", &"n".repeat(65), &"n".repeat(66)];
        let slugs: Vec<String> = odd.iter().map(|name| slug(name)).collect();
        for (i, one) in slugs.iter().enumerate() {
            assert!(
                one.len() <= 64 && one.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "{one}"
            );
            assert!(!slugs[..i].contains(one), "{one}");
        }
    }
}
