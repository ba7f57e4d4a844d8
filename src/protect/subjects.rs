//! Subjects' keys: one for each person whose payloads are sealed, so that destroying it erases them.
//!
//! ```text
//! request: key_for ─► in memory? on disk? else a new one ─► seal ─► make_durable ─► ledger ─► reply
//! erasure: order (durable) ─► entry in the ledger ─► destroy: note, overwrite, unlink ─► order gone
//! ```
//!
//! A request never waits for the disk to get a new key: the key is drawn in memory, shared with
//! whoever needs it at the same time, and written before the first entry sealed with it can be
//! acknowledged. From the moment an erasure is ordered, its subject's next payload gets another key.

use super::erasure_order::{Destroyed, ErasureOrder, OrderedBy};
use super::seal::{self, SealedBytesError, SealedFor, Taken};
use super::subject_files::{SubjectFiles, SubjectKeyError};
use super::subject_key::{KeyId, Pseudonym, SubjectKey};
use crate::access::Tenant;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most keys that are kept in memory, about 10 MiB: a day's users of a large installation. Beyond
/// it half of them are forgotten and read again when they are needed.
pub const MAX_CACHED_SUBJECT_KEYS: usize = 65_536;

/// Keys that must be durable before what was sealed with them is acknowledged.
#[derive(Debug, Default)]
pub struct FreshKeys(Vec<Fresh>);

#[derive(Debug)]
struct Fresh {
    subject: Pseudonym,
    tenant: [u8; 16],
    key: Arc<SubjectKey>,
}

impl FreshKeys {
    /// Whether there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is known of a key of a subject.
#[derive(Debug)]
pub enum FoundKey {
    /// It is there.
    Here(SubjectKey),
    /// It was destroyed.
    Erased(Destroyed),
    /// It is gone, and nobody ordered that.
    Missing,
}

/// Why sealed payloads cannot be opened. Nothing of a payload is in the text.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Somebody had them erased.
    #[error("the payloads were erased: {by} had their key {key} destroyed")]
    Erased {
        /// The key.
        key: KeyId,
        /// When, nanoseconds since 1970.
        at_ns: u64,
        /// Who ordered it.
        by: String,
    },
    /// Their key is gone, and nobody ordered that.
    #[error(
        "the key {key} of the payloads is not in the folder of keys, and no erasure is noted there: restore the folder \
         from where you keep keys"
    )]
    Missing {
        /// The key.
        key: KeyId,
    },
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] SubjectKeyError),
    /// The bytes are not what was sealed.
    #[error(transparent)]
    Bytes(#[from] SealedBytesError),
    /// The bytes are not there, and retention did not take them.
    #[error(
        "the sealed payloads of the entry are not there, and no retention took them: they were taken out by hand; \
         spanledger verify names the place"
    )]
    TakenOut,
    /// The bytes open, and are not what the entry commits to.
    #[error(
        "the text sealed for {place} is not the one that the entry commits to: it was exchanged"
    )]
    NotCommitted {
        /// Where it stood.
        place: String,
    },
    /// The entry's body was pruned, and with it what was sealed.
    #[error("the payloads were kept as long as their retention class says, and are gone")]
    Pruned,
}

/// What is in memory of a subject's key.
#[derive(Debug)]
enum Slot {
    /// As on disk.
    Durable(Arc<SubjectKey>),
    /// Not on disk yet.
    Fresh(Arc<SubjectKey>),
    /// What is on disk is about to be destroyed.
    Gone,
}

/// What the store did since the start, for metrics.
#[derive(Debug, Default)]
pub struct SubjectKeyCounts {
    /// Keys that were made.
    pub created: AtomicU64,
    /// Keys that were destroyed.
    pub destroyed: AtomicU64,
}

/// The keys of all subjects. See the module.
#[derive(Debug)]
pub struct SubjectKeys {
    files: Option<SubjectFiles>,
    slots: Mutex<HashMap<Pseudonym, Slot>>,
    /// The lock of the folder, once it is taken; and whoever writes there holds this.
    disk: Mutex<Option<File>>,
    counts: SubjectKeyCounts,
}

impl SubjectKeys {
    /// The store within a folder of keys; without one nothing can be sealed.
    pub(super) fn within(keys: Option<&Path>) -> Self {
        Self {
            files: keys.map(SubjectFiles::within),
            slots: Mutex::default(),
            disk: Mutex::default(),
            counts: SubjectKeyCounts::default(),
        }
    }

