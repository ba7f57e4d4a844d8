//! `import`: JSON Lines to a running server, in batches, with progress.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the command: files, batches, where it stopped |
//! | `args.rs` | flags |
//! | `lines.rs` | the lines of a file, unpacked |
//! | `format.rs` | what a line is, where it is sent |
//! | `send.rs` | a batch to the server: again, later; in halves |
//! | `report.rs` | progress, refused lines, the end |
//!
//! It writes as any other sender does: over HTTP, with a writer's key, acknowledged after the fsync.
//! Entries have the identity of their records, so an import that is run again adds nothing.

mod args;
mod format;
mod lines;
mod report;
mod send;

pub use args::{ImportArgs, ImportFormat};
pub use send::SendError;

use super::args::DEFAULT_HTTP;
use super::display::clean;
use super::endpoints::Endpoints;
use super::exit::{CommandError, Exit};
use format::{Members, destination, detect};
use lines::{Line, Lines};
use report::{Progress, Rejected, Tally};
use send::{Batch, Sender};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

/// Lines of one request at most: what a refused one costs to find is their logarithm.
const MAX_BATCH_LINES: usize = 1_000;

/// Bytes of one request at most, but for a single longer line: far below every limit of a server.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Why an import did not begin, or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{} cannot be read at line {line}; check its name, permissions and compression", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line that was wanted.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The first line tells no format.
    #[error("{} does not tell what its lines are; say it with --format", .0.display())]
    Unrecognised(PathBuf),
    /// A line to begin with, for several files.
    #[error("--from is for one file; import the others without it")]
    FromOfSeveral,
    /// The server does not take them.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Imports files one after the other until all are done or `stop` resolves.
///
/// # Errors
/// [`CommandError`]; what was sent before is durable, and the output says how to go on.
pub async fn import(
    args: &ImportArgs,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<Exit, CommandError> {
    if args.from > 1 && args.files.len() > 1 {
        return Err(ImportError::FromOfSeveral.into());
    }
    let sender = Sender::new(&endpoint(args)?, &args.connect)?;
    let mut stop = pin!(stop);
    let mut exit = Exit::Fine;
    for path in &args.files {
        let mut file = Importing::open(args, path)?;
        let ended = file.run(&sender, stop.as_mut(), out).await;
        file.progress.end(&file.tally, &file.rejected, out)?;
        ended?;
        if file.tally.refused > 0 || !file.tally.done {
            exit = Exit::Failed;
        }
        if !file.tally.done {
            break;
        }
    }
    out.flush()?;
    Ok(exit)
}

/// Where the server takes OTLP over HTTP.
fn endpoint(args: &ImportArgs) -> Result<String, CommandError> {
    if let Some(endpoint) = &args.endpoint {
        return Ok(endpoint.clone());
    }
    let endpoints = Endpoints::read(&args.data).map_err(super::SourceError::from)?;
    Ok(match endpoints {
        Some(at) => format!("{}://{}", if at.tls { "https" } else { "http" }, at.http),
        None => DEFAULT_HTTP.to_owned(),
    })
}

/// A file on its way.
struct Importing<'a> {
    path: &'a Path,
    lines: Lines,
    format: ImportFormat,
    from: u64,
    tally: Tally,
    rejected: Rejected,
    progress: Progress,
    /// A line that did not fit into the batch before.
    held: Option<(send::Batch, usize)>,
    /// Why no further line was read, until those before it are sent.
    failed: Option<ImportError>,
    /// The first line that was not sent.
    next_line: u64,
}

impl<'a> Importing<'a> {
    fn open(args: &ImportArgs, path: &'a Path) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Read { path: path.to_owned(), line: 1, source };
        Ok(Self {
            path,
            lines: Lines::open(path).map_err(failed)?,
            format: args.format,
            from: args.from,
            tally: Tally { file: clean(&path.display().to_string()), ..Tally::default() },
            rejected: Rejected::beside(path, args.from > 1),
            progress: Progress::new(args.json),
            held: None,
            failed: None,
            next_line: args.from,
        })
    }

