//! What the index of the cluster can say about a question: a superset of its answers.
//!
//! Each hit is looked at with the evaluator that every store has, so a filter may let too much
//! through and never too little. Where the index compares otherwise than the evaluator, the filter
//! is wider, or left out:
//!
//! | a question for | is narrowed by |
//! |---|---|
//! | ids | the fields of their namespace, in every spelling ([`super::super::ids`]) |
//! | keywords, in any case | the short name's copy in lower case, or a pattern that is true to ASCII letters |
//! | times, sequence numbers | ranges |
//! | prose: `reason`, `message` | whether there is any: words are cut otherwise there |
//! | words anywhere, attributes | nothing: the entries that the rest of the question leaves are read |
//! | not … | nothing: what a thing is not is seen in the thing |
//!
//! A value of more than [`LONGEST_KEYWORD`] units is in no index. Elasticsearch names its field in
//! `_ignored`, which is searched too. OpenSearch does not: there a value that long is found whole
//! or by other parts of the question, not by its beginning.

use super::super::fields::{LONGEST_KEYWORD, SHORT_NAMES, Type};
use super::super::ids::{carries, id_fields};
use super::super::search::{Filter, Piece, known_field};
use crate::correlate::{Id, Namespace};
use crate::store::fields::{Class, Field};
use crate::store::query::{Between, Compiled, Needle, Target, Test};

/// Characters of a pattern; what follows them is any text. An automaton of more is expensive, and
/// few values begin with the same ones.
const MAX_PATTERN_CHARS: usize = 64;

/// A superset of what answers the question, of any tenant.
pub(super) fn narrow(question: &Compiled) -> Filter {
    match question {
        Compiled::All | Compiled::Not(_) | Compiled::Anywhere(_) => Filter::All,
        Compiled::And(parts) => Filter::and(parts.iter().map(narrow)),
        Compiled::Or(parts) => Filter::or(parts.iter().map(narrow)),
        Compiled::Field(targets, test) => {
            Filter::or(targets.iter().map(|target| at_target(target, test)))
        }
    }
}

fn at_target(target: &Target, test: &Test) -> Filter {
    match (target, test) {
        (Target::Field(field), test) => at_field(*field, test),
        (Target::Id(namespace), test) => at_ids(*namespace, id_fields(*namespace), test),
        (Target::Path { ids: Some(namespace), path, .. }, test) => match known_field(path) {
            Some(field) => at_ids(*namespace, [field].into_iter(), test),
            None => Filter::All,
        },
        (Target::EntryId, Test::Is(needle)) if needle.prefix => {
            Filter::Prefix("event.id", needle.text.clone())
        }
        (Target::EntryId, Test::Is(needle)) => carries(&[Id::new(Namespace::Entry, &*needle.text)]),
        (Target::Time, test) => at_time("@timestamp", test),
        (Target::Ingested, test) => at_time("event.ingested", test),
        (Target::Sequence, Test::Is(needle)) if !needle.prefix => {
            let number = needle.text.parse::<u64>();
            number.map_or(Filter::All, |n| Filter::Numbers("event.sequence", n, n))
        }
        (Target::Sequence, Test::Within(between)) => numbers(between),
        (Target::Conflict, Test::Exists) => conflict(),
        (Target::Conflict, Test::Is(needle)) if needle.folded == "true" => conflict(),
        // The tenant is asked for in every search. A path may lead to what is in no index.
        (
            Target::EntryId
            | Target::Sequence
            | Target::Conflict
            | Target::Tenant
            | Target::Path { .. },
            _,
        ) => Filter::All,
    }
}

fn conflict() -> Filter {
    Filter::Term("audit.ledger.conflict", "true".to_owned())
}

fn at_time(field: &'static str, test: &Test) -> Filter {
    let between = |(first, last): (u64, u64)| {
        if first <= last { Filter::Between(field, first, last) } else { Filter::None }
    };
    match test {
        Test::Is(needle) => needle.time.map_or(Filter::None, |t| between((t.first, t.last))),
        Test::Within(range) => range.times.map_or(Filter::None, between),
        Test::Exists => Filter::All,
    }
}

/// Bounds that are whole numbers; the evaluator reads others too.
fn numbers(between: &Between) -> Filter {
    let read = |bound: &Option<crate::store::query::Bound>, open: u64| {
        bound.as_ref().and_then(|bound| bound.value.parse::<u64>().ok()).unwrap_or(open)
    };
    let (first, last) = (read(&between.lower, 0), read(&between.upper, u64::MAX));
    if first > last { Filter::None } else { Filter::Numbers("event.sequence", first, last) }
}

fn at_ids(
    namespace: Namespace,
    mut fields: impl Iterator<Item = &'static str>,
    test: &Test,
) -> Filter {
    match test {
        Test::Is(needle) if needle.text.is_empty() => Filter::All,
        Test::Is(needle) if needle.prefix => Filter::or(
            fields.flat_map(|field| [Filter::Prefix(field, needle.text.clone()), too_long(field)]),
        ),
        Test::Is(needle) => carries(&[Id::new(namespace, &*needle.text)]),
        Test::Exists | Test::Within(_) => {
            Filter::or(fields.by_ref().flat_map(|field| [Filter::Exists(field), too_long(field)]))
        }
    }
}

