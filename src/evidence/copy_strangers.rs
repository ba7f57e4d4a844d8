//! Documents beside those at the places of entries: behind the last one, without a place, and of
//! another ledger's name or none.

use super::copy::{Copy, CopyError, SEQUENCE, extra, find, parsed};
use super::verdict::{Code, Findings, Place, Verdict};
use crate::elasticsearch::Transport;
use crate::elasticsearch::ids::LINK_KIND;
use crate::elasticsearch::search::{Filter, FoundDoc, MAX_HITS, SearchError, Source};
use crate::ledger::Reader;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the name of the ledger is.
const ORIGIN: &str = "audit.ledger.origin";

/// Searches for names of other ledgers, each for what those before did not name: with fewer than
/// [`MAX_HITS`] documents of others one is enough.
const MAX_ROUNDS: usize = 16;

/// What is read of a document that is only named.
const READ: [&str; 2] = [SEQUENCE, ORIGIN];

impl Copy<'_> {
    /// Looks for documents that are at no place of an entry; `end` is the first place behind.
    pub(super) async fn strangers<T: Transport>(
        &self,
        cluster: &T,
        end: u64,
        findings: &mut Findings,
    ) -> Result<(), CopyError> {
        let own = || Filter::Term(ORIGIN, self.origin.to_owned());
        let behind = Filter::Numbers(SEQUENCE, end, u64::MAX);
        let behind = named(cluster, Filter::and([own(), behind]), findings).await?;
        self.behind(behind, findings)?;
        let placed = Filter::Numbers(SEQUENCE, 0, u64::MAX);
        let filter = Filter::and([own(), Filter::not(placed)]);
        extra(&named(cluster, filter, findings).await?, findings);
        self.others(cluster, findings).await?;
        Ok(())
    }

    /// Documents behind the last entry: a running server may have made and sent more since it was
    /// read, and makes an entry durable before it sends it.
    fn behind(&self, found: Vec<FoundDoc>, findings: &mut Findings) -> Result<(), CopyError> {
        if found.is_empty() {
            return Ok(());
        }
        let now = Reader::open(self.folder)?;
        for document in found {
            let sequence = parsed(&document).pointer("/event/sequence").and_then(Value::as_u64);
            let entry = sequence.map(|at| now.get(at)).transpose()?.flatten();
            if entry.is_none_or(|entry| entry.id.to_string() != document.id) {
                extra(&[document], findings);
            }
        }
        Ok(())
    }

    /// Documents that name another ledger are legal where two collectors write to one cluster, and
    /// else nobody's: this ledger cannot say which, so they are counted.
    async fn others<T: Transport>(
        &self,
        cluster: &T,
        findings: &mut Findings,
    ) -> Result<(), SearchError> {
        let mut known = vec![self.origin.to_owned()];
        for _ in 0..MAX_ROUNDS {
            let unknown = Filter::not(Filter::Terms(ORIGIN, known.clone()));
            let filter = Filter::and([Filter::Exists(ORIGIN), unknown]);
            let found = find(cluster, filter, Source::Fields(READ.to_vec())).await?;
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for document in &found {
                let source = parsed(document);
                let name = source.pointer("/audit/ledger/origin").and_then(Value::as_str);
                let count = counts.entry(name.unwrap_or_default().to_owned()).or_default();
                *count = count.saturating_add(1);
            }
            let more = found.len() >= MAX_HITS;
            for (name, count) in &counts {
                let many = if more { "at least " } else { "" };
                let text = format!(
                    "{many}{count} documents name the ledger {name:?}: if no other collector of that name writes \
                     here, somebody added them"
                );
                findings.weigh(Code::ExtraDocument, Verdict::Partial, Place::default(), text);
            }
            if !more {
                break;
            }
            known.extend(counts.into_keys());
        }
        let link = Filter::Term("audit.kind", LINK_KIND.to_owned());
        let nameless = Filter::and([Filter::not(Filter::Exists(ORIGIN)), Filter::not(link)]);
        let found = find(cluster, nameless, Source::Fields(READ.to_vec())).await?;
        if let Some(first) = found.first() {
            let many = if found.len() >= MAX_HITS { "at least " } else { "" };
            let text = format!(
                "{many}{} documents name no ledger, this is the first: no spanledger wrote them",
                found.len()
            );
            let place = Place::file(format!("{}/{}", first.index, first.id));
            findings.weigh(Code::ExtraDocument, Verdict::Partial, place, text);
        }
        Ok(())
    }
}

/// Documents that are only named, and a finding when there are more than one search gives.
async fn named<T: Transport>(
    cluster: &T,
    filter: Filter,
    findings: &mut Findings,
) -> Result<Vec<FoundDoc>, SearchError> {
    let found = find(cluster, filter, Source::Fields(READ.to_vec())).await?;
    if found.len() >= MAX_HITS {
        let text =
            format!("{MAX_HITS} documents or more are at no place of an entry: not all were read");
        findings.add(Code::ExtraDocument, Place::default(), text);
    }
    Ok(found)
}
