//! Alerts: what answers a question is told to a webhook, a line for each entry.
//!
//! ```text
//! chunk ─► entries that answer ─► one message of up to 20 lines ─► POST ─► cursor
//!   ▲                                                                │ refused or not there
//!   └──────────── the consumer waits, then the same again ◄──────────┘
//! ```
//!
//! - Each webhook has a consumer, a thread and a cursor of its own: one that hangs keeps neither
//!   intake nor another waiting. One that is new begins with what comes after it.
//! - At least once: the cursor moves on behind the answer, and a webhook that is away is asked until
//!   it is back. An entry is given up when it was received [`GIVE_UP_AFTER`] ago, or when the answer
//!   says that the message or the address will never do (400, 404, 410, 413). It is then counted and
//!   logged, since the ledger has it and newer ones matter more.
//! - What is told stands in the entry: it was protected before. Nothing of an answer is read but its
//!   status and `Retry-After`, and no redirect is followed.

use super::webhook_text::{Line, Shape, message};
use super::{ConsumerStatus, Sink, SinkError};
use crate::ledger::Chunk;
use crate::store::EntryView;
use crate::store::query::{Clock, Compiled, Query};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long after its receipt an entry is still told: a webhook may be away for that long. Whoever
/// is told later than that looks into the ledger anyway, and what is new should not wait behind it.
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(1);

/// Longest wait that a webhook may ask for with `Retry-After`: a larger one would be a way to
/// silence an alert until it is given up.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Lines of one message; further ones are counted. What a person reads, and what chats show.
pub const MAX_LINES: usize = 20;

/// Time for one post, the connection included.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a wait looks whether the process ends.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What an alert is: which entries, told where and how.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its name: in logs and of its cursor.
    pub name: String,
    /// Which entries.
    pub query: Query,
    /// Where to. A webhook's address is a secret: it is in no log, metric or error.
    pub url: WebhookUrl,
    /// In which shape.
    pub shape: Shape,
}

/// The address of a webhook, shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookUrl({}://…)", self.0.scheme())
    }
}

/// Why an address is not taken. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// It cannot be read.
    #[error(
        "the address of the webhook cannot be read; write it whole, such as https://hooks.example.com/services/…"
    )]
    Unreadable,
    /// Everybody on the way could read it.
    #[error("the address of the webhook is not https; only one on this machine may be http")]
    Open,
}

impl WebhookUrl {
    /// The address, for who posts to it.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// Takes an address.
    ///
    /// ```
    /// use spanledger::export::WebhookUrl;
    /// assert!(WebhookUrl::new("https://hooks.example.com/services/T0/B0/secret").is_ok());
    /// assert!(WebhookUrl::new("http://127.0.0.1:9000/alerts").is_ok());
    /// assert!(WebhookUrl::new("http://hooks.example.com/").is_err());
    /// ```
    ///
    /// # Errors
    /// [`WebhookUrlError`] for what is no address, and for `http` to anywhere but this machine.
    pub fn new(text: &str) -> Result<Self, WebhookUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| WebhookUrlError::Unreadable)?;
        let host = url.host_str().ok_or(WebhookUrlError::Unreadable)?;
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if here => Ok(Self(url)),
            "http" => Err(WebhookUrlError::Open),
            _ => Err(WebhookUrlError::Unreadable),
        }
    }
}

/// What became of alerts, counted.
#[derive(Debug, Default)]
pub struct AlertStatus {
    /// Entries that were told.
    pub told: AtomicU64,
    /// Entries that were given up, or only counted in a message.
    pub not_told: AtomicU64,
    /// Posts that were refused or had no answer.
    pub failures: AtomicU64,
}

/// Tells a webhook what answers a question.
pub struct WebhookSink {
    name: String,
    query: Query,
    url: Url,
    shape: Shape,
    client: Client,
    runtime: Handle,
    status: Arc<AlertStatus>,
    consumer: Option<Arc<ConsumerStatus>>,
    /// Everything before this sequence was given up: a chunk that comes again may begin earlier.
    given_up_before: u64,
    /// When the webhook wants to be asked again.
    not_before: Option<Instant>,
}

/// What became of a message.
enum Posted {
    Taken,
    /// It will not be taken however often it is sent.
    Never(StatusCode),
    /// The same again, after that time if the webhook says one.
    Later(String, Option<Duration>),
}

impl Posted {
    /// What an answer means that is no success.
    fn refused(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE => Self::Never(status),
            _ => Self::Later(format!("the webhook answered {status}"), retry_after(headers)),
        }
    }
}

