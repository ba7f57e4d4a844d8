//! The saved objects under `config/kibana` keep the rules that real ones were seen to have.
//!
//! Kibana and OpenSearch Dashboards reject an unknown attribute, but import a missing reference
//! and fail when the object is opened; a field that does not exist is an empty panel. So every
//! name and reference is checked here, against the mapping.

#[path = "kibana_objects/lens.rs"]
mod lens;
#[path = "kibana_objects/objects.rs"]
mod objects;
#[path = "kibana_objects/universal.rs"]
mod universal;

use serde_json::Value;
use spanledger::elasticsearch::Product;
use spanledger::elasticsearch::fields::{self, Type};
use spanledger::elasticsearch::ids::LINK_KIND;
use spanledger::entry::{Kind, Outcome};
use std::collections::{BTreeMap, BTreeSet};

const UNIVERSAL: &str = "config/kibana/spanledger.ndjson";
const LENS: &str = "config/kibana/spanledger-lens.ndjson";

/// Attributes that both products take, by type of object; the others are Kibana's alone.
const ATTRIBUTES: &[(&str, &[&str], &[&str])] = &[
    ("index-pattern", &["title", "timeFieldName", "fieldFormatMap"], &[]),
    (
        "search",
        &["title", "description", "columns", "sort", "hits", "version", "kibanaSavedObjectMeta"],
        &["timeRestore", "timeRange"],
    ),
    (
        "visualization",
        &["title", "description", "uiStateJSON", "version", "visState", "kibanaSavedObjectMeta"],
        &[],
    ),
    (
        "dashboard",
        &[
            "title",
            "description",
            "version",
            "panelsJSON",
            "optionsJSON",
            "timeRestore",
            "timeFrom",
            "timeTo",
            "refreshInterval",
            "kibanaSavedObjectMeta",
        ],
        &[],
    ),
    ("lens", &[], &["title", "description", "visualizationType", "state"]),
];

fn path(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The objects of a file, each line parsed.
fn read(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path(file)).unwrap();
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{file}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{file}: {e}: {line}")))
        .collect()
}

fn both() -> [(&'static str, Vec<Value>); 2] {
    [(UNIVERSAL, read(UNIVERSAL)), (LENS, read(LENS))]
}

/// JSON that stands as text in an attribute.
fn parsed(object: &Value, pointer: &str) -> Value {
    let text = object.pointer(pointer).and_then(Value::as_str);
    serde_json::from_str(text.unwrap_or_else(|| panic!("no {pointer} in {}", object["id"])))
        .unwrap()
}

fn source(object: &Value) -> Value {
    parsed(object, "/attributes/kibanaSavedObjectMeta/searchSourceJSON")
}

fn types() -> BTreeMap<String, Type> {
    fields::all().into_iter().map(|field| (field.name, field.kind)).collect()
}

/// Every value under a key, at any depth.
fn under<'v>(value: &'v Value, key: &str, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, inner)| {
            if name == key {
                out.push(inner);
            }
            under(inner, key, out);
        }),
        Value::Array(items) => items.iter().for_each(|item| under(item, key, out)),
        _ => {}
    }
}

