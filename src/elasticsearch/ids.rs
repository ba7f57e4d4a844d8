//! An id as a search: in which fields of a document it can stand, and in which spellings.
//!
//! The fields are those from which the store reads ids, so what it finds in an entry is searched
//! where the entry has it. The spellings are those that conversion writes into a document beside
//! what the source wrote (`convert::ids`), and the plain ones of what is asked for. What a search
//! gives is a superset: whoever asks checks each hit with [`Id::is_same_as`].
//!
//! A hit on `trace_id` need not carry the id in its own body: ids that became known later are
//! copied into that field.

use super::fields;
use super::fields::LONGEST_KEYWORD;
use super::search::{Filter, Piece, known_field};
use crate::convert::ids::{further_forms, hex, other_forms};
use crate::correlate::{Id, Namespace, TraceReading};
use crate::store::{Coverage, coverage};
use std::sync::LazyLock;

/// Kind of the documents that the correlator writes beside entries: they are no entries.
pub const LINK_KIND: &str = "link";

/// Every field that holds ids, with their namespace.
static ID_FIELDS: LazyLock<Vec<(Namespace, &'static str)>> = LazyLock::new(|| {
    let named = fields::all().into_iter().filter_map(|field| {
        // An alias is its target, and short names are copies.
        if matches!(field.kind, fields::Type::Alias(_) | fields::Type::Folded) {
            return None;
        }
        match coverage(&field.name) {
            Coverage::Id(namespace) => Some((namespace, known_field(&field.name)?)),
            _ => None,
        }
    });
    named.chain([(Namespace::Entry, "event.id")]).collect()
});

/// The fields in which ids of a namespace stand.
pub fn id_fields(namespace: Namespace) -> impl Iterator<Item = &'static str> {
    ID_FIELDS.iter().filter(move |(own, _)| *own == namespace).map(|(_, field)| *field)
}

/// Every entry of a tenant: its documents without those that are no entries.
pub fn entries_of(tenant: &str) -> Filter {
    Filter::and([
        Filter::Term("organization.id", tenant.to_owned()),
        Filter::not(Filter::Term("audit.kind", LINK_KIND.to_owned())),
    ])
}

/// The entries of a tenant that may carry an id: all that do, and perhaps others.
pub fn id_filter(tenant: &str, id: &Id<'_>) -> Filter {
    Filter::and([entries_of(tenant), carries(std::slice::from_ref(id))])
}

