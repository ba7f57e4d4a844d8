//! Dead letters as the operator meets them: listed, given up, and looked at without a server.

mod support;

use spanledger::elasticsearch::{DeadLetter, DeadLetters};
use std::path::Path;
use std::process::Command;
use support::server::{Server, binary};

/// Nobody listens there, so nothing is delivered meanwhile.
const NO_CLUSTER: &str = "http://127.0.0.1:1";

fn letter(sequence: u64) -> DeadLetter {
    DeadLetter {
        sequence,
        id: format!("{sequence:032x}"),
        tenant: "default".to_owned(),
        data_stream: "spanledger-default".to_owned(),
        status: 400,
        error_type: "document_parsing_exception".to_owned(),
        reason: String::new(),
        first_attempt_ns: 1_795_241_529_000_000_000,
        last_attempt_ns: 1_795_241_529_000_000_000,
        attempts: 1,
    }
}

/// What `dead-letters` says on standard output and error, and its exit code.
fn dead_letters(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.arg("dead-letters").args(arguments).arg("--data").arg(data);
    let done = command.output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(text).unwrap())
}

fn shown(data: &Path) -> String {
    let (code, text) = dead_letters(data, &["list"]);
    assert_eq!(code, Some(0), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_drops_letters_with_a_reason_that_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("dead-letters");
    let letters = DeadLetters::open(&folder).unwrap();
    letters.append((0..1_003).map(letter).collect()).unwrap();
    drop(letters);
    let server = Server::start_with(data.path(), &["--elasticsearch", NO_CLUSTER]).await;
    assert!(
        shown(data.path())
            .ends_with("100 of 1003 shown\nmore: spanledger dead-letters list --from 100\n")
    );

    for reason in ["", "  ", "two\nlines", &"x".repeat(501)] {
        let (code, text) = dead_letters(data.path(), &["drop", "7", "--reason", reason]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("`reason` says why"), "{text}");
    }
    let (code, _) = dead_letters(data.path(), &["drop", "7"]);
    assert_eq!(code, Some(2), "a reason is asked for");
    let drop_some = ["drop", "7", "9", "5000", "--reason", "a test's"];
    let (code, text) = dead_letters(data.path(), &drop_some);
    assert_eq!((code, &*text), (Some(1), "2 dropped: in the ledger only, 1 unknown\n"));
    assert!(shown(data.path()).contains("100 of 1001 shown"));
    server.terminate().await;

    assert!(shown(data.path()).contains("100 of 1001 shown"), "without a server too");
    let (code, text) = dead_letters(data.path(), &["drop", "--all", "--reason", "x"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("no server runs"), "{text}");
    let log = std::fs::read_to_string(folder.join("letters.log")).unwrap();
    let told = r#"{"resolved":{"sequence":7,"how":{"dropped":{"by":"local","reason":"a test's"}},"#;
    assert_eq!(log.matches(told).count(), 1);

    let server = Server::start_with(data.path(), &["--elasticsearch", NO_CLUSTER]).await;
    let (code, text) = dead_letters(data.path(), &["drop", "--all", "--reason", "x"]);
    assert_eq!((code, &*text), (Some(0), "1001 dropped: in the ledger only, 0 unknown\n"));
    assert!(shown(data.path()).starts_with("no dead letters"));
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_was_ever_exported_there_are_no_letters_to_list() {
    let data = tempfile::tempdir().unwrap();
    Server::start(data.path()).await.terminate().await;
    let (code, text) = dead_letters(data.path(), &["list"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("Nothing is exported"), "{text}");
}
