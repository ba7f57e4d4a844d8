//! Bundles of one entry that somebody writes anew around it: what no signature covers.

use super::super::make::{Parts, pretty};
use super::super::spool::Spool;
use super::*;
use crate::access::Tenant;
use crate::ledger::checkpoint::{Checkpoint, LogKey};
use serde_json::{Value, json};

const BODY: &str = r#"{"schema_version":1,"@timestamp":"2026-11-21T08:00:00Z","trace_id":["run-1"],"audit":{"kind":"span"}}"#;

/// What somebody does to it.
type Change = fn(&mut BTreeMap<String, Vec<u8>>, &mut Value);

/// The key of a log with one entry, and a bundle of it.
fn sound() -> (LogKey, Vec<u8>) {
    let key = LogKey::generate("example/log").unwrap();
    let mut record = vec![1];
    record.extend([7; 32]);
    record.extend([0; 16]);
    record.extend(*b"mapping1");
    record.extend([0; 2]);
    record.extend(Sha256::digest(BODY));
    record.push(0);
    let leaf = LeafRecord::read(&record).unwrap();
    let leaf_hash = merkle::leaf_hash(&record);
    let proof = Proof {
        id: leaf.id.to_string(),
        leaf_hash: hex(&leaf_hash),
        leaf_record: base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &record),
        inclusion: Some(Vec::new()),
        ..Proof::default()
    };
    let item = Item { proof, leaf, leaf_hash, body: Some(BODY.as_bytes().to_vec()) };
    let manifest = Manifest::new("run-1", &Tenant::default(), "example/log", "now".to_owned());
    let keys = vec![key.verifier().clone()];
    let checkpoint = Some(signed(&key, TreeHead { size: 1, root: leaf_hash }));
    let bundle =
        Parts { manifest, items: vec![item], acts: Vec::new(), checkpoint, keys }.write().unwrap();
    (key, bundle)
}

fn signed(key: &LogKey, head: TreeHead) -> SignedCheckpoint {
    let origin = key.verifier().name().to_owned();
    SignedCheckpoint::sign(&Checkpoint { origin, head }, &[key]).unwrap()
}

/// The bundle with other files and another manifest, which has the hashes of these files.
fn rewritten(
    bundle: &[u8],
    change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, &mut Value),
) -> Vec<u8> {
    let members = zip::read(&bundle).unwrap().unwrap();
    let whole = |it: Member| (it.name, bundle.whole(&it.range).unwrap());
    let mut files: BTreeMap<String, Vec<u8>> = members.into_iter().map(whole).collect();
    let mut manifest: Value = serde_json::from_slice(&files.remove(MANIFEST).unwrap()).unwrap();
    change(&mut files, &mut manifest);
    let hashes = files.iter().map(|(name, bytes)| (name.clone(), hex(&Sha256::digest(bytes))));
    manifest["files"] = hashes.collect::<BTreeMap<_, _>>().into_iter().collect();
    let mut spool = Spool::in_memory();
    let mut writer = zip::Writer::new(&mut spool);
    writer.member(MANIFEST, &pretty(&manifest)).unwrap();
    for (name, bytes) in &files {
        writer.member(name, bytes).unwrap();
    }
    writer.finish().unwrap();
    spool.into_bytes().unwrap()
}

fn checked(key: &LogKey, bundle: &[u8]) -> Checked {
    check_bundle(bundle, &[key.verifier().clone()])
}

/// Verdict, and the findings in one text.
fn said(checked: &Checked) -> (Verdict, String) {
    let findings: Vec<_> = checked.findings.listed().iter().map(ToString::to_string).collect();
    (checked.verdict(), findings.join("\n"))
}

