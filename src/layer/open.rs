//! Captured spans that have not ended, by the id that the registry gave them.
//!
//! They are kept here and not in the registry's extensions: a span that is not captured is told
//! from one that is by one load, nobody else's lock is held, and at the end of the process those
//! that never ended are found.

use super::callsite::Callsite;
use super::clock::now_ns;
use super::fields::Fields;
use super::record::Writer;
use super::scope::Scope;
use crate::protect::AttributeProtector;
use crate::span::{SpanId, TraceId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Locks. More than threads that end spans at the same time.
const SHARDS: usize = 64;

/// Counters of open spans. The more, the fewer spans that are not captured share one with a span
/// that is.
const COUNTERS: usize = 1024;

/// Roots that are remembered for what is captured below them. One that a filter hides from the layer
/// is remembered for ever, for nobody tells its end; beyond this many, what is captured below
/// another such root is one trace for each captured span.
const MAX_ROOTS: u32 = 65_536;

/// Links that one span keeps. OpenTelemetry's default; what is more is counted.
pub(super) const MAX_LINKS: usize = 128;

/// A captured span.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) callsite: &'static Callsite,
    pub(super) place: Place,
    pub(super) span_id: SpanId,
    /// Nanoseconds since 1970.
    pub(super) start_ns: u64,
    pub(super) fields: Fields,
    pub(super) links: Vec<(TraceId, SpanId)>,
    pub(super) dropped_links: u32,
    /// Whether the ids are those of OpenTelemetry.
    pub(super) has_otel_ids: bool,
    /// Whether the scope of its place is its own: it is made when something below asks for it, which
    /// nothing does of most spans.
    pub(super) has_own_scope: bool,
}

impl Open {
    /// What is handed down to whatever is below it.
    fn scope_below(&mut self, protector: &AttributeProtector) -> Option<Arc<Scope>> {
        if self.callsite.hands_down && !self.has_own_scope {
            let scope = Scope::below(self.place.scope.take());
            scope.take(protector, self.callsite, &self.fields);
            self.place.scope = Some(Arc::new(scope));
            self.has_own_scope = true;
        }
        self.place.scope.clone()
    }

    /// Takes values that were recorded late; what hands them down, if something below asked for it.
    pub(super) fn merge(&mut self, fields: &Fields) -> Option<Arc<Scope>> {
        self.fields.merge(fields);
        if self.has_own_scope { self.place.scope.clone() } else { None }
    }

    /// What it has now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { callsite: self.callsite, fields: self.fields.clone() }
    }
}

/// A captured span as it was at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    callsite: &'static Callsite,
    fields: Fields,
}

impl Snapshot {
    /// Appends it as a `LogRecord`.
    pub(super) fn write(&self, writer: Writer<'_>, place: &Place, out: &mut Vec<u8>) {
        let name = self.callsite.name;
        writer.log(self.callsite, &self.fields, place, (now_ns(), name), out);
    }
}

/// Where a span or an event stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) trace_id: TraceId,
    /// The nearest captured span above; zeros when there is none.
    pub(super) parent_id: SpanId,
    /// That span's id in the registry.
    pub(super) parent: Option<u64>,
    /// What is handed down to it.
    pub(super) scope: Option<Arc<Scope>>,
}

/// What is known of a span of the registry.
#[derive(Debug)]
pub(super) enum Slot {
    Open(Box<Open>),
    /// A root that is not captured but has captured spans or events below it, which are one trace.
    Root(TraceId),
}

type Shard = Mutex<HashMap<u64, Slot, BuildHasherDefault<IdHasher>>>;

/// All of them.
#[derive(Debug)]
pub(super) struct OpenSpans {
    shards: Vec<Shard>,
    counters: Box<[AtomicU32; COUNTERS]>,
    roots: AtomicU32,
}

