//! Python literals as JSON: `{'order_id': '1042', 'amount': 59.9, 'note': None}`.
//!
//! Instrumentations written in Python send `str(value)` where they mean the value. Only literals
//! are read: a `repr` with a name in it (`Interrupt(value=…)`) means nothing without its program.
//!
//! Source: The Python Language Reference, "Lexical analysis", literals; "Displays".

use crate::entry::{Fields, Json};
use std::borrow::Cow;

/// Deepest literal that is read, in containers. What is deeper stays text.
const MAX_DEPTH: usize = 64;

/// The JSON of a Python dict, list, tuple or set; `None` for any other text.
pub(super) fn to_json(text: &str) -> Option<Json<'static>> {
    let text = text.trim();
    if !text.starts_with(['{', '[', '(']) {
        return None;
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value()?;
    reader.rest.trim_start().is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Json<'static>> {
        self.space();
        match self.rest.chars().next()? {
            '{' => self.nested(Self::braces),
            '[' => self.nested(|reader| reader.items('[', ']').map(Json::List)),
            '(' => self.nested(|reader| reader.items('(', ')').map(Json::List)),
            '\'' | '"' => self.string().map(|text| Json::Text(Cow::Owned(text))),
            _ => self.word(),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<Json<'static>>,
    ) -> Option<Json<'static>> {
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
        let value = read(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes a character if it is the next one.
    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn items(&mut self, open: char, close: char) -> Option<Vec<Json<'static>>> {
        let mut items = Vec::new();
        self.take(open).then_some(())?;
        while !self.take(close) {
            items.push(self.value()?);
            if !self.take(',') {
                return self.take(close).then_some(items);
            }
        }
        Some(items)
    }

    /// A dict; a set becomes a list.
    fn braces(&mut self) -> Option<Json<'static>> {
        let mut fields = Fields::default();
        let mut items = Vec::new();
        self.take('{').then_some(())?;
        while !self.take('}') {
            let first = self.value()?;
            if self.take(':') {
                fields.merge(Cow::Owned(key(first)?), self.value()?);
            } else {
                items.push(first);
            }
            if !self.take(',') {
                self.take('}').then_some(())?;
                break;
            }
        }
        match (fields.is_empty(), items.is_empty()) {
            (_, true) => Some(Json::Map(fields)),
            (true, false) => Some(Json::List(items)),
            (false, false) => None,
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut chars = self.rest.chars();
        let quote = chars.next()?;
        let mut text = String::new();
        loop {
            match chars.next()? {
                end if end == quote => break,
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    'x' => text.push(code(&mut chars, 2)?),
                    'u' => text.push(code(&mut chars, 4)?),
                    'U' => text.push(code(&mut chars, 8)?),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }

    /// A number, a truth, or nothing.
    fn word(&mut self) -> Option<Json<'static>> {
        let end = self.rest.find([',', ':', '}', ']', ')', ' ', '\n']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let digits = word.strip_prefix('-').unwrap_or(word);
        Some(match word {
            "None" => Json::Null,
            "True" => Json::Bool(true),
            "False" => Json::Bool(false),
            "nan" => Json::Double(f64::NAN),
            "inf" => Json::Double(f64::INFINITY),
            "-inf" => Json::Double(f64::NEG_INFINITY),
            _ if !digits.starts_with(|c: char| c.is_ascii_digit()) => return None,
            _ => match (word.parse(), word.parse::<f64>()) {
                (Ok(int), _) => Json::Int(int),
                // An integer of any length: as text it keeps every digit.
                (_, Ok(_)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    Json::Text(Cow::Owned(word.to_owned()))
                }
                (_, Ok(double)) => Json::Double(double),
                _ => return None,
            },
        })
    }
}

/// The key of a dict as the key of an object.
fn key(value: Json<'_>) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.into_owned()),
        Json::Int(int) => Some(int.to_string()),
        _ => None,
    }
}

/// The character of an escape with that many hexadecimal digits.
fn code(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let (hex, rest) = chars.as_str().split_at_checked(digits)?;
    *chars = rest.chars();
    char::from_u32(u32::from_str_radix(hex, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Option<String> {
        to_json(text).map(|value| serde_json::to_string(&value).unwrap())
    }

    #[test]
    fn a_python_dict_is_read_with_all_its_values() {
        let text = r#"{'id': "it's", 'n': -1, 'x': 5.5e3, 'ok': True, 'none': None, 't': (1, 2,), 'e': {}, 3: [], 'u': 'a\u20ac\n'}"#;
        assert_eq!(
            json(text).unwrap(),
            r#"{"id":"it's","n":-1,"x":5500.0,"ok":true,"none":null,"t":[1,2],"e":{},"3":[],"u":"a€\n"}"#
        );
        assert_eq!(json("{'a', 'b'}").unwrap(), r#"["a","b"]"#);
        assert_eq!(json("[123456789012345678901]").unwrap(), r#"["123456789012345678901"]"#);
    }

    #[test]
    fn what_is_no_literal_stays_as_it_is() {
        for text in
            ["None", "plain", "(Interrupt(value={'a': 1}),)", "{'a': <x>}", "{'a': 1", "[1] 2"]
        {
            assert_eq!(json(text), None, "{text}");
        }
        assert_eq!(json(&"[".repeat(100_000)), None, "deep nesting ends");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[({'\":,a1\\\\xu}\\])é ]{0,40}") {
            let _ = to_json(&text);
        }
    }
}
