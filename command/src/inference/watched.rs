//! What a stream holds, kept where a timer can take it away. A body whose client has stopped reading is not polled, so
//! that it cannot see its own deadline; without the timer it would outlive its hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// A value that is taken out to be worked with and put back, or given up where it lies idle at its deadline. Dropped, it
/// drops its value.
pub struct Watched<T> {
    state: Arc<Mutex<State<T>>>,
    /// Ends the timer with this.
    _over: oneshot::Sender<()>,
}

enum State<T> {
    Idle(T),
    /// Somebody works with it.
    Taken,
    /// The timer has run out, and looks at it no more.
    Over,
}

impl<T: Send + 'static> Watched<T> {
    /// `give_up` gets the value if nobody works with it at `deadline`. Who has taken it out by then keeps it: it cannot be
    /// put back.
    pub fn new(value: T, deadline: Instant, timers: &TaskTracker, give_up: impl FnOnce(T) + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::Idle(value)));
        let (over, gone) = oneshot::channel::<()>();
        // Weak: the client's going must drop the value at once, not at the deadline.
        let watched = Arc::downgrade(&state);
        timers.spawn(async move {
            if timeout_at(deadline, gone).await.is_ok() {
                return;
            }
            let Some(state) = watched.upgrade() else { return };
            let last = std::mem::replace(&mut *locked(&state), State::Over);
            if let State::Idle(value) = last {
                give_up(value);
            }
        });
        Self { state, _over: over }
    }

    /// `None` once it was given up.
    pub fn take(&self) -> Option<T> {
        let mut state = locked(&self.state);
        if matches!(*state, State::Over) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Idle(value) => Some(value),
            State::Taken | State::Over => None,
        }
    }

    /// Errors: the value, where the timer has run out: nobody would ever look at it again.
    pub fn put_back(&self, value: T) -> Result<(), T> {
        let mut state = locked(&self.state);
        if matches!(*state, State::Over) {
            return Err(value);
        }
        *state = State::Idle(value);
        Ok(())
    }
}

fn locked<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn watched(timers: &TaskTracker, given_up: &Arc<AtomicUsize>) -> Watched<Arc<()>> {
        let given_up = Arc::clone(given_up);
        let deadline = Instant::now() + Duration::from_secs(10);
        Watched::new(Arc::new(()), deadline, timers, move |_| {
            given_up.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_idle_at_the_deadline_is_given_up() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let left_lying = watched(&timers, &given_up);
        let put_back = watched(&timers, &given_up);
        let value = put_back.take().expect("it is there");
        assert!(put_back.put_back(value).is_ok());
        let in_use = watched(&timers, &given_up);
        let _value = in_use.take();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(given_up.load(Ordering::SeqCst), 2);
        assert!(left_lying.take().is_none() && put_back.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_worked_with_at_the_deadline_cannot_be_put_back_to_lie_there_for_ever() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let watched = watched(&timers, &given_up);
        // Whoever works with it has looked at the clock, and the deadline passes before it is put back.
        let value = watched.take().expect("it is there");
        tokio::time::sleep(Duration::from_secs(11)).await;
        let weak = Arc::downgrade(&value);
        assert!(watched.put_back(value).is_err());
        assert!(weak.upgrade().is_none() && watched.take().is_none());
        timers.close();
        timers.wait().await;
        assert_eq!(given_up.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_is_dropped_at_once_and_ends_its_timer() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let watched = watched(&timers, &given_up);
        let value = watched.take().expect("it is there");
        let weak = Arc::downgrade(&value);
        assert!(watched.put_back(value).is_ok());
        drop(watched);
        assert!(weak.upgrade().is_none());
        timers.close();
        let began = Instant::now();
        timers.wait().await;
        assert_eq!((began.elapsed(), given_up.load(Ordering::SeqCst)), (Duration::ZERO, 0));
    }
}
