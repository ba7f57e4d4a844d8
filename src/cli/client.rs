//! Where answers come from: a running server over HTTP, or the same API over the data folder.
//!
//! Offline the very same router answers, in this process: there is one code path for an answer.

use super::args::SourceArgs;
use super::connect::{ConnectArgs, ConnectError};
use super::endpoints::{Endpoints, EndpointsError};
use crate::access::Token;
use crate::api::Problem;
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use reqwest::Url;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::ServiceExt as _;

/// How long a connection may take to be made. Servers are on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take: longer than the server gives itself, and than it lets one wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);

/// Largest answer that is read, bytes: a page of a thousand entries with large bodies.
const MAX_ANSWER_BYTES: usize = 512 * 1_024 * 1_024;

/// What to do about a credential that is missing or not accepted.
const GIVE_A_KEY: &str = "give a key in SPANLEDGER_KEY or with --key-file FILE; an operator makes \
                          one with `spanledger keys create`";

/// What to do about a credential that is for something else.
const ASK_AS_ANOTHER: &str =
    "ask with a key of a role that may; `spanledger keys list` shows those that there are";

/// Where answers come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A running server.
    Http {
        /// Without proxies and redirects: evidence goes nowhere else.
        client: reqwest::Client,
        /// Its address.
        base: Url,
    },
    /// The data folder, through the server's own router.
    Offline(Router),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not one that can be asked.
    #[error("{given:?} is not the address of a server: {why}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it, and what to write instead.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error("no answer from {base}; is `spanledger serve` running there?")]
    Unreachable {
        /// The address.
        base: String,
        /// Why.
        source: reqwest::Error,
    },
    /// One side did not accept the other's certificate.
    #[error(
        "{base} was not asked, because a certificate was not accepted; name the authority of the \
         server with --ca FILE, and show a certificate with --client-certificate and --client-key \
         where the server asks for one"
    )]
    Certificate {
        /// The address.
        base: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The client could not be made.
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
    /// The answer is too large.
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes; ask for fewer with --limit")]
    TooLarge,
    /// More of the answer comes later.
    #[error("the answer is not complete yet; ask again a moment later")]
    Pending {
        /// What there is of it.
        answer: Vec<u8>,
    },
    /// The answer cannot be written.
    #[error("the answer cannot be written; is there room for it on the disk?")]
    Write(#[source] io::Error),
    /// The server says what is wrong.
    #[error("{}", problem_text(.0))]
    Problem(Problem),
    /// The server does not accept what was shown, or not for this.
    #[error("{}; {next}", problem_text(.problem))]
    Refused {
        /// What the server says.
        problem: Problem,
        /// What to do.
        next: &'static str,
    },
    /// The key or the certificate cannot be shown.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something else answers there.
    #[error("{base} answered with status {status} and not as spanledger does; check the address")]
    NotUs {
        /// The address.
        base: String,
        /// HTTP status.
        status: u16,
    },
    /// Only a running server can do it.
    #[error(
        "no server runs on this data folder, and only a running one can do that: start it with `spanledger serve`"
    )]
    NeedsServer,
    /// There is no server and nothing to read.
    #[error(
        "no server runs on {data} and there is no ledger in it; start one with `spanledger serve`, \
         or say where it is with --api URL or --data DIR"
    )]
    Nothing {
        /// The data folder.
        data: PathBuf,
    },
    /// The endpoints file cannot be used.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The data folder cannot be read.
    #[error("{data} cannot be read without its server")]
    Offline {
        /// The data folder.
        data: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn problem_text(problem: &Problem) -> String {
    super::display::clean(&format!("{}: {}", problem.title, problem.detail))
}

impl Source {
    /// A server at that address, `http://HOST:PORT` or `HOST:PORT`, to which no key is shown.
    ///
    /// # Errors
    /// As [`Source::connect`].
    pub fn http(address: &str) -> Result<Self, SourceError> {
        Self::with_key(address, &ConnectArgs::default(), None)
    }

    /// A server at that address, `https://HOST:PORT`, `http://HOST:PORT` or `HOST:PORT`, which is
    /// shown the key and the certificate that there are.
    ///
    /// # Errors
    /// [`SourceError::Address`] for another scheme, a path, or credentials in the address;
    /// [`SourceError::Connect`] when the key or a certificate cannot be used.
    pub fn connect(address: &str, args: &ConnectArgs) -> Result<Self, SourceError> {
        Self::with_key(address, args, args.key()?.as_ref())
    }

    fn with_key(
        address: &str,
        args: &ConnectArgs,
        key: Option<&Token>,
    ) -> Result<Self, SourceError> {
        let refuse = |why| SourceError::Address { given: super::display::clean(address), why };
        let with_scheme = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{}://{address}", args.scheme())
        };
        let base: Url =
            with_scheme.parse().map_err(|_| refuse("write it as http://127.0.0.1:4380"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("write it as http://127.0.0.1:4380 or https://HOST:PORT"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(SourceError::Address {
                given: "(an address with credentials)".to_owned(),
                why: "a secret in an address ends in histories and logs; leave it out",
            });
        }
        if base.path() != "/" || base.query().is_some() || base.fragment().is_some() {
            return Err(refuse("leave out everything after the port"));
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        let client = args.apply(client, &base, key)?.build().map_err(SourceError::Client)?;
        Ok(Self::Http { client, base })
    }

    /// The source that the flags name: `--api`, else the server of the data folder, else, when
    /// none answers, the data folder itself through `offline`.
    ///
    /// # Errors
    /// [`SourceError`], each with what to do next.
    pub async fn open(
        args: &SourceArgs,
        offline: impl FnOnce(&Path) -> Result<Option<Router>, SourceError>,
    ) -> Result<Self, SourceError> {
        if let Some(address) = &args.api {
            return Self::connect(address, &args.connect);
        }
        if let Some(endpoints) = Endpoints::read(&args.data)?
            && answers(endpoints.api).await
        {
            return Self::connect(&endpoints.api_url(), &args.connect);
        }
        match offline(&args.data)? {
            Some(router) => Ok(Self::Offline(router)),
            None => Err(SourceError::Nothing { data: args.data.clone() }),
        }
    }

    /// Asks for a path, given in segments that need no encoding, and gives the answer's bytes.
    ///
    /// # Errors
    /// [`SourceError`]; what the server says is wrong comes as [`SourceError::Problem`].
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Http { client, base } => {
                answer(base, client.get(address(base, path, query))).await
            }
            Self::Offline(router) => {
                let (status, body) = in_process(router, path, query).await;
                match body.collect().await {
                    Ok(body) => accepted(status, body.to_bytes().to_vec(), "the data folder"),
                    Err(_) => accepted(500, Vec::new(), "the data folder"),
                }
            }
        }
    }

    /// Asks for a path as [`Source::get`] does, where 202 says that more of the answer comes later.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub async fn get_or_accepted(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, SourceError> {
        match self.get(path, query).await {
            Err(SourceError::Pending { answer }) => Ok(answer),
            answer => answer,
        }
    }

    /// Asks for a path as [`Source::get`] does, and writes the answer to a file as it comes: gives its
    /// length.
    ///
    /// # Errors
    /// [`SourceError`]; the file has a part of the answer then.
    pub async fn get_into(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        file: &mut File,
    ) -> Result<u64, SourceError> {
        match self {
            Self::Http { client, base } => {
                let unreachable = |source| not_answered(base, source);
                let asked = client.get(address(base, path, query));
                let mut response = asked.send().await.map_err(unreachable)?;
                if response.status().as_u16() != 200 {
                    return answer_of(base, response).await.map(|_| 0);
                }
                let mut length = 0_u64;
                while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                    length = length.saturating_add(chunk.len() as u64);
                    if length > MAX_ANSWER_BYTES as u64 {
                        return Err(SourceError::TooLarge);
                    }
                    file.write_all(&chunk).map_err(SourceError::Write)?;
                }
                Ok(length)
            }
            Self::Offline(router) => {
                let (status, mut body) = in_process(router, path, query).await;
                if status != 200 {
                    let bytes = body.collect().await.map(|it| it.to_bytes().to_vec());
                    return accepted(status, bytes.unwrap_or_default(), "the data folder")
                        .map(|_| 0);
                }
                let mut length = 0_u64;
                while let Some(frame) = body.frame().await {
                    let frame =
                        frame.map_err(|error| SourceError::Write(io::Error::other(error)))?;
                    let Ok(data) = frame.into_data() else { continue };
                    length = length.saturating_add(data.len() as u64);
                    file.write_all(&data).map_err(SourceError::Write)?;
                }
                Ok(length)
            }
        }
    }

    /// Has a running server do something, and gives the answer's bytes.
    ///
    /// # Errors
    /// [`SourceError`]; [`SourceError::NeedsServer`] when there is a data folder only.
    pub async fn post(&self, path: &[&str], body: &impl Serialize) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Http { client, base } => {
                answer(base, client.post(address(base, path, &[])).json(body)).await
            }
            Self::Offline(_) => Err(SourceError::NeedsServer),
        }
    }
}

