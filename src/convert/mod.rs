//! From the neutral record to the audit entry, driven by `config/mappings/*.yaml`.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Mappings`] and the way of one record through the other files |
//! | `builtin.rs` | the mappings that are compiled in |
//! | `file.rs`, `compile.rs`, `compile/`, `error.rs` | a mapping as people write it, and how it becomes tables, with the line of each mistake |
//! | `table.rs` | the tables |
//! | `names.rs` | what an attribute's name means: one look-up for each attribute |
//! | `target.rs`, `decode.rs`, `derived.rs` | the fields that a mapping can fill, and the ways to read a value |
//! | `context.rs` | [`ResourceContext`], [`ScopeContext`]: made once, borrowed by every entry |
//! | `plain.rs` | what a record says by itself: ids, times, status |
//! | `record.rs`, `inside.rs`, `path.rs` | attributes into fields; members of JSON and baggage; the way to one |
//! | `payload.rs`, `python.rs` | attributes as payloads, unwrapped where a mapping says so; Python literals |
//! | `events.rs` | events of a span, and those that are entries of their own |
//! | `explain.rs` | [`Explanation`]: which rule filled which field, for people who write a mapping |
//! | `finish.rs` | what follows: forms of ids, actor, outcome, action |
//! | `ids.rs` | the forms of a trace id |
//! | `values.rs` | values, and what has to be noted on the way |
//! | `fuzzing.rs` | what `fuzz/` reaches |
//! | `tests.rs`, `language_tests.rs` | rules that hold for every record, what a mapping can say, and the messages for wrong ones |
//!
//! The code knows fields, decoders and conditions; names of attributes stand in the mappings only.
//! An attribute that fills a field word for word moves there; one that was decoded or interpreted
//! stays in `attributes` too, as does one that no mapping claims. Payloads go to `audit.payload`.

mod builtin;
mod compile;
mod context;
mod decode;
mod derived;
mod error;
mod events;
mod explain;
mod file;
mod finish;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod ids;
mod inside;
#[cfg(test)]
mod language_tests;
mod names;
mod path;
mod payload;
mod plain;
mod python;
mod record;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod values;

pub use context::{ResourceContext, ScopeContext};
pub use error::MappingError;
pub use explain::{Cause, Explanation, Filled, Taken};

use crate::entry::{Entry, Flag, Json, Kind};
use crate::span::{LogRecord, Record, Resource, Scope, Span, Value};
use events::Events;
use record::Attributes;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use table::{Facts, Sign, Tables};
use values::Notes;

/// Counted up when the code gives another entry for the same mapping.
const CODE_VERSION: u8 = 3;

/// All mappings, compiled. Made once at start-up, shared by every request.
///
/// ```
/// use spanledger::convert::Mappings;
/// use spanledger::entry::Kind;
/// use spanledger::span::{Attribute, Record, Resource, Scope, Span, Value};
///
/// let mappings = Mappings::builtin()?;
/// let resource = mappings.resource(&Resource::default());
/// let scope = mappings.scope(&Scope::default());
/// let span = Span {
///     attributes: vec![Attribute::new("openinference.span.kind", Value::Text("TOOL".into()))],
///     ..Span::default()
/// };
/// let converted = mappings.convert(&resource, &scope, Record::Span(&span));
/// assert_eq!(converted.entry.audit.kind, Kind::ToolCall);
/// assert_eq!(converted.entry.audit.mapping.as_deref(), Some("openinference"));
/// # Ok::<(), spanledger::convert::MappingError>(())
/// ```
#[derive(Debug)]
pub struct Mappings {
    tables: Tables,
    version: [u8; 8],
}

/// The entries of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted<'r> {
    /// The entry of the record itself.
    pub entry: Entry<'r>,
    /// Events of the span that are entries of their own, in the order in which they were sent.
    pub further: Vec<Entry<'r>>,
}

impl Mappings {
    /// The mappings that are compiled in.
    ///
    /// # Errors
    /// Never, unless the program was built from mappings that its own tests refuse.
    pub fn builtin() -> Result<Self, MappingError> {
        Self::of(&builtin_files())
    }

    /// The mappings that are compiled in, with those of a folder: a `.yaml` file there replaces
    /// the one of the same name and is added when there is none.
    ///
    /// # Errors
    /// [`MappingError`] with file and line of the first mistake, or when the folder is not readable.
    pub fn load(folder: &Path) -> Result<Self, MappingError> {
        Self::with(&in_folder(folder)?)
    }

