//! `elasticsearch:` as it is written, and what it means.

use super::{ConfigError, Period, Size, value};
use crate::elasticsearch::{
    Auth, Client, ClientCertificate, Connection, DEFAULT_BULK_TIMEOUT, DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_BYTES, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_ITEMS, DEFAULT_MAX_REPLY_BYTES, Hosts,
    MIN_BYTES, Proxy, Secret,
};
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest bulk request, bytes before compression: half of what a cluster takes, as the lines
/// around the documents count too.
const MAX_BULK: usize = 50_000_000;

/// Most documents of a bulk request: each has a line in the reply, which is bounded.
const MAX_BULK_DOCUMENTS: usize = 100_000;

/// Most bulk requests on their way at once: a node works on fewer and queues the others.
const MAX_IN_FLIGHT: usize = 64;

/// Most memory for documents on their way, bytes: the exporter holds up to twice `in_flight` times
/// `bulk_size`, and the process has other things to do with its memory.
const MAX_HELD: usize = 1_000_000_000;

/// Shortest time for a reply or a connection: below, a healthy cluster across an ocean is given up.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

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
        /// User at the proxy.
        proxy_username: Option<String> = None,
        /// Where that user's password stands.
        proxy_password: Option<RawSecret> = None,
        /// Time for a connection to come about.
        connect_timeout: Period = Period::of(DEFAULT_CONNECT_TIMEOUT),
        /// Time for a reply.
        request_timeout: Period = Period::of(DEFAULT_BULK_TIMEOUT),
        /// Bytes of documents in one bulk request.
        bulk_size: Size = Size::of(DEFAULT_MAX_BYTES as u64),
        /// Documents in one bulk request.
        bulk_documents: usize = DEFAULT_MAX_ITEMS,
        /// Bulk requests on their way at once.
        in_flight: usize = DEFAULT_MAX_IN_FLIGHT,
        /// Whether bulk requests are compressed.
        gzip: bool = true,
        /// What gives documents ids that became known later.
        correlator: RawCorrelator = RawCorrelator::default(),
        /// As whom questions are answered.
        reader: RawReader = RawReader::default(),
    }
}

super::raw::section! {
    /// `elasticsearch.correlator:`
    RawCorrelator {
        /// Whether there is one.
        enabled: bool = true,
        /// User of the password.
        username: Option<String> = None,
        /// Where the user's password stands.
        password: Option<RawSecret> = None,
        /// Where an API key stands, encoded as Elasticsearch gives it.
        api_key: Option<RawSecret> = None,
        /// Where a bearer token stands.
        bearer_token: Option<RawSecret> = None,
    }
}

