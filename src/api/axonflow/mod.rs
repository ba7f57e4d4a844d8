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

use super::problem::Problem;
use crate::access::Tenant;
use crate::intake::Intake;
use crate::receiver::axonflow::{KnownWorkflows, Upstream};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::sync::{Mutex, MutexGuard};

/// Most entries that are looked at for a list of workflows or of what waits, and the largest
/// `offset`: tens of megabytes at once. Beyond it the answer says that it is not whole.
pub(super) const MAX_LISTED_ENTRIES: usize = 5_000;

/// Most entries of one workflow that are looked at: a workflow has two or three entries a step.
pub(super) const MAX_WORKFLOW_ENTRIES: usize = 2_000;

/// Entries up to which `total` of a search is exact on its first pages: counting reads them.
pub(super) const COUNTED_ENTRIES: usize = 1_000;

/// Locks that keep two ends of one workflow apart; two workflows seldom share one.
const TURNS: usize = 64;

/// What the writing calls need: the way in, the engine that decides if there is one, and what is
/// known of workflows.
#[derive(Debug)]
pub struct AxonflowCalls {
    intake: Intake,
    upstream: Option<Upstream>,
    known: KnownWorkflows,
    turns: Vec<Mutex<()>>,
}

impl AxonflowCalls {
    /// Calls that are recorded by that intake, and decided by that upstream, if by any.
    pub fn new(intake: Intake, upstream: Option<Upstream>) -> Self {
        let turns = std::iter::repeat_with(Mutex::default).take(TURNS).collect();
        Self { intake, upstream, known: KnownWorkflows::default(), turns }
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
