//! Late ids in a document, put there by bytes.
//!
//! ```text
//! {"schema_version":1,…,"audit":{                                            "ledger":{…},…},…}
//!                               ▲ "correlation":{"trace_id":["langsmith-…"]},
//! ```
//!
//! Every other byte stays: a document read into numbers and written again would have others, and
//! the hash of the ledger covers what the source said.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

/// Most ids that a document is given. An OpenTelemetry trace has four forms, so this is the story
/// of some sixty traces; what joins more is a batch, whose documents are found by its run, and
/// each id costs every document of the group a term.
pub const MAX_LATE_IDS: usize = 256;

/// What a document says of ids and tenant, and where late ids go.
#[derive(Debug)]
pub(super) struct Spliced<'a> {
    source: &'a str,
    /// Whose it is.
    pub(super) tenant: Cow<'a, str>,
    /// The trace ids that the record itself carried.
    own: Vec<Cow<'a, str>>,
    /// Those that it was given.
    given: Given<'a>,
    /// What is replaced: nothing behind `"audit":{`, or the object that is there.
    place: Range<usize>,
    /// Whether something follows in the same object.
    is_first_of_several: bool,
    is_replaced: bool,
}

/// What was done to a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has all ids, or as many as it may have.
    None,
    /// The document with more of them. `cut`: how many it was not given.
    Write { source: String, cut: usize },
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    organization: Organization<'a>,
    #[serde(borrow, default)]
    trace_id: OneOrMany<'a>,
    #[serde(borrow)]
    audit: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Organization<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Audit<'a> {
    #[serde(borrow, default)]
    correlation: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize, Default)]
struct Given<'a> {
    #[serde(borrow, default)]
    trace_id: OneOrMany<'a>,
    #[serde(default)]
    truncated: bool,
}

/// Elasticsearch does not tell a value from a list of one, and somebody's pipeline may not either.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    #[serde(borrow)]
    Many(Vec<Cow<'a, str>>),
}

