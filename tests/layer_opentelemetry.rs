//! The layer beside `tracing-opentelemetry`: one trace, whoever is asked.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use spanledger::testing::{self, Audit};
use tracing::{debug_span, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Copy, Debug)]
enum Order {
    AuditFirst,
    OpenTelemetryFirst,
}

const ORDERS: [Order; 2] = [Order::AuditFirst, Order::OpenTelemetryFirst];

/// What both saw while `work` ran.
fn both(order: Order, sampler: Sampler, work: impl FnOnce()) -> (Vec<Audit>, Vec<SpanData>) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_sampler(sampler)
        .build();
    let tracer = provider.tracer("test");
    let (audit, audited) = testing::layer();
    match order {
        Order::AuditFirst => {
            let subscriber = Registry::default()
                .with(audit)
                .with(tracing_opentelemetry::layer().with_tracer(tracer));
            tracing::subscriber::with_default(subscriber, work);
        }
        Order::OpenTelemetryFirst => {
            let subscriber = Registry::default()
                .with(tracing_opentelemetry::layer().with_tracer(tracer))
                .with(audit);
            tracing::subscriber::with_default(subscriber, work);
        }
    }
    (audited.records(), exporter.get_finished_spans().unwrap())
}

fn agent() {
    info_span!("run", trace_id = "langsmith-run-abc123").in_scope(|| {
        debug_span!("not captured").in_scope(|| {
            info_span!("tool", tool_name = "refund").in_scope(|| info!(decision = "allow", "go"));
        });
    });
}

#[test]
fn ids_are_those_of_opentelemetry_in_both_orders_of_registration() {
    for order in ORDERS {
        let (audited, traced) = both(order, Sampler::AlwaysOn, agent);
        let otel = |name: &str| traced.iter().find(|span| span.name == name).unwrap();
        let ours = |name: &str| audited.iter().find(|record| record.name == name).unwrap();
        for name in ["run", "tool"] {
            let (one, other) = (ours(name), otel(name));
            assert_eq!(one.trace_id, other.span_context.trace_id().to_bytes(), "{order:?} {name}");
            assert_eq!(one.span_id, other.span_context.span_id().to_bytes(), "{order:?} {name}");
        }
        assert_eq!(ours("tool").parent_span_id, ours("run").span_id, "{order:?}");
        let event = audited.iter().find(|record| record.body.is_some()).unwrap();
        assert_eq!(
            (event.trace_id, event.span_id),
            (ours("run").trace_id, ours("tool").span_id),
            "{order:?}"
        );
    }
}

#[test]
fn a_parent_that_is_set_after_the_beginning_counts_for_both() {
    let remote = SpanContext::new(
        TraceId::from(0xabc_u128),
        SpanId::from(0xdef_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    for order in ORDERS {
        let (audited, traced) = both(order, Sampler::AlwaysOn, || {
            let span = info_span!("served", trace_id = "x");
            span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote.clone()))
                .unwrap();
            span.in_scope(|| ());
        });
        assert_eq!(traced[0].parent_span_id, SpanId::from(0xdef_u64), "{order:?}");
        assert_eq!(audited[0].trace_id, TraceId::from(0xabc_u128).to_bytes(), "{order:?}");
        assert_eq!(audited[0].span_id, traced[0].span_context.span_id().to_bytes(), "{order:?}");
    }
}

#[test]
fn what_is_not_sampled_is_audited_all_the_same() {
    for order in ORDERS {
        let (audited, traced) = both(order, Sampler::AlwaysOff, agent);
        assert_eq!((audited.len(), traced.len()), (3, 0), "{order:?}");
    }
}

#[test]
fn a_span_that_was_never_entered_has_the_same_ids_when_the_audit_layer_is_first() {
    let never = || drop(info_span!("never", trace_id = "x"));
    let (audited, traced) = both(Order::AuditFirst, Sampler::AlwaysOn, never);
    assert_eq!(audited[0].span_id, traced[0].span_context.span_id().to_bytes());
    let (audited, traced) = both(Order::OpenTelemetryFirst, Sampler::AlwaysOn, never);
    assert_ne!(audited[0].span_id, traced[0].span_context.span_id().to_bytes(), "documented");
    assert_ne!(audited[0].span_id, [0; 8]);
}
