//! From mappings as written to tables: every word is resolved here, once, with its line.

mod inside;

use super::decode::Decoder;
use super::error::{MappingError, nearest, unknown};
use super::file::{self, File, Names};
use super::path;
use super::table::{
    Condition, Families, Family, FieldRule, Glob, KindRule, MAX_FAMILIES, Member, Origin,
    PayloadRule, Tables, kind_bit,
};
use super::target::{Shape, Target};
use crate::entry::{Kind, PayloadKind};
use serde_saphyr::Spanned;

/// The kinds of payload by the word that a mapping writes.
const PAYLOADS: &[(&str, PayloadKind)] = &[
    ("prompt", PayloadKind::Prompt),
    ("system", PayloadKind::System),
    ("response", PayloadKind::Response),
    ("reasoning", PayloadKind::Reasoning),
    ("arguments", PayloadKind::Arguments),
    ("result", PayloadKind::Result),
    ("input", PayloadKind::Input),
    ("output", PayloadKind::Output),
];

/// `event.dataset` of entries that spanledger makes itself: by it a check tells what the ledger says of
/// itself from what was sent, so no mapping gives it to a record.
const OWN_DATASET: &str = "spanledger";

/// Compiles mappings, given as file names and texts.
///
/// # Errors
/// The first mistake, with file and line.
pub(super) fn compile(files: &[(String, String)]) -> Result<Tables, MappingError> {
    if files.len() > MAX_FAMILIES {
        return Err(MappingError::TooMany { count: files.len(), limit: MAX_FAMILIES });
    }
    let mut tables = Tables::default();
    for (name, text) in files {
        let file = file::parse(name, text)?;
        Compiler {
            file: name,
            family: 0,
            rank: 0,
            restricted: false,
            owns: Vec::new(),
            rules: 0,
            tables: &mut tables,
        }
        .file(&file)?;
    }
    mark_signs(&mut tables);
    Ok(tables)
}

/// Marks the names that are signs of a family: once every file is read, because a sign such as
/// `spanledger.*` also means the names for which another file has rules.
fn mark_signs(tables: &mut Tables) {
    for (name, family) in std::mem::take(&mut tables.signs) {
        let glob = Glob::new(&name);
        let known = tables.names.exact();
        let matching: Vec<u32> =
            known.filter(|(there, _)| glob.matches(there)).map(|(_, at)| at).collect();
        for at in matching {
            if let Some(rules) = tables.names.rules_mut(at) {
                rules.detects |= family;
            }
        }
        tables.names.at(&name).detects |= family;
    }
}

/// Compiles one file.
struct Compiler<'c> {
    file: &'c str,
    family: Families,
    rank: u8,
    /// The rules apply only to records of this family.
    restricted: bool,
    /// Attributes that this family knows better than those of lower rank.
    owns: Vec<String>,
    /// Rules so far: the order in the file decides between rules of one family.
    rules: u16,
    tables: &'c mut Tables,
}

type Compiled<T> = Result<T, MappingError>;

