//! What a request shows of itself: a key, a certificate, or nothing.

use super::{CertificateName, Denied, Token};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};

/// Where clients put a key that have no say in the scheme of `Authorization`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// A key.
    Key(Token),
}

/// The names in the certificate of the other side, which an accepted authority signed. In the
/// extensions of each request of such a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its names.
    pub names: Vec<CertificateName>,
}

impl Presented {
    /// From the headers of a request, or the metadata of a gRPC call, which are the same:
    /// `Authorization: Bearer KEY`; `Authorization: Basic` with the key as the password or, for
    /// clients that leave that empty, as the user; `X-API-Key: KEY`.
    ///
    /// # Errors
    /// [`Denied::Unknown`] for a credential that is none of ours, and for two that differ: to pick
    /// one would be to guess whose evidence it is.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Denied> {
        let mut presented = Self::Nothing;
        let authorization = headers.get_all(header::AUTHORIZATION).iter().map(|v| (v, true));
        let keys = headers.get_all(API_KEY).iter().map(|v| (v, false));
        for (value, has_scheme) in authorization.chain(keys) {
            let text = value.to_str().map_err(|_| Denied::Unknown)?;
            let token = if has_scheme { of_scheme(text) } else { Token::parse(text.trim()) };
            let key = Self::Key(token.ok_or(Denied::Unknown)?);
            if presented != Self::Nothing && presented != key {
                return Err(Denied::Unknown);
            }
            presented = key;
        }
        Ok(presented)
    }
}

/// The key in a value of `Authorization`. Source: RFC 7617 (Basic), RFC 6750 (Bearer).
fn of_scheme(text: &str) -> Option<Token> {
    let (scheme, rest) = text.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Token::parse(rest);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Token::parse(password).or_else(|| password.is_empty().then(|| Token::parse(user)).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn shown(pairs: &[(&'static str, String)]) -> Result<Presented, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Presented::from_headers(&headers)
    }

    fn basic(pair: &str) -> (&'static str, String) {
        ("authorization", format!("Basic {}", STANDARD.encode(pair)))
    }

    #[test]
    fn a_key_is_found_wherever_a_client_can_put_it() {
        let token = Token::new().unwrap();
        let key = token.reveal();
        for pair in [
            ("authorization", format!("Bearer {key}")),
            ("authorization", format!("bearer  {key} ")),
            basic(&format!("anybody:{key}")),
            basic(&format!("{key}:")),
            ("x-api-key", key.to_owned()),
        ] {
            assert_eq!(shown(std::slice::from_ref(&pair)), Ok(Presented::Key(token.clone())));
        }
        assert_eq!(shown(&[]), Ok(Presented::Nothing));
    }

    #[test]
    fn what_is_no_key_of_ours_is_unknown_and_never_nothing() {
        let key = Token::new().unwrap().reveal().to_owned();
        for pair in [
            basic("community:"),
            basic(""),
            basic(&format!("{key}:secret")),
            ("authorization", "Bearer".to_owned()),
            ("authorization", "Bearer sk-live-1".to_owned()),
            ("authorization", format!("Digest {key}")),
            ("authorization", format!("Basic {key}")),
            ("authorization", String::new()),
            ("x-api-key", "ls_0123".to_owned()),
        ] {
            assert_eq!(shown(std::slice::from_ref(&pair)), Err(Denied::Unknown), "{pair:?}");
        }
    }

    #[test]
    fn two_different_keys_are_none() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        let bearer = |token: &Token| ("authorization", format!("Bearer {}", token.reveal()));
        let header = |token: &Token| ("x-api-key", token.reveal().to_owned());
        assert_eq!(shown(&[bearer(&one), header(&other)]), Err(Denied::Unknown));
        assert_eq!(shown(&[bearer(&one), bearer(&other)]), Err(Denied::Unknown));
        assert_eq!(shown(&[bearer(&one), header(&one)]), Ok(Presented::Key(one)));
    }
}
