//! Every operation of the OpenAPI document × every kind of caller × two tenants, against one table.
//!
//! A new operation without a line in [`TABLE`] fails here, and so does a line without an operation.

mod api_support;

use api_support::{Answer, Ring, body, call, memory};
use axum::Router;
use serde_json::{Value, json};
use spanledger::access::{Role, Token};
use spanledger::store::{AuditStore, EntryView, Envelope, MemoryStore};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a caller gets: statuses in the order of [`CALLERS`].
type Statuses = [u16; 7];

/// Who asks. `nobody` is without a credential, and with one that is unknown, expired or revoked.
const CALLERS: [&str; 7] =
    ["nobody", "writer", "forwarder", "auditor", "global auditor", "operator", "monitor"];

/// Every operation, the address at which this test asks for it, and what each caller gets.
///
/// `400` of the global auditor: he has to name a tenant. `404` of the operator: he may, and there
/// is no such key, or nothing is exported; of the auditor: nothing is sealed here; of who asks for a
/// proof: this API has no ledger. `503` of those who write: they may, and this API takes nothing.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Statuses)] = &[
    //                                                                           nobody writer forw. audit. global oper. monitor
    ("GET /",                          "/",                                       [200,  200,  200,  200,  200,  200,  200]),
    ("GET /healthz",                   "/healthz",                                [200,  200,  200,  200,  200,  200,  200]),
    ("GET /readyz",                    "/readyz",                                 [200,  200,  200,  200,  200,  200,  200]),
    ("GET /api/v1/openapi.json",       "/api/v1/openapi.json",                    [200,  200,  200,  200,  200,  200,  200]),
    ("GET /api/v1/whoami",             "/api/v1/whoami",                          [401,  200,  200,  200,  200,  200,  200]),
    ("GET /metrics",                   "/metrics",                                [401,  403,  403,  403,  403,  200,  200]),
    ("GET /api/v1/tenants",            "/api/v1/tenants",                         [401,  403,  403,  200,  200,  403,  403]),
    ("GET /api/v1/entries",            "/api/v1/entries",                         [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/entries/{id}",       "/api/v1/entries/00000000000000000000000000000001",
                                                                                  [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/entries/{id}/payloads", "/api/v1/entries/00000000000000000000000000000001/payloads",
                                                                                  [401,  403,  403,  404,  400,  403,  403]),
    ("POST /api/v1/erasures",          "/api/v1/erasures",                        [401,  403,  403,  403,  403,  400,  403]),
    ("GET /api/v1/traces/{id}",        "/api/v1/traces/shared",                   [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/entries/{id}/receipt", "/api/v1/entries/00000000000000000000000000000001/receipt",
                                                                                  [401,  403,  403,  404,  400,  403,  403]),
    ("GET /api/v1/evidence/{id}",      "/api/v1/evidence/shared",                 [401,  403,  403,  404,  400,  403,  403]),
    ("GET /api/v1/log/inclusion",      "/api/v1/log/inclusion?index=0",           [401,  403,  403,  403,  404,  403,  403]),
    ("GET /api/v1/log/consistency",    "/api/v1/log/consistency?old=1",           [401,  403,  403,  403,  404,  403,  403]),
    ("GET /api/v1/jobs/{id}",          "/api/v1/jobs/job",                        [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/jobs/{id}/decisions", "/api/v1/jobs/job/decisions",             [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/jobs/{id}/evidence", "/api/v1/jobs/job/evidence",               [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/approvals",          "/api/v1/approvals",                       [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/workflow-runs/{id}", "/api/v1/workflow-runs/run",               [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/workflow-runs/{id}/timeline", "/api/v1/workflow-runs/run/timeline",
                                                                                  [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/workflow-runs/{id}/evidence", "/api/v1/workflow-runs/run/evidence",
                                                                                  [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/policy/audit",       "/api/v1/policy/audit",                    [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/keys",               "/api/v1/keys",                            [401,  403,  403,  403,  403,  200,  403]),
    ("POST /api/v1/keys",              "/api/v1/keys",                            [401,  403,  403,  403,  403,  400,  403]),
    ("POST /api/v1/keys/{id}/rotate",  "/api/v1/keys/0123456789abcdef/rotate",    [401,  403,  403,  403,  403,  404,  403]),
    ("POST /api/v1/keys/{id}/revoke",  "/api/v1/keys/0123456789abcdef/revoke",    [401,  403,  403,  403,  403,  404,  403]),
    ("GET /api/v1/dead-letters",       "/api/v1/dead-letters",                    [401,  403,  403,  403,  403,  404,  403]),
    ("GET /log/checkpoint",            "/log/checkpoint",                         [401,  403,  403,  403,  404,  403,  403]),
    ("GET /log/cosigned",              "/log/cosigned",                           [401,  403,  403,  403,  404,  403,  403]),
    ("GET /log/keys",                  "/log/keys",                               [401,  403,  403,  403,  404,  403,  403]),
    ("GET /log/tile/{path}",           "/log/tile/0/000",                         [401,  403,  403,  403,  404,  403,  403]),
    ("POST /api/v1/dead-letters/replay", "/api/v1/dead-letters/replay",           [401,  403,  403,  403,  403,  400,  403]),
    ("POST /api/v1/dead-letters/drop", "/api/v1/dead-letters/drop",               [401,  403,  403,  403,  403,  400,  403]),
    ("GET /health",                    "/health",                                 [200,  200,  200,  200,  200,  200,  200]),
    ("GET /api/v1/workflows",          "/api/v1/workflows",                       [401,  403,  403,  200,  400,  403,  403]),
    ("POST /api/v1/workflows",         "/api/v1/workflows",                       [401,  503,  503,  403,  403,  403,  403]),
    ("GET /api/v1/workflows/{id}",     "/api/v1/workflows/flow",                  [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/workflows/approvals/pending", "/api/v1/workflows/approvals/pending",
                                                                                  [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/workflows/{id}/checkpoints", "/api/v1/workflows/flow/checkpoints",
                                                                                  [401,  403,  403,  503,  503,  403,  403]),
    ("POST /api/v1/workflows/{id}/checkpoints/resume", "/api/v1/workflows/flow/checkpoints/resume",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/checkpoints/{checkpoint_id}/resume", "/api/v1/workflows/flow/checkpoints/1/resume",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/steps/{step_id}/gate", "/api/v1/workflows/flow/steps/s1/gate",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/steps/{step_id}/complete", "/api/v1/workflows/flow/steps/s1/complete",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/steps/{step_id}/approve", "/api/v1/workflows/flow/steps/s1/approve",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/steps/{step_id}/reject", "/api/v1/workflows/flow/steps/s1/reject",
                                                                                  [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/complete", "/api/v1/workflows/flow/complete",   [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/abort", "/api/v1/workflows/flow/abort",         [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/fail", "/api/v1/workflows/flow/fail",           [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/workflows/{id}/resume", "/api/v1/workflows/flow/resume",       [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/audit/tool-call",   "/api/v1/audit/tool-call",                 [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/audit/llm-call",       "/api/audit/llm-call",                     [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/policy/pre-check",     "/api/policy/pre-check",                   [401,  503,  503,  403,  403,  403,  403]),
    ("POST /api/v1/audit/search",      "/api/v1/audit/search",                    [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/audit/tenant/{id}",  "/api/v1/audit/tenant/nobody",             [401,  403,  403,  200,  200,  403,  403]),
    ("GET /api/v1/decisions",          "/api/v1/decisions",                       [401,  403,  403,  200,  400,  403,  403]),
    ("GET /api/v1/decisions/{id}/explain", "/api/v1/decisions/dec/explain",       [401,  403,  403,  200,  400,  403,  403]),
];

/// A question for what the rival alone has, and the same one for what nobody has.
type Pair = (&'static str, &'static str);

/// Operations that show evidence: what there is of both tenants, what the rival alone has, and what
/// nobody has.
const EVIDENCE: &[(&str, &[&str], &[Pair])] = &[
    (
        "GET /api/v1/entries",
        &[
            "/api/v1/entries?q=shared",
            "/api/v1/entries?order=oldest",
            "/api/v1/entries?q=kind:span",
        ],
        &[
            ("/api/v1/entries?q=run_id:rival-run", "/api/v1/entries?q=run_id:nobody-run"),
            ("/api/v1/entries?q=rivalword", "/api/v1/entries?q=nobodyword"),
            (
                "/api/v1/entries?q=event.id:00000000000000000000000000000003",
                "/api/v1/entries?q=event.id:00000000000000000000000000000009",
            ),
            ("/api/v1/entries?q=sequence:3", "/api/v1/entries?q=sequence:99"),
            ("/api/v1/entries?q=tenant_id:rival", "/api/v1/entries?q=tenant_id:nobody"),
            ("/api/v1/entries?tenant=rival", "/api/v1/entries?tenant=nobody"),
            (
                "/api/v1/entries?order=ledger&wait=0&tenant=rival",
                "/api/v1/entries?order=ledger&wait=0&tenant=nobody",
            ),
            (
                "/api/v1/entries?order=ledger&cursor=end&tenant=rival",
                "/api/v1/entries?order=ledger&cursor=end&tenant=nobody",
            ),
        ],
    ),
    (
        "GET /api/v1/entries/{id}",
        &["/api/v1/entries/00000000000000000000000000000001"],
        &[
            (
                "/api/v1/entries/00000000000000000000000000000003",
                "/api/v1/entries/00000000000000000000000000000009",
            ),
            (
                "/api/v1/entries/00000000000000000000000000000001?tenant=rival",
                "/api/v1/entries/00000000000000000000000000000001?tenant=nobody",
            ),
        ],
    ),
    (
        "GET /api/v1/traces/{id}",
        &["/api/v1/traces/shared", "/api/v1/traces/shared?order=ledger"],
        &[
            ("/api/v1/traces/rival-run", "/api/v1/traces/nobody-run"),
            (
                "/api/v1/traces/00000000000000000000000000000003",
                "/api/v1/traces/00000000000000000000000000000009",
            ),
            ("/api/v1/traces/shared?tenant=rival", "/api/v1/traces/shared?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/jobs/{id}",
        &["/api/v1/jobs/job"],
        &[
            ("/api/v1/jobs/rival-run", "/api/v1/jobs/nobody-run"),
            ("/api/v1/jobs/job?tenant=rival", "/api/v1/jobs/job?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/jobs/{id}/decisions",
        &["/api/v1/jobs/job/decisions"],
        &[
            ("/api/v1/jobs/rival-run/decisions", "/api/v1/jobs/nobody-run/decisions"),
            ("/api/v1/jobs/job/decisions?tenant=rival", "/api/v1/jobs/job/decisions?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/jobs/{id}/evidence",
        &["/api/v1/jobs/job/evidence"],
        &[
            ("/api/v1/jobs/rival-run/evidence", "/api/v1/jobs/nobody-run/evidence"),
            ("/api/v1/jobs/job/evidence?tenant=rival", "/api/v1/jobs/job/evidence?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/approvals",
        &["/api/v1/approvals", "/api/v1/approvals?include_resolved=true"],
        &[("/api/v1/approvals?tenant=rival", "/api/v1/approvals?tenant=nobody")],
    ),
    (
        "GET /api/v1/workflow-runs/{id}/timeline",
        &["/api/v1/workflow-runs/run/timeline", "/api/v1/workflow-runs/run/timeline?order=ledger"],
        &[
            (
                "/api/v1/workflow-runs/rival-run/timeline",
                "/api/v1/workflow-runs/nobody-run/timeline",
            ),
            (
                "/api/v1/workflow-runs/run/timeline?tenant=rival",
                "/api/v1/workflow-runs/run/timeline?tenant=nobody",
            ),
        ],
    ),
    (
        "GET /api/v1/workflow-runs/{id}",
        &["/api/v1/workflow-runs/run"],
        &[
            ("/api/v1/workflow-runs/rival-run", "/api/v1/workflow-runs/nobody-run"),
            ("/api/v1/workflow-runs/run?tenant=rival", "/api/v1/workflow-runs/run?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/workflow-runs/{id}/evidence",
        &["/api/v1/workflow-runs/run/evidence"],
        &[
            (
                "/api/v1/workflow-runs/rival-run/evidence",
                "/api/v1/workflow-runs/nobody-run/evidence",
            ),
            (
                "/api/v1/workflow-runs/run/evidence?tenant=rival",
                "/api/v1/workflow-runs/run/evidence?tenant=nobody",
            ),
        ],
    ),
    (
        "GET /api/v1/policy/audit",
        &["/api/v1/policy/audit"],
        &[("/api/v1/policy/audit?tenant=rival", "/api/v1/policy/audit?tenant=nobody")],
    ),
    (
        "GET /api/v1/workflows",
        &["/api/v1/workflows", "/api/v1/workflows?trace_id=shared"],
        &[
            ("/api/v1/workflows?tenant=rival", "/api/v1/workflows?tenant=nobody"),
            ("/api/v1/workflows?source=rivalsource", "/api/v1/workflows?source=nobodysource"),
        ],
    ),
    (
        "GET /api/v1/workflows/{id}",
        &["/api/v1/workflows/flow"],
        &[
            ("/api/v1/workflows/rival-flow", "/api/v1/workflows/nobody-flow"),
            ("/api/v1/workflows/flow?tenant=rival", "/api/v1/workflows/flow?tenant=nobody"),
        ],
    ),
    (
        "GET /api/v1/workflows/approvals/pending",
        &["/api/v1/workflows/approvals/pending"],
        &[(
            "/api/v1/workflows/approvals/pending?tenant=rival",
            "/api/v1/workflows/approvals/pending?tenant=nobody",
        )],
    ),
    (
        "POST /api/v1/audit/search",
        &["/api/v1/audit/search"],
        &[("/api/v1/audit/search?tenant=rival", "/api/v1/audit/search?tenant=nobody")],
    ),
    (
        "GET /api/v1/audit/tenant/{id}",
        &[],
        &[
            ("/api/v1/audit/tenant/rival", "/api/v1/audit/tenant/nobody"),
            ("/api/v1/audit/tenant/rival", "/api/v1/audit/tenant/no%20name"),
        ],
    ),
    (
        "GET /api/v1/decisions",
        &["/api/v1/decisions"],
        &[("/api/v1/decisions?tenant=rival", "/api/v1/decisions?tenant=nobody")],
    ),
    (
        "GET /api/v1/decisions/{id}/explain",
        &["/api/v1/decisions/dec/explain"],
        &[(
            "/api/v1/decisions/dec/explain?tenant=rival",
            "/api/v1/decisions/dec/explain?tenant=nobody",
        )],
    ),
];

/// Two tenants with the same ids: entry ids 1 and 2, trace id, and one entry that the rival alone has.
fn store() -> Arc<MemoryStore> {
    let store = memory();
    let entries = [
        (0, 1, "acme", r#""kind":"span","run":{"id":"run"},"payload":[{"text":"acmeword"}]"#),
        (1, 1, "rival", r#""kind":"span","run":{"id":"run"},"payload":[{"text":"rivalword"}]"#),
        (
            2,
            2,
            "acme",
            r#""kind":"decision","run":{"id":"acme-run"},"decision":{"id":"dec","outcome":"require_approval","raw":"require_approval","reason":"acme asks"},"policy":{"id":["acmepolicy"]},"workflow":{"id":"flow","name":"acmeflow"},"step":{"id":"s1"}"#,
        ),
        (
            3,
            3,
            "rival",
            r#""kind":"decision","run":{"id":"rival-run"},"decision":{"id":"dec","outcome":"require_approval","raw":"require_approval","reason":"rival asks"},"policy":{"id":["rivalpolicy"]},"workflow":{"id":"flow","name":"rivalflow"},"step":{"id":"s1"}"#,
        ),
        (
            4,
            2,
            "rival",
            r#""kind":"span","run":{"id":"run"},"workflow":{"id":"rival-flow","source":"rivalsource"}"#,
        ),
    ];
    let governed =
        r#""kind":"decision","job":{"id":"job"},"decision":{"outcome":"require_approval"}"#;
    let changed = r#""kind":"policy_change","policy":{"snapshot_after":"p-2"}"#;
    let own = r#""kind":"decision","job":{"id":"rival-run"},"decision":{"outcome":"block"}"#;
    let governance = [
        (5, 11, "acme", governed),
        (6, 11, "rival", governed),
        (7, 12, "acme", changed),
        (8, 12, "rival", changed),
        (9, 13, "rival", own),
    ];
    let all = entries.map(|entry| ("shared", entry)).into_iter();
    let all = all.chain(governance.map(|entry| ("governed", entry)));
    for (trace, (sequence, id, tenant, audit)) in all {
        let body = body(1, &[trace], audit);
        let envelope = Envelope {
            sequence,
            id: u128::to_be_bytes(id),
            tenant,
            received_ns: 1_795_241_529_000_000_000,
            conflict: false,
            leaf_hash: [7; 32],
        };
        store.write(&[EntryView::new(envelope, body.as_bytes())]).unwrap();
    }
    store
}

/// Everybody who asks.
struct Callers {
    app: Router,
    /// None, unknown, expired, revoked.
    nobodies: Vec<Option<Token>>,
    /// A name of [`CALLERS`], the tenant, and the key.
    known: Vec<(&'static str, Option<&'static str>, Token)>,
}

impl Callers {
    fn new() -> Self {
        let ring = Ring::new();
        let refused = [Role::Operator, Role::Auditor].map(|role| {
            let tenant = (role == Role::Auditor).then_some("acme");
            ring.key(role, tenant)
        });
        ring.change(|book| {
            book.credentials[0].expires = Some(jiff::Timestamp::from_second(1).unwrap());
            book.revoke(refused[1].id(), "os:root", jiff::Timestamp::now())
        })
        .unwrap();
        let mut known = Vec::new();
        for tenant in ["acme", "rival"] {
            for (name, role) in [
                ("writer", Role::Writer),
                ("forwarder", Role::Forwarder),
                ("auditor", Role::Auditor),
            ] {
                known.push((name, Some(tenant), ring.key(role, Some(tenant))));
            }
        }
        for (name, role) in [
            ("global auditor", Role::GlobalAuditor),
            ("operator", Role::Operator),
            ("monitor", Role::Monitor),
        ] {
            known.push((name, None, ring.key(role, None)));
        }
        let nobodies = [None, Some(Token::new().unwrap())].into_iter();
        let nobodies = nobodies.chain(refused.map(Some)).collect();
        Self { app: ring.app(store()), nobodies, known }
    }

    fn key(&self, name: &str, tenant: Option<&str>) -> &Token {
        &self.known.iter().find(|(n, t, _)| *n == name && *t == tenant).unwrap().2
    }

    /// A `POST` has a body that is JSON and asks for nothing that can be done.
    async fn ask(&self, operation: &str, path: &str, key: Option<&Token>) -> Answer {
        let method = operation.split(' ').next().unwrap();
        let body: Option<Value> = (method == "POST").then(|| json!({}));
        call(&self.app, method, path, key, body).await
    }
}

async fn operations(callers: &Callers) -> BTreeSet<String> {
    let document = call(&callers.app, "GET", "/api/v1/openapi.json", None, None).await.json();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect()
}

#[tokio::test]
async fn every_operation_has_a_line_in_the_table_and_every_line_an_operation() {
    let documented = operations(&Callers::new()).await;
    let listed: BTreeSet<String> = TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(listed, documented);
}

#[tokio::test]
async fn every_caller_gets_of_every_operation_what_the_table_says() {
    let callers = Callers::new();
    for (operation, path, statuses) in TABLE {
        for nobody in &callers.nobodies {
            let answer = callers.ask(operation, path, nobody.as_ref()).await;
            assert_eq!(answer.status, statuses[0], "{operation}: {nobody:?}: {}", answer.text);
        }
        for (name, tenant, key) in &callers.known {
            let wanted = CALLERS.iter().position(|caller| caller == name).unwrap();
            let answer = callers.ask(operation, path, Some(key)).await;
            let who = format!("{operation}: {name} of {tenant:?}: {}", answer.text);
            assert_eq!(answer.status, statuses[wanted], "{who}");
        }
    }
}

/// What is refused says nothing of what there is: one answer a kind of refusal.
#[tokio::test]
async fn a_refusal_is_the_same_for_what_there_is_and_for_what_there_is_not() {
    let callers = Callers::new();
    for (operation, _, pairs) in EVIDENCE {
        for (theirs, nobodys) in *pairs {
            let nobodies = callers.nobodies.iter().map(Option::as_ref);
            let refused = callers.known.iter().filter(|(name, ..)| !name.contains("auditor"));
            for key in nobodies.chain(refused.map(|(_, _, key)| Some(key))) {
                let there = callers.ask(operation, theirs, key).await;
                let not_there = callers.ask(operation, nobodys, key).await;
                assert!(matches!(there.status.as_u16(), 401 | 403), "{operation}");
                assert_eq!(there.text, not_there.text, "{operation} {theirs}");
                assert_eq!(there.headers, not_there.headers, "{operation} {theirs}");
            }
        }
    }
}

#[tokio::test]
async fn each_tenant_sees_its_own_entries_of_ids_that_both_have() {
    let callers = Callers::new();
    for (operation, shared, _) in EVIDENCE {
        for path in *shared {
            for (tenant, other) in [("acme", "rival"), ("rival", "acme")] {
                let own =
                    callers.ask(operation, path, Some(callers.key("auditor", Some(tenant)))).await;
                assert_eq!(own.status, 200, "{path}: {}", own.text);
                assert!(own.text.contains(tenant), "{path}: {}", own.text);
                assert!(!own.text.contains(other), "{path}: {}", own.text);
                let joint = if path.contains('?') { '&' } else { '?' };
                let named = format!("{path}{joint}tenant={tenant}");
                let global =
                    callers.ask(operation, &named, Some(callers.key("global auditor", None)));
                assert_eq!(global.await.text, own.text, "the global auditor who names it: {path}");
            }
        }
    }
}

/// The bodies, byte for byte: what is the rival's and what does not exist differ in nothing but the
/// word that was asked for.
#[tokio::test]
async fn what_is_not_ones_own_is_what_does_not_exist() {
    let callers = Callers::new();
    let acme = callers.key("auditor", Some("acme"));
    let rival = callers.key("auditor", Some("rival"));
    for (operation, _, pairs) in EVIDENCE {
        for (theirs, nobodys) in *pairs {
            let there = callers.ask(operation, theirs, Some(acme)).await;
            let not_there = callers.ask(operation, nobodys, Some(acme)).await;
            assert_eq!(there.status, not_there.status, "{theirs}");
            assert_eq!(masked(&there.text), masked(&not_there.text), "{theirs}");
            let lengths = [&there, &not_there].map(|answer| masked(&answer.text).len());
            assert_eq!(lengths[0], lengths[1], "{theirs}");
            let names: Vec<_> = there.headers.keys().collect();
            assert_eq!(names, not_there.headers.keys().collect::<Vec<_>>(), "{theirs}");
            let owner = callers.ask(operation, theirs, Some(rival)).await;
            assert_ne!(masked(&owner.text), masked(&there.text), "the owner sees it: {theirs}");
        }
    }
}

/// The ids that these questions name.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["rival-run", "nobody-run", "rival-flow", "nobody-flow"] {
        text = text.replace(name, "ID");
    }
    for digit in ["3", "9"] {
        text = text.replace(&format!("{digit:0>32}"), "ID");
    }
    text
}

/// Counts, metrics and lists: what is told about the whole is told to those who run it.
#[tokio::test]
async fn nothing_that_a_tenant_may_ask_for_names_another_tenant() {
    let callers = Callers::new();
    for tenant in ["acme", "rival"] {
        let other = if tenant == "acme" { "rival" } else { "acme" };
        for name in ["writer", "forwarder", "auditor"] {
            let key = callers.key(name, Some(tenant));
            for (operation, path, _) in TABLE {
                let answer = callers.ask(operation, path, Some(key)).await;
                assert!(!answer.text.contains(other), "{operation} {name}: {}", answer.text);
            }
        }
    }
    let wanted = [("acme", 2), ("rival", 3)];
    for (tenant, total) in wanted {
        let key = callers.key("auditor", Some(tenant));
        let story = callers.ask("GET", "/api/v1/traces/shared?limit=1", Some(key)).await.json();
        assert_eq!((&story["total"], &story["count"]), (&total.into(), &1.into()), "{tenant}");
    }
}
