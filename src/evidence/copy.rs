//! The copy in Elasticsearch against the ledger: each document projected anew and compared by value.
//!
//! ```text
//! ledger, a chunk ─► documents of these sequences ─► compared field by field ─► findings
//!        behind the last entry, without a place, of another name ─► copy_strangers.rs
//! ```
//!
//! By value and not by bytes: an update writes the source anew. `audit.correlation` is left out:
//! ids that became known later stand there, and belong to no single entry. What the exporter has
//! not reached yet, dead letters and pruned entries are not looked for; what is there is compared
//! all the same, and documents of pruned entries are told.

use super::format::hex;
use super::verdict::{Code, Findings, Place, Verdict};
use crate::elasticsearch::search::{
    Filter, FoundDoc, MAX_HITS, Scope, SearchError, SearchRequest, Source, search,
};
use crate::elasticsearch::{Method, Request, Transport};
use crate::ledger::{EntryRef, OpenError, ReadError, Reader};
use crate::store::EntryView;
use crate::store::projection::{Origin, write_document};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

/// Bytes of the ledger that are compared at once: some thousand small entries, fewer than
/// [`MAX_HITS`].
const CHUNK_BYTES: usize = 512 * 1_024;

/// How long one search may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Entries without a document that are looked up by their id; beyond it they count as missing.
const MAX_LOOKED_UP: usize = 1_000;

/// Where the field with the sequence is.
pub(super) const SEQUENCE: &str = "event.sequence";

/// Why a copy could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger cannot be opened once more.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The cluster does not answer.
    #[error("the copy cannot be compared")]
    Search(#[from] SearchError),
}

/// What is compared.
#[derive(Debug)]
pub struct Copy<'a> {
    /// The ledger.
    pub reader: &'a Reader,
    /// Its folder: what a running server adds meanwhile is looked up there.
    pub folder: &'a Path,
    /// Name of the ledger in the documents.
    pub origin: &'a str,
    /// Sequence after the last entry that should be there.
    pub until: u64,
    /// Entries that the cluster refused, and that is known.
    pub letters: &'a BTreeSet<u64>,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Entries with a document that says the same.
    pub same: u64,
    /// Entries that are held by the document of another ledger, to which they were sent too.
    pub elsewhere: u64,
    /// Entries that were not compared: pruned, or dead letters.
    pub left_out: u64,
}