fn at_field(field: Field, test: &Test) -> Filter {
    let Some(name) = known_field(field.path()) else { return Filter::All };
    let there = || Filter::or([Filter::Exists(name), too_long(name)]);
    match (field.class(), test) {
        (Class::Text, _) | (_, Test::Exists | Test::Within(_)) => there(),
        (_, Test::Is(needle)) if needle.folded.is_empty() && needle.prefix => there(),
        (_, Test::Is(needle)) if is_too_long(&needle.folded) => there(),
        (Class::Outcome, Test::Is(needle)) => {
            let outcome = needle.outcome.map(|outcome| outcome.as_str().to_owned());
            let exact = outcome.map(|word| Filter::Term(name, word));
            Filter::or(exact.into_iter().chain([keyword(name, needle)]))
        }
        (Class::Keyword, Test::Is(needle)) => keyword(name, needle),
    }
}

/// Values that are the needle in any case.
fn keyword(name: &'static str, needle: &Needle) -> Filter {
    let text = &needle.folded;
    let copy = folded_copy(name).filter(|_| text.is_ascii());
    let found = match (copy, needle.prefix) {
        (Some(copy), false) => Filter::Term(copy, text.clone()),
        (Some(copy), true) => Filter::Prefix(copy, text.clone()),
        (None, _) if text.is_empty() => Filter::Term(name, String::new()),
        (None, prefix) => Filter::Pattern(name, folded_pattern(text, prefix)),
    };
    if needle.prefix { Filter::or([found, too_long(name)]) } else { found }
}

/// The field in lower case that values of a field are copied to.
fn folded_copy(path: &str) -> Option<&'static str> {
    let copies = SHORT_NAMES.iter().filter(|short| short.kind() == Type::Folded);
    copies.into_iter().find(|short| short.paths.contains(&path)).map(|short| short.name)
}

/// A pattern that every value fulfils which in lower case is the text. The cluster knows the two
/// cases of ASCII letters only: other characters stand for anything, as do those in front of them,
/// since the lower case of one character can be two. The Kelvin sign's is a plain `k`.
fn folded_pattern(text: &str, prefix: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    for _ in 0..MAX_PATTERN_CHARS {
        let Some(c) = chars.next() else { break };
        let next_is_plain = chars.peek().is_none_or(char::is_ascii);
        if c.is_ascii() && next_is_plain && c != 'k' {
            plain.push(c);
            continue;
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        let any = !(c == 'k' && next_is_plain);
        if !(any && pieces.last() == Some(&Piece::Any)) {
            pieces.push(if any { Piece::Any } else { Piece::One });
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    if (prefix || chars.next().is_some()) && pieces.last() != Some(&Piece::Any) {
        pieces.push(Piece::Any);
    }
    pieces
}

/// Documents with a value in the field that is too long for the index.
fn too_long(field: &'static str) -> Filter {
    Filter::Term("_ignored", field.to_owned())
}

fn is_too_long(text: &str) -> bool {
    u32::try_from(text.encode_utf16().count()).is_ok_and(|units| units > LONGEST_KEYWORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::query::{Clock, Query};

    fn narrowed(text: &str) -> Filter {
        narrow(&Compiled::new(&Query::parse(text).unwrap(), Clock { now_ns: 0 }))
    }

    #[test]
    fn a_keyword_is_asked_for_in_the_copy_that_is_in_lower_case() {
        assert_eq!(narrowed("tool:Pay"), Filter::Term("tool", "pay".to_owned()));
        let Filter::Or(parts) = narrowed("tool:pay*") else { panic!() };
        assert_eq!(parts[0], Filter::Prefix("tool", "pay".to_owned()));
        assert_eq!(parts[1], Filter::Term("_ignored", "gen_ai.tool.name".to_owned()));
    }

    #[test]
    fn a_pattern_lets_through_what_folds_to_the_text_in_other_alphabets() {
        use Piece::{Any, One, Text};
        assert_eq!(folded_pattern("web-1", false), [Text("web-1".to_owned())]);
        assert_eq!(folded_pattern("tick", true), [Text("tic".to_owned()), One, Any]);
        assert_eq!(
            folded_pattern("größe", false),
            [Text("g".to_owned()), Any, Text("e".to_owned())]
        );
        assert_eq!(folded_pattern("ki\u{307}", false), [One, Any], "the Turkish capital I");
        assert_eq!(folded_pattern(&"x".repeat(80), false), [Text("x".repeat(64)), Any]);
    }

    #[test]
    fn what_is_compared_otherwise_in_the_index_is_left_to_the_evaluator() {
        for text in ["refund", "NOT tool:pay", "attributes.a:1", "sequence:1.5", "tenant_id:x"] {
            assert_eq!(narrowed(text), Filter::All, "{text}");
        }
        let prose = narrowed("reason:\"too much\"").to_json().to_string();
        assert!(prose.contains("exists") && !prose.contains("too much"), "{prose}");
    }

    #[test]
    fn an_impossible_time_is_nobodys() {
        assert_eq!(narrowed("time:yesterday"), Filter::None);
        assert_eq!(
            narrowed("time > 2026 AND time < 2025"),
            narrowed("time > 2026 AND time < 2025")
        );
    }

    #[test]
    fn every_field_of_the_evaluator_is_a_field_of_the_index() {
        for field in Field::ALL {
            assert!(known_field(field.path()).is_some(), "{}", field.path());
        }
    }
}
