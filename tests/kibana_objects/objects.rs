//! The saved objects as code: what the two files under `config/kibana` are written from.
//!
//! The forms (attributes, references, version fields) are those that a real Kibana 8.12 and
//! OpenSearch Dashboards 2.8 were seen to import and open.

use serde_json::{Value, json};

/// Where the links in a document lead. Documented in `docs/elasticsearch.md` as the setting to
/// change.
const BASE_URL: &str = "http://127.0.0.1:4380";

/// What a person sees when an object opens: the default of 15 minutes hides last week's id.
const FROM: &str = "now-90d";

const DATA_VIEW: &str = "spanledger";

pub(crate) const BLOCKED: &str = "audit.decision.outcome : (block or quarantine)";
pub(crate) const PENDING: &str =
    "audit.approval.status : pending or audit.decision.outcome : require_approval";
pub(crate) const ANSWERED: &str =
    "audit.approval.status : (approved or rejected or expired or invalidated)";
pub(crate) const POLICY_CHANGES: &str = "audit.kind : policy_change";
pub(crate) const FINDINGS: &str = "audit.kind : (rejection or gap or repair) \
    or audit.ledger.conflict : true or audit.flags : *";
pub(crate) const BY_TRACE_ID: &str = r#"trace_id : "langsmith-run-abc123""#;

const APPROVALS: &str = "audit.approval.id : *";
const DECISIONS: &str = "audit.decision.outcome : *";
const TOKENS: &str = "gen_ai.usage.input_tokens : * and not gen_ai.usage.repeated : true";

struct Search {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    query: &'static str,
    /// `asc` for stories, `desc` for news.
    order: &'static str,
    columns: &'static [&'static str],
}

