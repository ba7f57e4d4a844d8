//! Numbers that a source gives to its own records: which are missing, which came twice.
//!
//! A story has only some of the records of a source, so that numbers are missing *here* says
//! nothing. Two records with one number do. Whether numbers are missing in the whole stream is asked
//! of the store: [`streams`] says which streams and between which numbers, [`missing`] what the answer
//! means.

use super::finding::{Code, Finding};
use super::read::Record;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of a stream that a story has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Name of the stream.
    pub id: String,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

/// Most streams of a story whose numbers are asked for.
pub const MAX_STREAMS: usize = 4;

fn number(record: &Record) -> Option<(String, u64)> {
    let attributes = &record.doc.attributes;
    let number = attributes.sequence_number.as_ref()?;
    let number = number.as_u64().or_else(|| number.as_str()?.parse().ok())?;
    let stream = attributes.sequence_stream.as_ref()?;
    let stream = stream.as_str().map_or_else(|| stream.to_string(), str::to_owned);
    Some((stream, number))
}

/// The streams of these records, the first few by name.
pub fn streams(records: &[Record]) -> Vec<Stream> {
    let mut found: BTreeMap<String, Stream> = BTreeMap::new();
    for (id, number) in records.iter().filter_map(number) {
        let stream =
            found.entry(id.clone()).or_insert_with(|| Stream { id, first: number, last: number });
        stream.first = stream.first.min(number);
        stream.last = stream.last.max(number);
    }
    found.into_values().take(MAX_STREAMS).collect()
}

/// What is missing of a stream between its numbers in the story, when `all` are the records of the
/// whole stream that the store has.
pub fn missing(stream: &Stream, all: &[Record]) -> Option<Finding> {
    let numbers: BTreeMap<u64, &Record> = all
        .iter()
        .filter_map(|record| Some((number(record)?, record)))
        .filter(|((id, _), _)| *id == stream.id)
        .map(|((_, number), record)| (number, record))
        .collect();
    let mut last: Option<(u64, &Record)> = None;
    for (number, record) in numbers.range(stream.first..=stream.last) {
        if let Some((before, earlier)) = last
            && before.saturating_add(1) < *number
        {
            let words = format!(
                "Records {} to {} of the stream {} are missing.",
                before.saturating_add(1),
                number.saturating_sub(1),
                stream.id
            );
            return Some(Finding::new(Code::SequenceGap, words, [earlier, record]));
        }
        last = Some((*number, record));
    }
    None
}

/// Numbers that several records have.
pub(super) fn findings(records: &[Record]) -> Vec<Finding> {
    let mut seen: BTreeMap<(String, u64), Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(number) = number(record) {
            seen.entry(number).or_default().push(record);
        }
    }
    let twice = seen.into_iter().filter(|(_, records)| {
        // Entries of one record's events carry its number, too.
        let spans: BTreeSet<_> =
            records.iter().map(|r| (&r.doc.trace.id, &r.doc.span.id)).collect();
        records.len() > 1 && (spans.len() > 1 || spans.iter().any(|(_, span)| span.is_none()))
    });
    twice
        .map(|((stream, number), records)| {
            let words =
                format!("{} records have number {number} of the stream {stream}.", records.len());
            Finding::new(Code::SequenceRepeated, words, records)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::read::tests::record;
    use serde_json::json;

    fn numbered(number: u64) -> Record {
        let more = json!({"attributes":
            {"audit.sequence.number": number, "audit.sequence.stream_id": "flags-1"}});
        record(number, json!({"kind": "change"}), more)
    }

    #[test]
    fn numbers_that_are_missing_in_the_whole_stream_are_a_gap_and_those_elsewhere_are_none() {
        let story = [numbered(3), numbered(7)];
        let [stream] = &streams(&story)[..] else { panic!("one stream") };
        let whole: Vec<Record> = (1..9).map(numbered).collect();
        assert_eq!(missing(stream, &whole), None);
        let holed: Vec<Record> = (1..9).filter(|n| !(4..6).contains(n)).map(numbered).collect();
        let finding = missing(stream, &holed).unwrap();
        assert!(finding.message.contains("4 to 5"), "{}", finding.message);
        assert_eq!(finding.entries.len(), 2);
    }

    #[test]
    fn a_number_that_two_records_have_is_found() {
        let mut twice = [numbered(3), numbered(3)];
        twice[1].entry.id = "other".to_owned();
        assert_eq!(findings(&twice)[0].code, Code::SequenceRepeated);
        assert!(findings(&[numbered(1), numbered(2)]).is_empty());
    }
}
