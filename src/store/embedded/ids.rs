//! Where ids are listed: sorted runs on disk, and the open run in memory.
//!
//! ```text
//!  0          65,536      131,072      …                 end
//!  ├── run ────┼─── run ────┼── run ────┼─ open run ──────┤     sequences
//!     file        file         file        memory
//! ```
//!
//! Sixteen adjacent small runs become one large one, so that a look-up reads few files.

use super::super::StoreError;
use super::super::durable::{UNFINISHED, io};
use super::run::{Record, Run, range_of};
use itertools::Itertools as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Buckets of the open run, by the first bits of the key: a look-up scans one, and sorting sorts
/// many small ones.
const BUCKETS: usize = 256;

/// Small runs that are merged into one.
const MERGED: usize = 16;

/// All runs of an index.
#[derive(Debug)]
pub(super) struct Ids {
    dir: PathBuf,
    run_entries: u64,
    state: RwLock<State>,
    /// Memory of an open run that was sealed, for the next: to give it back to the system and ask
    /// for it anew costs more than all that is done with it.
    spare: Mutex<Vec<Vec<Record>>>,
}

#[derive(Debug, Clone)]
struct State {
    /// By their first sequence number.
    runs: Arc<Vec<Arc<Run>>>,
    open: Arc<Open>,
}

/// The run that is being filled. Once it is sealed nothing is added, and whoever still holds it
/// can go on reading.
#[derive(Debug)]
struct Open {
    first: u64,
    inner: RwLock<OpenRecords>,
}

#[derive(Debug)]
struct OpenRecords {
    end: u64,
    buckets: Vec<Vec<Record>>,
}

impl Open {
    fn new(first: u64, mut buckets: Vec<Vec<Record>>) -> Self {
        buckets.iter_mut().for_each(Vec::clear);
        buckets.resize_with(BUCKETS, Vec::new);
        Self { first, inner: RwLock::new(OpenRecords { end: first, buckets }) }
    }

    fn end(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).end
    }

    fn find(&self, key: u64, out: &mut Vec<u64>) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let records = inner.buckets.get(bucket_of(key)).map_or(&[][..], Vec::as_slice);
        let found = records.iter().filter(|(k, _)| *k == key);
        out.extend(found.map(|(_, offset)| self.first.saturating_add(u64::from(*offset))));
    }

    /// Writes it to a file. Look-ups go on meanwhile.
    fn write(&self, dir: &Path) -> Result<Run, StoreError> {
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.buckets.iter_mut().for_each(|bucket| bucket.sort_unstable());
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let count = inner.buckets.iter().map(Vec::len).sum();
        // The buckets are ranges of keys.
        let records = inner.buckets.iter().flatten().copied().map(Ok);
        Run::create(dir, self.first, inner.end, count, records)
    }
}

fn bucket_of(key: u64) -> usize {
    usize::from(key.to_be_bytes().first().copied().unwrap_or(0))
}

/// Gives the records of a range.
pub(super) type Lists<'a> = dyn FnMut(&Range<u64>) -> Result<Vec<Record>, StoreError> + 'a;

/// What was found on disk.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) ids: Ids,
    /// Ranges that have to be listed again: their runs are missing or damaged.
    pub(super) gaps: Vec<Range<u64>>,
}

impl Ids {
    /// Opens the runs in `dir`. `clean` removes what a crash left over.
    pub(super) fn open(dir: &Path, run_entries: u64, clean: bool) -> Result<Opened, StoreError> {
        let mut ranges = list(dir, clean)?;
        // The widest of those that start together: a merged run stands before its parts.
        ranges.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let (mut runs, mut gaps, mut next) = (Vec::new(), Vec::new(), 0_u64);
        for range in ranges {
            if range.end <= next {
                if clean {
                    remove(dir, &range);
                }
                continue;
            }
            // Runs that overlap without one being within the other are no work of ours.
            if range.start < next {
                continue;
            }
            match Run::open(dir, range.start, range.end) {
                Ok(run) => {
                    if range.start > next {
                        gaps.push(next..range.start);
                    }
                    next = range.end;
                    runs.push(Arc::new(run));
                }
                Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let state = State { runs: Arc::new(runs), open: Arc::new(Open::new(next, Vec::new())) };
        let ids = Self {
            dir: dir.to_owned(),
            run_entries,
            state: RwLock::new(state),
            spare: Mutex::default(),
        };
        Ok(Opened { ids, gaps })
    }

    /// The runs as they are now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        let end = state.open.end();
        Snapshot { runs: state.runs, open: state.open, end }
    }

    /// Sequence after the last entry that is listed.
    pub(super) fn end(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).open.end()
    }

