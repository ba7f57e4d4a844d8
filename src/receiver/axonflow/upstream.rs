//! The engine that decides: calls are sent to it as they came, and its answers are read within
//! bounds.
//!
//! No redirect is followed and no proxy of the system is used: what is asked here goes to the one
//! configured place. A call is sent once. Whether one that got no answer was decided is not known,
//! so sending it again is the client's choice.

use super::Call;
use crate::access::Tenant;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Certificate, Client, Method, Url, redirect};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a connection may take to come about, unless the configuration says otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take, unless the configuration says otherwise: shorter than the minute
/// after which AxonFlow's clients give up, so that they are told why.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45);

/// Largest answer, bytes, unless the configuration says otherwise: an answer is a decision, with
/// the output of an earlier attempt at most.
pub const DEFAULT_MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Calls that may be on their way at once, unless the configuration says otherwise.
pub const DEFAULT_IN_FLIGHT: usize = 64;

/// What of a request's headers is the upstream's business, beside credentials.
const PASSED_ON: [&str; 7] = [
    "content-type",
    "x-axonflow-client",
    "x-axonflow-pep-handshake",
    "x-axonflow-authzen-profile",
    // Whom a decision is about: made for the engine, and never recorded.
    "x-user-token",
    "traceparent",
    "tracestate",
];

/// What the client calls itself, where the upstream knows it and not us.
const CLIENT_ID: HeaderName = HeaderName::from_static("x-client-id");

/// What of an answer's headers is the client's business, beside those that begin with
/// [`OWN_HEADERS`].
const HANDED_BACK: [&str; 4] = ["content-type", "deprecation", "link", "retry-after"];

/// How the upstream's own headers begin.
const OWN_HEADERS: &str = "x-axonflow-";

/// Where the upstream is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its base address.
    pub url: Url,
    /// Whose calls it is asked about. It knows us as one client, so that whoever reaches it could
    /// decide about everything that this client may: one identity serves one tenant.
    pub tenant: Tenant,
    /// As whom it is asked: the client's name there, and the value of `Authorization`, which is
    /// marked as sensitive.
    pub credentials: Option<(String, HeaderValue)>,
    /// Whether the client's own `Authorization` is passed on. Only while nobody needs a key here:
    /// a key of ours is nobody else's business.
    pub pass_credentials: bool,
    /// Certificates that are trusted beside the public ones, PEM.
    pub ca: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take, connection included.
    pub timeout: Duration,
    /// Largest answer, bytes.
    pub max_answer_bytes: usize,
    /// Calls that may be on their way at once; more are refused.
    pub in_flight: usize,
}

/// Why there is no client for an upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The file of certificates cannot be used.
    #[error("the certificates in {} cannot be read; give a PEM file", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client library refuses the settings.
    #[error("no client can be made for this upstream; check its url and its certificates")]
    Client(#[source] reqwest::Error),
}

/// An answer of the upstream.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// The headers that are the client's business.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

/// Why there is no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// So many calls are on their way already. It was not asked.
    #[error("{0} calls are on their way to the upstream already")]
    Busy(usize),
    /// No connection came about. It was not asked.
    #[error("the upstream cannot be reached")]
    Unreachable,
    /// It was asked and did not answer in time. It may have decided.
    #[error("the upstream did not answer within {0:?}")]
    Timeout(Duration),
    /// It was asked and answered more than is read. It may have decided.
    #[error("the upstream's answer cannot be used: it has more than {0} bytes")]
    TooLarge(usize),
    /// It was asked and what came back is no answer. It may have decided.
    #[error("the upstream's answer cannot be used: {0}")]
    Unusable(String),
}

impl Unanswered {
    /// Class of the failure, as entries have it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Busy(_) => "upstream_busy",
            Self::Unreachable => "upstream_unreachable",
            Self::Timeout(_) => "upstream_timeout",
            Self::TooLarge(_) | Self::Unusable(_) => "upstream_answer_unusable",
        }
    }
}

/// The engine that decides. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: UpstreamSettings,
    client: Client,
    places: Semaphore,
}

impl Upstream {
    /// A client for an upstream. Nothing is sent.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub fn new(settings: UpstreamSettings) -> Result<Self, UpstreamError> {
        let mut client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout);
        if let Some(path) = &settings.ca {
            let refuse = |source| UpstreamError::Certificates { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(|error| refuse(error.into()))?;
            let chain = Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.into()))?;
            client = chain.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = client.build().map_err(UpstreamError::Client)?;
        let places = Semaphore::new(settings.in_flight.min(Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Inner { settings, client, places })))
    }

    /// Whether it is asked about that tenant's calls.
    pub fn is_for(&self, tenant: &Tenant) -> bool {
        self.0.settings.tenant == *tenant
    }

    /// Calls that may be on their way at once.
    pub fn in_flight(&self) -> usize {
        self.0.settings.in_flight
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.0.settings.timeout
    }

    /// Sends a call as it came and waits for the answer. `own_keys` says that the client's
    /// `Authorization` is a key of ours.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(
        &self,
        call: &Call,
        query: Option<&str>,
        headers: &HeaderMap,
        body: Bytes,
        own_keys: bool,
    ) -> Result<Reply, Unanswered> {
        let Inner { settings, client, places } = &*self.0;
        let Ok(_place) = places.try_acquire() else {
            return Err(Unanswered::Busy(settings.in_flight));
        };
        let url = settings.address(call, query).ok_or(Unanswered::Unreachable)?;
        let method = if call.operation == super::Operation::ListCheckpoints {
            Method::GET
        } else {
            Method::POST
        };
        let request = client.request(method, url).headers(settings.passed_on(headers, own_keys));
        let response = request.body(body).send().await.map_err(|error| settings.failure(&error))?;
        let status = response.status();
        if status.is_redirection() || status.is_informational() {
            let what = format!("status {}; configure the address that answers", status.as_u16());
            return Err(Unanswered::Unusable(what));
        }
        let headers = handed_back(response.headers());
        let body = settings.read(response).await?;
        Ok(Reply { status, headers, body })
    }
}

