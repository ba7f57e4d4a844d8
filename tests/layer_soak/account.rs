//! What was closed against what is in the ledger.

use crate::agent::{CLOSE_BYTES, THREADS, closed_folder};
use serde::Deserialize;
use spanledger::ledger::Reader;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Entries among which the ledger knows one again, unless it is told otherwise.
const WINDOW: u64 = 1 << 20;

/// An entry, as far as it matters here.
#[derive(Deserialize)]
struct Body {
    /// Absent where the receiver says something itself: that it refused half a request, say.
    #[serde(default)]
    service: Service,
    audit: Audit,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    instance_id: String,
}

#[derive(Deserialize)]
struct Audit {
    kind: String,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(rename = "spanledger.number")]
    number: Option<u64>,
    #[serde(rename = "soak.thread")]
    thread: Option<u64>,
    #[serde(rename = "soak.n")]
    n: Option<usize>,
    /// Whose records are missing.
    #[serde(rename = "spanledger.instance.id")]
    of: Option<String>,
    #[serde(rename = "spanledger.gap.first")]
    first: Option<u64>,
    #[serde(rename = "spanledger.gap.last")]
    last: Option<u64>,
    #[serde(rename = "spanledger.instance.last")]
    ended: Option<u64>,
}

/// What the ledger has of one instance.
#[derive(Default)]
struct Instance {
    /// Numbers of entries.
    numbers: Vec<u64>,
    /// Of each thread: the number that its n-th span had; 0 where there is no entry.
    found: [Vec<u64>; THREADS],
    gaps: Vec<RangeInclusive<u64>>,
    /// Everything from there on may be missing: it was killed.
    open_from: Option<u64>,
    /// Entries that tell so.
    ends_told: usize,
    /// Its goodbye.
    ended: Option<u64>,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    /// Closes that returned.
    pub(crate) closed: u64,
    pub(crate) instances: u64,
    /// Entries of spans, those included whose close had not returned when the agent was killed.
    pub(crate) entries: u64,
    /// Spans whose close returned and that a gap entry covers.
    pub(crate) told: u64,
    /// Numbers inside of what is known that have no entry, and a gap entry.
    pub(crate) in_gaps: u64,
    /// The longest time between a close that returned and the kill that lost its span.
    pub(crate) oldest_told_ns: u64,
    /// Frames of entries that an agent sent again after more entries than the ledger looks back.
    pub(crate) again: u64,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { closed, instances, entries, told, in_gaps, oldest_told_ns, again } = self;
        write!(
            f,
            "{closed} closes returned in {instances} instances: {entries} entries of spans, {told} \
             told as a gap ({in_gaps} of them between others), the oldest {} µs before its kill; {again} \
             frames again beyond the window of duplicates",
            oldest_told_ns / 1000
        )
    }
}

/// What is in the ledger of the receiver, read on as it grows.
pub(crate) struct Ledger {
    folder: PathBuf,
    next: u64,
    /// Where each id stood first.
    ids: HashMap<[u8; 16], u64>,
    /// Frames whose id one before the window of duplicates has.
    again: u64,
    instances: BTreeMap<String, Instance>,
}

impl Ledger {
    /// The ledger of a receiver in that folder.
    pub(crate) fn new(data: &Path) -> Self {
        let folder = data.join("ledger");
        Self { folder, next: 0, ids: HashMap::new(), again: 0, instances: BTreeMap::new() }
    }

