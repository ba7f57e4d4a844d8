//! The tracing layer and the built receiver: what an agent does is what a reader of the API sees.
//!
//! | file | holds |
//! |---|---|
//! | `examples.rs` | the examples, found by the id that they print |
//! | `fields.rs` | one run with everything in it, field by field |
//! | `reader.rs` | a layer for a test, and what the API shows |
#![cfg(feature = "server")]

#[path = "layer_receiver/examples.rs"]
mod examples;
#[path = "layer_receiver/fields.rs"]
mod fields;
#[path = "layer_receiver/reader.rs"]
mod reader;
mod support;

use reader::{RUN, agent, assert_has, entries, hex, one, over_grpc, spooled};
use serde_json::json;
use spanledger::access::{ACCESS_FOLDER, Book, Role};
use spanledger::layer::{AuditEvent, AuditLayer, Otlp, Policy, Settings, SpoolSettings, Token};
use spanledger::{AuditSpan as _, record};
use std::time::Duration;
use support::keys::{create, new};
use support::server::{DEADLINE, Server, look_until};
use tempfile::TempDir;
use tracing::{field, info, info_span};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_layer_says_of_itself_is_named_and_a_hole_is_a_gap() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let spool = Policy::Spool(SpoolSettings::new(folder.path().join("spool")));
    let settings = Settings { max_record_bytes: 1024, ..Settings::new(spool) };
    let (handle, _guard) = agent(AuditLayer::builder().settings(settings), over_grpc(&server));
    info!(target: "audit", "fits");
    info!(target: "audit", text = "x".repeat(2000), "is larger than a record may be");
    info!(target: "audit", resolution = "approved", resolved_by = "eve", "flat names too");
    let late = info_span!("late", trace_id = RUN, decision = field::Empty);
    late.record("decision", "deny");
    let receipt = late.audit().await.unwrap();
    drop(late);
    assert!(handle.shutdown(DEADLINE).await.complete);

    let all = entries(&server, "service.name:refund-agent", 7).await;
    assert_eq!(all.len(), 7, "{all:#?}");
    let instance = handle.instance();
    let acted = |what: &str| all.iter().find(|it| it["event"]["action"] == what).unwrap();
    let start = acted("instance.start");
    assert_has(
        start,
        &json!({"audit": {"kind": "log"}, "attributes": {"spanledger.instance.id": instance}}),
    );
    let end = acted("instance.end");
    assert_has(end, &json!({"attributes": {"spanledger.instance.last": 5}}));
    let gap = all.iter().find(|it| it["audit"]["kind"] == "gap").unwrap();
    assert_has(
        gap,
        &json!({
            "attributes": {
                "spanledger.instance.id": instance, "spanledger.gap.first": 2,
                "spanledger.gap.last": 2,
            },
            "service": {"instance_id": instance},
            "log": {"level": "WARN"},
        }),
    );
    assert!(gap["event"]["reason"].is_string(), "{gap:#}");
    assert!(gap["message"].as_str().unwrap().contains("record 2 is missing"), "{gap:#}");
    assert_has(
        one(&all, "approval", "flat names too"),
        &json!({"audit": {"approval": {"resolution": "approved", "resolved_by": "eve"}}}),
    );
    // The span as it was when it was audited, and as it ended: two entries of one span.
    let late = entries(&server, &format!("trace_id:{RUN}"), 2).await;
    assert_eq!(late[0]["event"]["hash"], hex(receipt));
    assert_eq!(late[0]["span"]["id"], late[1]["span"]["id"]);
    for entry in late {
        assert_has(
            &entry,
            &json!({"audit": {"kind": "decision", "decision": {"outcome": "block"}}}),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_keeps_the_records_and_a_new_one_in_its_file_delivers_them() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let (credential, writer) = create(&data, new(Role::Writer, "acme"));
    let (_, reader) = create(&data, new(Role::Auditor, "acme"));
    let mut server = Server::start(&data).await;
    server.show(reader.reveal());
    let file = folder.path().join("key");
    std::fs::write(&file, writer.reveal()).unwrap();
    let receiver = Otlp { token: Some(Token::File(file.clone())), ..over_grpc(&server) };
    let (handle, _guard) = agent(spooled(&folder.path().join("spool")), receiver);
    let receipt = record(AuditEvent::new("before").with("trace_id", RUN)).await.unwrap();

    let now = jiff::Timestamp::now();
    let access = data.join(ACCESS_FOLDER);
    Book::change(&access, |book| book.revoke(&credential.id, "os:tester", now)).unwrap();
    // The server looks at its book each second: until then the key is good.
    let refused = look_until(DEADLINE, async || {
        let within = Duration::from_secs(2);
        record(AuditEvent::new("tried").with("trace_id", RUN)).within(within).await.err()
    });
    let refused = refused.await.expect("the key is refused");
    assert!(refused.to_string().contains("revoked"), "{refused}");
    info!(target: "audit", trace_id = RUN, "while it was revoked");
    let told = look_until(DEADLINE, async || handle.stats().last_error).await.unwrap();
    assert!(told.contains("revoked"), "{told}");
    assert!(!handle.delivered(Duration::ZERO).await.complete);

    let (_, renewed) = create(&data, new(Role::Writer, "acme"));
    std::fs::write(&file, format!("{}\n", renewed.reveal())).unwrap();
    let delivery = handle.delivered(DEADLINE).await;
    assert!(delivery.complete && delivery.stats.last_error.is_none(), "{delivery:?}");
    let all = entries(&server, &format!("trace_id:{RUN}"), 3).await;
    assert!(all.iter().any(|it| it["event"]["hash"] == hex(receipt)));
    one(&all, "log", "while it was revoked");
    assert!(all.iter().all(|it| it["organization"]["id"] == "acme"), "{all:#?}");
}

#[cfg(feature = "layer-tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_receiver_is_trusted_by_its_authority_and_by_no_other() {
    use spanledger::layer::Tls;
    use support::authority::Authority;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new("ours");
    authority.server().write(&path("tls.crt"), &path("tls.key"));
    std::fs::write(path("ca.crt"), authority.pem()).unwrap();
    std::fs::write(path("other.crt"), Authority::new("other").pem()).unwrap();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let text =
        format!("tls:\n  certificate: {}\n  key: {}\n", certificate.display(), key.display());
    std::fs::write(path("spanledger.yaml"), text).unwrap();
    let trusted = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().use_rustls_tls().add_root_certificate(trusted);
    let config = path("spanledger.yaml");
    let arguments = ["--config", config.to_str().unwrap()];
    let server = Server::start_with_tls(client, &path("data"), &arguments).await;

    let address = format!("https://{}", server.grpc());
    let receiver = |authority: &str| {
        let tls = Tls { authority: Some(path(authority)), ..Tls::default() };
        Otlp { tls, ..Otlp::new(address.clone()) }
    };
    {
        let (handle, _guard) = agent(spooled(&path("other")), receiver("other.crt"));
        info!(target: "audit", trace_id = RUN, "kept");
        let told = look_until(DEADLINE, async || handle.stats().last_error).await.unwrap();
        assert!(told.to_lowercase().contains("certificate"), "{told}");
        let delivery = handle.shutdown(Duration::ZERO).await;
        assert!(delivery.kept && !delivery.complete, "{delivery:?}");
    }
    // The next process, with the right file, delivers what the first one left too.
    let (handle, _guard) = agent(spooled(&path("other")), receiver("ca.crt"));
    record(AuditEvent::new("sent").with("trace_id", RUN)).await.unwrap();
    let all = entries(&server, &format!("trace_id:{RUN}"), 2).await;
    one(&all, "log", "kept");
    assert!(handle.shutdown(DEADLINE).await.complete);
}
