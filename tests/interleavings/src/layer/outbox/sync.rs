//! In the place of `src/layer/outbox/sync.rs`: the same names, on loom.
//!
//! loom's own condition variable never times out, and tokio's news are not loom's. What is here is as
//! small as it can be with the same meaning; nothing is fast, and nothing is fair.

use loom::future::block_on;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64 as Count, AtomicUsize, Ordering};
use std::sync::{Arc, LockResult, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64};

/// As in `src`, but so few that every model comes to the sleep.
pub(super) const LOOKS_IN_VAIN: u32 = 1;

/// A wait this long never ends by itself: whoever needs that it does is found as one that waits for
/// ever. All pauses between two looks are shorter.
pub(super) const NEVER: Duration = Duration::from_secs(1);

/// Times that a wait with a deadline ends at any moment. From then on it ends when nobody else can go
/// on: without a bound there would be no end of orders.
const EARLY: usize = 3;

/// `std::sync::Mutex`.
#[derive(Debug)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { mutex: self, guard })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// `std::sync::MutexGuard`.
#[derive(Debug)]
pub(super) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: loom::sync::MutexGuard<'a, T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// `std::sync::Condvar`.
#[derive(Debug, Default)]
pub(super) struct Condvar {
    waiting: loom::sync::Condvar,
    early: AtomicUsize,
}

impl Condvar {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { mutex, guard } = guard;
        let guard = self.waiting.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { mutex, guard })
    }

    pub(super) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        within: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        if within >= NEVER {
            return Ok((self.wait(guard).unwrap_or_else(PoisonError::into_inner), ()));
        }
        let MutexGuard { mutex, guard } = guard;
        drop(guard);
        if self.early.fetch_add(1, Ordering::Relaxed) >= EARLY {
            loom::thread::yield_now();
        }
        Ok((mutex.lock().unwrap_or_else(PoisonError::into_inner), ()))
    }

    pub(super) fn notify_one(&self) {
        self.waiting.notify_one();
    }

    pub(super) fn notify_all(&self) {
        self.waiting.notify_all();
    }
}

/// `std::time::Instant`: whoever looks at the clock finds a second gone.
#[derive(Debug, Default)]
pub(super) struct Instant(Count);

impl Instant {
    pub(super) fn now() -> Self {
        Self::default()
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The deadline passed.
#[derive(Debug)]
pub(super) struct Elapsed;

/// `tokio::time::timeout`. A deadline of nothing passes at once, any other when nobody else can go
/// on, unless it is [`NEVER`].
pub(super) async fn timeout<F: Future>(within: Duration, work: F) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    let mut passed = false;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending if within >= NEVER => Poll::Pending,
        Poll::Pending if passed => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            passed = true;
            if !within.is_zero() {
                loom::thread::yield_now();
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// `tokio::time::sleep`.
pub(super) async fn sleep(within: Duration) {
    let _ = timeout(within, pending::<()>()).await;
}

/// `tokio::sync::Notify`.
#[derive(Debug, Default)]
pub(super) struct Notify(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    permit: bool,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
    told: Vec<u64>,
}

impl Notify {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn notify_one(&self) {
        let woken = {
            let mut state = self.lock();
            let first = state.waiting.pop_front();
            match &first {
                Some((id, _)) => state.told.push(*id),
                None => state.permit = true,
            }
            first
        };
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }

    pub(super) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, id: None }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits.
pub(super) struct Notified<'a> {
    notify: &'a Notify,
    /// From when it waits until it is told.
    id: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.lock();
        match self.id {
            Some(id) if state.told.contains(&id) => {
                state.told.retain(|told| *told != id);
                drop(state);
                self.id = None;
                return Poll::Ready(());
            }
            Some(id) => state.waiting.retain(|(waiting, _)| *waiting != id),
            None if state.permit => {
                state.permit = false;
                return Poll::Ready(());
            }
            None => {}
        }
        let id = self.id.unwrap_or(state.next);
        state.next = state.next.max(id.wrapping_add(1));
        state.waiting.push_back((id, context.waker().clone()));
        drop(state);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let was_told = {
            let mut state = self.notify.lock();
            state.waiting.retain(|(waiting, _)| *waiting != id);
            let before = state.told.len();
            state.told.retain(|told| *told != id);
            before > state.told.len()
        };
        // Whoever was told and did not hear it leaves the news to the next one.
        if was_told {
            self.notify.notify_one();
        }
    }
}

/// `tokio::sync::watch`.
pub(super) mod watch {
    use super::{Mutex, MutexGuard};
    use std::future::poll_fn;
    use std::ops::Deref;
    use std::sync::{Arc, PoisonError};
    use std::task::{Poll, Waker};

