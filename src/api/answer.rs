//! What the API answers, and what it may be asked.

use super::told::Studied;
use crate::story::{Action, Approval, Finding, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// Order of a story.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoryOrder {
    /// By time of the event, then ancestry of spans, then id.
    #[default]
    Story,
    /// As the ledger holds them.
    Ledger,
}

/// Order of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntriesOrder {
    /// The latest in the ledger first.
    #[default]
    Newest,
    /// The oldest in the ledger first; it ends.
    Oldest,
    /// As `oldest`, and it goes on: there is always a `next_cursor`, and one can `wait` for more.
    Ledger,
    /// By time of the event, then ancestry of spans, then id.
    Story,
}

/// Parameters of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TraceParams {
    /// Order of the entries.
    #[param(inline)]
    pub order: Option<StoryOrder>,
    /// Entries on this page, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
}

/// Parameters of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantParams {
    /// Whose evidence: for a credential that reads every tenant's, and for one of that tenant.
    pub tenant: Option<String>,
}

/// Parameters of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntriesParams {
    /// What to look for: `field:value`, quotes, `AND OR NOT`, ranges, `*` at the end. Everything
    /// when absent.
    #[param(example = "decision:block AND tool:issue_refund")]
    pub q: Option<String>,
    /// Entries on this page, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before. With `order=ledger` also `start` and `end`:
    /// begin with the first entry, or behind the newest.
    pub cursor: Option<String>,
    /// Order of the entries.
    #[param(inline)]
    pub order: Option<EntriesOrder>,
    /// With `order=ledger`: when there is nothing yet, wait for it up to so many seconds, at most
    /// 30.
    #[param(maximum = 30)]
    pub wait: Option<u32>,
    /// Whose evidence: for a credential that reads every tenant's, instead of `tenant_id:NAME` in
    /// the query, and for one of that tenant.
    pub tenant: Option<String>,
}

/// A story: everything that belongs to one id.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TraceAnswer {
    /// Every id that leads to this story, each in one spelling.
    pub trace_ids: Vec<String>,
    /// Projected entries: the envelope's fields in front of the body, byte for byte as it is in
    /// the ledger. `docs/entry.schema.json` describes a body.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Box<RawValue>>,
    /// Entries on this page.
    pub count: usize,
    /// Entries of the whole story.
    pub total: usize,
    /// Ask with it for the next page; absent on the last.
    pub next_cursor: Option<String>,
    /// Whether a bound on the size of a story left something out.
    pub truncated: bool,
    /// Order of the entries.
    pub order: StoryOrder,
    /// What was done or tried, each with its decision, approval and outcome. This and the following
    /// are made of the whole story and stand on its first page.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Who was asked and who answered.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// What does not fit together, the most severe first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Findings beyond the bound that are only counted.
    #[serde(default)]
    pub more_findings: usize,
    /// Tokens by model, each call counted once.
    #[serde(default)]
    pub usage: Vec<Usage>,
    /// Over how many entries all this was made.
    #[serde(default)]
    pub studied: Studied,
}

/// A page of entries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct EntriesAnswer {
    /// Projected entries: the envelope's fields in front of the body, byte for byte as it is in
    /// the ledger. `docs/entry.schema.json` describes a body.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Box<RawValue>>,
    /// Entries on this page.
    pub count: usize,
    /// Ask with it for the next page. Absent on the last page, but always there with
    /// `order=ledger`: the ledger goes on.
    pub next_cursor: Option<String>,
    /// Whether the time was over before the page was full; the next page goes on from here.
    pub timed_out: bool,
    /// Whether there were more matches than can be put in `story` order. Ask for less, or in
    /// another order.
    pub truncated: bool,
    /// Order of the entries.
    pub order: EntriesOrder,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// Public id of the credential; absent before there is any credential.
    pub id: Option<String>,
    /// What people call it.
    pub name: String,
    /// What it is for; absent before there is any credential: then everybody may do everything.
    pub role: Option<String>,
    /// What it may do: `write`, `read`, `metrics`, `operate`.
    pub rights: Vec<String>,
    /// Whose evidence it writes or reads; absent for a role of the whole installation.
    pub tenant: Option<String>,
    /// From when on it is refused, RFC 3339; absent for never.
    pub expires: Option<String>,
}

/// The tenants whose evidence can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantsAnswer {
    /// Names, sorted. `_spanledger` is the installation itself: what operators did.
    pub tenants: Vec<String>,
}
