//! Setup against the strict mock: versions and interfaces that the nodes of our tests lack.

use super::mock::Mock;
use super::*;
use crate::elasticsearch::{Method, Product};
use serde_json::{Value, json};

fn class(name: &str, retention_days: u32) -> Class {
    Class { name: name.to_owned(), retention_days }
}

fn tiers() -> SetupOptions {
    let tiers = Tiers { warm_days: Some(7), cold_days: Some(60) };
    SetupOptions { lifecycle: Lifecycle::Tiers(tiers), ..SetupOptions::default() }
}

async fn apply(mock: &Mock, options: &SetupOptions) -> Plan {
    let plan = plan(mock, options).await.unwrap();
    let applied = plan.apply(mock).await.unwrap();
    assert_eq!(applied.changed, plan.steps.len());
    plan
}

fn every_version() -> Vec<Mock> {
    let elastic = ["8.0.0", "8.13.4", "8.14.0", "8.17.3", "8.19.2", "9.0.4", "9.1.0", "9.5.3"];
    let search = ["2.0.0", "2.19.1", "3.8.0"];
    let elastic = elastic.map(|number| Mock::new(Product::Elasticsearch, number));
    elastic.into_iter().chain(search.map(|number| Mock::new(Product::OpenSearch, number))).collect()
}

#[tokio::test]
async fn every_version_takes_every_request_and_a_second_run_finds_nothing_to_do() {
    for mock in every_version() {
        for options in [
            SetupOptions::default(),
            tiers(),
            SetupOptions { lifecycle: Lifecycle::None, roles: true, ..SetupOptions::default() },
            SetupOptions {
                classes: vec![class("default", 184), class("2", 3_650), class("3", 184)],
                exporter_reads: true,
                roles: true,
                checkpoints: true,
                ..SetupOptions::default()
            },
        ] {
            apply(&mock, &options).await;
            let again = plan(&mock, &options).await.unwrap();
            assert_eq!(again.steps, [], "{}", again.flavor);
            assert!(!again.unchanged.is_empty());
        }
    }
}

#[tokio::test]
async fn planning_changes_nothing() {
    for mock in every_version() {
        let options = SetupOptions { roles: true, ..SetupOptions::default() };
        assert!(!plan(&mock, &options).await.unwrap().steps.is_empty());
        assert_eq!(*mock.changes.lock().unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn documents_stay_for_184_days_when_nobody_says_otherwise() {
    let new = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&new, &SetupOptions::default()).await;
    let template = new.at("/_index_template/spanledger").unwrap();
    assert_eq!(template["template"]["lifecycle"]["data_retention"], "184d");
    assert_eq!(template["template"]["data_stream_options"]["failure_store"]["enabled"], false);
    assert_eq!(template["index_patterns"], json!(["spanledger-*"]));

    let old = Mock::new(Product::Elasticsearch, "8.13.4");
    apply(&old, &SetupOptions::default()).await;
    let policy = old.at("/_ilm/policy/spanledger").unwrap();
    assert_eq!(policy["policy"]["phases"]["delete"]["min_age"], "184d");
    let template = old.at("/_index_template/spanledger").unwrap();
    assert_eq!(template["template"]["settings"]["index"]["lifecycle"]["name"], "spanledger");

    let search = Mock::new(Product::OpenSearch, "2.19.1");
    apply(&search, &SetupOptions::default()).await;
    let policy = search.at("/_plugins/_ism/policies/spanledger").unwrap();
    let transition = &policy["policy"]["states"][0]["transitions"][0];
    assert_eq!(transition["conditions"]["min_rollover_age"], "184d");
    assert_eq!(transition["state_name"], "delete");
}

#[tokio::test]
async fn a_class_with_a_retention_of_its_own_has_a_template_of_its_own() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let classes = vec![class("default", 184), class("2", 3_650), class("3", 184)];
    apply(&mock, &SetupOptions { classes, ..SetupOptions::default() }).await;
    let general = mock.at("/_index_template/spanledger").unwrap();
    let long = mock.at("/_index_template/spanledger-2").unwrap();
    assert_eq!(long["index_patterns"], json!(["spanledger-2"]));
    assert!(long["priority"].as_u64() > general["priority"].as_u64());
    assert_eq!(mock.at("/_index_template/spanledger-3"), None);
    let stream = mock.at("/_data_stream/spanledger-2").unwrap();
    assert_eq!(stream["lifecycle"]["data_retention"], "3650d");
}

#[tokio::test]
async fn another_retention_reaches_the_streams_that_are_there() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&mock, &SetupOptions::default()).await;
    let options = SetupOptions { classes: vec![class("default", 365)], ..SetupOptions::default() };
    let changed = apply(&mock, &options).await;
    let reasons: Vec<Reason> = changed.steps.iter().map(|step| step.reason).collect();
    assert_eq!(reasons, [Reason::Change, Reason::Retention], "{changed:?}");
    let stream = mock.at("/_data_stream/spanledger-default").unwrap();
    assert_eq!(stream["lifecycle"]["data_retention"], "365d");
}

