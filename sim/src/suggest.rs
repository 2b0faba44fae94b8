//! "Did you mean …?": which known word a mistyped one was to be.

/// The known word nearest to a mistyped one, if it is near enough to be meant: a third of it may differ.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(lower.chars().count()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean …?", or what there is to choose from.
pub(crate) fn choice<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<_> = known.into_iter().collect();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let list: Vec<_> = known.iter().map(|word| format!("`{word}`")).collect();
    (!list.is_empty()).then(|| format!("{what}: {}", list.join(", ")))
}

/// Text as a shell takes it for one word: what is suggested can be typed.
pub(crate) fn quoted(text: &str) -> String {
    // Only a NUL cannot be quoted, and no path has one.
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_blank_is_one_word() {
        assert_eq!(quoted("scenarios/a.tabs.yaml"), "scenarios/a.tabs.yaml");
        assert_eq!(quoted("my dir/a.tabs.yaml"), "'my dir/a.tabs.yaml'");
    }

    #[test]
    fn a_word_is_suggested_only_when_it_is_near() {
        let known = ["contains", "exactly", "nothing", "A"];

        assert_eq!(nearest("exacty", known), Some("exactly"));
        assert_eq!(nearest("Nothing", known), Some("nothing"));
        assert_eq!(nearest("a", known), Some("A"));
        assert_eq!(nearest("within", known), None);
        assert_eq!(nearest("B", known), None);
    }
}