/// What `Retry-After` says in seconds, at most [`MAX_RETRY_AFTER`]. A date is passed over: the
/// consumer's own waits do.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// An entry that is to be told.
struct Waiting {
    sequence: u64,
    received_ns: u64,
}

impl Waiting {
    fn is_late(&self, now_ns: u64) -> bool {
        Duration::from_nanos(now_ns.saturating_sub(self.received_ns)) >= GIVE_UP_AFTER
    }
}

impl std::fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl WebhookSink {
    /// A sink for an alert. Nothing is sent. `runtime` is what sends.
    ///
    /// # Errors
    /// The text of the client library when TLS cannot be set up.
    pub fn new(alert: Alert, runtime: Handle) -> Result<Self, SinkError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(POST_TIMEOUT)
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self {
            name: format!("alert-{}", alert.name),
            query: alert.query,
            url: alert.url.0,
            shape: alert.shape,
            client,
            runtime,
            status: Arc::default(),
            consumer: None,
            given_up_before: 0,
            not_before: None,
        })
    }

    /// Its numbers.
    pub fn status(&self) -> Arc<AlertStatus> {
        Arc::clone(&self.status)
    }

    /// Posts a message once.
    fn post(&self, body: String) -> Posted {
        // Within the runtime: the library's timers need it from the first moment.
        let sent = self.runtime.block_on(async {
            let post = self.client.post(self.url.clone());
            post.header("content-type", "application/json").body(body).send().await
        });
        let posted = match sent {
            Ok(answer) if answer.status().is_success() => return Posted::Taken,
            Ok(answer) => Posted::refused(answer.status(), answer.headers()),
            Err(error) => {
                let why = super::chain(&error.without_url());
                Posted::Later(format!("the webhook did not answer: {why}"), None)
            }
        };
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        posted
    }

    /// Counts and logs entries that will not be told.
    fn give_up(&self, waiting: &[Waiting], why: &str) {
        let entries = count(waiting.len());
        self.status.not_told.fetch_add(entries, Ordering::Relaxed);
        tracing::error!(
            alert = self.name,
            entries,
            first_sequence = waiting.first().map(|entry| entry.sequence),
            why,
            "an alert was given up; the entries are in the ledger, look there"
        );
    }

    /// Gives up what has waited for too long, the oldest first; the rest is tried again.
    fn postpone(&mut self, waiting: &[Waiting], now_ns: u64, why: String) -> Result<(), SinkError> {
        let late = waiting.iter().take_while(|entry| entry.is_late(now_ns)).count();
        let (late, rest) = waiting.split_at_checked(late).unwrap_or((&[], waiting));
        if !late.is_empty() {
            self.give_up(late, &why);
        }
        let Some(next) = rest.first() else { return Ok(()) };
        self.given_up_before = next.sequence;
        Err(why.into())
    }

    /// Waits as the webhook asked.
    fn wait_as_asked(&mut self) -> Result<(), SinkError> {
        let Some(moment) = self.not_before.take() else { return Ok(()) };
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.consumer.as_ref().is_some_and(|status| status.is_stopping()) {
                return Err("the process ends; the alert is posted after a restart".into());
            }
            std::thread::sleep(LOOK_UP.min(left));
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin(&mut self, status: &Arc<ConsumerStatus>) {
        self.consumer = Some(Arc::clone(status));
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        // Anew each time: `now` goes on.
        let clock = Clock::system();
        let query = Compiled::new(&self.query, clock);
        let (mut lines, mut waiting) = (Vec::new(), Vec::new());
        for entry in chunk.entries() {
            let view = EntryView::from(entry);
            let (sequence, received_ns) = (view.envelope.sequence, view.envelope.received_ns);
            if sequence < self.given_up_before || !query.matches(&view) {
                continue;
            }
            if lines.len() < MAX_LINES {
                lines.push(Line::of(&view));
            }
            waiting.push(Waiting { sequence, received_ns });
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.wait_as_asked()?;
        let more = count(waiting.len().saturating_sub(lines.len()));
        match self.post(message(&lines, more, self.shape)) {
            Posted::Taken => {
                self.status.told.fetch_add(count(lines.len()), Ordering::Relaxed);
                self.status.not_told.fetch_add(more, Ordering::Relaxed);
                Ok(())
            }
            Posted::Never(status) => {
                self.give_up(&waiting, &format!("the webhook answered {status}"));
                Ok(())
            }
            Posted::Later(why, after) => {
                self.not_before = after.and_then(|after| Instant::now().checked_add(after));
                self.postpone(&waiting, clock.now_ns, why)
            }
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
