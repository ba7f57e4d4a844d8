//! `elasticsearch:` as it is written, and what it means.

use super::{ConfigError, Period, Size, value};
use crate::elasticsearch::{
    Auth, Client, ClientCertificate, Connection, DEFAULT_MAX_REPLY_BYTES, Hosts, Proxy, Secret,
};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

super::raw::section! {
    /// `elasticsearch:`
    RawElasticsearch {
        /// Nodes; none for no export.
        urls: Vec<String> = Vec::new(),
        /// Elastic Cloud, in place of `urls`.
        cloud_id: Option<String> = None,
        /// User of the password.
        username: Option<String> = None,
        /// Where the user's password stands.
        password: Option<RawSecret> = None,
        /// Where an API key stands, encoded as Elasticsearch gives it.
        api_key: Option<RawSecret> = None,
        /// Where a bearer token stands.
        bearer_token: Option<RawSecret> = None,
        /// Certificates that are trusted, PEM.
        ca: Option<PathBuf> = None,
        /// Our own certificate, PEM.
        client_certificate: Option<PathBuf> = None,
        /// Its key, PEM.
        client_key: Option<PathBuf> = None,
        /// Proxy.
        proxy: Option<String> = None,
        /// Time for a connection to come about.
        connect_timeout: Period = Period::seconds(5),
        /// Time for a reply.
        request_timeout: Period = Period::seconds(60),
        /// Bytes of documents in one bulk request.
        bulk_size: Size = Size::mib(5),
        /// Documents in one bulk request.
        bulk_documents: usize = 5_000,
        /// Bulk requests on their way at once.
        in_flight: usize = 4,
        /// Whether bulk requests are compressed.
        gzip: bool = true,
    }
}

/// Where a secret stands: never in the configuration itself, which is copied and shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawSecret {
    /// In a file of its own.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// The cluster that entries are exported to, and how.
#[derive(Debug, Clone)]
pub struct Elasticsearch {
    /// Where it is and who asks.
    pub connection: Connection,
    /// Time for a reply.
    pub request_timeout: Duration,
    /// Bytes of documents in one bulk request.
    pub bulk_bytes: usize,
    /// Documents in one bulk request.
    pub bulk_documents: usize,
    /// Bulk requests on their way at once.
    pub in_flight: usize,
    /// Whether bulk requests are compressed.
    pub gzip: bool,
}

impl RawElasticsearch {
    /// What the section says, with the address of `--elasticsearch` in place of its own.
    pub(super) fn resolve(self, url: Option<&str>) -> Result<Option<Elasticsearch>, ConfigError> {
        let urls = url.map_or(self.urls, |url| vec![url.to_owned()]);
        let hosts = match (urls.is_empty(), self.cloud_id.filter(|_| url.is_none())) {
            (true, None) => return Ok(None),
            (true, Some(id)) => Hosts::CloudId(id),
            (false, None) => Hosts::Urls(urls),
            (false, Some(_)) => {
                let problem = "stands in place of urls: give one of them";
                return Err(value("elasticsearch.cloud_id", problem));
            }
        };
        let client_certificate = match (self.client_certificate, self.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            _ => {
                let problem = "a certificate needs its key: give client_certificate and client_key";
                return Err(value("elasticsearch.client_key", problem));
            }
        };
        let connection = Connection {
            hosts,
            auth: auth(self.username, self.password, self.api_key, self.bearer_token)?,
            ca_file: self.ca,
            client_certificate,
            proxy: self.proxy.map(|url| Proxy { url, credentials: None }),
            connect_timeout: self.connect_timeout.duration(),
            max_reply_bytes: DEFAULT_MAX_REPLY_BYTES,
        };
        // Made once here, so that what cannot be used is said before anything is opened.
        Client::new(&connection).map_err(|error| ConfigError::Value {
            key: "elasticsearch",
            problem: error.to_string(),
        })?;
        Ok(Some(Elasticsearch {
            connection,
            request_timeout: self.request_timeout.duration(),
            bulk_bytes: self.bulk_size.as_usize().max(1),
            bulk_documents: self.bulk_documents.max(1),
            in_flight: self.in_flight.max(1),
            gzip: self.gzip,
        }))
    }
}

fn auth(
    username: Option<String>,
    password: Option<RawSecret>,
    api_key: Option<RawSecret>,
    bearer_token: Option<RawSecret>,
) -> Result<Auth, ConfigError> {
    match (username, password, api_key, bearer_token) {
        (None, None, None, None) => Ok(Auth::None),
        (Some(username), Some(password), None, None) => {
            Ok(Auth::Basic { username, password: read("elasticsearch.password", &password)? })
        }
        (None, None, Some(key), None) => Ok(Auth::ApiKey(read("elasticsearch.api_key", &key)?)),
        (None, None, None, Some(token)) => {
            Ok(Auth::Bearer(read("elasticsearch.bearer_token", &token)?))
        }
        _ => {
            Err(value("elasticsearch", "give one of: username and password, api_key, bearer_token"))
        }
    }
}

/// The secret, without the line break that editors put behind it.
fn read(key: &'static str, secret: &RawSecret) -> Result<Secret, ConfigError> {
    let text = match secret {
        RawSecret::File(path) => from_file(key, path)?,
        RawSecret::Env(name) => std::env::var(name).map_err(|_| ConfigError::Value {
            key,
            problem: format!("the environment variable {name} is not set (or not UTF-8); set it"),
        })?,
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(value(key, "what it names is empty: put the secret there"));
    }
    let known = Secret::new(text);
    Ok(match secret {
        // Read again when the cluster refuses it.
        RawSecret::File(path) => known.kept_in(path.clone()),
        RawSecret::Env(_) => known,
    })
}

fn from_file(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Value {
        key,
        problem: format!("cannot read {}: {error}", path.display()),
    })
}
