//! `demo`.
mod otlp;
mod scenario;
pub use otlp::Export;
pub use scenario::{EXTERNAL_ID, Scenario, scenario};
