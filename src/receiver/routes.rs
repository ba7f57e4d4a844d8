//! Which path of port 4318 takes what, and in which words it answers.
//!
//! | path | takes | answers |
//! |---|---|---|
//! | `/v1/traces`, `/v1/logs` | OTLP | `Export…ServiceResponse` |
//! | `/api/public/otel/v1/traces` | OTLP, where Langfuse's SDK sends it | the same |
//! | `/logs/cerbos`, `/logs/cordum`, `/logs/entries` | decision logs of those | 200 and a count |
//! | `/logs`, any other path below it | OPA's decision log, at its default and any other resource | the same |
//! | `/runs/multipart`, `/runs/batch`, `/runs`, `PATCH /runs/ID` | `LangSmith`'s native runs | 202 |
//! | `GET /info` | nothing | what `LangSmith`'s client wants to know first |

use super::content::Content;
use super::decision_logs::Source;
use super::langsmith::{Runs, boundary};
use super::otlp::{Format, Signal};
use super::refused::{Kind, Refused};
use http::header::{CONTENT_TYPE, HeaderMap, ORIGIN};
use http::{Method, StatusCode};

/// A path that takes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Its name in entries about refused requests.
    pub(super) endpoint: &'static str,
    pub(super) takes: Takes,
}

/// What it takes. The format is known with the headers only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Takes {
    Otlp(Signal),
    DecisionLog(Source),
    Multipart,
    Runs(Runs),
}

/// How a success is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// `Export…ServiceResponse` in the format of the request.
    Otlp(Signal, Format),
    /// JSON with counts, and this status.
    Counts(StatusCode),
}

/// The route of a path; the method is checked as well.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refused> {
    let (wanted, endpoint, takes) = at(path)?;
    if *method == wanted {
        return Ok(Route { endpoint, takes });
    }
    let message = format!("{endpoint} takes {wanted}, not {method}");
    Err(Refused::new(Kind::Method(allowed(&wanted)), message))
}

fn allowed(method: &Method) -> &'static str {
    if *method == Method::PATCH { "PATCH" } else { "POST" }
}

fn at(path: &str) -> Result<(Method, &'static str, Takes), Refused> {
    let post = |endpoint, takes| Ok((Method::POST, endpoint, takes));
    match path {
        "/v1/traces" => post("/v1/traces", Takes::Otlp(Signal::Traces)),
        "/v1/logs" => post("/v1/logs", Takes::Otlp(Signal::Logs)),
        "/api/public/otel/v1/traces" => {
            post("/api/public/otel/v1/traces", Takes::Otlp(Signal::Traces))
        }
        "/logs/cerbos" => post("/logs/cerbos", Takes::DecisionLog(Source::Cerbos)),
        "/logs/cordum" => post("/logs/cordum", Takes::DecisionLog(Source::Cordum)),
        "/logs/entries" => post("/logs/entries", Takes::DecisionLog(Source::Entries)),
        "/runs/multipart" => post("/runs/multipart", Takes::Multipart),
        "/runs/batch" => post("/runs/batch", Takes::Runs(Runs::Batch)),
        "/runs" | "/runs/" => post("/runs", Takes::Runs(Runs::Post)),
        "/v1/metrics" => Err(Refused::new(
            Kind::NotFound,
            "spanledger takes traces and logs, no metrics: send those elsewhere",
        )),
        _ if path == "/logs" || path.starts_with("/logs/") => {
            post("/logs", Takes::DecisionLog(Source::Opa))
        }
        _ => match path.strip_prefix("/runs/") {
            Some(id) if !id.is_empty() && !id.contains('/') => {
                Ok((Method::PATCH, "/runs/ID", Takes::Runs(Runs::Patch(id.to_owned()))))
            }
            _ => Err(Refused::new(
                Kind::NotFound,
                "no such path: OTLP is received at /v1/traces and /v1/logs, decision logs at /logs, \
                 runs of LangSmith at /runs",
            )),
        },
    }
}

