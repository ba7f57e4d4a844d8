//! The other half of the compiler: what stands inside of values, in the names of spans, in their
//! events, and in the bodies of log records.

use super::{Compiled, Compiler, PAYLOADS, globs, line};
use crate::convert::error::unknown;
use crate::convert::file::{self, Names};
use crate::convert::path;
use crate::convert::table::{
    BodyRule, EventPayload, EventRule, Format, Glob, Member, Members, NestedRule, SpanNameRule,
};
use crate::convert::target::{Shape, Target};
use serde_saphyr::Spanned;

impl Compiler<'_> {
    pub(super) fn nested(&mut self, rule: &Spanned<file::NestedRule>) -> Compiled<()> {
        let line = line(rule);
        let rule = &rule.value;
        let condition = self.condition(rule.when.as_ref(), line)?;
        match (&rule.from, &rule.prefix, &rule.format) {
            (None, Some(Names(prefixes)), None) => {
                for prefix in prefixes {
                    for field in &rule.fields {
                        self.field(field, prefix, condition)?;
                    }
                }
                Ok(())
            }
            (Some(Names(names)), None, format) => {
                let formats = [("json", Format::Json), ("pairs", Format::Pairs)];
                let format = format.as_deref().unwrap_or("json");
                let format = self.word("format", &formats, format, line)?;
                let mut members = Members::default();
                for field in &rule.fields {
                    self.members(field, &mut members)?;
                }
                let only_with = rule.only_with.as_deref().map(Into::into);
                for name in names {
                    let members = members.clone();
                    let only_with = only_with.clone();
                    let priority = self.priority();
                    let rules = self.tables.names.at(name);
                    rules.nested.push(NestedRule {
                        format,
                        only_with,
                        members,
                        priority,
                        condition,
                    });
                }
                Ok(())
            }
            _ => {
                let problem = "nested values need `from` (and `format`), or `prefix`";
                Err(self.error(line, problem.into()))
            }
        }
    }

    pub(super) fn members(
        &mut self,
        rule: &Spanned<file::FieldRule>,
        members: &mut Members,
    ) -> Compiled<()> {
        let (target, decoder) = self.target(rule)?;
        let origin = self.origin(line(rule));
        for path in &rule.value.from.0 {
            let mut parts = path::parts(path).into_iter();
            let first = parts.next().unwrap_or_default();
            let except = globs(rule.value.except.as_ref());
            let member = Member { path: parts.collect(), target, decoder, except, origin };
            if !member.path.is_empty() {
                // A member may have a dot in its own name: `user.id` in baggage.
                let flat = Member { path: Vec::new(), ..member.clone() };
                members.entry(path.as_str().into()).or_default().push(flat);
            }
            members.entry(first).or_default().push(member);
        }
        Ok(())
    }

    pub(super) fn span_name(&mut self, rule: &Spanned<file::SpanNameRule>) -> Compiled<()> {
        let (line, rule) = (line(rule), &rule.value);
        let target = Target::at(&rule.to)
            .map_err(|near| self.error(line, unknown("field", &rule.to, near)))?;
        if target.shape() != Shape::Text {
            let problem = format!("the name of a span cannot fill \"{}\": not a text", rule.to);
            return Err(self.error(line, problem));
        }
        let condition = self.condition(rule.when.as_ref(), line)?;
        let origin = self.origin(line);
        for name in &rule.name.0 {
            if name.matches('*').count() != 1 {
                let problem = format!("the pattern \"{name}\" needs one `*`: it fills the field");
                return Err(self.error(line, problem));
            }
            let name = Glob::new(name);
            self.tables.span_names.push(SpanNameRule { name, target, condition, origin });
        }
        Ok(())
    }

    pub(super) fn event(&mut self, rule: &Spanned<file::EventRule>) -> Compiled<()> {
        let line = line(rule);
        let rule = &rule.value;
        let origin = self.origin(line);
        let kind = |word: &Option<String>| {
            word.as_deref().map(|word| self.kind_word(word, line)).transpose()
        };
        let mut compiled = EventRule {
            families: self.families(),
            conditions: rule
                .conditions
                .iter()
                .map(|(name, value)| (name.as_str().into(), Glob::new(value)))
                .collect(),
            becomes: kind(&rule.becomes)?,
            marks: kind(&rule.marks)?,
            fields: Vec::new(),
            payloads: Vec::new(),
            priority: self.priority(),
            origin,
        };
        for field in &rule.fields {
            let (target, decoder) = self.target(field)?;
            let names = field.value.from.0.iter();
            compiled.fields.extend(names.map(|name| (name.as_str().into(), target, decoder)));
        }
        for payload in &rule.payloads {
            let taken = self.event_payload(payload)?;
            let names = payload.value.from.0.iter();
            compiled.payloads.extend(names.map(|name| (name.as_str().into(), taken.clone())));
        }
        for name in &rule.name.0 {
            let rules = self.tables.span_events.entry(name.as_str().into()).or_default();
            rules.push(compiled.clone());
            // The family that knows better is asked first, whatever its file is called.
            rules.sort_by_key(|rule| rule.priority);
        }
        Ok(())
    }

    /// What an attribute of an event is a payload of, on which kinds of span.
    fn event_payload(&self, rule: &Spanned<file::PayloadRule>) -> Compiled<EventPayload> {
        let (line, rule) = (line(rule), &rule.value);
        if rule.inside.is_some() || rule.decode.is_some() || rule.when.is_some() {
            let problem = "payloads of an event have no `inside`, `as` or `when`";
            return Err(self.error(line, problem.into()));
        }
        let kind = self.word("payload", PAYLOADS, &rule.kind, line)?;
        let mut kind_when = Vec::with_capacity(rule.kind_when.len());
        for (on, payload) in &rule.kind_when {
            kind_when
                .push((self.kind_word(on, line)?, self.word("payload", PAYLOADS, payload, line)?));
        }
        Ok(EventPayload { kind, kind_when })
    }

    pub(super) fn body(&mut self, rule: &Spanned<file::BodyRule>) -> Compiled<()> {
        let line = line(rule);
        let payload = rule.value.payload.as_deref();
        let payload = payload.map(|word| self.word("payload", PAYLOADS, word, line)).transpose()?;
        let mut members = Members::default();
        for field in &rule.value.fields {
            self.members(field, &mut members)?;
        }
        let events = rule.value.event.iter().flat_map(|names| &names.0);
        let events = events.map(|name| Glob::new(name)).collect();
        let (families, origin) = (self.families(), self.origin(line));
        self.tables.bodies.push(BodyRule { origin, events, families, payload, members });
        Ok(())
    }
}
