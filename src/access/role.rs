//! Who may do what: one table.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a request needs to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Sending evidence.
    Write,
    /// Reading evidence.
    Read,
    /// Reading numbers about the process, which are those of all tenants together.
    Metrics,
    /// Credentials, dead letters and whatever else keeps the installation running.
    Operate,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 4] = [Self::Write, Self::Read, Self::Metrics, Self::Operate];

    /// The word for it in messages and in the OpenAPI document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Metrics => "metrics",
            Self::Operate => "operate",
        }
    }
}

/// What a credential is for. Nobody who writes evidence can read it, and nobody who reads it, or
/// runs the installation, can write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An agent or a service: sends evidence of its tenant.
    Writer,
    /// A collector in front of many tenants: sends evidence, and says whose it is, within a list.
    Forwarder,
    /// Reads evidence of its tenant.
    Auditor,
    /// Reads evidence of every tenant.
    GlobalAuditor,
    /// Makes and revokes credentials, looks after dead letters. Reads no evidence.
    Operator,
    /// Scrapes metrics.
    Monitor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Writer,
        Self::Forwarder,
        Self::Auditor,
        Self::GlobalAuditor,
        Self::Operator,
        Self::Monitor,
    ];

    /// The table.
    ///
    /// ```
    /// use spanledger::access::{Right, Role};
    /// assert!(Role::Writer.may(Right::Write) && !Role::Writer.may(Right::Read));
    /// assert!(Role::Auditor.may(Right::Read) && !Role::Auditor.may(Right::Write));
    /// ```
    pub const fn may(self, right: Right) -> bool {
        match self {
            Self::Writer | Self::Forwarder => matches!(right, Right::Write),
            Self::Auditor | Self::GlobalAuditor => matches!(right, Right::Read),
            Self::Operator => matches!(right, Right::Operate | Right::Metrics),
            Self::Monitor => matches!(right, Right::Metrics),
        }
    }

    /// Whether it is for the installation and not for one tenant.
    pub const fn is_global(self) -> bool {
        matches!(self, Self::GlobalAuditor | Self::Operator | Self::Monitor)
    }

    /// The word for it in commands and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Forwarder => "forwarder",
            Self::Auditor => "auditor",
            Self::GlobalAuditor => "global-auditor",
            Self::Operator => "operator",
            Self::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|role| role.as_str()).collect();
            format!("there is no such role; the roles are {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_who_writes_reads_and_nobody_who_reads_or_operates_writes() {
        for role in Role::ALL {
            assert!(!(role.may(Right::Write) && role.may(Right::Read)), "{role}");
            assert!(!(role.may(Right::Write) && role.may(Right::Operate)), "{role}");
            assert!(!(role.may(Right::Operate) && role.may(Right::Read)), "{role}");
            assert!(Right::ALL.iter().any(|right| role.may(*right)), "{role}");
        }
    }

    #[test]
    fn a_role_is_written_as_it_is_read() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
        assert!("root".parse::<Role>().unwrap_err().contains("global-auditor"));
    }
}
