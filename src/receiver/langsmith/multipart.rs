//! The parts of a form, borrowed from it.
//!
//! ```text
//! --BOUNDARY⏎ Content-Disposition: form-data; name="post.ID.inputs"⏎ Content-Type: …⏎ ⏎ CONTENT ⏎
//! --BOUNDARY⏎ …
//! --BOUNDARY--
//! ```
//!
//! Source: RFC 7578 and RFC 2046, section 5.1.1. Line ends are CR LF.

use crate::receiver::otlp::DecodeError;
use http::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem::Finder;

/// Longest boundary, in characters. Source: RFC 2046.
const MAX_BOUNDARY: usize = 70;

/// Most parts of a form. A client sends a hundred runs of up to eight parts; without a limit a form
/// of tiny parts would need several times its own bytes.
const MAX_PARTS: usize = 50_000;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Its name in the form.
    pub(super) name: &'a str,
    /// `Content-Type`, empty when it has none.
    pub(super) media_type: &'a str,
    pub(super) content: &'a [u8],
}

/// The boundary in the headers of a request.
pub(in crate::receiver) fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = value.split_once(';')?;
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then(|| boundary.to_owned())
}

/// A parameter of a header, with or without quotes. No name of a part has a quote in it.
fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case(wanted).then_some(bare)
    })
}

/// Every part of a form.
pub(super) fn parts<'a>(form: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, DecodeError> {
    let error = |rest: &[u8], what| {
        let offset = form.len().saturating_sub(rest.len());
        DecodeError { offset, what }
    };
    let delimiter = format!("\r\n--{boundary}");
    let finder = Finder::new(&delimiter);
    let first = delimiter.as_bytes().get(2..).unwrap_or_default();
    let mut rest = if let Some(rest) = form.strip_prefix(first) {
        rest
    } else {
        // What stands in front of the first part means nothing.
        let at = finder.find(form).ok_or_else(|| error(form, "no part with that boundary"))?;
        form.get(at.saturating_add(delimiter.len())..).unwrap_or_default()
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let inside = rest
            .strip_prefix(b"\r\n")
            .ok_or_else(|| error(rest, "no line end behind a boundary"))?;
        let end = finder.find(inside).ok_or_else(|| error(inside, "part without an end"))?;
        let (part, behind) = inside.split_at_checked(end).unwrap_or_default();
        if parts.len() >= MAX_PARTS {
            return Err(error(inside, "more than 50,000 parts: send smaller requests"));
        }
        parts.push(one(part).ok_or_else(|| error(inside, "part without a name"))?);
        rest = behind.get(delimiter.len()..).unwrap_or_default();
    }
}

fn one(part: &[u8]) -> Option<Part<'_>> {
    // A part without headers would begin with the empty line.
    let end = memchr::memmem::find(part, b"\r\n\r\n")?;
    let head = str::from_utf8(part.get(..end)?).ok()?;
    let content = part.get(end.saturating_add(4)..)?;
    let (mut name, mut media_type) = (None, "");
    for line in head.split("\r\n") {
        let Some((header, value)) = line.split_once(':') else { continue };
        if header.trim().eq_ignore_ascii_case("content-disposition") {
            name = parameter(value, "name");
        } else if header.trim().eq_ignore_ascii_case("content-type") {
            media_type = value.trim();
        }
    }
    Some(Part { name: name?, media_type, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"post.1\"\r\n\
        Content-Type: application/json\r\n\r\n{\"a\":\r\n1}\r\n--x\r\n\
        content-disposition: form-data; name=post.1.inputs\r\n\r\n\r\n--x--\r\n";

    #[test]
    fn the_parts_of_a_form_are_found_with_their_names() {
        let found = parts(FORM, "x").unwrap();
        let content = |name: &str| found.iter().find(|part| part.name == name).unwrap().content;
        assert_eq!(content("post.1"), b"{\"a\":\r\n1}");
        assert_eq!(content("post.1.inputs"), b"");
        assert_eq!(found[0].media_type, "application/json");
    }

    #[test]
    fn a_form_that_is_cut_off_is_refused_wherever_it_was_cut() {
        for end in 0..FORM.len() - 4 {
            assert!(parts(&FORM[..end], "x").is_err(), "{end}");
        }
    }

    #[test]
    fn a_boundary_is_read_as_clients_write_it() {
        let of =
            |value: &str| boundary(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        assert_eq!(of("multipart/form-data; boundary=ab").as_deref(), Some("ab"));
        assert_eq!(of("Multipart/Form-Data; charset=x; Boundary=\"ab\"").as_deref(), Some("ab"));
        assert_eq!(of("multipart/form-data"), None);
        assert_eq!(of("application/json; boundary=ab"), None);
        assert_eq!(of(&format!("multipart/form-data; boundary={}", "b".repeat(71))), None);
    }

    proptest! {
        #[test]
        fn what_was_put_into_a_form_comes_out(contents in prop::collection::vec("[^b]{0,20}", 0..5)) {
            let part = |(number, content): (usize, &String)| {
                format!("--bbb\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n{content}\r\n")
            };
            let mut form: String = contents.iter().enumerate().map(part).collect();
            form += "--bbb--\r\n";
            let found = parts(form.as_bytes(), "bbb").unwrap();
            let found: Vec<_> = found.iter().map(|part| part.content).collect();
            prop_assert_eq!(found, contents.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}
