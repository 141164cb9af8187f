//! Closes idle connections that are old, those beyond the pool's part of the sockets, and those that their peer has closed: nothing else
//! polls an idle HTTP/1.1 connection, so this task looks.

use tokio::time::{Instant, sleep_until};

use super::state::State;
use super::{Pool, WeakPool};
use crate::sockets::ListedPool;
use crate::{IDLE_CONNECTIONS_MAX, LOOK_FOR_CLOSED_EVERY};

impl Pool {
    /// Starts the task that closes idle connections, if any is idle and the task is not running.
    pub(super) fn watch_idle(&self, state: &mut State) {
        if state.is_reaped || state.oldest_idle().is_none() {
            return;
        }
        state.is_reaped = true;
        self.inner.tasks.spawn(reap(Reaper::new(self)));
    }

    /// Closes the idle connections that their peers have closed. One at a time and outside the lock, because a look runs the
    /// code of the protocol on what the peer has sent.
    async fn close_dead(&self) {
        let mut index = 0;
        for _ in 0..IDLE_CONNECTIONS_MAX {
            let taken = self.lock().idle.take_at(index);
            let Some(mut idle) = taken else { return };
            if idle.connection.check_open().await {
                let mut state = self.lock();
                state.idle.put_back(idle);
                self.serve_queue_after(state);
                index += 1;
            }
        }
    }
}

/// The task of a pool. If it panics, the next idle connection starts another one.
pub struct Reaper {
    pool: WeakPool,
    _listed: ListedPool,
}

impl Reaper {
    pub fn new(pool: &Pool) -> Self {
        let connector = &pool.inner.connector;
        Self { pool: pool.downgrade(), _listed: connector.sockets.list(connector.owner, pool.downgrade()) }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.lock().is_reaped = false;
        }
    }
}

async fn reap(reaper: Reaper) {
    let mut next = Instant::now() + LOOK_FOR_CLOSED_EVERY;
    loop {
        sleep_until(next).await;
        let Some(pool) = reaper.pool.upgrade() else { return };
        pool.close_dead().await;
        let keep = pool.inner.connector.sockets.idle_of_pool();
        let mut state = pool.lock();
        let surplus = state.take_idle(keep, usize::MAX);
        let (closing, wake_at) = state.reap(Instant::now());
        state.is_reaped = wake_at.is_some();
        drop(state);
        drop((surplus, closing));
        match wake_at {
            Some(wake_at) => next = wake_at,
            None => return,
        }
    }
}
