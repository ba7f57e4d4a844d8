//! Text for a terminal: made harmless, measured in columns, cut to fit, coloured where it may be.
//!
//! Everything that a source sent may hold escape sequences or invisible direction marks. Nothing
//! reaches a terminal but through [`clean`].

use std::io::IsTerminal as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns when there is no terminal to ask: wide enough that pipes and files lose nothing useful.
const COLUMNS_WITHOUT_TERMINAL: usize = 160;

/// Narrowest width that is drawn for: below it lines wrap instead of vanishing.
const LEAST_COLUMNS: usize = 60;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours may be used.
    pub colour: bool,
    /// Columns that a line may take.
    pub columns: usize,
}

impl Style {
    /// No colour, that many columns.
    pub const fn plain(columns: usize) -> Self {
        Self { colour: false, columns }
    }

    /// What standard output can show: colour only on a terminal and never when `NO_COLOR` is set
    /// (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = rustix::termios::tcgetwinsize(&stdout)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
            .unwrap_or(COLUMNS_WITHOUT_TERMINAL);
        Self {
            colour: stdout.is_terminal() && !refused && !dumb,
            columns: columns.max(LEAST_COLUMNS),
        }
    }

    /// The text in that colour, or as it is.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        match paint.code().filter(|_| self.colour && !text.is_empty()) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
    /// It may happen.
    Good,
    /// It may not, or it failed.
    Bad,
    /// A person is asked.
    Ask,
}

impl Paint {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Dim => Some("2"),
            Self::Bold => Some("1"),
            Self::Good => Some("32"),
            Self::Bad => Some("1;31"),
            Self::Ask => Some("1;33"),
        }
    }
}

/// The text on one line and with nothing in it that a terminal would obey: control characters and
/// line breaks become spaces, invisible direction and format characters are shown as `\u{…}`.
///
/// ```
/// use spanledger::cli::clean;
/// assert_eq!(clean("a\u{1b}[31mred\nb"), "a [31mred b");
/// assert_eq!(clean("user\u{202e}txt"), r"user\u{202e}txt");
/// ```
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change how their neighbours are read without showing themselves.
/// Source: Unicode UAX #9 (explicit formatting), UTS #39 (default ignorables), tags block.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Columns that the text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// The text, cut with `…` when it takes more than that many columns.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > room {
            break;
        }
        room = room.saturating_sub(width);
        out.push(c);
    }
    out.push('…');
    out
}

/// The text in lines of at most that many columns, broken between words, a longer word cut; what
/// would be beyond `lines` lines is replaced by `…`.
pub(super) fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let mut line = fit(word, columns);
        while let Some(next) = words.peek() {
            if line.width().saturating_add(1).saturating_add(next.width()) > columns {
                break;
            }
            line.push(' ');
            line.push_str(next);
            words.next();
        }
        out.push(line);
        if out.len() == lines && words.peek().is_some() {
            if let Some(last) = out.last_mut() {
                *last = fit(&format!("{last} …"), columns);
            }
            break;
        }
    }
    out
}

/// The text, filled with spaces to that many columns.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_gets_through(text: String) {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() || is_invisible(c)));
        }

        #[test]
        fn cut_text_fits_and_padded_text_fills(text: String, width in 1_usize..50) {
            let text = clean(&text);
            prop_assert!(columns(&fit(&text, width)) <= width);
            prop_assert!(columns(&pad(&fit(&text, width), width)) >= width);
        }
    }

    #[test]
    fn long_text_is_broken_between_words_and_its_end_is_marked() {
        assert_eq!(wrap("one two three four", 9, 3), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "three …"]);
        assert_eq!(wrap("abcdefghijkl m", 5, 9), ["abcd…", "m"]);
        assert!(wrap("", 5, 9).is_empty());
    }

    #[test]
    fn a_wide_character_counts_as_two_columns() {
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("日本語", 6), "日本語");
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        assert_eq!(Style::plain(80).paint(Paint::Bad, "no"), "no");
        let colour = Style { colour: true, columns: 80 };
        assert_eq!(colour.paint(Paint::Good, "yes"), "\u{1b}[32myes\u{1b}[0m");
    }
}
