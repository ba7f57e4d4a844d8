//! Three nodes as one cluster, which lose one another.

use crate::support::export::{Load, configured, everything_once, setup};
use crate::support::search_cluster::SearchCluster;
use crate::support::search_node::Engine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_one_after_the_other_under_load_lose_nothing_and_double_nothing() {
    let mut cluster = SearchCluster::start(Engine::Elasticsearch).await;
    setup(&cluster.urls()[0]);
    cluster.healed().await;
    // Small bulks, so that some are on their way whenever a node dies.
    let server = configured(&cluster.urls(), "bulk_documents: 5").await;
    let load = Load::start(&server, 0);
    load.goes_on().await;

    let holder = cluster.holder_of_the_write_index().await;
    cluster.kill(holder);
    load.goes_on().await;
    cluster.start_again(holder);
    cluster.healed().await;

    let master = cluster.master().await;
    cluster.kill(master);
    load.goes_on().await;
    cluster.start_again(master);
    cluster.healed().await;

    load.stop().await;
    let settled = everything_once(&server, &cluster.client()).await;
    assert!(settled.letters.is_empty(), "an outage is no fault of a document");
    let again = server.metric(r#"spanledger_elasticsearch_retries_total{reason="entry"}"#).await;
    assert!(again > 0, "nothing was on its way when the nodes died");
    server.server.terminate().await;
}