    type State<T> = Mutex<(T, Vec<Waker>)>;

    fn lock<T>(state: &State<T>) -> MutexGuard<'_, (T, Vec<Waker>)> {
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the value.
    #[derive(Debug)]
    pub(in crate::layer::outbox) struct Ref<T>(T);

    impl<T> Deref for Ref<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    #[derive(Debug)]
    pub(in crate::layer::outbox) struct Sender<T>(Arc<State<T>>);

    impl<T: Copy> Sender<T> {
        pub(in crate::layer::outbox) fn new(value: T) -> Self {
            Self(Arc::new(Mutex::new((value, Vec::new()))))
        }

        pub(in crate::layer::outbox) fn borrow(&self) -> Ref<T> {
            Ref(lock(&self.0).0)
        }

        pub(in crate::layer::outbox) fn send_modify(&self, change: impl FnOnce(&mut T)) {
            self.send_if_modified(|value| {
                change(value);
                true
            });
        }

        pub(in crate::layer::outbox) fn send_if_modified(
            &self,
            change: impl FnOnce(&mut T) -> bool,
        ) -> bool {
            let wakers = {
                let mut state = lock(&self.0);
                if !change(&mut state.0) {
                    return false;
                }
                std::mem::take(&mut state.1)
            };
            wakers.into_iter().for_each(Waker::wake);
            true
        }

        pub(in crate::layer::outbox) fn subscribe(&self) -> Receiver<T> {
            Receiver(self.0.clone())
        }
    }

    #[derive(Debug)]
    pub(in crate::layer::outbox) struct Receiver<T>(Arc<State<T>>);

    impl<T: Copy> Receiver<T> {
        /// Never an error: who waits holds what sends.
        pub(in crate::layer::outbox) async fn wait_for(
            &mut self,
            mut is: impl FnMut(&T) -> bool,
        ) -> Result<Ref<T>, ()> {
            poll_fn(|context| {
                let mut state = lock(&self.0);
                if is(&state.0) {
                    return Poll::Ready(Ok(Ref(state.0)));
                }
                state.1.push(context.waker().clone());
                Poll::Pending
            })
            .await
        }
    }
}

/// `tokio::task::JoinHandle` of a task that has a thread to itself.
pub(super) struct JoinHandle<T> {
    task: Arc<Task>,
    thread: loom::thread::JoinHandle<Option<T>>,
}

#[derive(Default)]
struct Task {
    aborted: Mutex<(bool, Option<Waker>)>,
    ended: Notify,
}

/// Runs a task until it ends or is aborted.
pub(super) fn spawn<F: Future + 'static>(work: F) -> JoinHandle<F::Output> {
    let task: Arc<Task> = Arc::default();
    let of_thread = task.clone();
    let thread = loom::thread::spawn(move || {
        let done = block_on(async {
            let mut work = Box::pin(work);
            poll_fn(|context| {
                let mut aborted = of_thread.aborted.lock().unwrap_or_else(PoisonError::into_inner);
                if aborted.0 {
                    return Poll::Ready(None);
                }
                aborted.1 = Some(context.waker().clone());
                drop(aborted);
                work.as_mut().poll(context).map(Some)
            })
            .await
        });
        of_thread.aborted.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
        of_thread.ended.notify_one();
        done
    });
    JoinHandle { task, thread }
}

impl<T> JoinHandle<T> {
    pub(super) fn abort(&self) {
        let mut aborted = self.task.aborted.lock().unwrap_or_else(PoisonError::into_inner);
        aborted.0 = true;
        let waker = aborted.1.take();
        drop(aborted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for its thread; `None` when it was aborted.
    pub(super) fn join(self) -> Option<T> {
        self.thread.join().expect("a task does not panic")
    }
}

impl<T: 'static> IntoFuture for JoinHandle<T> {
    type Output = Option<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Option<T>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.task.ended.notified().await;
            self.join()
        })
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle")
    }
}
