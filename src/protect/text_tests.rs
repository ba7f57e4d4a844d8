//! Secrets and look-alikes in single texts.

use super::*;
use proptest::prelude::*;

fn cleaner(fields: &[&str]) -> Cleaner {
    let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    Cleaner::new(true, &fields).unwrap()
}

fn clean(text: &str) -> (String, Vec<String>) {
    clean_with(&cleaner(&[]), text)
}

fn clean_with(cleaner: &Cleaner, text: &str) -> (String, Vec<String>) {
    let mut rules = Vec::new();
    let clean = cleaner.clean(text, false, |rule| rules.push(rule.to_owned()));
    (clean.unwrap_or_else(|| text.to_owned()), rules)
}

/// A credential of each kind; not one of them was ever issued.
fn credentials() -> Vec<(&'static str, String)> {
    let r =
        |n: usize| "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA".chars().cycle().take(n).collect::<String>();
    let hex = |n: usize| "0a1b2c3d4e5f6789".chars().cycle().take(n).collect::<String>();
    vec![
        ("aws_access_key_id", "AKIAIOSFODNN7EXAMPLE".into()),
        ("aws_access_key_id", "ASIAIOSFODNN7EXAMPLE".into()),
        ("anthropic_api_key", format!("sk-ant-api03-{}-{}AA", r(40), r(50))),
        ("openai_api_key", format!("sk-{}", r(48))),
        ("openai_api_key", format!("sk-proj-{}_{}", r(60), r(60))),
        ("openrouter_api_key", format!("sk-or-v1-{}", hex(64))),
        ("langfuse_secret_key", "sk-lf-550e8400-e29b-41d4-a716-446655440000".into()),
        ("stripe_secret_key", format!("sk_live_{}", r(24))),
        ("stripe_secret_key", format!("rk_live_{}", r(24))),
        ("stripe_webhook_secret", format!("whsec_{}", r(32))),
        ("github_token", format!("ghp_{}", r(36))),
        ("github_token", format!("gho_{}", r(36))),
        ("github_token", format!("github_pat_{}_{}", r(22), r(59))),
        ("gitlab_token", format!("glpat-{}", r(20))),
        ("slack_token", format!("xoxb-123456789012-1234567890123-{}", r(24))),
        ("slack_token", format!("xoxp-123456789012-1234567890123-{}", r(24))),
        ("google_api_key", format!("AIza{}", r(35))),
        ("google_oauth_token", format!("ya29.{}", r(60))),
        ("google_client_secret", format!("GOCSPX-{}", r(28))),
        (
            "jwt",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.\
             dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
                .into(),
        ),
        ("huggingface_token", format!("hf_{}", r(34))),
        ("npm_token", format!("npm_{}", r(36))),
        ("pypi_token", format!("pypi-AgEIcHlwaS5vcmc{}", r(60))),
        ("sendgrid_api_key", format!("SG.{}.{}", r(22), r(43))),
        ("langsmith_api_key", format!("lsv2_pt_{}_{}", hex(32), hex(10))),
        ("spanledger_key", format!("slk_{}_{}", "0123456789abcdef", r(43))),
        ("groq_api_key", format!("gsk_{}", r(52))),
        ("vault_token", format!("hvs.{}", r(90))),
        ("databricks_token", format!("dapi{}", hex(32))),
        (
            "private_key",
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----",
                r(64),
                r(64)
            ),
        ),
    ]
}

/// What announces a secret, the secret, and the rule.
fn announced() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("Authorization: Bearer ", "abcdef0123456789abcdef".into(), "bearer_token"),
        ("authorization=bearer ", "lab-token".into(), "bearer_token"),
        ("Bearer ", "0123456789abcdefghij".into(), "bearer_token"),
        ("Authorization: Basic ", "bGFiOmxhYi1zZWNyZXQ=".into(), "basic_auth"),
        (
            "https://hooks.slack.com/services/",
            "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX".into(),
            "slack_webhook",
        ),
        ("postgres://app:", "hunter2".into(), "url_password"),
        ("postgres://app:", "h;u(n)té,r2".into(), "url_password"),
        ("{\"access_token\":\"", "q8w7e6r5".into(), "field:secret"),
        ("{'authToken': '", "q8w7e6r5".into(), "field:secret"),
        (
            "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=",
            format!("{}==", "aB3/".repeat(21)),
            "field:secret",
        ),
        ("Server=db;User Id=sa;Password=", "hunter2!".into(), "field:password"),
        ("connect(password='", "correct horse".into(), "field:password"),
        ("{\"password\": \"", "hunter2 and more".into(), "field:password"),
        ("{'password': '", "hunter2".into(), "field:password"),
        ("{\\\"db\\\":{\\\"password\\\":\\\"", "hunter2".into(), "field:password"),
        ("{\"clientSecret\":\"", "q8w7e6r5".into(), "field:secret"),
        ("export DD_API_KEY=", "0123456789abcdef0123456789abcdef".into(), "field:secret"),
        ("DD-API-KEY: ", "0123456789abcdef0123456789abcdef".into(), "field:secret"),
        ("?api_key=", "a1b2c3d4e5".into(), "field:secret"),
    ]
}

