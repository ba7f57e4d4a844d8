//! Whose evidence it is, who may write it and who may read it.
//!
//! | file | holds |
//! |---|---|
//! | `tenant.rs` | [`Tenant`]: the owner of evidence |
//! | `role.rs` | [`Role`] and [`Right`]: the one table of who may do what |
//! | `token.rs` | [`Token`]: the secret of an API key, and the hash that is kept of it |
//! | `credential.rs` | [`Credential`]: what a secret or a certificate stands for |
//! | `book.rs` | [`Book`]: all credentials in one file, changed under a lock |
//! | `denied.rs` | [`Denied`]: why a request is refused |
//! | `files.rs` | files that only the server's user can read |
//! | `last_used.rs` | when each was last used |
//! | `presented.rs` | [`Presented`]: what a request shows of itself |
//! | `network.rs` | whose an address is |
//! | `tenants.rs` | [`Tenants`]: whose evidence the records of one request are |
//! | `tls.rs` | [`Tls`]: what listeners serve, replaced while they run when its files change |
//! | `tls_files.rs` | the files of it: read, checked, made into what rustls serves |
//! | `tls_names.rs` | the names in a client's certificate |
//! | `allowance.rs` | how much may come in a second |
//! | `authenticate.rs` | [`Credentials`]: from what is shown to a [`Principal`], or [`Denied`] |
//!
//! ```text
//! request ─► Presented (key, certificate, nothing) ─► Credentials ─► Principal { tenant, rights }
//!                                                          ▲
//!            credentials.json ── read when it changed ─────┘
//! ```
//!
//! A tenant comes from the credential and never from a payload. Before the first credential is
//! made everybody on this machine is the tenant `default` with every right; from then on, and for
//! ever, nobody is anybody without one.

mod allowance;
mod authenticate;
mod book;
mod credential;
mod denied;
pub(crate) mod files;
mod last_used;
mod network;
mod presented;
mod role;
mod tenant;
mod tenants;
mod tls;
mod tls_files;
mod tls_names;
mod token;

pub use authenticate::{Credentials, Principal};
pub use book::{Book, BookError, Change, NewCredential};
pub use credential::{Act, CertificateName, Credential, Forward, Proof, RateLimits, TenantFrom};
pub use denied::{Denied, DeniedCounts};
pub use last_used::{LastUsed, read_last_used, write_last_used};
pub use network::network;
pub use presented::{PeerCertificate, Presented};
pub use role::{Right, Role};
pub use tenant::{DEFAULT_TENANT, InvalidTenant, MAX_TENANT_BYTES, Tenant};
pub use tenants::Tenants;
pub use tls::{ClientAuthorities, Tls, TlsSettings, TlsStatus};
pub use tls_files::TlsError;
pub use tls_names::UnusableCertificate;
pub use token::{Token, TokenHash};

/// Folder of the credentials within the data folder.
pub const ACCESS_FOLDER: &str = "access";
