//! How deep an entry stands in the tree of spans, as far as the spans are there.

use super::doc::Doc;
use std::collections::HashMap;

/// Deepest indentation that is drawn. Real agents nest less; a loop of parents must end somewhere.
const MAX_LEVELS: usize = 12;

type SpanKey<'a> = (&'a str, &'a str);

/// The parents of all spans of a story.
#[derive(Debug, Default)]
pub(super) struct Ancestry<'a> {
    parents: HashMap<SpanKey<'a>, Option<&'a str>>,
}

impl<'a> Ancestry<'a> {
    /// Reads the spans among these entries.
    pub(super) fn of(entries: impl Iterator<Item = Doc<'a>>) -> Self {
        let mut parents = HashMap::new();
        for doc in entries.filter(|doc| is_span(*doc)) {
            if let Some(key) = span_key(doc) {
                parents.insert(key, doc.raw("span.parent_id"));
            }
        }
        Self { parents }
    }

    /// Levels between the entry and the outermost of its ancestors that is there. A log record or
    /// span event stands one level below its span.
    pub(super) fn level(&self, doc: Doc<'a>) -> usize {
        let Some((trace, span)) = span_key(doc) else { return 0 };
        let start = if is_span(doc) {
            self.parents.get(&(trace, span)).copied().flatten()
        } else {
            Some(span)
        };
        let mut next = start;
        for level in 0..MAX_LEVELS {
            match next.and_then(|span| self.parents.get(&(trace, span))) {
                Some(parent) => next = *parent,
                None => return level,
            }
        }
        MAX_LEVELS
    }
}

fn span_key(doc: Doc<'_>) -> Option<SpanKey<'_>> {
    Some((doc.raw("trace.id")?, doc.raw("span.id")?))
}

/// Log records and span events name the span that they belong to, not one of their own.
fn is_span(doc: Doc<'_>) -> bool {
    !matches!(doc.raw("event.dataset"), Some("otlp.log" | "otlp.span_event"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn span(id: &str, parent: Option<&str>) -> Value {
        json!({"trace": {"id": "t"}, "span": {"id": id, "parent_id": parent}})
    }

    fn levels(entries: &[Value]) -> Vec<usize> {
        let ancestry = Ancestry::of(entries.iter().map(Doc::new));
        entries.iter().map(|entry| ancestry.level(Doc::new(entry))).collect()
    }

    #[test]
    fn children_stand_below_their_parents_in_whatever_order_they_came() {
        let entries = [span("c", Some("b")), span("b", Some("a")), span("a", None)];
        assert_eq!(levels(&entries), [2, 1, 0]);
    }

    #[test]
    fn an_event_stands_below_its_span() {
        let event = json!({"trace": {"id": "t"}, "span": {"id": "a"},
            "event": {"dataset": "otlp.span_event"}});
        assert_eq!(levels(&[span("a", None), event]), [0, 1]);
    }

    #[test]
    fn a_span_whose_parent_never_came_stands_at_the_edge() {
        assert_eq!(levels(&[span("b", Some("gone"))]), [0]);
    }

    #[test]
    fn a_loop_of_parents_ends() {
        let entries = [span("a", Some("b")), span("b", Some("a")), span("c", Some("c"))];
        assert_eq!(levels(&entries), [MAX_LEVELS; 3]);
    }
}