/// Documents that may carry one of the ids, of any tenant.
pub fn carries(ids: &[Id<'_>]) -> Filter {
    let by_namespace = Namespace::ALL.iter().map(|namespace| {
        let own = ids.iter().filter(|id| id.namespace == *namespace);
        let texts: Vec<&str> = own.map(|id| id.text.as_ref()).collect();
        in_namespace(*namespace, &texts)
    });
    Filter::or(by_namespace)
}

fn in_namespace(namespace: Namespace, texts: &[&str]) -> Filter {
    let is_indexed = |text: &str| text.encode_utf16().count() <= LONGEST_KEYWORD as usize;
    let mut values: Vec<String> = texts
        .iter()
        .filter(|text| !text.is_empty() && is_indexed(text))
        .flat_map(|text| spellings(namespace, text))
        .collect();
    values.sort_unstable();
    values.dedup();
    let halves: Vec<u64> = match namespace {
        Namespace::Trace => texts.iter().flat_map(|text| lone_halves(text)).collect(),
        _ => Vec::new(),
    };
    let too_long = texts.iter().any(|text| !is_indexed(text));
    Filter::or(
        id_fields(namespace)
            .flat_map(|field| {
                let values = values.chunks(super::search::MAX_TERMS);
                let values = values.map(move |part| Filter::Terms(field, part.to_vec()));
                values.chain(halves.iter().flat_map(move |half| ends_with(field, *half)))
            })
            // No index holds it; conversion marks entries that have such an id.
            .chain(too_long.then(|| Filter::Term("audit.flags", "id_too_long".to_owned()))),
    )
}

/// Every spelling in which a document can have the id.
fn spellings(namespace: Namespace, text: &str) -> Vec<String> {
    match namespace {
        Namespace::Entry => return vec![text.to_ascii_lowercase()],
        Namespace::Trace => {}
        _ => return vec![text.to_owned()],
    }
    let mut forms = vec![text.to_owned()];
    let reading = TraceReading::of(text);
    if let Some(full) = reading.full {
        let bytes = full.to_be_bytes();
        let digits = hex(&bytes);
        forms.extend(other_forms(&bytes, &digits));
        forms.push(format!("trace_{digits}"));
        forms.push(digits);
    }
    for low in reading.lows() {
        forms.push(format!("{low:016x}"));
        forms.push(low.to_string());
    }
    forms.extend(further_forms(text));
    let upper: Vec<String> = forms.iter().filter_map(|form| upper(form)).collect();
    forms.extend(upper);
    forms
}

/// The same digits in upper case, where that is another spelling.
fn upper(form: &str) -> Option<String> {
    TraceReading::of(form).lows().next()?;
    let (prefix, digits) = form.strip_prefix("trace_").map_or(("", form), |rest| ("trace_", rest));
    let upper = format!("{prefix}{}", digits.to_ascii_uppercase());
    (upper != form).then_some(upper)
}

/// The low halves that are all that a text says of a trace id: those of whole ids that end so are
/// asked for too, since a whole id that came as a UUID has no form of its low half.
fn lone_halves(text: &str) -> Vec<u64> {
    let reading = TraceReading::of(text);
    if reading.full.is_some() { Vec::new() } else { reading.lows().collect() }
}

/// Whole ids, with dashes and without, whose low half this is.
fn ends_with(field: &'static str, half: u64) -> [Filter; 2] {
    let digits = format!("{half:016x}");
    let (group, node) = digits.split_at_checked(4).unwrap_or_default();
    [digits.clone(), format!("-{group}-{node}")]
        .map(|end| Filter::Pattern(field, vec![Piece::Any, Piece::Text(end)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Kind};
    use crate::store::facets::Facets;
    use proptest::prelude::*;

    fn terms(filter: &Filter, field: &str) -> Vec<String> {
        match filter {
            Filter::Terms(own, values) if *own == field => values.clone(),
            Filter::And(parts) | Filter::Or(parts) => {
                parts.iter().flat_map(|part| terms(part, field)).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_namespace_has_its_fields_and_trace_ids_have_three() {
        for namespace in Namespace::ALL {
            assert!(id_fields(*namespace).next().is_some(), "{namespace:?}");
        }
        let mut trace: Vec<&str> = id_fields(Namespace::Trace).collect();
        trace.sort_unstable();
        assert_eq!(trace, ["audit.external.trace_id", "trace.id", "trace_id"]);
        let user: Vec<&str> = id_fields(Namespace::User).collect();
        assert_eq!(user.len(), 3, "{user:?}");
    }

    #[test]
    fn a_search_for_an_id_is_one_of_its_tenant_and_of_entries() {
        let Filter::And(parts) = id_filter("acme", &Id::new(Namespace::Run, "7")) else { panic!() };
        assert_eq!(parts[0], entries_of("acme"));
        assert_eq!(parts[1], Filter::Terms("audit.run.id", vec!["7".to_owned()]));
    }

    #[test]
    fn an_empty_id_is_nobodys() {
        assert_eq!(carries(&[Id::new(Namespace::Run, "")]), Filter::None);
    }

    proptest! {
        #[test]
        fn whatever_spelling_a_source_wrote_a_search_for_any_other_finds_the_entry(
            id in (1_u128 << 33)..,
            wrote in 0..8_usize,
            asked in 0..8_usize,
        ) {
            let digits = format!("{id:032x}");
            let low = u64::try_from(id & u128::from(u64::MAX)).unwrap();
            prop_assume!(low > 1 << 33);
            let uuid = format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
            let spelled = [
                digits.clone(), digits.to_uppercase(), uuid.clone(), uuid.to_uppercase(),
                format!("trace_{digits}"), format!("trace_{uuid}"), format!("{low:016x}"), low.to_string(),
            ];
            // What conversion writes: the id as it came, and its further forms.
            let mut entry = Entry::new(Kind::Span);
            entry.add_trace_id(spelled[wrote].clone().into());
            for form in further_forms(&spelled[wrote]) {
                entry.add_trace_id(form.into());
            }
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            let asked = Id::new(Namespace::Trace, spelled[asked].clone());
            let carried = Facets::from_body(&body).ids.iter().any(|own| own.is_same_as(&asked));
            prop_assert!(carried);
            let filter = id_filter("acme", &asked);
            let wanted = terms(&filter, "trace_id");
            let ends: Vec<String> = ends(&filter);
            let found = entry.trace_id.iter().any(|form| {
                wanted.iter().any(|value| value == form)
                    || ends.iter().any(|end| form.to_lowercase().ends_with(end.as_str()))
            });
            prop_assert!(found, "{asked:?} in {:?}", entry.trace_id);
        }
    }

    fn ends(filter: &Filter) -> Vec<String> {
        match filter {
            Filter::Pattern("trace_id", pieces) => match &pieces[..] {
                [Piece::Any, Piece::Text(end)] => vec![end.clone()],
                _ => Vec::new(),
            },
            Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(ends).collect(),
            _ => Vec::new(),
        }
    }
}
