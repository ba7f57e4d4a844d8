//! Whether an entry answers a question. The one truth: every index only proposes.

use super::super::entry_view::EntryView;
use super::super::fields::Class;
use super::names::{Target, targets};
use super::path::any_leaf;
use super::time::{self, Stretch};
use super::tokens::{contains_words, equals_folded, starts_folded, words};
use super::{Bound, Query, Value};
use crate::correlate::{Namespace, same_id};
use crate::entry::Outcome;
use serde_json::Value as Json;

/// What `now` means in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds since 1970.
    pub now_ns: u64,
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ns = since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        Self { now_ns: ns }
    }
}

/// Whether an entry answers a question. For many entries make one [`Compiled`].
pub fn matches(query: &Query, entry: &EntryView<'_>, clock: Clock) -> bool {
    Compiled::new(query, clock).matches(entry)
}

/// A question with its names looked up, its words cut and its times read.
#[derive(Debug, Clone)]
pub enum Compiled {
    /// Everything.
    All,
    /// All of them.
    And(Vec<Compiled>),
    /// At least one of them.
    Or(Vec<Compiled>),
    /// Not this.
    Not(Box<Compiled>),
    /// A test of one of several places.
    Field(Vec<Target>, Test),
    /// A value anywhere: in all text, and in all ids.
    Anywhere(Needle),
}

/// What is asked of a value.
#[derive(Debug, Clone)]
pub enum Test {
    /// Whether it is this.
    Is(Needle),
    /// Whether there is one.
    Exists,
    /// Whether it lies between the bounds.
    Within(Between),
}

/// A value that is looked for, in the forms in which it is compared.
#[derive(Debug, Clone)]
pub struct Needle {
    /// As it was written.
    pub text: String,
    /// In lower case.
    pub folded: String,
    /// Its words.
    pub words: Vec<String>,
    /// Whether more may follow.
    pub prefix: bool,
    /// The outcome that the word means.
    pub outcome: Option<Outcome>,
    /// The stretch of time that it stands for, first and last nanosecond.
    pub(crate) time: Option<Stretch>,
}

/// A range, read in the ways in which values can be compared.
#[derive(Debug, Clone)]
pub struct Between {
    pub(crate) lower: Option<Bound>,
    pub(crate) upper: Option<Bound>,
    /// The same as times, first and last nanosecond; `None` when a bound is no time.
    pub times: Option<(u64, u64)>,
}

impl Compiled {
    /// Prepares a question.
    pub fn new(query: &Query, clock: Clock) -> Self {
        let all = |parts: &[Query]| parts.iter().map(|part| Self::new(part, clock)).collect();
        match query {
            Query::All => Compiled::All,
            Query::And(parts) => Compiled::And(all(parts)),
            Query::Or(parts) => Compiled::Or(all(parts)),
            Query::Not(inner) => Compiled::Not(Box::new(Self::new(inner, clock))),
            Query::Term { field: None, value } => Compiled::Anywhere(Needle::new(value, clock)),
            Query::Term { field: Some(field), value } => {
                Compiled::Field(targets(field), Test::Is(Needle::new(value, clock)))
            }
            Query::Exists { field } => Compiled::Field(targets(field), Test::Exists),
            Query::Range { field, lower, upper } => {
                let between = Between::new(lower.clone(), upper.clone(), clock);
                Compiled::Field(targets(field), Test::Within(between))
            }
        }
    }

    /// Whether an entry answers the question.
    pub fn matches(&self, entry: &EntryView<'_>) -> bool {
        match self {
            Compiled::All => true,
            Compiled::And(parts) => parts.iter().all(|part| part.matches(entry)),
            Compiled::Or(parts) => parts.iter().any(|part| part.matches(entry)),
            Compiled::Not(inner) => !inner.matches(entry),
            Compiled::Field(targets, test) => {
                targets.iter().any(|target| test.holds_at(target, entry))
            }
            Compiled::Anywhere(needle) => needle.is_anywhere(entry),
        }
    }
}

