//! The keys behind ids, pseudonyms and payload hashes: one secret on disk, everything else derived.
//!
//! ```text
//! KEYS/            0700
//! ├── root.key     0600, 32 random bytes
//! └── subjects/    keys of sealed payloads: `subject_files.rs`
//!
//! root ─ HMAC-SHA256 ─┬ "spanledger/v1/entry-id"     ─► entry id    HMAC(tenant ‖ 0 ‖ digest)[..16]
//!                     ├ "spanledger/v1/source"       ─► source key  HMAC(tenant ‖ 0 ‖ trace ‖ span)[..16]
//!                     ├ "spanledger/v1/pseudonym"    ─► pseudonym   HMAC(tenant)[..16]
//!                     ├ "spanledger/v1/subject"    ─► subject     HMAC(tenant ‖ 0 ‖ 1 ‖ name)[..16], of none: ‖ 0
//!                     └ "spanledger/v1/payload" ‖ 0 ‖ tenant ─► payload hash HMAC(text), a key per tenant
//! ```
//!
//! A tenant's name cannot hold a zero byte, so `tenant ‖ 0 ‖ …` reads in one way only. Collectors
//! that share a cluster share the root key: then a resend to another collector has the same id.
//!
//! The folder belongs outside backups of the data. Who has both can guess short payloads.

use super::subject_key::Pseudonym;
use super::subjects::SubjectKeys;
use crate::access::Tenant;
use crate::access::files::give_to_owner;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// File of the root key in the folder of keys.
pub const ROOT_KEY_FILE: &str = "root.key";

/// Length of the root key, bytes.
pub const ROOT_KEY_LEN: usize = 32;

/// Most tenants whose derived keys are kept. Tenants come from configured credentials, so this is
/// never reached by traffic; beyond it a tenant's keys are derived anew for each request.
const MAX_CACHED_TENANTS: usize = 65_536;

/// An HMAC whose key schedule is done: a clone starts a new message.
pub(super) type Keyed = Hmac<Sha256>;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
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
    /// Others than the owner may read the folder or a key.
    #[error("{} can be used by others than its owner (mode {mode:03o}); run: chmod {remedy:03o} '{}'", path.display(), path.display())]
    TooOpen {
        /// The folder or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        remedy: u32,
    },
    /// A key file does not hold a key.
    #[error(
        "{} has {found} bytes instead of {ROOT_KEY_LEN}: it is not a root key. Restore it from where you keep keys; \
         with another key the same span gets another id and equal payloads no longer have equal hashes",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// There is no key and none was to be made.
    #[error("there is no root key at {}. Restore it, or name the folder that has it with --keys", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a new root key")]
    Random(#[source] getrandom::Error),
}

/// All keys of a collector. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    root: Keyed,
    id: Keyed,
    source: Keyed,
    pseudonym: Keyed,
    subject: Keyed,
    subjects: SubjectKeys,
    tenants: RwLock<HashMap<Tenant, Arc<TenantKeys>>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

/// The keys of one tenant, ready for use. A request takes them once.
pub struct TenantKeys {
    id: Keyed,
    source: Keyed,
    payload: Keyed,
    subject: Keyed,
    pseudonym: [u8; 16],
}

impl std::fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TenantKeys(secret)")
    }
}

impl Keys {
    /// The keys in `dir`. Folder and root key are created when they are not there.
    ///
    /// # Errors
    /// [`KeysError`]: the folder or the key is open to others, damaged, or cannot be read or made.
    pub fn open_or_create(dir: &Path) -> Result<Self, KeysError> {
        match Self::open(dir) {
            Err(KeysError::Missing { .. }) => {
                create(dir)?;
                Self::open(dir)
            }
            done => done,
        }
    }

