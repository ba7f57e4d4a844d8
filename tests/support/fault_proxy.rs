//! A proxy in front of a search node that does to bulk requests what networks and clusters do.
//!
//! ```text
//! exporter ──► proxy ──► node
//!              │  sending: cut while the request is still being sent
//!              │  before:  cut when all of it was sent; the node never hears of it
//!              │  request: half of the request reaches the node, then both connections are cut
//!              │  after:   the node has done it, the connection is cut instead of the reply
//!              │  half:    half of the reply, then the connection is cut
//!              └─ status:  the proxy answers 429, 503, or 502 with HTML, the node never hears of it
//! ```
//!
//! While replies are held, what the node did stays unknown to the exporter: it can be killed with a
//! bulk in flight.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What happens to a bulk request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing: it goes through.
    None,
    /// The connection is cut while the request is being sent.
    CutSending,
    /// The connection is cut before the node hears of the request.
    CutBefore,
    /// Half of the request reaches the node; then both connections are cut.
    CutRequest,
    /// The node does it; the connection is cut instead of the reply.
    CutAfter,
    /// The node does it; half of the reply arrives.
    CutHalfway,
    /// The proxy answers with that status; the node never hears of it.
    Status(u16),
}

/// What becomes of the bulk request with that number.
pub type Plan = dyn Fn(u64) -> Fault + Send + Sync;

/// Faults that a test changes while a proxy runs: each bulk meets the next of them, round and round.
#[derive(Debug, Default)]
pub struct Weather {
    faults: Mutex<Vec<Fault>>,
    bulks: AtomicUsize,
}

impl Weather {
    /// From now on these, beginning with the first; none is fine weather.
    pub fn set(&self, faults: Vec<Fault>) {
        let mut current = self.faults.lock().unwrap();
        self.bulks.store(0, Ordering::Relaxed);
        *current = faults;
    }

    /// What the next bulk meets.
    pub fn next(&self) -> Fault {
        let faults = self.faults.lock().unwrap();
        let bulk = self.bulks.fetch_add(1, Ordering::Relaxed);
        bulk.checked_rem(faults.len()).map_or(Fault::None, |at| faults[at])
    }
}

/// A running proxy. Its tasks end with the test's runtime.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Starts a proxy in front of `node` (`http://host:port`).
    pub async fn start(node: &str, plan: impl Fn(u64) -> Fault + Send + Sync + 'static) -> Self {
        Self::start_trusting(node, None, plan).await
    }

    /// The same in front of a node with TLS, whose authority is in the PEM file `ca`. The proxy
    /// itself speaks plain HTTP.
    pub async fn start_trusting(
        node: &str,
        ca: Option<&Path>,
        plan: impl Fn(u64) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let mut client = reqwest::Client::builder().no_proxy();
        if let Some(ca) = ca {
            let pem = std::fs::read(ca).unwrap();
            client = client.add_root_certificate(reqwest::Certificate::from_pem(&pem).unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            node: node.trim_end_matches('/').to_owned(),
            client: client.build().unwrap(),
            plan: Box::new(plan),
            bulks: AtomicU64::default(),
            done: Mutex::default(),
            holding: watch::Sender::new(false),
            held: AtomicU64::default(),
            busy_requests: AtomicU64::default(),
            busy_items: AtomicU64::default(),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                let service = hyper::service::service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { shared.answer(request).await }
                });
                // A connection that was cut on purpose ends with an error.
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, shared }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bulk requests that were seen.
    pub fn bulks(&self) -> u64 {
        self.shared.bulks.load(Ordering::Relaxed)
    }

    /// Bulk requests to which something was done.
    pub fn faults(&self) -> u64 {
        let done = self.shared.done.lock().unwrap();
        done.iter().filter(|(fault, _)| **fault != Fault::None).map(|(_, count)| count).sum()
    }

    /// How often that was done.
    pub fn times(&self, fault: Fault) -> u64 {
        self.shared.done.lock().unwrap().get(&fault).copied().unwrap_or(0)
    }

    /// From now on the node does what it is asked, and its replies to bulk requests are kept back.
    pub fn hold_replies(&self) {
        self.shared.holding.send_replace(true);
    }

    /// Replies go through again, those that are held too.
    pub fn release_replies(&self) {
        self.shared.holding.send_replace(false);
    }

    /// Replies that were held so far.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Bulk requests that the node refused with 429, and those of which it refused documents so.
    pub fn busy(&self) -> (u64, u64) {
        let Shared { busy_requests, busy_items, .. } = &*self.shared;
        (busy_requests.load(Ordering::Relaxed), busy_items.load(Ordering::Relaxed))
    }
}

