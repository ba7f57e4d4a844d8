//! Answers on their way out: memory for all of them together, and a time by which each is read.
//!
//! A caller that asks for a large page and does not read it would hold its memory for as long as
//! its connection lives, once for each stream. So an answer is counted until its last piece is
//! handed to the connection, and cut off when that takes too long.

use super::limits::{ANSWER_PIECE_BYTES, MAX_ANSWERS_BYTES, READ_TIMEOUT, UNCOUNTED_BYTES};
use super::load::{Limit, Load};
use super::problem::Problem;
use super::shares::{Full, Shares, Taken};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Unit of the memory: a place is a KiB.
const UNIT_BYTES: u64 = 1024;

/// The memory for answers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    room: Shares,
    load: Arc<Load>,
    within: Duration,
}

impl Outgoing {
    /// Memory for answers that are read within [`READ_TIMEOUT`].
    pub(super) fn new(load: Arc<Load>) -> Self {
        let room = Shares::new(usize::try_from(units(MAX_ANSWERS_BYTES)).unwrap_or(usize::MAX));
        Self { room, load, within: READ_TIMEOUT }
    }

    /// Room for so many bytes. What is larger than the share of its owner takes all of that; those
    /// without a credential share one.
    fn room(&self, owner: Option<&Owner>, bytes: u64) -> Result<Taken, Full> {
        let owner = owner.map_or("", |owner| owner.0.as_str());
        let wanted = usize::try_from(units(bytes)).unwrap_or(usize::MAX).min(self.room.share());
        self.room.try_take(Some(owner), u32::try_from(wanted).unwrap_or(u32::MAX))
    }

    /// The answer, counted; or that there is no room for it now.
    pub(super) async fn count(&self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        if let Some(on_disk) = parts.extensions.remove::<OnDisk>() {
            return Response::from_parts(parts, self.counted(Rest::OnDisk(on_disk), None));
        }
        let bytes = body.size_hint().lower();
        if bytes <= UNCOUNTED_BYTES {
            return Response::from_parts(parts, body);
        }
        let Ok(room) = self.room(parts.extensions.get(), bytes) else {
            self.load.hit(Limit::AnswersBytes);
            return Problem::busy().into_response();
        };
        // Our answers are whole before they are sent: nothing is waited for.
        let Ok(rest) = body.collect().await else { return Problem::store().into_response() };
        Response::from_parts(parts, self.counted(Rest::InMemory(rest.to_bytes()), Some(room)))
    }

    /// A body in pieces, which is let go when it is not read in time.
    fn counted(&self, rest: Rest, room: Option<Taken>) -> Body {
        let held = Arc::new(Mutex::new(Some(Held { rest, _room: room })));
        let (left, load, within) = (Arc::clone(&held), Arc::clone(&self.load), self.within);
        let timer = tokio::spawn(async move {
            sleep(within).await;
            if lock(&left).take().is_some() {
                load.hit(Limit::ReadTime);
            }
        });
        Body::new(Counted { held, timer: timer.abort_handle() })
    }
}

/// An answer on disk, which nothing but its pieces takes memory for. In the extensions of the
/// response, whose own body is empty.
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    file: Arc<File>,
    rest: Range<u64>,
    /// What it was given to grow in.
    _place: Arc<Taken>,
}

impl OnDisk {
    /// That many bytes of a file.
    pub(super) fn new(file: File, length: u64, place: Taken) -> Self {
        Self { file: Arc::new(file), rest: 0..length, _place: Arc::new(place) }
    }

    /// The next piece. It was written a moment ago, so the system has it in memory.
    fn piece(&mut self) -> io::Result<Bytes> {
        let left = self.rest.end.saturating_sub(self.rest.start);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(ANSWER_PIECE_BYTES);
        let mut piece = vec![0; length];
        self.file.read_exact_at(&mut piece, self.rest.start)?;
        self.rest.start = self.rest.start.saturating_add(length as u64);
        Ok(piece.into())
    }
}

/// What was not given to the connection yet.
enum Rest {
    InMemory(Bytes),
    OnDisk(OnDisk),
}

impl Rest {
    fn len(&self) -> u64 {
        match self {
            Self::InMemory(bytes) => bytes.len() as u64,
            Self::OnDisk(OnDisk { rest, .. }) => rest.end.saturating_sub(rest.start),
        }
    }

