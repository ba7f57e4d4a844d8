//! The saved objects that both files under `config/kibana` are made of: data view, searches, and the
//! parts of a dashboard. `universal.rs` and `lens.rs` are the files themselves.
//!
//! The forms (attributes, references, version fields) are those that a real Kibana 8.12 and
//! OpenSearch Dashboards 2.8 were seen to import and open.

use serde_json::{Value, json};

/// Where the links in a document lead. Documented in `docs/elasticsearch.md` as the setting to
/// change.
const BASE_URL: &str = "http://127.0.0.1:4380";

/// What a person sees when an object opens: the default of 15 minutes hides last week's id.
pub(crate) const FROM: &str = "now-90d";

const DATA_VIEW: &str = "spanledger";

pub(crate) const BLOCKED: &str = "audit.decision.outcome : (block or quarantine)";
pub(crate) const PENDING: &str =
    "audit.approval.status : pending or audit.decision.outcome : require_approval";
pub(crate) const ANSWERED: &str =
    "audit.approval.status : (approved or rejected or expired or invalidated)";
pub(crate) const POLICY_CHANGES: &str = "audit.kind : policy_change";
pub(crate) const FINDINGS: &str = "audit.kind : (rejection or gap or repair) \
    or audit.ledger.conflict : true or audit.flags : *";
/// Without the documents that only join others: no ledger has them.
pub(crate) const ENTRIES_ONLY: &str = "not audit.kind : link";
pub(crate) const BY_TRACE_ID: &str = r#"trace_id : "langsmith-run-abc123""#;

pub(crate) const APPROVALS: &str = "audit.approval.id : *";
pub(crate) const DECISIONS: &str = "audit.decision.outcome : *";
pub(crate) const TOKENS: &str =
    "gen_ai.usage.input_tokens : * and not gen_ai.usage.repeated : true";

pub(crate) struct Search {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    query: &'static str,
    /// `asc` for stories, `desc` for news.
    order: &'static str,
    columns: &'static [&'static str],
}

pub(crate) const SEARCHES: &[Search] = &[
    Search {
        id: "spanledger-by-trace-id",
        title: "spanledger: one story by any trace id",
        description: "Put your id in the place of langsmith-run-abc123: an OpenTelemetry, LangSmith, Datadog or freeform trace id.",
        query: BY_TRACE_ID,
        order: "asc",
        columns: &[
            "audit.kind",
            "event.action",
            "gen_ai.agent.name",
            "gen_ai.tool.name",
            "audit.decision.outcome",
            "audit.decision.reason",
            "audit.policy.rule_id",
            "audit.approval.status",
            "audit.approval.resolved_by",
            "user.id",
            "message",
        ],
    },
    Search {
        id: "spanledger-blocked",
        title: "spanledger: blocked actions",
        description: "Every action that a policy or a person did not let happen.",
        query: BLOCKED,
        order: "desc",
        columns: &[
            "event.action",
            "gen_ai.tool.name",
            "gen_ai.agent.name",
            "audit.policy.id",
            "audit.policy.rule_id",
            "audit.decision.reason",
            "user.id",
            "trace_id",
        ],
    },
    Search {
        id: "spanledger-pending",
        title: "spanledger: approvals asked for",
        description: "Every request for an approval. One that was answered since has a later entry with the same audit.approval.id; the dashboard's table shows the last status of each.",
        query: PENDING,
        order: "desc",
        columns: &[
            "audit.approval.id",
            "audit.approval.status",
            "event.action",
            "gen_ai.tool.name",
            "gen_ai.agent.name",
            "audit.policy.rule_id",
            "audit.decision.reason",
            "user.id",
            "trace_id",
        ],
    },
    Search {
        id: "spanledger-policy-changes",
        title: "spanledger: policy changes",
        description: "Policies published and rolled back, by whom, field by field.",
        query: POLICY_CHANGES,
        order: "desc",
        columns: &[
            "event.action",
            "audit.actor.id",
            "audit.policy.id",
            "audit.policy.version",
            "audit.policy.snapshot_before",
            "audit.policy.snapshot_after",
            "audit.change.path",
            "message",
        ],
    },
    Search {
        id: "spanledger-findings",
        title: "spanledger: findings",
        description: "Refused requests, gaps, repairs, two records of one span, and entries with a flag.",
        query: FINDINGS,
        order: "desc",
        columns: &[
            "audit.kind",
            "audit.flags",
            "audit.ledger.conflict",
            "audit.rejection.reason",
            "audit.rejection.endpoint",
            "service.name",
            "message",
            "trace_id",
        ],
    },
];

