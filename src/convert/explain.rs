//! Why an entry is as it is: which rule of which file filled which field from which attribute.
//!
//! Asked for by people who write a mapping, never on the way in: the conversion itself keeps no
//! notes. The same tables are asked the same questions here; what is shown beside a field is the
//! entry's own value.

use super::context::{ResourceContext, ScopeContext};
use super::events::Events;
use super::inside;
use super::payload::rule_for;
use super::record::Attributes;
use super::table::{
    EventRule, Facts, Families, FieldRule, Member, NameRules, NestedRule, Origin, Sign, Tables,
    is_excepted,
};
use super::target::Target;
use super::values::Notes;
use super::{Mappings, signs};
use crate::entry::{Json, Kind, PayloadKind};
use crate::span::{Attribute, Event, LogRecord, Record, Span, Value};

/// What the mappings made of one record, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The families that recognised it, the one of the highest rank first.
    pub families: Vec<String>,
    /// The rule that told its kind.
    pub kind: Option<Cause>,
    /// The fields that were filled by a rule.
    pub fields: Vec<Filled>,
    /// What is payload.
    pub payloads: Vec<Taken>,
    /// Attributes for which no rule had a use. They are kept in `attributes`.
    pub unclaimed: Vec<String>,
}

/// A rule, and what it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Name of the mapping file.
    pub file: String,
    /// Line in it, counted from 1.
    pub line: u64,
    /// What it read: an attribute, `NAME of EVENT`, `resource NAME`.
    pub from: String,
}

/// A field that a rule filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Path of the field, as a mapping writes it.
    pub field: &'static str,
    /// Why.
    pub cause: Cause,
}

/// An attribute that a rule took as payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What kind of payload it is.
    pub kind: PayloadKind,
    /// Why.
    pub cause: Cause,
}

impl Mappings {
    /// Every field that a mapping can fill, as it is written under `to`.
    ///
    /// ```
    /// use spanledger::convert::Mappings;
    /// assert!(Mappings::fields().any(|field| field == "gen_ai.tool.call.id"));
    /// ```
    pub fn fields() -> impl Iterator<Item = &'static str> {
        Target::PATHS.iter().map(|(path, _)| *path)
    }

    /// Says for a record which rules [`convert`](Mappings::convert) followed.
    pub fn explain(
        &self,
        resource: &ResourceContext,
        scope: &ScopeContext,
        record: Record<'_, '_>,
    ) -> Explanation {
        let mut told =
            Teller { tables: &self.tables, set: Vec::new(), told: Explanation::default() };
        match record {
            Record::Span(span) => told.span(scope, span),
            Record::Log(log) => told.log(scope, log, self.event_name(log)),
        }
        for (target, key, origin) in resource.fills() {
            told.fill(target, origin, format!("resource {key}"));
        }
        let Explanation { families, kind, mut fields, payloads, unclaimed } = told.told;
        fields
            .sort_by_key(|filled| Target::PATHS.iter().position(|(path, _)| *path == filled.field));
        Explanation { families, kind, fields, payloads, unclaimed }
    }
}

/// Collects an explanation.
struct Teller<'t> {
    tables: &'t Tables,
    /// Fields that have their value.
    set: Vec<Target>,
    told: Explanation,
}

impl<'t> Teller<'t> {
    fn span(&mut self, scope: &ScopeContext, span: &Span<'_>) {
        let (signs, families) = signs(&self.tables.spans, span.name.as_str(), scope.families);
        let root = span.parent_span_id == [0; 8];
        let attributes = Attributes::look_up(self.tables, &span.attributes, families);
        let events = Events::of(self.tables, span, attributes.families);
        let mut kind = self.kind(&attributes, &signs, root, Kind::Span);
        if let Some((event, rule)) = events.ruled().find(|(_, rule)| rule.marks.is_some()) {
            kind = rule.marks.unwrap_or(kind);
            self.told.kind =
                Some(self.cause(rule.origin, format!("event {}", event.name.as_str())));
        }
        let facts = Facts { families: attributes.families, kind, root };
        self.families(facts.families);
        self.attributes(&attributes, facts);
        for (event, rule) in events.ruled().filter(|(_, rule)| rule.becomes.is_none()) {
            self.event(event, rule, kind);
        }
        for rule in self.tables.span_names.iter().filter(|rule| rule.condition.holds(facts)) {
            if rule.name.star(span.name.as_str()).is_some() {
                self.fill(rule.target, rule.origin, "the span's name".into());
            }
        }
        let mut found = Vec::new();
        let state = span.trace_state.as_str();
        inside::pairs(&self.tables.tracestate, state, &mut |member, value| {
            found.push((member, fits(member, value)));
        });
        self.members(&found, "tracestate");
    }

