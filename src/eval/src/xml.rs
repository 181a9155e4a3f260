//! XML within limits. The parser takes time that grows with the square of a tag's attributes, and of all namespaces: a
//! file of 130 KB would keep it busy for minutes. Annotations have hardly any of either.

use std::path::Path;

use roxmltree::{Document, ParsingOptions};

use crate::{Error, limits};

/// Bytes of a tag.
const TAG: usize = 1024;
/// Declarations of namespaces.
const NAMESPACES: usize = 16;

/// Parses the text of a file.
pub(crate) fn parse<'a>(path: &Path, text: &'a str) -> Result<Document<'a>, Error> {
    if let Some(start) = long_tag(text) {
        let line = text.get(..start).unwrap_or_default().matches('\n').count();
        return Err(Error::line(path, line, format_args!("a tag has more than {TAG} bytes")));
    }
    if text.matches("xmlns").nth(NAMESPACES).is_some() {
        return Err(Error::syntax(path, format_args!("declares more than {NAMESPACES} namespaces")));
    }
    let options = ParsingOptions { nodes_limit: limits::XML_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| Error::syntax(path, error))
}

/// Where a tag begins that is too long.
fn long_tag(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(start) = text.get(at..)?.find('<').map(|found| at + found) {
        let rest = text.get(start..)?;
        let skipped =
            [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")].into_iter().find_map(|(from, to)| {
                rest.strip_prefix(from).map(|inside| match inside.find(to) {
                    Some(end) => from.len() + end + to.len(),
                    None => rest.len(),
                })
            });
        let length = skipped.unwrap_or_else(|| tag_length(rest));
        if skipped.is_none() && length > TAG {
            return Some(start);
        }
        at = start + length;
    }
    None
}

/// Bytes of the tag that `text` begins with. A `>` in quotation marks does not end it.
fn tag_length(text: &str) -> usize {
    let mut quote = None;
    for (place, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(mark), _) if mark == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return place + 1,
            _ => {}
        }
        if place > TAG {
            break;
        }
    }
    // Unfinished, or longer than is asked.
    text.len().min(TAG + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        parse(Path::new("a.xml"), text).err().map(|error| error.to_string())
    }

    #[test]
    fn what_takes_the_square_of_its_size_is_refused() {
        let attributes: String = (0..200).map(|n| format!(" a{n}='>'")).collect();
        assert_eq!(
            problem(&format!("\n<a{attributes}/>")).unwrap(),
            "a.xml: line 2: a tag has more than 1024 bytes"
        );
        let nested: String = (0..5000).map(|n| format!("<a xmlns:a{n}='u'>")).collect();
        assert!(problem(&nested).unwrap().contains("more than 16 namespaces"));
    }

    #[test]
    fn comments_and_sections_may_be_long() {
        let long = "it's <b ".repeat(1000);
        let text =
            format!("<?xml version='1.0'?><!--{long}--><a b='>'><![CDATA[{long}]]>{}</a>", "x".repeat(5000));
        assert_eq!(problem(&text), None);
        for text in ["", "<", "<a", "<a b='", "<!--", "<![CDATA[", "<?", "é<é", "<a></a", "text"] {
            assert!(problem(text).is_some(), "{text}");
        }
    }
}
