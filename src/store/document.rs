//! A projected document back into envelope and body: the reverse of `projection.rs`.
//!
//! ```text
//! {"schema_version":1,"@timestamp":…,"organization":…,"event":{"id":…,"action":…},"audit":{"ledger":…,"kind":…},…}
//!                     ▲ when it was absent, the received time                                   └ out again
//! ```
//!
//! The body comes out byte for byte as it went in, so that a store that keeps documents asks the
//! same questions of the same bytes as one that keeps bodies. What others put beside the entry
//! (`audit.correlation`: ids that became known later) is no part of the body either.

use super::scan::Scan;
use super::{EntryView, Envelope};
use crate::entry::parse_ns;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// What the projection adds to `event`.
const IN_EVENT: &[&str] = &["id", "sequence", "hash", "ingested"];

/// What projection and correlator add to `audit`.
const IN_AUDIT: &[&str] = &["ledger", "correlation"];

/// An entry, read from its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) tenant: String,
    pub(crate) id: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) received_ns: u64,
    pub(crate) origin: String,
    conflict: bool,
    leaf_hash: [u8; 32],
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    organization: Organization<'a>,
    #[serde(borrow)]
    event: Event<'a>,
    #[serde(borrow)]
    audit: Audit<'a>,
}

#[derive(Deserialize)]
struct Organization<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    sequence: u64,
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(borrow)]
    ingested: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Audit<'a> {
    #[serde(borrow)]
    ledger: Ledger<'a>,
}

#[derive(Deserialize)]
struct Ledger<'a> {
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(default)]
    conflict: bool,
    #[serde(borrow, default)]
    unreadable_body: Option<Cow<'a, str>>,
}

impl Document {
    /// Reads a document; `None` when it is not one that the projection writes.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let shown: Shown<'_> = serde_json::from_str(text).ok()?;
        let body = match shown.audit.ledger.unreadable_body {
            Some(unreadable) => unreadable.into_owned().into_bytes(),
            None => cut(text).or_else(|| cut_parsed(text, &shown.event.ingested))?,
        };
        Some(Self {
            tenant: shown.organization.id.into_owned(),
            id: bytes(&shown.event.id)?,
            sequence: shown.event.sequence,
            received_ns: parse_ns(&shown.event.ingested)?,
            origin: shown.audit.ledger.origin.into_owned(),
            conflict: shown.audit.ledger.conflict,
            leaf_hash: bytes(&shown.event.hash)?,
            body,
        })
    }

    /// The entry as a question sees it.
    pub(crate) fn view(&self) -> EntryView<'_> {
        let envelope = Envelope {
            sequence: self.sequence,
            id: self.id,
            tenant: &self.tenant,
            received_ns: self.received_ns,
            conflict: self.conflict,
            leaf_hash: self.leaf_hash,
        };
        EntryView::new(envelope, &self.body)
    }
}

/// Bytes of as many pairs of hexadecimal digits.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let pairs = digits.as_bytes().chunks_exact(2);
    (digits.len() == N.checked_mul(2)?).then_some(())?;
    for (byte, pair) in out.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// The body of a document as the projection wrote it, without spaces.
fn cut(text: &str) -> Option<Vec<u8>> {
    let mut scan = Scan::new(text);
    let mut out = Vec::with_capacity(text.len());
    let (mut has_version, mut has_organization) = (false, false);
    rebuild(&mut scan, &mut out, text, &mut |key, scan| {
        has_version |= key == "schema_version";
        match key {
            "organization" => {
                has_organization = true;
                Keep::No
            }
            // The received time stands in front of the tenant, the entry's own behind it.
            "@timestamp" if !has_organization => Keep::No,
            "event" if scan.peek() == Some(b'{') => Keep::Without(IN_EVENT),
            "audit" if scan.peek() == Some(b'{') => Keep::Without(IN_AUDIT),
            _ => Keep::Yes,
        }
    })?;
    scan.is_at_end().then_some(())?;
    // An entry without a body is shown with its envelope alone.
    if !has_version {
        out.clear();
    }
    Some(out)
}

/// What is done with the value of a key.
enum Keep {
    Yes,
    No,
    Without(&'static [&'static str]),
}

