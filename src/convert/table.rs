//! The compiled form of all mappings.

use super::decode::Decoder;
use super::names::Names;
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

/// Where a rule stands: an index into [`Tables::origins`], small enough to cost no rule a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin(pub u16);

/// Fills a field from an attribute. The smallest priority wins.
#[derive(Debug, Clone)]
pub(super) struct FieldRule {
    pub target: Target,
    pub decoder: Decoder,
    pub priority: u32,
    pub condition: Condition,
    /// Texts that say nothing: a placeholder is no value.
    pub except: Vec<Glob>,
    /// Fills the field only when no other rule and no member of a nested value did.
    pub otherwise: bool,
    pub origin: Origin,
}

/// Whether a text is one of those that say nothing.
pub(super) fn is_excepted(except: &[Glob], text: Option<&str>) -> bool {
    !except.is_empty() && text.is_some_and(|text| except.iter().any(|glob| glob.matches(text)))
}

/// Takes an attribute as a payload.
#[derive(Debug, Clone)]
pub(super) struct PayloadRule {
    pub kind: PayloadKind,
    pub kind_when: Vec<(Kind, PayloadKind)>,
    /// Where in the value the payload itself stands; the whole value is kept beside it.
    pub inside: Vec<Vec<Box<str>>>,
    /// The payload is a Python literal.
    pub python: bool,
    /// Texts that say nothing.
    pub except: Vec<Glob>,
    pub priority: u32,
    pub condition: Condition,
    pub origin: Origin,
}

impl PayloadRule {
    /// What the payload is on a record of that kind.
    pub(super) fn kind_on(&self, kind: Kind) -> PayloadKind {
        kind_on(&self.kind_when, kind).unwrap_or(self.kind)
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
    pub priority: u32,
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
    /// Texts that say nothing.
    pub except: Vec<Glob>,
    pub origin: Origin,
}

/// Fills a field from the name of a span: from what stands for the `*` of the pattern.
#[derive(Debug, Clone)]
pub(super) struct SpanNameRule {
    pub name: Glob,
    pub target: Target,
    pub condition: Condition,
    pub origin: Origin,
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
    pub origin: Origin,
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
    pub(super) fn text(&self) -> String {
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

    /// Whether anything may follow the prefix.
    pub(super) fn ends_open(&self) -> bool {
        self.rest.iter().all(|part| part.is_empty())
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        // Most names differ in their first byte: no need to call for a comparison.
        if !self.first.is_empty() && self.first.as_bytes().first() != name.as_bytes().first() {
            return false;
        }
        name.strip_prefix(&*self.first).is_some_and(|rest| self.matches_rest(rest))
    }

    /// What stands for the only `*` of the pattern in a name.
    pub(super) fn star<'n>(&self, name: &'n str) -> Option<&'n str> {
        let [suffix] = &*self.rest else { return None };
        name.strip_prefix(&*self.first)?.strip_suffix(&**suffix)
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
    pub payloads: Vec<(Box<str>, EventPayload)>,
    /// The smallest is asked first.
    pub priority: u32,
    pub origin: Origin,
}

/// What an attribute of an event is a payload of.
#[derive(Debug, Clone)]
pub(super) struct EventPayload {
    pub kind: PayloadKind,
    pub kind_when: Vec<(Kind, PayloadKind)>,
}

impl EventPayload {
    /// What the payload is on a span of that kind.
    pub(super) fn kind_on(&self, kind: Kind) -> PayloadKind {
        kind_on(&self.kind_when, kind).unwrap_or(self.kind)
    }
}

fn kind_on(kind_when: &[(Kind, PayloadKind)], kind: Kind) -> Option<PayloadKind> {
    kind_when.iter().find(|(on, _)| *on == kind).map(|(_, payload)| *payload)
}

/// What the body of a log record means.
#[derive(Debug, Clone)]
pub(super) struct BodyRule {
    pub origin: Origin,
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
    /// `event.dataset` of its log records.
    pub dataset: Option<Box<str>>,
}

/// All mappings, compiled.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub families: Vec<Family>,
    /// Name of the file and line of each rule.
    pub origins: Vec<(Box<str>, u64)>,
    /// Names and patterns that are signs of a family, until all names are known.
    pub signs: Vec<(Box<str>, Families)>,
    pub names: Names,
    pub spans: Signs,
    pub scopes: Signs,
    /// By the schema URL of the scope.
    pub schemas: Signs,
    pub events: Signs,
    pub span_names: Vec<SpanNameRule>,
    /// Attributes that name the event of a log record which has no name itself.
    pub event_names: Vec<Box<str>>,
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
    /// Spans, by family (0 for any) and name, whose usage repeats that of one inside them.
    pub repeated_spans: Vec<(Families, Glob)>,
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
}
