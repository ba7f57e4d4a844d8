//! Who may do what: a role a task, each with the least that the task needs.
//!
//! | role | may | for |
//! |---|---|---|
//! | `spanledger-exporter` | create documents | the exporter; with `read` and `maintenance` it finds its own after a lost reply |
//! | `spanledger-correlator` | search, index, refresh | giving earlier documents an id that became known later |
//! | `spanledger-eraser` | search, delete | erasing; a document is found before it is deleted |
//! | `spanledger-checkpoints` | create documents in `spanledger.checkpoints` | the sink of checkpoints |
//! | `spanledger-auditor` | search, look at mappings | people who investigate |
//! | `spanledger-admin` | manage templates, lifecycles, streams | setup, without roles and keys |
//!
//! A role is for all streams `spanledger-*`: who may read one sees every tenant in it. Auditor and admin
//! may the same in the stream of checkpoints; exporter, correlator and eraser nothing.
//! OpenSearch cannot grant creating without overwriting: there the exporter may index.

use super::mark::Mark;
use super::objects::{Kind, Object};
use super::{SetupError, SetupOptions, lifecycle::insert};
use crate::elasticsearch::checkpoints::CHECKPOINT_STREAM;
use crate::elasticsearch::search::STREAMS;
use crate::elasticsearch::{Flavor, Method, Product};
use serde_json::{Value, json};

/// Name of the exporter's API key.
pub const EXPORTER_KEY: &str = "spanledger-exporter";

/// Name of the correlator's API key.
pub const CORRELATOR_KEY: &str = "spanledger-correlator";

/// Name of the API key of the sink of checkpoints.
pub const CHECKPOINTS_KEY: &str = "spanledger-checkpoints";

/// The streams of entries.
const ENTRIES: &[&str] = &[STREAMS];

/// Those, and that of checkpoints.
const EVERYTHING: &[&str] = &[STREAMS, CHECKPOINT_STREAM];

/// What the exporter may besides when it reads: search, and refresh, without which a search does
/// not see what was written in the last seconds and every lookup waits for them.
const READS: [&str; 2] = ["read", "maintenance"];

/// The same in the words of OpenSearch.
const SEARCH_READS: [&str; 2] = ["read", "indices:admin/refresh*"];

struct Role {
    name: &'static str,
    what: &'static str,
    streams: &'static [&'static str],
    cluster: &'static [&'static str],
    index: &'static [&'static str],
    search_cluster: &'static [&'static str],
    search_index: &'static [&'static str],
}

const EXPORTER: Role = Role {
    name: "spanledger-exporter",
    what: "Creates documents",
    streams: ENTRIES,
    cluster: &["monitor"],
    index: &["create_doc"],
    search_cluster: &["cluster:monitor/main", "indices:data/write/bulk"],
    search_index: &["indices:data/write/index", "indices:data/write/bulk*"],
};

const CORRELATOR: Role = Role {
    name: "spanledger-correlator",
    what: "Gives earlier documents ids that became known later",
    streams: ENTRIES,
    cluster: &["monitor"],
    // `maintenance` for the refresh after which what was just written is found: without it each
    // look waits as long as a refresh takes to come by itself.
    index: &["read", "index", "maintenance"],
    search_cluster: &[
        "cluster:monitor/main",
        "indices:data/write/bulk",
        "cluster_composite_ops_ro",
    ],
    search_index: &[
        "read",
        "indices:data/write/index",
        "indices:data/write/bulk*",
        "indices:admin/refresh*",
    ],
};

/// A key that is stolen with the machine adds checkpoints, and takes none back.
const CHECKPOINTS: Role = Role {
    name: "spanledger-checkpoints",
    what: "Creates checkpoints",
    streams: &[CHECKPOINT_STREAM],
    cluster: &["monitor"],
    index: &["create_doc"],
    search_cluster: &["cluster:monitor/main", "indices:data/write/bulk"],
    search_index: &["indices:data/write/index", "indices:data/write/bulk*"],
};

