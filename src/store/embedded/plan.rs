//! What an index can say about a question: a superset of the answers.

use super::super::StoreError;
use super::super::fields::{Class, Field};
use super::super::query::tokens::is_rare;
use super::super::query::{Compiled, Needle, Target, Test, is_random};
use super::dictionary::View;
use super::ids::{Damaged, Snapshot};
use super::listing::{Lister, Tag};
use super::ranges::Ranges;
use crate::correlate::{Id, Namespace};
use std::ops::Range;

/// Entries among which all answers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidates {
    /// All: they have to be read.
    Everything,
    /// These: single ones from the id runs, whole blocks from the dictionary.
    Among(Ranges),
}

/// Where to look for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    Everything,
    /// Listed in the dictionary.
    Tag(Tag),
    /// Listed in the dictionary under something that starts so.
    TagPrefix(Tag),
    /// Listed in the id runs under one of these.
    Keys(Vec<u64>),
    /// Between two times, nanoseconds since 1970.
    Time(u64, u64),
    /// Between two sequence numbers.
    Sequence(u64, u64),
    And(Vec<Plan>),
    Or(Vec<Plan>),
}

/// Makes plans for one tenant.
#[derive(Clone, Copy)]
pub(super) struct Planner<'a> {
    lister: &'a Lister,
    tenant: &'a str,
    /// The kind that all answers have, in lower case, where the question says one.
    kind: Option<&'a str>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(lister: &'a Lister, tenant: &'a str) -> Self {
        Self { lister, tenant, kind: None }
    }

    /// Where to look for a question.
    pub(super) fn plan(&self, query: &'a Compiled) -> Plan {
        match query {
            // What a thing is not is seen in the thing.
            Compiled::All | Compiled::Not(_) => Plan::Everything,
            Compiled::And(parts) => {
                let kind = parts.iter().find_map(kind_of);
                let within = Self { kind: kind.or(self.kind), ..*self };
                and(parts.iter().map(|part| within.plan(part)))
            }
            Compiled::Or(parts) => or(parts.iter().map(|part| self.plan(part))),
            Compiled::Anywhere(needle) => self.anywhere(needle),
            Compiled::Field(targets, test) => {
                or(targets.iter().map(|target| self.target(target, test)))
            }
        }
    }

    fn anywhere(&self, needle: &Needle) -> Plan {
        if needle.text.is_empty() {
            return Plan::Everything;
        }
        let ids = if needle.prefix {
            self.id_prefix(needle)
        } else {
            let namespaces = Namespace::ALL.iter();
            Plan::Keys(namespaces.flat_map(|n| self.keys(*n, &needle.text)).collect())
        };
        // A text without a word is found among the ids alone.
        let words = (!needle.words.is_empty()).then(|| self.words(needle));
        or(words.into_iter().chain([ids]))
    }

    fn target(&self, target: &Target, test: &Test) -> Plan {
        match (target, test) {
            (Target::Field(field), test) => self.field(*field, test),
            (Target::Id(namespace), Test::Is(needle)) => self.id(*namespace, needle),
            (Target::EntryId, Test::Is(needle)) if !needle.prefix => {
                let lower = needle.text.to_ascii_lowercase();
                Plan::Keys(self.keys(Namespace::Entry, &lower).collect())
            }
            (Target::Time, Test::Is(needle)) => {
                needle.time.map_or(Plan::Or(Vec::new()), |t| Plan::Time(t.first, t.last))
            }
            (Target::Time, Test::Within(between)) => match between.times {
                Some((first, last)) if first <= last => Plan::Time(first, last),
                _ => Plan::Or(Vec::new()),
            },
            (Target::Sequence, Test::Is(needle)) if !needle.prefix => {
                match needle.text.parse::<u64>() {
                    Ok(sequence) => Plan::Sequence(sequence, sequence),
                    Err(_) => Plan::Everything,
                }
            }
            (Target::Conflict, Test::Exists) => Plan::Tag(self.lister.conflict_tag(self.tenant)),
            // Every entry that is looked at is this tenant's.
            (Target::Tenant, Test::Is(needle)) if !needle.is_keyword(self.tenant) => {
                Plan::Or(Vec::new())
            }
            // Of several spellings of one trace id only one is listed by its beginning.
            (Target::Path { ids: Some(Namespace::Trace), .. }, Test::Is(needle))
                if needle.prefix =>
            {
                Plan::Everything
            }
            (Target::Path { ids: Some(namespace), .. }, Test::Is(needle)) => {
                self.id(*namespace, needle)
            }
            (Target::Id(namespace) | Target::Path { ids: Some(namespace), .. }, _) => {
                tag_or_all(self.lister.has_id_tag(self.tenant, *namespace))
            }
            (Target::Path { searched: true, .. }, Test::Is(needle)) => self.searched_path(needle),
            _ => Plan::Everything,
        }
    }

    fn field(&self, field: Field, test: &Test) -> Plan {
        let tag = |folded: &str| match self.kind {
            Some(kind) => self.lister.field_tag_of_kind(self.tenant, kind, field, folded),
            None => self.lister.field_tag(self.tenant, field, folded),
        };
        match (field.class(), test) {
            (Class::Text, Test::Is(needle)) if !needle.words.is_empty() && self.lister.words => {
                self.words(needle)
            }
            (Class::Text, _) => Plan::Tag(self.lister.has_field_tag(self.tenant, field)),
            (_, Test::Is(needle)) if needle.prefix => Plan::TagPrefix(tag(&needle.folded)),
            (Class::Outcome, Test::Is(needle)) => {
                let canonical = needle.outcome.map(|outcome| Plan::Tag(tag(outcome.as_str())));
                or([Plan::Tag(tag(&needle.folded))].into_iter().chain(canonical))
            }
            (_, Test::Is(needle)) => Plan::Tag(tag(&needle.folded)),
            (_, Test::Exists | Test::Within(_)) => Plan::TagPrefix(tag("")),
        }
    }

    fn id(&self, namespace: Namespace, needle: &Needle) -> Plan {
        match (needle.text.is_empty(), needle.prefix) {
            (true, _) => Plan::Everything,
            (false, false) => Plan::Keys(self.keys(namespace, &needle.text).collect()),
            (false, true) if is_random(namespace) => Plan::Everything,
            (false, true) => and([
                self.id_prefix(needle),
                tag_or_all(self.lister.has_id_tag(self.tenant, namespace)),
            ]),
        }
    }

    /// Values at a path whose words are searched with all other text: texts at least. A number or
    /// a boolean is not text, and text beyond the bound is not searched.
    fn searched_path(&self, needle: &Needle) -> Plan {
        let may_be_no_text = needle.text.parse::<f64>().is_ok()
            || needle
                .text
                .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
                && needle.prefix
            || ["true", "false"].iter().any(|word| {
                *word == needle.folded || needle.prefix && word.starts_with(&needle.folded)
            });
        if may_be_no_text || needle.words.is_empty() {
            return Plan::Everything;
        }
        or([self.words(needle), Plan::Tag(self.lister.text_cut_tag(self.tenant))])
    }

    /// Texts that have all the words; the last may go on.
    fn words(&self, needle: &Needle) -> Plan {
        if !self.lister.words {
            return Plan::Everything;
        }
        let last = needle.words.len().saturating_sub(1);
        and(needle.words.iter().enumerate().map(|(at, word)| match needle.prefix && at == last {
            true => self.word_prefix(word),
            false if is_rare(word) => Plan::Keys(vec![self.lister.word_key(self.tenant, word)]),
            false => Plan::Tag(self.lister.word_tag(self.tenant, word)),
        }))
    }

    fn word_prefix(&self, start: &str) -> Plan {
        match self.lister.rare_prefix_tag(self.tenant, start) {
            Some(rare) => {
                let plain = Plan::TagPrefix(self.lister.word_tag(self.tenant, start));
                or([plain, Plan::Tag(rare)])
            }
            None => Plan::Everything,
        }
    }

    fn id_prefix(&self, needle: &Needle) -> Plan {
        tag_or_all(self.lister.id_prefix_tag(self.tenant, &needle.text))
    }

    fn keys(&self, namespace: Namespace, text: &str) -> impl Iterator<Item = u64> + use<> {
        // Entry ids are listed in lower case and asked for in any.
        let lower = text.to_ascii_lowercase();
        let text = if namespace == Namespace::Entry { lower.as_str() } else { text };
        self.lister.id_keys(self.tenant, &Id::new(namespace, text)).collect::<Vec<_>>().into_iter()
    }
}

