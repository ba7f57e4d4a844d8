//! The Grafana dashboard asks for metrics that the server has.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::server::Server;

/// What is there only when it has happened, or without an index, with its label.
const LATER: &[(&str, Option<&str>)] = &[
    ("spanledger_elasticsearch_dead_letters_total", Some("reason")),
    ("spanledger_elasticsearch_search_seconds_bucket", Some("le")),
    ("spanledger_elasticsearch_search_failures_total", Some("reason")),
    ("spanledger_elasticsearch_points_in_time_evicted_total", None),
    ("spanledger_elasticsearch_unreadable_documents_total", None),
    ("spanledger_public_log_witness_held_up", Some("witness")),
    ("spanledger_public_log_witness_entries", Some("witness")),
    ("spanledger_public_log_sink_held_up", Some("sink")),
    ("spanledger_public_log_sink_entries", Some("sink")),
    ("spanledger_tls_handshake_failures_total", Some("reason")),
    ("spanledger_tls_certificate_expires_timestamp_seconds", None),
    ("spanledger_tls_client_revoked_due_timestamp_seconds", None),
    ("spanledger_tls_reloads_total", None),
    ("spanledger_tls_files_refused", None),
];

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana/spanledger.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

/// Every query of every panel, and those of the variables.
fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array());
    let asked = targets.flatten().map(|target| target["expr"].as_str().unwrap().to_owned());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let defined = variables.iter().filter_map(|v| v["definition"].as_str().map(str::to_owned));
    asked.chain(defined).collect()
}

/// The names in a text that begin as ours do.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("spanledger_"))
        .map(str::to_owned)
        .collect()
}

/// The label in `sum by (label) (…)`.
fn grouped_by(expression: &str) -> Option<&str> {
    let (_, rest) = expression.split_once(" by (")?;
    rest.split_once(')').map(|(label, _)| label)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_and_label_on_the_dashboard_is_one_that_the_server_has_and_none_is_forgotten()
{
    let directory = tempfile::tempdir().unwrap();
    // Nobody listens there: the metrics of the exporter and of alerts are there all the same.
    let other = tempfile::tempdir().unwrap();
    let [secret, config] = ["url", "alerts.yaml"].map(|name| other.path().join(name));
    std::fs::write(&secret, "http://127.0.0.1:9/hook").unwrap();
    let alert =
        format!("{{name: a, query: 'decision:block', url: {{file: {}}}}}", secret.display());
    std::fs::write(&config, format!("alerts: [{alert}]")).unwrap();
    let unreachable =
        ["--elasticsearch", "http://127.0.0.1:9", "--config", config.to_str().unwrap()];
    let server = Server::start_with(directory.path(), &unreachable).await;
    let url = format!("http://{}/metrics", server.api());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    server.terminate().await;
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let has = |name: &str, label: Option<&str>| {
        samples.iter().any(|sample| {
            sample.strip_prefix(name).is_some_and(|rest| match label {
                Some(label) => rest.starts_with('{') && rest.contains(&format!("{label}=\"")),
                None => rest.starts_with([' ', '{']),
            })
        })
    };

    let dashboard = dashboard();
    let mut shown = BTreeSet::new();
    for expression in expressions(&dashboard) {
        let label = grouped_by(&expression);
        for name in names(&expression) {
            let later = LATER.iter().find(|(known, _)| *known == name);
            let known =
                later.map_or_else(|| has(&name, label), |(_, of)| label.is_none() || label == *of);
            assert!(known, "{name} by {label:?}: {expression}");
            shown.insert(name);
        }
    }

    let exported_now = samples.iter().filter_map(|sample| sample.split(['{', ' ']).next());
    let exported = LATER.iter().map(|(name, _)| *name);
    let missing: Vec<&str> =
        exported_now.chain(exported).filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "on no panel: {missing:?}");
}

#[test]
fn panels_have_ids_of_their_own_say_what_they_show_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{panel} covers another");
        }
        if panel["type"] != "row" {
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{panel}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "a fixed one is not there");
        }
    }
    assert!(ids.len() > 20);
}

#[test]
fn expressions_have_their_parentheses_and_the_chosen_instance() {
    for expression in expressions(&dashboard()) {
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            let count = |c: char| expression.matches(c).count();
            assert_eq!(count(open), count(close), "{expression}");
        }
        if !expression.starts_with("label_values(") {
            let asked = expression.matches("spanledger_").count();
            assert_eq!(expression.matches(r#"{instance=~"$instance"}"#).count(), asked);
        }
    }
}
