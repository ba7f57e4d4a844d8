//! `serve`: the process, composed. It starts at the end of the data flow and stops at its front.
//!
//! ```text
//! start   data, keys, mappings ─► ledger ─► index ─► API ─► receivers ─► endpoints.json
//! stop    receivers (answer what is in flight) ─► ledger (sync, close) ─► consumers ─► API
//! ```
//!
//! Each step of the stop has a deadline. What a consumer has not reached by then it reads again at
//! the next start; what the ledger has not synced was not acknowledged.

use super::args::ServeArgs;
use super::endpoints::{ENDPOINTS_FILE, Endpoints, EndpointsError};
use super::exit::with_causes;
use super::export::{ELASTICSEARCH, Export, LATE_IDS, Letters, NotStarted, held_up};
use super::exposure::{Exposed, exposed, has_credential};
use super::keeper::{Keeper, KeeperError, open_credentials};
use super::listen::{Listening, Part};
use super::offline::{index_dir, ledger_name};
use super::verify::ledger_dir;
use crate::access::{ACCESS_FOLDER, BookError, Tls, TlsError};
use crate::api::{Api, DeadLetterBox, Health, Load};
use crate::config::{self, Config, ConfigError, Overrides};
use crate::convert::{MappingError, Mappings};
use crate::correlate::JoinRules;
use crate::elasticsearch::{
    Client, ElasticsearchStore, Exporter, SettingsError, StoreOptions, StoreStatus,
};
use crate::export::{Consumer, ConsumerOptions, ConsumerStatus, StoreSink};
use crate::intake::Intake;
use crate::ledger::{CloseError, Ledger, OpenError, Recovery};
use crate::protect::{Keys, KeysError, Protector, ProtectorError};
use crate::receiver::Receiver;
use crate::store::embedded::IndexOptions;
use crate::store::{AuditStore, EmbeddedStore, StoreError};
use crate::telemetry::metrics::Sources;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Time between two looks at whether the ledger takes entries, for `/readyz`.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// Folder of the consumers' cursors within the data folder.
pub(super) const CURSOR_FOLDER: &str = "cursors";