    /// The keys in `dir`, which must be there: for a ledger that has entries already, and for tools
    /// that only read.
    ///
    /// # Errors
    /// [`KeysError`], [`KeysError::Missing`] when there is no root key.
    pub fn open(dir: &Path) -> Result<Self, KeysError> {
        let path = dir.join(ROOT_KEY_FILE);
        let mut file = File::open(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                KeysError::Missing { path: path.clone() }
            } else {
                KeysError::Io { what: "open", path: path.clone(), source: error }
            }
        })?;
        let of_dir = fs::metadata(dir).map_err(io_error("examine", dir))?;
        let of_file = file.metadata().map_err(io_error("examine", &path))?;
        demand_private(dir, &of_dir, 0o700)?;
        demand_private(&path, &of_file, 0o600)?;
        if of_file.len() != ROOT_KEY_LEN as u64 {
            return Err(KeysError::Length { path, found: of_file.len() });
        }
        let mut root = [0; ROOT_KEY_LEN];
        file.read_exact(&mut root).map_err(io_error("read", &path))?;
        let keys = Self::derive_all(&root, SubjectKeys::within(Some(dir)));
        wipe(&mut root);
        Ok(keys)
    }

    /// The keys that follow from a root key, for tests and for collectors that get theirs from a
    /// secret store. Without a folder they seal nothing.
    pub fn from_root(root: &[u8; ROOT_KEY_LEN]) -> Self {
        Self::derive_all(root, SubjectKeys::within(None))
    }

    fn derive_all(root: &[u8; ROOT_KEY_LEN], subjects: SubjectKeys) -> Self {
        let root = keyed(root);
        let derive = |label: &str| derived(&root, &[label.as_bytes()]);
        Self(Arc::new(Inner {
            id: derive("spanledger/v1/entry-id"),
            source: derive("spanledger/v1/source"),
            pseudonym: derive("spanledger/v1/pseudonym"),
            subject: derive("spanledger/v1/subject"),
            root,
            subjects,
            tenants: RwLock::default(),
        }))
    }

    /// The keys of one tenant.
    pub fn tenant(&self, tenant: &Tenant) -> Arc<TenantKeys> {
        let read = self.0.tenants.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = read.get(tenant) {
            return Arc::clone(keys);
        }
        drop(read);
        let keys = Arc::new(self.derive_tenant(tenant));
        let mut cache = self.0.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() < MAX_CACHED_TENANTS {
            cache.insert(tenant.clone(), Arc::clone(&keys));
        }
        keys
    }

    /// [`TenantKeys::entry_id`] of that tenant.
    pub fn entry_id(&self, tenant: &Tenant, digest: &[u8; 32]) -> [u8; 16] {
        self.tenant(tenant).entry_id(digest)
    }

    /// [`TenantKeys::source_key`] of that tenant.
    pub fn source_key(&self, tenant: &Tenant, trace_id: &[u8; 16], span_id: &[u8; 8]) -> [u8; 16] {
        self.tenant(tenant).source_key(trace_id, span_id)
    }

    /// [`TenantKeys::pseudonym`] of that tenant.
    pub fn pseudonym(&self, tenant: &Tenant) -> [u8; 16] {
        self.tenant(tenant).pseudonym()
    }

    /// The keys of subjects' sealed payloads.
    pub fn subjects(&self) -> &SubjectKeys {
        &self.0.subjects
    }

    fn derive_tenant(&self, tenant: &Tenant) -> TenantKeys {
        let name = tenant.name().as_bytes();
        let started = |key: &Keyed| {
            let mut mac = key.clone();
            mac.update(name);
            mac.update(&[0]);
            mac
        };
        let mut pseudonym = self.0.pseudonym.clone();
        pseudonym.update(name);
        TenantKeys {
            id: started(&self.0.id),
            source: started(&self.0.source),
            subject: started(&self.0.subject),
            payload: derived(&self.0.root, &[b"spanledger/v1/payload\0", name]),
            pseudonym: first_half(pseudonym),
        }
    }
}

impl TenantKeys {
    /// The id of the entry of a record with that digest: 128 bits of
    /// HMAC-SHA256(id key, tenant ‖ 0 ‖ digest). The same record has the same id however often and
    /// to whichever collector with these keys it is sent, and nobody without them can guess a
    /// record from its id.
    pub fn entry_id(&self, digest: &[u8; 32]) -> [u8; 16] {
        let mut mac = self.id.clone();
        mac.update(digest);
        first_half(mac)
    }

