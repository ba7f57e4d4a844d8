//! The TLS handshake of a connection, and the stream that comes out of it.

use super::metrics::HandshakeFailure;
use crate::access::{PeerCertificate, Tls};
use jiff::Timestamp;
use rustls::Error as Refusal;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of every TLS connection: a record of the type handshake. Source: RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;

/// What whoever speaks plain HTTP to a TLS port is told. HTTP/2 has no words at this point, but
/// its clients show these.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
content-length: 45\r\nconnection: close\r\n\r\nthis port speaks TLS only: use an https URL.\n";

/// Time for a client whose handshake was refused to read why, and bytes of its that are read away
/// meanwhile. In TLS 1.3 it has sent its first request by then: a socket that is closed over unread
/// bytes takes the alert with it, and the client says "broken pipe" instead of "certificate expired".
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// A connection, with TLS or without. Boxed with it: it is larger by a thousand bytes.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: HandshakeFailure,
    /// For the debug log.
    pub(super) why: String,
}

/// Speaks TLS with a client. Bounded in time by the caller.
pub(super) async fn handshake(
    tls: &Tls,
    stream: TcpStream,
) -> Result<(Stream, Option<PeerCertificate>), Failed> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await.map_err(|error| Failed::io(&error))?;
    if seen != 0 && first != [HANDSHAKE] {
        turn_away(stream).await;
        let why = "the client does not speak TLS".to_owned();
        return Err(Failed { reason: HandshakeFailure::Plaintext, why });
    }
    let acceptor = TlsAcceptor::from(tls.config());
    let stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // The alert is written; who went away needs no time to read it.
            if error.kind() == io::ErrorKind::InvalidData {
                linger(stream).await;
            }
            return Err(Failed::io(&error));
        }
    };
    let certificate = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        None => None,
        Some(certificate) => {
            let now = Timestamp::now().as_second();
            let named = PeerCertificate::from_der(certificate, now).map_err(|error| Failed {
                reason: HandshakeFailure::ClientCertificate,
                why: error.to_string(),
            })?;
            Some(named)
        }
    };
    Ok((Stream::Tls(Box::new(stream)), certificate))
}

/// Says to a client without TLS what to do.
async fn turn_away(mut stream: TcpStream) {
    // What is unread at the end would take the answer with it.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.write_all(NO_TLS).await;
    let _ = stream.shutdown().await;
}

/// Closes a connection so that the other side can read what was written to it.
async fn linger(mut stream: TcpStream) {
    let read_away = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, read_away).await;
}

impl Failed {
    fn io(error: &io::Error) -> Self {
        let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
        Self { reason: refusal.map_or(HandshakeFailure::Closed, reason), why: error.to_string() }
    }
}

/// Few words for the many things that can be wrong.
fn reason(refusal: &Refusal) -> HandshakeFailure {
    match refusal {
        Refusal::InvalidCertificate(_) | Refusal::NoCertificatesPresented => {
            HandshakeFailure::ClientCertificate
        }
        Refusal::AlertReceived(_) => HandshakeFailure::ClientAlert,
        Refusal::PeerIncompatible(_) | Refusal::NoApplicationProtocol => {
            HandshakeFailure::Incompatible
        }
        _ => HandshakeFailure::Broken,
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_no_tls_is_told_as_many_bytes_as_are_announced() {
        let text = std::str::from_utf8(NO_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
    }

    #[test]
    fn a_connection_that_just_ends_is_no_refusal_of_ours() {
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Failed::io(&ended).reason, HandshakeFailure::Closed);
        let refused = io::Error::other(Refusal::NoCertificatesPresented);
        assert_eq!(Failed::io(&refused).reason, HandshakeFailure::ClientCertificate);
    }
}
