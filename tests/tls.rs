//! TLS on every listener: the built binary, with certificates that the test made, asked by our own
//! client, by curl, and by the published SDKs.
#![cfg(feature = "server")]

#[path = "tls/setup.rs"]
mod setup;
mod support;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use setup::{Dial, Files, Outcome, connect, get, http2_of};
use spanledger::access::{
    ACCESS_FOLDER, Book, ClientAuthorities, PeerCertificate, Role, Tls, TlsSettings,
};
use spanledger::receiver::{Limits, Metrics, Server as Listener};
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::authority::{Authority, Pair};
use support::clients;
use support::requests::numbered;
use support::server::{DEADLINE, Server, binary, look_until, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Name of the series of failed handshakes for a reason.
fn failed(reason: &str) -> String {
    format!("spanledger_tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

/// Waits until a series says so: a client may know of its refusal before that is counted.
async fn assert_counted(server: &Server, series: &str, count: u64) {
    let counted = async || (server.metric(series).await >= count).then_some(());
    look_until(DEADLINE, counted).await;
    assert_eq!(server.metric(series).await, count, "{series}");
}

/// Runs to its end without holding up the connections of the test.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exports spans over gRPC on a TLS connection.
async fn export_grpc(dial: &Dial<'_>, server: &Server, first: u64) -> Outcome<()> {
    let stream = dial.connect(server.grpc()).await?;
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("connected once"));
        async move { stream }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await?;
    let answer = TraceServiceClient::new(channel).export(numbered(first, 10)).await?;
    assert_eq!(answer.into_inner().partial_success, None);
    Ok(())
}

#[tokio::test]
async fn every_listener_speaks_tls_1_2_and_1_3_with_http_1_and_2() {
    let files = Files::new();
    let server = files.serve("", "").await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for protocols in [&["h2"][..], &["http/1.1"], &[]] {
            let dial = Dial { versions, protocols, ..Dial::new(&files.authority) };
            for address in [server.grpc(), server.http(), server.api()] {
                let stream = dial.connect(address).await.unwrap();
                let agreed = stream.get_ref().1.alpn_protocol();
                assert_eq!(agreed, protocols.first().map(|name| name.as_bytes()));
            }
            let (status, _) = dial.get(server.api(), "/healthz").await.unwrap();
            assert_eq!(status, 200, "{versions:?} {protocols:?}");
        }
        let dial = Dial { versions, ..Dial::new(&files.authority) };
        export_grpc(&dial, &server, 0).await.unwrap();
    }
    let endpoints = fs::read_to_string(server.data().join("endpoints.json")).unwrap();
    assert!(endpoints.contains("\"tls\":true"), "{endpoints}");
    assert!(server.stdout().contains(&format!("API https://{}/", server.api())));
    assert!(server.metric("spanledger_tls_certificate_expires_timestamp_seconds").await > 0);
    server.terminate().await;
}

#[tokio::test]
async fn curl_exports_over_https_and_does_not_without_the_authority() {
    let files = Files::new();
    let server = files.serve("", "").await;
    let body = files.path("body");
    fs::write(&body, numbered(0, 10).encode_to_vec()).unwrap();
    let ca = files.path("ca.crt");
    for version in ["--http1.1", "--http2"] {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", version, "--cacert"]);
        command.arg(&ca).args(["--header", "content-type: application/x-protobuf"]);
        command.arg("--data-binary").arg(format!("@{}", body.display()));
        let output = run_with(command, &format!("https://{}/v1/traces", server.http())).await;
        assert!(output.status.success(), "{version}: {}", text(&output.stderr));
    }
    let mut stranger = Command::new("curl");
    stranger.args(["--silent", "--noproxy", "*"]);
    let output = run_with(stranger, &format!("https://{}/healthz", server.api())).await;
    assert_eq!(output.status.code(), Some(60), "curl trusts no authority that it does not know");
    let refused = look_until(DEADLINE, async || {
        (server.metric(&failed("client_alert")).await >= 1).then_some(())
    });
    refused.await.expect("the refusal is counted");
    let story = server.get("/api/v1/traces/external-0").await;
    assert_eq!(story["entries"].as_array().unwrap().len(), 10);
    server.terminate().await;
}

async fn run_with(mut command: Command, url: &str) -> Output {
    command.arg(url);
    run(command).await
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let files = Files::new();
    let server = files.serve("", "").await;
    let mut stream = TcpStream::connect(server.http()).await.unwrap();
    stream.write_all(&client_hello_of_tls_1_1()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // An alert: fatal, protocol_version.
    assert_eq!((answer[0], &answer[3..]), (21, &[0, 2, 2, 70][..]), "{answer:?}");
    assert_counted(&server, &failed("incompatible"), 1).await;
    server.terminate().await;
}

/// Version 3.2, three cipher suites of its time, and how it would check a signature.
fn client_hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 6, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn plain_http_is_told_to_use_https_and_the_server_goes_on() {
    let files = Files::new();
    let server = files.serve("", "").await;
    for address in [server.grpc(), server.http(), server.api()] {
        let url = format!("http://{address}/healthz");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("https"));
    }
    let plain = TraceServiceClient::connect(format!("http://{}", server.grpc())).await;
    if let Ok(mut plain) = plain {
        plain.export(numbered(0, 1)).await.unwrap_err();
    }
    let told = async || (server.metric(&failed("plaintext")).await >= 4).then_some(());
    look_until(DEADLINE, told).await.expect("each is counted");
    export_grpc(&Dial::new(&files.authority), &server, 0).await.unwrap();
    assert!(!server.stderr().contains("no TLS connection"), "at debug only");
    server.terminate().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off_at_the_deadline() {
    let files = Files::new();
    let server = files.serve("", "receiver:\n  header_timeout: 1s\n").await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.http()).await.unwrap();
    let mut halfway = TcpStream::connect(server.http()).await.unwrap();
    halfway.write_all(&client_hello_of_tls_1_1()[..20]).await.unwrap();
    // And one that is through with it, and then says nothing.
    let mut mute = Dial::new(&files.authority).connect(server.http()).await.unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    let _ = halfway.read_to_end(&mut rest).await;
    let _ = mute.read_to_end(&mut rest).await;
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < DEADLINE);
    assert_counted(&server, &failed("timeout"), 2).await;
    let limit = "spanledger_limit_hits_total{limit=\"header_timeout\"}";
    assert_counted(&server, limit, 3).await;
    server.terminate().await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_or_expired_or_revoked_is_refused() {
    let files = Files::new();
    let ours = &files.authority;
    let foreign = Authority::new("ours").client("agent");
    let (good, expired) = (ours.client("agent"), ours.expired_client("agent"));
    let (revoked, later) = (ours.client("revoked"), ours.client("later"));
    let list = files.path("revoked.pem");
    fs::write(&list, ours.revoke(&[&revoked])).unwrap();
    let tls = format!("{}  client_revoked: {}\n  reload: 1s\n", files.client_ca(), list.display());
    let server = files.serve(&tls, "").await;

    // Each version: in 1.3 a client believes that the handshake is over before it was refused.
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for pair in [&good, &later] {
            let dial = Dial { versions, ..Dial::with(ours, pair) };
            assert_eq!(dial.get(server.api(), "/healthz").await.unwrap().0, 200);
            export_grpc(&dial, &server, 0).await.unwrap();
        }
        for (what, pair) in [("foreign", &foreign), ("expired", &expired), ("revoked", &revoked)] {
            let dial = Dial { versions, ..Dial::with(ours, pair) };
            assert!(dial.get(server.api(), "/healthz").await.is_err(), "{what}");
            assert!(export_grpc(&dial, &server, 0).await.is_err(), "{what}");
        }
    }
    assert_counted(&server, &failed("client_certificate"), 12).await;
    // Without a certificate there is a connection: a key may be shown on it.
    assert_eq!(Dial::new(ours).get(server.api(), "/healthz").await.unwrap().0, 200);

    fs::write(&list, ours.revoke(&[&revoked, &later])).unwrap();
    let dial = Dial::with(ours, &later);
    let refused = async || dial.get(server.api(), "/healthz").await.is_err().then_some(());
    look_until(DEADLINE, refused).await.expect("a new list is taken without a restart");
    assert!(Dial::with(ours, &good).get(server.api(), "/healthz").await.is_ok());
    server.terminate().await;
}