#[test]
fn every_kind_of_credential_is_found_by_its_rule_and_goes_whole() {
    for (rule, secret) in credentials() {
        for (before, after) in [
            ("", ""),
            ("the key ", " ok"),
            ("(", ")"),
            ("x=\"", "\","),
            ("line\n", "\nnext"),
            ("é", "é"),
        ] {
            let (clean, rules) = clean(&format!("{before}{secret}{after}"));
            assert_eq!(clean, format!("{before}[REDACTED:{rule}]{after}"), "{secret}");
            assert_eq!(rules, [rule]);
        }
    }
}

#[test]
fn a_secret_that_is_announced_is_found_and_what_announces_it_stays() {
    for (before, secret, rule) in announced() {
        let after = match rule {
            "url_password" => "@db.internal/app",
            _ if before.ends_with("\\\"") => "\\\"}}",
            _ if before.ends_with('"') => "\"}",
            _ if before.ends_with('\'') => "'}",
            _ => " ",
        };
        let (clean, rules) = clean(&format!("{before}{secret}{after}"));
        assert_eq!(clean, format!("{before}[REDACTED:{rule}]{after}"));
        assert_eq!(rules, [rule]);
    }
}

#[test]
fn a_private_key_without_its_end_goes_to_the_end_of_its_string() {
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}", "aB3/".repeat(16));
    assert_eq!(clean(&format!("key: {key}\ncut")).0, "key: [REDACTED:private_key]");
    assert_eq!(
        clean(&format!("{{'k': '{key}', 'n': 1}}")).0,
        "{'k': '[REDACTED:private_key]', 'n': 1}"
    );
}

#[test]
fn the_secret_beside_an_aws_key_id_goes_too() {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let (clean, rules) = clean(&format!("id AKIAIOSFODNN7EXAMPLE\nkey {secret}\n"));
    assert_eq!(clean, "id [REDACTED:aws_access_key_id]\nkey [REDACTED:aws_secret_access_key]\n");
    assert_eq!(rules, ["aws_access_key_id", "aws_secret_access_key"]);
    assert!(clean_with(&cleaner(&[]), secret).1.is_empty(), "alone it is forty letters");
}

#[test]
fn the_search_uses_the_vector_unit_where_there_is_one() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        assert!(
            cleaner(&[]).credentials.unwrap().is_vectorised(),
            "more literals than Teddy takes"
        );
    }
}

#[test]
fn what_only_looks_like_a_credential_stays() {
    for text in [
        "a basic understanding of Basic auth and BASIC information: basic ",
        "the bearer token is sent as Bearer authentication; bearer certificates; Bearer <token>",
        "scikit-learn, sk-learn-2024-migration-guide, sk-toggleable__content, task-1234567890123456",
        "cGFyc2VyeJhbGciOiJIUzI1NiJ9 eyJ eyJhbGci eyJub3QiOiJhIGp3dCJ9.x.y",
        "550e8400-e29b-41d4-a716-446655440000 019347a1-7b1e-7c3c-9c5e-0123456789ab",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709 4bf92f3577b34da6a3ce929d0e0e4736",
        "gpt-4o-mini-2024-07-18 claude-sonnet-4-5-20250929 text-embedding-3-large models/gemini-2.0",
        "2026-11-21T08:31:27.123456789Z 1795241529767677952 call_0aBcDeFgHiJkLmNoPqRsTuVw",
        "https://example.com:8443/a@b?x=1 git@github.com:org/repo.git http://user@host ://",
        "postgres://{user}:{password}@host mysql://root:$PASS@db redis://:****@h",
        "msg.SG.x ASIA PACIFIC ASIAPACIFIC AKIA npm_config_registry pypi-server hf_hub hf_transformers",
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUaB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        "a PEM file starts with -----BEGIN PRIVATE KEY----- and must stay secret",
        r#"{"password":{"type":"string"},"api_key":{"type":"string","description":"Your key"}}"#,
        r#"{"type":"secret","id":["OPENAI_API_KEY"],"input_tokens":12,"token":"Hello","logprob":-0.1}"#,
        r#"{"password":null,"secret":"","api_key":"None","passwd":"****","client_secret":"<redacted>"}"#,
        r#"{"authorization":"denied","cookie":"chocolate chip","max_tokens":"4096","secret":true}"#,
        "api_key=os.environ['KEY'] password=get_password() secret=self.secret api_key=api_key",
        "password: required, then choose a new password = better; PWD=/srv/agent pwd: /srv/agent",
        "password reset link; forgot your password? the secret: be kind",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "tool_call_id toolu_01A09q90qw90lq917835lq9 run-7f3c sig=abc&sig=short dapi-docs glsa_x",
    ] {
        assert_eq!(clean(text), (text.to_owned(), vec![]));
    }
}

