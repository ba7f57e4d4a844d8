//! `spanledger proof` and `verify --proof` as somebody runs them, and the examples of the documentation.

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use spanledger::ledger::checkpoint::LogKey;
use spanledger::ledger::{PublicLog, Reader};
use spanledger::pipeline::{ledger_dir, log_dir};
use std::path::Path;
use std::process::Command;
use support::requests::numbered;
use support::server::{DEADLINE, Server, look_until};

/// Sends spans, and waits for a checkpoint that covers them: gives its size.
async fn send(server: &Server, data: &Path, first: u64, count: u64) -> u64 {
    let endpoint = format!("http://{}", server.grpc());
    let mut client = TraceServiceClient::connect(endpoint).await.unwrap();
    client.export(numbered(first, count)).await.unwrap();
    let log = PublicLog::open(&log_dir(data));
    let found = look_until(DEADLINE, async || {
        let size = log.checkpoint().unwrap()?.checkpoint.head.size;
        (size >= first + count).then_some(size)
    });
    found.await.expect("a checkpoint that covers them")
}

/// Runs a line of the shell as the documentation has it: exit code, and what it says.
fn shell(line: &str, dir: &Path, data: &Path) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_spanledger"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(dir).env("PATH", path).env("NO_COLOR", "1");
    let output = command.env("SPANLEDGER_DATA", data).output().unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let text = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_is_asked_for_saved_and_checked_by_who_has_nothing_but_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, data) = (folder.path(), folder.path().join("data"));
    let server = Server::start(&data).await;
    let kept = send(&server, &data, 0, 30).await;
    std::fs::copy(data.join("log/checkpoint"), dir.join("kept")).unwrap();
    send(&server, &data, 30, 20).await;
    std::fs::copy(data.join("keys/log.pub"), dir.join("operator.vkey")).unwrap();
    let other = LogKey::generate(&format!("spanledger/{}", "0".repeat(32))).unwrap();
    std::fs::write(dir.join("other.vkey"), other.verifier().to_string()).unwrap();
    let id = Reader::open(&ledger_dir(&data)).unwrap().get(7).unwrap().unwrap().id.to_string();
    let found = look_until(DEADLINE, async || {
        (shell(&format!("spanledger proof {id}"), dir, &data).0 == 0).then_some(())
    });
    found.await.expect("the entry is found by its id");
    let run = |line: &str| shell(line, dir, &data);
    let look = |when: &str| {
        let (code, text) = run(&format!("spanledger proof {id}"));
        assert!(code == 0 && text.starts_with("entry 7 is in the tree of "), "{when}: {text}");
        assert!(text.contains(&format!("id     {id}")), "{when}: {text}");
        for (file, what) in [
            ("receipt.json", id.clone()),
            ("proof.json", "7".to_owned()),
            ("consistency.json", format!("--old {kept}")),
        ] {
            let (code, text) = run(&format!("spanledger proof {what} --json > {file}"));
            assert_eq!(code, 0, "{when}: {text}");
            let verify = format!("spanledger verify --proof {file} --strict --key");
            let (code, text) = run(&format!("{verify} operator.vkey"));
            assert!(code == 0 && text.starts_with("ok: the proof holds"), "{when} {file}: {text}");
            assert!(text.contains("signed by spanledger/"), "{when} {file}: {text}");
            let (code, text) = run(&format!("{verify} other.vkey"));
            assert!(code == 3 && text.starts_with("COMPROMISED"), "{when} {file}: {text}");
            // Without a key nobody knows who signed.
            let (code, text) = run(&format!("spanledger verify --proof {file} --strict"));
            assert!(code == 3 && text.starts_with("partial"), "{when} {file}: {text}");
        }
        let (code, text) =
            run("spanledger verify --proof consistency.json --checkpoint kept --key operator.vkey");
        assert!(code == 0 && text.starts_with("ok: "), "{when}: {text}");
        let (code, text) =
            run("spanledger verify --proof consistency.json --key operator.vkey --json");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &report["verdict"]), (0, &json!("ok")), "{text}");
        assert_eq!(report["trees"][1]["size"], kept, "{text}");
        // One size that was not the last to be signed: its root has to be known from elsewhere.
        let (code, text) = run("spanledger proof 7 --size 20 --json > smaller.json");
        assert_eq!(code, 0, "{text}");
        let smaller: Value =
            serde_json::from_slice(&std::fs::read(dir.join("smaller.json")).unwrap()).unwrap();
        let root = smaller["root"].as_str().unwrap();
        let (code, text) =
            run("spanledger verify --proof smaller.json --key operator.vkey --strict");
        assert!(code == 3 && text.contains("unsigned"), "{when}: {text}");
        let (code, text) =
            run(&format!("spanledger verify --proof smaller.json --expect 20:{root} --strict"));
        assert!(code == 0 && text.starts_with("ok: "), "{when}: {text}");
        let changed = std::fs::read_to_string(dir.join("proof.json")).unwrap();
        let changed = changed.replace("\"index\": 7", "\"index\": 8");
        std::fs::write(dir.join("changed.json"), changed).unwrap();
        let (code, text) = run("spanledger verify --proof changed.json --key operator.vkey");
        assert!(code == 3 && text.contains("does not lead to the tree"), "{when}: {text}");
        for (line, expected, why) in [
            ("spanledger proof 999999", 2, "`index` is below the size"),
            ("spanledger proof 999999", 2, "ask again a moment later"),
            ("spanledger proof ffffffffffffffffffffffffffffffff --size 3", 2, "by its sequence"),
            ("spanledger proof ffffffffffffffffffffffffffffffff", 1, "entry"),
            ("spanledger proof --old 999999", 2, "`old` is not above `new`"),
            ("spanledger proof --old 1 --new 999999", 2, "ask for a smaller size"),
            ("spanledger verify --proof kept --key operator.vkey", 1, "is no proof as"),
        ] {
            let (code, text) = run(line);
            let is_told = text.to_lowercase().contains(why);
            assert!(code == expected && is_told, "{when} {line}: {code} {text}");
        }
    };
    look("running");
    server.terminate().await;
    look("stopped");
}

