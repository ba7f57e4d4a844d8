//! Two collectors and a cluster in memory.

use super::super::documents::{Ask, Documents, Fetched, Found, Lack, Place, Rights, Written};
use super::super::link::Link;
use super::super::memory::Known;
use super::*;
use crate::correlate::{Id, Member, Namespace, PauseKind};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A document and what a search sees of it.
#[derive(Debug, Clone)]
struct Doc {
    tenant: String,
    origin: String,
    member: Member,
    forms: Vec<String>,
    source: String,
    seq_no: u64,
    /// The source at the last refresh.
    seen: Option<String>,
    is_blocked: bool,
}

#[derive(Debug, Default)]
struct Cluster {
    docs: BTreeMap<Place, Doc>,
    links: BTreeMap<String, Link>,
    seq_no: u64,
    writes: usize,
    finds: usize,
    /// Somebody else writes the document first, so many times.
    races: usize,
    rights: Option<Rights>,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Cluster>>);

fn late(source: &str) -> (Vec<String>, bool) {
    let json: Value = serde_json::from_str(source).unwrap();
    let late = json["audit"]["correlation"]["trace_id"].as_array().cloned().unwrap_or_default();
    let late = late.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    (late, json["audit"]["correlation"]["truncated"] == true)
}

impl Documents for Shared {
    fn rights(&mut self) -> Result<Rights, LateError> {
        Ok(self.0.lock().unwrap().rights.unwrap_or(Rights { read: true, index: true }))
    }

    fn refresh(&mut self, _classes: &[u8]) -> Result<(), LateError> {
        let mut cluster = self.0.lock().unwrap();
        cluster.docs.values_mut().for_each(|doc| doc.seen = Some(doc.source.clone()));
        Ok(())
    }

    fn find(&mut self, ask: &Ask<'_>, visit: &mut dyn FnMut(Found)) -> Result<bool, LateError> {
        let mut cluster = self.0.lock().unwrap();
        cluster.finds += 1;
        let mut left = ask.limit;
        for (place, doc) in &cluster.docs {
            let Some(seen) = &doc.seen else { continue };
            let (late, truncated) = late(seen);
            // As in the index, late ids are found too.
            let copied = late.iter().map(|id| Id::new(Namespace::Trace, id.clone()));
            let mut own = doc.member.ids.iter().cloned().chain(copied);
            let thread = doc.member.pause.iter().map(|(thread, _)| thread);
            let carries = if ask.pauses_only {
                ask.ids.iter().any(|id| thread.clone().any(|own| own.is_same_as(id)))
            } else {
                own.any(|own| ask.ids.iter().any(|id| own.is_same_as(id)))
            };
            let is_asked = doc.tenant == ask.tenant && ask.except_origin != Some(&doc.origin);
            if !(carries && is_asked) {
                continue;
            }
            if left == 0 {
                return Ok(true);
            }
            left -= 1;
            let (member, forms) = (doc.member.clone(), doc.forms.clone());
            visit(Found { member, forms, late, truncated, place: place.clone() });
        }
        Ok(false)
    }

    fn lacking(
        &mut self,
        tenant: &str,
        groups: &[Lack<'_>],
        visit: &mut dyn FnMut(usize, Place),
    ) -> Result<(), LateError> {
        for (place, doc) in &self.0.lock().unwrap().docs {
            let Some(seen) = &doc.seen else { continue };
            let (late, _) = late(seen);
            let of = groups.iter().position(|group| {
                let carries = |own: &Id<'_>| group.ids.iter().any(|id| id.is_same_as(own));
                let has = |form: &String| doc.forms.contains(form) || late.contains(form);
                doc.member.ids.iter().any(carries) && !group.forms.iter().all(has)
            });
            if let Some(group) = of.filter(|_| doc.tenant == tenant) {
                visit(group, place.clone());
            }
        }
        Ok(())
    }

    fn fetch(&mut self, places: &[Place]) -> Result<Vec<Fetched>, LateError> {
        let cluster = self.0.lock().unwrap();
        let fetched = places.iter().filter_map(|place| {
            let doc = cluster.docs.get(place)?;
            let (place, source) = (place.clone(), doc.source.clone());
            Some(Fetched { place, seq_no: doc.seq_no, primary_term: 1, source })
        });
        Ok(fetched.collect())
    }

    fn write(&mut self, documents: &[Fetched]) -> Result<Vec<Written>, LateError> {
        let mut cluster = self.0.lock().unwrap();
        let mut written = Vec::new();
        for document in documents {
            cluster.seq_no += 1;
            let seq_no = cluster.seq_no;
            let raced = cluster.races > 0;
            cluster.races = cluster.races.saturating_sub(1);
            let doc = cluster.docs.get_mut(&document.place).unwrap();
            if raced {
                doc.seq_no = seq_no;
            }
            written.push(if doc.is_blocked {
                Written::Unwritable
            } else if doc.seq_no == document.seq_no {
                doc.seq_no = seq_no;
                doc.source.clone_from(&document.source);
                cluster.writes += 1;
                Written::Done
            } else {
                Written::Conflict
            });
        }
        Ok(written)
    }

    fn link(&mut self, links: &[Link]) -> Result<usize, LateError> {
        let mut cluster = self.0.lock().unwrap();
        let before = cluster.links.len();
        cluster.links.extend(links.iter().map(|link| (link.id.clone(), link.clone())));
        Ok(cluster.links.len() - before)
    }
}

fn id(namespace: Namespace, text: &str) -> Id<'static> {
    Id::new(namespace, text.to_owned())
}

