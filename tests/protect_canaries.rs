//! No secret gets through, wherever in an entry it stands.
//!
//! The entries are made from the JSON Schema, so a field that is added tomorrow is tested tomorrow.

use serde_json::{Map, Value, json};
use spanledger::access::Tenant;
use spanledger::entry::{Entry, Json, Kind};
use spanledger::protect::{Keys, Protector, Settings};
use std::borrow::Cow;

/// Secrets, none of them real, and for each a part that must not be found afterwards.
const CANARIES: &[(&str, &str)] = &[
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    ("sk-ant-api03-aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA", "gH7jK9mN1p"),
    ("sk-proj-aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA", "gH7jK9mN1p"),
    ("ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAaB3d", "gH7jK9mN1p"),
    ("xoxb-123456789012-1234567890123-aB3dE5gH7jK9mN1pQ2rS4tU6", "gH7jK9mN1p"),
    ("AIzaaB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAB12", "gH7jK9mN1p"),
    (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "dozjgNryP4J3",
    ),
    ("Authorization: Bearer labtoken-0123456789abcdef", "0123456789abcdef"),
    ("Basic bGFiOmxhYi1zZWNyZXQ=", "bGFiOmxhYi1zZWNyZXQ"),
    ("postgres://app:hunter2hunter2@db.internal/app", "hunter2hunter2"),
    ("https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "XXXXXXXX"),
    ("Server=db;User Id=sa;Password=hunter2hunter2;", "hunter2hunter2"),
    (r#"{"db":{"password":"hunter2hunter2"}}"#, "hunter2hunter2"),
    (r#"{"in":"{\"api_key\":\"hunter2hunter2\"}"}"#, "hunter2hunter2"),
    (r#"{"k":"\u0041KIAIOSFODNN7EXAMPLE"}"#, "IOSFODNN7"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAaB3dE5gH7jK9mN1p\nQ2rS4tU6vW8x\n-----END RSA PRIVATE KEY-----",
        "gH7jK9mN1p",
    ),
    ("line\nAKIAIOSFODNN7EXAMPLE\n", "IOSFODNN7"),
];

fn protector(settings: &Settings) -> Protector {
    Protector::new(settings, Keys::from_root(&[7; 32])).unwrap()
}

/// A value that the schema allows, with every optional part present.
fn populated(schema: &Value, root: &Value) -> Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap();
        if matches!(name, "Fields" | "Value") {
            return json!({
                "plain.name": "x",
                "nested": { "deeper": [["x"], { "deepest": "x" }] },
                "number": 9_007_199_254_740_993_i64,
            });
        }
        return populated(&root["$defs"][name], root);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
            return populated(first, root);
        }
    }
    if let Some(word) =
        schema.get("const").or_else(|| schema.get("enum").and_then(|all| all.get(0)))
    {
        return word.clone();
    }
    let kind = &schema["type"];
    match kind.as_str().or_else(|| kind.get(0).and_then(Value::as_str)).unwrap() {
        "object" => {
            let properties = schema["properties"].as_object().unwrap();
            properties.iter().map(|(name, part)| (name.clone(), populated(part, root))).collect()
        }
        "array" => json!([populated(&schema["items"], root)]),
        "string" => json!("x"),
        "boolean" => json!(true),
        "integer" => json!(1),
        "number" => json!(1.5),
        other => panic!("the schema has a {other}, which this test does not know"),
    }
}

fn populated_entry() -> Value {
    let schema = serde_json::to_value(Entry::json_schema()).unwrap();
    populated(&schema, &schema)
}

