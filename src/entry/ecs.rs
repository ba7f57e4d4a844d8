//! Objects with ECS names: event, trace, span, log, user, service, error, and what OTLP has beside them.

use super::Fields;
use super::part::part;
#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

part! {
    /// ECS `event.*`: what happened.
    EventPart {
        /// The verb: `tool.call`, `refund.create`, `policy.publish`.
        action: Cow<'a, str>,
        /// What came of it: `success`, `failure` or `unknown`. Not what a policy said about it.
        outcome: Cow<'a, str>,
        /// Why, in the source's words.
        reason: Cow<'a, str>,
        /// End of the span, RFC 3339 with nanoseconds.
        end: Cow<'a, str>,
        /// Length of the span in nanoseconds; absent when the end is before the start.
        duration: u64,
        /// Signal that it came from: `otlp.span`, `otlp.log`, `otlp.span_event`, `spanledger`.
        dataset: Cow<'a, str>,
        /// When the collection system saw a log record, RFC 3339 with nanoseconds.
        created: Cow<'a, str>,
    }
}

part! {
    /// The OpenTelemetry trace.
    TracePart {
        /// 32 hexadecimal digits, lower case.
        id: Cow<'a, str>,
        /// W3C tracestate.
        state: Cow<'a, str>,
    }
}

part! {
    /// The span.
    SpanPart {
        /// 16 hexadecimal digits, lower case.
        id: Cow<'a, str>,
        /// The parent span, 16 hexadecimal digits.
        parent_id: Cow<'a, str>,
        /// Name of the operation.
        name: Cow<'a, str>,
        /// `internal`, `server`, `client`, `producer`, `consumer`; absent when unspecified.
        kind: Cow<'a, str>,
        /// `ok` or `error`; absent when unset.
        status: Cow<'a, str>,
        /// Message of the status.
        status_message: Cow<'a, str>,
        /// W3C flags as sent.
        flags: u32,
        /// Attributes that the SDK dropped.
        dropped_attributes: u32,
        /// Events that the SDK dropped.
        dropped_events: u32,
        /// Links that the SDK dropped.
        dropped_links: u32,
    }
}

part! {
    /// Severity of a log record.
    LogPart {
        /// As the source wrote it.
        level: Cow<'a, str>,
        /// OpenTelemetry's number, 1 to 24.
        severity_number: i32,
        /// Name of the event that the record is.
        event_name: Cow<'a, str>,
    }
}

part! {
    /// ECS `user.*`: the human on whose behalf it happened.
    UserPart {
        /// Identifier, as asserted by the source.
        id: Cow<'a, str>,
        /// Name.
        name: Cow<'a, str>,
        /// E-mail address.
        email: Cow<'a, str>,
    }
}

part! {
    /// ECS `service.*`: the program that sent the record.
    ServicePart {
        /// `service.name` of the resource.
        name: Cow<'a, str>,
        /// `service.version`.
        version: Cow<'a, str>,
        /// `service.namespace`.
        namespace: Cow<'a, str>,
        /// `service.instance.id`.
        instance_id: Cow<'a, str>,
        /// `deployment.environment.name`.
        environment: Cow<'a, str>,
    }
}

part! {
    /// ECS `error.*`: what went wrong.
    ErrorPart {
        /// Class of the error.
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        /// Message of the error.
        message: Cow<'a, str>,
    }
}

part! {
    /// `scope.*`: the instrumentation that made the record.
    ScopePart {
        /// Name of the library.
        name: Cow<'a, str>,
        /// Its version.
        version: Cow<'a, str>,
        /// Attributes of the scope.
        attributes: Fields<'a>,
    }
}

/// An event of a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct SpanEvent<'a> {
    /// Name.
    pub name: Cow<'a, str>,
    /// RFC 3339 with nanoseconds; absent when the source's time is not plausible.
    #[serde(rename = "@timestamp", skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<Cow<'a, str>>,
    /// The time as sent, nanoseconds since 1970, when it is not plausible.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw_time: Option<u64>,
    /// Attributes.
    #[serde(skip_serializing_if = "Fields::is_empty", default)]
    pub attributes: Fields<'a>,
    /// Attributes that the SDK dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped_attributes: Option<u32>,
}

/// A link of a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
pub struct SpanLink<'a> {
    /// The other trace, 32 hexadecimal digits.
    pub trace_id: Cow<'a, str>,
    /// The other span, 16 hexadecimal digits.
    pub span_id: Cow<'a, str>,
    /// W3C tracestate of the other span.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_state: Option<Cow<'a, str>>,
    /// Attributes.
    #[serde(skip_serializing_if = "Fields::is_empty", default)]
    pub attributes: Fields<'a>,
}