    /// What it did since the start.
    pub fn counts(&self) -> &SubjectKeyCounts {
        &self.counts
    }

    /// Keys that are in memory.
    pub fn cached(&self) -> usize {
        self.slots().len()
    }

    fn files(&self) -> Result<&SubjectFiles, SubjectKeyError> {
        self.files.as_ref().ok_or(SubjectKeyError::NoFolder)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Pseudonym, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this process the one that makes and destroys the keys of the folder.
    ///
    /// # Errors
    /// [`SubjectKeyError`], [`SubjectKeyError::Taken`] when another one does.
    pub fn claim(&self) -> Result<(), SubjectKeyError> {
        self.disk().map(drop)
    }

    fn disk(&self) -> Result<MutexGuard<'_, Option<File>>, SubjectKeyError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.is_none() {
            let files = self.files()?;
            let lock = files.claim()?;
            // What an earlier process was ordered to destroy seals nothing any more.
            let orders = files.orders()?;
            let mut slots = self.slots();
            for order in orders {
                if !matches!(slots.get(&order.subject), Some(Slot::Fresh(_))) {
                    slots.insert(order.subject, Slot::Gone);
                }
            }
            drop(slots);
            *disk = Some(lock);
        }
        Ok(disk)
    }

    /// The key to seal a subject's payloads with, and whether it is durable. A new one is noted in
    /// `fresh`.
    pub(super) fn key_for(
        &self,
        subject: &Pseudonym,
        tenant: &[u8; 16],
        fresh: &mut FreshKeys,
    ) -> Result<Arc<SubjectKey>, SubjectKeyError> {
        let files = self.files()?;
        let mut slots = self.slots();
        let key = match slots.get(subject) {
            Some(Slot::Durable(key)) => return Ok(Arc::clone(key)),
            Some(Slot::Fresh(key)) => Arc::clone(key),
            known => {
                let on_disk = if known.is_some() { None } else { files.read(subject)? };
                make_room(&mut slots);
                if let Some(key) = on_disk.map(Arc::new) {
                    slots.insert(*subject, Slot::Durable(Arc::clone(&key)));
                    return Ok(key);
                }
                let key = Arc::new(SubjectKey::draw()?);
                slots.insert(*subject, Slot::Fresh(Arc::clone(&key)));
                key
            }
        };
        drop(slots);
        if !fresh.0.iter().any(|it| it.key.id() == key.id()) {
            fresh.0.push(Fresh { subject: *subject, tenant: *tenant, key: Arc::clone(&key) });
        }
        Ok(key)
    }

    /// Makes keys durable. Blocks. A key whose erasure was ordered meanwhile is not written: what
    /// was sealed with it is erased, too.
    ///
    /// # Errors
    /// [`SubjectKeyError`]; what was sealed with these keys must not be acknowledged then.
    pub fn make_durable(&self, fresh: &FreshKeys) -> Result<(), SubjectKeyError> {
        let _disk = self.disk()?;
        for Fresh { subject, tenant, key } in &fresh.0 {
            let wanted = |slots: &HashMap<Pseudonym, Slot>| matches!(slots.get(subject), Some(Slot::Fresh(known)) if known.id() == key.id());
            if !wanted(&self.slots()) {
                continue;
            }
            self.files()?.write(subject, tenant, key)?;
            self.counts.created.fetch_add(1, Ordering::Relaxed);
            let mut slots = self.slots();
            if wanted(&slots) {
                slots.insert(*subject, Slot::Durable(Arc::clone(key)));
            }
        }
        Ok(())
    }

    /// What is known of a key. Reads the disk, so what was destroyed is gone at once.
    ///
    /// # Errors
    /// [`SubjectKeyError`].
    pub fn find(&self, subject: &Pseudonym, key: KeyId) -> Result<FoundKey, SubjectKeyError> {
        let files = self.files()?;
        // In this order: what destroys a key notes it before the key goes, and what removes an order
        // noted its keys before.
        let found = files.read(subject);
        let orders = files.orders()?;
        let ordered = orders.iter().filter(|order| order.subject == *subject);
        let mut gone = ordered.flat_map(ErasureOrder::destroyed).chain(files.destroyed(subject)?);
        if let Some(destroyed) = gone.find(|destroyed| destroyed.key == key) {
            return Ok(FoundKey::Erased(destroyed));
        }
        // Only now: a key that is half overwritten is no damage.
        match found? {
            Some(found) if found.id() == key => Ok(FoundKey::Here(found)),
            _ => Ok(FoundKey::Missing),
        }
    }

    /// The texts in the sealed bytes of the entry with that id, of the tenant with that pseudonym.
    /// Reads the disk: for a thread that may block.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(
        &self,
        sealed: &[u8],
        id: &[u8; 16],
        tenant: &[u8; 16],
    ) -> Result<Vec<Taken>, SealError> {
        let SealedFor { subject, key } = seal::sealed_for(sealed)?;
        match self.find(&subject, key)? {
            FoundKey::Here(key) => Ok(seal::open(sealed, &key, id, tenant)?),
            FoundKey::Erased(Destroyed { key, at_ns, by }) => {
                Err(SealError::Erased { key, at_ns, by })
            }
            FoundKey::Missing => Err(SealError::Missing { key }),
        }
    }

    /// Orders that a subject's keys are destroyed: durable when it returns, and from now on nothing
    /// new is sealed with them. Blocks.
    ///
    /// # Errors
    /// [`SubjectKeyError`]; then nothing is ordered.
    pub fn order(
        &self,
        tenant: &Tenant,
        subject: Pseudonym,
        whole: bool,
        at_ns: u64,
        by: OrderedBy,
        reason: String,
    ) -> Result<ErasureOrder, SubjectKeyError> {
        let _disk = self.disk()?;
        let files = self.files()?;
        // IMPORTANT: held until the order is durable. A key that somebody got in between would
        // neither be in the order nor come to the disk.
        let mut slots = self.slots();
        let in_memory = match slots.get(&subject) {
            Some(Slot::Fresh(key) | Slot::Durable(key)) => Some(key.id()),
            Some(Slot::Gone) | None => None,
        };
        // A damaged key opens nothing; its erasure is what its error advises.
        let on_disk = match files.read(&subject) {
            Err(SubjectKeyError::Damaged { .. }) => None,
            read => read?.map(|key| key.id()),
        };
        let mut keys: Vec<_> = on_disk.into_iter().chain(in_memory).collect();
        keys.dedup();
        let order =
            ErasureOrder { tenant: tenant.clone(), subject, whole, keys, at_ns, by, reason };
        files.write_order(&order)?;
        slots.insert(subject, Slot::Gone);
        Ok(order)
    }

    /// Orders that are not carried out to their end. Blocks.
    ///
    /// # Errors
    /// [`SubjectKeyError`].
    pub fn orders(&self) -> Result<Vec<ErasureOrder>, SubjectKeyError> {
        match &self.files {
            Some(files) => files.orders(),
            None => Ok(Vec::new()),
        }
    }

    /// Carries an order out. What is done already is done again without harm. Blocks.
    ///
    /// # Errors
    /// [`SubjectKeyError`]; the order stands, and is to be carried out again.
    pub fn destroy(&self, order: &ErasureOrder) -> Result<(), SubjectKeyError> {
        let _disk = self.disk()?;
        let files = self.files()?;
        // Noted first: between the two the key is there, and is not given to anybody any more.
        files.note_destroyed(&order.subject, order.destroyed().collect())?;
        files.destroy(&order.subject, &order.keys)?;
        files.remove_order(order)?;
        self.counts.destroyed.fetch_add(order.keys.len() as u64, Ordering::Relaxed);
        let mut slots = self.slots();
        if matches!(slots.get(&order.subject), Some(Slot::Gone)) {
            slots.remove(&order.subject);
        }
        Ok(())
    }
}

/// Forgets every second key that is on disk when there are too many.
fn make_room(slots: &mut HashMap<Pseudonym, Slot>) {
    if slots.len() < MAX_CACHED_SUBJECT_KEYS {
        return;
    }
    let mut keep = false;
    slots.retain(|_, slot| {
        keep ^= matches!(slot, Slot::Durable(_));
        keep || !matches!(slot, Slot::Durable(_))
    });
}

#[cfg(test)]
#[path = "subjects_tests.rs"]
mod tests;
