//! One text without its secrets.

use super::literals::Literals;
use super::names::{self, Named};
use super::tokens::{AWS_SECRET, RULES, aws_secrets};
use super::{ProtectorError, cards};
use memchr::memmem;
use std::cmp::Reverse;
use std::ops::Range;

/// Name of the field whose listing also finds card numbers in text.
const CARD_FIELD: &str = "card_number";

/// Most times that a text is looked at: real text needs two, the last of which finds nothing.
const MAX_PASSES: usize = 8;

/// A stretch of text to replace.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    /// The rule, as `audit.redactions` has it.
    rule: String,
    with: String,
}

impl Edit {
    fn token(rule: &str, range: Range<usize>) -> Self {
        Self { range, rule: rule.to_owned(), with: marker(rule) }
    }
}

/// What stands where something was removed.
pub(super) fn marker(rule: &str) -> String {
    format!("[REDACTED:{rule}]")
}

/// The rule of a value that was removed for its name.
pub(super) fn field_rule(field: &str) -> String {
    format!("field:{field}")
}

/// Finds secrets, and the fields that an operator listed, in text.
#[derive(Debug)]
pub(super) struct Cleaner {
    /// The rules' literals and those of names; absent when credentials are kept.
    credentials: Option<Literals>,
    /// For each literal, the rules that share it; none for the literal of a name.
    rules: Vec<Vec<usize>>,
    /// Listed fields, in lower case.
    fields: Vec<String>,
    /// Last parts of the listed fields; absent when there are none.
    field_literals: Option<Literals>,
    cards: bool,
    hidden: Hidden,
}

impl Cleaner {
    /// A cleaner that knows these fields.
    pub(super) fn new(credentials: bool, fields: &[String]) -> Result<Self, ProtectorError> {
        let fields: Vec<_> = fields.iter().map(|field| field.to_lowercase()).collect();
        let (literals, rules) = credential_literals();
        let lasts = fields.iter().map(|field| last_part(field));
        Ok(Self {
            credentials: credentials
                .then(|| Literals::new(literals.into_iter()))
                .transpose()
                .map_err(ProtectorError)?,
            rules,
            field_literals: (!fields.is_empty())
                .then(|| Literals::new(lasts))
                .transpose()
                .map_err(ProtectorError)?,
            hidden: Hidden::new(),
            cards: fields.iter().any(|field| last_part(field) == CARD_FIELD),
            fields,
        })
    }

    /// Whether credentials are looked for.
    pub(super) fn finds_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether the operator listed fields.
    #[cfg(feature = "server")]
    pub(super) fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The listed field that a name is, by its last part or whole, or by the end of its path.
    pub(super) fn field(&self, name: &str, path: &str) -> Option<&str> {
        if self.fields.is_empty() {
            return None;
        }
        let (name, path) = (name.to_lowercase(), path.to_lowercase());
        let last = last_part(&name);
        self.fields.iter().map(String::as_str).find(|field| {
            *field == last
                || *field == name
                || path
                    .strip_suffix(field)
                    .is_some_and(|head| head.is_empty() || head.ends_with('.'))
        })
    }

    /// Whether an encoded body may have something in it that is to be removed. `false` is sure:
    /// what is found in a string is found in its encoding.
    pub(super) fn suspects(&self, body: &[u8]) -> bool {
        self.hidden.any(body) || self.any_credential(body) || self.any_field(body) || {
            self.cards && !cards::find(body).is_empty()
        }
    }

    fn any_credential(&self, body: &[u8]) -> bool {
        let mut any = false;
        self.each_credential(body, |_| {
            any = true;
            None
        });
        any
    }

