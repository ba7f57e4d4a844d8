//! Values that are secret or personal because of the name they stand under.
//!
//! ```text
//! {"password": "…"}    {\"api_key\":\"…\"}    {'secret': '…'}    password=…    X-Api-Key: …
//!   JSON                 JSON in a string        Python's repr       query, code   header
//! ```
//!
//! A name in text is read together with the quotes around it and the backslashes in front of those,
//! so that JSON within JSON within a string needs no parser: a string that was opened by `\\\"` ends
//! at the next `\\\"`.

use super::literals::{rest, run, run_back};
use super::shapes::REDACTED;
use super::tokens::mixed;
use std::ops::Range;

/// What a name says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// Anything can be a password.
    Password,
    /// A key or token: one word.
    Key,
    /// `Authorization`: a scheme and a token. A policy's `authorization: "denied"` is not one.
    Authorization,
    /// `Cookie`, `Set-Cookie`: name=value.
    Cookie,
}

/// Literals that the names end in or have in them, for the search.
pub(super) const LITERALS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "accountkey",
    "privatekey",
    "private_key",
    // With what ends the name, for `input_tokens` is in every entry of a model.
    "token\"",
    "token\\",
    "token'",
    "token=",
    "token:",
    "authorization",
    "cookie",
];

/// Ends of names, without `-` and `_` and in lower case. A bare `token` is not here: every list of
/// log probabilities has one for each word.
const ENDS: &[(&str, Secret)] = &[
    ("password", Secret::Password),
    ("passwd", Secret::Password),
    ("passphrase", Secret::Password),
    ("secret", Secret::Key),
    ("secretkey", Secret::Key),
    ("apikey", Secret::Key),
    ("accesskey", Secret::Key),
    ("accountkey", Secret::Key),
    ("privatekey", Secret::Key),
    ("accesstoken", Secret::Key),
    ("refreshtoken", Secret::Key),
    ("authtoken", Secret::Key),
    ("sessiontoken", Secret::Key),
    ("bearertoken", Secret::Key),
    ("apitoken", Secret::Key),
    ("securitytoken", Secret::Key),
    ("authorization", Secret::Authorization),
    ("cookie", Secret::Cookie),
];

/// What the last part of a dotted name says, in any case and however its words are joined.
pub(super) fn secret_name(name: &[u8]) -> Option<Secret> {
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    // `PWD` is the working directory of every dump of an environment.
    if last == b"pwd" || last == b"Pwd" {
        return Some(Secret::Password);
    }
    // Every end ends so; `input_tokens`, in every entry of a model, does not.
    if !matches!(last.last()?.to_ascii_lowercase(), b'd' | b'e' | b't' | b'y' | b'n') {
        return None;
    }
    ENDS.iter().find(|(end, _)| ends_folded(last, end.as_bytes())).map(|(_, secret)| *secret)
}

fn ends_folded(name: &[u8], end: &[u8]) -> bool {
    let mut name =
        name.iter().rev().filter(|byte| !matches!(byte, b'-' | b'_')).map(u8::to_ascii_lowercase);
    end.iter().rev().all(|byte| name.next() == Some(*byte))
}

/// Whether a value under such a name is one to redact, and not a placeholder or a description.
pub(super) fn is_secret_value(secret: Secret, value: &[u8]) -> bool {
    const MIN_KEY: usize = 6;
    const MIN_TOKEN: usize = 16;
    if is_placeholder(value) {
        return false;
    }
    let word = !value.iter().any(u8::is_ascii_whitespace);
    match secret {
        Secret::Password => true,
        Secret::Key => word && value.len() >= MIN_KEY,
        Secret::Cookie => value.contains(&b'='),
        Secret::Authorization => {
            let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            let known: [&[u8]; 8] = [
                b"bearer",
                b"basic",
                b"digest",
                b"token",
                b"apikey",
                b"bot",
                b"negotiate",
                b"aws4-hmac-sha256",
            ];
            let announced = !word && known.iter().any(|known| scheme.eq_ignore_ascii_case(known));
            // `Bearer [REDACTED:jwt]` is done.
            let done = rest(value, scheme.len().saturating_add(1)).starts_with(REDACTED);
            (announced && !done) || (word && value.len() >= MIN_TOKEN && mixed(value))
        }
    }
}

fn is_placeholder(value: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "none",
        "null",
        "nil",
        "true",
        "false",
        "yes",
        "no",
        "string",
        "str",
        "text",
        "number",
        "required",
        "optional",
        "undefined",
        "redacted",
        "masked",
        "hidden",
        "filtered",
    ];
    let Some(first) = value.first() else { return true };
    value.starts_with(REDACTED)
        || value.starts_with(b"[HASHED:")
        || matches!(first, b'<' | b'{' | b'$' | b'%')
        || value.iter().all(|byte| byte == first)
        || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// Longest name, bytes, and most that may follow a literal in it. With the limit below it keeps the
