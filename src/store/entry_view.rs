//! An entry as a question sees it: envelope, body, and what was read from the body on demand.

use super::facets::Facets;
use crate::correlate::Member;
use crate::entry::format_ns;
use crate::ledger::EntryRef;
use std::cell::OnceCell;

/// What the ledger knows of an entry beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Position in the ledger.
    pub sequence: u64,
    /// The entry's id.
    pub id: [u8; 16],
    /// Whose it is.
    pub tenant: &'a str,
    /// When it was received, nanoseconds since 1970.
    pub received_ns: u64,
    /// Whether another record of the same span stands in the ledger with other content.
    pub conflict: bool,
    /// Hash of its leaf in the ledger's tree.
    pub leaf_hash: [u8; 32],
}

/// An entry as a question sees it. What a question needs of the body is read once.
#[derive(Debug)]
pub struct EntryView<'a> {
    /// What the ledger knows.
    pub envelope: Envelope<'a>,
    /// The body; empty when it was pruned or erased.
    pub body: &'a [u8],
    facets: OnceCell<Facets<'a>>,
    json: OnceCell<Option<serde_json::Value>>,
}

impl<'a> EntryView<'a> {
    /// An entry that nothing was read from yet.
    pub fn new(envelope: Envelope<'a>, body: &'a [u8]) -> Self {
        Self { envelope, body, facets: OnceCell::new(), json: OnceCell::new() }
    }

    /// Ids, fields and texts.
    pub fn facets(&self) -> &Facets<'a> {
        self.facets.get_or_init(|| Facets::from_body(self.body))
    }

    /// All of the body; `None` when it is not JSON.
    pub fn json(&self) -> Option<&serde_json::Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.body).ok()).as_ref()
    }

    /// Time of the event, or the received time where the source's was not plausible.
    pub fn event_ns(&self) -> u64 {
        self.facets().event_ns.unwrap_or(self.envelope.received_ns)
    }

    /// The entry's id as text: 32 hexadecimal digits.
    pub fn id_text(&self) -> String {
        // By hand: every entry is listed by it, and `format!` costs several times as much.
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
        self.envelope.id.iter().flat_map(digits).collect()
    }

    /// Time of the event as RFC 3339.
    pub fn timestamp(&self) -> String {
        format_ns(self.event_ns())
    }

    /// What a group needs to know of the entry.
    pub fn member(&self) -> Member {
        let envelope = &self.envelope;
        self.facets().member(envelope.sequence, envelope.id, envelope.received_ns)
    }
}

impl<'a> From<EntryRef<'a>> for EntryView<'a> {
    fn from(entry: EntryRef<'a>) -> Self {
        let envelope = Envelope {
            sequence: entry.sequence,
            id: entry.id.0,
            tenant: entry.tenant,
            received_ns: entry.received_ns,
            conflict: entry.conflict,
            leaf_hash: entry.leaf_hash,
        };
        Self::new(envelope, entry.body)
    }
}
