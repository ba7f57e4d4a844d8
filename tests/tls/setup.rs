//! A server with TLS, and connections to it as a client makes them.

use crate::support::authority::{Authority, Pair};
use crate::support::server::Server;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The files of a server in a folder of their own, and who signed them.
pub(crate) struct Files {
    pub(crate) authority: Authority,
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files =
            Self { authority: Authority::new("ours"), folder: tempfile::tempdir().unwrap() };
        files.renew();
        fs::write(files.path("ca.crt"), files.authority.pem()).unwrap();
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another certificate for the server, each file replaced in one step.
    pub(crate) fn renew(&self) {
        let (certificate, key) = (self.path("new.crt"), self.path("new.key"));
        self.authority.server().write(&certificate, &key);
        fs::rename(certificate, self.path("tls.crt")).unwrap();
        fs::rename(key, self.path("tls.key")).unwrap();
    }

    /// Writes a client's certificate; gives its path and that of the key.
    pub(crate) fn write_client(&self, pair: &Pair) -> (String, String) {
        let (certificate, key) = (self.path("client.crt"), self.path("client.key"));
        pair.write(&certificate, &key);
        (certificate.display().to_string(), key.display().to_string())
    }

    /// The configuration with further lines of `tls:` and of the whole file.
    pub(crate) fn config(&self, tls: &str, rest: &str) -> PathBuf {
        let path = self.path("spanledger.yaml");
        let text = format!(
            "tls:\n  certificate: {}\n  key: {}\n{tls}{rest}",
            self.path("tls.crt").display(),
            self.path("tls.key").display(),
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// A line of `tls:` that asks for client certificates.
    pub(crate) fn client_ca(&self) -> String {
        format!("  client_ca: {}\n", self.path("ca.crt").display())
    }

    pub(crate) async fn serve(&self, tls: &str, rest: &str) -> Server {
        self.serve_as(None, tls, rest).await
    }

    /// The same, looked after by a client with a certificate.
    pub(crate) async fn serve_as(&self, client: Option<&Pair>, tls: &str, rest: &str) -> Server {
        let config = self.config(tls, rest);
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let mut builder =
            reqwest::Client::builder().use_rustls_tls().add_root_certificate(authority);
        if let Some(Pair { certificate, key, .. }) = client {
            let both = format!("{certificate}{key}");
            builder = builder.identity(reqwest::Identity::from_pem(both.as_bytes()).unwrap());
        }
        let arguments = ["--config", config.to_str().unwrap()];
        Server::start_with_tls(builder, &self.path("data"), &arguments).await
    }
}

/// How a client connects.
pub(crate) struct Dial<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) client: Option<&'a Pair>,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
    /// What the server's certificate has to say.
    pub(crate) name: &'static str,
}

impl<'a> Dial<'a> {
    pub(crate) fn new(authority: &'a Authority) -> Self {
        Self {
            authority,
            client: None,
            versions: rustls::ALL_VERSIONS,
            protocols: &["h2"],
            name: "localhost",
        }
    }

    pub(crate) fn with(authority: &'a Authority, client: &'a Pair) -> Self {
        Self { client: Some(client), ..Self::new(authority) }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ours = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap();
        roots.add(ours).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// What resumes its sessions, when it is used again.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::new(self.config()))
    }

    /// A connection on which nothing was sent yet.
    pub(crate) async fn connect(&self, address: &str) -> Outcome<TlsStream<TcpStream>> {
        connect(&self.connector(), self.name, address).await
    }

    /// The certificate that is served to a new connection.
    pub(crate) async fn served(&self, address: &str) -> Outcome<Vec<u8>> {
        let stream = self.connect(address).await?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    }

    /// Status and body of `GET path` on a connection of its own.
    pub(crate) async fn get(&self, address: &str, path: &str) -> Outcome<(u16, String)> {
        let stream = self.connect(address).await?;
        if self.protocols == ["h2"] {
            return get(&mut http2_of(stream).await?, address, path).await;
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path).header("host", address);
        let answer = sender.send_request(request.body(Full::new(Bytes::new()))?).await?;
        let answer = read(answer).await;
        connection.abort();
        answer
    }
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    name: &'static str,
    address: &str,
) -> Outcome<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    Ok(connector.connect(name, stream).await?)
}

pub(crate) type Http2 = http2::SendRequest<Full<Bytes>>;

pub(crate) async fn http2_of(stream: TlsStream<TcpStream>) -> Outcome<Http2> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub(crate) async fn get(sender: &mut Http2, address: &str, path: &str) -> Outcome<(u16, String)> {
    let request = http::Request::get(format!("https://{address}{path}"));
    read(sender.send_request(request.body(Full::new(Bytes::new()))?).await?).await
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> Outcome<(u16, String)> {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