impl Default for OneOrMany<'_> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<'a> OneOrMany<'a> {
    fn into_vec(self) -> Vec<Cow<'a, str>> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }

    fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<'a> Spliced<'a> {
    /// Reads a document. `None` when it is none of ours: no object, no `audit` in it, or not on one
    /// line, which a bulk request needs.
    pub(super) fn read(source: &'a str) -> Option<Self> {
        (!source.contains('\n')).then_some(())?;
        let document: Document<'a> = serde_json::from_str(source).ok()?;
        let audit = document.audit.get();
        let inner: Audit<'a> = serde_json::from_str(audit).ok()?;
        let behind = audit.strip_prefix('{')?;
        let (place, given) = if let Some(raw) = inner.correlation {
            (within(source, raw.get())?, serde_json::from_str(raw.get()).ok()?)
        } else {
            let start = within(source, behind)?.start;
            (start..start, Given::default())
        };
        Some(Self {
            source,
            tenant: document.organization.id,
            own: document.trace_id.into_vec(),
            given,
            place,
            is_first_of_several: !behind.trim_start().starts_with('}'),
            is_replaced: inner.correlation.is_some(),
        })
    }

    /// The trace ids that the record itself carried.
    pub(super) fn own(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(AsRef::as_ref)
    }

    /// Gives it those ids of its group that it does not carry. What it was given before stays, so
    /// that collectors that know different parts of a group come to the same end.
    pub(super) fn give<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Change {
        let before: BTreeSet<&str> =
            self.given.trace_id.as_slice().iter().map(AsRef::as_ref).collect();
        let is_new = |id: &&str| !before.contains(id) && !self.own().any(|own| own == *id);
        let new: BTreeSet<&str> = ids.filter(is_new).collect();
        let room = MAX_LATE_IDS.saturating_sub(before.len());
        let cut = new.len().saturating_sub(room);
        let taken: Vec<&str> = new.into_iter().take(room).collect();
        let truncated = self.given.truncated || cut > 0;
        if taken.is_empty() && truncated == self.given.truncated {
            return Change::None;
        }
        let all: BTreeSet<&str> = before.into_iter().chain(taken).collect();
        self.with(&all, truncated).map_or(Change::None, |source| Change::Write { source, cut })
    }

    fn with(&self, ids: &BTreeSet<&str>, truncated: bool) -> Option<String> {
        let list = serde_json::to_string(ids).ok()?;
        let mut out =
            String::with_capacity(self.source.len().saturating_add(list.len()).saturating_add(64));
        out.push_str(self.source.get(..self.place.start)?);
        if !self.is_replaced {
            out.push_str(r#""correlation":"#);
        }
        out.push_str(r#"{"trace_id":"#);
        out.push_str(&list);
        if truncated {
            out.push_str(r#","truncated":true"#);
        }
        out.push('}');
        if !self.is_replaced && self.is_first_of_several {
            out.push(',');
        }
        out.push_str(self.source.get(self.place.end..)?);
        Some(out)
    }
}

/// Where a part of a text stands in it.
fn within(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (whole.get(start..end)? == part).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn give(source: &str, ids: &[&str]) -> Change {
        Spliced::read(source).unwrap().give(ids.iter().copied())
    }

    fn given(source: &str, ids: &[&str]) -> String {
        match give(source, ids) {
            Change::Write { source, .. } => source,
            Change::None => panic!("nothing is written"),
        }
    }

    #[test]
    fn ids_stand_beside_the_record_and_no_other_byte_changes() {
        let source = r#"{"schema_version":1,"trace_id":["t"],"organization":{"id":"a"},"audit":{"kind":"span"},"attributes":{"a":9007199254740993,"b":-0.0,"c":1.10}}"#;
        let written = given(source, &["z", "t", "b"]);
        assert_eq!(
            written,
            r#"{"schema_version":1,"trace_id":["t"],"organization":{"id":"a"},"audit":{"correlation":{"trace_id":["b","z"]},"kind":"span"},"attributes":{"a":9007199254740993,"b":-0.0,"c":1.10}}"#
        );
        assert_eq!(give(&written, &["b", "t"]), Change::None, "it has them");
        let more = given(&written, &["c"]);
        assert!(more.contains(r#""correlation":{"trace_id":["b","c","z"]},"kind""#), "{more}");
        assert_eq!(
            given(r#"{"audit":{}}"#, &["x"]),
            r#"{"audit":{"correlation":{"trace_id":["x"]}}}"#
        );
    }

    #[test]
    fn a_document_is_given_no_more_than_the_bound_and_says_that_it_was_cut() {
        let many: Vec<String> = (0..MAX_LATE_IDS + 2).map(|n| format!("id-{n:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let Change::Write { source, cut } = give(r#"{"audit":{"kind":"span"}}"#, &many) else {
            panic!("it is written");
        };
        assert_eq!(cut, 2);
        let json: Value = serde_json::from_str(&source).unwrap();
        assert_eq!(json["audit"]["correlation"]["truncated"], true);
        assert_eq!(
            json["audit"]["correlation"]["trace_id"].as_array().unwrap().len(),
            MAX_LATE_IDS
        );
        assert_eq!(give(&source, &many), Change::None, "and is not written again");
    }

    #[test]
    fn what_is_none_of_ours_is_left_alone() {
        for source in ["", "[]", "{}", r#"{"audit":7}"#, r#"{"audit":{"correlation":7}}"#] {
            assert!(Spliced::read(source).is_none(), "{source}");
        }
        let twice = r#"{"audit":{},"audit":{}}"#;
        assert!(Spliced::read(twice).is_none());
    }

    #[test]
    fn the_fields_are_those_of_the_table() {
        let many: Vec<String> = (0..=MAX_LATE_IDS).map(|n| n.to_string()).collect();
        let text = given(r#"{"audit":{}}"#, &many.iter().map(String::as_str).collect::<Vec<_>>());
        let json: Value = serde_json::from_str(&text).unwrap();
        let table = crate::elasticsearch::fields::all();
        for name in json["audit"]["correlation"].as_object().unwrap().keys() {
            let name = format!("audit.correlation.{name}");
            assert!(table.iter().any(|field| field.name == name), "{name}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn taken_out_again_the_document_is_byte_for_byte_what_it_was(
            before in any_json(), inside in any_json(), after in any_json(), is_empty: bool,
            late in prop::collection::btree_set("[a-z\"\\\\ü]{1,9}", 1..6),
        ) {
            let audit = if is_empty { json!({}) } else { json!({"x": inside, "kind": "span"}) };
            let source = format!(r#"{{"before":{before},"audit":{audit},"after":{after}}}"#);
            let ids: Vec<&str> = late.iter().map(String::as_str).collect();
            let written = given(&source, &ids);
            let mut json: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&json["audit"]["correlation"]["trace_id"], &json!(late));
            json["audit"].as_object_mut().unwrap().shift_remove("correlation");
            prop_assert_eq!(json.to_string(), source.clone());
            let added = format!(r#""correlation":{{"trace_id":{}}}"#, json!(late));
            let comma = if is_empty { "" } else { "," };
            prop_assert_eq!(written.replacen(&format!("{added}{comma}"), "", 1), source);
            prop_assert_eq!(give(&written, &ids), Change::None);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Spliced::read(&text).map(|read| read.give(["a"].into_iter()));
        }
    }
}
