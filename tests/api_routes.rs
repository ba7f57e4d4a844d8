//! The routes of evidence over a store in memory.

mod api_support;

use api_support::{Given, app, ask, body, fill, get, id_of, memory, write};
use axum::body::Body;
use axum::http::{Request, StatusCode};

#[tokio::test]
async fn one_id_finds_what_never_carried_it() {
    let store = memory();
    let otel = "4bf92f3577b34da6a3ce929d0e0e4736";
    fill(
        &*store,
        &[
            body(2, &[otel], r#""kind":"tool_call""#),
            body(1, &[otel, "langsmith-run-abc123"], r#""kind":"agent_run""#),
            body(3, &["other"], r#""kind":"tool_call""#),
        ],
    );
    let answer = get(&app(store), "/api/v1/traces/langsmith-run-abc123").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.sequences(), [1, 0], "in the order of the story");
    let shown = answer.json();
    assert_eq!((&shown["count"], &shown["total"]), (&2.into(), &2.into()));
    assert_eq!(shown["order"], "story");
    assert!(shown["trace_ids"].as_array().unwrap().contains(&otel.into()), "{shown}");
}

#[tokio::test]
async fn a_story_comes_in_ledger_order_on_request() {
    let store = memory();
    fill(&*store, &[body(2, &["t-1"], r#""kind":"span""#), body(1, &["t-1"], r#""kind":"span""#)]);
    let app = app(store);
    assert_eq!(get(&app, "/api/v1/traces/t-1").await.sequences(), [1, 0]);
    assert_eq!(get(&app, "/api/v1/traces/t-1?order=ledger").await.sequences(), [0, 1]);
    assert_eq!(get(&app, "/api/v1/traces/t-1?order=size").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_id_may_have_slashes_percent_signs_and_any_letters() {
    let store = memory();
    let ids = ["https://smith.example/runs/1", "a//b", "100%", "a%2Fb", "x y?z#1", "räksmörgås"];
    fill(&*store, &ids.map(|id| body(1, &[id], r#""kind":"span""#)));
    let app = app(store);
    let paths = [
        "https://smith.example/runs/1",
        "a//b",
        "100%25",
        "a%252Fb",
        "x%20y%3Fz%231",
        "r%C3%A4ksm%C3%B6rg%C3%A5s",
    ];
    for (sequence, path) in (0..).zip(paths) {
        let answer = get(&app, &format!("/api/v1/traces/{path}")).await;
        assert_eq!(answer.sequences(), [sequence], "{path}: {}", answer.text);
    }
    let encoded = get(&app, "/api/v1/traces/https%3A%2F%2Fsmith.example%2Fruns%2F1").await;
    assert_eq!(encoded.sequences(), [0]);
}

#[tokio::test]
async fn an_id_that_is_not_text_is_refused_with_the_remedy() {
    let answer = get(&app(memory()), "/api/v1/traces/%ff%fe").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["detail"].as_str().unwrap().contains("percent-encoded"));
    let long = format!("/api/v1/traces/{}", "x".repeat(2_000));
    assert_eq!(get(&app(memory()), &long).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_unknown_id_has_an_empty_story() {
    let answer = get(&app(memory()), "/api/v1/traces/nobody").await;
    assert_eq!((answer.status, answer.sequences()), (StatusCode::OK, vec![]));
}

#[tokio::test]
async fn no_question_crosses_the_tenants_wall() {
    let store = memory();
    let shared = |kind: &str| body(1, &["shared"], &format!(r#""kind":"{kind}""#));
    write(
        &*store,
        &[
            Given { sequence: 0, tenant: "default", body: shared("span") },
            Given { sequence: 1, tenant: "rival", body: shared("decision") },
            Given {
                sequence: 2,
                tenant: "rival",
                body: body(2, &["rival-only"], r#""kind":"span""#),
            },
        ],
    );
    let app = app(store);
    let shown = get(&app, "/api/v1/traces/shared").await;
    assert_eq!((shown.sequences(), shown.json()["total"].as_u64()), (vec![0], Some(1)));
    for question in ["", "?q=kind:decision", "?q=trace_id:rival-only", "?order=ledger&cursor=end"] {
        let answer = get(&app, &format!("/api/v1/entries{question}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(!answer.text.contains("rival"), "{question}: {}", answer.text);
    }
    let end = get(&app, "/api/v1/entries?order=ledger&cursor=end").await;
    assert_eq!(end.cursor().as_deref(), Some("l0"), "the rival's entries are not counted");
    assert_eq!(get(&app, "/api/v1/traces/rival-only").await.sequences(), Vec::<u64>::new());
    let theirs = format!("/api/v1/entries/{}", id_of(1));
    assert_eq!(get(&app, &theirs).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_give_each_entry_once_in_every_order() {
    let store = memory();
    let bodies: Vec<String> =
        (0..23).map(|i| body(i * 7 % 23, &["t-1"], r#""kind":"span""#)).collect();
    fill(&*store, &bodies);
    let app = app(store);
    let by_time: Vec<u64> = {
        let mut all: Vec<u64> = (0..23).collect();
        all.sort_by_key(|i| i * 7 % 23);
        all
    };
    for (question, wanted) in [
        ("/api/v1/entries?order=newest&limit=5", (0..23).rev().collect()),
        ("/api/v1/entries?order=oldest&limit=5", (0..23).collect()),
        ("/api/v1/entries?order=story&limit=5", by_time.clone()),
        ("/api/v1/traces/t-1?limit=5", by_time),
        ("/api/v1/traces/t-1?limit=5&order=ledger", (0..23).collect::<Vec<u64>>()),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let next: Option<String> = cursor.map(|cursor| format!("{question}&cursor={cursor}"));
            let page = get(&app, next.as_deref().unwrap_or(question)).await;
            assert!(page.sequences().len() <= 5);
            assert_eq!(page.json()["count"], page.sequences().len());
            seen.extend(page.sequences());
            cursor = page.cursor();
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, wanted, "{question}");
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_says_where_and_what_to_do() {
    let answer = get(&app(memory()), "/api/v1/entries?q=decision%3Ablock+AND+%28kind%3Aspan").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:spanledger:problem:invalid-query");
    assert_eq!(problem["position"], 29, "{problem}");
    insta::assert_json_snapshot!(problem);
}

#[tokio::test]
async fn parameters_out_of_bounds_are_refused_and_the_bounds_are_not() {
    let app = app(memory());
    for question in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=many",
        "limit=1&limit=2",
        "qurey=decision",
        "order=random",
        "cursor=hello",
        "cursor=end",
        "order=story&cursor=l4",
        "wait=1",
        "order=ledger&wait=31",
        &format!("cursor={}", "n".repeat(600)),
        &format!("q={}", "x".repeat(9_000)),
    ] {
        let answer = get(&app, &format!("/api/v1/entries?{question}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{question}: {}", answer.text);
        assert_eq!(answer.json()["status"], 400, "{question}");
        assert!(answer.json()["detail"].as_str().unwrap().len() > 20, "{question}");
    }
    for question in ["limit=1", "limit=1000", "q=", "order=ledger&wait=0"] {
        let answer = get(&app, &format!("/api/v1/entries?{question}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{question}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_body_is_shown_byte_for_byte() {
    let store = memory();
    let audit = r#""kind":"span","x":[9007199254740993,-0.0,1e-7,"\u00e9é",18446744073709551615]"#;
    fill(&*store, &[body(1, &["t-1"], audit)]);
    let app = app(store);
    for path in ["/api/v1/traces/t-1", "/api/v1/entries", &format!("/api/v1/entries/{}", id_of(0))]
    {
        let answer = get(&app, path).await;
        assert!(answer.text.contains(audit), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn one_entry_is_found_by_its_id_and_by_nothing_else() {
    let store = memory();
    fill(&*store, &[body(1, &["t-1"], r#""kind":"span""#)]);
    let app = app(store);
    let found = get(&app, &format!("/api/v1/entries/{}", id_of(0))).await;
    assert_eq!((found.status, &found.json()["event"]["id"]), (StatusCode::OK, &id_of(0).into()));
    let absent = get(&app, &format!("/api/v1/entries/{}", id_of(1))).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    for id in ["t-1", "xyz", "%2b0000000000000000000000000000000f", "%ff"] {
        let answer = get(&app, &format!("/api/v1/entries/{id}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}");
    }
}

#[tokio::test]
async fn a_page_of_the_web_cannot_read_through_its_own_name() {
    let app = app(memory());
    for path in ["/", "/api/v1/entries", "/api/v1/openapi.json", "/healthz", "/metrics", "/nowhere"]
    {
        let request = Request::get(path).header("host", "evil.example:4380").body(Body::empty());
        let answer = ask(&app, request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(!answer.text.contains("evil"), "the attacker's text is not repeated");
        let request = Request::get(path).header("host", "localhost:4380").body(Body::empty());
        assert_ne!(ask(&app, request.unwrap()).await.status, StatusCode::MISDIRECTED_REQUEST);
    }
}

#[tokio::test]
async fn every_answer_forbids_framing_guessing_keeping_and_sharing() {
    let app = app(memory());
    for path in ["/", "/api/v1/entries", "/api/v1/entries?limit=0", "/nowhere", "/healthz"] {
        let answer = get(&app, path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_path_or_method_is_a_problem_with_directions() {
    let app = app(memory());
    let nowhere = get(&app, "/api/v2/entries").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert_eq!(nowhere.headers["content-type"], "application/problem+json");
    let post = Request::post("/api/v1/entries").header("host", "localhost:4380");
    let answer = ask(&app, post.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(answer.json()["type"], "urn:spanledger:problem:method-not-allowed");
}

#[tokio::test]
async fn the_openapi_document_names_every_parameter() {
    let answer = get(&app(memory()), "/api/v1/openapi.json").await;
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let parameters = |path: &str| -> Vec<String> {
        let list = document["paths"][path]["get"]["parameters"].as_array().unwrap().clone();
        list.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(parameters("/api/v1/entries"), ["q", "limit", "cursor", "order", "wait", "tenant"]);
    assert_eq!(parameters("/api/v1/traces/{id}"), ["id", "order", "limit", "cursor", "tenant"]);
    assert_eq!(parameters("/api/v1/entries/{id}"), ["id", "tenant"]);
    insta::assert_json_snapshot!(document);
}