#[tokio::test]
async fn there_is_no_connection_without_a_certificate_where_one_is_required() {
    let files = Files::new();
    let ours = &files.authority;
    let good = ours.client("agent");
    let tls = format!("{}  client_certificates: required\n", files.client_ca());
    let server = files.serve_as(Some(&good), &tls, "").await;
    for address in [server.grpc(), server.http(), server.api()] {
        assert!(Dial::new(ours).get(address, "/healthz").await.is_err());
    }
    export_grpc(&Dial::with(ours, &good), &server, 0).await.unwrap();
    assert_counted(&server, &failed("client_certificate"), 3).await;

    let (certificate, key) = files.write_client(&good);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]);
    curl.arg(files.path("ca.crt")).args(["--cert", &certificate, "--key", &key]);
    let output = run_with(curl, &format!("https://{}/healthz", server.api())).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    server.terminate().await;
}

/// A listener that answers each request with the names in the certificate of its connection.
struct Mirror {
    tls: Arc<Tls>,
    address: String,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl Mirror {
    async fn start(files: &Files, revoked: Option<std::path::PathBuf>) -> Self {
        let authorities = files.path("ca.crt");
        let settings = TlsSettings {
            certificate: files.path("tls.crt"),
            key: files.path("tls.key"),
            clients: Some(ClientAuthorities { authorities, revoked, required: false }),
            reload: DEADLINE,
        };
        let tls = Arc::new(Tls::load(settings).unwrap());
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(anywhere, Limits::default(), Arc::new(Metrics::default()));
        let listener = listener.await.unwrap().with_tls(Some(Arc::clone(&tls)));
        let address = listener.address().to_string();
        let says_names = tower::service_fn(async |request: http::Request<Incoming>| {
            let shown = request.extensions().get::<PeerCertificate>();
            let names = shown.map_or_else(
                || "nothing".to_owned(),
                |shown| shown.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            );
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(names))))
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let told = async { stopped.await.unwrap_or(()) };
        let served = tokio::spawn(listener.serve(says_names, told));
        Self { tls, address, stop, served }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }
}

