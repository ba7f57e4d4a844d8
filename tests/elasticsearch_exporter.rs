//! Every entry of the ledger becomes one document or one dead letter, whatever fails in between.

mod bulk_cluster;
#[path = "elasticsearch_exporter/harness.rs"]
mod harness;
mod store_support;

use bulk_cluster::Faults;
use harness::*;
use proptest::prelude::*;
use spanledger::elasticsearch::{ExporterState, MIN_BYTES, Problem, Replayed};
use spanledger::export::Stopped;
use std::time::{Duration, Instant};

#[test]
fn every_entry_is_a_document_compressed_in_bounded_bulks_and_the_cursor_follows_while_idle() {
    let mut export = Export::new(1);
    let running = export.start();
    export.append(0, 500, good);
    export.settle(&running);
    export.assert_complete(&running, 0);
    let (in_flight, _, items) = export.cluster.most();
    assert!(in_flight <= 4 && items == 7, "{in_flight} {items}");
    assert_eq!(export.cluster.compressed_bulks(), export.cluster.bulks());
    let status = running.exporter.status();
    assert_eq!((status.delivered(), status.already_there(), status.retried()), (500, 0, 0));
    assert_eq!(status.latency().buckets.iter().sum::<u64>(), status.requests());
    assert!(status.bytes_sent() < status.bytes_before_compression());
    wait("the cursor", || export.cursor() == 500);
    assert_eq!(running.stop(), Stopped::Cleanly);
    let bulks = export.cluster.bulks();
    let running = export.start();
    export.append(500, 501, good);
    export.settle(&running);
    assert_eq!(export.cluster.bulks(), bulks + 1, "nothing is sent again");
    assert_eq!(running.exporter.status().lookups(), 0, "nor looked up");
}

