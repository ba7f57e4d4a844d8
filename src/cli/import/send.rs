//! Batches of lines to a running server, again while it cannot take them, in halves to find the
//! lines that it never will.

use super::format::Destination;
use super::lines::Line;
use crate::cli::client::{Source, SourceError};
use crate::cli::connect::ConnectArgs;
use crate::cli::display::clean;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a server may take nothing before the import stops: a restart, a full disk that somebody
/// is about to make room on.
const PATIENCE: Duration = Duration::from_mins(5);

/// Wait between two tries when the server says nothing about it.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Bytes of a strange answer that are shown: enough to tell a proxy's page from another program.
const SHOWN_BYTES: usize = 120;

/// Lines that go to one place together.
pub(super) struct Batch {
    pub(super) to: Destination,
    pub(super) lines: Vec<Line>,
}

/// What became of lines.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Records that are durable.
    pub(super) accepted: u64,
    /// Lines that will never be taken, or not wholly, and why.
    pub(super) refused: Vec<(u64, String)>,
}

/// Why no further lines were sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody answers.
    #[error("no answer from {base} for {seconds} s; is `spanledger serve` running there?")]
    Unreachable {
        /// The address.
        base: String,
        /// How long it was tried.
        seconds: u64,
        /// Why.
        source: reqwest::Error,
    },
    /// The server could not take them for too long.
    #[error("{base} has taken nothing for {seconds} s: {message}")]
    Unavailable {
        /// The address.
        base: String,
        /// How long it was tried.
        seconds: u64,
        /// What it says.
        message: String,
    },
    /// What answered does not say that anything is on record.
    #[error(
        "{base} answered {status} with {what}, which is no acknowledgement of spanledger, so none of these lines counts as on record; check that --endpoint is where the server takes OTLP over HTTP"
    )]
    NotAcknowledged {
        /// The address.
        base: String,
        /// HTTP status.
        status: u16,
        /// What it said, shortened.
        what: String,
    },
    /// The server takes nothing from this sender, or is none of ours.
    #[error("{base} answered {status}: {message}; {next}")]
    Refused {
        /// The address.
        base: String,
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
        /// What to do.
        next: &'static str,
    },
}

/// A server that takes lines.
pub(super) struct Sender {
    client: Client,
    base: Url,
}

/// What a server said once.
enum Answer {
    Taken {
        accepted: u64,
        refused: u64,
        message: String,
    },
    /// These lines never.
    Never(String),
    /// The same again, later.
    Later {
        after: Duration,
        message: String,
    },
}

impl Sender {
    /// Who sends to that address.
    pub(super) fn new(address: &str, connect: &ConnectArgs) -> Result<Self, SourceError> {
        match Source::connect(address, connect)? {
            Source::Http { client, base } => Ok(Self { client, base }),
            Source::Offline(_) => Err(SourceError::NeedsServer),
        }
    }

    /// Sends a batch and returns when all of it is durable or refused for good.
    pub(super) async fn send(&self, batch: &Batch) -> Result<Sent, SendError> {
        let mut sent = Sent::default();
        // Halves that are still to be sent, the first one last.
        let mut rest = vec![&*batch.lines];
        while let Some(lines) = rest.pop() {
            let (accepted, refused, why) = match self.until_taken(batch.to, lines).await? {
                Answer::Taken { accepted, refused, message } => (accepted, refused, message),
                Answer::Never(why) | Answer::Later { message: why, .. } => (0, 1, why),
            };
            match lines {
                _ if refused == 0 => sent.accepted = sent.accepted.saturating_add(accepted),
                [only] => {
                    sent.accepted = sent.accepted.saturating_add(accepted);
                    sent.refused.push((only.number, why));
                }
                // What was taken already is the same entry when it is sent again.
                many => {
                    let (first, second) = many.split_at(many.len() / 2);
                    rest.push(second);
                    rest.push(first);
                }
            }
        }
        Ok(sent)
    }

