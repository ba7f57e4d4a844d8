//! What an entry of our own contributes: its ids, and the spellings of its trace ids.

use crate::correlate::{Id, JoinRules, Member, Namespace};
use crate::ledger::EntryRef;
use crate::store::EntryView;
use serde::Deserialize;
use std::borrow::Cow;

/// An entry that the exporter is done with.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    pub(super) sequence: u64,
    pub(super) tenant: String,
    /// Retention class: the stream that a link goes to.
    pub(super) class: u8,
    pub(super) received_ns: u64,
    pub(super) member: Member,
    /// Its trace ids as its body spells them.
    pub(super) forms: Vec<String>,
}

impl Seed {
    /// Reads an entry. `None` when nothing of it joins.
    pub(super) fn read(entry: EntryRef<'_>, rules: &JoinRules) -> Option<Self> {
        let (class, received_ns) = (entry.retention_class, entry.received_ns);
        let view = EntryView::from(entry);
        let member = view.member();
        if !member.ids.iter().any(|id| rules.joins(id)) {
            return None;
        }
        let forms = forms(view.body, rules);
        let (sequence, tenant) = (view.envelope.sequence, view.envelope.tenant.to_owned());
        Some(Self { sequence, tenant, class, received_ns, member, forms })
    }

    /// The ids that join, one spelling each.
    pub(super) fn ids(&self, rules: &JoinRules) -> Vec<Id<'static>> {
        self.member.ids.iter().filter(|id| rules.joins(id)).map(Id::canonical).collect()
    }
}

/// The trace ids of a body in every spelling that it has, without the careless ones.
pub(super) fn forms(body: &[u8], rules: &JoinRules) -> Vec<String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        trace_id: Vec<Cow<'a, str>>,
    }
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    let texts = body.map(|body| body.trace_id).unwrap_or_default();
    let joins = |text: &Cow<'_, str>| rules.joins(&Id::new(Namespace::Trace, text.as_ref()));
    texts.into_iter().filter(joins).map(Cow::into_owned).collect()
}