    /// The same for the same span of the same tenant, whatever it says: tells the ledger that two
    /// entries claim to be one span.
    pub fn source_key(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> [u8; 16] {
        let mut mac = self.source.clone();
        mac.update(trace_id);
        mac.update(span_id);
        first_half(mac)
    }

    /// Stands for the tenant where its name must not be read.
    pub fn pseudonym(&self) -> [u8; 16] {
        self.pseudonym
    }

    /// Stands for a subject of the tenant; without a name, for what belongs to none of them.
    pub fn subject(&self, name: Option<&str>) -> Pseudonym {
        let mut mac = self.subject.clone();
        mac.update(&[u8::from(name.is_some())]);
        mac.update(name.unwrap_or_default().as_bytes());
        Pseudonym(first_half(mac))
    }

    /// The keyed hash of a payload: HMAC-SHA256(payload key of the tenant, text).
    pub fn payload_hash(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = self.payload.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

/// An HMAC with that key. Zeros after it are what HMAC itself puts there (RFC 2104), and with a
/// whole block nothing can fail.
pub(super) fn keyed(key: &[u8; 32]) -> Keyed {
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Keyed::new(&block.into())
}

fn derived(root: &Keyed, label: &[&[u8]]) -> Keyed {
    let mut mac = root.clone();
    for part in label {
        mac.update(part);
    }
    let mut key: [u8; 32] = mac.finalize().into_bytes().into();
    let derived = keyed(&key);
    wipe(&mut key);
    derived
}

fn first_half(mac: Keyed) -> [u8; 16] {
    let whole: [u8; 32] = mac.finalize().into_bytes().into();
    let mut half = [0; 16];
    half.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    half
}

/// Overwrites a secret that is no longer needed. `black_box` keeps the compiler from leaving the
/// writes out; copies that it made elsewhere stay.
pub(super) fn wipe(secret: &mut [u8; 32]) {
    secret.fill(0);
    black_box(secret);
}

fn io_error<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> KeysError + 'p {
    move |source| KeysError::Io { what, path: path.to_owned(), source }
}

/// Makes folder and key. A crash leaves no key or a whole one; a key that is there is never
/// replaced.
fn create(dir: &Path) -> Result<(), KeysError> {
    let mut root = [0; ROOT_KEY_LEN];
    getrandom::fill(&mut root).map_err(KeysError::Random)?;
    let placed = place_private(dir, ROOT_KEY_FILE, &root);
    wipe(&mut root);
    placed
}

/// Makes a file with a secret in a folder of keys, and the folder if it is not there. A crash
/// leaves no file or a whole one; one that is there is never replaced, and is no error.
pub(crate) fn place_private(dir: &Path, name: &str, secret: &[u8]) -> Result<(), KeysError> {
    create_private_dir(dir)?;
    let of_dir = fs::metadata(dir).map_err(io_error("examine", dir))?;
    demand_private(dir, &of_dir, 0o700)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(KeysError::Random)?;
    let temporary = dir.join(format!(".{name}.{:016x}", u64::from_le_bytes(suffix)));
    let path = dir.join(name);

    let written = write_private(&temporary, secret)
        // Root may run the command, and the server must be able to read it.
        .and_then(|()| give_to_owner(dir, &temporary))
        .map_err(io_error("write", &temporary));
    // A link, unlike a rename, fails when another process was faster: its key then stands.
    let placed = written.and_then(|()| match fs::hard_link(&temporary, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeysError::Io { what: "create", path: path.clone(), source: error })
        }
        _ => Ok(()),
    });
    // Without the name there is no second copy of the secret; a failure here loses nothing.
    let removed = fs::remove_file(&temporary).map_err(io_error("remove", &temporary));
    placed.and(removed)?;
    // IMPORTANT: the key must survive a power cut that the first acknowledged entry survives.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    // IMPORTANT: before the file gets its name.
    file.sync_all()
}

pub(super) fn create_private_dir(dir: &Path) -> Result<(), KeysError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io_error("create", dir))
}

/// Refuses a file or folder that others than its owner can use.
#[cfg(unix)]
pub(crate) fn demand_private(
    path: &Path,
    metadata: &fs::Metadata,
    remedy: u32,
) -> Result<(), KeysError> {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS: u32 = 0o077;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(KeysError::TooOpen { path: path.to_owned(), mode, remedy })
}