    /// Sequence after the last entry that is listed on disk.
    pub(super) fn durable_end(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).open.first
    }

    /// Lists the entries from [`Ids::end`] up to `end`: pairs of sequence number and key, in the
    /// order of the sequence numbers. Writes a run when it is full.
    pub(super) fn append(&self, end: u64, keys: &[(u64, u64)]) -> Result<(), StoreError> {
        let mut rest = keys;
        loop {
            let open = {
                let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                state.open.clone()
            };
            let limit = open.first.saturating_add(self.run_entries);
            if open.end() >= limit {
                self.seal(open)?;
                continue;
            }
            if open.end() >= end {
                return Ok(());
            }
            let fits = rest.partition_point(|(sequence, _)| *sequence < limit);
            let (now, later) = rest.split_at(fits);
            rest = later;
            let mut inner = open.inner.write().unwrap_or_else(PoisonError::into_inner);
            for (sequence, key) in now {
                let offset = u32::try_from(sequence.saturating_sub(open.first)).unwrap_or(u32::MAX);
                if let Some(bucket) = inner.buckets.get_mut(bucket_of(*key)) {
                    bucket.push((*key, offset));
                }
            }
            inner.end = limit.min(end);
        }
    }

    /// Writes the runs of a range again, small ones; `list` gives the records of each.
    pub(super) fn replace(
        &self,
        range: &Range<u64>,
        list: &mut Lists<'_>,
    ) -> Result<(), StoreError> {
        let mut runs = Vec::new();
        let mut first = range.start;
        while first < range.end {
            let part = first..first.saturating_add(self.run_entries).min(range.end);
            let mut records = list(&part)?;
            records.sort_unstable();
            let count = records.len();
            let records = records.into_iter().map(Ok);
            let run = Run::create(&self.dir, part.start, part.end, count, records)?;
            runs.push(Arc::new(run));
            first = part.end;
        }
        let old = self.swap(range, runs);
        // A small run has the name of the one that took its place.
        let is_large = |run: &Arc<Run>| run.end.saturating_sub(run.first) > self.run_entries;
        for run in old.into_iter().filter(is_large) {
            remove(&self.dir, &(run.first..run.end));
        }
        Ok(())
    }

    /// Writes the open run although it is not full, when it has entries below `end`.
    pub(super) fn keep(&self, end: u64) -> Result<(), StoreError> {
        let open = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.open.clone()
        };
        if open.first >= end || open.end() == open.first { Ok(()) } else { self.seal(open) }
    }

    /// Writes the open run and begins the next.
    fn seal(&self, open: Arc<Open>) -> Result<(), StoreError> {
        let run = Arc::new(open.write(&self.dir)?);
        let spare = std::mem::take(&mut *self.spare());
        let next = Arc::new(Open::new(run.end, spare));
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let mut runs = state.runs.as_ref().clone();
            runs.push(run);
            *state = State { runs: Arc::new(runs), open: next };
        }
        // Whoever still looks something up in it keeps it.
        if let Some(Open { inner, .. }) = Arc::into_inner(open) {
            let OpenRecords { buckets, .. } =
                inner.into_inner().unwrap_or_else(PoisonError::into_inner);
            *self.spare() = buckets;
        }
        self.merge()
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<Record>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Merges sixteen adjacent runs that are small.
    fn merge(&self) -> Result<(), StoreError> {
        let runs = self.state.read().unwrap_or_else(PoisonError::into_inner).runs.clone();
        let is_small = |run: &Arc<Run>| run.end.saturating_sub(run.first) <= self.run_entries;
        let Some(last) = runs.windows(MERGED).find(|window| window.iter().all(is_small)) else {
            return Ok(());
        };
        let (Some(first), Some(end)) = (last.first().map(|r| r.first), last.last().map(|r| r.end))
        else {
            return Ok(());
        };
        let whole = end.saturating_sub(first);
        let covered: u64 = last.iter().map(|run| run.end.saturating_sub(run.first)).sum();
        if covered != whole {
            return Ok(());
        }
        let count: u64 = last.iter().map(|run| run.len()).sum();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let run = match Run::create(&self.dir, first, end, count, merged(last, first)) {
            Ok(run) => Arc::new(run),
            // It is found again, and mended, when somebody looks something up in it.
            Err(StoreError::Damaged { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for part in self.swap(&(first..end), vec![run]) {
            // The name goes; whoever has the file open goes on reading it.
            remove(&self.dir, &(part.first..part.end));
        }
        Ok(())
    }

    /// Puts runs in the place of those within the range, and gives those.
    fn swap(&self, range: &Range<u64>, new: Vec<Arc<Run>>) -> Vec<Arc<Run>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (old, mut runs): (Vec<_>, Vec<_>) = state
            .runs
            .iter()
            .cloned()
            .partition(|run| run.first >= range.start && run.end <= range.end);
        runs.extend(new);
        runs.sort_unstable_by_key(|run| run.first);
        state.runs = Arc::new(runs);
        old
    }
}

/// The records of adjacent runs as those of one, sorted: the least of what each has next. Ends
/// at the first that cannot be read.
fn merged(runs: &[Arc<Run>], first: u64) -> impl Iterator<Item = Result<Record, StoreError>> + '_ {
    let parts = runs.iter().map(move |run| {
        let by = u32::try_from(run.first.saturating_sub(first)).unwrap_or(u32::MAX);
        let moved = move |(key, offset): Record| (key, offset.saturating_add(by));
        run.records().flat_map(move |block| {
            let (block, error) = match block {
                Ok(block) => (block, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            block.into_iter().map(move |record| Ok(moved(record))).chain(error)
        })
    });
    // What cannot be read comes first, so that it ends the merge.
    parts.kmerge_by(|a, b| match (a, b) {
        (Ok(a), Ok(b)) => a < b,
        (a, _) => a.is_err(),
    })
}

/// The ranges of the run files in a directory.
fn list(dir: &Path, clean: bool) -> Result<Vec<Range<u64>>, StoreError> {
    let mut ranges = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ranges),
        Err(source) => return Err(io("read", dir, source)),
    };
    for entry in entries {
        let path = entry.map_err(|source| io("read", dir, source))?.path();
        if clean && path.extension().is_some_and(|e| e == UNFINISHED) {
            let _ = std::fs::remove_file(&path);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        ranges.extend(name.and_then(range_of).map(|(first, end)| first..end));
    }
    Ok(ranges)
}

fn remove(dir: &Path, range: &Range<u64>) {
    let _ = std::fs::remove_file(dir.join(super::run::file_name(range.start, range.end)));
}

/// The runs at one moment. What is appended later is not seen.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    runs: Arc<Vec<Arc<Run>>>,
    open: Arc<Open>,
    /// Sequence after the last entry that is listed.
    pub(super) end: u64,
}

