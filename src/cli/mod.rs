//! The command line: a file a command.
//!
//! | file | holds |
//! |---|---|
//! | `args.rs` | [`Cli`]: commands, flags, environment variables, examples |
//! | `timeline.rs` | [`timeline`]: a story as a person reads it |
//! | `table.rs` | one entry a line |
//! | `verdict.rs` | the mark and the headline of an entry, what it is about, who did it |
//! | `ancestry.rs` | how deep an entry stands in the tree of spans |
//! | `doc.rs` | reading a projected entry by field path |
//! | `moment.rs`, `display.rs` | times, and text that is harmless, measured and coloured |

mod ancestry;
mod args;
mod display;
mod doc;
mod moment;
mod table;
mod timeline;
mod verdict;

pub use args::*;
pub use display::{Paint, Style, clean};
pub use moment::{length, moment, offset};
pub use table::{heading, line};
pub use timeline::{Story, timeline};
