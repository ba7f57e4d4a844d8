//! The API over the ledger in this process, for people on this machine.
//!
//! It answers what `spanledger serve` answers, and takes nothing: evidence comes from the agent alone.
//! Nobody needs a credential, so it listens on a loopback address only, answers to its own names only,
//! and closes when somebody makes credentials for the data folder.

use super::EmbeddedError;
use crate::access::was_given_credentials;
use crate::api::{self, Api, Bounds, Health, HostCheck, Load};
use crate::config::{Config, Index};
use crate::pipeline::{Pipeline, Vitals};
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
        address: SocketAddr,
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
        let api = Api::new(
            Arc::clone(pipeline.store()),
            Arc::clone(&health),
            Arc::new(move || sources.text()),
        );
        let bounds = config.index.as_ref().map_or_else(Bounds::default, Index::bounds);
        let api = api.with_load(load).within(bounds);
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
