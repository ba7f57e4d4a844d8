//! The OpenAPI document, made of the handlers' own descriptions.

use super::answer::{EntriesAnswer, TenantsAnswer, TraceAnswer, WhoAmI};
use super::approvals::Approvals;
use super::axonflow::{
    AuditAnswer, AuditSearch, DecisionsAnswer, PendingAnswer, PlatformHealth, WorkflowAnswer,
    WorkflowsAnswer,
};
use super::caller::Needs;
use super::case::Case;
use super::dead_letters::{DropAnswer, LettersAnswer, ReplayAnswer};
use super::erasure::EraseAnswer;
use super::health::Readiness;
use super::jobs::{Job, JobDecisions};
use super::key::{KeyMade, KeysAnswer};
use super::payloads::PayloadsAnswer;
use super::policy_audit::PolicyAudit;
use super::problem::Problem;
use super::proofs::{ConsistencyAnswer, InclusionAnswer, ReceiptAnswer};
use super::responses::problem;
use super::routes::documented_needs;
use super::runs::Timeline;
use super::{
    approvals, axonflow, dead_letters, entries, erasure, jobs, keys, log, payloads, policy_audit,
    probes, proofs, runs, traces, who,
};
use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Ref};

/// The API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "spanledger",
        description = "Evidence about AI agents: what ran, what was decided under which policy, who approved it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        traces::trace,
        entries::search,
        entries::entry,
        payloads::payloads,
        erasure::erase,
        proofs::receipt,
        proofs::evidence,
        proofs::inclusion,
        proofs::consistency,
        jobs::job,
        jobs::decisions,
        jobs::evidence,
        approvals::list,
        runs::run,
        runs::timeline,
        runs::evidence,
        policy_audit::list,
        who::whoami,
        who::tenants,
        keys::list,
        keys::create,
        keys::rotate,
        keys::revoke,
        log::checkpoint,
        log::cosigned,
        log::keys,
        log::tile,
        dead_letters::list,
        dead_letters::replay,
        dead_letters::drop_letters,
        axonflow::list,
        axonflow::create,
        axonflow::get,
        axonflow::pending,
        axonflow::gate,
        axonflow::complete_step,
        axonflow::approve,
        axonflow::reject,
        axonflow::complete,
        axonflow::abort,
        axonflow::fail,
        axonflow::resume,
        axonflow::checkpoints,
        axonflow::resume_last,
        axonflow::resume_from,
        axonflow::tool_call,
        axonflow::llm_call,
        axonflow::pre_check,
        axonflow::search,
        axonflow::of_tenant,
        axonflow::decisions,
        axonflow::explain,
        axonflow::health,
        openapi,
        probes::front_page,
        probes::healthz,
        probes::readyz,
        probes::metrics
    ),
    components(schemas(
        TraceAnswer,
        EntriesAnswer,
        PayloadsAnswer,
        EraseAnswer,
        ReceiptAnswer,
        InclusionAnswer,
        ConsistencyAnswer,
        Job,
        JobDecisions,
        Approvals,
        Timeline,
        PolicyAudit,
        Case,
        LettersAnswer,
        ReplayAnswer,
        DropAnswer,
        KeysAnswer,
        KeyMade,
        WhoAmI,
        TenantsAnswer,
        WorkflowsAnswer,
        WorkflowAnswer,
        PendingAnswer,
        AuditSearch,
        AuditAnswer,
        DecisionsAnswer,
        PlatformHealth,
        Problem,
        Readiness
    )),
    tags(
        (name = "evidence", description = "Entries of the ledger"),
        (name = "governance", description = "Decisions, approvals, runs, policies"),
        (name = "access", description = "Who may ask for what"),
        (name = "axonflow", description = "AxonFlow's API, as its published clients call it"),
        (name = "export", description = "What was not delivered to Elasticsearch"),
        (name = "process", description = "The process that serves them")
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "process",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi() -> Response {
    /// Made once: anybody may ask for it, any number of times.
    static TEXT: LazyLock<Bytes> =
        LazyLock::new(|| serde_json::to_vec(&document()).unwrap_or_default().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

/// Ways to show a credential, in the order of the document.
const SCHEMES: [&str; 4] = ["apiKey", "basic", "bearer", "mutualTLS"];

/// What is answered to a credential that is not accepted: status, name, description.
const REFUSALS: [(&str, &str, &str); 3] = [
    ("401", "Unauthorized", "No credential, or one that is unknown, expired or revoked"),
    ("403", "Forbidden", "The credential is for something else"),
    ("429", "TooManyRequests", "The credential sends more than its limit allows"),
];

/// The document, with what each path asks of a caller.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    describe_schemes(document.components.get_or_insert_default());
    let needs = documented_needs();
    for (path, item) in &mut document.paths.paths {
        let Some(needs) = needs.get(path) else { continue };
        let PathItem { get, post, .. } = item;
        for (operation, method) in [(get, Method::GET), (post, Method::POST)] {
            if let Some(operation) = operation {
                describe_needs(operation, needs.of(&method));
            }
        }
    }
    document
}

fn describe_schemes(components: &mut Components) {
    let key = "The key, which begins with slk_";
    let mutual = "A client certificate of an authority that the server accepts, with a name that \
                  a credential has";
    let http = |scheme, text: &str| {
        let mut http = Http::new(scheme);
        http.description = Some(text.to_owned());
        SecurityScheme::Http(http)
    };
    let schemes = [
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-API-Key", key))),
        http(HttpAuthScheme::Basic, "The key as the password, with any user"),
        http(HttpAuthScheme::Bearer, key),
        SecurityScheme::MutualTls {
            description: Some(mutual.to_owned()),
            deprecated: None,
            extensions: None,
        },
    ];
    for (name, scheme) in SCHEMES.into_iter().zip(schemes) {
        components.security_schemes.insert(name.to_owned(), scheme.into());
    }
    for (_, name, text) in REFUSALS {
        components.responses.insert(name.to_owned(), problem(text).into());
    }
}

/// What an operation asks of a caller: one of the schemes, with the right as its scope.
fn describe_needs(operation: &mut Operation, needs: Needs) {
    let (scopes, refusals) = match needs {
        Needs::Nothing => (None, [false; 3]),
        Needs::Credential => (Some(Vec::new()), [true, false, true]),
        Needs::Right(right) => (Some(vec![right.as_str()]), [true; 3]),
        Needs::ReadOrWrite => (Some(vec!["read", "write"]), [true; 3]),
    };
    let required = |scopes: Vec<&str>| -> Vec<SecurityRequirement> {
        SCHEMES.iter().map(|name| SecurityRequirement::new(*name, scopes.clone())).collect()
    };
    // An empty list says that nothing is needed; no list would say nothing.
    operation.security = Some(scopes.map(required).unwrap_or_default());
    for ((status, name, _), applies) in REFUSALS.into_iter().zip(refusals) {
        if applies {
            let response = Ref::from_response_name(name);
            operation.responses.responses.insert(status.to_owned(), response.into());
        }
    }
}