#[tokio::test]
async fn each_request_of_a_connection_carries_the_names_of_its_certificate() {
    let files = Files::new();
    let ours = &files.authority;
    let mirror = Mirror::start(&files, None).await;
    let agent = ours.client("agent");
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let dial = Dial { protocols, ..Dial::with(ours, &agent) };
        let (_, names) = dial.get(&mirror.address, "/").await.unwrap();
        assert_eq!(names, "subject:CN=agent dns:agent.example");
        let dial = Dial { protocols, ..Dial::new(ours) };
        assert_eq!(dial.get(&mirror.address, "/").await.unwrap().1, "nothing");
    }
    let stream = Dial::with(ours, &agent).connect(&mirror.address).await.unwrap();
    let mut sender = http2_of(stream).await.unwrap();
    for _ in 0..3 {
        let (_, names) = get(&mut sender, &mirror.address, "/").await.unwrap();
        assert_eq!(names, "subject:CN=agent dns:agent.example");
    }
    drop(sender);
    mirror.end().await;
}

#[tokio::test]
async fn a_resumed_session_has_its_names_and_none_is_resumed_after_a_revocation() {
    let files = Files::new();
    let ours = &files.authority;
    let agent = ours.client("agent");
    let list = files.path("revoked.pem");
    fs::write(&list, ours.revoke(&[])).unwrap();
    let mirror = Mirror::start(&files, Some(list.clone())).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        fs::write(&list, ours.revoke(&[])).unwrap();
        mirror.tls.look(true).unwrap();
        let connector = Dial { versions, ..Dial::with(ours, &agent) }.connector();
        let ask = async || {
            let stream = connect(&connector, "localhost", &mirror.address).await?;
            let kind = stream.get_ref().1.handshake_kind();
            let mut sender = http2_of(stream).await?;
            let (_, names) = get(&mut sender, &mirror.address, "/").await?;
            Outcome::Ok((kind, names))
        };
        let names = "subject:CN=agent dns:agent.example".to_owned();
        assert_eq!(ask().await.unwrap(), (Some(HandshakeKind::Full), names.clone()));
        assert_eq!(ask().await.unwrap(), (Some(HandshakeKind::Resumed), names));
        fs::write(&list, ours.revoke(&[&agent])).unwrap();
        assert!(mirror.tls.look(false).unwrap());
        assert!(ask().await.is_err(), "{versions:?}");
    }
    mirror.end().await;
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections_while_old_ones_go_on() {
    let files = Files::new();
    let server = files.serve("  reload: 1s\n", "").await;
    let dial = Dial::new(&files.authority);
    let address = server.api();
    let before = dial.served(address).await.unwrap();
    let mut old = http2_of(dial.connect(address).await.unwrap()).await.unwrap();
    assert_eq!(get(&mut old, address, "/healthz").await.unwrap().0, 200);
    files.renew();
    let renewed = async || (dial.served(address).await.unwrap() != before).then_some(());
    look_until(DEADLINE, renewed).await.expect("the new certificate is served");
    assert_eq!(get(&mut old, address, "/healthz").await.unwrap().0, 200, "the old one goes on");
    assert!(server.metric("spanledger_tls_reloads_total").await >= 1);
    assert_eq!(server.metric("spanledger_tls_files_refused").await, 0);
    server.terminate().await;
}

