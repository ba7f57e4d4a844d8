//! Where a receiver is, who we are to it, and how the connection is protected.

use std::path::PathBuf;
use tonic::transport::Endpoint;

/// A receiver that speaks OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// `http://host:4317`, or `https://…` with the feature `layer-tls`.
    pub address: String,
    /// Sent as `authorization: Bearer …`.
    pub token: Option<Token>,
    /// For `https`.
    pub tls: Tls,
    /// Whether the token may go over a network without TLS: for a mesh or a tunnel that encrypts
    /// underneath. Default: no, and then such an address is refused.
    pub token_in_clear: bool,
}

impl Otlp {
    /// A receiver without credentials.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), token: None, tls: Tls::default(), token_in_clear: false }
    }
}

/// A secret, and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The secret itself.
    Text(String),
    /// A file that holds it; read again when the receiver says that it does not know the token.
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Files of PEM for a connection over TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the receiver's certificate; the system's authorities when absent.
    pub authority: Option<PathBuf>,
    /// The client's certificate chain and key, where the receiver asks for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the receiver's certificate, where it is not the address's host.
    pub name: Option<String>,
}

/// Why a receiver cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The address is none.
    #[error("{address:?} is no address of a receiver: write http://host:4317 or https://host:4317")]
    Address {
        /// What was set.
        address: String,
    },
    /// TLS is not built in.
    #[error("{address:?} needs TLS: build with the feature `layer-tls` of spanledger")]
    NoTls {
        /// What was set.
        address: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to {address:?} cannot be set up: are the files of certificates and key PEM?")]
    Tls {
        /// What was set.
        address: String,
        /// What was found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token would be readable on its way.
    #[error(
        "the token would go to {address:?} in clear: write https://, or set `token_in_clear` where \
         something underneath encrypts"
    )]
    InClear {
        /// What was set.
        address: String,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: does it exist, and may this user read it?")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A token with bytes that no header may carry.
    #[error("the token has characters that a header cannot carry: is it the right file?")]
    Token,
}

/// The address with TLS as it says.
pub(super) fn endpoint(settings: &Otlp) -> Result<Endpoint, OtlpError> {
    let address = settings.address.clone();
    let none = |_| OtlpError::Address { address: address.clone() };
    let endpoint = Endpoint::from_shared(address.clone()).map_err(none)?;
    let agent = concat!("spanledger-layer/", env!("CARGO_PKG_VERSION"));
    let none = |_| OtlpError::Address { address: address.clone() };
    let endpoint = endpoint.user_agent(agent).map_err(none)?;
    match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
        (Some("http"), Some(host)) => {
            let safe = settings.token.is_none() || settings.token_in_clear || is_loopback(host);
            if safe { Ok(endpoint) } else { Err(OtlpError::InClear { address }) }
        }
        (Some("https"), Some(_)) => with_tls(endpoint, settings),
        _ => Err(OtlpError::Address { address }),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(not(feature = "layer-tls"))]
fn with_tls(_: Endpoint, settings: &Otlp) -> Result<Endpoint, OtlpError> {
    Err(OtlpError::NoTls { address: settings.address.clone() })
}

#[cfg(feature = "layer-tls")]
fn with_tls(endpoint: Endpoint, settings: &Otlp) -> Result<Endpoint, OtlpError> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| OtlpError::File { path: path.clone(), source })
    };
    let mut config = ClientTlsConfig::new();
    config = match &settings.tls.authority {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    if let Some((chain, key)) = &settings.tls.identity {
        config = config.identity(Identity::from_pem(read(chain)?, read(key)?));
    }
    if let Some(name) = &settings.tls.name {
        config = config.domain_name(name);
    }
    endpoint.tls_config(config).map_err(|source| {
        let address = settings.address.clone();
        OtlpError::Tls { address, source: source.into() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_clear_to_this_machine_only_unless_somebody_says_so() {
        let with = |address: &str, token_in_clear| {
            let token = Some(Token::Text("slk_x".to_owned()));
            endpoint(&Otlp { token, token_in_clear, ..Otlp::new(address) })
        };
        for address in ["http://127.0.0.1:4317", "http://[::1]:4317", "http://localhost:4317"] {
            assert!(with(address, false).is_ok(), "{address}");
        }
        for address in ["http://10.0.0.1:4317", "http://ledger:4317", "http://127.0.0.1.evil:1"] {
            let refused = with(address, false).unwrap_err();
            assert!(refused.to_string().contains("https://"), "{refused}");
            assert!(with(address, true).is_ok() && endpoint(&Otlp::new(address)).is_ok());
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_what_one_looks_like() {
        for address in ["", "ledger:4317", "ftp://ledger:1", "http://"] {
            let refused = endpoint(&Otlp::new(address)).unwrap_err();
            assert!(refused.to_string().contains("http://host:4317"), "{address}: {refused}");
        }
    }
}
