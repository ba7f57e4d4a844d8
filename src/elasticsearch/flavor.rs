//! What kind of cluster replies, and which version: everything that differs asks this.

use super::transport::{Method, Reply, Request, SendError, Transport};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// How long the first question may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Oldest major version of Elasticsearch that is spoken.
const MIN_ELASTICSEARCH: u32 = 8;

/// Oldest major version of OpenSearch that is spoken.
const MIN_OPENSEARCH: u32 = 2;

/// The product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Product::Elasticsearch => "Elasticsearch",
            Product::OpenSearch => "OpenSearch",
        })
    }
}

/// A version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Changes with what is incompatible.
    pub major: u32,
    /// Changes with what is new.
    pub minor: u32,
    /// Changes with what is repaired.
    pub patch: u32,
}

impl Version {
    /// `MAJOR.MINOR.PATCH`, with or without what follows a hyphen.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').next()?.split('.').map(|part| part.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What kind of cluster it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavor {
    /// The product.
    pub product: Product,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.version)
    }
}

/// Why it is not known what kind of cluster it is.
#[derive(Debug, thiserror::Error)]
pub enum FlavorError {
    /// There is no reply.
    #[error("the cluster does not reply; check that it runs, and its address")]
    Send(#[from] SendError),
    /// We are nobody there.
    #[error(
        "the cluster does not accept the credentials (401); check user and password, API key or \
         token, and that the key has not expired"
    )]
    Unauthorized,
    /// We may not ask.
    #[error(
        "these credentials may not ask for the version (403); they need the cluster privilege `monitor`"
    )]
    Forbidden,
    /// It cannot reply now.
    #[error("the cluster is there and cannot reply now (status {0}); try again when it is up")]
    Unavailable(u16),
    /// Something else replies.
    #[error(
        "what replies is neither Elasticsearch nor OpenSearch (status {0}); check the address, \
         and on OpenSearch that compatibility.override_main_response_version is off"
    )]
    Unknown(u16),
    /// The version is too old.
    #[error(
        "{0} is too old; Elasticsearch {MIN_ELASTICSEARCH} or OpenSearch {MIN_OPENSEARCH} is the oldest that works"
    )]
    TooOld(Flavor),
}

#[derive(Deserialize)]
struct Root {
    version: Number,
    #[serde(default)]
    tagline: String,
}

#[derive(Deserialize)]
struct Number {
    number: String,
    #[serde(default)]
    distribution: String,
}

impl Flavor {
    /// Asks the cluster.
    ///
    /// # Errors
    /// [`FlavorError`], each with what to do next.
    pub async fn detect<T: Transport>(transport: &T) -> Result<Self, FlavorError> {
        let request = Request {
            method: Method::Get,
            path: "/".to_owned(),
            query: Vec::new(),
            body: None,
            timeout: TIMEOUT,
        };
        Self::read(&transport.send(request).await?)
    }

    /// Reads the reply to `GET /`.
    ///
    /// # Errors
    /// [`FlavorError`].
    pub fn read(reply: &Reply) -> Result<Self, FlavorError> {
        match reply.status {
            200 => {}
            401 => return Err(FlavorError::Unauthorized),
            403 => return Err(FlavorError::Forbidden),
            status @ (429 | 500..) => return Err(FlavorError::Unavailable(status)),
            status => return Err(FlavorError::Unknown(status)),
        }
        let unknown = FlavorError::Unknown(reply.status);
        let Ok(root) = serde_json::from_slice::<Root>(&reply.body) else { return Err(unknown) };
        let (product, min) = if root.version.distribution == "opensearch" {
            (Product::OpenSearch, MIN_OPENSEARCH)
        } else if root.tagline == "You Know, for Search" {
            (Product::Elasticsearch, MIN_ELASTICSEARCH)
        } else {
            return Err(unknown);
        };
        let Some(version) = Version::parse(&root.version.number) else { return Err(unknown) };
        let flavor = Self { product, version };
        if version.major < min { Err(FlavorError::TooOld(flavor)) } else { Ok(flavor) }
    }

    /// Whether it is Elasticsearch of at least that version.
    pub fn is_elasticsearch_since(&self, major: u32, minor: u32) -> bool {
        self.product == Product::Elasticsearch
            && (self.version.major, self.version.minor) >= (major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    fn reply(status: u16, body: &serde_json::Value) -> Reply {
        Reply { status, body: Bytes::from(body.to_string()), retry_after: None }
    }

    fn elasticsearch(number: &str) -> Result<Flavor, FlavorError> {
        let body = json!({"version": {"number": number}, "tagline": "You Know, for Search"});
        Flavor::read(&reply(200, &body))
    }

    fn opensearch(number: &str) -> Result<Flavor, FlavorError> {
        let version = json!({"number": number, "distribution": "opensearch"});
        let tagline = "The OpenSearch Project: https://opensearch.org/";
        Flavor::read(&reply(200, &json!({"version": version, "tagline": tagline})))
    }

    #[test]
    fn both_products_are_known_by_what_they_say() {
        assert_eq!(elasticsearch("9.5.3").unwrap().to_string(), "Elasticsearch 9.5.3");
        assert_eq!(elasticsearch("8.0.0-rc1").unwrap().to_string(), "Elasticsearch 8.0.0");
        assert_eq!(opensearch("2.19.1").unwrap().to_string(), "OpenSearch 2.19.1");
        assert_eq!(opensearch("3.8.0").unwrap().product, Product::OpenSearch);
    }

    #[test]
    fn what_is_too_old_is_named() {
        for flavor in [elasticsearch("7.17.9"), opensearch("1.3.0")] {
            let error = flavor.unwrap_err();
            assert!(matches!(error, FlavorError::TooOld(_)), "{error}");
        }
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        let flavor = elasticsearch("8.19.2").unwrap();
        assert!(flavor.is_elasticsearch_since(8, 9) && flavor.is_elasticsearch_since(8, 19));
        assert!(!flavor.is_elasticsearch_since(8, 20) && !flavor.is_elasticsearch_since(9, 0));
        assert!(!opensearch("3.8.0").unwrap().is_elasticsearch_since(2, 0));
    }

    #[test]
    fn each_status_says_what_to_do() {
        for (status, text) in [
            (401, "credentials"),
            (403, "monitor"),
            (429, "again"),
            (503, "again"),
            (404, "address"),
        ] {
            let error = Flavor::read(&reply(status, &json!({"error": "x"}))).unwrap_err();
            assert!(error.to_string().contains(text), "{status}: {error}");
        }
    }

    #[test]
    fn anything_else_is_not_taken_for_a_cluster() {
        let compatible =
            json!({"version": {"number": "7.10.2"}, "tagline": "The OpenSearch Project"});
        let odd = json!({"version": {"number": "9.x"}, "tagline": "You Know, for Search"});
        for body in [json!({}), json!("x"), compatible, odd] {
            let error = Flavor::read(&reply(200, &body)).unwrap_err();
            assert!(matches!(error, FlavorError::Unknown(200)), "{error}");
        }
        let html = Reply { status: 200, body: Bytes::from("<html>"), retry_after: None };
        assert!(matches!(Flavor::read(&html), Err(FlavorError::Unknown(200))));
    }
}
