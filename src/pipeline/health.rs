//! What is in the way of each part, in sentences for people.

use super::export::{ELASTICSEARCH, held_up};
use super::publish::{PUBLIC_LOG, PublishStatus};
use super::upkeep::UpkeepStatus;
use crate::elasticsearch::{Client, Exporter};
use crate::export::ConsumerStatus;
use crate::ledger::Ledger;
use std::sync::Arc;

/// Name of those who sign that the log only grows.
const WITNESSES: &str = "witnesses";

/// Name of those who keep checkpoints.
const CHECKPOINT_SINKS: &str = "checkpoint_sinks";

/// Name of what packs and prunes segments and puts holds on record.
const UPKEEP: &str = "upkeep";

/// Tells what is in the way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vitals {
    pub(super) ledger: Ledger,
    pub(super) consumers: Vec<(&'static str, Arc<ConsumerStatus>)>,
    pub(super) exporter: Option<Exporter<Client>>,
    pub(super) publishing: Arc<PublishStatus>,
    pub(super) upkeep: Arc<UpkeepStatus>,
}

impl Vitals {
    /// Why the ledger takes nothing, and what to do; `None` when it does.
    pub fn ledger(&self) -> Option<String> {
        let status = self.ledger.status();
        match (status.poisoned, status.disk_full) {
            (Some(reason), _) => {
                Some(format!("storage failed ({reason}): check the disk, then restart"))
            }
            (None, Some(reason)) => {
                Some(format!("no space ({reason}): free some, it goes on by itself"))
            }
            (None, None) => None,
        }
    }

    /// Each consumer, and what it waits for if it does; the publisher, its witnesses and sinks, and the
    /// upkeep too. None of it keeps evidence from being taken.
    pub fn consumers(&self) -> impl Iterator<Item = (&'static str, Option<String>)> + '_ {
        let publishing = self.publishing.trouble().or_else(|| self.publishing.standing());
        let publishing = (PUBLIC_LOG, publishing);
        let consumers = self.consumers.iter().map(|(name, status)| {
            // A thread that failed comes first: deliveries may be fine and nothing new reach them.
            let exporter = self.exporter.as_ref().filter(|_| *name == ELASTICSEARCH);
            let delivery = || exporter.and_then(|exporter| held_up(exporter.status()));
            (*name, status.trouble().or_else(delivery))
        });
        let outlets = &self.publishing;
        consumers.chain([
            publishing,
            (WITNESSES, outlets.witnesses.trouble()),
            (CHECKPOINT_SINKS, outlets.sinks.trouble()),
            (UPKEEP, self.upkeep.trouble()),
        ])
    }
}
