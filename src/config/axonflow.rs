//! `axonflow:` as it is written, and what it means.

use super::elasticsearch::{RawSecret, read};
use super::{ConfigError, Period, Size, value};
use crate::access::Tenant;
use crate::receiver::axonflow::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_IN_FLIGHT, DEFAULT_MAX_ANSWER_BYTES, DEFAULT_TIMEOUT,
    Upstream, UpstreamSettings,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::Url;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time for a connection or an answer: below, an engine that is well is given up.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Most calls on their way at once: each holds its request and its answer in memory.
const MAX_IN_FLIGHT: usize = 1_024;

super::raw::section! {
    /// `axonflow:`
    RawAxonflow {
        /// The engine that decides.
        upstream: RawUpstream = RawUpstream::default(),
    }
}

super::raw::section! {
    /// `axonflow.upstream:`
    RawUpstream {
        /// Its base address; none for none.
        url: Option<String> = None,
        /// Whose calls it is asked about.
        tenant: Option<String> = None,
        /// As whom it is asked.
        client_id: Option<String> = None,
        /// Where that client's secret stands.
        client_secret: Option<RawSecret> = None,
        /// Whether the client's own credentials are passed on.
        pass_credentials: bool = false,
        /// Certificates that are trusted, PEM.
        ca: Option<PathBuf> = None,
        /// Time for a connection to come about.
        connect_timeout: Period = Period::of(DEFAULT_CONNECT_TIMEOUT),
        /// Time for an answer.
        timeout: Period = Period::of(DEFAULT_TIMEOUT),
        /// Largest answer.
        max_answer: Size = Size::of(DEFAULT_MAX_ANSWER_BYTES as u64),
        /// Calls on their way at once.
        in_flight: usize = DEFAULT_IN_FLIGHT,
    }
}

impl RawAxonflow {
    /// The engine that decides, if one is named.
    pub(super) fn resolve(self) -> Result<Option<UpstreamSettings>, ConfigError> {
        self.upstream.resolve()
    }
}

impl RawUpstream {
    fn resolve(self) -> Result<Option<UpstreamSettings>, ConfigError> {
        let Some(url) = &self.url else {
            let for_one = [
                self.tenant.is_some(),
                self.client_id.is_some(),
                self.client_secret.is_some(),
                self.pass_credentials,
                self.ca.is_some(),
            ];
            if for_one.contains(&true) {
                let problem = "there are settings for an upstream and none is named, so nothing \
                    would be asked: give url, or take the other settings out";
                return Err(value("axonflow.upstream.url", problem));
            }
            return Ok(None);
        };
        let url = address(url)?;
        for (key, period) in [
            ("axonflow.upstream.connect_timeout", self.connect_timeout),
            ("axonflow.upstream.timeout", self.timeout),
        ] {
            if period.duration() < MIN_TIMEOUT {
                return Err(value(key, "must be at least 100ms, or no answer would be in time"));
            }
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.in_flight) {
            return Err(value("axonflow.upstream.in_flight", "must be 1 to 1024"));
        }
        let tenant = self.tenant.as_deref().map(Tenant::new).transpose();
        let tenant = tenant.map_err(|error| ConfigError::Value {
            key: "axonflow.upstream.tenant",
            problem: error.to_string(),
        })?;
        let settings = UpstreamSettings {
            url,
            tenant: tenant.unwrap_or_default(),
            credentials: credentials(self.client_id, self.client_secret.as_ref())?,
            pass_credentials: self.pass_credentials,
            ca: self.ca,
            connect_timeout: self.connect_timeout.duration(),
            timeout: self.timeout.duration(),
            max_answer_bytes: self.max_answer.as_usize(),
            in_flight: self.in_flight,
        };
        // Made once here, so that what cannot be used is said before anything is opened.
        Upstream::new(settings.clone()).map_err(|error| ConfigError::Value {
            key: "axonflow.upstream",
            problem: error.to_string(),
        })?;
        Ok(Some(settings))
    }
}

/// An address without credentials in it: it is copied and shown.
fn address(text: &str) -> Result<Url, ConfigError> {
    const KEY: &str = "axonflow.upstream.url";
    let url: Url = text
        .parse()
        .map_err(|_| value(KEY, "is no address; write one such as https://axonflow.example.com"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(value(KEY, "begins with https:// or http:// and names a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(value(KEY, "has credentials in it: write client_id and client_secret"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(value(KEY, "is the base address: without ? and #"));
    }
    Ok(url)
}

/// `Authorization` as AxonFlow's own clients send it.
fn credentials(
    client: Option<String>,
    secret: Option<&RawSecret>,
) -> Result<Option<(String, HeaderValue)>, ConfigError> {
    const KEY: &str = "axonflow.upstream.client_secret";
    match (client, secret) {
        (None, None) => Ok(None),
        (Some(client), Some(secret)) => {
            if client.contains(':') || client.chars().any(char::is_control) {
                return Err(value("axonflow.upstream.client_id", "has no colon in it"));
            }
            let secret = read(KEY, secret)?;
            let pair = STANDARD.encode(format!("{client}:{}", secret.expose()));
            let mut header = HeaderValue::from_str(&format!("Basic {pair}"))
                .map_err(|_| value(KEY, "cannot be sent"))?;
            header.set_sensitive(true);
            Ok(Some((client, header)))
        }
        _ => Err(value(KEY, "a client needs its secret: give client_id and client_secret")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(change: impl FnOnce(&mut RawUpstream)) -> Result<Option<UpstreamSettings>, String> {
        let mut raw = RawUpstream::default();
        change(&mut raw);
        RawAxonflow { upstream: raw }.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn without_an_address_there_is_no_upstream_and_nothing_may_be_set_for_one() {
        assert_eq!(resolve(|_| {}), Ok(None));
        let error = resolve(|raw| raw.client_id = Some("us".into())).unwrap_err();
        assert!(error.starts_with("axonflow.upstream.url: "), "{error}");
    }

    #[test]
    fn an_address_with_credentials_in_it_is_refused() {
        for (url, words) in [
            ("https://u:p@h", "client_secret"),
            ("ftp://h", "https://"),
            ("h:1", "https://"),
            ("https://h/?a=b", "base address"),
        ] {
            let error = resolve(|raw| raw.url = Some(url.into())).unwrap_err();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_read_from_its_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "geheim\n").unwrap();
        let settings = resolve(|raw| {
            raw.url = Some("https://h:8443/base".into());
            raw.client_id = Some("us".into());
            raw.client_secret = Some(RawSecret::File(path));
        });
        let settings = settings.unwrap().unwrap();
        let (client, header) = settings.credentials.clone().unwrap();
        assert_eq!((client.as_str(), header.to_str().unwrap()), ("us", "Basic dXM6Z2VoZWlt"));
        assert!(!format!("{settings:?}").contains("dXM6"), "{settings:?}");
        let half = resolve(|raw| {
            raw.url = Some("https://h".into());
            raw.client_id = Some("us".into());
        });
        assert!(half.unwrap_err().contains("client_secret"));
    }
}
