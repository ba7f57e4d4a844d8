//! Sends requests to the hosts of one cluster, through the transport of the `elasticsearch` crate.
//!
//! ```text
//! request ─► next host in turn ─► may be gone? connect within the timeout ─► send ─► reply
//!                 ▲                        │ no                               │ no connection
//!                 └────── set aside ◄──────┴──────────────────────────────────┘
//! ```
//!
//! The crate has one transport for all hosts, and no connect timeout and no second try. So there
//! is one transport a host; a host of which nothing good is known lately is connected to once
//! before a request goes there, which bounds the wait; and one that cannot be connected to is set
//! aside, and the next one asked. Only then: a request that may have arrived is never sent again
//! from here.
//!
//! A secret that came from a file is read again when the cluster answers 401 or 403: whoever
//! replaces a key writes the new one into the file, and nothing has to be restarted. The request
//! was refused before anything was done, so it is sent once more with the new one.
//!
//! What the crate cannot do, and what is done instead:
//! - It follows redirects. A reply that comes from elsewhere is refused and names the place; the
//!   crate leaves credentials out when it goes to another host.
//! - It reads a reply as a whole. One that declares more bytes than the limit is refused unread;
//!   none comes compressed, so what is declared is what it takes. A reply in chunks declares
//!   nothing and is refused only when it is there; the request's timeout bounds it until then.
//! - It panics when a reply without a content type is asked for it, and on an API key with a line
//!   end: the former is never asked, the latter is refused by the settings.

use super::settings::{Auth, ClientCertificate, Connection, Proxy, SettingsError};
use super::transport::{ContentType, Method, Reply, Request, SendError, Transport};
use bytes::Bytes;
use elasticsearch::auth::{ClientCertificate as Identity, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::Method as HttpMethod;
use elasticsearch::http::headers::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use reqwest::Url;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a host that could not be connected to is asked last. Short enough that a node that
/// was restarted serves again soon, long enough that a dead one costs few waits.
pub const SET_ASIDE: Duration = Duration::from_secs(30);

/// Sends requests to the hosts of one cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    hosts: Vec<Host>,
    /// Counts requests: each begins at the next host.
    turn: AtomicUsize,
    connect_timeout: Duration,
    max_reply_bytes: u64,
    /// Who we are now.
    auth: Mutex<Auth>,
    /// Counts how often that was another one.
    renewals: AtomicU64,
}

struct Host {
    /// Scheme, host and port.
    name: String,
    base: Url,
    /// What a connection is made to: the proxy when there is one.
    dial: (String, u16),
    transport: elasticsearch::http::transport::Transport,
    state: Mutex<State>,
}

/// What is known of a host.
#[derive(Clone, Copy)]
enum State {
    /// Nothing, or something failed.
    Unknown,
    /// It replied to the last request.
    Replies,
    /// It could not be connected to and is asked last until then.
    Aside(Instant),
}

/// What a host did with a request.
enum Failure {
    /// No connection came about.
    Unsent(Cause),
    /// It is not known what became of the request.
    Unanswered(Cause),
}

/// A cause in words. The client library's own errors repeat the address and its parameters.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

