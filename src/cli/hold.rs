//! `hold`: evidence that retention leaves alone, until it is released.

use super::args::DEFAULT_DATA_DIR;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::keys::actor;
use crate::access::{DEFAULT_TENANT, Tenant};
use crate::pipeline::{Hold, HoldAct, Holds};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// `hold`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger hold add --trace langsmith-run-abc123 --reason 'case 2026-117'\n  spanledger hold add --tenant acme --all --reason 'audit by the regulator'\n  spanledger hold list\n  spanledger hold release hold-4be1f0c1a2b3d4e5 --reason 'case closed'\n\nA hold is in effect when the command returns: retention takes no body of what is held. Each hold\nand each release becomes an entry of the ledger, at the latest at the server's next start."
)]
pub struct HoldArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: HoldCommand,

    /// Data folder of the ledger
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SPANLEDGER_DATA",
        default_value = DEFAULT_DATA_DIR,
        hide_env_values = true
    )]
    pub data: PathBuf,
}

/// What can be done with holds.
#[derive(Debug, Clone, Subcommand)]
pub enum HoldCommand {
    /// Hold the story of an id, or everything of a tenant
    Add(AddHoldArgs),
    /// Show what is held, by whom and why
    List(ListHoldsArgs),
    /// Release a hold
    Release(ReleaseHoldArgs),
}

/// `hold add`.
#[derive(Debug, Clone, Args)]
pub struct AddHoldArgs {
    /// Any form of any id of the run; what is joined with it is held too
    #[arg(long, value_name = "ID", required_unless_present = "all", value_parser = NonEmptyStringValueParser::new())]
    pub trace: Option<String>,

    /// Everything of the tenant
    #[arg(long, conflicts_with = "trace")]
    pub all: bool,

    /// Whose evidence
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TENANT, value_parser = tenant)]
    pub tenant: Tenant,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// `hold list`.
#[derive(Debug, Clone, Args)]
pub struct ListHoldsArgs {
    /// Print the holds as JSON
    #[arg(long)]
    pub json: bool,
}

/// `hold release`.
#[derive(Debug, Clone, Args)]
pub struct ReleaseHoldArgs {
    /// Which one: the id that `add` printed
    pub id: String,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
}

fn tenant(name: &str) -> Result<Tenant, String> {
    Tenant::new(name).map_err(|error| error.to_string())
}

/// Changes or shows the holds of a data folder, whether a server runs on it or not.
///
/// # Errors
/// [`CommandError`] when the folder cannot be read or written.
pub fn hold(args: &HoldArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let holds = Holds::of(&args.data);
    match &args.command {
        HoldCommand::Add(add) => {
            let (tenant, trace) = (add.tenant.clone(), add.trace.clone());
            let hold = holds.add(tenant, trace, actor(), add.reason.clone())?;
            writeln!(out, "{}  {}", hold.id, what(&hold))?;
        }
        HoldCommand::Release(release) => {
            let hold = holds.release(&release.id, actor(), release.reason.clone())?;
            writeln!(out, "{} is released: {}", hold.id, what(&hold))?;
        }
        HoldCommand::List(list) => {
            let mut all = holds.read()?;
            all.retain(|hold| hold.released.is_none());
            if list.json {
                serde_json::to_writer(&mut *out, &all).map_err(CommandError::Answer)?;
                writeln!(out)?;
            } else if all.is_empty() {
                writeln!(out, "nothing is held")?;
            }
            for hold in all.iter().filter(|_| !list.json) {
                let HoldAct { actor, reason, at, .. } = &hold.added;
                let (actor, reason) = (clean(actor), clean(reason));
                writeln!(out, "{}  {at:.0}  {}  {actor}: {reason}", hold.id, what(hold))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// What is held, for people.
fn what(hold: &Hold) -> String {
    match &hold.trace {
        Some(trace) => format!("{} of tenant {}", clean(trace), hold.tenant.name()),
        None => format!("everything of tenant {}", hold.tenant.name()),
    }
}
