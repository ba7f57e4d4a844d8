//! Credentials whose inside decides: JWT, PEM, HTTP authentication, URLs, connection strings.
//!
//! Each function gets the text and the place of its literal (found in any case) and answers what to
//! redact. They read the encoded body as well as a decoded string: a quote or a backslash ends
//! everything, so both give the same answer.

use super::literals::{begins_word, is_base64, is_url_safe, is_word, rest, run, run_back};
use super::tokens::mixed;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use std::ops::Range;

/// What stands where something was redacted begins so, and is not redacted again.
pub(super) const REDACTED: &[u8] = b"[REDACTED:";

/// Longest header of a JWT, characters; a header with a certificate chain is longer and its token is
/// redacted all the same where `Bearer` or a name announces it.
const MAX_JWT_HEADER: usize = 2_048;

/// Longest user and password in a URL, bytes.
const MAX_USER_INFO: usize = 512;

fn literal_is(text: &[u8], at: &Range<usize>, exact: &[u8]) -> bool {
    text.get(at.clone()) == Some(exact)
}

/// `eyJ….eyJ….signature`: three parts of base64url, of which the first two are JSON objects. Found
/// by the second: `.eyJ` is rarer than `eyJ`. An encrypted token (JWE) has another second part and
/// is found where `Bearer` or a name announces it.
pub(super) fn jwt(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if !literal_is(text, &at, b".eyJ") {
        return None;
    }
    let near = at.start.saturating_sub(MAX_JWT_HEADER);
    let before = text.get(near..at.start)?;
    let header = rest(before, run_back(before, before.len(), is_url_safe));
    // What stands before the header may touch it only as an escape, `\neyJ…`.
    let header = rest(header, memmem::find(header, b"eyJ")?);
    let decoded = URL_SAFE_NO_PAD.decode(header).ok()?;
    memmem::find(&decoded, b"\"alg\"")?;
    let start = at.start.saturating_sub(header.len());
    if !begins_word(text, start, is_url_safe) {
        return None;
    }
    let payload_end = run(text, at.end, is_url_safe);
    (text.get(payload_end) == Some(&b'.'))
        .then(|| start..run(text, payload_end.saturating_add(1), is_url_safe))
}

/// A PEM block of a private key, to its end, else to the end of the string.
pub(super) fn private_key(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    /// Longest label: `-----BEGIN ENCRYPTED PRIVATE KEY-----` has 9 before it, PGP and SSH 8.
    const MAX_LABEL: usize = 48;
    /// Fewest characters of base64 after the label.
    const MIN_KEY: usize = 16;
    if !literal_is(text, &at, b"-----BEGIN") {
        return None;
    }
    let after = rest(text, at.end);
    let label = after.get(..after.len().min(MAX_LABEL))?;
    let label = label.get(..memmem::find(label, b"-----")?)?;
    memmem::find(label, b"PRIVATE KEY")?;
    // A sentence about keys has no key after the label. Line ends may be escaped, lines quoted.
    let content = at.end.saturating_add(label.len()).saturating_add("-----".len());
    let content =
        run(text, content, |byte| byte.is_ascii_whitespace() || b"\\nr\"',".contains(&byte));
    let has_header = [&b"Proc-Type"[..], b"Version", b"Comment"];
    let key = run(text, content, is_base64).saturating_sub(content) >= MIN_KEY;
    if !key && !has_header.iter().any(|header| rest(text, content).starts_with(header)) {
        return None;
    }
    let closed = memmem::find(after, b"-----END").map(|end| at.end.saturating_add(end));
    let end = match closed {
        Some(end) => {
            let label_at = end.saturating_add("-----END".len());
            let label_end = run(text, label_at, |byte| byte == b' ' || is_word(byte));
            run(text, label_end, |byte| byte == b'-')
        }
        None => run(text, at.end, |byte| !matches!(byte, b'"' | b'\'')),
    };
    Some(at.start..end)
}

/// The token of `Bearer …`. In prose a word follows; a token is long and has digits, or stands in
/// an `Authorization` header.
pub(super) fn bearer(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MIN: usize = 16;
    if !begins_word(text, at.start, is_word) {
        return None;
    }
    let is_token = |byte: u8| is_base64(byte) || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let end = run(text, at.end, is_token);
    let token = text.get(at.end..end)?;
    let announced = is_after_authorization(text, at.start) && token.len() >= 4;
    (announced || (token.len() >= MIN && mixed(token))).then_some(at.end..end)
}

