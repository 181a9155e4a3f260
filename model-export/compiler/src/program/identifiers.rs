//! Names that Rust and C take, of names that may be anything.

use std::collections::HashSet;
use std::path::Path;

/// The rule of [`variants`], for the generated crate's documentation.
pub(super) const RUST_RULE: &str = "\
What is no letter or digit of ASCII separates words, which are joined with a capital each: `traffic light` is `TrafficLight`. \
`Class` is put before a digit (`2wheeler` is `Class2wheeler`) and before `Self`. A name without letters or digits of ASCII \
is `Class` and the class's number: `Class3`. Where an earlier class has the same name, `Class` and the number are \
added: of the classes 1 `car` and 2 `Car` the second is `CarClass2`.";

/// The rule of [`constants`], for the generated header.
pub(super) const C_RULE: &str = "\
What is no letter or digit of ASCII separates words, which are joined by underscores in capitals: `traffic light` is \
TRAFFIC_LIGHT. A name without letters or digits of ASCII is the class's number. Where an earlier class has the same name, \
an underscore and the number are added: of the classes 1 `car` and 2 `Car` the second is CAR_2.";

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Variants of an enumeration in Rust for `classes`, each a number and a name.
pub(super) fn variants<'a>(classes: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<String> {
    let variant = |(number, name): (usize, &str)| {
        let mut variant = String::new();
        for word in words(name) {
            let (first, rest) = word.split_at(1);
            variant += &first.to_ascii_uppercase();
            variant += rest;
        }
        if variant.is_empty() {
            variant = number.to_string();
        }
        if variant.starts_with(|c: char| c.is_ascii_digit()) || variant == "Self" {
            variant.insert_str(0, "Class");
        }
        (variant, format!("Class{number}"))
    };
    distinct(classes.into_iter().map(variant))
}

/// Constants in C for `classes`, to stand behind a prefix with an underscore.
pub(super) fn constants<'a>(classes: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<String> {
    let constant = |(number, name): (usize, &str)| {
        let joined = words(name).collect::<Vec<_>>().join("_").to_ascii_uppercase();
        (if joined.is_empty() { number.to_string() } else { joined }, format!("_{number}"))
    };
    distinct(classes.into_iter().map(constant))
}

/// Each name, with its ending as often as an earlier one is the same.
fn distinct(names: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut taken = HashSet::new();
    let distinct = names.map(|(mut name, ending)| {
        while !taken.insert(name.clone()) {
            name += &ending;
        }
        name
    });
    distinct.collect()
}

/// Rust's keywords, and crates that a crate of such a name could not tell from itself.
const RESERVED: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "frcnn",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "build",
];

/// The name of a package in the folder `dir`: the folder's, in small letters and digits of ASCII with hyphens between. `model` is
/// put before a digit, or stands for a name without any; behind a keyword or the name of a crate that each program has.
pub(super) fn package(dir: &Path) -> String {
    // `..` and links have the name of what they stand for.
    let whole = dir.canonicalize().or_else(|_| std::path::absolute(dir));
    let whole = whole.as_deref().unwrap_or(dir);
    let folder = whole.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = words(&folder).collect::<Vec<_>>().join("-").to_ascii_lowercase();
    match name.chars().next() {
        None => "model".to_string(),
        Some('0'..='9') => format!("model-{name}"),
        Some(_) if RESERVED.contains(&&*name) => format!("{name}-model"),
        Some(_) => name,
    }
}

/// The same as the beginning of names in C.
pub(super) fn prefix(dir: &Path) -> String {
    package(dir).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered<'a>(names: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
        (1..).zip(names.iter().copied())
    }

    #[test]
    fn classes_get_variants_by_the_rule() {
        let names = [
            "type",
            "self",
            "Self",
            "2wheeler",
            "",
            "🚗",
            "traffic light",
            "RBC",
            "Größe",
            "自転車",
            "ALL",
            "a_b-c.d",
        ];
        let expected = [
            "Type",
            "ClassSelf",
            "ClassSelfClass3",
            "Class2wheeler",
            "Class5",
            "Class6",
            "TrafficLight",
            "RBC",
            "GrE",
            "Class10",
            "ALL",
            "ABCD",
        ];
        // `self` becomes `Self` first.
        assert_eq!(variants(numbered(&names)), expected);
        let alike = ["car", "Car", "car ", "CarClass2", "carClass2Class4", "Class6", "!"];
        let expected =
            ["Car", "CarClass2", "CarClass3", "CarClass2Class4", "CarClass2Class4Class5", "Class6", "Class7"];
        assert_eq!(variants(numbered(&alike)), expected);
    }

    #[test]
    fn classes_get_constants_by_the_rule() {
        let names = ["type", "2wheeler", "", "🚗", "traffic light", "Traffic-Light", "自転車", "3"];
        let expected = ["TYPE", "2WHEELER", "3", "4", "TRAFFIC_LIGHT", "TRAFFIC_LIGHT_6", "7", "3_8"];
        assert_eq!(constants(numbered(&names)), expected);
    }

    #[test]
    fn folders_get_names_of_packages() {
        for (dir, expected) in [
            ("out/Blood Cells/", "blood-cells"),
            ("/2wheelers", "model-2wheelers"),
            ("self", "self-model"),
            ("frcnn", "frcnn-model"),
            ("proc_macro", "proc-macro-model"),
            ("🚗", "model"),
            ("/", "model"),
            ("x/absent/../cells", "cells"),
        ] {
            assert_eq!(package(Path::new(dir)), expected, "{dir}");
        }
        assert_eq!(prefix(Path::new("blood cells")), "blood_cells");
    }
}
