//! Who may write, and whose evidence it becomes: against the built binary.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use spanledger::access::{
    ACCESS_FOLDER, Book, Forward, NewCredential, RateLimits, Role, Tenant, TenantFrom, Token,
};
use spanledger::evidence::read_bundle;
use spanledger::ledger::Reader;
use std::collections::BTreeMap;
use std::path::Path;
use support::keys::{create, new};
use support::requests::{numbered, span_id_hex, text};
use support::server::{DEADLINE, Server, look_until};
use tempfile::TempDir;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn bearer(token: &Token) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", token.reveal()))
}

/// What a server says that does not start on the data.
fn refused_start(data: &Path) -> String {
    let output = std::process::Command::new(support::server::binary())
        .args(["serve", "--data", data.to_str().unwrap()])
        .args(["--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
        .args(["--listen-api", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Answer {
    status: u16,
    retry_after: Option<String>,
    challenge: Option<String>,
    text: String,
}

async fn post(
    server: &Server,
    body: &ExportTraceServiceRequest,
    show: &[(&str, String)],
) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client
        .post(format!("http://{}/v1/traces", server.http()))
        .header("content-type", "application/x-protobuf");
    for (name, value) in show {
        request = request.header(*name, value);
    }
    let answer = request.body(body.encode_to_vec()).send().await.unwrap();
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
    Answer {
        status: answer.status().as_u16(),
        retry_after: header("retry-after"),
        challenge: header("www-authenticate"),
        text: String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned(),
    }
}

async fn call(server: &Server, token: Option<&Token>) -> Result<(), tonic::Status> {
    let address = format!("http://{}", server.grpc());
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    let mut request = tonic::Request::new(numbered(900, 1));
    if let Some(token) = token {
        let value = format!("Bearer {}", token.reveal()).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    client.export(request).await.map(drop)
}

/// Sequences of the ledger as (tenant, body).
fn entries(data: &Path) -> Vec<(String, serde_json::Value)> {
    let reader = Reader::open(&data.join("ledger")).unwrap();
    let mut scan = reader.scan(0);
    let mut all = Vec::new();
    while let Some(chunk) = scan.next_chunk(1 << 20).unwrap() {
        all.extend(
            chunk.entries().map(|entry| {
                (entry.tenant.to_owned(), serde_json::from_slice(entry.body).unwrap())
            }),
        );
    }
    all
}

fn spans_by_tenant(data: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (tenant, body) in entries(data) {
        if !body["span"]["id"].is_null() {
            *counts.entry(tenant).or_default() += 1;
        }
    }
    counts
}

/// A server with a key of a writer of `acme`.
async fn locked() -> (TempDir, Server, Token) {
    let data = TempDir::new().unwrap();
    let (_, writer) = create(data.path(), new(Role::Writer, "acme"));
    let server = Server::start(data.path()).await;
    (data, server, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_gets_in_by_each_way_of_showing_a_key_and_nobody_else_does() {
    let (data, server, writer) = locked().await;
    let key = writer.reveal();
    let basic = |pair: &str| ("authorization", format!("Basic {}", STANDARD.encode(pair)));
    for (serial, show) in [
        bearer(&writer),
        basic(&format!("anybody:{key}")),
        basic(&format!("{key}:")),
        ("x-api-key", key.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(&server, &numbered(serial as u64, 1), &[show]).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    }
    call(&server, Some(&writer)).await.unwrap();

    for (show, says) in [
        (vec![], "a credential is needed"),
        (vec![basic("community:")], "unknown credential"),
        (vec![bearer(&Token::new().unwrap())], "unknown credential"),
        (vec![("x-api-key", "lsv2_pt_0123".to_owned())], "unknown credential"),
    ] {
        let answer = post(&server, &numbered(50, 1), &show).await;
        assert_eq!(answer.status, 401, "{show:?}");
        assert!(answer.text.contains(says), "{show:?}: {}", answer.text);
        assert!(answer.challenge.unwrap().starts_with("Bearer "));
    }
    let refused = call(&server, None).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert_eq!(spans_by_tenant(data.path()), BTreeMap::from([("acme".to_owned(), 5)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_made_revoked_or_rotated_counts_within_a_second_and_without_a_restart() {
    let (data, server, writer) = locked().await;
    let (credential, later) = create(data.path(), new(Role::Writer, "acme"));
    let settles = async |token: &Token, wanted: u16| {
        let seen = look_until(DEADLINE, async || {
            (post(&server, &numbered(1, 1), &[bearer(token)]).await.status == wanted).then_some(())
        });
        assert!(seen.await.is_some(), "{wanted} is never answered");
    };
    settles(&later, 200).await;
    let dir = data.path().join(ACCESS_FOLDER);
    let now = Timestamp::now;
    Book::change(&dir, |book| book.revoke(&credential.id, "os:tester", now())).unwrap();
    settles(&later, 401).await;
    let answer = post(&server, &numbered(1, 1), &[bearer(&later)]).await;
    assert!(answer.text.contains("revoked"), "{}", answer.text);
    let until = now().checked_add(SignedDuration::from_millis(1)).unwrap();
    let rotated =
        Book::change(&dir, |book| book.rotate(writer.id(), until, "os:tester", now())).unwrap();
    settles(&rotated.1, 200).await;
    let answer = post(&server, &numbered(1, 1), &[bearer(&writer)]).await;
    assert!(answer.text.contains("expired"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_may_write_writes_and_a_limit_asks_to_come_again() {
    let data = TempDir::new().unwrap();
    let mut tokens = Role::ALL
        .into_iter()
        .filter(|role| *role != Role::Forwarder)
        .map(|role| (role, create(data.path(), new(role, "acme")).1))
        .collect::<Vec<_>>();
    let limits = RateLimits { requests_per_second: Some(1), ..RateLimits::default() };
    let slow = create(data.path(), NewCredential { limits, ..new(Role::Writer, "acme") }).1;
    let mut server = Server::start(data.path()).await;
    for (role, token) in tokens.drain(..) {
        let answer = post(&server, &numbered(1, 1), &[bearer(&token)]).await;
        let wanted = if role == Role::Writer { 200 } else { 403 };
        assert_eq!(answer.status, wanted, "{role}");
        assert_eq!(answer.text.contains("may not write"), wanted == 403, "{}", answer.text);
    }
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(post(&server, &numbered(2, 1), &[bearer(&slow)]).await);
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a limit");
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    server.show(create(data.path(), new(Role::Monitor, "")).1.reveal());
    let hits = look_until(DEADLINE, async || {
        // The key lets in when its making is on record.
        (server.status("/metrics").await == 200).then_some(())
    });
    assert!(hits.await.is_some());
    let hits = server.metric(r#"spanledger_receiver_denied_total{reason="too_fast"}"#).await;
    assert!(hits > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_from_the_credential_and_a_claim_stays_a_claim() {
    let (data, server, writer) = locked().await;
    let mut request = numbered(1, 1);
    let resource = request.resource_spans[0].resource.as_mut().unwrap();
    resource.attributes.push(text("tenant.id", "victim"));
    let show = [bearer(&writer), ("x-scope-orgid", "victim".to_owned())];
    assert_eq!(post(&server, &request, &show).await.status, 200);
    let entries = entries(data.path());
    let (tenant, body) = entries.iter().find(|(_, body)| !body["span"].is_null()).unwrap();
    assert_eq!(tenant, "acme");
    assert_eq!(body["audit"]["claims"]["tenant_id"], "victim");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarder_asserts_the_tenants_of_its_list_for_each_resource_or_for_a_request() {
    let data = TempDir::new().unwrap();
    let forwarder = |from: TenantFrom| NewCredential {
        forward: Some(Forward { from, tenants: [tenant("a"), tenant("b")].into() }),
        ..new(Role::Forwarder, "platform")
    };
    let attribute = forwarder(TenantFrom::ResourceAttribute("tenant.id".to_owned()));
    let by_attribute = create(data.path(), attribute).1;
    let by_header = create(data.path(), forwarder(TenantFrom::Header("X-Scope-OrgID".into()))).1;
    let server = Server::start(data.path()).await;

    let mut request = ExportTraceServiceRequest::default();
    for (serial, name) in ["a", "b", "stranger", ""].into_iter().enumerate() {
        let mut one = numbered(serial as u64 * 10, 2);
        let resource = one.resource_spans[0].resource.as_mut().unwrap();
        if !name.is_empty() {
            resource.attributes.push(text("tenant.id", name));
        }
        request.resource_spans.append(&mut one.resource_spans);
    }
    assert_eq!(post(&server, &request, &[bearer(&by_attribute)]).await.status, 200);
    let counts = |pairs: &[(&str, usize)]| {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };
    let wanted = counts(&[("a", 2), ("b", 2), ("platform", 4)]);
    assert_eq!(spans_by_tenant(data.path()), wanted);

    for (serial, name) in [(100, "a"), (200, "stranger")] {
        let show = [bearer(&by_header), ("x-scope-orgid", name.to_owned())];
        assert_eq!(post(&server, &numbered(serial, 1), &show).await.status, 200);
    }
    let wanted = counts(&[("a", 3), ("b", 2), ("platform", 5)]);
    assert_eq!(spans_by_tenant(data.path()), wanted);
    let told = look_until(DEADLINE, async || {
        entries(data.path()).into_iter().find(|(_, body)| body["audit"]["kind"] == "rejection")
    });
    let (whose, body) = told.await.expect("the claim is on record");
    assert_eq!(whose, "platform");
    assert!(body["message"].as_str().unwrap().contains(r#"may not assert the tenant "stranger""#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_made_which_credential_is_on_record_before_it_lets_anybody_in() {
    let (data, server, writer) = locked().await;
    assert_eq!(post(&server, &numbered(1, 1), &[bearer(&writer)]).await.status, 200);
    let all = entries(data.path());
    let made = all.iter().position(|(_, body)| body["event"]["action"] == "credential.created");
    let span = all.iter().position(|(_, body)| !body["span"].is_null());
    assert!(made.unwrap() < span.unwrap());
    let (whose, body) = &all[made.unwrap()];
    assert_eq!((whose.as_str(), &body["audit"]["kind"]), ("acme", &"operator_action".into()));
    assert_eq!(body["audit"]["actor"]["id"], "os:tester");
    assert_eq!(body["audit"]["target"]["id"], writer.id());
    assert!(!body.to_string().contains(writer.reveal()));

    // A change by hand is on record too, without an actor.
    let path = Book::path(&data.path().join(ACCESS_FOLDER));
    let edited = std::fs::read_to_string(&path).unwrap().replace("\"writer\"", "\"auditor\"");
    std::fs::write(&path, edited).unwrap();
    let told = look_until(DEADLINE, async || {
        let mut all = entries(data.path()).into_iter();
        all.find(|(_, body)| body["event"]["action"] == "credential.edited")
    });
    let (_, body) = told.await.expect("an entry");
    assert_eq!(body["audit"]["actor"]["id"], "unknown");
    let refused = look_until(DEADLINE, async || {
        let answer = post(&server, &numbered(1, 1), &[bearer(&writer)]).await;
        (answer.status == 403).then_some(())
    });
    assert!(refused.await.is_some(), "it is an auditor now");

    // After a restart nothing is on record twice, and a lost file does not open the door.
    // (Rejections are put on record behind the answers.)
    let changes = || {
        let all = entries(data.path()).into_iter();
        all.filter(|(_, body)| body["audit"]["kind"] == "operator_action").count()
    };
    let before = changes();
    let mut server = server;
    server.restart().await;
    assert_eq!(changes(), before);
    server.kill();
    std::fs::remove_file(&path).unwrap();
    let said = refused_start(data.path());
    assert!(said.contains("credentials on record"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_on_record_with_the_installation_and_cannot_fill_the_ledger() {
    let (data, server, writer) = locked().await;
    for _ in 0..200 {
        assert_eq!(post(&server, &numbered(1, 1), &[]).await.status, 401);
    }
    assert_eq!(post(&server, &numbered(1, 1), &[bearer(&writer)]).await.status, 200);
    server.terminate().await;
    let all = entries(data.path());
    let rejections: Vec<_> =
        all.iter().filter(|(_, body)| body["audit"]["kind"] == "rejection").collect();
    assert!(!rejections.is_empty() && rejections.len() < 100, "{}", rejections.len());
    assert!(rejections.iter().all(|(tenant, _)| tenant == "_spanledger"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_an_operator_makes_over_the_api_counts_when_the_answer_comes() {
    let data = TempDir::new().unwrap();
    let (maker, operator) = create(data.path(), new(Role::Operator, ""));
    let server = Server::start(data.path()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str, body: serde_json::Value| {
        let (name, value) = bearer(&operator);
        let request = client.post(format!("http://{}{path}", server.api())).header(name, value);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json::<serde_json::Value>().await.unwrap()
    };
    let wanted = serde_json::json!({ "name": "agents", "role": "writer", "tenant": "acme" });
    let made = ask("/api/v1/keys", wanted).await;
    let secret = made["secret"].as_str().expect("the secret, once");
    let show = [("authorization", format!("Bearer {secret}"))];
    assert_eq!(post(&server, &numbered(1, 1), &show).await.status, 200);
    let id = Token::parse(secret).unwrap().id().to_owned();
    ask(&format!("/api/v1/keys/{id}/revoke"), serde_json::json!({})).await;
    assert_eq!(post(&server, &numbered(2, 1), &show).await.status, 401);

    let by_operator: Vec<_> = entries(data.path())
        .into_iter()
        .filter(|(_, body)| body["audit"]["actor"]["id"] == format!("key:{}", maker.id))
        .map(|(tenant, body)| (tenant, body["event"]["action"].as_str().unwrap().to_owned()))
        .collect();
    let of = |action: &str| ("acme".to_owned(), action.to_owned());
    assert_eq!(by_operator, [of("credential.created"), of("credential.revoked")]);
}

/// A request of which the head and a part of the body are sent; the rest is sent when asked for.
struct Halfway {
    stream: tokio::net::TcpStream,
    rest: Vec<u8>,
}

impl Halfway {
    async fn start(address: &str, head: &str, token: &Token, body: &[u8]) -> Self {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {head}\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            token.reveal(),
            body.len(),
        );
        let (some, rest) = body.split_at(5);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(some).await.unwrap();
        Self { stream, rest: rest.to_vec() }
    }

    async fn finish(mut self) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_before_a_revocation_is_refused_when_it_ends_after_it() {
    let data = TempDir::new().unwrap();
    let (operator, operator_key) = create(data.path(), new(Role::Operator, ""));
    let (writer, writer_key) = create(data.path(), new(Role::Writer, "acme"));
    let server = Server::start(data.path()).await;
    let backdoor = br#"{"name":"backdoor","role":"operator"}"#;
    let json = "content-type: application/json";
    let protobuf = "content-type: application/x-protobuf";
    let head = format!("/api/v1/keys HTTP/1.1\r\n{json}");
    let key = Halfway::start(server.api(), &head, &operator_key, backdoor).await;
    let head = format!("/v1/traces HTTP/1.1\r\n{protobuf}");
    let body = numbered(1, 1).encode_to_vec();
    let spans = Halfway::start(server.http(), &head, &writer_key, &body).await;
    let dir = data.path().join(ACCESS_FOLDER);
    for id in [&operator.id, &writer.id] {
        Book::change(&dir, |book| book.revoke(id, "os:tester", Timestamp::now())).unwrap();
    }
    let revoked = look_until(DEADLINE, async || {
        let status = post(&server, &numbered(9, 1), &[bearer(&writer_key)]).await.status;
        (status == 401).then_some(())
    });
    revoked.await.expect("a revocation");
    for answer in [key.finish().await, spans.finish().await] {
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert_eq!(Book::read(&dir).unwrap().unwrap().credentials.len(), 2);
    let begun = span_id_hex(1);
    assert!(entries(data.path()).iter().all(|(_, body)| body["span"]["id"] != *begun));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_shuts_with_the_first_credential_also_when_it_cannot_be_read_and_stays_shut() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path()).await;
    assert_eq!(post(&server, &numbered(1, 1), &[]).await.status, 200);
    let dir = data.path().join(ACCESS_FOLDER);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("credentials.json"), "not readable").unwrap();
    let shut = look_until(DEADLINE, async || {
        (post(&server, &numbered(2, 1), &[]).await.status == 401).then_some(())
    });
    shut.await.expect("the door is shut");
    std::fs::remove_dir_all(&dir).unwrap();
    let writer = create(data.path(), new(Role::Writer, "acme")).1;
    let open = look_until(DEADLINE, async || {
        (post(&server, &numbered(3, 1), &[bearer(&writer)]).await.status == 200).then_some(())
    });
    open.await.expect("the writer gets in");

    // A folder that is lost, as with a restore of the ledger alone, does not open it again.
    server.kill();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = refused_start(data.path());
    assert!(said.contains("credentials-needed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_of_a_tenant_has_of_the_installations_own_entries_what_proves_it_and_no_words() {
    let data = TempDir::new().unwrap();
    let (_, writer) = create(data.path(), new(Role::Writer, "acme"));
    let (_, auditor) = create(data.path(), new(Role::Auditor, "acme"));
    let server = Server::start(data.path()).await;
    let sent = post(&server, &numbered(0, 1), &[bearer(&writer)]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let key = data.path().join("keys/log.pub");
    let public = || std::fs::read_to_string(&key).unwrap_or_default();
    let first = look_until(DEADLINE, async || Some(public()).filter(|it| it.ends_with('\n')));
    let first = first.await.expect("the log has a key");
    let rotated = std::process::Command::new(support::server::binary())
        .args(["keys", "log", "rotate", "--data", data.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let changed = look_until(DEADLINE, async || (public() != first).then_some(()));
    changed.await.expect("the next key is in place");
    let more = post(&server, &numbered(1, 1), &[bearer(&writer)]).await;
    assert_eq!(more.status, 200, "{}", more.text);

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (name, value) = bearer(&auditor);
    let address = format!("http://{}/api/v1/evidence/external-0", server.api());
    let bundle = look_until(DEADLINE, async || {
        let answer = client.get(&address).header(name, &value).send().await.unwrap();
        let bytes = answer.bytes().await.unwrap();
        let bundle = read_bundle(&bytes)?;
        (bundle.1.len() == 2 && !bundle.2.is_empty()).then_some(bundle)
    });
    let (manifest, story, acts) = bundle.await.expect("both entries and the act are in it");
    assert_eq!(manifest.tenant, "acme");
    assert!(!manifest.payloads, "nobody asked for originals");
    let own = story[0].leaf.tenant_pseudonym;
    assert!(story.iter().all(|item| item.leaf.tenant_pseudonym == own));
    // The statement of a key, which is public; who had it done, as the system says; and no free text.
    for act in acts {
        let body: serde_json::Value = serde_json::from_slice(&act.body.unwrap()).unwrap();
        assert_eq!(body["event"]["action"], "log_key.rotated", "{body}");
        assert!(body["message"].as_str().unwrap().starts_with("spanledger key rotation/v1\n"));
        assert!(body["event"]["reason"].is_null() && body["user"].is_null(), "{body}");
        let actor = body["audit"]["actor"]["id"].as_str().unwrap();
        assert!(actor.starts_with("os:") || actor.starts_with("key:"), "{body}");
    }
}
