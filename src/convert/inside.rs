//! Members of an attribute that holds several values: JSON in a string, a map, W3C baggage.

use super::path;
use super::table::{Format, Member, Members, NestedRule};
use super::values::Notes;
use crate::entry::Json;
use crate::span::Value;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Shows each wanted member with its value. What is not well formed shows what came before the
/// fault: SDKs cut long attributes off, and the ids stand in front as often as not.
pub(super) fn nested<'r, 't>(
    rule: &'t NestedRule,
    value: &'r Value<'_>,
    notes: &mut Notes<'r>,
    show: &mut dyn FnMut(&'t Member, Json<'r>),
) {
    match (rule.format, value) {
        (Format::Json, value) => {
            let wanted = rule.only_with.as_deref();
            let text = value.as_str().unwrap_or_default();
            if wanted.is_some_and(|wanted| !text.is_empty() && !text.contains(wanted)) {
                return;
            }
            json(&rule.members, value, notes, show);
        }
        (Format::Pairs, Value::Text(text)) => pairs(&rule.members, text.as_str(), show),
        (Format::Pairs, Value::List(items)) => {
            for text in items.iter().filter_map(Value::as_str) {
                pairs(&rule.members, text, show);
            }
        }
        (Format::Pairs, _) => {}
    }
}

/// Members of a map, or of text that is a JSON object.
pub(super) fn json<'r, 't>(
    members: &'t Members,
    value: &'r Value<'_>,
    notes: &mut Notes<'r>,
    show: &mut dyn FnMut(&'t Member, Json<'r>),
) {
    match value {
        Value::Map(map) => {
            for attribute in map {
                if let Some(wanted) = members.get(attribute.key.as_str()) {
                    show_all(wanted, &notes.json(&attribute.value, attribute.key.as_str()), show);
                }
            }
        }
        Value::Text(text) if text.as_str().trim_start().starts_with('{') => {
            let mut reader = serde_json::Deserializer::from_str(text.as_str());
            let _cut_off = reader.deserialize_map(Picker { members, show });
        }
        _ => {}
    }
}

/// Members of `key=value,key=value`, values percent-encoded.
///
/// Source: W3C Baggage, "Definition"; W3C Trace Context, "tracestate".
pub(super) fn pairs<'r, 't>(
    members: &'t Members,
    text: &'r str,
    show: &mut dyn FnMut(&'t Member, Json<'r>),
) {
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else { continue };
        let Some(wanted) = members.get(key.trim()) else { continue };
        let value = value.split(';').next().unwrap_or_default().trim();
        show_all(wanted, &Json::Text(percent_decoded(value)), show);
    }
}

fn show_all<'r, 't>(
    wanted: &'t [Member],
    value: &Json<'r>,
    show: &mut dyn FnMut(&'t Member, Json<'r>),
) {
    for member in wanted {
        if let Some(value) = path::at(value, &member.path).filter(|value| *value != Json::Null) {
            show(member, value);
        }
    }
}

/// Reads the wanted members of a JSON object and skips the others without building them.
struct Picker<'t, 's, 'r> {
    members: &'t Members,
    show: &'s mut dyn FnMut(&'t Member, Json<'r>),
}

impl<'de> Visitor<'de> for Picker<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(wanted) = map.next_key_seed(Wanted(self.members))? {
            match wanted {
                Some(wanted) => show_all(wanted, &map.next_value::<Json<'static>>()?, self.show),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Looks a key up without copying it.
struct Wanted<'t>(&'t Members);

impl<'de, 't> DeserializeSeed<'de> for Wanted<'t> {
    type Value = Option<&'t Vec<Member>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Wanted<'t> {
    type Value = Option<&'t Vec<Member>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(key))
    }
}

/// `%20` as a space; text that is not well formed stays as it is.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::decode::Decoder;
    use crate::convert::target::Target;

    fn wanted(path: &str) -> Members {
        let mut parts = path.split('.').map(Into::into);
        let first = parts.next().unwrap();
        let member = Member {
            path: parts.collect(),
            target: Target::External,
            decoder: Decoder::Plain,
            except: Vec::new(),
            origin: crate::convert::table::Origin(0),
        };
        let mut members = Members::default();
        members.insert(first, vec![member]);
        members
    }

    fn found(path: &str, format: Format, text: &str) -> Vec<Json<'static>> {
        let rule = NestedRule {
            format,
            only_with: None,
            members: wanted(path),
            priority: 0,
            condition: crate::convert::table::Condition::default(),
        };
        let value = Value::Text(text.into());
        let mut found = Vec::new();
        nested(&rule, &value, &mut Notes::default(), &mut |_, json| {
            found.push(crate::convert::context::own(&json));
        });
        found
    }

    #[test]
    fn a_member_is_found_at_any_depth_and_others_are_skipped() {
        let text = r#"{"a":[1,{"b":2}],"input":{"resume":{"by":"ops-lead"}},"z":1}"#;
        assert_eq!(found("input.resume.by", Format::Json, text), [Json::from("ops-lead")]);
    }

    #[test]
    fn an_id_in_front_of_where_the_sdk_cut_the_text_is_found() {
        let text = r#"{"external_trace_id": "ext-1", "long": "aaaa"#;
        assert_eq!(found("external_trace_id", Format::Json, text), [Json::from("ext-1")]);
    }

    #[test]
    fn baggage_is_percent_decoded_and_its_properties_are_left() {
        let text = "a=1,external_trace_id=run%20a%2Fb;ttl=1, c=2";
        assert_eq!(found("external_trace_id", Format::Pairs, text), [Json::from("run a/b")]);
    }
}
