//! Text from files, made fit for a terminal, a log or a page.
//!
//! A class may be called anything. Printed as it is, a name with an escape sequence moves the cursor or sets the
//! window's title, one with a line feed forges a line, and one with a right-to-left override reads backwards.
//! In JSON a name stays what it is: there the same characters are written as JSON escapes them.

use core::fmt::{self, Write};

/// Whether a character acts on the text around it in place of being shown: control characters (C0, DEL, C1), marks
/// that turn the direction of writing, line and paragraph separators, tags.
#[must_use]
pub const fn is_unprintable(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Shows a value on one line: each character that [`is_unprintable`] is written as `\n`, `\t`, `\r` or `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(pub T);

/// The same, but line feeds stay: for a text of several lines whose names have been made [`Printable`] one by one.
#[derive(Clone, Copy, Debug)]
pub struct PrintableLines<T>(pub T);

/// Shows JSON text: the characters, which can only be in its strings, are written as `\u009b`. Who reads the JSON gets
/// them back.
#[derive(Clone, Copy, Debug)]
pub struct PrintableJson<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape { to: f, within: Within::Line }, "{}", self.0)
    }
}

impl<T: fmt::Display> fmt::Display for PrintableLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape { to: f, within: Within::Lines }, "{}", self.0)
    }
}

impl<T: fmt::Display> fmt::Display for PrintableJson<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape { to: f, within: Within::Json }, "{}", self.0)
    }
}

/// What the text is, which decides how and what is escaped.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Line,
    Lines,
    Json,
}

struct Escape<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    within: Within,
}

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let mark = |c: char| is_unprintable(c) && !(c == '\n' && self.within != Within::Line);
        while let Some((place, c)) = rest.char_indices().find(|&(_, c)| mark(c)) {
            let (before, from) = rest.split_at(place);
            self.to.write_str(before)?;
            match c {
                _ if self.within == Within::Json => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.to, "\\u{unit:04x}")?;
                    }
                }
                '\n' => self.to.write_str("\\n")?,
                '\r' => self.to.write_str("\\r")?,
                '\t' => self.to.write_str("\\t")?,
                _ => write!(self.to, "{}", c.escape_unicode())?,
            }
            rest = from.get(c.len_utf8()..).unwrap_or_default();
        }
        self.to.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn what_acts_is_shown_and_what_shows_stays() {
        for (text, shown) in [
            ("a cat", "a cat"),
            ("vélo 自行车 ☃ \\", "vélo 自行车 ☃ \\"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2Jx\u{7f}", "\\u{9b}2Jx\\u{7f}"),
            ("\0a\r\n\tb", "\\u{0}a\\r\\n\\tb"),
            ("\u{202e}gpj.exe\u{2066}", "\\u{202e}gpj.exe\\u{2066}"),
            ("a\u{200d}b", "a\u{200d}b"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
            assert_eq!(PrintableLines(text).to_string(), shown.replace("\\n", "\n"));
        }
        assert_eq!(format!("<{}>", Printable(format_args!("{}{}", 1, '\u{1b}'))), "<1\\u{1b}>");
    }

    #[test]
    fn json_is_escaped_as_json_is() {
        let json = "{\"a\u{7f}\u{9b}\u{202e}\u{e0041}vélo\": 1}\n";
        assert_eq!(PrintableJson(json).to_string(), "{\"a\\u007f\\u009b\\u202e\\udb40\\udc41vélo\": 1}\n");
    }

    #[test]
    fn no_control_character_is_left_out() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            assert!(!c.is_control() || is_unprintable(c), "{c:?}");
        }
    }
}