impl Needle {
    fn new(value: &Value, clock: Clock) -> Self {
        Self {
            text: value.text.clone(),
            folded: value.text.chars().flat_map(char::to_lowercase).collect(),
            words: words(&value.text),
            prefix: value.prefix,
            outcome: Outcome::from_word(&value.text).filter(|_| !value.prefix),
            time: time::read(&value.text, clock.now_ns).filter(|_| !value.prefix),
        }
    }

    fn is_anywhere(&self, entry: &EntryView<'_>) -> bool {
        let mut buffer = String::new();
        let facets = entry.facets();
        facets.all_text().any(|text| contains_words(text, &self.words, self.prefix, &mut buffer))
            || facets.ids.iter().any(|id| {
                !(self.prefix && is_random(id.namespace)) && self.is_id(id.namespace, &id.text)
            })
            || (!self.prefix && self.is_id(Namespace::Entry, &entry.id_text()))
    }

    fn is_id(&self, namespace: Namespace, id: &str) -> bool {
        match namespace {
            _ if self.prefix => id.starts_with(&self.text),
            Namespace::Entry => id.eq_ignore_ascii_case(&self.text),
            _ => same_id(namespace, id, &self.text),
        }
    }

    fn is_text(&self, class: Class, text: &str) -> bool {
        let compare = if self.prefix { starts_folded } else { equals_folded };
        let whole = compare(text, &self.folded);
        whole
            || match class {
                Class::Keyword => false,
                Class::Outcome => self.outcome.is_some_and(|outcome| outcome.as_str() == text),
                Class::Text => contains_words(text, &self.words, self.prefix, &mut String::new()),
            }
    }

    /// Whether it is this keyword, in any case.
    pub(crate) fn is_keyword(&self, text: &str) -> bool {
        self.is_text(Class::Keyword, text)
    }

    fn is_time(&self, ns: u64) -> bool {
        self.time.is_some_and(|stretch| (stretch.first..=stretch.last).contains(&ns))
    }

    fn is_number(&self, written: &str) -> bool {
        if self.prefix {
            return written.starts_with(&self.text);
        }
        match (self.text.parse::<i128>(), written.parse::<i128>()) {
            (Ok(wanted), Ok(there)) => wanted == there,
            _ => match (self.text.parse::<f64>(), written.parse::<f64>()) {
                #[allow(clippy::float_cmp, reason = "the number that was asked for")]
                (Ok(wanted), Ok(there)) => wanted == there,
                _ => false,
            },
        }
    }

    fn is_leaf(&self, leaf: &Json, class: Class, ids: Option<Namespace>) -> bool {
        match (leaf, ids) {
            (Json::String(text), Some(namespace)) => self.is_id(namespace, text),
            (Json::String(text), None) => self.is_text(class, text),
            (Json::Bool(truth), _) => self.is_text(Class::Keyword, &truth.to_string()),
            (Json::Number(number), _) => self.is_number(&number.to_string()),
            _ => false,
        }
    }
}

/// Whether ids of a namespace are random digits, whose beginnings nobody asks for.
pub(crate) fn is_random(namespace: Namespace) -> bool {
    matches!(namespace, Namespace::Entry | Namespace::Span)
}

impl Between {
    fn new(lower: Option<Bound>, upper: Option<Bound>, clock: Clock) -> Self {
        let read = |bound: &Bound| time::read(&bound.value, clock.now_ns);
        // As in Elasticsearch: > 2026-11-21 starts after that day, <= ends with it.
        let first = match &lower {
            None => Some(0),
            Some(bound) if bound.inclusive => read(bound).map(|stretch| stretch.first),
            Some(bound) => read(bound).map(|stretch| stretch.last.saturating_add(1)),
        };
        let last = match &upper {
            None => Some(u64::MAX),
            Some(bound) if bound.inclusive => read(bound).map(|stretch| stretch.last),
            // Nothing is before the first nanosecond; such a range is empty: (1, 0).
            Some(bound) => read(bound).map(|stretch| stretch.first.wrapping_sub(1)),
        };
        let empty = upper.as_ref().is_some_and(|bound| {
            !bound.inclusive && read(bound).is_some_and(|stretch| stretch.first == 0)
        });
        let times = if empty { Some((1, 0)) } else { first.zip(last) };
        Self { lower, upper, times }
    }

