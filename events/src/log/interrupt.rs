//! When what runs on a connection is to be ended: once nobody waits for it any more, or once it has run for too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Whether to go on.
#[derive(Clone)]
pub struct Interrupt {
    is_unwanted: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Of whoever waits; dropped, it ends what runs.
pub struct EndsWhenDropped(Arc<AtomicBool>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt {
    pub fn new(deadline: Option<Instant>) -> Self {
        Self { is_unwanted: Arc::default(), deadline }
    }

    pub fn when_dropped(&self) -> EndsWhenDropped {
        EndsWhenDropped(Arc::clone(&self.is_unwanted))
    }

    /// Whether it has run for too long.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    pub fn is_due(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed) || self.is_late()
    }
}
