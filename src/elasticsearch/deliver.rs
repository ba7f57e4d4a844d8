//! One bulk from its first attempt to the end of its last entry: delivered, there already, or a
//! dead letter. Nothing else ends it but the end of the program.

use super::bulk::{Item, Part};
use super::dead_letters::DeadLetters;
use super::document::data_stream;
use super::exporter::ExporterOptions;
use super::gate::Gate;
use super::identity::{Identity, ensure_cluster};
use super::letter::{DeadLetter, Resolved};
use super::lookup::look_up;
use super::outcome::{self, Answer, Outcome, Problem, Rejection};
use super::pace::Pace;
use super::status::{ExporterState, ExporterStatus, add, locked};
use super::streams::ensure_stream;
use super::transport::Transport;
use super::window::Window;
use crate::export::Backoff;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a single entry is refused with 400 before it becomes a dead letter although nothing
/// else was accepted meanwhile, which would show that the fault is the entry's.
const LONELY_REFUSALS: u32 = 8;

/// What all bulks of an exporter share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) transport: T,
    pub(super) options: ExporterOptions,
    pub(super) status: Arc<ExporterStatus>,
    pub(super) dead: Arc<DeadLetters>,
    pub(super) gate: Gate,
    pub(super) window: Window,
    /// Memory of bulks that are done with.
    pub(super) spare: Mutex<Vec<Vec<u8>>>,
    /// Whether the cluster knows the parameter that keeps it from making a plain index.
    pub(super) require_data_stream: AtomicBool,
    /// Classes whose stream was seen, where the cluster does not know that parameter.
    pub(super) streams: Mutex<BTreeSet<u8>>,
    /// Bulk requests that were answered item by item.
    pub(super) accepted: AtomicU64,
    /// Whether a bulk was given up because of a defect: the cursor stays before it for good.
    pub(super) broken: AtomicBool,
    /// Which cluster the cursor means.
    pub(super) identity: Arc<Identity>,
}

impl<T: Transport> Shared<T> {
    /// For the ledger with that random number.
    pub(super) fn new(
        transport: T,
        options: ExporterOptions,
        dead: Arc<DeadLetters>,
        ledger: [u8; 16],
    ) -> Self {
        let status = Arc::new(ExporterStatus::default());
        let pace = Pace::new(options.max_in_flight, options.max_bytes);
        let backoff = Backoff::new(options.retry.0, options.retry.1);
        Self {
            transport,
            gate: Gate::new(pace, backoff, status.clone()),
            status,
            dead,
            window: Window::default(),
            spare: Mutex::new(Vec::new()),
            require_data_stream: AtomicBool::new(options.require_data_stream),
            streams: Mutex::new(BTreeSet::new()),
            accepted: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            identity: Arc::new(Identity::new(&options.cursors, &options.name, ledger)),
            options,
        }
    }
}

/// What holds a bulk up, as its part of the exporter's state.
#[derive(Debug)]
pub(super) struct Held {
    status: Arc<ExporterStatus>,
    state: ExporterState,
}

impl Held {
    pub(super) fn new(status: &Arc<ExporterStatus>) -> Self {
        Self { status: status.clone(), state: ExporterState::Running }
    }

    pub(super) fn set(&mut self, problem: Problem, error: &str) {
        self.change(ExporterState::HeldUp(problem), Some(error));
    }

    fn change(&mut self, to: ExporterState, error: Option<&str>) {
        if to != self.state && to != ExporterState::Running {
            tracing::debug!(state = to.as_str(), error, "a bulk is held up; it is tried again");
        }
        self.status.change(self.state, to, error);
        self.state = to;
    }

