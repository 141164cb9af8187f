//! Opening what lies in an object store, one attempt at a time: a folder may be on a mount that does not answer, and each attempt
//! there keeps a thread until it does.

use std::sync::Arc;
use std::time::Duration;

use blocking_work::OPENING;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::store::OpenError;

/// How long a role waits before it says that it cannot work.
const ROLE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Opens it. Blocking, and called again after a failure.
pub type Open<T> = Arc<dyn Fn() -> Result<T, OpenError> + Send + Sync>;

/// The store is not open.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the object store does not answer")]
    Silent,
    #[error("the thread that opened the object store ended: {0}")]
    Thread(#[from] JoinError),
}

/// The attempts to open one thing.
pub struct Opening<T> {
    open: Open<T>,
    attempt: Option<JoinHandle<Result<T, OpenError>>>,
    /// The opened store that nobody has taken yet.
    opened: Option<T>,
}

impl<T: Send + 'static> Opening<T> {
    pub const fn new(open: Open<T>) -> Self {
        Self { open, attempt: None, opened: None }
    }

    /// Returns the open store, or the result of the attempt that goes on, or else of a new one. An attempt that is not over in time, or is
    /// no longer waited for, goes on.
    pub async fn within(&mut self, at_most: Duration) -> Result<T, NotOpened> {
        if let Some(opened) = self.opened.take() {
            return Ok(opened);
        }
        let attempt = async {
            let attempt = match &mut self.attempt {
                Some(attempt) => attempt,
                None => {
                    let (turn, open) = (OPENING.turn(None).await, Arc::clone(&self.open));
                    self.attempt.insert(turn.start(move || open()))
                }
            };
            attempt.await
        };
        let ended = timeout(at_most, attempt).await.map_err(|_| NotOpened::Silent)?;
        self.attempt = None;
        Ok(ended??)
    }

    /// Opens it for a role that this process does not have yet.
    pub async fn before_role(&mut self) -> Result<(), NotOpened> {
        self.opened = None;
        self.opened = Some(self.within(ROLE_WAIT_MAX).await?);
        Ok(())
    }

    /// The store that was opened [before](Self::before_role) the process got the role.
    pub async fn for_role(&mut self) -> Result<T, NotOpened> {
        self.within(ROLE_WAIT_MAX).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_hangs_is_the_only_one() {
        let (answer, answers) = mpsc::channel();
        let (answers, attempts) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&attempts);
        let mut opening = Opening::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(answers.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap())
        }));
        for _ in 0..3 {
            assert!(matches!(opening.within(Duration::from_millis(5)).await, Err(NotOpened::Silent)));
        }
        answer.send(7).unwrap();
        assert_eq!(opening.within(Duration::from_secs(10)).await.unwrap(), 7);
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
    }
}
