//! Keeps the credentials in effect true to their file, and every change of them on record.
//!
//! ```text
//! credentials.json ─► what is refused: at once
//!        │
//!        └► each change ─► an entry, durable ─► recorded.json ─► in effect
//! ```
//!
//! No credential lets anybody in before the ledger says who made it. A change that somebody made
//! by hand in the file is on record too, without an actor.

use crate::access::{
    ACCESS_FOLDER, Act, Book, BookError, Change, Credential, Credentials, MARKER, Proof, Role,
    Tenant, read_last_used, write_last_used,
};
use crate::api::Health;
use crate::intake::{Intake, IntakeError, OperatorAction, UNKNOWN_ACTOR};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How often the file is looked at. A revoked key is refused after this time at the latest.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is kept when credentials were last used.
const KEEP_LAST_USED: Duration = Duration::from_mins(1);

/// The part that `/readyz` names when credentials cannot be read or put on record.
const PART: &str = "credentials";

/// Why a change of credentials is not in effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    /// The file cannot be used.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The ledger does not take the entry.
    #[error("the change could not be put on record, so it has no effect yet")]
    Record(#[from] IntakeError),
    /// The look at the file did not come to its end.
    #[error("the file of credentials could not be looked at")]
    Broken,
}

/// The credentials of a data folder.
///
/// # Errors
/// [`BookError`] when they cannot be used, or are gone.
pub(super) fn open_credentials(data: &Path) -> Result<Credentials, BookError> {
    let credentials = Credentials::open(&data.join(ACCESS_FOLDER))?;
    let marker = data.join(MARKER);
    if credentials.is_open() && marker.exists() {
        return Err(BookError::Lost { folder: credentials.dir().to_owned(), marker });
    }
    Ok(credentials)
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    credentials: Credentials,
    intake: Intake,
    /// What the file looked like when all of it was in effect.
    seen: Arc<Mutex<Option<Stamp>>>,
}

/// What changes when a file does: inode, length, seconds and nanoseconds of its last change.
type Stamp = (u64, u64, i64, i64);

/// A file that is not what it was.
struct Read {
    stamp: Stamp,
    book: Book,
    recorded: Book,
}

/// `None` when there was never a file, or it is as before.
fn read(dir: &Path, before: Option<Stamp>) -> Result<Option<Read>, BookError> {
    let stamp = Book::path(dir).metadata().ok();
    let stamp = stamp.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
    if stamp.is_some() && stamp == before {
        return Ok(None);
    }
    let Some(book) = Book::read_whole(dir)? else { return Ok(None) };
    let recorded = Book::read_recorded(dir)?;
    Ok(Some(Read { stamp: stamp.unwrap_or_default(), book, recorded }))
}

impl Keeper {
    pub(super) fn new(credentials: Credentials, intake: Intake) -> Self {
        Self { credentials, intake, seen: Arc::default() }
    }

    /// Where the credentials are kept.
    pub(super) fn dir(&self) -> &Path {
        self.credentials.dir()
    }

    /// Refuses a credential in memory.
    pub(super) fn refuse(&self, id: &str) {
        if let Some(mut book) = self.credentials.book()
            && book.revoke(id, UNKNOWN_ACTOR, Timestamp::now()).is_ok()
        {
            self.credentials.refuse_at_once(&book);
        }
    }

    /// Puts in effect what the file says, when it is not what it was.
    ///
    /// # Errors
    /// [`KeeperError`]; what was in effect stays so, but for what is refused now.
    pub(super) async fn look(&self) -> Result<(), KeeperError> {
        let mut seen = self.seen.lock().await;
        let (dir, before) = (self.credentials.dir().to_owned(), *seen);
        let read = tokio::task::spawn_blocking(move || read(&dir, before));
        let read = read.await.map_err(|_| KeeperError::Broken)?;
        // IMPORTANT: whoever made the first credential was told that the door is shut. It is, also
        // when the file cannot be read, or what is in it cannot be put on record.
        if self.credentials.is_open() && !matches!(read, Ok(None)) {
            self.credentials.put_in_effect(Book::default());
        }
        let Some(Read { stamp, mut book, recorded }) = read? else { return Ok(()) };
        self.credentials.refuse_at_once(&book);
        let edited = Timestamp::new(stamp.2, i32::try_from(stamp.3).unwrap_or(0));
        let edited = edited.unwrap_or_else(|_| Timestamp::now());
        for change in book.changes(&recorded) {
            self.intake.record(&action(&change, &book, edited)).await?;
        }
        book.keep_refused(&recorded);
        let credentials = self.credentials.clone();
        let written = tokio::task::spawn_blocking(move || {
            let dir = credentials.dir();
            book.write_recorded(dir)?;
            let marker = dir.parent().unwrap_or(dir).join(MARKER);
            let failed = |source| BookError::Io { what: "write", path: marker.clone(), source };
            if !marker.exists() {
                std::fs::write(&marker, "").map_err(failed)?;
            }
            credentials.put_in_effect(book);
            Ok::<_, BookError>(())
        });
        written.await.map_err(|_| KeeperError::Broken)??;
        *seen = Some(stamp);
        Ok(())
    }