    fn clear(&mut self) {
        self.change(ExporterState::Running, None);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Some entries that are not delivered yet.
#[derive(Debug)]
struct Job {
    part: Part,
    /// Whether they may be there all the same.
    in_doubt: bool,
    /// [`Shared::accepted`] when the request with them was refused first.
    refused_at: Option<u64>,
    refusals: u32,
    first_attempt_ns: u64,
    attempts: u32,
}

/// A part was lost to a defect of the program, not to the cluster.
struct Lost;

/// Brings a part to its end. `bulk` is its number in the window; `None` when it has none. When the
/// part is lost, nothing of it counts as done with, and [`Shared::broken`] says so.
pub(super) async fn deliver<T: Transport>(
    shared: Arc<Shared<T>>,
    part: Part,
    in_doubt: bool,
    bulk: Option<u64>,
) {
    Delivery::new(shared, part, in_doubt, bulk).run().await;
}

struct Delivery<T> {
    shared: Arc<Shared<T>>,
    /// Entries that were neither delivered nor made a dead letter.
    left: usize,
    jobs: VecDeque<Job>,
    held: Held,
    backoff: Backoff,
    bulk: Option<u64>,
}

impl<T: Transport> Delivery<T> {
    fn new(shared: Arc<Shared<T>>, part: Part, in_doubt: bool, bulk: Option<u64>) -> Self {
        let (left, first_attempt_ns) = (part.items().len(), now_ns());
        let job =
            Job { part, in_doubt, refused_at: None, refusals: 0, first_attempt_ns, attempts: 0 };
        Self {
            left,
            held: Held::new(&shared.status),
            backoff: Backoff::new(shared.options.retry.0, shared.options.retry.1),
            jobs: VecDeque::from([job]),
            bulk,
            shared,
        }
    }

    async fn run(mut self) {
        while let Some(job) = self.jobs.pop_front() {
            if self.step(job).await.and_then(|()| self.note_progress()).is_err() {
                return self.shared.broken.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn step(&mut self, mut job: Job) -> Result<(), Lost> {
        if job.in_doubt {
            self.resolve_doubt(&mut job).await;
        }
        if job.part.items().is_empty() {
            self.recycle(job);
            return Ok(());
        }
        if job.attempts > 0 && self.is_above_pace(&job) {
            // A cluster bounds the bytes that it works on at once (indexing pressure): what is larger
            // alone is refused, as a whole or document by document, however long one waits.
            self.split(job);
            return Ok(());
        }
        ensure_cluster(&self.shared, &mut self.held).await;
        // Read once: another bulk may find out in between that the cluster does not know it.
        let guarded = self.shared.require_data_stream.load(Ordering::Relaxed);
        if !guarded {
            let classes: BTreeSet<u8> = job.part.items().iter().map(|item| item.class).collect();
            for class in classes {
                ensure_stream(&self.shared, class, &mut self.held).await;
            }
        }
        let answer = self.send(&mut job, guarded).await?;
        job.attempts = job.attempts.saturating_add(1);
        match answer {
            Answer::Items(outcomes) => self.apply(job, outcomes).await?,
            Answer::Later(problem, said) => self.put_back(job, problem, &said),
            Answer::InDoubt(said) => {
                add(&self.shared.status.in_doubt, 1);
                job.in_doubt = true;
                self.put_back(job, Problem::Unavailable, &said);
            }
            Answer::Halve(rejection) => self.halve(job, rejection).await?,
            Answer::TooLarge => self.too_large(job).await,
            Answer::UnknownParameter => {
                if self.shared.require_data_stream.swap(false, Ordering::Relaxed) {
                    tracing::info!("the cluster does not know require_data_stream; looking first");
                }
                self.jobs.push_front(job);
            }
        }
        Ok(())
    }

    /// Takes out what is there already.
    async fn resolve_doubt(&mut self, job: &mut Job) {
        let entries: Vec<_> = job.part.items().iter().map(|item| (item.class, item.id)).collect();
        let found = look_up(&self.shared, entries.into_iter(), &mut self.held).await;
        let (mut done, mut unresolved, mut sequences) = (0_usize, 0_usize, Vec::new());
        job.part.retain(|_, item| {
            let is_there = found.there.contains(&item.id);
            if is_there {
                done = done.saturating_add(1);
                sequences.push(item.sequence);
            } else if found.unreadable.contains(&item.class) {
                unresolved = unresolved.saturating_add(1);
            }
            !is_there
        });
        add(&self.shared.status.already_there, done);
        add(&self.shared.status.found_by_lookup, done);
        add(&self.shared.status.unresolved, unresolved);
        self.done_with(done);
        self.resolve_letters(sequences).await;
        job.in_doubt = false;
    }

    /// Sends a job.
    async fn send(&mut self, job: &mut Job, guarded: bool) -> Result<Answer, Lost> {
        let shared = self.shared.clone();
        if job.part.wire().is_none() {
            // Compressing a few MB takes tens of milliseconds: not on a thread that others need.
            let mut part = std::mem::take(&mut job.part);
            let gzip = shared.options.gzip;
            let made = tokio::task::spawn_blocking(move || {
                part.make_wire(gzip);
                part
            });
            // The part went with a thread that panicked, or the runtime ends.
            job.part = made.await.map_err(|_| Lost)?;
        }
        let request = job.part.request(guarded, shared.options.timeout).ok_or(Lost)?;
        let wire = job.part.wire().map_or(0, |wire| wire.bytes.len());
        let ticket = shared.gate.enter().await;
        add(&shared.status.requests, 1);
        add(&shared.status.bytes_sent, wire);
        add(&shared.status.bytes_before_compression, job.part.bytes());
        let since = Instant::now();
        let result = shared.transport.send(request).await;
        shared.status.latency.note(since.elapsed());
        if result.is_err() {
            shared.identity.doubt();
        }
        let (answer, retry_after) = match &result {
            Ok(reply) => (outcome::of_reply(reply, job.part.items().len()), reply.retry_after),
            Err(error) => (outcome::of_send_error(error), None),
        };
        let answer = match answer {
            // It was not among ours: whatever answers, it did not read the request.
            Answer::UnknownParameter if !guarded => Answer::Later(
                Problem::Refused,
                "the cluster refuses a parameter that was not sent".to_owned(),
            ),
            answer => answer,
        };
        match &answer {
            Answer::Items(outcomes) => {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let busy = Outcome::Retry { problem: Problem::Busy, in_doubt: false };
                ticket.answered(outcomes.contains(&busy));
            }
            Answer::Later(problem, _) => ticket.failed(*problem, retry_after),
            Answer::InDoubt(_) => ticket.failed(Problem::Unavailable, retry_after),
            Answer::Halve(_) | Answer::TooLarge | Answer::UnknownParameter => {
                ticket.answered(false);
            }
        }
        Ok(answer)
    }

    fn done_with(&mut self, entries: usize) {
        self.left = self.left.saturating_sub(entries);
    }

    /// Whether requests have become smaller since this one was made.
    fn is_above_pace(&self, job: &Job) -> bool {
        job.part.items().len() > 1 && job.part.bytes() > self.shared.gate.bytes()
    }

    fn put_back(&mut self, job: Job, problem: Problem, said: &str) {
        add(&self.shared.status.retried, job.part.items().len());
        self.held.set(problem, said);
        self.jobs.push_front(job);
    }

    /// Goes through the outcomes of all items.
    async fn apply(&mut self, mut job: Job, outcomes: Vec<Outcome>) -> Result<(), Lost> {
        let (mut created, mut there) = (0_usize, 0_usize);
        let (mut again, mut in_doubt) = (None, false);
        let (mut letters, mut done) = (Vec::new(), Vec::new());
        let has_letters = !self.shared.dead.is_empty();
        for (item, outcome) in job.part.items().iter().zip(&outcomes) {
            match outcome {
                Outcome::Created => created = created.saturating_add(1),
                Outcome::AlreadyThere => there = there.saturating_add(1),
                Outcome::Retry { problem, in_doubt: doubt } => {
                    again = again.max(Some(*problem));
                    in_doubt |= doubt;
                }
                Outcome::Rejected(rejection) => letters.push(letter(item, rejection, &job)),
            }
            if has_letters && matches!(outcome, Outcome::Created | Outcome::AlreadyThere) {
                done.push(item.sequence);
            }
        }
        add(&self.shared.status.delivered, created);
        add(&self.shared.status.already_there, there);
        self.resolve_letters(done).await;
        let finished = created.saturating_add(there).saturating_add(letters.len());
        // Before anything counts as done with.
        self.write_letters(letters).await;
        self.done_with(finished);
        job.part
            .retain(|position, _| matches!(outcomes.get(position), Some(Outcome::Retry { .. })));
        let Some(problem) = again else {
            self.held.clear();
            self.backoff.reset();
            self.recycle(job);
            return Ok(());
        };
        job.in_doubt = in_doubt;
        let left = job.part.items().len();
        let said = format!("{left} documents of a bulk were not taken for now");
        self.put_back(job, problem, &said);
        self.note_progress()?;
        tokio::time::sleep(self.backoff.next_wait()).await;
        Ok(())
    }

    /// The cluster refused the request as a whole: finds the entry.
    async fn halve(&mut self, mut job: Job, rejection: Rejection) -> Result<(), Lost> {
        let accepted = self.shared.accepted.load(Ordering::Relaxed);
        let refused_at = *job.refused_at.get_or_insert(accepted);
        if job.part.items().len() > 1 {
            self.split(job);
            return Ok(());
        }
        job.refusals = job.refusals.saturating_add(1);
        // Something was accepted since: it is not every request that is refused.
        let others_pass = accepted > refused_at;
        if others_pass || (accepted > 0 && job.refusals >= LONELY_REFUSALS) {
            self.reject(job, rejection).await;
            return Ok(());
        }
        self.held
            .set(Problem::Refused, &format!("the cluster answered 400 {}", rejection.error_type));
        add(&self.shared.status.retried, 1);
        self.jobs.push_back(job);
        self.note_progress()?;
        tokio::time::sleep(self.backoff.next_wait()).await;
        Ok(())
    }

    async fn too_large(&mut self, job: Job) {
        self.shared.gate.too_large(job.part.bytes());
        if job.part.items().len() > 1 {
            return self.split(job);
        }
        let reason = format!("the document alone is too large: {} bytes", job.part.bytes());
        self.reject(job, Rejection::new(413, "request_too_large", &reason)).await;
    }

    fn split(&mut self, job: Job) {
        add(&self.shared.status.halved, 1);
        let Job { part, in_doubt, refused_at, refusals, first_attempt_ns, attempts } = job;
        let make = |part| Job { part, in_doubt, refused_at, refusals, first_attempt_ns, attempts };
        let (first, second) = part.split();
        if let Some(second) = second {
            self.jobs.push_front(make(second));
        }
        self.jobs.push_front(make(first));
    }

    /// Makes the one entry of a job a dead letter.
    async fn reject(&mut self, job: Job, rejection: Rejection) {
        let letters: Vec<DeadLetter> =
            job.part.items().iter().map(|item| letter(item, &rejection, &job)).collect();
        let count = letters.len();
        self.write_letters(letters).await;
        self.done_with(count);
        self.held.clear();
        self.recycle(job);
    }

    /// Makes letters durable, however long that takes.
    async fn write_letters(&mut self, letters: Vec<DeadLetter>) {
        while !letters.is_empty() {
            let (dead, copy) = (self.shared.dead.clone(), letters.clone());
            let written = tokio::task::spawn_blocking(move || dead.append(copy)).await;
            let error = match written {
                Ok(Ok(())) => {
                    for letter in &letters {
                        self.shared.status.note_dead_letter(&letter.error_type);
                    }
                    return self.held.clear();
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the task that writes dead letters ended".to_owned(),
            };
            self.held.change(ExporterState::DeadLettersStuck, Some(&error));
            tokio::time::sleep(self.backoff.next_wait()).await;
        }
    }

    /// Closes the letters of entries that are delivered after all.
    async fn resolve_letters(&mut self, sequences: Vec<u64>) {
        if sequences.is_empty() || self.shared.dead.is_empty() {
            return;
        }
        let dead = self.shared.dead.clone();
        let resolve = move || dead.resolve(&sequences, Resolved::Delivered, now_ns());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(resolve).await {
            // The letter stays open, which loses nothing; a replay finds the document.
            tracing::warn!(%error, "cannot mark dead letters as delivered");
        }
    }

    /// Tells the window what is left. Whatever is left must be in a job: else something was lost.
    fn note_progress(&self) -> Result<(), Lost> {
        let parts = || self.jobs.iter().map(|job| &job.part);
        let items = || parts().flat_map(Part::items);
        if items().count() != self.left {
            return Err(Lost);
        }
        let Some(bulk) = self.bulk else { return Ok(()) };
        let (window, status) = (&self.shared.window, &self.shared.status);
        match items().map(|item| item.sequence).min() {
            Some(lowest) => {
                let bytes = parts().map(Part::held_bytes).fold(0, usize::saturating_add);
                window.note(bulk, lowest, bytes, status);
            }
            None => window.done(bulk, status),
        }
        Ok(())
    }

    fn recycle(&self, job: Job) {
        if let Some(memory) = job.part.into_memory() {
            let mut spare = locked(&self.shared.spare);
            if spare.len() < self.shared.options.max_in_flight
                && memory.capacity() <= self.shared.options.max_bytes.saturating_mul(2)
            {
                spare.push(memory);
            }
        }
    }
}

fn letter(item: &Item, rejection: &Rejection, job: &Job) -> DeadLetter {
    DeadLetter {
        sequence: item.sequence,
        id: item.id.to_string(),
        tenant: item.tenant.to_string(),
        data_stream: data_stream(item.class),
        status: rejection.status,
        error_type: rejection.error_type.clone(),
        reason: rejection.reason.clone(),
        first_attempt_ns: job.first_attempt_ns,
        last_attempt_ns: now_ns(),
        attempts: job.attempts,
    }
}

/// The time, in nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since: Duration| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