    fn has_time(&self, ns: u64) -> bool {
        self.times.is_some_and(|(first, last)| (first..=last).contains(&ns))
    }

    /// Compares as numbers where both are, else as text.
    fn has_number(&self, written: &str) -> bool {
        self.holds(|bound| compare_numbers(written, bound))
    }

    fn has_text(&self, text: &str) -> bool {
        // The clock was read when the question was prepared; a time in an entry is absolute.
        if let (Some(stretch), true) = (time::read(text, 0), self.times.is_some()) {
            return self.has_time(stretch.first);
        }
        self.holds(|bound| compare_numbers(text, bound).or_else(|| Some(text.cmp(bound))))
    }

    fn holds(&self, compare: impl Fn(&str) -> Option<std::cmp::Ordering>) -> bool {
        let above = self.lower.as_ref().is_none_or(|bound| {
            compare(&bound.value).is_some_and(|o| o.is_gt() || (bound.inclusive && o.is_eq()))
        });
        above
            && self.upper.as_ref().is_none_or(|bound| {
                compare(&bound.value).is_some_and(|o| o.is_lt() || (bound.inclusive && o.is_eq()))
            })
    }

    fn has_leaf(&self, leaf: &Json) -> bool {
        match leaf {
            Json::String(text) => self.has_text(text),
            Json::Number(number) => self.has_number(&number.to_string()),
            _ => false,
        }
    }
}

/// Integers exactly, others as floats; `None` when one is no number.
fn compare_numbers(a: &str, b: &str) -> Option<std::cmp::Ordering> {
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => Some(a.cmp(&b)),
        _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?),
    }
}

impl Test {
    fn holds_at(&self, target: &Target, entry: &EntryView<'_>) -> bool {
        match target {
            Target::Field(field) => entry.facets().values(*field).any(|value| match self {
                Test::Is(needle) => needle.is_text(field.class(), value),
                Test::Exists => true,
                Test::Within(between) => between.has_text(value),
            }),
            Target::Id(namespace) => {
                entry.facets().ids_in(*namespace).any(|id| self.holds_for_id(*namespace, &id.text))
            }
            Target::EntryId => self.holds_for_id(Namespace::Entry, &entry.id_text()),
            Target::Time => self.holds_for_time(entry.event_ns()),
            Target::Ingested => self.holds_for_time(entry.envelope.received_ns),
            Target::Sequence => self.holds_for_number(entry.envelope.sequence),
            Target::Conflict => match self {
                Test::Is(needle) => {
                    needle.is_text(Class::Keyword, &entry.envelope.conflict.to_string())
                }
                Test::Exists => entry.envelope.conflict,
                Test::Within(_) => false,
            },
            Target::Tenant => match self {
                Test::Is(needle) => needle.is_text(Class::Keyword, entry.envelope.tenant),
                Test::Exists => true,
                Test::Within(between) => between.has_text(entry.envelope.tenant),
            },
            Target::Path { path, class, ids, bare, .. } => entry.json().is_some_and(|body| {
                any_leaf(body, path, *bare, &mut |leaf| match self {
                    Test::Is(needle) => needle.is_leaf(leaf, *class, *ids),
                    Test::Exists => true,
                    Test::Within(between) => between.has_leaf(leaf),
                })
            }),
        }
    }

    fn holds_for_id(&self, namespace: Namespace, id: &str) -> bool {
        match self {
            Test::Is(needle) => needle.is_id(namespace, id),
            Test::Exists => true,
            Test::Within(between) => between.has_text(id),
        }
    }

    fn holds_for_time(&self, ns: u64) -> bool {
        match self {
            Test::Is(needle) => needle.is_time(ns),
            Test::Exists => true,
            Test::Within(between) => between.has_time(ns),
        }
    }

    fn holds_for_number(&self, number: u64) -> bool {
        match self {
            Test::Is(needle) => needle.is_number(&number.to_string()),
            Test::Exists => true,
            Test::Within(between) => between.has_number(&number.to_string()),
        }
    }
}