impl Client {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// [`SettingsError`], which says which setting to correct.
    pub fn new(connection: &Connection) -> Result<Self, SettingsError> {
        let proxy = connection.proxy_url()?;
        let credentials = connection.auth.credentials()?;
        let authorities = connection.ca_file.as_deref().map(authorities).transpose()?;
        let identity = connection.client_certificate.as_ref().map(identity).transpose()?;
        let hosts = connection.urls()?.into_iter().map(|url| {
            let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.clone()))
                .enable_meta_header(false);
            if let Some(pem) = &authorities {
                let chain = Certificate::from_pem(pem).map_err(|_| SettingsError::Build)?;
                builder = builder.cert_validation(CertificateValidation::Full(chain));
            }
            if let Some(pem) = &identity {
                builder = builder.auth(Credentials::Certificate(Identity::Pem(pem.clone())));
            }
            builder = match (&proxy, &connection.proxy) {
                (Some(at), Some(Proxy { credentials, .. })) => {
                    let user = credentials.as_ref().map(|(user, _)| user.as_str());
                    let password = credentials.as_ref().map(|(_, secret)| secret.expose());
                    builder.proxy(at.clone(), user, password)
                }
                // Without this the system's proxies would be used.
                _ => builder.disable_proxy(),
            };
            // The certificate is part of the connections by now; what is said in each request is
            // set apart from it.
            let transport = builder
                .build()
                .map_err(|_| SettingsError::Build)?
                .clone_with_auth(credentials.clone());
            let dial = proxy.as_ref().unwrap_or(&url);
            Ok(Host {
                name: url.origin().ascii_serialization(),
                dial: (
                    dial.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
                    dial.port_or_known_default().unwrap_or_default(),
                ),
                base: with_slash(url),
                transport,
                state: Mutex::new(State::Unknown),
            })
        });
        Ok(Self(Arc::new(Shared {
            hosts: hosts.collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            connect_timeout: connection.connect_timeout,
            max_reply_bytes: connection.max_reply_bytes,
            auth: Mutex::new(connection.auth.clone()),
            renewals: AtomicU64::new(0),
        })))
    }

    /// Looks whether the secret's file holds another one by now, and whether this or somebody
    /// else's look since `before` found one: then a refused request is worth another try.
    async fn renew(&self, before: u64) -> bool {
        let shared = Arc::clone(&self.0);
        let look = move || {
            let mut auth = shared.auth.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(now) = auth.changed() else { return };
            match now.credentials() {
                Ok(None) => {}
                Ok(Some(credentials)) => {
                    for host in &shared.hosts {
                        host.transport.set_auth(credentials.clone());
                    }
                    *auth = now;
                    shared.renewals.fetch_add(1, Ordering::Release);
                    tracing::info!("the file of the secret for Elasticsearch holds another one");
                }
                Err(error) => {
                    tracing::warn!(%error, "the file of the secret for Elasticsearch cannot be used");
                }
            }
        };
        // A file may lie on a network; its reading is nobody else's wait.
        let _ = tokio::task::spawn_blocking(look).await;
        self.0.renewals.load(Ordering::Acquire) != before
    }

    /// Asks the hosts in turn until one can be connected to.
    async fn send_once(&self, request: &Request) -> Result<Reply, SendError> {
        let mut last = None;
        for host in self.order() {
            match host.exchange(request, &self.0).await {
                Ok(reply) => {
                    host.is_now(State::Replies);
                    return Ok(reply);
                }
                Err(Failure::Unsent(cause)) => {
                    host.is_now(
                        Instant::now().checked_add(SET_ASIDE).map_or(State::Unknown, State::Aside),
                    );
                    last =
                        Some(SendError::NotSent { host: host.name.clone(), source: cause.into() });
                }
                Err(Failure::Unanswered(cause)) => {
                    host.is_now(State::Unknown);
                    let host = host.name.clone();
                    return Err(SendError::NoReply { host, source: cause.into() });
                }
            }
        }
        Err(last.unwrap_or_else(|| SendError::NotSent {
            host: "any host".to_owned(),
            source: Cause("none is configured".to_owned()).into(),
        }))
    }

    /// The hosts in the order in which this request tries them: in turn, those set aside last.
    fn order(&self) -> Vec<&Host> {
        let hosts = &self.0.hosts;
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(hosts.len()).unwrap_or_default();
        let mut order: Vec<&Host> = hosts.iter().cycle().skip(first).take(hosts.len()).collect();
        order.sort_by_key(|host| host.is_aside());
        order
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.hosts.iter().map(|host| host.name.as_str()).collect();
        f.debug_struct("Client").field("hosts", &names).finish_non_exhaustive()
    }
}

impl Transport for Client {
    async fn send(&self, request: Request) -> Result<Reply, SendError> {
        let before = self.0.renewals.load(Ordering::Acquire);
        let reply = self.send_once(&request).await?;
        if matches!(reply.status, 401 | 403) && self.renew(before).await {
            return self.send_once(&request).await;
        }
        Ok(reply)
    }
}

impl Host {
    fn is_aside(&self) -> bool {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(state, State::Aside(until) if Instant::now() < until)
    }

