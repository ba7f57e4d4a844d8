//! The dead letters of an agent's own export. They can be looked at; what is done about them changes
//! the ledger, and this API takes nothing.

use crate::api::{DeadLetterBox, Dropping, Letter, Replaying};
use crate::elasticsearch::{Client, Exporter};
use crate::export::chain;
use crate::pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;

/// What is in the way of sending them again and of giving them up, and what to do.
const ONLY_SHOWN: &str = "the API of an agent's own ledger only shows dead letters: stop the agent and run \
    `spanledger serve` on its data folder, which sends them again or gives them up on record";

/// The dead letters of an export that runs, or why it does not.
pub(super) enum Letters {
    Of(Exporter<Client>),
    NotStarted(String),
}

impl Letters {
    /// `None` when nothing is to be exported.
    pub(super) fn of(pipeline: &Pipeline) -> Option<Arc<dyn DeadLetterBox>> {
        let not_started = pipeline.not_exported().map(|error| {
            Self::NotStarted(format!("nothing is exported until a restart: {}", chain(error)))
        });
        let letters = not_started.or_else(|| pipeline.exporter().cloned().map(Self::Of))?;
        Some(Arc::new(letters))
    }
}

impl DeadLetterBox for Letters {
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String> {
        let exporter = match self {
            Self::Of(exporter) => exporter,
            Self::NotStarted(why) => return Err(why.clone()),
        };
        let letters = exporter.dead_letters();
        let page = letters.list(from, limit).map_err(|error| chain(&error))?;
        Ok((page.into_iter().map(Letter::from).collect(), letters.len() as u64))
    }

    fn replay(&self, _: Vec<u64>, _: Duration, _: String) -> Replaying<'_> {
        Box::pin(async { Err(ONLY_SHOWN.to_owned()) })
    }

    fn drop_letters(&self, _: Vec<u64>, _: String, _: String) -> Dropping<'_> {
        Box::pin(async { Err(ONLY_SHOWN.to_owned()) })
    }
}
