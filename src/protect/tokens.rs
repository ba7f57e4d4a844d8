//! What credentials look like: a fixed beginning, an alphabet, a length, and where needed a test.
//!
//! Only forms are listed whose beginning is the issuer's own, or whose inside can be checked (a JWT
//! has a header that decodes, `Basic` a user and a colon): false alarms destroy evidence. Keys
//! without a form, as Datadog's 32 hexadecimal digits, are found by the name they stand under
//! (`names.rs`).

use super::literals::{begins_word, is_base64, is_url_safe, is_word, rest, run};
use super::shapes;
use std::ops::Range;

/// A kind of credential.
#[derive(Debug)]
pub(super) struct Rule {
    /// What stands in `audit.redactions` and in place of the credential.
    pub(super) name: &'static str,
    /// What is searched for, in any case. Several rules may share it; the first that fits holds.
    pub(super) literal: &'static str,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// The prefix in this very case at the start of a word, then `min..=max` bytes of the alphabet
    /// and no more, which pass the test. The prefix is redacted with them.
    Token {
        prefix: &'static str,
        alphabet: fn(u8) -> bool,
        min: usize,
        max: usize,
        test: fn(&[u8]) -> bool,
    },
    /// Given the text and where the literal stands, what to redact.
    Custom(fn(&[u8], Range<usize>) -> Option<Range<usize>>),
}

impl Rule {
    /// What of the text is to be redacted, when the literal stands at `at`.
    pub(super) fn verify(&self, text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
        match self.shape {
            Shape::Custom(find) => find(text, at),
            Shape::Token { prefix, alphabet, min, max, test } => {
                let fits = rest(text, at.start).starts_with(prefix.as_bytes())
                    && begins_word(text, at.start, alphabet);
                if !fits {
                    return None;
                }
                let start = at.start.saturating_add(prefix.len());
                let end = run(text, start, alphabet);
                let body = text.get(start..end).unwrap_or_default();
                let length = body.len();
                ((min..=max).contains(&length) && test(body)).then_some(at.start..end)
            }
        }
    }
}

const fn token(
    name: &'static str,
    prefix: &'static str,
    alphabet: fn(u8) -> bool,
    min: usize,
    max: usize,
    test: fn(&[u8]) -> bool,
) -> Rule {
    Rule { name, literal: prefix, shape: Shape::Token { prefix, alphabet, min, max, test } }
}

/// A token whose literal is shorter than its prefix, because other rules share it.
const fn sharing(literal: &'static str, rule: Rule) -> Rule {
    Rule { literal, ..rule }
}

const fn custom(
    name: &'static str,
    literal: &'static str,
    find: fn(&[u8], Range<usize>) -> Option<Range<usize>>,
) -> Rule {
    Rule { name, literal, shape: Shape::Custom(find) }
}

/// Longest token: a run that goes on is no token but data.
const LONG: usize = 4_096;