/// Copies an object without what is not kept.
fn rebuild<'a>(
    scan: &mut Scan<'a>,
    out: &mut Vec<u8>,
    text: &'a str,
    keep: &mut dyn FnMut(&str, &Scan<'a>) -> Keep,
) -> Option<()> {
    scan.expect(b'{')?;
    out.push(b'{');
    let mut is_first = true;
    while scan.peek() != Some(b'}') {
        let start = scan.at;
        let key = scan.text()?;
        scan.expect(b':')?;
        let kept = keep(&key, scan);
        if matches!(kept, Keep::No) {
            scan.skip_value()?;
        } else {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(text.get(start..scan.at)?.as_bytes());
            if let Keep::Without(names) = kept {
                rebuild(scan, out, text, &mut |key, _| {
                    if names.contains(&key) { Keep::No } else { Keep::Yes }
                })?;
            } else {
                let value = scan.at;
                scan.skip_value()?;
                out.extend_from_slice(text.get(value..scan.at)?.as_bytes());
            }
        }
        if !scan.eat(b',') {
            break;
        }
    }
    scan.expect(b'}')?;
    out.push(b'}');
    Some(())
}

/// The body of a document that somebody wrote anew, with spaces or in another order.
fn cut_parsed(text: &str, ingested: &str) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let root = value.as_object_mut()?;
    root.shift_remove("organization");
    if root.get("@timestamp").is_some_and(|time| time == ingested) {
        root.shift_remove("@timestamp");
    }
    for (object, names) in [("event", IN_EVENT), ("audit", IN_AUDIT)] {
        if let Some(Value::Object(inner)) = root.get_mut(object) {
            for name in names {
                inner.shift_remove(*name);
            }
        }
    }
    if !root.contains_key("schema_version") {
        return Some(Vec::new());
    }
    serde_json::to_vec(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::super::facets::Facets;
    use super::super::projection::{Origin, write_document};
    use super::*;
    use crate::entry::{Entry, Json, Kind};
    use proptest::prelude::*;

    fn envelope(conflict: bool) -> Envelope<'static> {
        Envelope {
            sequence: 7,
            id: [0xab; 16],
            tenant: "a\"cme",
            received_ns: 1_795_241_529_767_677_952,
            conflict,
            leaf_hash: [0x11; 32],
        }
    }

    fn document(body: &[u8], conflict: bool) -> String {
        let mut out = Vec::new();
        let origin = Origin { name: "example.com/ledger" };
        write_document(&EntryView::new(envelope(conflict), body), origin, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_others_put_beside_an_entry_is_no_part_of_its_body() {
        let mut body = Vec::new();
        Entry::new(Kind::Span).write(&mut body).unwrap();
        let text = document(&body, false);
        let given = r#""audit":{"correlation":{"trace_id":["late"]},"#;
        let text = text.replacen(r#""audit":{"#, given, 1);
        let read = Document::read(&text).unwrap();
        assert_eq!(read.body, body);
        assert!(read.view().facets().ids.is_empty());
    }

    #[test]
    fn a_document_that_was_written_anew_has_the_same_facets() {
        let mut entry = Entry::new(Kind::Decision);
        entry.add_trace_id("langsmith-1".into());
        entry.event.action = Some("pay".into());
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        let value: Value = serde_json::from_str(&document(&body, false)).unwrap();
        let read = Document::read(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
        assert_eq!(Facets::from_body(&read.body), Facets::from_body(&body));
    }

    #[test]
    fn an_entry_without_a_readable_body_has_none() {
        for body in ["", "nonsense", "{}", r#"{"schema_version":1"#] {
            let read = Document::read(&document(body.as_bytes(), false)).unwrap();
            assert_eq!(read.body, body.as_bytes());
        }
    }

    #[test]
    fn what_is_no_document_is_not_read() {
        for text in ["", "{}", "[1]", r#"{"organization":{"id":"a"},"event":{},"audit":{}}"#] {
            assert_eq!(Document::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn envelope_and_body_come_out_as_they_went_in(
            message: Option<String>, key: String, value: String, number: i64,
            timed: bool, received: bool, action: Option<String>, conflict: bool,
        ) {
            let mut entry = Entry::new(Kind::Log);
            entry.message = message.map(Into::into);
            entry.event.action = action.map(Into::into);
            entry.attributes.push(key.clone().into(), Json::Text(value.into()));
            entry.attributes.push(format!("{key}2").into(), Json::Int(number));
            entry.attributes.push("organization".into(), Json::Double(1e300));
            if timed {
                // Its own time may be the one at which it was received.
                let own = if received { "2026-11-21T06:12:09.767677952Z" } else { "2026-11-21T08:00:00.000000000Z" };
                entry.timestamp = own.into();
            }
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            let read = Document::read(&document(&body, conflict)).unwrap();
            prop_assert_eq!(&read.body, &body);
            prop_assert_eq!(read.view().envelope, envelope(conflict));
            prop_assert_eq!(read.origin, "example.com/ledger");
        }

        #[test]
        fn no_text_makes_it_panic(text: String, body: Vec<u8>) {
            let _ = Document::read(&text);
            prop_assert!(Document::read(&document(&body, false)).is_some());
        }
    }
}
