//! The table of paths, and the router made of it.

use super::host::HostCheck;
use super::openapi::openapi;
use super::problem::Problem;
use super::service::{Api, guard};
use super::{dead_letters, entries, probes, traces};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

/// Every path with its methods: the router is made of it, and a test compares it with the
/// OpenAPI document.
fn table() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/", get(probes::front_page)),
        ("/healthz", get(probes::healthz)),
        ("/readyz", get(probes::readyz)),
        ("/metrics", get(probes::metrics)),
        ("/api/v1/traces/{*id}", get(traces::trace)),
        ("/api/v1/entries", get(entries::search)),
        ("/api/v1/entries/{id}", get(entries::entry)),
        ("/api/v1/dead-letters", get(dead_letters::list)),
        ("/api/v1/dead-letters/replay", post(dead_letters::replay)),
        ("/api/v1/dead-letters/drop", post(dead_letters::drop_letters)),
        ("/api/v1/openapi.json", get(openapi)),
    ]
}

/// All routes, answering to those hosts.
pub fn router(api: Api, hosts: HostCheck) -> Router {
    table()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(|| async {
            Problem::not_found("Nothing is served at this path; / says what is where.")
        })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .with_state(api)
        .layer(from_fn_with_state(Arc::new(hosts), guard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::Document;
    use std::collections::BTreeSet;
    use utoipa::OpenApi as _;

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let served: BTreeSet<String> =
            table().iter().map(|(path, _)| path.replace("{*", "{")).collect();
        let documented: BTreeSet<String> =
            Document::openapi().paths.paths.keys().cloned().collect();
        assert_eq!(served, documented);
    }
}
