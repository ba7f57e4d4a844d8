//! The `tracing_subscriber::Layer`.

use super::callsite::{Callsite, Callsites, Role};
use super::clock::now_ns;
use super::fields::Fields;
use super::handle::Handle;
use super::open::{MAX_LINKS, Open, OpenSpans, Place, Slot};
use super::otel::ASKED;
use super::out::Out;
use super::outbox::Signal;
use super::record::{Ended, Writer};
use super::{ids, scratch};
use crate::protect::AttributeProtector;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The layer: see the [module](super) for how it is used.
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
/// let (layer, audited) = spanledger::testing::layer();
/// let subscriber = tracing_subscriber::registry().with(layer);
/// tracing::subscriber::with_default(subscriber, || {
///     let _run = tracing::info_span!("run", trace_id = "langsmith-run-abc123").entered();
///     tracing::info!(decision = "block", "refund refused");
/// });
/// assert_eq!(audited.records().len(), 2);
/// ```
#[derive(Debug)]
pub struct AuditLayer {
    pub(super) shared: Arc<Shared>,
}

/// What the layer shares with its handles.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) callsites: Callsites,
    pub(super) spans: OpenSpans,
    pub(super) protector: Arc<AttributeProtector>,
    pub(super) out: Out,
    pub(super) dispatch: OnceLock<WeakDispatch>,
    /// What the outbox delivers to, when that is in this process.
    #[cfg(feature = "ledger")]
    pub(super) ledger: OnceLock<super::embedded::Ledger>,
}

/// How long the end of a layer that nobody shut down may take. What is not delivered by then is in
/// the spool.
const DROP_WITHIN: Duration = Duration::from_secs(2);

impl Drop for Shared {
    fn drop(&mut self) {
        self.finish_open();
        if let Out::Outbox(outbox) = &self.out {
            outbox.shutdown_blocking(DROP_WITHIN);
        }
    }
}

impl AuditLayer {
    /// How another one is made.
    pub fn builder() -> super::Builder {
        super::Builder::default()
    }

    /// What stays in the agent's hand when the layer is in a subscriber.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// Hands a record over. `write` gets its writer and the memory to write into; nothing of
    /// anybody else is called in it.
    pub(super) fn push(&self, signal: Signal, write: impl FnOnce(Writer<'_>, &mut Vec<u8>)) {
        let number = self.out.number();
        scratch::with_bytes(|out| {
            write(Writer { protector: &self.protector, number }, out);
            self.out.push(signal, number, out);
        });
    }

    pub(super) fn finish(&self, open: &Open, ended: Ended) {
        self.push(Signal::Spans, |writer, out| writer.span(open, now_ns(), ended, out));
    }

    /// Ends what never ended: at the end of the process.
    pub(super) fn finish_open(&self) {
        for open in self.spans.take_all() {
            self.finish(&open, Ended::Open);
        }
    }

    /// Where something stands that happens below a span of the registry.
    pub(super) fn place<S>(&self, ctx: &Context<'_, S>, parent: Option<&Id>) -> Place
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(parent) = parent else {
            return Place { trace_id: ids::trace_id(), ..Place::default() };
        };
        self.nearest(parent.into_u64(), || {
            let spans = ctx.span(parent).into_iter().flat_map(|span| span.scope());
            spans.map(|span| span.id().into_u64())
        })
    }

    /// What is below a span: of the nearest captured one among it and those `above` it, which are
    /// asked for only if it is none. All captured spans below one root are one trace, whether the
    /// root is captured or not.
    pub(super) fn nearest<I>(&self, id: u64, above: impl FnOnce() -> I) -> Place
    where
        I: Iterator<Item = u64>,
    {
        if let Some(place) = self.spans.below(id, &self.protector) {
            return place;
        }
        let mut root = id;
        for id in above() {
            root = id;
            if let Some(place) = self.spans.below(root, &self.protector) {
                return place;
            }
        }
        Place { trace_id: self.spans.root(root, ids::trace_id()), ..Place::default() }
    }
}

impl<S> Layer<S> for AuditLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _ = self.shared.dispatch.set(subscriber.downgrade());
    }

    #[inline]
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if let Some(callsite) = self.shared.callsites.get(attributes.metadata()) {
            begin(&self.shared, callsite, attributes, id, &ctx);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let (shared, id) = (&*self.shared, id.into_u64());
        let Some(callsite) = shared.spans.open(id, |open| open.callsite) else { return };
        let mut fields = scratch::fields();
        values.record(&mut fields);
        let remote = remote(callsite, &fields);
        let scope = shared.spans.open(id, |open| {
            if let Some((trace_id, parent_id)) = remote {
                (open.place.trace_id, open.place.parent_id) = (trace_id, parent_id);
            }
            open.merge(&fields)
        });
        if let Some(scope) = scope.flatten() {
            scope.take(&shared.protector, callsite, &fields);
        }
        scratch::give_back(fields);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let spans = &self.shared.spans;
        // One lock after the other: a span may follow itself.
        let other = spans.open(follows.into_u64(), |open| (open.place.trace_id, open.span_id));
        let Some(other) = other else { return };
        spans.open(id.into_u64(), |open| {
            if open.links.len() < MAX_LINKS {
                open.links.push(other);
            } else {
                open.dropped_links = open.dropped_links.saturating_add(1);
            }
        });
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if let Some(callsite) = self.shared.callsites.get(event.metadata()) {
            happen(&self.shared, callsite, event, &ctx);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        if ASKED {
            self.shared.take_otel_ids(id);
        }
    }

    #[inline]
    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let id = id.into_u64();
        if self.shared.spans.may_have(id) {
            end(&self.shared, id);
        }
    }
}

