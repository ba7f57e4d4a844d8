//! Credentials as the API shows them and is asked for them. Never a hash; a secret once.

use crate::access::{
    CertificateName, Credential, Forward, NewCredential, Proof, RateLimits, Role, Tenant,
    TenantFrom, Token,
};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// How long a key that was rotated goes on when nobody says how long: a day, in which whoever uses
/// it can be given the new one.
pub const DEFAULT_GRACE: &str = "24h";

/// A credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Public id: what commands, entries and logs call it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    #[schema(value_type = String, example = "auditor")]
    pub role: Role,
    /// Whose evidence it writes or reads; absent for a role of the whole installation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    /// Whether it is accepted now.
    pub state: KeyState,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who made it: `key:<id>` over the API, `os:<user>` on the machine itself, `local` before
    /// there was any credential.
    pub created_by: String,
    /// From when on it is refused, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires: Option<String>,
    /// Since when it is refused for good, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked: Option<String>,
    /// Who revoked it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_by: Option<String>,
    /// The key in whose place it was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaces: Option<String>,
    /// When it was used last, RFC 3339; known to the minute after a restart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_used: Option<String>,
    /// The name in the client certificate, where it is no key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// Which tenants a forwarder may assert, and where it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<KeyForward>,
    /// Most requests in a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_second: Option<u32>,
    /// Most bytes in a second, as received.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_per_second: Option<u64>,
}

/// Whether a credential is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It is.
    Active,
    /// Not any more.
    Expired,
    /// Not any more, because somebody said so.
    Revoked,
}

/// Which tenants a forwarder may assert. Exactly one of `attribute` and `header` is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyForward {
    /// The tenants.
    pub tenants: Vec<String>,
    /// The attribute of the resource that names the tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attribute: Option<String>,
    /// The header, or metadata of gRPC, that names the tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header: Option<String>,
}

/// A credential that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What people call it, 1 to 128 characters.
    pub name: String,
    /// What it is for: `writer`, `forwarder`, `auditor`, `global-auditor`, `operator`, `monitor`.
    #[schema(value_type = String, example = "auditor")]
    pub role: Role,
    /// Whose evidence it writes or reads; none for a role of the whole installation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    /// From when on it is refused: `90d`, `2027-01-31` (its first moment, UTC), or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(example = "90d")]
    pub expires: Option<String>,
    /// Most requests in a second; as many may come at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_second: Option<u32>,
    /// Most bytes in a second, as received; as many may come at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_per_second: Option<u64>,
    /// Which tenants a forwarder may assert.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<KeyForward>,
    /// The name in a client certificate, instead of a key: `subject:CN=…`, `dns:…`, `uri:…`, `email:…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// Says that it is known what the first credential does: from it on everybody needs one. The
    /// operator's needs no such word.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub first: bool,
}

/// How a key is rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old key goes on: `24h` when absent, `0s` for no longer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(example = "24h")]
    pub grace: Option<String>,
}

/// A credential that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyMade {
    /// The credential.
    pub key: Key,
    /// The secret, in this answer only; absent for a certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secret: Option<String>,
}

/// All credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysAnswer {
    /// In the order in which they were made.
    pub keys: Vec<Key>,
}

impl Key {
    /// A credential as it is shown.
    pub fn of(credential: &Credential, last_used: Option<Timestamp>, now: Timestamp) -> Self {
        let state = match &credential.revoked {
            Some(_) => KeyState::Revoked,
            None if credential.is_active(now) => KeyState::Active,
            None => KeyState::Expired,
        };
        let global = credential.role.is_global();
        Self {
            id: credential.id.clone(),
            name: credential.name.clone(),
            role: credential.role,
            tenant: (!global).then(|| credential.tenant.name().to_owned()),
            state,
            created: credential.created.at.to_string(),
            created_by: credential.created.by.clone(),
            expires: credential.expires.map(|at| at.to_string()),
            revoked: credential.revoked.as_ref().map(|act| act.at.to_string()),
            revoked_by: credential.revoked.as_ref().map(|act| act.by.clone()),
            replaces: credential.replaces.clone(),
            last_used: last_used.map(|at| at.to_string()),
            certificate: match &credential.proof {
                Proof::Certificate(name) => Some(name.to_string()),
                Proof::KeySha256(_) => None,
            },
            forward: credential.forward.as_ref().map(KeyForward::of),
            requests_per_second: credential.limits.requests_per_second,
            bytes_per_second: credential.limits.bytes_per_second,
        }
    }
}

impl KeyMade {
    /// A new credential with its secret.
    pub fn of(credential: &Credential, token: Option<&Token>, now: Timestamp) -> Self {
        let secret = token.map(|token| token.reveal().to_owned());
        Self { key: Key::of(credential, None, now), secret }
    }
}

