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
        visit(word.fold(buffer));
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
            let found = found.fold(buffer);
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

/// A word as it stands in a text.
struct Word<'a> {
    text: &'a str,
    /// Whether it is in lower case already: most are.
    is_folded: bool,
}

impl<'a> Word<'a> {
    /// The word in lower case, cut where it is too long.
    fn fold<'b>(&self, buffer: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        let text = match self.text.len() {
            0..=MAX_WORD_BYTES => self.text,
            _ => self.text.get(..self.text.floor_char_boundary(MAX_WORD_BYTES)).unwrap_or_default(),
        };
        if self.is_folded {
            return text;
        }
        buffer.clear();
        if text.is_ascii() {
            buffer.push_str(text);
            buffer.make_ascii_lowercase();
        } else {
            buffer.extend(text.chars().flat_map(char::to_lowercase));
        }
        buffer
    }
}

/// The first word and what follows it.
fn next_word(text: &str) -> Option<(Word<'_>, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0_usize;
    while !word_char_at(text, bytes, at)?.1 {
        at = at.saturating_add(word_char_at(text, bytes, at)?.0);
    }
    let start = at;
    let mut is_folded = true;
    while let Some((length, true)) = word_char_at(text, bytes, at) {
        let byte = bytes.get(at).copied().unwrap_or_default();
        is_folded &= byte.is_ascii() && !byte.is_ascii_uppercase();
        at = at.saturating_add(length);
    }
    let word = Word { text: text.get(start..at)?, is_folded };
    Some((word, text.get(at..)?))
}

/// The length of the character at a place, and whether it belongs to a word.
#[inline]
fn word_char_at(text: &str, bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let byte = *bytes.get(at)?;
    if byte.is_ascii() {
        return Some((1, byte.is_ascii_alphanumeric() || byte == b'_'));
    }
    let c = text.get(at..)?.chars().next()?;
    // The dot above is what the lower case of the Turkish capital I has of its own.
    Some((c.len_utf8(), c.is_alphanumeric() || c == '\u{307}'))
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
