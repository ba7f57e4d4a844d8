//! Body and envelope as one JSON document.
//!
//! The bytes of the body are copied, never read into numbers and written again: an integer of 64
//! bits and `-0.0` stay what they are. The body has objects of the same names as the envelope's
//! fields, so those are opened and added to:
//!
//! ```text
//! {"schema_version":1,"@timestamp":…,"event":{          "action":…},"audit":{            "kind":…},…}
//!                     ▲ when absent           ▲ id, sequence,…              ▲ "ledger":{…},
//!                       received time                                        and organization
//! ```

use super::scan::Scan;
use super::{EntryView, Envelope};
use crate::entry::format_ns;

/// What a projection says of the ledger that an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Name of the ledger: the origin line of its checkpoints.
    pub name: &'a str,
}

/// Appends the document of an entry to `out`: one JSON object without a key that stands twice.
///
/// `event.hash` is the leaf hash, in hexadecimal: it is what a checkpoint covers, and the leaf
/// covers the body.
///
/// A body that does not look like this version's (pruned, damaged, of a later version) is shown
/// with the envelope alone, and as text under `audit.ledger.unreadable_body`; of one that is not kept
/// any more `audit.ledger.pruned` tells.
pub fn write_document(entry: &EntryView<'_>, origin: Origin<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    if splice(entry, origin, out).is_none() {
        out.truncate(start);
        write_alone(entry, origin, out);
    }
}

/// The places in a body where the envelope goes.
struct Places {
    /// After the version: where a missing time goes.
    head: usize,
    has_time: bool,
    /// Behind `"event":{` and whether the object is empty.
    event: (usize, bool),
    /// Behind `"audit":{`.
    audit: (usize, bool),
    /// Whether the body has `organization` of its own (no version of ours does).
    has_organization: bool,
}

