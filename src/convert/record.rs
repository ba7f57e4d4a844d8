//! Attributes into fields: the heart of the conversion, the same for spans, logs and span events.
//!
//! ```text
//! look up   every attribute once; the signs on the way tell which families there are
//! choose    the kind; then for each field the rule that wins
//! place     winners into fields, payloads into the payload, the rest into `attributes`
//! look in   members of JSON and baggage fill the fields that are still empty
//! ```

use super::ids::MAX_ID_CHARS;
use super::inside;
use super::payload::place_payload;
use super::table::{
    Facts, Families, FieldRule, KindRule, Member, NameRules, NestedRule, Sign, Tables, is_excepted,
};
use super::target::{Decoded, Shape, TARGETS, Target};
use super::values::Notes;
use crate::entry::{Entry, Flag, Json, Kind};
use crate::span::{Attribute, Value};

impl NameRules {
    /// The families that an attribute of this name and value is a sign of.
    pub(super) fn families(&self, value: &Value<'_>) -> Families {
        let mut families = self.detects;
        for (wanted, family) in &self.detects_value {
            if value.as_str().is_some_and(|text| wanted.matches(text)) {
                families |= family;
            }
        }
        families
    }
}

/// The attributes of one record, looked up.
pub(super) struct Attributes<'r, 'v, 't> {
    list: &'r [Attribute<'v>],
    rules: Vec<Option<&'t NameRules>>,
    /// Families that the record, its scope and its names are signs of.
    pub(super) families: Families,
}

/// What a record is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'t> {
    pub kind: Kind,
    pub action: Option<&'t str>,
}