pub(crate) fn text(value: &Value) -> Value {
    value.to_string().into()
}

pub(crate) fn query(kql: &str) -> Value {
    json!({ "query": kql, "language": "kuery" })
}

pub(crate) fn data_view() -> Value {
    let link = |path: &str| {
        json!({ "id": "url", "params": {
            "type": "a",
            "urlTemplate": format!("{BASE_URL}{path}{{{{value}}}}"),
            "labelTemplate": "{{value}}",
            "openLinkInCurrentTab": false,
        }})
    };
    let milliseconds = json!({ "id": "duration", "params": {
        "inputFormat": "nanoseconds", "outputFormat": "asMilliseconds", "outputPrecision": 1,
    }});
    let formats = json!({
        "trace_id": link("/api/v1/traces/"),
        "event.id": link("/api/v1/entries/"),
        "event.duration": milliseconds,
    });
    json!({
        "id": DATA_VIEW,
        "type": "index-pattern",
        "attributes": {
            "title": "spanledger-*",
            "timeFieldName": "@timestamp",
            "fieldFormatMap": text(&formats),
        },
        "references": [],
    })
}

pub(crate) const SOURCE_INDEX: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";

pub(crate) fn data_view_reference(name: &str) -> Value {
    json!({ "name": name, "type": "index-pattern", "id": DATA_VIEW })
}

pub(crate) fn saved_search(search: &Search, kibana_only: bool) -> Value {
    let source = json!({
        "query": query(search.query),
        "filter": [],
        "highlightAll": true,
        "version": true,
        "indexRefName": SOURCE_INDEX,
    });
    let mut attributes = json!({
        "title": search.title,
        "description": search.description,
        "columns": search.columns,
        "sort": [["@timestamp", search.order]],
        "hits": 0,
        "version": 1,
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    });
    if kibana_only {
        attributes["timeRestore"] = true.into();
        attributes["timeRange"] = json!({ "from": FROM, "to": "now" });
    }
    json!({
        "id": search.id,
        "type": "search",
        "attributes": attributes,
        "references": [data_view_reference(SOURCE_INDEX)],
    })
}

pub(crate) type Panel = (&'static str, &'static str, [u32; 4]);

pub(crate) fn dashboard(id: &str, title: &str, description: &str, panels: &[Panel]) -> Value {
    let placed: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(at, (_, _, [x, y, w, h]))| {
            let index = (at + 1).to_string();
            json!({
                "version": "7.10.2",
                "gridData": { "x": x, "y": y, "w": w, "h": h, "i": index },
                "panelIndex": index,
                "embeddableConfig": {},
                "panelRefName": format!("panel_{at}"),
            })
        })
        .collect();
    let references: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(at, (kind, id, _))| json!({ "name": format!("panel_{at}"), "type": kind, "id": id }))
        .collect();
    let options = json!({ "useMargins": true, "hidePanelTitles": false });
    json!({
        "id": id,
        "type": "dashboard",
        "attributes": dashboard_attributes(title, description, &placed, &options),
        "references": references,
    })
}

pub(crate) fn dashboard_attributes(
    title: &str,
    about: &str,
    panels: &[Value],
    options: &Value,
) -> Value {
    let source = json!({ "query": query(""), "filter": [] });
    json!({
        "title": title,
        "description": about,
        "version": 1,
        "panelsJSON": text(&panels.into()),
        "optionsJSON": text(options),
        "timeRestore": true,
        "timeFrom": FROM,
        "timeTo": "now",
        "refreshInterval": { "pause": true, "value": 60000 },
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    })
}