fn splice(entry: &EntryView<'_>, origin: Origin<'_>, out: &mut Vec<u8>) -> Option<()> {
    let body = std::str::from_utf8(entry.body).ok()?;
    let places = Places::find(body)?;
    if places.has_organization || places.event.0 > places.audit.0 {
        return None;
    }
    let envelope = &entry.envelope;
    out.extend_from_slice(body.get(..places.head)?.as_bytes());
    if !places.has_time {
        put(out, r#""@timestamp":""#);
        put(out, &format_ns(envelope.received_ns));
        put(out, "\",");
    }
    write_organization(envelope, out);
    put(out, ",");
    out.extend_from_slice(body.get(places.head..places.event.0)?.as_bytes());
    write_event_fields(envelope, out);
    put(out, if places.event.1 { "" } else { "," });
    out.extend_from_slice(body.get(places.event.0..places.audit.0)?.as_bytes());
    write_ledger_object(envelope, origin, out);
    put(out, if places.audit.1 { "" } else { "," });
    out.extend_from_slice(body.get(places.audit.0..)?.as_bytes());
    Some(())
}

fn write_alone(entry: &EntryView<'_>, origin: Origin<'_>, out: &mut Vec<u8>) {
    let envelope = &entry.envelope;
    put(out, r#"{"@timestamp":""#);
    put(out, &format_ns(envelope.received_ns));
    put(out, "\",");
    write_organization(envelope, out);
    put(out, r#","event":{"#);
    write_event_fields(envelope, out);
    put(out, r#"},"audit":{"#);
    write_ledger_object(envelope, origin, out);
    // Back into the object that was closed.
    out.pop();
    if entry.body.is_empty() {
        put(out, r#","pruned":true}"#);
    } else {
        put(out, r#","unreadable_body":"#);
        write_quoted(&String::from_utf8_lossy(entry.body), out);
        put(out, "}");
    }
    put(out, "}}");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn write_organization(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    put(out, r#""organization":{"id":"#);
    write_quoted(envelope.tenant, out);
    put(out, "}");
}

fn write_event_fields(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    put(out, r#""id":""#);
    write_hex(&envelope.id, out);
    put(out, r#"","sequence":"#);
    put(out, itoa::Buffer::new().format(envelope.sequence));
    put(out, r#","hash":""#);
    write_hex(&envelope.leaf_hash, out);
    put(out, r#"","ingested":""#);
    put(out, &format_ns(envelope.received_ns));
    put(out, "\"");
}

fn write_ledger_object(envelope: &Envelope<'_>, origin: Origin<'_>, out: &mut Vec<u8>) {
    put(out, r#""ledger":{"origin":"#);
    write_quoted(origin.name, out);
    if envelope.conflict {
        put(out, r#","conflict":true"#);
    }
    put(out, "}");
}

fn write_quoted(text: &str, out: &mut Vec<u8>) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends bytes as hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' | nibble } else { b'W'.wrapping_add(nibble) };
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

impl Places {
    /// Walks the body; `None` when it is not JSON. Only keys of the top level count: a text that
    /// looks like a key is none.
    fn find(body: &str) -> Option<Self> {
        let mut scan = Scan::new(body);
        scan.expect(b'{')?;
        let (mut head, mut event, mut audit) = (None, None, None);
        let (mut has_time, mut has_organization) = (false, false);
        loop {
            let start = scan.at.checked_add(1)?;
            scan.check_string()?;
            let key = body.get(start..scan.at.checked_sub(1)?)?;
            scan.expect(b':')?;
            let opens = scan.peek() == Some(b'{');
            let inside = scan.at.checked_add(1)?;
            let is_empty = body.as_bytes().get(inside) == Some(&b'}');
            scan.check_value()?;
            match key {
                "@timestamp" => has_time = true,
                "organization" => has_organization = true,
                "event" if opens => event = Some((inside, is_empty)),
                "audit" if opens => audit = Some((inside, is_empty)),
                _ => {}
            }
            if !scan.eat(b',') {
                break;
            }
            // The envelope goes behind the first field, which is the version.
            if head.is_none() {
                (key == "schema_version").then_some(())?;
                head = Some(scan.at);
            }
        }
        scan.expect(b'}')?;
        // Whatever follows the object is not ours.
        scan.is_at_end().then_some(())?;
        Some(Self { head: head?, has_time, event: event?, audit: audit?, has_organization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Json, Kind};
    use proptest::prelude::*;
    use serde::de::{Deserializer as _, MapAccess, Visitor};
    use serde_json::Value;
    use std::collections::HashSet;

    const ORIGIN: Origin<'static> = Origin { name: "example.com/ledger" };

    fn document(body: &[u8], conflict: bool) -> String {
        let envelope = Envelope {
            sequence: 7,
            id: [0xab; 16],
            tenant: "acme",
            received_ns: 1_795_241_529_767_677_952,
            conflict,
            leaf_hash: [0x11; 32],
        };
        let mut out = Vec::new();
        write_document(&EntryView::new(envelope, body), ORIGIN, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn body(entry: &Entry<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        body
    }

    /// Whether any object in the text has a key twice.
    fn has_repeated_key(text: &str) -> bool {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = bool;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("json")
            }
            fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_str<E>(self, _: &str) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_unit<E>(self) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
                let mut twice = false;
                while let Some(inner) = seq.next_element_seed(Keys)? {
                    twice |= inner;
                }
                Ok(twice)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
                let (mut seen, mut twice) = (HashSet::new(), false);
                while let Some(key) = map.next_key::<String>()? {
                    twice |= !seen.insert(key);
                    twice |= map.next_value_seed(Keys)?;
                }
                Ok(twice)
            }
        }
        impl<'de> serde::de::DeserializeSeed<'de> for Keys {
            type Value = bool;
            fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
                d.deserialize_any(Keys)
            }
        }
        serde_json::Deserializer::from_str(text).deserialize_any(Keys).unwrap()
    }

    #[test]
    fn the_envelope_stands_in_the_objects_of_the_body() {
        let mut entry = Entry::new(Kind::ToolCall);
        entry.timestamp = "2026-11-21T08:00:00.000000000Z".into();
        entry.event.action = Some("pay".into());
        let text = document(&body(&entry), true);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["@timestamp"], "2026-11-21T08:00:00.000000000Z");
        assert_eq!(json["event"]["id"], "ab".repeat(16));
        assert_eq!(json["event"]["sequence"], 7);
        assert_eq!(json["event"]["hash"], "11".repeat(32));
        assert_eq!(json["event"]["ingested"], "2026-11-21T06:12:09.767677952Z");
        assert_eq!(json["event"]["action"], "pay");
        assert_eq!(json["organization"]["id"], "acme");
        assert_eq!(json["audit"]["kind"], "tool_call");
        assert_eq!(json["audit"]["ledger"]["origin"], "example.com/ledger");
        assert_eq!(json["audit"]["ledger"]["conflict"], true);
    }

    #[test]
    fn without_a_time_of_its_own_an_entry_has_the_received_time() {
        let json: Value =
            serde_json::from_str(&document(&body(&Entry::new(Kind::Span)), false)).unwrap();
        assert_eq!(json["@timestamp"], "2026-11-21T06:12:09.767677952Z");
        assert_eq!(json["audit"]["ledger"].get("conflict"), None);
    }

    #[test]
    fn text_that_looks_like_a_key_is_text() {
        let mut entry = Entry::new(Kind::Log);
        entry.message = Some(r#"","event":{"audit":{\"#.into());
        entry.attributes.push("event".into(), Json::Text("{".into()));
        let text = document(&body(&entry), false);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["message"], r#"","event":{"audit":{\"#);
        assert_eq!(json["event"]["sequence"], 7);
    }

    #[test]
    fn numbers_of_the_body_stay_byte_for_byte() {
        let body = br#"{"schema_version":1,"event":{},"audit":{"kind":"span"},"attributes":{"a":9007199254740993,"b":-0.0,"c":1e300,"d":1.10}}"#;
        let text = document(body, false);
        assert!(
            text.ends_with(r#""attributes":{"a":9007199254740993,"b":-0.0,"c":1e300,"d":1.10}}"#)
        );
    }

    #[test]
    fn a_body_of_another_shape_is_shown_with_the_envelope_alone() {
        for body in [
            "",
            "{}",
            "[1]",
            "{\"schema_version\":1",
            "nonsense",
            r#"{"schema_version":1,"event":7,"audit":{}}"#,
            r#"{"schema_version":1,"event":{},"audit":{}}x"#,
        ] {
            let text = document(body.as_bytes(), false);
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{body}: {e}"));
            assert_eq!(json["event"]["sequence"], 7, "{body}");
            let kept = json["audit"]["ledger"].get("unreadable_body");
            assert_eq!(kept.is_some(), !body.is_empty(), "{body}");
            let pruned = &json["audit"]["ledger"]["pruned"];
            assert_eq!(pruned == &Value::Bool(true), body.is_empty(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_is_one_object_without_repeated_keys_that_still_holds_its_body(
            message: Option<String>, key: String, value: String, number: i64, timed: bool, action: Option<String>,
        ) {
            let mut entry = Entry::new(Kind::Log);
            entry.message = message.map(Into::into);
            entry.event.action = action.map(Into::into);
            entry.attributes.push(key.clone().into(), Json::Text(value.into()));
            entry.attributes.push(format!("{key}2").into(), Json::Int(number));
            if timed {
                entry.timestamp = "2026-11-21T08:00:00.000000000Z".into();
            }
            let body = body(&entry);
            let text = document(&body, false);
            prop_assert!(!has_repeated_key(&text));
            let mut shown: Value = serde_json::from_str(&text).unwrap();
            let original: Value = serde_json::from_slice(&body).unwrap();
            for spliced in ["id", "sequence", "hash", "ingested"] {
                shown["event"].as_object_mut().unwrap().shift_remove(spliced);
            }
            shown["audit"].as_object_mut().unwrap().shift_remove("ledger");
            let root = shown.as_object_mut().unwrap();
            root.shift_remove("organization");
            if !timed {
                root.shift_remove("@timestamp");
            }
            prop_assert_eq!(shown, original);
        }

        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>) {
            let text = document(&body, false);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
