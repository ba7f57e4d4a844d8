//! What a request holds, and the decoder for it: one place in front of all formats.

use super::decision_logs::{self, Source};
use super::langsmith::{self, Runs};
use super::otlp::{self, DecodeError, Format, Shape, Signal};
use crate::span::Sink;

/// What a request holds, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// OTLP.
    Otlp(Signal, Format),
    /// The decision log of an engine, as JSON.
    DecisionLog(Source),
    /// Runs of `LangSmith`.
    Runs(Runs),
}

impl Content {
    /// Counts what a request holds, without decoding it.
    pub(super) fn measure(&self, request: &[u8]) -> Shape {
        match self {
            Self::Otlp(signal, format) => otlp::measure(*signal, *format, request),
            Self::DecisionLog(source) => decision_logs::measure(*source, request),
            Self::Runs(runs) => langsmith::measure(runs, request),
        }
    }

    /// Gives every record of a request to the sink.
    pub(super) fn decode(&self, request: &[u8], sink: &mut impl Sink) -> Result<(), DecodeError> {
        match self {
            Self::Otlp(signal, format) => otlp::decode(*signal, *format, request, sink),
            Self::DecisionLog(source) => decision_logs::decode(*source, request, sink),
            Self::Runs(runs) => langsmith::decode(runs, request, sink),
        }
    }

    /// As what its records are counted.
    pub(super) fn signal(&self) -> Signal {
        match self {
            Self::Otlp(signal, _) => *signal,
            Self::DecisionLog(_) => Signal::Logs,
            Self::Runs(_) => Signal::Traces,
        }
    }
}
