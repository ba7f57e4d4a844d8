//! What a new connection speaks: HTTP/1.1 or HTTP/2, told by its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// First bytes of an HTTP/2 connection. Source: RFC 9113, section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were read to see what it speaks, and are read again.
pub(super) struct Opened<S> {
    stream: S,
    head: [u8; PREFACE.len()],
    read: usize,
    replayed: usize,
}

impl<S: AsyncRead + Unpin> Opened<S> {
    /// Reads until it is clear whether this is HTTP/2.
    pub(super) async fn read(stream: S) -> io::Result<(bool, Self)> {
        let mut opened = Self { stream, head: [0; PREFACE.len()], read: 0, replayed: 0 };
        loop {
            let rest = opened.head.get_mut(opened.read..).unwrap_or_default();
            let read = opened.stream.read(rest).await?;
            opened.read = opened.read.saturating_add(read);
            let so_far = opened.head.get(..opened.read).unwrap_or_default();
            if !PREFACE.starts_with(so_far) {
                return Ok((false, opened));
            }
            if so_far.len() == PREFACE.len() {
                return Ok((true, opened));
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.head.get(this.replayed..this.read) {
            Some(rest) if !rest.is_empty() => {
                let length = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..length).unwrap_or_default());
                this.replayed = this.replayed.saturating_add(length);
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(context, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
