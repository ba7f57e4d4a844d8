//! How a layer is made.

use super::AuditLayer;
use super::audit_layer::Shared;
use super::callsite::{Callsites, Chooser};
use super::handle::Handle;
use super::open::OpenSpans;
use super::out::Out;
use super::outbox::{
    Destination, Otlp, OtlpError, OtlpReceiver, Outbox, OutboxError, Policy, Settings,
    SpoolSettings, Token,
};
use super::protobuf::{RESOURCE_ATTRIBUTES, Value, attribute, key_field};
use super::testing::{Audited, Kept};
use crate::protect::{AttributeProtector, ProtectorError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tracing::Metadata;

/// Folder of the spool unless another is named, in the process's working directory.
pub const DEFAULT_SPOOL: &str = "spanledger-spool";

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The way out cannot be opened.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Fields to redact that cannot be searched for.
    #[error(transparent)]
    Protector(#[from] ProtectorError),
    /// The receiver cannot be used.
    #[error(transparent)]
    Receiver(#[from] OtlpError),
    /// The ledger in this process cannot be opened.
    #[cfg(feature = "ledger")]
    #[error(transparent)]
    Embedded(#[from] super::embedded::EmbeddedError),
}

/// The layer with its defaults: records go to that receiver over gRPC, and wait in the folder
/// [`DEFAULT_SPOOL`] while it is away. A key for the receiver is taken from `SPANLEDGER_KEY`, or
/// from the file that `SPANLEDGER_KEY_FILE` names.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
/// tracing_subscriber::registry().with(spanledger::layer("http://127.0.0.1:4317")?).init();
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`LayerError`]: an address that is none, a spool that cannot be written, a thread that cannot be
/// started. The receiver may be away.
pub fn layer(receiver: impl Into<String>) -> Result<AuditLayer, LayerError> {
    AuditLayer::builder().otlp(Otlp { token: token(), ..Otlp::new(receiver) })
}

fn token() -> Option<Token> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match set("SPANLEDGER_KEY").map(std::ffi::OsString::into_string) {
        Some(Ok(key)) => Some(Token::Text(key)),
        _ => set("SPANLEDGER_KEY_FILE").map(|path| Token::File(path.into())),
    }
}

/// Says how a layer works; [`Builder::default`] is what [`layer`](super::layer()) uses.
#[derive(Clone)]
pub struct Builder {
    service: Option<String>,
    attributes: Vec<(String, String)>,
    pub(super) settings: Settings,
    /// Whether the user said how records wait.
    pub(super) policy_is_chosen: bool,
    redact_credentials: bool,
    redact_fields: Vec<String>,
    also: Option<Arc<Chooser>>,
    flush_on_panic: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            service: None,
            attributes: Vec::new(),
            settings: Settings::new(Policy::Spool(SpoolSettings::new(DEFAULT_SPOOL))),
            policy_is_chosen: false,
            redact_credentials: true,
            redact_fields: Vec::new(),
            also: None,
            flush_on_panic: true,
        }
    }
}

impl Builder {
    /// `service.name` of every entry. Default: `OTEL_SERVICE_NAME`, else the program's name.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// One more resource attribute of every entry, such as `deployment.environment.name`.
    #[must_use]
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// The folder in which records wait for the receiver. Default: [`DEFAULT_SPOOL`].
    #[must_use]
    pub fn spool(self, folder: impl Into<PathBuf>) -> Self {
        self.policy(Policy::Spool(SpoolSettings::new(folder)))
    }