async fn answer(base: &Url, request: reqwest::RequestBuilder) -> Result<Vec<u8>, SourceError> {
    let response = request.send().await.map_err(|source| not_answered(base, source))?;
    answer_of(base, response).await
}

async fn answer_of(base: &Url, mut response: reqwest::Response) -> Result<Vec<u8>, SourceError> {
    let unreachable = |source| not_answered(base, source);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
            return Err(SourceError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    accepted(response.status().as_u16(), bytes, base.as_str())
}

fn not_answered(base: &Url, source: reqwest::Error) -> SourceError {
    let base = base.to_string();
    // The libraries below have no type for it that reaches here.
    let causes = super::exit::with_causes(&source).to_lowercase();
    if base.starts_with("https:") && causes.contains("certificate") {
        SourceError::Certificate { base, source }
    } else {
        SourceError::Unreachable { base, source }
    }
}

fn accepted(status: u16, bytes: Vec<u8>, base: &str) -> Result<Vec<u8>, SourceError> {
    match status {
        200 => return Ok(bytes),
        202 => return Err(SourceError::Pending { answer: bytes }),
        _ => {}
    }
    Err(match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => match status {
            401 => SourceError::Refused { problem, next: GIVE_A_KEY },
            403 => SourceError::Refused { problem, next: ASK_AS_ANOTHER },
            _ => SourceError::Problem(problem),
        },
        Err(_) => SourceError::NotUs { base: base.to_owned(), status },
    })
}

