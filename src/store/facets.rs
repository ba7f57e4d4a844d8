//! What queries need from a body, read in one pass and borrowed where it can be.
//!
//! ```text
//! {"schema_version":1,"@timestamp":…,"trace_id":[…],"event":{…},"audit":{…},…,"resource":{…}}
//!                      time          ids            fields      fields, ids, texts   skipped
//! ```
//!
//! The reader walks the JSON along a table (`table.rs`): at each key it goes in, takes the value as a
//! field, an id or free text, or skips it. It never fails: a body that is not what this version
//! writes gives what was read before the reader lost its way, and says so.

use super::fields::Field;
use super::scan::Scan;
use super::table::{Node, Take, take};
use crate::correlate::{Id, Member, Namespace, PauseKind, TraceReading};
use crate::entry::parse_ns;
use std::borrow::Cow;

/// Free text of one entry that is searched, in bytes. A transcript of a book is kept whole; its
/// first 64 KiB are searched.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What queries need from a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facets<'a> {
    /// Time of the event, nanoseconds since 1970; absent when the source's was not plausible.
    pub event_ns: Option<u64>,
    /// Every id, each once: other spellings of a trace id are left out.
    pub ids: Vec<Id<'a>>,
    /// Known fields with their values, in the order of the body. A field with several values
    /// stands several times.
    pub fields: Vec<(Field, Cow<'a, str>)>,
    /// Texts that have no field of their own: payloads, attributes, events, bodies of logs.
    pub texts: Vec<Cow<'a, str>>,
    /// Whether the body was not what this version writes, so that something may be missing.
    pub malformed: bool,
    /// Whether there was more text than [`MAX_TEXT_BYTES`].
    pub text_was_cut: bool,
    parent: Option<Cow<'a, str>>,
    text_bytes: usize,
}

impl<'a> Facets<'a> {
    /// Reads a body.
    pub fn from_body(body: &'a [u8]) -> Self {
        let mut facets = Facets {
            ids: Vec::with_capacity(16),
            fields: Vec::with_capacity(24),
            texts: Vec::with_capacity(24),
            ..Facets::default()
        };
        let read = std::str::from_utf8(body).ok().and_then(|text| {
            let mut walk = Walk { scan: Scan::new(text), depth: 0, out: &mut facets };
            walk.enter(Node::Root)?;
            walk.scan.is_at_end().then_some(())
        });
        facets.malformed = read.is_none();
        facets.reduce_trace_ids();
        facets
    }

    /// The values of a field.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(f, _)| *f == field).map(|(_, value)| value.as_ref())
    }

    /// The first value of a field.
    pub fn value(&self, field: Field) -> Option<&str> {
        self.values(field).next()
    }

    /// The ids of a namespace.
    pub fn ids_in(&self, namespace: Namespace) -> impl Iterator<Item = &Id<'a>> {
        self.ids.iter().filter(move |id| id.namespace == namespace)
    }

    /// Every text that a bare word is looked for in: known fields and the rest.
    pub fn all_text(&self) -> impl Iterator<Item = &str> {
        let known = self.fields.iter().map(|(_, value)| value.as_ref());
        known.chain(self.texts.iter().map(AsRef::as_ref))
    }

    /// What the entry did to its thread: stopped a run, or resumed one. Question and answer in one
    /// entry are neither: nothing is left to be paired.
    pub fn pause(&self) -> Option<PauseKind> {
        let has = |field| self.value(field).is_some();
        let asked = has(Field::InterruptReason);
        let answered = has(Field::InterruptResponse) || has(Field::InterruptResponder);
        match (asked, answered) {
            (true, true) => None,
            (false, true) => Some(PauseKind::Resume),
            (true, false) => Some(PauseKind::Interrupt),
            (false, false) => {
                (self.value(Field::Kind) == Some("interrupt")).then_some(PauseKind::Interrupt)
            }
        }
    }

    /// What a group needs to know of the entry. `received_ns` stands in for a missing event time.
    pub fn member(&self, sequence: u64, entry: [u8; 16], received_ns: u64) -> Member {
        let mut ids: Vec<Id<'static>> = self
            .ids
            .iter()
            .filter(|id| id.namespace.is_strong())
            .map(|id| id.clone().into_owned())
            .collect();
        ids.sort_by_key(|id| id.namespace);
        // A log record, and an event of a span, happened within the span whose id they carry.
        let own = self.ids_in(Namespace::Span).next().map(|id| span_number(&id.text));
        let is_span = self.value(Field::Dataset).is_none_or(|d| d == "otlp.span");
        let above = self.parent.as_deref().map(span_number);
        let thread = self.ids_in(Namespace::Thread).next();
        Member {
            sequence,
            entry,
            event_ns: self.event_ns.unwrap_or(received_ns),
            span: own.filter(|_| is_span),
            parent: if is_span { above } else { own },
            ids,
            pause: self.pause().and_then(|kind| Some((thread?.clone().into_owned(), vec![kind]))),
        }
    }

    /// Of several spellings of one trace id the whole one stays, or the first.
    fn reduce_trace_ids(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        // Whole ids first, so that their halves are found to be halves; then what can be read in two
        // ways, of which the spellings that can be read in one say half.
        ids.sort_by_cached_key(|id| {
            let of_two =
                id.namespace == Namespace::Trace && TraceReading::of(&id.text).is_ambiguous();
            let length = id.text.len().min(32);
            (id.namespace, std::cmp::Reverse(if of_two { 31 } else { length }))
        });
        for id in ids {
            let known = self.ids.iter().any(|seen| seen.is_same_as(&id));
            if !known {
                self.ids.push(id);
            }
        }
    }

    fn take_text(&mut self, text: Cow<'a, str>) {
        let room = MAX_TEXT_BYTES.saturating_sub(self.text_bytes);
        self.text_was_cut |= text.len() > room;
        if text.is_empty() || room == 0 {
            return;
        }
        let text = cut(text, room);
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        self.texts.push(text);
    }

    fn take_id(&mut self, namespace: Namespace, text: Cow<'a, str>) {
        let there = |id: &Id<'_>| id.namespace == namespace && id.text == text;
        if !text.is_empty() && !self.ids.iter().any(there) {
            self.ids.push(Id { namespace, text });
        }
    }
}