/// Every KQL query of an object, its columns' filters included.
fn queries(object: &Value) -> Vec<String> {
    let roots = match object["type"].as_str().unwrap() {
        "index-pattern" => vec![],
        "lens" => vec![object["attributes"]["state"].clone()],
        _ => vec![source(object)],
    };
    let mut found = Vec::new();
    for root in &roots {
        for key in ["query", "filter"] {
            let mut all = Vec::new();
            under(root, key, &mut all);
            for query in all.iter().filter(|query| query.get("language").is_some()) {
                assert_eq!(query["language"], "kuery");
                found.push(query["query"].as_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The fields that a KQL query names, with what stands behind the colon.
fn asked(kql: &str) -> Vec<(String, Vec<String>)> {
    // Texts in quotes are values whatever is in them.
    let mut words: Vec<String> = Vec::new();
    for (at, part) in kql.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            let spaced = part.replace(':', " : ").replace('(', " ( ").replace(')', " ) ");
            words.extend(spaced.split_whitespace().map(str::to_owned));
        }
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(String::as_str);
        let before = at.checked_sub(1).map(|at| words[at].as_str());
        match word.as_str() {
            "(" => inside = true,
            ")" => inside = false,
            ":" | "and" | "or" | "not" => {}
            name if next == Some(":") => found.push((name.to_owned(), vec![])),
            value if before == Some(":") || inside => {
                found.last_mut().expect("a field in front of a value").1.push(value.to_owned());
            }
            stray => panic!("`{stray}` has no field in {kql}"),
        }
    }
    found
}

#[test]
fn the_files_are_what_the_code_writes() {
    for (file, now) in [(UNIVERSAL, universal::universal()), (LENS, lens::lens())] {
        let lines: Vec<String> = now.iter().map(Value::to_string).collect();
        let text = lines.join("\n") + "\n";
        if std::env::var_os("SPANLEDGER_WRITE_DOCS").is_some() {
            std::fs::write(path(file), &text).unwrap();
        }
        let kept = std::fs::read_to_string(path(file)).unwrap_or_default();
        assert!(kept == text, "run the tests once with SPANLEDGER_WRITE_DOCS=1 and commit {file}");
    }
}

#[test]
fn ids_are_unique_within_a_file_and_mean_the_same_in_both() {
    let mut titles: BTreeMap<String, String> = BTreeMap::new();
    for (file, objects) in both() {
        let ids: BTreeSet<&str> = objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), objects.len(), "{file}");
        for object in &objects {
            let id = format!("{} {}", object["type"], object["id"]);
            let title = object["attributes"]["title"].to_string();
            assert_eq!(*titles.entry(id).or_insert_with(|| title.clone()), title);
        }
    }
}

#[test]
fn only_attributes_that_the_products_take_are_used() {
    for (file, objects) in both() {
        for object in objects {
            let kind = object["type"].as_str().unwrap();
            let (_, shared, kibana) = ATTRIBUTES.iter().find(|(name, ..)| *name == kind).unwrap();
            for name in object["attributes"].as_object().unwrap().keys() {
                let known = shared.contains(&name.as_str())
                    || file == LENS && kibana.contains(&name.as_str());
                assert!(known, "{file}: {} has {name}", object["id"]);
            }
            let top: BTreeSet<&str> =
                object.as_object().unwrap().keys().map(String::as_str).collect();
            let versions = ["coreMigrationVersion", "typeMigrationVersion"];
            let plain = top.iter().all(|k| {
                ["id", "type", "attributes", "references"].contains(k) || versions.contains(k)
            });
            assert!(plain, "{top:?}");
        }
    }
}

#[test]
fn lens_and_versions_are_in_the_file_for_kibana_alone() {
    for (file, objects) in both() {
        for object in &objects {
            let kind = object["type"].as_str().unwrap();
            // Lens without versions is an error of Kibana, or silently empty; a version that is
            // too new rejects the whole file; OpenSearch Dashboards knows none.
            let wants = file == LENS && ["lens", "dashboard"].contains(&kind);
            let version = |name: &str| object.get(name).and_then(Value::as_str);
            assert_eq!(version("coreMigrationVersion"), wants.then_some("8.8.0"));
            assert_eq!(version("typeMigrationVersion"), wants.then_some("8.9.0"));
            if kind == "lens" {
                let states = &object["attributes"]["state"]["datasourceStates"];
                assert_eq!(states.as_object().unwrap().keys().collect::<Vec<_>>(), ["formBased"]);
            }
        }
        let has_lens = objects.iter().any(|object| object["type"] == "lens");
        assert_eq!(has_lens, file == LENS, "{file}");
    }
}

#[test]
fn every_reference_leads_to_an_object_of_the_file_and_each_is_used() {
    for (file, objects) in both() {
        let known: Vec<(&Value, &Value)> =
            objects.iter().map(|object| (&object["type"], &object["id"])).collect();
        for object in &objects {
            let references = object["references"].as_array().unwrap();
            for reference in references {
                let to = (&reference["type"], &reference["id"]);
                assert!(known.contains(&to), "{file}: {} to {reference}", object["id"]);
            }
            let named: BTreeSet<String> = references
                .iter()
                .map(|reference| reference["name"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(named, used_references(object, file), "{file}: {}", object["id"]);
        }
    }
}

/// The names of references that an object's own text asks for.
fn used_references(object: &Value, file: &str) -> BTreeSet<String> {
    match object["type"].as_str().unwrap() {
        "index-pattern" => BTreeSet::new(),
        "lens" => {
            let layers = &object["attributes"]["state"]["datasourceStates"]["formBased"]["layers"];
            let layers = layers.as_object().unwrap().keys();
            layers.map(|layer| format!("indexpattern-datasource-layer-{layer}")).collect()
        }
        "dashboard" => {
            assert!(source(object).get("indexRefName").is_none());
            let panels = parsed(object, "/attributes/panelsJSON");
            let name = |panel: &Value| {
                let name = panel["panelRefName"].as_str().unwrap().to_owned();
                // OpenSearch Dashboards knows the plain form alone.
                if file == UNIVERSAL {
                    name
                } else {
                    format!("{}:{name}", panel["panelIndex"].as_str().unwrap())
                }
            };
            panels.as_array().unwrap().iter().map(name).collect()
        }
        _ => [source(object)["indexRefName"].as_str().unwrap().to_owned()].into(),
    }
}

#[test]
fn the_panels_of_a_dashboard_do_not_overlap_and_open_with_a_range_of_a_month_or_more() {
    for (file, objects) in both() {
        let dashboards: Vec<&Value> =
            objects.iter().filter(|object| object["type"] == "dashboard").collect();
        assert!(!dashboards.is_empty());
        for dashboard in dashboards {
            let attributes = &dashboard["attributes"];
            assert_eq!(attributes["timeRestore"], true);
            assert_days(&attributes["timeFrom"]);
            parsed(dashboard, "/attributes/optionsJSON");
            let panels = parsed(dashboard, "/attributes/panelsJSON");
            let mut taken = BTreeSet::new();
            for panel in panels.as_array().unwrap() {
                let grid = &panel["gridData"];
                assert_eq!(grid["i"], panel["panelIndex"]);
                let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| grid[name].as_u64().unwrap());
                assert!(x + w <= 48, "{file}: {panel}");
                for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                    assert!(taken.insert(cell), "{file}: {panel} covers another");
                }
            }
        }
    }
    for search in read(LENS).iter().filter(|object| object["type"] == "search") {
        assert_eq!(search["attributes"]["timeRestore"], true);
        assert_days(&search["attributes"]["timeRange"]["from"]);
    }
}

/// That a range goes back 30 days or more.
fn assert_days(from: &Value) {
    let days = from.as_str().unwrap().strip_prefix("now-").and_then(|d| d.strip_suffix('d'));
    assert!(days.unwrap().parse::<u32>().unwrap() >= 30, "{from}");
}

#[test]
fn every_column_sort_and_format_is_of_a_field_in_the_mapping() {
    let types = types();
    for (file, objects) in both() {
        for object in &objects {
            let attributes = &object["attributes"];
            match object["type"].as_str().unwrap() {
                "index-pattern" => {
                    assert_eq!(attributes["title"], "spanledger-*");
                    assert_eq!(types[attributes["timeFieldName"].as_str().unwrap()], Type::Date);
                    let formats = parsed(object, "/attributes/fieldFormatMap");
                    for (field, format) in formats.as_object().unwrap() {
                        assert!(types.contains_key(field), "{file}: {field}");
                        if format["id"] == "url" {
                            let link = format["params"]["urlTemplate"].as_str().unwrap();
                            assert!(link.starts_with("http://127.0.0.1:4380/api/v1/"), "{link}");
                            assert!(link.ends_with("/{{value}}"), "{link}");
                        }
                    }
                }
                "search" => {
                    for column in attributes["columns"].as_array().unwrap() {
                        let column = column.as_str().unwrap();
                        assert!(types.contains_key(column), "{file}: {column}");
                    }
                    for sort in attributes["sort"].as_array().unwrap() {
                        assert!(types[sort[0].as_str().unwrap()].is_aggregatable());
                        assert!(["asc", "desc"].contains(&sort[1].as_str().unwrap()));
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_counted_or_added_up_can_be() {
    let types = types();
    let check = |field: &str, operation: &str, at: &Value| {
        let kind = types.get(field).unwrap_or_else(|| panic!("{at}: {field} is unknown"));
        let fits = match operation {
            "sum" => matches!(kind, Type::Long | Type::Double),
            "min" | "max" => matches!(kind, Type::Long | Type::Double | Type::Date),
            "date_histogram" => *kind == Type::Date,
            "terms" | "top_hits" | "last_value" => kind.is_aggregatable() && *kind != Type::Date,
            other => panic!("{at}: what does {other} want of {field}?"),
        };
        assert!(fits, "{at}: {operation} of {field}");
    };
    let mut charts = 0;
    for (_, objects) in both() {
        for object in &objects {
            if object["type"] == "visualization" {
                let state = parsed(object, "/attributes/visState");
                parsed(object, "/attributes/uiStateJSON");
                let aggs = state["aggs"].as_array().unwrap();
                let ids: BTreeSet<&str> = aggs.iter().map(|a| a["id"].as_str().unwrap()).collect();
                assert_eq!(ids.len(), aggs.len());
                for agg in aggs {
                    charts += 1;
                    if let Some(field) = agg["params"]["field"].as_str() {
                        check(field, agg["type"].as_str().unwrap(), &object["id"]);
                    } else {
                        assert_eq!(agg["type"], "count");
                    }
                    if let Some(by) = agg["params"]["orderBy"].as_str() {
                        let target = aggs.iter().find(|agg| agg["id"] == by).unwrap();
                        // The others cannot be ordered by.
                        let kind = target["type"].as_str().unwrap();
                        assert!(["count", "sum", "min", "max"].contains(&kind));
                    }
                    if let Some(field) = agg["params"]["sortField"].as_str() {
                        assert_eq!(types[field], Type::Date);
                    }
                }
            }
            if object["type"] == "lens" {
                let state = &object["attributes"]["state"];
                let layer = &state["datasourceStates"]["formBased"]["layers"]["l1"];
                let columns = layer["columns"].as_object().unwrap();
                let order: BTreeSet<&str> = layer["columnOrder"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|c| c.as_str().unwrap())
                    .collect();
                assert_eq!(order, columns.keys().map(String::as_str).collect());
                for column in columns.values() {
                    charts += 1;
                    let operation = column["operationType"].as_str().unwrap();
                    match column["sourceField"].as_str().unwrap() {
                        "___records___" => assert_eq!(operation, "count"),
                        field => check(field, operation, &object["id"]),
                    }
                    if let Some(by) = column["params"]["orderBy"]["columnId"].as_str() {
                        assert!(columns.contains_key(by));
                    }
                    if let Some(field) = column["params"]["sortField"].as_str() {
                        assert_eq!(types[field], Type::Date);
                    }
                }
                // What is drawn is a column.
                let drawn = &state["visualization"];
                for key in ["xAccessor", "splitAccessor", "columnId"] {
                    let mut ids = Vec::new();
                    under(drawn, key, &mut ids);
                    for id in ids {
                        assert!(
                            columns.contains_key(id.as_str().unwrap()),
                            "{}: {id}",
                            object["id"]
                        );
                    }
                }
            }
        }
    }
    assert!(charts > 40, "{charts}");
}

#[test]
fn queries_name_fields_that_can_be_searched_and_words_that_entries_have() {
    let types = types();
    let mut seen = 0;
    for (file, objects) in both() {
        for object in &objects {
            for kql in queries(object) {
                for (field, values) in asked(&kql) {
                    seen += 1;
                    let kind =
                        types.get(&field).unwrap_or_else(|| panic!("{file}: {field} in {kql}"));
                    assert!(kind.is_searchable(), "{field} in {kql}");
                    assert!(!values.is_empty(), "{field} in {kql}");
                    for value in values.iter().filter(|value| *value != "*") {
                        let known = match field.as_str() {
                            "audit.kind" => value == LINK_KIND || value.parse::<Kind>().is_ok(),
                            "audit.decision.outcome" => {
                                Outcome::ALL.iter().any(|outcome| outcome.as_str() == value)
                            }
                            "audit.approval.status" => {
                                ["pending", "approved", "rejected", "expired", "invalidated"]
                                    .contains(&value.as_str())
                            }
                            _ if *kind == Type::Boolean => value == "true" || value == "false",
                            _ => true,
                        };
                        assert!(known, "{field} is never {value}: {kql}");
                    }
                }
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_searches_and_the_dashboard_that_people_need_are_there() {
    for (file, objects) in both() {
        let queries: BTreeSet<String> =
            objects.iter().filter(|object| object["type"] == "search").flat_map(queries).collect();
        for wanted in [
            objects::BY_TRACE_ID,
            objects::BLOCKED,
            objects::PENDING,
            objects::POLICY_CHANGES,
            objects::FINDINGS,
        ] {
            assert!(queries.contains(wanted), "{file}: {wanted}");
        }
        assert_eq!(objects::BY_TRACE_ID, r#"trace_id : "langsmith-run-abc123""#);
    }
}

#[test]
fn the_queries_work_in_spanledger_search_as_well() {
    for (_, objects) in both() {
        for kql in objects.iter().flat_map(queries) {
            let parsed = spanledger::store::query::Query::parse(&kql);
            assert!(parsed.is_ok(), "{kql}: {parsed:?}");
        }
    }
}

#[test]
fn both_products_get_a_mapping_of_every_field() {
    for product in [Product::Elasticsearch, Product::OpenSearch] {
        assert!(fields::mappings(product)["properties"]["trace_id"]["type"] == "keyword");
    }
}
