//! Bundles of evidence end to end: made by a server and without one, checked by this program and by
//! a second implementation that shares no line with it.

mod evidence_support;
mod support;

use evidence_support::Small;
use serde_json::{Value, json};
use spanledger::evidence::{
    Code, Item, Manifest, Parts, Verdict, check_bundle, read_bundle, report,
};
use spanledger::ledger::PublicLog;
use spanledger::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint};
use std::path::Path;
use std::process::{Command, Output};
use support::clients;
use support::governed::send;
use support::server::{DEADLINE, Server, look_until};
use support::stories::{and, span};

fn spanledger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spanledger"))
        .args(arguments)
        .env_remove("SPANLEDGER_DATA")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The other implementation's exit code and what it says.
fn python(file: &Path, key: &str) -> (i32, String) {
    let mut command = clients::command("evidence");
    let output = command.arg(file).args(["--key", key]).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// A bundle of other parts than those of the log.
fn remade(
    small: &Small,
    change: impl FnOnce(&mut Vec<Item>, &mut Option<SignedCheckpoint>),
) -> Vec<u8> {
    let (manifest, mut items, acts) = read_bundle(&small.bundle()).unwrap();
    let mut checkpoint = PublicLog::open(&small.log()).checkpoint().unwrap();
    change(&mut items, &mut checkpoint);
    let manifest = Manifest { findings: Vec::new(), verdict: None, ..manifest };
    Parts { manifest, items, acts, checkpoint, keys: vec![small.verifier()] }.write().unwrap()
}

/// What somebody does to a bundle.
type Change = Box<dyn FnOnce(&mut Vec<Item>, &mut Option<SignedCheckpoint>)>;

/// Changes of entries and their proofs, and what each is found as.
fn changed_entries() -> Vec<(&'static str, Code, Change)> {
    vec![
        (
            "a body is another",
            Code::HashMismatch,
            Box::new(|items, _| {
                items[0].body.as_mut().unwrap()[60] ^= 1;
            }),
        ),
        (
            "two bodies are swapped",
            Code::HashMismatch,
            Box::new(|items, _| {
                let body = items[0].body.take();
                items[0].body = std::mem::replace(&mut items[1].body, body);
            }),
        ),
        (
            "a body is emptied as if it was pruned",
            Code::RetentionTrimmed,
            Box::new(|items, _| {
                items[0].body = None;
                items[0].proof.pruned = true;
            }),
        ),
        (
            "two proofs are swapped",
            Code::HashMismatch,
            Box::new(|items, _| {
                let path = items[0].proof.inclusion.take();
                items[0].proof.inclusion = std::mem::replace(&mut items[1].proof.inclusion, path);
            }),
        ),
        (
            "an entry stands at another place",
            Code::HashMismatch,
            Box::new(|items, _| {
                items[8].proof.sequence += 1;
            }),
        ),
        (
            "a hash of a path is another",
            Code::HashMismatch,
            Box::new(|items, _| {
                items[2].proof.inclusion.as_mut().unwrap()[0].replace_range(..1, "x");
            }),
        ),
        (
            "a path is too long",
            Code::HashMismatch,
            Box::new(|items, _| {
                let path = items[2].proof.inclusion.as_mut().unwrap();
                path.push(path[0].clone());
            }),
        ),
        (
            "a path is too short",
            Code::HashMismatch,
            Box::new(|items, _| {
                items[2].proof.inclusion.as_mut().unwrap().pop();
            }),
        ),
        ("a proof is missing", Code::Missing, Box::new(|items, _| items[2].proof.inclusion = None)),
        (
            "an entry is there twice",
            Code::OutOfOrder,
            Box::new(|items, _| {
                items.push(items[0].clone());
            }),
        ),
        (
            "a leaf record says something else",
            Code::HashMismatch,
            Box::new(|items, _| {
                items[1].proof.leaf_record = items[0].proof.leaf_record.clone();
            }),
        ),
    ]
}

/// Changes of what is signed.
fn changed_checkpoints(small: &Small) -> Vec<(&'static str, Code, Change)> {
    let origin = small.verifier().name().to_owned();
    let head = small.reader().head();
    let other = LogKey::generate(&origin).unwrap();
    let by_another = Checkpoint { origin: origin.clone(), head };
    let elsewhere = LogKey::generate("example/other").unwrap();
    let of_another = Checkpoint { origin: "example/other".to_owned(), head };
    let smaller = spanledger::ledger::TreeHead { size: 3, root: head.root };
    vec![
        (
            "another key signed",
            Code::UnknownKey,
            Box::new(move |_, signed| {
                *signed = Some(SignedCheckpoint::sign(&by_another, &[&other]).unwrap());
            }),
        ),
        (
            "the checkpoint is another log's",
            Code::WrongOrigin,
            Box::new(move |_, signed| {
                *signed = Some(SignedCheckpoint::sign(&of_another, &[&elsewhere]).unwrap());
            }),
        ),
        ("nothing is signed", Code::Unsigned, Box::new(|_, signed| *signed = None)),
        (
            "the tree is smaller",
            Code::UnknownKey,
            Box::new(move |_, signed| {
                let key = LogKey::generate(&origin).unwrap();
                let checkpoint = Checkpoint { origin, head: smaller };
                *signed = Some(SignedCheckpoint::sign(&checkpoint, &[&key]).unwrap());
            }),
        ),
    ]
}

#[tokio::test]
async fn whoever_makes_a_bundle_anew_is_found_by_both_implementations() {
    let small = Small::of(12).await;
    let key = small.verifier();
    let dir = tempfile::tempdir().unwrap();
    let python = |bundle: &[u8]| {
        if clients::is_skipped("evidence") {
            return None;
        }
        let file = dir.path().join("bundle.zip");
        std::fs::write(&file, bundle).unwrap();
        Some(python(&file, &key.to_string()))
    };
    let sound = small.bundle();
    assert_eq!(check_bundle(&sound, std::slice::from_ref(&key)).verdict(), Verdict::Ok);
    if let Some((code, said)) = python(&sound) {
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("ok: 9 entries of 'run-1'"), "{said}");
        assert!(said.contains("not checked: report.html"), "{said}");
    }
    // With the keys that came with it nobody can say who signed.
    let trusting = check_bundle(&sound, &[]);
    assert_eq!(trusting.verdict(), Verdict::Partial);
    assert!(trusting.findings.has(Code::UnknownKey));

    let changes = changed_entries().into_iter().chain(changed_checkpoints(&small));
    for (what, code, change) in changes {
        let bundle = remade(&small, change);
        let checked = check_bundle(&bundle, std::slice::from_ref(&key));
        let findings = checked.findings.listed();
        assert!(checked.findings.has(code), "{what}: {findings:?}");
        if code == Code::RetentionTrimmed {
            // Its hash still proves it, so nobody can give it another body later.
            assert_eq!(checked.verdict(), Verdict::Partial, "{what}: {findings:?}");
            let said = findings.iter().find(|it| it.code == code).unwrap();
            assert!(said.message.contains("it says that they were pruned"), "{said:?}");
            if let Some((exit, said)) = python(&bundle) {
                assert_eq!(exit, 4, "{what}: {said}");
                assert!(said.starts_with("partial: ") && said.contains("no body of 1"), "{said}");
            }
            continue;
        }
        assert_eq!(checked.verdict(), Verdict::Compromised, "{what}: {findings:?}");
        if let Some((exit, said)) = python(&bundle) {
            assert!(exit == 3 || (exit == 1 && what.contains("hash of a path")), "{what}: {said}");
        }
    }
}

