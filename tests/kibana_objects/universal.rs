//! The file that Kibana 8 and 9 and OpenSearch Dashboards take: classic visualizations.

use super::objects::{
    APPROVALS, BLOCKED, DECISIONS, ENTRIES_ONLY, FINDINGS, SEARCHES, SOURCE_INDEX, TOKENS,
    dashboard, data_view, data_view_reference, query, saved_search, text,
};
use serde_json::{Value, json};

/// The objects of the file.
pub(crate) fn universal() -> Vec<Value> {
    let mut objects = vec![data_view()];
    objects.extend(SEARCHES.iter().map(|search| saved_search(search, false)));
    objects.extend(visualizations());
    objects.push(dashboard(
        "spanledger-investigate",
        "spanledger: investigate a trace id",
        "Type trace_id : \"your id\" into the search bar: execution and decisions on one timeline.",
        &[("search", "spanledger-by-trace-id", [0, 0, 48, 40])],
    ));
    objects.push(dashboard(
        "spanledger-overview",
        "spanledger: overview",
        "Decisions, approvals, agents and the ledger.",
        &[
            ("visualization", "spanledger-vis-decisions", [0, 0, 32, 12]),
            ("visualization", "spanledger-vis-ledger", [32, 0, 16, 12]),
            ("visualization", "spanledger-vis-policies", [0, 12, 24, 14]),
            ("visualization", "spanledger-vis-approvals", [24, 12, 24, 14]),
            ("visualization", "spanledger-vis-blocked-tools", [0, 26, 16, 14]),
            ("visualization", "spanledger-vis-agents", [16, 26, 32, 14]),
            ("visualization", "spanledger-vis-tokens", [0, 40, 24, 12]),
            ("visualization", "spanledger-vis-findings", [24, 40, 24, 12]),
            ("search", "spanledger-blocked", [0, 52, 48, 16]),
        ],
    ));
    objects
}

fn visualizations() -> Vec<Value> {
    let count = || metric("count", "Entries", &json!({}));
    let of = |kind: &str, label: &str, field: &str| metric(kind, label, &json!({ "field": field }));
    vec![
        histogram(
            "spanledger-vis-decisions",
            "Decisions over time by outcome",
            DECISIONS,
            vec![count()],
            Some("audit.decision.outcome"),
        ),
        table(
            "spanledger-vis-ledger",
            "Ledger health",
            ENTRIES_ONLY,
            &["audit.ledger.origin"],
            vec![
                count(),
                of("max", "Highest sequence", "event.sequence"),
                of("max", "Last received", "event.ingested"),
            ],
        ),
        table(
            "spanledger-vis-policies",
            "Decisions by policy and rule",
            DECISIONS,
            &["audit.policy.id", "audit.policy.rule_id", "audit.decision.outcome"],
            vec![count()],
        ),
        table(
            "spanledger-vis-approvals",
            "Approvals: last status, and since when (pending ones wait)",
            APPROVALS,
            &["audit.approval.id"],
            vec![
                of("min", "Asked at", "@timestamp"),
                metric(
                    "top_hits",
                    "Last status",
                    &json!({
                        "field": "audit.approval.status", "aggregate": "concat", "size": 1,
                        "sortField": "@timestamp", "sortOrder": "desc",
                    }),
                ),
                of("max", "Last entry", "@timestamp"),
            ],
        ),
        table(
            "spanledger-vis-blocked-tools",
            "Top blocked tools",
            BLOCKED,
            &["gen_ai.tool.name"],
            vec![count()],
        ),
        table(
            "spanledger-vis-agents",
            "Agents and models",
            "gen_ai.agent.name : * or gen_ai.request.model : *",
            &["gen_ai.agent.name", "gen_ai.request.model"],
            vec![
                count(),
                of("sum", "Tokens in", "gen_ai.usage.input_tokens"),
                of("sum", "Tokens out", "gen_ai.usage.output_tokens"),
            ],
        ),
        histogram(
            "spanledger-vis-tokens",
            "Tokens over time",
            TOKENS,
            vec![
                of("sum", "Tokens in", "gen_ai.usage.input_tokens"),
                of("sum", "Tokens out", "gen_ai.usage.output_tokens"),
            ],
            None,
        ),
        histogram(
            "spanledger-vis-findings",
            "Findings over time",
            FINDINGS,
            vec![count()],
            Some("audit.kind"),
        ),
    ]
}