/// Name of the consumer that writes the embedded index.
const INDEX: &str = "index";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be run on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Others could reach it, and nothing would keep them out.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] BookError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The mappings cannot be used.
    #[error(transparent)]
    Mappings(#[from] MappingError),
    /// The data folder cannot be made.
    #[error("the data folder {} cannot be made or made private; check its owner, or name another with --data DIR", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are no keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Protection cannot be set up.
    #[error(transparent)]
    Protector(#[from] ProtectorError),
    /// Another server runs on the data.
    #[error(
        "another spanledger runs on {}; stop it, or give this one a folder of its own with --data DIR",
        path.display()
    )]
    Taken {
        /// The data folder.
        path: PathBuf,
        /// What the ledger said.
        source: OpenError,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(OpenError),
    /// The index cannot be opened.
    #[error("the index cannot be opened; it can be deleted, it is built again from the ledger")]
    Index(#[from] StoreError),
    /// The system gives no thread.
    #[error("a consumer cannot be started")]
    Consumer(#[source] std::io::Error),
    /// An address cannot be listened on.
    #[error(
        "{address} cannot be listened on; is something else there? Name another with {flag} ADDR (port 0 takes a free one)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster cannot be asked with these settings.
    #[error(transparent)]
    Elasticsearch(SettingsError),
    /// `endpoints.json` cannot be written.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The end was not clean.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The ledger did not end in time.
    #[error("the ledger did not write what it had within {0:?}; what was acknowledged is durable")]
    Late(Duration),
}

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    endpoints: Endpoints,
    config: Config,
    recovery: Recovery,
    ledger: Ledger,
    consumers: Vec<Consumer>,
    receivers: Part,
    api: Part,
    health: Arc<Health>,
    watches: Vec<JoinHandle<()>>,
    keeper: Keeper,
}

/// The configuration that the flags, the environment and the file make together.
///
/// # Errors
/// [`ServeError`], before anything was made or changed.
pub fn configuration(args: &ServeArgs) -> Result<(Config, Mappings), ServeError> {
    let overrides = Overrides {
        data: args.data.clone(),
        grpc: args.listen_grpc,
        http: args.listen_http,
        api: args.listen_api,
        elasticsearch: args.elasticsearch.clone(),
    };
    let config = Config::load(args.config.as_deref(), &overrides)?;
    let access = config.data.join(ACCESS_FOLDER);
    exposed(&config.listen, config.transport.is_protected(), &config.data, || {
        has_credential(&access).map_err(ServeError::Credentials)
    })?;
    load_tls(&config)?;
    let mappings = match &config.mappings {
        Some(folder) => Mappings::load(folder)?,
        None => Mappings::builtin()?,
    };
    Ok((config, mappings))
}

/// Starts a server. When it returns, the server takes evidence.
///
/// # Errors
/// [`ServeError`], with what to do.
pub async fn start(config: Config, mappings: Mappings) -> Result<Running, ServeError> {
    let tls = load_tls(&config)?;
    private_folder(&config.data)?;
    let keys = open_keys(&config)?;
    let protector = Protector::new(&config.audit, keys)?;
    let (ledger, recovery) = open_ledger(&config)?;
    let intake = Intake::new(mappings, protector, ledger.clone());
    let credentials = open_credentials(&config.data)?;
    let limits = config.limits.clone();
    let receiver = Receiver::guarded(intake.clone(), limits, credentials.clone());
    let Answering { store, index, reader } = open_store(&config, &ledger)?;
    // Without an index a story is read from the whole ledger: too slow for what follows an export.
    let local = index.is_some().then(|| Arc::clone(&store));
    let health = Arc::new(Health::starting(&["ledger"]));
    let keeper = Keeper::new(credentials.clone(), intake.clone());
    match Box::pin(keeper.look()).await {
        Err(KeeperError::Book(error)) => return Err(error.into()),
        // Those on record get in; what is new waits until the ledger takes its entry.
        Err(error) => tracing::error!("{}", with_causes(&error)),
        Ok(()) => {}
    }
    let (mut export, not_started) = start_export(&config, &ledger, local, &health);
    let exporter = export.as_ref().map(|export| export.exporter.clone());
    let correlator = export.as_mut().and_then(|export| export.correlator.take());
    let mut progress: Vec<_> = index.iter().map(|index| (INDEX, index.status())).collect();
    progress.extend(export.iter().map(|export| (ELASTICSEARCH, export.consumer.status())));
    progress.extend(correlator.iter().map(|late| (LATE_IDS, late.consumer.status())));
    let late = correlator.as_ref().map(|late| Arc::clone(&late.status));
    let consumers = index
        .into_iter()
        .chain(export.map(|export| export.consumer))
        .chain(correlator.map(|late| late.consumer))
        .collect();

    let letters = match &exporter {
        Some(exporter) => {
            let (exporter, reader) = (exporter.clone(), ledger.reader());
            let letters = Letters { exporter, reader, intake: intake.clone() };
            Some(Arc::new(letters) as Arc<dyn DeadLetterBox>)
        }
        None => not_started.map(|why| Arc::new(NotStarted(why)) as Arc<dyn DeadLetterBox>),
    };
    let load: Arc<Load> = Arc::default();
    let sources = Sources {
        receiver: receiver.clone(),
        intake,
        ledger: ledger.clone(),
        consumers: progress.clone(),
        exporter: exporter.clone(),
        late,
        reader,
        tls: tls.clone(),
        api: Arc::clone(&load),
    };
    let metrics = Arc::new(move || sources.text());
    let api = Api::new(store, Arc::clone(&health), metrics)
        .with_dead_letters(letters)
        .with_credentials(credentials.clone())
        .with_keyring(Arc::new(keeper.clone()))
        .with_load(load);
    let listening = Listening { config: &config, receiver: &receiver, tls: tls.as_ref() };
    let (api_address, api) = listening.api(api).await?;
    let (grpc, http, receivers) = listening.otlp(credentials).await?;
    let pid = std::process::id();
    let endpoints = Endpoints { grpc, http, api: api_address, pid, tls: tls.is_some() };
    endpoints.write(&config.data)?;
    let looked_at = LookedAt { ledger: ledger.clone(), consumers: progress, exporter };
    look_at(&looked_at, &health);
    let watches = vec![
        tokio::spawn(watch_health(looked_at, Arc::clone(&health))),
        tokio::spawn(keeper.clone().watch(Arc::clone(&health))),
    ];
    Ok(Running {
        endpoints,
        config,
        recovery,
        ledger,
        consumers,
        receivers,
        api,
        health,
        watches,
        keeper,
    })
}

impl Running {
    /// Where it listens.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// What was found when the ledger was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Stops in the order of the data flow, each step with its deadline.
    ///
    /// # Errors
    /// [`ServeError`] when the end was not clean. All that was acknowledged is durable anyway.
    pub async fn stop(self) -> Result<(), ServeError> {
        // Nobody should find an address where nobody listens.
        let _ = std::fs::remove_file(self.config.data.join(ENDPOINTS_FILE));
        // Who waits for new entries is answered: none will come.
        self.health.stop();
        // The servers keep the deadline of requests in flight themselves.
        self.receivers.end().await;
        self.watches.iter().for_each(JoinHandle::abort);
        self.keeper.keep_last_used().await;
        let deadlines = self.config.shutdown;
        let closed = timeout(deadlines.ledger, self.ledger.close()).await;
        // All at once: what one waits for must not eat the time of another.
        let mut stopping = JoinSet::new();
        for consumer in self.consumers {
            let name = consumer.name().to_owned();
            stopping.spawn_blocking(move || (name, consumer.stop(deadlines.consumers)));
        }
        while let Some(done) = stopping.join_next().await {
            match done {
                Ok((consumer, stopped)) => tracing::debug!(?stopped, consumer, "consumer stopped"),
                Err(error) => tracing::error!(%error, "a consumer did not stop in order"),
            }
        }
        self.api.end().await;
        match closed {
            Ok(closed) => Ok(closed.map(drop)?),
            Err(_) => Err(ServeError::Late(deadlines.ledger)),
        }
    }
}

/// Starts the export when a cluster is configured. When that fails there is none, and why; a
/// failure of one consumer never keeps evidence from being taken.
fn start_export(
    config: &Config,
    ledger: &Ledger,
    local: Option<Arc<dyn AuditStore>>,
    health: &Health,
) -> (Option<Export>, Option<String>) {
    match Export::start(config, ledger, local) {
        Ok(export) => (export, None),
        Err(error) => {
            let why = format!("nothing is exported until a restart: {}", with_causes(&error));
            tracing::error!("{why}");
            health.held_up(ELASTICSEARCH, why.as_str());
            (None, Some(why))
        }
    }
}

/// A folder for the owner alone.
fn private_folder(path: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |source| ServeError::Data { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// The keys; new ones only for a new ledger. With other keys, what is sent again would be another
/// entry, and no hash could be compared with an earlier one.
fn open_keys(config: &Config) -> Result<Keys, ServeError> {
    let has_entries =
        ledger_dir(&config.data).read_dir().is_ok_and(|mut files| files.next().is_some());
    let keys =
        if has_entries { Keys::open(&config.keys) } else { Keys::open_or_create(&config.keys) };
    Ok(keys?)
}

fn open_ledger(config: &Config) -> Result<(Ledger, Recovery), ServeError> {
    Ledger::open(&ledger_dir(&config.data), config.ledger.clone()).map_err(|source| match source {
        OpenError::Locked { .. } => ServeError::Taken { path: config.data.clone(), source },
        source => ServeError::Ledger(source),
    })
}

/// What answers, and what keeps it.
struct Answering {
    store: Arc<dyn AuditStore>,
    /// The consumer that writes it.
    index: Option<Consumer>,
    /// Numbers of questions to the cluster, when it answers.
    reader: Option<Arc<StoreStatus>>,
}

/// The store that answers, and the consumer that writes it.
fn open_store(config: &Config, ledger: &Ledger) -> Result<Answering, ServeError> {
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
            return Ok(Answering { store: Arc::new(own), index: None, reader: None });
        };
        // Several collectors write one cluster; who follows new entries follows this one's ledger.
        let client = Client::new(&cluster.reader).map_err(ServeError::Elasticsearch)?;
        let options = StoreOptions { rules, ..StoreOptions::default() };
        let store = ElasticsearchStore::new(client, Handle::current(), options);
        let store = store.following(Box::new(own));
        let reader = Some(store.status());
        return Ok(Answering { store: Arc::new(store), index: None, reader });
    };
    let options = IndexOptions { commit_entries: index.commit_entries, ..options };
    let store = EmbeddedStore::open(&folder, reader.clone(), options)?;
    let store = Arc::new(store);
    let options = ConsumerOptions {
        idle_after: index.commit_idle,
        ..ConsumerOptions::new(config.data.join(CURSOR_FOLDER))
    };
    let consumer = Consumer::start(reader, StoreSink::new(INDEX, Arc::clone(&store)), options)
        .map_err(ServeError::Consumer)?;
    Ok(Answering { store, index: Some(consumer), reader: None })
}

pub(super) fn join_rules(correlation: &config::Correlation) -> JoinRules {
    JoinRules {
        careless: correlation.careless_ids.clone(),
        max_traces: correlation.max_traces,
        ..JoinRules::default()
    }
}

/// What all listeners speak TLS with, if they do.
fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let settings = config.transport.tls.clone();
    Ok(settings.map(Tls::load).transpose()?.map(Arc::new))
}

