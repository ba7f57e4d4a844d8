//! `keys log`: the key that signs the public log.

use super::exit::{CommandError, Exit};
use super::keys_args::{LogKeyArgs, LogKeyCommand};
use crate::pipeline::{ask_for_rotation, log_key};
use std::io::Write;
use std::path::Path;

/// Shows the key, or asks for another. `actor` is who asks.
///
/// # Errors
/// [`CommandError`]; nothing is changed then.
pub(super) fn run(
    args: &LogKeyArgs,
    data: &Path,
    actor: &str,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let keys = args.keys.clone().unwrap_or_else(|| data.join("keys"));
    match args.command {
        LogKeyCommand::Show => writeln!(out, "{}", log_key(&keys)?)?,
        LogKeyCommand::Rotate => {
            let next = ask_for_rotation(&keys, actor)?;
            writeln!(out, "{next}")?;
            writeln!(
                out,
                "takes over within the next checkpoints, or when spanledger starts. The old key \
                 signs the entry that says so and one more checkpoint. Give this line to whoever \
                 verifies."
            )?;
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}