    /// Reads what is new.
    pub(crate) fn read_on(&mut self) {
        let mut scan = Reader::open(&self.folder).unwrap().scan_once(self.next);
        while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
            for entry in chunk.entries() {
                let first = *self.ids.entry(entry.id.0).or_insert(entry.sequence);
                if first != entry.sequence {
                    // Longer ago than the ledger remembers: readers keep the first.
                    let ago = entry.sequence - first;
                    assert!(ago >= WINDOW, "an entry is there twice, {ago} entries apart");
                    self.again += 1;
                    continue;
                }
                let body = serde_json::from_slice(entry.body);
                let body: Body = body.unwrap_or_else(|error| {
                    panic!("{error}: {}", String::from_utf8_lossy(entry.body));
                });
                let of = body.attributes.of.as_ref().unwrap_or(&body.service.instance_id);
                self.instances.entry(of.clone()).or_default().add(&body);
            }
            self.next = chunk.next_sequence();
        }
    }

    /// Whether a gap entry says that this instance ended without goodbye.
    pub(crate) fn tells_the_end_of(&self, instance: &str) -> bool {
        self.instances.get(instance).is_some_and(|it| it.open_from.is_some())
    }

    /// Settles it with what the agents wrote into that folder. `killed` has the instances that were
    /// killed, and when.
    pub(crate) fn settle(mut self, folder: &Path, killed: &BTreeMap<String, u64>) -> Sum {
        self.read_on();
        let mut sum = Sum { again: self.again, ..Sum::default() };
        for entry in fs::read_dir(folder.join("closed")).unwrap() {
            let id = entry.unwrap().file_name().into_string().unwrap();
            let instance = self.instances.get(&id).unwrap_or_else(|| panic!("{id} is unknown"));
            instance.settle(&id, folder, killed.get(&id).copied(), &mut sum);
        }
        sum
    }
}

impl Instance {
    fn add(&mut self, body: &Body) {
        let has = &body.attributes;
        if let (Some(thread), Some(n), Some(number)) = (has.thread, has.n, has.number) {
            let thread = &mut self.found[usize::try_from(thread).unwrap()];
            thread.resize(thread.len().max(n + 1), 0);
            thread[n] = number;
            self.numbers.push(number);
        }
        if body.audit.kind == "gap" {
            let first = has.first.expect("a gap says where it begins");
            if let Some(last) = has.last {
                self.gaps.push(first..=last);
            } else {
                self.ends_told += 1;
                self.open_from = Some(first);
            }
        }
        self.ended = self.ended.or(has.ended);
    }

    fn is_told(&self, numbers: RangeInclusive<u64>) -> bool {
        let open = self.open_from.is_some_and(|from| from <= *numbers.end());
        let overlaps = |gap: &RangeInclusive<u64>| {
            gap.start() <= numbers.end() && numbers.start() <= gap.end()
        };
        !numbers.is_empty() && (open || self.gaps.iter().any(overlaps))
    }

    fn settle(&self, id: &str, folder: &Path, killed_ns: Option<u64>, sum: &mut Sum) {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        let twice = numbers.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(twice, None, "a number of {id} is there twice");
        // However many of those that told it were killed meanwhile.
        assert!(self.ends_told <= 1, "the end of {id} is told {} times", self.ends_told);
        // Each number that is known of is an entry, or told.
        let known = match (killed_ns, self.open_from, self.ended) {
            (Some(_), Some(from), None) => from - 1,
            (None, None, Some(last)) => last,
            other => panic!("the end of {id} is not told as it was: {other:?}"),
        };
        let mut next = 1;
        for number in numbers.iter().copied().chain([known + 1]) {
            for missing in next..number.min(known + 1) {
                assert!(self.is_told(missing..=missing), "{missing} of {id} is nowhere");
                sum.in_gaps += 1;
            }
            next = number + 1;
        }
        for (thread, found) in self.found.iter().enumerate() {
            let path = closed_folder(folder, id).join(thread.to_string());
            let closes = fs::read(path).unwrap_or_default();
            let (closes, _) = closes.as_chunks::<CLOSE_BYTES>();
            let mut before = 0;
            for (n, close) in closes.iter().enumerate() {
                match found.get(n) {
                    Some(number) if *number > 0 => before = *number,
                    _ => {
                        // The numbers of a thread grow: this one's lies between its neighbours'.
                        let later = found.iter().skip(n).find(|number| **number > 0);
                        let until = later.map_or(u64::MAX, |number| number - 1);
                        assert!(
                            self.is_told(before + 1..=until),
                            "span {n} of thread {thread} of {id} is nowhere: it has a number from \
                             {} to {until}, and {} is the first that is told as open",
                            before + 1,
                            self.open_from.unwrap_or_default(),
                        );
                        sum.told += 1;
                        let age = killed_ns.unwrap_or(0).saturating_sub(u64::from_le_bytes(*close));
                        sum.oldest_told_ns = sum.oldest_told_ns.max(age);
                    }
                }
            }
            sum.closed += closes.len() as u64;
        }
        sum.entries += numbers.len() as u64;
        sum.instances += 1;
    }
}