const OTHERS: &[Role] = &[
    Role {
        name: "spanledger-eraser",
        what: "Finds and deletes documents",
        streams: ENTRIES,
        cluster: &["monitor"],
        index: &["read", "delete"],
        search_cluster: &[
            "cluster:monitor/main",
            "indices:data/write/bulk",
            "cluster_composite_ops_ro",
        ],
        search_index: &["read", "indices:data/write/delete", "indices:data/write/bulk*"],
    },
    Role {
        name: "spanledger-auditor",
        what: "Reads documents",
        streams: EVERYTHING,
        cluster: &["monitor"],
        index: &["read", "view_index_metadata"],
        search_cluster: &["cluster:monitor/main", "cluster_composite_ops_ro"],
        search_index: &["read", "indices:admin/mappings/get", "indices:admin/data_stream/get"],
    },
    Role {
        name: "spanledger-admin",
        what: "Runs setup, except for roles and keys",
        streams: EVERYTHING,
        cluster: &["monitor", "manage_index_templates", "manage_ilm"],
        index: &["manage"],
        search_cluster: &[
            "cluster:monitor/main",
            "cluster:admin/opendistro/ism/*",
            "cluster:admin/component_template/*",
            "indices:admin/index_template/*",
        ],
        search_index: &["manage"],
    },
];

pub(super) fn wanted(flavor: &Flavor, options: &SetupOptions) -> Result<Vec<Object>, SetupError> {
    let mut objects = Vec::new();
    if options.roles {
        let checkpoints = options.checkpoints.then_some(&CHECKPOINTS);
        for role in [&EXPORTER, &CORRELATOR].into_iter().chain(OTHERS).chain(checkpoints) {
            let reads = options.exporter_reads && role.name == EXPORTER.name;
            objects.push(match flavor.product {
                Product::Elasticsearch => elasticsearch(role, reads),
                Product::OpenSearch => opensearch(role, reads),
            });
        }
    }
    let keys = options.exporter_key || options.correlator_key || options.checkpoints_key;
    if flavor.product == Product::OpenSearch && keys {
        return Err(SetupError::Missing {
            what: "API keys that setup could make",
            remedy: "make users with the roles spanledger-exporter, spanledger-correlator and \
                     spanledger-checkpoints",
        });
    }
    if options.exporter_key {
        objects.push(key(&EXPORTER, EXPORTER_KEY, options.exporter_reads));
    }
    if options.correlator_key {
        objects.push(key(&CORRELATOR, CORRELATOR_KEY, false));
    }
    if options.checkpoints_key {
        objects.push(key(&CHECKPOINTS, CHECKPOINTS_KEY, false));
    }
    Ok(objects)
}

fn privileges(role: &Role, reads: bool) -> Value {
    let mut index = role.index.to_vec();
    if reads {
        index.extend(READS);
    }
    json!({
        "cluster": role.cluster,
        "indices": [{"names": role.streams, "privileges": index}],
    })
}

fn elasticsearch(role: &Role, reads: bool) -> Object {
    let mut body = privileges(role, reads);
    let mark = Mark::of(&body);
    insert(&mut body, "metadata", mark.json());
    let path = format!("/_security/role/{}", role.name);
    Object {
        kind: Kind::Role,
        name: role.name.to_owned(),
        read: path.clone(),
        method: Method::Put,
        write: path,
        mark,
        body: Some(body),
    }
}

fn opensearch(role: &Role, reads: bool) -> Object {
    let mut actions = role.search_index.to_vec();
    let mut cluster = role.search_cluster.to_vec();
    if reads {
        actions.extend(SEARCH_READS);
        cluster.push("cluster_composite_ops_ro");
    }
    let mut body = json!({
        "cluster_permissions": cluster,
        "index_permissions": [{"index_patterns": role.streams, "allowed_actions": actions}],
        "tenant_permissions": [],
    });
    let mark = Mark::of(&body);
    insert(&mut body, "description", mark.sentence(role.what).into());
    let path = format!("/_plugins/_security/api/roles/{}", role.name);
    Object {
        kind: Kind::SearchRole,
        name: role.name.to_owned(),
        read: path.clone(),
        method: Method::Put,
        write: path,
        mark,
        body: Some(body),
    }
}

/// The key has its privileges in itself: it can do no more than the role and no more than who made
/// it, and works without the role.
fn key(role: &Role, name: &str, reads: bool) -> Object {
    let descriptors = json!({ role.name: privileges(role, reads) });
    let mark = Mark::of(&descriptors);
    Object {
        kind: Kind::ApiKey,
        name: name.to_owned(),
        read: "/_security/api_key".to_owned(),
        method: Method::Post,
        write: "/_security/api_key".to_owned(),
        body: Some(json!({
            "name": name,
            "role_descriptors": descriptors,
            "metadata": mark.json(),
        })),
        mark,
    }
}
