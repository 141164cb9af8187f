//! A signal to stop a read: its caller no longer waits, or its deadline has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::LogError;

/// Tells a running read when to stop.
#[derive(Clone)]
pub struct Interrupt {
    is_cancelled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Held by the caller who waits. Dropping it stops the read.
pub struct InterruptGuard(Arc<AtomicBool>);

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt {
    pub fn new(deadline: Option<Instant>) -> Self {
        Self { is_cancelled: Arc::default(), deadline }
    }

    pub fn interrupt_on_drop(&self) -> InterruptGuard {
        InterruptGuard(Arc::clone(&self.is_cancelled))
    }

    /// True if the deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// True if the read must stop.
    pub fn is_due(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed) || self.is_late()
    }

    /// Errors: it is due. The caller of the read gets another error if the deadline has passed.
    pub fn check(&self) -> Result<(), LogError> {
        if self.is_due() { Err(LogError::Closed) } else { Ok(()) }
    }
}
