//! Alerts: what answers a question is told to a webhook, a line for each entry.
//!
//! ```text
//! chunk ─► entries that answer ─► one message of up to 20 lines ─► POST ─► cursor
//!                                        ▲ wait, then again ◄── refused or not there, up to 5 times
//! ```
//!
//! - Each webhook has a consumer, a thread and a cursor of its own: one that hangs keeps neither
//!   intake nor another waiting. One that is new begins with what comes after it.
//! - At least once: the cursor moves on behind the answer. After [`MAX_TRIES`] a message is given
//!   up, counted and logged with its entries, since the ledger has them and newer ones matter more.
//! - What is told stands in the entry: it was protected before. Nothing of an answer is read but its
//!   status, and no redirect is followed.

use super::webhook_text::{Line, Shape, message};
use super::{Backoff, ConsumerStatus, Sink, SinkError};
use crate::ledger::Chunk;
use crate::store::EntryView;
use crate::store::query::{Clock, Compiled, Query};
use reqwest::{Client, StatusCode, Url, redirect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Times that one message is posted before it is given up: with the waits between them about a
/// quarter of a minute, longer than a service takes to restart behind its balancer.
pub const MAX_TRIES: u32 = 5;

/// Lines of one message; further ones are counted. What a person reads, and what chats show.
pub const MAX_LINES: usize = 20;

/// Time for one post, the connection included.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after a first failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

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
        })
    }

    /// Its numbers.
    pub fn status(&self) -> Arc<AlertStatus> {
        Arc::clone(&self.status)
    }

    /// Posts a message until it is taken. `Ok(false)`: given up.
    fn post(&self, body: &str) -> Result<bool, SinkError> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for _ in 0..MAX_TRIES {
            if self.is_stopping() {
                return Err("the process ends; the alert is posted after a restart".into());
            }
            // Within the runtime: the library's timers need it from the first moment.
            let sent = self.runtime.block_on(async {
                let post = self.client.post(self.url.clone());
                let post = post.header("content-type", "application/json").body(body.to_owned());
                post.send().await
            });
            match sent {
                Ok(answer) if answer.status().is_success() => return Ok(true),
                Ok(answer) => self.note_failure(Some(answer.status()), None),
                Err(error) => self.note_failure(None, Some(error.without_url())),
            }
            self.wait(backoff.next_wait());
        }
        Ok(false)
    }

    fn note_failure(&self, status: Option<StatusCode>, error: Option<reqwest::Error>) {
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        let status = status.map(|status| status.as_u16());
        let error = error.map(|error| super::chain(&error));
        tracing::warn!(alert = self.name, status, error, "the webhook did not take the alert");
    }

    fn is_stopping(&self) -> bool {
        self.consumer.as_ref().is_some_and(|status| status.is_stopping())
    }

    fn wait(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.is_stopping() {
            std::thread::sleep(LOOK_UP.min(time));
        }
    }
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
        let query = Compiled::new(&self.query, Clock::system());
        let (mut lines, mut more) = (Vec::new(), 0_u64);
        for entry in chunk.entries() {
            let view = EntryView::from(entry);
            if !query.matches(&view) {
                continue;
            }
            if lines.len() < MAX_LINES {
                lines.push(Line::of(&view));
            } else {
                more = more.saturating_add(1);
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let told = self.post(&message(&lines, more, self.shape))?;
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if told {
            self.status.told.fetch_add(count, Ordering::Relaxed);
            self.status.not_told.fetch_add(more, Ordering::Relaxed);
        } else {
            self.status.not_told.fetch_add(count.saturating_add(more), Ordering::Relaxed);
            let first = lines.first().map(|line| line.sequence);
            tracing::error!(
                alert = self.name,
                entries = count.saturating_add(more),
                first_sequence = first,
                "an alert was given up; the entries are in the ledger, look there"
            );
        }
        Ok(())
    }
}
