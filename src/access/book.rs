//! All credentials, in one file.
//!
//! ```text
//! DATA/access/                 0700
//! ├── credentials.json         0600, hashes and names, no secret
//! ├── recorded.json            0600, the credentials as the ledger has them on record
//! ├── last-used.json           0600, when each was last used: a hint
//! ├── reserve                  room for a change on a full disk
//! └── lock                     held while the file is changed
//! ```
//!
//! Commands and the API change the file in the same way; a running server reads it when it
//! changed. Each change is put on record in the ledger before it takes effect.

use super::credential::{MAX_FORWARDED, MAX_NAME_CHARS};
use super::files::{create_private_dir, io_error, keep_reserve, open_lock, write_private};
use super::{
    Act, CertificateName, Credential, Forward, Proof, RateLimits, Role, Tenant, TenantFrom, Token,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file of credentials.
pub(super) const BOOK_FILE: &str = "credentials.json";
/// Name of the file of what is on record.
pub(super) const RECORDED_FILE: &str = "recorded.json";

/// Version of the file.
const VERSION: u32 = 1;

/// Most credentials. Each request looks one up in memory, and a listing shows them all.
pub(super) const MAX_CREDENTIALS: usize = 100_000;

/// Why credentials cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Reading or writing failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("{} is not a file of credentials: {why}; restore it from a copy", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others than the owner may read or change the file.
    #[error("{} can be used by others than its owner (mode {mode:03o}); run: chmod 600 '{}'", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It would be the first one, and nobody said that this is meant.
    #[error(
        "this would be the first credential: from it on every request needs one, and agents that \
         send without one are refused"
    )]
    First,
    /// There were credentials, and all of them are gone.
    #[error(
        "credentials were made for this data and {} is gone; restore it from a copy. To let everybody in again, remove {}",
        folder.display(), marker.display()
    )]
    Lost {
        /// Folder of the credentials.
        folder: PathBuf,
        /// The file that says that there were some.
        marker: PathBuf,
    },
    /// What was asked for is not possible.
    #[error("{0}")]
    Invalid(String),
    /// There is no such credential.
    #[error("there is no credential {0}; `spanledger keys list` shows those that there are")]
    Unknown(String),
    /// The system gives no randomness.
    #[error("the system gives no random numbers, so no key can be made")]
    Randomness,
}

/// All credentials, in the order in which they were made. None is ever removed: what was done
/// under it is evidence, and so is who it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    version: u32,
    /// The credentials.
    pub credentials: Vec<Credential>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, credentials: Vec::new() }
    }
}

/// What a credential is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whose evidence; absent for a global role.
    pub tenant: Option<Tenant>,
    /// What a forwarder may assert.
    pub forward: Option<Forward>,
    /// The name in a client certificate; absent for a key.
    pub certificate: Option<CertificateName>,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// How much it may send.
    pub limits: RateLimits,
}

impl NewCredential {
    /// A key of a role, of a tenant unless the role is the installation's; for ever and without
    /// limits.
    ///
    /// ```
    /// use spanledger::access::{NewCredential, Role, Tenant};
    /// let new = NewCredential::new("ci", Role::Writer, Some(Tenant::new("acme")?));
    /// assert!(new.expires.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(name: impl Into<String>, role: Role, tenant: Option<Tenant>) -> Self {
        Self {
            name: name.into(),
            role,
            tenant,
            forward: None,
            certificate: None,
            expires: None,
            limits: RateLimits::default(),
        }
    }
}

