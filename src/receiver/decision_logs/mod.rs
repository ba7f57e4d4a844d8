//! Decision logs of governance engines, as they are sent: from JSON to [`Sink`] calls.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Source`], [`decode`], and [`measure`], which comes first |
//! | `form.rs` | what the engines' JSON has in common and where it differs, as a table |
//! | `items.rs` | the objects of a request: one, a list, lines, or a list inside an envelope |
//! | `record.rs` | an object as a log record |
//! | `cerbos.rs` | an entry of Cerbos, which holds several decisions |
//! | `value.rs` | any JSON as a value; times; trace ids |
//!
//! ```text
//! POST /logs/…: [ {…}, {…} ]  or  {…}  or  {…}⏎{…}⏎
//!      └► each object ─► log record: event name of the engine, members as attributes `opa.path`, …
//! ```
//!
//! Nothing of a batch enters a record: an engine that cuts its batches anew sends the same records.
//! What members mean is said in `config/mappings/{opa,cerbos,cordum}.yaml`.

mod cerbos;
mod form;
mod items;
mod record;
pub(super) mod value;

use super::otlp::{DecodeError, Shape};
use crate::span::{LogRecord, Record, Refusal, Sink};

/// Whose decision log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Open Policy Agent: a list of events.
    Opa,
    /// Cerbos: entries that hold a decision for each resource and action.
    Cerbos,
    /// Cordum: jobs, decisions, approvals, timeline events, changes of the policy.
    Cordum,
    /// Flat audit lines of an agent runtime: `run_id`, `decision`, `reason`, `action`, ….
    Entries,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Opa, Self::Cerbos, Self::Cordum, Self::Entries];

    /// Its word in paths and on the command line.
    ///
    /// ```
    /// use spanledger::receiver::decision_logs::Source;
    /// assert_eq!(Source::Cerbos.name(), "cerbos");
    /// ```
    pub const fn name(self) -> &'static str {
        self.form().name
    }
}

/// Gives every record of a request to the sink, in the order in which they were sent.
///
/// # Errors
/// [`DecodeError`] when it is no JSON. The sink may have been given records before.
pub fn decode(source: Source, request: &[u8], sink: &mut impl Sink) -> Result<(), DecodeError> {
    let form = source.form();
    sink.resource(&form.resource());
    sink.scope(&form.scope());
    let mut log = LogRecord::default();
    items::each(form, request, &mut |item| {
        if !item.is_object() {
            sink.refuse(Refusal::NotAnObject);
        } else if source == Source::Cerbos {
            cerbos::records(form, &item, sink)?;
        } else {
            record::read(form, &item, &mut log)?;
            sink.record(Record::Log(&log));
        }
        Ok(())
    })
}

/// Counts what a request holds, without decoding it. A broken request is counted up to where it
/// breaks: [`decode`] says what is wrong with it.
pub fn measure(source: Source, request: &[u8]) -> Shape {
    let mut shape = Shape::default();
    let _ = items::each(source.form(), request, &mut |item| {
        if source == Source::Cerbos && item.is_object() {
            let of_entry = cerbos::shape(&item)?;
            shape.add_with_context(of_entry, 0, 0);
        } else {
            let bytes = item.bytes.len().saturating_add(item.around_bytes);
            shape.add(bytes, value::elements(item.bytes).saturating_add(item.around.len()));
        }
        Ok(())
    });
    shape
}
