//! AxonFlow's API over a real ledger: what is reported, forwarded, recorded, refused and read back.
#![cfg(feature = "server")]

mod api_support;
#[path = "support/deciding_upstream.rs"]
mod deciding_upstream;
#[allow(dead_code, reason = "each test file uses its part of it")]
#[path = "support/documented_requests.rs"]
mod documented_requests;

use api_support::{Answer, Ring, ask, call, memory, new_key};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deciding_upstream::DecidingUpstream;
use serde_json::{Value, json};
use spanledger::access::{Role, Tenant, Tenants, Token};
use spanledger::api::{Api, AxonflowCalls, HostCheck, router};
use spanledger::convert::Mappings;
use spanledger::intake::Intake;
use spanledger::ledger::{Ledger, Options};
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::receiver::axonflow::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_IN_FLIGHT, Upstream, UpstreamSettings,
};
use spanledger::store::embedded::IndexOptions;
use spanledger::store::{
    AuditStore, EmbeddedStore, EntryView, Page, QueryRequest, StoreError, TraceRequest, TraceStory,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// An API over a ledger of its own, which answers from that ledger.
struct Bench {
    app: Router,
    intake: Intake,
    ledger: Ledger,
    calls: Arc<AxonflowCalls>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(upstream: Option<UpstreamSettings>) -> Self {
        Self::with(upstream, |api| api)
    }

    fn with(upstream: Option<UpstreamSettings>, change: impl FnOnce(Api) -> Api) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&folder.path().join("ledger"), Options::default()).unwrap();
        let keys = Keys::open_or_create(&folder.path().join("keys")).unwrap();
        let protector = Protector::new(&Settings::default(), keys).unwrap();
        let intake = Intake::new(Mappings::builtin().unwrap(), protector, ledger.clone());
        let options = IndexOptions::default();
        let store =
            EmbeddedStore::open_read_only(&folder.path().join("off"), ledger.reader(), options);
        let upstream = upstream.map(|settings| Upstream::new(settings).unwrap());
        let calls = Arc::new(AxonflowCalls::new(intake.clone(), upstream));
        let api = change(api_support::api(Arc::new(store.unwrap())).with_axonflow(calls.clone()));
        let hosts = HostCheck::for_listener("127.0.0.1:4380".parse().unwrap());
        Self { app: router(api, hosts), intake, ledger, calls, _folder: folder }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        call(&self.app, "POST", path, None, Some(body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = call(&self.app, "GET", path, None, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    /// Begins a workflow, and returns its id.
    async fn begin(&self, body: Value) -> String {
        let answer = self.post("/api/v1/workflows", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["workflow_id"].as_str().unwrap().to_owned()
    }

    /// The newest entry that answers a question.
    async fn newest(&self, query: &str) -> Value {
        let found = self.get(&format!("/api/v1/entries?limit=1&q={query}")).await;
        assert_eq!(found["count"], 1, "{query}");
        found["entries"][0].clone()
    }
}

fn settings(url: &str) -> UpstreamSettings {
    UpstreamSettings {
        url: url.parse().unwrap(),
        tenant: Tenant::default(),
        credentials: None,
        pass_credentials: false,
        ca: None,
        connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        timeout: Duration::from_secs(30),
        max_answer_bytes: 16 * 1024,
        in_flight: DEFAULT_IN_FLIGHT,
    }
}

#[tokio::test]
async fn s3_1_one_trace_id_leads_to_every_workflow_that_carried_it() {
    let bench = Bench::new(None);
    let long = "t".repeat(255);
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        ids.push(bench.begin(json!({"workflow_name": name, "trace_id": long})).await);
    }
    bench.begin(json!({"workflow_name": "other", "trace_id": "another"})).await;
    let found = bench.get(&format!("/api/v1/workflows?trace_id={long}")).await;
    assert_eq!(found["total"], 2);
    let listed: Vec<_> = found["workflows"].as_array().unwrap().iter().collect();
    assert_eq!(
        listed.iter().map(|it| it["workflow_id"].as_str().unwrap()).collect::<Vec<_>>(),
        [&ids[1], &ids[0]]
    );
    assert_eq!(listed[0]["trace_id"], json!(long), "as it was given");
    let answer = bench
        .post("/api/v1/workflows", json!({"workflow_name": "x", "trace_id": format!("{long}t")}))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("`trace_id` has at most 255 characters"), "{}", answer.text);
}

#[tokio::test]
async fn s3_4_workflows_and_decisions_that_only_spans_tell_of_are_read_back_too() {
    let bench = Bench::new(None);
    let mut draft = bench.intake.draft(&Tenants::One(Tenant::default()));
    documented_requests::blocked_pipeline(&mut draft);
    documented_requests::axonflow_decisions(&mut draft);
    bench.intake.commit(draft).await.unwrap();
    let read = bench.get("/api/v1/workflows/wf-1").await;
    assert_eq!(
        (&read["workflow_name"], &read["status"]),
        (&json!("data-pipeline"), &json!("aborted"))
    );
    assert_eq!((&read["trace_id"], &read["source"]), (&json!("ls-run-789"), &json!("langgraph")));
    let steps: Vec<_> = read["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["decision"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["allow", "block"]);
    let of_trace = bench.get("/api/v1/workflows?trace_id=ls-run-789").await;
    assert_eq!(of_trace["workflows"][0], read);
    let explained = bench.get("/api/v1/decisions/dec-1/explain").await;
    assert_eq!(explained["decision"], "allowed");
    let searched = bench
        .post(
            "/api/v1/audit/search",
            json!({"workflow_id": "wf-1", "request_type": "workflow_step_gate"}),
        )
        .await
        .json();
    assert_eq!(searched["total"], 2, "{searched}");
    assert_eq!(searched["entries"][0]["details"]["policies_evaluated"], 3, "the newest first");
}

#[tokio::test]
async fn s3_4_a_search_finds_what_all_of_its_filters_hold_for() {
    let upstream = DecidingUpstream::start().await;
    let bench = Bench::new(Some(settings(&upstream.url)));
    let id = bench.begin(json!({"workflow_name": "a", "trace_id": "run-a"})).await;
    bench.begin(json!({"workflow_name": "b", "trace_id": "run-b"})).await;
    let gate = json!({"step_name": "drop_table", "step_type": "tool_call", "tool_context": {"tool_name": "sql", "tool_type": "db"}});
    bench.post(&format!("/api/v1/workflows/{id}/steps/s1/gate"), gate).await;
    let total = async |search: Value| {
        let answer = bench.post("/api/v1/audit/search", search.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{search}: {}", answer.text);
        assert_eq!(answer.headers["x-axonflow-read-scope"], "tenant");
        answer.json()["total"].as_u64().unwrap()
    };
    for (search, wanted) in [
        (json!({}), 3),
        (json!({"trace_id": "run-a"}), 2),
        (json!({"trace_id": "run-a", "action": "blocked"}), 1),
        (json!({"trace_id": "run-b", "action": "blocked"}), 0),
        (json!({"action": "allowed"}), 0),
        (json!({"decision_id": format!("dec_{id}_s1")}), 1),
        (json!({"policy_name": "pol_b"}), 1),
        (json!({"policy_name": "Policy pol_b"}), 1),
        (json!({"request_type": "workflow_created"}), 2),
        (json!({"start_time": "2020-01-01T00:00:00", "end_time": "2100-01-01T00:00:00+00:00"}), 3),
        (json!({"end_time": "2020-01-01T00:00:00Z"}), 0),
        (json!({"override_id": "ov-1"}), 0),
    ] {
        assert_eq!(total(search.clone()).await, wanted, "{search}");
    }
    for search in [
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"start_time": "yesterday"}),
        json!({"colour": "red"}),
    ] {
        let answer = bench.post("/api/v1/audit/search", search.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{search}");
    }
    let paged = bench.post("/api/v1/audit/search", json!({"limit": 1, "offset": 1})).await.json();
    assert_eq!((&paged["total"], paged["entries"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(paged["entries"][0]["details"]["workflow_name"], "b");
}

#[tokio::test]
async fn every_request_that_the_client_was_captured_with_is_answered_as_it_expects() {
    let upstream = DecidingUpstream::start().await;
    let bench = Bench::new(Some(settings(&upstream.url)));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/axonflow-client/requests.jsonl");
    for line in fs::read_to_string(path).unwrap().lines() {
        let captured: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| captured[name].as_str().unwrap();
        let mut request = Request::builder().method(text("method")).uri(text("path"));
        request = request.header("host", "127.0.0.1:4380");
        for (name, value) in captured["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        let answer =
            ask(&bench.app, request.body(Body::from(text("body").to_owned())).unwrap()).await;
        // Ids of the laboratory's workflows and decisions are known to its upstream, and reading is ours.
        let is_ours = text("method") == "GET" && text("path").contains("_00");
        let wanted = if is_ours && !text("path").ends_with("checkpoints") {
            vec![200, 404]
        } else {
            vec![captured["status"].as_u64().unwrap()]
        };
        assert!(
            wanted.contains(&u64::from(answer.status.as_u16())),
            "{line}: {} {}",
            answer.status,
            answer.text
        );
        assert!(answer.status == StatusCode::NO_CONTENT || answer.json().is_object(), "{line}");
    }
    let all = bench.get("/api/v1/entries?limit=1000").await.to_string();
    assert!(!all.contains("user-jwt") && !all.contains("lab-secret"), "credentials are on record");
}

#[tokio::test]
async fn an_upstream_that_gives_no_answer_is_on_record_and_decides_nothing() {
    let upstream = DecidingUpstream::start().await;
    let nobody =
        UpstreamSettings { url: "http://127.0.0.1:1".parse().unwrap(), ..settings(&upstream.url) };
    let hasty = UpstreamSettings { timeout: Duration::from_millis(300), ..settings(&upstream.url) };
    let full = UpstreamSettings { in_flight: 0, ..settings(&upstream.url) };
    for (settings, step, status, kind) in [
        (nobody, "plan", 502, "upstream_unreachable"),
        (hasty, "hangs", 504, "upstream_timeout"),
        (full, "plan", 503, "upstream_busy"),
        (settings(&upstream.url), "redirects", 502, "upstream_answer_unusable"),
        (settings(&upstream.url), "floods", 502, "upstream_answer_unusable"),
        (settings(&upstream.url), "mumbles", 502, "upstream_answer_unusable"),
    ] {
        let bench = Bench::new(Some(settings));
        let gate = json!({"step_name": step, "step_type": "llm_call"});
        let answer = bench.post("/api/v1/workflows/wf-7/steps/s1/gate", gate).await;
        assert_eq!(answer.status, status, "{step}: {}", answer.text);
        let entry = bench.newest("request_type:workflow_step_gate").await;
        assert_eq!(entry["audit"]["workflow"]["id"], "wf-7");
        assert_eq!(
            (&entry["error"]["type"], &entry["event"]["outcome"]),
            (&json!(kind), &json!("failure"))
        );
        assert!(entry["audit"].get("decision").is_none(), "{entry}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_put_on_record_is_not_released() {
    let upstream = DecidingUpstream::start().await;
    let bench = Bench::new(Some(settings(&upstream.url)));
    bench.ledger.close().await.unwrap();
    let gate = json!({"step_name": "drop_table", "step_type": "tool_call"});
    let answer = bench.post("/api/v1/workflows/wf-7/steps/s1/gate", gate).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert!(answer.text.contains("The upstream decided"), "{}", answer.text);
    assert!(!answer.text.contains("tables are not dropped") && !answer.text.contains("block"));
    assert_eq!(upstream.asked().len(), 1);
    let report = bench.post("/api/v1/audit/tool-call", json!({"tool_name": "x"})).await;
    assert_eq!(report.status, StatusCode::SERVICE_UNAVAILABLE, "{}", report.text);
}

#[tokio::test]
async fn the_upstream_is_asked_as_configured_and_sees_no_key_of_ours() {
    let upstream = DecidingUpstream::start().await;
    let ring = Ring::new();
    let (writer, _) = (ring.key(Role::Writer, Some("acme")), ring.key(Role::Operator, None));
    let tenant = Tenant::new("acme").unwrap();
    let open = UpstreamSettings { pass_credentials: true, tenant, ..settings(&upstream.url) };
    let credentials = ring.credentials.clone();
    let bench = Bench::with(Some(open), |api| api.with_credentials(credentials));
    let request =
        Request::post("/api/v1/workflows/wf/steps/a%2F..%2Fb/gate?include_prior_output=true")
            .header("host", "127.0.0.1:4380")
            .header("authorization", basic("acme", &writer))
            .header("cookie", "session=1")
            .header("x-user-token", "opaque-token-of-ada")
            .body(Body::from(r#"{"step_name":"plan","step_type":"llm_call"}"#));
    let answer = ask(&bench.app, request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers["x-axonflow-version"], "9.11.0");
    assert!(!answer.headers.contains_key("set-cookie"));
    let [asked] = &upstream.asked()[..] else { panic!("asked once") };
    assert_eq!(asked.path, "/api/v1/workflows/wf/steps/a%2F..%2Fb/gate?include_prior_output=true");
    assert_eq!(asked.headers["x-user-token"], "opaque-token-of-ada");
    for name in ["authorization", "cookie", "x-client-id"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
    let refused = call(
        &bench.app,
        "POST",
        "/api/v1/workflows/%2e%2e/complete",
        Some(&writer),
        Some(json!({})),
    )
    .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert_eq!(upstream.asked().len(), 1);
}

fn basic(user: &str, key: &Token) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", key.reveal())))
}

#[tokio::test]
async fn a_workflow_is_its_tenants_and_who_writes_does_not_read() {
    let ring = Ring::new();
    let key = |role, tenant| ring.make(new_key(role, Some(tenant))).1.unwrap();
    let (writer, rival) = (key(Role::Writer, "acme"), key(Role::Writer, "rival"));
    let (auditor, other) = (key(Role::Auditor, "acme"), key(Role::Auditor, "rival"));
    let credentials = ring.credentials.clone();
    let bench = Bench::with(None, |api| api.with_credentials(credentials));
    let send = async |key: &Token, method: &str, path: &str| {
        let body = (method == "POST").then(|| json!({"workflow_name": "secret-plan"}));
        call(&bench.app, method, path, Some(key), body).await
    };
    let made = send(&writer, "POST", "/api/v1/workflows").await.json();
    let path = format!("/api/v1/workflows/{}", made["workflow_id"].as_str().unwrap());
    assert_eq!(send(&auditor, "GET", &path).await.json()["workflow_name"], "secret-plan");
    for (key, method, path, status) in [
        (&writer, "GET", path.as_str(), 403),
        (&writer, "GET", "/api/v1/workflows", 403),
        (&auditor, "POST", "/api/v1/workflows", 403),
        (&other, "GET", path.as_str(), 404),
        (&rival, "POST", &format!("{path}/complete"), 404),
        (&rival, "POST", &format!("{path}/steps/s1/complete"), 404),
        (&writer, "POST", &format!("{path}/complete"), 200),
    ] {
        let answer = send(key, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert!(status == 200 || !answer.text.contains("secret-plan"), "{}", answer.text);
    }
    let own = send(&auditor, "GET", "/api/v1/audit/tenant/acme").await;
    assert_eq!(
        (&own.headers["x-axonflow-read-scope"], &own.json()["total"]),
        (&"tenant".parse().unwrap(), &json!(2))
    );
    let theirs = send(&other, "GET", "/api/v1/audit/tenant/acme").await;
    assert_eq!(
        (&theirs.headers["x-axonflow-read-scope"], &theirs.json()["total"]),
        (&"none".parse().unwrap(), &json!(0))
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_as_it_should_is_refused_with_what_to_do() {
    let bench = Bench::new(None);
    for (path, body, status, words) in [
        ("/api/v1/workflows", "[]", 400, "JSON object"),
        ("/api/v1/workflows", "{", 400, "line 1, column 1"),
        ("/api/v1/workflows", "{}", 400, "`workflow_name` is missing"),
        ("/api/v1/workflows", r#"{"workflow_name":7}"#, 400, "`workflow_name` is a text"),
        ("/api/v1/audit/tool-call", r#"{"tool_name":" "}"#, 400, "`tool_name` is missing"),
        ("/api/audit/llm-call", "{}", 400, "`context_id` is missing"),
        ("/api/v1/workflows/wf-1/steps/s1/gate", "{}", 501, "axonflow: upstream: url"),
        ("/api/policy/pre-check", "{}", 501, "never makes one"),
        ("/api/v1/workflows/wf-1/complete", "", 404, "No workflow"),
    ] {
        let request = Request::post(path).header("host", "127.0.0.1:4380").body(Body::from(body));
        let answer = ask(&bench.app, request.unwrap()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        assert!(answer.text.contains(words), "{path} {body}: {}", answer.text);
    }
    let large = json!({"tool_name": "x", "output": "x".repeat(9 * 1024 * 1024)});
    let answer = bench.post("/api/v1/audit/tool-call", large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text);
    let fits = json!({"tool_name": "x", "output": "x".repeat(2 * 1024 * 1024)});
    assert_eq!(bench.post("/api/v1/audit/tool-call", fits).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_workflow_ends_once_however_many_end_it_at_the_same_time() {
    let bench = Bench::new(None);
    let id = bench.begin(json!({"workflow_name": "race"})).await;
    let paths = ["complete", "abort", "complete", "fail", "abort"]
        .map(|end| format!("/api/v1/workflows/{id}/{end}"));
    let mut ends = tokio::task::JoinSet::new();
    for path in paths {
        let app = bench.app.clone();
        ends.spawn(async move { call(&app, "POST", &path, None, Some(json!({}))).await.status });
    }
    let statuses = ends.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status.as_u16(), 200 | 409)), "{statuses:?}");
    let ended = bench
        .get(&format!("/api/v1/entries?q=workflow_id:{id}%20AND%20NOT%20kind:workflow_created"))
        .await;
    assert_eq!(ended["count"], 1, "{ended}");
}

/// A store of a cluster that the exporter has not reached yet, beside the ledger of this process.
struct Behind(Arc<dyn AuditStore>);

impl AuditStore for Behind {
    fn write(&self, _: &[EntryView<'_>]) -> Result<(), StoreError> {
        Ok(())
    }
    fn query(&self, _: &QueryRequest) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
    fn trace(&self, _: &TraceRequest) -> Result<TraceStory, StoreError> {
        Ok(TraceStory::default())
    }
    fn followed(&self) -> Option<&dyn AuditStore> {
        Some(&*self.0)
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_read_back_although_the_cluster_does_not_have_it_yet() {
    let own = memory();
    let created = r#""kind":"workflow_created","workflow":{"id":"wf-9","name":"n"}"#;
    api_support::fill(&*own, &[api_support::body(1, &["t-9"], created)]);
    for store in [Arc::new(Behind(own.clone())) as Arc<dyn AuditStore>, own] {
        let app = api_support::app(store);
        let read = api_support::get(&app, "/api/v1/workflows/wf-9").await;
        assert_eq!(read.status, StatusCode::OK, "{}", read.text);
        let found =
            call(&app, "POST", "/api/v1/audit/search", None, Some(json!({"trace_id": "t-9"})));
        assert_eq!(found.await.json()["total"], 1);
    }
}

/// Serves an upstream of a test's own, and returns where.
async fn serve(upstream: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, upstream).await.unwrap() });
    url
}

#[tokio::test]
async fn who_hangs_up_while_the_upstream_decides_does_not_keep_it_off_the_record() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (here, further) = (arrived.clone(), go_on.clone());
    let url = serve(Router::new().fallback(async move || {
        here.notify_one();
        further.notified().await;
        axum::Json(json!({"workflow_id": "wf-7", "step_id": "s1", "status": "approved"}))
    }));
    let bench = Bench::new(Some(settings(&url.await)));
    let app = bench.app.clone();
    let path = "/api/v1/workflows/wf-7/steps/s1/approve";
    let hasty = tokio::spawn(async move { call(&app, "POST", path, None, Some(json!({}))).await });
    arrived.notified().await;
    hasty.abort();
    assert!(hasty.await.is_err_and(|error| error.is_cancelled()));
    go_on.notify_one();
    assert!(bench.calls.end(Duration::from_secs(30)).await, "an orderly end waits for it");
    let entry = bench.newest("request_type:workflow_step_approved").await;
    assert_eq!(entry["audit"]["approval"]["status"], "approved");
    let late = bench.post(path, json!({})).await;
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "nothing is asked after the end");
}

#[tokio::test]
async fn a_decision_that_no_entry_holds_is_on_record_by_its_words_and_its_digest() {
    let whole = json!({"status": "approved", "note": vec!["x".repeat(1024); 20 * 1024]});
    let answer = whole.clone();
    let url = serve(Router::new().fallback(async move || axum::Json(answer.clone()))).await;
    let most = 32 * 1024 * 1024;
    let bench = Bench::new(Some(UpstreamSettings { max_answer_bytes: most, ..settings(&url) }));
    let path = "/api/v1/workflows/wf-7/steps/s1/approve";
    let answer = bench.post(path, json!({"comment": "fine"})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", &answer.text[..500.min(answer.text.len())]);
    let entry = bench.newest("request_type:workflow_step_approved").await;
    assert_eq!(entry["audit"]["approval"]["status"], "approved");
    assert_eq!(entry["audit"]["step"]["id"], "s1");
    let bytes = serde_json::to_vec(&whole).unwrap().len();
    let text = entry.to_string();
    assert!(text.contains("cut.answer_sha256") && text.contains(&bytes.to_string()), "{text}");
    let large = json!({"comment": "x".repeat(1024 * 1024)});
    assert_eq!(bench.post(path, large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_the_upstream_refuses_or_fails_at_decides_nothing() {
    let url = serve(Router::new().fallback(async move |request: Request<Body>| {
        let path = request.uri().path();
        let (status, answer) = match path.rsplit('/').next().unwrap() {
            "gate" => (200, json!({"decision": "require_approval", "step_id": "s1"})),
            "approve" => (403, json!({"status": "approved", "decision": "allow"})),
            "resume" if path.contains("wf-bad") => (500, json!({"status": "error"})),
            "resume" => (200, json!({"status": "success"})),
            _ => (401, json!({"decision": "allow"})),
        };
        (StatusCode::from_u16(status).unwrap(), axum::Json(answer))
    }));
    let bench = Bench::new(Some(settings(&url.await)));
    let step = json!({"step_name": "pay", "step_type": "tool_call"});
    for id in ["wf-bad", "wf-good"] {
        let path = format!("/api/v1/workflows/{id}/steps/s1");
        let gate = bench.post(&format!("{path}/gate"), step.clone()).await;
        assert_eq!(gate.status, StatusCode::OK);
        let approve = bench.post(&format!("{path}/approve"), json!({})).await;
        assert_eq!(approve.status, StatusCode::FORBIDDEN);
        bench.post(&format!("/api/v1/workflows/{id}/resume"), json!({})).await;
        let read = bench.get(&format!("/api/v1/workflows/{id}")).await;
        assert_eq!(read["status"], "in_progress", "{read}");
        assert_eq!(read["steps"][0]["decision"], "require_approval", "{read}");
    }
    let waiting = bench.get("/api/v1/workflows/approvals/pending").await;
    assert_eq!(waiting["count"], 2, "{waiting}");
}

#[tokio::test]
async fn an_entry_with_a_number_of_another_type_is_read_all_the_same() {
    let bench = Bench::new(None);
    for number in [json!(-1), json!("fast"), json!(1.5), json!({"ms": 1})] {
        let call = json!({"tool_name": "x", "workflow_id": "wf-1", "duration_ms": number,
            "latency_ms": number, "idempotency_key": 7});
        let answer = bench.post("/api/v1/audit/tool-call", call).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    let found = bench.post("/api/v1/audit/search", json!({"workflow_id": "wf-1"})).await.json();
    assert_eq!(found["entries"].as_array().unwrap().len(), 4, "{found}");
}

#[tokio::test]
async fn one_identity_at_the_upstream_serves_one_tenant() {
    let upstream = DecidingUpstream::start().await;
    let ring = Ring::new();
    let rival = ring.make(new_key(Role::Writer, Some("rival"))).1.unwrap();
    let credentials = ring.credentials.clone();
    let tenant = Tenant::new("acme").unwrap();
    let of_acme = UpstreamSettings { tenant, ..settings(&upstream.url) };
    let bench = Bench::with(Some(of_acme), |api| api.with_credentials(credentials));
    let send = async |path: &str, body| call(&bench.app, "POST", path, Some(&rival), body).await;
    for path in ["steps/s1/approve", "steps/s1/gate", "resume"] {
        let answer = send(&format!("/api/v1/workflows/wf-acme/{path}"), Some(json!({}))).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{}", answer.text);
        assert!(answer.text.contains("axonflow: upstream: tenant"), "{}", answer.text);
    }
    let begun = send("/api/v1/workflows", Some(json!({"workflow_name": "own"}))).await;
    assert_eq!(begun.status, StatusCode::CREATED, "what it reports is recorded here");
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn a_body_of_more_values_than_memory_is_meant_for_is_refused() {
    let bench = Bench::new(None);
    let wide = json!({"tool_name": "x", "output": vec![0; 200_001]});
    let answer = bench.post("/api/v1/audit/tool-call", wide).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text);
}

#[tokio::test]
async fn a_completion_is_known_by_its_key_even_where_the_key_is_masked() {
    let bench = Bench::new(None);
    let id = bench.begin(json!({"workflow_name": "keys"})).await;
    let path = format!("/api/v1/workflows/{id}/steps/s1/complete");
    let key = |last: char| json!({"idempotency_key": format!("ada{last}@acme.example")});
    for (last, status) in [('a', 204), ('a', 204), ('b', 409)] {
        let answer = bench.post(&path, key(last)).await;
        assert_eq!(answer.status, status, "{last}: {}", answer.text);
    }
    let path = format!("/api/v1/workflows/{id}/steps/s2/complete");
    let mut both = tokio::task::JoinSet::new();
    for last in ['a', 'b', 'c', 'd'] {
        let (app, path, body) = (bench.app.clone(), path.clone(), key(last));
        both.spawn(async move { call(&app, "POST", &path, None, Some(body)).await.status });
    }
    let statuses = both.join_all().await;
    assert_eq!(statuses.iter().filter(|it| **it == 204).count(), 1, "{statuses:?}");
}
