//! The compiled form of all mappings: one look-up for each attribute.
//!
//! ```text
//! attribute name ─► names (hash) ─► NameRules: fields, payload, nested values, kind, family
//!                └► patterns (by first byte, then prefix and rest) for names with a number inside
//! ```

use super::decode::Decoder;
use super::target::Target;
use crate::entry::{Kind, PayloadKind};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// A hash map that is filled once from a mapping and only read afterwards.
pub(super) type Map<V> = HashMap<Box<str>, V, FixedState>;

/// Families as bits: which ones recognised a record.
pub(super) type Families = u64;

/// Most families that there can be: one bit each.
pub(super) const MAX_FAMILIES: usize = Families::BITS as usize;

/// When a rule applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// One of these families must have recognised the record; 0 for no condition.
    pub families: Families,
    /// Kinds as bits; 0 for any.
    pub kinds: u64,
    /// Whether the span must be, or must not be, a root.
    pub root: Option<bool>,
}

/// What is known about a record when rules are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub families: Families,
    pub kind: Kind,
    pub root: bool,
}

impl Condition {
    pub(super) fn holds(self, facts: Facts) -> bool {
        (self.families == 0 || self.families & facts.families != 0)
            && (self.kinds == 0 || self.kinds & kind_bit(facts.kind) != 0)
            && self.root.is_none_or(|root| root == facts.root)
    }
}

/// A kind as a bit.
pub(super) fn kind_bit(kind: Kind) -> u64 {
    1_u64.wrapping_shl(kind as u32)
}

/// Fills a field from an attribute. The smallest priority wins.
#[derive(Debug, Clone)]
pub(super) struct FieldRule {
    pub target: Target,
    pub decoder: Decoder,
    pub priority: u32,
    pub condition: Condition,
}

/// Takes an attribute as a payload.
#[derive(Debug, Clone)]
pub(super) struct PayloadRule {
    pub kind: PayloadKind,
    pub kind_when: Vec<(Kind, PayloadKind)>,
    pub priority: u32,
    pub condition: Condition,
}

impl PayloadRule {
    /// What the payload is on a record of that kind.
    pub(super) fn kind_on(&self, kind: Kind) -> PayloadKind {
        let special = self.kind_when.iter().find(|(on, _)| *on == kind);
        special.map_or(self.kind, |(_, payload)| *payload)
    }
}

/// How several values stand in one attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An object, or text that is a JSON object.
    Json,
    /// W3C baggage or tracestate: `key=value,key=value`.
    Pairs,
}

/// Fills fields from the members of an attribute.
#[derive(Debug, Clone)]
pub(super) struct NestedRule {
    pub format: Format,
    /// Text that must occur in the value: spares parsing long inputs.
    pub only_with: Option<Box<str>>,
    pub members: Members,
    pub condition: Condition,
}

/// Wanted members by their first name.
pub(super) type Members = Map<Vec<Member>>;

/// One wanted member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Names below the first one.
    pub path: Vec<Box<str>>,
    pub target: Target,
    pub decoder: Decoder,
}

/// A kind that a sign speaks for. The smallest priority wins.
#[derive(Debug, Clone)]
pub(super) struct KindRule {
    /// `None` for the plain kind, as if there were no rule.
    pub kind: Option<Kind>,
    pub action: Option<Box<str>>,
    pub priority: u32,
    pub families: Families,
    pub root: Option<bool>,
}

/// What a name of an attribute means.
#[derive(Debug, Clone, Default)]
pub(super) struct NameRules {
    pub detects: Families,
    /// Families that know better what the attribute means, and the largest priority of theirs.
    pub owners: Vec<(Families, u32)>,
    /// Families that are recognised by this attribute with this value.
    pub detects_value: Vec<(Glob, Families)>,
    /// Kinds that the attribute's presence speaks for.
    pub kinds: Vec<KindRule>,
    /// Kinds that a value of the attribute speaks for.
    pub kinds_of_value: Map<Vec<KindRule>>,
    pub fields: Vec<FieldRule>,
    pub payloads: Vec<PayloadRule>,
    pub nested: Vec<NestedRule>,
}

impl NameRules {
    /// The largest priority that a rule may have: the rules of a family that knows better what
    /// the attribute means push aside those of lower rank.
    pub(super) fn limit(&self, families: Families) -> u32 {
        let owners = self.owners.iter().filter(|(family, _)| family & families != 0);
        owners.map(|(_, limit)| *limit).min().unwrap_or(u32::MAX)
    }
}

/// What a name of a span, event or scope means.
#[derive(Debug, Clone, Default)]
pub(super) struct Sign {
    pub detects: Families,
    pub kinds: Vec<KindRule>,
}

/// Signs by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs {
    pub exact: Map<Sign>,
    pub patterns: Vec<(Glob, Sign)>,
}