#[tokio::test]
async fn tiers_become_phases_and_states() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&mock, &tiers()).await;
    let phases = mock.at("/_ilm/policy/spanledger").unwrap()["policy"]["phases"].clone();
    let ages: Vec<&Value> = phases.as_object().unwrap().values().map(|p| &p["min_age"]).collect();
    assert_eq!(ages, ["0ms", "7d", "60d", "184d"]);

    let mock = Mock::new(Product::OpenSearch, "3.8.0");
    apply(&mock, &tiers()).await;
    let policy = mock.at("/_plugins/_ism/policies/spanledger").unwrap()["policy"].clone();
    let states = policy["states"].as_array().unwrap();
    let names: Vec<&Value> = states.iter().map(|state| &state["name"]).collect();
    assert_eq!(names, ["hot", "warm", "delete"]);
}

#[tokio::test]
async fn without_index_state_management_it_says_that_nothing_is_deleted() {
    let mut mock = Mock::new(Product::OpenSearch, "3.8.0");
    mock.ism = false;
    let plan = apply(&mock, &SetupOptions::default()).await;
    assert!(plan.notices.iter().any(|notice| notice.contains("nothing is ever deleted")));
}

#[tokio::test]
async fn a_class_that_nothing_is_written_to_is_noticed() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let classes = vec![class("default", 184), class("1", 3_650)];
    let plan = plan(&mock, &SetupOptions { classes, ..SetupOptions::default() }).await.unwrap();
    let told = plan.notices.iter().any(|notice| notice.contains("spanledger-1 stays empty"));
    assert!(told, "{:?}", plan.notices);
}

/// What is sent when there is a lifecycle of ours already and none is wanted any more.
async fn without_the_lifecycle_of(mock: &Mock, before: SetupOptions) -> Vec<String> {
    let classes = vec![class("default", 184), class("2", 3_650)];
    apply(mock, &SetupOptions { classes: classes.clone(), ..before }).await;
    mock.changes.lock().unwrap().clear();
    let none = SetupOptions { lifecycle: Lifecycle::None, classes, ..SetupOptions::default() };
    apply(mock, &none).await;
    let again = plan(mock, &none).await.unwrap();
    assert_eq!(again.steps, [], "a second run finds nothing to do");
    std::mem::take(&mut *mock.changes.lock().unwrap())
}

#[tokio::test]
async fn without_a_lifecycle_nothing_of_ours_deletes_from_the_streams_that_are_there() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let sent = without_the_lifecycle_of(&mock, SetupOptions::default()).await;
    for stream in ["spanledger-default", "spanledger-2"] {
        let ended = format!("Delete /_data_stream/{stream}/_lifecycle");
        assert!(sent.contains(&ended), "{sent:?}");
        assert_eq!(mock.at(&format!("/_data_stream/{stream}")).unwrap()["lifecycle"], Value::Null);
    }
    for (number, before) in [("9.5.3", tiers()), ("8.13.4", SetupOptions::default())] {
        let mock = Mock::new(Product::Elasticsearch, number);
        let sent = without_the_lifecycle_of(&mock, before).await;
        for stream in ["spanledger-default", "spanledger-2"] {
            assert!(sent.contains(&format!("Post /{stream}/_ilm/remove")), "{sent:?}");
        }
    }
    let mock = Mock::new(Product::OpenSearch, "3.8.0");
    let sent = without_the_lifecycle_of(&mock, SetupOptions::default()).await;
    for name in ["spanledger", "spanledger-2"] {
        assert!(sent.contains(&format!("Delete /_plugins/_ism/policies/{name}")), "{sent:?}");
    }
    assert!(sent.contains(&"Post /_plugins/_ism/remove/spanledger-*".to_owned()), "{sent:?}");
}