fn entry(number: u64, ids: &[(Namespace, &str)]) -> Seed {
    let member = Member {
        sequence: number,
        entry: u128::from(number).to_be_bytes(),
        event_ns: number,
        ids: ids.iter().map(|(namespace, text)| id(*namespace, text)).collect(),
        ..Member::default()
    };
    let traces = ids.iter().filter(|(namespace, _)| *namespace == Namespace::Trace);
    let forms = traces.map(|(_, text)| (*text).to_owned()).collect();
    let tenant = "acme".to_owned();
    Seed { sequence: number, tenant, class: 0, received_ns: number, member, forms }
}

impl Shared {
    /// The exporter of a collector delivers an entry.
    fn deliver(&self, origin: &str, seed: &Seed) {
        let mut cluster = self.0.lock().unwrap();
        cluster.seq_no += 1;
        let source = json!({
            "organization": {"id": seed.tenant}, "trace_id": seed.forms, "audit": {"kind": "span"},
        });
        let place = Place { index: "i".to_owned(), id: format!("{:032x}", seed.sequence) };
        let doc = Doc {
            tenant: seed.tenant.clone(),
            origin: origin.to_owned(),
            member: seed.member.clone(),
            forms: seed.forms.clone(),
            source: source.to_string(),
            seq_no: cluster.seq_no,
            seen: None,
            is_blocked: false,
        };
        cluster.docs.insert(place, doc);
    }

    /// Every id under which each document is found.
    fn found(&self) -> BTreeMap<u64, BTreeSet<String>> {
        let cluster = self.0.lock().unwrap();
        let all = cluster.docs.iter().map(|(place, doc)| {
            let number = u64::from_str_radix(&place.id, 16).unwrap();
            (number, doc.forms.iter().cloned().chain(late(&doc.source).0).collect())
        });
        all.collect()
    }

    fn correlator(&self, origin: &str) -> Correlator<Shared> {
        Correlator {
            documents: self.clone(),
            memory: Memory::new(1_000),
            rules: JoinRules::default(),
            origin: origin.to_owned(),
            status: Arc::default(),
            local: None,
            rights: None,
        }
    }
}

use Namespace::{Run, Trace};

#[test]
fn earlier_documents_get_the_external_id_and_a_second_look_writes_nothing() {
    let cluster = Shared::default();
    let mut correlator = cluster.correlator("a");
    let children = [entry(1, &[(Trace, "t")]), entry(2, &[(Trace, "t")])];
    let root = [entry(3, &[(Trace, "t"), (Trace, "ext")])];
    for seeds in [&children[..], &root] {
        for seed in seeds {
            cluster.deliver("a", seed);
        }
        correlator.round(seeds).unwrap();
    }
    let whole: BTreeSet<String> = ["ext".to_owned(), "t".to_owned()].into();
    assert!(cluster.found().values().all(|ids| *ids == whole), "{:?}", cluster.found());
    assert_eq!(correlator.status.updated(), 2);
    correlator.round(&root).unwrap();
    correlator.memory = Memory::new(1_000);
    correlator.round(&children).unwrap();
    assert_eq!(correlator.status.updated(), 2, "all have what they need");
    // One that comes later lacks it, though its trace is known.
    let later = entry(4, &[(Trace, "t")]);
    cluster.deliver("a", &later);
    correlator.round(&[later]).unwrap();
    assert_eq!(cluster.found()[&4], whole);
}

