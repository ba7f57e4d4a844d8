//! As whom a server is asked, and how its address is proved: keys, certificates, `https://`.
//!
//! A key comes from a file or from the environment, never from a flag: flags stand in histories and
//! in lists of processes.

use super::client::SourceError;
use super::display::clean;
use crate::access::Token;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The variable that holds a key.
pub const KEY_VARIABLE: &str = "SPANLEDGER_KEY";

/// Largest file of a key or of certificates that is read, bytes: a bundle of every public
/// authority has a fifth of that.
const MAX_FILE_BYTES: u64 = 1_024 * 1_024;

/// As whom a server is asked, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "A server that asks for a credential")]
pub struct ConnectArgs {
    /// File with the key to show, which others cannot read; without it the key is in `SPANLEDGER_KEY`
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SPANLEDGER_KEY_FILE",
        hide_env_values = true
    )]
    pub key_file: Option<PathBuf>,

    /// Authority that signed the server's certificate (PEM), instead of the public ones
    #[arg(long, global = true, value_name = "FILE", env = "SPANLEDGER_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,

    /// Certificate to show (PEM), with its chain
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SPANLEDGER_CLIENT_CERTIFICATE",
        hide_env_values = true
    )]
    pub client_certificate: Option<PathBuf>,

    /// Private key of that certificate (PEM), which others cannot read
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SPANLEDGER_CLIENT_KEY",
        hide_env_values = true
    )]
    pub client_key: Option<PathBuf>,

    /// Show the key over `http://` also to another machine, where everybody between can read it
    #[arg(long, global = true)]
    pub plain_http: bool,
}

/// Why a credential cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file cannot be read.
    #[error("{} cannot be read; check its name, its owner and its permissions", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the secret.
    #[error(
        "{} can be read by others than its owner (mode {mode:03o}), so what is in it is no secret; \
         run: chmod 600 '{}'", .path.display(), .path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What is there is no key.
    #[error(
        "what is in {place} is no key: keys begin with slk_ and are made with `spanledger keys create`"
    )]
    NotAKey {
        /// The file or the variable.
        place: String,
    },
    /// What is there is no certificate or private key.
    #[error("{} holds no {what} in PEM format", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// One of the two is missing.
    #[error("--client-certificate and --client-key go together: give both")]
    HalfAnIdentity,
    /// The key would be readable on the way.
    #[error(
        "the key would go to {base} in clear text, readable for everybody between: use https://, \
         or say --plain-http where the network is trusted"
    )]
    ClearText {
        /// The address.
        base: String,
    },
}

impl ConnectArgs {
    /// The key that is named: in the file, else in the environment; none when neither is given.
    ///
    /// # Errors
    /// [`ConnectError`] when it cannot be read, is no secret, or is no key.
    pub(super) fn key(&self) -> Result<Option<Token>, ConnectError> {
        if let Some(path) = &self.key_file {
            let text = String::from_utf8(secret(path)?).unwrap_or_default();
            let place = clean(&path.display().to_string());
            return read_key(&text, place).map(Some);
        }
        match std::env::var(KEY_VARIABLE) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => read_key(&text, KEY_VARIABLE.to_owned()).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The scheme of an address that is given without one.
    pub(super) fn scheme(&self) -> &'static str {
        if self.ca.is_some() || self.client_certificate.is_some() { "https" } else { "http" }
    }

    /// A client that shows what there is to show, to a server at `base`.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) fn apply(
        &self,
        mut client: ClientBuilder,
        base: &Url,
        key: Option<&Token>,
    ) -> Result<ClientBuilder, SourceError> {
        if let Some(key) = key {
            if base.scheme() == "http" && !self.plain_http && !is_this_machine(base) {
                return Err(ConnectError::ClearText { base: base.to_string() }.into());
            }
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
                .map_err(|_| ConnectError::NotAKey { place: KEY_VARIABLE.to_owned() })?;
            value.set_sensitive(true);
            client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        if let Some(path) = &self.ca {
            let not_pem = |source| not_pem(path, "certificate", source);
            client = client.tls_built_in_root_certs(false);
            let authorities = Certificate::from_pem_bundle(&read(path, false)?).map_err(not_pem)?;
            client = authorities.into_iter().fold(client, ClientBuilder::add_root_certificate);
        }
        match (&self.client_certificate, &self.client_key) {
            (None, None) => Ok(client),
            (Some(certificate), Some(key)) => {
                let mut pem = secret(key)?;
                pem.push(b'\n');
                pem.extend(read(certificate, false)?);
                let identity = Identity::from_pem(&pem);
                let what = "certificate with its private key";
                Ok(client.identity(identity.map_err(|source| not_pem(certificate, what, source))?))
            }
            _ => Err(ConnectError::HalfAnIdentity.into()),
        }
    }
}

