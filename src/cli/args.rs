//! The command line as `clap` sees it: commands, flags, their environment variables, examples.

use super::bench::BenchArgs;
use super::clock::ConfirmClockArgs;
use super::connect::ConnectArgs;
use super::erase::EraseArgs;
use super::hold::HoldArgs;
use super::import::ImportArgs;
use super::keys_args::KeysArgs;
use super::proof::ProofArgs;
use super::repair::RepairArgs;
use super::setup::SetupArgs;
use super::verify_args::{EvidenceArgs, VerifyArgs};
use crate::api::{DEFAULT_LETTERS, MAX_LETTERS};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where data lives when nobody says otherwise, relative to the working directory.
pub const DEFAULT_DATA_DIR: &str = "./spanledger-data";

/// Default address of OTLP over gRPC.
pub const DEFAULT_GRPC: &str = "127.0.0.1:4317";

/// Default address of OTLP over HTTP.
pub const DEFAULT_HTTP: &str = "127.0.0.1:4318";

/// Default address of the API and the page.
pub const DEFAULT_API: &str = "127.0.0.1:4380";

/// Turns the traces of AI agents into evidence.
///
/// It takes spans over OTLP, makes audit entries of them, writes those to a tamper-evident ledger
/// before it acknowledges them, and finds a whole run by any of its trace ids.
#[derive(Debug, Parser)]
#[command(
    name = "spanledger",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Start here:\n  spanledger demo --exit        plays an agent run and finds it by its LangSmith id\n  spanledger serve              takes OTLP on 127.0.0.1:4317 and :4318, answers on :4380\n\nExit codes: 0 fine, 1 failed, 2 usage, 3 verification found tampering."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What spanledger can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: OTLP in, the ledger, the API
    Serve(ServeArgs),
    /// Play an agent run with a blocked step and an approval, and find it by one id
    Demo(DemoArgs),
    /// Find entries, newest first
    Search(SearchArgs),
    /// Show everything that belongs to one id, as a timeline
    Trace(TraceArgs),
    /// Follow entries as they become durable
    Tail(TailArgs),
    /// Send files of JSON Lines to a running server: OTLP, decision logs, runs, audit lines
    Import(ImportArgs),
    /// Check that nobody changed the ledger, or a bundle of evidence
    Verify(VerifyArgs),
    /// Go on with what can be kept of a damaged ledger
    Repair(RepairArgs),
    /// Keep evidence beyond its retention: hold a story or a tenant, list holds, release them
    Hold(HoldArgs),
    /// Say that the clock is right, so that retention goes on after a long pause
    ConfirmClock(ConfirmClockArgs),
    /// Put everything that belongs to one id into one file that others can check
    Evidence(EvidenceArgs),
    /// Prove that an entry is in the log, or that an older log is the beginning of it
    Proof(ProofArgs),
    /// Prepare what spanledger writes to: Elasticsearch or OpenSearch
    Setup(SetupArgs),
    /// Entries that the cluster did not take: list, show, send again, give up
    DeadLetters(DeadLettersArgs),
    /// Who may write and read: make keys, list, rotate and revoke them
    Keys(KeysArgs),
    /// Make the sealed payloads of one subject unreadable, for good and on record
    Erase(EraseArgs),
    /// Show what a request becomes: for whoever adds a family
    Convert(ConvertArgs),
    /// Measure what a span costs on this machine
    Bench(BenchArgs),
}

/// `convert`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger convert < request.json\n  spanledger convert --mapping mine.yaml --explain request.bin | less\n  spanledger convert --json request.bin | jq '[.audit.kind, .gen_ai.tool.name]'\n  spanledger convert --check mine.yaml\n\nA request is the body of a POST to /v1/traces or /v1/logs as it was sent: protobuf or JSON,\ncompressed or not, with gRPC's frames or without. Nothing is stored, and no server is asked.\ndocs/mappings.md says how to add a family.\nExit codes: 0 fine, 1 a record would be refused, 2 a mapping or the request is wrong."
)]
pub struct ConvertArgs {
    /// File with the request; standard input when it is left out
    pub request: Option<PathBuf>,

    /// Mapping file beside those that are compiled in; it replaces the one of the same file name
    #[arg(long, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,

    /// Configuration file (YAML) whose protection and mappings are used
    #[arg(long, value_name = "FILE", env = "SPANLEDGER_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// The request has traces, whatever it looks like
    #[arg(long, conflicts_with = "logs")]
    pub traces: bool,