/// The base64 of `Basic …`, when it is that of `user:password`.
pub(super) fn basic(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MIN: usize = 4;
    /// A user and a password are shorter.
    const MAX: usize = 1_024;
    if !begins_word(text, at.start, is_word) {
        return None;
    }
    let end = run(text, at.end, is_base64);
    let encoded = text.get(at.end..end)?;
    if !(MIN..=MAX).contains(&encoded.len()) {
        return None;
    }
    let unpadded = encoded.strip_suffix(b"==").or(encoded.strip_suffix(b"=")).unwrap_or(encoded);
    let pair = STANDARD_NO_PAD.decode(unpadded).ok()?;
    let pair = std::str::from_utf8(&pair).ok()?;
    (pair.contains(':') && !pair.chars().any(char::is_control)).then_some(at.end..end)
}

/// Whether `Authorization:` in one of its spellings ends at `at`.
fn is_after_authorization(text: &[u8], at: usize) -> bool {
    let is_between = |byte: u8| {
        matches!(byte, b' ' | b':' | b'=' | b'"' | b'\'' | b'\\' | b'[' | b'(' | b',' | b'b')
    };
    let name_end = run_back(text, at, is_between);
    let name = b"authorization";
    text.get(name_end.saturating_sub(name.len())..name_end)
        .is_some_and(|before| before.eq_ignore_ascii_case(name))
}

/// The password of `scheme://user:password@host`.
pub(super) fn url_password(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let authority = rest(text, at.end);
    let length = authority
        .iter()
        .take(MAX_USER_INFO)
        .take_while(|byte| {
            !matches!(
                byte,
                0..=b' ' | 127 | b'/' | b'?' | b'#' | b'"' | b'\'' | b'\\' | b'<' | b'>' | b'`'
            )
        })
        .count();
    let authority = authority.get(..length)?;
    let host = memchr::memrchr(b'@', authority)?;
    let user_info = authority.get(..host)?;
    let colon = memchr::memchr(b':', user_info)?;
    let password = user_info.get(colon.saturating_add(1)..)?;
    // `{password}`, `$PASSWORD`, `<password>` and `****` are templates.
    let template = matches!(password.first()?, b'{' | b'$' | b'<' | b'*' | b'%')
        || password.starts_with(REDACTED);
    let start = at.end.saturating_add(colon).saturating_add(1);
    (!template && host.saturating_add(1) < authority.len())
        .then(|| start..start.saturating_add(password.len()))
}

/// `xoxb-…`, `xoxp-…` and their kin.
pub(super) fn slack_token(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MIN: usize = 16;
    let exact = rest(text, at.start).starts_with(b"xox");
    if !exact || !begins_word(text, at.start, is_url_safe) {
        return None;
    }
    let end = run(text, at.end, |byte| is_url_safe(byte) || byte == b'.');
    let token = text.get(at.end..end)?;
    (token.len() >= MIN && mixed(token)).then_some(at.start..end)
}

/// What makes a webhook address of Slack secret.
pub(super) fn slack_webhook(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MIN: usize = 20;
    let path = rest(text, at.end);
    let head: &[u8] = [&b"/services/"[..], b"/workflows/", b"/triggers/"]
        .into_iter()
        .find(|head| path.starts_with(head))?;
    let start = at.end.saturating_add(head.len());
    let end = run(text, start, |byte| is_word(byte) || byte == b'/');
    (end.saturating_sub(start) >= MIN).then_some(start..end)
}

/// `SG.` and two parts of base64url, of 22 and 43 characters.
pub(super) fn sendgrid(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if !literal_is(text, &at, b"SG.") || !begins_word(text, at.start, is_url_safe) {
        return None;
    }
    let middle = run(text, at.end, is_url_safe);
    let end = run(text, middle.saturating_add(1), is_url_safe);
    let lengths = (middle.saturating_sub(at.end), end.saturating_sub(middle).saturating_sub(1));
    let fits = (16..=32).contains(&lengths.0) && (32..=64).contains(&lengths.1);
    (fits && text.get(middle) == Some(&b'.')).then_some(at.start..end)
}

/// The signature of an Azure shared access URL: a parameter of its own, base64, percent-encoded.
pub(super) fn azure_sas(text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MIN: usize = 40;
    let before = text.get(at.start.checked_sub(1)?)?;
    let end = run(text, at.end, |byte| is_base64(byte) || byte == b'%');
    (matches!(before, b'?' | b'&' | b';') && end.saturating_sub(at.end) >= MIN)
        .then_some(at.end..end)
}
