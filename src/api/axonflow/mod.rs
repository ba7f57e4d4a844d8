//! AxonFlow's API, as its published clients call it.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`AxonflowCalls`]: what the writing calls need; bounds |
//! | `calls.rs` | the routes of the writing calls |
//! | `take.rs` | one call, from what was sent to the answer that may be released |
//! | `lifecycle.rs` | calls that are answered here |
//! | `workflows.rs`, `audit.rs`, `decisions.rs` | the routes that read |
//! | `state.rs` | a workflow as its entries tell it |
//! | `found.rs` | entries as these answers read them |
//! | `answer.rs`, `body.rs` | the shapes of answers; bodies of requests |
//! | `health.rs` | `GET /health` |
//!
//! What a call becomes is `receiver::axonflow`'s; here are its routes, who may use them, and what
//! is read back. Everything that is read is read from entries, whoever sent them: a workflow that
//! only spans tell of is listed beside one that a client reported.

mod answer;
mod audit;
mod body;
mod calls;
mod decisions;
mod found;
mod health;
mod lifecycle;
mod state;
mod take;
mod workflows;

pub use answer::{
    PendingAnswer, PendingApproval, StepAnswer, UngatedStep, WorkflowAnswer, WorkflowsAnswer,
};
pub use audit::{AuditAnswer, AuditSearch};
pub use decisions::{DecisionSummary, DecisionsAnswer};
pub use health::PlatformHealth;

// The handlers, and what describes them, for the table of routes and the OpenAPI document.
pub(super) use audit::*;
pub(super) use calls::*;
pub(super) use decisions::*;
pub(super) use health::*;
pub(super) use workflows::*;

use super::load::{Limit, Load};
use super::problem::Problem;
use crate::access::Tenant;
use crate::intake::{Intake, RefusedRequest, Whose};
use crate::receiver::axonflow::{Known, KnownWorkflows, Upstream};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, MutexGuard, Semaphore};

/// Most entries that are looked at for a list of workflows or of what waits, and the largest
/// `offset`: tens of megabytes at once. Beyond it the answer says that it is not whole.
pub(super) const MAX_LISTED_ENTRIES: usize = 5_000;

/// Most entries of one workflow that are looked at: a workflow has two or three entries a step.
pub(super) const MAX_WORKFLOW_ENTRIES: usize = 2_000;

/// Entries up to which `total` of a search is exact on its first pages: counting reads them.
pub(super) const COUNTED_ENTRIES: usize = 1_000;

/// Locks that keep two ends of one workflow apart; two workflows seldom share one.
const TURNS: usize = 64;

/// Largest body that is forwarded, bytes: what asks for a decision is a question about a step, and
/// with its answer it has to fit into an entry.
pub(super) const MAX_FORWARDED_BYTES: usize = 1024 * 1024;

/// Bytes of a call up to which it is read and converted where it was received: a few hundred
/// microseconds. More would delay the other requests of that thread.
const INLINE_BYTES: usize = 1024 * 1024;

/// Answered calls that may be on their way into the record, beside those that wait for the
/// upstream; more are asked to come again (503). Each holds its request and its answer in memory.
const RECORDING: usize = 64;

/// What the writing calls need: the way in, the engine that decides if there is one, and what is
/// known of workflows.
#[derive(Debug)]
pub struct AxonflowCalls {
    intake: Intake,
    upstream: Option<Upstream>,
    known: KnownWorkflows,
    turns: Vec<Mutex<()>>,
    /// One for each call that is forwarded, until it is on record.
    places: Semaphore,
    most: u32,
    /// One for each large call that is read or converted.
    conversions: Semaphore,
}

impl AxonflowCalls {
    /// Calls that are recorded by that intake, and decided by that upstream, if by any.
    pub fn new(intake: Intake, upstream: Option<Upstream>) -> Self {
        let turns = std::iter::repeat_with(Mutex::default).take(TURNS).collect();
        let in_flight = upstream.as_ref().map_or(0, Upstream::in_flight);
        let most = u32::try_from(in_flight.saturating_add(RECORDING)).unwrap_or(u32::MAX);
        let places = Semaphore::new(usize::try_from(most).unwrap_or(RECORDING));
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let conversions = Semaphore::new(processors);
        let known = KnownWorkflows::default();
        Self { intake, upstream, known, turns, places, most, conversions }
    }

    /// Puts on record that a call was refused before it was read. At most some of a tenant's, or of a
    /// stranger's address, have entries of their own; those say for how many they stand.
    pub(super) fn refused(
        &self,
        path: &'static str,
        problem: &Problem,
        tenant: Option<&Tenant>,
        peer: Option<IpAddr>,
    ) {
        let refused = RefusedRequest::new(path, problem.status, problem.detail.clone(), peer);
        self.intake.reject(tenant.map_or(Whose::Stranger, Whose::Tenant), refused);
    }

    /// Does work over so many bytes: from [`INLINE_BYTES`] on away from the thread's other tasks, as
    /// many at once as there are processors. A runtime of one thread has nowhere else to do it.
    async fn work<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> T {
        let is_small = bytes <= INLINE_BYTES;
        if is_small || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return work();
        }
        // Nobody closes it, so there is always a turn.
        let _turn = self.conversions.acquire().await;
        tokio::task::block_in_place(work)
    }

    /// Remembers what is known of a workflow.
    fn remember(&self, load: &Load, tenant: &Tenant, known: Known) {
        if self.known.put(tenant, known) {
            load.hit(Limit::KnownWorkflows);
        }
    }

    /// Forwards nothing more, and waits until what was forwarded is on record; `false` when that
    /// took longer than `patience`. Before the ledger is closed, so that no decision is lost.
    pub async fn end(&self, patience: Duration) -> bool {
        let all = self.places.acquire_many(self.most);
        let ended = tokio::time::timeout(patience, all).await;
        // Whoever comes later finds no place.
        self.places.close();
        matches!(ended, Ok(Ok(_)))
    }

    /// How long [`end`](Self::end) may have to wait for the upstream; nothing where there is none.
    pub fn longest_answer(&self) -> Option<Duration> {
        self.upstream.as_ref().map(Upstream::timeout)
    }

    /// The turn of whoever ends a workflow; `None` only if there were no locks at all.
    async fn turn(&self, tenant: &Tenant, id: &str) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        (tenant, id).hash(&mut hasher);
        let count = u64::try_from(self.turns.len()).ok()?;
        let at = usize::try_from(hasher.finish().checked_rem(count)?).ok()?;
        Some(self.turns.get(at)?.lock().await)
    }
}

/// Nobody said anything of that workflow, or not to this tenant.
fn no_such_workflow() -> Problem {
    Problem::not_found("No workflow has this id. POST /api/v1/workflows begins one.")
}
