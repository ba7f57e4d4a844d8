//! From a span in an agent's hand to the layer that audits it.

use super::AuditLayer;
use super::audit_layer::Shared;
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
        let known = || self.spans.below(id.into_u64(), &self.protector).unwrap_or_default();
        let Some(registry) = dispatch.downcast_ref::<Registry>() else { return known() };
        self.nearest(id.into_u64(), || {
            let spans = registry.span(id).into_iter().flat_map(|span| span.scope());
            spans.map(|span| span.id().into_u64())
        })
    }
}
