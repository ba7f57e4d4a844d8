//! A file as a sink: a line for each checkpoint, on what may be a mount of another machine.
//!
//! Two things happen to such a mount. It hangs: then one write waits for it and no other is begun. It is
//! away: then a file of that name beside it would be written, and nobody would notice. So the log's folder
//! notes that a file took a checkpoint, and one that did and is gone is not made anew.

use super::TIMEOUT;
use crate::ledger::place;
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A file that is appended to.
pub(super) struct FileSink {
    path: PathBuf,
    /// The file that says that it took a checkpoint once.
    noted: PathBuf,
    /// How long one write may take.
    patience: Duration,
    /// The write that was given up and may still be done.
    running: Option<JoinHandle<io::Result<()>>>,
}

impl FileSink {
    /// `dir` is the folder of the log, where it is noted.
    pub(super) fn new(path: PathBuf, dir: &Path) -> Self {
        let hash: [u8; 32] = Sha256::digest(path.as_os_str().as_bytes()).into();
        let number = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
        let noted = dir.join(format!("sink.{number:016x}"));
        Self { path, noted, patience: TIMEOUT, running: None }
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Appends a line. What did not come to an end in time is waited for before another is written.
    pub(super) async fn keep(&mut self, line: String) -> Result<(), String> {
        let patience = self.patience;
        let kept = async {
            if let Some(earlier) = &mut self.running {
                // Whether it arrived or not: this one comes after it.
                let _ = earlier.await;
                self.running = None;
            }
            let (path, noted) = (self.path.clone(), self.noted.clone());
            let write = move || append(&path, &noted, &line);
            let written = self.running.insert(tokio::task::spawn_blocking(write)).await;
            self.running = None;
            written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        };
        let hangs =
            || format!("it does not take a line within {patience:?}: does its disk answer?");
        timeout(patience, kept).await.unwrap_or_else(|_| Err(hangs()))
    }
}

fn append(path: &Path, noted: &Path, line: &str) -> io::Result<()> {
    let took = noted.exists();
    let mut options = OpenOptions::new();
    options.create(!took).append(true).read(true).mode(0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if took => io::Error::other(
            "it took checkpoints before and is gone: mount what it lies on, or make an empty file",
        ),
        _ => error,
    })?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(at) = length.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    // A full disk took half a line before: that one stands alone.
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{line}").as_bytes())?;
    file.sync_data()?;
    match path.parent().filter(|_| length == 0) {
        // Of a new file the name has to be durable too.
        Some(dir) if dir.as_os_str().is_empty() => File::open(".")?.sync_all()?,
        Some(dir) => File::open(dir)?.sync_all()?,
        None => {}
    }
    if took {
        return Ok(());
    }
    place(noted, format!("{}\n", path.display()).as_bytes(), true)
}
