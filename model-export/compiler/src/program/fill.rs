//! Templates.

/// `template` with the text of each word in place of `@WORD@`. What is put there is not looked at again.
pub(super) fn fill(template: &str, words: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text += before;
        let word = after.split_once('@').and_then(|(word, behind)| {
            let (_, value) = words.iter().find(|(name, _)| *name == word)?;
            Some((value, behind))
        });
        rest = match word {
            Some((value, behind)) => {
                text += value;
                behind
            }
            None => {
                text.push('@');
                after
            }
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn words_are_put_in_once() {
        let words = [("A", "@B@".to_string()), ("B", "2".to_string())];
        assert_eq!(fill("@A@ @B@, a@b.c, @C@@B@", &words), "@B@ 2, a@b.c, @C@2");
    }
}
