//! What a secret or a certificate stands for.

use super::{Role, Tenant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Most characters of a credential's name.
pub(super) const MAX_NAME_CHARS: usize = 128;

/// Most tenants that one forwarder may assert.
pub(super) const MAX_FORWARDED: usize = 10_000;

/// One key or certificate, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Public id: what commands, entries and logs call it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whose evidence it writes or reads. Of a global role: [`Tenant::system`].
    pub tenant: Tenant,
    /// Which tenants a forwarder may assert, and how.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<Forward>,
    /// How it is recognised.
    pub proof: Proof,
    /// Since when, and by whom.
    pub created: Act,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires: Option<Timestamp>,
    /// From when on it is refused for good, and who said so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked: Option<Act>,
    /// The id of the credential in whose place it was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaces: Option<String>,
    /// How much it may send.
    #[serde(skip_serializing_if = "RateLimits::is_empty", default)]
    pub limits: RateLimits,
}

/// When something was done, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// By whom: `key:<id>` over the API, `os:<user>` on the machine itself.
    pub by: String,
}

/// How a credential is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By a secret, of which this is the SHA-256 in hexadecimal digits.
    KeySha256(String),
    /// By a name in a client certificate of an accepted authority.
    Certificate(CertificateName),
}

/// A name in a client certificate.
///
/// ```
/// use spanledger::access::CertificateName;
/// let name: CertificateName = "dns:agents.acme.example".parse()?;
/// assert_eq!(name.to_string(), "dns:agents.acme.example");
/// assert!("agents.acme.example".parse::<CertificateName>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateName(String);

impl CertificateName {
    /// Ways to name a certificate: its subject as RFC 4514 writes it, or one of its subject
    /// alternative names.
    const SCHEMES: [&'static str; 4] = ["subject:", "dns:", "uri:", "email:"];

    /// Of a subject.
    pub fn subject(text: &str) -> Self {
        Self(format!("subject:{text}"))
    }

    /// Of a DNS name, which has no case.
    pub fn dns(text: &str) -> Self {
        Self(format!("dns:{}", text.to_ascii_lowercase()))
    }

    /// Of a URI, such as a SPIFFE id.
    pub fn uri(text: &str) -> Self {
        Self(format!("uri:{text}"))
    }

    /// Of a mail address.
    pub fn email(text: &str) -> Self {
        Self(format!("email:{text}"))
    }

    /// With its scheme, as it is written everywhere.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for CertificateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = Self::SCHEMES.iter().find(|scheme| text.starts_with(**scheme));
        match scheme.and_then(|scheme| text.strip_prefix(scheme)) {
            Some("") | None => Err(
                "name a certificate as subject:CN=…, dns:…, uri:… or email:…, as it says itself"
                    .to_owned(),
            ),
            Some(rest) if text.starts_with("dns:") => Ok(Self::dns(rest)),
            Some(_) => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CertificateName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        name.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a forwarder may assert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Where it says the tenant.
    pub from: TenantFrom,
    /// The tenants that it may say. What names another one, or none, is the forwarder's own
    /// tenant's, with the claim kept.
    pub tenants: BTreeSet<Tenant>,
}

impl Forward {
    /// The tenant of that name, if it may be asserted.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name)
    }
}

/// Where a forwarder says the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantFrom {
    /// In an attribute of the resource: each resource of a request may have another tenant.
    ResourceAttribute(String),
    /// In a header (HTTP) or metadata (gRPC): one tenant for the whole request.
    Header(String),
}

/// How much a credential may send; absent is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Requests in a second; as many may come at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_second: Option<u32>,
    /// Bytes in a second as received, before decompression; as many may come at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_per_second: Option<u64>,
}

impl RateLimits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Credential {
    /// Whether it is accepted at that time.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_by_one_of_four_schemes() {
        for name in ["subject:CN=agent,O=Acme", "dns:a.example", "uri:spiffe://acme/agent"] {
            assert_eq!(name.parse::<CertificateName>().unwrap().to_string(), name);
        }
        assert_eq!("dns:A.Example".parse(), Ok(CertificateName::dns("a.example")));
        for wrong in ["", "CN=agent", "dns:", "ip:10.0.0.1"] {
            assert!(wrong.parse::<CertificateName>().is_err(), "{wrong}");
        }
    }
}
