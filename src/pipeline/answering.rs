//! The store that answers, and the consumer that writes it.

use super::PipelineError;
use super::folders::{CURSOR_FOLDER, index_dir, ledger_name};
use crate::config::{self, Config};
use crate::correlate::JoinRules;
use crate::elasticsearch::{Client, ElasticsearchStore, StoreOptions, StoreStatus};
use crate::export::{Consumer, ConsumerOptions, StoreSink};
use crate::ledger::Ledger;
use crate::store::embedded::IndexOptions;
use crate::store::{AuditStore, EmbeddedStore};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Name of the consumer that writes the embedded index.
pub(super) const INDEX: &str = "index";

/// What answers, and what keeps it.
pub(super) struct Answering {
    pub(super) store: Arc<dyn AuditStore>,
    /// The consumer that writes it.
    pub(super) index: Option<Consumer>,
    /// Numbers of questions to the cluster, when it answers.
    pub(super) reader: Option<Arc<StoreStatus>>,
}

impl Answering {
    pub(super) fn open(config: &Config, ledger: &Ledger) -> Result<Self, PipelineError> {
        let reader = ledger.reader();
        let options = IndexOptions {
            origin: ledger_name(reader.origin()),
            rules: join_rules(&config.correlation),
            duplicate_window: config.ledger.window as u64,
            ..IndexOptions::default()
        };
        let folder = index_dir(&config.data);
        let Some(index) = &config.index else {
            // What has no index is read from the ledger itself, as far as a question's time reaches.
            let rules = options.rules.clone();
            let own = EmbeddedStore::open_read_only(&folder.join("off"), reader, options)?;
            let Some(cluster) = &config.elasticsearch else {
                return Ok(Self { store: Arc::new(own), index: None, reader: None });
            };
            // Several collectors write one cluster; who follows new entries follows this one's ledger.
            let client = Client::new(&cluster.reader).map_err(PipelineError::Elasticsearch)?;
            let options = StoreOptions { rules, ..StoreOptions::default() };
            let store = ElasticsearchStore::new(client, Handle::current(), options);
            let store = store.following(Box::new(own));
            let reader = Some(store.status());
            return Ok(Self { store: Arc::new(store), index: None, reader });
        };
        let options = IndexOptions { commit_entries: index.commit_entries, ..options };
        let store = EmbeddedStore::open(&folder, reader.clone(), options)?;
        let store = Arc::new(store);
        let options = ConsumerOptions {
            idle_after: index.commit_idle,
            ..ConsumerOptions::new(config.data.join(CURSOR_FOLDER))
        };
        let consumer = Consumer::start(reader, StoreSink::new(INDEX, Arc::clone(&store)), options)
            .map_err(PipelineError::Consumer)?;
        Ok(Self { store, index: Some(consumer), reader: None })
    }
}

pub(super) fn join_rules(correlation: &config::Correlation) -> JoinRules {
    JoinRules {
        careless: correlation.careless_ids.clone(),
        max_traces: correlation.max_traces,
        ..JoinRules::default()
    }
}
