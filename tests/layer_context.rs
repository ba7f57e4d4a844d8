//! The ids of a run between processes: real servers, each with a subscriber of its own on a thread
//! of its own, and real clients.

use axum::Router;
use axum::routing::{get, post};
use http::{HeaderMap, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use reqwest_middleware::reqwest;
use serde_json::json;
use spanledger::layer::CANCELLED;
use spanledger::layer::context::{Context, Extract, Inject, Traceparent};
use spanledger::testing::{self, Audit, Audited};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower::{Layer as _, Service as _, ServiceBuilder, ServiceExt as _, service_fn};
use tracing::{Instrument as _, Span, debug_span, info, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

const EXTERNAL: &str = "spanledger.external.trace_id";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Runs `work` on this thread with a layer, and says what was audited.
fn agent<T>(work: impl Future<Output = T>) -> (T, Vec<Audit>) {
    let (layer, audited) = testing::layer();
    let subscriber = Registry::default().with(layer);
    let done = tracing::subscriber::with_default(subscriber, || runtime().block_on(work));
    (done, audited.records())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A service as if it were in another process.
struct Process {
    address: SocketAddr,
    audited: Audited,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Process {
    fn start<F, S>(serve: F) -> Self
    where
        F: FnOnce(TcpListener, oneshot::Receiver<()>) -> S + Send + 'static,
        S: Future<Output = ()>,
    {
        let (layer, audited) = testing::layer();
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            runtime().block_on(async {
                serve(TcpListener::from_std(listener).unwrap(), stopped).await;
            });
        };
        let subscriber = Registry::default().with(layer);
        let thread = std::thread::spawn(|| tracing::subscriber::with_default(subscriber, serve));
        Self { address, audited, stop, thread }
    }

    fn http(router: Router) -> Self {
        Self::start(async |listener, stopped| {
            let stop = async { stopped.await.unwrap() };
            axum::serve(listener, router).with_graceful_shutdown(stop).await.unwrap();
        })
    }

    /// A tool behind gRPC that says what it decided.
    fn grpc(tool: Tool) -> Self {
        Self::start(async |listener, stopped| {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .layer(Extract::new())
                .add_service(TraceServiceServer::new(tool))
                .serve_with_incoming_shutdown(incoming, async { stopped.await.unwrap() })
                .await
                .unwrap();
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it audited until its end.
    fn end(self) -> Vec<Audit> {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
        self.audited.records()
    }
}

struct Tool {
    answer: Result<(), tonic::Code>,
}

#[tonic::async_trait]
impl TraceService for Tool {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        info!(decision = "allow", "tool decided");
        match self.answer {
            Ok(()) => Ok(tonic::Response::new(ExportTraceServiceResponse::default())),
            Err(code) => Err(tonic::Status::new(code, "no")),
        }
    }
}

async fn call_tool(address: SocketAddr) -> Result<(), tonic::Status> {
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = TraceServiceClient::with_interceptor(channel, Inject);
    client.export(ExportTraceServiceRequest::default()).await.map(|_| ())
}

fn named<'r>(records: &'r [Audit], name: &str) -> &'r Audit {
    let found = records.iter().find(|it| it.name == name || it.body.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name} in {records:#?}"))
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Serves one request without a network, and says what was audited.
fn served(extract: &Extract, request: Request<()>) -> Vec<Audit> {
    agent(async {
        let handler = service_fn(async |_| Ok::<_, Infallible>(Response::new(())));
        extract.layer(handler).oneshot(request).await.unwrap();
    })
    .1
}

#[test]
fn an_agent_a_service_and_a_tool_behind_it_are_one_trace_with_one_external_id() {
    let tool = Process::grpc(Tool { answer: Ok(()) });
    let tool_address = tool.address;
    let refund = async move || {
        let span = info_span!("call tool", tool_name = "refund");
        call_tool(tool_address).instrument(span).await.unwrap();
        "refunded"
    };
    let service =
        Process::http(Router::new().route("/refunds", post(refund)).layer(Extract::new()));
    let url = service.url("/refunds?secret=1");
    let (answer, agent) = agent(async {
        let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(Inject);
        let run = info_span!("run", trace_id = "langsmith run/ä-1");
        let below = run.in_scope(|| debug_span!("not captured"));
        let call = client.build().post(url).send().instrument(below);
        call.await.unwrap().text().await.unwrap()
    });
    assert_eq!(answer, "refunded");
    let (service, tool) = (service.end(), tool.end());

    let all: Vec<_> = agent.iter().chain(&service).chain(&tool).collect();
    assert_eq!(all.len(), 5, "{all:#?}");
    for record in &all {
        assert_eq!(record.trace_id, agent[0].trace_id);
        assert_eq!(record.text(EXTERNAL), Some("langsmith run/ä-1"));
    }
    let (run, post) = (named(&agent, "run"), named(&service, "POST"));
    assert_eq!((post.parent_span_id, post.kind), (run.span_id, 2));
    assert_eq!(post.text("url.path"), Some("/refunds"), "without the query");
    assert_eq!(post.get("http.response.status_code"), Some(&json!(200)));
    let call = named(&service, "call tool");
    assert_eq!(call.parent_span_id, post.span_id);
    let method = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let method = named(&tool, method);
    assert_eq!((method.parent_span_id, method.text("rpc.system")), (call.span_id, Some("grpc")));
    assert_eq!(named(&tool, "tool decided").span_id, method.span_id);
}

#[test]
fn bad_headers_are_ignored_and_the_request_is_served() {
    let service = Process::http(Router::new().route("/", get(|| async {})).layer(Extract::new()));
    let url = service.url("/");
    let bad = [
        headers(&[("traceparent", "garbage"), ("spanledger-trace-id", "%00")]),
        headers(&[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]),
        headers(&[("baggage", "=,;,==,spanledger.trace_id=,spanledger.trace_id=%ff")]),
        headers(&[("spanledger-trace-id", &"x".repeat(256))]),
        [
            ("spanledger-trace-id", b"\xff\xfe"),
            ("traceparent", b"\xff\xfe"),
            ("baggage", b"\xff\xfe"),
        ]
        .into_iter()
        .map(|(key, value)| (key.parse().unwrap(), value[..].try_into().unwrap()))
        .collect(),
    ];
    runtime().block_on(async {
        for headers in &bad {
            let request = reqwest::Client::new().get(&url).headers(headers.clone());
            assert_eq!(request.send().await.unwrap().status(), 200, "{headers:?}");
        }
    });
    let records = service.end();
    assert_eq!(records.len(), bad.len());
    for record in records {
        assert_eq!((record.parent_span_id, record.get(EXTERNAL)), ([0; 8], None));
        assert!(record.trace_id != [0; 16], "a trace of its own");
    }
}

#[test]
fn baggage_and_the_trace_of_others_are_kept() {
    let echo = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.headers().clone()))
    });
    let (sent, _) = agent(async {
        let mut request = Request::new(());
        *request.headers_mut() = headers(&[
            ("baggage", "team=blue;ttl=1"),
            ("baggage", "spanledger.trace_id=old"),
            ("traceparent", TRACEPARENT),
            ("tracestate", "vendor=1"),
            ("spanledger-trace-id", "old"),
        ]);
        let span = info_span!("run", trace_id = "run-7");
        let client = ServiceBuilder::new().layer(Inject).service(echo);
        async { client.oneshot(request).await.unwrap().into_body() }.instrument(span).await
    });
    assert_eq!(sent["baggage"], "team=blue;ttl=1,spanledger.trace_id=run-7");
    assert_eq!(sent["traceparent"], TRACEPARENT);
    assert_eq!(sent["tracestate"], "vendor=1");
    assert_eq!(sent["spanledger-trace-id"], "run-7");
    assert_eq!(sent.len(), 4);
}

#[test]
fn without_a_layer_nothing_is_injected_and_nothing_fails() {
    let asked = || {
        let span = info_span!("run", trace_id = "run-7");
        span.in_scope(|| (Context::current(), Context::of(&span), Context::of(&Span::none())))
    };
    let none = || (Context::default(), Context::default(), Context::default());
    assert_eq!(asked(), none(), "no subscriber");
    let other = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    tracing::subscriber::with_default(Registry::default().with(other), || {
        assert_eq!(asked(), none(), "another layer only");
        let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
        let service = ServiceBuilder::new().layer(Extract::new()).layer(Inject).service(handler);
        runtime().block_on(service.oneshot(Request::new(()))).unwrap();
    });
}

#[test]
fn outside_of_audited_spans_nothing_is_injected() {
    agent(async {
        let plain = info_span!("plain");
        assert!(Context::current().headers().is_empty());
        assert!(plain.in_scope(|| Context::current().headers()).is_empty());
    });
}

#[test]
fn an_id_that_comes_late_and_the_nearest_audited_span_are_what_goes_out() {
    let ((), records) = agent(async {
        let run = info_span!("run", trace_id = tracing::field::Empty);
        let tool = run.in_scope(|| info_span!("tool", tool_name = "t"));
        assert_eq!(Context::of(&tool).external_trace_id, None);
        run.record("trace_id", "late");
        let below = tool.in_scope(|| debug_span!("not captured"));
        assert_eq!(Context::of(&below), Context::of(&tool));
        info!(target: "audit", sent = Context::of(&below).headers()["traceparent"].to_str().unwrap());
        assert_eq!(Context::of(&below).external_trace_id.as_deref(), Some("late"));
    });
    let sent: Traceparent = records[0].text("sent").unwrap().parse().unwrap();
    let tool = named(&records, "tool");
    assert_eq!((sent.trace_id, sent.parent_id), (tool.trace_id, tool.span_id));
    assert!(sent.is_sampled);
}

#[test]
fn an_id_that_is_a_credential_does_not_go_out_and_neither_does_its_marker() {
    let key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz";
    agent(async {
        let context = Context::of(&info_span!("run", trace_id = key));
        assert_eq!((context.external_trace_id, context.traceparent.is_some()), (None, true));
    });
}

#[test]
fn requests_that_are_not_chosen_make_no_span_and_a_route_can_name_one() {
    let extract = Extract::new()
        .only(|request| request.uri.path() != "/healthz")
        .named(|request| format!("{} /refunds/{{id}}", request.method));
    let of = |path: &str| Request::get(path).body(()).unwrap();
    assert_eq!(served(&extract, of("/healthz")), []);
    assert_eq!(served(&extract, of("/refunds/7"))[0].name, "GET /refunds/{id}");
}

#[test]
fn a_service_for_strangers_does_not_take_their_word() {
    let mut request = Request::new(());
    *request.headers_mut() =
        headers(&[("traceparent", TRACEPARENT), ("spanledger-trace-id", "run-7")]);
    let [record] = &served(&Extract::new().ignore_incoming(), request)[..] else { panic!() };
    assert_eq!((record.parent_span_id, record.get(EXTERNAL)), ([0; 8], None));
    assert_ne!(record.trace_id[0], 0x0a);
}

#[test]
fn a_failure_of_the_service_is_one_of_the_span_and_a_refusal_is_not() {
    let answers = [(Ok(500), 2), (Ok(404), 0), (Err("gone"), 2)];
    for (answer, expected) in answers {
        let (_, records) = agent(async {
            let handler = service_fn(async |_: Request<()>| {
                answer.map(|status| Response::builder().status(status).body(()).unwrap())
            });
            Extract::new().layer(handler).oneshot(Request::new(())).await.map(|_| ())
        });
        assert_eq!(records[0].status, expected, "{answer:?}");
    }
    for (code, expected) in [(tonic::Code::Internal, 2), (tonic::Code::PermissionDenied, 0)] {
        let tool = Process::grpc(Tool { answer: Err(code) });
        let (answer, _) = agent(call_tool(tool.address));
        assert_eq!(answer.unwrap_err().code(), code);
        let records = tool.end();
        let span = records.iter().find(|it| it.is_span).unwrap();
        assert_eq!(span.status, expected, "{code}");
        assert_eq!(span.get("rpc.grpc.status_code"), Some(&json!(code as i32)));
    }
}

#[test]
fn a_request_that_is_given_up_says_so() {
    let ((), records) = agent(async {
        let handler =
            service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
        let mut service = Extract::new().layer(handler);
        let mut answer = pin!(Some(service.call(Request::new(()))));
        std::future::poll_fn(|cx| {
            assert!(answer.as_mut().as_pin_mut().unwrap().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        answer.set(None);
    });
    let [record] = &records[..] else { panic!("{records:#?}") };
    assert_eq!(record.get(CANCELLED), Some(&json!(true)));
}

#[test]
fn beside_opentelemetry_the_ids_and_the_sampling_are_its_own() {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};
    for (sampler, is_sampled) in [(Sampler::AlwaysOn, true), (Sampler::AlwaysOff, false)] {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_simple_exporter(exporter.clone())
            .build();
        let otel = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let (layer, audited) = testing::layer();
        let subscriber = Registry::default().with(layer).with(otel);
        let sent = tracing::subscriber::with_default(subscriber, || {
            let run = info_span!("run", trace_id = "run-7");
            run.in_scope(|| debug_span!("not captured").in_scope(Context::current))
        });
        let (sent, run) = (sent.traceparent.unwrap(), audited.only());
        assert_eq!((sent.trace_id, sent.parent_id), (run.trace_id, run.span_id));
        assert_eq!(sent.is_sampled, is_sampled);
        for span in exporter.get_finished_spans().unwrap() {
            assert_eq!(span.span_context.trace_id().to_bytes(), sent.trace_id);
        }
    }
}
