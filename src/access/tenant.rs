//! The owner of evidence.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::sync::Arc;

/// Longest tenant name, in bytes: it stands in every frame of the ledger.
pub const MAX_TENANT_BYTES: usize = 64;

/// The name of the tenant that everything belongs to while there are no credentials.
pub const DEFAULT_TENANT: &str = "default";

/// The name of [`Tenant::system`].
const SYSTEM_TENANT: &str = "_spanledger";

/// The owner of evidence. Cheap to clone: every request and every query has one.
///
/// ```
/// use spanledger::access::Tenant;
/// assert_eq!(Tenant::default().name(), "default");
/// assert!(Tenant::new("").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// Why a name is not a tenant's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a tenant's name has 1 to {MAX_TENANT_BYTES} bytes of a-z, A-Z, 0-9, '.', '_' and '-', not {0:?}"
)]
pub struct InvalidTenant(String);

impl Tenant {
    /// A tenant of that name.
    ///
    /// # Errors
    /// [`InvalidTenant`] when the name is empty, longer than [`MAX_TENANT_BYTES`] or has other
    /// characters than letters, digits, `.`, `_` and `-`.
    pub fn new(name: &str) -> Result<Self, InvalidTenant> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_TENANT_BYTES || !name.bytes().all(plain) {
            return Err(InvalidTenant(name.chars().take(MAX_TENANT_BYTES).collect()));
        }
        Ok(Self(name.into()))
    }

    /// Whose evidence it is when it belongs to no tenant: what the installation itself did, and
    /// requests of strangers. Its name is one that no credential can have.
    pub fn system() -> Self {
        Self(SYSTEM_TENANT.into())
    }

    /// Who owns nothing: its name is empty, which no entry's is. Questions about somebody else's
    /// evidence are asked about this tenant, so that their answers are those of no tenant at all.
    ///
    /// ```
    /// use spanledger::access::Tenant;
    /// assert!(Tenant::new(Tenant::nobody().name()).is_err());
    /// ```
    pub fn nobody() -> Self {
        Self("".into())
    }

    /// Whether it is [`Tenant::system`].
    pub fn is_system(&self) -> bool {
        *self.0 == *SYSTEM_TENANT
    }

    /// The name, as configured.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A set of tenants is asked by name.
impl Borrow<str> for Tenant {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(DEFAULT_TENANT.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_break_a_path_or_a_header_is_refused() {
        for name in ["", "a/b", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(Tenant::new(name).is_err(), "{name:?}");
        }
        assert!(Tenant::new(&"x".repeat(64)).is_ok());
    }
}
