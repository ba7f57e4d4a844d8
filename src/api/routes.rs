//! The table of paths, and the router made of it.

use super::caller::{Access, Needs, authorize};
use super::host::HostCheck;
use super::openapi::openapi;
use super::outgoing::Outgoing;
use super::problem::Problem;
use super::service::{Api, guard};
use super::{
    approvals, axonflow, dead_letters, entries, erasure, jobs, keys, log, payloads, policy_audit,
    probes, proofs, runs, traces, who,
};
use crate::access::Right;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use std::collections::HashMap;
use std::sync::Arc;

/// A path, what it asks of a caller, and its methods.
type Route = (&'static str, Needs, MethodRouter<Api>);

/// Every path: the router, the rules and the security of the OpenAPI document are made of it.
#[rustfmt::skip]
fn table() -> Vec<Route> {
    let read = Needs::Right(Right::Read);
    let write = Needs::Right(Right::Write);
    let operate = Needs::Right(Right::Operate);
    vec![
        ("/", Needs::Nothing, get(probes::front_page)),
        ("/healthz", Needs::Nothing, get(probes::healthz)),
        ("/readyz", Needs::Nothing, get(probes::readyz)),
        ("/api/v1/openapi.json", Needs::Nothing, get(openapi)),
        ("/api/v1/whoami", Needs::Credential, get(who::whoami)),
        ("/metrics", Needs::Right(Right::Metrics), get(probes::metrics)),
        ("/api/v1/traces/{*id}", read, get(traces::trace)),
        ("/api/v1/entries", read, get(entries::search)),
        ("/api/v1/entries/{id}", read, get(entries::entry)),
        ("/api/v1/entries/{id}/payloads", read, get(payloads::payloads)),
        ("/api/v1/erasures", operate, post(erasure::erase)),
        ("/api/v1/entries/{id}/receipt", read, get(proofs::receipt)),
        ("/api/v1/evidence/{*id}", read, get(proofs::evidence)),
        ("/api/v1/log/inclusion", read, get(proofs::inclusion)),
        ("/api/v1/log/consistency", read, get(proofs::consistency)),
        ("/api/v1/jobs/{id}", read, get(jobs::job)),
        ("/api/v1/jobs/{id}/decisions", read, get(jobs::decisions)),
        ("/api/v1/jobs/{id}/evidence", read, get(jobs::evidence)),
        ("/api/v1/approvals", read, get(approvals::list)),
        ("/api/v1/workflow-runs/{id}", read, get(runs::run)),
        ("/api/v1/workflow-runs/{id}/timeline", read, get(runs::timeline)),
        ("/api/v1/workflow-runs/{id}/evidence", read, get(runs::evidence)),
        ("/api/v1/policy/audit", read, get(policy_audit::list)),
        ("/api/v1/tenants", read, get(who::tenants)),
        ("/log/checkpoint", read, get(log::checkpoint)),
        ("/log/cosigned", read, get(log::cosigned)),
        ("/log/keys", read, get(log::keys)),
        ("/log/tile/{*path}", read, get(log::tile)),
        ("/api/v1/dead-letters", operate, get(dead_letters::list)),
        ("/api/v1/dead-letters/replay", operate, post(dead_letters::replay)),
        ("/api/v1/dead-letters/drop", operate, post(dead_letters::drop_letters)),
        ("/api/v1/keys", operate, get(keys::list).post(keys::create)),
        ("/api/v1/keys/{id}/rotate", operate, post(keys::rotate)),
        ("/api/v1/keys/{id}/revoke", operate, post(keys::revoke)),
        ("/health", Needs::Nothing, get(axonflow::health)),
        ("/api/v1/workflows", Needs::ReadOrWrite, get(axonflow::list).post(axonflow::create)),
        ("/api/v1/workflows/{id}", read, get(axonflow::get)),
        ("/api/v1/workflows/approvals/pending", read, get(axonflow::pending)),
        ("/api/v1/workflows/{id}/checkpoints", read, get(axonflow::checkpoints)),
        ("/api/v1/workflows/{id}/checkpoints/resume", write, post(axonflow::resume_last)),
        ("/api/v1/workflows/{id}/checkpoints/{checkpoint_id}/resume", write, post(axonflow::resume_from)),
        ("/api/v1/workflows/{id}/steps/{step_id}/gate", write, post(axonflow::gate)),
        ("/api/v1/workflows/{id}/steps/{step_id}/complete", write, post(axonflow::complete_step)),
        ("/api/v1/workflows/{id}/steps/{step_id}/approve", write, post(axonflow::approve)),
        ("/api/v1/workflows/{id}/steps/{step_id}/reject", write, post(axonflow::reject)),
        ("/api/v1/workflows/{id}/complete", write, post(axonflow::complete)),
        ("/api/v1/workflows/{id}/abort", write, post(axonflow::abort)),
        ("/api/v1/workflows/{id}/fail", write, post(axonflow::fail)),
        ("/api/v1/workflows/{id}/resume", write, post(axonflow::resume)),
        ("/api/v1/audit/tool-call", write, post(axonflow::tool_call)),
        ("/api/audit/llm-call", write, post(axonflow::llm_call)),
        ("/api/policy/pre-check", write, post(axonflow::pre_check)),
        ("/api/v1/audit/search", read, post(axonflow::search)),
        ("/api/v1/audit/tenant/{id}", read, get(axonflow::of_tenant)),
        ("/api/v1/decisions", read, get(axonflow::decisions)),
        ("/api/v1/decisions/{id}/explain", read, get(axonflow::explain)),
    ]
}

/// What each path asks of a caller, by its path as the OpenAPI document writes it.
pub(super) fn documented_needs() -> HashMap<String, Needs> {
    table().into_iter().map(|(path, needs, _)| (path.replace("{*", "{"), needs)).collect()
}

/// All routes, answering to those hosts.
pub fn router(api: Api, hosts: HostCheck) -> Router {
    let rules = table().into_iter().map(|(path, needs, _)| (path, needs));
    let access = Access::new(&api, rules);
    let credentials = api.credentials.clone();
    let outgoing = Outgoing::new(Arc::clone(&api.load));
    table()
        .into_iter()
        .fold(Router::new(), |router, (path, _, methods)| router.route(path, methods))
        .fallback(|| async {
            Problem::not_found("Nothing is served at this path; / says what is where.")
        })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .with_state(api)
        .layer(from_fn_with_state(access, authorize))
        .layer(from_fn_with_state((Arc::new(hosts), credentials, outgoing), guard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::document;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let served: BTreeSet<String> = documented_needs().into_keys().collect();
        let documented: BTreeSet<String> = document().paths.paths.keys().cloned().collect();
        assert_eq!(served, documented);
    }

    #[test]
    fn the_document_says_of_each_operation_what_its_path_asks_of_a_caller() {
        let document = serde_json::to_value(document()).unwrap();
        let schemes = document["components"]["securitySchemes"].as_object().unwrap();
        assert_eq!(
            schemes.keys().map(String::as_str).collect::<Vec<_>>(),
            ["apiKey", "basic", "bearer", "mutualTLS"]
        );
        for (path, needs) in documented_needs() {
            let operations = document["paths"][&path].as_object().unwrap();
            for (method, operation) in operations.iter().filter(|(name, _)| *name != "parameters") {
                let needs = needs.of(&method.to_uppercase().parse().unwrap());
                let wanted: Vec<serde_json::Value> = match needs {
                    Needs::Nothing => Vec::new(),
                    Needs::Credential => {
                        schemes.keys().map(|name| serde_json::json!({name: []})).collect()
                    }
                    Needs::Right(right) => schemes
                        .keys()
                        .map(|name| serde_json::json!({name: [right.as_str()]}))
                        .collect(),
                    Needs::ReadOrWrite => panic!("{method} {path} needs one of them"),
                };
                let wanted = serde_json::Value::Array(wanted);
                assert_eq!(operation["security"], wanted, "{method} {path}");
                for status in ["401", "403", "429"] {
                    let told = operation["responses"].get(status).is_some();
                    let applies = match needs {
                        Needs::Nothing => false,
                        Needs::Credential => status != "403",
                        Needs::Right(_) | Needs::ReadOrWrite => true,
                    };
                    assert_eq!(told, applies, "{method} {path} {status}");
                }
            }
        }
    }
}
