//! Everything between what writes and what reads, composed: from the data folder to the consumers.
//!
//! ```text
//! start   data folder, keys ─► ledger (recovery) ─► intake ║ index ─► export ─► correlator ─► publisher
//!         └────────────── Opened::open ──────────────────┘   └───── Opened::start ───────┘
//! stop    ledger (sync, close) ─► consumers and publisher, all at once
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Opened`], [`Pipeline`]: the start and the stop |
//! | `folders.rs` | where things lie in a data folder; its keys and its ledger |
//! | `answering.rs` | the store that answers, and the consumer that writes it |
//! | `alerts.rs` | a consumer for each webhook |
//! | `export.rs` | the export to Elasticsearch, and the correlator that follows it |
//! | `holds.rs` | [`Holds`]: what retention leaves alone |
//! | `repair.rs` | exchanging a damaged ledger for what can be kept of it |
//! | `upkeep/` | packing and pruning of old segments |
//! | `publish.rs` | [`Published`]: the public log, and how publishing goes |
//! | `sign.rs`, `log_keys/` | the thread that makes tiles and signs checkpoints, and its key |
//! | `cosigning.rs` | what witnesses signed, put together |
//! | `outgoing/` | checkpoints on their way to witnesses and sinks |
//! | `health.rs` | [`Vitals`]: what is in the way of each part |
//! | `error.rs` | [`PipelineError`] |
//!
//! Who listens, who may write and who may read is not known here: a server puts it around a
//! pipeline, and an agent runs one within its own process.

mod alerts;
mod answering;
mod cosigning;
mod error;
mod export;
mod folders;
mod health;
mod holds;
mod log_keys;
mod outgoing;
mod publish;
mod repair;
mod sign;
mod upkeep;

pub use error::PipelineError;
pub use export::{ELASTICSEARCH, ExportError};
pub(crate) use folders::{cursors_dir, dead_letters_dir};
pub use folders::{index_dir, ledger_dir, ledger_name, log_dir};
pub use health::Vitals;
pub use holds::{Hold, HoldAct, Holds, HoldsError, MAX_HOLDS};
pub use log_keys::{LogKeyError, ask_for_rotation, log_key};
pub use outgoing::{Outlet, Outlets};
pub use publish::{PublishStatus, Published};
pub use repair::{Mandate, RepairError, Repaired, plan_repair, put_aside, repair};
pub use upkeep::{UpkeepStatus, confirm_clock};

use crate::config::{Config, Shutdown};
use crate::convert::{MappingError, Mappings};
use crate::elasticsearch::late::LateStatus;
use crate::elasticsearch::{Client, Exporter, StoreStatus};
use crate::evidence::Prover;
use crate::export::{AlertStatus, Consumer, ConsumerStatus, Stopped};
use crate::intake::Intake;
use crate::ledger::{Ledger, PublicLog, Recovery};
use crate::protect::Protector;
use crate::store::AuditStore;
use answering::{Answering, INDEX};
use export::{Export, LATE_IDS};
use publish::{PUBLIC_LOG, Parts, Publisher};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use upkeep::{Keeping, Work};

/// The mappings that the configuration names, else those that come with the program.
///
/// # Errors
/// [`MappingError`], with file and line.
pub fn mappings(config: &Config) -> Result<Mappings, MappingError> {
    match &config.mappings {
        Some(folder) => Mappings::load(folder),
        None => Mappings::builtin(),
    }
}

/// A data folder that takes evidence, which nobody reads yet.
#[derive(Debug)]
pub struct Opened {
    ledger: Ledger,
    intake: Intake,
    recovery: Recovery,
}

impl Opened {
    /// Makes or opens the data folder, recovers its ledger and opens the one way in. To be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`PipelineError`], with what to do.
    pub fn open(config: &Config, mappings: Mappings) -> Result<Self, PipelineError> {
        folders::private_folder(&config.data)?;
        let keys = folders::open_keys(config)?;
        let protector = Protector::new(&config.audit, keys)?;
        if protector.seals() {
            protector.keys().subjects().claim()?;
        }
        let (ledger, recovery) = folders::open_ledger(config)?;
        let classes = config.retention.rules.clone();
        let intake = Intake::keeping(mappings, protector, ledger.clone(), classes);
        Ok(Self { ledger, intake, recovery })
    }

    /// The one way in.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Ends it without ever starting what reads the ledger: for a command that writes an entry.
    ///
    /// # Errors
    /// [`PipelineError`] when the end was not clean. All that was acknowledged is durable anyway.
    pub async fn close(self) -> Result<(), PipelineError> {
        Ok(self.ledger.close().await.map(drop)?)
    }

    /// Starts what reads the ledger. To be called inside a tokio runtime.
    ///
    /// An export that cannot be started keeps no evidence from being taken: then there is none, and
    /// [`Pipeline::not_exported`] says why.
    ///
    /// # Errors
    /// [`PipelineError`], with what to do.
    pub fn start(self, config: &Config) -> Result<Pipeline, PipelineError> {
        let Self { ledger, intake, recovery } = self;
        let Answering { store, index, reader } = Answering::open(config, &ledger)?;
        // Without an index a story is read from the whole ledger: too slow for what follows an
        // export.
        let local = index.is_some().then(|| Arc::clone(&store));
        let (mut export, not_exported) = match Export::start(config, &ledger, local) {
            Ok(export) => (export, None),
            Err(error) => (None, Some(error)),
        };
        let exporter = export.as_ref().map(|export| export.exporter.clone());
        let correlator = export.as_mut().and_then(|export| export.correlator.take());
        let mut progress: Vec<_> = index.iter().map(|index| (INDEX, index.status())).collect();
        progress.extend(export.iter().map(|export| (ELASTICSEARCH, export.consumer.status())));
        progress.extend(correlator.iter().map(|late| (LATE_IDS, late.consumer.status())));
        let alerting = alerts::start(config, &ledger)?;
        progress.extend(alerting.iter().map(|alert| (alert.name, alert.consumer.status())));
        let alerts = alerting.iter().map(|alert| Arc::clone(&alert.status)).collect();
        let late = correlator.as_ref().map(|late| Arc::clone(&late.status));
        let consumers = index
            .into_iter()
            .chain(export.map(|export| export.consumer))
            .chain(correlator.map(|late| late.consumer))
            .chain(alerting.into_iter().map(|alert| alert.consumer))
            .collect();
        let of = |(_, status): &(_, Arc<ConsumerStatus>)| Arc::clone(status);
        let work = Work {
            intake: intake.clone(),
            store: Arc::clone(&store),
            // The index is made of what is kept: reading it again, it leaves out what went.
            consumers: progress.iter().filter(|(name, _)| *name != INDEX).map(of).collect(),
            exporter: exporter.clone(),
            is_one_missing: not_exported.is_some(),
            found: recovery.head.size,
        };
        let upkeep = Keeping::start(config, &ledger, work).map_err(PipelineError::Consumer)?;
        let publisher = Publisher::start(Parts {
            reader: ledger.reader(),
            intake: intake.clone(),
            log: PublicLog::open(&log_dir(&config.data)),
            keys: config.keys.clone(),
            settings: config.public_log.clone(),
            runtime: Handle::current(),
        })
        .map_err(PipelineError::Consumer)?;
        let shutdown = config.shutdown;
        let name = &config.public_log.name;
        let log_name = format!("{name}/{}", folders::hex(ledger.reader().origin()));
        Ok(Pipeline {
            ledger,
            intake,
            recovery,
            store,
            reader,
            exporter,
            not_exported,
            late,
            alerts,
            progress,
            consumers,
            upkeep,
            publisher,
            log_name,
            shutdown,
        })
    }
}

/// A running pipeline. Dropped without [`stop`](Self::stop), it ends in its own time.
pub struct Pipeline {
    ledger: Ledger,
    intake: Intake,
    recovery: Recovery,
    store: Arc<dyn AuditStore>,
    reader: Option<Arc<StoreStatus>>,
    exporter: Option<Exporter<Client>>,
    not_exported: Option<ExportError>,
    late: Option<Arc<LateStatus>>,
    alerts: Vec<Arc<AlertStatus>>,
    progress: Vec<(&'static str, Arc<ConsumerStatus>)>,
    consumers: Vec<Consumer>,
    upkeep: Keeping,
    publisher: Publisher,
    /// The public log's name, as it is while nothing is signed yet.
    log_name: String,
    shutdown: Shutdown,
}

impl Pipeline {
    /// Where entries are.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The one way in.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// What was found when the ledger was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What answers.
    pub fn store(&self) -> &Arc<dyn AuditStore> {
        &self.store
    }

    /// Numbers of questions to the cluster, when it answers.
    pub fn reader(&self) -> Option<&Arc<StoreStatus>> {
        self.reader.as_ref()
    }

    /// The export to Elasticsearch, when there is one.
    pub fn exporter(&self) -> Option<&Exporter<Client>> {
        self.exporter.as_ref()
    }

    /// Why there is no export although a cluster is configured. Evidence is taken all the same.
    pub fn not_exported(&self) -> Option<&ExportError> {
        self.not_exported.as_ref()
    }

    /// Numbers of what gives documents late ids, when it runs.
    pub fn late(&self) -> Option<&Arc<LateStatus>> {
        self.late.as_ref()
    }

    /// What became of alerts, one for each webhook.
    pub fn alerts(&self) -> &[Arc<AlertStatus>] {
        &self.alerts
    }

    /// What the upkeep of segments did, and what is in its way.
    pub fn upkeep(&self) -> &Arc<UpkeepStatus> {
        self.upkeep.status()
    }

    /// How far each consumer is, by name, in the order of the data flow.
    pub fn progress(&self) -> &[(&'static str, Arc<ConsumerStatus>)] {
        &self.progress
    }

    /// The public log, and what publishes it.
    pub fn published(&self) -> Published {
        self.publisher.published()
    }

    /// What proves entries: by the ledger, and by the public log that is published beside it.
    pub fn prover(&self) -> Prover {
        let log = self.publisher.published().log().clone();
        Prover::new(self.ledger.reader(), log, self.log_name.as_str())
    }

    /// What tells what is in the way.
    pub fn vitals(&self) -> Vitals {
        Vitals {
            ledger: self.ledger.clone(),
            consumers: self.progress.clone(),
            exporter: self.exporter.clone(),
            publishing: Arc::clone(self.publisher.published().status()),
            upkeep: Arc::clone(self.upkeep.status()),
        }
    }

    /// Stops in the order of the data flow, each step with its deadline of `shutdown:`. What a
    /// consumer has not reached by then it reads again at the next start.
    ///
    /// # Errors
    /// [`PipelineError`] when the end was not clean. All that was acknowledged is durable anyway.
    pub async fn stop(self) -> Result<(), PipelineError> {
        let deadlines = self.shutdown;
        self.stop_within(deadlines).await
    }

    /// [`stop`](Self::stop) with other deadlines.
    ///
    /// # Errors
    /// The same.
    pub async fn stop_within(self, deadlines: Shutdown) -> Result<(), PipelineError> {
        // What it would do has time until the next start.
        self.upkeep.tell();
        let closed = timeout(deadlines.ledger, self.ledger.close()).await;
        // All at once: what one waits for must not eat the time of another.
        let mut stopping = JoinSet::new();
        let upkeep = self.upkeep;
        stopping.spawn_blocking(move || {
            upkeep.stop(deadlines.consumers);
            ("upkeep".to_owned(), Stopped::Cleanly)
        });
        for consumer in self.consumers {
            let name = consumer.name().to_owned();
            stopping.spawn_blocking(move || (name, consumer.stop(deadlines.consumers)));
        }
        // After the ledger: its last checkpoint covers all that was taken.
        let publisher = self.publisher;
        stopping.spawn_blocking(move || {
            let ended = publisher.stop(deadlines.consumers);
            (PUBLIC_LOG.to_owned(), if ended { Stopped::Cleanly } else { Stopped::Late })
        });
        while let Some(done) = stopping.join_next().await {
            match done {
                Ok((consumer, stopped)) => tracing::debug!(?stopped, consumer, "consumer stopped"),
                Err(error) => tracing::error!(%error, "a consumer did not stop in order"),
            }
        }
        match closed {
            Ok(closed) => Ok(closed.map(drop)?),
            Err(_) => Err(PipelineError::Late(deadlines.ledger)),
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("ledger", &self.ledger)
            .field("consumers", &self.consumers)
            .field("not_exported", &self.not_exported)
            .finish_non_exhaustive()
    }
}