impl Compiler<'_> {
    fn file(mut self, file: &File) -> Compiled<()> {
        let at = u32::try_from(self.tables.families.len()).unwrap_or(u32::MAX);
        self.family = 1_u64.checked_shl(at).unwrap_or(0);
        self.rank = file.rank.value;
        self.restricted = file.only_when_detected;
        self.owns.clone_from(&file.owns);
        if self.restricted && file.detect.is_empty() {
            let line = line(&file.name);
            return Err(self.error(line, "only_when_detected needs a sign under detect".into()));
        }
        let unrestricted = file.tracestate.first().or(file.resource.first());
        if let Some(rule) = unrestricted.filter(|_| self.restricted) {
            let problem = "tracestate and resource cannot be only_when_detected: \
                           put them into a file of their own";
            return Err(self.error(line(rule), problem.into()));
        }
        let name = file.name.value.as_str().into();
        let own = file.dataset.as_ref().filter(|it| it.value.trim() == OWN_DATASET);
        if let Some(own) = own {
            let problem = format!(
                "the dataset \"{OWN_DATASET}\" is that of entries that spanledger makes itself: name the \
                 source instead"
            );
            return Err(self.error(line(own), problem));
        }
        let dataset = file.dataset.as_ref().map(|it| it.value.as_str().into());
        self.tables.families.push(Family { name, rank: self.rank, dataset });
        for rule in &file.kinds {
            self.kind(rule)?;
        }
        for rule in &file.fields {
            self.field(rule, "", Condition::default())?;
        }
        for rule in &file.payloads {
            self.payload(rule)?;
        }
        for rule in &file.nested {
            self.nested(rule)?;
        }
        for rule in &file.span_names {
            self.span_name(rule)?;
        }
        let event_names = file.event_names.iter().flat_map(|names| &names.0);
        self.tables.event_names.extend(event_names.map(|name| name.as_str().into()));
        for rule in &file.events {
            self.event(rule)?;
        }
        for rule in &file.bodies {
            self.body(rule)?;
        }
        for rule in &file.tracestate {
            let mut members = std::mem::take(&mut self.tables.tracestate);
            self.members(rule, &mut members)?;
            self.tables.tracestate = members;
        }
        for rule in &file.resource {
            let (target, decoder) = self.target(rule)?;
            if !matches!(target.shape(), Shape::Text | Shape::Id) {
                let problem = format!("a resource cannot fill \"{}\": not a text", rule.value.to);
                return Err(self.error(line(rule), problem));
            }
            let origin = self.origin(line(rule));
            for name in &rule.value.from.0 {
                let except = globs(rule.value.except.as_ref());
                let member = Member { path: Vec::new(), target, decoder, except, origin };
                self.tables.resource.entry(name.as_str().into()).or_default().push(member);
            }
        }
        for name in &file.owns {
            let limit = self.rank_bits() | u32::from(u16::MAX);
            self.tables.names.at(name).owners.push((self.family, limit));
        }
        self.actions(file)?;
        file.detect.iter().try_for_each(|sign| self.detect(sign))
    }

    /// Remembers where a rule stands, for whoever asks why an entry is as it is.
    fn origin(&mut self, line: u64) -> Origin {
        let origins = &mut self.tables.origins;
        if origins.last().is_none_or(|(file, at)| **file != *self.file || *at != line) {
            origins.push((self.file.into(), line));
        }
        Origin(u16::try_from(origins.len().saturating_sub(1)).unwrap_or(u16::MAX))
    }

    fn error(&self, line: u64, problem: String) -> MappingError {
        MappingError::Invalid { file: self.file.to_owned(), line, problem }
    }

    /// The kind of a kind rule. `plain` is the kind of a record that no rule knows.
    fn kind_or_plain(&self, word: &str, line: u64) -> Compiled<Option<Kind>> {
        if word == "plain" { Ok(None) } else { self.kind_word(word, line).map(Some) }
    }

    fn kind_word(&self, word: &str, line: u64) -> Compiled<Kind> {
        word.parse().map_err(|()| {
            let near = nearest(word, Kind::ALL.iter().map(|kind| kind.as_str()));
            self.error(line, unknown("kind", word, near))
        })
    }

    fn word<T: Copy>(&self, what: &str, known: &[(&str, T)], word: &str, line: u64) -> Compiled<T> {
        let found = known.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value).ok_or_else(|| {
            self.error(
                line,
                unknown(what, word, nearest(word, known.iter().map(|(name, _)| *name))),
            )
        })
    }

    /// Smaller wins: the family's rank, then the order in the file.
    fn priority(&mut self) -> u32 {
        self.rules = self.rules.saturating_add(1);
        self.rank_bits() | u32::from(self.rules)
    }

    fn rank_bits(&self) -> u32 {
        u32::from(u8::MAX.saturating_sub(self.rank)) << 16
    }

    fn families(&self) -> Families {
        if self.restricted { self.family } else { 0 }
    }

    fn condition(&self, when: Option<&file::When>, line: u64) -> Compiled<Condition> {
        let mut condition = Condition { families: self.families(), ..Condition::default() };
        if let Some(when) = when {
            for word in when.kind.iter().flat_map(|kinds| &kinds.0) {
                condition.kinds |= kind_bit(self.kind_word(word, line)?);
            }
            if let Some(kinds) = &when.not_kind {
                condition.kinds = u64::MAX;
                for word in &kinds.0 {
                    condition.kinds &= !kind_bit(self.kind_word(word, line)?);
                }
            }
            condition.root = when.root;
        }
        Ok(condition)
    }

    fn detect(&mut self, sign: &Spanned<file::Detect>) -> Compiled<()> {
        let family = self.family;
        let detect = &sign.value;
        let named = [&detect.scope, &detect.schema, &detect.span, &detect.event, &detect.attribute];
        if named.iter().all(|name| name.is_none()) {
            let problem = "a sign needs `scope`, `schema`, `span`, `event` or `attribute`".into();
            return Err(self.error(line(sign), problem));
        }
        for (name, signs) in [
            (&detect.scope, &mut self.tables.scopes),
            (&detect.schema, &mut self.tables.schemas),
            (&detect.span, &mut self.tables.spans),
            (&detect.event, &mut self.tables.events),
        ] {
            if let Some(name) = name {
                signs.at(name).detects |= family;
            }
        }
        match (&detect.attribute, &detect.is) {
            (Some(name), Some(value)) => {
                self.tables.names.at(name).detects_value.push((Glob::new(value), family));
            }
            (Some(name), None) => self.tables.signs.push((name.as_str().into(), family)),
            (None, _) => {}
        }
        Ok(())
    }

    fn kind(&mut self, rule: &Spanned<file::KindRule>) -> Compiled<()> {
        /// Added to the priority of a rule that speaks only when no other does.
        const OTHERWISE: u32 = 1 << 24;
        let (line, rule) = (line(rule), &rule.value);
        let mut priority = self.priority();
        if rule.otherwise {
            priority = priority.saturating_add(OTHERWISE);
        }
        let (families, root, origin) = (self.families(), rule.root, self.origin(line));
        let action: Option<Box<str>> = rule.action.as_deref().map(Into::into);
        let make =
            |kind| KindRule { kind, action: action.clone(), priority, families, root, origin };
        let kind = rule.kind.as_deref().map(|word| self.kind_or_plain(word, line)).transpose()?;
        match (&rule.attribute, &rule.values, kind) {
            (Some(name), Some(values), None) => {
                for (value, word) in values {
                    let kind = make(self.kind_or_plain(word, line)?);
                    let rules = self.tables.names.at(name);
                    rules.kinds_of_value.entry(value.as_str().into()).or_default().push(kind);
                }
            }
            (Some(name), None, Some(kind)) => self.tables.names.at(name).kinds.push(make(kind)),
            (None, None, Some(kind)) if rule.span.is_some() || rule.event.is_some() => {
                for name in rule.span.iter().flat_map(|names| &names.0) {
                    self.tables.spans.at(name).kinds.push(make(kind));
                }
                for name in rule.event.iter().flat_map(|names| &names.0) {
                    self.tables.events.at(name).kinds.push(make(kind));
                }
            }
            _ => {
                let problem = "a kind needs `attribute` with `values` or `kind`, \
                               or `span` or `event` with `kind`";
                return Err(self.error(line, problem.into()));
            }
        }
        Ok(())
    }

    fn target(&self, rule: &Spanned<file::FieldRule>) -> Compiled<(Target, Decoder)> {
        let (line, rule) = (line(rule), &rule.value);
        let target = Target::at(&rule.to)
            .map_err(|near| self.error(line, unknown("field", &rule.to, near)))?;
        let decoder = match &rule.decode {
            Some(word) => self.word("decoder", Decoder::WORDS, word, line)?,
            None => Decoder::Plain,
        };
        if !decoder.suits(target.shape()) {
            let problem = format!(
                "decoder \"{}\" does not suit the field \"{}\"",
                rule.decode.as_deref().unwrap_or_default(),
                rule.to
            );
            return Err(self.error(line, problem));
        }
        Ok((target, decoder))
    }

    fn field(
        &mut self,
        rule: &Spanned<file::FieldRule>,
        prefix: &str,
        outer: Condition,
    ) -> Compiled<()> {
        let (target, decoder) = self.target(rule)?;
        if rule.value.otherwise && target.takes_many() {
            let problem =
                format!("\"{}\" takes every value: `otherwise` means nothing there", rule.value.to);
            return Err(self.error(line(rule), problem));
        }
        let mut condition = self.condition(rule.value.when.as_ref(), line(rule))?;
        condition.kinds |= outer.kinds;
        condition.root = condition.root.or(outer.root);
        let origin = self.origin(line(rule));
        for name in &rule.value.from.0 {
            let priority = self.priority();
            let name = format!("{prefix}{name}");
            let mut condition = condition;
            if self.owns.contains(&name) {
                // Its meaning for this family is none for the others.
                condition.families |= self.family;
            }
            let (except, otherwise) = (globs(rule.value.except.as_ref()), rule.value.otherwise);
            let rule =
                FieldRule { target, decoder, priority, condition, except, otherwise, origin };
            self.tables.names.at(&name).fields.push(rule);
        }
        Ok(())
    }

    fn payload(&mut self, rule: &Spanned<file::PayloadRule>) -> Compiled<()> {
        let (line, rule) = (line(rule), &rule.value);
        let kind = self.word("payload", PAYLOADS, &rule.kind, line)?;
        let mut kind_when = Vec::with_capacity(rule.kind_when.len());
        for (on, payload) in &rule.kind_when {
            kind_when
                .push((self.kind_word(on, line)?, self.word("payload", PAYLOADS, payload, line)?));
        }
        let condition = self.condition(rule.when.as_ref(), line)?;
        let origin = self.origin(line);
        let decoders = [("plain", false), ("python", true)];
        let decode = rule.decode.as_deref().unwrap_or("plain");
        let python = self.word("decoder of a payload", &decoders, decode, line)?;
        let inside: Vec<_> = rule.inside.iter().flat_map(|paths| &paths.0).collect();
        let inside: Vec<_> = inside.into_iter().map(|path| path::parts(path)).collect();
        for name in &rule.from.0 {
            let priority = self.priority();
            let (kind_when, inside) = (kind_when.clone(), inside.clone());
            let rules = self.tables.names.at(name);
            let except = globs(rule.except.as_ref());
            let rule = PayloadRule {
                kind,
                kind_when,
                inside,
                python,
                except,
                priority,
                condition,
                origin,
            };
            rules.payloads.push(rule);
            rules.payloads.sort_by_key(|rule| rule.priority);
        }
        Ok(())
    }

    fn actions(&mut self, file: &File) -> Compiled<()> {
        for (word, action) in &file.actions {
            let kind = self.kind_word(word, 0)?;
            self.tables.actions.push((kind, action.as_str().into()));
        }
        if let Some(repeated) = &file.usage_repeated {
            let line = line(repeated);
            for word in repeated.value.kinds.iter().flat_map(|kinds| &kinds.0) {
                self.tables.repeated_kinds |= kind_bit(self.kind_word(word, line)?);
            }
            let events = repeated.value.events.iter().flat_map(|names| &names.0);
            self.tables.repeated_events.extend(events.map(|name| Glob::new(name)));
            let families = self.families();
            let spans = repeated.value.spans.iter().flat_map(|names| &names.0);
            self.tables.repeated_spans.extend(spans.map(|name| (families, Glob::new(name))));
        }
        Ok(())
    }
}

fn globs(names: Option<&Names>) -> Vec<Glob> {
    names.iter().flat_map(|names| &names.0).map(|name| Glob::new(name)).collect()
}

fn line<T>(value: &Spanned<T>) -> u64 {
    value.referenced.line()
}