    /// Keeps when credentials were last used, if there is something new. A failure is no matter.
    pub(super) async fn keep_last_used(&self) {
        let credentials = self.credentials.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let (dir, used) = (credentials.dir(), credentials.last_used());
            let is_new = !used.is_empty() && used != read_last_used(dir);
            if is_new { write_last_used(dir, &used) } else { Ok(()) }
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "the last use of credentials is not kept");
        }
    }

    /// Looks again and again. Says in the log and in `/readyz` what is in the way, once.
    pub(super) async fn watch(self, health: Arc<Health>) {
        let mut looks = tokio::time::interval(LOOK);
        let mut last_used = tokio::time::interval(KEEP_LAST_USED);
        let mut said = None;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = last_used.tick() => {
                    self.keep_last_used().await;
                    continue;
                }
            }
            let trouble = self.look().await.err().map(|error| super::exit::with_causes(&error));
            match &trouble {
                Some(why) => health.held_up(PART, why.as_str()),
                None => health.flows(PART),
            }
            if trouble != said {
                if let Some(why) = &trouble {
                    tracing::error!("{why}");
                }
                said = trouble;
            }
        }
    }
}

/// `edited` is when the file was changed last: for what nobody says when he did it.
fn action(change: &Change<'_>, book: &Book, edited: Timestamp) -> OperatorAction {
    let edited = Act { at: edited, by: UNKNOWN_ACTOR.to_owned() };
    let (credential, act, action, what) = match change {
        Change::Created(it) => (it, &it.created, "credential.created", made(it)),
        Change::Revoked(it, act) => (it, *act, "credential.revoked", "was revoked".to_owned()),
        Change::Expiry(it) => {
            let replaces = |new: &&Credential| new.replaces.as_ref() == Some(&it.id);
            let next = book.credentials.iter().find(replaces);
            let act = next.map_or(&edited, |next| &next.created);
            (it, act, "credential.expires", expires(it, next))
        }
        Change::Edited(it) => {
            let what = format!("was changed in the file itself: now it {}", made(it));
            (it, &edited, "credential.edited", what)
        }
        Change::Removed(it) => {
            let what = "was removed from the file itself".to_owned();
            (it, &edited, "credential.removed", what)
        }
    };
    let at_ns = u64::try_from(act.at.as_nanosecond()).unwrap_or(0);
    OperatorAction {
        tenant: concerned(credential),
        at_ns,
        actor: act.by.clone(),
        action,
        target_type: "credential",
        target: credential.id.clone(),
        message: format!("credential {:?} ({}) {what}", credential.name, credential.id),
    }
}

/// The tenant whose auditors should know. Who may write for several tenants is the installation's
/// business: its entry names them all.
fn concerned(credential: &Credential) -> Tenant {
    match credential.role {
        Role::Forwarder => Tenant::system(),
        _ => credential.tenant.clone(),
    }
}

fn made(credential: &Credential) -> String {
    let proof = match &credential.proof {
        Proof::KeySha256(_) => "a key".to_owned(),
        Proof::Certificate(name) => format!("the certificate {name}"),
    };
    let mut text = format!("is {proof} with the role {}", credential.role);
    if !credential.role.is_global() {
        let _ = write!(text, " for the tenant {}", credential.tenant.name());
    }
    if let Some(forward) = &credential.forward {
        let tenants: Vec<_> = forward.tenants.iter().map(Tenant::name).collect();
        let _ = write!(text, ", and may assert the tenants {}", tenants.join(", "));
    }
    if let Some(expires) = credential.expires {
        let _ = write!(text, ", until {expires}");
    }
    if let Some(old) = &credential.replaces {
        let _ = write!(text, ", in the place of {old}");
    }
    text
}

fn expires(credential: &Credential, next: Option<&Credential>) -> String {
    let when = match credential.expires {
        Some(at) => format!("expires at {at}"),
        None => "expires no more".to_owned(),
    };
    match next {
        Some(next) => format!("{when}: {} takes its place", next.id),
        None => when,
    }
}