#[test]
fn a_bundle_of_this_version_is_exactly_what_its_entries_make() {
    let (key, bundle) = sound();
    assert_eq!(said(&checked(&key, &bundle)), (Verdict::Ok, String::new()));
    let same = rewritten(&bundle, |_, _| {});
    assert_eq!(said(&checked(&key, &same)), (Verdict::Ok, String::new()));
    let changes: [(&str, Change); 8] = [
        ("report", |files, _| *files.get_mut(REPORT).unwrap() = b"<p>all is well</p>".to_vec()),
        ("instructions", |files, _| *files.get_mut(INSTRUCTIONS).unwrap() = b"ask me".to_vec()),
        ("does not name the file", |files, _| drop(files.remove(INSTRUCTIONS))),
        ("does not name the file", |files, _| drop(files.remove(KEYS))),
        ("verdict that it tells", |_, manifest| manifest["verdict"] = json!("partial")),
        ("verdict that it tells", |_, manifest| {
            manifest["findings"] = json!([{"code": "erased", "weight": "ok", "message": "x"}]);
        }),
        ("versions of the mappings", |_, manifest| manifest["mapping_versions"] = json!(["0"])),
        ("no entry of the manifest", |files, _| {
            files.insert("extra.txt".to_owned(), b"x".to_vec());
        }),
    ];
    for (what, change) in changes {
        let (verdict, text) = said(&checked(&key, &rewritten(&bundle, change)));
        assert!(verdict == Verdict::Compromised && text.contains(what), "{what}: {text}");
    }
}

#[test]
fn a_bundle_of_another_version_is_partial_since_its_report_was_not_checked() {
    let (key, bundle) = sound();
    let other = rewritten(&bundle, |files, manifest| {
        manifest["made_by"] = json!("spanledger 99.0.0");
        *files.get_mut(REPORT).unwrap() = b"<p>all is well</p>".to_vec();
    });
    let (verdict, text) = said(&checked(&key, &other));
    assert_eq!(verdict, Verdict::Partial, "{text}");
    assert!(text.contains("were not checked") && text.contains("--report"), "{text}");
}

#[test]
fn a_manifest_that_names_an_entry_twice_or_too_many_is_read_no_further() {
    let (key, bundle) = sound();
    let twice = rewritten(&bundle, |_, manifest| manifest["acts"] = json!([0, 0]));
    let many = rewritten(&bundle, |_, manifest| {
        manifest["entries"] = (0..=MAX_ENTRIES).collect();
    });
    for (bundle, why) in [(twice, "entry 0 is there twice"), (many, "at most 10000")] {
        let found = checked(&key, &bundle);
        let (verdict, text) = said(&found);
        assert!(verdict == Verdict::Compromised && text.contains(why), "{text}");
        assert_eq!((found.findings.listed().len(), found.entries.len()), (1, 0), "{text}");
    }
}

#[test]
fn a_report_that_is_drawn_anew_says_what_was_found_and_of_what_is_false_nothing() {
    let (key, bundle) = sound();
    let drawn = |bundle: &[u8], keys: &[VerifierKey]| {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bundle).unwrap();
        let checked = check_bundle_file(&file, keys).unwrap();
        let mut page = String::new();
        let mut put = |text: &str| {
            page.push_str(text);
            Ok(())
        };
        redraw_report(&file, &checked, &mut put).unwrap();
        page
    };
    let known = [key.verifier().clone()];
    let page = drawn(&bundle, &known);
    assert!(page.contains("run-1") && !page.contains("came with the bundle"), "{page}");
    // Nobody gave a key: the page says so, whatever the bundle says of itself.
    assert!(drawn(&bundle, &[]).contains("came with the bundle"));
    let changed = rewritten(&bundle, |files, manifest| {
        let body = files.get_mut(&entry_name(0)).unwrap();
        *body = BODY.replace("run-1", "run-9").into_bytes();
        (manifest["verdict"], manifest["findings"]) = (json!("ok"), json!([]));
    });
    assert_eq!(drawn(&changed, &known), "");
}