/// Writes a bundle anew around its entries, with a manifest that has the right hashes.
const REWRITE: &str = r#"
import hashlib, json, sys, zipfile
_, source, target, change = sys.argv
files = {name: zipfile.ZipFile(source).read(name) for name in zipfile.ZipFile(source).namelist()}
manifest = json.loads(files.pop("manifest.json"))
exec(change)
manifest["files"] = {name: hashlib.sha256(bytes).hexdigest() for name, bytes in files.items()}
with zipfile.ZipFile(target, "w") as bundle:
    bundle.writestr("manifest.json", json.dumps(manifest))
    for name, bytes in files.items():
        bundle.writestr(name, bytes)
"#;

/// Forms of a ZIP file that `verify` refuses: the same files packed, and with something before them.
const DEFLATED: &str =
    "zip = zipfile.ZipFile; zipfile.ZipFile = lambda path, _: zip(path, 'w', zipfile.ZIP_DEFLATED)";
const BYTES_IN_FRONT: &str = "zip = zipfile.ZipFile; open(target, 'wb').write(b'x' * 40); \
    zipfile.ZipFile = lambda path, _: zip(path, 'a')";

#[tokio::test]
async fn the_other_implementation_takes_no_file_that_no_entry_needs_and_no_bundle_without_entries()
{
    if clients::is_skipped("evidence") {
        return;
    }
    let small = Small::of(6).await;
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source.zip"), dir.path().join("target.zip"));
    std::fs::write(&source, small.bundle()).unwrap();
    let changes = [
        ("pass", 0, "ok: "),
        ("files['entries/99.json'] = b'{}'", 3, "entries/99.json belongs to no entry"),
        ("files['proof-of-innocence.html'] = b'x'", 3, "belongs to no entry"),
        ("del files['keys']", 3, "keys is not there"),
        (
            "manifest['entries'] = []; files = {k: v for k, v in files.items() if '/' not in k}",
            3,
            "the bundle has no entry",
        ),
        ("manifest['acts'] = [-1]", 3, "a sequence is not a number of an entry"),
        ("manifest['acts'] = [1.0]", 3, "a sequence is not a number of an entry"),
        ("manifest['entries'] *= 2", 3, "an entry is there twice"),
        ("manifest['entries'] = list(range(10001))", 3, "10000 are the most"),
        ("manifest['checkpoint']['size'] += 1", 3, "another tree than the checkpoint"),
        ("manifest['mapping_versions'] = []", 3, "the versions of the mappings"),
        ("manifest['innocent'] = True", 3, "a member that it cannot have"),
        ("json.dumps = lambda it: '[' * 100000", 1, "cannot be read: RecursionError"),
        (DEFLATED, 3, "is not stored as it has to be"),
        (BYTES_IN_FRONT, 3, "is not stored as it has to be"),
        ("manifest['truncated'] = True", 4, "the story has entries that are not in the bundle"),
    ];
    for (change, expected, why) in changes {
        let mut rewrite = Command::new("python3");
        let rewritten = rewrite.args(["-c", REWRITE]).arg(&source).arg(&target).arg(change);
        assert!(rewritten.status().unwrap().success(), "{change}");
        let (code, said) = python(&target, &small.verifier().to_string());
        assert!(code == expected && said.contains(why), "{change}: {code} {said}");
    }
}

