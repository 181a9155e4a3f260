//! The list of a VOC split: a name a line, which may have spaces; the lists of one class have a second column.

use crate::text;

/// The names of a list with the positions of their lines. `annotated` tells whether an image of that name is.
///
/// A class's list ends each line in 1, 0 or -1, as in `000012 -1`; so does the line of an image called `my photo 1`. Which
/// it is the annotations tell.
pub(super) fn names<'a>(list: &'a str, annotated: &dyn Fn(&str) -> bool) -> Vec<(usize, &'a str)> {
    let lines =
        text::lines(list).map(|(index, line)| (index, line.trim())).filter(|(_, line)| !line.is_empty());
    let lines: Vec<(usize, &str)> = lines.collect();
    let flagged = lines.iter().all(|(_, line)| without_flag(line).is_some());
    let of_names = flagged && lines.iter().all(|(_, line)| annotated(line));
    let name = |line: &'a str| match without_flag(line) {
        Some(name) if flagged && !of_names && (annotated(name) || !annotated(line)) => name,
        Some(name) if !flagged && annotated(name) && !annotated(line) => name,
        _ => line,
    };
    lines.into_iter().map(|(index, line)| (index, name(line))).collect()
}

/// What stands before a class list's second column.
fn without_flag(line: &str) -> Option<&str> {
    let (name, flag) = line.rsplit_once(char::is_whitespace)?;
    matches!(flag, "1" | "0" | "-1").then(|| name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(list: &'a str, annotated: &[&str]) -> Vec<&'a str> {
        names(list, &|name| annotated.contains(&name)).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn names_have_spaces_and_classes_a_second_column() {
        assert_eq!(
            read("my photo 1\nmy photo 2\n", &["my photo 1", "my photo 2"]),
            ["my photo 1", "my photo 2"]
        );
        assert_eq!(
            read("my photo 1\r\nmy photo 0\r\n", &["my photo 1", "my photo 0"]),
            ["my photo 1", "my photo 0"]
        );
        assert_eq!(
            read("000012 -1\n000017  1\n000023\t0\n", &["000012", "000017"]),
            ["000012", "000017", "000023"]
        );
        // Both: the list of a class over images with such names.
        assert_eq!(read("a 1  1\na  -1\n", &["a", "a 1"]), ["a 1", "a"]);
        assert_eq!(read("photo 1\nphoto 2", &["photo", "photo 1", "photo 2"]), ["photo 1", "photo 2"]);
    }

    #[test]
    fn without_annotations_a_second_column_must_be_everywhere() {
        assert_eq!(read("a 1\nb -1\n", &[]), ["a", "b"]);
        assert_eq!(read("a 1\nb\n", &[]), ["a 1", "b"]);
        assert_eq!(read("000004\nb  1\n\n", &["000004", "b"]), ["000004", "b"]);
        assert_eq!(read("\n \r\n", &[]), [""; 0]);
    }
}
