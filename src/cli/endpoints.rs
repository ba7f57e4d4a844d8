//! `DATA/endpoints.json`: where the server of a data folder listens.
//!
//! ```json
//! {"grpc":"127.0.0.1:4317","http":"127.0.0.1:4318","api":"127.0.0.1:4380","pid":4711}
//! ```
//!
//! With TLS on all three it says `"tls":true` as well.
//!
//! The server writes it when it listens and removes it when it stops. After a crash it is left
//! behind: a reader that gets no answer there says so.

use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the file in the data folder.
pub const ENDPOINTS_FILE: &str = "endpoints.json";

/// Largest file that is read, bytes: it has five short fields.
const MAX_FILE_BYTES: u64 = 4_096;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// API and page.
    pub api: SocketAddr,
    /// The server's process id.
    pub pid: u32,
    /// Whether all three speak TLS, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
}

/// Why `endpoints.json` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// The file could not be read or written.
    #[error("{path} cannot be used; check its owner and permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not say where a server listens.
    #[error("{path} is not an endpoints file; remove it, or name the server with --api URL")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Endpoints {
    /// Address of the API as a browser takes it, `https://127.0.0.1:4380` with TLS.
    pub fn api_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.api)
    }

    /// What the data folder says; `None` when no server has left a word there.
    ///
    /// # Errors
    /// [`EndpointsError`] when there is a file and it cannot be used.
    pub fn read(data: &Path) -> Result<Option<Self>, EndpointsError> {
        use std::io::Read as _;
        let path = data.join(ENDPOINTS_FILE);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| EndpointsError::Malformed { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EndpointsError::Io { path, source }),
        }
    }

    /// Leaves the file in the data folder: written beside it and renamed, so that nobody reads half.
    ///
    /// # Errors
    /// [`EndpointsError::Io`].
    pub fn write(&self, data: &Path) -> Result<(), EndpointsError> {
        let path = data.join(ENDPOINTS_FILE);
        let beside = data.join(".endpoints.json.new");
        let write = || {
            std::fs::write(&beside, serde_json::to_vec(self)?)?;
            std::fs::rename(&beside, &path)
        };
        write().map_err(|source| EndpointsError::Io { path: path.clone(), source })
    }

    /// Takes the file away: the last thing that a server does. A file that is gone is fine.
    ///
    /// # Errors
    /// [`EndpointsError::Io`].
    pub fn remove(data: &Path) -> Result<(), EndpointsError> {
        let path = data.join(ENDPOINTS_FILE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EndpointsError::Io { path, source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Endpoints { grpc: at(1), http: at(2), api: at(3), pid: 4, tls: false }
    }

    #[test]
    fn what_a_server_writes_a_client_reads_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Endpoints::read(data.path()).unwrap(), None);
        endpoints().write(data.path()).unwrap();
        assert_eq!(Endpoints::read(data.path()).unwrap(), Some(endpoints()));
        Endpoints::remove(data.path()).unwrap();
        Endpoints::remove(data.path()).unwrap();
        assert_eq!(Endpoints::read(data.path()).unwrap(), None);
    }

    #[test]
    fn tls_is_said_when_there_is_any() {
        let with_tls = Endpoints { tls: true, ..endpoints() };
        let text = serde_json::to_string(&with_tls).unwrap();
        assert_eq!(serde_json::from_str::<Endpoints>(&text).unwrap(), with_tls);
        assert_eq!(with_tls.api_url(), "https://127.0.0.1:3");
        assert!(!serde_json::to_string(&endpoints()).unwrap().contains("tls"));
        assert_eq!(endpoints().api_url(), "http://127.0.0.1:3");
    }

    #[test]
    fn a_file_of_something_else_says_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(ENDPOINTS_FILE), "{}").unwrap();
        let error = Endpoints::read(data.path()).unwrap_err();
        assert!(error.to_string().contains("--api"), "{error}");
    }
}
