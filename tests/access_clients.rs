//! Real clients with credentials that are good, expired, revoked or somebody else's, over TLS: an
//! OpenTelemetry Collector with the configurations of `examples/collector`, and the published SDKs.
//! What they are told is what `docs/security.md` says.
#![cfg(feature = "server")]

// Half of it: the rest is for tests of TLS itself.
#[allow(dead_code)]
#[path = "tls/setup.rs"]
mod setup;
mod support;

use jiff::Timestamp;
use setup::Files;
use spanledger::access::{
    ACCESS_FOLDER, Book, CertificateName, Forward, NewCredential, Role, Tenant, TenantFrom, Token,
};
use spanledger::ledger::Reader;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::authority::Authority;
use support::clients;
use support::collector::Collector;
use support::keys::{create, make, new};
use support::requests::{numbered, text};
use support::server::Server;

/// What is wrong with a key, and the words for it; none for one that is good.
const KEYS: [(&str, Option<&str>); 4] = [
    ("good", None),
    ("expired", Some("this credential is expired: ask your operator for a new one")),
    ("revoked", Some("this credential is revoked: ask your operator for a new one")),
    (
        "foreign",
        Some(
            "unknown credential: keys of this server begin with slk_ and are made with \
             `spanledger keys create`",
        ),
    ),
];

/// The same of a client certificate: what Go says of the alert that ends the handshake.
const CERTIFICATES: [(&str, Option<&str>); 4] = [
    ("good", None),
    ("expired", Some("remote error: tls: expired certificate")),
    ("revoked", Some("remote error: tls: revoked certificate")),
    ("foreign", Some("remote error: tls: unknown certificate authority")),
];

/// How a Collector exports.
const EXPORTERS: [&str; 2] = ["otlp_grpc/spanledger", "otlp_http/spanledger"];

/// Spans of a request.
const SPANS: u64 = 3;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

/// A key of each kind, of a writer of `acme`.
fn keys(data: &Path) -> BTreeMap<&'static str, Token> {
    let somewhere_else = tempfile::tempdir().unwrap();
    let writer = || new(Role::Writer, "acme");
    let (past, elsewhere) = (Timestamp::from_second(1).unwrap(), somewhere_else.path());
    let (revoked, revoked_token) = create(data, writer());
    let (expired, expired_token) = create(data, writer());
    Book::change(&data.join(ACCESS_FOLDER), |book| {
        for credential in &mut book.credentials {
            if credential.id == expired.id {
                credential.expires = Some(past);
            }
        }
        book.revoke(&revoked.id, "os:tester", Timestamp::now()).map(drop)
    })
    .unwrap();
    [
        ("good", create(data, writer()).1),
        ("expired", expired_token),
        ("revoked", revoked_token),
        ("foreign", create(elsewhere, writer()).1),
    ]
    .into()
}

/// Number of spans in the ledger, by tenant.
fn spans_by_tenant(server: &Server) -> BTreeMap<String, u64> {
    let reader = Reader::open(&server.data().join("ledger")).unwrap();
    let mut scan = reader.scan(0);
    let mut counts = BTreeMap::new();
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        for entry in chunk.entries() {
            let body: serde_json::Value = serde_json::from_slice(entry.body).unwrap();
            if !body["span"]["id"].is_null() {
                *counts.entry(entry.tenant.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/collector").join(name)
}

/// Words of a refusal must be those of the documentation.
fn assert_documented(words: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(words), "docs/security.md does not say: {words}");
}

/// Whether the client is left out, which it says.
fn is_skipped(client: &str) -> bool {
    let skipped = clients::is_skipped(client);
    if skipped {
        println!("{client}: skipped, SPANLEDGER_SKIP_CLIENTS names it");
    }
    skipped
}

/// `config.yaml` on free ports, that says at once when something is refused. It exports by one of
/// [`EXPORTERS`], with these lines in it.
async fn collector(
    server: &Server,
    files: &Files,
    exporter: &str,
    lines: &str,
    key: &str,
) -> Collector {
    let endpoint = match exporter {
        "otlp_grpc/spanledger" => server.grpc().to_owned(),
        _ => format!("https://{}", server.http()),
    };
    let ca = files.path("ca.crt").display().to_string();
    let over = format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:0"}}, http: {{endpoint: "127.0.0.1:0"}}}}}}
exporters:
  {exporter}:
    endpoint: ${{env:SPANLEDGER_ENDPOINT}}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
{lines}
service: {{pipelines: {{traces: {{exporters: [{exporter}]}}}}}}
"#
    );
    let environment =
        [("SPANLEDGER_ENDPOINT", &*endpoint), ("SPANLEDGER_CA", &ca), ("SPANLEDGER_KEY", key)];
    Collector::start(&example("config.yaml"), &over, &environment).await
}

/// Lines of an exporter that shows the key, where `config.yaml` has none already.
fn with_key(exporter: &str) -> &'static str {
    match exporter {
        "otlp_grpc/spanledger" => "",
        _ => {
            r#"    headers: {authorization: "Bearer ${env:SPANLEDGER_KEY}"}
    tls: {ca_file: "${env:SPANLEDGER_CA}"}"#
        }
    }
}

