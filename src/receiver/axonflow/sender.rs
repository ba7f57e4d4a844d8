//! Who calls, as far as the call says so: claims, kept beside the tenant of the credential.

use crate::access::{Principal, Tenants, Token};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest name of a client or a user, characters.
const MAX_NAME_CHARS: usize = 255;

/// Bytes of the digest that stands for a user whose token says no name: enough to tell users
/// apart, too few to be of use for anything else.
const PSEUDONYM_BYTES: usize = 8;

/// Whose call it is, and who is said to have made it.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Whose evidence it is.
    pub tenants: Tenants,
    /// What the client calls itself.
    pub client_id: Option<String>,
    /// On whose behalf it says to act.
    pub user: User,
    /// Which client library it says to be.
    pub library: Option<String>,
    /// The tenant that a forwarder named without being allowed to.
    pub refused_tenant: Option<String>,
}

/// A person, as a token that nobody here can check says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Identifier: the token's subject, or what stands for a token that names none.
    pub id: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
}

impl Sender {
    /// Who sends a request with these headers under that credential.
    pub fn of(principal: &Principal, headers: &HeaderMap) -> Self {
        let (tenants, refused_tenant) = Tenants::of(principal, headers);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let client_id = text("x-client-id").map(str::to_owned).or_else(|| basic_user(headers));
        Self {
            tenants,
            client_id: client_id.and_then(|id| name(&id)),
            user: text("x-user-token").map(User::of_token).unwrap_or_default(),
            library: text("x-axonflow-client").and_then(name),
            refused_tenant,
        }
    }
}

impl User {
    /// The user that a token names. The token itself is a credential and is never recorded: a
    /// JSON Web Token is read (not checked: this is a claim), and of any other a short digest
    /// stands for the user.
    pub fn of_token(token: &str) -> Self {
        let token = token.trim();
        if token.is_empty() {
            return Self::default();
        }
        if let Some(claims) = claims(token) {
            let text = |key: &str| claims.get(key).and_then(Value::as_str).and_then(name);
            let user = Self { id: text("sub").or_else(|| text("user_id")), email: text("email") };
            if user != Self::default() {
                return user;
            }
        }
        let mut id = String::from("token:");
        for byte in Sha256::digest(token.as_bytes()).iter().take(PSEUDONYM_BYTES) {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        Self { id: Some(id), email: None }
    }
}

/// The claims of a JSON Web Token. Source: RFC 7519, section 3.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Value>(&claims).ok().filter(Value::is_object)
}

/// The user of `Authorization: Basic`. Source: RFC 7617, section 2.
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.trim().split_once(' ')?;
    let pair =
        scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok())??;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':').map(|(user, _)| user.to_owned())
}

/// A name that may be recorded: not empty, not endless, and no key of ours in its place.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = !text.is_empty() && Token::parse(text).is_none();
    is_name.then(|| text.chars().take(MAX_NAME_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn a_token_is_never_recorded_and_its_user_is() {
        let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"u-77","email":"ada@acme.example"}"#);
        let user = User::of_token(&format!("e30.{body}.c2ln"));
        assert_eq!(
            (user.id.as_deref(), user.email.as_deref()),
            (Some("u-77"), Some("ada@acme.example"))
        );
        for token in ["user-jwt", "a.b.c", "e30.e30.sig"] {
            let user = User::of_token(token);
            let id = user.id.unwrap();
            assert!(id.starts_with("token:") && id.len() == 22, "{id}");
            assert!(!id.contains(token));
            assert_eq!(Some(id), User::of_token(token).id, "one token is one user");
        }
        assert_eq!(User::of_token(" "), User::default());
    }

    #[test]
    fn a_client_is_called_what_it_calls_itself_and_never_by_a_key() {
        let sender = |pairs: &[(&'static str, String)]| {
            Sender::of(&Principal::local(), &headers(pairs)).client_id
        };
        let basic = |pair: &str| ("authorization", format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(sender(&[basic("acme:secret")]).as_deref(), Some("acme"));
        let named = ("x-client-id", "other".to_owned());
        assert_eq!(sender(&[basic("acme:secret"), named]).as_deref(), Some("other"));
        let key = Token::new().unwrap().reveal().to_owned();
        assert_eq!(sender(&[basic(&format!("{key}:")), ("x-client-id", key.clone())]), None);
    }
}
