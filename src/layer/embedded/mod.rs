//! A ledger inside the agent's process: the layer's records go into it without a socket, and all
//! that a server does behind its receivers happens here too: the index, the export to Elasticsearch,
//! signed checkpoints and the public log, packing and pruning of old segments.
//!
//! ```text
//!  agent's threads ─► outbox (memory) ─► Receiver::take ─► intake ─► ledger ═fsync═► receipt
//!                                                                      └─► index, export
//!                     spanledger-sender   └──── runtime "spanledger-ledger": two threads ────┘
//! ```
//!
//! Its threads hear no tracing. What the pipeline and its libraries say about their own work would
//! come back into the agent's layer otherwise, become entries, be exported, and be spoken of again.
//! What a log would tell is asked for instead: [`Ledger::troubles`], [`Ledger::notices`].
//!
//! One process has a data folder at a time. While it runs others may read it, without a lock:
//! `spanledger search --data DIR`, `trace` and `verify` see what is durable.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Embedded`]: how one is made |
//! | `owner.rs` | the thread that starts the pipeline, keeps it and stops it |
//! | `inside.rs` | the way of requests into it |
//! | `listening.rs` | the API over it, when somebody wants to look: what it answers, what is off and why |
//! | `letters.rs` | what that API says of dead letters |
//! | `ledger.rs` | [`Ledger`]: what the agent may ask of it; its end |

mod inside;
mod ledger;
mod letters;
mod listening;
mod owner;

pub use ledger::Ledger;

use super::outbox::{Policy, WhenFull};
use super::{AuditLayer, Builder, LayerError};
use crate::access::{InvalidTenant, Tenant};
use crate::config::{Config, ConfigError, Overrides};
use crate::convert::MappingError;
use crate::pipeline::{self, PipelineError};
use inside::Inside;
use listening::Wish;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long an agent's thread waits for room in the outbox unless a policy is set: fsyncs of a slow
/// disk are over by then.
const BLOCK_WITHIN: Duration = Duration::from_secs(5);

/// Says where a ledger within the process lies and how it works.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use spanledger::layer::{AuditLayer, Embedded};
/// use std::time::Duration;
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
///
/// let ledger = Embedded::new("audit-data").tenant("acme");
/// let layer = AuditLayer::builder().service_name("refund-agent").embedded(ledger)?;
/// let _at_the_end = layer.handle().on_drop(Duration::from_secs(10));
/// tracing_subscriber::registry().with(layer).init();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Embedded {
    data: PathBuf,
    config: Option<PathBuf>,
    tenant: Option<String>,
    elasticsearch: Vec<String>,
    api: Option<SocketAddr>,
    payloads: bool,
}

/// Why there is no ledger within the process.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The configuration cannot be run on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The mappings cannot be used.
    #[error(transparent)]
    Mappings(#[from] MappingError),
    /// The tenant's name is none.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// Somebody else has the folder.
    #[error(
        "the ledger in {} is in use, by another process or by another layer of this one; give each \
         a folder of its own, or have all send to one `spanledger serve`",
        path.display()
    )]
    Taken {
        /// The data folder.
        path: PathBuf,
        /// What the ledger said.
        source: crate::ledger::OpenError,
    },
    /// The pipeline cannot be started.
    #[error(transparent)]
    Pipeline(PipelineError),
    /// The system gives no threads.
    #[error("the threads of the ledger cannot be started: does the process reach a limit of them?")]
    Threads(#[source] std::io::Error),
    /// Other machines could ask without a credential.
    #[error(
        "the API of a ledger within a process needs no credential, and {address} can be reached from \
         other machines: listen on 127.0.0.1 or [::1], or send to a `spanledger serve`"
    )]
    Reachable {
        /// The address.
        address: SocketAddr,
    },
    /// The folder's entries are for those who have a credential.
    #[error(
        "{} has credentials, and the API of a ledger within a process asks for none: leave \
         `listen_api` out, or send to a `spanledger serve` with this folder",
        path.display()
    )]
    Credentials {
        /// The data folder.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("the API cannot listen on {address}; is something else there? Port 0 takes a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that starts it ended by itself.
    #[error("the thread of the ledger ended by itself; please report this")]
    Died,
}

impl From<PipelineError> for EmbeddedError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Taken { path, source } => Self::Taken { path, source },
            error => Self::Pipeline(error),
        }
    }
}

