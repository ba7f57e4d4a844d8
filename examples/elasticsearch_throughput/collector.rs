//! The spanledger that is measured, as a process, and the spans in its ledger.

use super::Args;
use anyhow::{Context as _, Result, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spanledger::export::CursorFile;
use spanledger::ledger::Reader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// 2026-11-21T08:00:00Z.
const START_NS: u64 = 1_795_248_000_000_000_000;

/// Spans of one OTLP request.
const REQUEST: u64 = 500;

/// Longest time for anything that is waited for.
const PATIENCE: Duration = Duration::from_hours(1);

/// Between two looks: short against the seconds that are measured.
const POLL: Duration = Duration::from_millis(10);

/// Where the collector is and how it is configured.
pub(crate) struct Collector {
    binary: PathBuf,
    data: PathBuf,
    settings: String,
}

/// A process of it; dropping it kills it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Collector {
    pub(crate) fn new(binary: &Path, data: &Path, args: &Args) -> Result<Self> {
        ensure!(binary.exists(), "{} is not there: cargo build --release", binary.display());
        std::fs::create_dir_all(data)?;
        let settings = format!(
            "in_flight: {}, bulk_size: {}, gzip: {}",
            args.in_flight, args.bulk_size, !args.no_gzip
        );
        Ok(Self { binary: binary.to_owned(), data: data.to_owned(), settings })
    }

    /// Templates and the data stream.
    pub(crate) fn set_up(&self, url: &str) -> Result<()> {
        let done =
            Command::new(&self.binary).args(["setup", "elasticsearch", "--url", url]).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Fills the ledger.
    pub(crate) async fn fill(&self, spans: u64, runs: u64) -> Result<()> {
        let mut running = self.start(None)?;
        let grpc = self.address(&mut running, "grpc").await?;
        let mut client = TraceServiceClient::connect(format!("http://{grpc}")).await?;
        for first in (0..spans).step_by(usize::try_from(REQUEST)?) {
            let serials = first..(first + REQUEST).min(spans);
            let spans = serials.map(|serial| span(serial, runs)).collect();
            let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
            let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
            client.export(ExportTraceServiceRequest { resource_spans }).await?;
        }
        Ok(())
    }

    /// Exports the whole ledger; how long it took from the start of the process, and its CPU time.
    pub(crate) async fn export(&self, url: &str, documents: u64) -> Result<(Duration, Duration)> {
        let cursors = self.data.join("cursors");
        let _ = std::fs::remove_dir_all(&cursors);
        std::fs::create_dir_all(&cursors)?;
        // Nothing was sent: without this file everything would be looked up first.
        let origin = Reader::open(&self.data.join("ledger"))?.origin();
        CursorFile::new(&cursors, "elasticsearch-sent", origin).write(0)?;
        let start = Instant::now();
        let mut running = self.start(Some(url))?;
        let api = self.address(&mut running, "api").await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let created = r#"spanledger_elasticsearch_documents_total{outcome="created"} "#;
        while start.elapsed() < PATIENCE {
            let text = client.get(format!("http://{api}/metrics")).send().await?.text().await?;
            let delivered = text.lines().find_map(|line| line.strip_prefix(created));
            if delivered.and_then(|number| number.parse().ok()) == Some(documents) {
                return Ok((start.elapsed(), super::cpu(running.0.id())?));
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("not everything is delivered after {PATIENCE:?}")
    }

    fn start(&self, export_to: Option<&str>) -> Result<Running> {
        let _ = std::fs::remove_file(self.data.join("endpoints.json"));
        let settings = export_to.map_or_else(String::new, |url| {
            format!("elasticsearch: {{urls: [\"{url}\"], {}}}\n", self.settings)
        });
        let config = self.data.with_extension("yaml");
        std::fs::write(&config, format!("index: {{enabled: false}}\n{settings}"))?;
        let log = std::fs::File::create(self.data.with_extension("log"))?;
        let child = Command::new(&self.binary)
            .args(["serve", "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
            .args(["--listen-api", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Running(child))
    }

    /// Where it listens, once it says so.
    async fn address(&self, running: &mut Running, port: &str) -> Result<String> {
        loop {
            if let Some(status) = running.0.try_wait()? {
                let log = std::fs::read_to_string(self.data.with_extension("log"))?;
                bail!("spanledger left with {status}: {log}");
            }
            if let Ok(text) = std::fs::read(self.data.join("endpoints.json")) {
                let endpoints: serde_json::Value = serde_json::from_slice(&text)?;
                return Ok(endpoints[port].as_str().context("an address")?.to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The external id of a run.
pub(crate) fn external_id(run: u64) -> String {
    format!("langsmith-run-{run}")
}

/// A call of a model, 1.2 KB, in one of so many runs that go on at once: the documents of an id
/// are spread over the whole index, which is the most work for a search.
fn span(serial: u64, runs: u64) -> Span {
    let run = serial % runs.max(1);
    let mut trace_id = vec![0xab; 8];
    trace_id.extend_from_slice(&(run + 1).to_be_bytes());
    let input = format!("please refund order {serial}, it is late; ").repeat(14);
    let pairs = [
        ("external.trace_id", external_id(run)),
        ("gen_ai.operation.name", "chat".to_owned()),
        ("gen_ai.request.model", "gpt-4.1".to_owned()),
        ("gen_ai.response.id", format!("resp_{serial:024x}")),
        ("gen_ai.conversation.id", format!("conversation-{}", serial / 5)),
        ("enduser.id", format!("user-{}", serial % 1_000)),
        ("app.region", "eu-central-1".to_owned()),
        ("gen_ai.input.messages", input),
    ];
    let attributes = pairs.into_iter().map(|(key, value)| text(key, value)).collect();
    let start = START_NS + serial * 10_000_000;
    Span {
        trace_id,
        span_id: (serial + 1).to_be_bytes().to_vec(),
        name: "chat gpt-4.1".to_owned(),
        kind: 3,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        attributes,
        ..Span::default()
    }
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }),
        ..KeyValue::default()
    }
}