fn not_pem(path: &Path, what: &'static str, source: reqwest::Error) -> SourceError {
    ConnectError::NotPem { path: path.to_owned(), what, source }.into()
}

fn read_key(text: &str, place: String) -> Result<Token, ConnectError> {
    Token::parse(text.trim()).ok_or(ConnectError::NotAKey { place })
}

fn secret(path: &Path) -> Result<Vec<u8>, ConnectError> {
    read(path, true)
}

fn read(path: &Path, secret: bool) -> Result<Vec<u8>, ConnectError> {
    let failed = |source| ConnectError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if secret && mode & 0o077 != 0 {
        return Err(ConnectError::TooOpen { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Whether what is sent there does not leave this machine.
fn is_this_machine(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost"
        || address.is_ok_and(|ip| ip.to_canonical().is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt as _;

    fn file(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(mode).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        (dir, path)
    }

    fn of(path: &Path) -> ConnectArgs {
        ConnectArgs { key_file: Some(path.to_owned()), ..ConnectArgs::default() }
    }

    #[test]
    fn a_key_is_read_from_a_file_that_only_its_owner_can_read() {
        let token = Token::new().unwrap();
        let (_dir, path) = file(0o600, &format!("{}\n", token.reveal()));
        assert_eq!(of(&path).key().unwrap(), Some(token.clone()));
        let (_dir, path) = file(0o644, token.reveal());
        let error = of(&path).key().unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains(token.reveal()), "{error}");
        let (_dir, path) = file(0o600, "hunter2");
        let error = of(&path).key().unwrap_err().to_string();
        assert!(error.contains("no key") && !error.contains("hunter2"), "{error}");
        assert!(of("/nowhere/at/all".as_ref()).key().is_err());
    }

    #[test]
    fn a_key_goes_to_another_machine_in_clear_text_only_when_one_says_so() {
        let token = Token::new().unwrap();
        let ask = |base: &str, args: &ConnectArgs| {
            args.apply(reqwest::Client::builder(), &base.parse().unwrap(), Some(&token))
        };
        let careful = ConnectArgs::default();
        for base in ["http://127.0.0.1:4380", "http://[::1]:4380", "http://localhost", "https://a"]
        {
            assert!(ask(base, &careful).is_ok(), "{base}");
        }
        for base in ["http://10.0.0.1:4380", "http://ledger.example", "http://localhost.example"] {
            let error = ask(base, &careful).unwrap_err().to_string();
            assert!(error.contains("https://") && !error.contains("slk_"), "{error}");
        }
        let trusting = ConnectArgs { plain_http: true, ..ConnectArgs::default() };
        assert!(ask("http://10.0.0.1:4380", &trusting).is_ok());
    }

    #[test]
    fn a_key_is_not_shown_by_the_client_that_has_it() {
        let token = Token::new().unwrap();
        let base = "http://localhost".parse().unwrap();
        let client = ConnectArgs::default().apply(reqwest::Client::builder(), &base, Some(&token));
        let shown = format!("{:?}", client.unwrap().build().unwrap());
        assert!(!shown.contains(token.reveal()), "{shown}");
    }

    #[test]
    fn half_an_identity_and_what_is_no_certificate_are_refused_with_the_remedy() {
        let base = "https://a".parse().unwrap();
        let apply = |args: &ConnectArgs| {
            args.apply(reqwest::Client::builder(), &base, None).unwrap_err().to_string()
        };
        let (_dir, path) = file(0o600, "not PEM");
        let half = ConnectArgs { client_key: Some(path.clone()), ..ConnectArgs::default() };
        assert!(apply(&half).contains("give both"));
        let both = ConnectArgs { client_certificate: Some(path.clone()), ..half };
        assert!(apply(&both).contains("PEM"));
        let (_dir, open) = file(0o640, "x");
        let readable = ConnectArgs { client_key: Some(open), ..both };
        assert!(apply(&readable).contains("chmod 600"));
    }
}
