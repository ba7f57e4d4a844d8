//! What a span costs the agent's thread: nobody listening, the layers of others, and ours.
//!
//! `cargo bench --bench layer`. `plain` is a span without a field of ours; `audited` one of eight
//! fields with an external trace id, a decision and a tool. Spans go to a receiver in this process
//! that acknowledges at once; at the end each layer says how many it delivered and lost. Read the
//! fastest and the median: on a shared machine the mean says more of the neighbours.

use divan::{AllocProfiler, Bencher};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use spanledger::layer::{AuditLayer, Otlp};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};
use tracing::{Subscriber, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};

#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn main() {
    divan::main();
}

struct Acknowledges;

#[tonic::async_trait]
impl TraceService for Acknowledges {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Acknowledges {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// A receiver that decodes and acknowledges.
fn receiver() -> SocketAddr {
    let _inside = RUNTIME.enter();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(
        tokio::net::TcpListener::from_std(listener).unwrap(),
    );
    let service = TraceServiceServer::new(Acknowledges).max_decoding_message_size(64 << 20);
    RUNTIME.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .add_service(LogsServiceServer::new(Acknowledges))
            .serve_with_incoming(incoming),
    );
    address
}

struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

fn plain(n: u64) {
    let _span = info_span!(
        "step",
        number = n,
        text = "text",
        count = 3,
        ratio = 1.5,
        fine = true,
        other = "more",
        more = 7,
        last = "x"
    )
    .entered();
}

fn audited(n: u64) {
    let _span = info_span!(
        "execute_tool refund",
        trace_id = "langsmith-run-abc123",
        run_id = "run-77",
        gen_ai.request.model = "gpt-4.1",
        gen_ai.usage.input_tokens = n,
        decision = "allow",
        reason = "under the limit",
        tool_name = "refund",
        amount = 740.5,
    )
    .entered();
}

fn run(bencher: Bencher<'_, '_>, subscriber: impl Subscriber + Send + Sync, span: fn(u64)) {
    tracing::subscriber::with_default(subscriber, || {
        let mut n = 0;
        bencher.bench_local(|| {
            n += 1;
            span(divan::black_box(n));
        });
    });
}

fn ours(bencher: Bencher<'_, '_>, span: fn(u64)) {
    let spool = tempfile::tempdir().unwrap();
    let receiver = Otlp::new(format!("http://{}", receiver()));
    let layer = AuditLayer::builder().spool(spool.path()).otlp(receiver).unwrap();
    let handle = layer.handle();
    run(bencher, Registry::default().with(layer), span);
    let told = handle.shutdown_blocking(Duration::from_mins(2));
    let stats = told.stats;
    eprintln!(
        "audit: {} taken, {} delivered, {} lost, complete: {}",
        stats.taken, stats.delivered, stats.lost, told.complete
    );
    assert!(told.complete && stats.lost == 0);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn plain_nothing(bencher: Bencher<'_, '_>) {
    // The registry alone never gives a closed span's place back, so it is measured with a layer
    // that does nothing.
    run(bencher, Registry::default().with(Nothing), plain);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn plain_audit(bencher: Bencher<'_, '_>) {
    ours(bencher, plain);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn audited_nothing(bencher: Bencher<'_, '_>) {
    run(bencher, Registry::default().with(Nothing), audited);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn audited_audit(bencher: Bencher<'_, '_>) {
    ours(bencher, audited);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn audited_fmt_json(bencher: Bencher<'_, '_>) {
    let json = tracing_subscriber::fmt::layer().json().with_writer(std::io::sink);
    run(bencher, Registry::default().with(json), audited);
}

#[divan::bench(sample_count = 200, sample_size = 1000)]
fn audited_opentelemetry_batch(bencher: Bencher<'_, '_>) {
    use opentelemetry_otlp::WithExportConfig as _;
    let _inside = RUNTIME.enter();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", receiver()))
        .build()
        .unwrap();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    run(bencher, Registry::default().with(layer), audited);
    let _ = provider.shutdown();
}
