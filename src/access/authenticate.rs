//! From what a request shows to who it is and what it may do.

use super::last_used::{LastUsed, read_last_used};
use super::{
    Book, BookError, CertificateName, Credential, Forward, PeerCertificate, Presented, Proof,
    Right, Role, Tenant, TokenHash,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What a request that was refused for its rate is told to wait.
const RATE_RETRY: Duration = Duration::from_secs(1);

/// Why a request is refused. The words are for whoever sent it: they say nothing of others, and
/// nothing of a credential that the sender has not proved to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It shows nothing.
    #[error(
        "a credential is needed: send `Authorization: Bearer slk_…`, or Basic with the key as the password"
    )]
    Missing,
    /// It shows nothing that is known here.
    #[error(
        "unknown credential: keys of this server begin with slk_ and are made with `spanledger keys create`"
    )]
    Unknown,
    /// Its credential was accepted once.
    #[error("this credential is expired: ask your operator for a new one")]
    Expired,
    /// Its credential was accepted once.
    #[error("this credential is revoked: ask your operator for a new one")]
    Revoked,
    /// Its credential is for something else.
    #[error("this credential may not {}: it has the role {}", .right.as_str(), .role.as_str())]
    Forbidden {
        /// What would be needed.
        right: Right,
        /// What it is.
        role: Role,
    },
    /// It sends more than its credential allows.
    #[error("this credential sends more than its limit allows: send again later")]
    TooFast,
}

impl Denied {
    /// The words of [`Denied::as_str`], for metrics.
    pub const WORDS: [&'static str; 6] =
        ["missing", "unknown", "expired", "revoked", "forbidden", "too_fast"];

    /// HTTP status. Source: RFC 9110, sections 15.5.2 and 15.5.4; RFC 6585, section 4.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Missing | Self::Unknown | Self::Expired | Self::Revoked => 401,
            Self::Forbidden { .. } => 403,
            Self::TooFast => 429,
        }
    }

    /// The word for it in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Forbidden { .. } => "forbidden",
            Self::TooFast => "too_fast",
        }
    }

    /// What the sender is told to wait, when waiting helps.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TooFast => Some(RATE_RETRY),
            _ => None,
        }
    }
}

/// Who sent a request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Known>>);

/// A credential as requests meet it.
#[derive(Debug)]
struct Known {
    credential: Credential,
    hash: Option<TokenHash>,
    requests: Option<DefaultDirectRateLimiter>,
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
        let limiter = self.0.as_ref().and_then(|known| known.requests.as_ref());
        limiter.map_or(Ok(()), |limiter| limiter.check().map_err(|_| Denied::TooFast))
    }

    /// Counts bytes that were received against its limit. What is larger than the limit of a
    /// second gets through when there is any of it left, and is paid for by waiting longer.
    ///
    /// # Errors
    /// [`Denied::TooFast`].
    pub fn admit_bytes(&self, bytes: usize) -> Result<(), Denied> {
        let Some(allowance) = self.0.as_ref().and_then(|known| known.bytes.as_ref()) else {
            return Ok(());
        };
        let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.take(bytes, Instant::now()) { Ok(()) } else { Err(Denied::TooFast) }
    }
}

/// Bytes that may come: those of a second at most, and fewer than none after a large request.
#[derive(Debug)]
struct Allowance {
    each_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(each_second: u64, now: Instant) -> Self {
        // Exact up to 2^53 bytes in a second.
        #[allow(clippy::cast_precision_loss)]
        let each_second = each_second as f64;
        Self { each_second, left: each_second, at: now }
    }

    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.each_second).min(self.each_second);
        self.at = now;
        if self.left <= 0.0 {
            return false;
        }
        #[allow(clippy::cast_precision_loss)]
        let bytes = bytes as f64;
        self.left -= bytes;
        true
    }
}

impl Known {
    fn new(credential: Credential, last_used: i64) -> Self {
        let limiter =
            |each: u32| NonZeroU32::new(each).map(Quota::per_second).map(RateLimiter::direct);
        let hash = match &credential.proof {
            Proof::KeySha256(hex) => TokenHash::from_hex(hex),
            Proof::Certificate(_) => None,
        };
        Self {
            hash,
            requests: credential.limits.requests_per_second.and_then(limiter),
            bytes: credential
                .limits
                .bytes_per_second
                .map(|each| Mutex::new(Allowance::new(each, Instant::now()))),
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