/// The lines of the blocks in that language below a heading of the page about evidence.
fn examples(heading: &str, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string("docs/evidence.md").unwrap();
    let section = page.split("\n## ").find(|it| it.starts_with(heading)).expect("the section");
    let blocks = section.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|it| it.strip_prefix(language)?.strip_prefix('\n'));
    blocks.flat_map(str::lines).map(|line| line.split("  #").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_documentation_do_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, data) = (folder.path(), folder.path().join("data"));
    let server = Server::start(&data).await;
    let old = send(&server, &data, 0, 60).await;
    std::fs::copy(data.join("log/checkpoint"), dir.join("kept-in-march")).unwrap();
    let new = send(&server, &data, 60, 60).await;
    std::fs::copy(data.join("keys/log.pub"), dir.join("operator.vkey")).unwrap();
    let id = Reader::open(&ledger_dir(&data)).unwrap().get(42).unwrap().unwrap().id.to_string();
    let here = |line: &str| {
        line.replace("000102030405060708090a0b0c0d0e0f", &id)
            .replace("1000", &old.to_string())
            .replace("2000", &new.to_string())
    };
    let found = look_until(DEADLINE, async || {
        (server.status(&format!("/api/v1/entries/{id}/receipt")).await == 200).then_some(())
    });
    found.await.expect("the entry is found by its id");
    let requests = examples("Receipts and proofs", "http");
    assert_eq!(requests.len(), 3);
    for request in &requests {
        let path = here(request.strip_prefix("GET ").expect("a question"));
        let answer = server.get(&path).await;
        let file = dir.join("answer.json");
        std::fs::write(&file, answer.to_string()).unwrap();
        // Each is a proof that can be saved: of a smaller tree one that is not signed.
        let line =
            "spanledger verify --proof answer.json --key operator.vkey --checkpoint kept-in-march";
        let (code, text) = shell(line, dir, &data);
        assert!(code == 0 && !text.starts_with("COMPROMISED"), "{path}: {text}");
        let is_of_last = path.contains("receipt") || path.contains("consistency");
        assert_eq!(answer["checkpoint"].is_string(), is_of_last, "{path}: {answer}");
    }
    let commands = examples("Receipts and proofs", "sh");
    assert_eq!(commands.len(), 5);
    for command in &commands {
        let (code, text) = shell(&here(command), dir, &data);
        assert_eq!(code, 0, "{command}: {text}");
        let is_checked = command.contains("verify");
        assert!(!is_checked || text.starts_with("ok: the proof holds"), "{command}: {text}");
    }
    server.terminate().await;
}
