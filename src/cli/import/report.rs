//! What people see of an import: how far it is, what was refused, how it ended.

use super::super::display::clean;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks of a person at a bar.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// Between two lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Characters of the bar.
const BAR: usize = 30;

/// How far the import of a file is, and in the end how it went.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    /// The file.
    pub(super) file: String,
    /// Lines that were sent or refused.
    pub(super) lines: u64,
    /// Records that are durable.
    pub(super) accepted: u64,
    /// Lines that will never be taken.
    pub(super) refused: u64,
    /// How much of the file was read, in percent.
    pub(super) percent: u64,
    /// The first line that was not sent, when it was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped_before_line: Option<u64>,
    /// Whether the file was read to its end.
    pub(super) done: bool,
}

/// Who is told.
pub(super) struct Progress {
    json: bool,
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stderr().is_terminal(), last: Instant::now() }
    }

    /// Tells how far it is, as often as somebody wants to know.
    pub(super) fn tell(&mut self, tally: &Tally, out: &mut impl Write) -> io::Result<()> {
        let every = if self.terminal && !self.json { BAR_EVERY } else { LINE_EVERY };
        if self.last.elapsed() < every {
            return Ok(());
        }
        self.last = Instant::now();
        if self.json {
            return json_line(tally, out);
        }
        let mut err = io::stderr();
        if self.terminal {
            let full = usize::try_from(tally.percent).unwrap_or_default().saturating_mul(BAR) / 100;
            let bar = format!("{:<BAR$}", "#".repeat(full.min(BAR)));
            write!(err, "\r[{bar}] {:>3} %  {} lines", tally.percent, tally.lines)
        } else {
            writeln!(err, "{}: {} %, {} lines", tally.file, tally.percent, tally.lines)
        }
    }

    /// Tells how a file went.
    pub(super) fn end(
        &mut self,
        tally: &Tally,
        rejected: &Rejected,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if self.json {
            return json_line(tally, out);
        }
        if self.terminal {
            // The bar goes; what follows stays.
            write!(io::stderr(), "\r{}\r", " ".repeat(BAR.saturating_add(40)))?;
        }
        let Tally { file, lines, accepted, refused, .. } = tally;
        write!(out, "{file}: {lines} lines, {accepted} records on record")?;
        if *refused > 0 {
            write!(out, ", {refused} lines refused ({})", rejected.place())?;
        }
        writeln!(out)?;
        if let Some(line) = tally.stopped_before_line {
            writeln!(out, "{file}: stopped; go on with --from {line}")?;
        }
        Ok(())
    }
}

fn json_line(tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, tally)?;
    writeln!(out)?;
    out.flush()
}

/// `FILE.rejected.jsonl`, made when the first line is refused. An import that goes on where one
/// before stopped adds to its list.
pub(super) struct Rejected {
    path: PathBuf,
    goes_on: bool,
    file: Option<File>,
    /// Why it cannot be written, once that is known.
    failed: bool,
    first: Option<(u64, String)>,
}

impl Rejected {
    pub(super) fn beside(file: &Path, goes_on: bool) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push(".rejected.jsonl");
        Self { path: path.into(), goes_on, file: None, failed: false, first: None }
    }

    /// Notes a line. A folder that cannot be written to leaves the count and the first reason.
    pub(super) fn note(&mut self, line: u64, reason: &str) {
        self.first.get_or_insert_with(|| (line, reason.to_owned()));
        if self.file.is_none() && !self.failed {
            let file = self.open();
            self.failed = file.is_err();
            self.file = file.ok();
        }
        if let Some(file) = &mut self.file {
            let note = serde_json::json!({ "line": line, "reason": reason });
            self.failed |= writeln!(file, "{note}").is_err();
        }
    }

    fn open(&self) -> io::Result<File> {
        // The file to import may lie where others write: a link that waits there is not followed.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        if self.goes_on {
            options.append(true);
        } else {
            options.write(true).truncate(true);
        }
        // Reasons may quote what is nobody else's business.
        options.create(true).mode(0o600).custom_flags(flags).open(&self.path)
    }

    fn place(&self) -> String {
        match &self.first {
            Some((line, reason)) if self.failed => format!("the first is line {line}: {reason}"),
            _ => format!("see {}", clean(&self.path.display().to_string())),
        }
    }
}
