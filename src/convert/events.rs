//! Events of a span: kept in the entry, and some of them mean more.

use super::payload::payload;
use super::plain::some_if_any;
use super::record::Attributes;
use super::table::{EventRule, Facts, Families, Tables};
use super::values::Notes;
use crate::entry::{Entry, Fields, Flag, Kind, SpanEvent, format_ns, is_plausible_ns};
use crate::span::{Attribute, Event, Span};
use std::borrow::Cow;

/// The events of a span, with the rule that each of them has.
pub(super) struct Events<'r, 'v, 't> {
    list: Vec<(&'r Event<'v>, Option<&'t EventRule>)>,
}

impl<'r, 'v, 't: 'r> Events<'r, 'v, 't> {
    /// Finds the rules of the events.
    pub(super) fn of(tables: &'t Tables, span: &'r Span<'v>, families: Families) -> Self {
        let list = span.events.iter().map(|event| {
            let rules = tables.span_events.get(event.name.as_str());
            let rule =
                rules.and_then(|rules| rules.iter().find(|rule| applies(rule, event, families)));
            (event, rule)
        });
        Self { list: list.collect() }
    }

    /// The kind that an event gives to its span.
    pub(super) fn mark(&self) -> Option<Kind> {
        self.list.iter().find_map(|(_, rule)| rule.and_then(|rule| rule.marks))
    }

    /// Each event with the rule that it has.
    pub(super) fn ruled(&self) -> impl Iterator<Item = (&'r Event<'v>, &'t EventRule)> {
        self.list.iter().filter_map(|(event, rule)| Some((*event, (*rule)?)))
    }

    /// Writes the events into the entry of their span.
    pub(super) fn write(&self, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
        entry.events.reserve(self.list.len());
        for (event, rule) in &self.list {
            let payloads = rule.map_or(&[][..], |rule| &rule.payloads);
            let name = notes.text(&event.name, "events.name");
            let is_payload = |attribute: &&Attribute<'_>| {
                payloads.iter().any(|(name, _)| **name == *attribute.key.as_str())
            };
            for attribute in event.attributes.iter().filter(is_payload) {
                let known = payloads.iter().find(|(name, _)| **name == *attribute.key.as_str());
                let Some((key, taken)) = known else { continue };
                let source = Cow::Owned(format!("{name}/{key}"));
                let kind = taken.kind_on(entry.audit.kind);
                entry.audit.payload.push(payload(kind, source, &attribute.value, notes));
            }
            let left: Vec<_> = event.attributes.iter().filter(|a| !is_payload(a)).collect();
            let attributes = notes.fields(left.iter().copied(), "");
            entry.events.push(kept(event, attributes, name, notes));
            if let Some(rule) = rule.filter(|rule| rule.becomes.is_none()) {
                fill(rule, event, entry, notes);
            }
        }
    }

    /// The events that are entries of their own.
    pub(super) fn further(
        &self,
        tables: &'t Tables,
        facts: Facts,
        entry: &Entry<'r>,
    ) -> Vec<Entry<'r>> {
        let mut entries = Vec::new();
        for (event, rule) in &self.list {
            let Some((rule, kind)) = rule.and_then(|rule| Some((rule, rule.becomes?))) else {
                continue;
            };
            let mut notes = Notes::default();
            let mut own = Entry::new(kind);
            own.event.dataset = Some("otlp.span_event".into());
            own.message = notes.optional(&event.name, "events.name");
            if is_plausible_ns(event.time_ns) {
                own.timestamp = format_ns(event.time_ns).into();
            } else {
                notes.flag(Flag::ImplausibleTime);
                own.audit.time.start = Some(event.time_ns);
            }
            let attributes = Attributes::look_up(tables, &event.attributes, facts.families);
            attributes.write(Facts { kind, root: false, ..facts }, &mut own, &mut notes);
            fill(rule, event, &mut own, &mut notes);
            inherit(entry, &mut own);
            notes.write(&mut own);
            entries.push(own);
        }
        entries
    }
}

fn applies(rule: &EventRule, event: &Event<'_>, families: Families) -> bool {
    if rule.families != 0 && rule.families & families == 0 {
        return false;
    }
    rule.conditions.iter().all(|(name, wanted)| {
        let value = event.attributes.iter().find(|attribute| attribute.key.as_str() == &**name);
        value
            .and_then(|attribute| attribute.value.as_str())
            .is_some_and(|text| wanted.matches(text))
    })
}

fn kept<'r>(
    event: &'r Event<'_>,
    attributes: Fields<'r>,
    name: &'r str,
    notes: &mut Notes<'r>,
) -> SpanEvent<'r> {
    let plausible = is_plausible_ns(event.time_ns);
    if !plausible && event.time_ns != 0 {
        notes.flag(Flag::ImplausibleTime);
    }
    SpanEvent {
        name: Cow::Borrowed(name),
        timestamp: plausible.then(|| format_ns(event.time_ns).into()),
        raw_time: (!plausible).then_some(event.time_ns),
        attributes,
        dropped_attributes: some_if_any(event.dropped_attributes),
    }
}

/// Fills fields from the attributes of an event, as its rule says. The last event that says
/// something is right: a retry that failed too tells how it ended.
fn fill<'r>(rule: &EventRule, event: &'r Event<'_>, entry: &mut Entry<'r>, notes: &mut Notes<'r>) {
    for (name, target, decoder) in &rule.fields {
        let sent = event.attributes.iter().find(|attribute| attribute.key.as_str() == &**name);
        let Some(attribute) = sent else { continue };
        let filled = decoder.value(target.shape(), &attribute.value, name, notes);
        if let Some((filled, _)) = filled {
            target.put_noted(entry, filled);
        }
    }
}

/// What an entry of its own has from its span: where it happened and who was there.
fn inherit<'r>(span: &Entry<'r>, own: &mut Entry<'r>) {
    own.trace.clone_from(&span.trace);
    own.span.id.clone_from(&span.span.id);
    own.span.parent_id.clone_from(&span.span.parent_id);
    own.span.name.clone_from(&span.span.name);
    own.scope.clone_from(&span.scope);
    own.resource.clone_from(&span.resource);
    own.service.clone_from(&span.service);
    own.audit.mapping.clone_from(&span.audit.mapping);
    for id in &span.trace_id {
        own.add_trace_id(id.clone());
    }
    // A person who resolved an approval is its actor, whoever ran the span.
    if own.audit.actor.is_empty() && own.audit.approval.resolved_by.is_none() {
        own.audit.actor.clone_from(&span.audit.actor);
    }
    macro_rules! unless_said {
        ($($($field:ident).+,)*) => {
            $(if own.$($field).+.is_empty() {
                own.$($field).+.clone_from(&span.$($field).+);
            })*
        };
    }
    unless_said! {
        user,
        gen_ai.agent,
        gen_ai.tool,
        gen_ai.conversation,
        audit.workflow,
        audit.run,
        audit.step,
        audit.job,
        audit.session,
        audit.external,
        audit.claims,
    }
}
