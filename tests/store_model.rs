//! The embedded store answers what its model answers, whatever happened to its files.

mod store_support;

use proptest::prelude::*;
use spanledger::store::query::Query;
use spanledger::store::{AuditStore, Order, TraceRequest};
use std::fs;
use store_support::*;

/// What happens between questions.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<[u8; 10]>),
    Index(u8),
    Flush,
    Restart,
    DeleteIndex,
    DeleteTags,
    /// A file of the index is damaged while the program is down.
    Damage(prop::sample::Index, prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any::<[u8; 10]>(), 1..20).prop_map(Step::Append),
        6 => (1..24_u8).prop_map(Step::Index),
        2 => Just(Step::Flush),
        2 => Just(Step::Restart),
        1 => Just(Step::DeleteIndex),
        1 => Just(Step::DeleteTags),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(file, byte)| Step::Damage(file, byte)),
    ]
}

/// Number of the next entry: some draws repeat an earlier entry, as a resend does.
fn append(fixture: &mut Fixture, drawn_so_far: &mut Vec<[u8; 10]>, draws: Vec<[u8; 10]>) {
    let mut given = Vec::new();
    for draw in draws {
        let number = drawn_so_far.len() as u64;
        let repeats = draw[9] % 8 == 0 && number > 0;
        if repeats {
            let earlier = usize::from(draw[8]) % drawn_so_far.len();
            given.push(drawn(earlier as u64, drawn_so_far[earlier]));
        } else {
            drawn_so_far.push(draw);
            given.push(drawn(number, draw));
        }
    }
    fixture.append(&given);
}

fn apply(fixture: &mut Fixture, drawn_so_far: &mut Vec<[u8; 10]>, step: Step) {
    match step {
        Step::Append(draws) => append(fixture, drawn_so_far, draws),
        Step::Index(most) => fixture.index(usize::from(most)),
        Step::Flush => fixture.store().flush().unwrap(),
        Step::Restart => fixture.reopen(),
        Step::DeleteIndex => fixture.while_closed(|dir| fs::remove_dir_all(dir).unwrap()),
        Step::DeleteTags => {
            fixture.while_closed(|dir| fs::remove_dir_all(dir.join("tags")).unwrap());
        }
        Step::Damage(file, byte) => fixture.while_closed(|dir| {
            let mut files: Vec<_> = [dir.clone(), dir.join("tags")]
                .iter()
                .flat_map(|dir| fs::read_dir(dir).unwrap())
                .map(|file| file.unwrap().path())
                .filter(|path| path.is_file() && !path.to_string_lossy().contains("lock"))
                .collect();
            files.sort();
            let path = file.get(&files);
            let mut bytes = fs::read(path).unwrap();
            if !bytes.is_empty() {
                let at = byte.index(bytes.len());
                bytes[at] ^= 0x55;
                fs::write(path, bytes).unwrap();
            }
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_answers_what_the_model_answers(
        steps in prop::collection::vec(step(), 2..12),
        queries in prop::collection::vec(query(), 12),
    ) {
        let mut fixture = Fixture::new();
        let mut drawn_so_far = Vec::new();
        for step in steps {
            apply(&mut fixture, &mut drawn_so_far, step);
            for query in queries.iter().take(3) {
                check(&fixture, query)?;
            }
        }
        for query in &queries {
            check(&fixture, query)?;
        }
        for id in TRACES.iter().chain(IDS) {
            for name in ["acme", "other"] {
                let ours = story(fixture.store(), name, id);
                prop_assert_eq!(&ours, &story(&fixture.memory, name, id), "{} {}", name, id);
                for kinds in KINDS {
                    let model = story_of(&fixture.memory, name, id, kinds);
                    let ours = story_of(fixture.store(), name, id, kinds);
                    prop_assert_eq!(ours, model, "{} {} {:?}", name, id, kinds);
                }
                for order in [Order::Newest, Order::Ledger, Order::Story] {
                    let mut request = TraceRequest { order, limit: 2, ..TraceRequest::new(tenant(name), *id) };
                    let mut paged = Vec::new();
                    loop {
                        let page = fixture.store().trace(&request).unwrap();
                        paged.extend(page.entries);
                        request.cursor = page.next_cursor;
                        if request.cursor.is_none() { break }
                    }
                    prop_assert_eq!(paged.len(), ours.total);
                }
            }
        }
    }
}

fn check(fixture: &Fixture, query: &Query) -> Result<(), TestCaseError> {
    // A repeated frame is told from its original by the index; while that is further behind than
    // the ledger's own window, both may show.
    let status = fixture.store().status();
    let behind = status.watermark - status.ids > options().duplicate_window;
    for name in ["acme", "other"] {
        for order in [Order::Newest, Order::Ledger, Order::Story] {
            let mut ours = all_pages(fixture.store(), name, query, order, 4);
            let model = all_pages(&fixture.memory, name, query, order, 1000);
            if behind {
                ours.retain(|hit| model.iter().any(|m| m.sequence == hit.sequence));
            }
            prop_assert_eq!(sequences(&ours), sequences(&model), "{} {:?} {}", query, order, name);
            prop_assert_eq!(ours, model);
        }
    }
    Ok(())
}

fn sequences(hits: &[spanledger::store::Hit]) -> Vec<u64> {
    hits.iter().map(|hit| hit.sequence).collect()
}