impl Copy<'_> {
    /// Compares everything.
    ///
    /// # Errors
    /// [`CopyError`] when ledger or cluster cannot be read.
    pub async fn compare<T: Transport>(
        &self,
        cluster: &T,
        findings: &mut Findings,
    ) -> Result<Compared, CopyError> {
        // What was written a moment ago can be found. Where the key may not ask for that, the
        // cluster does it by itself within a second or so.
        let path = "/spanledger-*/_refresh".to_owned();
        let (query, timeout) = (Vec::new(), TIMEOUT);
        let _ =
            cluster.send(Request { method: Method::Post, path, query, body: None, timeout }).await;
        let mut compared = Compared::default();
        let (mut scan, end) = (self.reader.scan_once(0), self.reader.watermark());
        let mut pruned = 0_u64;
        while scan.position() < end {
            let Some(chunk) = scan.next_chunk(CHUNK_BYTES)? else { break };
            let (first, next) = (chunk.first_sequence(), chunk.next_sequence());
            let mut documents =
                self.documents(cluster, first, next.saturating_sub(1), findings).await?;
            let mut missing = Vec::new();
            for entry in chunk.entries() {
                let found = documents.remove(&entry.sequence).unwrap_or_default();
                if entry.pruned {
                    compared.left_out = compared.left_out.saturating_add(1);
                    let id = hex(&entry.id.0);
                    let (own, more): (Vec<_>, Vec<_>) =
                        found.into_iter().partition(|it| it.id == id);
                    pruned = pruned.saturating_add(own.len() as u64);
                    extra(&more, findings);
                } else if let Some((own, more)) = split(found, &entry) {
                    self.same(&entry, &own, &mut compared, findings);
                    extra(&more, findings);
                } else if self.letters.contains(&entry.sequence) {
                    compared.left_out = compared.left_out.saturating_add(1);
                } else if entry.sequence < self.until {
                    missing.push(entry);
                }
            }
            // Their place is found by the cluster, and is not written as the ledger writes it.
            for more in documents.values() {
                extra(more, findings);
            }
            self.missing(cluster, &missing, &mut compared, findings).await?;
            scan.recycle(chunk);
        }
        if pruned > 0 {
            let text = format!(
                "{pruned} documents of entries whose bodies were pruned are still there, and cannot be compared"
            );
            findings.add(Code::RetentionTrimmed, Place::default(), text);
        }
        self.strangers(cluster, end, findings).await?;
        if compared.same == 0 && compared.elsewhere == 0 && findings.verdict() == Verdict::Ok {
            let text = "no document was compared, so the copy shows nothing";
            findings.weigh(Code::MissingDocument, Verdict::Partial, Place::default(), text);
        }
        Ok(compared)
    }

    /// Documents of this ledger with these sequences.
    async fn documents<T: Transport>(
        &self,
        cluster: &T,
        first: u64,
        last: u64,
        findings: &mut Findings,
    ) -> Result<HashMap<u64, Vec<FoundDoc>>, SearchError> {
        let filter = Filter::and([
            Filter::Term("audit.ledger.origin", self.origin.to_owned()),
            Filter::Numbers(SEQUENCE, first, last),
        ]);
        let mut by_sequence: HashMap<u64, Vec<FoundDoc>> = HashMap::new();
        let found = find(cluster, filter, Source::All).await?;
        if found.len() >= MAX_HITS {
            let text = format!(
                "{MAX_HITS} documents or more name the places {first} to {last}: not all were read"
            );
            findings.add(Code::ExtraDocument, Place::entry(first), text);
        }
        for document in found {
            let source = parsed(&document);
            let sequence = source.pointer("/event/sequence").and_then(Value::as_u64);
            by_sequence.entry(sequence.unwrap_or(u64::MAX)).or_default().push(document);
        }
        Ok(by_sequence)
    }

    fn same(
        &self,
        entry: &EntryRef<'_>,
        document: &FoundDoc,
        compared: &mut Compared,
        findings: &mut Findings,
    ) {
        let mut expected = Vec::new();
        write_document(&EntryView::from(*entry), Origin { name: self.origin }, &mut expected);
        if document.source.as_ref().is_some_and(|it| it.get().as_bytes() == expected) {
            compared.same = compared.same.saturating_add(1);
            return;
        }
        let expected = serde_json::from_slice(&expected).unwrap_or_default();
        let mut shown = parsed(document);
        forget_correlation(&mut shown);
        match difference(&expected, &shown, "") {
            None => compared.same = compared.same.saturating_add(1),
            Some(path) => {
                let text = format!("the document says something else than the ledger in {path}");
                findings.add(Code::FieldMismatch, place(document, entry.sequence), text);
            }
        }
    }

    /// Entries at whose place no document is: their own may say another place, or be another
    /// ledger's to which the same was sent.
    async fn missing<T: Transport>(
        &self,
        cluster: &T,
        missing: &[EntryRef<'_>],
        compared: &mut Compared,
        findings: &mut Findings,
    ) -> Result<(), CopyError> {
        let (looked_up, rest) = missing.split_at(missing.len().min(MAX_LOOKED_UP));
        for entry in rest {
            findings.add(
                Code::MissingDocument,
                Place::entry(entry.sequence),
                "there is no document",
            );
        }
        if looked_up.is_empty() {
            return Ok(());
        }
        let ids = looked_up.iter().map(|entry| entry.id.to_string()).collect();
        let found = find(cluster, Filter::Ids(ids), Source::All).await?;
        for entry in looked_up {
            let id = entry.id.to_string();
            let Some(document) = found.iter().find(|document| document.id == id) else {
                let text = "there is no document";
                findings.add(Code::MissingDocument, Place::entry(entry.sequence), text);
                continue;
            };
            self.named_otherwise(entry, document, compared, findings)?;
        }
        Ok(())
    }

    /// The document of an entry's id, which names another ledger or another place.
    fn named_otherwise(
        &self,
        entry: &EntryRef<'_>,
        document: &FoundDoc,
        compared: &mut Compared,
        findings: &mut Findings,
    ) -> Result<(), CopyError> {
        let source = parsed(document);
        let origin = source.pointer("/audit/ledger/origin").and_then(Value::as_str);
        let sequence = source.pointer("/event/sequence").and_then(Value::as_u64);
        if origin == Some(self.origin) {
            // The same record beyond the window of duplicates: the first has the document.
            let first = sequence.filter(|at| *at < entry.sequence);
            let first = first.map(|at| self.reader.get(at)).transpose()?.flatten();
            if first.is_some_and(|first| first.id == entry.id) {
                compared.same = compared.same.saturating_add(1);
                return Ok(());
            }
            let text = format!("the document says something else than the ledger in {SEQUENCE}");
            findings.add(Code::FieldMismatch, place(document, entry.sequence), text);
            return Ok(());
        }
        let mut shown = source.clone();
        forget_correlation(&mut shown);
        let mut expected = Vec::new();
        let named = origin.unwrap_or_default();
        write_document(&EntryView::from(*entry), Origin { name: named }, &mut expected);
        let mut expected: Value = serde_json::from_slice(&expected).unwrap_or_default();
        forget_place(&mut expected);
        forget_place(&mut shown);
        match difference(&expected, &shown, "") {
            None => {
                compared.elsewhere = compared.elsewhere.saturating_add(1);
                let text = format!(
                    "the document names the ledger {named:?}: if you have none of that name, it was changed"
                );
                let place = place(document, entry.sequence);
                findings.weigh(Code::FieldMismatch, Verdict::Partial, place, text);
            }
            Some(path) => {
                let text = format!("the document says something else than the ledger in {path}");
                findings.add(Code::FieldMismatch, place(document, entry.sequence), text);
            }
        }
        Ok(())
    }
}