struct Shared {
    node: String,
    client: reqwest::Client,
    plan: Box<Plan>,
    bulks: AtomicU64,
    done: Mutex<BTreeMap<Fault, u64>>,
    holding: watch::Sender<bool>,
    held: AtomicU64,
    busy_requests: AtomicU64,
    busy_items: AtomicU64,
}

type Reply = Response<BoxBody<Bytes, io::Error>>;

impl Shared {
    /// An error makes hyper cut the connection.
    async fn answer(&self, request: Request<Incoming>) -> Result<Reply, io::Error> {
        let (head, body) = request.into_parts();
        let is_bulk = head.uri.path().ends_with("/_bulk");
        let fault = if is_bulk {
            let fault = (self.plan)(self.bulks.fetch_add(1, Ordering::Relaxed));
            *self.done.lock().unwrap().entry(fault).or_default() += 1;
            fault
        } else {
            Fault::None
        };
        if fault == Fault::CutSending {
            return Err(cut());
        }
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        match fault {
            Fault::CutBefore => return Err(cut()),
            Fault::Status(status) => return Ok(refusal(status)),
            _ => {}
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut forwarded = self.client.request(head.method, format!("{}{path}", self.node));
        for (name, value) in &head.headers {
            if !["host", "content-length", "connection", "transfer-encoding"]
                .contains(&name.as_str())
            {
                forwarded = forwarded.header(name, value);
            }
        }
        let body = match fault {
            Fault::CutRequest => reqwest::Body::wrap(halfway(&body)),
            _ => body.into(),
        };
        let reply = forwarded.body(body).send().await.map_err(io::Error::other)?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let bytes = reply.bytes().await.map_err(io::Error::other)?;
        if is_bulk && status == 429 {
            self.busy_requests.fetch_add(1, Ordering::Relaxed);
        } else if is_bulk && memchr::memmem::find(&bytes, br#""status":429"#).is_some() {
            self.busy_items.fetch_add(1, Ordering::Relaxed);
        }
        if is_bulk && *self.holding.borrow() {
            self.held.fetch_add(1, Ordering::Relaxed);
            // Ends with the connection when the exporter is killed meanwhile.
            self.holding
                .subscribe()
                .wait_for(|holding| !holding)
                .await
                .map_err(io::Error::other)?;
        }
        let body = match fault {
            Fault::CutAfter => return Err(cut()),
            Fault::CutHalfway => halfway(&bytes),
            _ => Full::new(bytes).map_err(|never| match never {}).boxed(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in &headers {
            if !["content-length", "connection", "transfer-encoding"].contains(&name.as_str()) {
                response.headers_mut().append(name, value.clone());
            }
        }
        Ok(response)
    }
}

fn cut() -> io::Error {
    io::Error::other("cut by the proxy")
}

fn halfway(bytes: &Bytes) -> BoxBody<Bytes, io::Error> {
    let half = bytes.slice(..bytes.len() / 2);
    let frames = [Ok(Frame::data(half)), Err(cut())];
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames)))
}

fn refusal(status: u16) -> Reply {
    let (content_type, text) = match status {
        502 => ("text/html", "<html><h1>Bad Gateway</h1></html>"),
        _ => (
            "application/json",
            r#"{"error":{"type":"es_rejected_execution_exception"},"status":429}"#,
        ),
    };
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", content_type.parse().unwrap());
    response
}
