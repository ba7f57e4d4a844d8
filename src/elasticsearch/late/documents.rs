//! What the correlator asks of a cluster: the one place where it could be another one, or a test's.

use super::LateError;
use super::link::Link;
use crate::correlate::{Id, Member};
use crate::export::ConsumerStatus;
use std::sync::Arc;

/// Where a document lies: the index itself, since a stream does not take changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) index: String,
    pub(super) id: String,
}

/// What a search says of a document.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its sequence is not known here: it may be of another ledger.
    pub(super) member: Member,
    /// Its trace ids as its body spells them.
    pub(super) forms: Vec<String>,
    /// The ids that it was given.
    pub(super) late: Vec<String>,
    /// Whether it was not given all.
    pub(super) truncated: bool,
    pub(super) place: Place,
}

/// Documents to find: those that carry one of the ids.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) tenant: &'a str,
    pub(super) ids: &'a [Id<'static>],
    /// Leaves out the documents of that ledger: they are known.
    pub(super) except_origin: Option<&'a str>,
    /// Leaves out what did not stop or resume a run.
    pub(super) pauses_only: bool,
    /// Most documents.
    pub(super) limit: usize,
}

/// A group some of whose documents lack ids.
#[derive(Debug)]
pub(super) struct Lack<'a> {
    pub(super) ids: &'a [Id<'static>],
    pub(super) forms: &'a [String],
}

/// A document as it is now.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) place: Place,
    pub(super) seq_no: u64,
    pub(super) primary_term: u64,
    /// Byte for byte.
    pub(super) source: String,
}

/// What became of a changed document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// Somebody changed it since it was fetched, or it is gone.
    Conflict,
    /// It cannot be changed where it lies.
    Unwritable,
}

/// What the key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) read: bool,
    pub(super) index: bool,
}

/// The documents of a cluster. Every call blocks, and ends early when the correlator is to end.
/// What may be otherwise later is an error: the whole round is then made again.
pub(super) trait Documents: Send {
    /// Called once before anything else.
    fn begin(&mut self, _status: &Arc<ConsumerStatus>) {}

    /// What the key may do, as far as the cluster says. What is not said is allowed.
    fn rights(&mut self) -> Result<Rights, LateError>;

    /// Returns when everything that was written to the streams of these classes before is seen by
    /// searches.
    fn refresh(&mut self, classes: &[u8]) -> Result<(), LateError>;

    /// Gives each document to `visit`; whether there were more than the limit.
    fn find(&mut self, ask: &Ask<'_>, visit: &mut dyn FnMut(Found)) -> Result<bool, LateError>;

    /// Where the documents lie that lack one of the ids of their group, with the group's number.
    fn lacking(
        &mut self,
        tenant: &str,
        groups: &[Lack<'_>],
        visit: &mut dyn FnMut(usize, Place),
    ) -> Result<(), LateError>;

    /// The documents as they are now. One that is gone is left out.
    fn fetch(&mut self, places: &[Place]) -> Result<Vec<Fetched>, LateError>;

    /// Writes documents where nobody changed them since; one outcome each, in order.
    fn write(&mut self, documents: &[Fetched]) -> Result<Vec<Written>, LateError>;

    /// Creates link documents; how many were not there yet.
    fn link(&mut self, links: &[Link]) -> Result<usize, LateError>;
}