    /// By the last part only: a body has the rest of a dotted name around the value, as objects.
    fn any_field(&self, body: &[u8]) -> bool {
        let Some(literals) = &self.field_literals else { return false };
        let is_listed = |name: &[u8]| {
            let name = String::from_utf8_lossy(name).to_lowercase();
            self.fields.iter().any(|field| last_part(field) == last_part(&name))
        };
        let mut any = false;
        literals.search(body, |_, at| {
            any = Named::at(body, &at, is_listed).is_some();
            (!any).then_some(0)
        });
        any
    }

    /// The text without its secrets; `None` when it has none. `found` hears the rule of each.
    /// Numbers are left alone in an id.
    ///
    /// What was glued to a secret may be one itself once that is gone, so it is looked at again.
    pub(super) fn clean(
        &self,
        text: &str,
        is_id: bool,
        mut found: impl FnMut(&str),
    ) -> Option<String> {
        let mut clean = self.clean_once(text, is_id, &mut found)?;
        for _ in 1..MAX_PASSES {
            let Some(cleaner) = self.clean_once(&clean, is_id, &mut found) else { break };
            clean = cleaner;
        }
        Some(clean)
    }

    fn clean_once(&self, text: &str, is_id: bool, found: &mut impl FnMut(&str)) -> Option<String> {
        let plain = self.hidden.any(text.as_bytes()).then(|| reveal(text)).flatten();
        let text = plain.as_deref().unwrap_or(text);
        let edits = self.edits(text.as_bytes(), is_id);
        if edits.is_empty() {
            return None;
        }
        let mut cleaned = String::with_capacity(text.len());
        let mut at = 0;
        for edit in &edits {
            found(&edit.rule);
            cleaned.push_str(text.get(at..edit.range.start).unwrap_or_default());
            cleaned.push_str(&edit.with);
            at = edit.range.end;
        }
        cleaned.push_str(text.get(at..).unwrap_or_default());
        Some(cleaned)
    }

    /// What to replace, in order and without overlap.
    fn edits(&self, text: &[u8], is_id: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        self.each_credential(text, |edit| {
            let end = edit.range.end;
            if edit.rule == "aws_access_key_id" {
                let secrets = aws_secrets(text, &edit.range);
                edits.extend(secrets.into_iter().map(|range| Edit::token(AWS_SECRET, range)));
            }
            edits.push(edit);
            Some(end)
        });
        self.each_field(text, |edit| {
            let end = edit.range.end;
            edits.push(edit);
            Some(end)
        });
        if self.cards && !is_id {
            edits.extend(cards::find(text).into_iter().map(|range| Edit::token(CARD_FIELD, range)));
        }
        edits.sort_by_key(|edit| (edit.range.start, Reverse(edit.range.end)));
        let mut last_end = 0;
        // Of two that overlap the first takes the place of both.
        let mut kept: Vec<Edit> = Vec::with_capacity(edits.len());
        for edit in edits {
            if edit.range.start >= last_end {
                last_end = edit.range.end;
                kept.push(edit);
            } else if let Some(last) = kept.last_mut() {
                last.range.end = last.range.end.max(edit.range.end);
                last_end = last.range.end;
            }
        }
        kept
    }

    /// Calls `visit` with each credential. Its answer is where to go on.
    fn each_credential(&self, text: &[u8], mut visit: impl FnMut(Edit) -> Option<usize>) {
        let Some(literals) = &self.credentials else { return };
        literals.search(text, |literal, at| {
            let rules = self.rules.get(literal).map(Vec::as_slice).unwrap_or_default();
            let token = rules.iter().filter_map(|rule| RULES.get(*rule)).find_map(|rule| {
                let range = rule.verify(text, at.clone())?;
                Some(Edit::token(rule.name, range))
            });
            let edit = token.or_else(|| rules.is_empty().then(|| secret(text, &at))?);
            edit.map_or(Some(0), &mut visit)
        });
    }

    /// Calls `visit` with each value of a listed field. Its answer is where to go on.
    fn each_field(&self, text: &[u8], mut visit: impl FnMut(Edit) -> Option<usize>) {
        let Some(literals) = &self.field_literals else { return };
        literals.search(text, |_, at| self.listed(text, &at).map_or(Some(0), &mut visit));
    }

