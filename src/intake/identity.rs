//! The digest of a record, from which its entry's id is made.
//!
//! ```text
//! digest(record)    = SHA-256(digest(resource) ‖ digest(scope) ‖ canonical record)
//! digest(audit event n of a span) = SHA-256(digest(record) ‖ n, 8 bytes little-endian)
//! ```
//!
//! Neither the conversion's result nor transport, time or key material enters it: a record that is
//! sent again has the same digest also after a mapping changed.

use crate::span::{Record, Resource, Scope, canonical_record, canonical_resource, canonical_scope};
use sha2::{Digest, Sha256};

/// SHA-256.
pub(super) type Sha = [u8; 32];

/// Makes digests, reusing one buffer for all records of a request.
#[derive(Debug, Default)]
pub(super) struct Digester {
    buffer: Vec<u8>,
    resource: Sha,
    scope: Sha,
}

impl Digester {
    pub(super) fn resource(&mut self, resource: &Resource<'_>) {
        self.buffer.clear();
        canonical_resource(resource, &mut self.buffer);
        self.resource = Sha256::digest(&self.buffer).into();
    }

    pub(super) fn scope(&mut self, scope: &Scope<'_>) {
        self.buffer.clear();
        canonical_scope(scope, &mut self.buffer);
        self.scope = Sha256::digest(&self.buffer).into();
    }

    pub(super) fn record(&mut self, record: Record<'_, '_>) -> Sha {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.resource);
        self.buffer.extend_from_slice(&self.scope);
        canonical_record(record, &mut self.buffer);
        Sha256::digest(&self.buffer).into()
    }
}

/// The digest of the `number`-th audit event of a span, counted from 0.
pub(super) fn of_further(record: &Sha, number: u64) -> Sha {
    let mut hash = Sha256::new();
    hash.update(record);
    hash.update(number.to_le_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Attribute, Span, Value};

    #[test]
    fn the_same_span_of_another_service_is_another_record() {
        let span = Span { name: "chat".into(), ..Span::default() };
        let of = |service: &'static str| {
            let mut digester = Digester::default();
            let attributes = vec![Attribute::new("service.name", Value::Text(service.into()))];
            digester.resource(&Resource { attributes, ..Resource::default() });
            digester.record(Record::Span(&span))
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_ne!(of_further(&of("a"), 0), of_further(&of("a"), 1));
    }
}