/// A run that could not be read.
#[derive(Debug)]
pub(super) struct Damaged {
    /// The entries that it covers.
    pub(super) range: Range<u64>,
}

impl Snapshot {
    /// A snapshot of nothing.
    pub(super) fn empty() -> Self {
        Self { runs: Arc::default(), open: Arc::new(Open::new(0, Vec::new())), end: 0 }
    }

    /// Whether every entry of the range is listed.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        range.end <= self.end
            && self.gaps().all(|gap| gap.end <= range.start || gap.start >= range.end)
    }

    /// Ranges below the end that no run covers.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = self.runs.iter().map(|run| run.first).chain([self.open.first]);
        let ends = [0].into_iter().chain(self.runs.iter().map(|run| run.end));
        ends.zip(starts).filter(|(end, start)| end < start).map(|(end, start)| end..start)
    }

    /// Appends the entries within `range` that are listed under a key, in their order.
    pub(super) fn find(
        &self,
        key: u64,
        range: &Range<u64>,
        out: &mut Vec<u64>,
    ) -> Result<(), Damaged> {
        let from = out.len();
        let start = self.runs.partition_point(|run| run.end <= range.start);
        let overlapping = self.runs.get(start..).unwrap_or_default().iter();
        for run in overlapping.take_while(|run| run.first < range.end) {
            run.find(key, out).map_err(|_| Damaged { range: run.first..run.end })?;
        }
        if range.end > self.open.first {
            self.open.find(key, out);
        }
        let limit = range.end.min(self.end);
        let mut kept = from;
        // Only what is within: a run covers more than was asked for.
        for at in from..out.len() {
            if let Some(sequence) = out.get(at).copied()
                && sequence >= range.start
                && sequence < limit
            {
                if let Some(place) = out.get_mut(kept) {
                    *place = sequence;
                }
                kept = kept.saturating_add(1);
            }
        }
        out.truncate(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn find(ids: &Ids, key: u64) -> Vec<u64> {
        let snapshot = ids.snapshot();
        let mut out = Vec::new();
        snapshot.find(key, &(0..snapshot.end), &mut out).unwrap();
        out
    }

    /// Key of an entry: few different ones, spread over all buckets.
    fn key(sequence: u64) -> u64 {
        (sequence % 13) << 59
    }

    fn fill(ids: &Ids, to: u64) {
        let keys: Vec<(u64, u64)> =
            (ids.end()..to).flat_map(|s| [(s, key(s)), (s, s + 1)]).collect();
        ids.append(to, &keys).unwrap();
    }

    fn wanted(key_of: u64, end: u64) -> Vec<u64> {
        (0..end).filter(|s| key(*s) == key_of || *s + 1 == key_of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_key_finds_its_entries_however_they_came_and_after_a_restart(
            steps in prop::collection::vec(1..60_u64, 1..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut ids = Ids::open(dir.path(), 8, true).unwrap().ids;
            for step in steps {
                fill(&ids, ids.end() + step);
                for sequence in 0..13 {
                    prop_assert_eq!(find(&ids, key(sequence)), wanted(key(sequence), ids.end()));
                }
                let durable = ids.durable_end();
                let opened = Ids::open(dir.path(), 8, true).unwrap();
                prop_assert!(opened.gaps.is_empty());
                ids = opened.ids;
                prop_assert_eq!(ids.end(), durable);
                prop_assert!(durable.is_multiple_of(8));
            }
        }
    }

    #[test]
    fn sixteen_small_runs_become_one() {
        let dir = tempfile::tempdir().unwrap();
        let ids = Ids::open(dir.path(), 4, true).unwrap().ids;
        fill(&ids, 4 * 17 + 1);
        let mut ranges = list(dir.path(), false).unwrap();
        ranges.sort_by_key(|r| r.start);
        assert_eq!(ranges, [0..64, 64..68]);
        assert_eq!(find(&ids, key(5)), wanted(key(5), 69));
    }

    #[test]
    fn what_is_kept_before_bodies_go_is_there_after_a_restart_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let ids = Ids::open(dir.path(), 8, true).unwrap().ids;
        fill(&ids, 3);
        ids.keep(0).unwrap();
        assert_eq!(ids.durable_end(), 0, "nothing of it goes");
        for (to, end) in [(3, 2), (3, 3), (9, 4), (20, 20)] {
            fill(&ids, to);
            ids.keep(end).unwrap();
            assert!(ids.durable_end() >= end, "{end}");
            let opened = Ids::open(dir.path(), 8, true).unwrap();
            assert!(opened.gaps.is_empty());
            for ids in [&ids, &opened.ids] {
                let all = |end| (0..13).all(|s| find(ids, key(s)) == wanted(key(s), end));
                assert!(all(ids.end()), "{to} {end}");
            }
        }
        // Small ones become one as all others do.
        for to in 21..60 {
            fill(&ids, to);
            ids.keep(to).unwrap();
        }
        assert!(list(dir.path(), false).unwrap().len() < 20);
        assert!((0..13).all(|s| find(&ids, key(s)) == wanted(key(s), 59)));
    }

    #[test]
    fn a_merged_run_that_a_crash_left_beside_its_parts_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let ids = Ids::open(dir.path(), 4, true).unwrap().ids;
        fill(&ids, 4 * 15 + 1);
        let kept = tempfile::tempdir().unwrap();
        for range in list(dir.path(), false).unwrap() {
            let name = super::super::run::file_name(range.start, range.end);
            fs::copy(dir.path().join(&name), kept.path().join(&name)).unwrap();
        }
        fill(&ids, 65);
        for file in fs::read_dir(kept.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let opened = Ids::open(dir.path(), 4, true).unwrap();
        assert!(opened.gaps.is_empty());
        assert_eq!(find(&opened.ids, key(1)), wanted(key(1), 64));
        assert_eq!(list(dir.path(), false).unwrap().len(), 1, "the parts are gone");
    }

    #[test]
    fn a_missing_or_damaged_run_is_a_gap_and_can_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        fill(&Ids::open(dir.path(), 4, true).unwrap().ids, 12);
        fs::write(dir.path().join(super::super::run::file_name(4, 8)), b"nonsense").unwrap();
        let Opened { ids, gaps } = Ids::open(dir.path(), 4, true).unwrap();
        assert_eq!((gaps.len(), gaps[0].clone()), (1, 4..8));
        assert!(!ids.snapshot().covers(&(0..6)) && ids.snapshot().covers(&(8..12)));
        let mut list = |part: &Range<u64>| {
            let offset = |s: u64| u32::try_from(s - part.start).unwrap();
            Ok(part.clone().map(|s| (key(s), offset(s))).collect())
        };
        ids.replace(&(4..8), &mut list).unwrap();
        assert!(ids.snapshot().covers(&(0..12)));
        assert_eq!(find(&ids, key(5)), wanted(key(5), 12));
    }

    #[test]
    fn what_is_appended_after_a_snapshot_is_not_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let ids = Ids::open(dir.path(), 4, true).unwrap().ids;
        fill(&ids, 3);
        let snapshot = ids.snapshot();
        fill(&ids, 9);
        let mut out = Vec::new();
        snapshot.find(3, &(0..100), &mut out).unwrap();
        assert_eq!(out, [2]);
        out.clear();
        snapshot.find(key(3), &(0..100), &mut out).unwrap();
        assert!(out.iter().all(|s| *s < 3));
    }
}
