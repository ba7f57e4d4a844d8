//! `repair`: what can be kept of a damaged ledger, after somebody saw what would go and said so.

use super::args::DEFAULT_DATA_DIR;
use super::exit::{CommandError, Exit, with_causes};
use super::keys::actor;
use crate::config::{Config, Overrides};
use crate::ledger::RepairPlan;
use crate::pipeline::{Mandate, mappings, plan_repair, put_aside, repair as do_repair};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

/// Sequences of lost bodies that are shown.
const SHOWN: usize = 20;

/// `repair`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger repair --data /var/lib/spanledger\n  spanledger repair --data /var/lib/spanledger --confirm --reason 'disk sda died, ticket 4711'\n  spanledger repair --data /var/lib/spanledger --restored --confirm --reason 'backup of Sunday'\n\nFirst it shows what would be done, and changes nothing. Restoring the damaged file from a copy is\nalways better. A body that is damaged goes as if its time were over: the tree stays the same. For\nany other damage the log ends before it and goes on as another log, with a new random number and a\nnew key, for what was signed can never be signed again. After a restore of data and keys from one\nbackup nothing shows that the log was longer: say --restored, before the server starts. The damaged\nledger stays beside it. An entry tells what was done, by whom and why, and `verify` says partial\never after.\nExit codes: 0 nothing to repair, or repaired; 1 there is something to repair, or it failed; 2 usage."
)]
pub struct RepairArgs {
    /// Data folder of the ledger; no server may run on it
    #[arg(long, value_name = "DIR", env = "SPANLEDGER_DATA", default_value = DEFAULT_DATA_DIR, hide_env_values = true)]
    pub data: PathBuf,

    /// Configuration file (YAML) of the server
    #[arg(long, value_name = "FILE", env = "SPANLEDGER_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// The data folder was restored from a backup: go on as another log, whatever it looks like
    #[arg(long)]
    pub restored: bool,

    /// Do it
    #[arg(long, requires = "reason")]
    pub confirm: bool,

    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
}

/// Shows what a repair would do, or does it.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be looked at, or was not repaired.
pub async fn repair(args: &RepairArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let overrides = Overrides { data: Some(args.data.clone()), ..Overrides::default() };
    let config = match Config::load(args.config.as_deref(), &overrides) {
        Ok(config) => config,
        Err(error) => {
            // A matter of usage, as for `serve`.
            let _ = writeln!(std::io::stderr(), "spanledger: {}", with_causes(&error));
            return Ok(Exit::Usage);
        }
    };
    let mut planned = plan_repair(&config)?;
    if args.restored {
        planned = planned.of_restored();
    }
    let plan = planned.findings().clone();
    if !plan.is_needed() {
        // The ledger stays locked meanwhile.
        let aside = put_aside(&config)?;
        drop(planned);
        write!(out, "nothing to repair: {} entries are as they were written", plan.kept.size)?;
        writeln!(out, "; a torn last group is cut off at the next start")?;
        for path in aside {
            writeln!(out, "put aside, as it is of the log before: {}", path.display())?;
        }
        return Ok(Exit::Fine);
    }
    out.write_all(describe(&plan).as_bytes())?;
    let Some(reason) = args.reason.clone().filter(|_| args.confirm) else {
        writeln!(out, "nothing was changed; to do it: --confirm --reason TEXT")?;
        out.flush()?;
        return Ok(Exit::Failed);
    };
    let mappings = match mappings(&config) {
        Ok(mappings) => mappings,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "spanledger: {}", with_causes(&error));
            return Ok(Exit::Usage);
        }
    };
    let by = Mandate { actor: actor(), reason };
    let done = Box::pin(do_repair(&config, mappings, planned, &by)).await?;
    writeln!(out, "repaired: the ledger has {} entries", done.entries)?;
    writeln!(out, "the damaged ledger is {}", done.saved_as.display())?;
    for path in done.aside {
        writeln!(out, "put aside, as it is of the log before: {}", path.display())?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn describe(plan: &RepairPlan) -> String {
    let mut text = String::new();
    let lost = &plan.lost_bodies;
    // Writing to a string cannot fail.
    if !lost.is_empty() {
        let shown: Vec<_> = lost.iter().take(SHOWN).map(u64::to_string).collect();
        let more = if lost.len() > SHOWN { ", …" } else { "" };
        let _ = writeln!(
            text,
            "{} bodies are damaged and would go, their leaves and hashes stay: entries {}{more}",
            lost.len(),
            shown.join(", ")
        );
    }
    if let Some(it) = &plan.shortened {
        let (segment, kept) = (it.segment.display(), plan.kept.size);
        let _ = writeln!(
            text,
            "{segment} is damaged at byte {}: {}\nthe log would end with its first {kept} entries; \
             {} that can be read behind them would stay in the damaged ledger only",
            it.offset, it.damage, it.readable
        );
    }
    if let Some(signed) = plan.not_contained {
        let _ = writeln!(
            text,
            "a checkpoint was signed that the ledger does not contain ({signed}): it was set back, \
             or is another one"
        );
    }
    if plan.restored {
        let _ = writeln!(
            text,
            "it was restored from a backup: {} entries are there, and what was written or signed after \
             the backup is lost",
            plan.kept.size
        );
    }
    if plan.needs_new_origin() {
        text.push_str(
            "it would go on as another log, with a new random number and a new key: tell your \
             auditors, and give them the new key\n",
        );
    }
    text
}
