//! From what a request shows to who it is and what it may do.

use super::allowance::Allowance;
use super::last_used::{LastUsed, read_last_used};
use super::{
    Book, BookError, CertificateName, Credential, Denied, Forward, PeerCertificate, Presented,
    Proof, Right, Role, Tenant, TokenHash,
};
use jiff::Timestamp;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Who sent a request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Known>>);

/// A credential as requests meet it.
#[derive(Debug)]
struct Known {
    credential: Credential,
    hash: Option<TokenHash>,
    requests: Option<Mutex<Allowance>>,
    bytes: Option<Mutex<Allowance>>,
    /// Seconds since 1970; 0 for never.
    last_used: AtomicI64,
}

impl Principal {
    /// Whoever is on this machine, before there is any credential.
    pub const fn local() -> Self {
        Self(None)
    }

    /// Whose evidence it writes or reads.
    pub fn tenant(&self) -> Tenant {
        self.0.as_ref().map_or_else(Tenant::default, |known| known.credential.tenant.clone())
    }

    /// Its credential; `None` before there is any.
    pub fn credential(&self) -> Option<&Credential> {
        self.0.as_ref().map(|known| &known.credential)
    }

    /// What it is; `None` before there is any credential: then it may do everything.
    pub fn role(&self) -> Option<Role> {
        self.credential().map(|credential| credential.role)
    }

    /// What it may assert about tenants.
    pub fn forward(&self) -> Option<&Forward> {
        self.credential()?.forward.as_ref()
    }

    /// What entries and logs call it.
    pub fn actor(&self) -> String {
        self.credential().map_or_else(|| "local".to_owned(), |it| format!("key:{}", it.id))
    }

    /// Whether it may.
    ///
    /// # Errors
    /// [`Denied::Forbidden`].
    pub fn demand(&self, right: Right) -> Result<(), Denied> {
        match self.role() {
            Some(role) if !role.may(right) => Err(Denied::Forbidden { right, role }),
            _ => Ok(()),
        }
    }

    /// Counts a request against its limit.
    ///
    /// # Errors
    /// [`Denied::TooFast`].
    pub fn admit_request(&self) -> Result<(), Denied> {
        take(self.0.as_ref().and_then(|known| known.requests.as_ref()), 1)
    }

    /// Counts bytes that were received against its limit. What is larger than the limit of a
    /// second gets through when there is any of it left, and is paid for by waiting longer.
    ///
    /// # Errors
    /// [`Denied::TooFast`].
    pub fn admit_bytes(&self, bytes: usize) -> Result<(), Denied> {
        take(self.0.as_ref().and_then(|known| known.bytes.as_ref()), bytes as u64)
    }
}

fn take(allowance: Option<&Mutex<Allowance>>, count: u64) -> Result<(), Denied> {
    let Some(allowance) = allowance else { return Ok(()) };
    let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
    if allowance.take(count, Instant::now()) { Ok(()) } else { Err(Denied::TooFast) }
}

impl Known {
    fn new(credential: Credential, last_used: i64) -> Self {
        let allowance = |each: u64| Mutex::new(Allowance::new(each, Instant::now()));
        let hash = match &credential.proof {
            Proof::KeySha256(hex) => TokenHash::from_hex(hex),
            Proof::Certificate(_) => None,
        };
        Self {
            hash,
            requests: credential.limits.requests_per_second.map(u64::from).map(allowance),
            bytes: credential.limits.bytes_per_second.map(allowance),
            last_used: AtomicI64::new(last_used),
            credential,
        }
    }

    fn last_used(&self) -> Option<Timestamp> {
        let seconds = self.last_used.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_second(seconds).ok()).flatten()
    }

    fn accept(self: &Arc<Self>) -> Result<Principal, Denied> {
        let now = Timestamp::now();
        if self.credential.revoked.is_some() {
            return Err(Denied::Revoked);
        }
        if !self.credential.is_active(now) {
            return Err(Denied::Expired);
        }
        self.last_used.store(now.as_second(), Ordering::Relaxed);
        Ok(Principal(Some(Arc::clone(self))))
    }
}

/// The credentials in effect. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    effect: RwLock<Arc<Effect>>,
}

/// What is accepted just now.
#[derive(Debug, Default)]
struct Effect {
    /// Absent: there were never any, and everybody is local.
    book: Option<Book>,
    keys: HashMap<String, Arc<Known>>,
    certificates: HashMap<CertificateName, Arc<Known>>,
}

impl Effect {
    fn new(book: Option<Book>, before: &Self) -> Self {
        let mut effect = Self::default();
        for credential in book.iter().flat_map(|book| &book.credentials) {
            let old = before.keys.get(&credential.id);
            let known = match old {
                // With what was counted against its limits.
                Some(old) if old.credential == *credential => Arc::clone(old),
                old => {
                    let used = old.map_or(0, |old| old.last_used.load(Ordering::Relaxed));
                    Arc::new(Known::new(credential.clone(), used))
                }
            };
            if let Proof::Certificate(name) = &credential.proof {
                // A later one of the same name takes the place of a revoked one.
                effect.certificates.insert(name.clone(), Arc::clone(&known));
            }
            effect.keys.insert(credential.id.clone(), known);
        }
        effect.book = book;
        effect
    }
}