/// work linear in the text, whatever somebody sends.
const MAX_NAME: usize = 128;

/// Most backslashes before a quote: JSON within strings within JSON, seven levels deep.
const MAX_BACKSLASHES: usize = 127;

/// A quote, with the backslashes that stand before it at its level.
#[derive(Debug, Clone, Copy)]
struct Quote {
    byte: u8,
    backslashes: usize,
}

impl Quote {
    fn at(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let quote = run(text, at, |byte| byte == b'\\');
        let byte = *text.get(quote).filter(|byte| matches!(byte, b'"' | b'\''))?;
        let backslashes = quote.saturating_sub(at);
        (backslashes <= MAX_BACKSLASHES)
            .then(|| (Self { byte, backslashes }, quote.saturating_add(1)))
    }

    /// Where the string ends that this quote opened before `from`: at its own kind of quote, or
    /// where an outer string ends, or with the text.
    #[allow(
        clippy::arithmetic_side_effects,
        reason = "the divisor is at least 2, the rest bounded"
    )]
    fn close(self, text: &[u8], from: usize) -> Range<usize> {
        let mut at = from;
        loop {
            let Some(next) = memchr::memchr2(b'\\', self.byte, rest(text, at)) else {
                return text.len()..text.len();
            };
            let slashes_at = at.saturating_add(next);
            let quote = run(text, slashes_at, |byte| byte == b'\\');
            let slashes = quote - slashes_at;
            if text.get(quote) == Some(&self.byte) {
                let Some(content) = slashes.checked_sub(self.backslashes) else {
                    return slashes_at..quote + 1;
                };
                // Backslashes of the content stand there escaped, in pairs at the quote's level.
                if content % (2 * (self.backslashes + 1)) == 0 {
                    return slashes_at + content..quote + 1;
                }
            }
            at = quote + usize::from(text.get(quote) == Some(&self.byte));
        }
    }

    /// This quote around a text.
    fn around(self, inner: &str) -> String {
        let mut text = String::new();
        for part in ["", inner] {
            text.push_str(part);
            text.extend(std::iter::repeat_n('\\', self.backslashes));
            text.push(char::from(self.byte));
        }
        text
    }
}

/// What a value in text is.
#[derive(Debug)]
enum Form {
    /// Between quotes; the range is what is inside.
    Text,
    /// An array or object, as JSON or Python write it. The range is empty, at its bracket: where it
    /// ends is looked for only when it is replaced, for that can be far.
    Container,
    /// A number or a word.
    Bare,
}

/// A name in text, and its value.
#[derive(Debug)]
pub(super) struct Named {
    /// The name.
    pub(super) name: Range<usize>,
    /// The quote behind the name; absent in `name=value`.
    quote: Option<Quote>,
    /// `:` or `=`.
    separator: u8,
    /// Whether there is white space before it, as in prose.
    spaced: bool,
    /// The value, without its quotes.
    value: Range<usize>,
    form: Form,
}

