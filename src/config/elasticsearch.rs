//! `elasticsearch:` as it is written, and what it means.

use super::{ConfigError, Period, Size, value};
use crate::elasticsearch::{
    Auth, Client, ClientCertificate, Connection, DEFAULT_MAX_REPLY_BYTES, Hosts, Proxy, Secret,
};
use serde::{Deserialize, Deserializer, de};
use std::fmt;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawSecret {
    /// In a file of its own.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// What is said of anything else that stands in a secret's place.
const SECRET_FORM: &str =
    "write {file: PATH} or {env: NAME} here; a secret never stands in the configuration itself";

/// By hand, because a derived one repeats what it does not know in its error, and that may be the
/// secret: people write `password: hunter2`.
impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretPlace)
    }
}

struct SecretPlace;

impl<'de> de::Visitor<'de> for SecretPlace {
    type Value = RawSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{file: PATH} or {env: NAME}")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<RawSecret, A::Error> {
        let refuse = |_| de::Error::custom(SECRET_FORM);
        let (key, text): (String, String) =
            map.next_entry().map_err(refuse)?.ok_or_else(|| de::Error::custom(SECRET_FORM))?;
        let place = match key.as_str() {
            "file" => RawSecret::File(text.into()),
            "env" => RawSecret::Env(text),
            _ => return Err(de::Error::custom(SECRET_FORM)),
        };
        match map.next_key::<de::IgnoredAny>().map_err(refuse)? {
            None => Ok(place),
            Some(_) => Err(de::Error::custom(SECRET_FORM)),
        }
    }

    // Each of these would otherwise be answered with the value itself.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<RawSecret, E> {
        Err(E::custom(SECRET_FORM))
    }
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
    Ok(Secret::new(text))
}

fn from_file(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Value {
        key,
        problem: format!("cannot read {}: {error}", path.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_section(text: &str) -> Result<RawElasticsearch, String> {
        super::super::yaml::parse("t.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_stands_in_a_file_or_a_variable() {
        let section = read_section("password: {file: /run/pw}\napi_key:\n  env: KEY\n").unwrap();
        assert_eq!(section.password, Some(RawSecret::File("/run/pw".into())));
        assert_eq!(section.api_key, Some(RawSecret::Env("KEY".to_owned())));
        assert_eq!(read_section("password: null\n").unwrap().password, None);
    }

    #[test]
    fn a_secret_that_stands_in_the_configuration_is_refused_and_not_repeated() {
        for value in [
            "hunter2",
            "\"hunter2\"",
            "'hunter2'",
            "|\n    hunter2",
            "[hunter2]",
            "{hunter2: x}",
            "{file: {hunter2: x}}",
            "{file: [hunter2]}",
            "{env: KEY, hunter2: x}",
            "{file: a, env: hunter2}",
            "{}",
            "*hunter2",
            "!hunter2 x",
            "&hunter2 x",
            "%hunter2",
            "@hunter2",
            "`hunter2",
            "hunter2: x",
            "hunter2 [",
            "\"hunter2",
            "4815162342",
            "-4815162342",
            "4815162342.5",
            "481516234248151623424815162342",
            "0x4815162342",
            "true",
        ] {
            for key in ["password", "api_key", "bearer_token"] {
                let error = read_section(&format!("{key}: {value}\n")).unwrap_err();
                assert!(!error.contains("unter2") && !error.contains("481516"), "{value}: {error}");
                assert!(error.starts_with("t.yaml:"), "{value}: {error}");
            }
        }
        let error = read_section("password: hunter2\n").unwrap_err();
        assert!(error.contains(SECRET_FORM), "{error}");
    }
}