impl Signs {
    /// Shows every sign of a name.
    pub(super) fn each<'t>(&'t self, name: &str, mut show: impl FnMut(&'t Sign)) {
        if let Some(sign) = self.exact.get(name) {
            show(sign);
        }
        for (_, sign) in self.patterns.iter().filter(|(glob, _)| glob.matches(name)) {
            show(sign);
        }
    }

    /// The sign at a name or pattern, made if it is not there.
    pub(super) fn at(&mut self, name: &str) -> &mut Sign {
        if !name.contains('*') {
            return self.exact.entry(name.into()).or_default();
        }
        let at = self.patterns.iter().position(|(glob, _)| glob.text() == name);
        let at = at.unwrap_or_else(|| {
            self.patterns.push((Glob::new(name), Sign::default()));
            self.patterns.len().saturating_sub(1)
        });
        #[allow(clippy::indexing_slicing, reason = "found or just pushed")]
        &mut self.patterns[at].1
    }
}

/// A name with `*` for any text.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    first: Box<str>,
    rest: Vec<Box<str>>,
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or_default().into();
        Self { first, rest: parts.map(Into::into).collect() }
    }

    /// The pattern as it was written.
    fn text(&self) -> String {
        let mut text = self.first.to_string();
        for part in &self.rest {
            text.push('*');
            text.push_str(part);
        }
        text
    }

    /// What stands in front of the first `*`.
    pub(super) fn prefix(&self) -> &str {
        &self.first
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        // Most names differ in their first byte: no need to call for a comparison.
        if !self.first.is_empty() && self.first.as_bytes().first() != name.as_bytes().first() {
            return false;
        }
        name.strip_prefix(&*self.first).is_some_and(|rest| self.matches_rest(rest))
    }

    /// Whether the text behind the prefix is what the pattern wants there.
    pub(super) fn matches_rest(&self, mut rest: &str) -> bool {
        let Some((last, middle)) = self.rest.split_last() else { return rest.is_empty() };
        if middle.is_empty() && last.is_empty() {
            return true;
        }
        for part in middle {
            match rest.find(&**part) {
                Some(at) => rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }
}

/// Rules of the names that share a prefix.
#[derive(Debug, Clone)]
struct Prefixed {
    prefix: Box<str>,
    /// The first bytes of the prefix, and which of them it has: nearly every name that does not
    /// begin with it is told apart here, without a call.
    start: (u128, u128),
    patterns: Vec<(Glob, u32)>,
}

impl Prefixed {
    fn new(prefix: &str) -> Self {
        let ones = vec![0xff; prefix.len()];
        let start = (first_bytes(prefix.as_bytes()), first_bytes(&ones));
        Self { prefix: prefix.into(), start, patterns: Vec::new() }
    }
}

/// The first sixteen bytes as a number; zeros where there are none.
fn first_bytes(bytes: &[u8]) -> u128 {
    match bytes.first_chunk() {
        Some(first) => u128::from_le_bytes(*first),
        None => bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)),
    }
}

/// The place of patterns that begin with `*`: no name begins with this byte.
const NO_PREFIX: u8 = 0xff;

/// What every name of an attribute means.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: Map<u32>,
    /// By the first byte of the prefix, 256 places.
    prefixed: Vec<Vec<Prefixed>>,
    rules: Vec<NameRules>,
}

impl Names {
    /// The rules of a name.
    pub(super) fn get(&self, name: &str) -> Option<&NameRules> {
        let at = match self.exact.get(name) {
            Some(at) => *at,
            None => self.pattern(name)?,
        };
        self.rules.get(at as usize)
    }

    fn pattern(&self, name: &str) -> Option<u32> {
        let first = first_bytes(name.as_bytes());
        let of_first = |byte: u8| {
            let group = self.prefixed.get(usize::from(byte))?.iter();
            let begins = |prefixed: &&Prefixed| first & prefixed.start.1 == prefixed.start.0;
            group.filter(begins).find_map(|prefixed| {
                let rest = name.strip_prefix(&*prefixed.prefix)?;
                let found = prefixed.patterns.iter().find(|(glob, _)| glob.matches_rest(rest));
                found.map(|(_, at)| *at)
            })
        };
        of_first(*name.as_bytes().first()?).or_else(|| of_first(NO_PREFIX))
    }

    /// The rules at a name or pattern, made if they are not there.
    pub(super) fn at(&mut self, name: &str) -> &mut NameRules {
        let next = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        let at = if name.contains('*') {
            self.pattern_at(name, next)
        } else {
            *self.exact.entry(name.into()).or_insert(next)
        };
        if at == next {
            self.rules.push(NameRules::default());
        }
        #[allow(clippy::indexing_slicing, reason = "found or just pushed")]
        &mut self.rules[at as usize]
    }