#[test]
fn a_known_trace_gets_what_another_collector_knows_by_now() {
    let cluster = Shared::default();
    let (mut a, mut b) = (cluster.correlator("a"), cluster.correlator("b"));
    let (child, root) = (entry(1, &[(Trace, "t")]), entry(2, &[(Trace, "t"), (Trace, "ext")]));
    cluster.deliver("a", &child);
    a.round(&[child]).unwrap();
    cluster.deliver("b", &root);
    b.round(&[root]).unwrap();
    let later = entry(3, &[(Trace, "t")]);
    cluster.deliver("a", &later);
    a.round(&[later]).unwrap();
    for (number, ids) in cluster.found() {
        assert!(ids.contains("ext"), "{number}");
    }
}

#[test]
fn a_document_that_somebody_changed_meanwhile_is_read_again_and_keeps_what_it_was_given() {
    let cluster = Shared::default();
    let mut correlator = cluster.correlator("a");
    let seeds = [entry(1, &[(Trace, "t")]), entry(2, &[(Trace, "t"), (Trace, "ext")])];
    for seed in &seeds {
        cluster.deliver("a", seed);
    }
    cluster.0.lock().unwrap().races = 3;
    correlator.round(&seeds).unwrap();
    assert_eq!((correlator.status.conflicts(), correlator.status.updated()), (3, 1));
    cluster.0.lock().unwrap().races = usize::MAX;
    let more = entry(3, &[(Trace, "t"), (Trace, "ext-2")]);
    cluster.deliver("a", &more);
    assert!(matches!(correlator.round(&[more]), Err(LateError::Contended)));
}

#[test]
fn no_id_joins_entries_of_two_tenants() {
    let cluster = Shared::default();
    let mut correlator = cluster.correlator("a");
    let mine = entry(1, &[(Trace, "t"), (Trace, "ext")]);
    let theirs = Seed { tenant: "other".to_owned(), ..entry(2, &[(Trace, "t")]) };
    let seeds = [mine, theirs];
    for seed in &seeds {
        cluster.deliver("a", seed);
    }
    correlator.round(&seeds).unwrap();
    assert_eq!(cluster.found()[&2], ["t".to_owned()].into());
    // Not even when a search gives the document of somebody else.
    let theirs = Place { index: "i".to_owned(), id: format!("{:032x}", 2) };
    let plan = Plan {
        places: [theirs].into(),
        group: Known { forms: ["ext".to_owned()].into(), ..Known::default() },
        ..Plan::default()
    };
    let status = LateStatus::default();
    let mut documents = cluster.clone();
    let mut update = Update { tenant: "acme", documents: &mut documents, status: &status };
    assert_eq!(update.apply(&[plan]).unwrap(), [Outcome::default()]);
    assert_eq!(cluster.found()[&2], ["t".to_owned()].into());
}

#[test]
fn a_resume_joins_the_run_that_it_answers() {
    let cluster = Shared::default();
    let (mut a, mut b) = (cluster.correlator("a"), cluster.correlator("b"));
    let pausing = |mut seed: Seed, kind| {
        seed.member.pause = Some((id(Namespace::Thread, "thread"), vec![kind]));
        seed
    };
    let interrupt = pausing(entry(1, &[(Trace, "t1")]), PauseKind::Interrupt);
    let resume = pausing(entry(2, &[(Trace, "t2")]), PauseKind::Resume);
    cluster.deliver("a", &interrupt);
    a.round(&[interrupt]).unwrap();
    cluster.deliver("b", &resume);
    b.round(&[resume]).unwrap();
    let later = entry(3, &[(Trace, "t1")]);
    cluster.deliver("a", &later);
    a.round(&[later]).unwrap();
    for (number, ids) in cluster.found() {
        assert_eq!(ids.len(), 2, "{number} {ids:?}");
    }
}

#[test]
fn what_cannot_be_changed_gets_one_link_however_often_it_is_looked_at() {
    let cluster = Shared::default();
    let mut correlator = cluster.correlator("a");
    let child = entry(1, &[(Trace, "t")]);
    cluster.deliver("a", &child);
    correlator.round(std::slice::from_ref(&child)).unwrap();
    cluster.0.lock().unwrap().docs.values_mut().for_each(|doc| doc.is_blocked = true);
    let root = entry(2, &[(Trace, "t"), (Trace, "ext")]);
    cluster.deliver("a", &root);
    for _ in 0..2 {
        correlator.memory = Memory::new(1_000);
        correlator.round(std::slice::from_ref(&root)).unwrap();
    }
    assert_eq!((cluster.0.lock().unwrap().links.len(), correlator.status.links()), (1, 1));
}

