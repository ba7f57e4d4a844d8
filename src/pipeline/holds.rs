//! Holds: evidence that retention leaves alone, whatever its class says, until it is released.
//!
//! `holds.json` in the data folder, changed by commands under a lock. A server that runs reads it
//! before it prunes anything, so a hold is in effect when its command returns; it puts each hold and
//! each release on record, at the latest at its next start.
//!
//! What is on record is copied to the folder of the keys: a hold that is lost from `holds.json`
//! without a release on record is put back before anything is pruned.

use crate::access::Tenant;
use crate::access::files::give_to_owner;
use crate::ledger::EntryRef;
use crate::store::durable::write_file;
use crate::store::{AuditStore, MAX_PAGE, Order, StoreError, TraceRequest};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "holds.json";
const LOCK: &str = "holds.lock";

/// Most holds at once: the group of each is looked up before anything is pruned.
pub const MAX_HOLDS: usize = 1_000;

/// How long the group of one hold may take to be found.
const BUDGET: Duration = Duration::from_mins(5);

/// Who did something to a hold, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldAct {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Whether it is on record in the ledger.
    pub recorded: bool,
}

/// Evidence that is not pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its name.
    pub id: String,
    /// Whose evidence.
    pub tenant: Tenant,
    /// Any id of the run whose story is held; none: everything of the tenant.
    pub trace: Option<String>,
    /// Who holds it.
    pub added: HoldAct,
    /// Who released it.
    pub released: Option<HoldAct>,
}

