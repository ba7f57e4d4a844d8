//! `import` on the command line.

use super::super::args::DEFAULT_DATA_DIR;
use super::super::connect::ConnectArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `import`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger import decisions.jsonl.gz\n  spanledger import --format cerbos audit.log\n  spanledger import --endpoint http://127.0.0.1:4318 traces.jsonl\n  spanledger import --from 120001 decisions.jsonl\n\nA file has one OTLP request, decision-log object, run or audit line in each line, as JSON; .gz and\n.zst are unpacked. `jq -c '.[]' list.json` makes lines of a list. Entries carry the time that their\nlines say. What is imported twice is stored once: after an interruption, run it again.\nLines that are refused are listed in FILE.rejected.jsonl; the exit code is 1 then."
)]
pub struct ImportArgs {
    /// Files of JSON Lines
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// What the lines are; `auto` tells it by the first line of each file
    #[arg(long, value_enum, default_value = "auto")]
    pub format: ImportFormat,

    // `help` and not the comment, because a bare URL is no Markdown.
    #[allow(missing_docs, reason = "the help text below says it")]
    #[arg(
        long,
        help = "Where the server takes OTLP over HTTP, such as http://127.0.0.1:4318; without it the server of --data",
        value_name = "URL",
        env = "SPANLEDGER_ENDPOINT",
        hide_env_values = true
    )]
    pub endpoint: Option<String>,

    /// Data folder whose endpoints.json says where its server listens
    #[arg(
        long,
        value_name = "DIR",
        env = "SPANLEDGER_DATA",
        default_value = DEFAULT_DATA_DIR,
        hide_env_values = true
    )]
    pub data: PathBuf,

    /// First line that is sent, counted from 1: where an import before was interrupted
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub from: u64,

    /// Print progress and the result as JSON Lines
    #[arg(long)]
    pub json: bool,

    /// As whom the server is asked.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Told by the first line.
    Auto,
    /// An OTLP request of traces or logs a line, as the Collector's file exporter writes it.
    OtlpJson,
    /// Flat audit lines: `run_id`, `decision`, `reason`, `action`, ….
    Entries,
    /// Events of Open Policy Agent's decision log.
    Opa,
    /// Entries of Cerbos' decision log.
    Cerbos,
    /// Jobs, decisions, approvals, timeline events and policy changes of Cordum.
    Cordum,
    /// Runs of `LangSmith`.
    Langsmith,
}