/// What somebody sends who wants a reader's browser to do something, or his eyes to see something else.
const HOSTILE: [&str; 12] = [
    "<script>document.title='x'</script>",
    "\"><img src=x onerror=alert(1)>",
    "</pre></details><svg onload=alert(1)>",
    "</title></style><style>body{display:none}</style>",
    "' onmouseover='alert(1)",
    "<a href=\"javascript:alert(1)\">x</a>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid'>",
    "<iframe srcdoc='<script>1</script>'></iframe>",
    "\u{202e}dehsup\u{2066}\u{200b}",
    "\u{1b}[31mred\u{7}\u{0}",
    "<!--",
    "&lt;b&gt;&#60;i>",
];

/// Every text of a body that a report reads, and some that it does not, with that text in it.
fn hostile(text: &str, kind: &str) -> Vec<u8> {
    let many = json!([text, text]);
    let body = json!({
        "schema_version": 1, "@timestamp": "2026-11-21T08:00:01.000000000Z", "message": text,
        "trace_id": ["run-1", text], text: text,
        "event": {"action": text, "reason": text, "dataset": text, "outcome": "failure"},
        "trace": {"id": text}, "span": {"id": text, "parent_id": text, "name": text, "status": text},
        "user": {"id": text, "name": text, "email": text}, "service": {"name": text, "version": text},
        "organization": {"id": text}, "error": {"message": text, "type": text},
        "gen_ai": {
            "agent": {"id": text, "name": text}, "tool": {"name": text, "call": {"id": text}},
            "request": {"model": text}, "response": {"model": text}, "provider": {"name": text},
            "usage": {"input_tokens": 1, "output_tokens": 1, "cost": text},
        },
        "attributes": {text: text, "audit.sequence.number": text, "audit.sequence.stream_id": text},
        "audit": {
            "kind": kind, "request_type": text,
            "actor": {"id": text, "type": text, "source": text}, "target": {"id": text, "type": text},
            "decision": {"id": text, "outcome": if kind == "decision" { "block" } else { text },
                "raw": text, "reason": text, "phase": text, "source": text, "stage": text},
            "policy": {"id": many, "name": text, "rule_id": text, "snapshot": text, "version": text},
            "approval": {"id": text, "status": if kind == "approval" { "approved" } else { text },
                "resolution": text, "resolved_by": text, "resolved_at": text, "comment": text, "url": text},
            "workflow": {"id": text, "name": text, "status": text}, "run": {"id": text, "name": text},
            "step": {"id": text, "name": text, "type": text, "result": text},
            "job": {"id": text, "hash": text, "state": text}, "external": {"trace_id": many},
            "action": {"key": text, "scope": text, "args_hash": text},
            "output_safety": {"decision": text, "raw": text, "rule_id": text, "reason": text},
            "interrupt": {"reason": text, "responder": text, "response": text},
            "claims": {"tenant_id": text, "client_id": text}, "session": {"thread_id": text},
        },
    });
    body.to_string().into_bytes()
}