impl UpstreamSettings {
    /// The address of a call: each part of its path is one part of the address, whatever it has.
    fn address(&self, call: &Call, query: Option<&str>) -> Option<Url> {
        let mut url = self.url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(call.segments());
        url.set_query(query);
        Some(url)
    }

    fn passed_on(&self, from: &HeaderMap, own_keys: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut pass = |name: HeaderName| {
            if let Some(value) = from.get(&name) {
                headers.insert(name, value.clone());
            }
        };
        PASSED_ON.into_iter().map(HeaderName::from_static).for_each(&mut pass);
        if self.pass_credentials && !own_keys {
            pass(header::AUTHORIZATION);
            pass(CLIENT_ID);
        }
        if let Some((client, authorization)) = &self.credentials {
            headers.insert(header::AUTHORIZATION, authorization.clone());
            if let Ok(client) = HeaderValue::from_str(client) {
                headers.insert(CLIENT_ID, client);
            }
        }
        headers
    }

    fn failure(&self, error: &reqwest::Error) -> Unanswered {
        // The library's own words repeat the address, which may have an id of somebody in it.
        if error.is_connect() {
            Unanswered::Unreachable
        } else if error.is_timeout() {
            Unanswered::Timeout(self.timeout)
        } else {
            Unanswered::Unusable("the connection broke before it was whole".to_owned())
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, Unanswered> {
        let most = self.max_answer_bytes;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.failure(&error))? {
            if body.len().saturating_add(piece.len()) > most {
                return Err(Unanswered::TooLarge(most));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }
}

fn handed_back(from: &HeaderMap) -> HeaderMap {
    let is_ours = |name: &HeaderName| {
        HANDED_BACK.contains(&name.as_str()) || name.as_str().starts_with(OWN_HEADERS)
    };
    from.iter().filter(|(name, _)| is_ours(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::*;

    fn settings(url: &str) -> UpstreamSettings {
        UpstreamSettings {
            url: url.parse().unwrap(),
            tenant: Tenant::default(),
            credentials: None,
            pass_credentials: false,
            ca: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            timeout: DEFAULT_TIMEOUT,
            max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES,
            in_flight: 1,
        }
    }

    #[test]
    fn an_id_with_slashes_is_one_part_of_the_address() {
        let gate = |url: &str, step: &str| {
            let call = Call::about(Operation::StepGate, "wf".into(), Some(step.into()), None);
            settings(url).address(&call.unwrap(), Some("a=1")).unwrap().to_string()
        };
        for (url, step, wanted) in [
            ("http://h:1", "s1", "http://h:1/api/v1/workflows/wf/steps/s1/gate?a=1"),
            ("http://h:1/", "a/../b", "http://h:1/api/v1/workflows/wf/steps/a%2F..%2Fb/gate?a=1"),
            ("http://h:1/x/", "?#", "http://h:1/x/api/v1/workflows/wf/steps/%3F%23/gate?a=1"),
            ("http://h:1", "%2e%2e", "http://h:1/api/v1/workflows/wf/steps/%252e%252e/gate?a=1"),
        ] {
            assert_eq!(gate(url, step), wanted);
        }
    }

    #[test]
    fn a_key_of_ours_is_never_passed_on() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-client-id", "x-user-token", "cookie", "host", "x-api-key"]
        {
            headers.insert(name, HeaderValue::from_static("v"));
        }
        let names = |settings: &UpstreamSettings, own_keys| {
            let passed = settings.passed_on(&headers, own_keys);
            let mut names: Vec<String> = passed.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        let closed = settings("http://h:1");
        assert_eq!(names(&closed, false), ["x-user-token"]);
        let open = UpstreamSettings { pass_credentials: true, ..closed.clone() };
        assert_eq!(names(&open, true), ["x-user-token"]);
        assert_eq!(names(&open, false), ["authorization", "x-client-id", "x-user-token"]);
        let own = HeaderValue::from_static("Basic eA==");
        let ours = UpstreamSettings { credentials: Some(("us".into(), own.clone())), ..open };
        let passed = ours.passed_on(&headers, false);
        assert_eq!(passed.get("authorization"), Some(&own));
        assert_eq!(passed.get("x-client-id").unwrap(), "us");
    }
}
