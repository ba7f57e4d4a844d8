//! The client against peers that behave in one way each.

use super::*;
use crate::elasticsearch::{Auth, Body, Hosts, Secret};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A peer that gives each request one fixed reply and hands over the requests that it read.
async fn peer(reply: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while let Ok(1..) = socket.read_buf(&mut bytes).await {
                    let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                    let length = head
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
                    if bytes.len() < end + 4 + length {
                        continue;
                    }
                    seen.send(String::from_utf8_lossy(&bytes).into_owned()).unwrap();
                    bytes.clear();
                    if reply.is_empty() {
                        return; // hangs up
                    }
                    socket.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (at, requests)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn get(path: &str) -> Request {
    Request {
        method: Method::Get,
        path: path.to_owned(),
        query: Vec::new(),
        body: None,
        timeout: Duration::from_secs(20),
    }
}

fn to(hosts: &[SocketAddr]) -> Connection {
    let urls = hosts.iter().map(|at| format!("http://{at}")).collect();
    Connection { hosts: Hosts::Urls(urls), ..Connection::to("http://a") }
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_built() {
    let (at, mut requests) = peer(FINE).await;
    let auth = Auth::ApiKey(Secret::new("id:key"));
    let client = Client::new(&Connection { auth, ..to(&[at]) }).unwrap();
    let reply = client
        .send(Request {
            method: Method::Post,
            path: "/_bulk".to_owned(),
            query: vec![("filter_path", "errors,items.*.status".to_owned())],
            body: Some(Body {
                bytes: Bytes::from_static(b"compressed"),
                content_type: ContentType::NdJson,
                gzip: true,
            }),
            timeout: Duration::from_secs(20),
        })
        .await
        .unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &b"{}"[..]));
    let request = requests.recv().await.unwrap();
    assert!(
        request.starts_with("POST /_bulk?filter_path=errors%2Citems.*.status HTTP/1.1"),
        "{request}"
    );
    for line in [
        "content-type: application/x-ndjson",
        "content-encoding: gzip",
        "authorization: ApiKey aWQ6a2V5",
        "accept-encoding: identity",
    ] {
        assert_eq!(request.matches(line).count(), 1, "{line} in {request}");
    }
    assert!(request.ends_with("\r\n\r\ncompressed"), "{request}");
}

#[tokio::test]
async fn a_key_that_is_refused_is_read_again_from_its_file_and_tried_once() {
    let (at, mut requests) = peer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "old:key").unwrap();
    let auth = Auth::ApiKey(Secret::new("old:key").kept_in(file.clone()));
    let client = Client::new(&Connection { auth, ..to(&[at]) }).unwrap();
    let mut sent_with = async |keys: &[&str]| {
        assert_eq!(client.send(get("/")).await.unwrap().status, 401);
        for key in keys {
            let request = requests.recv().await.unwrap();
            assert!(request.contains(&format!("authorization: ApiKey {key}\r\n")), "{request}");
        }
        assert!(requests.try_recv().is_err(), "it was sent once more");
    };
    let (old, new) = ("b2xkOmtleQ==", "bmV3OmtleQ==");
    sent_with(&[old]).await;
    std::fs::write(&file, "new:key\n").unwrap();
    sent_with(&[old, new]).await;
    std::fs::write(&file, "no key at all").unwrap();
    sent_with(&[new]).await;
}

#[tokio::test]
async fn a_path_that_looks_like_an_address_stays_a_path() {
    let (at, mut requests) = peer(FINE).await;
    let client = Client::new(&to(&[at])).unwrap();
    for path in ["/http://127.0.0.1:1/x", "//127.0.0.1:1/x", "/a:b"] {
        assert_eq!(client.send(get(path)).await.unwrap().status, 200, "{path}");
        assert!(requests.recv().await.unwrap().starts_with("GET /"), "{path}");
    }
}

#[tokio::test]
async fn any_status_is_a_reply_also_without_a_content_type() {
    let (at, _requests) =
        peer("HTTP/1.1 502 Bad Gateway\r\nretry-after: 7\r\ncontent-length: 6\r\n\r\n<html>").await;
    let reply = Client::new(&to(&[at])).unwrap().send(get("/")).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (502, &b"<html>"[..]));
    assert_eq!(reply.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let at = nobody().await;
    let error = Client::new(&to(&[at])).unwrap().send(get("/")).await.unwrap_err();
    assert!(!error.is_ambiguous(), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot connect to http://{at}"));
}

#[tokio::test]
async fn a_peer_that_hangs_up_leaves_the_outcome_open() {
    let (at, mut requests) = peer("").await;
    let (other, mut others) = peer(FINE).await;
    let client = Client::new(&to(&[at, other])).unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    assert!(requests.recv().await.is_some());
    assert!(others.try_recv().is_err(), "it was sent a second time");
}

#[tokio::test]
async fn a_reply_that_does_not_come_in_time_leaves_the_outcome_open() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&to(&[silent.local_addr().unwrap()])).unwrap();
    let request = Request { timeout: Duration::from_millis(100), ..get("/") };
    let error = client.send(request).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "the time for the reply is over");
}

