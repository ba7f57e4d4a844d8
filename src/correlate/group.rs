//! Everything that an id joins, directly or through others.

use super::{Id, JoinRules, Namespace, Pause, PauseKind, pair, story_order};
use std::collections::{HashMap, HashSet, VecDeque};

/// What a group needs to know of an entry: ids and times, not contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Where the entry is found.
    pub sequence: u64,
    /// The entry's id.
    pub entry: [u8; 16],
    /// Time of the event, nanoseconds since 1970.
    pub event_ns: u64,
    /// The span that the entry is.
    pub span: Option<u64>,
    /// The span that it belongs to.
    pub parent: Option<u64>,
    /// Ids of strong namespaces; the first stands for its run.
    pub ids: Vec<Id<'static>>,
    /// The thread, and what the entry did to it, when it stopped or resumed a run.
    pub pause: Option<(Id<'static>, Vec<PauseKind>)>,
}

impl Member {
    /// What the entry is to the pairing of its thread, when it has an id that stands for its run.
    pub fn pauses(&self) -> impl Iterator<Item = Pause> + '_ {
        let run = self.ids.first();
        let kinds = self.pause.iter().flat_map(|(_, kinds)| kinds);
        kinds.filter_map(move |kind| {
            Some(Pause {
                kind: *kind,
                event_ns: self.event_ns,
                entry: self.entry,
                run: run?.clone(),
            })
        })
    }
}

/// Where the entries of one tenant are found by their ids.
pub trait Members {
    /// Why an entry could not be looked up.
    type Error;

    /// Gives every entry that carries the id and is not among `known` (sequence numbers) to
    /// `visit`. Each has been checked against the entry itself.
    ///
    /// # Errors
    /// The look-up's own.
    fn find(
        &mut self,
        id: &Id<'_>,
        known: &HashSet<u64>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), Self::Error>;

    /// Gives every entry that stopped or resumed a run in that thread to `visit`.
    ///
    /// # Errors
    /// The look-up's own.
    fn paused_in(
        &mut self,
        thread: &Id<'_>,
        visit: &mut dyn FnMut(Member),
    ) -> Result<(), Self::Error>;

    /// Whether the time for the question is up: the group is then cut where it stands.
    fn out_of_time(&self) -> bool {
        false
    }
}

/// A closed group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its entries in story order.
    pub members: Vec<Member>,
    /// Every trace id in it, in canonical spelling, sorted.
    pub trace_ids: Vec<String>,
    /// Whether a bound was hit, so that there may be more.
    pub truncated: bool,
}

/// Closes the group of the entries that carry one of the `start` ids.
///
/// Any namespace may start; only strong ids go on from there, and pairs of interrupt and resume.
///
/// # Errors
/// Those of the look-up.
pub fn close<M: Members>(
    start: &[Id<'_>],
    members: &mut M,
    rules: &JoinRules,
) -> Result<Group, M::Error> {
    let mut closing = Closing::new(rules);
    // A careless id joins nothing, but whoever asks for it by name gets what carries it.
    for id in start {
        closing.enqueue(id.canonical());
    }
    while let Some(id) = closing.queue.pop_front() {
        if closing.is_full() || members.out_of_time() {
            closing.group.truncated = true;
            break;
        }
        closing.visit(&id, members)?;
    }
    Ok(closing.finish())
}

/// A group while it grows.
struct Closing<'r> {
    rules: &'r JoinRules,
    group: Group,
    known: HashSet<u64>,
    queue: VecDeque<Id<'static>>,
    seen: HashSet<Id<'static>>,
    traces: usize,
    /// Pairs of runs by thread, made when the first pause of the thread is met.
    pairs: HashMap<String, Vec<(Id<'static>, Id<'static>)>>,
}

