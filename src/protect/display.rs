//! Text that is safe to show in a terminal, a log line or an error.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes what could forge a line, move a cursor, or turn the reading direction: line ends, NUL and
/// the other control characters (ANSI sequences begin with one), bidirectional controls, invisible
/// marks. All other text, emoji included, stays as it is.
///
/// ```
/// use spanledger::protect::display::sanitize;
/// assert_eq!(sanitize("ok"), "ok");
/// assert_eq!(sanitize("a\r\nb\u{1b}[31m\u{202e}"), r"a\r\nb\u{1b}[31m\u{202e}");
/// ```
pub fn sanitize(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else { return Cow::Borrowed(text) };
    let (safe, rest) = text.split_at(first);
    let mut shown = String::with_capacity(text.len().saturating_add(16));
    shown.push_str(safe);
    for c in rest.chars() {
        match c {
            '\r' => shown.push_str(r"\r"),
            '\n' => shown.push_str(r"\n"),
            '\t' => shown.push_str(r"\t"),
            // Writing to a string does not fail.
            c if is_unsafe(c) => drop(write!(shown, "{}", c.escape_unicode())),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators end a line for some readers.
            '\u{2028}' | '\u{2029}'
            // Bidirectional marks, embeddings, overrides and isolates.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible: zero width space, byte order mark, interlinear notes, tags.
            | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_text_is_not_copied() {
        for text in ["", "naïve 日本語 👩‍💻", r"C:\temp"] {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn nothing_that_moves_or_hides_gets_through() {
        assert_eq!(sanitize("a\0b"), r"a\u{0}b");
        assert_eq!(sanitize("x\u{9b}31m"), r"x\u{9b}31m", "the one-character form of ESC [");
        assert_eq!(sanitize("a\u{202e}b\u{2066}c\u{feff}"), r"a\u{202e}b\u{2066}c\u{feff}");
        assert_eq!(sanitize("200 OK\nERROR forged"), r"200 OK\nERROR forged");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_one_line_without_controls(text: String) {
            let shown = sanitize(&text);
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert!(matches!(sanitize(&shown), Cow::Borrowed(_)), "{}", shown);
        }
    }
}