    /// How records wait for the receiver, and what happens when there is no room.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = policy;
        self.policy_is_chosen = true;
        self
    }

    /// All limits at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.policy_is_chosen = true;
        self
    }

    /// Whether credentials in values are found and replaced before a value leaves the agent's
    /// memory. Default: yes.
    #[must_use]
    pub fn redact_credentials(mut self, redact: bool) -> Self {
        self.redact_credentials = redact;
        self
    }

    /// Fields whose values are replaced: the last part of a name, or the whole of it.
    #[must_use]
    pub fn redact_fields(mut self, fields: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.redact_fields.extend(fields.into_iter().map(Into::into));
        self
    }

    /// Captures these spans and events too. It is asked once for each call site and thread, so it
    /// may look at the metadata only.
    #[must_use]
    pub fn capture(mut self, also: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.also = Some(Arc::new(also));
        self
    }

    /// Whether a panic anywhere in the process has what waits in memory written to the spool, by a
    /// panic hook in front of the one that is there. Default: yes.
    #[must_use]
    pub fn flush_on_panic(mut self, flush: bool) -> Self {
        self.flush_on_panic = flush;
        self
    }

    /// The layer, with records going to a receiver of OTLP over gRPC. It may be away.
    ///
    /// # Errors
    /// [`LayerError`]: an address that is none, a spool that cannot be written, a thread that
    /// cannot be started.
    pub fn otlp(self, receiver: Otlp) -> Result<AuditLayer, LayerError> {
        let receiver = Arc::new(OtlpReceiver::new(receiver)?);
        self.build_to(receiver)
    }

    pub(super) fn build_to(
        self,
        destination: Arc<dyn Destination>,
    ) -> Result<AuditLayer, LayerError> {
        let outbox =
            Outbox::start(self.settings.clone(), |instance| self.encode(instance), destination)?;
        let flush = self.flush_on_panic;
        let layer = self.build_over(Out::Outbox(outbox))?;
        if flush {
            flush_on_panic(&layer.handle());
        }
        Ok(layer)
    }

    /// See [`testing`](super::testing).
    ///
    /// # Errors
    /// [`LayerError`]: fields to redact that cannot be searched for.
    pub fn for_test(self) -> Result<(AuditLayer, Audited), LayerError> {
        let kept = Arc::new(Kept::default());
        let layer = self.build_over(Out::Test(Arc::clone(&kept)))?;
        Ok((layer, Audited(kept)))
    }

    fn build_over(self, out: Out) -> Result<AuditLayer, LayerError> {
        /// 0 is no layer: the caches of call sites begin with it.
        static LAYERS: AtomicU64 = AtomicU64::new(1);
        let protector =
            Arc::new(AttributeProtector::new(self.redact_credentials, &self.redact_fields)?);
        let number = LAYERS.fetch_add(1, Ordering::Relaxed);
        Ok(AuditLayer {
            shared: Arc::new(Shared {
                callsites: Callsites::new(number, self.also, Arc::clone(&protector)),
                spans: OpenSpans::new(),
                protector,
                out,
                dispatch: OnceLock::new(),
                #[cfg(feature = "ledger")]
                ledger: OnceLock::new(),
            }),
        })
    }

    /// The OTLP `Resource` of every record.
    ///
    /// Source: OpenTelemetry semantic conventions, "Service" and "Process".
    fn encode(&self, instance: &str) -> Vec<u8> {
        let program = || {
            let path = std::env::current_exe().ok()?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        };
        let named = || std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
        let service = self.service.clone().or_else(named).or_else(program);
        let service = service.unwrap_or_else(|| "unknown_service".to_owned());
        let mut out = Vec::new();
        let mut put = |key: &str, value| {
            attribute(RESOURCE_ATTRIBUTES, &key_field(key), value, &mut out);
        };
        put("service.name", Value::Text(&service));
        put("service.instance.id", Value::Text(instance));
        put("process.pid", Value::Int(std::process::id().into()));
        put("telemetry.sdk.name", Value::Text("spanledger"));
        put("telemetry.sdk.language", Value::Text("rust"));
        put("telemetry.sdk.version", Value::Text(env!("CARGO_PKG_VERSION")));
        for (key, value) in &self.attributes {
            put(key, Value::Text(value));
        }
        out
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How long a panicking thread waits for the writer.
const PANIC_FLUSH: std::time::Duration = std::time::Duration::from_millis(200);

fn flush_on_panic(handle: &Handle) {
    let weak = Arc::downgrade(&handle.0);
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(shared) = weak.upgrade() {
            Handle(shared).flush(PANIC_FLUSH);
        }
        next(info);
    }));
}