#[tokio::test]
async fn a_policy_that_somebody_else_made_stays_without_a_lifecycle_of_ours() {
    let mock = Mock::new(Product::OpenSearch, "3.8.0");
    let path = "/_plugins/_ism/policies/spanledger";
    mock.put(path, json!({"policy": {"description": "mine"}}));
    let none = SetupOptions { lifecycle: Lifecycle::None, ..SetupOptions::default() };
    let plan = apply(&mock, &none).await;
    assert!(mock.at(path).is_some());
    let told = plan.notices.iter().any(|notice| notice.contains("ISM policy spanledger is there"));
    assert!(told, "{:?}", plan.notices);
}

#[tokio::test]
async fn checkpoints_have_a_stream_that_nothing_deletes_and_a_role_that_only_creates() {
    let options = SetupOptions { checkpoints: true, roles: true, ..SetupOptions::default() };
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&mock, &options).await;
    let template = mock.at("/_index_template/spanledger.checkpoints").unwrap();
    assert_eq!(template["index_patterns"], json!(["spanledger.checkpoints"]));
    assert_eq!(template["template"].get("lifecycle"), None);
    assert!(mock.at("/_data_stream/spanledger.checkpoints").is_some());
    let role = |name: &str| mock.at(&format!("/_security/role/{name}")).unwrap();
    let writer = role("spanledger-checkpoints");
    let only = json!([{"names": ["spanledger.checkpoints"], "privileges": ["create_doc"]}]);
    assert_eq!(writer["indices"], only);
    let both = json!(["spanledger-*", "spanledger.checkpoints"]);
    assert_eq!(role("spanledger-auditor")["indices"][0]["names"], both);
    for entries_only in ["spanledger-exporter", "spanledger-correlator", "spanledger-eraser"] {
        assert_eq!(role(entries_only)["indices"][0]["names"], json!(["spanledger-*"]));
    }
}

#[tokio::test]
async fn an_exporter_that_reads_may_refresh_what_it_searches() {
    let reads = SetupOptions { roles: true, exporter_reads: true, ..SetupOptions::default() };
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&mock, &reads).await;
    let role = mock.at("/_security/role/spanledger-exporter").unwrap();
    let privileges = &role["indices"][0]["privileges"];
    assert_eq!(*privileges, json!(["create_doc", "read", "maintenance"]));
    let mock = Mock::new(Product::OpenSearch, "3.8.0");
    apply(&mock, &reads).await;
    let role = mock.at("/_plugins/_security/api/roles/spanledger-exporter").unwrap();
    let actions = role["index_permissions"][0]["allowed_actions"].to_string();
    assert!(actions.contains("indices:admin/refresh*"), "{actions}");
}

