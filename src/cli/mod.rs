//! The command line: a file a command.
//!
//! | file | holds |
//! |---|---|
//! | `args.rs` | [`Cli`]: commands, flags, environment variables, examples |
//! | `client.rs`, `endpoints.rs` | where answers come from: a running server, else the data folder |
//! | `bench/` | what a span costs on this machine |
//! | `demo/` | the agent run that the demo plays, and the check that its story is complete |
//! | `timeline.rs` | [`timeline`]: a story as a person reads it |
//! | `table.rs` | one entry a line |
//! | `verdict.rs` | the mark and the headline of an entry, what it is about, who did it |
//! | `ancestry.rs` | how deep an entry stands in the tree of spans |
//! | `doc.rs` | reading a projected entry by field path |
//! | `moment.rs`, `display.rs` | times, and text that is harmless, measured and coloured |

mod ancestry;
mod args;
pub mod bench;
mod client;
pub mod demo;
mod display;
mod doc;
mod endpoints;
mod moment;
pub mod serve;
mod table;
mod timeline;
mod verdict;

pub use args::*;
pub use client::{Source, SourceError};
pub use display::{Paint, Style, clean};
pub use endpoints::{ENDPOINTS_FILE, Endpoints, EndpointsError};
pub use moment::{length, moment, offset};
pub use table::{heading, line};
pub use timeline::{Story, timeline};
