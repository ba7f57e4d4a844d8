//! Entries that were found and are not answered yet: what their order needs, and their documents
//! as long as these are few.

use super::super::ids::entries_of;
use super::super::search::{Filter, FoundDoc, Source};
use super::super::transport::Transport;
use super::cluster::Cluster;
use super::pages::{Pages, Turn, by_arrival};
use crate::correlate::Member;
use crate::store::document::Document;
use crate::store::projection::{Origin, write_document};
use crate::store::{Hit, Place, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes of documents that one question keeps while it collects; those beyond are asked for again
/// when they are shown. A common story is a few hundred kilobytes.
const MAX_HELD_BYTES: usize = 32 * 1_024 * 1_024;

/// Ids in one search for copies or documents.
const IDS_AT_ONCE: usize = 1_000;

/// A hit, read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) document: Document,
    pub(super) place: Place,
    /// As every store shows it: without what others put beside the entry in the cluster.
    pub(super) text: String,
}

/// Reads a hit; `None` when it is no entry of that tenant, which the search does not ask for.
pub(super) fn read<T: Transport>(
    cluster: &Cluster<T>,
    tenant: &str,
    doc: FoundDoc,
) -> Option<Read> {
    let text: String = Box::<str>::from(doc.source?).into();
    let Some(document) = Document::read(&text) else {
        cluster.status.unreadable.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    if document.tenant != tenant {
        return None;
    }
    let mut shown = Vec::with_capacity(text.len());
    write_document(&document.view(), Origin { name: &document.origin }, &mut shown);
    let text = String::from_utf8(shown).ok()?;
    let place = Place {
        received_ns: document.received_ns,
        origin: document.origin.clone(),
        sequence: document.sequence,
    };
    Some(Read { document, place, text })
}

impl Read {
    pub(super) fn into_hit(self) -> Hit {
        let event_ns = self.document.view().event_ns();
        let Document { sequence, id, .. } = self.document;
        Hit { sequence, id, event_ns, document: self.text.into_bytes() }
    }
}

/// The first place of each entry of which there is more than one copy: an entry that was created
/// again after a rollover, received by two collectors, or beyond a ledger's window of duplicates.
pub(super) fn first_places<T: Transport>(
    cluster: &Cluster<T>,
    tenant: &str,
    ids: &[[u8; 16]],
    deadline: Instant,
) -> Result<HashMap<[u8; 16], Place>, StoreError> {
    let mut first: HashMap<[u8; 16], Place> = HashMap::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let texts = ids.iter().map(|id| id_text(*id)).collect();
        let filter = Filter::and([entries_of(tenant), Filter::Terms("event.id", texts)]);
        let mut pages =
            Pages::new(cluster, filter, by_arrival(false), ids.len().saturating_mul(2), deadline);
        pages.source = Source::None;
        // Where the time is over, what was not looked at counts as the only one.
        while let Turn::Docs(docs) = pages.next()? {
            for doc in docs {
                let place = place_of(&doc.sort);
                if let (Some(id), Some(place)) = (read_id(&doc.id), place) {
                    // In order of arrival: the first stays.
                    first.entry(id).or_insert(place);
                }
            }
        }
        pages.close();
    }
    Ok(first)
}

fn place_of(sort: &[serde_json::Value]) -> Option<Place> {
    let [received, origin, sequence, ..] = sort else { return None };
    Some(Place {
        received_ns: received.as_u64()?,
        origin: origin.as_str()?.to_owned(),
        sequence: sequence.as_u64()?,
    })
}

/// Takes copies out: of each entry the first that was received stays, once.
pub(super) fn keep_first_copies<T: Transport>(
    cluster: &Cluster<T>,
    tenant: &str,
    found: &mut Vec<Read>,
    seen: &mut HashSet<[u8; 16]>,
    (indices, deadline): (u64, Instant),
) -> Result<(), StoreError> {
    found.retain(|read| !seen.contains(&read.document.id));
    // Within one backing index an id is there once.
    if indices > 1 && !found.is_empty() {
        let ids: Vec<[u8; 16]> = found.iter().map(|read| read.document.id).collect();
        let first = first_places(cluster, tenant, &ids, deadline)?;
        found.retain(|read| first.get(&read.document.id).is_none_or(|place| *place == read.place));
    }
    found.retain(|read| seen.insert(read.document.id));
    Ok(())
}

/// Entries by the number under which they were put in.
#[derive(Debug, Default)]
pub(super) struct Held {
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    id: [u8; 16],
    event_ns: u64,
    text: Option<String>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts an entry in; its number stands as sequence number of the member.
    pub(super) fn put(&mut self, read: Read, mut member: Member) -> Member {
        member.sequence = self.entries.len() as u64;
        let bytes = self.bytes.saturating_add(read.text.len());
        let text = (bytes <= MAX_HELD_BYTES).then_some(read.text);
        if text.is_some() {
            self.bytes = bytes;
        }
        let (id, event_ns) = (member.entry, member.event_ns);
        self.entries.push(Entry { place: read.place, id, event_ns, text });
        member
    }

    pub(super) fn place(&self, number: u64) -> Option<&Place> {
        self.at(number).map(|entry| &entry.place)
    }

    fn at(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number).ok()?)
    }

    /// Hits of these numbers, in their order. Documents that were not kept are asked for again;
    /// one that was deleted since is left out.
    pub(super) fn hits<T: Transport>(
        &self,
        cluster: &Cluster<T>,
        tenant: &str,
        numbers: impl Iterator<Item = u64>,
        deadline: Instant,
    ) -> Result<Vec<Hit>, StoreError> {
        let entries: Vec<&Entry> = numbers.filter_map(|number| self.at(number)).collect();
        let missing: Vec<&Entry> =
            entries.iter().filter(|entry| entry.text.is_none()).copied().collect();
        let mut fetched: HashMap<[u8; 16], String> = HashMap::new();
        for part in missing.chunks(IDS_AT_ONCE) {
            let texts = part.iter().map(|entry| id_text(entry.id)).collect();
            let filter = Filter::and([entries_of(tenant), Filter::Terms("event.id", texts)]);
            let mut pages = Pages::new(cluster, filter, by_arrival(false), part.len(), deadline);
            while let Turn::Docs(docs) = pages.next()? {
                for read in docs.into_iter().filter_map(|doc| read(cluster, tenant, doc)) {
                    fetched.entry(read.document.id).or_insert(read.text);
                }
            }
            pages.close();
        }
        let hits = entries.iter().filter_map(|entry| {
            let document = entry.text.as_ref().or_else(|| fetched.get(&entry.id))?;
            Some(Hit {
                sequence: entry.place.sequence,
                id: entry.id,
                event_ns: entry.event_ns,
                document: document.clone().into_bytes(),
            })
        });
        Ok(hits.collect())
    }
}

fn id_text(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

fn read_id(text: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(u128::to_be_bytes)
}
