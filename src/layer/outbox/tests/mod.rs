//! The whole outbox against a receiver that does what a test says.
//!
//! | file | says |
//! |---|---|
//! | `receiver` | the receiver, and records that name their number |
//! | `delivery` | order, answers, retries, refusals, shutdown |
//! | `receipts` | records whose receipt somebody waits for |
//! | `bounds` | what is full, and what is told then |
//! | `restart` | what an ended process left, whole and damaged |
//! | `killed` | `kill -9` |
//! | `otlp` | the client of OTLP over gRPC |

mod bounds;
mod delivery;
mod killed;
#[cfg(feature = "server")] // hyper's server
mod otlp;
mod receipts;
mod receiver;
mod restart;
#[allow(unreachable_pub)] // the integration tests have it, too
#[path = "../../../../tests/support/small_disk.rs"]
mod small_disk;
