//! What people and programs ask.

mod health;
mod host;
mod limits;
mod problem;

pub use health::{Health, Readiness};
pub use host::HostCheck;
pub use limits::*;
pub use problem::{PROBLEM_JSON, Problem};