    fn log(&mut self, scope: &ScopeContext, log: &LogRecord<'_>, event: &str) {
        let (signs, families) = signs(&self.tables.events, event, scope.families);
        let attributes = Attributes::look_up(self.tables, &log.attributes, families);
        let kind = self.kind(&attributes, &signs, false, Kind::Log);
        let facts = Facts { families: attributes.families, kind, root: false };
        self.families(facts.families);
        self.attributes(&attributes, facts);
        let Some(body) = &log.body else { return };
        let rules = self.tables.bodies.iter().filter(|rule| {
            (rule.families == 0 || rule.families & facts.families != 0)
                && (rule.events.is_empty() || rule.events.iter().any(|glob| glob.matches(event)))
        });
        let mut payload = false;
        for rule in rules {
            if let Some(kind) = rule.payload.filter(|_| !payload) {
                payload = true;
                self.told
                    .payloads
                    .push(Taken { kind, cause: self.cause(rule.origin, "body".into()) });
            }
            let (mut found, mut notes) = (Vec::new(), Notes::default());
            inside::json(&rule.members, body, &mut notes, &mut |member, value| {
                found.push((member, fits(member, value)));
            });
            self.members(&found, "body");
        }
    }

    fn cause(&self, origin: Origin, from: String) -> Cause {
        let place = self.tables.origins.get(usize::from(origin.0));
        let (file, line) =
            place.map_or((String::new(), 0), |(file, line)| (file.to_string(), *line));
        Cause { file, line, from }
    }

    fn families(&mut self, families: Families) {
        let known = self.tables.families.iter().zip(0..);
        let mut found: Vec<_> = known
            .filter(|(_, at)| families.checked_shr(*at).is_some_and(|bits| bits & 1 == 1))
            .map(|(family, _)| family)
            .collect();
        found.sort_by_key(|family| std::cmp::Reverse(family.rank));
        self.told.families = found.into_iter().map(|family| family.name.to_string()).collect();
    }

