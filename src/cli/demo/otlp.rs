//! Short ways to write OTLP messages down.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// One request of an exporter.
#[derive(Debug, Clone, PartialEq)]
pub enum Export {
    /// To the trace service.
    Traces(ExportTraceServiceRequest),
    /// To the logs service.
    Logs(ExportLogsServiceRequest),
}

/// A value of an attribute.
pub(super) trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for &str {
    fn into_value(self) -> Value {
        Value::StringValue(self.to_owned())
    }
}

impl IntoValue for &String {
    fn into_value(self) -> Value {
        Value::StringValue(self.clone())
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::IntValue(self)
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Value {
        Value::DoubleValue(self)
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        Value::BoolValue(self)
    }
}

impl IntoValue for &[&str] {
    fn into_value(self) -> Value {
        let values = self.iter().map(|text| any(*text)).collect();
        Value::ArrayValue(ArrayValue { values })
    }
}

pub(super) fn any(value: impl IntoValue) -> AnyValue {
    AnyValue { value: Some(value.into_value()) }
}

/// One attribute.
pub(super) fn attr(key: &str, value: impl IntoValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

/// `attrs! { "key" => value, … }`
macro_rules! attrs {
    ($($key:literal => $value:expr),* $(,)?) => {
        vec![$($crate::cli::demo::otlp::attr($key, $value)),*]
    };
}

pub(super) use attrs;

fn resource(service: &str, version: &str) -> Resource {
    Resource {
        attributes: attrs! {
            "service.name" => service,
            "service.version" => version,
            "deployment.environment.name" => "demo",
            "telemetry.sdk.language" => "python",
        },
        ..Resource::default()
    }
}

fn scope(name: &str) -> InstrumentationScope {
    InstrumentationScope { name: name.to_owned(), ..InstrumentationScope::default() }
}

/// A request with these spans of one service.
pub(super) fn traces(service: &str, version: &str, scope_name: &str, spans: Vec<Span>) -> Export {
    Export::Traces(ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(service, version)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope(scope_name)),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    })
}

/// A request with these log records of one service.
pub(super) fn logs(
    service: &str,
    version: &str,
    scope_name: &str,
    log_records: Vec<LogRecord>,
) -> Export {
    Export::Logs(ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(service, version)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope(scope_name)),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    })
}