/// Why holds could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldsError {
    /// The system refused.
    #[error("cannot {doing} {}; check its owner, and run this as the user of the server", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not what was written. Nothing is pruned until it is put right.
    #[error("{} cannot be read; nothing is pruned until it is restored or removed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// There are too many.
    #[error("there are {MAX_HOLDS} holds already; release what is no longer needed")]
    TooMany,
    /// No such hold.
    #[error("there is no hold {0:?}; `spanledger hold list` shows all")]
    Unknown(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The holds of a data folder.
#[derive(Debug, Clone)]
pub struct Holds {
    data: PathBuf,
    /// The holds that are on record, elsewhere: for the server.
    copy: Option<PathBuf>,
}

impl Holds {
    /// Those of that data folder.
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned(), copy: None }
    }

    /// The same, with a copy of what is on record in that file.
    pub(super) fn with_copy(self, path: PathBuf) -> Self {
        Self { copy: Some(path), ..self }
    }

    /// All holds, and the released ones whose release is not on record yet.
    ///
    /// # Errors
    /// [`HoldsError`]. No file is no holds.
    pub fn read(&self) -> Result<Vec<Hold>, HoldsError> {
        Ok(read_json(self.data.join(FILE))?.unwrap_or_default())
    }

    /// All holds, as [`Holds::read`] gives them, once those are put back that are on record, were not
    /// released on record, and are not there or are others now.
    pub(super) fn whole(&self) -> Result<Vec<Hold>, HoldsError> {
        let holds = self.read()?;
        if self.missing(&holds)?.is_empty() {
            return Ok(holds);
        }
        self.change(|holds| self.put_back(holds))?;
        self.read()
    }

    /// Takes the lock that every change takes, if these are still the holds: nobody holds or releases
    /// anything until it is let go of.
    pub(super) fn lock_if(&self, holds: &[Hold]) -> Result<Option<File>, HoldsError> {
        let lock = self.lock()?;
        Ok((self.read()? == holds).then_some(lock))
    }

    /// Those of the copy that are not among `holds` as they are on record.
    fn missing(&self, holds: &[Hold]) -> Result<Vec<Hold>, HoldsError> {
        let mut missing = match self.copy.clone() {
            Some(path) => read_json::<Vec<Hold>>(path)?.unwrap_or_default(),
            None => Vec::new(),
        };
        missing.retain(|known| {
            !holds.iter().any(|hold| {
                // What is released and on record is never written here.
                let is_released = hold.released.as_ref().is_some_and(|act| act.recorded);
                let of = |hold: &Hold| (hold.id.clone(), hold.tenant.clone(), hold.trace.clone());
                of(hold) == of(known) && !is_released
            })
        });
        Ok(missing)
    }

    fn put_back(&self, holds: &mut Vec<Hold>) -> Result<(), HoldsError> {
        for hold in self.missing(holds)? {
            tracing::warn!(hold = hold.id, "a hold was lost without a release; it is put back");
            holds.retain(|it| it.id != hold.id);
            holds.push(hold);
        }
        Ok(())
    }

    /// Holds everything of a tenant, or the story of an id. It is durable when this returns.
    ///
    /// # Errors
    /// [`HoldsError`]; nothing more is held then.
    pub fn add(
        &self,
        tenant: Tenant,
        trace: Option<String>,
        actor: String,
        reason: String,
    ) -> Result<Hold, HoldsError> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|_| HoldsError::Random)?;
        let id = format!("hold-{:016x}", u64::from_be_bytes(random));
        let added = HoldAct { actor, reason, at: Timestamp::now(), recorded: false };
        let hold = Hold { id, tenant, trace, added, released: None };
        self.change(|holds| {
            if holds.len() >= MAX_HOLDS {
                return Err(HoldsError::TooMany);
            }
            holds.push(hold.clone());
            Ok(())
        })?;
        Ok(hold)
    }

    /// Releases a hold: retention may take what it held, at its next look.
    ///
    /// # Errors
    /// [`HoldsError`]; it holds on then.
    pub fn release(&self, id: &str, actor: String, reason: String) -> Result<Hold, HoldsError> {
        let mut released = None;
        self.change(|holds| {
            let found = holds.iter_mut().find(|hold| hold.id == id && hold.released.is_none());
            let Some(hold) = found else { return Err(HoldsError::Unknown(id.to_owned())) };
            hold.released = Some(HoldAct { actor, reason, at: Timestamp::now(), recorded: false });
            released = Some(hold.clone());
            Ok(())
        })?;
        released.ok_or_else(|| HoldsError::Unknown(id.to_owned()))
    }

    /// Notes what is on record now. What was released and is on record is forgotten here.
    pub(super) fn recorded(&self, ids: &HashSet<String>) -> Result<(), HoldsError> {
        self.change(|holds| {
            self.put_back(holds)?;
            for hold in holds.iter_mut() {
                let acts = std::iter::once(&mut hold.added).chain(&mut hold.released);
                for (act, name) in acts.zip(["added", "released"]) {
                    act.recorded |= ids.contains(&record_name(&hold.id, name));
                }
            }
            holds.retain(|hold| !hold.released.as_ref().is_some_and(|act| act.recorded));
            let Some(copy) = &self.copy else { return Ok(()) };
            // A release that is not on record yet is not in the copy either.
            let on_record = holds.iter().filter(|hold| hold.added.recorded);
            let on_record: Vec<_> =
                on_record.map(|hold| Hold { released: None, ..hold.clone() }).collect();
            write_json(copy, &on_record)
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Hold>) -> Result<(), HoldsError>,
    ) -> Result<(), HoldsError> {
        // Let go of when it is dropped.
        let _lock = self.lock()?;
        let mut holds = self.read()?;
        change(&mut holds)?;
        let path = self.data.join(FILE);
        write_json(&path, &holds)?;
        give_to_owner(&self.data, &path).map_err(|source| HoldsError::Io {
            doing: "give to the server",
            path,
            source,
        })
    }

    fn lock(&self) -> Result<File, HoldsError> {
        let path = self.data.join(LOCK);
        let lock = || {
            let lock = File::options().create(true).truncate(false).write(true).open(&path)?;
            // Root may run the command, and the server must be able to lock it too.
            give_to_owner(&self.data, &path)?;
            lock.lock().map(|()| lock)
        };
        lock().map_err(|source| HoldsError::Io { doing: "lock", path: path.clone(), source })
    }
}

/// What is in a file; nothing without one.
pub(super) fn read_json<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, HoldsError> {
    match std::fs::read(&path) {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some).map_err(|source| HoldsError::Damaged { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HoldsError::Io { doing: "read", path, source }),
    }
}

/// Writes it in one durable step.
pub(super) fn write_json<T: Serialize>(path: &Path, content: &T) -> Result<(), HoldsError> {
    let bytes = serde_json::to_vec_pretty(content);
    let bytes = bytes.map_err(|source| HoldsError::Damaged { path: path.to_owned(), source })?;
    Ok(write_file(path, &bytes)?)
}

/// How an act on a hold is named among those that are on record.
pub(super) fn record_name(id: &str, act: &str) -> String {
    format!("{id} {act}")
}

/// Entries that retention must leave alone now.
#[derive(Debug, Default)]
pub(super) struct Held {
    tenants: HashSet<String>,
    sequences: HashSet<u64>,
}

