//! Records that the receiver will never take, kept as frames for people: beside the instances,
//! since they outlive their instance.

use super::{private, private_folder};
use crate::layer::outbox::destination::Signal;
use crate::layer::outbox::frame::{Kind, append, seal};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes kept for each instance: a receiver that refuses everything must not fill the disk.
const MOST_BYTES: u64 = 64 << 20;

/// The file of one instance.
#[derive(Debug, Clone)]
pub(in crate::layer::outbox) struct RefusedFile {
    path: PathBuf,
}

impl RefusedFile {
    pub(in crate::layer::outbox) fn new(root: &Path, instance: &str) -> Self {
        Self { path: root.join("refused").join(format!("{instance}.frames")) }
    }

    /// Keeps one, if there is room.
    pub(in crate::layer::outbox) fn keep(
        &self,
        signal: Signal,
        number: u64,
        record: &[u8],
    ) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            private_folder(folder)?;
        }
        let mut file = private().append(true).open(&self.path)?;
        if file.metadata()?.len() >= MOST_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} is full: its limit is {MOST_BYTES} bytes", self.path.display()),
            ));
        }
        let kind = match signal {
            Signal::Spans => Kind::Spans,
            Signal::Logs => Kind::Logs,
        };
        let mut frame = Vec::new();
        append(&mut frame, kind, number, record);
        seal(&mut frame, 0);
        file.write_all(&frame)
    }
}
