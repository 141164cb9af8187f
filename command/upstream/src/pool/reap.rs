//! Closing connections that nobody uses.

use tokio::time::{Instant, sleep_until};

use super::state::State;
use super::{Pool, WeakPool};
use crate::IDLE_CONNECTION_MAX;

impl Pool {
    /// Sees to it that somebody looks after what is idle, as long as anything is.
    pub(super) fn watch_idle(&self, state: &mut State) {
        if state.is_reaped || state.oldest_idle().is_none() {
            return;
        }
        state.is_reaped = true;
        self.shared.tasks.spawn(reap(self.downgrade()));
    }
}

async fn reap(pool: WeakPool) {
    let mut next = Instant::now() + IDLE_CONNECTION_MAX;
    loop {
        sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock();
        let (closing, then) = state.reap(Instant::now());
        state.is_reaped = then.is_some();
        drop(state);
        drop(closing);
        match then {
            Some(then) => next = then,
            None => return,
        }
    }
}