super::raw::section! {
    /// `elasticsearch.reader:`
    RawReader {
        /// User of the password.
        username: Option<String> = None,
        /// Where the user's password stands.
        password: Option<RawSecret> = None,
        /// Where an API key stands, encoded as Elasticsearch gives it.
        api_key: Option<RawSecret> = None,
        /// Where a bearer token stands.
        bearer_token: Option<RawSecret> = None,
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
    /// As whom documents are given ids that became known later; `None` when they are not.
    pub correlator: Option<Connection>,
    /// As whom questions are answered, where there is no embedded index.
    pub reader: Connection,
}

impl RawElasticsearch {
    /// What the section says, with the addresses of `--elasticsearch`, if any, in place of its own.
    pub(super) fn resolve(
        mut self,
        given: &[String],
    ) -> Result<Option<Elasticsearch>, ConfigError> {
        if !given.is_empty() {
            self.urls = given.to_vec();
            self.cloud_id = None;
        }
        self.check()?;
        let hosts = match (self.urls.is_empty(), self.cloud_id) {
            (true, None) => return Ok(None),
            (true, Some(id)) => Hosts::CloudId(id),
            (false, None) => Hosts::Urls(self.urls),
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
            auth: auth(
                "elasticsearch",
                self.username,
                self.password,
                self.api_key,
                self.bearer_token,
            )?,
            ca_file: self.ca,
            client_certificate,
            proxy: proxy(self.proxy, self.proxy_username, self.proxy_password)?,
            connect_timeout: self.connect_timeout.duration(),
            max_reply_bytes: DEFAULT_MAX_REPLY_BYTES,
        };
        // Made once here, so that what cannot be used is said before anything is opened.
        Client::new(&connection).map_err(|error| ConfigError::Value {
            key: "elasticsearch",
            problem: error.to_string(),
        })?;
        let correlator = self.correlator.resolve(&connection)?;
        let reader = self.reader.resolve(&connection)?;
        Ok(Some(Elasticsearch {
            connection,
            correlator,
            reader,
            request_timeout: self.request_timeout.duration(),
            bulk_bytes: self.bulk_size.as_usize(),
            bulk_documents: self.bulk_documents,
            in_flight: self.in_flight,
            gzip: self.gzip,
        }))
    }

    /// Whether the values can be, and there is a cluster that they are for.
    fn check(&self) -> Result<(), ConfigError> {
        let for_a_cluster = [
            self.username.is_some(),
            self.password.is_some(),
            self.api_key.is_some(),
            self.bearer_token.is_some(),
            self.ca.is_some(),
            self.client_certificate.is_some(),
            self.client_key.is_some(),
            self.proxy.is_some(),
            self.proxy_username.is_some(),
            self.proxy_password.is_some(),
        ];
        if self.urls.is_empty() && self.cloud_id.is_none() && for_a_cluster.contains(&true) {
            let problem = "there are settings for a cluster and none is named, so nothing would be \
                exported: give urls or cloud_id, or take the other settings out";
            return Err(value("elasticsearch.urls", problem));
        }
        for (key, period) in [
            ("elasticsearch.connect_timeout", self.connect_timeout),
            ("elasticsearch.request_timeout", self.request_timeout),
        ] {
            if period.duration() < MIN_TIMEOUT {
                return Err(value(key, "must be at least 1s, or no reply would ever be in time"));
            }
        }
        let bytes = self.bulk_size.as_usize();
        within("elasticsearch.bulk_size", bytes, MIN_BYTES, MAX_BULK)?;
        within("elasticsearch.bulk_documents", self.bulk_documents, 1, MAX_BULK_DOCUMENTS)?;
        within("elasticsearch.in_flight", self.in_flight, 1, MAX_IN_FLIGHT)?;
        if bytes.saturating_mul(self.in_flight).saturating_mul(2) > MAX_HELD {
            let problem = "twice bulk_size times in_flight is memory, and must be at most 1GB: make \
                one of them smaller";
            return Err(value("elasticsearch.bulk_size", problem));
        }
        Ok(())
    }
}

fn within(key: &'static str, found: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Value { key, problem: format!("must be {least} to {most}, not {found}") })
}

fn proxy(
    url: Option<String>,
    username: Option<String>,
    password: Option<RawSecret>,
) -> Result<Option<Proxy>, ConfigError> {
    let credentials = match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => {
            Some((username, read("elasticsearch.proxy_password", &password)?))
        }
        _ => {
            let problem = "a user at the proxy needs a password: give proxy_username and \
                proxy_password";
            return Err(value("elasticsearch.proxy_password", problem));
        }
    };
    match (url, credentials) {
        (Some(url), credentials) => Ok(Some(Proxy { url, credentials })),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err(value("elasticsearch.proxy", "is missing, and it has a user: give it"))
        }
    }
}

impl RawCorrelator {
    /// As whom; `None` when there is none.
    fn resolve(self, exporter: &Connection) -> Result<Option<Connection>, ConfigError> {
        const KEY: &str = "elasticsearch.correlator";
        if !self.enabled {
            return Ok(None);
        }
        let auth = auth(KEY, self.username, self.password, self.api_key, self.bearer_token)?;
        as_somebody(KEY, auth, exporter).map(Some)
    }
}

impl RawReader {
    fn resolve(self, exporter: &Connection) -> Result<Connection, ConfigError> {
        const KEY: &str = "elasticsearch.reader";
        let auth = auth(KEY, self.username, self.password, self.api_key, self.bearer_token)?;
        as_somebody(KEY, auth, exporter)
    }
}

/// The exporter's connection, as somebody else when that is said.
fn as_somebody(
    key: &'static str,
    auth: Auth,
    exporter: &Connection,
) -> Result<Connection, ConfigError> {
    if auth == Auth::None {
        return Ok(exporter.clone());
    }
    let connection = Connection { auth, ..exporter.clone() };
    Client::new(&connection)
        .map_err(|error| ConfigError::Value { key, problem: error.to_string() })?;
    Ok(connection)
}

