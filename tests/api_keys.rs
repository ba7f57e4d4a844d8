//! Keys are made, listed, rotated and revoked over the API.

mod api_support;

use api_support::{Ring, call, get_as, memory};
use axum::http::StatusCode;
use serde_json::{Value, json};
use spanledger::access::{Role, Token};

fn secret(made: &Value) -> Token {
    Token::parse(made["secret"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_key_works_from_the_answer_on_and_its_secret_is_shown_once() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let app = ring.app(memory());
    let wanted = json!({
        "name": "ci", "role": "auditor", "tenant": "acme", "expires": "90d",
        "requests_per_second": 50, "bytes_per_second": 1_048_576,
    });
    let made = call(&app, "POST", "/api/v1/keys", Some(&operator), Some(wanted)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let key = secret(&made.json());
    assert_eq!(made.json()["key"]["created_by"], format!("key:{}", operator.id()));
    assert_eq!(get_as(&app, &key, "/api/v1/entries").await.status, StatusCode::OK);

    let listed = get_as(&app, &operator, "/api/v1/keys").await;
    let shown = &listed.json()["keys"][1];
    assert_eq!((&shown["id"], &shown["state"]), (&key.id().into(), &"active".into()));
    assert_eq!((&shown["tenant"], &shown["requests_per_second"]), (&"acme".into(), &50.into()));
    assert!(shown["last_used"].is_string() && shown["expires"].is_string(), "{shown}");
    for secret in [key.reveal(), &key.hash().to_hex(), operator.reveal(), "sha256", "slk_"] {
        assert!(!listed.text.contains(secret), "{}", listed.text);
    }
}

#[tokio::test]
async fn a_key_that_is_rotated_goes_on_for_its_grace_and_no_longer() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let old = ring.key(Role::Auditor, Some("acme"));
    let app = ring.app(memory());
    let path = format!("/api/v1/keys/{}/rotate", old.id());
    let made = call(&app, "POST", &path, Some(&operator), None).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let new = secret(&made.json());
    assert_eq!(made.json()["key"]["replaces"], old.id());
    for key in [&old, &new] {
        assert_eq!(get_as(&app, key, "/api/v1/entries").await.status, StatusCode::OK);
    }
    let expires = get_as(&app, &old, "/api/v1/whoami").await.json()["expires"].clone();
    let expires: jiff::Timestamp = expires.as_str().unwrap().parse().unwrap();
    let left = expires.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((22..=24).contains(&left), "a day when nobody says how long: {left} h");

    let at_once = call(&app, "POST", &path, Some(&operator), Some(json!({"grace": "0s"}))).await;
    assert_eq!(at_once.status, StatusCode::OK, "{}", at_once.text);
    let refused = get_as(&app, &old, "/api/v1/entries").await;
    assert_eq!(refused.json()["type"], "urn:spanledger:problem:credential-expired");
    let again = call(&app, "POST", &path, Some(&operator), None).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "it is expired: {}", again.text);
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_at_once_and_stays_in_the_list() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let key = ring.key(Role::Auditor, Some("acme"));
    let app = ring.app(memory());
    let path = format!("/api/v1/keys/{}/revoke", key.id());
    let revoked = call(&app, "POST", &path, Some(&operator), None).await;
    assert_eq!((revoked.status, &revoked.json()["state"]), (StatusCode::OK, &"revoked".into()));
    let refused = get_as(&app, &key, "/api/v1/entries").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let at = revoked.json()["revoked"].clone();
    let again = call(&app, "POST", &path, Some(&operator), None).await;
    assert_eq!(again.json()["revoked"], at, "the first time counts");
    let listed = get_as(&app, &operator, "/api/v1/keys").await.json();
    assert_eq!(listed["keys"][1]["revoked_by"], format!("key:{}", operator.id()));
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_with_the_remedy() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let app = ring.app(memory());
    for (asked, said) in [
        (json!({"name": "x", "role": "auditor"}), "needs a tenant"),
        (json!({"name": "x", "role": "operator", "tenant": "acme"}), "name no tenant"),
        (json!({"name": "", "role": "operator"}), "1 to 128"),
        (json!({"name": "x", "role": "root"}), "global-auditor"),
        (json!({"name": "x", "role": "operator", "expires": "soon"}), "90d"),
        (json!({"name": "x", "role": "operator", "expires": "2001-01-01"}), "expired already"),
        (json!({"name": "x", "role": "forwarder", "tenant": "acme"}), "assert"),
        (json!({"name": "x", "role": "operator", "colour": "red"}), "colour"),
        (json!({"name": "x", "role": "operator", "requests_per_second": 0}), "revoke the key"),
    ] {
        let answer = call(&app, "POST", "/api/v1/keys", Some(&operator), Some(asked)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(answer.text.contains(said), "{said}: {}", answer.text);
    }
    let rotate = |grace: &'static str| {
        let (app, operator) = (app.clone(), operator.clone());
        async move {
            let path = format!("/api/v1/keys/{}/rotate", operator.id());
            call(&app, "POST", &path, Some(&operator), Some(json!({"grace": grace}))).await
        }
    };
    assert_eq!(rotate("soon").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(rotate("-1h").await.status, StatusCode::BAD_REQUEST);
    for path in ["/api/v1/keys/0123456789abcdef/revoke", "/api/v1/keys/%ff/rotate"] {
        let answer = call(&app, "POST", path, Some(&operator), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
        assert!(answer.text.contains("/api/v1/keys"), "{}", answer.text);
    }
    assert_eq!(ring.credentials.list().unwrap().len(), 1);
}

#[tokio::test]
async fn the_first_key_is_the_operators_unless_one_says_that_one_knows() {
    let ring = Ring::new();
    let app = ring.app(memory());
    let writer = json!({"name": "agents", "role": "writer", "tenant": "default"});
    let refused = call(&app, "POST", "/api/v1/keys", None, Some(writer.clone())).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert_eq!(refused.json()["type"], "urn:spanledger:problem:first-key");
    let operator = json!({"name": "ops", "role": "operator"});
    let made = call(&app, "POST", "/api/v1/keys", None, Some(operator)).await;
    assert_eq!(made.json()["key"]["created_by"], "local", "{}", made.text);
    let operator = secret(&made.json());
    let nobody = call(&app, "POST", "/api/v1/keys", None, Some(writer.clone())).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "the door is shut");
    let made = call(&app, "POST", "/api/v1/keys", Some(&operator), Some(writer.clone())).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);

    let app = Ring::new().app(memory());
    let mut known = writer;
    known["first"] = true.into();
    let made = call(&app, "POST", "/api/v1/keys", None, Some(known)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
}

#[tokio::test]
async fn a_forwarder_is_listed_with_what_it_may_assert_and_a_certificate_has_no_secret() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let app = ring.app(memory());
    let wanted = json!({
        "name": "edge", "role": "forwarder", "tenant": "platform", "certificate": "dns:edge.example",
        "forward": {"tenants": ["acme", "rival"], "attribute": "customer.id"},
    });
    let made = call(&app, "POST", "/api/v1/keys", Some(&operator), Some(wanted.clone())).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let key = &made.json()["key"];
    assert_eq!(
        (&key["forward"], &key["certificate"]),
        (&wanted["forward"], &wanted["certificate"])
    );
    assert_eq!(made.json().get("secret"), None);
    let path = format!("/api/v1/keys/{}/rotate", key["id"].as_str().unwrap());
    let refused = call(&app, "POST", &path, Some(&operator), None).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("authority"), "{}", refused.text);
}

#[tokio::test]
async fn an_api_that_changes_no_keys_says_where_it_is_done() {
    let ring = Ring::new();
    let operator = ring.key(Role::Operator, None);
    let api = api_support::api(memory()).with_credentials(ring.credentials.clone());
    let app = spanledger::api::router(api, spanledger::api::HostCheck::Any);
    let asked = json!({"name": "x", "role": "operator"});
    let answer = call(&app, "POST", "/api/v1/keys", Some(&operator), Some(asked)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text.contains("spanledger keys"), "{}", answer.text);
}
