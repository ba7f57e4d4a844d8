//! As `src/layer/outbox/mod.rs`, without what talks to a network or starts threads.

#[path = "../../../../src/layer/outbox/backlog.rs"]
mod backlog;
#[path = "../../../../src/layer/outbox/confirm.rs"]
mod confirm;
#[path = "../../../../src/layer/outbox/courier.rs"]
mod courier;
#[path = "../../../../src/layer/outbox/destination.rs"]
mod destination;
#[path = "../../../../src/layer/outbox/error.rs"]
mod error;
#[path = "../../../../src/layer/outbox/frame.rs"]
mod frame;
#[path = "../../../../src/layer/outbox/handover.rs"]
mod handover;
#[path = "../../../../src/layer/outbox/memory.rs"]
mod memory;
#[path = "outbox/models.rs"]
pub mod models;
#[path = "../../../../src/layer/outbox/numbers.rs"]
mod numbers;
#[path = "../../../../src/layer/outbox/pending.rs"]
mod pending;
#[path = "../../../../src/layer/outbox/receipt.rs"]
mod receipt;
#[path = "../../../../src/layer/outbox/records.rs"]
mod records;
#[path = "../../../../src/layer/outbox/settings.rs"]
mod settings;
#[path = "../../../../src/layer/outbox/shared.rs"]
mod shared;
#[path = "../../../../src/layer/outbox/shutdown.rs"]
mod shutdown;
#[path = "../../../../src/layer/outbox/spool/mod.rs"]
mod spool;
#[path = "../../../../src/layer/outbox/stats.rs"]
mod stats;
#[path = "outbox/sync.rs"]
mod sync;
#[path = "../../../../src/layer/outbox/window.rs"]
mod window;
#[path = "../../../../src/layer/outbox/writer.rs"]
mod writer;