impl<'r> Closing<'r> {
    fn new(rules: &'r JoinRules) -> Self {
        Self {
            rules,
            group: Group::default(),
            known: HashSet::new(),
            queue: VecDeque::new(),
            seen: HashSet::new(),
            traces: 0,
            pairs: HashMap::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.traces > self.rules.max_traces || self.known.len() > self.rules.max_entries
    }

    fn enqueue(&mut self, id: Id<'static>) {
        if self.seen.insert(id.clone()) {
            if id.namespace == Namespace::Trace {
                self.traces = self.traces.saturating_add(1);
            }
            self.queue.push_back(id);
        }
    }

    fn visit<M: Members>(&mut self, id: &Id<'static>, members: &mut M) -> Result<(), M::Error> {
        let mut found = Vec::new();
        members.find(id, &self.known, &mut |member| found.push(member))?;
        for member in found {
            if !self.known.insert(member.sequence) {
                continue;
            }
            for joined in &member.ids {
                if self.rules.joins(joined) {
                    self.enqueue(joined.canonical());
                }
            }
            self.follow_pause(&member, members)?;
            self.group.members.push(member);
        }
        Ok(())
    }

    /// Joins the run that an interrupt or resume is paired with, and nothing else of the thread.
    fn follow_pause<M: Members>(
        &mut self,
        member: &Member,
        members: &mut M,
    ) -> Result<(), M::Error> {
        let Some((thread, _)) = &member.pause else { return Ok(()) };
        if !self.pairs.contains_key(thread.text.as_ref()) {
            let mut pauses = Vec::new();
            members.paused_in(thread, &mut |paused| {
                pauses.extend(paused.pauses().filter(|pause| self.rules.joins(&pause.run)));
            })?;
            self.pairs.insert(thread.text.to_string(), pair(&pauses));
        }
        let pairs = self.pairs.get(thread.text.as_ref()).map_or(&[][..], Vec::as_slice);
        let partners: Vec<Id<'static>> = member
            .pauses()
            .flat_map(|pause| {
                pairs.iter().filter_map(move |(interrupted, resumed)| {
                    if interrupted.is_same_as(&pause.run) {
                        Some(resumed.canonical())
                    } else if resumed.is_same_as(&pause.run) {
                        Some(interrupted.canonical())
                    } else {
                        None
                    }
                })
            })
            .collect();
        for partner in partners {
            self.enqueue(partner);
        }
        Ok(())
    }

    fn finish(self) -> Group {
        let Self { mut group, .. } = self;
        story_order(&mut group.members);
        keep_first(&mut group.members);
        let ids = group.members.iter().flat_map(|member| &member.ids);
        group.trace_ids = ids
            .filter(|id| id.namespace == Namespace::Trace)
            .map(|id| id.canonical().text.into_owned())
            .collect();
        group.trace_ids.sort_unstable();
        group.trace_ids.dedup();
        group
    }
}

/// Of several frames of one entry only the first in the ledger stays: one beyond the ledger's
/// window of duplicates may repeat it.
pub(crate) fn keep_first(members: &mut Vec<Member>) {
    let mut first: HashMap<[u8; 16], u64> = HashMap::new();
    for member in members.iter() {
        let sequence = first.entry(member.entry).or_insert(member.sequence);
        *sequence = member.sequence.min(*sequence);
    }
    members.retain(|member| first.get(&member.entry) == Some(&member.sequence));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A list that is searched from end to end.
    struct Listed(Vec<Member>);

    impl Members for Listed {
        type Error = Infallible;

        fn find(
            &mut self,
            id: &Id<'_>,
            known: &HashSet<u64>,
            visit: &mut dyn FnMut(Member),
        ) -> Result<(), Infallible> {
            for member in &self.0 {
                if member.ids.iter().any(|i| i.is_same_as(id)) && !known.contains(&member.sequence)
                {
                    visit(member.clone());
                }
            }
            Ok(())
        }

        fn paused_in(
            &mut self,
            thread: &Id<'_>,
            visit: &mut dyn FnMut(Member),
        ) -> Result<(), Infallible> {
            for member in &self.0 {
                if member.pause.as_ref().is_some_and(|(t, _)| t.is_same_as(thread)) {
                    visit(member.clone());
                }
            }
            Ok(())
        }
    }

    fn id(namespace: Namespace, text: &str) -> Id<'static> {
        Id::new(namespace, text.to_owned())
    }

    fn member(sequence: u64, ids: &[(Namespace, &str)]) -> Member {
        Member {
            sequence,
            entry: u128::from(sequence).to_be_bytes(),
            event_ns: sequence,
            ids: ids.iter().map(|(namespace, text)| id(*namespace, text)).collect(),
            ..Member::default()
        }
    }