#[tokio::test]
async fn a_broken_replacement_keeps_the_old_certificate_and_is_warned_of_once() {
    let files = Files::new();
    let server = files.serve("  reload: 1s\n", "").await;
    let dial = Dial::new(&files.authority);
    let before = dial.served(server.api()).await.unwrap();
    fs::write(files.path("tls.crt"), "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    let refused = async || (server.metric("spanledger_tls_files_refused").await == 1).then_some(());
    look_until(DEADLINE, refused).await.expect("it is seen");
    assert_eq!(dial.served(server.api()).await.unwrap(), before);
    files.renew();
    let renewed = async || (dial.served(server.api()).await.unwrap() != before).then_some(());
    look_until(DEADLINE, renewed).await.expect("a whole one is taken");
    assert_eq!(server.metric("spanledger_tls_files_refused").await, 0);
    let warnings = server.stderr().matches("new TLS files cannot be used").count();
    assert_eq!(warnings, 1, "{}", server.stderr());
    server.terminate().await;
}

#[tokio::test]
async fn a_signal_takes_new_files_at_once() {
    let files = Files::new();
    let server = files.serve("  reload: 1h\n", "").await;
    let dial = Dial::new(&files.authority);
    let before = dial.served(server.api()).await.unwrap();
    files.renew();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let renewed = async || (dial.served(server.api()).await.unwrap() != before).then_some(());
    look_until(DEADLINE, renewed).await.expect("the new certificate is served");
    server.terminate().await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_and_a_list_that_is_out_of_date_are_warned_of() {
    let files = Files::new();
    let ours = &files.authority;
    let ten_days = Duration::from_hours(240);
    ours.server_that_ends(ten_days).write(&files.path("tls.crt"), &files.path("tls.key"));
    let (agent, revoked) = (ours.client("agent"), ours.client("revoked"));
    let list = files.path("revoked.pem");
    fs::write(&list, ours.revoke_until(2022, &[&revoked])).unwrap();
    let tls = format!("{}  client_revoked: {}\n", files.client_ca(), list.display());
    let server = files.serve(&tls, "").await;
    wait_until("it warns of the end", || server.stderr().contains("ends soon")).await;
    wait_until("it warns of the list", || server.stderr().contains("is out of date")).await;
    let due = server.metric("spanledger_tls_client_revoked_due_timestamp_seconds").await;
    assert_eq!(due, 1_640_995_200);
    let asks = async |pair: &Pair| {
        let dial = Dial { name: "127.0.0.1", ..Dial::with(ours, pair) };
        dial.get(server.api(), "/healthz").await
    };
    assert!(asks(&agent).await.is_ok(), "evidence is taken all the same");
    assert!(asks(&revoked).await.is_err(), "and the list still counts");
    server.terminate().await;
}

/// Makes the key of a writer, and revokes it when asked to.
fn make_key(data: &std::path::Path, revoked: bool) {
    let now = jiff::Timestamp::now();
    let new = support::keys::new(Role::Writer, "acme");
    Book::change(&data.join(ACCESS_FOLDER), |book| {
        let (credential, _) = book.create(new, "os:test", now)?;
        if revoked {
            book.revoke(&credential.id, "os:test", now)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn others_reach_a_server_with_a_key_in_effect_and_tls_only() {
    let files = Files::new();
    let with_tls = files.path("with.yaml");
    fs::rename(files.config("", ""), &with_tls).unwrap();
    let (without, behind) = (files.path("without.yaml"), files.path("behind.yaml"));
    fs::write(&without, "").unwrap();
    fs::write(&behind, "tls:\n  terminated_elsewhere: true\n").unwrap();
    let (nothing, key, old_key) = (files.path("nothing"), files.path("key"), files.path("old"));
    make_key(&key, false);
    make_key(&old_key, true);
    for (config, data, starts) in [
        (&without, &nothing, false),
        (&with_tls, &nothing, false),
        (&behind, &nothing, false),
        (&without, &key, false),
        (&with_tls, &old_key, false),
        (&with_tls, &key, true),
        (&behind, &key, true),
    ] {
        let output = Command::new(binary())
            .args(["serve", "--check-config", "--listen-api", "0.0.0.0:0", "--config"])
            .arg(config)
            .arg("--data")
            .arg(data)
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(if starts { 0 } else { 2 }), "{said}");
        if !starts {
            let words = ["spanledger keys create", "tls.certificate"];
            assert!(words.iter().any(|word| said.contains(word)), "{said}");
        }
    }
    assert!(!nothing.exists(), "nothing was made");
}

#[test]
fn files_that_cannot_be_used_are_a_matter_of_usage_and_nothing_is_made() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    fs::set_permissions(files.path("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (config, data) = (files.config("", ""), files.path("data"));
    for more in [&[][..], &["--check-config"]] {
        let output = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(&data)
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("chmod 600"), "{}", text(&output.stderr));
        assert!(!data.exists());
    }
}

#[tokio::test]
async fn the_published_sdks_export_over_tls_and_with_client_certificates() {
    let files = Files::new();
    let agent = files.authority.client("agent");
    let tls = format!("{}  client_certificates: required\n", files.client_ca());
    let server = files.serve_as(Some(&agent), &tls, "").await;
    for (client, variants) in
        [("python", &["grpc", "http"][..]), ("go", &["grpc", "http"]), ("js", &["grpc", "proto"])]
    {
        if clients::is_skipped(client) {
            continue;
        }
        for variant in variants {
            let sent = export(client, variant, &server, &files, &agent).await;
            assert!(sent.status.success(), "{client} {variant}: {}", text(&sent.stderr));
            let stranger = files.authority.expired_client("agent");
            let sent = export(client, variant, &server, &files, &stranger).await;
            assert!(!sent.status.success(), "{client} {variant}: with an expired certificate");
        }
    }
    server.terminate().await;
}

/// Runs a client with a certificate of its own.
async fn export(
    client: &str,
    variant: &str,
    server: &Server,
    files: &Files,
    pair: &Pair,
) -> Output {
    let address = if variant == "grpc" { server.grpc() } else { server.http() };
    let (certificate, key) = files.write_client(pair);
    let mut command = clients::command(client);
    command
        .arg(variant)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://{address}"))
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", files.path("ca.crt"))
        .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)
        .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)
        // To Python these say more than what is set for the exporter.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    run(command).await
}
