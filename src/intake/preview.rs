//! What intake would make of records, without a ledger: for people who write a mapping.

use crate::access::Tenant;
use crate::convert::{Explanation, Mappings, ResourceContext, ScopeContext};
use crate::entry::Entry;
use crate::protect::{ProtectError, Protector, TenantProtector};
use crate::span::{Record, Refusal, Resource, Scope, Sink};

/// One entry, as it would be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previewed {
    /// The body: the bytes that would be hashed, stored and shown.
    pub body: Vec<u8>,
    /// Which rules made it; `None` for an event of a span that is an entry of its own.
    pub why: Option<Explanation>,
}

/// Converts and protects records as a [`Draft`](super::Draft) does, and gives away each entry
/// instead of appending it. Ids of entries are no part of a body, so the keys may be any.
#[derive(Debug)]
pub struct Preview<'m, F> {
    mappings: &'m Mappings,
    protector: TenantProtector,
    resource: ResourceContext,
    scope: ScopeContext,
    show: F,
    refused: Vec<Refusal>,
    failure: Option<ProtectError>,
}

impl<'m, F: FnMut(Previewed)> Preview<'m, F> {
    /// A preview with these mappings and that protection, which gives its entries to `show`.
    pub fn new(mappings: &'m Mappings, protector: &Protector, tenant: &Tenant, show: F) -> Self {
        Self {
            mappings,
            protector: protector.tenant(tenant),
            resource: mappings.resource(&Resource::default()),
            scope: mappings.scope(&Scope::default()),
            show,
            refused: Vec::new(),
            failure: None,
        }
    }

    /// Why records were refused, one reason a record.
    ///
    /// # Errors
    /// [`ProtectError`] when an entry could not be protected: it was not shown.
    pub fn finish(self) -> Result<Vec<Refusal>, ProtectError> {
        self.failure.map_or(Ok(self.refused), Err)
    }
}

impl<F: FnMut(Previewed)> Sink for Preview<'_, F> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = self.mappings.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = self.mappings.scope(scope);
    }

    fn record(&mut self, record: Record<'_, '_>) {
        let mut converted = self.mappings.convert(&self.resource, &self.scope, record);
        let (protector, failure, show) = (&self.protector, &mut self.failure, &mut self.show);
        let mut give = |entry: &mut Entry<'_>, why| {
            let mut body = Vec::new();
            match protector.write(entry, &mut body) {
                Ok(_) => show(Previewed { body, why }),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        };
        let why = self.mappings.explain(&self.resource, &self.scope, record);
        give(&mut converted.entry, Some(why));
        for further in &mut converted.further {
            give(further, None);
        }
    }

    fn refuse(&mut self, why: Refusal) {
        self.refused.push(why);
    }
}
