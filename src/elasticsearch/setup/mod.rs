//! What has to be in the cluster before the exporter writes, and how it gets there.
//!
//! ```text
//! options + product and version ─► objects that are wanted ─┐
//!                                                           ├─► plan: requests ─► apply
//! what the cluster has (GET only) ──────────────────────────┘
//! ```
//!
//! Every object of ours carries a mark: that it is ours, the version of this setup, and a digest
//! of what it says. So a second run finds nothing to do, changed options are carried out, an older
//! version is upgraded, a newer one and somebody else's object of that name are left alone. What a
//! person changes inside one of our objects stays until the next version or a change of options.
//!
//! | object | Elasticsearch | OpenSearch |
//! |---|---|---|
//! | lifecycle | in the index template (8.14 on), else an ILM policy | ISM policy |
//! | component templates `spanledger-mappings`, `spanledger-settings` | yes | yes |
//! | index template `spanledger`, and one for each class with a retention of its own | yes | yes |
//! | data stream `spanledger-CLASS` | yes | yes |
//! | index template and data stream `spanledger.checkpoints` | when asked | when asked |
//! | roles, API keys | when asked | roles when asked |
//!
//! Run against real nodes by our tests: templates, data streams, rollover, and on Elasticsearch
//! roles and the API key. **Not run against a real cluster**: ILM and ISM policies, changing or
//! ending the retention or the failure store of a stream that exists, and roles of OpenSearch; they
//! are written to the documented interface and checked against a mock that refuses what it does
//! not know.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`SetupOptions`], [`plan`] |
//! | `objects.rs` | templates and data streams |
//! | `lifecycle.rs` | how long documents stay: data stream lifecycle, ILM, ISM |
//! | `roles.rs` | who may do what, and the keys of exporter and correlator |
//! | `mark.rs` | the mark by which an object is known as ours |
//! | `end.rs` | taking the lifecycle of an earlier run off |
//! | `plan.rs` | [`Plan`]: what is there, what has to be sent, sending it |
//! | `error.rs` | [`SetupError`] |

mod end;
mod error;
mod lifecycle;
mod mark;
mod objects;
mod plan;
mod roles;

pub use error::SetupError;
pub use lifecycle::{Lifecycle, Tiers};
pub use mark::VERSION;
pub use plan::{Applied, Plan, Reason, Step};
pub use roles::{CHECKPOINTS_KEY, CORRELATOR_KEY, EXPORTER_KEY};

use super::{Transport, data_stream};

/// Days that documents stay when nobody says otherwise: six months, the least for which the log of
/// a high-risk AI system is to be kept (Regulation (EU) 2024/1689, articles 19 and 26).
pub const DEFAULT_RETENTION_DAYS: u32 = 184;

/// Longest retention, days: a hundred years.
pub const MAX_RETENTION_DAYS: u32 = 36_500;

/// The class of what has no other.
pub const DEFAULT_CLASS: &str = "default";

/// Most classes. Each has a data stream, and each stream at least one shard.
pub const MAX_CLASSES: usize = 100;

/// A retention class: its entries lie in the data stream `spanledger-NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// `default`, or the number of a class, `1` to `255`: the names under which the exporter
    /// writes, see [`data_stream`].
    pub name: String,
    /// How long its documents stay, days.
    pub retention_days: u32,
}

impl Class {
    /// Name of its data stream.
    pub fn stream(&self) -> String {
        format!("spanledger-{}", self.name)
    }

    fn check(&self) -> Result<(), SetupError> {
        let stream = self.stream();
        if !(0..=u8::MAX).any(|class| data_stream(class) == stream) {
            return Err(SetupError::ClassName);
        }
        if self.retention_days == 0 || self.retention_days > MAX_RETENTION_DAYS {
            return Err(SetupError::Retention { class: self.name.clone() });
        }
        Ok(())
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupOptions {
    /// Retention classes. The first one's retention is that of every class not named here.
    pub classes: Vec<Class>,
    /// How documents come to their end.
    pub lifecycle: Lifecycle,
    /// Whether Elasticsearch keeps documents that it cannot take in a store of its own. Off: such
    /// a document would be answered as created and found by no search; the exporter keeps it as a
    /// dead letter, with the reason, where it can be replayed.
    pub failure_store: bool,
    /// Whether indices are of the mode `logsdb` (Elasticsearch 8.17 on): a third of the storage.
    /// `_source` stays as it was sent.
    pub logsdb: bool,
    /// Whether roles are made.
    pub roles: bool,
    /// Whether the exporter may search in its own streams, so that a request without reply leads
    /// to no duplicate even across a rollover. Without it, to one at most an entry.
    pub exporter_reads: bool,
    /// Whether an API key for the exporter is made.
    pub exporter_key: bool,
    /// Whether an API key for the correlator is made.
    pub correlator_key: bool,
    /// Whether there is a data stream for checkpoints of the public log.
    pub checkpoints: bool,
    /// Whether an API key is made that may create documents there, and nothing else.
    pub checkpoints_key: bool,
}

impl Default for SetupOptions {
    fn default() -> Self {
        let name = DEFAULT_CLASS.to_owned();
        Self {
            classes: vec![Class { name, retention_days: DEFAULT_RETENTION_DAYS }],
            lifecycle: Lifecycle::Delete,
            failure_store: false,
            logsdb: false,
            roles: false,
            exporter_reads: false,
            exporter_key: false,
            correlator_key: false,
            checkpoints: false,
            checkpoints_key: false,
        }
    }
}

impl SetupOptions {
    fn check(&self) -> Result<(), SetupError> {
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return Err(SetupError::Classes);
        }
        for (at, class) in self.classes.iter().enumerate() {
            class.check()?;
            if self.classes.iter().take(at).any(|other| other.name == class.name) {
                return Err(SetupError::Twice { class: class.name.clone() });
            }
        }
        self.lifecycle.check(&self.classes)
    }

    /// What an operator should know about these options, a sentence each.
    fn notices(&self) -> Vec<String> {
        let short = self.classes.iter().filter(|class| {
            class.retention_days < DEFAULT_RETENTION_DAYS && self.lifecycle != Lifecycle::None
        });
        let short = short.map(|class| {
            format!(
                "{} is kept for {} days only; the AI Act asks for six months at least",
                class.stream(),
                class.retention_days
            )
        });
        // Where entries get their class, every one gets class 0.
        let unused = self.classes.iter().filter(|class| class.name != DEFAULT_CLASS).map(|class| {
            format!(
                "this release puts every entry into spanledger-default; {} stays empty",
                class.stream()
            )
        });
        short.chain(unused).collect()
    }
}

/// Finds out what has to be sent so that the cluster is as wanted. Only reads.
///
/// # Errors
/// [`SetupError`], each with what to do next. Nothing was changed.
pub async fn plan<T: Transport>(client: &T, options: &SetupOptions) -> Result<Plan, SetupError> {
    options.check()?;
    let flavor = plan::flavor(client).await?;
    let wanted = objects::wanted(&flavor, options)?;
    plan::compare(client, flavor, wanted, options.notices()).await
}

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