    /// The request has log records, whatever it looks like
    #[arg(long)]
    pub logs: bool,

    /// Print one entry a line, as it would be stored; so it is where there is no terminal
    #[arg(long, conflicts_with = "explain")]
    pub json: bool,

    /// Say for each field what filled it, and what nothing claimed; so it is on a terminal
    #[arg(long)]
    pub explain: bool,

    /// Only say whether this mapping file is right
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    pub check: Option<PathBuf>,
}

/// `serve`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger serve\n  spanledger serve --data /var/lib/spanledger --config /etc/spanledger.yaml\n  spanledger serve --config spanledger.yaml --check-config\n  spanledger serve --listen-grpc 127.0.0.1:0 --listen-http 127.0.0.1:0 --listen-api 127.0.0.1:0\n\nPort 0 takes a free port; the start line and DATA/endpoints.json say which.\nA flag wins over its environment variable, and that over the configuration file."
)]
pub struct ServeArgs {
    /// Folder of the ledger, the index and the keys [default: ./spanledger-data]
    #[arg(long, value_name = "DIR", env = "SPANLEDGER_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,

    /// Configuration file (YAML); none is needed
    #[arg(long, value_name = "FILE", env = "SPANLEDGER_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Read the configuration, say what it means, and stop
    #[arg(long)]
    pub check_config: bool,

    /// Address of OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR", env = "SPANLEDGER_LISTEN_GRPC", hide_env_values = true)]
    pub listen_grpc: Option<SocketAddr>,

    /// Address of OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR", env = "SPANLEDGER_LISTEN_HTTP", hide_env_values = true)]
    pub listen_http: Option<SocketAddr>,

    /// Address of the API and the page [default: 127.0.0.1:4380]
    #[arg(long, value_name = "ADDR", env = "SPANLEDGER_LISTEN_API", hide_env_values = true)]
    pub listen_api: Option<SocketAddr>,

    /// Elasticsearch or OpenSearch to export to, several nodes separated by commas; credentials and
    /// TLS are in the configuration file
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        env = "SPANLEDGER_ELASTICSEARCH",
        hide_env_values = true
    )]
    pub elasticsearch: Vec<String>,
}

/// `demo`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger demo               plays the run and keeps serving until Ctrl-C\n  spanledger demo --exit        plays the run, shows what was found, and stops\n\nThe data folder is thrown away at the end. Ports are the default ones, or free ones when those\nare taken. With --exit the exit code is 1 when the story that was found is not complete."
)]
pub struct DemoArgs {
    /// Stop after the search result was shown
    #[arg(long)]
    pub exit: bool,
}

/// Where the answers come from: a running server, or the data folder when none runs.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Data folder: its endpoints.json says where its server listens; when none runs, it is read
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SPANLEDGER_DATA",
        default_value = DEFAULT_DATA_DIR,
        hide_env_values = true
    )]
    pub data: PathBuf,

    // `help` and not the comment, because a bare URL is no Markdown.
    #[allow(missing_docs, reason = "the help text below says it")]
    #[arg(
        long,
        global = true,
        help = "Address of a running server's API, such as http://127.0.0.1:4380",
        value_name = "URL",
        env = "SPANLEDGER_API",
        hide_env_values = true
    )]
    pub api: Option<String>,

    /// As whom it is asked.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Order of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchOrder {
    /// The latest in the ledger first.
    Newest,
    /// The oldest in the ledger first.
    Oldest,
    /// By time of the event.
    Story,
}

impl SearchOrder {
    /// The word that the API takes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Story => "story",
        }
    }
}

/// `search`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger search 'trace_id:langsmith-run-abc123'\n  spanledger search 'decision:block AND tool:issue_refund'\n  spanledger search 'decision:(block OR require_approval) AND NOT actor:\"ops-lead\"'\n  spanledger search 'kind:tool_call AND @timestamp>=2026-11-01' --json\n\nField names: run_id step_id workflow_id job_id tenant_id decision reason action actor policy tool\nmodel kind, and every field of an entry by its path, such as audit.policy.snapshot.\nWhat a person types into Kibana works here."
)]
pub struct SearchArgs {
    /// What to look for
    pub query: String,

    /// Entries on one page
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// Where the page before ended: the word that it printed
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,

    /// Order of the entries
    #[arg(long, value_enum, default_value = "newest")]
    pub order: SearchOrder,

    /// Print the API's answer, unchanged
    #[arg(long)]
    pub json: bool,