#[test]
fn escapes_of_json_hide_nothing() {
    for (hidden, shown) in [
        (r#"{"k":"\u0041KIAIOSFODNN7EXAMPLE"}"#, r#"{"k":"[REDACTED:aws_access_key_id]"}"#),
        (r#"{"k":"x\nAKIAIOSFODNN7EXAMPLE"}"#, r#"{"k":"x\n[REDACTED:aws_access_key_id]"}"#),
        (
            r#"{"k":"x\u000aAKIAIOSFODNN7EXAMPLE"}"#,
            r#"{"k":"x\u000a[REDACTED:aws_access_key_id]"}"#,
        ),
        (
            r#"{"u":"postgres:\/\/a:hunter2@h"}"#,
            r#"{"u":"postgres://a:[REDACTED:url_password]@h"}"#,
        ),
        (r#"{"pass\u0077ord":"hunter2"}"#, r#"{"password":"[REDACTED:field:password]"}"#),
        (r#"{\"pass\\u0077ord\":\"hunter2\"}"#, r#"{\"password\":\"[REDACTED:field:password]\"}"#),
    ] {
        assert_eq!(clean(hidden).0, shown);
    }
    let pem = format!(
        r"-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        "aB3/".repeat(16)
    );
    assert_eq!(clean(&format!(r#"{{"pem":"{pem}"}}"#)).0, r#"{"pem":"[REDACTED:private_key]\n"}"#);
}

#[test]
fn an_escape_that_hides_nothing_stays_as_it_is() {
    let text = r#"{"path":"a\/b","lt":"\u003c","n":12345678901234567890123,"z":-0.0}"#;
    assert_eq!(clean(text), (text.to_owned(), vec![]));
}

#[test]
fn a_string_in_json_ends_where_its_quote_ends_it() {
    for (text, expected) in [
        (r#"{"password":"a\"b\\","x":1}"#, r#"{"password":"[REDACTED:field:password]","x":1}"#),
        (
            r#"{\"password\":\"a\\\"b\",\"x\":1}"#,
            r#"{\"password\":\"[REDACTED:field:password]\",\"x\":1}"#,
        ),
        (
            r#"{"in":"{\"password\":\"abc"}"#,
            r#"{"in":"{\"password\":\"[REDACTED:field:password]"}"#,
        ),
        (r#"{"password": 123456, "x":1}"#, r#"{"password": "[REDACTED:field:password]", "x":1}"#),
        (
            r#"{"set-cookie":["a=1; b", "c"],"x":[1]}"#,
            r#"{"set-cookie":"[REDACTED:field:cookie]","x":[1]}"#,
        ),
        (r#"{\"password\":1234}"#, r#"{\"password\":\"[REDACTED:field:password]\"}"#),
        (
            "{\n  \"password\" :\n \"x y\"\n}",
            "{\n  \"password\" :\n \"[REDACTED:field:password]\"\n}",
        ),
        (
            r#"{\n  \"password\":\n \"x y\"\n}"#,
            r#"{\n  \"password\":\n \"[REDACTED:field:password]\"\n}"#,
        ),
    ] {
        assert_eq!(clean(text).0, expected);
    }
}

#[test]
fn a_listed_field_goes_in_any_case_and_form() {
    let cleaner = cleaner(&["email", "card_number", "user.name", "home address"]);
    for (text, expected) in [
        (r#"{"Email":"a@b.c"}"#, r#"{"Email":"[REDACTED:field:email]"}"#),
        (r#"{"user.email":"a@b.c"}"#, r#"{"user.email":"[REDACTED:field:email]"}"#),
        (r#"{\"EMAIL\": \"a@b.c\"}"#, r#"{\"EMAIL\": \"[REDACTED:field:email]\"}"#),
        ("{'email': 'a@b.c', 'n': 1}", "{'email': '[REDACTED:field:email]', 'n': 1}"),
        (r#"{"email":["a@b.c",{"x":"]"}],"n":1}"#, r#"{"email":"[REDACTED:field:email]","n":1}"#),
        (
            r#"{"card_number":4111111111111111}"#,
            r#"{"card_number":"[REDACTED:field:card_number]"}"#,
        ),
        (r#"{"a":"{\"email\":[\"a@b.c"}"#, r#"{"a":"{\"email\":\"[REDACTED:field:email]\""}"#),
        ("pay 4111 1111 1111 1111 now", "pay [REDACTED:card_number] now"),
        (r#"{"Home Address":"1 High St"}"#, r#"{"Home Address":"[REDACTED:field:home address]"}"#),
        (r#"{"user.name":"Ann"}"#, r#"{"user.name":"[REDACTED:field:user.name]"}"#),
    ] {
        assert_eq!(clean_with(&cleaner, text).0, expected);
    }
    for text in [
        r#"{"emails":"a@b.c","name":"Ann","x_email":"q"}"#,
        r#"{"email":null,"email":""}"#,
        "write an email: now",
        r#"{"kind":"email","x":1}"#,
    ] {
        assert_eq!(clean_with(&cleaner, text), (text.to_owned(), vec![]));
    }
}

#[test]
fn a_listed_field_may_begin_like_another() {
    let cleaner = cleaner(&["card", "card number", "cardinal"]);
    for name in ["card", "card number", "Cardinal"] {
        let clean = clean_with(&cleaner, &format!(r#"{{"{name}":"x1"}}"#)).0;
        assert!(clean.contains("[REDACTED:field:"), "{clean}");
    }
}

#[test]
fn the_work_grows_with_the_text_and_not_faster() {
    // Each of these made a first version look at the rest of the text again and again.
    let cleaner = cleaner(&["email"]);
    for piece in [
        "secret\":[",
        "token",
        "password\":\"<",
        "email\":{",
        "eyJ.",
        "-eyJ",
        "://",
        "basic ",
        "bearer ",
        "-----BEGIN ",
        "\\\\\"password\\\":\\\"<",
        "[\"",
        "sk-",
        "password=\\",
        "authorization bbbb",
        "4111 ",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        let start = std::time::Instant::now();
        cleaner.suspects(text.as_bytes());
        let _ = cleaner.clean(&text, false, |_| {});
        // Quadratic work on this takes minutes; the bound leaves room for a debug build on a busy
        // machine.
        assert!(start.elapsed().as_secs() < 20, "{piece}");
    }
}

proptest! {
    #[test]
    fn what_is_found_in_a_string_is_suspected_in_its_encoding(
        before in ".{0,20}", after in ".{0,20}", which in 0_usize..46, wraps in 0_usize..3,
    ) {
        let cleaner = cleaner(&["email"]);
        let mut all: Vec<_> = credentials().into_iter().map(|(_, secret)| secret).collect();
        all.extend(announced().into_iter().map(|(announce, secret, _)| announce.to_owned() + &secret));
        let mut text = format!("{before}{}{after}", all[which % all.len()]);
        for _ in 0..wraps {
            text = serde_json::to_string(&serde_json::json!({ "k": text })).unwrap();
        }
        if cleaner.clean(&text, false, |_| {}).is_some() {
            let body = serde_json::to_vec(&serde_json::json!({ "k": text })).unwrap();
            prop_assert!(cleaner.suspects(&body), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic_and_cleaning_is_final(text in any::<String>(), pieces in prop::collection::vec(
        prop::sample::select(vec!["\"", "\\", "'", "password", ":", "=", "[", "{", "}", "email", "\\u0041",
            "\\/", "AKIAIOSFODNN7EXAMPLE", "bearer ", "://a:", "@h", " ", "x1", "-----BEGIN PRIVATE KEY-----"]), 0..30)) {
        let cleaner = cleaner(&["email"]);
        let text = text + &pieces.concat();
        if let Some(clean) = cleaner.clean(&text, false, |_| {}) {
            prop_assert_eq!(cleaner.clean(&clean, false, |_| {}), None, "{}", clean);
        }
    }
}