    fn is_now(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    async fn exchange(&self, request: &Request, shared: &Shared) -> Result<Reply, Failure> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(state, State::Replies) {
            self.connect(shared.connect_timeout).await?;
        }
        // The dot keeps a path that looks like an address from becoming one.
        let path = format!("./{}", request.path.trim_start_matches('/'));
        let asked = self
            .base
            .join(&path)
            .map_err(|_| Failure::Unsent(Cause("the path cannot be sent".to_owned())))?;
        let sent = self.transport.send(
            method(request.method),
            &path,
            headers(request),
            (!request.query.is_empty()).then_some(request.query.as_slice()),
            request.body.as_ref().map(|body| body.bytes.clone()),
            Some(request.timeout),
        );
        let response = sent.await.map_err(|error| failure(&error))?;
        if response.url().origin() != asked.origin() || response.url().path() != asked.path() {
            return Err(Failure::Unanswered(Cause(format!(
                "it redirects to {}; configure the address that replies",
                response.url().origin().ascii_serialization()
            ))));
        }
        self.read(response, request.method, shared.max_reply_bytes).await
    }

    /// Makes a connection and closes it: the client library would wait for as long as the
    /// operating system does, minutes.
    async fn connect(&self, timeout: Duration) -> Result<(), Failure> {
        let (host, port) = &self.dial;
        let why =
            match tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), *port))).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {timeout:?}"),
            };
        Err(Failure::Unsent(Cause(why)))
    }

    async fn read(&self, response: Response, method: Method, limit: u64) -> Result<Reply, Failure> {
        let too_long = |bytes: u64| {
            Failure::Unanswered(Cause(format!(
                "the reply has {bytes} bytes and the limit is {limit}; ask for less at once"
            )))
        };
        let status = response.status_code().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        if method == Method::Head {
            return Ok(Reply { status, body: Bytes::new(), retry_after });
        }
        if let Some(bytes) = response.content_length().filter(|bytes| *bytes > limit) {
            return Err(too_long(bytes));
        }
        let body = response.bytes().await.map_err(|error| Failure::Unanswered(cause(&error)))?;
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if bytes > limit {
            return Err(too_long(bytes));
        }
        Ok(Reply { status, body, retry_after })
    }
}

fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::Get,
        Method::Head => HttpMethod::Head,
        Method::Put => HttpMethod::Put,
        Method::Post => HttpMethod::Post,
        Method::Delete => HttpMethod::Delete,
    }
}

fn headers(request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let agent = concat!("spanledger/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    // A compressed reply would declare a length that says nothing of its size.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(body) = &request.body {
        let content_type = match body.content_type {
            ContentType::Json => "application/json",
            ContentType::NdJson => "application/x-ndjson",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if body.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    headers
}

/// Whether a failure came before anything was sent. What the library does not say for sure counts
/// as sent.
fn failure(error: &elasticsearch::Error) -> Failure {
    let before = error
        .source()
        .and_then(|source| source.downcast_ref::<reqwest::Error>())
        .is_some_and(|error| error.is_connect() || error.is_builder());
    if before { Failure::Unsent(cause(error)) } else { Failure::Unanswered(cause(error)) }
}

/// What lies below the client library's own texts, without the address.
fn cause(error: &elasticsearch::Error) -> Cause {
    let http = error.source().and_then(|source| source.downcast_ref::<reqwest::Error>());
    if error.is_timeout() {
        return Cause("the time for the reply is over".to_owned());
    }
    let mut text = String::new();
    let mut below = http.and_then(Error::source);
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&more);
        }
        below = error.source();
    }
    Cause(if text.is_empty() { "the exchange failed".to_owned() } else { text })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::File {
        what,
        path: path.to_owned(),
        source,
    })
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    memchr::memmem::find(bytes, needle.as_bytes()).is_some()
}

fn authorities(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let what = "certificate authority";
    let pem = read(what, path)?;
    let usable =
        contains(&pem, "-----BEGIN CERTIFICATE-----") && Certificate::from_pem(&pem).is_ok();
    if usable { Ok(pem) } else { Err(SettingsError::Pem { what, path: path.to_owned() }) }
}

fn identity(files: &ClientCertificate) -> Result<Vec<u8>, SettingsError> {
    let mut pem = read("client certificate", &files.certificate)?;
    if !contains(&pem, "-----BEGIN CERTIFICATE-----") {
        let path = files.certificate.clone();
        return Err(SettingsError::Pem { what: "certificate", path });
    }
    let key = read("private key", &files.key)?;
    if !contains(&key, "PRIVATE KEY-----") || contains(&key, "ENCRYPTED") {
        let path = files.key.clone();
        return Err(SettingsError::Pem { what: "unencrypted private key", path });
    }
    pem.push(b'\n');
    pem.extend_from_slice(&key);
    Ok(pem)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
