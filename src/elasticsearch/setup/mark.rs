//! The mark by which an object in the cluster is known as ours, its version and what it says.
//!
//! Templates, mappings, ILM policies and roles have a place for it (`_meta`, `metadata`); ISM
//! policies and roles of OpenSearch have a description only, and it stands there in words.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Version of what setup makes. It grows when an object changes in a way that older versions of
/// this program cannot live with.
pub const VERSION: u64 = 1;

/// Who made it.
const OURS: &str = "spanledger";

/// The mark of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) version: u64,
    /// Of what the object says; empty when a description gives none.
    pub(super) digest: String,
}

impl Mark {
    /// The mark of an object that says this.
    pub(super) fn of(body: &Value) -> Self {
        let hash = Sha256::digest(body.to_string().as_bytes());
        let (head, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        Self { version: VERSION, digest: format!("{:016x}", u64::from_be_bytes(*head)) }
    }

    /// As `_meta` or `metadata`.
    pub(super) fn json(&self) -> Value {
        json!({"managed_by": OURS, "version": self.version, "digest": self.digest})
    }

    /// Reads [`Mark::json`]; `None` when it is not ours.
    pub(super) fn read(meta: &Value) -> Option<Self> {
        if meta.get("managed_by")?.as_str()? != OURS {
            return None;
        }
        Some(Self {
            version: meta.get("version")?.as_u64()?,
            digest: meta.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }

    /// As the end of a description.
    pub(super) fn sentence(&self, what: &str) -> String {
        format!("{what} (managed by {OURS}, version {}, digest {})", self.version, self.digest)
    }

    /// Reads [`Mark::sentence`]; `None` when it is not ours.
    pub(super) fn read_sentence(text: &str) -> Option<Self> {
        let (_, mark) =
            text.strip_suffix(')')?.rsplit_once(&format!("(managed by {OURS}, version "))?;
        let (version, digest) = mark.split_once(", digest ")?;
        Some(Self { version: version.parse().ok()?, digest: digest.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark::of(&json!({"a": 1}));
        assert_eq!(Mark::read(&mark.json()), Some(mark.clone()));
        assert_eq!(
            Mark::read_sentence(&mark.sentence("Keeps documents (all)")),
            Some(mark.clone())
        );
        assert_ne!(mark, Mark::of(&json!({"a": 2})));
    }

    #[test]
    fn what_others_made_has_no_mark() {
        for meta in [json!(null), json!({}), json!({"managed_by": "me", "version": 1}), json!("x")]
        {
            assert_eq!(Mark::read(&meta), None);
        }
        for text in
            ["", "mine", "mine (managed by me, version 1, digest x)", "(managed by spanledger)"]
        {
            assert_eq!(Mark::read_sentence(text), None);
        }
    }
}
