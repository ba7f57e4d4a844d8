//! The outbox of the tracing layer against the built binary: what was pushed is in the ledger,
//! once, however often either of them is killed.
#![cfg(feature = "server")]

#[path = "layer_outbox/layer.rs"]
mod layer;
mod support;

use bytes::Bytes;
use layer::outbox::{
    Destination, Otlp, OtlpReceiver, Outbox, Policy, ReceiptError, SendError, Sending, Settings,
    Signal, SpoolSettings, Token,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::Value;
use spanledger::access::Role;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::keys;
use support::numbers::Numbers;
use support::requests::{span, span_id_hex, text};
use support::server::{DEADLINE, Server, look_until, wait_until};

fn resource(instance: &str) -> Vec<u8> {
    let attributes =
        vec![text("service.name", "refund-agent"), text("service.instance.id", instance)];
    Resource { attributes, ..Resource::default() }.encode_to_vec()
}

fn settings(spool: &Path) -> Settings {
    let settings = Settings::new(Policy::Spool(SpoolSettings::new(spool)));
    Settings { retry_most: Duration::from_millis(100), ..settings }
}

/// An encoded span that carries its number.
fn record(number: u64) -> Vec<u8> {
    span(number, vec![text("gen_ai.operation.name", "chat")]).encode_to_vec()
}

fn push(outbox: &Outbox) -> u64 {
    let number = outbox.number();
    outbox.push(Signal::Spans, number, &record(number));
    number
}

fn receiver(server: &Server) -> OtlpReceiver {
    OtlpReceiver::new(Otlp::new(format!("http://{}", server.grpc()))).unwrap()
}

/// The server, wherever it listens since its last start.
#[derive(Default)]
struct Wherever(Mutex<Option<Arc<OtlpReceiver>>>);

impl Wherever {
    fn is(&self, receiver: Option<OtlpReceiver>) {
        *self.0.lock().unwrap() = receiver.map(Arc::new);
    }
}

impl Destination for Wherever {
    fn send(&self, signal: Signal, request: Bytes, receipts: bool) -> Sending<'_> {
        let receiver = self.0.lock().unwrap().clone();
        Box::pin(async move {
            match receiver {
                Some(receiver) => receiver.send(signal, request, receipts).await,
                None => Err(SendError::Later { after: None, reason: "nowhere".to_owned() }),
            }
        })
    }
}

/// All entries of the ledger in order.
async fn entries(server: &Server) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/entries?order=ledger&limit=1000{cursor}");
        let mut page = server.get(&path).await;
        entries.append(page["entries"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
    }
}

/// Span ids of the ledger in order.
async fn span_ids(server: &Server) -> Vec<String> {
    let entries = entries(server).await;
    entries.iter().filter_map(|it| Some(it["span"]["id"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn what_was_pushed_is_in_the_ledger_in_order_between_hello_and_goodbye() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let to = Arc::new(receiver(&server));
    let outbox = Outbox::start(settings(spool.path()), resource, to).unwrap();
    for _ in 0..2_000 {
        push(&outbox);
    }
    let delivery = outbox.shutdown(DEADLINE).await;
    assert!(delivery.complete, "{delivery:?}");
    assert_eq!((delivery.stats.delivered, delivery.stats.refused), (2_002, 0));
    let whole = async || (entries(&server).await.len() == 2_002).then_some(());
    look_until(DEADLINE, whole).await.expect("all are indexed");
    let expected: Vec<_> = (1..=2_000).map(span_id_hex).collect();
    assert_eq!(span_ids(&server).await, expected);
    let entries = entries(&server).await;
    for (entry, event) in
        [(&entries[0], "spanledger.instance.start"), (&entries[2_001], "spanledger.instance.end")]
    {
        let text = entry.to_string();
        assert!(text.contains(event) && text.contains(outbox.instance()), "{text}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_killed_again_and_again_gets_each_record_once() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Server::start(data.path()).await;
    let to = Arc::new(Wherever::default());
    to.is(Some(receiver(&server)));
    let outbox = Outbox::start(settings(spool.path()), resource, to.clone()).unwrap();
    let mut numbers = Numbers::new(6);
    let mut last = 0;
    for _ in 0..4 {
        let pushes = 500 + numbers.below(2_000);
        for _ in 0..pushes {
            last = push(&outbox);
        }
        // Some of them are delivered, and some are on their way.
        let before = outbox.stats().delivered;
        let some = numbers.below(pushes / 2);
        wait_until("some are delivered", || {
            let stats = outbox.stats();
            stats.delivered >= before + some || stats.waiting_bytes == 0
        })
        .await;
        server.kill();
        to.is(None);
        for _ in 0..200 {
            last = push(&outbox);
        }
        server.restart().await;
        to.is(Some(receiver(&server)));
    }
    let delivery = outbox.shutdown(DEADLINE).await;
    assert!(delivery.complete && delivery.stats.lost == 0, "{delivery:?}");
    let expected: BTreeSet<_> = (1..=last).map(span_id_hex).collect();
    let whole = async || (span_ids(&server).await.len() as u64 >= last).then_some(());
    look_until(DEADLINE, whole).await.expect("all are indexed");
    let found = span_ids(&server).await;
    assert_eq!(found.len() as u64, last, "nothing twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn a_token_that_is_made_later_is_found_and_nothing_was_lost_until_then() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = spool.path().join("token");
    std::fs::write(&file, "slk_wrong").unwrap();
    let (_, token) = keys::create(data.path(), keys::new(Role::Writer, "acme"));
    let (_, reads) = keys::create(data.path(), keys::new(Role::Auditor, "acme"));
    let mut server = Server::start(data.path()).await;
    server.show(reads.reveal());
    let address = format!("http://{}", server.grpc());
    let otlp = Otlp { token: Some(Token::File(file.clone())), ..Otlp::new(address) };
    let to = Arc::new(OtlpReceiver::new(otlp).unwrap());
    let outbox = Outbox::start(settings(&spool.path().join("spool")), resource, to).unwrap();
    push(&outbox);
    wait_until("the token is refused", || outbox.stats().last_error.is_some()).await;
    let error = outbox.stats().last_error.unwrap();
    assert!(error.starts_with("Unauthenticated"), "{error}");
    std::fs::write(&file, token.reveal()).unwrap();
    let delivery = outbox.shutdown(DEADLINE).await;
    assert!(delivery.complete, "{delivery:?}");
    assert_eq!(delivery.stats.refused, 0);
    let there = async || (!span_ids(&server).await.is_empty()).then_some(());
    look_until(DEADLINE, there).await.expect("the record is indexed");
}

#[tokio::test]
async fn a_confirmed_record_is_in_the_ledger_when_the_answer_comes() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Server::start(data.path()).await;
    let to = Arc::new(Wherever::default());
    to.is(Some(receiver(&server)));
    let outbox = Outbox::start(settings(spool.path()), resource, to.clone()).unwrap();
    let number = outbox.number();
    match outbox.confirm(Signal::Spans, number, record(number), DEADLINE).await {
        Ok(_) | Err(ReceiptError::NoReceipt) => {}
        Err(error) => panic!("{error}"),
    }
    // Durable means: a kill changes nothing about it.
    server.restart().await;
    to.is(Some(receiver(&server)));
    let there = async || span_ids(&server).await.contains(&span_id_hex(number)).then_some(());
    look_until(DEADLINE, there).await.expect("the record is in the ledger");
    let delivery = outbox.shutdown(DEADLINE).await;
    assert!(delivery.complete, "{delivery:?}");
}
