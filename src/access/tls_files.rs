//! The files of TLS: read, checked, and made into what rustls serves.

use super::{ClientAuthorities, TlsSettings};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// Largest file, bytes: 16 MiB. A chain has a few KiB; the list of revoked certificates of a large
/// authority some MiB. A larger one is refused.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What a client may ask for after the handshake, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS cannot be set up from these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: cannot read {}; check the path and its permissions", path.display())]
    Read {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may use the private key.
    #[error("tls.key: {} can be used by others than its owner (mode {mode:03o}); run: chmod 600 '{}'", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{key}: {} {problem}", path.display())]
    Content {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The certificate and the key do not make a pair, or the key is of an unknown kind.
    #[error(
        "tls.key: {} is not the key of the certificate in {} (RSA, ECDSA P-256 and P-384, and Ed25519 are known)",
        key.display(), certificate.display()
    )]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The authorities or their list of revoked certificates cannot be used.
    #[error("tls.client_ca: client certificates cannot be checked against {}", path.display())]
    Authorities {
        /// File of the authorities.
        path: PathBuf,
        /// What rustls said.
        source: VerifierBuilderError,
    },
    /// rustls does not take the settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What the files hold, ready to serve.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate ends, seconds since 1970.
    pub(super) expires: i64,
    /// When the first of the lists of revoked certificates should be replaced, seconds since 1970.
    pub(super) lists_due: Option<i64>,
}

/// What tells one state of a file from the next. The time of its last change of owner or mode is
/// part of it, so that a key is tried again after the `chmod` that it needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The states of all files of `settings`; `None` for one that cannot be looked at.
pub(super) fn stamps(settings: &TlsSettings) -> Vec<Option<Stamp>> {
    let clients = settings.clients.as_ref();
    let authorities = clients.map(|clients| &clients.authorities);
    let revoked = clients.and_then(|clients| clients.revoked.as_ref());
    let paths = [Some(&settings.certificate), Some(&settings.key), authorities, revoked];
    paths.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    // Through links: a secret that Kubernetes mounts is replaced by turning a link.
    let file = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: file.ino(),
        bytes: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

/// Reads all files and checks that they belong together.
pub(super) fn load(settings: &TlsSettings) -> Result<Loaded, TlsError> {
    let chain = certificates("tls.certificate", &settings.certificate)?;
    let expires = expiry(&chain, &settings.certificate)?;
    let key = private_key(&settings.key)?;
    // Named and not taken from the process: another part of it may have set another default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (verifier, lists_due) = match &settings.clients {
        Some(clients) => verifier(clients, &provider)?,
        None => (WebPkiClientVerifier::no_client_auth(), None),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Pair {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            source,
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Loaded { config: Arc::new(config), expires, lists_due })
}

fn expiry(chain: &[CertificateDer<'_>], path: &Path) -> Result<i64, TlsError> {
    let parsed = chain.first().and_then(|first| X509Certificate::from_der(first).ok());
    match parsed {
        Some((_, certificate)) => Ok(certificate.validity().not_after.timestamp()),
        None => Err(content(
            "tls.certificate",
            path,
            "begins with something else than an X.509 certificate; the server's own comes first, then those that signed it",
        )),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read("tls.key", path, |metadata| {
        let mode = metadata.mode() & 0o777;
        // The group may read what root owns: that is how secrets are handed to a service.
        let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        if mode & forbidden == 0 {
            return Ok(());
        }
        Err(TlsError::TooOpen { path: path.to_owned(), mode })
    })?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => content(
            "tls.key",
            path,
            "holds no private key in PEM; one with a passphrase has to be written without it: openssl pkey -in FILE -out KEY",
        ),
        error => content("tls.key", path, &format!("is not a private key in PEM: {error}")),
    })
}

/// What checks client certificates, and when its lists should be replaced. With a list of revoked ones, each authority of a chain needs
/// one: a list that is missing must not mean that nothing is revoked.
fn verifier(
    clients: &ClientAuthorities,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Option<i64>), TlsError> {
    let path = &clients.authorities;
    let mut roots = RootCertStore::empty();
    for authority in certificates("tls.client_ca", path)? {
        roots.add(authority).map_err(|error| {
            content("tls.client_ca", path, &format!("holds a certificate that is none: {error}"))
        })?;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let mut due = None;
    if let Some(revoked) = &clients.revoked {
        let lists = revocation_lists(revoked)?;
        due = lists.iter().filter_map(|list| next_update(list)).min();
        builder = builder.with_crls(lists);
    }
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build();
    let verifier =
        verifier.map_err(|source| TlsError::Authorities { path: path.clone(), source })?;
    Ok((verifier, due))
}

/// When a list says that the next one is there; rustls says whether it is a list at all.
fn next_update(list: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    list.next_update().map(|time| time.timestamp())
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all_of(key, path, "certificate")
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    all_of("tls.client_revoked", path, "list of revoked certificates (X509 CRL)")
}

/// Every item of one kind in a PEM file; at least one.
fn all_of<T: PemObject>(key: &'static str, path: &Path, kind: &str) -> Result<Vec<T>, TlsError> {
    let bytes = read(key, path, |_| Ok(()))?;
    let items: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    match items {
        Ok(items) if !items.is_empty() => Ok(items),
        Ok(_) => Err(content(key, path, &format!("holds no {kind} in PEM"))),
        Err(error) => Err(content(key, path, &format!("is not PEM: {error}"))),
    }
}

/// The bytes of a file that passes `check`, which sees the file that is read and no other.
fn read(
    key: &'static str,
    path: &Path,
    check: impl FnOnce(&std::fs::Metadata) -> Result<(), TlsError>,
) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { key, path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    check(&file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_FILE_BYTES.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(content(key, path, "has more than 16 MiB; is it the right file?"));
    }
    Ok(bytes)
}

fn content(key: &'static str, path: &Path, problem: &str) -> TlsError {
    TlsError::Content { key, path: path.to_owned(), problem: problem.to_owned() }
}
