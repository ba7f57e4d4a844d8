//! What of the cluster's error texts may be kept, shown and logged.
//!
//! An error's reason quotes what it complains about: `Preview of field's value: 'the customer's
//! text'`. So nothing of it is copied. What is kept is
//!
//! - the error's type, and that of its cause, when they look like a type (`[a-z0-9_]`, at most 64);
//! - the names of a field and a field type, when the reason begins as one of the known sentences
//!   below and both are names of our own mapping: then the sentence is written anew around them.
//!
//! The document itself is in the ledger, so whoever may read it can look.

use super::Product;
use super::fields;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Longest type of an error that is kept, in bytes.
const MAX_TYPE: usize = 64;

/// Names of the fields of a document, and of the objects that they are in.
static FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let fields = fields::all().into_iter().map(|field| field.name);
    let with_objects = fields.flat_map(|name| {
        let dots = name.match_indices('.').map(|(dot, _)| dot).collect::<Vec<_>>();
        let objects = dots.into_iter().filter_map(|dot| name.get(..dot).map(str::to_owned));
        objects.chain([name.clone()]).collect::<Vec<_>>()
    });
    with_objects.collect()
});

/// Names of the types of those fields, on either product.
static TYPES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let products = [Product::Elasticsearch, Product::OpenSearch];
    let fields = fields::all();
    fields.iter().flat_map(|field| products.map(|product| field.kind.name(product))).collect()
});

/// Starts of reasons that name a field, up to its name.
const NAMES_A_FIELD: &[(&str, &str)] = &[
    ("failed to parse field [", "does not parse"),
    ("object mapping for [", "is an object in the mapping"),
    ("mapping set to strict, dynamic introduction of [", "is not in the mapping"),
    ("Document contains at least one immense term in field=\"", "is too long for a keyword"),
    ("data stream timestamp field [", "is the time and must be one"),
];

/// The type of an error, or `unknown` when it does not look like one.
pub(super) fn safe_type(text: &str) -> &str {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !text.is_empty() && text.len() <= MAX_TYPE && text.bytes().all(plain) {
        text
    } else {
        "unknown"
    }
}

/// A sentence about an error without anything of the document.
pub(super) fn safe_reason(reason: &str, cause: Option<&str>) -> String {
    let mut text = String::new();
    for (start, what) in NAMES_A_FIELD {
        // The sentence may stand behind a position: `[1:43] failed to parse field [n] …`.
        let rest = match reason.split_once(start) {
            Some((before, rest)) if before.len() <= 16 => rest,
            _ => continue,
        };
        if let Some(field) = leading_name(rest).filter(|name| FIELDS.contains(*name)) {
            text = format!("field {field} {what}");
            if let Some((_, kind)) = rest.split_once("] of type [")
                && rest.find("] of type [") == Some(field.len())
                && let Some(kind) = leading_name(kind).filter(|name| TYPES.contains(name))
            {
                text.push_str(" as ");
                text.push_str(kind);
            }
        }
        break;
    }
    match cause.map(safe_type) {
        Some(cause) if cause != "unknown" && text.is_empty() => format!("caused by {cause}"),
        Some(cause) if cause != "unknown" => format!("{text}, caused by {cause}"),
        _ => text,
    }
}

/// The name at the start of a text, up to the bracket or quote that ends it.
fn leading_name(text: &str) -> Option<&str> {
    text.get(..text.find([']', '"'])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_field_and_its_type_are_kept_and_the_value_is_not() {
        let reason = "[1:43] failed to parse field [gen_ai.usage.input_tokens] of type [long] in \
            document with id 'a'. Preview of field's value: 'my secret'";
        assert_eq!(
            safe_reason(reason, Some("illegal_argument_exception")),
            "field gen_ai.usage.input_tokens does not parse as long, caused by \
             illegal_argument_exception"
        );
        assert_eq!(safe_reason("For input string: \"my secret\"", None), "");
        for value in ["My Secret", "alice.smith@example.com", "4111111111111111", "attributes.key"]
        {
            let reason = format!("failed to parse field [{value}] of type [long]");
            assert_eq!(safe_reason(&reason, None), "");
        }
        let kind = "failed to parse field [@timestamp] of type [hunter2]";
        assert_eq!(safe_reason(kind, None), "field @timestamp does not parse");
        let object = "object mapping for [audit.decision] tried to parse field [alice] as object";
        assert_eq!(safe_reason(object, None), "field audit.decision is an object in the mapping");
        assert_eq!(safe_type("my secret"), "unknown");
        assert_eq!(safe_type("document_parsing_exception"), "document_parsing_exception");
    }

    proptest! {
        #[test]
        fn no_text_of_a_value_gets_through(
            // With two letters that none of our own sentences has together.
            value in "([a-z0-9_.@]{4}|[A-Z ']{4})zq[a-z0-9_.@]{0,12}",
            cause in "[A-Z ]{3,9}",
        ) {
            for reason in [
                format!("failed to parse field [message] of type [text]. Preview: '{value}'"),
                format!("failed to parse field [{value}] of type [{value}]"),
                format!("failed to parse field [message] of type [{value}]"),
                format!("failed to parse field [message.{value}] of type [long]"),
                format!("object mapping for [{value}] tried to parse field [{value}] as object"),
                format!("Document contains at least one immense term in field=\"{value}\""),
                format!("{value} failed to parse field [{value}"),
                value.clone(),
            ] {
                let kept = safe_reason(&reason, Some(&cause));
                prop_assert!(!kept.contains(&value) && !kept.contains(&cause), "{kept}");
            }
        }
    }
}