/// The kind that a part of a question asks for, in lower case.
fn kind_of(part: &Compiled) -> Option<&str> {
    match part {
        Compiled::Field(targets, Test::Is(needle)) if !needle.prefix => {
            matches!(targets.as_slice(), [Target::Field(Field::Kind)]).then_some(&needle.folded)
        }
        _ => None,
    }
}

fn tag_or_all(tag: Option<Tag>) -> Plan {
    tag.map_or(Plan::Everything, Plan::Tag)
}

fn and(plans: impl IntoIterator<Item = Plan>) -> Plan {
    let mut parts: Vec<Plan> = plans.into_iter().filter(|plan| *plan != Plan::Everything).collect();
    // The cheapest and narrowest first: what it leaves bounds the work of the others.
    parts.sort_by_key(|plan| match plan {
        Plan::Sequence(..) => 0,
        Plan::Keys(_) => 1,
        Plan::Or(_) | Plan::And(_) => 2,
        Plan::Tag(_) => 3,
        Plan::TagPrefix(_) => 4,
        Plan::Time(..) => 5,
        Plan::Everything => 6,
    });
    match (parts.len(), parts.pop()) {
        (_, None) => Plan::Everything,
        (1, Some(only)) => only,
        (_, Some(last)) => {
            parts.push(last);
            Plan::And(parts)
        }
    }
}