/// What `/readyz` tells of.
struct LookedAt {
    ledger: Ledger,
    consumers: Vec<(&'static str, Arc<ConsumerStatus>)>,
    exporter: Option<Exporter<Client>>,
}

/// Keeps `/readyz` true to what the ledger and the consumers say of themselves.
async fn watch_health(looked_at: LookedAt, health: Arc<Health>) {
    let mut looks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        looks.tick().await;
        look_at(&looked_at, &health);
    }
}

fn look_at(LookedAt { ledger, consumers, exporter }: &LookedAt, health: &Health) {
    for (name, status) in consumers {
        // A thread that failed comes first: deliveries may be fine and nothing new reach them.
        let exporter = exporter.as_ref().filter(|_| *name == ELASTICSEARCH);
        let delivery = || exporter.and_then(|exporter| held_up(exporter.status()));
        match status.trouble().or_else(delivery) {
            Some(reason) => health.held_up(name, reason),
            None => health.flows(name),
        }
    }
    let status = ledger.status();
    match (status.poisoned, status.disk_full) {
        (Some(reason), _) => health.not_ready(
            "ledger",
            format!("storage failed ({reason}): check the disk, then restart"),
        ),
        (None, Some(reason)) => health
            .not_ready("ledger", format!("no space ({reason}): free some, it goes on by itself")),
        (None, None) => health.ready("ledger"),
    }
}

impl super::demo::Server for Running {
    type Error = ServeError;

    fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    async fn stop(self) -> Result<(), ServeError> {
        Running::stop(self).await
    }
}