    fn sequences(group: &Group) -> Vec<u64> {
        group.members.iter().map(|m| m.sequence).collect()
    }

    fn group_of(members: Vec<Member>, start: &Id<'_>) -> Group {
        close(std::slice::from_ref(start), &mut Listed(members), &JoinRules::default()).unwrap()
    }

    use Namespace::{Approval, Job, Run, Trace};

    #[test]
    fn traces_that_share_a_strong_id_are_one_story() {
        let group = group_of(
            vec![
                member(1, &[(Trace, "a"), (Run, "1")]),
                member(2, &[(Run, "1"), (Approval, "x")]),
                member(3, &[(Trace, "b"), (Approval, "x")]),
                member(4, &[(Trace, "c"), (Job, "1")]),
            ],
            &id(Trace, "b"),
        );
        assert_eq!(sequences(&group), [1, 2, 3], "and job 1 is not run 1");
        assert_eq!(group.trace_ids, ["a", "b"]);
        assert!(!group.truncated);
    }

    #[test]
    fn a_careless_id_joins_nothing_and_is_found_all_the_same() {
        let members = vec![
            member(1, &[(Trace, "a"), (Run, "test")]),
            member(2, &[(Trace, "b"), (Run, "test")]),
        ];
        assert_eq!(sequences(&group_of(members.clone(), &id(Trace, "a"))), [1]);
        assert_eq!(sequences(&group_of(members, &id(Run, "test"))), [1, 2]);
    }

    #[test]
    fn a_group_beyond_the_bound_is_cut_and_says_so() {
        let chain: Vec<Member> = (0..50)
            .map(|n| {
                member(
                    n,
                    &[
                        (Trace, &format!("t{n}")),
                        (Run, &format!("r{n}")),
                        (Run, &format!("r{}", n + 1)),
                    ],
                )
            })
            .collect();
        let rules = JoinRules { max_traces: 10, ..JoinRules::default() };
        let group = close(&[id(Trace, "t0")], &mut Listed(chain.clone()), &rules).unwrap();
        assert!(group.truncated && group.members.len() < 50);
        let group = group_of(chain, &id(Trace, "t0"));
        assert!(!group.truncated && group.members.len() == 50);
    }

    fn pausing(sequence: u64, trace: &str, thread: &str, kind: PauseKind) -> Member {
        Member {
            pause: Some((id(Namespace::Thread, thread), vec![kind])),
            ..member(sequence, &[(Trace, trace)])
        }
    }

    #[test]
    fn a_resume_joins_the_run_that_it_answers_and_not_the_thread() {
        use PauseKind::{Interrupt, Resume};
        let members = vec![
            pausing(1, "a", "thread", Interrupt),
            pausing(2, "b", "thread", Resume),
            pausing(3, "c", "thread", Interrupt),
            pausing(4, "d", "thread", Resume),
            pausing(5, "e", "elsewhere", Resume),
        ];
        assert_eq!(sequences(&group_of(members.clone(), &id(Trace, "a"))), [1, 2]);
        assert_eq!(sequences(&group_of(members, &id(Trace, "d"))), [3, 4]);
    }

    proptest! {
        #[test]
        fn every_id_of_a_group_finds_the_same_group_in_any_order_of_arrival(
            rows in prop::collection::vec((0..6_u8, 0..6_u8, 0..6_u8), 1..24),
            from: prop::sample::Index,
            seed: prop::sample::Index,
        ) {
            let members: Vec<Member> = rows.iter().enumerate().map(|(at, (trace, run, job))| member(
                at as u64,
                &[(Trace, &format!("t{trace}")), (Run, &format!("r{run}")), (Job, &format!("j{job}"))],
            )).collect();
            let first = from.get(&members).clone();
            let whole = group_of(members.clone(), &first.ids[0]);
            let mut turned = members;
            let by = seed.index(turned.len());
            turned.rotate_left(by);
            for member in &whole.members {
                for start in &member.ids {
                    prop_assert_eq!(&group_of(turned.clone(), start), &whole);
                }
            }
        }
    }
}