    fn pattern_at(&mut self, pattern: &str, next: u32) -> u32 {
        if self.prefixed.is_empty() {
            self.prefixed.resize_with(256, Vec::new);
        }
        let glob = Glob::new(pattern);
        let first = usize::from(glob.prefix().as_bytes().first().copied().unwrap_or(NO_PREFIX));
        let Some(group) = self.prefixed.get_mut(first) else { return next };
        let place = group.iter().position(|there| *there.prefix == *glob.prefix());
        let place = place.unwrap_or_else(|| {
            let prefixed = Prefixed::new(glob.prefix());
            // Longer prefixes first: the more exact one answers.
            let at = group.partition_point(|there| there.prefix.len() >= prefixed.prefix.len());
            group.insert(at, prefixed);
            at
        });
        let Some(prefixed) = group.get_mut(place) else { return next };
        if let Some((_, at)) = prefixed.patterns.iter().find(|(there, _)| there.text() == pattern) {
            return *at;
        }
        prefixed.patterns.push((glob, next));
        // A bare `prefix*` answers last.
        prefixed.patterns.sort_by_key(|(glob, _)| glob.rest.iter().all(|part| part.is_empty()));
        next
    }

    /// Every exact name, with its rules.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&str, u32)> {
        self.exact.iter().map(|(name, at)| (&**name, *at))
    }

    /// The rules at a position that [`Names::exact`] gave.
    pub(super) fn rules_mut(&mut self, at: u32) -> Option<&mut NameRules> {
        self.rules.get_mut(at as usize)
    }
}

/// What an event of a span means.
#[derive(Debug, Clone)]
pub(super) struct EventRule {
    /// One of these families must have recognised the span; 0 for no condition.
    pub families: Families,
    /// Attributes that must have these values.
    pub conditions: Vec<(Box<str>, Glob)>,
    /// The event is an entry of its own, of this kind.
    pub becomes: Option<Kind>,
    /// The span is of this kind.
    pub marks: Option<Kind>,
    pub fields: Vec<(Box<str>, Target, Decoder)>,
    pub payloads: Vec<(Box<str>, PayloadKind)>,
}

/// What the body of a log record means.
#[derive(Debug, Clone)]
pub(super) struct BodyRule {
    /// Names of events that it is about; none for every log record.
    pub events: Vec<Glob>,
    pub families: Families,
    pub payload: Option<PayloadKind>,
    pub members: Members,
}

/// One family.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub name: Box<str>,
    pub rank: u8,
}

/// All mappings, compiled.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub families: Vec<Family>,
    /// Names and patterns that are signs of a family, until all names are known.
    pub signs: Vec<(Box<str>, Families)>,
    pub names: Names,
    pub spans: Signs,
    pub scopes: Signs,
    pub events: Signs,
    pub span_events: Map<Vec<EventRule>>,
    pub bodies: Vec<BodyRule>,
    pub tracestate: Members,
    pub resource: Map<Vec<Member>>,
    /// The action of a kind.
    pub actions: Vec<(Kind, Box<str>)>,
    /// Kinds whose usage repeats that of an inner record.
    pub repeated_kinds: u64,
    /// Log events whose usage repeats that of their span.
    pub repeated_events: Vec<Glob>,
}

impl Tables {
    /// The recognised family with the highest rank.
    pub(super) fn best_family(&self, families: Families) -> Option<&Family> {
        let known = self.families.iter().enumerate();
        let found = known.filter(|(at, _)| {
            families.checked_shr(u32::try_from(*at).unwrap_or(64)).is_some_and(|bits| bits & 1 == 1)
        });
        found.map(|(_, family)| family).max_by_key(|family| family.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let glob = Glob::new("llm.input_messages.*.message.content");
        assert!(glob.matches("llm.input_messages.12.message.content"));
        assert!(!glob.matches("llm.input_messages.12.message.role"));
        assert!(Glob::new("*Interrupt(*").matches("GraphInterrupt((…"));
        assert!(Glob::new("exact").matches("exact") && !Glob::new("exact").matches("exactly"));
    }

    #[test]
    fn an_exact_name_answers_before_a_pattern_and_a_longer_prefix_before_a_shorter() {
        let mut names = Names::default();
        names.at("a.*").detects = 1;
        names.at("a.b.*").detects = 2;
        names.at("a.b.c").detects = 4;
        names.at("*.x").detects = 8;
        let families = |name: &str| names.get(name).map(|rules| rules.detects);
        assert_eq!(families("a.x"), Some(1));
        assert_eq!(families("a.b.x"), Some(2));
        assert_eq!(families("a.b.c"), Some(4));
        assert_eq!(families("b"), None);
        assert_eq!(families("b.x"), Some(8), "a star in front answers last");
    }
}