#[test]
fn of_the_lines_of_a_sink_those_of_the_same_size_are_compared() {
    let (key, bundle) = sound();
    let head = checked(&key, &bundle).head.unwrap();
    let line =
        |number: u64, head| Kept { name: format!("sink:{number}"), signed: signed(&key, head) };
    let compared = |kept: &[Kept]| {
        let mut checked = checked(&key, &bundle);
        checked.compare(kept);
        (checked.verdict(), checked.findings.listed().len())
    };
    let [later, last] = [2, 3].map(|size| TreeHead { size, root: [7; 32] });
    let of = |same| [line(1, same), line(2, later), line(3, last)];
    assert_eq!(compared(&of(head)), (Verdict::Ok, 0));
    assert_eq!(compared(&of(head)[1..]), (Verdict::Partial, 1));
    let another = TreeHead { root: [7; 32], ..head };
    assert_eq!(compared(&of(another)), (Verdict::Compromised, 1));
}

#[test]
fn witnesses_count_that_signed_the_tree_of_the_bundle() {
    use crate::evidence::Witnesses;
    let (key, bundle) = sound();
    let witness = crate::ledger::TestWitness::new("w.example/w");
    let known = vec![witness.verifier().clone()];
    let cosigned = |head| {
        let signed = signed(&key, head);
        let line = witness.line(&signed.checkpoint.text(), 1_700_000_000);
        let signed = signed.with_cosignatures(&line, &known).unwrap();
        Kept { name: "kept".to_owned(), signed }
    };
    let checked = checked(&key, &bundle);
    let head = checked.head.unwrap();
    let counts = |kept: &[Kept]| {
        let witnesses = Witnesses { keys: known.clone(), quorum: 1 };
        witnesses.check(&checked.witnessing(kept), &mut Findings::default()).is_some()
    };
    assert!(!counts(&[]));
    assert!(counts(&[cosigned(head)]));
    assert!(!counts(&[cosigned(TreeHead { size: 9, ..head })]), "another tree");
}

#[test]
fn a_bundle_without_entries_shows_nothing() {
    let (key, bundle) = sound();
    let empty = rewritten(&bundle, |files, manifest| {
        files.retain(|name, _| !name.contains('/'));
        manifest["entries"] = json!([]);
        manifest["made_by"] = json!("another");
    });
    let checked = checked(&key, &empty);
    assert!(checked.findings.has(Code::Missing), "{:?}", said(&checked));
    assert_eq!(checked.verdict(), Verdict::Compromised);
}

#[test]
fn an_id_that_no_entry_carries_is_told() {
    let (key, bundle) = sound();
    let asked = |id: &str| {
        let other = rewritten(&bundle, |_, manifest| {
            manifest["asked"] = json!(id);
            // So that the report, which shows the id, is not what is found.
            manifest["made_by"] = json!("another");
        });
        said(&checked(&key, &other)).1.contains("no entry carries")
    };
    assert!(!asked("run-1") && !asked("RUN-1"));
    assert!(asked("run-2"));
}

#[test]
fn a_kept_checkpoint_of_another_size_is_told_as_not_comparable_and_its_signature_checked() {
    let (key, bundle) = sound();
    let compared = |signed| {
        let mut checked = checked(&key, &bundle);
        checked.compare(&[Kept { name: "kept".to_owned(), signed }]);
        said(&checked)
    };
    let head = checked(&key, &bundle).head.unwrap();
    assert_eq!(compared(signed(&key, head)), (Verdict::Ok, String::new()));
    let (verdict, text) = compared(signed(&key, TreeHead { size: 9, ..head }));
    assert!(verdict == Verdict::Partial && text.contains("without the log"), "{text}");
    let forger = LogKey::generate("example/log").unwrap();
    let (verdict, text) = compared(signed(&forger, TreeHead { size: 9, ..head }));
    assert!(verdict == Verdict::Compromised && text.contains("unknown_key: kept"), "{text}");
}