impl Held {
    /// What those holds hold. The story of a trace is all that is joined with it now, as `store` tells
    /// it; a story that is too long to be told whole holds everything of its tenant.
    pub(super) fn find(holds: &[Hold], store: &dyn AuditStore) -> Result<Self, StoreError> {
        let mut held = Self::default();
        for hold in holds.iter().filter(|hold| hold.released.is_none()) {
            let Some(trace) = &hold.trace else {
                held.tenants.insert(hold.tenant.name().to_owned());
                continue;
            };
            let mut request = TraceRequest {
                order: Order::Ledger,
                limit: MAX_PAGE,
                budget: BUDGET,
                ..TraceRequest::new(hold.tenant.clone(), trace)
            };
            loop {
                let told = store.trace(&request)?;
                held.sequences.extend(told.entries.iter().map(|hit| hit.sequence));
                if told.truncated {
                    held.tenants.insert(hold.tenant.name().to_owned());
                }
                match told.next_cursor {
                    Some(next) => request.cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(held)
    }

    /// Whether that entry is held.
    pub(super) fn has(&self, entry: &EntryRef<'_>) -> bool {
        self.sequences.contains(&entry.sequence) || self.tenants.contains(entry.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_stays_until_it_is_released_and_both_are_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let holds = Holds::of(dir.path());
        assert_eq!(holds.read().unwrap(), []);
        let tenant = Tenant::new("acme").unwrap();
        let add = |trace: Option<&str>| {
            let trace = trace.map(str::to_owned);
            holds.add(tenant.clone(), trace, "os:anna".into(), "case 7".into()).unwrap()
        };
        let (all, one) = (add(None), add(Some("run-1")));
        assert_eq!(holds.read().unwrap(), [all.clone(), one.clone()]);
        holds.recorded(&HashSet::from([record_name(&all.id, "added")])).unwrap();
        assert!(holds.read().unwrap()[0].added.recorded);
        let released = holds.release(&all.id, "os:ben".into(), "closed".into()).unwrap();
        assert_eq!(released.released.unwrap().actor, "os:ben");
        assert!(matches!(
            holds.release(&all.id, "os:ben".into(), String::new()),
            Err(HoldsError::Unknown(_))
        ));
        assert_eq!(holds.read().unwrap().len(), 2, "its release is not on record");
        holds.recorded(&HashSet::from([record_name(&all.id, "released")])).unwrap();
        assert_eq!(holds.read().unwrap(), [one]);
    }

    #[test]
    fn a_damaged_file_of_holds_is_an_error_and_never_no_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "[{").unwrap();
        let error = Holds::of(dir.path()).read().unwrap_err();
        assert!(error.to_string().contains("nothing is pruned"), "{error}");
    }

    #[test]
    fn who_prunes_keeps_others_from_holding_more_and_learns_of_what_was_held_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let holds = Holds::of(dir.path());
        let add = || {
            let tenant = Tenant::new("acme").unwrap();
            holds.add(tenant, None, "os:anna".into(), "case 7".into()).unwrap();
        };
        let before = holds.read().unwrap();
        add();
        assert!(holds.lock_if(&before).unwrap().is_none());
        let now = holds.read().unwrap();
        let held = holds.lock_if(&now).unwrap().unwrap();
        let other = File::options().write(true).open(dir.path().join(LOCK)).unwrap();
        assert!(other.try_lock().is_err(), "a command waits");
        drop(held);
        other.try_lock().unwrap();
    }

    #[test]
    fn a_hold_that_is_lost_from_the_file_without_a_release_on_record_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let holds = Holds::of(dir.path()).with_copy(dir.path().join("copy.json"));
        let tenant = Tenant::new("acme").unwrap();
        let hold = holds.add(tenant, None, "os:anna".into(), "case 7".into()).unwrap();
        let recorded = |act| holds.recorded(&HashSet::from([record_name(&hold.id, act)])).unwrap();
        recorded("added");
        let known = holds.read().unwrap();
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("acme", "nobody")).unwrap();
        assert_eq!(holds.whole().unwrap(), known);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(holds.whole().unwrap(), known);
        assert_eq!(holds.read().unwrap(), known, "also for the commands");
        holds.release(&hold.id, "os:ben".into(), "closed".into()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(holds.whole().unwrap(), known, "a release that is not on record is none");
        holds.release(&hold.id, "os:ben".into(), "closed".into()).unwrap();
        assert_eq!(holds.whole().unwrap().len(), 1);
        recorded("released");
        assert_eq!(holds.whole().unwrap(), []);
    }
}
