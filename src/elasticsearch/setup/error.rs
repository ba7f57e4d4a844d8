//! Why setup cannot go on, and what to do about it.

use crate::elasticsearch::{FlavorError, Method, SendError};

/// Why setup cannot go on. Nothing that was there is changed by the request that failed; running
/// setup again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// It is not known what kind of cluster it is.
    #[error(transparent)]
    Flavor(#[from] FlavorError),
    /// There is no reply.
    #[error("no reply to {request}; check the cluster and run setup again, it goes on from there")]
    Send {
        /// Method and path.
        request: String,
        /// Why.
        source: SendError,
    },
    /// The credentials are not accepted.
    #[error("the cluster does not accept the credentials (401); check them and run setup again")]
    Unauthorized,
    /// The credentials are not enough.
    #[error(
        "these credentials may not {request} (403: {reason}); run setup as a user with the role \
         spanledger-admin, for roles and keys as a superuser"
    )]
    Forbidden {
        /// Method and path.
        request: String,
        /// What the cluster says.
        reason: String,
    },
    /// The cluster refuses a request.
    #[error("the cluster refuses {request} with status {status}: {reason}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// What the cluster says.
        reason: String,
    },
    /// A reply has another form.
    #[error("the reply to {request} cannot be read; is there a proxy in between that answers?")]
    Reply {
        /// Method and path.
        request: String,
    },
    /// An object of that name is somebody else's.
    #[error(
        "the {what} {name} is there and spanledger did not make it; rename or delete it, then run \
         setup again"
    )]
    Foreign {
        /// Kind of object.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An object was made by a newer version of this program.
    #[error(
        "the {what} {name} was made by a newer spanledger (setup version {found}, this one has \
         {ours}); run the setup of the newest version in use, or delete it to go back"
    )]
    Newer {
        /// Kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// Version that is there.
        found: u64,
        /// Version of this program.
        ours: u64,
    },
    /// The cluster lacks something that was asked for.
    #[error("this cluster has no {what}; {remedy}")]
    Missing {
        /// What it lacks.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The version is too old for an option.
    #[error("{what} needs Elasticsearch {since}; leave it out or upgrade the cluster")]
    NeedsVersion {
        /// The option.
        what: &'static str,
        /// The first version that has it.
        since: &'static str,
    },
    /// A class has a name that nothing is ever written under.
    #[error(
        "a retention class is `default` or a number from 1 to 255: nothing is written under other \
         names; name one of those"
    )]
    ClassName,
    /// There are no classes, or too many.
    #[error("name between 1 and {} retention classes", super::MAX_CLASSES)]
    Classes,
    /// A class stands there twice.
    #[error("the class {class} is named twice; keep one of them")]
    Twice {
        /// Its name.
        class: String,
    },
    /// A retention cannot be.
    #[error("the retention of {class} must be between 1 and {} days", super::MAX_RETENTION_DAYS)]
    Retention {
        /// Name of the class.
        class: String,
    },
    /// Tiers in an order that cannot be.
    #[error(
        "the tiers must follow one another, warm before cold before the end of the retention of {class}"
    )]
    Tiers {
        /// Name of the class.
        class: String,
    },
}

/// A request as a person reads it.
pub(super) fn spell(method: Method, path: &str) -> String {
    let method = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
    };
    format!("{method} {path}")
}
