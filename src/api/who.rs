//! `GET /api/v1/whoami` and `GET /api/v1/tenants`: who asks, and about whom he may.

use super::answer::{TenantsAnswer, WhoAmI};
use super::caller::Caller;
use super::problem::Problem;
use super::service::{Api, json};
use crate::access::{Right, Role, Tenant};
use axum::extract::State;
use axum::response::Response;
use std::collections::BTreeSet;

/// Who asks: what the credential of this request is, and what it may do.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "access",
    responses((status = 200, description = "Who asks", body = WhoAmI)))]
pub(super) async fn whoami(caller: Caller) -> Result<Response, Problem> {
    let rights = Right::ALL.into_iter().filter(|right| caller.may(*right));
    let rights = rights.map(|right| right.as_str().to_owned()).collect();
    let Some(credential) = caller.principal().credential() else {
        let tenant = Some(Tenant::default().name().to_owned());
        return json(&WhoAmI { name: "local".to_owned(), rights, tenant, ..WhoAmI::default() });
    };
    let tenant = (!credential.role.is_global()).then(|| credential.tenant.name().to_owned());
    json(&WhoAmI {
        id: Some(credential.id.clone()),
        name: credential.name.clone(),
        role: Some(credential.role.as_str().to_owned()),
        rights,
        tenant,
        expires: credential.expires.map(|expires| expires.to_string()),
    })
}

/// Whose evidence can be asked for: a tenant's auditor is told his own tenant, and a global
/// auditor every tenant that a credential is for.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "access",
    responses((status = 200, description = "Names of tenants", body = TenantsAnswer)))]
pub(super) async fn tenants(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let names: BTreeSet<String> = match caller.principal().role() {
        None | Some(Role::GlobalAuditor) => known(&api),
        Some(_) => [caller.principal().tenant().name().to_owned()].into(),
    };
    json(&TenantsAnswer { tenants: names.into_iter().collect() })
}

/// Every tenant that a credential is for, a revoked one included: its evidence is still there.
fn known(api: &Api) -> BTreeSet<String> {
    let book = api.credentials.as_ref().and_then(crate::access::Credentials::book);
    let credentials = book.map(|book| book.credentials);
    let system = credentials.is_some().then(Tenant::system);
    let asserted = credentials.iter().flatten().filter_map(|it| it.forward.as_ref());
    let asserted = asserted.flat_map(|forward| &forward.tenants);
    let own = credentials.iter().flatten().map(|credential| &credential.tenant);
    let all = own.chain(asserted).chain(&system);
    all.map(|tenant| tenant.name().to_owned())
        .chain([Tenant::default().name().to_owned()])
        .collect()
}