#[tokio::test]
async fn when_a_host_cannot_be_connected_to_the_next_one_is_asked() {
    let (alive, mut requests) = peer(FINE).await;
    let client = Client::new(&to(&[nobody().await, alive])).unwrap();
    for _ in 0..4 {
        assert_eq!(client.send(get("/")).await.unwrap().status, 200);
        assert!(requests.recv().await.is_some());
    }
    let aside: Vec<bool> = client.0.hosts.iter().map(Host::is_aside).collect();
    assert_eq!(aside, [true, false]);
    let first: Vec<&str> = (0..3).map(|_| client.order()[0].name.as_str()).collect();
    assert_eq!(first, [format!("http://{alive}").as_str(); 3], "the dead one is asked last");
}

#[tokio::test]
async fn hosts_take_turns() {
    let (one, mut ones) = peer(FINE).await;
    let (two, mut twos) = peer(FINE).await;
    let client = Client::new(&to(&[one, two])).unwrap();
    for _ in 0..4 {
        client.send(get("/")).await.unwrap();
    }
    for requests in [&mut ones, &mut twos] {
        assert!(requests.recv().await.is_some() && requests.recv().await.is_some());
        assert!(requests.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_refused_unread() {
    // It declares more than it sends: waiting for it would end in a timeout.
    let (at, _requests) = peer("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n{}").await;
    let client = Client::new(&Connection { max_reply_bytes: 100, ..to(&[at]) }).unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "the reply has 101 bytes and the limit is 100; ask for less at once");
}

#[tokio::test]
async fn a_reply_in_chunks_has_the_same_limit() {
    let (at, _requests) =
        peer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n").await;
    let client = Client::new(&Connection { max_reply_bytes: 4, ..to(&[at]) }).unwrap();
    assert!(client.send(get("/")).await.unwrap_err().is_ambiguous());
    let client = Client::new(&Connection { max_reply_bytes: 5, ..to(&[at]) }).unwrap();
    assert_eq!(client.send(get("/")).await.unwrap().body, "abcde");
}

#[tokio::test]
async fn a_reply_from_elsewhere_is_refused() {
    let (at, _requests) =
        peer("HTTP/1.1 307 Temporary Redirect\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n")
            .await;
    let error = Client::new(&to(&[at])).unwrap().send(get("/")).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    assert!(error.source().unwrap().to_string().contains("redirect"), "{error:?}");
}

#[tokio::test]
async fn everything_goes_through_the_proxy_when_there_is_one() {
    let (at, mut requests) = peer(FINE).await;
    let proxy = Proxy {
        url: format!("http://{at}"),
        credentials: Some(("p".to_owned(), Secret::new("geheim"))),
    };
    let connection = Connection { proxy: Some(proxy), ..Connection::to("http://es.invalid:9200") };
    let client = Client::new(&connection).unwrap();
    assert_eq!(client.send(get("/_bulk")).await.unwrap().status, 200);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET http://es.invalid:9200/_bulk"), "{request}");
    assert!(request.contains("proxy-authorization: Basic cDpnZWhlaW0="), "{request}");
}

#[tokio::test]
async fn no_text_of_an_error_has_the_address_or_its_parameters() {
    let (at, _requests) = peer("no HTTP\r\n\r\n").await;
    let query = vec![("q", "geheim".to_owned())];
    let request = Request { query, ..get("/private") };
    let error = Client::new(&to(&[at])).unwrap().send(request).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(!text.contains("geheim") && !text.contains("private"), "{text}");
}

#[test]
fn a_file_that_holds_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let connection = Connection { ca_file: Some(path.clone()), ..Connection::to("https://a") };
    assert!(matches!(Client::new(&connection), Err(SettingsError::File { .. })));
    std::fs::write(&path, "nothing").unwrap();
    let error = Client::new(&connection).unwrap_err().to_string();
    assert!(error.contains("certificate authority") && error.contains("ca.pem"), "{error}");
    let damaged = "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n";
    std::fs::write(&path, damaged).unwrap();
    let error = Client::new(&connection).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let files = ClientCertificate { certificate: path.clone(), key: path };
    let connection = Connection { client_certificate: Some(files), ..Connection::to("https://a") };
    let error = Client::new(&connection).unwrap_err().to_string();
    assert!(error.contains("private key") && error.contains("ca.pem"), "{error}");
}
