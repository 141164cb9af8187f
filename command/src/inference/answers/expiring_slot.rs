//! A slot for what a stream holds, which a timer empties at the deadline. A body whose client has stopped reading is not
//! polled, and so cannot see its own deadline; without the timer it would outlive its hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// A slot whose value is taken out for use and put back. A value that lies idle in it at the deadline is given up. Dropping
/// the slot drops its value.
pub struct ExpiringSlot<T> {
    state: Arc<Mutex<State<T>>>,
    /// Ends the timer when the slot is dropped.
    _over: oneshot::Sender<()>,
}

enum State<T> {
    Idle(T),
    /// The value is in use.
    Taken,
    /// The timer has run out, and will not run again.
    Over,
}

impl<T: Send + 'static> ExpiringSlot<T> {
    /// A slot that passes the value to `give_up` if it lies idle at `deadline`. A value in use at that moment stays with its
    /// user and cannot be put back.
    pub fn new(value: T, deadline: Instant, timers: &TaskTracker, give_up: impl FnOnce(T) + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::Idle(value)));
        let (over, gone) = oneshot::channel::<()>();
        // Weak: when the client goes, the value must be dropped at once, not at the deadline.
        let weak = Arc::downgrade(&state);
        timers.spawn(async move {
            if timeout_at(deadline, gone).await.is_ok() {
                return;
            }
            let Some(state) = weak.upgrade() else { return };
            let last = std::mem::replace(&mut *locked(&state), State::Over);
            if let State::Idle(value) = last {
                give_up(value);
            }
        });
        Self { state, _over: over }
    }

    /// Takes the value out; `None` once it was given up.
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

    /// Puts the value back.
    ///
    /// Errors: the value, if the timer has run out, since nothing would end it any more.
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

    fn slot(timers: &TaskTracker, given_up: &Arc<AtomicUsize>) -> ExpiringSlot<Arc<()>> {
        let given_up = Arc::clone(given_up);
        let deadline = Instant::now() + Duration::from_secs(10);
        ExpiringSlot::new(Arc::new(()), deadline, timers, move |_| {
            given_up.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_lies_idle_at_the_deadline_is_given_up() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let left_lying = slot(&timers, &given_up);
        let put_back = slot(&timers, &given_up);
        let value = put_back.take().expect("it is there");
        assert!(put_back.put_back(value).is_ok());
        let in_use = slot(&timers, &given_up);
        let _value = in_use.take();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(given_up.load(Ordering::SeqCst), 2);
        assert!(left_lying.take().is_none() && put_back.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_in_use_at_the_deadline_cannot_be_put_back_to_lie_there_for_ever() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let slot = slot(&timers, &given_up);
        // The deadline passes between the user's look at the clock and the return of the value.
        let value = slot.take().expect("it is there");
        tokio::time::sleep(Duration::from_secs(11)).await;
        let weak = Arc::downgrade(&value);
        assert!(slot.put_back(value).is_err());
        assert!(weak.upgrade().is_none() && slot.take().is_none());
        timers.close();
        timers.wait().await;
        assert_eq!(given_up.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_slot_drops_its_value_at_once_and_ends_its_timer() {
        let (timers, given_up) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let slot = slot(&timers, &given_up);
        let value = slot.take().expect("it is there");
        let weak = Arc::downgrade(&value);
        assert!(slot.put_back(value).is_ok());
        drop(slot);
        assert!(weak.upgrade().is_none());
        timers.close();
        let began = Instant::now();
        timers.wait().await;
        assert_eq!((began.elapsed(), given_up.load(Ordering::SeqCst)), (Duration::ZERO, 0));
    }
}
