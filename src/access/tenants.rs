//! Whose evidence the records of one request are.

use super::{Principal, Tenant, TenantFrom};
use http::HeaderMap;

/// Whose evidence the records of a request are: one tenant's, or that of the tenant that each
/// resource names, when the credential may assert tenants.
#[derive(Debug, Clone)]
pub enum Tenants {
    /// All records are this tenant's.
    One(Tenant),
    /// Each resource says it.
    ByResource {
        /// Whose records are that name no tenant, or one that may not be asserted.
        own: Tenant,
        /// Who asserts it: what, and in which attribute, is in its credential.
        by: Principal,
    },
}

impl Tenants {
    /// Whose evidence a request of `principal` is. The second part is the tenant that its header
    /// names without being allowed to: the request is then the forwarder's own tenant's.
    pub fn of(principal: &Principal, headers: &HeaderMap) -> (Self, Option<String>) {
        let own = principal.tenant();
        let Some(forward) = principal.forward() else { return (Self::One(own), None) };
        let TenantFrom::Header(header) = &forward.from else {
            return (Self::ByResource { own, by: principal.clone() }, None);
        };
        let mut values = headers.get_all(header).iter().map(|value| value.to_str().unwrap_or(""));
        let Some(claim) = values.next() else { return (Self::One(own), None) };
        match forward.tenant(claim) {
            // Two names are none: to take the first would be to guess.
            Some(tenant) if values.all(|other| other == claim) => (Self::One(tenant.clone()), None),
            _ => (Self::One(own), Some(claim.chars().take(128).collect())),
        }
    }

    /// Whose the records are that come before a resource, and those of a resource that says
    /// nothing.
    pub fn own(&self) -> &Tenant {
        match self {
            Self::One(tenant) | Self::ByResource { own: tenant, .. } => tenant,
        }
    }

    /// Whose the records of a resource are. `attributes` are those of it that are text.
    pub fn of_resource<'a>(
        &self,
        mut attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> &Tenant {
        let Self::ByResource { own, by } = self else { return self.own() };
        let Some(forward) = by.forward() else { return own };
        let TenantFrom::ResourceAttribute(wanted) = &forward.from else { return own };
        let mut named = attributes.by_ref().filter(|(key, _)| key == wanted).map(|(_, name)| name);
        let Some(claim) = named.next() else { return own };
        // Two names are none: to take the first would be to guess.
        let is_one = named.all(|other| other == claim);
        forward.tenant(claim).filter(|_| is_one).unwrap_or(own)
    }
}

impl From<Tenant> for Tenants {
    fn from(tenant: Tenant) -> Self {
        Self::One(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Forward;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).unwrap()
    }

    fn forwarder(from: TenantFrom) -> (Tenants, Principal, tempfile::TempDir) {
        use crate::access::{Book, Credentials, NewCredential, Presented, Role};
        let forward = Forward { from, tenants: [tenant("a"), tenant("b")].into() };
        let mut book = Book::default();
        let new = NewCredential::new("collector", Role::Forwarder, Some(tenant("own")));
        let new = NewCredential { forward: Some(forward), ..new };
        let (_, token) = book.create(new, "os:root", jiff::Timestamp::now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(dir.path()).unwrap();
        credentials.put_in_effect(book);
        let presented = Ok(Presented::Key(token.unwrap()));
        let principal = credentials.authenticate(presented, None).unwrap();
        (Tenants::of(&principal, &HeaderMap::new()).0, principal, dir)
    }

    #[test]
    fn a_resource_is_its_tenants_if_the_forwarder_may_say_so_and_else_the_forwarders_own() {
        let (tenants, ..) = forwarder(TenantFrom::ResourceAttribute("tenant.id".to_owned()));
        let of = |pairs: &[(&'static str, &'static str)]| {
            tenants.of_resource(pairs.iter().copied()).name().to_owned()
        };
        assert_eq!(of(&[("service.name", "x"), ("tenant.id", "b")]), "b");
        assert_eq!(of(&[("tenant.id", "b"), ("tenant.id", "b")]), "b");
        for claims in [
            &[][..],
            &[("tenant.id", "c")],
            &[("tenant.id", "")],
            &[("tenant.id", "own"), ("tenant.id", "a")],
            &[("tenant.id", "a"), ("tenant.id", "b")],
            &[("Tenant.id", "a")],
        ] {
            assert_eq!(of(claims), "own", "{claims:?}");
        }
    }

    #[test]
    fn a_header_names_the_tenant_of_a_whole_request() {
        let (_, principal, _dir) = forwarder(TenantFrom::Header("x-scope-orgid".to_owned()));
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("X-Scope-OrgID", http::HeaderValue::from_static(value));
            }
            let (tenants, refused) = Tenants::of(&principal, &headers);
            (tenants.own().name().to_owned(), refused)
        };
        assert_eq!(of(&["a"]), ("a".to_owned(), None));
        assert_eq!(of(&["b", "b"]), ("b".to_owned(), None));
        assert_eq!(of(&[]), ("own".to_owned(), None));
        assert_eq!(of(&["c"]), ("own".to_owned(), Some("c".to_owned())));
        assert_eq!(of(&["a", "b"]), ("own".to_owned(), Some("a".to_owned())));
    }

    #[test]
    fn nobody_else_asserts_anything() {
        let mut headers = HeaderMap::new();
        headers.insert("x-scope-orgid", http::HeaderValue::from_static("a"));
        let (tenants, refused) = Tenants::of(&Principal::local(), &headers);
        assert_eq!((tenants.own(), refused), (&Tenant::default(), None));
        let claims = [("tenant.id", "a")];
        assert_eq!(tenants.of_resource(claims.into_iter()), &Tenant::default());
    }
}