    fn listed(&self, text: &[u8], at: &Range<usize>) -> Option<Edit> {
        let named = Named::at(text, at, |_| true)?;
        let name = std::str::from_utf8(text.get(named.name.clone())?).ok()?;
        let rule = field_rule(self.field(name, "")?);
        let (range, with) = named.listed(text, &marker(&rule))?;
        Some(Edit { range, rule, with })
    }
}

fn secret(text: &[u8], at: &Range<usize>) -> Option<Edit> {
    let named = Named::at(text, at, |name| names::secret_name(name).is_some())?;
    let rule = || secret_rule(text.get(named.name.clone()).unwrap_or_default());
    let (range, with) = named.secret(text, || marker(&rule()))?;
    Some(Edit { range, rule: rule(), with })
}

/// The rule of a value that was removed because its name is that of a secret. The name itself is
/// not repeated: it may be anything.
pub(super) fn secret_rule(name: &[u8]) -> String {
    match names::secret_name(name) {
        Some(names::Secret::Password) => field_rule("password"),
        Some(names::Secret::Authorization) => field_rule("authorization"),
        Some(names::Secret::Cookie) => field_rule("cookie"),
        Some(names::Secret::Key) | None => field_rule("secret"),
    }
}

/// The literals of rules and names, each once, and the rules of each.
fn credential_literals() -> (Vec<&'static str>, Vec<Vec<usize>>) {
    let mut literals: Vec<&'static str> = Vec::new();
    let mut rules: Vec<Vec<usize>> = Vec::new();
    for (number, rule) in RULES.iter().enumerate() {
        if let Some(at) = literals.iter().position(|literal| *literal == rule.literal) {
            if let Some(sharing) = rules.get_mut(at) {
                sharing.push(number);
            }
        } else {
            literals.push(rule.literal);
            rules.push(vec![number]);
        }
    }
    for name in names::LITERALS {
        literals.push(name);
        rules.push(Vec::new());
    }
    (literals, rules)
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// Finds escapes of JSON that can hide a secret: `\u0041` for a printable character, `\/` for a
/// slash. Our own encoding writes neither, so in a body they come from JSON in a string.
#[derive(Debug)]
struct Hidden {
    slash: memmem::Finder<'static>,
    unicode: memmem::Finder<'static>,
}

impl Hidden {
    fn new() -> Self {
        Self { slash: memmem::Finder::new(b"\\/"), unicode: memmem::Finder::new(b"\\u00") }
    }

    fn any(&self, text: &[u8]) -> bool {
        self.slash.find(text).is_some()
            || self.unicode.find_iter(text).any(|at| revealed(text, at).is_some())
    }
}

/// The printable character that the escape at `at` stands for. Quotes and backslashes stay escaped:
/// there they have a meaning.
fn revealed(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at.saturating_add(4)..at.saturating_add(6))?;
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\')).then_some(byte)
}

/// The text with such escapes resolved, at whatever depth of JSON in strings they stand.
fn reveal(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..)?) {
        let slash = at.saturating_add(found);
        plain.push_str(text.get(at..slash)?);
        let after = super::literals::run(bytes, slash, |byte| byte == b'\\');
        let escape = after.saturating_sub(1);
        let hidden = match bytes.get(after) {
            Some(b'/') => Some((b'/', 1)),
            Some(b'u') if bytes.get(escape..)?.starts_with(b"\\u00") => {
                revealed(bytes, escape).map(|byte| (byte, 5))
            }
            _ => None,
        };
        if let Some((byte, length)) = hidden {
            plain.push(char::from(byte));
            at = after.saturating_add(length);
        } else {
            plain.push_str(text.get(slash..after)?);
            at = after;
        }
    }
    plain.push_str(text.get(at..)?);
    Some(plain)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