    /// The kind, and which sign told it.
    fn kind(
        &mut self,
        attributes: &Attributes<'_, '_, 't>,
        signs: &[&'t Sign],
        root: bool,
        plain: Kind,
    ) -> Kind {
        let Some(rule) = attributes.kind_rule(signs, root) else { return plain };
        let of_attribute = attributes.known().find_map(|(_, attribute, rules)| {
            let value = attribute.value.as_str();
            let of_value = value.and_then(|word| rules.kinds_of_value.get(word));
            let (key, is_rule) = (attribute.key.as_str(), |it: &_| std::ptr::eq(it, rule));
            if of_value.is_some_and(|rules| rules.iter().any(is_rule)) {
                return Some(format!("{key} = {}", value.unwrap_or_default()));
            }
            rules.kinds.iter().any(is_rule).then(|| key.to_owned())
        });
        let from = of_attribute.unwrap_or_else(|| "the record's name".into());
        self.told.kind = Some(self.cause(rule.origin, from));
        rule.kind.unwrap_or(plain)
    }

    fn attributes(&mut self, attributes: &Attributes<'_, '_, 't>, facts: Facts) {
        let winners = attributes.winners(facts);
        let mut used = vec![false; attributes.len()];
        let mut otherwise: Vec<(&FieldRule, String)> = Vec::new();
        for (at, attribute, rules) in attributes.known() {
            let (key, value) = (attribute.key.as_str(), &attribute.value);
            let mut spoken = !rules.kinds.is_empty() || tells_kind(rules, value.as_str());
            for rule in holding(rules, value, facts) {
                spoken = true;
                let (target, fits) = (rule.target, rule.decoder.fits(rule.target.shape(), value));
                let won = target.takes_many() || winners.won(target, rule.priority, at).is_some();
                if rule.otherwise && fits {
                    otherwise.push((rule, key.to_owned()));
                } else if won && fits {
                    self.fill(target, rule.origin, key.to_owned());
                }
            }
            let payload = rule_for(rules, value, facts);
            if let Some(rule) = payload {
                let cause = self.cause(rule.origin, key.to_owned());
                self.told.payloads.push(Taken { kind: rule.kind_on(facts.kind), cause });
            }
            if let Some(used) = used.get_mut(at) {
                *used = spoken || payload.is_some();
            }
        }
        // Members fill what is still empty then.
        for (at, attribute, rules) in attributes.known() {
            let found = self.nested(attribute, rules, facts);
            if let Some(used) = used.get_mut(at) {
                *used |= found;
            }
        }
        otherwise.sort_by_key(|(rule, _)| rule.priority);
        for (rule, key) in otherwise {
            self.fill(rule.target, rule.origin, key);
        }
        let unclaimed = attributes.keys().zip(used).filter(|(_, used)| !used);
        self.told.unclaimed = unclaimed.map(|(key, _)| key.to_owned()).collect();
    }

    /// Answers whether the attribute has members that a rule wants.
    fn nested(&mut self, attribute: &Attribute<'_>, rules: &NameRules, facts: Facts) -> bool {
        let limit = rules.limit(facts.families);
        let holding = |rule: &&NestedRule| rule.priority <= limit && rule.condition.holds(facts);
        let mut any = false;
        for rule in rules.nested.iter().filter(holding) {
            let (mut found, mut notes) = (Vec::new(), Notes::default());
            inside::nested(rule, &attribute.value, &mut notes, &mut |member, value| {
                found.push((member, fits(member, value)));
            });
            any |= !found.is_empty();
            self.members(&found, attribute.key.as_str());
        }
        any
    }

    fn event(&mut self, event: &Event<'_>, rule: &EventRule, kind: Kind) {
        let name = event.name.as_str();
        for attribute in &event.attributes {
            let (key, from) =
                (attribute.key.as_str(), || format!("{} of {name}", attribute.key.as_str()));
            if let Some((_, taken)) = rule.payloads.iter().find(|(payload, _)| **payload == *key) {
                let (kind, cause) = (taken.kind_on(kind), self.cause(rule.origin, from()));
                self.told.payloads.push(Taken { kind, cause });
            }
            for (_, target, decoder) in rule.fields.iter().filter(|(field, ..)| **field == *key) {
                if decoder.fits(target.shape(), &attribute.value) {
                    // The last event that says something is right.
                    let field = target.path();
                    self.told.fields.retain(|filled| target.takes_many() || filled.field != field);
                    self.set.retain(|set| set != target);
                    self.fill(*target, rule.origin, from());
                }
            }
        }
    }

    /// Members of a value that fill what has no value yet.
    fn members(&mut self, found: &[(&Member, bool)], from: &str) {
        for (member, _) in found.iter().filter(|(_, fits)| *fits) {
            self.fill(member.target, member.origin, format!("in {from}"));
        }
    }

    fn fill(&mut self, target: Target, origin: Origin, from: String) {
        if !target.takes_many() && self.set.contains(&target) {
            return;
        }
        self.set.push(target);
        let filled = Filled { field: target.path(), cause: self.cause(origin, from) };
        if !self.told.fields.contains(&filled) {
            self.told.fields.push(filled);
        }
    }
}

/// The rules of an attribute that may fill a field.
fn holding<'t>(
    rules: &'t NameRules,
    value: &Value<'_>,
    facts: Facts,
) -> impl Iterator<Item = &'t FieldRule> {
    let limit = rules.limit(facts.families);
    rules.fields.iter().filter(move |rule| {
        rule.priority <= limit
            && rule.condition.holds(facts)
            && !is_excepted(&rule.except, value.as_str())
    })
}

fn fits(member: &Member, value: Json<'_>) -> bool {
    !is_excepted(&member.except, value.as_str())
        && member.decoder.json(member.target.shape(), value).is_some()
}

/// Whether a value of the attribute is one that tells a kind.
fn tells_kind(rules: &NameRules, value: Option<&str>) -> bool {
    value.is_some_and(|word| rules.kinds_of_value.contains_key(word))
}
