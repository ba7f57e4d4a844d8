//! The examples, run as a user runs them, and found by the id that they print.

use crate::reader::{assert_has, entries, one, payload};
use crate::support::clients;
use crate::support::server::Server;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Runs an example against a receiver; gives the entries of the id that it printed.
async fn entries_of_example(mut example: Command, many: usize) -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    // Its spool is in the folder where it works.
    let output = example
        .current_dir(folder.path())
        .env_remove("SPANLEDGER_KEY")
        .env_remove("SPANLEDGER_KEY_FILE")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", server.grpc()))
        .output()
        .unwrap_or_else(|error| panic!("{example:?} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("complete: true"), "{said}");
    let (_, id) = said.split_once("'trace_id:").expect(&said);
    let (id, _) = id.split_once('\'').unwrap();
    entries(&server, &format!("trace_id:{id}"), many).await
}

/// An example that cargo built with this test.
fn example(name: &str) -> Command {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().unwrap().with_file_name("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --all-features --examples",
        path.display()
    );
    Command::new(path)
}

fn kinds(entries: &[Value]) -> Vec<(&str, &str)> {
    let mut all: Vec<_> = entries
        .iter()
        .map(|it| {
            let what = it["message"].as_str().or_else(|| it["event"]["action"].as_str());
            (it["audit"]["kind"].as_str().unwrap(), what.unwrap_or_default())
        })
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_with_a_gate_refunds_what_is_allowed_and_all_of_it_is_on_record() {
    let all = entries_of_example(example("gated_agent"), 8).await;
    let expected = [
        ("agent_run", "invoke_agent"),
        ("approval", "human.approval"),
        ("decision", "refund.create"),
        ("decision", "refund.create"),
        ("decision", "refund.create"),
        ("decision", "refund.create"),
        ("tool_call", "execute_tool issue_refund"),
        ("tool_call", "execute_tool issue_refund"),
    ];
    assert_eq!(kinds(&all), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_rig_is_found_by_its_external_id_with_its_model_and_tool_calls() {
    if clients::is_skipped("rig") {
        return;
    }
    let all = entries_of_example(Command::new(rig_agent()), 5).await;
    let expected = [
        ("llm_call", "chat"),
        ("llm_call", "chat"),
        // rig's own words, an event in the span of the call.
        ("log", "calling tool with args:\n{\"order\":\"4711\",\"euro\":40}"),
        ("span", "refund_request"),
        ("tool_call", "execute_tool"),
    ];
    assert_eq!(kinds(&all), expected);
    let root = one(&all, "span", "refund_request");
    let calls: Vec<_> = all.iter().filter(|it| it["audit"]["kind"] == "llm_call").collect();
    for call in calls {
        assert_has(
            call,
            &json!({
                "span": {"parent_id": root["span"]["id"]},
                "gen_ai": {
                    "provider": {"name": "fake"},
                    "request": {"model": "fake-1"},
                    "agent": {"name": "refund-agent"},
                    "usage": {"input_tokens": 120, "output_tokens": 12},
                },
            }),
        );
        assert!(payload(call, "prompt").as_str().unwrap().contains("4711"), "{call:#}");
    }
    let tool = one(&all, "tool_call", "execute_tool");
    assert_has(tool, &json!({"gen_ai": {"tool": {"name": "issue_refund"}}}));
    assert!(payload(tool, "arguments").as_str().unwrap().contains("4711"), "{tool:#}");
    assert!(payload(tool, "result").as_str().unwrap().contains("40"), "{tool:#}");
}

/// Built by `scripts/test`, into a target folder of its own.
fn rig_agent() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("rig/debug/rig_agent");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --manifest-path examples/rig_agent/Cargo.toml \
         --target-dir target/rig`, or leave it out with SPANLEDGER_SKIP_CLIENTS=rig",
        path.display()
    );
    path
}