    /// Tries until the lines are taken or refused for good.
    async fn until_taken(&self, to: Destination, lines: &[Line]) -> Result<Answer, SendError> {
        let body = bytes::Bytes::from(to.body(lines.iter().map(|line| &*line.text)));
        let started = Instant::now();
        loop {
            let base = self.base.to_string();
            let seconds = started.elapsed().as_secs();
            let is_over = started.elapsed() >= PATIENCE;
            let pause = match self.once(to, body.clone()).await {
                Ok(Ok(Answer::Later { message, .. })) if is_over => {
                    return Err(SendError::Unavailable { base, seconds, message });
                }
                Ok(Ok(Answer::Later { after, .. })) => after,
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => return Err(error),
                // Nobody ever listened there: that does not get better by waiting.
                Err(source) if is_over || source.is_connect() && seconds > 10 => {
                    return Err(SendError::Unreachable { base, seconds, source });
                }
                Err(_) => PAUSE,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(
        &self,
        to: Destination,
        body: bytes::Bytes,
    ) -> reqwest::Result<Result<Answer, SendError>> {
        let mut url = self.base.clone();
        url.set_path(to.path);
        let request = self.client.post(url).header(CONTENT_TYPE, to.content_type).body(body);
        let answer = request.send().await?;
        let (status, after) = (answer.status(), retry_after(&answer));
        let kind = answer.headers().get(CONTENT_TYPE).cloned();
        let body = answer.bytes().await?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = text(said.get("message"));
        Ok(match status {
            StatusCode::OK | StatusCode::ACCEPTED => {
                taken(to, &said, message).ok_or_else(|| SendError::NotAcknowledged {
                    base: self.base.to_string(),
                    status: status.as_u16(),
                    what: shown(kind.as_ref(), &body),
                })
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::Never(message)),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Ok(Answer::Later { after, message })
            }
            status => Err(SendError::Refused {
                base: self.base.to_string(),
                status: status.as_u16(),
                message,
                next: match status.as_u16() {
                    401 | 403 => {
                        "give the key of a writer in SPANLEDGER_KEY or with --key-file FILE"
                    }
                    _ => "check that --endpoint is where the server takes OTLP over HTTP",
                },
            }),
        })
    }
}

/// Text of an answer, harmless on a terminal.
fn text(value: Option<&Value>) -> String {
    clean(value.and_then(Value::as_str).unwrap_or_default())
}

/// Whatever answered, in a few words.
fn shown(kind: Option<&HeaderValue>, body: &[u8]) -> String {
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    let beginning = String::from_utf8_lossy(body.get(..SHOWN_BYTES).unwrap_or(body));
    clean(&format!("{kind}: {:?}", beginning.trim()))
}

/// What was taken, in the words of OTLP or of the other paths; nothing when it is neither: a proxy's
/// page, or another program on that port, has written nothing.
fn taken(to: Destination, said: &Value, message: String) -> Option<Answer> {
    let members = said.as_object()?;
    let is_ours = if to.is_otlp() {
        members.iter().all(|(name, value)| name == "partialSuccess" && value.is_object())
    } else {
        members.get("accepted").is_some_and(Value::is_u64)
    };
    if !is_ours {
        return None;
    }
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let partial = said.get("partialSuccess");
    let of_otlp = |name: &str| partial.and_then(|partial| partial.get(name));
    let refused = [said.get("refused"), of_otlp("rejectedSpans"), of_otlp("rejectedLogRecords")];
    let refused = refused.into_iter().flatten().find_map(number).unwrap_or_default();
    let message = if partial.is_some() { text(of_otlp("errorMessage")) } else { message };
    // OTLP does not say how many: a line is counted as one.
    let accepted = said.get("accepted").and_then(number).unwrap_or(1);
    Some(Answer::Taken { accepted, refused, message })
}

fn retry_after(answer: &reqwest::Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = seconds.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    asked.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE)
}