    /// The mappings that are compiled in, with these files: each replaces the one of the same name
    /// and is added when there is none.
    ///
    /// # Errors
    /// [`MappingError`] with file and line of the first mistake, or when a file is not readable.
    ///
    /// ```
    /// use spanledger::convert::Mappings;
    /// assert!(Mappings::with(&[]).is_ok());
    /// assert!(Mappings::with(&["nowhere.yaml".into()]).is_err());
    /// ```
    pub fn with(paths: &[PathBuf]) -> Result<Self, MappingError> {
        let mut files = builtin_files();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
            files.retain(|(there, _)| *there != name);
            files.push((name, text));
        }
        files.sort();
        Self::of(&files)
    }

    fn of(files: &[(String, String)]) -> Result<Self, MappingError> {
        let tables = compile::compile(files)?;
        let mut hash = Sha256::new_with_prefix([CODE_VERSION]);
        for part in files.iter().flat_map(|(name, text)| [name, text]) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut version = [0; 8];
        for (to, from) in version.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Ok(Self { tables, version })
    }

    /// Names this set of mappings: the first 8 bytes of a SHA-256 over their names and texts and
    /// the version of the code that reads them. Equal versions give equal entries.
    pub fn version(&self) -> [u8; 8] {
        self.version
    }

    /// Prepares a resource for the records that belong to it.
    pub fn resource(&self, resource: &Resource<'_>) -> ResourceContext {
        ResourceContext::new(&self.tables, resource)
    }

    /// Prepares a scope for the records that belong to it.
    pub fn scope(&self, scope: &Scope<'_>) -> ScopeContext {
        ScopeContext::new(&self.tables, scope)
    }

    /// The entries of a record. Never fails: what no mapping knows is kept as it came.
    pub fn convert<'r>(
        &'r self,
        resource: &'r ResourceContext,
        scope: &'r ScopeContext,
        record: Record<'r, '_>,
    ) -> Converted<'r> {
        match record {
            Record::Span(span) => self.span(resource, scope, span),
            Record::Log(log) => {
                Converted { entry: self.log(resource, scope, log), further: Vec::new() }
            }
        }
    }

    fn span<'r>(
        &'r self,
        resource: &'r ResourceContext,
        scope: &'r ScopeContext,
        span: &'r Span<'_>,
    ) -> Converted<'r> {
        let (tables, mut notes) = (&self.tables, Notes::default());
        let (signs, families) = signs(&tables.spans, span.name.as_str(), scope.families);
        let root = span.parent_span_id == [0; 8];
        let attributes = Attributes::look_up(tables, &span.attributes, families);
        let events = Events::of(tables, span, attributes.families);
        let mut chosen = attributes.choose_kind(&signs, root, Kind::Span);
        if let Some(kind) = events.mark() {
            chosen = record::Chosen { kind, action: None };
        }
        let facts = Facts { families: attributes.families, kind: chosen.kind, root };

        let mut entry = Entry::new(chosen.kind);
        plain::span(span, &mut entry, &mut notes);
        attributes.write(facts, &mut entry, &mut notes);
        events.write(&mut entry, &mut notes);
        self.span_name(span, facts, &mut entry);
        inside::pairs(&tables.tracestate, span.trace_state.as_str(), &mut |member, value| {
            record::put_member(&mut entry, member, value);
        });
        let failed = span.status_code == plain::STATUS_ERROR && chosen.kind != Kind::Interrupt;
        if failed && entry.error.message.is_none() {
            entry.error.message.clone_from(&entry.span.status_message);
        }
        self.finish(resource, scope, facts, &mut entry);
        let mut further = events.further(tables, facts, &entry);
        finish::repeated_span(tables, facts.families, span.name.as_str(), &mut entry);
        finish::finish(tables, &mut entry, chosen.action, &span.trace_id);
        finish::outcome(&mut entry, Some(span.status_code));
        notes.write(&mut entry);
        for own in &mut further {
            finish::finish(tables, own, None, &span.trace_id);
        }
        Converted { entry, further }
    }

    fn log<'r>(
        &'r self,
        resource: &'r ResourceContext,
        scope: &'r ScopeContext,
        log: &'r LogRecord<'_>,
    ) -> Entry<'r> {
        let (tables, mut notes) = (&self.tables, Notes::default());
        let event = self.event_name(log);
        let (signs, families) = signs(&tables.events, event, scope.families);
        let attributes = Attributes::look_up(tables, &log.attributes, families);
        let chosen = attributes.choose_kind(&signs, false, Kind::Log);
        let facts = Facts { families: attributes.families, kind: chosen.kind, root: false };

        let mut entry = Entry::new(chosen.kind);
        plain::log(log, &mut entry, &mut notes);
        if entry.log.event_name.is_none() && !event.is_empty() {
            entry.log.event_name = Some(Cow::Borrowed(event));
        }
        attributes.write(facts, &mut entry, &mut notes);
        self.body(log, event, facts, &mut entry, &mut notes);
        self.finish(resource, scope, facts, &mut entry);
        let family = tables.best_family(facts.families);
        if let Some(dataset) = family.and_then(|family| family.dataset.as_deref()) {
            entry.event.dataset = Some(Cow::Borrowed(dataset));
        }
        finish::finish(tables, &mut entry, chosen.action, &log.trace_id);
        finish::outcome(&mut entry, None);
        notes.write(&mut entry);
        entry
    }

    /// Fields that the name of the span fills where nothing else did.
    fn span_name<'r>(&'r self, span: &'r Span<'_>, facts: Facts, entry: &mut Entry<'r>) {
        for rule in &self.tables.span_names {
            if !rule.condition.holds(facts) || rule.target.is_set(entry) {
                continue;
            }
            let part = rule.name.star(span.name.as_str()).filter(|part| !part.is_empty());
            if let Some(part) = part {
                rule.target.put(entry, target::Decoded::Text(Cow::Borrowed(part)));
            }
        }
    }

    /// The name of the event that a log record is: a field of OTLP since 1.5, before that an
    /// attribute.
    fn event_name<'r>(&self, log: &'r LogRecord<'_>) -> &'r str {
        let name = log.event_name.as_str();
        if !name.is_empty() {
            return name;
        }
        let named = log
            .attributes
            .iter()
            .find(|sent| self.tables.event_names.iter().any(|name| **name == *sent.key.as_str()));
        named.and_then(|sent| sent.value.as_str()).unwrap_or_default()
    }

    /// The body of a log record: a payload, a text for people, or a value with members.
    fn body<'r>(
        &'r self,
        log: &'r LogRecord<'_>,
        event: &'r str,
        facts: Facts,
        entry: &mut Entry<'r>,
        notes: &mut Notes<'r>,
    ) {
        let Some(body) = &log.body else { return };
        let rules = self.tables.bodies.iter().filter(|rule| {
            (rule.families == 0 || rule.families & facts.families != 0)
                && (rule.events.is_empty() || rule.events.iter().any(|glob| glob.matches(event)))
        });
        let mut payload = None;
        for rule in rules {
            payload = payload.or(rule.payload);
            inside::json(&rule.members, body, notes, &mut |member, value| {
                if record::put_member(entry, member, value) {
                    entry.flag(Flag::IdTooLong);
                }
            });
        }
        match (payload, body) {
            (_, Value::Empty) => entry.body = Some(Json::Null),
            (Some(kind), body) => {
                let payload = payload::payload(kind, Cow::Borrowed("body"), body, notes);
                entry.audit.payload.push(payload);
            }
            (None, Value::Text(text)) => {
                let text = notes.optional(text, "body");
                if entry.message.is_none() {
                    entry.message = text;
                } else {
                    entry.body = text.map(Json::Text);
                }
            }
            (None, body) => entry.body = Some(notes.json(body, "body")),
        }
        if entry.message.is_none() && !event.is_empty() {
            entry.message = Some(Cow::Borrowed(event));
        }
    }

    /// What the record did not say itself, and which family it is of.
    fn finish<'r>(
        &'r self,
        resource: &'r ResourceContext,
        scope: &'r ScopeContext,
        facts: Facts,
        entry: &mut Entry<'r>,
    ) {
        resource.write(entry);
        scope.write(entry);
        let family = self.tables.best_family(facts.families);
        entry.audit.mapping = family.map(|family| Cow::Borrowed(&*family.name));
    }
}

/// The mapping files of a folder.
///
/// # Errors
/// [`MappingError::Read`] when the folder is not readable.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, MappingError> {
    let mut paths = Vec::new();
    for found in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = found.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> MappingError {
    let path = path.to_owned();
    move |source| MappingError::Read { path, source }
}

fn builtin_files() -> Vec<(String, String)> {
    builtin::FILES.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

/// The signs of a name, and the families that they add to those known already.
fn signs<'t>(
    signs: &'t table::Signs,
    name: &str,
    mut families: table::Families,
) -> (Vec<&'t Sign>, table::Families) {
    let mut found = Vec::new();
    signs.each(name, |sign| {
        families |= sign.detects;
        found.push(sign);
    });
    (found, families)
}
