//! `keys` on a data folder and over the API, and commands that show a key to a server.

mod api_support;

use api_support::{Ring, body, fill, memory};
use clap::Parser as _;
use serde_json::Value;
use spanledger::access::{Book, Credentials, Role, Token};
use spanledger::api::{HostCheck, router};
use spanledger::cli::{
    Cli, Command, CommandError, Exit, Source, Style, access_dir, error_line, keys, offline, search,
};
use spanledger::store::MemoryStore;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a `keys` command ended, what it wrote, and what it noted beside it.
struct Ran {
    end: Result<Exit, CommandError>,
    out: String,
    notes: String,
}

impl Ran {
    fn fine(self) -> String {
        assert_eq!(self.end.unwrap(), Exit::Fine);
        self.out
    }

    fn error(self) -> String {
        assert_eq!(self.out, "", "nothing is shown of what was not done");
        error_line(&self.end.unwrap_err())
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.fine()).unwrap()
    }
}

async fn run(line: &[&str]) -> Ran {
    let line = [&["spanledger", "keys"], line].concat();
    let Command::Keys(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not keys")
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let end = keys(&args, Style::plain(160), &mut out, &mut notes).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { end, out: text(out), notes: text(notes) }
}

/// A `keys` command on this data folder.
async fn on(data: &Path, line: &[&str]) -> Ran {
    run(&[line, &["--data", data.to_str().unwrap()]].concat()).await
}

fn book(data: &Path) -> Book {
    Book::read(&access_dir(data)).unwrap().unwrap()
}

const OPERATOR: [&str; 5] = ["create", "--role", "operator", "--name", "ada"];

#[tokio::test]
async fn a_secret_is_printed_once_and_only_its_hash_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let text = on(data.path(), &OPERATOR).await.fine();
    let secret = text.lines().find(|line| line.contains("slk_")).unwrap().trim().to_owned();
    let token = Token::parse(&secret).unwrap();
    assert!(text.starts_with(&format!("made {} (ada): operator, never expires", token.id())));
    let dir = access_dir(data.path());
    let kept = std::fs::read_to_string(dir.join("credentials.json")).unwrap();
    assert!(!kept.contains(&secret) && kept.contains(&token.hash().to_hex()));
    let by = &book(data.path()).credentials[0].created.by;
    assert!(by.starts_with("os:") && by.len() > 3, "{by}");
    let listed = on(data.path(), &["list"]).await.fine()
        + &on(data.path(), &["list", "--json"]).await.fine();
    assert!(!listed.contains("slk_") && !listed.contains(&token.hash().to_hex()), "{listed}");
    assert!(listed.contains(token.id()) && listed.contains("active"), "{listed}");
}

#[tokio::test]
async fn the_first_key_says_what_it_shuts_and_is_the_operators_unless_one_knows() {
    let data = tempfile::tempdir().unwrap();
    let empty = on(data.path(), &["list"]).await.fine();
    assert!(empty.contains("everybody on this machine"), "{empty}");
    let writer = ["create", "--role", "writer", "--tenant", "default"];
    let refused = on(data.path(), &writer).await.error();
    assert!(refused.contains("--yes") && refused.contains("auditor"), "{refused}");
    assert!(Book::read(&access_dir(data.path())).unwrap().is_none(), "nothing was shut");
    let made = on(data.path(), &[&writer[..], &["--yes"]].concat()).await;
    assert!(made.notes.contains("reading needs an auditor's"), "{}", made.notes);
    made.fine();
    let second = on(data.path(), &["create", "--role", "auditor", "--tenant", "default"]).await;
    assert_eq!(second.notes, "", "only the first one shuts the door");

    let data = tempfile::tempdir().unwrap();
    let made = on(data.path(), &OPERATOR).await;
    assert!(made.notes.contains("writer's key"), "{}", made.notes);
    made.fine();
}

