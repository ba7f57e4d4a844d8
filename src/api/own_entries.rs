//! Entries of the log about itself that explain others, looked up for a bundle.

use super::limits::QUERY_BUDGET;
use super::problem::Problem;
use super::service::Api;
use crate::access::Tenant;
use crate::store::query::Query;
use crate::store::{Hit, Order, QueryRequest};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Entries of the log about itself that are read at once, about a KiB each.
const OWN_ENTRIES_AT_ONCE: usize = 1_000;

/// Most of them that are looked through for one bundle: a ledger of 10 TiB has as many segments.
const MAX_OWN_ENTRIES: usize = 200_000;

/// How long they are looked for in all, below what a question may take.
const OWN_ENTRIES_TIME: Duration = Duration::from_secs(15);

/// Sequence and id of those that may explain these: every hand-over of a key of the log, and with
/// `any_pruned` what says why bodies of these are gone.
pub(super) fn acts_for(
    api: &Api,
    entries: &[(u64, [u8; 16])],
    any_pruned: bool,
) -> Result<Vec<(u64, [u8; 16])>, Problem> {
    let until = Instant::now().checked_add(OWN_ENTRIES_TIME);
    let mut acts = Vec::new();
    // Without them a key that handed over leads nowhere, so a bundle has all of them or is not made.
    if !own_entries(api, "event.action", "log_key.rotated", until, |hit| acts.push(of(hit)))? {
        return Err(Problem::unavailable(
            "The entries by which the log's keys handed over were not all found in time",
        ));
    }
    if any_pruned {
        let mut sequences: Vec<u64> = entries.iter().map(|(sequence, _)| *sequence).collect();
        sequences.sort_unstable();
        let take = |hit: &Hit| {
            if speaks_of(&hit.document, &sequences) {
                acts.push(of(hit));
            }
        };
        if !own_entries(api, "audit.kind", "prune", until, take)? {
            // The bundle says of which bodies it has no entry that tells why they are gone.
            tracing::warn!("the entries that say what was pruned were not all found in time");
        }
    }
    Ok(acts)
}

fn of(hit: &Hit) -> (u64, [u8; 16]) {
    (hit.sequence, hit.id)
}

/// What an entry of kind `prune` speaks of.
#[derive(Deserialize)]
struct Pruning {
    attributes: PrunedRange,
}

#[derive(Deserialize)]
struct PrunedRange {
    #[serde(rename = "spanledger.prune.first")]
    first: u64,
    #[serde(rename = "spanledger.prune.end")]
    end: u64,
}

/// Whether an entry of kind `prune` may speak of one of these, which rise: each segment of the ledger has
/// one or more, and a bundle needs those of its own.
fn speaks_of(document: &[u8], sequences: &[u64]) -> bool {
    // What cannot be read here is looked at by who makes the bundle.
    serde_json::from_slice::<Pruning>(document).map_or(true, |Pruning { attributes }| {
        let next = sequences.partition_point(|sequence| *sequence < attributes.first);
        sequences.get(next).is_some_and(|sequence| *sequence < attributes.end)
    })
}

/// Shows entries of the log about itself with that value, in the order of the ledger. `false` when there
/// may be more.
fn own_entries(
    api: &Api,
    field: &str,
    value: &str,
    until: Option<Instant>,
    mut take: impl FnMut(&Hit),
) -> Result<bool, Problem> {
    let query = Query::term(field, value);
    let mut request = QueryRequest {
        order: Order::Ledger,
        limit: OWN_ENTRIES_AT_ONCE,
        budget: QUERY_BUDGET,
        ..QueryRequest::new(Tenant::system(), query)
    };
    let mut seen = 0_usize;
    loop {
        let page = api.store.query(&request)?;
        page.hits.iter().for_each(&mut take);
        seen = seen.saturating_add(page.hits.len());
        // A page that is cut for its time says where to go on.
        if page.next_cursor.is_none() {
            return Ok(!page.timed_out);
        }
        let is_late = until.is_none_or(|until| Instant::now() >= until);
        if is_late || seen >= MAX_OWN_ENTRIES {
            return Ok(false);
        }
        request.cursor = page.next_cursor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_entries_about_what_was_pruned_those_of_the_segments_of_a_story_are_taken() {
        let act = |first: u64, end: u64| {
            let attributes = serde_json::json!({
                "spanledger.prune.first": first, "spanledger.prune.end": end,
                "spanledger.prune.class": 2,
            });
            serde_json::json!({ "attributes": attributes }).to_string().into_bytes()
        };
        let story = [7, 30, 31];
        for (first, end, speaks) in [
            (0, 10, true),
            (0, 7, false),
            (7, 8, true),
            (8, 30, false),
            (10, 40, true),
            (32, 90, false),
        ] {
            assert_eq!(speaks_of(&act(first, end), &story), speaks, "{first} to {end}");
        }
        assert!(
            speaks_of(b"{}", &story),
            "what cannot be read is looked at by who makes the bundle"
        );
    }
}