/// Every place of a free string, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text == "x" => found.push(at.to_owned()),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| places(item, &format!("{at}/{n}"), found));
        }
        Value::Object(parts) => {
            parts.iter().for_each(|(name, part)| places(part, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

fn write(protector: &Protector, entry: &mut Entry<'_>) -> String {
    let mut body = b"before".to_vec();
    protector.tenant(&Tenant::default()).write(entry, &mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    body.strip_prefix("before").unwrap().to_owned()
}

#[test]
fn a_credential_is_found_in_every_place_of_an_entry() {
    let protector = protector(&Settings::default());
    let whole = populated_entry();
    let mut all = Vec::new();
    places(&whole, "", &mut all);
    assert!(all.len() > 100, "the schema populates an entry, {} places", all.len());
    for place in &all {
        for (canary, needle) in CANARIES {
            let mut value = whole.clone();
            *value.pointer_mut(place).unwrap() = json!(canary);
            if !place.contains("/invalid_text/") {
                // With raw bytes an entry is always walked; without, the search has to say so.
                value["audit"]["invalid_text"] = json!([]);
            }
            let mut entry: Entry<'_> = serde_json::from_value(value).unwrap();
            let body = write(&protector, &mut entry);
            assert!(!body.contains(needle), "{canary} at {place}: {body}");
            // The digits are those that stand in the same place of every populated entry.
            assert!(body.contains("9007199254740993"), "{place}");
            let recorded = serde_json::from_str::<Value>(&body).unwrap();
            let redactions = recorded["audit"]["redactions"].as_array().unwrap().len();
            // A payload's hash is ours: whatever stood there was overwritten.
            let overwritten = place == "/audit/payload/0/hash";
            assert!(redactions > 1 || overwritten, "{canary} at {place}: {body}");
        }
    }
}

#[test]
fn what_is_in_memory_afterwards_is_what_was_written() {
    let protector = protector(&Settings::default());
    let mut value = populated_entry();
    value["attributes"]["debug"] = json!("token ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAaB3d");
    value["body"]["AKIAIOSFODNN7EXAMPLE"] = json!("a key for a name");
    let mut entry: Entry<'_> = serde_json::from_value(value).unwrap();
    let body = write(&protector, &mut entry);
    let back: Entry<'_> = serde_json::from_str(&body).unwrap();
    assert_eq!(back, entry);
    assert_eq!(
        entry.attributes.get("debug").unwrap().as_str(),
        Some("token [REDACTED:github_token]")
    );
    assert!(body.contains(r#""[REDACTED:aws_access_key_id]":"a key for a name""#), "{body}");
}

#[test]
fn a_credential_is_found_in_bytes_and_behind_repaired_text() {
    let protector = protector(&Settings::default());
    let mut entry = Entry::new(Kind::Span);
    let raw = b"\xffkey AKIAIOSFODNN7EXAMPLE";
    entry.attributes.push("bytes".into(), Json::Bytes(Cow::Borrowed(&raw[1..])));
    entry.attributes.push("repaired".into(), Json::Text(String::from_utf8_lossy(raw)));
    let base64 = serde_json::to_value(Json::Bytes(Cow::Borrowed(raw))).unwrap();
    let base64 = base64.as_str().unwrap().to_owned();
    entry.audit.invalid_text.push(spanledger::entry::InvalidText {
        place: "repaired".into(),
        base64: base64.clone().into(),
    });
    let inside = serde_json::to_value(Json::Bytes(Cow::Borrowed(&raw[1..]))).unwrap();
    let body = write(&protector, &mut entry);
    assert!(!body.contains("IOSFODNN7") && !body.contains(&base64), "{body}");
    assert!(!body.contains(inside.as_str().unwrap()), "{body}");
    assert_eq!(entry.audit.redactions.len(), 3, "{:?}", entry.audit.redactions);
}

#[test]
fn without_a_secret_the_bytes_are_those_of_the_entry() {
    let protector = protector(&Settings::default());
    let mut value = populated_entry();
    value["audit"]["payload"] = json!([]);
    value["audit"]["invalid_text"] = json!([{ "place": "a", "base64": "gP8=" }]);
    let mut entry: Entry<'_> = serde_json::from_value(value).unwrap();
    entry.attributes.push("zero".into(), Json::Double(-0.0));
    entry.attributes.push("nan".into(), Json::Double(f64::NAN));
    entry.attributes.push("large".into(), Json::UInt(u64::MAX));
    let mut plain = Vec::new();
    entry.write(&mut plain).unwrap();
    assert_eq!(write(&protector, &mut entry), String::from_utf8(plain).unwrap());
}

#[test]
fn redaction_keeps_numbers_as_they_were() {
    let protector = protector(&Settings::default());
    let mut entry = Entry::new(Kind::Span);
    for (name, value) in [
        ("secret", Json::Text("AKIAIOSFODNN7EXAMPLE".into())),
        ("int", Json::Int(9_007_199_254_740_993)),
        ("uint", Json::UInt(u64::MAX)),
        ("zero", Json::Double(-0.0)),
        (
            "nested",
            Json::Text(
                r#"{"k":"AKIAIOSFODNN7EXAMPLE","n":12345678901234567890123,"z":-0.0 }"#.into(),
            ),
        ),
    ] {
        entry.attributes.push(name.into(), value);
    }
    let body = write(&protector, &mut entry);
    for kept in [
        r#""int":9007199254740993"#,
        r#""uint":18446744073709551615"#,
        r#""zero":-0.0"#,
        r#"\"n\":12345678901234567890123,\"z\":-0.0 }"#,
    ] {
        assert!(body.contains(kept), "{kept}: {body}");
    }
}

#[test]
fn a_listed_field_is_found_in_every_form() {
    let settings = Settings {
        redact_fields: ["email", "phone", "card_number"].map(str::to_owned).to_vec(),
        ..Settings::default()
    };
    let protector = protector(&settings.validate().unwrap().0);
    let person =
        json!({ "Email": "canary@example.com", "phone": ["canary-2"], "card_number": 4_111_111 });
    let mut value = Map::new();
    value.insert("schema_version".into(), json!(1));
    value.insert("event".into(), json!({}));
    value.insert("user".into(), json!({ "id": "u1", "email": "canary@example.com" }));
    value.insert(
        "attributes".into(),
        json!({
            "customer.email": "canary@example.com",
            "customer": person,
            "in_json": person.to_string(),
            "in_json_in_json": json!({ "a": person.to_string() }).to_string(),
            "note": "paid with 4111 1111 1111 1111",
            "order.id": "4111 1111 1111 1111",
        }),
    );
    value.insert("resource".into(), json!({ "owner.EMAIL": "canary@example.com" }));
    value.insert(
        "events".into(),
        json!([{ "name": "e", "attributes": { "email": "canary@example.com" } }]),
    );
    value.insert(
        "links".into(),
        json!([{ "trace_id": "", "span_id": "", "attributes": { "email": "canary@example.com" } }]),
    );
    value.insert("body".into(), json!({ "list": [person] }));
    value.insert("audit".into(), json!({
        "kind": "span",
        "payload": [
            { "kind": "prompt", "source": "gen_ai.prompt", "text": person.to_string(), "bytes": 1 },
            { "kind": "input", "source": "form.email", "text": "canary@example.com", "bytes": 1 },
        ],
        "change": [{ "path": "contacts[0].email", "before": "canary@example.com", "after": "canary-2" }],
        "invalid_text": [{ "place": "user.email", "base64": "Y2FuYXJ5QGV4YW1wbGUuY29t" }],
    }));
    let mut entry: Entry<'_> = serde_json::from_value(Value::Object(value)).unwrap();
    let body = write(&protector, &mut entry);
    assert!(!body.contains("canary"), "{body}");
    assert!(!body.contains("4111111") && !body.contains("Y2FuYXJ5"), "{body}");
    assert!(body.contains("paid with [REDACTED:card_number]"), "{body}");
    assert!(body.contains(r#""order.id":"4111 1111 1111 1111""#), "an id is left alone: {body}");
    assert!(
        entry.audit.redactions.iter().any(|r| r.rule == "field:email" && r.place == "user.email")
    );
}

#[test]
fn a_dotted_field_is_found_where_objects_spell_it() {
    let settings = Settings { redact_fields: vec!["User.Email".into()], ..Settings::default() };
    let protector = protector(&settings);
    for (place, value, hit) in [
        ("user", json!({ "email": "canary@example.com" }), true),
        ("attributes", json!({ "user.email": "canary@example.com" }), true),
        ("attributes", json!({ "user": { "email": "canary@example.com" } }), true),
        ("body", json!({ "user": { "email": "canary@example.com" } }), true),
        ("attributes", json!({ "shop.email": "canary@example.com" }), false),
    ] {
        let whole =
            json!({ "schema_version": 1, "event": {}, "audit": { "kind": "log" }, place: value });
        let mut entry: Entry<'_> = serde_json::from_value(whole).unwrap();
        let body = write(&protector, &mut entry);
        assert_eq!(body.contains("canary"), !hit, "{body}");
    }
}

#[test]
fn an_error_says_nothing_about_the_entry() {
    let error = Settings { redact_fields: vec!["a\"b".into()], ..Settings::default() };
    let text = error.validate().unwrap_err().to_string();
    assert!(text.contains("redact_fields") && !text.contains('\n'), "{text}");
}
