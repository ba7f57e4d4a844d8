//! Repair of a data folder: the directory of a damaged ledger is exchanged for what can be kept of it.
//!
//! ```text
//! lock ledger ─► plan ─► build ledger.repairing ─► `repair` entry in it, durable
//!   ─► exchange the two directories, atomically ─► ledger.damaged-<time>
//!   ─► of another log now: public log, its key, cursors, dead letters and index go aside
//! ```
//!
//! The exchange is one rename: before it the damaged ledger is there, unchanged; after it the new one,
//! which says in its last entry what was done. Nothing is deleted but the index, which is built again.
//! The log's key goes aside only after the exchange: whatever ends a repair early, the key that signed
//! the old log finds the old log, or refuses the new one by its name.

use super::folders::{self, CURSOR_FOLDER, dead_letters_dir, hex, index_dir, ledger_dir, log_dir};
use super::upkeep::pruning;
use super::{PipelineError, log_keys};
use crate::access::files::give_to_owner;
use crate::config::Config;
use crate::convert::Mappings;
use crate::entry::Kind;
use crate::evidence::{Pruning, unsaid};
use crate::intake::{Fact, Intake, IntakeError, LedgerAct, now_ns};
use crate::ledger::{
    CloseError, Due, Expiry, Ledger, OpenError, Options, PublicLog, PublicLogError, Reader, Repair,
    RepairPlan, VerifyError,
};
use crate::protect::{Keys, Protector};
use rustix::fs::{CWD, RenameFlags};
use std::io;
use std::path::{Path, PathBuf};

/// Ranges of lost bodies that are named in the entry, so that it stays below the 16 MiB that an entry
/// can have at most; more are counted, and missing for who verifies.
const MAX_NAMED: usize = 300_000;

