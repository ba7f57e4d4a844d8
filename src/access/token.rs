//! The secret of an API key, and what is kept of it.
//!
//! ```text
//! slk_ 0123456789abcdef _ <43 characters of base64url: 256 random bits>
//!      ╰ public id ───╯
//! ```
//!
//! The prefix lets scanners find a leaked key, protection here included. The secret is random, so
//! one SHA-256 of it is enough: there is nothing to guess that a slow hash would protect.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq as _;

/// How every token begins.
const PREFIX: &str = "slk_";
/// Bytes of a public id; it is written with twice as many hexadecimal digits.
const ID_BYTES: usize = 8;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// An API key as its owner has it. Never stored, never logged: `Debug` shows its id only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    text: String,
}

/// What is kept of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A new token; `None` when the system has no randomness.
    ///
    /// ```
    /// use spanledger::access::Token;
    /// let token = Token::new().expect("randomness");
    /// assert_eq!(Token::parse(token.reveal()).map(|same| same.hash()), Some(token.hash()));
    /// ```
    pub fn new() -> Option<Self> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id).ok()?;
        getrandom::fill(&mut secret).ok()?;
        let id = format!("{:016x}", u64::from_be_bytes(id));
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        Some(Self { id, text })
    }

    /// A token as somebody sent it; `None` for what cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == ID_BYTES.saturating_mul(2)
            && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_secret =
            URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == SECRET_BYTES);
        (is_id && is_secret).then(|| Self { id: id.to_owned(), text: text.to_owned() })
    }

    /// Its public id: what commands, entries and logs call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text that its owner sends. To be shown once, to whoever made it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TokenHash {
    /// From its hexadecimal digits, as they stand in the file.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As hexadecimal digits.
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// In a time that does not tell where two hashes differ.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_nothing_like_it_is() {
        let token = Token::new().unwrap();
        let text = token.reveal();
        assert_eq!(Token::parse(text), Some(token.clone()));
        for wrong in [
            "",
            "slk_",
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace("slk_", "sk_"),
            &text.to_uppercase(),
            "slk_0123456789abcdef_",
            "slk_0123456789ABCDEF_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_read_as_it_was_written_and_tells_tokens_apart() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(TokenHash::from_hex(&one.hash().to_hex()), Some(one.hash()));
        assert_ne!(one.hash(), other.hash());
        for wrong in ["", "+f", &"0".repeat(63), &"g".repeat(64), &"+0".repeat(32)] {
            assert!(TokenHash::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn neither_is_shown_by_accident() {
        let token = Token::new().unwrap();
        let shown = format!("{token:?} {:?}", token.hash());
        assert!(!shown.contains(token.reveal()) && !shown.contains(&token.hash().to_hex()));
    }
}