/// The rules. Sources: the issuers' documentation of token formats (GitHub "token formats", AWS IAM
/// "unique identifiers", Stripe "API keys", Slack "token types"), and the public rule sets of
/// gitleaks and secret-scanning for the rest.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    token("spanledger_key", "slk_", is_url_safe, 60, LONG, any),
    token("aws_access_key_id", "AKIA", is_upper, 16, 16, any),
    token("aws_access_key_id", "ASIA", is_upper, 16, 16, any),
    sharing("sk-", token("anthropic_api_key", "sk-ant-", is_url_safe, 20, LONG, any)),
    sharing("sk-", token("openrouter_api_key", "sk-or-", is_url_safe, 24, LONG, mixed)),
    sharing("sk-", token("langfuse_secret_key", "sk-lf-", is_url_safe, 24, LONG, mixed)),
    token("openai_api_key", "sk-", is_url_safe, 20, LONG, random),
    token("stripe_secret_key", "sk_live_", is_alnum, 16, LONG, any),
    token("stripe_secret_key", "sk_test_", is_alnum, 16, LONG, any),
    token("stripe_secret_key", "rk_live_", is_alnum, 16, LONG, any),
    token("stripe_webhook_secret", "whsec_", is_base64, 24, LONG, mixed),
    token("github_token", "ghp_", is_alnum, 30, 255, mixed),
    token("github_token", "gho_", is_alnum, 30, 255, mixed),
    token("github_token", "ghu_", is_alnum, 30, 255, mixed),
    token("github_token", "ghs_", is_alnum, 30, 255, mixed),
    token("github_token", "ghr_", is_alnum, 30, 255, mixed),
    token("github_token", "github_pat_", is_word, 36, 255, mixed),
    token("gitlab_token", "glpat-", is_url_safe, 20, 300, any),
    custom("slack_token", "xoxa-", shapes::slack_token),
    custom("slack_token", "xoxb-", shapes::slack_token),
    custom("slack_token", "xoxe", shapes::slack_token),
    custom("slack_token", "xoxp-", shapes::slack_token),
    custom("slack_token", "xoxs-", shapes::slack_token),
    token("slack_token", "xapp-", is_url_safe, 20, 300, mixed),
    custom("slack_webhook", "hooks.slack.com", shapes::slack_webhook),
    token("google_api_key", "AIza", is_url_safe, 35, 35, any),
    token("google_oauth_token", "ya29.", is_url_safe, 20, LONG, any),
    token("google_oauth_token", "1//0", is_url_safe, 32, LONG, mixed),
    token("google_client_secret", "GOCSPX-", is_url_safe, 20, 64, any),
    custom("jwt", ".eyJ", shapes::jwt),
    custom("private_key", "-----BEGIN", shapes::private_key),
    custom("bearer_token", "bearer ", shapes::bearer),
    custom("basic_auth", "basic ", shapes::basic),
    custom("url_password", "://", shapes::url_password),
    token("huggingface_token", "hf_", is_alnum, 30, 64, mixed),
    token("npm_token", "npm_", is_alnum, 36, 36, mixed),
    token("pypi_token", "pypi-", is_url_safe, 32, LONG, mixed),
    custom("sendgrid_api_key", "SG.", shapes::sendgrid),
    custom("azure_sas", "sig=", shapes::azure_sas),
    token("langsmith_api_key", "lsv2_", is_word, 32, 128, mixed),
    token("groq_api_key", "gsk_", is_alnum, 40, 128, mixed),
    token("xai_api_key", "xai-", is_alnum, 40, 128, mixed),
    token("tavily_api_key", "tvly-", is_url_safe, 20, 128, mixed),
    token("perplexity_api_key", "pplx-", is_alnum, 32, 128, mixed),
    token("nvidia_api_key", "nvapi-", is_url_safe, 40, 128, mixed),
    token("vault_token", "hvs.", is_url_safe, 24, 512, mixed),
    token("databricks_token", "dapi", is_hex, 32, 32, mixed),
    token("grafana_token", "glsa_", is_word, 30, 64, mixed),
    token("age_secret_key", "AGE-SECRET-KEY-1", is_upper, 50, 64, any),
];

/// The secret of an AWS key pair has no beginning of its own: it is looked for beside a key id.
pub(super) const AWS_SECRET: &str = "aws_secret_access_key";

/// How far from a key id its secret is looked for, bytes.
const AWS_NEAR: usize = 256;

/// Runs of exactly 40 characters of base64 near a key id that are not hexadecimal.
pub(super) fn aws_secrets(text: &[u8], key_id: &Range<usize>) -> Vec<Range<usize>> {
    const LENGTH: usize = 40;
    let last = key_id.end.saturating_add(AWS_NEAR).min(text.len());
    let mut at = key_id.start.saturating_sub(AWS_NEAR);
    let mut found = Vec::new();
    while at < last {
        let is_secret = |byte: u8| is_base64(byte) && byte != b'=';
        let end = run(text, at, is_secret);
        let body = text.get(at..end).unwrap_or_default();
        let classes = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
        if body.len() == LENGTH && classes.iter().all(|class| body.iter().any(class)) {
            found.push(at..end);
        }
        at = end.saturating_add(1);
    }
    found
}

fn is_alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

fn any(_: &[u8]) -> bool {
    true
}

/// Letters and digits both.
pub(super) fn mixed(token: &[u8]) -> bool {
    token.iter().any(u8::is_ascii_digit) && token.iter().any(u8::is_ascii_alphabetic)
}

/// Looks drawn by lot: digits and letters, and one stretch without a dash that is longer than a
/// word. `sk-learn-2024-migration-guide` is a name.
fn random(token: &[u8]) -> bool {
    const LONGEST_WORD: usize = 16;
    mixed(token)
        && token
            .split(|byte| matches!(byte, b'-' | b'_'))
            .any(|part| part.len() >= LONGEST_WORD && mixed(part))
}
