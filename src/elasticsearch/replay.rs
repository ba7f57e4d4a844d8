//! What outlives the sink: status, dead letters, and sending them again.

use super::bulk::Filling;
use super::dead_letters::{DeadLetterError, DeadLetters};
use super::deliver::{Shared, deliver};
use super::status::ExporterStatus;
use super::transport::Transport;
use crate::ledger::{ReadError, Reader};
use crate::store::projection::Origin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handle to an exporter. Cheap to clone.
#[derive(Debug)]
pub struct Exporter<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Exporter<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters whose entries are in the data stream now.
    pub delivered: usize,
    /// Letters whose entries were refused again; their attempts went up.
    pub refused: usize,
    /// Sequences that have no open letter, or no entry in the ledger.
    pub unknown: usize,
    /// Letters that the time was too short for; they stay.
    pub left: usize,
}

/// Why a replay ended early. What it did until then counts, and it can be called again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The ledger cannot be read there.
    #[error("cannot read an entry of the ledger; verify it")]
    Read(#[source] Box<ReadError>),
    /// The letters cannot be read.
    #[error(transparent)]
    Letters(#[from] DeadLetterError),
    /// It cannot be noted that they are sent again.
    #[error("cannot note what is sent again; check the disk")]
    Note(#[source] crate::store::StoreError),
    /// The program ends.
    #[error("the program ends; replay after the restart")]
    Ended,
}

impl<T: Transport> Exporter<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Waits at most that long until more than `sequence` entries are delivered or dead letters;
    /// with how many that is so. Before the first entry of this start that is 0.
    pub fn wait_delivered(&self, sequence: u64, most: Duration) -> u64 {
        self.shared.window.wait_beyond(sequence, most)
    }

    /// Plain numbers for metrics.
    pub fn status(&self) -> &Arc<ExporterStatus> {
        &self.shared.status
    }

    /// What could not be delivered.
    pub fn dead_letters(&self) -> &Arc<DeadLetters> {
        &self.shared.dead
    }

    /// Reads the entries of dead letters from the ledger again and sends them. Looks them up
    /// first, so nothing comes twice. While the cluster is not there it tries again until `within`
    /// has passed; what is left then stays, and what was done counts. A key that may read but not
    /// refresh waits for a refresh in front of each bulk: `within` has to be longer than that.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn replay(
        &self,
        reader: &Reader,
        sequences: &[u64],
        within: Duration,
    ) -> Result<Replayed, ReplayError> {
        let time = Time { since: Instant::now(), within };
        let mut replayed = Replayed::default();
        let mut left = sequences.to_vec();
        left.sort_unstable();
        left.dedup();
        while !left.is_empty() && !time.left().is_zero() {
            let (filling, rest, unknown) = self.fill(reader.clone(), left).await?;
            left = rest;
            replayed.unknown = replayed.unknown.saturating_add(unknown);
            self.send(filling, &time, &mut replayed).await?;
        }
        replayed.left = replayed.left.saturating_add(left.len());
        Ok(replayed)
    }

    /// Reads entries until a bulk is full; gives it, the sequences that are left, and how many
    /// were unknown.
    async fn fill(
        &self,
        reader: Reader,
        sequences: Vec<u64>,
    ) -> Result<(Filling, Vec<u64>, usize), ReplayError> {
        let shared = self.shared.clone();
        let read = move || {
            let (mut filling, mut unknown) = (Filling::default(), 0_usize);
            let mut left = sequences.into_iter();
            for sequence in left.by_ref() {
                let entry = if shared.dead.contains(sequence) {
                    reader.get(sequence).map_err(|error| ReplayError::Read(Box::new(error)))?
                } else {
                    None
                };
                match entry {
                    Some(entry) => {
                        filling.push(entry.as_ref(), Origin { name: &shared.options.origin });
                    }
                    None => unknown = unknown.saturating_add(1),
                }
                if filling.bytes() >= shared.gate.bytes()
                    || filling.len() >= shared.options.max_items
                {
                    break;
                }
            }
            Ok((filling, left.collect(), unknown))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| ReplayError::Ended)?
    }

    async fn send(
        &self,
        mut filling: Filling,
        time: &Time,
        replayed: &mut Replayed,
    ) -> Result<(), ReplayError> {
        while !filling.is_empty() {
            let part = filling.take(self.shared.gate.bytes(), Vec::new());
            let sequences: Vec<u64> = part.items().iter().map(|item| item.sequence).collect();
            // Before they are sent: the correlator has passed them, and looks at them again.
            let _sending = match self.shared.options.replays.clone() {
                Some(replays) => {
                    let all = sequences.clone();
                    let noted = tokio::task::spawn_blocking(move || replays.note(all)).await;
                    Some(noted.map_err(|_| ReplayError::Ended)?.map_err(ReplayError::Note)?)
                }
                None => None,
            };
            let delivery = deliver(self.shared.clone(), part, true, None);
            let ended = tokio::time::timeout(time.left(), delivery).await;
            for sequence in sequences {
                let is_open = self.shared.dead.contains(sequence);
                let count = match (is_open, &ended) {
                    (false, _) => &mut replayed.delivered,
                    (true, Ok(())) => &mut replayed.refused,
                    (true, Err(_)) => &mut replayed.left,
                };
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// The time of a replay.
struct Time {
    since: Instant,
    within: Duration,
}

impl Time {
    fn left(&self) -> Duration {
        self.within.saturating_sub(self.since.elapsed())
    }
}
