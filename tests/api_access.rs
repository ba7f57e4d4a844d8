//! Who may ask the API, and whose evidence he is shown.

mod api_support;

use api_support::{Given, Ring, ask, body, call, fill, get, get_as, id_of, memory, new_key, write};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use spanledger::access::{
    CertificateName, NewCredential, PeerCertificate, RateLimits, Role, Token,
};
use spanledger::api::{Health, HostCheck, Load, Metrics, router};
use spanledger::store::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

/// Two tenants with one trace id, and an entry each that only they have.
fn two_tenants() -> Arc<MemoryStore> {
    let store = memory();
    let given = |sequence: u64, tenant: &'static str, id: &str, audit: &str| Given {
        sequence,
        tenant,
        body: body(1, &["shared", id], &format!(r#""kind":"span"{audit}"#)),
    };
    write(
        &*store,
        &[
            given(0, "acme", "acme-only", ""),
            given(1, "rival", "rival-only", r#","claims":{"tenant_id":"customer-7"}"#),
            given(2, "acme", "acme-too", r#","claims":{"tenant_id":"customer-7"}"#),
            given(3, "rival", "rival-too", r#","claims":{"tenant_id":"acme"}"#),
        ],
    );
    store
}

#[tokio::test]
async fn an_auditor_sees_his_tenant_and_naming_another_is_naming_none() {
    let ring = Ring::new();
    let key = ring.key(Role::Auditor, Some("acme"));
    let app = ring.app(two_tenants());
    let seen = |path: &'static str| {
        let (app, key) = (app.clone(), key.clone());
        async move { get_as(&app, &key, path).await.sequences() }
    };
    assert_eq!(seen("/api/v1/entries").await, [2, 0]);
    assert_eq!(seen("/api/v1/entries?tenant=acme").await, [2, 0]);
    assert_eq!(seen("/api/v1/traces/shared").await, [0, 2]);
    assert_eq!(seen("/api/v1/entries?q=tenant_id:customer-7").await, [2], "what is claimed");
    assert_eq!(seen("/api/v1/entries?q=tenant_id:rival").await, Vec::<u64>::new());
    for path in [
        "/api/v1/entries?tenant=",
        "/api/v1/entries?q=rival-only&tenant=",
        "/api/v1/entries?order=ledger&cursor=end&tenant=",
        "/api/v1/traces/shared?tenant=",
        &format!("/api/v1/entries/{}?tenant=", id_of(1)),
    ] {
        let rival = get_as(&app, &key, &format!("{path}rival")).await;
        let none = get_as(&app, &key, &format!("{path}nobody")).await;
        assert_eq!((rival.status, &rival.text), (none.status, &none.text), "{path}");
        assert!(!rival.text.contains("\"sequence\""), "{}", rival.text);
    }
    let theirs = get_as(&app, &key, &format!("/api/v1/entries/{}", id_of(1))).await;
    let nobodys = get_as(&app, &key, &format!("/api/v1/entries/{}", id_of(99))).await;
    assert_eq!((theirs.status, &theirs.text), (nobodys.status, &nobodys.text));
    assert_eq!(theirs.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_global_auditor_names_the_tenant_of_each_question() {
    let ring = Ring::new();
    let key = ring.key(Role::GlobalAuditor, None);
    let app = ring.app(two_tenants());
    for (path, wanted) in [
        ("/api/v1/entries?tenant=acme", vec![2, 0]),
        ("/api/v1/entries?tenant=rival", vec![3, 1]),
        ("/api/v1/entries?q=tenant_id:rival", vec![3, 1]),
        ("/api/v1/entries?q=kind:span+AND+tenant_id:acme", vec![2, 0]),
        ("/api/v1/entries?q=tenant_id:customer-7&tenant=rival", vec![1]),
        ("/api/v1/entries?q=tenant_id:acme&tenant=rival", vec![3]),
        ("/api/v1/entries?tenant=nobody", vec![]),
        ("/api/v1/traces/shared?tenant=rival", vec![1, 3]),
    ] {
        let answer = get_as(&app, &key, path).await;
        assert_eq!(answer.sequences(), wanted, "{path}: {}", answer.text);
    }
    let one = format!("/api/v1/entries/{}", id_of(1));
    assert_eq!(get_as(&app, &key, &format!("{one}?tenant=rival")).await.status, StatusCode::OK);
    let wrong = get_as(&app, &key, &format!("{one}?tenant=acme")).await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);
    for path in [
        "/api/v1/entries",
        "/api/v1/entries?q=tenant_id:acme+OR+kind:span",
        "/api/v1/entries?q=NOT+tenant_id:acme",
        "/api/v1/entries?q=tenant_id:ac*",
        "/api/v1/entries?order=ledger&wait=30",
        "/api/v1/traces/shared",
        &one,
    ] {
        let answer = get_as(&app, &key, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        assert_eq!(answer.json()["type"], "urn:spanledger:problem:tenant-needed", "{path}");
        assert!(answer.text.contains("/api/v1/tenants"), "{}", answer.text);
    }
    let strange = get_as(&app, &key, "/api/v1/entries?tenant=a%2Fb").await;
    assert_eq!(strange.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_cursor_of_another_tenant_reveals_nothing_but_ones_own() {
    let ring = Ring::new();
    let acme = ring.key(Role::Auditor, Some("acme"));
    let rival = ring.key(Role::Auditor, Some("rival"));
    let third = ring.key(Role::Auditor, Some("third"));
    let store = memory();
    for sequence in 0..20 {
        let tenant = if sequence % 2 == 0 { "acme" } else { "rival" };
        let body = body(u32::try_from(sequence).unwrap(), &["shared"], r#""kind":"span""#);
        write(&*store, &[Given { sequence, tenant, body }]);
    }
    let app = ring.app(store);
    for path in [
        "/api/v1/entries?limit=3",
        "/api/v1/entries?limit=3&order=oldest",
        "/api/v1/entries?limit=3&order=ledger&wait=0",
        "/api/v1/entries?limit=3&order=story",
        "/api/v1/traces/shared?limit=3",
    ] {
        let cursor = get_as(&app, &acme, path).await.cursor().unwrap();
        let next = format!("{path}&cursor={cursor}");
        let theirs = get_as(&app, &rival, &next).await;
        assert!(theirs.sequences().iter().all(|sequence| sequence % 2 == 1), "{}", theirs.text);
        let nobodys = get_as(&app, &third, &next).await;
        let without = get_as(&app, &third, path).await;
        assert_eq!(nobodys.sequences(), Vec::<u64>::new());
        assert!(!nobodys.text.contains("\"total\":1"), "{}", nobodys.text);
        assert_eq!(nobodys.json()["total"], without.json()["total"]);
    }
}

#[tokio::test]
async fn a_key_is_told_who_it_is_and_whose_evidence_it_may_read() {
    let ring = Ring::new();
    let key = ring.key(Role::Auditor, Some("acme"));
    let everybodys = ring.key(Role::GlobalAuditor, None);
    let writer = ring.key(Role::Writer, Some("rival"));
    let app = ring.app(memory());
    let who = get_as(&app, &key, "/api/v1/whoami").await.json();
    let wanted = serde_json::json!({
        "id": key.id(), "name": "auditor", "role": "auditor", "rights": ["read"],
        "tenant": "acme", "expires": null,
    });
    assert_eq!(who, wanted);
    let who = get_as(&app, &everybodys, "/api/v1/whoami").await.json();
    assert_eq!((&who["role"], &who["tenant"]), (&"global-auditor".into(), &().into()));
    let own = get_as(&app, &key, "/api/v1/tenants").await.json();
    assert_eq!(own, serde_json::json!({"tenants": ["acme"]}));
    let all = get_as(&app, &everybodys, "/api/v1/tenants").await.json();
    assert_eq!(all, serde_json::json!({"tenants": ["_spanledger", "acme", "default", "rival"]}));
    assert_eq!(get_as(&app, &writer, "/api/v1/tenants").await.status, StatusCode::FORBIDDEN);
    let local = get(&api_support::app(memory()), "/api/v1/whoami").await.json();
    assert_eq!((&local["name"], &local["tenant"]), (&"local".into(), &"default".into()));
    assert_eq!(local["rights"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn before_the_first_key_everybody_is_local_and_from_it_on_nobody() {
    let store = memory();
    fill(&*store, &[body(1, &["t"], r#""kind":"span""#)]);
    let ring = Ring::new();
    let app = ring.app(store);
    assert_eq!(get(&app, "/api/v1/entries").await.sequences(), [0]);
    let writer = ring.key(Role::Writer, Some("default"));
    let refused = get(&app, "/api/v1/entries").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"spanledger\"");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.headers["cache-control"], "no-store");
    let forbidden = get_as(&app, &writer, "/api/v1/entries").await;
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    let detail = forbidden.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "this credential may not read: it has the role writer");
}

#[tokio::test]
async fn no_method_goes_round_a_right() {
    let ring = Ring::new();
    let writer = ring.key(Role::Writer, Some("acme"));
    let app = ring.app(two_tenants());
    for path in ["/api/v1/entries", "/api/v1/traces/shared", "/api/v1/keys", "/metrics"] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PATCH", "TRACE", "BREW"] {
            let nobody = call(&app, method, path, None, None).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            let wrong = call(&app, method, path, Some(&writer), None).await;
            assert_eq!(wrong.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    let auditor = ring.key(Role::Auditor, Some("acme"));
    let head = call(&app, "HEAD", "/api/v1/entries", Some(&auditor), None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    let options = call(&app, "OPTIONS", "/api/v1/entries", Some(&auditor), None).await;
    assert_eq!(options.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_key_is_taken_as_bearer_as_basic_and_as_x_api_key() {
    use base64::Engine as _;
    let ring = Ring::new();
    let key = ring.key(Role::Auditor, Some("acme"));
    let app = ring.app(two_tenants());
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("me:{}", key.reveal()));
    for (name, value) in [
        ("authorization", format!("Bearer {}", key.reveal())),
        ("authorization", format!("Basic {basic}")),
        ("x-api-key", key.reveal().to_owned()),
    ] {
        let request = Request::get("/api/v1/entries").header("host", "localhost:4380");
        let answer = ask(&app, request.header(name, value).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.sequences(), [2, 0], "{name}");
    }
    let request = Request::get(format!("/api/v1/entries?key={}", key.reveal()));
    let request = request.header("host", "localhost:4380").body(Body::empty()).unwrap();
    assert_eq!(ask(&app, request).await.status, StatusCode::UNAUTHORIZED, "never in an address");
}

#[tokio::test]
async fn a_client_certificate_is_who_its_name_says() {
    let ring = Ring::new();
    let name = CertificateName::dns("auditor.acme.example");
    let new =
        NewCredential { certificate: Some(name.clone()), ..new_key(Role::Auditor, Some("acme")) };
    assert!(ring.make(new).1.is_none());
    let app = ring.app(two_tenants());
    let shown = |names: Vec<CertificateName>| {
        let mut request =
            Request::get("/api/v1/entries").header("host", "localhost:4380").body(Body::empty());
        request.as_mut().unwrap().extensions_mut().insert(PeerCertificate { names });
        let app = app.clone();
        async move { ask(&app, request.unwrap()).await }
    };
    assert_eq!(shown(vec![name]).await.sequences(), [2, 0]);
    let stranger = shown(vec![CertificateName::dns("stranger.example")]).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let ring = Ring::new();
    let limits = RateLimits { requests_per_second: Some(2), bytes_per_second: None };
    let new = NewCredential { limits, ..new_key(Role::Auditor, Some("acme")) };
    let key = ring.make(new).1.unwrap();
    let other = ring.key(Role::Auditor, Some("acme"));
    let app = ring.app(two_tenants());
    let mut refused = None;
    for _ in 0..50 {
        let answer = get_as(&app, &key, "/api/v1/whoami").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("fifty at once are more than two");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json()["type"], "urn:spanledger:problem:too-many-requests");
    assert_eq!(get_as(&app, &other, "/api/v1/whoami").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_request_waits_gets_nothing_more() {
    let ring = Ring::new();
    let key = ring.key(Role::Auditor, Some("acme"));
    let store = memory();
    let app = ring.app(store.clone());
    let waiting = tokio::spawn({
        let (app, key) = (app.clone(), key.clone());
        async move { get_as(&app, &key, "/api/v1/entries?order=ledger&cursor=end&wait=30").await }
    });
    // It is in use when it was used.
    let used = || ring.credentials.list().unwrap()[0].1.is_some();
    tokio::time::timeout(Duration::from_mins(1), async {
        while !used() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    ring.change(|book| book.revoke(key.id(), "os:root", jiff::Timestamp::now())).unwrap();
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
    assert_eq!(answer.json()["type"], "urn:spanledger:problem:credential-revoked");
}

#[tokio::test]
async fn reasons_are_for_who_runs_the_installation() {
    let ring = Ring::new();
    let monitor = ring.key(Role::Monitor, None);
    let writer = ring.key(Role::Writer, Some("acme"));
    let health = Arc::new(Health::starting(&["ledger"]));
    health.held_up("elasticsearch", "no reply from http://es.internal:9200");
    let metrics: Metrics = Arc::new(|| "# EOF\n".to_owned());
    let api = spanledger::api::Api::new(memory(), health.clone(), metrics)
        .with_credentials(ring.credentials.clone());
    let app = router(api, HostCheck::Any);
    let nobody = get(&app, "/readyz").await;
    assert_eq!(nobody.status, StatusCode::SERVICE_UNAVAILABLE);
    let silent = serde_json::json!({"ready": false, "reasons": [], "held_up": []});
    assert_eq!(nobody.json(), silent);
    assert_eq!(get_as(&app, &writer, "/readyz").await.json(), silent);
    let unknown = Token::new().unwrap();
    assert_eq!(get_as(&app, &unknown, "/readyz").await.json(), silent);
    let told = get_as(&app, &monitor, "/readyz").await;
    assert!(told.text.contains("es.internal") && told.text.contains("ledger"), "{}", told.text);
    health.dead("the disk /var/lib is gone");
    assert!(!get(&app, "/healthz").await.text.contains("/var/lib"));
    assert!(get_as(&app, &monitor, "/healthz").await.text.contains("/var/lib"));
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_with_a_certificate_that_the_browser_adds() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let victim = ring.key(Role::Writer, Some("acme"));
    let app = ring.app(memory());
    let path = format!("/api/v1/keys/{}/revoke", victim.id());
    let request = Request::post(&path)
        .header("host", "localhost:4380")
        .header("origin", "https://evil.example")
        .header("authorization", format!("Bearer {}", operator.reveal()));
    let answer = ask(&app, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["type"], "urn:spanledger:problem:other-site");
    assert!(ring.credentials.list().unwrap().iter().all(|(it, _)| it.revoked.is_none()));
}

#[tokio::test]
async fn each_refusal_is_told_with_its_reason() {
    let ring = Ring::new();
    let writer = ring.key(Role::Writer, Some("acme"));
    let load: Arc<Load> = Arc::default();
    let app = router(ring.api(memory()).with_load(Arc::clone(&load)), HostCheck::Any);
    get(&app, "/api/v1/entries").await;
    get_as(&app, &writer, "/api/v1/entries").await;
    get_as(&app, &Token::new().unwrap(), "/api/v1/entries").await;
    get_as(&app, &writer, "/api/v1/whoami").await;
    get(&app, "/readyz").await;
    get(&app, "/nowhere").await;
    let told: Vec<_> = load.denied.read().filter(|(_, count)| *count > 0).collect();
    assert_eq!(told, [("missing", 1), ("unknown", 1), ("forbidden", 1)]);
}

#[tokio::test]
async fn who_is_on_the_machine_before_any_key_may_name_a_tenant() {
    let app = api_support::app(two_tenants());
    assert_eq!(get(&app, "/api/v1/entries").await.sequences(), Vec::<u64>::new());
    assert_eq!(get(&app, "/api/v1/entries?tenant=acme").await.sequences(), [2, 0]);
}