    /// Sends every line; says in the tally where it stopped.
    async fn run(
        &mut self,
        sender: &Sender,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        out: &mut impl Write,
    ) -> Result<(), CommandError> {
        self.tally.stopped_before_line = Some(self.next_line);
        while let Some(batch) = self.batch()? {
            let sent = tokio::select! {
                sent = sender.send(&batch) => sent.map_err(ImportError::from)?,
                () = stop.as_mut() => return Ok(()),
            };
            let last = batch.lines.last().map_or(self.next_line, |line| line.number);
            self.next_line = last.saturating_add(1);
            self.tally.stopped_before_line = Some(self.next_line);
            self.tally.lines = self.tally.lines.saturating_add(batch.lines.len() as u64);
            self.tally.accepted = self.tally.accepted.saturating_add(sent.accepted);
            for (line, reason) in sent.refused {
                self.refuse(line, &reason);
            }
            let share = self.lines.read().saturating_mul(100).checked_div(self.lines.size);
            self.tally.percent = share.unwrap_or(100);
            self.progress.tell(&self.tally, out)?;
        }
        self.tally.stopped_before_line = None;
        (self.tally.percent, self.tally.done) = (100, true);
        Ok(())
    }

    fn refuse(&mut self, line: u64, reason: &str) {
        self.tally.refused = self.tally.refused.saturating_add(1);
        self.rejected.note(line, reason);
    }

    /// The next lines that go to one place together. What was read before a failure comes first.
    fn batch(&mut self) -> Result<Option<Batch>, ImportError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (mut batch, mut bytes) = match self.held.take() {
            Some((batch, bytes)) => (Some(batch), bytes),
            None => (None, 0),
        };
        loop {
            if let Some(full) = batch.take_if(|batch| {
                !batch.to.takes_many()
                    || batch.lines.len() >= MAX_BATCH_LINES
                    || bytes >= MAX_BATCH_BYTES
            }) {
                return Ok(Some(full));
            }
            let (to, line) = match self.line() {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(batch),
                Err(error) if batch.is_some() => {
                    self.failed = Some(error);
                    return Ok(batch);
                }
                Err(error) => return Err(error),
            };
            match &mut batch {
                Some(batch) if batch.to == to => {
                    bytes = bytes.saturating_add(line.text.len());
                    batch.lines.push(line);
                }
                _ => {
                    let length = line.text.len();
                    let before = batch.replace(Batch { to, lines: vec![line] });
                    if before.is_some() {
                        self.held = batch.map(|batch| (batch, length));
                        return Ok(before);
                    }
                    bytes = length;
                }
            }
        }
    }

    /// The next line that is something, and where it goes. What is nothing is noted.
    fn line(&mut self) -> Result<Option<(format::Destination, Line)>, ImportError> {
        loop {
            let read = self.lines.next().map_err(|source| {
                let line = self.lines.next_number();
                ImportError::Read { path: self.path.to_owned(), line, source }
            })?;
            let Some(line) = read else { return Ok(None) };
            if line.number < self.from && self.format != ImportFormat::Auto {
                continue;
            }
            match self.judge(&line)? {
                _ if line.number < self.from => {}
                Ok(to) => return Ok(Some((to, line))),
                Err(reason) => {
                    self.tally.lines = self.tally.lines.saturating_add(1);
                    self.refuse(line.number, &reason);
                }
            }
        }
    }

    /// Where a line goes, or why it goes nowhere. The first one decides for the file.
    fn judge(&mut self, line: &Line) -> Result<Result<format::Destination, String>, ImportError> {
        if line.too_long {
            return Ok(Err("the line is longer than a request may be".to_owned()));
        }
        let members = match Members::of(&line.text) {
            Ok(members) => members,
            Err(error) => return Ok(Err(format!("no JSON object: {error}"))),
        };
        if self.format == ImportFormat::Auto {
            let unrecognised = || ImportError::Unrecognised(self.path.to_owned());
            self.format = detect(&members).ok_or_else(unrecognised)?;
        }
        let to = destination(self.format, &members);
        Ok(to.ok_or_else(|| "neither traces nor logs of OTLP".to_owned()))
    }
}
