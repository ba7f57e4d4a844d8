//! What people and programs ask: the HTTP API over the store.
//!
//! | file | holds |
//! |---|---|
//! | `routes.rs` | the table of paths, [`router`] |
//! | `responses.rs` | what several operations answer alike, for the document |
//! | `traces.rs`, `entries.rs` | the story of an id; search, and one entry |
//! | `jobs.rs`, `runs.rs`, `approvals.rs`, `policy_audit.rs` | the five queries of an audit: state and decisions of a job, approvals, timeline, changes of policy |
//! | `case.rs` | all of these joined, for a job or a run |
//! | `own_entries.rs` | entries of the log about itself that explain others, for a bundle |
//! | `proofs.rs` | receipts, bundles of evidence, inclusion and consistency proofs |
//! | `log.rs` | the public log: checkpoint, keys, tiles |
//! | `told.rs` | what those share: ids in paths, a story and what it says |
//! | `answer.rs` | parameters and answers, as the OpenAPI document describes them |
//! | `who.rs` | who asks, and whose evidence he may ask for |
//! | `keys.rs`, `key.rs` | credentials are made, listed, rotated, revoked; how they are shown |
//! | `payloads.rs`, `erasure.rs` | what is sealed beside an entry, opened; a subject's payloads erased |
//! | `dead_letters.rs` | what could not be exported |
//! | `axonflow/` | AxonFlow's API: what its clients report, ask and read |
//! | `probes.rs` | `/`, `/healthz`, `/readyz`, `/metrics` |
//! | `openapi.rs` | the OpenAPI document |
//! | `problem.rs` | [`Problem`]: errors as RFC 9457 problem details |
//! | `health.rs` | [`Health`]: live and ready, told by the parts of the process |
//! | `caller.rs` | who asks, whether he may, and whose evidence he is shown |
//! | `host.rs`, `other_site.rs` | [`HostCheck`]: DNS rebinding ends here; pages of other sites change nothing |
//! | `shares.rs` | places for all, of which one caller gets half |
//! | `load.rs`, `outgoing.rs` | what is refused for its load; memory and time of answers |
//! | `service.rs`, `limits.rs` | what routes share: turns, time, headers; every bound |
//!
//! Questions are worked on by threads of their own, a bounded number at once; the async threads
//! only wait. Every path has a rule in the one table of `routes.rs`: nothing, any credential, or a
//! right. The tenant of a question comes from one place, `Caller::scope`: from the credential, and only
//! for one that reads every tenant's evidence from what is asked.

mod answer;
mod approvals;
mod axonflow;
mod caller;
mod case;
mod dead_letters;
mod entries;
mod erasure;
mod health;
mod host;
mod jobs;
mod key;
mod keys;
mod limits;
mod load;
mod log;
mod openapi;
mod other_site;
mod outgoing;
mod own_entries;
mod payloads;
mod policy_audit;
mod probes;
mod problem;
mod proofs;
mod responses;
mod routes;
mod runs;
mod service;
mod shares;
mod told;
mod traces;
mod who;

pub use answer::*;
pub use approvals::{ApprovalParams, Approvals};
pub use axonflow::{
    AuditAnswer, AuditSearch, AxonflowCalls, DecisionSummary, DecisionsAnswer, PendingAnswer,
    PendingApproval, PlatformHealth, StepAnswer, UngatedStep, WorkflowAnswer, WorkflowsAnswer,
};
pub use case::Case;
pub use dead_letters::{
    DeadLetterBox, DropAnswer, DropRequest, Dropping, Letter, LettersAnswer, ReplayAnswer,
    ReplayRequest, Replaying,
};
pub use erasure::{EraseAnswer, EraseRequest};
pub use health::{Health, Readiness};
pub use host::HostCheck;
pub use jobs::{Job, JobDecisions};
pub use key::{
    CreateKey, DEFAULT_GRACE, Key, KeyForward, KeyMade, KeyState, KeysAnswer, RotateKey, expiry,
};
pub use keys::{Keeping, Keyring, KeyringError};
pub use limits::*;
pub use load::Load;
pub use payloads::{PayloadForm, PayloadsAnswer, PayloadsParams, SealedPayloads, ShownPayload};
pub use policy_audit::{PolicyAudit, PolicyChange};
pub use problem::{PROBLEM_JSON, Problem};
pub use proofs::{
    ConsistencyAnswer, ConsistencyParams, EvidenceParams, InclusionAnswer, InclusionParams,
    ReceiptAnswer,
};
pub use routes::router;
pub use runs::{Timeline, TimelineItem};
pub use service::{Api, Bounds, Metrics};
pub use told::{PageParams, Studied};
