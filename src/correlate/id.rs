//! Namespaces of ids, and the spellings of a trace id.

use std::borrow::Cow;

macro_rules! namespaces {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $word:literal, $strong:literal;)*) => {
        /// What an id identifies. The same text in two namespaces is two ids: run `1` is not
        /// job `1`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Namespace {
            $($(#[$doc])* $variant,)*
        }

        impl Namespace {
            /// Every namespace.
            pub const ALL: &'static [Namespace] = &[$(Namespace::$variant,)*];

            /// The number that stands for it in keys on disk. Never reused.
            pub const fn code(self) -> u8 {
                match self { $(Namespace::$variant => $code,)* }
            }

            /// Its name for people.
            pub const fn as_str(self) -> &'static str {
                match self { $(Namespace::$variant => $word,)* }
            }

            /// Whether an id of this namespace joins entries. The others only filter.
            pub const fn is_strong(self) -> bool {
                match self { $(Namespace::$variant => $strong,)* }
            }
        }
    };
}

namespaces! {
    /// OpenTelemetry trace, the orchestrator's trace, LangSmith's root run: one namespace, since
    /// each appears in the place of another.
    Trace = 1, "trace", true;
    /// Instance of a workflow.
    Workflow = 2, "workflow", true;
    /// Run of an agent or workflow.
    Run = 3, "run", true;
    /// Job.
    Job = 4, "job", true;
    /// Decision.
    Decision = 5, "decision", true;
    /// Approval.
    Approval = 6, "approval", true;
    /// The entry itself, 32 hexadecimal digits.
    Entry = 16, "entry", false;
    /// Span.
    Span = 17, "span", false;
    /// Record id of the OpenTelemetry audit draft.
    Record = 18, "record", false;
    /// Step, unique within its run only.
    Step = 19, "step", false;
    /// Call of a tool, as the model numbered it.
    ToolCall = 20, "tool call", false;
    /// Session.
    Session = 21, "session", false;
    /// Conversation.
    Conversation = 22, "conversation", false;
    /// Thread: pairs a resume with its interrupt, and filters otherwise.
    Thread = 23, "thread", false;
    /// Human: id, name and e-mail address.
    User = 24, "user", false;
    /// Who did it.
    Actor = 25, "actor", false;
}

/// An id of an entry, borrowed from its body where it can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id<'a> {
    /// What it identifies.
    pub namespace: Namespace,
    /// The id as the source wrote it.
    pub text: Cow<'a, str>,
}

impl<'a> Id<'a> {
    /// An id.
    pub fn new(namespace: Namespace, text: impl Into<Cow<'a, str>>) -> Self {
        Self { namespace, text: text.into() }
    }

    /// The same id with a text of its own.
    pub fn into_owned(self) -> Id<'static> {
        Id { namespace: self.namespace, text: Cow::Owned(self.text.into_owned()) }
    }

    /// The one spelling that stands for all: 32 lower-case digits for a whole trace id, 16 for
    /// the low half of one, every other id verbatim.
    pub fn canonical(&self) -> Id<'static> {
        let text = match self.namespace {
            Namespace::Trace => canonical_trace(&self.text),
            _ => self.text.to_string(),
        };
        Id { namespace: self.namespace, text: Cow::Owned(text) }
    }

    /// Whether the two mean the same thing.
    pub fn is_same_as(&self, other: &Id<'_>) -> bool {
        self.namespace == other.namespace && same_id(self.namespace, &self.text, &other.text)
    }
}

/// Whether two texts are one id. Trace ids have several spellings: with dashes, in either case,
/// with `trace_` of `OpenAI` in front, or only their low 64 bits in hexadecimal or decimal. All other
/// ids are compared verbatim.
///
/// ```
/// use spanledger::correlate::{Namespace, same_id};
/// let otel = "4bf92f3577b34da6a3ce929d0e0e4736";
/// assert!(same_id(Namespace::Trace, otel, "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736"));
/// assert!(same_id(Namespace::Trace, otel, "a3ce929d0e0e4736"));
/// assert!(same_id(Namespace::Trace, otel, "11803532876627986230"));
/// assert!(!same_id(Namespace::Run, "A", "a"));
/// ```
pub fn same_id(namespace: Namespace, a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if namespace != Namespace::Trace {
        return false;
    }
    let (a, b) = (TraceReading::of(a), TraceReading::of(b));
    match (a.full, b.full) {
        (Some(a), Some(b)) => a == b,
        _ => a.lows().any(|low| b.lows().any(|other| other == low)),
    }
}

/// What a text says when it is read as a trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TraceReading {
    /// All 128 bits, when they are spelled out.
    pub(crate) full: Option<u128>,
    /// The low 64 bits read from hexadecimal, when they are large enough to identify anything.
    pub(crate) low_hex: Option<u64>,
    /// The low 64 bits read from decimal. Sixteen digits can be read both ways.
    pub(crate) low_decimal: Option<u64>,
}

fn canonical_trace(text: &str) -> String {
    match TraceReading::of(text) {
        TraceReading { full: Some(full), .. } => format!("{full:032x}"),
        TraceReading { low_hex: Some(low), low_decimal: None, .. }
        | TraceReading { low_hex: None, low_decimal: Some(low), .. } => format!("{low:016x}"),
        _ => text.to_owned(),
    }
}