#[test]
fn a_key_that_may_not_read_makes_links_of_what_its_own_collector_knows() {
    for rights in [Rights { read: false, index: false }, Rights { read: true, index: false }] {
        let cluster = Shared::default();
        cluster.0.lock().unwrap().rights = Some(rights);
        let mut correlator = cluster.correlator("a");
        let seeds = [entry(1, &[(Trace, "t")]), entry(2, &[(Trace, "t"), (Trace, "ext")])];
        for seed in seeds {
            cluster.deliver("a", &seed);
            correlator.round(&[seed]).unwrap();
        }
        let cluster = cluster.0.lock().unwrap();
        assert_eq!((cluster.links.len(), cluster.writes), (1, 0), "{rights:?}");
        let link: Value =
            serde_json::from_str(&cluster.links.values().next().unwrap().document).unwrap();
        assert_eq!(link["trace_id"], json!(["ext", "t"]));
        assert!(correlator.status.is_reduced());
    }
}

#[test]
fn ids_of_many_entries_are_searched_for_together() {
    let cluster = Shared::default();
    let mut correlator = cluster.correlator("a");
    let seeds: Vec<Seed> = (0..500).map(|n| entry(n, &[(Trace, &format!("t{n}"))])).collect();
    for seed in &seeds {
        cluster.deliver("a", seed);
    }
    correlator.round(&seeds).unwrap();
    assert_eq!(cluster.0.lock().unwrap().finds, 1);
}

proptest! {
    /// Entries of three collectors are delivered and looked at in any order, with looks repeated
    /// and memories lost: at the end each document is found by every trace id of its group.
    #[test]
    fn whatever_the_order_every_document_ends_with_every_id_of_its_group(
        rows in prop::collection::vec((0..5_u8, 0..4_u8, 0..3_usize), 1..14),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        forget in prop::collection::vec(any::<bool>(), 40),
    ) {
        let cluster = Shared::default();
        let mut collectors: Vec<_> =
            ["a", "b", "c"].iter().map(|origin| cluster.correlator(origin)).collect();
        let seeds: Vec<(Seed, usize)> = rows.iter().enumerate().map(|(at, (trace, run, of))| {
            let ids = [(Trace, format!("t{trace}")), (Run, format!("r{run}"))];
            let ids: Vec<_> = ids.iter().map(|(n, text)| (*n, text.as_str())).take(1 + at % 2).collect();
            (entry(at as u64, &ids), *of)
        }).collect();
        // Delivered but not looked at yet, for each collector.
        let mut waiting: Vec<Vec<Seed>> = vec![Vec::new(); 3];
        let mut left = seeds.clone();
        for (at, index) in order.iter().enumerate() {
            if !left.is_empty() && at % 3 != 2 {
                let (seed, of) = left.remove(index.index(left.len()));
                cluster.deliver(["a", "b", "c"][of], &seed);
                waiting[of].push(seed);
            } else {
                let of = index.index(3);
                if forget[at] {
                    collectors[of].memory = Memory::new(1_000);
                }
                collectors[of].round(&waiting[of]).unwrap();
                if !forget[at] {
                    waiting[of].clear();
                }
            }
        }
        for (seed, of) in left {
            cluster.deliver(["a", "b", "c"][of], &seed);
            waiting[of].push(seed);
        }
        for of in 0..3 {
            collectors[of].round(&waiting[of]).unwrap();
        }
        let found = cluster.found();
        for (seed, _) in &seeds {
            let mut group: BTreeSet<Id<'static>> = seed.member.ids.iter().cloned().collect();
            for _ in 0..seeds.len() {
                for (other, _) in &seeds {
                    if other.member.ids.iter().any(|id| group.contains(id)) {
                        group.extend(other.member.ids.iter().cloned());
                    }
                }
            }
            let wanted: BTreeSet<String> = group
                .iter()
                .filter(|id| id.namespace == Trace)
                .map(|id| id.text.to_string())
                .collect();
            prop_assert_eq!(&found[&seed.sequence], &wanted);
        }
    }
}
