//! A subject's key, and the two names in what is sealed with it.

use super::SubjectKeyError;
use super::keys::wipe;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Sixteen bytes that are shown as 32 hex digits.
macro_rules! sixteen {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let number = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
                let number = number.ok_or_else(|| serde::de::Error::custom("not 32 hex digits"));
                Ok(Self(number?.to_be_bytes()))
            }
        }
    };
}

sixteen! {
    /// Stands for a subject where his name must not be read: an HMAC of tenant and name.
    Pseudonym
}

sixteen! {
    /// Name of a key: random, and no secret.
    KeyId
}

/// A subject's key. Its bytes are overwritten when nobody needs it any more.
pub struct SubjectKey {
    id: KeyId,
    secret: [u8; 32],
}

impl SubjectKey {
    pub(super) fn new(id: KeyId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// A new one.
    pub(super) fn draw() -> Result<Self, SubjectKeyError> {
        let mut key = Self::new(KeyId([0; 16]), [0; 32]);
        getrandom::fill(&mut key.id.0).map_err(SubjectKeyError::Random)?;
        getrandom::fill(&mut key.secret).map_err(SubjectKeyError::Random)?;
        Ok(key)
    }

    /// Its name.
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl Drop for SubjectKey {
    fn drop(&mut self) {
        wipe(&mut self.secret);
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({}, secret)", self.id)
    }
}
