//! As in `src/layer`.

pub(crate) mod outbox;
