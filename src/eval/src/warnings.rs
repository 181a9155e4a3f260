//! What is wrong with a data set that can be used all the same.

use std::fmt;

use frcnn_core::Printable;

/// What is wrong with a data set that can be used all the same: kinds of mistakes, each with how often it occurs and
/// where first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warnings(Vec<Warning>);

/// One kind of mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// What, of several: `boxes have no area`.
    pub kind: &'static str,
    /// How often.
    pub count: usize,
    /// Where first.
    pub first: String,
}

impl Warnings {
    /// Counts a mistake; `place` tells where it is.
    pub fn add(&mut self, kind: &'static str, place: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|warning| warning.kind == kind) {
            Some(warning) => warning.count += 1,
            None => self.0.push(Warning { kind, count: 1, first: place() }),
        }
    }

    /// Takes in another's; the first place of each kind stays the first.
    pub fn extend(&mut self, others: Warnings) {
        for other in others.0 {
            match self.0.iter_mut().find(|warning| warning.kind == other.kind) {
                Some(warning) => warning.count += other.count,
                None => self.0.push(other),
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each kind once.
    pub fn iter(&self) -> impl Iterator<Item = &Warning> {
        self.0.iter()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (first: {})", self.count, self.kind, Printable(&self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_the_first_is_named() {
        let mut warnings = Warnings::default();
        warnings.add("boxes have no area", || "a.xml".to_string());
        let mut others = Warnings::default();
        others.add("boxes have no area", || "b.xml".to_string());
        others.add("objects have no name", || "c\n.xml".to_string());
        warnings.extend(others);
        let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
        assert_eq!(
            texts,
            ["2 boxes have no area (first: a.xml)", "1 objects have no name (first: c\\n.xml)"]
        );
    }
}
