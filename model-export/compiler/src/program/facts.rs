//! What a program says of its network.

use frcnn_bundle::Bundle;

use crate::Problem;

/// The classes of objects, each with its number and name. The background is number 0 and no object.
pub(super) fn classes(bundle: &Bundle) -> impl Iterator<Item = (usize, &str)> {
    bundle.contents().manifest.classes.iter().map(String::as_str).enumerate().skip(1)
}

/// How many they are, in words.
pub(super) fn class_count(bundle: &Bundle) -> String {
    match classes(bundle).count() {
        1 => "1 class".to_string(),
        count => format!("{count} classes"),
    }
}

/// The SHA-256 of the ONNX file, as `sha256sum` prints it.
pub(super) fn onnx_sha256(bundle: &Bundle) -> String {
    bundle.contents().origin.onnx_sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a report as a code block of Markdown, whatever stands in them.
pub(super) fn code_block(text: &str) -> String {
    let lines = text.trim_matches('\n').lines();
    lines.map(|line| if line.is_empty() { "\n".to_string() } else { format!("    {line}\n") }).collect()
}

/// A name in quotes as code within a line of Markdown, where brackets, tags and addresses mean nothing.
pub(super) fn code(name: &str) -> String {
    let quoted = format!("{name:?}");
    let longest = quoted.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    format!("{fence}{quoted}{fence}")
}

/// A path as a string of TOML.
pub(super) fn toml_string(path: &std::path::Path) -> Result<String, Problem> {
    let not_utf8 = || Problem::Program(format!("the path {} is not UTF-8", path.display()));
    let text = path.to_str().ok_or_else(not_utf8)?;
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    Ok(format!("\"{}\"", escaped.collect::<String>()))
}

/// A string of C: what is not printable ASCII as bytes in octal digits.
pub(super) fn c_string(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'?' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_anything_is_escaped() {
        assert_eq!(c_string("a\"\\??/\n1 ü"), r#""a\"\\\?\?/\0121 \303\274""#);
        assert_eq!(toml_string("a\"\\\n\u{7f}ü".as_ref()).unwrap(), r#""a\"\\\u000A\u007Fü""#);
        assert_eq!(code("[a] <b>\n"), r#"`"[a] <b>\n"`"#);
        assert_eq!(code("a``b`"), r#"```"a``b`"```"#);
        assert_eq!(code_block("\na\n\n```\n"), "    a\n\n    ```\n");
    }
}