fn metric(kind: &str, label: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["customLabel"] = label.into();
    json!({ "enabled": true, "type": kind, "schema": "metric", "params": params })
}

/// Buckets of a field; entries without it are a bucket too, so that nothing is missing from sums.
/// Ordered by the first metric that can be ordered by.
fn terms(schema: &str, field: &str, size: u32) -> Value {
    json!({ "enabled": true, "type": "terms", "schema": schema, "params": {
        "field": field, "orderBy": "1", "order": "desc", "size": size,
        "otherBucket": false, "otherBucketLabel": "Other",
        "missingBucket": true, "missingBucketLabel": "(none)",
    }})
}

fn numbered(aggs: Vec<Value>) -> Vec<Value> {
    let number = |(at, mut agg): (usize, Value)| {
        agg["id"] = (at + 1).to_string().into();
        agg
    };
    aggs.into_iter().enumerate().map(number).collect()
}

fn table(id: &str, title: &str, kql: &str, buckets: &[&str], metrics: Vec<Value>) -> Value {
    let mut aggs = metrics;
    aggs.extend(buckets.iter().map(|field| terms("bucket", field, 20)));
    visualization(
        id,
        kql,
        &json!({
            "type": "table",
            "params": {
                "perPage": 10, "showPartialRows": false, "showMetricsAtAllLevels": false,
                "showTotal": false, "totalFunc": "sum", "percentageCol": "",
            },
            "aggs": numbered(aggs),
            "title": title,
        }),
    )
}

fn histogram(id: &str, title: &str, kql: &str, metrics: Vec<Value>, split: Option<&str>) -> Value {
    let series: Vec<Value> = numbered(metrics.clone())
        .iter()
        .map(|metric| {
            json!({
                "show": true, "type": "histogram", "mode": "stacked",
                "data": { "label": metric["params"]["customLabel"], "id": metric["id"] },
                "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": true, "lineWidth": 2,
                "showCircles": true,
            })
        })
        .collect();
    let mut aggs = metrics;
    aggs.push(json!({ "enabled": true, "type": "date_histogram", "schema": "segment", "params": {
        "field": "@timestamp", "useNormalizedEsInterval": true, "scaleMetricValues": false,
        "interval": "auto", "drop_partials": false, "min_doc_count": 1, "extended_bounds": {},
    }}));
    aggs.extend(split.map(|field| terms("group", field, 10)));
    visualization(
        id,
        kql,
        &json!({
            "type": "histogram",
            "params": {
                "type": "histogram",
                "grid": { "categoryLines": false },
                "categoryAxes": [{
                    "id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true,
                    "style": {}, "scale": { "type": "linear" },
                    "labels": { "show": true, "filter": true, "truncate": 100 }, "title": {},
                }],
                "valueAxes": [{
                    "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left",
                    "show": true, "style": {}, "scale": { "type": "linear", "mode": "normal" },
                    "labels": { "show": true, "rotate": 0, "filter": false, "truncate": 100 },
                    "title": { "text": "" },
                }],
                "seriesParams": series,
                "addTooltip": true, "addLegend": true, "legendPosition": "right", "times": [],
                "addTimeMarker": false, "labels": { "show": false },
                "thresholdLine": {
                    "show": false, "value": 10, "width": 1, "style": "full", "color": "#E7664C",
                },
            },
            "aggs": numbered(aggs),
            "title": title,
        }),
    )
}

fn visualization(id: &str, kql: &str, state: &Value) -> Value {
    let source = json!({ "query": query(kql), "filter": [], "indexRefName": SOURCE_INDEX });
    json!({
        "id": id,
        "type": "visualization",
        "attributes": {
            "title": format!("spanledger: {}", state["title"].as_str().unwrap()),
            "description": "",
            "uiStateJSON": "{}",
            "version": 1,
            "visState": text(state),
            "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
        },
        "references": [data_view_reference(SOURCE_INDEX)],
    })
}
