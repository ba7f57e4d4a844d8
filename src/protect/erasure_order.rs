//! An erasure as it is ordered, and what stays known of a key that was destroyed.

use super::subject_key::{KeyId, Pseudonym};
use crate::access::Tenant;
use serde::{Deserialize, Serialize};

/// An erasure: durable before anything is done, so that whatever happens it is completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureOrder {
    /// Whose subject it is.
    pub tenant: Tenant,
    /// Stands for the subject, whose name is kept nowhere.
    pub subject: Pseudonym,
    /// Whether it is about what belongs to no subject, and is the tenant's own.
    pub whole: bool,
    /// The keys that are destroyed.
    pub keys: Vec<KeyId>,
    /// When it was ordered, nanoseconds since 1970.
    pub at_ns: u64,
    /// Who ordered it.
    pub by: OrderedBy,
    /// Why, in one line.
    pub reason: String,
}

/// Who ordered an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBy {
    /// `key:<id>`, `os:<user>`, `local`.
    pub actor: String,
    /// Whether a credential says so.
    pub authenticated: bool,
    /// The name that he gave: a claim.
    pub name: String,
}

impl OrderedBy {
    /// Whether somebody else than himself says who he is: a credential, or the operating system.
    pub fn is_known(&self) -> bool {
        self.authenticated || self.actor.starts_with("os:")
    }
}

/// A key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    /// Its id.
    pub key: KeyId,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// Who ordered it.
    pub by: String,
}

impl ErasureOrder {
    /// What stays known of its keys.
    pub fn destroyed(&self) -> impl Iterator<Item = Destroyed> + '_ {
        let by = &self.by.actor;
        self.keys.iter().map(move |key| Destroyed { key: *key, at_ns: self.at_ns, by: by.clone() })
    }
}
