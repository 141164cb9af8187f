//! The channel of a job's answer. As tokio's `oneshot`, but sending wakes nobody: the writer collects the tasks that wait for
//! the answers of a batch, and has each runtime wake its own. Waking them from the writer's thread would be one system call
//! for each.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

/// The sending side. Dropped without an answer, it tells the receiver so.
pub(super) struct ReplySender<T>(Arc<Mutex<Slot<T>>>);

/// The receiving side: a future of the answer.
pub(super) struct ReplyReceiver<T>(Arc<Mutex<Slot<T>>>);

/// The sender was dropped without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoReply;

enum Slot<T> {
    Open(Option<WaitingTask>),
    Sent(T),
    /// The answer was taken, or there is none.
    Closed,
}

/// A task that waits for an answer.
pub(super) struct WaitingTask {
    waker: Waker,
    /// The runtime that polls it; `None` outside of one.
    runtime: Option<Handle>,
}

/// The tasks that wait for the answers of a batch.
#[derive(Default)]
pub(super) struct WaitingTasks(Vec<(Handle, Vec<Waker>)>);

pub(super) fn channel<T>() -> (ReplySender<T>, ReplyReceiver<T>) {
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    (ReplySender(Arc::clone(&slot)), ReplyReceiver(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> ReplySender<T> {
    /// Sends the answer, and returns the task to wake. If nobody waits any more, the answer is dropped.
    #[must_use = "the task must be woken"]
    pub(super) fn send(self, answer: T) -> Option<WaitingTask> {
        replace(&self.0, Slot::Sent(answer))
    }
}

/// Ends an open slot, and returns the task that waits for it.
fn replace<T>(slot: &Mutex<Slot<T>>, end: Slot<T>) -> Option<WaitingTask> {
    let mut slot = lock(slot);
    match &mut *slot {
        Slot::Open(waiting) => {
            let waiting = waiting.take();
            *slot = end;
            waiting
        }
        Slot::Sent(_) | Slot::Closed => None,
    }
}

impl<T> Drop for ReplySender<T> {
    fn drop(&mut self) {
        if let Some(waiting) = replace(&self.0, Slot::Closed) {
            waiting.waker.wake();
        }
    }
}

impl<T> Future for ReplyReceiver<T> {
    type Output = Result<T, NoReply>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.0);
        match &mut *slot {
            Slot::Open(waiting) => {
                if !waiting.as_ref().is_some_and(|waiting| waiting.waker.will_wake(context.waker())) {
                    *waiting =
                        Some(WaitingTask { waker: context.waker().clone(), runtime: Handle::try_current().ok() });
                }
                Poll::Pending
            }
            Slot::Sent(_) | Slot::Closed => Poll::Ready(match std::mem::replace(&mut *slot, Slot::Closed) {
                Slot::Sent(answer) => Ok(answer),
                Slot::Open(_) | Slot::Closed => Err(NoReply),
            }),
        }
    }
}

impl WaitingTasks {
    pub(super) fn add(&mut self, task: Option<WaitingTask>) {
        let Some(WaitingTask { waker, runtime }) = task else { return };
        let Some(runtime) = runtime else { return waker.wake() };
        match self.0.iter_mut().find(|(other, _)| other.id() == runtime.id()) {
            Some((_, wakers)) => wakers.push(waker),
            None => self.0.push((runtime, vec![waker])),
        }
    }

    pub(super) fn wake(self) {
        for (runtime, mut wakers) in self.0 {
            if wakers.len() == 1 {
                wakers.drain(..).for_each(Waker::wake);
            } else {
                // Detached: it ends in its first turn, or with its runtime and the tasks that it would wake.
                drop(runtime.spawn(async move { wakers.into_iter().for_each(Waker::wake) }));
            }
        }
    }
}

impl WaitingTask {
    pub(super) fn wake(self) {
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct WokenOn(Mutex<Vec<Option<tokio::runtime::Id>>>);

    impl Wake for WokenOn {
        fn wake(self: Arc<Self>) {
            let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
            self.0.lock().expect("no panic").push(runtime);
        }
    }

    fn woken_on() -> (Arc<WokenOn>, Waker) {
        let woken = Arc::new(WokenOn(Mutex::default()));
        (Arc::clone(&woken), Waker::from(Arc::clone(&woken)))
    }

    fn poll<T>(receiver: &mut ReplyReceiver<T>, waker: &Waker) -> Poll<Result<T, NoReply>> {
        Pin::new(receiver).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn an_answer_arrives_once_whether_it_was_waited_for_or_not() {
        let (sender, mut receiver) = channel();
        assert!(sender.send(1).is_none(), "nobody waits yet");
        assert_eq!(poll(&mut receiver, Waker::noop()), Poll::Ready(Ok(1)));
        assert_eq!(poll(&mut receiver, Waker::noop()), Poll::Ready(Err(NoReply)));
        let (sender, mut receiver) = channel();
        assert_eq!(poll(&mut receiver, Waker::noop()), Poll::Pending);
        assert!(sender.send(2).is_some(), "the task that waits");
        assert_eq!(poll(&mut receiver, Waker::noop()), Poll::Ready(Ok(2)));
    }

    #[test]
    fn a_sender_that_is_dropped_wakes_its_receiver() {
        let (sender, mut receiver) = channel::<()>();
        let (woken, waker) = woken_on();
        assert_eq!(poll(&mut receiver, &waker), Poll::Pending);
        drop(sender);
        assert_eq!(woken.0.lock().expect("no panic").len(), 1);
        assert_eq!(poll(&mut receiver, &waker), Poll::Ready(Err(NoReply)));
    }

    #[test]
    fn an_answer_that_nobody_takes_is_dropped() {
        let (sender, receiver) = channel();
        let answer = Arc::new(());
        drop(receiver);
        assert!(sender.send(Arc::clone(&answer)).is_none());
        assert_eq!(Arc::strong_count(&answer), 1);
        let (sender, receiver) = channel();
        assert!(sender.send(Arc::clone(&answer)).is_none());
        drop(receiver);
        assert_eq!(Arc::strong_count(&answer), 1);
    }

    #[test]
    fn tasks_are_woken_on_the_runtime_that_polled_them() {
        let runtimes = [(); 2].map(|()| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
        let (woken, waker) = woken_on();
        let mut waiting = WaitingTasks::default();
        let mut wait = || {
            let (sender, mut receiver) = channel();
            assert_eq!(poll(&mut receiver, &waker), Poll::Pending);
            waiting.add(sender.send(()));
        };
        runtimes.iter().for_each(|runtime| {
            let _entered = runtime.enter();
            [(); 3].iter().for_each(|()| wait());
        });
        wait();
        assert_eq!(woken.0.lock().expect("no panic").as_slice(), [None], "outside of a runtime: at once");
        waiting.wake();
        for runtime in &runtimes {
            runtime.block_on(tokio::task::yield_now());
        }
        let ids = runtimes.each_ref().map(|runtime| Some(runtime.handle().id()));
        assert_eq!(*woken.0.lock().expect("no panic"), [[None].as_slice(), &[ids[0]; 3], &[ids[1]; 3]].concat());
    }
}