fn or(plans: impl IntoIterator<Item = Plan>) -> Plan {
    let mut parts: Vec<Plan> = plans.into_iter().collect();
    if parts.contains(&Plan::Everything) {
        return Plan::Everything;
    }
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            Plan::Or(parts)
        }
    }
}

/// Both parts of the index at one moment.
pub(super) struct Indexed {
    pub(super) ids: Snapshot,
    pub(super) dictionary: Option<std::sync::Arc<View>>,
}

/// Few enough candidates to read them all instead of looking further.
const FEW: u64 = 256;

impl Indexed {
    /// Sequence after the last entry of the dictionary.
    pub(super) fn dictionary_end(&self) -> u64 {
        self.dictionary.as_ref().map_or(0, |view| view.end)
    }

    /// Where what is indexed changes: a range without one of these within is indexed throughout
    /// or not at all.
    pub(super) fn edges(&self) -> Vec<u64> {
        let gaps = self.ids.gaps().flat_map(|gap| [gap.start, gap.end]);
        let mut edges: Vec<u64> = gaps.chain([self.ids.end, self.dictionary_end()]).collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// The entries of the range among which all answers are. `damaged` is told of runs that could
    /// not be read: their entries count as not indexed.
    pub(super) fn candidates(
        &self,
        plan: &Plan,
        range: &Range<u64>,
        damaged: &mut dyn FnMut(Damaged),
    ) -> Result<Candidates, StoreError> {
        let found = match plan {
            Plan::Everything => return Ok(Candidates::Everything),
            Plan::Sequence(first, last) => {
                let within = range.start.max(*first)..range.end.min(last.saturating_add(1));
                std::iter::once(within).collect()
            }
            Plan::Keys(keys) => {
                if !self.ids.covers(range) {
                    return Ok(Candidates::Everything);
                }
                let mut found = Vec::new();
                for key in keys {
                    if let Err(damage) = self.ids.find(*key, range, &mut found) {
                        damaged(damage);
                        return Ok(Candidates::Everything);
                    }
                }
                found.sort_unstable();
                found.into_iter().map(|sequence| sequence..sequence.saturating_add(1)).collect()
            }
            Plan::And(parts) => return self.all_of(parts, range, damaged),
            Plan::Or(parts) => return self.any_of(parts, range, damaged),
            Plan::Tag(_) | Plan::TagPrefix(_) | Plan::Time(..) => {
                let found = match &self.dictionary {
                    Some(view) if range.end <= view.end => in_dictionary(view, plan, range)?,
                    _ => None,
                };
                return Ok(found.map_or(Candidates::Everything, Candidates::Among));
            }
        };
        Ok(Candidates::Among(found))
    }

    fn all_of(
        &self,
        parts: &[Plan],
        range: &Range<u64>,
        damaged: &mut dyn FnMut(Damaged),
    ) -> Result<Candidates, StoreError> {
        let mut all = Candidates::Everything;
        for part in parts {
            if matches!(&all, Candidates::Among(ranges) if ranges.len() <= FEW) {
                break;
            }
            all = match (all, self.candidates(part, range, damaged)?) {
                (Candidates::Everything, other) | (other, Candidates::Everything) => other,
                (Candidates::Among(a), Candidates::Among(b)) => Candidates::Among(a.intersect(&b)),
            };
        }
        Ok(all)
    }

    fn any_of(
        &self,
        parts: &[Plan],
        range: &Range<u64>,
        damaged: &mut dyn FnMut(Damaged),
    ) -> Result<Candidates, StoreError> {
        let mut any = Ranges::default();
        for part in parts {
            match self.candidates(part, range, damaged)? {
                Candidates::Everything => return Ok(Candidates::Everything),
                Candidates::Among(ranges) => any = any.union(ranges),
            }
        }
        Ok(Candidates::Among(any))
    }
}

fn in_dictionary(
    view: &View,
    plan: &Plan,
    range: &Range<u64>,
) -> Result<Option<Ranges>, StoreError> {
    match plan {
        Plan::Tag(tag) => view.find(tag, range).map(Some),
        Plan::TagPrefix(tag) => view.find_prefix(tag, range),
        Plan::Time(first, last) => Ok(view.find_time(*first, *last, range)),
        _ => Ok(None),
    }
}
