//! The folder of one outbox, its lock, and finding what ended processes left.

use super::farewell::FAREWELL_FILE;
use super::owed::{OWED_FILE, Owed};
use super::{lock_file, private, private_folder, segment_path};
use crate::layer::outbox::error::OutboxError;
use crate::layer::outbox::frame::{Found, Frames, Kind, append, seal};
use crate::layer::outbox::records;
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another process that makes or looks for instances: it needs milliseconds.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
const LOCK_AGAIN: Duration = Duration::from_millis(5);

/// What stands around the records of one instance in each request.
#[derive(Debug, Clone, Default)]
pub(in crate::layer::outbox) struct Framing {
    pub(in crate::layer::outbox) resource: Bytes,
    pub(in crate::layer::outbox) scope: Bytes,
}

/// The folder of an instance, locked.
#[derive(Debug)]
pub(in crate::layer::outbox) struct Instance {
    pub(in crate::layer::outbox) id: String,
    pub(super) salt: u32,
    pub(super) folder: PathBuf,
    pub(in crate::layer::outbox) framing: Framing,
    /// Unlocked by the operating system when it is closed, however the process ends.
    _lock: File,
}

impl Instance {
    /// Makes the folder of a new instance.
    pub(in crate::layer::outbox) fn create(
        root: &Path,
        id: &str,
        framing: Framing,
    ) -> Result<Self, OutboxError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OutboxError::Spool { path, source }
        };
        private_folder(root).map_err(at(root))?;
        let salt = getrandom::u32()?;
        let folder = root.join(format!("{id}-{salt:08x}"));
        let _others = lock_root(root, LOCK_WITHIN).map_err(at(root))?;
        private_folder(&folder).map_err(at(&folder))?;
        let lock = lock_file(&folder).map_err(at(&folder))?;
        lock.try_lock().map_err(|error| at(&folder)(error.into()))?;
        let mut described = Vec::new();
        append(&mut described, Kind::Resource, 0, &framing.resource);
        append(&mut described, Kind::Scope, 0, &framing.scope);
        seal(&mut described, salt);
        let path = folder.join("instance");
        let written = private().truncate(true).open(&path);
        written.and_then(|mut file| file.write_all(&described)).map_err(at(&path))?;
        Owed::create(&folder).map_err(at(&folder))?;
        Ok(Self { id: id.to_owned(), salt, folder, framing, _lock: lock })
    }

    /// Instances whose process ended. Another process that is at it finds them.
    pub(in crate::layer::outbox) fn left(
        root: &Path,
        known: &HashSet<String>,
    ) -> io::Result<Vec<Self>> {
        let Ok(_others) = lock_root(root, Duration::ZERO) else { return Ok(Vec::new()) };
        let mut left = Vec::new();
        for entry in fs::read_dir(root)? {
            let folder = entry?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((id, salt)) = name.split_once('-') else { continue };
            let Ok(salt) = u32::from_str_radix(salt, 16) else { continue };
            if id.len() != 32 || known.contains(id) {
                continue;
            }
            let id = id.to_owned();
            let Ok(lock) = File::open(folder.join("lock")) else {
                // Its process ended while it made or removed it; only an empty folder goes.
                let _ = fs::remove_dir(&folder);
                continue;
            };
            if lock.try_lock().is_ok() && folder.exists() {
                let framing = described(&folder, &id, salt);
                left.push(Self { id, salt, folder, framing, _lock: lock });
            }
        }
        Ok(left)
    }

    /// The segments that are there, in order, and their bytes.
    pub(super) fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(".segment"));
            if let Some(index) = index.and_then(|index| index.parse().ok()) {
                segments.push((index, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    pub(super) fn segment(&self, index: u64) -> PathBuf {
        segment_path(&self.folder, index)
    }

    /// Removes everything of it, the lock last: whoever finds it meanwhile finds it locked. The
    /// cursor first: without it and without segments there is nothing to be missed. Then what is owed,
    /// then what tells it, while the resource is there under which it was sent: whoever finds the
    /// folder in between tells nothing, or the same once more.
    pub(in crate::layer::outbox) fn remove(&self) -> io::Result<()> {
        for first in ["cursor", OWED_FILE, FAREWELL_FILE] {
            match fs::remove_file(self.folder.join(first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != "lock") {
                fs::remove_file(path)?;
            }
        }
        fs::remove_file(self.folder.join("lock"))?;
        fs::remove_dir(&self.folder)
    }
}

/// What the file `instance` says; what is known without it when it is damaged.
fn described(folder: &Path, id: &str, salt: u32) -> Framing {
    let data = Bytes::from(fs::read(folder.join("instance")).unwrap_or_default());
    let mut framing = Framing::default();
    for found in Frames::checked(data.clone(), 0, salt) {
        let Found::Frame(frame) = found else { continue };
        let place = match frame.kind {
            Kind::Resource => &mut framing.resource,
            Kind::Scope => &mut framing.scope,
            _ => continue,
        };
        *place = data.slice(frame.record);
    }
    if framing.resource.is_empty() {
        framing.resource = records::resource_of(id).into();
    }
    if framing.scope.is_empty() {
        framing.scope = records::scope().into();
    }
    framing
}

fn lock_root(root: &Path, within: Duration) -> io::Result<File> {
    let lock = lock_file(root)?;
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if start.elapsed() < within => {
                std::thread::sleep(LOCK_AGAIN);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
