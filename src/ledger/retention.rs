//! Retention: which segments hold bodies whose time is over, and pruning them.
//!
//! A segment is rewritten once for each class, when the last of the class in it has expired: bodies,
//! sealed bytes and salts go, leaf records and all hashes stay. So a body may stay longer than its
//! class says by the time that its segment took to fill.

use super::bytes::to_usize;
use super::rewrite::{GoOn, RewriteError, Rewritten, Upkeep};
use super::types::EntryRef;
use super::view::Segment;

/// What of a retention class is no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The class.
    pub class: u8,
    /// Bodies received before that time go, nanoseconds since 1970.
    pub before_ns: u64,
}

/// A segment with bodies of a class whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Sequence of the segment's first entry.
    pub first: u64,
    /// Sequence after its last entry.
    pub end: u64,
    /// The class, and up to when.
    pub expiry: Expiry,
    /// Entries that would be pruned: those that nothing holds.
    pub entries: u64,
    /// Entries of the class in the segment whose bodies are gone already.
    pub gone: u64,
}

impl Upkeep {
    /// What has expired in the sealed segments that lie wholly below the entry `limit`, less what is
    /// held. Segments in which everything expired is held are not named; one that cannot be read has
    /// its error in its place, and keeps no other from being looked at. [`RewriteError::Stopped`]
    /// ends the list.
    pub fn due(
        &self,
        limit: u64,
        expiries: &[Expiry],
        held: &dyn Fn(&EntryRef<'_>) -> bool,
        go_on: GoOn<'_>,
    ) -> Vec<Result<Due, RewriteError>> {
        let mut due = Vec::new();
        if expiries.is_empty() {
            return due;
        }
        for (segment, end) in self.sealed().into_iter().filter(|(_, end)| *end <= limit) {
            match self.due_in(&segment, end, expiries, held, go_on) {
                Ok(found) => due.extend(found.into_iter().map(Ok)),
                Err(stopped @ RewriteError::Stopped) => {
                    due.push(Err(stopped));
                    break;
                }
                Err(error) => due.push(Err(error)),
            }
        }
        due
    }

    /// What has expired in one segment.
    fn due_in(
        &self,
        segment: &Segment,
        end: u64,
        expiries: &[Expiry],
        held: &dyn Fn(&EntryRef<'_>) -> bool,
        go_on: GoOn<'_>,
    ) -> Result<Vec<Due>, RewriteError> {
        // What was received after that, as nearly all of a younger segment was, is kept.
        let youngest = expiries.iter().map(|expiry| expiry.before_ns).max().unwrap_or(0);
        if self.is_plain_since(segment, youngest)? {
            return Ok(Vec::new());
        }
        let kept = self.kept(segment, go_on)?;
        let expired = expiries.iter().filter(|expiry| {
            let of_class = kept.iter().find(|kept| kept.class == expiry.class);
            of_class.is_some_and(|kept| kept.newest_ns < expiry.before_ns)
        });
        let expired: Vec<Expiry> = expired.copied().collect();
        if expired.is_empty() {
            return Ok(Vec::new());
        }
        // Of each class, what would go and what is gone.
        let mut counts = [(0_u64, 0_u64); 256];
        let mut count = |entry: &EntryRef<'_>| {
            let Some((due, gone)) = counts.get_mut(usize::from(entry.retention_class)) else {
                return;
            };
            if entry.pruned {
                *gone = gone.saturating_add(1);
            } else if !held(entry) {
                *due = due.saturating_add(1);
            }
        };
        self.each(segment, &mut count, go_on)?;
        let due = expired.into_iter().filter_map(|expiry| {
            let (entries, gone) = *counts.get(to_usize(expiry.class.into()))?;
            (entries > 0).then_some(Due { first: segment.first, end, expiry, entries, gone })
        });
        Ok(due.collect())
    }

    /// Prunes what is due, less what is held now. `last_look` is asked right before the segment is
    /// replaced, whether what is held is still the same: with `None` nothing is changed and it ends
    /// with [`RewriteError::Stopped`]. What it gives, a lock, is kept until the bodies are gone.
    ///
    /// # Errors
    /// [`RewriteError`]; the segment is as it was.
    pub fn prune<G>(
        &self,
        due: &Due,
        held: &dyn Fn(&EntryRef<'_>) -> bool,
        go_on: GoOn<'_>,
        last_look: impl FnOnce() -> Option<G>,
    ) -> Result<Rewritten, RewriteError> {
        let Expiry { class, before_ns } = due.expiry;
        let mut goes = |entry: &EntryRef<'_>| {
            entry.retention_class == class && entry.received_ns < before_ns && !held(entry)
        };
        let segment = self.segment(due.first)?;
        self.rewrite(&segment, &mut goes, go_on, last_look)
    }
}
