//! What tells of records that an ended process left behind nowhere: its last frames, written by
//! whoever delivers the rest.
//!
//! They are in a file before they are sent, and are sent under the resource of the instance that they
//! are about. So however many processes are killed while they tell it, the receiver is sent the same
//! bytes again and has them once.

use super::private;
use crate::layer::outbox::frame::{Found, Frames, Kind, append, seal};
use crate::layer::outbox::numbers::Numbers;
use crate::layer::outbox::records::{Gap, Lost};
use bytes::Bytes;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// Name of the file in an instance's folder.
pub(super) const FAREWELL_FILE: &str = "gap";

/// What is missing of an instance.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) lost: Lost,
    /// Everything after this number may be missing too.
    pub(super) after: Option<u64>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Farewell {
    folder: PathBuf,
    salt: u32,
    /// The instance that tells it.
    teller: String,
    data: Bytes,
    /// What the file tells.
    told: Numbers,
}

impl Farewell {
    /// What somebody wrote before, unless it is damaged.
    pub(super) fn of(folder: &std::path::Path, salt: u32, teller: &str) -> Self {
        let data = Bytes::from(fs::read(folder.join(FAREWELL_FILE)).unwrap_or_default());
        let mut told = Numbers::default();
        let mut whole = true;
        for found in Frames::checked(data.clone(), 0, salt) {
            match found {
                Found::Frame(frame) if frame.kind == Kind::Told => frame.note(&data, &mut told),
                Found::Frame(_) => {}
                Found::Damage { .. } => whole = false,
            }
        }
        let (data, told) = if whole { (data, told) } else { <_>::default() };
        Self { folder: folder.to_owned(), salt, teller: teller.to_owned(), data, told }
    }

    /// The frames.
    pub(super) fn bytes(&self) -> Bytes {
        self.data.clone()
    }

    /// Writes what is missing and what is owed; what was written before stays as it is, and only what
    /// is owed since then is added.
    pub(super) fn write(
        &mut self,
        instance: &str,
        missing: Option<Missing>,
        owed: &[Lost],
    ) -> io::Result<()> {
        let mut gaps = Vec::new();
        let mut known = self.told.clone();
        for lost in owed {
            let lost = lost.without(&known);
            if !lost.numbers.is_empty() {
                known.extend(&lost.numbers);
                gaps.push(Gap::of(instance, lost));
            }
        }
        if self.data.is_empty()
            && let Some(Missing { lost, after }) = missing
        {
            gaps.push(Gap { after, ..Gap::of(instance, lost.without(&known)) });
        }
        if gaps.is_empty() {
            return Ok(());
        }
        let mut more = Vec::new();
        for mut gap in gaps {
            gap.told_by = Some(self.teller.clone());
            gap.records().iter().for_each(|record| append(&mut more, Kind::Logs, 0, record));
            append(&mut more, Kind::Told, 0, &gap.numbers.to_bytes());
        }
        seal(&mut more, self.salt);
        let data = Bytes::from([&self.data, &more[..]].concat());
        let (path, new) = (self.folder.join(FAREWELL_FILE), self.folder.join("gap.new"));
        private().truncate(true).open(&new)?.write_all(&data)?;
        fs::rename(new, path)?;
        (self.data, self.told) = (data, known);
        Ok(())
    }
}
