//! What a new connection speaks: HTTP/1.1 or HTTP/2, told by its first bytes.

use super::Limits;
use super::metrics::{LimitHit, Metrics};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// First bytes of an HTTP/2 connection. Source: RFC 9113, section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were read to see what it speaks, and are read again.
pub(super) struct Opened<S> {
    stream: S,
    head: [u8; PREFACE.len()],
    read: usize,
    replayed: usize,
    stalled: Stalled,
}

/// How long the other side has left unread what was written to it.
struct Stalled {
    limit: Duration,
    metrics: Arc<Metrics>,
    /// There while a write waits.
    until: Option<Pin<Box<Sleep>>>,
}

impl Stalled {
    /// What became of a write, or that it waited too long.
    fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if until.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.metrics.hit(LimitHit::WriteTimeout);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Opened<S> {
    /// Reads until it is clear whether this is HTTP/2.
    pub(super) async fn read(
        stream: S,
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> io::Result<(bool, Self)> {
        let stalled = Stalled { limit: limits.write_timeout, metrics, until: None };
        let mut opened = Self { stream, head: [0; PREFACE.len()], read: 0, replayed: 0, stalled };
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.stalled.watch(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(context);
        self.stalled.watch(written, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.stalled.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn who_leaves_unread_what_is_written_is_cut_off_and_who_reads_slowly_is_not() {
        let metrics: Arc<Metrics> = Arc::default();
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"GET / ").await.unwrap();
        let limit = Duration::from_millis(400);
        let limits = Limits { write_timeout: limit, ..Limits::default() };
        let opened = Opened::read(ours, &limits, Arc::clone(&metrics)).await;
        let (_, mut opened) = opened.unwrap();
        let reader = tokio::spawn(async move {
            let mut read = [0; 64];
            for _ in 0..3 {
                sleep(limit / 2).await;
                theirs.read_exact(&mut read).await.unwrap();
            }
            theirs
        });
        opened.write_all(&[7; 3 * 64]).await.unwrap();
        let _theirs = reader.await.unwrap();
        let error = opened.write_all(&[7; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(metrics.hits(LimitHit::WriteTimeout), 1);
    }
}
