//! Giving other tasks a turn from inside a response's body.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Ready once every task that was ready has had its turn. [`tokio::task::yield_now`] is ready whenever it is polled again,
/// which is too early: the server polls a body several times in one turn.
#[derive(Default)]
pub struct YieldToRuntime {
    over: Option<Arc<Over>>,
}

struct Over {
    is_over: AtomicBool,
    /// The task that polled last: the body may have been handed to another one.
    task: AtomicWaker,
}

impl Wake for Over {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Future for YieldToRuntime {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(over) = &self.over {
            over.task.register(context.waker());
            return if over.is_over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending };
        }
        let over = Arc::new(Over { is_over: AtomicBool::new(false), task: AtomicWaker::new() });
        over.task.register(context.waker());
        let waker = Waker::from(Arc::clone(&over));
        // One poll makes the scheduler wake us behind the others; after that the future is of no use.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        self.over = Some(over);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Counting(std::sync::atomic::AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn the_task_that_polled_last_is_woken() {
        let [first, last] = [(), ()].map(|()| Arc::new(Counting::default()));
        let mut turn = pin!(YieldToRuntime::default());
        for task in [&first, &last] {
            let waker = Waker::from(Arc::clone(task));
            assert!(turn.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        tokio::task::yield_now().await;
        assert_eq!([&first, &last].map(|task| task.0.load(Ordering::SeqCst)), [0, 1]);
    }

    #[tokio::test]
    async fn it_is_ready_when_others_have_had_their_turn_and_not_when_it_is_polled_twice() {
        let had_its_turn = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&had_its_turn);
        let mut others = tokio::task::JoinSet::new();
        others.spawn(async move { other.store(true, Ordering::SeqCst) });
        let mut turn = pin!(YieldToRuntime::default());
        std::future::poll_fn(|context| {
            let first = turn.as_mut().poll(context);
            if !had_its_turn.load(Ordering::SeqCst) {
                assert!(first.is_pending() && turn.as_mut().poll(context).is_pending());
            }
            first
        })
        .await;
        assert!(had_its_turn.load(Ordering::SeqCst));
    }
}