impl Takes {
    /// What the headers say about a body, or why it is not read.
    pub(super) fn content(&self, headers: &HeaderMap) -> Result<Content, Refused> {
        let format = format_of(headers);
        match (self, format) {
            (Self::Otlp(signal), Some(format)) => Ok(Content::Otlp(*signal, format)),
            (Self::Otlp(_), None) => Err(Refused::new(
                Kind::Unsupported,
                "the content type must be application/x-protobuf or application/json",
            )),
            (Self::DecisionLog(source), _) if is_json(headers) => Ok(Content::DecisionLog(*source)),
            (Self::Runs(runs), _) if is_json(headers) => Ok(Content::Runs(runs.clone())),
            // A page in a browser may send a form to any address without asking first, and nothing
            // but a form. It says then where it is from, and clients of LangSmith do not.
            (Self::Multipart, _) if headers.contains_key(ORIGIN) => {
                Err(Refused::new(Kind::Unsupported, "no forms from pages in a browser are taken"))
            }
            (Self::Multipart, _) => match boundary(headers) {
                Some(boundary) => Ok(Content::Runs(Runs::Multipart(boundary))),
                None => Err(Refused::new(
                    Kind::Unsupported,
                    "the content type must be multipart/form-data with a boundary",
                )),
            },
            (Self::DecisionLog(_) | Self::Runs(_), _) => Err(Refused::new(
                Kind::Unsupported,
                "the content type must be application/json, or application/x-ndjson for JSON Lines",
            )),
        }
    }

    /// What a body is until its headers are looked at: a request that is refused has one, too.
    pub(super) fn usual(&self) -> Content {
        match self {
            Self::Otlp(signal) => Content::Otlp(*signal, Format::Protobuf),
            Self::DecisionLog(source) => Content::DecisionLog(*source),
            Self::Multipart => Content::Runs(Runs::Batch),
            Self::Runs(runs) => Content::Runs(runs.clone()),
        }
    }

    /// How a success is said.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Answer {
        match self {
            Self::Otlp(signal) => {
                Answer::Otlp(*signal, format_of(headers).unwrap_or(Format::Protobuf))
            }
            Self::DecisionLog(_) => Answer::Counts(StatusCode::OK),
            // What LangSmith answers: its own clients look for nothing else.
            Self::Multipart | Self::Runs(_) => Answer::Counts(StatusCode::ACCEPTED),
        }
    }

    /// How a refusal is said.
    pub(super) fn refusal_format(&self, headers: &HeaderMap) -> Format {
        match self {
            Self::Otlp(_) => format_of(headers).unwrap_or(Format::Json),
            _ => Format::Json,
        }
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// The format of OTLP.
pub(super) fn format_of(headers: &HeaderMap) -> Option<Format> {
    let media_type = media_type(headers);
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    if is("application/x-protobuf") || is("application/protobuf") {
        Some(Format::Protobuf)
    } else if is("application/json") {
        Some(Format::Json)
    } else {
        None
    }
}

/// JSON, also as lines. A type must be said: without one a page in a browser could send it.
fn is_json(headers: &HeaderMap) -> bool {
    const JSON: [&str; 4] =
        ["application/json", "application/x-ndjson", "application/jsonl", "application/ndjson"];
    let media_type = media_type(headers);
    JSON.iter().any(|name| media_type.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_resource_below_logs_is_opas_but_for_those_of_the_others() {
        for (path, source) in [
            ("/logs", Source::Opa),
            ("/logs/opa", Source::Opa),
            ("/logs/partition/a", Source::Opa),
            ("/logs/cerbos", Source::Cerbos),
            ("/logs/cordum", Source::Cordum),
            ("/logs/entries", Source::Entries),
        ] {
            let route = route(&Method::POST, path).unwrap();
            assert_eq!(route.takes, Takes::DecisionLog(source), "{path}");
        }
        assert!(route(&Method::POST, "/logsx").is_err());
        assert!(route(&Method::GET, "/logs").is_err());
    }

    #[test]
    fn a_run_is_patched_by_its_id_only() {
        assert!(route(&Method::PATCH, "/runs/7").is_ok());
        for (method, path) in
            [(Method::POST, "/runs/7"), (Method::PATCH, "/runs"), (Method::PATCH, "/runs/7/share")]
        {
            assert!(route(&method, path).is_err(), "{method} {path}");
        }
    }
}
