//! The dead letters of an export as the API asks for them: of a running one, of one that could not
//! be started, and those on disk.

use crate::access::Tenant;
use crate::api::{DeadLetterBox, DropAnswer, Dropping, Letter, ReplayAnswer, Replaying};
use crate::elasticsearch::{Client, DeadLetters, Exporter, Resolved};
use crate::intake::{Intake, OperatorAction};
use crate::ledger::Reader;
use crate::pipeline::{ELASTICSEARCH, dead_letters_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Dead letters that an entry about them names one by one.
const MAX_NAMED: usize = 100;

/// The dead letters of a running export, for the API.
pub(super) struct Letters {
    pub(super) exporter: Exporter<Client>,
    pub(super) reader: Reader,
    pub(super) intake: Intake,
}

impl Letters {
    /// Puts on record what is about to be done with these entries, or says why it is not done.
    async fn record(
        &self,
        action: &'static str,
        sequences: &[u64],
        what: &str,
        by: String,
    ) -> Result<(), String> {
        let named: Vec<_> = sequences.iter().take(MAX_NAMED).map(u64::to_string).collect();
        let more = if sequences.len() > MAX_NAMED { ", …" } else { "" };
        let action = OperatorAction {
            tenant: Tenant::system(),
            at_ns: now_ns(),
            actor: by,
            action,
            target_type: "dead_letters",
            target: ELASTICSEARCH.to_owned(),
            message: format!("{} dead letters {what}: {}{more}", sequences.len(), named.join(", ")),
        };
        let recorded = self.intake.record(&action).await;
        recorded.map_err(|error| format!("nothing was done, it cannot be put on record: {error}"))
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl DeadLetterBox for Letters {
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String> {
        let letters = self.exporter.dead_letters();
        let page = letters.list(from, limit).map_err(|error| error.to_string())?;
        Ok((page.into_iter().map(Letter::from).collect(), letters.len() as u64))
    }

    fn replay(&self, sequences: Vec<u64>, within: Duration, by: String) -> Replaying<'_> {
        Box::pin(async move {
            let what = "are sent again";
            self.record("dead_letters.replayed", &sequences, what, by).await?;
            let done = self.exporter.replay(&self.reader, &sequences, within).await;
            let done = done.map_err(|error| error.to_string())?;
            Ok(ReplayAnswer {
                delivered: done.delivered as u64,
                refused: done.refused as u64,
                unknown: done.unknown as u64,
                left: done.left as u64,
            })
        })
    }

    fn drop_letters(&self, sequences: Vec<u64>, reason: String, by: String) -> Dropping<'_> {
        Box::pin(async move {
            let what = format!("are given up ({reason})");
            self.record("dead_letters.dropped", &sequences, &what, by.clone()).await?;
            let (exporter, count) = (self.exporter.clone(), sequences.len());
            let dropped = tokio::task::spawn_blocking(move || {
                let how = Resolved::Dropped { by, reason };
                exporter.dead_letters().resolve(&sequences, how, now_ns())
            });
            let dropped = dropped.await.map_err(|error| error.to_string())?;
            let dropped = dropped.map_err(|error| error.to_string())?;
            tracing::warn!(dropped, "dead letters were given up; their entries stay in the ledger");
            let unknown = count.saturating_sub(dropped) as u64;
            Ok(DropAnswer { dropped: dropped as u64, unknown })
        })
    }
}

/// In place of the dead letters of an export that could not be started: why.
pub(super) struct NotStarted(pub(super) String);

impl DeadLetterBox for NotStarted {
    fn list(&self, _: u64, _: usize) -> Result<(Vec<Letter>, u64), String> {
        Err(self.0.clone())
    }

    fn replay(&self, _: Vec<u64>, _: Duration, _: String) -> Replaying<'_> {
        Box::pin(async { Err(self.0.clone()) })
    }

    fn drop_letters(&self, _: Vec<u64>, _: String, _: String) -> Dropping<'_> {
        Box::pin(async { Err(self.0.clone()) })
    }
}

/// The dead letters of a data folder that no server runs on: they can be looked at.
pub(super) struct LettersOnDisk {
    folder: PathBuf,
}

impl LettersOnDisk {
    /// `None` when nothing was ever exported from that data folder.
    pub(super) fn of(data: &Path) -> Option<Arc<dyn DeadLetterBox>> {
        let folder = dead_letters_dir(data);
        folder.exists().then(|| Arc::new(Self { folder }) as Arc<dyn DeadLetterBox>)
    }

    fn needs_server<T>() -> Result<T, String> {
        Err("only a running server can do that: start it with `spanledger serve`".to_owned())
    }
}

impl DeadLetterBox for LettersOnDisk {
    fn list(&self, from: u64, limit: usize) -> Result<(Vec<Letter>, u64), String> {
        let open = DeadLetters::read_only(&self.folder).map_err(|error| error.to_string())?;
        let mut open = open.unwrap_or_default();
        let count = open.len() as u64;
        let page = open.split_off(&from).into_values().take(limit);
        Ok((page.map(Letter::from).collect(), count))
    }

    fn replay(&self, _: Vec<u64>, _: Duration, _: String) -> Replaying<'_> {
        Box::pin(async { Self::needs_server() })
    }

    fn drop_letters(&self, _: Vec<u64>, _: String, _: String) -> Dropping<'_> {
        Box::pin(async { Self::needs_server() })
    }
}
