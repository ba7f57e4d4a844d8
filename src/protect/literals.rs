//! Many literals at once, in any ASCII case, and the small steps that follow a find.
//!
//! A search costs one pass that lowers case (vectorised) and one of Teddy (SIMD; `aho-corasick`).
//! Everything that is found is looked at again in the original bytes.

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, BuildError, MatchKind, Span};
use std::cell::RefCell;
use std::ops::Range;

/// Most memory that a thread keeps for lowered text, bytes; a larger text gets its own.
const MAX_KEPT_SCRATCH: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Literals to search for.
#[derive(Debug)]
pub(super) struct Literals(Vec<Group>);

/// Literals that are searched for in one pass.
#[derive(Debug)]
struct Group {
    /// Absent where the processor or the literals do not allow Teddy.
    teddy: Option<packed::Searcher>,
    automaton: AhoCorasick,
    /// The caller's number of each literal.
    numbers: Vec<usize>,
}

/// Teddy reads as many bytes of each literal as its shortest has, and four at most: a short literal
/// among many makes it stop at every corner. So those have a pass of their own.
const SHORT: usize = 4;

/// Buckets of Teddy for many literals.
const BUCKETS: usize = 16;

impl Literals {
    /// Literals, lowered here. Of those that begin at one place the longest is found.
    pub(super) fn new<'l>(literals: impl Iterator<Item = &'l str>) -> Result<Self, BuildError> {
        let literals = literals.map(str::to_ascii_lowercase).enumerate();
        let (short, long): (Vec<_>, Vec<_>) =
            literals.partition(|(_, literal)| literal.len() < SHORT);
        let groups = [long, short].into_iter().filter(|group| !group.is_empty());
        Ok(Self(groups.map(Group::new).collect::<Result<_, _>>()?))
    }

    /// Whether every group is searched with vector instructions.
    #[cfg(test)]
    pub(super) fn is_vectorised(&self) -> bool {
        self.0.iter().all(|group| group.teddy.is_some())
    }

    /// Calls `visit` with each find: the literal's number and where it stands. The answer is where
    /// the search goes on, or `None` to end it.
    pub(super) fn search(
        &self,
        text: &[u8],
        mut visit: impl FnMut(usize, Range<usize>) -> Option<usize>,
    ) {
        with_lowered(text, |lowered| {
            for group in &self.0 {
                let mut at = 0;
                while let Some((literal, range)) = group.find(lowered, at) {
                    let next = range.start.saturating_add(1);
                    match visit(literal, range) {
                        Some(on) => at = on.max(next),
                        None => return,
                    }
                }
            }
        });
    }
}

impl Group {
    fn new(literals: Vec<(usize, String)>) -> Result<Self, BuildError> {
        let (numbers, literals): (Vec<_>, Vec<_>) = arranged(literals).into_iter().unzip();
        let mut builder =
            packed::Config::new().match_kind(packed::MatchKind::LeftmostLongest).builder();
        builder.extend(&literals);
        let automaton =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&literals)?;
        Ok(Self { teddy: builder.build(), automaton, numbers })
    }

    fn find(&self, lowered: &[u8], at: usize) -> Option<(usize, Range<usize>)> {
        let span = Span { start: at.min(lowered.len()), end: lowered.len() };
        let found = match &self.teddy {
            Some(teddy) => teddy.find_in(lowered, span),
            None => self.automaton.find(aho_corasick::Input::new(lowered).span(span)),
        }?;
        Some((*self.numbers.get(found.pattern().as_usize())?, found.range()))
    }
}

/// Teddy deals literals out to its buckets in turn, and a bucket stops at all bytes of its literals
/// in any mixture. In this order like comes to like (`ghp_`, `gho_`), which halves the false stops.
fn arranged(mut literals: Vec<(usize, String)>) -> Vec<(usize, String)> {
    literals.sort_by(|(_, a), (_, b)| a.cmp(b));
    let mut by_bucket: Vec<usize> = (0..literals.len()).collect();
    by_bucket.sort_by_key(|place| place.checked_rem(BUCKETS));
    let mut dealt: Vec<_> = by_bucket.into_iter().zip(literals).collect();
    dealt.sort_by_key(|(place, _)| *place);
    dealt.into_iter().map(|(_, literal)| literal).collect()
}

fn with_lowered<T>(text: &[u8], inside: impl FnOnce(&[u8]) -> T) -> T {
    // Taken, not borrowed: a search may be started inside of a search.
    let mut scratch = SCRATCH.with_borrow_mut(std::mem::take);
    scratch.clear();
    scratch.extend(text.iter().map(u8::to_ascii_lowercase));
    let answer = inside(&scratch);
    if scratch.capacity() <= MAX_KEPT_SCRATCH {
        // IMPORTANT: the copy of somebody's text is gone from the vector's length, not from
        // memory; it is overwritten by the next entry and never read.
        scratch.clear();
        SCRATCH.with_borrow_mut(|kept| *kept = scratch);
    }
    answer
}

/// The bytes from `at` on.
pub(super) fn rest(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

/// The end of the run of bytes from `at` on that are all in the alphabet.
pub(super) fn run(text: &[u8], at: usize, alphabet: impl Fn(u8) -> bool) -> usize {
    at.saturating_add(rest(text, at).iter().take_while(|byte| alphabet(**byte)).count())
}

/// The start of the run of bytes before `at` that are all in the alphabet.
pub(super) fn run_back(text: &[u8], at: usize, alphabet: impl Fn(u8) -> bool) -> usize {
    let before = text.get(..at).unwrap_or_default();
    at.saturating_sub(before.iter().rev().take_while(|byte| alphabet(**byte)).count())
}

/// Whether a word can begin at `at`: what stands before it is no byte of a word, or is an escape of
/// JSON (`\n`, `\u000a`), which ends in a letter and is none.
pub(super) fn begins_word(text: &[u8], at: usize, word: impl Fn(u8) -> bool) -> bool {
    let before = text.get(..at).unwrap_or_default();
    match before {
        [] | [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => true,
        [.., last] => !word(*last) && !is_word(*last),
    }
}

/// Letters, digits and `_`.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// [`is_word`] and `-`: base64url, and most tokens.
pub(super) fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// Base64 with its padding.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(literals: &[&str], text: &str) -> Vec<(usize, usize)> {
        let literals = Literals::new(literals.iter().copied()).unwrap();
        let mut found = Vec::new();
        literals.search(text.as_bytes(), |literal, range| {
            found.push((literal, range.start));
            Some(0)
        });
        found
    }

    #[test]
    fn a_literal_is_found_in_any_case_and_overlapping() {
        assert_eq!(found(&["abca", "cabc", "ca"], "xABCabC"), [(0, 1), (1, 3), (2, 3)]);
    }

    proptest! {
        #[test]
        fn every_occurrence_is_found(text in "[abAB ]{0,200}") {
            let lower = text.to_ascii_lowercase();
            let expected: Vec<_> = (0..lower.len())
                .filter(|at| lower[*at..].starts_with("aba"))
                .map(|at| (0, at))
                .collect();
            prop_assert_eq!(found(&["aba"], &text), expected);
        }
    }

    #[test]
    fn an_escape_of_json_ends_no_word() {
        let begins = |text: &str| begins_word(text.as_bytes(), text.len(), |_| false);
        assert!(begins("") && begins(" ") && begins(r"\n") && begins(r"\u000a") && begins("\""));
        assert!(!begins("n") && !begins("u000a") && !begins("7") && !begins("_"));
    }
}