#[tokio::test]
async fn a_script_gets_the_secret_alone_as_json_or_in_a_file_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let quiet = on(data.path(), &[&OPERATOR[..], &["--quiet"]].concat()).await.fine();
    assert!(Token::parse(quiet.trim()).is_some() && quiet.lines().count() == 1, "{quiet}");
    let json = on(data.path(), &[&OPERATOR[..], &["--json"]].concat()).await.json();
    assert!(Token::parse(json["secret"].as_str().unwrap()).is_some(), "{json}");

    let file = data.path().join("ada.key");
    let out = ["--out", file.to_str().unwrap()];
    let text = on(data.path(), &[&OPERATOR[..], &out].concat()).await.fine();
    assert!(!text.contains("slk_") && text.contains("ada.key"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = Token::parse(std::fs::read_to_string(&file).unwrap().trim()).unwrap();
    assert_eq!(token.id(), book(data.path()).credentials[2].id);
    let refused = on(data.path(), &[&OPERATOR[..], &out].concat()).await.error();
    assert!(refused.contains("no key was made"), "{refused}");
    assert_eq!(book(data.path()).credentials.len(), 3, "a file is never written over");
    let other = data.path().join("other.key");
    let wrong = ["create", "--role", "auditor", "--out", other.to_str().unwrap()];
    on(data.path(), &wrong).await.error();
    assert!(!other.exists(), "no empty file is left");
}

#[tokio::test]
async fn every_flag_of_a_key_is_in_the_book() {
    let data = tempfile::tempdir().unwrap();
    on(data.path(), &OPERATOR).await.fine();
    let line = [
        "create",
        "--role",
        "forwarder",
        "--tenant",
        "platform",
        "--name",
        "edge",
        "--expires",
        "90d",
        "--max-requests",
        "500",
        "--max-bytes",
        "10MiB",
        "--forward",
        "acme,globex",
        "--tenant-attribute",
        "customer.id",
        "--certificate",
        "dns:Edge.Example",
    ];
    let text = on(data.path(), &line).await.fine();
    assert!(text.contains("certificate dns:edge.example") && !text.contains("slk_"), "{text}");
    let key = &on(data.path(), &["list", "--json"]).await.json()["keys"][1];
    insta::assert_json_snapshot!(key, {
        ".id" => "[id]", ".created" => "[time]", ".created_by" => "[user]", ".expires" => "[time]",
    });
}

#[tokio::test]
async fn a_key_is_rotated_with_grace_and_revoked_for_good() {
    let data = tempfile::tempdir().unwrap();
    on(data.path(), &OPERATOR).await.fine();
    let id = book(data.path()).credentials[0].id.clone();
    let json = on(data.path(), &["rotate", &id, "--grace", "36h", "--json"]).await.json();
    assert_eq!(json["key"]["replaces"], id);
    let list = on(data.path(), &["list"]).await.fine();
    assert!(list.contains("expires in 35h"), "{list}");
    let text = on(data.path(), &["revoke", &id]).await.fine();
    assert!(text.contains("refuses it within a second"), "{text}");
    let list = on(data.path(), &["list"]).await.fine();
    assert!(list.contains("revoked") && list.contains("2 in all"), "{list}");
    let error = on(data.path(), &["rotate", &id]).await.error();
    assert!(error.contains("keys create"), "{error}");
    for line in [["revoke", "ffff"], ["rotate", "ffff"]] {
        let error = on(data.path(), &line).await.error();
        assert!(error.contains("keys list"), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_and_nothing_is_changed() {
    let data = tempfile::tempdir().unwrap();
    on(data.path(), &OPERATOR).await.fine();
    for (line, said) in [
        (vec!["--role", "auditor"], "needs a tenant"),
        (vec!["--role", "operator", "--tenant", "acme"], "name no tenant"),
        (vec!["--role", "auditor", "--tenant", "a/b"], "a tenant's name"),
        (vec!["--role", "operator", "--expires", "soon"], "90d"),
        (vec!["--role", "operator", "--expires", "2001-01-01"], "expired already"),
        (vec!["--role", "operator", "--certificate", "CN=x"], "subject:CN="),
        (vec!["--role", "forwarder", "--tenant", "acme", "--forward", "a"], "say which"),
    ] {
        let error = on(data.path(), &[&["create"], &line[..]].concat()).await.error();
        assert!(error.contains(said), "{line:?}: {error}");
    }
    assert_eq!(book(data.path()).credentials.len(), 1);
    for line in [
        vec!["spanledger", "keys", "create", "--role", "root"],
        vec!["spanledger", "keys", "create"],
        vec!["spanledger", "keys", "create", "--role", "writer", "--max-requests", "0"],
        vec!["spanledger", "keys", "create", "--role", "writer", "--tenant-header", "x"],
        vec!["spanledger", "keys", "create", "--role", "operator", "--quiet", "--json"],
        vec!["spanledger", "keys", "revoke"],
    ] {
        assert_eq!(Cli::try_parse_from(&line).unwrap_err().exit_code(), 2, "{line:?}");
    }
}

#[tokio::test]
async fn what_a_command_changed_a_server_accepts_when_it_is_on_record() {
    let data = tempfile::tempdir().unwrap();
    let quiet = on(data.path(), &[&OPERATOR[..], &["--quiet"]].concat()).await.fine();
    let token = Token::parse(quiet.trim()).unwrap();
    book(data.path()).write_recorded(&access_dir(data.path())).unwrap();
    let credentials = Credentials::open(&access_dir(data.path())).unwrap();
    let presented = spanledger::access::Presented::Key(token);
    let principal = credentials.authenticate(Ok(presented), None).unwrap();
    assert_eq!(principal.role(), Some(Role::Operator));
}

/// A server with these credentials on a free port, for as long as the test runs.
async fn server(ring: &Arc<Ring>, store: Arc<MemoryStore>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = router(ring.api(store), HostCheck::for_listener(address));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A file with this key.
fn key_file(dir: &Path, name: &str, token: &Token, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("{}\n", token.reveal())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn an_operator_makes_lists_rotates_and_revokes_over_the_api() {
    let (dir, ring) = (tempfile::tempdir().unwrap(), Ring::new());
    let address = server(&ring, memory()).await.to_string();
    let over = async |key: Option<&Path>, line: &[&str]| {
        let key = key.map(|path| vec!["--key-file", path.to_str().unwrap()]).unwrap_or_default();
        run(&[line, &["--api", &address], &key].concat()).await
    };
    let writer = ["create", "--role", "writer", "--tenant", "default"];
    let refused = over(None, &writer).await.error();
    assert!(refused.contains("--yes"), "the first one: {refused}");
    let made = over(None, &[&OPERATOR[..], &["--quiet"]].concat()).await;
    assert!(made.notes.contains("first credential"), "{}", made.notes);
    let operator = Token::parse(made.fine().trim()).unwrap();
    let operator = key_file(dir.path(), "operator", &operator, 0o600);

    let refused = over(None, &writer).await.error();
    assert!(refused.contains("--key-file") && refused.contains("SPANLEDGER_KEY"), "{refused}");
    let made = over(Some(&operator), &[&writer[..], &["--json"]].concat()).await;
    assert_eq!(made.notes, "");
    let made = made.json();
    let writer = Token::parse(made["secret"].as_str().unwrap()).unwrap();
    let writer_file = key_file(dir.path(), "writer", &writer, 0o600);
    let forbidden = over(Some(&writer_file), &["list"]).await.error();
    assert!(
        forbidden.contains("may not operate") && forbidden.contains("keys list"),
        "{forbidden}"
    );

    let rotated = over(Some(&operator), &["rotate", writer.id()]).await.fine();
    assert!(rotated.contains("slk_") && rotated.contains("24h"), "{rotated}");
    let revoked = over(Some(&operator), &["revoke", writer.id()]).await.fine();
    assert!(revoked.contains("from now on"), "{revoked}");
    let list = over(Some(&operator), &["list"]).await.fine();
    assert!(list.contains("revoked") && list.contains("3 in all"), "{list}");
    assert!(list.lines().nth(1).unwrap().contains("20"), "the operator's last use: {list}");
    let unknown = over(Some(&operator), &["revoke", "a/b c"]).await.error();
    assert!(unknown.contains("no such key"), "{unknown}");
}

async fn searched(line: &[&str]) -> (Result<Exit, CommandError>, String) {
    let line = [&["spanledger", "search", "kind:span", "--json"], line].concat();
    let Command::Search(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not search")
    };
    let mut out = Vec::new();
    let end = async {
        let source = Source::open(&args.source, offline).await?;
        search(&args, &source, Style::plain(100), &mut out).await
    };
    let end = end.await;
    (end, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_command_shows_its_key_to_the_server_and_says_what_to_do_without_one() {
    let (dir, ring, store) = (tempfile::tempdir().unwrap(), Ring::new(), memory());
    fill(&*store, &[body(1, &["t"], r#""kind":"span""#)]);
    let auditor = ring.key(Role::Auditor, Some("default"));
    let global = ring.key(Role::GlobalAuditor, None);
    let writer = ring.key(Role::Writer, Some("default"));
    let address = format!("http://{}", server(&ring, store).await);
    let api = ["--api", address.as_str()];
    let said = |end: Result<Exit, CommandError>| error_line(&end.unwrap_err());

    let (end, _) = searched(&api).await;
    let error = said(end);
    assert!(error.contains("SPANLEDGER_KEY") && error.contains("keys create"), "{error}");
    let with = async |token: &Token, mode: u32, more: &[&str]| {
        let path = key_file(dir.path(), "key", token, mode);
        searched(&[&api, &["--key-file", path.to_str().unwrap()], more].concat()).await
    };
    let (end, text) = with(&auditor, 0o600, &[]).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    assert!(text.contains("\"count\":1"), "{text}");
    let error = said(with(&auditor, 0o640, &[]).await.0);
    assert!(error.contains("chmod 600"), "{error}");
    let error = said(with(&writer, 0o600, &[]).await.0);
    assert!(error.contains("may not read") && error.contains("a role that may"), "{error}");
    let error = said(with(&global, 0o600, &[]).await.0);
    assert!(error.contains("tenant_id:NAME"), "{error}");
    let (end, text) = with(&global, 0o600, &["--tenant", "default"]).await;
    assert_eq!(end.unwrap(), Exit::Fine);
    assert!(text.contains("\"count\":1"), "{text}");
}

#[test]
fn the_binary_takes_its_key_from_the_environment_and_never_from_a_flag() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (ring, store) = (Ring::new(), memory());
    fill(&*store, &[body(1, &["t"], r#""kind":"span""#)]);
    let auditor = ring.key(Role::Auditor, Some("default"));
    let address = runtime.block_on(server(&ring, store));
    let binary = || {
        let mut command = assert_cmd::Command::cargo_bin("spanledger").unwrap();
        command.env_remove("SPANLEDGER_KEY_FILE").env_remove("SPANLEDGER_API");
        command.args(["search", "kind:span", "--api", &address.to_string()]);
        command
    };
    binary().env("SPANLEDGER_KEY", auditor.reveal()).assert().success();
    let refused = binary().env("SPANLEDGER_KEY", "slk_wrong").assert().failure();
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("SPANLEDGER_KEY") && !said.contains("slk_wrong"), "{said}");
    binary().args(["--key", auditor.reveal()]).assert().code(2);
}

#[tokio::test]
async fn a_server_without_tls_is_not_mistaken_for_one_with_it() {
    let ring = Ring::new();
    let address = server(&ring, memory()).await;
    let (end, _) = searched(&["--api", &format!("https://{address}")]).await;
    let error = error_line(&end.unwrap_err());
    assert!(error.contains("no answer from https://"), "{error}");
}
