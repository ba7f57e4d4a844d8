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
///
/// Every text of every entry comes by here, so it looks at 64 bytes at once: a bit for each byte
/// says whether it may belong to a word, and where bits change, a stretch begins or ends. Only
/// stretches with characters that are not ASCII are read character by character.
pub(crate) fn for_each_word(text: &str, buffer: &mut String, mut visit: impl FnMut(&str)) {
    let mut stretch = Stretch::default();
    let (chunks, last) = text.as_bytes().as_chunks::<64>();
    let mut padded = [b' '; 64];
    // A blank at the end closes the last stretch.
    if let Some(place) = padded.get_mut(..last.len()) {
        place.copy_from_slice(last);
    }
    let mut base = 0_usize;
    for chunk in chunks.iter().chain([&padded]) {
        let marks = Marks::of(chunk);
        stretch.is_plain = marks.other == 0 && (stretch.is_plain || stretch.start.is_none());
        let mut edges = marks.edges(stretch.start.is_some());
        while edges != 0 {
            let at = base.saturating_add(edges.trailing_zeros() as usize);
            edges &= edges.wrapping_sub(1);
            match stretch.start.take() {
                None => stretch.start = Some(at),
                Some(start) => {
                    let found = text.get(start..at).unwrap_or_default();
                    visit_stretch(found, stretch.is_plain, buffer, &mut visit);
                    stretch.is_plain = marks.other == 0;
                }
            }
        }
        base = base.saturating_add(64);
    }
}

/// Bytes next to each other that may all belong to one word.
struct Stretch {
    start: Option<usize>,
    /// Whether nothing near it has to be put into lower case or looked at as a character.
    is_plain: bool,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { start: None, is_plain: true }
    }
}

fn visit_stretch(stretch: &str, is_plain: bool, buffer: &mut String, visit: &mut impl FnMut(&str)) {
    if is_plain || stretch.is_ascii() {
        let is_folded = is_plain || !stretch.bytes().any(|b| b.is_ascii_uppercase());
        visit(Word { text: stretch, is_folded }.fold(buffer));
        return;
    }
    let mut rest = stretch;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        visit(word.fold(buffer));
    }
}

/// What 64 bytes are, a bit for each, the first lowest.
struct Marks {
    /// May belong to a word.
    word: u64,
    /// Upper case, or not ASCII.
    other: u64,
}

impl Marks {
    #[inline]
    #[allow(clippy::needless_bitwise_bool, reason = "without branches it is done for many at once")]
    fn of(chunk: &[u8; 64]) -> Self {
        // Loops that the compiler turns into a few vector instructions; `map` it does not.
        let (mut word, mut other) = ([0; 64], [0; 64]);
        for (flag, b) in word.iter_mut().zip(chunk) {
            let is_letter = (b | 0x20).wrapping_sub(b'a') < 26;
            let is_digit = b.wrapping_sub(b'0') < 10;
            *flag = u8::from(is_letter | is_digit | (*b == b'_') | (*b >= 0x80));
        }
        for (flag, b) in other.iter_mut().zip(chunk) {
            *flag = u8::from((b.wrapping_sub(b'A') < 26) | (*b >= 0x80));
        }
        Self { word: packed(&word), other: packed(&other) }
    }

    /// Bytes at which a stretch begins or ends. `open` says whether one goes on from before.
    #[inline]
    fn edges(&self, open: bool) -> u64 {
        self.word ^ ((self.word << 1) | u64::from(open))
    }
}

/// A bit for each byte that is 0 or 1.
#[inline]
fn packed(flags: &[u8; 64]) -> u64 {
    /// Moves the bit of byte `i` to bit `56 + i`; no two products meet in one bit.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (words, _) = flags.as_chunks::<8>();
    words
        .iter()
        .rev()
        .fold(0, |bits, word| (bits << 8) | (u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56))
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

/// What a byte says about the character that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Not part of a word.
    Gap,
    /// Part of one, in lower case.
    Lower,
    /// Part of one, in upper case.
    Upper,
    /// Not ASCII: the character decides.
    Wide,
}

/// The class of each byte: most text is ASCII, and every byte of every entry comes by here.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Wide; 256];
    let mut rest: &mut [Class] = &mut classes;
    let mut byte = 0_u8;
    while let Some((class, after)) = rest.split_first_mut() {
        *class = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            0..=127 => Class::Gap,
            _ => Class::Wide,
        };
        rest = after;
        byte = byte.wrapping_add(1);
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Gap)
}

/// The first word and what follows it.
fn next_word(text: &str) -> Option<(Word<'_>, &str)> {
    let mut from = 0_usize;
    loop {
        let bytes = text.as_bytes().get(from..)?;
        let gap = bytes.iter().position(|b| class(*b) != Class::Gap)?;
        from = from.checked_add(gap)?;
        match wide_at(text, from) {
            // A character that is not ASCII and belongs to no word.
            Some((length, false)) => from = from.checked_add(length)?,
            _ => break,
        }
    }
    let mut end = from;
    let mut is_folded = true;
    loop {
        let bytes = text.as_bytes().get(end..)?;
        let plain = bytes.iter().position(|b| class(*b) != Class::Lower).unwrap_or(bytes.len());
        end = end.checked_add(plain)?;
        match text.as_bytes().get(end).map(|b| class(*b)) {
            Some(Class::Upper) => end = end.checked_add(1)?,
            Some(Class::Wide) => match wide_at(text, end) {
                Some((length, true)) => end = end.checked_add(length)?,
                _ => break,
            },
            _ => break,
        }
        is_folded = false;
    }
    Some((Word { text: text.get(from..end)?, is_folded }, text.get(end..)?))
}

/// The length of a character that is not ASCII, and whether it belongs to a word.
fn wide_at(text: &str, at: usize) -> Option<(usize, bool)> {
    let c = text.get(at..)?.chars().next().filter(|c| !c.is_ascii())?;
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

    /// The same words, found character by character.
    fn words_one_by_one(text: &str) -> Vec<String> {
        let (mut words, mut buffer, mut rest) = (Vec::new(), String::new(), text);
        while let Some((word, after)) = next_word(rest) {
            words.push(word.fold(&mut buffer).to_owned());
            rest = after;
        }
        words
    }

    proptest! {
        #[test]
        fn sixty_four_bytes_at_once_or_one_by_one_are_the_same_words(
            any: String,
            usual in "([a-zA-Z0-9_]{0,70}[ ,.é€\"/-]{0,3}){0,12}",
        ) {
            prop_assert_eq!(words(&any), words_one_by_one(&any));
            prop_assert_eq!(words(&usual), words_one_by_one(&usual));
        }

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
