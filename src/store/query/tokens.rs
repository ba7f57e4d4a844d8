//! Text → words.
//!
//! A word is a run of letters, digits and `_`, in lower case. Question and entry are cut by the
//! same code, so what an index lists and what the evaluator finds are the same words.

/// Longest word that is told apart, in bytes: what is longer is cut.
const MAX_WORD_BYTES: usize = 128;

/// Words with a digit and at least this long are looked up like ids: there are too many different
/// ones for a dictionary.
const RARE_BYTES: usize = 6;

/// Gives each word of `text`, in lower case, to `visit`. `buffer` is scratch space.
pub(crate) fn for_each_word(text: &str, buffer: &mut String, mut visit: impl FnMut(&str)) {
    let mut rest = text;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        visit(fold(word, buffer));
    }
}

/// The words of a text.
pub(crate) fn words(text: &str) -> Vec<String> {
    let (mut words, mut buffer) = (Vec::new(), String::new());
    for_each_word(text, &mut buffer, |word| words.push(word.to_owned()));
    words
}

/// Whether a word is one of very many: see [`RARE_BYTES`].
pub(crate) fn is_rare(word: &str) -> bool {
    word.len() >= RARE_BYTES && word.bytes().any(|b| b.is_ascii_digit())
}

/// Whether the words stand in `text` one after the other; the last may go on when `prefix` is set.
/// No words stand nowhere.
pub(crate) fn contains_words(
    text: &str,
    words: &[String],
    prefix: bool,
    buffer: &mut String,
) -> bool {
    let Some((last, _)) = words.split_last() else { return false };
    let mut start = text;
    loop {
        let mut rest = start;
        let mut next_start = None;
        let mut matched = 0_usize;
        for wanted in words {
            let Some((found, after)) = next_word(rest) else { return false };
            next_start.get_or_insert(after);
            rest = after;
            let found = fold(found, buffer);
            let is_last = std::ptr::eq(wanted, last);
            if found == wanted || (is_last && prefix && found.starts_with(wanted.as_str())) {
                matched = matched.saturating_add(1);
            } else {
                break;
            }
        }
        if matched == words.len() {
            return true;
        }
        match next_start {
            Some(next) => start = next,
            None => return false,
        }
    }
}

/// Whether two texts are equal but for case.
pub(crate) fn equals_folded(text: &str, folded: &str) -> bool {
    if text.is_ascii() {
        return text.eq_ignore_ascii_case(folded);
    }
    text.chars().flat_map(char::to_lowercase).eq(folded.chars())
}

/// Whether a text starts with another but for case.
pub(crate) fn starts_folded(text: &str, folded: &str) -> bool {
    let mut chars = text.chars().flat_map(char::to_lowercase);
    folded.chars().all(|c| chars.next() == Some(c))
}

/// The first word and what follows it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let start = text.find(is_word_char)?;
    let text = text.get(start..)?;
    let end = text.find(|c| !is_word_char(c)).unwrap_or(text.len());
    Some(text.split_at(end))
}

fn is_word_char(c: char) -> bool {
    // The dot above is what the lower case of the Turkish capital I has of its own.
    c.is_alphanumeric() || matches!(c, '_' | '\u{307}')
}

fn fold<'b>(word: &str, buffer: &'b mut String) -> &'b str {
    buffer.clear();
    let word = word.get(..word.floor_char_boundary(MAX_WORD_BYTES)).unwrap_or(word);
    if word.is_ascii() {
        buffer.push_str(word);
        buffer.make_ascii_lowercase();
    } else {
        buffer.extend(word.chars().flat_map(char::to_lowercase));
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contains(text: &str, asked: &str, prefix: bool) -> bool {
        contains_words(text, &words(asked), prefix, &mut String::new())
    }

    #[test]
    fn words_are_letters_digits_and_underscores_in_lower_case() {
        assert_eq!(words("Pay €5 to Müller_2, now!"), ["pay", "5", "to", "müller_2", "now"]);
        assert_eq!(words("--"), Vec::<String>::new());
        assert_eq!(words(&"x".repeat(500))[0].len(), MAX_WORD_BYTES);
    }

    #[test]
    fn words_of_a_phrase_stand_next_to_each_other() {
        let text = "the spend limit of the spend policy";
        assert!(contains(text, "spend-limit", false));
        assert!(contains(text, "spend policy", false), "also at its second place");
        assert!(!contains(text, "limit policy", false));
        assert!(!contains(text, "spend pol", false));
        assert!(contains(text, "spend pol", true));
        assert!(!contains(text, "", true));
    }

    #[test]
    fn words_with_digits_are_rare_when_they_are_long() {
        assert!(is_rare("a1b2c3") && is_rare("123456"));
        assert!(!is_rare("refund") && !is_rare("12345"));
    }

    proptest! {
        #[test]
        fn every_text_contains_its_own_words(text: String, before: String) {
            let own = words(&text);
            prop_assume!(!own.is_empty());
            let longer = format!("{before} {text}");
            prop_assert!(contains_words(&longer, &own, false, &mut String::new()));
        }

        #[test]
        fn a_text_equals_itself_in_any_case(text: String) {
            let folded: String = text.chars().flat_map(char::to_lowercase).collect();
            prop_assert!(equals_folded(&text, &folded));
            prop_assert!(starts_folded(&text, &folded));
        }
    }
}
