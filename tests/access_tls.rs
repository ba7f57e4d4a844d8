//! Certificates as credentials, and the commands of ours over TLS: against the built binary, on an
//! address that other machines can reach.
#![cfg(feature = "server")]

mod support;

use jiff::Timestamp;
use prost::Message as _;
use spanledger::access::{ACCESS_FOLDER, Book, CertificateName, Credential, NewCredential, Role};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::authority::{Authority, Pair};
use support::keys::{make, new};
use support::requests::numbered;
use support::server::{DEADLINE, Server, binary, look_until};
use tempfile::TempDir;

/// A folder with the files of a server that asks for client certificates.
struct Place {
    authority: Authority,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { authority: Authority::new("ours"), folder: TempDir::new().unwrap() };
        place.authority.server().write(&place.path("tls.crt"), &place.path("tls.key"));
        fs::write(place.path("ca.crt"), place.authority.pem()).unwrap();
        let lines = [("certificate", "tls.crt"), ("key", "tls.key"), ("client_ca", "ca.crt")];
        let lines = lines.map(|(key, file)| format!("  {key}: {}\n", place.path(file).display()));
        let listen = "listen:\n  grpc: 0.0.0.0:0\n";
        fs::write(place.path("config.yaml"), format!("{listen}tls:\n{}", lines.concat())).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn client(&self, pair: Option<&Pair>) -> reqwest::ClientBuilder {
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().use_rustls_tls().add_root_certificate(authority);
        let Some(Pair { certificate, key, .. }) = pair else { return builder };
        let both = format!("{certificate}{key}");
        builder.identity(reqwest::Identity::from_pem(both.as_bytes()).unwrap())
    }

    async fn serve(&self) -> Server {
        let config = self.path("config.yaml");
        let arguments = ["--config", config.to_str().unwrap()];
        Server::start_with_tls(self.client(None), &self.data(), &arguments).await
    }

    /// Status and text of an export with that certificate.
    async fn export(&self, server: &Server, pair: Option<&Pair>, first: u64) -> (u16, String) {
        let client = self.client(pair).no_proxy().build().unwrap();
        let request = client
            .post(format!("https://{}/v1/traces", server.http()))
            .header("content-type", "application/x-protobuf")
            .body(numbered(first, 1).encode_to_vec());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned())
    }

    fn run(&self, arguments: &[&str], key: Option<&Path>) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data").arg(self.data());
        if let Some(key) = key {
            command.arg("--key-file").arg(key);
        }
        command.output().unwrap()
    }
}

fn credential(data: &Path, role: Role, tenant: &str, name: &str) -> Credential {
    let certificate = Some(name.parse::<CertificateName>().unwrap());
    make(data, NewCredential { certificate, ..new(role, tenant) }).0
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_the_tenant_that_its_name_stands_for_until_it_is_revoked() {
    let place = Place::new();
    let [by_name, by_subject, stranger, auditor] =
        ["agent", "batch", "stranger", "auditor"].map(|name| place.authority.client(name));
    credential(&place.data(), Role::Writer, "acme", "dns:agent.example");
    let batch = credential(&place.data(), Role::Writer, "acme", "subject:CN=batch");
    credential(&place.data(), Role::Auditor, "acme", "dns:auditor.example");
    let server = place.serve().await;

    assert_eq!(place.export(&server, Some(&by_name), 1).await.0, 200);
    assert_eq!(place.export(&server, Some(&by_subject), 2).await.0, 200);
    for (pair, status, says) in [
        (Some(&stranger), 401, "unknown credential"),
        (None, 401, "a credential is needed"),
        (Some(&auditor), 403, "may not write"),
    ] {
        let (answered, said) = place.export(&server, pair, 3).await;
        assert_eq!(answered, status);
        assert!(said.contains(says), "{said}");
    }
    let reads = place.client(Some(&auditor)).no_proxy().build().unwrap();
    let answer = reads.get(format!("https://{}/api/v1/entries?q=kind:llm_call", server.api()));
    let shown: serde_json::Value = answer.send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["entries"].as_array().unwrap().len(), 2, "{shown}");
    assert!(shown["entries"][0]["organization"]["id"] == "acme");

    let dir = place.data().join(ACCESS_FOLDER);
    Book::change(&dir, |book| book.revoke(&batch.id, "os:tester", Timestamp::now())).unwrap();
    let refused = look_until(DEADLINE, async || {
        let (status, said) = place.export(&server, Some(&by_subject), 4).await;
        (status == 401).then_some(said)
    });
    assert!(refused.await.expect("a refusal").contains("revoked"));
    assert_eq!(place.export(&server, Some(&by_name), 5).await.0, 200);
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_make_keys_for_a_running_server_and_ask_it_over_tls() {
    let place = Place::new();
    let made = |arguments: &[&str], name: &str| {
        let file = place.path(name);
        let out = file.to_str().unwrap().to_owned();
        let output = place.run(&[&["keys", "create", "--out", &out], arguments].concat(), None);
        assert!(output.status.success(), "{}", text(&output.stderr));
        file
    };
    made(&["--role", "operator", "--name", "ada"], "operator.key");
    let server = place.serve().await;
    let writer = made(&["--role", "writer", "--tenant", "acme", "--name", "agents"], "writer.key");
    let auditor =
        made(&["--role", "auditor", "--tenant", "acme", "--name", "audit"], "auditor.key");

    let key = fs::read_to_string(&writer).unwrap().trim().to_owned();
    let client = place.client(None).no_proxy().build().unwrap();
    let exported = look_until(DEADLINE, async || {
        let request = client
            .post(format!("https://{}/v1/traces", server.http()))
            .header("content-type", "application/x-protobuf")
            .bearer_auth(&key)
            .body(numbered(0, 3).encode_to_vec());
        (request.send().await.unwrap().status() == 200).then_some(())
    });
    exported.await.expect("a new key is known within a second");

    let ca = place.path("ca.crt");
    let ask = ["search", "trace_id:external-0", "--json", "--ca", ca.to_str().unwrap()];
    let found = place.run(&ask, Some(&auditor));
    assert!(found.status.success(), "{}", text(&found.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(shown["count"], 3, "{shown}");
    for (key, says) in [(Some(&*writer), "may not read"), (None, "credential is needed")] {
        let refused = place.run(&ask, key);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains(says) && !said.contains("slk_0"), "{said}");
    }
    let listed = text(&place.run(&["keys", "list"], None).stdout);
    assert!(listed.contains("agents") && !listed.contains(&key), "{listed}");
    server.terminate().await;
}
