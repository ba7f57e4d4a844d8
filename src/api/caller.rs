//! Who asks, and whose evidence he is shown.
//!
//! ```text
//! request ─► authorize: credential known? right of the path? within its rate? ─► Caller ─► handler
//!               │                                                                  └─► scope: one tenant
//!               └─► 401, 403 or 429
//! ```
//!
//! Every question to the store is about one tenant. Whoever reads one tenant's evidence asks about
//! that tenant, whatever he names; whoever reads every tenant's names one for each question.

use super::limits::{BODY_TIMEOUT, MAX_BODY_BYTES, MAX_EVIDENCE_BYTES, MAX_INCOMING_BYTES};
use super::load::Load;
use super::outgoing::{Owner, units};
use super::problem::Problem;
use super::service::Api;
use super::shares::{Shares, Taken};
use crate::access::{
    Credentials, Denied, PeerCertificate, Presented, Principal, Right, Role, Tenant,
};
use crate::store::query::Query;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use std::collections::HashMap;
use std::sync::Arc;

/// What a path asks of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: it says nothing of anybody's evidence.
    Nothing,
    /// Any credential that is accepted.
    Credential,
    /// A credential of a role that may do this.
    Right(Right),
    /// One that may read, for the methods that only read; one that may write, for all others.
    ReadOrWrite,
}

impl Needs {
    /// What a method of the path asks. Only a path that is read and written tells methods apart.
    pub(super) fn of(self, method: &Method) -> Self {
        match self {
            Self::ReadOrWrite if method.is_safe() => Self::Right(Right::Read),
            Self::ReadOrWrite => Self::Right(Right::Write),
            needs => needs,
        }
    }
}

/// Who may ask for what: the credentials in effect and the table of paths. Cheap to clone.
#[derive(Clone)]
pub(super) struct Access {
    credentials: Option<Credentials>,
    load: Arc<Load>,
    rules: Arc<HashMap<&'static str, Needs>>,
    /// Memory for evidence that is on its way.
    incoming: Shares,
}