/// One difference between two books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'b> {
    /// A credential is there that was not.
    Created(&'b Credential),
    /// A credential was revoked.
    Revoked(&'b Credential, &'b Act),
    /// A credential has another expiry.
    Expiry(&'b Credential),
    /// A credential is different in some other way: nothing of ours does that, somebody edited
    /// the file.
    Edited(&'b Credential),
    /// A credential is gone: nothing of ours does that, somebody edited the file.
    Removed(&'b Credential),
}

impl Book {
    /// The credentials in `dir`; `None` when there were never any.
    ///
    /// # Errors
    /// [`BookError`] when the file is there and cannot be used. Then nobody gets in: to go on
    /// without credentials would open the door.
    pub fn read(dir: &Path) -> Result<Option<Self>, BookError> {
        Self::read_file(&dir.join(BOOK_FILE))
    }

    /// The credentials in `dir`; `None` when there were never any.
    ///
    /// # Errors
    /// As for [`Book::read`], and when there is no file though there are credentials on record: one
    /// that was lost, or taken away, must not open the door.
    pub fn read_whole(dir: &Path) -> Result<Option<Self>, BookError> {
        let book = Self::read(dir)?;
        if book.is_none() && !Self::read_recorded(dir)?.credentials.is_empty() {
            return Err(BookError::Unreadable {
                path: dir.join(BOOK_FILE),
                why: "it is missing, and there are credentials on record".to_owned(),
            });
        }
        Ok(book)
    }

    /// The file of the credentials in `dir`.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(BOOK_FILE)
    }

    /// What is on record in `dir`.
    ///
    /// # Errors
    /// As for [`Book::read`].
    pub fn read_recorded(dir: &Path) -> Result<Self, BookError> {
        Self::read_file(&dir.join(RECORDED_FILE)).map(Option::unwrap_or_default)
    }

    fn read_file(path: &Path) -> Result<Option<Self>, BookError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("open", path, source)),
        };
        let metadata = file.metadata().map_err(|source| io_error("read", path, source))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(BookError::TooOpen { path: path.to_owned(), mode });
        }
        let text = io::read_to_string(file).map_err(|source| io_error("read", path, source))?;
        let unreadable = |why: &dyn ToString| BookError::Unreadable {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let book: Self = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        if book.version != VERSION {
            let why = format!("its version is {}, this program knows {VERSION}", book.version);
            return Err(unreadable(&why));
        }
        Ok(Some(book))
    }

    /// Changes the credentials in `dir` under its lock, durably.
    ///
    /// # Errors
    /// [`BookError`], what `change` says included; then nothing is changed.
    pub fn change<T>(
        dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, BookError>,
    ) -> Result<T, BookError> {
        create_private_dir(dir)?;
        let _lock = open_lock(dir)?;
        let mut book = Self::read_whole(dir)?.unwrap_or_default();
        let answer = change(&mut book)?;
        keep_reserve(dir);
        book.write(dir, BOOK_FILE)?;
        Ok(answer)
    }

    /// Keeps in `dir` that this is what the ledger has on record.
    ///
    /// # Errors
    /// [`BookError::Io`].
    pub fn write_recorded(&self, dir: &Path) -> Result<(), BookError> {
        create_private_dir(dir)?;
        self.write(dir, RECORDED_FILE)
    }

    fn write(&self, dir: &Path, name: &str) -> Result<(), BookError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| io_error("write", &dir.join(name), io::Error::other(error)))?;
        text.push(b'\n');
        write_private(dir, name, &text)
    }

    /// Refuses to make a first credential of that role unless whoever makes it `knows` what it
    /// does: it shuts the door for everybody else. The operator's is a good one to begin with. To
    /// be asked within [`Book::change`], because two could be the first at once.
    ///
    /// # Errors
    /// [`BookError::First`].
    pub fn check_first(&self, role: Role, knows: bool) -> Result<(), BookError> {
        let is_fine = knows || role == Role::Operator || !self.credentials.is_empty();
        if is_fine { Ok(()) } else { Err(BookError::First) }
    }

    /// Adds a credential made by `by`; gives it, and its token when it is a key.
    ///
    /// # Errors
    /// [`BookError::Invalid`] when it contradicts itself, [`BookError::Randomness`].
    pub fn create(
        &mut self,
        new: NewCredential,
        by: &str,
        now: Timestamp,
    ) -> Result<(Credential, Option<Token>), BookError> {
        self.check(&new, now)?;
        let token = Token::new().ok_or(BookError::Randomness)?;
        let is_key = new.certificate.is_none();
        let credential = Credential {
            id: token.id().to_owned(),
            name: new.name,
            role: new.role,
            tenant: new.tenant.unwrap_or_else(Tenant::system),
            forward: new.forward,
            proof: match new.certificate {
                Some(name) => Proof::Certificate(name),
                None => Proof::KeySha256(token.hash().to_hex()),
            },
            created: Act { at: now, by: by.to_owned() },
            expires: new.expires,
            revoked: None,
            replaces: None,
            limits: new.limits,
        };
        self.credentials.push(credential.clone());
        Ok((credential, is_key.then_some(token)))
    }

    /// Makes another key in the place of one, which goes on until `until`.
    ///
    /// # Errors
    /// [`BookError`] when there is no such key, or it is revoked, expired or a certificate.
    pub fn rotate(
        &mut self,
        id: &str,
        until: Timestamp,
        by: &str,
        now: Timestamp,
    ) -> Result<(Credential, Token), BookError> {
        let old = self.get_mut(id)?;
        if matches!(old.proof, Proof::Certificate(_)) {
            let why = "a certificate is rotated by its authority; its name stays known here";
            return Err(BookError::Invalid(why.to_owned()));
        }
        if !old.is_active(now) {
            let why = "it is revoked or expired: make a new one with `keys create`";
            return Err(BookError::Invalid(why.to_owned()));
        }
        let token = Token::new().ok_or(BookError::Randomness)?;
        let new = Credential {
            id: token.id().to_owned(),
            proof: Proof::KeySha256(token.hash().to_hex()),
            created: Act { at: now, by: by.to_owned() },
            replaces: Some(old.id.clone()),
            ..old.clone()
        };
        old.expires = Some(old.expires.map_or(until, |expires| expires.min(until)));
        self.credentials.push(new.clone());
        Ok((new, token))
    }

    /// Refuses a credential from now on.
    ///
    /// # Errors
    /// [`BookError::Unknown`]. One that is revoked already stays as it is.
    pub fn revoke(&mut self, id: &str, by: &str, now: Timestamp) -> Result<Credential, BookError> {
        let credential = self.get_mut(id)?;
        credential.revoked.get_or_insert_with(|| Act { at: now, by: by.to_owned() });
        Ok(credential.clone())
    }

    fn get_mut(&mut self, id: &str) -> Result<&mut Credential, BookError> {
        let found = self.credentials.iter_mut().find(|credential| credential.id == id);
        found.ok_or_else(|| BookError::Unknown(id.chars().take(64).collect()))
    }

    fn check(&self, new: &NewCredential, now: Timestamp) -> Result<(), BookError> {
        let invalid = |why: String| Err(BookError::Invalid(why));
        if self.credentials.len() >= MAX_CREDENTIALS {
            return invalid(format!("there are {MAX_CREDENTIALS} credentials, which is the most"));
        }
        let length = new.name.chars().count();
        if length == 0 || length > MAX_NAME_CHARS || new.name.chars().any(char::is_control) {
            return invalid(format!(
                "a credential's name has 1 to {MAX_NAME_CHARS} characters and no control characters"
            ));
        }
        match (&new.tenant, new.role.is_global()) {
            (None, false) => return invalid(format!("a {} needs a tenant", new.role)),
            (Some(_), true) => {
                return invalid(format!("a {} is for the installation: name no tenant", new.role));
            }
            (Some(tenant), false) if tenant.is_system() => {
                return invalid("this tenant's name is the installation's own".to_owned());
            }
            _ => {}
        }
        match (&new.forward, new.role == Role::Forwarder) {
            (None, true) => {
                return invalid(
                    "a forwarder needs the tenants that it may assert, and the attribute or header \
                     in which it does"
                        .to_owned(),
                );
            }
            (Some(_), false) => return invalid("only a forwarder asserts tenants".to_owned()),
            (Some(forward), true) => check_forward(forward)?,
            (None, false) => {}
        }
        if new.expires.is_some_and(|expires| expires <= now) {
            return invalid("it would be expired already".to_owned());
        }
        let is_zero =
            new.limits.requests_per_second == Some(0) || new.limits.bytes_per_second == Some(0);
        if is_zero {
            return invalid("a limit of 0 lets nothing through: revoke the key instead".to_owned());
        }
        let known = new.certificate.as_ref().is_some_and(|name| {
            let proof = Proof::Certificate(name.clone());
            self.credentials.iter().any(|other| other.proof == proof && other.is_active(now))
        });
        if known {
            return invalid(
                "another credential has this name of a certificate: revoke that one first"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Takes back that a credential is not revoked any more, or lives longer: both are for good,
    /// also when somebody puts an older file in the place of this one.
    pub fn keep_refused(&mut self, recorded: &Self) {
        let olds: HashMap<&str, &Credential> =
            recorded.credentials.iter().map(|old| (old.id.as_str(), old)).collect();
        for credential in &mut self.credentials {
            let Some(old) = olds.get(credential.id.as_str()) else { continue };
            if let Some(act) = &old.revoked {
                credential.revoked = Some(act.clone());
            }
            let expires = [credential.expires, old.expires];
            credential.expires = expires.into_iter().flatten().min();
        }
    }

    /// Refuses what somebody asks for whose own credential is refused meanwhile.
    ///
    /// # Errors
    /// [`BookError::Invalid`].
    pub fn demand_active(&self, id: Option<&str>, now: Timestamp) -> Result<(), BookError> {
        let Some(id) = id else { return Ok(()) };
        let own = self.credentials.iter().find(|credential| credential.id == id);
        if own.is_some_and(|own| own.is_active(now)) {
            return Ok(());
        }
        Err(BookError::Invalid("the credential that asks for it is revoked meanwhile".to_owned()))
    }

    /// What is different in `self` from what was `before`, in the order of the book.
    pub fn changes<'b>(&'b self, before: &'b Self) -> Vec<Change<'b>> {
        let of = |book: &'b Self| -> HashMap<&'b str, &'b Credential> {
            book.credentials.iter().map(|it| (it.id.as_str(), it)).collect()
        };
        let (olds, news) = (of(before), of(self));
        let mut changes = Vec::new();
        for new in &self.credentials {
            let Some(old) = olds.get(new.id.as_str()) else {
                changes.push(Change::Created(new));
                changes.extend(new.revoked.as_ref().map(|act| Change::Revoked(new, act)));
                continue;
            };
            match (&old.revoked, &new.revoked) {
                (None, Some(act)) => changes.push(Change::Revoked(new, act)),
                (old, new_act) if old != new_act => changes.push(Change::Edited(new)),
                _ => {}
            }
            let same =
                Credential { expires: old.expires, revoked: old.revoked.clone(), ..new.clone() };
            if same != **old {
                changes.push(Change::Edited(new));
            } else if new.expires != old.expires {
                changes.push(Change::Expiry(new));
            }
        }
        let removed = before.credentials.iter().filter(|old| !news.contains_key(old.id.as_str()));
        changes.extend(removed.map(Change::Removed));
        changes
    }
}

fn check_forward(forward: &Forward) -> Result<(), BookError> {
    let invalid = |why: String| Err(BookError::Invalid(why));
    let (TenantFrom::ResourceAttribute(name) | TenantFrom::Header(name)) = &forward.from;
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return invalid("the name of the attribute or header has 1 to 255 characters".to_owned());
    }
    if let TenantFrom::Header(name) = &forward.from
        && (http::HeaderName::try_from(name).is_err() || name.eq_ignore_ascii_case("authorization"))
    {
        return invalid(format!("{name:?} cannot be the header that names the tenant"));
    }
    if forward.tenants.is_empty() || forward.tenants.len() > MAX_FORWARDED {
        return invalid(format!("a forwarder has 1 to {MAX_FORWARDED} tenants"));
    }
    if forward.tenants.iter().any(Tenant::is_system) {
        return invalid("this tenant's name is the installation's own".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
