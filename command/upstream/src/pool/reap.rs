//! Closes idle connections: those that are old, and those that their peer has closed, because nobody polls them.

use tokio::time::{Instant, sleep_until};

use super::state::State;
use super::{Pool, WeakPool};
use crate::LOOK_FOR_CLOSED_EVERY;

impl Pool {
    /// Starts the task that closes idle connections, if any is idle and the task is not running.
    pub(super) fn watch_idle(&self, state: &mut State) {
        if state.is_reaped || state.oldest_idle().is_none() {
            return;
        }
        state.is_reaped = true;
        self.inner.tasks.spawn(reap(self.downgrade()));
    }
}

async fn reap(pool: WeakPool) {
    let mut next = Instant::now() + LOOK_FOR_CLOSED_EVERY;
    loop {
        sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock();
        let (closing, wake_at) = state.reap(Instant::now());
        state.is_reaped = wake_at.is_some();
        drop(state);
        drop(closing);
        match wake_at {
            Some(wake_at) => next = wake_at,
            None => return,
        }
    }
}