fn cut(text: Cow<'_, str>, room: usize) -> Cow<'_, str> {
    if text.len() <= room {
        return text;
    }
    let end = text.floor_char_boundary(room);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// A number for a span id: its own when it is 16 hexadecimal digits, else one made of its bytes.
fn span_number(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|_| {
        // FNV-1a: two odd ids that fall together only change the order of one moment.
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
}

/// Deepest nesting of free fields that is searched; what is deeper is passed over.
const MAX_DEPTH: usize = 64;

/// Walks a body along the table. `None` is a body that is not what this version writes.
struct Walk<'o, 'a> {
    scan: Scan<'a>,
    depth: usize,
    out: &'o mut Facets<'a>,
}

impl<'a> Walk<'_, 'a> {
    /// Walks an object of the entry, or each object of an array.
    fn enter(&mut self, node: Node) -> Option<()> {
        match self.scan.peek()? {
            b'{' => self.object(|walk, key| match take(node, key) {
                Take::Enter(inner) => walk.enter(inner),
                Take::Skip => walk.scan.skip_value(),
                take => walk.leaves(take),
            }),
            b'[' => self.array(|walk| walk.enter(node)),
            _ => self.scan.skip_value(),
        }
    }

    /// Takes every text at or below a value.
    fn leaves(&mut self, take: Take) -> Option<()> {
        match self.scan.peek()? {
            b'"' => {
                let text = self.scan.text()?;
                self.leaf(take, text);
                Some(())
            }
            b'{' => self.object(|walk, key| {
                // A stack trace is long and its words are in nobody's question.
                if key.ends_with("stacktrace") { walk.scan.skip_value() } else { walk.leaves(take) }
            }),
            b'[' => self.array(|walk| walk.leaves(take)),
            _ => self.scan.skip_value(),
        }
    }

    fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        if self.depth >= MAX_DEPTH {
            self.out.text_was_cut = true;
            return self.scan.skip_value();
        }
        self.scan.expect(b'{')?;
        if self.scan.eat(b'}') {
            return Some(());
        }
        self.depth = self.depth.saturating_add(1);
        loop {
            let key = self.scan.text()?;
            self.scan.expect(b':')?;
            field(self, &key)?;
            if !self.scan.eat(b',') {
                break;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        self.scan.expect(b'}')
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth >= MAX_DEPTH {
            self.out.text_was_cut = true;
            return self.scan.skip_value();
        }
        self.scan.expect(b'[')?;
        if self.scan.eat(b']') {
            return Some(());
        }
        self.depth = self.depth.saturating_add(1);
        loop {
            item(self)?;
            if !self.scan.eat(b',') {
                break;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        self.scan.expect(b']')
    }

    fn leaf(&mut self, take: Take, text: Cow<'a, str>) {
        let out = &mut *self.out;
        match take {
            Take::Field(field) => out.fields.push((field, cut(text, MAX_TEXT_BYTES))),
            Take::Id(namespace) => out.take_id(namespace, text),
            Take::IdAndField(namespace, field) => {
                out.take_id(namespace, text.clone());
                out.fields.push((field, text));
            }
            Take::Text => out.take_text(text),
            Take::Timestamp => out.event_ns = read_time(&text),
            Take::Parent => out.parent = Some(text),
            Take::Enter(_) | Take::Skip => {}
        }
    }
}

/// RFC 3339 with any fraction.
fn read_time(text: &str) -> Option<u64> {
    parse_ns(text).or_else(|| {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Json, Kind, Outcome, Payload};
    use proptest::prelude::*;

    fn body(entry: &Entry<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        body
    }

    #[test]
    fn time_ids_fields_and_texts_are_read_from_a_body() {
        let mut entry = Entry::new(Kind::Decision);
        entry.timestamp = "2026-11-21T06:12:09.767677952Z".into();
        entry.trace_id = vec!["4bf92f3577b34da6a3ce929d0e0e4736".into(), "langsmith-1".into()];
        entry.audit.decision.outcome = Some(Outcome::Block);
        entry.audit.decision.reason = Some("too \"risky\"".into());
        entry.audit.policy.id = Some(vec!["p1".into(), "p2".into()]);
        entry.audit.run.id = Some("7".into());
        entry.user.name = Some("Ada".into());
        entry.audit.payload = vec![Payload { text: Some("pay up".into()), ..Payload::default() }];
        entry
            .attributes
            .push("a.b".into(), Json::List(vec![Json::Text("deep".into()), Json::Int(3)]));
        entry.resource.push("host".into(), Json::Text("not searched".into()));
        let body = body(&entry);
        let facets = Facets::from_body(&body);

        assert!(!facets.malformed);
        assert_eq!(facets.event_ns, Some(1_795_241_529_767_677_952));
        assert_eq!(facets.value(Field::Outcome), Some("block"));
        assert_eq!(facets.value(Field::Reason), Some("too \"risky\""));
        assert_eq!(facets.values(Field::PolicyId).collect::<Vec<_>>(), ["p1", "p2"]);
        assert_eq!(facets.texts, ["pay up", "deep"]);
        let ids: Vec<_> = facets.ids.iter().map(|i| (i.namespace, i.text.as_ref())).collect();
        assert_eq!(
            ids,
            [
                (Namespace::Trace, "4bf92f3577b34da6a3ce929d0e0e4736"),
                (Namespace::Trace, "langsmith-1"),
                (Namespace::Run, "7"),
                (Namespace::User, "Ada"),
            ]
        );
    }

    #[test]
    fn other_spellings_of_a_trace_id_are_left_out() {
        let mut entry = Entry::new(Kind::Span);
        let hex = "4bf92f3577b34da6a3ce929d0e0e4736";
        for form in [
            "a3ce929d0e0e4736",
            "11803532876627986230",
            hex,
            "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        ] {
            entry.add_trace_id(form.into());
        }
        entry.trace.id = Some(hex.into());
        let body = body(&entry);
        let ids = Facets::from_body(&body).ids;
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(ids[0].is_same_as(&Id::new(Namespace::Trace, hex)));
    }

    #[test]
    fn a_question_an_answer_and_both_in_one_are_told_apart() {
        let pause = |kind, reason: Option<&'static str>, response: Option<&'static str>| {
            let mut entry = Entry::new(kind);
            entry.audit.interrupt.reason = reason.map(Into::into);
            entry.audit.interrupt.response = response.map(Into::into);
            Facets::from_body(&body(&entry)).pause()
        };
        assert_eq!(pause(Kind::Interrupt, None, None), Some(PauseKind::Interrupt));
        assert_eq!(pause(Kind::Span, Some("approve?"), None), Some(PauseKind::Interrupt));
        assert_eq!(pause(Kind::WorkflowRun, None, Some("yes")), Some(PauseKind::Resume));
        assert_eq!(pause(Kind::Interrupt, Some("approve?"), Some("yes")), None);
        assert_eq!(pause(Kind::Span, None, None), None);
    }

    #[test]
    fn a_record_within_a_span_is_its_child() {
        let mut entry = Entry::new(Kind::Log);
        entry.span.id = Some("00f067aa0ba902b7".into());
        entry.event.dataset = Some("otlp.log".into());
        let log = body(&entry);
        let member = Facets::from_body(&log).member(1, [0; 16], 5);
        assert_eq!((member.span, member.parent), (None, Some(0x00f0_67aa_0ba9_02b7)));
        assert_eq!(member.event_ns, 5, "the received time stands in");
        entry.event.dataset = Some("otlp.span".into());
        let span = body(&entry);
        let member = Facets::from_body(&span).member(1, [0; 16], 5);
        assert_eq!((member.span, member.parent), (Some(0x00f0_67aa_0ba9_02b7), None));
    }

    #[test]
    fn no_more_text_is_searched_than_the_bound_says() {
        let mut entry = Entry::new(Kind::Log);
        entry.body = Some(Json::Text("ü".repeat(MAX_TEXT_BYTES).into()));
        let body = body(&entry);
        let facets = Facets::from_body(&body);
        assert!(facets.texts.iter().map(|t| t.len()).sum::<usize>() <= MAX_TEXT_BYTES);
    }

    #[test]
    fn what_is_not_a_body_gives_what_could_be_read() {
        let facets = Facets::from_body(br#"{"audit":{"kind":"span"},"message":"hi","#);
        assert!(facets.malformed);
        assert_eq!(facets.value(Field::Kind), Some("span"));
        assert!(Facets::from_body(b"").malformed);
        assert!(!Facets::from_body(br#"{"audit":7,"event":[],"trace_id":{"a":null}}"#).malformed);
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(input: Vec<u8>) {
            let _ = Facets::from_body(&input);
        }
    }
}
