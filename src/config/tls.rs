//! `tls:` as it is written, and what it means.

use super::{ConfigError, Period, value};
use crate::access::{ClientAuthorities, TlsSettings};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time between two looks at the files: below, looking is all that it does.
const MIN_RELOAD: Duration = Duration::from_secs(1);

super::raw::section! {
    /// `tls:`
    RawTls {
        /// The server's certificate and those that signed it, PEM.
        certificate: Option<PathBuf> = None,
        /// Its private key, PEM.
        key: Option<PathBuf> = None,
        /// Authorities of client certificates, PEM.
        client_ca: Option<PathBuf> = None,
        /// Whether a client needs one.
        client_certificates: ClientCertificates = ClientCertificates::Optional,
        /// Lists of revoked client certificates, PEM.
        client_revoked: Option<PathBuf> = None,
        /// Time between two looks at the files.
        reload: Period = Period::seconds(30),
        /// Whether something in front ends TLS.
        terminated_elsewhere: bool = false,
    }
}

/// Whether a client needs a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientCertificates {
    /// A key does too.
    Optional,
    /// There is no connection without one.
    Required,
}

/// How listeners are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// TLS on every listener, if there is any.
    pub tls: Option<TlsSettings>,
    /// Whether something in front of them, a proxy or a mesh, ends TLS.
    pub terminated_elsewhere: bool,
}

impl Transport {
    /// Whether nobody on the way can read or change what is sent, as far as it is known here.
    pub fn is_protected(&self) -> bool {
        self.tls.is_some() || self.terminated_elsewhere
    }
}

impl RawTls {
    pub(super) fn resolve(self) -> Result<Transport, ConfigError> {
        let required = self.client_certificates == ClientCertificates::Required;
        if self.client_ca.is_none() && required {
            return Err(value(
                "tls.client_certificates",
                "required needs the authorities that sign them: set tls.client_ca",
            ));
        }
        if self.client_ca.is_none() && self.client_revoked.is_some() {
            return Err(value(
                "tls.client_revoked",
                "means nothing without tls.client_ca, the authorities that revoked them",
            ));
        }
        if self.reload.duration() < MIN_RELOAD {
            return Err(value("tls.reload", "must be at least 1s"));
        }
        let terminated_elsewhere = self.terminated_elsewhere;
        let (certificate, key) = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                return Err(value("tls.key", "is missing: a certificate is served with its key"));
            }
            (None, Some(_)) => {
                return Err(value(
                    "tls.certificate",
                    "is missing: a key is served with its certificate",
                ));
            }
            (None, None) if self.client_ca.is_some() => {
                return Err(value(
                    "tls.client_ca",
                    "is asked for over TLS only: set tls.certificate and tls.key",
                ));
            }
            (None, None) => return Ok(Transport { tls: None, terminated_elsewhere }),
        };
        let revoked = self.client_revoked;
        let clients =
            self.client_ca.map(|authorities| ClientAuthorities { authorities, revoked, required });
        let reload = self.reload.duration();
        let tls = Some(TlsSettings { certificate, key, clients, reload });
        Ok(Transport { tls, terminated_elsewhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Transport, ConfigError> {
        crate::config::yaml::parse::<RawTls>("test.yaml", text)?.resolve()
    }

    #[test]
    fn what_belongs_together_is_asked_for_by_name() {
        for (text, missing) in [
            ("certificate: c", "tls.key"),
            ("key: k", "tls.certificate"),
            ("client_ca: a", "tls.certificate"),
            ("certificate: c\nkey: k\nclient_certificates: required", "tls.client_ca"),
            ("certificate: c\nkey: k\nclient_revoked: r", "tls.client_ca"),
            ("reload: 10ms", "1s"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(missing), "{text}: {error}");
        }
        let error = resolve("client_certificates: sometimes").unwrap_err().to_string();
        assert!(error.contains("required"), "{error}");
    }

    #[test]
    fn clients_may_show_a_certificate_unless_they_must() {
        let both = "certificate: c\nkey: k\nclient_ca: a\n";
        let clients = |text: &str| resolve(text).unwrap().tls.unwrap().clients;
        assert!(!clients(both).unwrap().required);
        let required = format!("{both}client_certificates: required");
        assert!(clients(&required).unwrap().required);
        assert_eq!(clients("certificate: c\nkey: k"), None);
    }

    #[test]
    fn the_way_is_protected_by_tls_here_or_elsewhere() {
        assert!(!resolve("{}").unwrap().is_protected());
        assert!(resolve("terminated_elsewhere: true").unwrap().is_protected());
        assert!(resolve("certificate: c\nkey: k").unwrap().is_protected());
    }
}
