//! `confirm-clock`: somebody says that the clock is right, so that retention goes on.

use super::args::DEFAULT_DATA_DIR;
use super::exit::{CommandError, Exit};
use super::keys::actor;
use crate::pipeline::confirm_clock as confirm;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use std::io::Write;
use std::path::PathBuf;

/// `confirm-clock`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  date\n  spanledger confirm-clock --data /var/lib/spanledger --reason 'the server was off for a month'\n\nRetention takes no body while the clock is more than 14 days after the last time that was believed:\na clock that is wrong by years would end the time of everything at once. Look at the clock first.\nThe server goes on at its next look, or start, and an entry says who confirmed it and why."
)]
pub struct ConfirmClockArgs {
    /// Data folder of the ledger
    #[arg(long, value_name = "DIR", env = "SPANLEDGER_DATA", default_value = DEFAULT_DATA_DIR, hide_env_values = true)]
    pub data: PathBuf,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// Confirms the clock of this machine for a data folder, whether a server runs on it or not.
///
/// # Errors
/// [`CommandError`] when the folder cannot be written.
pub fn confirm_clock(args: &ConfirmClockArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    confirm(&args.data, actor(), args.reason.clone())?;
    writeln!(out, "the clock is right: {:.0}", Timestamp::now())?;
    out.flush()?;
    Ok(Exit::Fine)
}
