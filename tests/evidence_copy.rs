//! The copy in Elasticsearch against the ledger: documents that somebody added, wherever he put them.

mod evidence_support;
mod search_cluster;

use evidence_support::Small;
use search_cluster::Cluster;
use serde_json::{Value, json};
use spanledger::elasticsearch::Product;
use spanledger::evidence::{Code, Compared, Copy, Findings, Verdict};
use spanledger::store::EntryView;
use spanledger::store::projection::{Origin, write_document};
use std::collections::BTreeSet;

const NAME: &str = "example/ledger";

/// What somebody does to it.
type Change = fn(&mut Value);

/// The document of an entry.
fn document(small: &Small, sequence: u64) -> (String, Value) {
    let entry = small.reader().get(sequence).unwrap().unwrap();
    let mut out = Vec::new();
    write_document(&EntryView::from(entry.as_ref()), Origin { name: NAME }, &mut out);
    (entry.id.to_string(), serde_json::from_slice(&out).unwrap())
}

/// A cluster with the documents of the first entries.
fn cluster(small: &Small, entries: u64) -> Cluster {
    let cluster = Cluster::new(Product::Elasticsearch);
    for sequence in 0..entries {
        let (id, document) = document(small, sequence);
        cluster.create(&id, &document.to_string());
    }
    cluster
}

async fn compare(
    small: &Small,
    cluster: &Cluster,
    until: u64,
    letters: &[u64],
) -> (Compared, Findings) {
    let (reader, folder) = (small.reader(), small.ledger());
    let letters: BTreeSet<u64> = letters.iter().copied().collect();
    let copy = Copy { reader: &reader, folder: &folder, origin: NAME, until, letters: &letters };
    let mut findings = Findings::default();
    let compared = copy.compare(cluster, &mut findings).await.unwrap();
    (compared, findings)
}

#[tokio::test]
async fn a_document_that_somebody_added_is_found_wherever_he_put_it() {
    let small = Small::of(8).await;
    let (compared, findings) = compare(&small, &cluster(&small, 8), 8, &[]).await;
    assert_eq!((compared.same, findings.verdict()), (8, Verdict::Ok), "{findings:?}");

    let changes: [(&str, Verdict, Change); 7] = [
        ("behind the last entry", Verdict::Compromised, |it| it["event"]["sequence"] = json!(8)),
        ("without a place", Verdict::Compromised, |it| {
            it["event"].as_object_mut().unwrap().remove("sequence");
        }),
        ("before the first entry", Verdict::Compromised, |it| it["event"]["sequence"] = json!(-1)),
        ("at a place as text", Verdict::Compromised, |it| it["event"]["sequence"] = json!("3")),
        ("at the place of another", Verdict::Compromised, |it| it["event"]["sequence"] = json!(3)),
        ("under another name", Verdict::Partial, |it| {
            it["audit"]["ledger"]["origin"] = json!("example/other");
        }),
        ("under no name", Verdict::Partial, |it| {
            it["audit"]["ledger"].as_object_mut().unwrap().remove("origin");
        }),
    ];
    for (what, verdict, change) in changes {
        let cluster = cluster(&small, 8);
        let (_, mut added) = document(&small, 2);
        added["event"]["id"] = json!("ab".repeat(16));
        change(&mut added);
        cluster.create(&"ab".repeat(16), &added.to_string());
        let (compared, findings) = compare(&small, &cluster, 8, &[]).await;
        assert_eq!(compared.same, 8, "{what}: {findings:?}");
        assert_eq!(findings.verdict(), verdict, "{what}: {findings:?}");
        assert!(findings.has(Code::ExtraDocument), "{what}: {findings:?}");
    }
}

#[tokio::test]
async fn what_the_exporter_has_not_reached_and_dead_letters_are_compared_where_they_are_there() {
    let small = Small::of(8).await;
    // Five are sent as the cursor says; two more are there already, one of them changed.
    let cluster = cluster(&small, 6);
    let (id, mut changed) = document(&small, 6);
    changed["event"]["action"] = json!("something.else");
    cluster.create(&id, &changed.to_string());
    let (compared, findings) = compare(&small, &cluster, 5, &[]).await;
    assert_eq!(compared.same, 6);
    assert_eq!(findings.listed().len(), 1, "{findings:?}");
    assert!(findings.has(Code::FieldMismatch), "{findings:?}");

    // A dead letter that is not there is known; a document in its place is not its own.
    let (_, mut forged) = document(&small, 7);
    forged["event"]["id"] = json!("cd".repeat(16));
    let (compared, findings) = compare(&small, &cluster, 8, &[7]).await;
    assert_eq!((compared.left_out, findings.listed().len()), (1, 1), "{findings:?}");
    cluster.create(&"cd".repeat(16), &forged.to_string());
    let (_, findings) = compare(&small, &cluster, 8, &[7]).await;
    let named = findings.listed().iter().any(|it| it.place.sequence == Some(7));
    assert!(named && findings.verdict() == Verdict::Compromised, "{findings:?}");
}

#[tokio::test]
async fn a_comparison_in_which_nothing_was_compared_shows_nothing() {
    let small = Small::of(4).await;
    let (compared, findings) = compare(&small, &cluster(&small, 0), 0, &[]).await;
    assert_eq!((compared.same, findings.verdict()), (0, Verdict::Partial), "{findings:?}");
}
