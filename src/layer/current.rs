//! From a span in an agent's hand to the layer that audits it.

use super::AuditLayer;
use super::audit_layer::Shared;
use super::ids;
use super::open::Place;
use std::sync::Arc;
use tracing::dispatcher::{Dispatch, get_default};
use tracing::span::{Id, Span};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan as _;

/// A layer, and where something stands that happens now.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) shared: Arc<Shared>,
    /// What is directly below the span.
    pub(super) place: Place,
}

impl Here {
    /// Inside a span; outside of any, in the subscriber of this thread. `None` when no layer of
    /// ours is in the subscriber, or where it cannot be seen (inside of a `reload::Layer`).
    pub(super) fn of(span: &Span) -> Option<Self> {
        let inside = span.with_subscriber(|(id, dispatch)| {
            let shared = layer_of(dispatch)?;
            Some(Self { place: shared.place_below(id, dispatch), shared })
        });
        match inside {
            Some(here) => here,
            None => get_default(|dispatch| {
                let (shared, place) = (layer_of(dispatch)?, Place::default());
                Some(Self { shared, place })
            }),
        }
    }
}

fn layer_of(dispatch: &Dispatch) -> Option<Arc<Shared>> {
    Some(Arc::clone(&dispatch.downcast_ref::<AuditLayer>()?.shared))
}

impl Shared {
    /// Where something stands that happens below a span, asked from outside of the layer's own
    /// calls.
    pub(super) fn place_below(&self, id: &Id, dispatch: &Dispatch) -> Place {
        let mut place = self.find_below(id, dispatch);
        self.take_otel_ids_of_parent(&mut place);
        place
    }

    fn find_below(&self, id: &Id, dispatch: &Dispatch) -> Place {
        if let Some(place) = self.spans.below(id.into_u64()) {
            return place;
        }
        let Some(registry) = dispatch.downcast_ref::<Registry>() else { return Place::default() };
        let mut root = id.into_u64();
        for span in registry.span(id).into_iter().flat_map(|span| span.scope()).skip(1) {
            root = span.id().into_u64();
            if let Some(place) = self.spans.below(root) {
                return place;
            }
        }
        Place { trace_id: self.spans.root(root, ids::trace_id()), ..Place::default() }
    }
}