impl Access {
    /// The rules of these paths under the credentials of the API.
    pub(super) fn new(api: &Api, rules: impl Iterator<Item = (&'static str, Needs)>) -> Self {
        Self {
            credentials: api.credentials.clone(),
            load: Arc::clone(&api.load),
            rules: Arc::new(rules.collect()),
            incoming: Shares::new(usize::try_from(units(MAX_INCOMING_BYTES)).unwrap_or(usize::MAX)),
        }
    }

    /// Who it is, when the path lets him in; `None` when a path that needs nothing does not know.
    fn let_in(&self, needs: Needs, shown: &Shown) -> Result<Option<Principal>, Denied> {
        let principal = shown.authenticate(self.credentials.as_ref());
        if needs == Needs::Nothing {
            return Ok(principal.ok());
        }
        let principal = principal?;
        principal.admit_request()?;
        if let Needs::Right(right) = needs {
            principal.demand(right)?;
        }
        Ok(Some(principal))
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    principal: Principal,
    shown: Arc<Shown>,
}

/// What a request showed of itself.
#[derive(Debug)]
struct Shown {
    presented: Result<Presented, Denied>,
    certificate: Option<PeerCertificate>,
}

impl Shown {
    fn of(request: &Request<Body>) -> Self {
        Self {
            presented: Presented::from_headers(request.headers()),
            certificate: request.extensions().get::<PeerCertificate>().cloned(),
        }
    }

    fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Principal, Denied> {
        match credentials {
            None => Ok(Principal::local()),
            Some(known) => known.authenticate(self.presented.clone(), self.certificate.as_ref()),
        }
    }
}

impl Caller {
    /// Who it is.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whose share of places he uses: his credential's, if he has one.
    pub(super) fn owner(&self) -> Option<&str> {
        self.principal.credential().map(|credential| credential.id.as_str())
    }

    /// Whether he may.
    pub(super) fn may(&self, right: Right) -> bool {
        self.principal.demand(right).is_ok()
    }

    /// Whether he reads the evidence of every tenant, and so may ask about the log itself.
    ///
    /// # Errors
    /// [`Problem`] with status 403.
    pub(super) fn demand_all_tenants(&self) -> Result<(), Problem> {
        match self.principal.role() {
            None | Some(Role::GlobalAuditor) => Ok(()),
            Some(role) => Err(Denied::Forbidden { right: Right::Read, role }.into()),
        }
    }

    /// Whether he is still who he was: for a request that waits, whose credential may have been
    /// revoked meanwhile.
    ///
    /// # Errors
    /// [`Problem`] with status 401 or 403.
    pub(super) fn still_may(&self, api: &Api, right: Right) -> Result<(), Problem> {
        let now = self.shown.authenticate(api.credentials.as_ref())?;
        Ok(now.demand(right)?)
    }

    /// Whose evidence a question is about: his own tenant's, or the tenant that he `named`, or,
    /// for who reads every tenant's, the one that the `query` demands.
    ///
    /// Of a tenant that is not his, and of one that does not exist, everything is the same: there
    /// is nothing.
    ///
    /// # Errors
    /// [`Problem`] when what is named cannot be a tenant, or when a tenant has to be named.
    pub(super) fn scope(
        &self,
        named: Option<&str>,
        query: Option<&Query>,
    ) -> Result<Tenant, Problem> {
        let named = named.map(Tenant::new).transpose();
        let named = named.map_err(|error| Problem::parameter(format!("`tenant`: {error}.")))?;
        match (self.principal.role(), named) {
            (None | Some(Role::GlobalAuditor), Some(named)) => Ok(named),
            (Some(Role::GlobalAuditor), None) => {
                query.and_then(demanded_tenant).ok_or_else(Problem::tenant_needed)
            }
            (_, None) => Ok(self.principal.tenant()),
            (Some(_), Some(named)) if named == self.principal.tenant() => Ok(named),
            (Some(_), Some(_)) => Ok(Tenant::nobody()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Denied::Missing.into())
    }
}

/// The one tenant whose entries alone can answer the query: `tenant_id:NAME` as a part that all
/// others are joined to by `AND`. `None` when there is no such part, or two that differ.
fn demanded_tenant(query: &Query) -> Option<Tenant> {
    let mut found = None;
    if !collect_demanded(query, &mut found) {
        return None;
    }
    found.and_then(|name| Tenant::new(name).ok())
}

/// `false` when two parts differ.
fn collect_demanded<'q>(query: &'q Query, found: &mut Option<&'q str>) -> bool {
    match query {
        Query::And(parts) => parts.iter().all(|part| collect_demanded(part, found)),
        Query::Term { field: Some(field), value } if !value.prefix && is_tenant(field) => {
            let name = value.text.as_str();
            found.replace(name).is_none_or(|before| before == name)
        }
        _ => true,
    }
}

fn is_tenant(field: &str) -> bool {
    matches!(field, "tenant" | "tenant_id" | "organization.id")
}

/// Lets a request through when its credential may what its path needs. What is served at no path
/// is nothing to anybody.
pub(super) async fn authorize(
    State(access): State<Access>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let needs = match admit(&access, &mut request) {
        Ok(needs) => needs,
        Err(problem) => return problem.into_response(),
    };
    match whole(&access, needs, request).await {
        // The memory of the body is held until it is answered.
        Ok((request, _held)) => {
            let owner = request.extensions().get::<Caller>().and_then(Caller::owner);
            let owner = owner.map(|owner| Owner(owner.to_owned()));
            let mut response = next.run(request).await;
            if let Some(owner) = owner {
                response.extensions_mut().insert(owner);
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// The request with all of its body, if it still may: a credential can be revoked while the body is
/// on its way, and whoever has one that will be could begin many requests in advance.
async fn whole(
    access: &Access,
    needs: Needs,
    request: Request<Body>,
) -> Result<(Request<Body>, Option<Taken>), Problem> {
    if request.method().is_safe() {
        return Ok((request, None));
    }
    let (parts, body) = request.into_parts();
    let is_evidence = needs == Needs::Right(Right::Write);
    let most = if is_evidence { MAX_EVIDENCE_BYTES } else { MAX_BODY_BYTES };
    let too_large = || {
        let detail = format!("It has at most {most} bytes.");
        if is_evidence { Problem::too_large(detail) } else { Problem::body(detail) }
    };
    let held = if is_evidence {
        let bytes = body.size_hint().upper().unwrap_or(most as u64);
        if bytes > most as u64 {
            return Err(too_large());
        }
        let owner = parts.extensions.get::<Caller>().and_then(Caller::owner).unwrap_or_default();
        let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        let taken = access.incoming.try_take(Some(owner), units);
        Some(taken.map_err(|_| {
            access.load.no_room();
            Problem::busy()
        })?)
    } else {
        None
    };
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, most)).await;
    let body =
        body.map_err(|_| Problem::body(format!("It did not arrive within {BODY_TIMEOUT:?}.")))?;
    let body = body.map_err(|_| too_large())?;
    if let Some(caller) = parts.extensions.get::<Caller>() {
        let now = caller.shown.authenticate(access.credentials.as_ref());
        now.inspect_err(|denied| access.load.denied.note(*denied))?;
    }
    Ok((Request::from_parts(parts, Body::from(body)), held))
}

fn admit(access: &Access, request: &mut Request<Body>) -> Result<Needs, Problem> {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(Needs::Nothing) };
    // IMPORTANT: by path and not by method, so that HEAD and OPTIONS need what GET and POST need.
    // A path that is both read and written tells methods that only read from all others. A path
    // without a rule is the operator's.
    let needs = access.rules.get(path.as_str()).copied();
    let needs = needs.unwrap_or(Needs::Right(Right::Operate)).of(request.method());
    let shown = Shown::of(request);
    let allowed = access.let_in(needs, &shown);
    let principal = allowed.inspect_err(|denied| access.load.denied.note(*denied))?;
    if is_of_another_site(request) {
        return Err(Problem::other_site());
    }
    if let Some(principal) = principal {
        request.extensions_mut().insert(Caller { principal, shown: Arc::new(shown) });
    }
    Ok(needs)
}

/// Whether a page of another site had a browser send this. A browser adds a certificate, or a
/// password that it remembers, by itself.
/// Source: <https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site>; RFC 6454, section 7.
fn is_of_another_site<B>(request: &Request<B>) -> bool {
    if request.method().is_safe() {
        return false;
    }
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 names the host in the address.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != text(header::HOST.as_str()).or(authority)
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demanded(query: &str) -> Option<String> {
        demanded_tenant(&Query::parse(query).unwrap()).map(|tenant| tenant.name().to_owned())
    }

    #[test]
    fn a_query_demands_a_tenant_only_where_nothing_else_can_answer_it() {
        for query in [
            "tenant_id:acme",
            "tenant:acme decision:block",
            "decision:block AND (tool:x OR tool:y) AND organization.id:\"acme\"",
            "(tenant_id:acme AND a.b:1) AND tenant_id:acme",
        ] {
            assert_eq!(demanded(query).as_deref(), Some("acme"), "{query}");
        }
        for query in [
            "",
            "acme",
            "tenant_id:acm*",
            "tenant_id:*",
            "NOT tenant_id:acme",
            "tenant_id:acme OR decision:block",
            "tenant_id:acme AND tenant_id:rival",
            "audit.claims.tenant_id:acme",
            "tenant_id:\"a b\"",
        ] {
            assert_eq!(demanded(query), None, "{query}");
        }
    }

    #[test]
    fn a_page_of_another_site_can_change_nothing() {
        let sent = |method: &str, uri: &str, pairs: &[(&str, &str)]| {
            let request = Request::builder().method(method).uri(uri);
            let request = pairs.iter().fold(request, |it, (name, value)| it.header(*name, *value));
            is_of_another_site(&request.body(()).unwrap())
        };
        let host = ("host", "127.0.0.1:4380");
        for (headers, refused) in [
            (vec![host], false),
            (vec![host, ("origin", "http://127.0.0.1:4380")], false),
            (vec![host, ("origin", "https://evil.example")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("sec-fetch-site", "same-origin")], false),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
        ] {
            assert_eq!(sent("POST", "/", &headers), refused, "{headers:?}");
            assert!(!sent("GET", "/", &headers), "reading is for the right alone");
        }
        let own = [("origin", "https://ledger.example")];
        assert!(!sent("POST", "https://ledger.example/api/v1/keys", &own));
        assert!(sent("POST", "https://other.example/api/v1/keys", &own));
    }
}
