//! The file for Kibana alone: the same searches with their time range, and a dashboard in Lens.

use super::objects::{
    ANSWERED, APPROVALS, BLOCKED, DECISIONS, ENTRIES_ONLY, FINDINGS, Panel, SEARCHES, TOKENS,
    dashboard_attributes, data_view, data_view_reference, query, saved_search,
};
use serde_json::{Value, json};

/// The objects of the file.
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
            ENTRIES_ONLY,
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