/// Numbers up to this one are counters, not halves of random ids: they identify nothing.
const LARGEST_COUNTER: u64 = 1 << 32;

impl TraceReading {
    pub(crate) fn of(text: &str) -> Self {
        let hex = text.strip_prefix("trace_").unwrap_or(text);
        if let Some(full) = read_full(hex) {
            // The low half of a 128-bit number.
            let low = u64::try_from(full & u128::from(u64::MAX)).unwrap_or_default();
            return Self { full: Some(full), low_hex: usable(low), low_decimal: None };
        }
        Self { full: None, low_hex: read_low_hex(text), low_decimal: read_low_decimal(text) }
    }

    /// Whether it can be the hexadecimal or the decimal spelling of a low half.
    pub(crate) fn is_ambiguous(self) -> bool {
        self.low_hex.is_some() && self.low_decimal.is_some()
    }

    /// Every reading of the low 64 bits.
    pub(crate) fn lows(self) -> impl Iterator<Item = u64> {
        self.low_hex.into_iter().chain(self.low_decimal)
    }
}

fn usable(low: u64) -> Option<u64> {
    (low > LARGEST_COUNTER).then_some(low)
}

/// 32 hexadecimal digits, with dashes or without. A UUID has four dashes; more are no spelling.
fn read_full(text: &str) -> Option<u128> {
    const DIGITS: u32 = 32;
    const MOST_DASHES: usize = 4;
    if text.len() < 32 || text.len() > 32_usize.saturating_add(MOST_DASHES) {
        return None;
    }
    let (mut value, mut digits) = (0_u128, 0_u32);
    for byte in text.bytes().filter(|byte| *byte != b'-') {
        value = (value << 4) | u128::from(char::from(byte).to_digit(16)?);
        digits = digits.saturating_add(1);
    }
    (digits == DIGITS).then_some(value)
}

fn read_low_hex(text: &str) -> Option<u64> {
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok().and_then(usable)
}

fn read_low_decimal(text: &str) -> Option<u64> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().and_then(usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: &str, b: &str) -> bool {
        same_id(Namespace::Trace, a, b)
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_random_trace_id_is_that_id(id in (1_u128 << 33)..) {
            let low = u64::try_from(id & u128::from(u64::MAX)).unwrap();
            prop_assume!(low > LARGEST_COUNTER);
            let hex = format!("{id:032x}");
            let uuid = format!(
                "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]
            );
            for form in [
                hex.to_uppercase(), uuid.clone(), uuid.to_uppercase(), format!("trace_{hex}"),
                format!("{low:016x}"), format!("{low:016X}"), low.to_string(),
            ] {
                prop_assert!(same(&hex, &form), "{form}");
                prop_assert!(same(&form, &hex), "{form}");
            }
        }

        #[test]
        fn no_text_makes_it_panic(a: String, b: String) {
            prop_assert_eq!(same(&a, &b), same(&b, &a));
            prop_assert!(same(&a, &a));
        }
    }

    #[test]
    fn the_canonical_spelling_is_one_of_the_same_id() {
        for text in [
            "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736",
            "11803532876627986230",
            "A3CE929D0E0E4736",
            "1234567890123456",
            "langsmith-run-abc123",
            "",
        ] {
            let id = Id::new(Namespace::Trace, text);
            assert!(id.canonical().is_same_as(&id), "{text}");
            assert_eq!(id.canonical().canonical(), id.canonical());
        }
    }

    #[test]
    fn two_full_ids_with_one_low_half_are_two_ids() {
        let (a, b) = ("4bf92f3577b34da6a3ce929d0e0e4736", "ffffffffffffffffa3ce929d0e0e4736");
        assert!(!same(a, b));
        assert!(same(a, "a3ce929d0e0e4736") && same(b, "a3ce929d0e0e4736"));
    }

    #[test]
    fn small_numbers_are_not_halves_of_trace_ids() {
        assert!(!same("00000000000000000000000000000007", "7"));
        assert!(!same("00000000000000000000000000000007", "0000000000000007"));
        assert!(!same("4294967296", "0000000100000000"), "2^32 is still a counter");
        assert!(same("4294967297", "0000000100000001"));
    }

    #[test]
    fn freeform_ids_are_compared_verbatim() {
        assert!(same("langsmith-run-abc123", "langsmith-run-abc123"));
        assert!(!same("langsmith-run-abc123", "LANGSMITH-RUN-ABC123"));
        assert!(!same("trace_abc", "abc"), "the prefix falls only in front of 32 digits");
        assert!(!same("00012345678901234", "12345678901234"), "a padded number is no spelling");
        assert!(!same_id(
            Namespace::Run,
            "4BF92F3577B34DA6A3CE929D0E0E4736",
            "4bf92f3577b34da6a3ce929d0e0e4736"
        ));
    }

    #[test]
    fn codes_on_disk_are_unique() {
        let mut codes: Vec<u8> = Namespace::ALL.iter().map(|n| n.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Namespace::ALL.len());
    }
}