impl Named {
    /// The name that has the literal at `at` in it, with its value, if it is a name and one of those
    /// that are wanted.
    pub(super) fn at(
        text: &[u8],
        at: &Range<usize>,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Self> {
        let near = at.end.saturating_add(MAX_NAME).min(text.len());
        // A literal may have the end of the name in it.
        let literal_end = run_back(text, at.end, |byte| b"\"\\'=:".contains(&byte));
        let end = run(text.get(..near)?, literal_end, is_name);
        let (quote, after) = match Quote::at(text, end) {
            Some((quote, after)) => (Some(quote), after),
            None => (None, end),
        };
        let behind_name = after;
        let after = skip_space(text, after);
        let spaced = after > behind_name;
        let separator = *text.get(after).filter(|byte| matches!(byte, b':' | b'='))?;
        let after = skip_space(text, after.saturating_add(1));
        // In quotes a name may have spaces and more.
        let in_name = |byte| match quote {
            Some(quote) => byte != quote.byte && byte != b'\\',
            None => is_name(byte),
        };
        let far = at.start.saturating_sub(MAX_NAME);
        let start =
            far.saturating_add(run_back(text.get(far..)?, at.start.saturating_sub(far), in_name));
        if !wanted(text.get(start..end)?) {
            return None;
        }
        let (value, form) = value_at(text, after)?;
        Some(Self { name: start..end, quote, separator, spaced, value, form })
    }

    /// What to replace, and with what, when the name is that of a secret.
    pub(super) fn secret(
        &self,
        text: &[u8],
        marker: impl Fn() -> String,
    ) -> Option<(Range<usize>, String)> {
        let secret = secret_name(text.get(self.name.clone())?)?;
        let value = text.get(self.value.clone())?;
        match self.form {
            Form::Container => {
                // The values of a header are a list of strings; the parts of an object have names
                // of their own.
                let at = skip_space(text, self.value.start.saturating_add(1));
                let (item, form) = value_at(text, at)?;
                let is_list = text.get(self.value.start) == Some(&b'[');
                let hit = is_list
                    && matches!(form, Form::Text)
                    && is_secret_value(secret, text.get(item)?);
                hit.then(|| (self.container(text), self.quoted(&marker())))
            }
            Form::Text if self.quote.is_some() => {
                is_secret_value(secret, value).then(|| (self.value.clone(), marker()))
            }
            Form::Bare if self.quote.is_some() => {
                let number = value.len() >= 3 && value.iter().all(u8::is_ascii_digit);
                (secret == Secret::Password && number)
                    .then(|| (self.value.clone(), self.quoted(&marker())))
            }
            Form::Text | Form::Bare => {
                self.is_loose_secret(text, secret).then(|| (self.value.clone(), marker()))
            }
        }
    }

    /// `name=value` and `name: value` stand in prose and in code too, so more is asked of them.
    fn is_loose_secret(&self, text: &[u8], secret: Secret) -> bool {
        const MIN: usize = 4;
        const MIN_AFTER_COLON: usize = 8;
        let value = text.get(self.value.clone()).unwrap_or_default();
        // `password=get_password()`, `api_key=os.environ[…]`, `secret=self.secret`, `pwd=/srv`
        let called = matches!(text.get(self.value.end), Some(b'(' | b'['));
        let code = called || value.contains(&b'(') || secret_name(value).is_some();
        let path = value.starts_with(b"/") || value.starts_with(b".");
        let word = match (self.separator, secret) {
            (b'=', Secret::Password) => {
                let said = !self.spaced || matches!(self.form, Form::Text) || mixed(value);
                value.len() >= MIN && said
            }
            (b'=', _) => value.len() >= MIN && mixed(value),
            _ => value.len() >= MIN_AFTER_COLON && mixed(value),
        };
        word && !code && !path && is_secret_value(secret, value)
    }

    /// What to replace when the name is one that the operator listed: any value but an absent one.
    pub(super) fn listed(&self, text: &[u8], marker: &str) -> Option<(Range<usize>, String)> {
        self.quote?;
        let value = text.get(self.value.clone())?;
        match self.form {
            Form::Text => {
                let done = value.is_empty() || value.starts_with(REDACTED);
                (!done).then(|| (self.value.clone(), marker.to_owned()))
            }
            Form::Container => Some((self.container(text), self.quoted(marker))),
            Form::Bare => {
                let absent = matches!(value, b"null" | b"None" | b"undefined" | b"");
                (!absent).then(|| (self.value.clone(), self.quoted(marker)))
            }
        }
    }

    fn container(&self, text: &[u8]) -> Range<usize> {
        self.value.start..container_end(text, self.value.start)
    }

    fn quoted(&self, marker: &str) -> String {
        self.quote.unwrap_or(Quote { byte: b'"', backslashes: 0 }).around(marker)
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The place behind white space, line ends that are escaped included.
fn skip_space(text: &[u8], mut at: usize) -> usize {
    loop {
        let space = run(text, at, |byte| byte.is_ascii_whitespace());
        let slashes = run(text, space, |byte| byte == b'\\');
        let escaped = slashes > space && matches!(text.get(slashes), Some(b'n' | b'r' | b't'));
        if !escaped {
            return space;
        }
        at = slashes.saturating_add(1);
    }
}

fn value_at(text: &[u8], at: usize) -> Option<(Range<usize>, Form)> {
    if let Some((quote, start)) = Quote::at(text, at) {
        return Some((start..quote.close(text, start).start, Form::Text));
    }
    match text.get(at)? {
        b'[' | b'{' => Some((at..at, Form::Container)),
        _ => {
            let ends = |byte: u8| byte.is_ascii_whitespace() || b",;&)]}\"'\\<>`".contains(&byte);
            Some((at..run(text, at, |byte| !ends(byte)), Form::Bare))
        }
    }
}

/// Where an array or object ends: behind its bracket, or before the end of the string that it is
/// written in.
fn container_end(text: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    let mut strings: Option<Quote> = None;
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at.saturating_add(1);
                }
            }
            b'"' | b'\'' | b'\\' => {
                if let Some((quote, start)) = Quote::at(text, at) {
                    // Fewer backslashes than the strings inside have: an outer string ends here.
                    if strings.is_some_and(|inner| quote.backslashes < inner.backslashes) {
                        return at;
                    }
                    let closing = quote.close(text, start);
                    if closing.len() <= quote.backslashes && closing.end < text.len() {
                        return closing.start;
                    }
                    strings = Some(quote);
                    at = closing.end;
                    continue;
                }
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
    text.len()
}