pub(super) fn auth(
    key: &'static str,
    username: Option<String>,
    password: Option<RawSecret>,
    api_key: Option<RawSecret>,
    bearer_token: Option<RawSecret>,
) -> Result<Auth, ConfigError> {
    match (username, password, api_key, bearer_token) {
        (None, None, None, None) => Ok(Auth::None),
        (Some(username), Some(password), None, None) => {
            Ok(Auth::Basic { username, password: read(key, &password)? })
        }
        (None, None, Some(secret), None) => Ok(Auth::ApiKey(read(key, &secret)?)),
        (None, None, None, Some(token)) => Ok(Auth::Bearer(read(key, &token)?)),
        _ => Err(value(key, "give one of: username and password, api_key, bearer_token")),
    }
}

/// The secret, without the line break that editors put behind it.
pub(super) fn read(key: &'static str, secret: &RawSecret) -> Result<Secret, ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read_section(text: &str) -> Result<RawElasticsearch, String> {
        super::super::yaml::parse("t.yaml", text).map_err(|error| error.to_string())
    }

    fn resolved(text: &str) -> Result<Option<Elasticsearch>, String> {
        read_section(text)?.resolve(&[]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_exporter() {
        let cluster = resolved("urls: [\"http://a:1\"]\n").unwrap().unwrap();
        let options = crate::elasticsearch::ExporterOptions::new("o", "c");
        assert_eq!(cluster.request_timeout, options.timeout);
        assert_eq!(cluster.bulk_bytes, options.max_bytes);
        assert_eq!(cluster.bulk_documents, options.max_items);
        assert_eq!(cluster.in_flight, options.max_in_flight);
        assert_eq!(cluster.gzip, options.gzip);
    }

    #[test]
    fn settings_for_a_cluster_that_nobody_names_are_refused() {
        for line in [
            "username: u",
            "password: {file: /run/pw}",
            "api_key: {env: KEY}",
            "bearer_token: {env: KEY}",
            "ca: ca.pem",
            "client_certificate: c.pem",
            "proxy: \"http://p:1\"",
            "proxy_username: u",
        ] {
            let error = resolved(&format!("{line}\n")).unwrap_err();
            assert!(error.contains("give urls or cloud_id"), "{line}: {error}");
        }
        assert!(resolved("in_flight: 2\n").unwrap().is_none());
        let section = read_section("ca: /nowhere/ca.pem\n").unwrap();
        let error = section.resolve(&["https://a:1".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "a flag names the cluster: {error}");
    }

    #[test]
    fn a_proxy_has_a_user_with_a_password_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pw");
        std::fs::write(&path, "geheim\n").unwrap();
        let cluster = "urls: [\"http://a:1\"]\n";
        let password = format!("proxy_password: {{file: \"{}\"}}\n", path.display());
        let whole = format!("{cluster}proxy: \"http://p:1\"\nproxy_username: u\n{password}");
        let proxy = resolved(&whole).unwrap().unwrap().connection.proxy.unwrap();
        let (user, read) = proxy.credentials.unwrap();
        assert_eq!((user.as_str(), read.expose()), ("u", "geheim"));
        for half in [
            format!("{cluster}proxy: \"http://p:1\"\nproxy_username: u\n"),
            format!("{cluster}proxy: \"http://p:1\"\n{password}"),
            format!("{cluster}proxy_username: u\n{password}"),
        ] {
            let error = resolved(&half).unwrap_err();
            assert!(error.starts_with("elasticsearch.proxy"), "{error}");
        }
    }

    #[test]
    fn a_value_beyond_its_bounds_is_refused_with_the_bounds() {
        for (line, said) in [
            ("request_timeout: 0s", "at least 1s"),
            ("connect_timeout: 999ms", "at least 1s"),
            ("bulk_size: 1KiB", "65536 to 50000000"),
            ("bulk_size: 51MB", "65536 to 50000000"),
            ("bulk_documents: 0", "1 to 100000"),
            ("bulk_documents: 100001", "1 to 100000"),
            ("in_flight: 0", "1 to 64"),
            ("in_flight: 65", "1 to 64"),
            ("{bulk_size: 50MB, in_flight: 11}", "at most 1GB"),
        ] {
            let error = resolved(&format!("{line}\n")).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(resolved("{bulk_size: 50MB, in_flight: 10, bulk_documents: 1}\n").is_ok());
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
