//! Locks, news between tasks, and time: all of what decides in which order threads meet here.
//!
//! In one place because `tests/interleavings` puts its own there: with them every order in which
//! threads can take turns is tried, and every moment at which a wait can end.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
pub(super) use std::time::Instant;
pub(super) use tokio::sync::{Notify, watch};
pub(super) use tokio::task::JoinHandle;
pub(super) use tokio::time::{sleep, timeout};

/// Looks in vain after which the writer sleeps until it is woken: a busy agent pays no wake-up.
/// Half a second of them.
pub(super) const LOOKS_IN_VAIN: u32 = 50;