impl<'r, 'v, 't: 'r> Attributes<'r, 'v, 't> {
    /// Looks every attribute up.
    pub(super) fn look_up(
        tables: &'t Tables,
        list: &'r [Attribute<'v>],
        mut families: Families,
    ) -> Self {
        let mut rules = Vec::with_capacity(list.len());
        for attribute in list {
            let found = tables.names.get(attribute.key.as_str());
            if let Some(found) = found {
                families |= found.families(&attribute.value);
            }
            rules.push(found);
        }
        Self { list, rules, families }
    }

    /// The name of each attribute.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'r str> {
        self.list.iter().map(|attribute| attribute.key.as_str())
    }

    /// How many attributes there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Each attribute that has rules.
    pub(super) fn known(&self) -> impl Iterator<Item = (usize, &'r Attribute<'v>, &'t NameRules)> {
        let pairs = self.list.iter().zip(&self.rules).enumerate();
        pairs.filter_map(|(at, (attribute, rules))| rules.map(|rules| (at, attribute, rules)))
    }

    /// The kind that the strongest sign speaks for.
    pub(super) fn choose_kind(&self, signs: &[&'t Sign], root: bool, plain: Kind) -> Chosen<'t> {
        let best = self.kind_rule(signs, root);
        Chosen {
            kind: best.and_then(|rule| rule.kind).unwrap_or(plain),
            action: best.and_then(|rule| rule.action.as_deref()),
        }
    }

    /// The strongest of the rules that say what kind of entry the record is.
    pub(super) fn kind_rule(&self, signs: &[&'t Sign], root: bool) -> Option<&'t KindRule> {
        let mut best: Option<&'t KindRule> = None;
        let mut consider = |rules: &'t [KindRule]| {
            for rule in rules {
                let applies = (rule.families == 0 || rule.families & self.families != 0)
                    && rule.root.is_none_or(|wanted| wanted == root);
                if applies && best.is_none_or(|best| rule.priority < best.priority) {
                    best = Some(rule);
                }
            }
        };
        for sign in signs {
            consider(&sign.kinds);
        }
        for (_, attribute, rules) in self.known() {
            consider(&rules.kinds);
            if let Some(word) = attribute.value.as_str()
                && let Some(of_value) = rules.kinds_of_value.get(word)
            {
                consider(of_value);
            }
        }
        best
    }

    /// Writes the attributes into the entry.
    pub(super) fn write(&self, facts: Facts, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
        let winners = self.winners(facts);
        let mut left: Vec<&'r Attribute<'v>> = Vec::with_capacity(self.list.len());
        let mut nested: Vec<(&'t NestedRule, &'r Attribute<'v>)> = Vec::new();
        for (at, (attribute, rules)) in self.list.iter().zip(&self.rules).enumerate() {
            let Some(rules) = rules else {
                left.push(attribute);
                continue;
            };
            let mut taken = place_fields(&winners, at, attribute, rules, facts, entry, notes);
            taken |= place_payload(attribute, rules, facts, entry, notes);
            let limit = rules.limit(facts.families);
            let inside = rules.nested.iter();
            let inside =
                inside.filter(|rule| rule.priority <= limit && rule.condition.holds(facts));
            nested.extend(inside.map(|rule| (rule, attribute)));
            if !taken {
                left.push(attribute);
            }
        }
        if !left.is_empty() {
            entry.attributes = notes.fields(left.iter().copied(), "");
        }
        for (rule, attribute) in nested {
            let mut too_long = false;
            inside::nested(rule, &attribute.value, notes, &mut |member, value| {
                too_long |= put_member(entry, member, value);
            });
            if too_long {
                notes.flag(Flag::IdTooLong);
            }
        }
        self.write_otherwise(facts, entry, notes);
    }

    /// Fills what is still empty by the rules that speak only then. Their attributes stay.
    fn write_otherwise(&self, facts: Facts, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
        let mut found: Vec<(&'t FieldRule, &'r Attribute<'v>)> = Vec::new();
        for (_, attribute, rules) in self.known() {
            let limit = rules.limit(facts.families);
            let applies = |rule: &&'t FieldRule| {
                rule.otherwise
                    && rule.priority <= limit
                    && rule.condition.holds(facts)
                    && !is_excepted(&rule.except, attribute.value.as_str())
            };
            found.extend(rules.fields.iter().filter(applies).map(|rule| (rule, attribute)));
        }
        found.sort_by_key(|(rule, _)| rule.priority);
        for (rule, attribute) in found {
            let (target, shape) = (rule.target, rule.target.shape());
            if target.is_set(entry) {
                continue;
            }
            let value = rule.decoder.value(shape, &attribute.value, attribute.key.as_str(), notes);
            if let Some((decoded, _)) = value {
                target.put_noted(entry, decoded);
            }
        }
    }

    /// For each field the attribute that fills it.
    pub(super) fn winners(&self, facts: Facts) -> Winners {
        let mut winners = Winners([NOBODY; TARGETS]);
        for (at, attribute, rules) in self.known() {
            let limit = rules.limit(facts.families);
            for rule in &rules.fields {
                let applies =
                    !rule.otherwise && rule.priority <= limit && rule.condition.holds(facts);
                let nothing = is_excepted(&rule.except, attribute.value.as_str());
                if rule.target.takes_many() || !applies || nothing {
                    continue;
                }
                if rule.decoder.fits(rule.target.shape(), &attribute.value) {
                    winners.offer(rule.target, rule.priority, at);
                }
            }
        }
        winners
    }
}

/// No attribute fills the field.
const NOBODY: u64 = u64::MAX;

/// For each field its winner: priority (32 bits), position of the attribute (31 bits), and
/// whether the winning name was sent more than once (1 bit).
pub(super) struct Winners([u64; TARGETS]);

impl Winners {
    fn key(priority: u32, at: usize) -> u64 {
        u64::from(priority) << 32 | (u64::try_from(at).unwrap_or(u64::MAX) & 0x7fff_ffff) << 1
    }

    fn offer(&mut self, target: Target, priority: u32, at: usize) {
        if let Some(best) = self.0.get_mut(target as usize) {
            if *best >> 32 == u64::from(priority) {
                *best |= 1;
            } else {
                *best = (*best).min(Self::key(priority, at));
            }
        }
    }

    /// Whether the attribute won, and whether it is the only one of its name.
    pub(super) fn won(&self, target: Target, priority: u32, at: usize) -> Option<bool> {
        let best = self.0.get(target as usize).copied().unwrap_or(NOBODY);
        (best & !1 == Self::key(priority, at)).then_some(best & 1 == 0)
    }
}

/// Fills the fields that an attribute won. Answers whether it stands there word for word.
fn place_fields<'r>(
    winners: &Winners,
    at: usize,
    attribute: &'r Attribute<'_>,
    rules: &NameRules,
    facts: Facts,
    entry: &mut Entry<'r>,
    notes: &mut Notes<'r>,
) -> bool {
    let mut taken = false;
    let limit = rules.limit(facts.families);
    for rule in &rules.fields {
        if rule.otherwise
            || rule.priority > limit
            || !rule.condition.holds(facts)
            || is_excepted(&rule.except, attribute.value.as_str())
        {
            continue;
        }
        let (target, shape) = (rule.target, rule.target.shape());
        let only = if target.takes_many() {
            true
        } else {
            let Some(only) = winners.won(target, rule.priority, at) else {
                let is_mistake = !rule.decoder.is_choosy() && !is_nothing(&attribute.value);
                if is_mistake && !rule.decoder.fits(shape, &attribute.value) {
                    notes.flag(Flag::UnexpectedType);
                }
                continue;
            };
            only
        };
        match rule.decoder.value(shape, &attribute.value, attribute.key.as_str(), notes) {
            Some((Decoded::Text(id), _)) if shape == Shape::Id && is_too_long(&id) => {
                notes.flag(Flag::IdTooLong);
            }
            Some((decoded, verbatim)) => {
                target.put_noted(entry, decoded);
                taken |= verbatim && only;
            }
            None if is_nothing(&attribute.value) => {}
            None => notes.flag(Flag::UnexpectedType),
        }
    }
    taken
}

/// Null and empty values fill no field and are no mistake.
pub(super) fn is_nothing(value: &Value<'_>) -> bool {
    match value {
        Value::Empty => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether text is too long to be an id.
pub(super) fn is_too_long(id: &str) -> bool {
    id.len() > MAX_ID_CHARS && id.chars().count() > MAX_ID_CHARS
}

/// Fills a field from a member of a nested value, unless it has a value. Answers whether the
/// member was an id that is too long.
pub(super) fn put_member<'r>(entry: &mut Entry<'r>, member: &Member, value: Json<'r>) -> bool {
    let (target, shape) = (member.target, member.target.shape());
    if target.is_set(entry) || is_excepted(&member.except, value.as_str()) {
        return false;
    }
    match member.decoder.json(shape, value) {
        Some((Decoded::Text(id), _)) if shape == Shape::Id && is_too_long(&id) => true,
        Some((decoded, _)) => {
            target.put_noted(entry, decoded);
            false
        }
        None => false,
    }
}
