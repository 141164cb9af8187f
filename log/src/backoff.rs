//! Pauses between attempts: each is twice as long as the one before, up to a longest one.

use std::time::Duration;

/// The pauses of one activity.
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Begins with the first pause again, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Makes the next pause a longest one.
    pub const fn lengthen(&mut self) {
        self.next = self.longest;
    }

    /// Pauses before the next attempt.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// Returns the pause before the next attempt, for a caller that waits for other things too.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut waited = Vec::new();
        for round in 0..10 {
            let began = Instant::now();
            match round {
                7 => backoff.reset(),
                9 => backoff.lengthen(),
                _ => {}
            }
            backoff.wait().await;
            waited.push(began.elapsed().as_millis());
        }
        assert_eq!(waited, [200, 400, 800, 1600, 3200, 5000, 5000, 200, 400, 5000]);
    }
}
