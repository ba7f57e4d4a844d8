//! Whether a server may listen where others can reach it.

use crate::access::{Book, BookError};
use crate::config::Listen;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::Path;

/// Why a server does not start: other machines can reach it, and what keeps them from writing and
/// reading evidence is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key}: {address} can be reached from other machines, and there is {}. Listen on 127.0.0.1 or \
     [::1], or {}",
    missing(*credential, *protected),
    remedy(*credential, *protected, data)
)]
pub struct Exposed {
    /// The key of the configuration.
    key: &'static str,
    /// The address.
    address: SocketAddr,
    /// Whether there is a credential that is in effect.
    credential: bool,
    /// Whether there is TLS, here or in front.
    protected: bool,
    /// The data folder.
    data: String,
}

/// Checks the addresses. Without a credential in effect and TLS only this machine may write or
/// read. Credentials are looked up when they matter only.
///
/// # Errors
/// [`Exposed`] with the way out, and what `has_credential` says.
pub(super) fn exposed<E: From<Exposed>>(
    listen: &Listen,
    protected: bool,
    data: &Path,
    has_credential: impl FnOnce() -> Result<bool, E>,
) -> Result<(), E> {
    let all =
        [("listen.grpc", listen.grpc), ("listen.http", listen.http), ("listen.api", listen.api)];
    let reached = all.into_iter().find(|(_, address)| !address.ip().to_canonical().is_loopback());
    let Some((key, address)) = reached else { return Ok(()) };
    let credential = has_credential()?;
    if credential && protected {
        return Ok(());
    }
    let data = data.display().to_string();
    Err(Exposed { key, address, credential, protected, data }.into())
}

/// Whether a credential in `folder` is in effect now.
///
/// # Errors
/// [`BookError`] when the file is there and cannot be used.
pub(super) fn has_credential(folder: &Path) -> Result<bool, BookError> {
    let now = Timestamp::now();
    let book = Book::read(folder)?;
    Ok(book.is_some_and(|book| book.credentials.iter().any(|one| one.is_active(now))))
}

fn missing(credential: bool, protected: bool) -> &'static str {
    match (credential, protected) {
        (false, false) => {
            "neither a credential in effect nor TLS: anybody there could write and read evidence"
        }
        (false, true) => {
            "no credential in effect, so that either everybody there or nobody could write evidence"
        }
        _ => "no TLS: anybody on the way could read evidence and keys",
    }
}

fn remedy(credential: bool, protected: bool, data: &str) -> String {
    let key = format!(
        "make a key (spanledger keys create --role writer --tenant NAME --name NAME --data '{data}')"
    );
    let tls = "set tls.certificate and tls.key, or, behind a proxy or a mesh that ends TLS, \
               tls.terminated_elsewhere: true";
    match (credential, protected) {
        (false, false) => format!("{key} and {tls}"),
        (false, true) => key,
        _ => tls.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api: &str, protected: bool, credential: bool) -> Result<(), Exposed> {
        let here = "127.0.0.1:0".parse().unwrap();
        let listen = Listen { grpc: here, http: here, api: api.parse().unwrap() };
        exposed(&listen, protected, Path::new("DATA"), || Ok(credential))
    }

    #[test]
    fn others_reach_a_server_with_credentials_and_tls_only() {
        const OTHERS: [&str; 4] = ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"];
        const OURS: [&str; 4] = ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];
        for (protected, credential) in [(false, false), (false, true), (true, false), (true, true)]
        {
            for address in OURS {
                assert_eq!(check(address, protected, credential), Ok(()), "{address}");
            }
            for address in OTHERS {
                let allowed = check(address, protected, credential).is_ok();
                assert_eq!(allowed, protected && credential, "{address}");
            }
        }
    }

    #[test]
    fn the_refusal_names_what_is_missing_and_nothing_else() {
        for (protected, credential) in [(false, false), (false, true), (true, false)] {
            let text = check("0.0.0.0:1", protected, credential).unwrap_err().to_string();
            assert!(
                text.starts_with("listen.api: 0.0.0.0:1 ") && text.contains("127.0.0.1"),
                "{text}"
            );
            let names_keys =
                text.contains("spanledger keys create") && text.contains("--data 'DATA'");
            assert_eq!(names_keys, !credential, "{text}");
            let names_tls =
                text.contains("tls.certificate") && text.contains("terminated_elsewhere");
            assert_eq!(names_tls, !protected, "{text}");
        }
    }

    #[test]
    fn credentials_are_not_looked_at_for_an_address_of_this_machine() {
        let here = "127.0.0.1:0".parse().unwrap();
        let listen = Listen { grpc: here, http: here, api: here };
        let unread = || -> Result<bool, Exposed> { panic!("nobody asked") };
        assert_eq!(exposed(&listen, false, Path::new("DATA"), unread), Ok(()));
    }
}
