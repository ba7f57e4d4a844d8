//! How a command ends: its exit code, and what it says on the way out.

use super::client::SourceError;
use super::convert::ConvertError;
use super::demo::DemoError;
use super::erase::EraseError;
use super::import::ImportError;
use super::keys::KeysError;
use super::trust::TrustError;
use crate::evidence::FolderError;
use crate::pipeline::{HoldsError, LogKeyError, RepairError};
use std::io;
use std::path::PathBuf;

/// Exit codes of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Fine.
    Fine,
    /// It failed.
    Failed,
    /// The command line is wrong; `clap` ends with this code by itself.
    Usage,
    /// Verification found tampering.
    Tampered,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Tampered => 3,
        })
    }
}

/// Why a command failed. Its text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The answer is not what this version understands.
    #[error("the server's answer cannot be read; are server and command of the same version?")]
    Answer(#[source] serde_json::Error),
    /// Nothing is known by that id.
    #[error(
        "nothing is known by the id {id:?}; check its spelling, or look for a part of it with \
         `spanledger search '{id}*'`"
    )]
    UnknownId {
        /// The id, harmless.
        id: String,
    },
    /// No checkpoint covers the entry.
    #[error(
        "no signed checkpoint covers the entry yet; a running server signs one within seconds, so ask \
         again a moment later"
    )]
    NotProved,
    /// A receipt is of the tree of the last checkpoint.
    #[error(
        "--size is for an entry that is named by its sequence; `spanledger proof ID` shows it, so ask with \
         the sequence once more"
    )]
    SizeOfReceipt,
    /// There is no such dead letter.
    #[error("no dead letter has the sequence {sequence}; `spanledger dead-letters list` shows all")]
    NoLetter {
        /// What was asked for.
        sequence: u64,
    },
    /// Following needs a server that writes.
    #[error(
        "no server runs on this data folder, so nothing new can come; start one with \
         `spanledger serve`, or read what is there with `spanledger search`"
    )]
    NothingToFollow,
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
    /// The ledger cannot be checked.
    #[error("the ledger cannot be checked; name its data folder with --data DIR")]
    Verify(#[from] FolderError),
    /// Holds were not read or changed.
    #[error(transparent)]
    Holds(#[from] HoldsError),
    /// What a verification is to be made with cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The copy in Elasticsearch cannot be compared.
    #[error("the documents of the cluster cannot be compared with the ledger")]
    Copy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file cannot be written.
    #[error("{} cannot be written; name another file, or say --force to replace one", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing was repaired, or not to its end.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// Files were not imported, or not to their end.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Keys were not changed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nothing was erased, or not yet.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// The key of the public log was not changed.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// Nothing was converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The demo's server could not be started or stopped.
    #[error("the demo's server failed")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The demo failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

/// The error with its causes on one line, for standard error.
pub fn error_line(error: &dyn std::error::Error) -> String {
    format!("spanledger: {}", with_causes(error))
}

/// The error with its causes on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    super::display::clean(&line)
}

/// Tells the error and gives the exit code. A reader that went away (`… | head`) is fine.
pub fn end(result: Result<Exit, CommandError>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => {
            use std::io::Write as _;
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", error_line(&error));
            match error {
                // What was asked cannot be asked: a query that cannot be read, a strange cursor.
                CommandError::Source(SourceError::Problem(problem)) if problem.status == 400 => {
                    Exit::Usage
                }
                CommandError::SizeOfReceipt => Exit::Usage,
                CommandError::Convert(error) => error.exit(),
                _ => Exit::Failed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_fine() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(end(Err(CommandError::Output(gone))), Exit::Fine);
    }

    #[test]
    fn causes_stand_on_one_line_and_once() {
        let error = CommandError::Output(io::Error::other("disk\nfull"));
        assert_eq!(error_line(&error), "spanledger: standard output cannot be written: disk full");
    }
}
