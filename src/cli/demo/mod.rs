//! `demo`: plays an agent run over OTLP, and shows that one id finds all of it.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`play`]: send, ask, show, check |
//! | `run.rs` | [`demo`]: a server of its own, the run, the way out |
//! | `scenario.rs` | the run: a refund agent with an approval, a resume and a blocked step |
//! | `complete.rs` | what the story must contain to be complete |
//! | `otlp.rs` | short ways to write OTLP messages down |
//! | `place.rs` | a throw-away data folder, free addresses |

mod complete;
mod otlp;
mod place;
mod run;
mod scenario;

pub use complete::missing;
pub use otlp::Export;
pub use place::{ThrowAwayDir, free_or_default};
pub use run::{Server, demo};
pub use scenario::{EXTERNAL_ID, Scenario, scenario};

use super::args::TraceOrder;
use super::client::Source;
use super::display::Style;
use super::endpoints::Endpoints;
use super::exit::{CommandError, Exit};
use super::timeline::{Story, timeline};
use super::trace::{Asked, StoryPage, story};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};
use tonic::transport::{Channel, Endpoint};

/// How long the index may take to show what the ledger has. It takes milliseconds.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a request may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The receiver cannot be reached.
    #[error("the receiver at {address} cannot be reached; does something else use its port?")]
    Connect {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The receiver did not accept a request.
    #[error("the receiver did not accept request {number}; its log says why")]
    Export {
        /// Which of the scenario's requests, from 1.
        number: usize,
        /// What it said.
        source: Box<tonic::Status>,
    },
    /// The receiver refused records of a request.
    #[error("the receiver refused {refused} records of request {number}: {reason}")]
    Refused {
        /// Which of the scenario's requests, from 1.
        number: usize,
        /// How many records.
        refused: i64,
        /// What it said.
        reason: String,
    },
    /// The data folder cannot be made.
    #[error("no throw-away data folder can be made in {}; set TMPDIR to a folder that can be written", .parent.display())]
    Folder {
        /// Where.
        parent: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Plays the run against the server at those endpoints and shows what one id finds.
///
/// The answer is [`Exit::Failed`] when the story is not complete. With `stays` the server goes on,
/// and the commands to try next are shown.
///
/// # Errors
/// [`CommandError`].
pub async fn play(
    endpoints: &Endpoints,
    stays: bool,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let scenario = scenario(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    writeln!(
        out,
        "Playing a refund agent: {} records in {} OTLP requests to {}.\n\n  \
         run        {}\n  trace      {}\n  resumed as {}\n  approval   {}\n  page       http://{}/\n",
        scenario.records,
        scenario.exports.len(),
        endpoints.grpc,
        scenario.run_id,
        scenario.first_trace,
        scenario.resumed_trace,
        scenario.approval_id,
        endpoints.api,
    )?;
    out.flush()?;
    send(endpoints, &scenario.exports).await?;
    writeln!(out, "Every request was acknowledged, and only after it was on disk.\n")?;

    let source = Source::http(&endpoints.api.to_string())?;
    let (found, missing) = ask_until_complete(&source, &scenario).await?;
    writeln!(out, "$ spanledger trace {EXTERNAL_ID}\n")?;
    let StoryPage { trace_ids, entries, truncated, .. } = &found;
    let story = Story { asked: EXTERNAL_ID, trace_ids, entries, truncated: *truncated };
    write!(out, "{}", timeline(&story, style))?;
    if !missing.is_empty() {
        writeln!(out, "\nThe story is not complete. Missing:")?;
        for what in missing {
            writeln!(out, "  - {what}")?;
        }
        out.flush()?;
        return Ok(Exit::Failed);
    }
    write!(out, "{}", afterword(endpoints, &scenario, stays))?;
    out.flush()?;
    Ok(Exit::Fine)
}

fn afterword(endpoints: &Endpoints, scenario: &Scenario, stays: bool) -> String {
    let api = endpoints.api;
    let found = format!(
        "\nAll of it was found by {EXTERNAL_ID}, which only one of the {} records carried: the\n\
         first trace's root span, sent after its children. The approval and the resumed run\n\
         arrived under another trace.\n",
        scenario.records
    );
    if !stays {
        return found
            + "\nRun `spanledger demo` without --exit to look around, or `spanledger serve` to\n\
               take traces of your own.\n";
    }
    format!(
        "{found}\nTry:\n  \
         spanledger trace {EXTERNAL_ID} --api http://{api}\n  \
         spanledger trace {} --api http://{api}\n  \
         spanledger search 'decision:block' --api http://{api}\n  \
         spanledger tail --from-start --json --api http://{api}\n  \
         curl http://{api}/api/v1/traces/{EXTERNAL_ID}\n\n\
         The data is thrown away when this ends. Ctrl-C ends it.\n",
        scenario.approval_id
    )
}

async fn send(endpoints: &Endpoints, exports: &[Export]) -> Result<(), DemoError> {
    let channel = connect(endpoints).await?;
    for (at, export) in exports.iter().enumerate() {
        let number = at.saturating_add(1);
        let failed = |status| DemoError::Export { number, source: Box::new(status) };
        let partial = match export {
            Export::Traces(request) => {
                let mut client = TraceServiceClient::new(channel.clone());
                let answer = client.export(request.clone()).await.map_err(failed)?.into_inner();
                answer.partial_success.map(|part| (part.rejected_spans, part.error_message))
            }
            Export::Logs(request) => {
                let mut client = LogsServiceClient::new(channel.clone());
                let answer = client.export(request.clone()).await.map_err(failed)?.into_inner();
                answer.partial_success.map(|part| (part.rejected_log_records, part.error_message))
            }
        };
        // A message without refused records is a remark, not a failure (OTLP, "Partial Success").
        if let Some((refused, reason)) = partial.filter(|(refused, _)| *refused > 0) {
            return Err(DemoError::Refused { number, refused, reason });
        }
    }
    Ok(())
}

async fn connect(endpoints: &Endpoints) -> Result<Channel, DemoError> {
    let address = endpoints.grpc;
    let connect = |source| DemoError::Connect { address, source };
    Endpoint::from_shared(format!("http://{address}"))
        .map_err(connect)?
        .connect_timeout(EXPORT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT)
        .connect()
        .await
        .map_err(connect)
}

/// Asks for the one id until nothing is missing, or until it has taken too long. The index follows
/// the ledger: what was acknowledged is durable at once and shown a moment later.
async fn ask_until_complete(
    source: &Source,
    scenario: &Scenario,
) -> Result<(StoryPage, Vec<String>), CommandError> {
    let began = Instant::now();
    loop {
        let asked = Asked { id: EXTERNAL_ID, order: TraceOrder::Story, tenant: None };
        let found = story(source, &asked).await?;
        let missing = missing(&found.entries, scenario);
        if missing.is_empty() || began.elapsed() > SHOWN_WITHIN {
            return Ok((found, missing));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