impl OpenSpans {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            counters: Box::new([const { AtomicU32::new(0) }; COUNTERS]),
            roots: AtomicU32::new(0),
        }
    }

    /// Whether it may be one of ours; `false` is sure. A few instructions: this is all that spans
    /// which are not captured pay when they end.
    #[inline]
    pub(super) fn may_have(&self, id: u64) -> bool {
        // Whoever ends a span has been told of its beginning, so relaxed is enough.
        self.counter(id).is_some_and(|count| count.load(Ordering::Relaxed) != 0)
    }

    pub(super) fn insert(&self, id: u64, slot: Slot) {
        if let Some(old) = self.with(id, |shard| shard.insert(id, slot)) {
            drop(old);
        } else if let Some(count) = self.counter(id) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, id: u64) -> Option<Slot> {
        let slot = self.with(id, |shard| shard.remove(&id))?;
        if matches!(slot, Slot::Root(_)) {
            self.roots.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(count) = self.counter(id) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        Some(slot)
    }

    /// Calls `work` with a captured span, under its shard's lock: nothing of anybody else may be
    /// called in it.
    pub(super) fn open<T>(&self, id: u64, work: impl FnOnce(&mut Open) -> T) -> Option<T> {
        if !self.may_have(id) {
            return None;
        }
        self.with(id, |shard| match shard.get_mut(&id) {
            Some(Slot::Open(open)) => Some(work(open)),
            _ => None,
        })
    }

    /// Where something directly below that span stands; `None` when the span is not known here.
    pub(super) fn below(&self, id: u64, protector: &AttributeProtector) -> Option<Place> {
        if !self.may_have(id) {
            return None;
        }
        self.with(id, |shard| match shard.get_mut(&id)? {
            Slot::Open(open) => Some(Place {
                trace_id: open.place.trace_id,
                parent_id: open.span_id,
                parent: Some(id),
                scope: open.scope_below(protector),
            }),
            Slot::Root(trace_id) => Some(Place { trace_id: *trace_id, ..Place::default() }),
        })
    }

    /// The trace of a root that is not captured.
    pub(super) fn root(&self, id: u64, new: TraceId) -> TraceId {
        let (trace_id, is_new) = self.with(id, |shard| match shard.get(&id) {
            Some(Slot::Root(trace_id)) => (*trace_id, false),
            Some(Slot::Open(open)) => (open.place.trace_id, false),
            None if self.roots.load(Ordering::Relaxed) < MAX_ROOTS => {
                shard.insert(id, Slot::Root(new));
                (new, true)
            }
            None => (new, false),
        });
        if is_new {
            self.roots.fetch_add(1, Ordering::Relaxed);
            if let Some(count) = self.counter(id) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        trace_id
    }

    /// Takes out all that have not ended.
    pub(super) fn take_all(&self) -> Vec<Open> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let slots = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for (id, slot) in slots {
                if let Some(count) = self.counter(id) {
                    count.fetch_sub(1, Ordering::Relaxed);
                }
                match slot {
                    Slot::Open(open) => all.push(*open),
                    Slot::Root(_) => drop(self.roots.fetch_sub(1, Ordering::Relaxed)),
                }
            }
        }
        all.sort_by_key(|open| open.start_ns);
        all
    }

    fn with<T>(
        &self,
        id: u64,
        work: impl FnOnce(&mut HashMap<u64, Slot, BuildHasherDefault<IdHasher>>) -> T,
    ) -> T {
        // Never empty; a map of its own stands in so that nothing can panic here.
        match self.shards.get(mix(id) % SHARDS) {
            Some(shard) => work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)),
            None => work(&mut HashMap::default()),
        }
    }

    #[inline]
    fn counter(&self, id: u64) -> Option<&AtomicU32> {
        self.counters.get(mix(id) % COUNTERS)
    }
}

/// Ids of the registry are places in its slabs: their low bits differ little.
#[inline]
fn mix(id: u64) -> usize {
    let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    usize::try_from(mixed).unwrap_or(0)
}

/// A hash for keys that nobody outside chooses.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_whose_end_nobody_tells_do_not_fill_the_memory() {
        let spans = OpenSpans::new();
        let most = u64::from(MAX_ROOTS);
        for id in 0..most + 1000 {
            spans.root(id, [1; 16]);
        }
        let protector = AttributeProtector::new(true, &[]).unwrap();
        let known = |id| spans.below(id, &protector).is_some();
        assert!(known(most - 1) && !known(most + 1));
        assert!(spans.remove(0).is_some());
        spans.root(most + 1, [2; 16]);
        assert!(known(most + 1), "there is room again");
    }

    #[test]
    fn what_is_not_there_is_told_without_a_lock_and_counts_come_back_to_nothing() {
        let spans = OpenSpans::new();
        assert!((0..10_000).all(|id| !spans.may_have(id)));
        for id in 0..10_000 {
            assert_eq!(spans.root(id, [7; 16]), [7; 16]);
            assert_eq!(spans.root(id, [8; 16]), [7; 16], "the first trace stays");
        }
        assert!((0..10_000).all(|id| spans.may_have(id)));
        for id in 0..5_000 {
            assert!(spans.remove(id).is_some() && spans.remove(id).is_none());
        }
        assert!(spans.take_all().is_empty(), "roots that are not captured are not told");
        assert!((0..10_000).all(|id| !spans.may_have(id)));
    }
}