const SEARCHES: &[Search] = &[
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

fn text(value: &Value) -> Value {
    value.to_string().into()
}

fn query(kql: &str) -> Value {
    json!({ "query": kql, "language": "kuery" })
}

/// The file that Kibana 8 and 9 and OpenSearch Dashboards take.
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

/// The file for Kibana alone: the same searches with their time range, and a dashboard in Lens.
pub(crate) fn lens() -> Vec<Value> {
    let mut objects = vec![data_view()];
    objects.extend(SEARCHES.iter().map(|search| saved_search(search, true)));
    objects.extend(lenses());
    objects.push(lens_dashboard(&[
        ("lens", "spanledger-lens-decisions", [0, 0, 32, 12]),
        ("lens", "spanledger-lens-ledger", [32, 0, 16, 12]),
        ("lens", "spanledger-lens-policies", [0, 12, 24, 14]),
        ("lens", "spanledger-lens-approvals", [24, 12, 24, 14]),
        ("lens", "spanledger-lens-blocked-tools", [0, 26, 16, 14]),
        ("lens", "spanledger-lens-agents", [16, 26, 32, 14]),
        ("lens", "spanledger-lens-tokens", [0, 40, 24, 12]),
        ("lens", "spanledger-lens-findings", [24, 40, 24, 12]),
        ("search", "spanledger-blocked", [0, 52, 48, 16]),
    ]));
    objects
}

fn data_view() -> Value {
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

const SOURCE_INDEX: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";

fn data_view_reference(name: &str) -> Value {
    json!({ "name": name, "type": "index-pattern", "id": DATA_VIEW })
}

fn saved_search(search: &Search, kibana_only: bool) -> Value {
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

// --- the universal file: classic visualizations ---

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
            "",
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

type Panel = (&'static str, &'static str, [u32; 4]);

fn dashboard(id: &str, title: &str, description: &str, panels: &[Panel]) -> Value {
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

fn dashboard_attributes(title: &str, about: &str, panels: &[Value], options: &Value) -> Value {
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

// --- the file for Kibana: Lens ---

/// A column of a Lens layer that counts, adds up or takes a value.
fn number(operation: &str, label: &str, field: &str, data: &str) -> Value {
    json!({
        "label": label, "customLabel": true, "dataType": data, "operationType": operation,
        "isBucketed": false, "scale": "ratio", "sourceField": field,
        "params": { "emptyAsNull": true },
    })
}

fn entries(label: &str) -> Value {
    number("count", label, "___records___", "number")
}

fn only(mut column: Value, kql: &str) -> Value {
    column["filter"] = query(kql);
    column
}

/// The last value of a field.
fn last(label: &str, field: &str) -> Value {
    json!({
        "label": label, "customLabel": true, "dataType": "string", "operationType": "last_value",
        "isBucketed": false, "scale": "ordinal", "sourceField": field,
        "params": { "sortField": "@timestamp" },
        "filter": query(&format!("{field}: *")),
    })
}

fn bucket(field: &str, order_by: &str) -> Value {
    json!({
        "label": format!("Top values of {field}"), "dataType": "string", "operationType": "terms",
        "scale": "ordinal", "sourceField": field, "isBucketed": true,
        "params": {
            "size": 20, "orderBy": { "type": "column", "columnId": order_by },
            "orderDirection": "desc", "otherBucket": false, "missingBucket": true,
        },
    })
}

fn over_time() -> Value {
    json!({
        "label": "@timestamp", "dataType": "date", "operationType": "date_histogram",
        "sourceField": "@timestamp", "isBucketed": true, "scale": "interval",
        "params": { "interval": "auto", "includeEmptyRows": true, "dropPartials": false },
    })
}

fn lenses() -> Vec<Value> {
    vec![
        lens_xy(
            "spanledger-lens-decisions",
            "Decisions over time by outcome",
            DECISIONS,
            Some("audit.decision.outcome"),
            vec![entries("Entries")],
        ),
        lens_table(
            "spanledger-lens-ledger",
            "Ledger health",
            "",
            &["audit.ledger.origin"],
            vec![
                entries("Entries"),
                number("max", "Highest sequence", "event.sequence", "number"),
                number("max", "Last received", "event.ingested", "date"),
            ],
        ),
        lens_table(
            "spanledger-lens-policies",
            "Decisions by policy and rule",
            DECISIONS,
            &["audit.policy.id", "audit.policy.rule_id", "audit.decision.outcome"],
            vec![entries("Entries")],
        ),
        lens_table(
            "spanledger-lens-approvals",
            "Approvals: no answer means that it waits",
            APPROVALS,
            &["audit.approval.id"],
            vec![
                number("min", "Asked at", "@timestamp", "date"),
                last("Last status", "audit.approval.status"),
                only(entries("Answers"), ANSWERED),
            ],
        ),
        lens_table(
            "spanledger-lens-blocked-tools",
            "Top blocked tools",
            BLOCKED,
            &["gen_ai.tool.name"],
            vec![entries("Entries")],
        ),
        lens_table(
            "spanledger-lens-agents",
            "Agents and models",
            "gen_ai.agent.name : * or gen_ai.request.model : *",
            &["gen_ai.agent.name", "gen_ai.request.model"],
            vec![
                entries("Entries"),
                number("sum", "Tokens in", "gen_ai.usage.input_tokens", "number"),
                number("sum", "Tokens out", "gen_ai.usage.output_tokens", "number"),
            ],
        ),
        lens_xy(
            "spanledger-lens-tokens",
            "Tokens over time",
            TOKENS,
            None,
            vec![
                number("sum", "Tokens in", "gen_ai.usage.input_tokens", "number"),
                number("sum", "Tokens out", "gen_ai.usage.output_tokens", "number"),
            ],
        ),
        lens_xy(
            "spanledger-lens-findings",
            "Findings over time",
            FINDINGS,
            Some("audit.kind"),
            vec![entries("Entries")],
        ),
    ]
}

/// A layer's columns in order: buckets `b0…`, then numbers `n0…`.
fn layer(buckets: Vec<Value>, numbers: Vec<Value>) -> (Vec<String>, Value) {
    let named = |prefix: &'static str| {
        move |(at, column): (usize, Value)| (format!("{prefix}{at}"), column)
    };
    let all: Vec<(String, Value)> = buckets
        .into_iter()
        .enumerate()
        .map(named("b"))
        .chain(numbers.into_iter().enumerate().map(named("n")))
        .collect();
    let order: Vec<String> = all.iter().map(|(id, _)| id.clone()).collect();
    let columns: serde_json::Map<String, Value> = all.into_iter().collect();
    let layer = json!({ "columnOrder": order, "incompleteColumns": {}, "columns": columns });
    (order, layer)
}

fn lens_xy(id: &str, title: &str, kql: &str, split: Option<&str>, numbers: Vec<Value>) -> Value {
    let mut buckets = vec![over_time()];
    buckets.extend(split.map(|field| bucket(field, "n0")));
    let (order, layer) = layer(buckets, numbers);
    let accessors: Vec<&String> = order.iter().filter(|id| id.starts_with('n')).collect();
    let mut drawn = json!({
        "layerId": "l1", "layerType": "data", "seriesType": "bar_stacked",
        "xAccessor": "b0", "accessors": accessors,
    });
    if split.is_some() {
        drawn["splitAccessor"] = "b1".into();
    }
    let visualization = json!({
        "legend": { "isVisible": true, "position": "right" },
        "valueLabels": "hide",
        "preferredSeriesType": "bar_stacked",
        "layers": [drawn],
    });
    lens_object(id, title, kql, "lnsXY", &visualization, &layer)
}

fn lens_table(id: &str, title: &str, kql: &str, fields: &[&str], numbers: Vec<Value>) -> Value {
    let buckets = fields.iter().map(|field| bucket(field, "n0")).collect();
    let (order, layer) = layer(buckets, numbers);
    let columns: Vec<Value> = order.iter().map(|id| json!({ "columnId": id })).collect();
    let visualization = json!({ "layerId": "l1", "layerType": "data", "columns": columns });
    lens_object(id, title, kql, "lnsDatatable", &visualization, &layer)
}

fn lens_object(
    id: &str,
    title: &str,
    kql: &str,
    kind: &str,
    visualization: &Value,
    layer: &Value,
) -> Value {
    json!({
        "id": id,
        "type": "lens",
        "attributes": {
            "title": format!("spanledger: {title} (Lens)"),
            "description": "",
            "visualizationType": kind,
            "state": {
                "datasourceStates": { "formBased": { "layers": { "l1": layer } } },
                "visualization": visualization,
                "query": query(kql),
                "filters": [],
            },
        },
        "references": [data_view_reference("indexpattern-datasource-layer-l1")],
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": "8.9.0",
    })
}

fn lens_dashboard(panels: &[Panel]) -> Value {
    let placed: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(at, (kind, _, [x, y, w, h]))| {
            let index = format!("p{at}");
            json!({
                "version": "8.8.0",
                "type": kind,
                "gridData": { "x": x, "y": y, "w": w, "h": h, "i": index },
                "panelIndex": index,
                "embeddableConfig": { "enhancements": {} },
                "panelRefName": format!("panel_{index}"),
            })
        })
        .collect();
    let references: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(at, (kind, id, _))| json!({ "name": format!("p{at}:panel_p{at}"), "type": kind, "id": id }))
        .collect();
    let options = json!({
        "useMargins": true, "syncColors": false, "syncCursor": true, "syncTooltips": false,
        "hidePanelTitles": false,
    });
    json!({
        "id": "spanledger-overview-lens",
        "type": "dashboard",
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": "8.9.0",
        "attributes": dashboard_attributes(
            "spanledger: overview (Lens)",
            "Decisions, approvals, agents and the ledger.",
            &placed,
            &options,
        ),
        "references": references,
    })
}
