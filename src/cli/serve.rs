//! `serve`: the process, composed. It starts at the end of the data flow and stops at its front.
//!
//! ```text
//! start   pipeline (data, keys ─► ledger ─► index, export) ─► API ─► receivers ─► endpoints.json
//! stop    receivers (answer what is in flight) ─► pipeline (ledger ─► consumers) ─► API
//! ```
//!
//! Each step of the stop has a deadline. What a consumer has not reached by then it reads again at
//! the next start; what the ledger has not synced was not acknowledged.

use super::args::ServeArgs;
use super::endpoints::{ENDPOINTS_FILE, Endpoints, EndpointsError};
use super::exit::with_causes;
use super::exposure::{Exposed, exposed, has_credential};
use super::keeper::{Keeper, KeeperError, open_credentials};
use super::letters::{Letters, NotStarted};
use super::listen::{Listening, Part};
use crate::access::{ACCESS_FOLDER, BookError, Tls, TlsError};
use crate::api::{Api, AxonflowCalls, DeadLetterBox, Health, Load, SealedPayloads};
use crate::config::{Config, ConfigError, Overrides};
use crate::convert::{MappingError, Mappings};
use crate::intake::Opener;
use crate::ledger::Recovery;
use crate::pipeline::{self, ELASTICSEARCH, Opened, Pipeline, PipelineError, Vitals};
use crate::receiver::Receiver;
use crate::receiver::axonflow::{Upstream, UpstreamError};
use crate::telemetry::metrics::Sources;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Time between two looks at whether the ledger takes entries, for `/readyz`.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

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
    /// There is no pipeline, or its end was not clean.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
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
    /// The engine that decides cannot be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// `endpoints.json` cannot be written.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
}

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    endpoints: Endpoints,
    config: Config,
    pipeline: Pipeline,
    receivers: Part,
    api: Part,
    axonflow: Arc<AxonflowCalls>,
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
    let mappings = pipeline::mappings(&config)?;
    Ok((config, mappings))
}

/// Starts a server. When it returns, the server takes evidence.
///
/// # Errors
/// [`ServeError`], with what to do.
pub async fn start(config: Config, mappings: Mappings) -> Result<Running, ServeError> {
    let tls = load_tls(&config)?;
    let opened = Opened::open(&config, mappings)?;
    let credentials = open_credentials(&config.data)?;
    let keeper = Keeper::new(credentials.clone(), opened.intake().clone());
    match Box::pin(keeper.look()).await {
        Err(KeeperError::Book(error)) => return Err(error.into()),
        // Those on record get in; what is new waits until the ledger takes its entry.
        Err(error) => tracing::error!("{}", with_causes(&error)),
        Ok(()) => {}
    }
    // An erasure that was cut off. It stays ordered, and holds nothing up.
    if let Err(error) = Box::pin(opened.intake().complete_erasures()).await {
        tracing::error!("an erasure is not completed: {}", with_causes(&error));
    }
    let pipeline = opened.start(&config)?;
    let health = Arc::new(Health::starting(&["ledger"]));
    let letters = letters(&pipeline, &health);
    let intake = pipeline.intake().clone();
    let receiver = Receiver::guarded(intake.clone(), config.limits.clone(), credentials.clone());
    let load: Arc<Load> = Arc::default();
    let sources = Sources::of(&pipeline, &receiver, Arc::clone(&load), tls.clone());
    let upstream = config.axonflow.clone().map(Upstream::new).transpose()?;
    let axonflow = Arc::new(AxonflowCalls::new(intake, upstream));
    let metrics = Arc::new(move || sources.text());
    let keys = pipeline.intake().protector().keys().clone();
    let payloads = SealedPayloads { reader: pipeline.ledger().reader(), opener: Opener::new(keys) };
    let api = Api::new(Arc::clone(pipeline.store()), Arc::clone(&health), metrics)
        .with_dead_letters(letters)
        .with_credentials(credentials.clone())
        .with_keyring(Arc::new(keeper.clone()))
        .with_axonflow(Arc::clone(&axonflow))
        .with_payloads(Some(payloads))
        .with_erasures(pipeline.intake().clone())
        .with_prover(pipeline.prover())
        .with_log(pipeline.published().log().clone())
        .with_load(load);
    let listening = Listening { config: &config, receiver: &receiver, tls: tls.as_ref() };
    let (api_address, api) = listening.api(api).await?;
    let (grpc, http, receivers) = listening.otlp(credentials).await?;
    let pid = std::process::id();
    let endpoints = Endpoints { grpc, http, api: api_address, pid, tls: tls.is_some() };
    endpoints.write(&config.data)?;
    let vitals = pipeline.vitals();
    health.see(vitals.consumers(), vitals.ledger());
    let watches = vec![
        tokio::spawn(watch_health(vitals, Arc::clone(&health))),
        tokio::spawn(keeper.clone().watch(Arc::clone(&health))),
    ];
    Ok(Running { endpoints, config, pipeline, receivers, api, axonflow, health, watches, keeper })
}

/// The dead letters of the export when there is one. When it could not be started the log,
/// `/readyz` and whoever asks for them are told why.
fn letters(pipeline: &Pipeline, health: &Health) -> Option<Arc<dyn DeadLetterBox>> {
    if let Some(error) = pipeline.not_exported() {
        let why = format!("nothing is exported until a restart: {}", with_causes(error));
        tracing::error!("{why}");
        health.held_up(ELASTICSEARCH, why.as_str());
        return Some(Arc::new(NotStarted(why)));
    }
    let exporter = pipeline.exporter()?.clone();
    let (reader, intake) = (pipeline.ledger().reader(), pipeline.intake().clone());
    Some(Arc::new(Letters { exporter, reader, intake }))
}

impl Running {
    /// Where it listens.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// What was found when the ledger was opened.
    pub fn recovery(&self) -> &Recovery {
        self.pipeline.recovery()
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
        // What the upstream decided goes on record before the ledger is closed.
        if let Some(answer) = self.axonflow.longest_answer() {
            let patience = answer.saturating_add(self.config.shutdown.ledger);
            if !self.axonflow.end(patience).await {
                tracing::error!(?patience, "calls to the upstream were cut off at shutdown");
            }
        }
        let ended = self.pipeline.stop().await;
        self.api.end().await;
        Ok(ended?)
    }
}

/// What all listeners speak TLS with, if they do.
fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let settings = config.transport.tls.clone();
    Ok(settings.map(Tls::load).transpose()?.map(Arc::new))
}

/// Keeps `/readyz` true to what the ledger and the consumers say of themselves.
async fn watch_health(vitals: Vitals, health: Arc<Health>) {
    let mut looks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        looks.tick().await;
        health.see(vitals.consumers(), vitals.ledger());
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