impl Embedded {
    /// A ledger in that folder, which is made with mode 0700 if it is not there. It is a data
    /// folder like that of `spanledger serve`, and its commands read it.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let elasticsearch = Vec::new();
        let data = data.into();
        Self { data, config: None, tenant: None, elasticsearch, api: None, payloads: false }
    }

    /// The file with the rest of the configuration, as for `spanledger serve --config`. Its `data`
    /// and `listen` say nothing here: the folder is that of [`Embedded::new`], and nothing listens.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Whose evidence all entries are. Default: `default`, as without credentials on a server.
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>) -> Self {
        self.tenant = Some(name.into());
        self
    }

    /// Address of a node of the cluster that entries are exported to; one more for each call. As
    /// for `spanledger serve --elasticsearch`, it wins over the file.
    #[must_use]
    pub fn elasticsearch(mut self, url: impl Into<String>) -> Self {
        self.elasticsearch.push(url.into());
        self
    }

    /// Lets people on this machine look at the agent's entries while it runs: the API of
    /// `spanledger serve` listens on that address, which has to be a loopback one; port 0 takes a
    /// free one, and [`Ledger::api`] says which. It answers questions, with receipts, bundles of
    /// evidence and the public log under `/log/`, and takes nothing. Where the tenant is not
    /// `default`, questions name it: `?tenant=acme`. Sealed payloads are shown after
    /// [`show_payloads`](Self::show_payloads) alone.
    ///
    /// Nobody needs a credential there, as on a server without any. It is refused for a folder
    /// that has credentials, and closes within a second when somebody makes some: then entries are
    /// sent to a server, or read with the commands.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use spanledger::layer::{AuditLayer, Embedded};
    ///
    /// let ledger = Embedded::new("audit-data").listen_api("127.0.0.1:4380".parse()?);
    /// let layer = AuditLayer::builder().embedded(ledger)?;
    /// // curl http://127.0.0.1:4380/api/v1/traces/refund-run-1
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn listen_api(mut self, address: SocketAddr) -> Self {
        self.api = Some(address);
        self
    }

    /// Has the API of [`listen_api`](Self::listen_api) open what mode `full` sealed beside entries.
    /// Off by default: it asks nobody for a credential, so every process on this machine could read
    /// the exact texts. Says nothing without `listen_api`.
    #[must_use]
    pub fn show_payloads(mut self) -> Self {
        self.payloads = true;
        self
    }

    fn start(self) -> Result<(Ledger, Inside), EmbeddedError> {
        let api = self.api.map(|address| Wish { address, payloads: self.payloads });
        let tenant = self.tenant.as_deref().map_or_else(|| Ok(Tenant::default()), Tenant::new)?;
        let overrides = Overrides {
            data: Some(self.data),
            elasticsearch: self.elasticsearch,
            ..Overrides::default()
        };
        let config = Config::load(self.config.as_deref(), &overrides)?;
        let mappings = pipeline::mappings(&config)?;
        let notices = config.notices.iter().map(ToString::to_string).collect();
        let (owner, up) = owner::start(config, mappings, api)?;
        let inside = Inside::new(up.receiver, tenant.clone(), up.runtime);
        Ok((Ledger::new(tenant, notices, up.store, up.seen, owner), inside))
    }
}

impl Builder {
    /// The layer, with records going into a ledger within this process: no receiver is needed.
    ///
    /// Unless a policy was set, records wait in memory for the fsync, and an agent that is faster
    /// than the disk waits up to 5 s for room: the ledger is the spool. Spans of the last moments
    /// before a `kill -9` can be lost then; what has a receipt cannot.
    ///
    /// [`Handle::shutdown`](super::Handle::shutdown) ends the ledger too, and so does dropping the layer and all handles.
    ///
    /// # Errors
    /// [`LayerError`]: the folder is in use or damaged, the configuration says something that cannot
    /// be, or a thread cannot be started. A cluster may be away.
    pub fn embedded(mut self, ledger: Embedded) -> Result<AuditLayer, LayerError> {
        if !self.policy_is_chosen {
            self.settings.policy = Policy::Memory(WhenFull::Block { within: BLOCK_WITHIN });
        }
        let (ledger, inside) = ledger.start()?;
        let layer = self.build_to(Arc::new(inside))?;
        let _ = layer.shared.ledger.set(ledger);
        Ok(layer)
    }
}
