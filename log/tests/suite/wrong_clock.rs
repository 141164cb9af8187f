//! A clock that is wrong, and set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::time::{Clock, SystemClock};

/// The machine's clock, ahead by this much, or behind.
pub struct WrongClock {
    clock: SystemClock,
    micros: AtomicI64,
}

impl WrongClock {
    pub fn wrong_by(micros: i64) -> Self {
        Self { clock: SystemClock::new(), micros: micros.into() }
    }

    pub fn set(&self, wrong_by_micros: i64) {
        self.micros.store(wrong_by_micros, Ordering::SeqCst);
    }
}

impl Clock for WrongClock {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::microseconds(self.micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