impl Credentials {
    /// The credentials that are kept in `dir`: those that are on record are in effect. What was
    /// changed since takes effect with [`Credentials::put_in_effect`].
    ///
    /// # Errors
    /// [`BookError`] when a file is there and cannot be used.
    pub fn open(dir: &Path) -> Result<Self, BookError> {
        let recorded = Book::read_whole(dir)?.map(|_| Book::read_recorded(dir)).transpose()?;
        let effect = Effect::new(recorded, &Effect::default());
        for (id, at) in read_last_used(dir) {
            if let Some(known) = effect.keys.get(&id) {
                known.last_used.store(at.as_second(), Ordering::Relaxed);
            }
        }
        let effect = RwLock::new(Arc::new(effect));
        Ok(Self(Arc::new(Shared { dir: dir.to_owned(), effect })))
    }

    /// Where they are kept.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Whether there were never any, so that everybody on this machine may do everything.
    pub fn is_open(&self) -> bool {
        self.effect().book.is_none()
    }

    /// Who a request is from. A key that is shown counts before a certificate.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn authenticate(
        &self,
        presented: Result<Presented, Denied>,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Principal, Denied> {
        let effect = self.effect();
        if effect.book.is_none() {
            return Ok(Principal::local());
        }
        match presented? {
            Presented::Key(token) => {
                let known = effect.keys.get(token.id()).ok_or(Denied::Unknown)?;
                if known.hash != Some(token.hash()) {
                    return Err(Denied::Unknown);
                }
                known.accept()
            }
            Presented::Nothing => {
                let names = certificate.ok_or(Denied::Missing)?.names.iter();
                let mut found = names.filter_map(|name| effect.certificates.get(name));
                let first = found.next().ok_or(Denied::Unknown)?;
                // Two credentials for one certificate: whose evidence it is would be a guess.
                if found.any(|other| !Arc::ptr_eq(first, other)) {
                    return Err(Denied::Unknown);
                }
                first.accept()
            }
        }
    }

    /// Whether who was let in still may: for what took time since.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn still_may(&self, principal: &Principal, right: Right) -> Result<(), Denied> {
        let Some(credential) = principal.credential() else {
            return if self.is_open() { Ok(()) } else { Err(Denied::Missing) };
        };
        let effect = self.effect();
        let known = effect.keys.get(&credential.id).ok_or(Denied::Unknown)?;
        known.accept()?.demand(right)
    }

    /// The credentials in effect, with when each was last used; `None` before there is any.
    pub fn list(&self) -> Option<Vec<(Credential, Option<Timestamp>)>> {
        let effect = self.effect();
        let book = effect.book.as_ref()?;
        let used = |credential: &Credential| effect.keys.get(&credential.id)?.last_used();
        Some(book.credentials.iter().map(|it| (it.clone(), used(it))).collect())
    }

    /// When each credential was last used that ever was.
    pub fn last_used(&self) -> LastUsed {
        let effect = self.effect();
        let used = effect.keys.iter().filter_map(|(id, it)| Some((id.clone(), it.last_used()?)));
        used.collect()
    }

    /// The book in effect; `None` before there is any.
    pub fn book(&self) -> Option<Book> {
        self.effect().book.clone()
    }

    /// Accepts what the book says from now on.
    pub fn put_in_effect(&self, book: Book) {
        let mut effect = self.0.effect.write().unwrap_or_else(PoisonError::into_inner);
        *effect = Arc::new(Effect::new(Some(book), &effect));
    }

    /// Refuses at once what the book refuses; everything else in it waits for
    /// [`Credentials::put_in_effect`]. A revocation must not wait for a full disk.
    pub fn refuse_at_once(&self, book: &Book) {
        let Some(mut now) = self.book() else { return };
        let by_id: HashMap<&str, &Credential> =
            book.credentials.iter().map(|it| (it.id.as_str(), it)).collect();
        let mut is_stricter = false;
        for credential in &mut now.credentials {
            let Some(new) = by_id.get(credential.id.as_str()) else { continue };
            if credential.revoked.is_none() && new.revoked.is_some() {
                credential.revoked.clone_from(&new.revoked);
                is_stricter = true;
            }
            let earlier = match (new.expires, credential.expires) {
                (Some(new), Some(old)) => new < old,
                (new, _) => new.is_some(),
            };
            if earlier {
                credential.expires = new.expires;
                is_stricter = true;
            }
        }
        if is_stricter {
            self.put_in_effect(now);
        }
    }

    fn effect(&self) -> Arc<Effect> {
        Arc::clone(&self.0.effect.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
