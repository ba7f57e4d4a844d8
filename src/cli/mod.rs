//! The command line: a file a command.
//!
//! | file | holds |
//! |---|---|
//! | `args.rs` | [`Cli`]: commands, flags, environment variables, examples |
//! | `search.rs`, `trace.rs`, `tail.rs` | what asks |
//! | `keys.rs`, `keys_args.rs`, `keys_table.rs` | who may write and read |
//! | `erase.rs` | the sealed payloads of a subject, erased |
//! | `log_key.rs` | the key that signs the public log |
//! | `convert.rs`, `explained.rs` | what a request would become, and why |
//! | `import/` | JSON Lines to a running server |
//! | `setup.rs`, `kibana.rs` | what has to be in Elasticsearch before the exporter writes; what people look at in Kibana |
//! | `hold.rs` | what retention leaves alone |
//! | `repair.rs` | what can be kept of a damaged ledger |
//! | `verify.rs`, `verify_args.rs`, `trust.rs` | ledger and bundles computed again; with which keys |
//! | `verify_copy.rs` | the documents of a cluster against the ledger |
//! | `evidence.rs` | a bundle of evidence, written |
//! | `proof.rs` | inclusion and consistency proofs: asked for, and a saved one checked |
//! | `exit.rs` | exit codes, and what is said on the way out |
//! | `exposure.rs` | whether a server may listen where others can reach it |
//! | `client.rs`, `endpoints.rs` | where answers come from: a running server, else the data folder |
//! | `connect.rs` | as whom a server is asked: keys, certificates, `https://` |
//! | `serve.rs`, `listen.rs` | the server: a [pipeline](crate::pipeline) and what is put around it |
//! | `keeper.rs`, `keyring.rs` | credentials in effect, each change of them on record |
//! | `letters.rs`, `dead_letters.rs` | dead letters: for the API, and on a terminal |
//! | `offline.rs` | the data folder without its server |
//! | `bench/` | what a span costs on this machine |
//! | `demo/` | the agent run that the demo plays, and the check that its story is complete |
//! | `meaning.rs` | chains and findings below a timeline |
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
mod clock;
mod connect;
mod convert;
mod dead_letters;
pub mod demo;
mod display;
mod doc;
mod endpoints;
mod erase;
mod evidence;
mod exit;
mod explained;
mod exposure;
mod hold;
mod import;
mod keeper;
mod keyring;
mod keys;
mod keys_args;
mod keys_table;
pub mod kibana;
mod letters;
mod listen;
mod log_key;
mod meaning;
mod moment;
mod offline;
mod proof;
mod repair;
mod search;
pub mod serve;
pub mod setup;
mod table;
mod tail;
mod timeline;
mod trace;
mod trust;
mod verdict;
mod verify;
mod verify_args;
mod verify_copy;

pub use args::*;
pub use client::{Source, SourceError};
pub use clock::{ConfirmClockArgs, confirm_clock};
pub use connect::{ConnectArgs, ConnectError, KEY_VARIABLE};
pub use convert::{ConvertError, convert};
pub use dead_letters::dead_letters;
pub use display::{Paint, Style, clean};
pub use endpoints::{ENDPOINTS_FILE, Endpoints, EndpointsError};
pub use erase::{EraseArgs, EraseError, erase};
pub use evidence::evidence;
pub use exit::{CommandError, Exit, end, error_line};
pub use hold::{HoldArgs, hold};
pub use import::{ImportArgs, ImportError, ImportFormat, SendError, import};
pub use keys::{KeysError, access_dir, keys};
pub use keys_args::*;
pub use moment::{length, moment, offset};
pub use offline::{offline, offline_with_keys};
pub use proof::{NotAnEntry, ProofArgs, ProofEntry, proof};
pub use repair::{RepairArgs, repair};
pub use search::search;
pub use table::{heading, line};
pub use tail::tail;
pub use timeline::{Story, timeline};
pub use trace::trace;
pub use verify::verify;
pub use verify_args::*;
pub use verify_copy::verify_copy;

pub use crate::pipeline::{index_dir, ledger_dir, ledger_name};