pub(super) async fn find<T: Transport>(
    cluster: &T,
    filter: Filter,
    source: Source,
) -> Result<Vec<FoundDoc>, SearchError> {
    let request = SearchRequest {
        scope: Scope::Streams,
        filter,
        sort: Vec::new(),
        search_after: None,
        size: MAX_HITS,
        source,
        versions: false,
        timeout: TIMEOUT,
    };
    let found = search(cluster, &request).await?;
    if found.timed_out {
        return Err(SearchError::Busy);
    }
    Ok(found.docs)
}

/// The document of the entry's own id, and others of its place.
fn split(mut found: Vec<FoundDoc>, entry: &EntryRef<'_>) -> Option<(FoundDoc, Vec<FoundDoc>)> {
    let id = hex(&entry.id.0);
    let own = found.iter().position(|document| document.id == id).or(found.len().checked_sub(1))?;
    let own = found.swap_remove(own);
    Some((own, found))
}

pub(super) fn extra(documents: &[FoundDoc], findings: &mut Findings) {
    for document in documents {
        let sequence = parsed(document).pointer("/event/sequence").and_then(Value::as_u64);
        let place = Place { sequence, ..place(document, 0) };
        findings.add(Code::ExtraDocument, place, "no entry of the ledger belongs to the document");
    }
}

fn place(document: &FoundDoc, sequence: u64) -> Place {
    Place::file(format!("{}/{}", document.index, document.id)).of_entry(sequence)
}

pub(super) fn parsed(document: &FoundDoc) -> Value {
    let source = document.source.as_ref();
    source.and_then(|source| serde_json::from_str(source.get()).ok()).unwrap_or_default()
}

/// Ids that became known later belong to no single entry.
fn forget_correlation(document: &mut Value) {
    if let Some(audit) = document.get_mut("audit").and_then(Value::as_object_mut) {
        audit.remove("correlation");
    }
}

/// What says where the entry stands: of another ledger it is another place.
fn forget_place(document: &mut Value) {
    let event = document.get_mut("event").and_then(Value::as_object_mut);
    let forget = |object: Option<&mut Map<String, Value>>, names: &[&str]| {
        if let Some(object) = object {
            for name in names {
                object.remove(*name);
            }
        }
    };
    forget(event, &["sequence", "hash", "ingested"]);
    forget(document.get_mut("audit").and_then(Value::as_object_mut), &["ledger"]);
}

/// The path of the first field in which two documents differ.
fn difference(expected: &Value, shown: &Value, path: &str) -> Option<String> {
    let here = || Some(if path.is_empty() { "the whole".to_owned() } else { path.to_owned() });
    match (expected, shown) {
        (Value::Object(expected), Value::Object(shown)) => {
            let inner = |name: &str| {
                if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
            };
            for (name, value) in expected {
                let Some(other) = shown.get(name) else { return Some(inner(name)) };
                if let Some(found) = difference(value, other, &inner(name)) {
                    return Some(found);
                }
            }
            shown.keys().find(|name| !expected.contains_key(*name)).map(|name| inner(name))
        }
        (Value::Array(expected), Value::Array(shown)) if expected.len() == shown.len() => {
            let pairs = expected.iter().zip(shown).enumerate();
            pairs.into_iter().find_map(|(at, (a, b))| difference(a, b, &format!("{path}[{at}]")))
        }
        (expected, shown) if expected == shown => None,
        _ => here(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_field_that_differs_is_named_whatever_the_order_of_fields() {
        let ledger = json!({"a": {"b": [1, {"c": "x"}]}, "n": 1.0});
        let differs = |shown: Value| difference(&ledger, &shown, "");
        assert_eq!(differs(json!({"n": 1.0, "a": {"b": [1, {"c": "x"}]}})), None);
        assert_eq!(differs(json!({"a": {"b": [1, {"c": "y"}]}, "n": 1.0})).unwrap(), "a.b[1].c");
        assert_eq!(differs(json!({"a": {"b": [1]}, "n": 1.0})).unwrap(), "a.b");
        assert_eq!(differs(json!({"a": {"b": [1, {"c": "x"}]}})).unwrap(), "n");
        assert_eq!(
            differs(json!({"a": {"b": [1, {"c": "x"}]}, "n": 1.0, "z": null})).unwrap(),
            "z"
        );
        assert_eq!(differs(json!(7)).unwrap(), "the whole");
    }

    #[test]
    fn a_large_number_is_another_than_the_one_beside_it() {
        let (a, b) = ("9007199254740993", "9007199254740992");
        let of = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(difference(&of(a), &of(b), "n").is_some());
    }
}
