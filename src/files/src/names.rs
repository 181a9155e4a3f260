//! Names from files, which become parts of paths.

use std::fmt;

/// Bytes of the longest name: with a prefix and an extension it still is a file's name (255 bytes on most systems).
pub const MAX_NAME: usize = 240;

/// Why a name cannot be a part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAName {
    /// It has no characters.
    Empty,
    /// It is `.` or `..`.
    Folder,
    /// It has a `/` or a `\`.
    Separator,
    /// It has a NUL.
    Nul,
    /// It has more than [`MAX_NAME`] bytes.
    Long,
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAName::Empty => f.write_str("is empty"),
            NotAName::Folder => f.write_str("names a folder"),
            NotAName::Separator => f.write_str("has a path separator (/ or \\)"),
            NotAName::Nul => f.write_str("has a NUL character"),
            NotAName::Long => write!(f, "has more than {MAX_NAME} bytes"),
        }
    }
}

impl std::error::Error for NotAName {}

/// Whether a name from a file can be a file's name: joined to a folder it stays in that folder, on any system.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), NotAName> {
    match name {
        "" => Err(NotAName::Empty),
        "." | ".." => Err(NotAName::Folder),
        _ if name.contains(['/', '\\']) => Err(NotAName::Separator),
        _ if name.contains('\0') => Err(NotAName::Nul),
        _ if name.len() > MAX_NAME => Err(NotAName::Long),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        let longest = "é".repeat(MAX_NAME / 2);
        for name in ["000004", "my photo 1", "a.b", "..a", "\u{1b}[2J", &longest] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, problem) in [
            ("", NotAName::Empty),
            (".", NotAName::Folder),
            ("..", NotAName::Folder),
            ("../../x", NotAName::Separator),
            ("/etc/passwd", NotAName::Separator),
            ("C:\\x", NotAName::Separator),
            ("a\0b", NotAName::Nul),
            (&(longest + "x"), NotAName::Long),
        ] {
            assert_eq!(check_name(name), Err(problem), "{name}");
        }
    }
}
