//! What several operations answer alike, as the OpenAPI document says it.

use super::problem::PROBLEM_JSON;
use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

/// A response that holds a [`Problem`](super::problem::Problem).
pub(super) fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build()
}

/// A type that stands for these problems under `responses(…)` of an operation.
macro_rules! problems {
    ($($(#[doc = $doc:literal])* $name:ident { $($status:literal: $text:literal,)* })*) => {$(
        $(#[doc = $doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status.to_owned(), problem($text).into()),)*].into()
            }
        }
    )*};
}

problems! {
    /// A question to the store.
    Asked {
        "400": "A parameter cannot be used",
        "503": "Too many questions at once",
        "504": "The answer took too long",
    }
    /// A call that is put on record.
    Recorded {
        "503": "It could not be put on record",
    }
    /// A call that the configured upstream decides, and that is put on record with its answer.
    Decided {
        "501": "No upstream is configured, and nobody here decides",
        "502": "The upstream cannot be reached, or its answer not be used",
        "503": "It could not be put on record",
        "504": "The upstream did not answer in time",
    }
}
