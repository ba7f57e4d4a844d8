//! Link documents: what joins a group whose documents cannot be given its ids.
//!
//! A link is no entry: its `audit.kind` is `link`, no ledger has it, and it has no
//! `event.sequence`. Whoever counts or lists entries leaves it out.

use crate::elasticsearch::document::data_stream;
use crate::elasticsearch::ids::LINK_KIND;
use crate::entry::format_ns;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Most ids that the path for Kibana asks for: one for each trace. Browsers take addresses of some
/// 30,000 characters; these have 10,000 at most.
const MAX_ASKED: usize = 50;

/// Around the events of a group, so that the first and the last are not on the edge.
const MARGIN_NS: u64 = 60_000_000_000;

/// A link document that is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Data stream.
    pub(super) stream: String,
    /// Its id: the same for the same ids of the same tenant, so that it is there once.
    pub(super) id: String,
    /// JSON.
    pub(super) document: String,
}

/// What a link says.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    pub(super) tenant: &'a str,
    /// Retention class of the joining entry.
    pub(super) class: u8,
    /// Time of the joining entry.
    pub(super) at_ns: u64,
    /// The trace ids of the group in every spelling.
    pub(super) forms: &'a BTreeSet<String>,
    /// One spelling of each.
    pub(super) trace_ids: &'a [String],
    /// From the first to the last of its events.
    pub(super) events_ns: (u64, u64),
}

impl Joined<'_> {
    /// The document.
    pub(super) fn link(&self) -> Link {
        let id = self.id();
        let shown = self.forms.iter().take(super::MAX_LATE_IDS);
        let cut = self.forms.len() > super::MAX_LATE_IDS;
        let traces = self.trace_ids.len();
        let mut document = json!({
            "@timestamp": format_ns(self.at_ns),
            "organization": {"id": self.tenant},
            "event": {"id": id},
            "audit": {"kind": LINK_KIND, "link": {"kibana": self.kibana()}},
            "trace_id": shown.collect::<Vec<_>>(),
            "message": format!(
                "{traces} trace ids are one story, and their documents could not be given each \
                 other's; open audit.link.kibana behind the address of your Kibana for all of it"
            ),
        });
        if let (true, Some(audit)) = (cut, document.get_mut("audit")) {
            audit["correlation"] = json!({"truncated": true});
        }
        Link { stream: data_stream(self.class), id, document: document.to_string() }
    }

    /// 32 hexadecimal digits, as of an entry.
    fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"spanledger link 1\0");
        for text in std::iter::once(self.tenant).chain(self.forms.iter().map(String::as_str)) {
            // With its length, so that no two lists of texts are one text.
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let digest = hash.finalize();
        digest.iter().take(16).fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// Discover with the story and its time, as Kibana 8 and 9 take it: state in Rison.
    fn kibana(&self) -> String {
        let (from, to) = self.events_ns;
        let from = format_ns(from.saturating_sub(MARGIN_NS));
        let to = format_ns(to.saturating_add(MARGIN_NS));
        let asked: Vec<String> = self
            .trace_ids
            .iter()
            .take(MAX_ASKED)
            .map(|id| format!("trace_id:\"{}\"", id.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let time = format!("(time:(from:{},to:{}))", rison(&from), rison(&to));
        let query = rison(&asked.join(" or "));
        let state = format!(
            "(index:spanledger,query:(language:kuery,query:{query}),sort:!(!('@timestamp',asc)))"
        );
        format!("/app/discover#/?_g={}&_a={}", percent(&time), percent(&state))
    }
}

/// A text in Rison. Source: <https://github.com/Nanonid/rison>.
fn rison(text: &str) -> String {
    format!("'{}'", text.replace('!', "!!").replace('\'', "!'"))
}

/// Percent-encoded but for what Rison is written with and a fragment may hold.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!*'(),:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn link(ids: &[&str]) -> (Link, Value) {
        let forms: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
        let trace_ids: Vec<String> = forms.iter().cloned().collect();
        let joined = Joined {
            tenant: "acme",
            class: 0,
            at_ns: 1_795_241_529_767_677_952,
            forms: &forms,
            trace_ids: &trace_ids,
            events_ns: (1_795_241_529_000_000_000, 1_795_241_529_767_677_952),
        };
        let link = joined.link();
        let json = serde_json::from_str(&link.document).unwrap();
        (link, json)
    }

    #[test]
    fn a_link_has_every_id_of_its_group_and_is_no_entry() {
        let (link, json) = link(&["b", "a"]);
        assert_eq!(link.stream, "spanledger-default");
        assert_eq!(json["trace_id"], serde_json::json!(["a", "b"]));
        assert_eq!(json["organization"]["id"], "acme");
        assert_eq!(json["audit"]["kind"], "link");
        assert_eq!(json["@timestamp"], "2026-11-21T06:12:09.767677952Z");
        assert_eq!(json["event"]["id"], link.id.as_str());
        assert!(json["event"].get("sequence").is_none() && json["audit"].get("ledger").is_none());
        assert_eq!(link.id.len(), 32);
    }

    #[test]
    fn the_same_ids_make_the_same_link_and_others_another() {
        assert_eq!(link(&["a", "b"]).0.id, link(&["b", "a"]).0.id);
        let ids: BTreeSet<String> =
            [&["a", "b"][..], &["ab"], &["a", "b", ""], &["a"]].map(|ids| link(ids).0.id).into();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn the_path_opens_the_story_with_its_time_whatever_stands_in_an_id() {
        let (_, json) = link(&["it's! \"1\" \\ & #ü"]);
        assert_eq!(
            json["audit"]["link"]["kibana"],
            "/app/discover#/?_g=(time:(from:'2026-11-21T06:11:09.000000000Z',to:'2026-11-21T06:13:09.767677952Z'))\
             &_a=(index:spanledger,query:(language:kuery,query:'trace_id:%22it!'s!!%20%5C%221%5C%22%20%5C%5C%20%26%20%23%C3%BC%22'),\
             sort:!(!('@timestamp',asc)))"
        );
        let (_, json) = link(&["a", "b"]);
        let path = json["audit"]["link"]["kibana"].as_str().unwrap();
        assert!(path.contains("'trace_id:%22a%22%20or%20trace_id:%22b%22'"), "{path}");
    }

    #[test]
    fn the_path_is_never_longer_than_the_index_takes() {
        let ids: Vec<String> = (0..300).map(|n| format!("{n:032x}")).collect();
        let (_, json) = link(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(json["trace_id"].as_array().unwrap().len(), super::super::MAX_LATE_IDS);
        assert_eq!(json["audit"]["correlation"]["truncated"], true);
        let path = json["audit"]["link"]["kibana"].as_str().unwrap();
        assert!(path.len() < crate::elasticsearch::fields::LONGEST_KEYWORD as usize);
    }

    #[test]
    fn the_fields_are_those_of_the_table() {
        let (_, json) = link(&["a"]);
        let table = crate::elasticsearch::fields::all();
        for name in [
            "@timestamp",
            "organization.id",
            "event.id",
            "audit.kind",
            "audit.link.kibana",
            "trace_id",
            "message",
        ] {
            let pointer = format!("/{}", name.replace('.', "/"));
            assert!(json.pointer(&pointer).is_some(), "{name}");
            assert!(table.iter().any(|field| field.name == name), "{name}");
        }
    }
}
