//! `erase`: the sealed payloads of one subject made unreadable for good. Through the running server
//! of the data folder, else on the folder itself.

use super::args::SourceArgs;
use super::client::{Source, SourceError};
use super::connect::ConnectArgs;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::keys::actor;
use crate::api::{EraseAnswer, EraseRequest};
use crate::config::{Config, ConfigError, Overrides};
use crate::convert::MappingError;
use crate::intake::ErasureError;
use crate::pipeline::{self, Opened, PipelineError, ledger_dir};
use clap::Args;
use jiff::Timestamp;
use std::io::Write;
use std::path::PathBuf;

/// `erase`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger erase --tenant acme --subject alice --actor 'Ada Example' --reason 'request 17 of 2026'\n  spanledger erase --tenant acme --subject alice --actor ada --reason 'request 17' --api https://ledger.example:4380 --key-file operator.key\n  spanledger erase --tenant acme --no-subject --actor ada --reason 'end of contract'\n\nWhat mode full sealed for the subject is not opened any more, by anybody: its key is destroyed.\nEntries stay and the ledger verifies as before; one more says who erased what, when and why, and\nnever names the subject. There is no way back. Texts that modes redact and hash kept in the entries,\nids, and copies of the folder of keys are not reached: see docs/erasure.md.\nA running server is asked, with an operator's key where it has credentials; when none runs, whoever\nmay write to the data folder does it."
)]
pub struct EraseArgs {
    /// Whose evidence it is in
    #[arg(long, value_name = "NAME")]
    pub tenant: String,

    /// The person's id as it was sent, in the field that audit.subject names
    #[arg(long, value_name = "ID", required_unless_present = "no_subject")]
    pub subject: Option<String>,

    /// Payloads of the tenant that belong to no person
    #[arg(long, conflicts_with = "subject")]
    pub no_subject: bool,

    /// Who orders it
    #[arg(long, value_name = "NAME")]
    pub actor: String,

    /// Why, on one line that does not name the person: it stays on record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Print what was erased as JSON
    #[arg(long)]
    pub json: bool,

    /// Data folder [default: ./spanledger-data]
    #[arg(long, value_name = "DIR", env = "SPANLEDGER_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,

    /// Configuration file (YAML) of its server, which says where keys are
    #[arg(long, value_name = "FILE", env = "SPANLEDGER_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    // No environment variable: what cannot be undone happens where this line says.
    /// Address of a running server's API that is asked to do it
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,

    /// As whom it is asked.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Why nothing was erased, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The mappings cannot be used.
    #[error(transparent)]
    Mappings(#[from] MappingError),
    /// The data folder cannot be opened, or its end was not clean.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It was not erased.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
}

impl EraseArgs {
    fn request(&self) -> EraseRequest {
        EraseRequest {
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            actor: self.actor.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Erases.
///
/// # Errors
/// [`CommandError`]; nothing is erased then, except as [`ErasureError::Record`] says.
pub async fn erase(args: &EraseArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let overrides = Overrides { data: args.data.clone(), ..Overrides::default() };
    let config = Config::load(args.config.as_deref(), &overrides).map_err(EraseError::from)?;
    let source = SourceArgs {
        data: config.data.clone(),
        api: args.api.clone(),
        connect: args.connect.clone(),
    };
    let answer = match Source::open(&source, |_| Ok(None)).await {
        Ok(server) => {
            let bytes = server.post(&["api", "v1", "erasures"], &args.request()).await?;
            serde_json::from_slice(&bytes).map_err(CommandError::Answer)?
        }
        // No server runs, and there is a ledger.
        Err(SourceError::Nothing { .. }) if ledger_dir(&config.data).is_dir() => {
            in_folder(&config, args.request()).await?
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&answer).map_err(std::io::Error::other)?)?;
    } else {
        write(&answer, out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// Erases in a data folder that no server runs on: its ledger is opened, and its lock taken.
async fn in_folder(config: &Config, request: EraseRequest) -> Result<EraseAnswer, EraseError> {
    let request = request.read(actor(), false, Timestamp::now()).map_err(EraseError::Invalid)?;
    let opened = Opened::open(config, pipeline::mappings(config)?)?;
    let erased = opened.intake().erase(request).await;
    // Also when nothing was erased: the ledger ends in order.
    let closed = opened.close().await;
    let answer = EraseAnswer::of(&erased?);
    closed?;
    Ok(answer)
}

fn write(answer: &EraseAnswer, out: &mut impl Write) -> std::io::Result<()> {
    let EraseAnswer { tenant, subject, keys, at } = answer;
    let (tenant, subject) = (clean(tenant), clean(subject));
    if keys.is_empty() {
        writeln!(
            out,
            "nothing is sealed for this subject in tenant {tenant}, or all of it was erased before; check the \
             spelling of the id"
        )?;
    } else {
        writeln!(out, "destroyed {} key(s) of tenant {tenant} at {}", keys.len(), clean(at))?;
        for key in keys {
            writeln!(out, "  {}", clean(key))?;
        }
    }
    writeln!(
        out,
        "on record: `spanledger search 'kind:erasure AND {subject}'`. Copies of the folder of keys still open it."
    )
}