    fn piece(&mut self) -> io::Result<Bytes> {
        match self {
            Self::InMemory(bytes) => Ok(bytes.split_to(bytes.len().min(ANSWER_PIECE_BYTES))),
            Self::OnDisk(on_disk) => on_disk.piece(),
        }
    }
}

pub(super) fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT_BYTES)
}

/// Whose answer it is: the id of a credential. In the extensions of the response.
#[derive(Debug, Clone)]
pub(super) struct Owner(pub(super) String);

/// The same with the memory that it takes.
struct Held {
    rest: Rest,
    _room: Option<Taken>,
}

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer in pieces: HTTP/2 keeps what it was given until the other side reads, so it is given
/// no more than it asks for. What is left after the time is let go, also when nobody asks any more.
struct Counted {
    held: Arc<Mutex<Option<Held>>>,
    timer: AbortHandle,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut held = lock(&self.held);
        let Some(Held { rest, .. }) = held.as_mut() else {
            let slow = "the answer was not read in time";
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, slow))));
        };
        if rest.len() == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(rest.piece().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.held).as_ref().is_some_and(|held| held.rest.len() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(lock(&self.held).as_ref().map_or(0, |held| held.rest.len()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.timer.abort();
        lock(&self.held).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![7; bytes]))
    }

    #[tokio::test]
    async fn what_nobody_reads_is_counted_until_it_is_dropped_and_leaves_room_for_others() {
        let outgoing = Outgoing::new(Arc::default());
        let most = usize::try_from(MAX_ANSWERS_BYTES).unwrap();
        let small = usize::try_from(UNCOUNTED_BYTES).unwrap();
        let of = |owner: &str, bytes| {
            let mut response = answer(bytes);
            response.extensions_mut().insert(Owner(owner.to_owned()));
            response
        };
        let unread = outgoing.count(of("a", most * 2)).await;
        assert_eq!(outgoing.count(of("a", small + 1)).await.status(), 503);
        assert_eq!(outgoing.count(of("a", small)).await.status(), 200);
        let other = outgoing.count(of("b", most / 4)).await;
        assert_eq!(other.status(), 200);
        assert_eq!(outgoing.load.answers_refused(), 1);
        drop((unread, other));
        assert_eq!(outgoing.count(of("a", small + 1)).await.status(), 200);
        assert_eq!(outgoing.count(answer(small + 1)).await.status(), 200);
    }

    #[tokio::test]
    async fn an_answer_is_whole_and_comes_in_pieces() {
        let outgoing = Outgoing::new(Arc::default());
        let bytes = ANSWER_PIECE_BYTES * 3 + 5;
        let mut body = outgoing.count(answer(bytes)).await.into_body();
        assert_eq!(body.size_hint().exact(), Some(bytes as u64));
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        let piece = ANSWER_PIECE_BYTES;
        assert_eq!(lengths, [piece, piece, piece, 5]);
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn an_answer_on_disk_comes_in_pieces_and_keeps_its_place_until_it_was_read() {
        let outgoing = Outgoing::new(Arc::default());
        let places = Shares::new(1);
        let bytes = vec![7; ANSWER_PIECE_BYTES + 5];
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let mut response = Response::default();
        let place = places.try_take(None, 1).unwrap();
        response.extensions_mut().insert(OnDisk::new(file, bytes.len() as u64, place));
        let body = outgoing.count(response).await.into_body();
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert!(places.try_take(None, 1).is_err(), "it is not read yet");
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
        assert!(places.try_take(None, 1).is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_in_time_is_cut_off() {
        let within = Duration::from_millis(20);
        let outgoing = Outgoing { within, ..Outgoing::new(Arc::default()) };
        let mut body = outgoing.count(answer(ANSWER_PIECE_BYTES * 3)).await.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        while outgoing.load.answers_cut() == 0 {
            sleep(within).await;
        }
        let all = outgoing.room.try_take(None, u32::try_from(units(MAX_ANSWERS_BYTES)).unwrap());
        assert!(all.is_ok(), "all room is free, though nobody asked for more");
        assert!(body.frame().await.unwrap().is_err());
    }
}