impl KeyForward {
    fn of(forward: &Forward) -> Self {
        let (attribute, header) = match &forward.from {
            TenantFrom::ResourceAttribute(name) => (Some(name.clone()), None),
            TenantFrom::Header(name) => (None, Some(name.clone())),
        };
        let tenants = forward.tenants.iter().map(|tenant| tenant.name().to_owned()).collect();
        Self { tenants, attribute, header }
    }

    fn read(self) -> Result<Forward, String> {
        let from = match (self.attribute, self.header) {
            (Some(name), None) => TenantFrom::ResourceAttribute(name),
            (None, Some(name)) => TenantFrom::Header(name),
            _ => {
                return Err("a forwarder names the tenant either in an attribute of the resource \
                            or in a header: say which"
                    .to_owned());
            }
        };
        let tenants = self.tenants.iter().map(|name| tenant(name)).collect::<Result<_, _>>()?;
        Ok(Forward { from, tenants })
    }
}

impl CreateKey {
    /// What is to be made, as the book of credentials takes it.
    ///
    /// # Errors
    /// A sentence that says what cannot be, and what to write instead.
    pub fn read(self, now: Timestamp) -> Result<NewCredential, String> {
        let certificate = self.certificate.as_deref().map(str::parse::<CertificateName>);
        Ok(NewCredential {
            name: self.name,
            role: self.role,
            tenant: self.tenant.as_deref().map(tenant).transpose()?,
            forward: self.forward.map(KeyForward::read).transpose()?,
            certificate: certificate.transpose()?,
            expires: self.expires.map(|text| expiry(&text, now)).transpose()?,
            limits: RateLimits {
                requests_per_second: self.requests_per_second,
                bytes_per_second: self.bytes_per_second,
            },
        })
    }
}

impl RotateKey {
    /// How long the old key goes on.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn read(&self) -> Result<Duration, String> {
        let text = self.grace.as_deref().unwrap_or(DEFAULT_GRACE);
        let length = length_of(text).and_then(|length| Duration::try_from(length).ok());
        length.ok_or_else(|| format!("{text:?} is no length of time; write it like 24h, 30m or 7d"))
    }
}

fn tenant(name: &str) -> Result<Tenant, String> {
    Tenant::new(name).map_err(|error| error.to_string())
}

/// When something ends that lasts `90d`, or until `2027-01-31`, or until `2027-01-31T12:00:00Z`.
///
/// ```
/// use jiff::Timestamp;
/// let now: Timestamp = "2026-11-21T08:00:00Z".parse()?;
/// assert_eq!(spanledger::api::expiry("90d", now)?.to_string(), "2027-02-19T08:00:00Z");
/// assert_eq!(spanledger::api::expiry("2027-01-31", now)?.to_string(), "2027-01-31T00:00:00Z");
/// assert!(spanledger::api::expiry("soon", now).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A sentence that says how to write it.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<Date>()
        && let Ok(midnight) = day.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let end = length_of(text).and_then(|length| now.checked_add(length).ok());
    end.ok_or_else(|| {
        format!("{text:?} is no time; write it like 90d, 2027-01-31 or 2027-01-31T12:00:00Z")
    })
}

/// A length of time; a day has 24 hours, as there are no time zones here.
fn length_of(text: &str) -> Option<jiff::SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grace(text: &str) -> Result<u64, String> {
        RotateKey { grace: Some(text.to_owned()) }.read().map(|length| length.as_secs())
    }

    #[test]
    fn lengths_of_time_are_written_as_people_write_them() {
        assert_eq!(RotateKey::default().read().unwrap(), Duration::from_hours(24));
        for (text, seconds) in [("24h", 86_400), ("7d", 604_800), ("1h 30m", 5_400), ("0s", 0)] {
            assert_eq!(grace(text), Ok(seconds), "{text}");
        }
        for text in ["", "24", "-1h", "1 month", "soon", "99999999999999999999d"] {
            assert!(grace(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_told_with_the_remedy() {
        let key = CreateKey {
            name: "edge".to_owned(),
            role: Role::Forwarder,
            tenant: Some("acme".to_owned()),
            expires: None,
            requests_per_second: None,
            bytes_per_second: None,
            forward: None,
            certificate: None,
            first: false,
        };
        let both = KeyForward {
            tenants: vec!["a".to_owned()],
            attribute: Some("t".to_owned()),
            header: Some("t".to_owned()),
        };
        for (wrong, said) in [
            (CreateKey { tenant: Some("a b".to_owned()), ..key.clone() }, "a tenant's name"),
            (CreateKey { certificate: Some("CN=x".to_owned()), ..key.clone() }, "subject:CN="),
            (CreateKey { expires: Some("soon".to_owned()), ..key.clone() }, "90d"),
            (CreateKey { forward: Some(both), ..key.clone() }, "say which"),
        ] {
            let error = wrong.read(Timestamp::now()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(key.read(Timestamp::now()).is_ok(), "the book says what is missing");
    }
}