/// Begins a captured span.
#[inline(never)]
fn begin<S>(
    shared: &Shared,
    callsite: &'static Callsite,
    attributes: &Attributes<'_>,
    id: &Id,
    ctx: &Context<'_, S>,
) where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Before any lock: values are shown by somebody else's code.
    let mut fields = scratch::fields();
    attributes.record(&mut fields);
    let current;
    let parent = if attributes.is_contextual() {
        current = ctx.lookup_current().map(|span| span.id());
        current.as_ref()
    } else {
        attributes.parent()
    };
    let mut place = shared.place(ctx, parent);
    if let Some((trace_id, parent_id)) = remote(callsite, &fields) {
        (place.trace_id, place.parent_id) = (trace_id, parent_id);
    }
    let open = Open {
        callsite,
        place,
        span_id: ids::span_id(),
        start_ns: now_ns(),
        fields,
        links: Vec::new(),
        dropped_links: 0,
        has_otel_ids: false,
        has_own_scope: false,
    };
    shared.spans.insert(id.into_u64(), Slot::Open(Box::new(open)));
}

/// A captured event.
#[inline(never)]
fn happen<S>(shared: &Shared, callsite: &'static Callsite, event: &Event<'_>, ctx: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut fields = scratch::fields();
    event.record(&mut fields);
    let current;
    let parent = if event.is_contextual() {
        current = ctx.lookup_current().map(|span| span.id());
        current.as_ref()
    } else {
        event.parent()
    };
    // An event that stands alone is of no trace.
    let mut place = parent.map_or_else(Place::default, |id| shared.place(ctx, Some(id)));
    shared.take_otel_ids_of_parent(&mut place);
    if let Some((trace_id, parent_id)) = remote(callsite, &fields) {
        (place.trace_id, place.parent_id) = (trace_id, parent_id);
    }
    let name = callsite.name;
    let name = if name.starts_with("event ") { "" } else { name };
    shared.push(Signal::Logs, |writer, out| {
        writer.log(callsite, &fields, &place, (now_ns(), name), out);
    });
    scratch::give_back(fields);
}

/// Ends a span, if it is a captured one.
#[inline(never)]
fn end(shared: &Shared, id: u64) {
    if ASKED {
        shared.take_otel_ids(&Id::from_u64(id));
    }
    if let Some(Slot::Open(mut open)) = shared.spans.remove(id) {
        shared.take_otel_ids_of_parent(&mut open.place);
        let ended = if std::thread::panicking() { Ended::Unwinding } else { Ended::Closed };
        shared.finish(&open, ended);
        scratch::give_back(open.fields);
    }
}

fn remote(
    callsite: &Callsite,
    fields: &Fields,
) -> Option<(crate::span::TraceId, crate::span::SpanId)> {
    ids::parse_traceparent(fields.text_of(callsite, Role::TraceParent)?)
}