/// What a page consists of beside text: each tag as it stands there.
fn tags(page: &str) -> Vec<&str> {
    let rest = page.split('<').skip(1);
    rest.map(|rest| rest.split_once('>').expect("a tag ends").0).collect()
}

#[tokio::test]
async fn the_report_shows_what_sources_sent_as_text_and_runs_nothing() {
    let small = Small::of(12).await;
    let (mut manifest, mut items, acts) = read_bundle(&small.bundle()).unwrap();
    let style = "<style>";
    for hostile_text in HOSTILE {
        manifest.asked = hostile_text.to_owned();
        manifest.tenant = hostile_text.to_owned();
        manifest.trace_ids = vec![hostile_text.to_owned()];
        manifest.mapping_versions = vec![hostile_text.to_owned()];
        manifest.elsewhere = vec![hostile_text.to_owned()];
        manifest.origin = hostile_text.to_owned();
        manifest.made_by = hostile_text.to_owned();
        manifest.made_at = hostile_text.to_owned();
        let kinds = ["decision", "approval", "tool_call", "llm_call", "agent_run", "workflow_run"];
        for (item, kind) in items.iter_mut().zip(kinds.into_iter().cycle().chain([hostile_text])) {
            item.body = Some(hostile(hostile_text, kind));
        }
        items[7].body = Some(hostile(hostile_text, hostile_text));
        let page = report(&manifest, &items, &acts);
        let (head, body) = page.split_once("</style>").expect("the page has its style");
        let before = head.split(style).next().unwrap();
        assert_eq!(page.matches(style).count(), 1, "{hostile_text}");
        // Before anything that a source sent stands the policy: nothing is fetched, nothing runs.
        let policy = before.find("default-src 'none'; style-src 'unsafe-inline'").unwrap();
        assert!(policy < before.find("<title>").unwrap(), "{before}");
        for tag in tags(before).into_iter().chain(tags(body)) {
            let name = tag.trim_start_matches('/').split(' ').next().unwrap();
            let known = [
                "!DOCTYPE", "html", "head", "meta", "title", "body", "header", "p", "h1", "h2",
                "dl", "dt", "dd", "section", "strong", "ul", "ol", "li", "b", "a", "div", "span",
                "code", "time", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
                "pre", "footer",
            ];
            assert!(known.contains(&name.trim()), "{hostile_text}: <{tag}>");
            let attributes = tag.split(' ').skip(1).filter_map(|it| it.split_once('='));
            for (attribute, value) in attributes {
                let harmless = [
                    "lang",
                    "charset",
                    "http-equiv",
                    "content",
                    "name",
                    "class",
                    "id",
                    "style",
                    "data-name",
                ];
                let is_anchor = attribute == "href" && value.starts_with("\"#entry-");
                assert!(harmless.contains(&attribute) || is_anchor || name == "meta", "<{tag}>");
            }
        }
        let hidden = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
        };
        assert!(!page.contains(hidden), "{hostile_text:?}");
        for link in ["http-equiv=\"refresh", "src=\"", "url(", "href=\"h", "href=\"j"] {
            assert!(!page.contains(link), "the page is alone: {link}");
        }
    }
}

