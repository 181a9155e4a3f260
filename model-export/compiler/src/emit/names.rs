//! Names of a model's values: a bundle may use one twice, ONNX may not.

use std::collections::HashSet;

/// The names given so far.
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Names that nobody else gets.
    pub(super) fn reserving(names: &[&str]) -> Names {
        Names(names.iter().map(|name| name.to_string()).collect())
    }

    /// `name`, or `name_2`, `name_3` and so on where it is taken. An empty name would mean "left out" in ONNX.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "layer" } else { name };
        let numbered = (2..).map(|number: u64| format!("{name}_{number}"));
        let free = std::iter::once(name.to_string()).chain(numbered).find(|free| !self.0.contains(free));
        let free = free.unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice() {
        let mut names = Names::reserving(&["data"]);
        let given = ["data", "conv1", "conv1", "conv1_2", "conv1", ""].map(|name| names.unique(name));
        assert_eq!(given, ["data_2", "conv1", "conv1_2", "conv1_2_2", "conv1_3", "layer"]);
    }
}