#[tokio::test]
async fn what_others_made_and_what_is_newer_is_refused_for_every_kind() {
    let elastic = || Mock::new(Product::Elasticsearch, "9.5.3");
    let search = || Mock::new(Product::OpenSearch, "3.8.0");
    let ism = "/_plugins/_ism/policies/spanledger";
    let search_role = "/_plugins/_security/api/roles/spanledger-auditor";
    let newer = json!({"managed_by": "spanledger", "version": 2, "digest": "x"});
    let sentence = "Mine (managed by spanledger, version 2, digest x)";
    for (mock, path, theirs, ours) in [
        (elastic(), "/_component_template/spanledger-settings", json!({}), json!({"_meta": newer})),
        (elastic(), "/_index_template/spanledger", json!({}), json!({"_meta": newer})),
        (
            elastic(),
            "/_ilm/policy/spanledger",
            json!({"policy": {}}),
            json!({"policy": {"_meta": newer}}),
        ),
        (
            elastic(),
            "/_security/role/spanledger-auditor",
            json!({"metadata": {}}),
            json!({"metadata": newer}),
        ),
        (
            search(),
            ism,
            json!({"policy": {"description": "mine"}}),
            json!({"policy": {"description": sentence}}),
        ),
        (search(), search_role, json!({"description": "mine"}), json!({"description": sentence})),
    ] {
        let options = SetupOptions { roles: true, ..tiers() };
        mock.put(path, theirs);
        let error = plan(&mock, &options).await.unwrap_err();
        assert!(matches!(error, SetupError::Foreign { .. }), "{path}: {error}");
        mock.put(path, ours);
        let error = plan(&mock, &options).await.unwrap_err();
        assert!(matches!(error, SetupError::Newer { found: 2, ours: 1, .. }), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_older_policy_is_replaced_where_it_was_read() {
    let mock = Mock::new(Product::OpenSearch, "3.8.0");
    apply(&mock, &SetupOptions::default()).await;
    let path = "/_plugins/_ism/policies/spanledger";
    let mut old = mock.at(path).unwrap();
    old["policy"]["description"] = "x (managed by spanledger, version 0, digest x)".into();
    mock.put(path, old);
    let upgrade = apply(&mock, &SetupOptions::default()).await;
    assert_eq!(upgrade.steps[0].reason, Reason::Upgrade { from: 0 });
    assert_eq!(upgrade.steps[0].query.len(), 2);
    assert!(upgrade.notices[0].contains("change_policy"), "{:?}", upgrade.notices);
    assert_eq!(plan(&mock, &SetupOptions::default()).await.unwrap().steps, []);
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_before_anything_is_asked() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let with = |classes| SetupOptions { classes, ..SetupOptions::default() };
    for (options, text) in [
        (with(Vec::new()), "between 1 and"),
        (with(vec![class("payments", 1)]), "from 1 to 255"),
        (with(vec![class("", 1)]), "from 1 to 255"),
        (with(vec![class("0", 1)]), "from 1 to 255"),
        (with(vec![class("07", 1)]), "from 1 to 255"),
        (with(vec![class("256", 1)]), "from 1 to 255"),
        (with(vec![class("*", 1)]), "from 1 to 255"),
        (with(vec![class("1", 0)]), "days"),
        (with(vec![class("1", MAX_RETENTION_DAYS + 1)]), "days"),
        (with(vec![class("1", 1), class("1", 2)]), "twice"),
        (SetupOptions { classes: vec![class("1", 30)], ..tiers() }, "warm before cold"),
    ] {
        let error = plan(&mock, &options).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn options_that_a_version_lacks_are_refused() {
    let logsdb = SetupOptions { logsdb: true, ..SetupOptions::default() };
    let store = SetupOptions { failure_store: true, ..SetupOptions::default() };
    let key = SetupOptions { exporter_key: true, ..SetupOptions::default() };
    let old = Mock::new(Product::Elasticsearch, "8.16.0");
    let search = Mock::new(Product::OpenSearch, "3.8.0");
    for (mock, options) in [(&old, &logsdb), (&search, &logsdb), (&old, &store), (&search, &store)]
    {
        let error = plan(mock, options).await.unwrap_err();
        assert!(matches!(error, SetupError::NeedsVersion { .. }), "{error}");
    }
    let error = plan(&search, &key).await.unwrap_err();
    assert!(matches!(error, SetupError::Missing { .. }), "{error}");
    let new = Mock::new(Product::Elasticsearch, "8.19.0");
    for options in [&logsdb, &store] {
        apply(&new, options).await;
    }
}

#[tokio::test]
async fn a_step_reads_as_a_request() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let plan = plan(&mock, &SetupOptions::default()).await.unwrap();
    let first = plan.steps.first().unwrap();
    assert_eq!(first.method, Method::Put);
    let text = first.to_string();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# component template spanledger-mappings: create"));
    assert_eq!(lines.next(), Some("PUT /_component_template/spanledger-mappings"));
    let json: String = lines.collect();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), *first.body.as_ref().unwrap());
    let last = plan.steps.last().unwrap().to_string();
    assert!(last.ends_with("PUT /_data_stream/spanledger-default"), "{last}");
}

#[tokio::test]
async fn a_short_retention_is_noticed() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    let options = SetupOptions { classes: vec![class("default", 30)], ..SetupOptions::default() };
    let plan = plan(&mock, &options).await.unwrap();
    assert!(plan.notices[0].contains("six months"), "{:?}", plan.notices);
}

#[tokio::test]
async fn a_cluster_that_has_just_started_is_asked_again() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    mock.busy.store(2, std::sync::atomic::Ordering::SeqCst);
    let plan = plan(&mock, &SetupOptions::default()).await.unwrap();
    mock.busy.store(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(plan.apply(&mock).await.unwrap().changed, plan.steps.len());
}

#[tokio::test]
async fn a_failure_store_is_switched_for_the_streams_that_are_there() {
    let mock = Mock::new(Product::Elasticsearch, "9.5.3");
    apply(&mock, &SetupOptions::default()).await;
    for enabled in [true, false] {
        let options = SetupOptions { failure_store: enabled, ..SetupOptions::default() };
        let changed = apply(&mock, &options).await;
        let reasons: Vec<Reason> = changed.steps.iter().map(|step| step.reason).collect();
        assert_eq!(reasons, [Reason::Change, Reason::FailureStore], "{changed:?}");
        let stream = mock.at("/_data_stream/spanledger-default").unwrap();
        assert_eq!(stream["failure_store"]["enabled"], enabled);
        assert_eq!(plan(&mock, &options).await.unwrap().steps, []);
    }
}
