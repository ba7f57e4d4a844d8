//! `/log/` as somebody uses it who means no good, and as caches use it.
#![cfg(feature = "server")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use reqwest::{Client, Method, Response};
use spanledger::access::Role;
use spanledger::ledger::PublicLog;
use spanledger::ledger::checkpoint::SignedCheckpoint;
use spanledger::pipeline::log_dir;
use std::path::Path;
use support::keys::{create, new};
use support::requests::numbered;
use support::server::{DEADLINE, Server, look_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends spans until the log has so many entries, and waits until they are published.
async fn grow(server: &Server, data: &Path, size: u64) {
    let there = server.metric("spanledger_ledger_entries").await;
    let mut client =
        TraceServiceClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    client.export(numbered(there, size - there)).await.unwrap();
    let log = PublicLog::open(&log_dir(data));
    let published = look_until(DEADLINE, async || {
        let signed = log.checkpoint().unwrap()?;
        (signed.checkpoint.head.size == size).then_some(())
    });
    published.await.expect("a checkpoint of all of them");
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client().request(method, format!("http://{}/log/{path}", server.api()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(server: &Server, path: &str) -> Response {
    ask(server, Method::GET, path, &[]).await
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What is answered to a path that no client would send as it stands.
async fn raw(server: &Server, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(server.api()).await.unwrap();
    let host = server.api();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap();
    let at = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    (status, answer.split_off(at + 4))
}

#[tokio::test]
async fn no_path_leads_out_of_the_log_or_to_what_is_not_public_in_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    grow(&server, data.path(), 300).await;
    let tile = std::fs::read(data.path().join("log/tile/0/000")).unwrap();
    for path in [
        "/log/../keys/log.key",
        "/log/%2e%2e/keys/log.key",
        "/log/..%2fkeys%2flog.key",
        "/log/tile/../../keys/log.key",
        "/log/tile/..%2f..%2f..%2fkeys%2flog.key",
        "/log/tile/%2e%2e/%2e%2e/keys/log.key",
        "/log/tile/..%252f..%252fkeys%252flog.key",
        "/log/tile/0/..%5c..%5ckeys%5clog.key",
        "/log/tile/entries/../../checkpoint",
        "/log/tile/0/000.p/..%2f..%2f..%2fcheckpoint",
        "/log/tile//0/000",
        "/log/tile/0//000",
        "/log/tile/0/000/",
        "/log/tile/./0/000",
        "/log/tile/0/000%00",
        "/log/tile/0/000%00.p/1",
        "/log/tile/0/000%0a",
        "/log/tile/0/000.p/300",
        "/log/tile/0/000.p/-1",
        "/log/tile/0/%EF%BC%90%EF%BC%90%EF%BC%90",
        "/log/tile/0/%ff%fe",
        "/log/tile/0/%zz",
        "/log/tile/0/x000/000",
        "/log/tile/18446744073709551616/000",
        "/log/tile/0/x999/x999/x999/x999/x999/x999/999",
        "/log/tile",
        "/log/tile/",
        "/log/",
        "/log",
        "/log/lock",
        "/log/Checkpoint",
        "/log/checkpoint/",
        "/log/checkpoint/..",
        "/log//checkpoint",
        "//log/checkpoint",
        "/log/checkpoint%00",
        "/log/checkpoint;a=b",
    ] {
        let (status, body) = raw(&server, path).await;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("PRIVATE") && !text.contains("\u{2014} "), "{path}: {text}");
    }
    // The same characters, spelt otherwise, are the same tile; a question changes nothing.
    for path in
        ["/log/tile/%30/000", "/log/tile/0%2F000", "/log/tile/0/000?a=b", "/log/tile/0/00%30"]
    {
        let (status, body) = raw(&server, path).await;
        assert!(status == 200 && body == tile, "{path}: {status}");
    }
    let long = format!("/log/tile/0/{}", "x000/".repeat(20_000));
    assert!(matches!(raw(&server, &long).await.0, 404 | 414 | 431));
    server.terminate().await;
}

#[tokio::test]
async fn a_cache_learns_the_same_from_head_and_is_not_sent_what_it_has() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    grow(&server, data.path(), 300).await;
    for path in ["checkpoint", "keys", "tile/0/000", "tile/entries/001.p/44", "tile/1/000.p/1"] {
        let full = get(&server, path).await;
        assert_eq!(full.status(), 200, "{path}");
        let head = ask(&server, Method::HEAD, path, &[]).await;
        assert_eq!(head.status(), 200, "{path}");
        for name in ["etag", "cache-control", "content-type", "content-length"] {
            assert_eq!(header(&head, name), header(&full, name), "{path}: {name}");
            assert_ne!(header(&head, name), "", "{path}: {name}");
        }
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
        let (tag, keep) =
            (header(&full, "etag").to_owned(), header(&full, "cache-control").to_owned());
        assert!(keep.starts_with("private"), "nobody shares it with who may not read it: {keep}");
        let bytes = full.bytes().await.unwrap();
        let (weak, many) = (format!("W/{tag}"), format!("\"other\", {tag}"));
        for method in [Method::GET, Method::HEAD] {
            for known in [&[tag.as_str()][..], &[&weak], &[&many], &["*"], &["\"other\"", &tag]] {
                let known: Vec<_> = known.iter().map(|tag| ("if-none-match", *tag)).collect();
                let same = ask(&server, method.clone(), path, &known).await;
                assert_eq!(same.status(), 304, "{method} {path} {known:?}");
                assert_eq!(
                    (header(&same, "etag"), header(&same, "cache-control")),
                    (&*tag, &*keep)
                );
                assert!(same.bytes().await.unwrap().is_empty());
            }
        }
        // What we do not know is passed over: never a piece that is taken for the whole.
        for other in [
            ("if-none-match", "\"other\""),
            ("if-none-match", "rubbish"),
            ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
            ("range", "bytes=0-3"),
        ] {
            let whole = ask(&server, Method::GET, path, &[other]).await;
            assert_eq!(whole.status(), 200, "{path} {other:?}");
            assert_eq!(whole.bytes().await.unwrap(), bytes, "{path} {other:?}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let refused = ask(&server, method.clone(), path, &[]).await;
            assert_eq!(refused.status(), 405, "{method} {path}");
            assert_eq!(header(&refused, "cache-control"), "no-store", "{method} {path}");
        }
    }
    // A new checkpoint is another one.
    let before = header(&get(&server, "checkpoint").await, "etag").to_owned();
    grow(&server, data.path(), 301).await;
    let now = ask(&server, Method::GET, "checkpoint", &[("if-none-match", &before)]).await;
    assert_eq!(now.status(), 200);
    let signed = SignedCheckpoint::parse(&now.bytes().await.unwrap()).unwrap();
    assert_eq!(signed.checkpoint.head.size, 301);
    server.terminate().await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_kept_by_nobody_and_a_full_tile_continues_its_partial_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    grow(&server, data.path(), 5).await;
    let mut partial = Vec::new();
    for kind in ["0", "entries"] {
        let answer = get(&server, &format!("tile/{kind}/000.p/5")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "cache-control"), "private, max-age=60");
        partial.push(answer.bytes().await.unwrap());
        for early in ["000", "000.p/6", "000.p/255", "001", "001.p/1"] {
            let early = get(&server, &format!("tile/{kind}/{early}")).await;
            assert_eq!(early.status(), 404);
            assert_eq!(header(&early, "cache-control"), "no-store", "it may come in a second");
            assert_eq!(header(&early, "etag"), "");
        }
    }
    grow(&server, data.path(), 260).await;
    for (kind, partial) in ["0", "entries"].into_iter().zip(partial) {
        let full = get(&server, &format!("tile/{kind}/000")).await;
        assert_eq!(full.status(), 200);
        assert_eq!(header(&full, "cache-control"), "private, max-age=31536000, immutable");
        assert!(full.bytes().await.unwrap().starts_with(&partial));
        // Who asks for the partial tile of an older checkpoint gets that, or is sent to the full one.
        let old = get(&server, &format!("tile/{kind}/000.p/5")).await;
        match old.status().as_u16() {
            200 => assert_eq!(old.bytes().await.unwrap(), partial),
            status => assert_eq!((status, header(&old, "cache-control")), (404, "no-store")),
        }
        assert_eq!(get(&server, &format!("tile/{kind}/001.p/4")).await.status(), 200);
    }
    server.terminate().await;
}

#[tokio::test]
async fn a_log_without_entries_says_so_and_has_no_tiles() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let log = PublicLog::open(&log_dir(data.path()));
    let signed = look_until(DEADLINE, async || log.checkpoint().unwrap()).await.unwrap();
    assert_eq!(signed.checkpoint.head.size, 0);
    let answer = get(&server, "checkpoint").await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "cache-control")),
        (200, "private, no-cache")
    );
    assert_eq!(answer.bytes().await.unwrap(), signed.note);
    assert_eq!(get(&server, "keys").await.status(), 200);
    assert_eq!(get(&server, "cosigned").await.status(), 404, "there is no witness");
    for path in ["tile/0/000", "tile/0/000.p/1", "tile/0/000.p/0", "tile/1/000", "tile/entries/000"]
    {
        assert_eq!(get(&server, path).await.status(), 404, "{path}");
    }
    for question in ["inclusion?index=0", "inclusion?index=0&size=0", "consistency?old=0&new=1"] {
        let status = server.status(&format!("/api/v1/log/{question}")).await;
        assert!((400..500).contains(&status), "{question}: {status}");
    }
    server.terminate().await;
}

