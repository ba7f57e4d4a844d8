//! Cleaning of values that are no entry yet: those of the tracing layer, before they leave the
//! agent's memory.

use super::names::{Secret, is_secret_value, secret_name};
use super::text::{Cleaner, field_rule, marker, secret_rule};
use super::{ProtectorError, is_id_place};

/// Finds credentials, and the fields that somebody listed, in attributes.
///
/// ```
/// use spanledger::protect::AttributeProtector;
/// let protector = AttributeProtector::new(true, &["email".to_owned()])?;
/// let (clean, rules) = protector.clean("note", "use Bearer abcdefgh12345678ABCDEFGH").ok_or("kept")?;
/// assert!(clean.starts_with("use ") && !clean.contains("12345678"), "{clean}: {rules:?}");
/// let rule = protector.rule("user.email").ok_or("not listed")?;
/// assert_eq!(rule.replaces("eve@example.org").as_deref(), Some("[REDACTED:field:email]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AttributeProtector {
    cleaner: Cleaner,
}

/// What the name of an attribute says about its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    rule: String,
    /// Absent: the field was listed, and any value goes.
    secret: Option<Secret>,
}

impl FieldRule {
    /// What stands in place of a text, if the text must go.
    pub fn replaces(&self, text: &str) -> Option<String> {
        if text.is_empty() || text.starts_with("[REDACTED:") {
            return None;
        }
        let goes = self.secret.is_none_or(|secret| is_secret_value(secret, text.as_bytes()));
        goes.then(|| marker(&self.rule))
    }

    /// What stands in place of a number or other value, if it must go.
    pub fn replaces_number(&self) -> Option<String> {
        let goes = self.secret.is_none_or(|secret| secret == Secret::Password);
        goes.then(|| marker(&self.rule))
    }

    /// The rule's name, as in `audit.redactions`.
    pub fn name(&self) -> &str {
        &self.rule
    }
}

impl AttributeProtector {
    /// One that finds credentials or not, and the values of these fields.
    ///
    /// # Errors
    /// [`ProtectorError`] when the names are too much to search for.
    pub fn new(credentials: bool, fields: &[String]) -> Result<Self, ProtectorError> {
        Ok(Self { cleaner: Cleaner::new(credentials, fields)? })
    }

    /// What the name of an attribute says about its value.
    pub fn rule(&self, key: &str) -> Option<FieldRule> {
        if let Some(field) = self.cleaner.field(key, key) {
            return Some(FieldRule { rule: field_rule(field), secret: None });
        }
        let secret = secret_name(key.as_bytes()).filter(|_| self.cleaner.finds_credentials())?;
        Some(FieldRule { rule: secret_rule(key.as_bytes()), secret: Some(secret) })
    }

    /// Whether one of these texts may have something in it that is to be removed; `false` is sure.
    /// Each text has a `"` in front and behind.
    pub fn suspects(&self, texts: &[u8]) -> bool {
        self.cleaner.suspects(texts)
    }

    /// The text without its secrets and the rules that found them; `None` when it has none.
    pub fn clean(&self, key: &str, text: &str) -> Option<(String, Vec<String>)> {
        let mut rules = Vec::new();
        let clean = self.cleaner.clean(text, is_id_place(key), |rule| rules.push(rule.to_owned()));
        clean.map(|clean| (clean, rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_says_that_its_value_is_secret() {
        let protector = AttributeProtector::new(true, &[]).unwrap();
        let rule = protector.rule("db.password").unwrap();
        assert!(rule.replaces("hunter2").is_some() && rule.replaces_number().is_some());
        assert_eq!(rule.replaces(""), None, "nothing is nothing");
        assert_eq!(protector.rule("gen_ai.usage.input_tokens"), None);
        let off = AttributeProtector::new(false, &[]).unwrap();
        assert_eq!(off.rule("db.password"), None);
    }

    proptest! {
        #[test]
        fn what_is_found_in_a_text_is_found_between_its_quotes(
            head in "[a-z\"\\\\ =:]{0,12}",
            secret in prop::sample::select(vec![
                "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz",
                "AKIAIOSFODNN7EXAMPLE",
                "Bearer abcdefgh12345678ABCDEFGH",
                "password=hunter2hunter2",
                "{\"api_key\":\"Zm9vYmFyMTIzNDU2\"}",
                "4111 1111 1111 1111",
                "nothing",
            ]),
            tail in "[a-z\"\\\\ =:]{0,12}",
            other in "[a-z\"]{0,8}",
        ) {
            let protector = AttributeProtector::new(true, &["card_number".to_owned()]).unwrap();
            let text = format!("{head}{secret}{tail}");
            if protector.clean("note", &text).is_some() {
                let texts = format!("\"{other}\"\"{text}\"");
                prop_assert!(protector.suspects(texts.as_bytes()), "{texts}");
            }
        }
    }
}
