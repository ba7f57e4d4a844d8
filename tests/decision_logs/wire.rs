//! The paths over real sockets: what is answered, that a resend is the same entry, and what happens to
//! anything else.

use crate::support::converted::with;
use crate::support::keys::{create, new};
use crate::support::server::{DEADLINE, Server, look_until};
use crate::{plain, sent};
use proptest::prelude::*;
use serde_json::{Value, json};
use spanledger::access::Role;
use spanledger::convert::Mappings;
use spanledger::receiver::decision_logs::{Source, decode, measure};
use spanledger::receiver::langsmith::{self, Runs};

struct Answer {
    status: u16,
    body: Value,
}

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("http://{}{path}", server.http()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    Answer { status, body: serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap() }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// The entries that a question finds, once there are as many as expected.
async fn found(server: &Server, question: &str, expected: usize) -> Vec<Value> {
    let path = format!("/api/v1/entries?limit=1000&q={question}");
    let look = async || {
        let entries = server.get(&path).await["entries"].as_array().cloned().unwrap();
        (entries.len() >= expected).then_some(entries)
    };
    let entries = look_until(DEADLINE, look).await;
    entries.unwrap_or_else(|| panic!("{question} never found {expected}"))
}

#[tokio::test]
async fn a_batch_that_opa_sends_again_or_cuts_anew_is_stored_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let gzip = [JSON, ("content-encoding", "gzip")];
    let answer = post(&server, "/logs", &gzip, sent("opa/http.001.json.gz")).await;
    assert_eq!((answer.status, answer.body), (200, json!({ "accepted": 10 })));
    let answer = post(&server, "/logs/opa", &gzip, sent("opa/http.001.json.gz")).await;
    assert_eq!(answer.status, 200, "a resource of its own");
    let events: Vec<Value> = serde_json::from_slice(&plain("opa/http.001.json.gz")).unwrap();
    for event in events.chunks(3).rev() {
        let body = serde_json::to_vec(event).unwrap();
        assert_eq!(post(&server, "/logs/partition/x", &[JSON], body).await.status, 200);
    }
    let id = "bb300185-c9bb-40e5-a317-004a62ff2fc3";
    let entries = found(&server, &format!("decision_id:{id}"), 1).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(found(&server, "kind:decision", 10).await.len(), 10);
    let trace = server.get("/api/v1/traces/ext-7f3a-1042").await;
    assert!(trace["entries"].as_array().unwrap().len() >= 8, "{trace}");
    assert_eq!(server.metric("spanledger_intake_duplicates_total").await, 20);
    server.terminate().await;
}

#[tokio::test]
async fn what_is_no_decision_log_is_refused_and_on_record() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for (status, path, headers, body) in [
        (400, "/logs", vec![JSON], "[{]"),
        (400, "/logs/cerbos", vec![JSON], ""),
        (400, "/logs", vec![JSON, ("content-encoding", "gzip")], "[]"),
        (415, "/logs/cordum", vec![("content-type", "text/plain")], "{}"),
        (415, "/logs", vec![], "{}"),
    ] {
        let answer = post(&server, path, &headers, body.into()).await;
        assert_eq!(answer.status, status, "{path} {body}");
        assert!(!answer.body["message"].as_str().unwrap().is_empty());
    }
    let answer = post(&server, "/logs", &[JSON], b"[1,{\"decision_id\":\"d\"},\"x\"]".into()).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"]),
        (200, &json!(1)),
        "never to be sent again"
    );
    assert_eq!(answer.body["refused"], 2);
    assert_eq!(found(&server, "kind:rejection", 5).await.len(), 5);
    server.terminate().await;
}

#[tokio::test]
async fn a_decision_log_needs_the_right_to_write() {
    let data = tempfile::tempdir().unwrap();
    let (_, writer) = create(data.path(), new(Role::Writer, "acme"));
    let (_, auditor) = create(data.path(), new(Role::Auditor, "acme"));
    let server = Server::start(data.path()).await;
    let bearer = format!("Bearer {}", writer.reveal());
    let body = || json!([{ "decision_id": "d" }]).to_string().into_bytes();
    for (status, headers) in [
        (401, vec![JSON]),
        (403, vec![JSON, ("x-api-key", auditor.reveal())]),
        (200, vec![JSON, ("x-api-key", writer.reveal())]),
        (200, vec![JSON, ("authorization", &bearer)]),
    ] {
        assert_eq!(post(&server, "/logs", &headers, body()).await.status, status, "{headers:?}");
    }
    server.terminate().await;
}

/// Pieces of which JSON is made, and names that mean something to one of the decoders.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "true",
        "1e999",
        "12345678901234567890",
        "\n",
        "\"id\":",
        "\"result\":",
        "\"callId\":\"c\"",
        "\"checkResources\":{",
        "\"inputs\":[",
        "\"outputs\":[",
        "\"actions\":{\"x\":{}}",
        "\"items\":[",
        "\"job_id\":\"j\"",
        "{}",
        "\"trace_id\":\"t\"",
        "\"\\ud83d\"",
        "--b\r\n",
        "Content-Disposition: form-data; name=\"post.1\"\r\n\r\n",
        "\r\n--b--",
        "\"post\":[",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_is_sent_is_counted_before_it_is_read_and_never_panics(request in pieces()) {
        let mappings = Mappings::builtin().unwrap();
        let request = request.as_bytes();
        for source in Source::ALL {
            let mut sound = false;
            let converted = with(&mappings, |mut sink| sound = decode(source, request, &mut sink).is_ok());
            let records = converted.bodies.len() + converted.refused.len();
            let counted = measure(source, request).records;
            let enough = counted == records || (source == Source::Cerbos && counted > records);
            prop_assert!(!sound || enough, "{source:?} {counted} {records}");
        }
        let post = [Runs::Multipart("b".to_owned()), Runs::Batch, Runs::Post, Runs::Patch("p".to_owned())];
        for runs in post {
            let mut sound = false;
            let converted = with(&mappings, |mut sink| {
                sound = langsmith::decode(&runs, request, &mut sink).is_ok();
            });
            let records = converted.bodies.len() + converted.refused.len();
            prop_assert!(!sound || langsmith::measure(&runs, request).records == records);
        }
    }
}
