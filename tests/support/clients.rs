//! The programs of `tests/clients/`, which `scripts/prepare-clients` builds.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The command of a prepared client. A client that is not there fails the test and says what to do.
pub fn command(client: &str) -> Command {
    let home = prepared().join(client);
    let (program, script) = match client {
        "python" | "frameworks" | "langsmith" | "axonflow" => {
            (home.join("venv/bin/python"), Some(home.join("client.py")))
        }
        "evidence" => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify_bundle.py");
            (home.join("venv/bin/python"), Some(script))
        }
        "js" => ("node".into(), Some(home.join("client.mjs"))),
        "go" | "log" | "witness" => (home.join("client"), None),
        "collector" => (home.join("collector"), None),
        "opa" => (home.join("opa"), None),
        _ => ("java".into(), Some(home.join("client-java.jar"))),
    };
    let needed = script.as_ref().filter(|it| it.starts_with(&home)).unwrap_or(&program);
    assert!(
        needed.exists() && home.join(".stamp").exists(),
        "the {client} client is not prepared ({} is missing): run `scripts/prepare-clients {client}`, \
         or leave it out with SPANLEDGER_SKIP_CLIENTS={client}",
        needed.display()
    );
    let mut command = Command::new(program);
    if client == "java" {
        command.arg("-jar");
    }
    command.args(script);
    command
}

/// `target/test-clients`, beside the profile's directory in which this test was built.
fn prepared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-clients")
}

/// Whether `SPANLEDGER_SKIP_CLIENTS` names it.
pub fn is_skipped(client: &str) -> bool {
    let skipped = std::env::var("SPANLEDGER_SKIP_CLIENTS").unwrap_or_default();
    skipped.split(',').any(|name| name.trim() == client)
}
