//! Every order of the threads of the outbox: see `src/lib.rs`.

use interleavings::models;
use std::time::{Duration, Instant};

/// Runs a model, and says how many orders it has.
fn tried(name: &str, model: impl FnOnce() -> usize) {
    let start = Instant::now();
    let orders = model();
    println!("{name}: {orders} orders in {:?}", start.elapsed());
    assert!(orders > 1, "threads take turns");
}

macro_rules! each {
    ($($name:ident $(($($argument:expr),*) as $test:ident)?;)*) => {$(
        each!(@ $name $(($($argument),*) as $test)?);
    )*};
    (@ $name:ident) => {
        #[test]
        fn $name() {
            tried(stringify!($name), models::$name);
        }
    };
    (@ $name:ident ($($argument:expr),*) as $test:ident) => {
        #[test]
        fn $test() {
            tried(stringify!($test), || models::$name($($argument),*));
        }
    };
}

each! {
    a_full_buffer_tells_what_it_does_not_take;
    agents_that_wait_for_room_are_woken;
    agents_whose_time_passes_are_told;
    a_close_between_pushes_is_heard_and_loses_nothing;
    a_shutdown_delivers_what_was_pushed_before_it;
    a_shutdown_ends_when_its_time_has_passed;
    a_shutdown_wakes_who_waits_for_the_next_try;
    a_receipt_and_an_end_lose_no_record(0, Duration::from_secs(5)) as a_receipt_and_an_end_lose_no_record;
    a_receipt_and_an_end_lose_no_record(1, Duration::from_millis(500)) as a_receipt_whose_time_passes_and_an_end_lose_no_record;
    a_receipt_and_a_shutdown_lose_no_record;
    a_flush_returns_behind_what_was_pushed_before;
}