#[tokio::test]
async fn once_there_are_keys_the_log_is_a_global_auditors_alone() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    grow(&server, data.path(), 3).await;
    let paths = ["checkpoint", "keys", "tile/0/000.p/3", "tile/entries/000.p/3", "tile/9/nothing"];
    for path in &paths[..4] {
        assert_eq!(get(&server, path).await.status(), 200, "nobody has a key yet: {path}");
    }
    // What a forwarder may assert is in the matrix of all operations (`tests/access_matrix.rs`).
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Forwarder);
    let keys: Vec<_> =
        roles.map(|role| (role, create(data.path(), new(role, "default")).1)).collect();
    let shut = look_until(DEADLINE, async || {
        (get(&server, "checkpoint").await.status() == 401).then_some(())
    });
    shut.await.expect("nobody gets in without a key");
    for (role, key) in keys {
        let bearer = format!("Bearer {}", key.reveal());
        // Each is in effect when its making is on record.
        let known = look_until(DEADLINE, async || {
            let answer = ask(&server, Method::GET, "keys", &[("authorization", &bearer)]).await;
            (answer.status() != 401).then_some(())
        });
        known.await.unwrap_or_else(|| panic!("the key of the {role} is not in effect"));
        for path in paths {
            let headers = [("authorization", bearer.as_str()), ("if-none-match", "*")];
            let answer = ask(&server, Method::GET, path, &headers).await;
            let wanted = match (role, path) {
                (Role::GlobalAuditor, "tile/9/nothing") => 404,
                // It is told that it has it already: only who may have it learns that it is there.
                (Role::GlobalAuditor, _) => 304,
                _ => 403,
            };
            assert_eq!(answer.status(), wanted, "{role} {path}");
        }
    }
    for path in paths {
        for method in [Method::GET, Method::HEAD] {
            let nobody = ask(&server, method.clone(), path, &[("if-none-match", "*")]).await;
            assert_eq!(nobody.status(), 401, "{method} {path}");
            assert_eq!(header(&nobody, "cache-control"), "no-store");
        }
    }
    server.terminate().await;
}