/// A run that a policy stops and a person allows, told by OTLP.
fn story() -> Vec<support::stories::Told> {
    let about = |more: Value| {
        and(json!({"external.trace_id": "langsmith-run-abc123", "run_id": "run-7"}), more)
    };
    vec![
        span(1, 1, "agent", about(json!({"gen_ai.operation.name": "invoke_agent"}))),
        span(1, 2, "decide", about(json!({"decision": "block", "policy_id": "refund-limit"}))),
        span(
            1,
            3,
            "chat",
            about(json!({"gen_ai.operation.name": "chat", "gen_ai.input.messages":
            "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"refund 17\"}]}]"})),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_makes_a_bundle_that_is_checked_anywhere() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    send(&server, "governed-agent", &story()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("evidence.zip");
    let (path, folder) = (file.to_str().unwrap(), data.path().to_str().unwrap());
    // What was acknowledged a moment ago is found a moment later.
    let found = look_until(DEADLINE, async || {
        let found = server.get("/api/v1/traces/langsmith-run-abc123").await;
        (found["count"] == 3).then_some(())
    });
    found.await.expect("the story is found");
    let made = spanledger(&["evidence", "langsmith-run-abc123", "-o", path, "--data", folder]);
    assert!(made.status.success(), "{}", text(&made));
    let keys = std::fs::read_to_string(data.path().join("log/keys")).unwrap();
    let key = keys.lines().last().unwrap();

    let elsewhere = |arguments: &[&str]| {
        let line = [&["verify", "--bundle", path][..], arguments].concat();
        let checked = spanledger(&line);
        (checked.status.code().unwrap(), text(&checked))
    };
    let (code, said) = elsewhere(&["--key", key, "--strict"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("ok: ") && said.contains("3 entries"), "{said}");
    let (code, said) = elsewhere(&["--strict"]);
    assert_eq!((code, said.starts_with("partial: ")), (3, true), "without a key: {said}");
    let (_, json) = elsewhere(&["--key", key, "--json"]);
    let checked: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&checked["verdict"], &checked["tenant"]), (&json!("ok"), &json!("default")));
    assert_eq!(checked["entries"].as_array().unwrap().len(), 3);
    if !clients::is_skipped("evidence") {
        let (code, said) = python(&file, key);
        assert_eq!(code, 0, "{said}");
    }
    let again = spanledger(&["evidence", "langsmith-run-abc123", "-o", path, "--data", folder]);
    assert_eq!(again.status.code(), Some(1), "a file is not replaced: {}", text(&again));
    let unknown =
        spanledger(&["evidence", "nobody-knows", "-o", path, "--data", folder, "--force"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown));

    // The receipt of one of its entries, and the proofs of the log.
    let entry = &server.get("/api/v1/traces/run-7").await["entries"][0];
    let id = entry["event"]["id"].as_str().unwrap();
    let receipt = server.get(&format!("/api/v1/entries/{id}/receipt")).await;
    assert_eq!(
        (&receipt["state"], &receipt["leaf_hash"]),
        (&json!("proved"), &entry["event"]["hash"])
    );
    assert!(receipt["checkpoint"].as_str().unwrap().contains("spanledger/"));
    let index = receipt["sequence"].as_u64().unwrap();
    let proof = server.get(&format!("/api/v1/log/inclusion?index={index}")).await;
    assert_eq!(proof["leaf_hash"], receipt["leaf_hash"]);
    let consistency = server.get("/api/v1/log/consistency?old=1").await;
    assert_eq!(consistency["old"], 1);
    assert_eq!(server.status("/api/v1/log/inclusion?index=999999").await, 400);

    // Beside a running server what is complete is checked.
    for round in 0..5 {
        let more = span(2, 10 + round, "more", json!({"run_id": "run-8"}));
        send(&server, "governed-agent", &[more]).await;
        let beside = spanledger(&["verify", "--data", folder, "--key", key, "--strict"]);
        assert!(beside.status.success(), "round {round}: {}", text(&beside));
    }

    // Without its server the folder makes the same.
    server.terminate().await;
    let offline = spanledger(&["evidence", "run-7", "-o", path, "--data", folder, "--force"]);
    assert!(offline.status.success(), "{}", text(&offline));
    assert_eq!(elsewhere(&["--key", key, "--strict"]).0, 0);
    let checked = spanledger(&["verify", "--data", folder, "--key", key, "--strict"]);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(text(&checked).starts_with("ok: "), "{}", text(&checked));
}
