//! What listeners serve over TLS, replaced while they run.
//!
//! ```text
//! files ─► load ─► Arc<ServerConfig> ─► each new connection takes the one of its moment
//!   ▲                  ▲
//!   ╰── looked at every `reload`, and at SIGHUP: whole and right, or the old one stays
//! ```
//!
//! A connection keeps what it began with. Sessions are resumed under the configuration that they
//! began under only, so no client comes back with a certificate that was revoked in between.

use super::TlsError;
use super::tls_files::{Loaded, Stamp, load, stamps};
use jiff::Timestamp;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Time left to a certificate below which a warning is logged, seconds: 14 days. What renews by
/// itself does so a month before.
const EXPIRES_SOON: i64 = 14 * 24 * 60 * 60;

/// Time between two such warnings.
const WARNING_INTERVAL: Duration = Duration::from_hours(24);

/// Where the parts of TLS are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate and those that signed it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// What client certificates are checked against; without it none are asked for.
    pub clients: Option<ClientAuthorities>,
    /// Time between two looks at the files.
    pub reload: Duration,
}

/// Whose client certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// Certificates of the authorities, PEM.
    pub authorities: PathBuf,
    /// Lists of revoked certificates, PEM, one for each authority of a chain.
    pub revoked: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// What the listeners serve now.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    current: RwLock<Arc<ServerConfig>>,
    /// The files as they were when they were read last, with success or without.
    seen: Mutex<Vec<Option<Stamp>>>,
    status: TlsStatus,
}

/// Numbers of TLS.
#[derive(Debug, Default)]
pub struct TlsStatus {
    expires: AtomicI64,
    /// [`i64::MAX`] for never.
    lists_due: AtomicI64,
    reloads: AtomicU64,
    stale: AtomicBool,
}

impl TlsStatus {
    /// When the certificate that is served ends, seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// When the first of the lists of revoked client certificates should be replaced, seconds since
    /// 1970. `None` without lists, or when none says so.
    pub fn lists_due(&self) -> Option<i64> {
        Some(self.lists_due.load(Ordering::Relaxed)).filter(|due| *due != i64::MAX)
    }

    fn serves(&self, loaded: &Loaded) {
        self.expires.store(loaded.expires, Ordering::Relaxed);
        self.lists_due.store(loaded.lists_due.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// How often changed files were taken.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Whether the files have changed to something that cannot be served, so that what was there
    /// before them still is.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }
}

impl Tls {
    /// From the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the key of the configuration and what to do.
    ///
    /// ```no_run
    /// use spanledger::access::{Tls, TlsSettings};
    /// let tls = Tls::load(TlsSettings {
    ///     certificate: "/etc/spanledger/tls.crt".into(),
    ///     key: "/etc/spanledger/tls.key".into(),
    ///     clients: None,
    ///     reload: std::time::Duration::from_secs(30),
    /// })?;
    /// println!("it ends at {}", tls.status().expires());
    /// # Ok::<(), spanledger::access::TlsError>(())
    /// ```
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        // Before they are read: what changes in between is different at the next look.
        let seen = Mutex::new(stamps(&settings));
        let loaded = load(&settings)?;
        let status = TlsStatus::default();
        status.serves(&loaded);
        Ok(Self { settings, current: RwLock::new(loaded.config), seen, status })
    }

    /// What a new connection is served with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its numbers.
    pub fn status(&self) -> &TlsStatus {
        &self.status
    }

    /// Takes the files when they have changed since they were last read, or anyway when `asked`.
    /// Whether they were taken. Reads the disk.
    ///
    /// # Errors
    /// [`TlsError`], once for each change; what was served before still is.
    pub fn look(&self, asked: bool) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.settings);
        if !asked && *seen == now {
            return Ok(false);
        }
        *seen = now;
        let loaded = load(&self.settings);
        self.status.stale.store(loaded.is_err(), Ordering::Relaxed);
        let loaded = loaded?;
        self.status.serves(&loaded);
        self.status.reloads.fetch_add(1, Ordering::Relaxed);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
        Ok(true)
    }

    /// Looks at the files until `stop` is done: every [`TlsSettings::reload`], and at SIGHUP,
    /// which from this call on does not end the process any more.
    pub fn watch(
        self: Arc<Self>,
        stop: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send {
        let hangup = signal(SignalKind::hangup());
        async move {
            tokio::select! {
                () = stop => {}
                () = self.look_for_ever(hangup.ok()) => {}
            }
        }
    }

    async fn look_for_ever(self: &Arc<Self>, mut hangup: Option<tokio::signal::unix::Signal>) {
        let period = self.settings.reload.max(Duration::from_millis(1));
        let start = Instant::now();
        let mut looks = interval_at(start.checked_add(period).unwrap_or(start), period);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = None;
        loop {
            self.warn_of_the_end(&mut warned);
            let asked = tokio::select! {
                _ = looks.tick() => false,
                Some(()) = told(&mut hangup) => true,
            };
            let this = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || this.look(asked)).await;
            match looked {
                Ok(Ok(true)) => {
                    let (expires, reloads) = (self.status.expires(), self.status.reloads());
                    tracing::info!(expires, reloads, "new TLS files are served");
                    warned = None;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(
                        cause,
                        "new TLS files cannot be used, the old ones are served: {error}"
                    );
                }
                Err(error) => tracing::error!(%error, "a look at the TLS files did not end"),
            }
        }
    }

    /// Says once a day when the certificate ends soon, or a list is out of date.
    fn warn_of_the_end(&self, warned: &mut Option<Instant>) {
        if warned.is_some_and(|warned| warned.elapsed() < WARNING_INTERVAL) {
            return;
        }
        let now = Timestamp::now().as_second();
        let expires = self.status.expires();
        let left = expires.saturating_sub(now);
        if left < EXPIRES_SOON {
            *warned = Some(Instant::now());
            let hours_left = left / 3600;
            tracing::warn!(
                expires,
                hours_left,
                "the TLS certificate ends soon: replace {}, it is taken without a restart",
                self.settings.certificate.display()
            );
        }
        let clients = self.settings.clients.as_ref();
        let lists = clients.and_then(|clients| clients.revoked.as_ref());
        if let (Some(due), Some(lists)) = (self.status.lists_due().filter(|due| *due < now), lists)
        {
            *warned = Some(Instant::now());
            tracing::warn!(
                due,
                "a list of revoked client certificates is out of date and still counts: replace {}",
                lists.display()
            );
        }
    }
}

/// The next signal; never without a handler.
async fn told(hangup: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match hangup {
        Some(hangup) => hangup.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