fn address(base: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

async fn in_process(router: &Router, path: &[&str], query: &[(&str, &str)]) -> (u16, Body) {
    // The address of nobody: it only encodes path and query as they would be on the wire.
    let Ok(base) = "http://localhost/".parse::<Url>() else { return (500, Body::empty()) };
    let url = address(&base, path, query);
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let Ok(request) = axum::http::Request::get(target).body(Body::empty()) else {
        return (500, Body::empty());
    };
    let Ok(response) = router.clone().oneshot(request).await;
    (response.status().as_u16(), response.into_body())
}

/// Whether somebody listens there: `endpoints.json` may be left from a crash.
async fn answers(address: SocketAddr) -> bool {
    let connect = tokio::net::TcpStream::connect(address);
    matches!(tokio::time::timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::{Path as PathOf, RawQuery};
    use axum::routing::get;

    fn echo() -> Source {
        Source::Offline(
            Router::new()
                .route("/t/{*id}", get(|PathOf(id): PathOf<String>| async move { id }))
                .route("/q", get(|RawQuery(query): RawQuery| async move { query.unwrap() })),
        )
    }

    #[tokio::test]
    async fn an_id_of_any_characters_arrives_as_it_is() {
        for id in ["langsmith-run-abc123", "a/b//c", "100%", "a%2Fb", "?x=1#y", "ä 日", "a..b"] {
            assert_eq!(echo().get(&["t", id], &[]).await.unwrap(), id.as_bytes(), "{id}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_problem_document_is_not_us() {
        let error = echo().get(&["nowhere"], &[]).await.unwrap_err();
        assert!(matches!(error, SourceError::NotUs { status: 404, .. }), "{error}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port_without_secrets() {
        assert!(Source::http("127.0.0.1:4380").is_ok());
        assert!(Source::http("http://localhost:4380/").is_ok());
        assert!(Source::http("https://ledger.example").is_ok());
        for address in ["ftp://a", "http://a/b", "http://a?b", "file:///etc", ""] {
            let error = Source::http(address).unwrap_err();
            assert!(matches!(error, SourceError::Address { .. }), "{address}: {error}");
        }
        let error = Source::http("http://u:geheim@a").unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[tokio::test]
    async fn without_a_server_and_without_data_it_says_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        let args = SourceArgs {
            data: data.path().join("none"),
            api: None,
            connect: ConnectArgs::default(),
        };
        let error = Source::open(&args, |_| Ok(None)).await.unwrap_err();
        assert!(error.to_string().contains("spanledger serve"), "{error}");
    }

    #[tokio::test]
    async fn endpoints_left_by_a_crash_lead_to_the_data_folder() {
        let data = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoints = Endpoints { grpc: free, http: free, api: free, pid: 1, tls: false };
        endpoints.write(data.path()).unwrap();
        let args =
            SourceArgs { data: data.path().to_owned(), api: None, connect: ConnectArgs::default() };
        let source = Source::open(&args, |_| Ok(Some(Router::new()))).await.unwrap();
        assert!(matches!(source, Source::Offline(_)));
    }
}