#[test]
fn rejected_documents_are_dead_letters_with_a_reason_that_quotes_nothing() {
    let mut export = Export::new(2);
    export.append(0, 200, |n| BAD.get(usize::try_from(n % 50).unwrap()).copied());
    export.cluster.set(Faults { bad: true, ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
    let dead = running.exporter.dead_letters();
    assert_eq!(dead.len(), 12);
    assert_eq!(export.cluster.in_failure_store(), 4);
    let types = running.exporter.status().dead_letters_by_type();
    assert_eq!(types["document_parsing_exception"], 4);
    assert_eq!(types["failure_store"], 4);
    assert_eq!(types["illegal_argument_exception"], 4);
    assert_eq!(types.len(), 3);
    for letter in dead.list(0, 100).unwrap() {
        let text = format!("{letter:?}");
        assert!(BAD.iter().all(|bad| !text.contains(bad)) && !text.contains("secret"), "{text}");
        assert_eq!((letter.tenant.as_str(), &*letter.data_stream), ("acme", "spanledger-default"));
        assert!(letter.attempts >= 1 && letter.first_attempt_ns <= letter.last_attempt_ns);
    }
    running.stop();
}

#[test]
fn dead_letters_are_replayed_after_a_fix_and_those_that_are_refused_again_stay() {
    let mut export = Export::new(3);
    export.append(0, 100, |n| (n % 10 == 0).then_some(BAD[0]));
    export.cluster.set(Faults { bad: true, ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    let (reader, exporter) = (export.fixture.reader(), running.exporter.clone());
    let replay = |sequences: &[u64]| {
        export.runtime.block_on(exporter.replay(&reader, sequences, SOON)).unwrap()
    };
    let again = replay(&[0, 10, 11, 5_000]);
    assert_eq!(again, Replayed { delivered: 0, refused: 2, unknown: 2, left: 0 });
    assert_eq!(exporter.dead_letters().get(10).unwrap().unwrap().attempts, 2);
    export.cluster.set(Faults::default());
    let all = letters(&exporter);
    assert_eq!(replay(&all), Replayed { delivered: 10, refused: 0, unknown: 0, left: 0 });
    assert!(exporter.dead_letters().is_empty());
    export.assert_complete(&running, 0);
}

#[test]
fn a_replay_that_the_cluster_does_not_answer_ends_in_time_and_keeps_the_letters() {
    let mut export = Export::new(3);
    export.append(0, 30, |n| (n % 10 == 0).then_some(BAD[0]));
    export.cluster.set(Faults { bad: true, ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.cluster.set(Faults { always: Some(503), ..Faults::default() });
    let (reader, exporter) = (export.fixture.reader(), running.exporter.clone());
    let within = Duration::from_millis(20);
    let replay = exporter.replay(&reader, &[0, 10, 20, 21], within);
    let replayed = export.runtime.block_on(replay).unwrap();
    assert_eq!((replayed.delivered, replayed.refused, replayed.left), (0, 0, 3));
    assert_eq!(letters(&exporter), [0, 10, 20]);
    export.cluster.set(Faults::default());
    let replay = exporter.replay(&reader, &[0, 10, 20], SOON);
    assert_eq!(export.runtime.block_on(replay).unwrap().delivered, 3);
    export.assert_complete(&running, 0);
}

#[test]
fn a_revoked_key_a_missing_template_and_a_block_are_waited_for_and_lose_nothing() {
    for (faults, problem) in [
        (Faults { always: Some(401), ..Faults::default() }, Problem::Unauthorized),
        (Faults { always: Some(403), ..Faults::default() }, Problem::Unauthorized),
        (Faults { always: Some(400), ..Faults::default() }, Problem::Refused),
        (Faults { always: Some(503), ..Faults::default() }, Problem::Unavailable),
        (Faults { no_template: true, ..Faults::default() }, Problem::SetupMissing),
        (
            Faults { no_template: true, opensearch: true, ..Faults::default() },
            Problem::SetupMissing,
        ),
        (Faults { block: true, ..Faults::default() }, Problem::Blocked),
    ] {
        let mut export = Export::new(4);
        export.cluster.set(faults.clone());
        let running = export.start();
        export.append(0, 100, good);
        let status = running.exporter.status().clone();
        let state = ExporterState::HeldUp(problem);
        wait(state.as_str(), || status.state() == state && status.last_error().is_some());
        assert_eq!((running.status.settled(), running.exporter.dead_letters().len()), (0, 0));
        export.cluster.set(Faults { opensearch: faults.opensearch, ..Faults::default() });
        export.settle(&running);
        export.assert_complete(&running, 0);
        wait("running again", || status.state() == ExporterState::Running);
    }
}

#[test]
fn a_request_that_is_too_large_is_split_and_a_single_entry_that_is_becomes_a_dead_letter() {
    let mut export = Export::new(5);
    let long: &'static str = "x".repeat(9_000).leak();
    export.append(0, 60, |n| (n == 30).then_some(long));
    export.cluster.set(Faults { max_body: Some(5_000), ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert_eq!(letters(&running.exporter), [30]);
    let letter = running.exporter.dead_letters().get(30).unwrap().unwrap();
    assert_eq!((letter.status, &*letter.error_type), (413, "request_too_large"));
    assert!(running.exporter.status().halved() > 0);
}

#[test]
fn a_request_beyond_what_the_cluster_works_on_at_once_is_cut_down_and_nothing_is_given_up() {
    let mut export = Export::new(12);
    let long: &'static str = "x".repeat(9_000).leak();
    export.append(0, 60, |_| Some(long));
    export.change = |options| {
        options.max_bytes = 8 * MIN_BYTES;
        options.max_items = 5_000;
    };
    export.cluster.set(Faults { pressure: Some(MIN_BYTES + 10_000), ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert!(running.exporter.dead_letters().is_empty());
    assert!(running.exporter.status().halved() > 0);
}

#[test]
fn bulks_are_bounded_in_bytes_and_memory_too_and_intake_is_not_waited_for() {
    let mut export = Export::new(6);
    let long: &'static str = "x".repeat(20_000).leak();
    export.change = |options| {
        options.max_bytes = 2 * MIN_BYTES;
        options.max_items = 5_000;
        options.gzip = false;
    };
    export.cluster.set(Faults { always: Some(503), ..Faults::default() });
    let running = export.start();
    export.append(0, 200, |_| Some(long));
    let status = running.exporter.status().clone();
    let bound = 8 * 2 * MIN_BYTES as u64;
    wait("back-pressure", || status.held_bytes() + 2 * (MIN_BYTES as u64) > bound);
    until(
        || export.cluster.asked() > 50,
        || format!("{status:?}"),
        || assert!(status.held_bytes() <= bound),
    );
    assert_eq!((status.in_flight_limit(), status.batch_bytes()), (1, MIN_BYTES as u64));
    export.cluster.set(Faults::default());
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert!(export.cluster.most().1 <= 2 * MIN_BYTES);
    wait("full pace", || {
        export.append_one_if_idle(&running);
        status.in_flight_limit() == 4
    });
}

#[test]
fn a_trickle_is_exported_soon_whether_its_pauses_are_long_or_short() {
    let mut export = Export::new(12);
    export.idle_after = Duration::from_hours(1);
    export.change = |options| options.max_age = Duration::from_millis(20);
    let running = export.start();
    export.append(0, 3, good);
    wait("documents after a pause", || export.cluster.documents().len() == 3);
    // No pause is long enough for a look at the clock while nothing comes.
    let mut count = 3;
    wait("documents without a pause", || {
        export.append(count, count + 1, good);
        count += 1;
        export.cluster.documents().len() > 3
    });
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn a_trickle_in_an_outage_holds_no_more_than_a_flood_does_and_all_of_it_is_delivered() {
    let mut export = Export::new(13);
    let long: &'static str = "x".repeat(100_000).leak();
    export.change = |options| {
        options.max_bytes = 2 * MIN_BYTES;
        options.max_items = 5_000;
        options.max_age = Duration::ZERO;
    };
    export.cluster.set(Faults { always: Some(401), ..Faults::default() });
    let running = export.start();
    let status = running.exporter.status().clone();
    for n in 0..30 {
        export.append(n, n + 1, |_| Some(long));
        // Either the sink is told that nothing comes, or it waits for room within an entry.
        let asked = export.cluster.asked() + 30;
        wait("attempts", || export.cluster.asked() > asked);
        let bound = 8 * 2 * MIN_BYTES as u64;
        assert!(status.held_bytes() <= bound, "{} after {n} entries", status.held_bytes());
    }
    assert!(running.status.applied() < 30, "the ledger keeps the rest");
    export.cluster.set(Faults::default());
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn in_an_outage_it_stops_at_once_and_delivers_everything_after_the_restart() {
    let mut export = Export::new(7);
    export.append(0, 3_000, good);
    export.cluster.set(Faults { refused: 255, ..Faults::default() });
    let running = export.start();
    let status = running.exporter.status().clone();
    wait("an outage", || status.state() == ExporterState::HeldUp(Problem::Unavailable));
    let since = Instant::now();
    assert_eq!(running.stop(), Stopped::Cleanly);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    export.cluster.set(Faults::default());
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn a_lost_reply_before_a_rollover_makes_no_duplicate_for_a_key_that_may_read() {
    for no_refresh in [false, true] {
        let mut export = Export::new(8);
        let faults = Faults { lost_after: 100, rollover: 100, no_refresh, ..Faults::default() };
        export.cluster.set(faults);
        let running = export.start();
        export.append(0, 300, good);
        export.settle(&running);
        export.assert_complete(&running, 0);
        assert!(running.exporter.status().found_by_lookup() > 0 && export.cluster.rollovers() > 0);
    }
}

#[test]
fn without_reading_a_lost_reply_makes_at_most_one_duplicate_for_each_entry_in_doubt() {
    let mut export = Export::new(9);
    let faults = Faults { lost_after: 60, rollover: 60, no_read: true, ..Faults::default() };
    export.cluster.set(faults);
    let running = export.start();
    export.append(0, 300, good);
    export.settle(&running);
    let status = running.exporter.status();
    assert!(status.unresolved() > 0);
    export.assert_complete(&running, usize::try_from(status.unresolved()).unwrap());
}

#[test]
fn what_was_sent_before_a_crash_is_not_there_twice_even_after_a_rollover() {
    let mut export = Export::new(10);
    export.append(0, 200, good);
    // Everything arrives, no reply does: the cursor stays where it was.
    export.cluster.set(Faults { lost_after: 255, ..Faults::default() });
    let running = export.start();
    wait("documents", || export.cluster.documents().len() > 20);
    running.stop();
    assert_eq!(export.cursor(), 0);
    export.cluster.roll_over();
    export.cluster.set(Faults::default());
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert!(running.exporter.status().found_by_lookup() > 20);
}

#[test]
fn the_first_start_over_a_ledger_looks_nothing_up_and_a_start_without_its_files_everything() {
    let mut export = Export::new(15);
    export.append(0, 50, good);
    let running = export.start();
    export.settle(&running);
    assert_eq!(running.exporter.status().lookups(), 0, "nothing was ever sent");
    running.stop();
    export.cluster.roll_over();
    let cursors = export.files.join("cursors");
    std::fs::write(cursors.join("elasticsearch-sent.cursor"), "damaged").unwrap();
    std::fs::remove_file(cursors.join("elasticsearch.cursor")).unwrap();
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert_eq!(running.exporter.status().found_by_lookup(), 50);
}

#[test]
fn a_task_that_panics_stops_the_export_visibly_until_a_restart_which_delivers_everything() {
    let mut export = Export::new(14);
    export.append(0, 20, good);
    export.cluster.set(Faults { panics: true, ..Faults::default() });
    let running = export.start();
    wait("the end of a task", || running.status.last_error().is_some());
    export.cluster.set(Faults::default());
    let failures = running.status.failures();
    export.append(20, 40, good);
    wait("attempts that fail too", || running.status.failures() > failures + 3);
    assert!(running.status.last_error().unwrap().contains("restart"), "it stays visible");
    export.assert_cursor_is_honest(&running);
    running.stop();
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn a_block_on_reading_is_waited_for_and_not_taken_for_a_key_that_may_not_read() {
    let mut export = Export::new(16);
    export.append(0, 50, good);
    export.cluster.set(Faults { lost_after: 255, ..Faults::default() });
    let running = export.start();
    wait("documents", || export.cluster.documents().len() > 6);
    running.stop();
    export.cluster.roll_over();
    export.cluster.set(Faults { read_block: true, ..Faults::default() });
    let running = export.start();
    let status = running.exporter.status().clone();
    wait("the block", || status.state() == ExporterState::HeldUp(Problem::Blocked));
    export.cluster.set(Faults::default());
    export.settle(&running);
    export.assert_complete(&running, 0);
    assert_eq!(status.unresolved(), 0);
}

#[test]
fn another_cluster_is_noticed_and_gets_the_history_when_somebody_says_so() {
    let mut export = Export::new(17);
    export.append(0, 30, good);
    let running = export.start();
    export.settle(&running);
    wait("the cursor", || export.cursor() == 30);
    // Replaced during an outage, while the exporter runs.
    export.cluster.set(Faults { refused: 255, ..Faults::default() });
    export.append(30, 40, good);
    let status = running.exporter.status().clone();
    wait("an outage", || status.state() == ExporterState::HeldUp(Problem::Unavailable));
    export.cluster.replace();
    export.cluster.set(Faults::default());
    let other = ExporterState::HeldUp(Problem::OtherCluster);
    wait("the difference", || status.state() == other);
    assert!(other.advice().unwrap().contains("cursors/elasticsearch.cursor"));
    running.stop();
    let running = export.start();
    let status = running.exporter.status().clone();
    wait("the difference after a restart", || status.state() == other);
    assert_eq!(export.cluster.documents().len(), 0);
    running.stop();
    std::fs::remove_file(export.files.join("cursors/elasticsearch.cursor")).unwrap();
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn a_key_that_may_not_ask_which_cluster_it_is_exports_all_the_same() {
    let mut export = Export::new(18);
    export.append(0, 30, good);
    export.cluster.set(Faults { no_monitor: true, ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
}

#[test]
fn on_a_cluster_that_does_not_know_the_parameter_no_plain_index_is_ever_made() {
    let mut export = Export::new(11);
    export.append(0, 100, good);
    export.cluster.set(Faults { opensearch: true, ..Faults::default() });
    let running = export.start();
    export.settle(&running);
    export.assert_complete(&running, 0);
}

fn faults() -> impl Strategy<Value = Faults> {
    (proptest::array::uniform10(0..60_u8), any::<bool>(), any::<bool>()).prop_map(
        |(of, no_refresh, opensearch)| Faults {
            lost_after: of[0],
            lost_before: of[1],
            refused: of[2],
            too_many: of[3],
            unavailable: of[4],
            garbled: of[5],
            item_429: of[6],
            item_503: of[7],
            rollover: of[8],
            max_body: (of[9] % 3 == 0).then_some(3_000),
            no_refresh,
            opensearch,
            bad: true,
            ..Faults::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_and_whenever_it_is_killed_documents_and_dead_letters_are_all_entries(
        rounds in proptest::collection::vec((faults(), 1..40_u64, 0..30_usize, any::<bool>()), 1..5),
        seed: u64,
        bad_every in 3..40_u64,
    ) {
        let mut export = Export::new(seed);
        export.change = |options| options.stop_grace = Duration::ZERO;
        let mut count = 0;
        for (faults, more, bulks, killed) in rounds {
            export.cluster.set(faults);
            let running = export.start();
            export.append(count, count + more, |n| {
                (n % bad_every == 0).then(|| BAD[usize::try_from(n / bad_every % 3).unwrap()])
            });
            count += more;
            let stop_at = export.cluster.bulks() + bulks;
            until(
                || export.cluster.bulks() >= stop_at || running.status.settled() == count,
                || format!("{:?} {:?}", running.status, running.exporter.status()),
                || export.assert_cursor_is_honest(&running),
            );
            export.assert_cursor_is_honest(&running);
            if killed {
                export.kill(running);
            } else {
                prop_assert_eq!(running.stop(), Stopped::Cleanly);
            }
        }
        export.cluster.set(Faults { bad: true, ..Faults::default() });
        let running = export.start();
        // What is refused alone becomes a dead letter when something else is accepted: only then
        // is it known that not every request is refused.
        export.append(count, count + 1, good);
        export.settle(&running);
        export.assert_complete(&running, 0);
    }
}
