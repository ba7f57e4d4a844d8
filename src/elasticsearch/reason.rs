//! What of the cluster's error texts may be kept, shown and logged.
//!
//! An error's reason quotes what it complains about: `Preview of field's value: 'the customer's
//! text'`. So nothing of it is copied. What is kept is
//!
//! - the error's type, and that of its cause, when they look like a type (`[a-z0-9_]`, at most 64);
//! - the names of a field and a field type, when the reason begins as one of the known sentences
//!   below and the name looks like one of this schema's (`[a-z0-9_.@]`, at most 128): then the
//!   sentence is written anew around them.
//!
//! The document itself is in the ledger, so whoever may read it can look.

/// Longest type of an error that is kept, in bytes.
const MAX_TYPE: usize = 64;

/// Longest name of a field that is kept, in bytes.
const MAX_FIELD: usize = 128;

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
        if let Some(field) = leading_field(rest) {
            text = format!("field {field} {what}");
            if let Some((_, kind)) = rest.split_once("] of type [")
                && rest.find("] of type [") == Some(field.len())
                && let Some(kind) = leading_field(kind)
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
fn leading_field(text: &str) -> Option<&str> {
    let end = text.find([']', '"'])?;
    let name = text.get(..end)?;
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'@');
    let fits = !name.is_empty() && name.len() <= MAX_FIELD && name.bytes().all(plain);
    fits.then_some(name)
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
        assert_eq!(safe_reason("failed to parse field [My Secret] of type [long]", None), "");
        assert_eq!(safe_type("my secret"), "unknown");
        assert_eq!(safe_type("document_parsing_exception"), "document_parsing_exception");
    }

    proptest! {
        #[test]
        fn no_text_of_a_value_gets_through(value in "[A-Z ']{3,20}", cause in "[A-Z ]{3,9}") {
            for reason in [
                format!("failed to parse field [a.b] of type [long]. Preview: '{value}'"),
                format!("failed to parse field [{value}] of type [{value}]"),
                format!("{value} failed to parse field [{value}"),
                value.clone(),
            ] {
                let kept = safe_reason(&reason, Some(&cause));
                prop_assert!(!kept.contains(&value) && !kept.contains(&cause), "{kept}");
            }
        }
    }
}
