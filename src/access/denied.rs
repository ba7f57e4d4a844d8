//! Why a request is refused, and how often that was.

use super::{Right, Role};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a request that was refused for its rate is told to wait.
const RATE_RETRY: Duration = Duration::from_secs(1);

/// Why a request is refused. The words are for whoever sent it: they say nothing of others, and
/// nothing of a credential that the sender has not proved to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It shows nothing.
    #[error(
        "a credential is needed: send `Authorization: Bearer slk_…`, or Basic with the key as the password"
    )]
    Missing,
    /// It shows nothing that is known here.
    #[error(
        "unknown credential: keys of this server begin with slk_ and are made with `spanledger keys create`"
    )]
    Unknown,
    /// Its credential was accepted once.
    #[error("this credential is expired: ask your operator for a new one")]
    Expired,
    /// Its credential was accepted once.
    #[error("this credential is revoked: ask your operator for a new one")]
    Revoked,
    /// Its credential is for something else.
    #[error("this credential may not {}: it has the role {}", .right.as_str(), .role.as_str())]
    Forbidden {
        /// What would be needed.
        right: Right,
        /// What it is.
        role: Role,
    },
    /// It sends more than its credential allows.
    #[error("this credential sends more than its limit allows: send again later")]
    TooFast,
}

impl Denied {
    /// The words of [`Denied::as_str`], for metrics.
    pub const WORDS: [&'static str; 6] =
        ["missing", "unknown", "expired", "revoked", "forbidden", "too_fast"];

    /// HTTP status. Source: RFC 9110, sections 15.5.2 and 15.5.4; RFC 6585, section 4.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Missing | Self::Unknown | Self::Expired | Self::Revoked => 401,
            Self::Forbidden { .. } => 403,
            Self::TooFast => 429,
        }
    }

    /// The word for it in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Forbidden { .. } => "forbidden",
            Self::TooFast => "too_fast",
        }
    }

    /// What the sender is told to wait, when waiting helps.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TooFast => Some(RATE_RETRY),
            _ => None,
        }
    }
}

/// How many requests were denied for which reason.
#[derive(Debug, Default)]
pub struct DeniedCounts([AtomicU64; Denied::WORDS.len()]);

impl DeniedCounts {
    /// Counts one.
    pub fn note(&self, denied: Denied) {
        let place = Denied::WORDS.iter().position(|word| *word == denied.as_str());
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts, by [`Denied::WORDS`].
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Denied::WORDS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
