//! Ids of spans that `tracing-opentelemetry` traces too: the same as there.
//!
//! They are read when a span is left, when something happens in it and when it ends, never when it
//! begins: reading them starts the OpenTelemetry span, and whoever sets its parent comes too late
//! then. Both orders of registration work for spans that were ever entered; one that never was is
//! asked for when it ends, and then `tracing-opentelemetry` must not have forgotten it:
//! `registry().with(audit).with(opentelemetry)`.

use super::audit_layer::Shared;
use super::open::Place;
use crate::span::{SpanId, TraceId};
use tracing::span::Id;

/// Trace and span as OpenTelemetry has them.
#[cfg(feature = "layer-opentelemetry")]
fn ids(shared: &Shared, id: u64) -> Option<(TraceId, SpanId)> {
    use opentelemetry::trace::TraceContextExt as _;
    let dispatch = shared.dispatch.get()?.upgrade()?;
    let id = Id::from_non_zero_u64(std::num::NonZeroU64::new(id)?);
    let context = tracing_opentelemetry::get_otel_context(&id, &dispatch)?;
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| (span.trace_id().to_bytes(), span.span_id().to_bytes()))
}

#[cfg(not(feature = "layer-opentelemetry"))]
fn ids(_: &Shared, _: u64) -> Option<(TraceId, SpanId)> {
    None
}

/// Whether there is anything to ask.
pub(super) const ASKED: bool = cfg!(feature = "layer-opentelemetry");

impl Shared {
    /// Gives an open span the ids that it has in OpenTelemetry, and tells them. Must not be called
    /// with a lock of ours or of the registry.
    pub(super) fn take_otel_ids(&self, id: &Id) -> Option<(TraceId, SpanId)> {
        if !ASKED || !self.spans.may_have(id.into_u64()) {
            return None;
        }
        let id = id.into_u64();
        let known = self
            .spans
            .open(id, |open| open.has_otel_ids.then_some((open.place.trace_id, open.span_id)))?;
        if known.is_some() {
            return known;
        }
        let (trace_id, span_id) = ids(self, id)?;
        self.spans.open(id, |open| {
            (open.place.trace_id, open.span_id, open.has_otel_ids) = (trace_id, span_id, true);
        });
        Some((trace_id, span_id))
    }

    /// A parent may have got its ids after something below it began.
    pub(super) fn take_otel_ids_of_parent(&self, place: &mut Place) {
        let parent = place.parent.filter(|_| ASKED).and_then(std::num::NonZeroU64::new);
        if let Some(parent) = parent
            && let Some((trace_id, span_id)) = self.take_otel_ids(&Id::from_non_zero_u64(parent))
        {
            (place.trace_id, place.parent_id) = (trace_id, span_id);
        }
    }
}