/// Sends through a Collector that shows each of the credentials, by each exporter: what is good
/// arrives as `acme`'s, what is not is refused in the words for it.
async fn assert_told(
    server: &Server,
    cases: [(&'static str, Option<&str>); 4],
    start: impl AsyncFn(&'static str, &'static str) -> Collector,
) {
    let (mut serial, mut arrived) = (0, 0);
    for exporter in EXPORTERS {
        for (what, words) in cases {
            let collector = start(exporter, what).await;
            let answer = collector.export("otlp", numbered(serial, SPANS)).await;
            serial += SPANS;
            let who = format!("{exporter}, {what}: {answer:?}\n{}", collector.log());
            match (words, &answer) {
                (None, Ok(())) => arrived += SPANS,
                (Some(words), Err(status)) => {
                    // The agent behind it is told, and whoever looks after the Collector.
                    assert!(status.message().contains(words), "{who}");
                    assert!(collector.log().contains(words), "{who}");
                    assert_documented(words);
                }
                _ => panic!("{who}"),
            }
            assert_eq!(spans_by_tenant(server), counts(&[("acme", arrived)]), "{who}");
        }
    }
}

#[tokio::test]
async fn a_collector_exports_with_a_good_key_and_is_told_what_is_wrong_with_another() {
    if is_skipped("collector") {
        return;
    }
    let files = Files::new();
    let keys = keys(&files.path("data"));
    let server = files.serve("", "").await;
    let start = async |exporter, what| {
        let lines = with_key(exporter);
        collector(&server, &files, exporter, lines, keys[what].reveal()).await
    };
    assert_told(&server, KEYS, start).await;
    server.terminate().await;
}

#[tokio::test]
async fn a_collector_exports_with_a_good_certificate_and_is_told_what_is_wrong_with_another() {
    if is_skipped("collector") {
        return;
    }
    let files = Files::new();
    let ours = &files.authority;
    let revoked = ours.client("agent");
    let list = files.path("revoked.pem");
    fs::write(&list, ours.revoke(&[&revoked])).unwrap();
    let pairs = BTreeMap::from([
        ("good", ours.client("agent")),
        ("expired", ours.expired_client("agent")),
        ("revoked", revoked),
        ("foreign", Authority::new("theirs").client("agent")),
    ]);
    let certificate = Some("dns:agent.example".parse::<CertificateName>().unwrap());
    make(&files.path("data"), NewCredential { certificate, ..new(Role::Writer, "acme") });
    let tls = format!("{}  client_revoked: {}\n", files.client_ca(), list.display());
    let server = files.serve(&tls, "").await;
    let start = async |exporter, what| {
        let (certificate, key) = files.write_client(&pairs[what]);
        let lines = format!(
            r#"    headers: null
    tls: {{ca_file: "${{env:SPANLEDGER_CA}}", cert_file: {certificate}, key_file: {key}}}"#
        );
        collector(&server, &files, exporter, &lines, "").await
    };
    assert_told(&server, CERTIFICATES, start).await;
    server.terminate().await;
}

/// Makes the key of a forwarder of `platform` that may assert `acme` and `globex`.
fn forwarder(files: &Files, from: TenantFrom) -> Token {
    let forward = Some(Forward { from, tenants: [tenant("acme"), tenant("globex")].into() });
    create(&files.path("data"), NewCredential { forward, ..new(Role::Forwarder, "platform") }).1
}

#[tokio::test]
async fn one_collector_passes_on_the_evidence_of_two_tenants_that_their_resources_name() {
    if is_skipped("collector") {
        return;
    }
    let files = Files::new();
    let key = forwarder(&files, TenantFrom::ResourceAttribute("tenant.id".to_owned()));
    let server = files.serve("", "").await;
    let mut serial = 0;
    for exporter in EXPORTERS {
        let collector =
            collector(&server, &files, exporter, with_key(exporter), key.reveal()).await;
        for (name, count) in [("acme", 1), ("globex", 2), ("stranger", 3)] {
            let mut spans = numbered(serial, count);
            serial += count;
            let resource = spans.resource_spans[0].resource.as_mut().unwrap();
            resource.attributes.push(text("tenant.id", name));
            collector.export("otlp", spans).await.unwrap();
        }
    }
    let wanted = counts(&[("acme", 2), ("globex", 4), ("platform", 6)]);
    assert_eq!(spans_by_tenant(&server), wanted, "who is in no list stays with the forwarder");
    server.terminate().await;
}

#[tokio::test]
async fn one_collector_passes_on_the_evidence_of_two_tenants_that_its_header_names() {
    if is_skipped("collector") {
        return;
    }
    let files = Files::new();
    let key = forwarder(&files, TenantFrom::Header("x-scope-orgid".to_owned()));
    let server = files.serve("", "").await;
    let port = r#"{protocols: {http: {endpoint: "127.0.0.1:0"}, grpc: {endpoint: "127.0.0.1:0"}}}"#;
    let over = format!("receivers: {{otlp/acme: {port}, otlp/globex: {port}}}\n");
    let (endpoint, ca) = (format!("https://{}", server.http()), files.path("ca.crt"));
    let environment = [
        ("SPANLEDGER_ENDPOINT", endpoint.as_str()),
        ("SPANLEDGER_CA", ca.to_str().unwrap()),
        ("SPANLEDGER_KEY", key.reveal()),
    ];
    let collector = Collector::start(&example("two-tenants.yaml"), &over, &environment).await;
    collector.export("otlp/acme", numbered(0, 1)).await.unwrap();
    collector.export("otlp/globex", numbered(10, 2)).await.unwrap();
    assert_eq!(spans_by_tenant(&server), counts(&[("acme", 1), ("globex", 2)]));
    server.terminate().await;
}

#[tokio::test]
async fn the_published_sdks_export_with_a_good_key_and_say_what_is_wrong_with_another() {
    let files = Files::new();
    let keys = keys(&files.path("data"));
    let server = files.serve("", "").await;
    for (client, variants) in
        [("python", ["grpc", "http"]), ("go", ["grpc", "http"]), ("js", ["grpc", "proto"])]
    {
        if is_skipped(client) {
            continue;
        }
        for variant in variants {
            for (what, words) in KEYS {
                let before = spans_by_tenant(&server);
                let output = sdk(client, variant, &server, &files, &keys[what]).await;
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(
                    output.status.success(),
                    words.is_none(),
                    "{client} {variant} {what}: {said}"
                );
                // Python over HTTP says no more than the status.
                let shown = match (client, variant) {
                    ("python", "http") => words.map(|_| "code: 401, reason: Unauthorized"),
                    _ => words,
                };
                let is_told = shown.is_none_or(|words| said.contains(words));
                assert!(is_told, "{client} {variant} {what}: {said}");
                let grew = spans_by_tenant(&server) != before;
                assert_eq!(grew, what == "good", "{client} {variant} {what}");
            }
        }
    }
    server.terminate().await;
}

/// Runs a client with a key, as `docs/security.md` tells agents to show it.
async fn sdk(
    client: &str,
    variant: &str,
    server: &Server,
    files: &Files,
    key: &Token,
) -> std::process::Output {
    let address = if variant == "grpc" { server.grpc() } else { server.http() };
    let mut command = clients::command(client);
    command
        .arg(variant)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://{address}"))
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", files.path("ca.crt"))
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer {}", key.reveal()))
        // To Python these say more than what is set for the exporter.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
