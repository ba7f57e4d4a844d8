//! What people and programs ask: the HTTP API over the store.
//!
//! | file | holds |
//! |---|---|
//! | `routes.rs` | the table of paths, [`router`] |
//! | `traces.rs`, `entries.rs` | the story of an id; search, and one entry |
//! | `answer.rs` | parameters and answers, as the OpenAPI document describes them |
//! | `probes.rs` | `/`, `/healthz`, `/readyz`, `/metrics` |
//! | `openapi.rs` | the OpenAPI document |
//! | `problem.rs` | [`Problem`]: errors as RFC 9457 problem details |
//! | `health.rs` | [`Health`]: live and ready, told by the parts of the process |
//! | `host.rs` | [`HostCheck`]: DNS rebinding ends here |
//! | `service.rs`, `limits.rs` | what routes share: turns, time, headers; every bound |
//!
//! Questions are worked on by threads of their own, a bounded number at once; the async threads
//! only wait. The tenant comes from one place, [`Api`], and never from a parameter.

mod answer;
mod dead_letters;
mod entries;
mod health;
mod host;
mod limits;
mod openapi;
mod probes;
mod problem;
mod routes;
mod service;
mod traces;

pub use answer::*;
pub use dead_letters::{
    DeadLetterBox, DropAnswer, DropRequest, Letter, LettersAnswer, ReplayAnswer, ReplayRequest,
    Replaying,
};
pub use health::{Health, Readiness};
pub use host::HostCheck;
pub use limits::*;
pub use problem::{PROBLEM_JSON, Problem};
pub use routes::router;
pub use service::{Api, Bounds, Metrics};