/// Why a data folder was not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The ledger cannot be looked at, or the new one cannot be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The last checkpoint cannot be read: without it nobody knows what was signed.
    #[error(
        "the last checkpoint cannot be read; restore it, or move the folder of the public log away"
    )]
    Log(#[from] PublicLogError),
    /// There are no keys.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// What was built cannot be read.
    #[error("what is kept of the ledger cannot be read again; nothing was changed")]
    Kept(#[from] VerifyError),
    /// It could not be put on record.
    #[error("the repair could not be put on record; nothing was changed")]
    Record(#[from] IntakeError),
    /// The new ledger did not end in order.
    #[error("the repaired ledger could not be closed; nothing was changed")]
    Close(#[from] CloseError),
    /// The system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Who has a repair done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// Who: `os:<user>`.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Where the damaged ledger is now.
    pub saved_as: PathBuf,
    /// What else went aside, because it was of the old log.
    pub aside: Vec<PathBuf>,
    /// Random number of the log now.
    pub origin: [u8; 16],
    /// Entries that it has, that about the repair included.
    pub entries: u64,
}

/// Looks at the ledger of a data folder. Changes nothing; holds its lock until it is dropped.
///
/// # Errors
/// [`RepairError`].
pub fn plan_repair(config: &Config) -> Result<Repair, RepairError> {
    let signed = folders::last_signed(config)?;
    let head = signed.as_ref().map(|signed| signed.head);
    let repair = Repair::plan(&ledger_dir(&config.data), head)?;
    // What another log signed binds this one to nothing: a repair ended before it was put aside.
    match (repair.findings().origin, signed) {
        (Some(origin), Some(signed)) if !is_of(&signed.origin, origin) => {
            drop(repair);
            Ok(Repair::plan(&ledger_dir(&config.data), None)?)
        }
        _ => Ok(repair),
    }
}

/// Does what was planned.
///
/// # Errors
/// [`RepairError`]; the ledger is as it was, unless the error names something that was to go aside
/// afterwards: then the same command finishes it.
pub async fn repair(
    config: &Config,
    mappings: Mappings,
    repair: Repair,
    by: &Mandate,
) -> Result<Repaired, RepairError> {
    let stamp = now_ns().to_string();
    let dir = ledger_dir(&config.data);
    let new = config.data.join("ledger.repairing");
    if new.exists() {
        // Not deleted: a crash may have left the old ledger there.
        rename(&new, &config.data.join(format!("ledger.unfinished-repair-{stamp}")))?;
    }
    folders::private_folder(&new)?;
    repair.build(&new)?;
    let (origin, entries) = record(config, mappings, &new, repair.findings(), by).await?;
    give_away(&config.data, &new).map_err(io_error("give to the server", &new))?;
    // IMPORTANT: held until all is put aside, so that no server starts on the new ledger with the
    // cursors and the key of the old one.
    let _lock = Repair::lock(&new)?;
    // IMPORTANT: one step, so that there is never no ledger, which would be begun anew.
    let exchanged = rustix::fs::renameat_with(CWD, &new, CWD, &dir, RenameFlags::EXCHANGE);
    exchanged.map_err(|error| io_error("exchange the ledger with", &new)(error.into()))?;
    sync(&config.data)?;
    let saved_as = config.data.join(format!("ledger.damaged-{stamp}"));
    rename(&new, &saved_as)?;
    let aside = put_aside(config)?;
    Ok(Repaired { saved_as, aside, origin, entries })
}

/// Puts aside what is of another log than the ledger: the end of a repair that gave it a new origin,
/// also of one that was interrupted.
///
/// # Errors
/// [`RepairError`]; it can be called again.
pub fn put_aside(config: &Config) -> Result<Vec<PathBuf>, RepairError> {
    let reader = Reader::open(&ledger_dir(&config.data))?;
    let log = log_dir(&config.data);
    let signed = PublicLog::open(&log).checkpoint()?;
    let name = match signed {
        Some(signed) => Some(signed.checkpoint.origin),
        None => log_keys::log_key(&config.keys).ok().map(|key| key.name().to_owned()),
    };
    let Some(old) = name.filter(|name| !is_of(name, reader.origin())) else {
        return Ok(Vec::new());
    };
    let old = old.rsplit('/').next().unwrap_or_default().to_owned();
    // The keys may be newer than the public log, and of a third log.
    let of_key = log_keys::log_key(&config.keys).ok().map(|key| key.name().to_owned());
    let of_key = of_key.and_then(|name| Some(name.rsplit('/').next()?.to_owned()));
    let is_now = of_key.as_ref().is_some_and(|name| *name == hex(reader.origin()));
    let mut aside = Vec::new();
    let of_data = [dead_letters_dir(&config.data), config.data.join(CURSOR_FOLDER)];
    for path in of_data {
        put_one_aside(&path, &old, &mut aside)?;
    }
    for name in log_keys::FILES.into_iter().filter(|_| !is_now) {
        let of_key = of_key.as_deref().unwrap_or(&old);
        put_one_aside(&config.keys.join(name), of_key, &mut aside)?;
    }
    // The public log last: as long as it is there, this is not done.
    put_one_aside(&log, &old, &mut aside)?;
    let index = index_dir(&config.data);
    if index.exists() {
        std::fs::remove_dir_all(&index).map_err(io_error("remove the index", &index))?;
    }
    Ok(aside)
}

/// Renames what is of the log `old`, if it is there. What was put aside before stays as it is: a key is
/// worth more than a short name.
fn put_one_aside(path: &Path, old: &str, aside: &mut Vec<PathBuf>) -> Result<(), RepairError> {
    if !path.exists() {
        return Ok(());
    }
    let named = |ending: &str| {
        let mut to = path.as_os_str().to_owned();
        to.push(ending);
        PathBuf::from(to)
    };
    let mut to = named(&format!(".{old}"));
    let mut moved = rename_free(path, &to);
    if moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        to = named(&format!(".{old}.{}", now_ns()));
        moved = rename_free(path, &to);
    }
    moved.map_err(io_error("put aside", path))?;
    sync(path.parent().unwrap_or(path))?;
    aside.push(to);
    Ok(())
}

/// Renames, unless something has that name.
fn rename_free(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Whether a log's name is that of the ledger with that random number.
fn is_of(name: &str, origin: [u8; 16]) -> bool {
    name.rsplit('/').next() == Some(hex(origin).as_str())
}

/// Puts the repair on record, in the new ledger, and before it what the entries said that it cuts off
/// about bodies that are gone. Gives its random number and its size.
async fn record(
    config: &Config,
    mappings: Mappings,
    new: &Path,
    plan: &RepairPlan,
    by: &Mandate,
) -> Result<([u8; 16], u64), RepairError> {
    // IMPORTANT: only where entries are cut off, or are not there that were signed, one of them can
    // have said what is gone. Anything else would excuse bodies that somebody took out.
    let lost = ranges(&plan.lost_bodies);
    let is_cut = plan.shortened.is_some() || plan.not_contained.is_some();
    let gone = if is_cut { unsaid(new, &lost)? } else { Vec::new() };
    let keys = Keys::open(&config.keys).map_err(PipelineError::from)?;
    let protector = Protector::new(&config.audit, keys).map_err(PipelineError::from)?;
    let options = Options { signed: None, ..config.ledger.clone() };
    let (ledger, recovery) = Ledger::open(new, options)?;
    let intake = Intake::new(mappings, protector, ledger.clone());
    let mut acts: Vec<_> = gone.iter().map(|gone| told_again(gone, by)).collect();
    acts.push(act(plan, &gone, recovery.origin, by));
    let mut recorded = Ok(());
    for act in &acts {
        recorded = intake.record_act(act).await;
        if recorded.is_err() {
            break;
        }
    }
    let head = ledger.close().await?;
    recorded?;
    Ok((recovery.origin, head.size))
}

/// The entry of kind `prune` in place of one that is cut off.
fn told_again(gone: &Pruning, by: &Mandate) -> LedgerAct {
    let Pruning { range, class, before_ns, entries, .. } = gone;
    let (first, end, last) = (range.start, range.end, range.end.saturating_sub(1));
    let expiry = Expiry { class: *class, before_ns: *before_ns };
    let mut facts = pruning::facts(&Due { first, end, expiry, entries: *entries, gone: 0 });
    // Who reads it must not take it for what retention did.
    facts.push(("spanledger.prune.told_again", Fact::Number(*entries)));
    LedgerAct {
        kind: Kind::Prune,
        at_ns: now_ns(),
        actor: by.actor.clone(),
        by_person: true,
        reason: Some(by.reason.clone()),
        action: "ledger.pruned",
        target: format!("entries {first} to {last}"),
        message: format!(
            "the bodies of {entries} entries of the class {class} among {first} to {last} were gone before \
             a repair, and no entry that it kept said why"
        ),
        facts,
    }
}

fn act(plan: &RepairPlan, gone: &[Pruning], origin: [u8; 16], by: &Mandate) -> LedgerAct {
    let mut done = Vec::new();
    let mut facts = vec![("spanledger.repair.kept", Fact::Number(plan.kept.size))];
    if !plan.lost_bodies.is_empty() {
        let count = plan.lost_bodies.len();
        done.push(format!("the bodies of {count} entries were damaged and are gone"));
        facts.push(("spanledger.repair.lost_bodies", Fact::Number(count as u64)));
        facts.push(("spanledger.repair.sequences", Fact::Text(ranges(&plan.lost_bodies))));
    }
    if let Some(shortened) = &plan.shortened {
        let kept = plan.kept.size;
        done.push(format!(
            "the log was damaged behind its first {kept} entries ({}), and ended there",
            shortened.damage
        ));
        facts.push(("spanledger.repair.readable", Fact::Number(shortened.readable)));
    }
    if let Some(signed) = plan.not_contained {
        done.push(format!("the log did not contain the tree that was signed ({signed})"));
        facts.push(("spanledger.repair.signed", Fact::Number(signed.size)));
    }
    if plan.restored {
        done.push(format!(
            "the log was restored from a backup of its first {} entries",
            plan.kept.size
        ));
        facts.push(("spanledger.repair.restored", Fact::Number(plan.kept.size)));
    }
    let told = gone.iter().fold(0_u64, |sum, gone| sum.saturating_add(gone.entries));
    if told > 0 {
        done.push(format!(
            "the bodies of {told} entries were gone before, and no entry that is kept said why"
        ));
        facts.push(("spanledger.repair.told_again", Fact::Number(told)));
    }
    if plan.needs_new_origin() {
        let old = plan.origin.map_or_else(|| "unknown".to_owned(), hex);
        done.push(format!("this log goes on from the log {old} as another one, {}", hex(origin)));
        facts.push(("spanledger.repair.old_origin", Fact::Text(old)));
    }
    LedgerAct {
        kind: Kind::Repair,
        at_ns: now_ns(),
        actor: by.actor.clone(),
        by_person: true,
        reason: Some(by.reason.clone()),
        action: "ledger.repaired",
        target: hex(origin),
        message: done.join("; "),
        facts,
    }
}

/// Sequences as text: `3,7-9`.
fn ranges(sequences: &[u64]) -> String {
    let runs = sequences.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let named = runs.take(MAX_NAMED).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(u64::to_string).collect(),
    });
    named.collect::<Vec<_>>().join(",")
}

/// What root made for a server belongs to the user whom the server runs as.
fn give_away(data: &Path, new: &Path) -> io::Result<()> {
    give_to_owner(data, new)?;
    for file in new.read_dir()? {
        give_to_owner(data, &file?.path())?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), RepairError> {
    std::fs::rename(from, to).map_err(io_error("rename", from))?;
    sync(from.parent().unwrap_or(from))
}

fn sync(dir: &Path) -> Result<(), RepairError> {
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("make durable", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_owned();
    move |source| RepairError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lost_body_is_named_also_when_there_are_many() {
        assert_eq!(ranges(&[3, 7, 8, 9, 11]), "3,7-9,11");
        assert_eq!(ranges(&(0..5_000).collect::<Vec<_>>()), "0-4999");
        let single: Vec<u64> = (0..5_000).map(|n| n * 2).collect();
        assert_eq!(ranges(&single).split(',').count(), 5_000);
    }
}
