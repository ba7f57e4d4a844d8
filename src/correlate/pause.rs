//! Which resumed run answers which interrupt.
//!
//! A run that waited for a human resumes under a new trace without a link; only the thread is the
//! same. A thread is a conversation of many runs, so it must not join them all: each resume is
//! paired with the one interrupt that it answers.

use super::Id;

/// What an entry has to do with a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PauseKind {
    /// The answer arrived. Sorts first: a run that resumes and stops again at one moment was
    /// resumed before it stopped.
    Resume,
    /// The run stopped and waits for an answer.
    Interrupt,
}

/// An interrupt or a resume in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Which of the two.
    pub kind: PauseKind,
    /// When, nanoseconds since 1970.
    pub event_ns: u64,
    /// The entry's id: decides between two that happened at once.
    pub entry: [u8; 16],
    /// The strong id that stands for its run.
    pub run: Id<'static>,
}

/// The pairs (interrupted run, resumed run) of one thread. The order of `pauses` does not matter.
///
/// A resume answers the latest interrupt of another run that nothing answered before; all further
/// interrupts that the same run had open count as answered with it. A run that goes on under its
/// own id answers its own.
pub fn pair(pauses: &[Pause]) -> Vec<(Id<'static>, Id<'static>)> {
    let mut sorted: Vec<&Pause> = pauses.iter().collect();
    sorted.sort_by_key(|pause| (pause.event_ns, pause.kind, pause.entry));
    let mut open: Vec<&Id<'static>> = Vec::new();
    let mut pairs: Vec<(Id<'static>, Id<'static>)> = Vec::new();
    for pause in sorted {
        match pause.kind {
            PauseKind::Interrupt => {
                open.retain(|run| !run.is_same_as(&pause.run));
                open.push(&pause.run);
            }
            PauseKind::Resume => {
                // One resume shows on several spans of its trace, the root and those within.
                let paired = pairs.iter().any(|(_, resumed)| resumed.is_same_as(&pause.run));
                let own = open.iter().any(|run| run.is_same_as(&pause.run));
                if own {
                    open.retain(|run| !run.is_same_as(&pause.run));
                } else if !paired && let Some(interrupted) = open.pop() {
                    pairs.push((interrupted.clone(), pause.run.clone()));
                }
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Namespace;
    use PauseKind::{Interrupt, Resume};
    use proptest::prelude::*;

    fn pause(kind: PauseKind, event_ns: u64, run: &str) -> Pause {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&event_ns.to_be_bytes());
        Pause { kind, event_ns, entry, run: Id::new(Namespace::Trace, run.to_owned()) }
    }

    fn pairs(pauses: &[Pause]) -> Vec<(String, String)> {
        pair(pauses).into_iter().map(|(a, b)| (a.text.into(), b.text.into())).collect()
    }

    fn expect(found: &[(String, String)], wanted: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn each_resume_is_paired_with_the_interrupt_before_it_and_no_other() {
        let found = pairs(&[
            pause(Interrupt, 1, "a"),
            pause(Resume, 2, "b"),
            pause(Resume, 3, "b"),
            pause(Interrupt, 4, "c"),
            pause(Resume, 5, "d"),
            pause(Resume, 6, "e"),
        ]);
        expect(&found, &[("a", "b"), ("c", "d")]);
    }

    #[test]
    fn a_chain_of_pauses_is_a_chain_of_pairs() {
        let found = pairs(&[
            pause(Interrupt, 1, "a"),
            pause(Resume, 2, "b"),
            pause(Interrupt, 3, "b"),
            pause(Resume, 4, "c"),
        ]);
        expect(&found, &[("a", "b"), ("b", "c")]);
    }

    #[test]
    fn a_run_that_goes_on_under_its_own_trace_answers_itself() {
        expect(
            &pairs(&[pause(Interrupt, 1, "a"), pause(Resume, 2, "a"), pause(Resume, 3, "b")]),
            &[],
        );
    }

    #[test]
    fn a_resume_before_any_interrupt_answers_none() {
        expect(&pairs(&[pause(Resume, 1, "a"), pause(Interrupt, 2, "b")]), &[]);
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            (sorted, shuffled) in prop::collection::vec((any::<bool>(), 0..5_usize), 0..12)
                .prop_map(|pauses| -> Vec<Pause> {
                    pauses.iter().enumerate().map(|(at, (resume, run))| {
                        let kind = if *resume { Resume } else { Interrupt };
                        pause(kind, at as u64, &format!("run-{run}"))
                    }).collect()
                })
                .prop_flat_map(|pauses| (Just(pauses.clone()), Just(pauses).prop_shuffle()))
        ) {
            prop_assert_eq!(pair(&sorted), pair(&shuffled));
        }
    }
}