/// Other systems have no modes; there the folder's own access list is what protects it.
#[cfg(not(unix))]
pub(crate) fn demand_private(_: &Path, _: &fs::Metadata, _: u32) -> Result<(), KeysError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        (dir, keys)
    }

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).unwrap()
    }

    #[test]
    fn the_keys_of_a_folder_are_made_once_and_then_stay() {
        let (_guard, dir) = folder();
        let first = Keys::open_or_create(&dir).unwrap();
        let second = Keys::open_or_create(&dir).unwrap();
        let tenant = tenant("acme");
        assert_eq!(first.entry_id(&tenant, &[7; 32]), second.entry_id(&tenant, &[7; 32]));
        let names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, [ROOT_KEY_FILE], "no temporary copy of the key stays");
    }

    #[test]
    fn two_folders_have_different_keys() {
        let (_one, one) = folder();
        let (_two, two) = folder();
        let tenant = tenant("acme");
        assert_ne!(
            Keys::open_or_create(&one).unwrap().entry_id(&tenant, &[7; 32]),
            Keys::open_or_create(&two).unwrap().entry_id(&tenant, &[7; 32]),
        );
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_key_are_for_their_owner_only() {
        let (_guard, dir) = folder();
        Keys::open_or_create(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(ROOT_KEY_FILE)), 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn what_others_can_read_is_refused_with_the_command_that_helps() {
        let (_guard, dir) = folder();
        Keys::open_or_create(&dir).unwrap();
        let path = dir.join(ROOT_KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keys::open_or_create(&dir).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Keys::open_or_create(&dir).unwrap_err().to_string();
        assert!(error.contains("755") && error.contains("chmod 700"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn no_key_is_made_in_a_folder_that_others_can_use() {
        let (_guard, dir) = folder();
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Keys::open_or_create(&dir), Err(KeysError::TooOpen { .. })));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_another_length_is_not_a_key_and_is_left_alone() {
        let (_guard, dir) = folder();
        Keys::open_or_create(&dir).unwrap();
        let path = dir.join(ROOT_KEY_FILE);
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            let error = Keys::open_or_create(&dir).unwrap_err();
            assert!(matches!(error, KeysError::Length { found, .. } if found == length as u64));
            assert_eq!(fs::read(&path).unwrap().len(), length);
        }
    }

    #[test]
    fn open_makes_nothing() {
        let (_guard, dir) = folder();
        assert!(matches!(Keys::open(&dir), Err(KeysError::Missing { .. })));
        assert!(!dir.exists());
    }

    #[test]
    fn what_is_derived_depends_on_tenant_and_content() {
        let keys = Keys::from_root(&[1; 32]);
        let (one, two) = (tenant("a"), tenant("b"));
        assert_ne!(keys.entry_id(&one, &[0; 32]), keys.entry_id(&two, &[0; 32]));
        assert_ne!(keys.entry_id(&one, &[0; 32]), keys.entry_id(&one, &[1; 32]));
        assert_ne!(
            keys.source_key(&one, &[1; 16], &[2; 8]),
            keys.source_key(&two, &[1; 16], &[2; 8])
        );
        assert_ne!(keys.pseudonym(&one), keys.pseudonym(&two));
        assert_ne!(keys.tenant(&one).payload_hash(b"x"), keys.tenant(&two).payload_hash(b"x"));
        assert_eq!(keys.tenant(&one).payload_hash(b"x"), keys.tenant(&one).payload_hash(b"x"));
    }

    #[test]
    fn the_id_is_the_documented_construction() {
        let root = keyed(&[9; 32]);
        let mut label = root.clone();
        label.update(b"spanledger/v1/entry-id");
        let mut mac = keyed(&label.finalize().into_bytes().into());
        mac.update(b"acme\0");
        mac.update(&[5; 32]);
        let expected: [u8; 32] = mac.finalize().into_bytes().into();
        let id = Keys::from_root(&[9; 32]).entry_id(&tenant("acme"), &[5; 32]);
        assert_eq!(id, expected[..16]);
    }

    #[test]
    fn no_key_is_printed() {
        let keys = Keys::from_root(&[0xAB; 32]);
        let text = format!("{keys:?} {:?}", keys.tenant(&tenant("a")));
        assert_eq!(text, "Keys(secret) TenantKeys(secret)");
    }
}
