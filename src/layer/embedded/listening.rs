//! The API over the ledger in this process, for people on this machine.
//!
//! It answers what `spanledger serve` answers, proofs and the public log included, and takes nothing:
//! evidence comes from the agent alone. Nobody needs a credential, so it listens on a loopback address
//! only, answers to its own names only, and closes when somebody makes credentials for the data folder.
//!
//! | off | why | how all the same |
//! |---|---|---|
//! | sealed payloads (mode `full`) | every process on the machine could read exact texts, and nothing would say who did | [`Embedded::show_payloads`](super::Embedded::show_payloads) |
//! | erasures, credentials, dead letters sent again or given up | they change the ledger or what it stands for, and nobody says who he is | stop the agent; `spanledger erase`, `keys`, or `serve` on its folder |
//! | AxonFlow's calls, receivers | they write entries that are not the agent's | send to a `spanledger serve` |

use super::EmbeddedError;
use super::letters::Letters;
use crate::access::was_given_credentials;
use crate::api::{self, Api, Bounds, Health, HostCheck, Load, SealedPayloads};
use crate::config::{Config, Index};
use crate::export::chain;
use crate::intake::Opener;
use crate::pipeline::{ELASTICSEARCH, Pipeline, Vitals};
use crate::receiver::{Limits, Receiver, Server};
use crate::telemetry::metrics::Sources;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often `/readyz` is made true, and how long after the first credential the door is shut.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked of the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) address: SocketAddr,
    /// Whether it opens sealed payloads.
    pub(super) payloads: bool,
}

/// A listener that answers.
pub(super) struct Listening {
    address: SocketAddr,
    health: Arc<Health>,
    stop: Arc<watch::Sender<bool>>,
    tasks: [JoinHandle<()>; 2],
}

impl Listening {
    /// Listens, when only this machine can ask and nobody has made credentials for the folder.
    pub(super) async fn start(
        Wish { address, payloads }: Wish,
        config: &Config,
        pipeline: &Pipeline,
        receiver: &Receiver,
    ) -> Result<Self, EmbeddedError> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(EmbeddedError::Reachable { address });
        }
        if was_given_credentials(&config.data) {
            return Err(EmbeddedError::Credentials { path: config.data.clone() });
        }
        // The agent's own deadline ends it sooner than that of a server would.
        let limits = Limits { shutdown_timeout: LOOK, ..config.limits.clone() };
        let metrics = receiver.metrics().clone();
        let server = Server::bind(address, limits, metrics).await;
        let server = server.map_err(|source| EmbeddedError::Listen { address, source })?;
        let address = server.address();
        let load: Arc<Load> = Arc::default();
        let sources = Sources::of(pipeline, receiver, Arc::clone(&load), None);
        let health = Arc::new(Health::starting(&["ledger"]));
        let vitals = pipeline.vitals();
        health.see(vitals.consumers(), vitals.ledger());
        if let Some(error) = pipeline.not_exported() {
            let why = format!("nothing is exported until a restart: {}", chain(error));
            health.held_up(ELASTICSEARCH, why);
        }
        let api = Api::new(
            Arc::clone(pipeline.store()),
            Arc::clone(&health),
            Arc::new(move || sources.text()),
        );
        let bounds = config.index.as_ref().map_or_else(Bounds::default, Index::bounds);
        let opener = || Opener::new(pipeline.intake().protector().keys().clone());
        let sealed = payloads
            .then(|| SealedPayloads { reader: pipeline.ledger().reader(), opener: opener() });
        let api = api
            .with_prover(pipeline.prover())
            .with_log(pipeline.published().log().clone())
            .with_dead_letters(Letters::of(pipeline))
            .with_payloads(sealed)
            .with_load(load)
            .within(bounds);
        let router = api::router(api, HostCheck::for_listener(address));
        let stop = Arc::new(watch::Sender::new(false));
        let mut told = stop.subscribe();
        let answering = tokio::spawn(server.serve(router, async move {
            // The sender is gone only when this is.
            let _ = told.wait_for(|stop| *stop).await;
        }));
        let (of_health, of_stop) = (Arc::clone(&health), Arc::clone(&stop));
        let looked = tokio::spawn(look(config.data.clone(), vitals, of_health, of_stop));
        Ok(Self { address, health, stop, tasks: [answering, looked] })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends, with what was being answered cut off after a while: nothing of it is evidence.
    pub(super) async fn end(self, within: Duration) {
        // Who waits for new entries is answered: none will come.
        self.health.stop();
        self.stop.send_replace(true);
        let [mut answering, looked] = self.tasks;
        looked.abort();
        if tokio::time::timeout(within, &mut answering).await.is_err() {
            answering.abort();
        }
    }
}

/// Keeps `/readyz` true, and shuts the door when somebody makes credentials.
async fn look(data: PathBuf, vitals: Vitals, health: Arc<Health>, stop: Arc<watch::Sender<bool>>) {
    let mut looks = tokio::time::interval(LOOK);
    while !was_given_credentials(&data) {
        health.see(vitals.consumers(), vitals.ledger());
        looks.tick().await;
    }
    health.stop();
    stop.send_replace(true);
}
