//! A value that a task of its own takes away from whoever polls it. The body of a response is polled only while its client
//! reads, so what has to end whether or not the client reads cannot wait to be polled.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::JoinSet;

/// A value that can be polled until it is over, or is taken away for a reason.
pub struct Revocable<T, E> {
    shared: Arc<LockedState<T, E>>,
    _task: JoinSet<()>,
}

struct LockedState<T, E>(Mutex<State<T, E>>);

enum State<T, E> {
    Held {
        value: T,
        poller: Option<Waker>,
    },
    /// The value was dropped, and nobody has been told why.
    Revoked(E),
    Over,
}

impl<T: Send + 'static, E: Send + 'static> Revocable<T, E> {
    /// Drops the value once `reason` is ready. Needs a tokio runtime.
    pub fn until(reason: impl Future<Output = E> + Send + 'static, value: T) -> Self {
        let shared = Arc::new(LockedState(Mutex::new(State::Held { value, poller: None })));
        let mut task = JoinSet::new();
        let held = Arc::clone(&shared);
        task.spawn(async move { held.revoke(reason.await) });
        Self { shared, _task: task }
    }

    /// Polls the value. It is dropped as soon as `poll` has nothing more, or a reason to end it.
    ///
    /// Errors: the reason for its end, once.
    pub fn poll<R>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<Option<Result<R, E>>>,
    ) -> Poll<Option<Result<R, E>>> {
        let mut state = self.shared.lock();
        let polled = match &mut *state {
            State::Held { value, poller } => {
                let polled = poll(value, context);
                *poller = polled.is_pending().then(|| context.waker().clone());
                ready!(polled)
            }
            State::Revoked(_) => match mem::replace(&mut *state, State::Over) {
                State::Revoked(reason) => return Poll::Ready(Some(Err(reason))),
                State::Held { .. } | State::Over => None,
            },
            State::Over => None,
        };
        if !matches!(polled, Some(Ok(_))) {
            let over = mem::replace(&mut *state, State::Over);
            drop(state);
            drop(over);
        }
        Poll::Ready(polled)
    }

    /// Asks the value; `None` once it has ended.
    pub fn ask<R>(&self, ask: impl FnOnce(&T) -> R) -> Option<R> {
        match &*self.shared.lock() {
            State::Held { value, .. } => Some(ask(value)),
            State::Revoked(_) | State::Over => None,
        }
    }
}

impl<T, E> LockedState<T, E> {
    /// Whatever has panicked while it was polled, the value can be dropped.
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoke(&self, reason: E) {
        let mut state = self.lock();
        if matches!(*state, State::Over) {
            return;
        }
        let held = mem::replace(&mut *state, State::Revoked(reason));
        drop(state);
        if let State::Held { value, poller } = held {
            drop(value);
            poller.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};

    use tokio::sync::oneshot;

    use super::*;

    async fn next(held: &mut Revocable<Arc<()>, &'static str>) -> Option<Result<(), &'static str>> {
        poll_fn(|context| held.poll(context, |_, _| Poll::Pending)).await
    }

    #[tokio::test]
    async fn a_value_is_dropped_though_nobody_polls_it() {
        let value = Arc::new(());
        let (end, ended) = oneshot::channel::<()>();
        let reason = async {
            let _ = ended.await;
            "the end"
        };
        let mut held = Revocable::until(reason, Arc::clone(&value));
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&value), 2);
        drop(end);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&value), 1);
        assert_eq!((next(&mut held).await, next(&mut held).await), (Some(Err("the end")), None));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_at_once() {
        let mut held = Revocable::until(ready("the end"), Arc::new(()));
        assert_eq!(next(&mut held).await, Some(Err("the end")));
    }

    #[tokio::test]
    async fn a_value_that_is_over_is_dropped_as_well() {
        let value = Arc::new(());
        let mut held: Revocable<_, ()> = Revocable::until(pending(), Arc::clone(&value));
        let polled = poll_fn(|context| held.poll(context, |_, _| Poll::Ready(None::<Result<(), ()>>))).await;
        assert_eq!((polled, Arc::strong_count(&value)), (None, 1));
    }
}