    /// Whose evidence: for a key that reads every tenant's
    #[arg(long, value_name = "NAME", env = "SPANLEDGER_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `trace`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger trace langsmith-run-abc123\n  spanledger trace 4bf92f3577b34da6a3ce929d0e0e4736\n  spanledger trace langsmith-run-abc123 --order ledger\n  spanledger trace langsmith-run-abc123 --json | jq '.entries[].audit.decision'\n\nThe id may be any form of any id: the orchestrator's trace id, OpenTelemetry's, a run, workflow,\njob, decision or approval. What was resumed later under another trace is found too."
)]
pub struct TraceArgs {
    /// Any form of any id of the run
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,

    /// Order of the entries: as the story went, or as the ledger holds them
    #[arg(long, value_enum, default_value = "story")]
    pub order: TraceOrder,

    /// Print the API's answer, unchanged (one page)
    #[arg(long)]
    pub json: bool,

    /// Entries on one page of --json
    #[arg(long, value_name = "N", requires = "json", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// Where the page of --json before ended
    #[arg(long, value_name = "CURSOR", requires = "json")]
    pub cursor: Option<String>,

    /// Whose evidence: for a key that reads every tenant's
    #[arg(long, value_name = "NAME", env = "SPANLEDGER_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Order of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceOrder {
    /// By time, then ancestry, then id.
    Story,
    /// As the ledger holds them.
    Ledger,
}

impl TraceOrder {
    /// The word that the API takes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Ledger => "ledger",
        }
    }
}

/// `tail`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger tail\n  spanledger tail 'decision:block'\n  spanledger tail --json | jq -c '[.audit.kind, .message]'\n\nCtrl-C ends it. --json prints one entry a line."
)]
pub struct TailArgs {
    /// Only entries that this query matches
    #[arg(default_value = "")]
    pub query: String,

    /// Begin with the ledger's first entry instead of the newest
    #[arg(long)]
    pub from_start: bool,

    /// Print entries as JSON Lines
    #[arg(long)]
    pub json: bool,

    /// Whose evidence: for a key that reads every tenant's
    #[arg(long, value_name = "NAME", env = "SPANLEDGER_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }

    #[test]
    fn several_nodes_are_separated_by_commas_for_serve_as_for_setup() {
        let line = ["spanledger", "serve", "--elasticsearch", "http://a:1,http://b:2"];
        let Command::Serve(serve) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not serve")
        };
        assert_eq!(serve.elasticsearch, ["http://a:1", "http://b:2"]);
    }
}

/// `dead-letters`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger dead-letters list\n  spanledger dead-letters show 1042\n  spanledger dead-letters replay --all\n  spanledger dead-letters drop 1042 --reason 'test data, not needed in the cluster'\n\nA dead letter is an entry that Elasticsearch refused for good. The entry itself is in the ledger\nand is found by `spanledger search`; after what it was refused for is put right, replay sends it.\nWhat is dropped stays in the ledger only; who dropped it, when and why is kept.\nThese are the operator's commands: they show the letters of all tenants."
)]
pub struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLettersCommand,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// What can be done with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// List them, with the reason
    List(ListLettersArgs),
    /// Show one, and its entry
    Show(ShowLetterArgs),
    /// Send them again
    Replay(ReplayArgs),
    /// Give them up: their entries stay in the ledger only
    Drop(DropArgs),
}

/// `dead-letters list`.
#[derive(Debug, Clone, Args)]
pub struct ListLettersArgs {
    /// Smallest sequence that is listed
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub from: u64,

    /// Letters on one page
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LETTERS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LETTERS)))]
    pub limit: u32,

    /// Print the API's answer, unchanged
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters show`.
#[derive(Debug, Clone, Args)]
pub struct ShowLetterArgs {
    /// Sequence of the entry, as list prints it
    pub sequence: u64,
}

/// `dead-letters replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Which ones.
    #[command(flatten)]
    pub which: WhichLetters,
}

/// `dead-letters drop`.
#[derive(Debug, Clone, Args)]
pub struct DropArgs {
    /// Which ones.
    #[command(flatten)]
    pub which: WhichLetters,

    /// Why their entries may stay out of the cluster; it is kept with the dead letters
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Some dead letters, or all.
#[derive(Debug, Clone, Args)]
pub struct WhichLetters {
    /// Sequences of the entries
    #[arg(required_unless_present = "all")]
    pub sequences: Vec<u64>,

    /// All of them
    #[arg(long, conflicts_with = "sequences")]
    pub all: bool,
}
