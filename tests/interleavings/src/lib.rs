//! What the threads of the layer's outbox share, tried in every order in which they can take turns.
//!
//! ```text
//! src/layer/outbox/*.rs ──#[path]──► layer/outbox.rs        sync.rs: locks, news, time
//!                                          ▲                   std and tokio there, loom here
//!                                          └── models.rs: a few threads, and what must hold after them
//! ```
//!
//! [loom](https://docs.rs/loom) runs a model again and again until every order of its threads was
//! seen, and finds threads that wait for each other for ever. A wait with a deadline can end at any
//! moment here, one of a second and more never: what would only go on because a deadline passes is a
//! deadlock here.
//!
//! `cargo test --locked --manifest-path tests/interleavings/Cargo.toml --target-dir target/interleavings`

#![allow(
    dead_code,
    unused_imports,
    reason = "each file is as it is in src, and only a part is tried"
)]

mod layer;

pub use layer::outbox::models;
