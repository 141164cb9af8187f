//! The pauses between attempts.

use std::time::Duration;

const MIN: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(5);

/// The next pause: each is twice as long as the one before, until something was relayed.
pub struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: MIN }
    }
}

impl Pause {
    pub fn reset(&mut self) {
        self.next = MIN;
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(MAX);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut pause = Pause::default();
        let mut waited = Vec::new();
        for round in 0..9 {
            let began = Instant::now();
            if round == 7 {
                pause.reset();
            }
            pause.wait().await;
            waited.push(began.elapsed().as_millis());
        }
        assert_eq!(waited, [200, 400, 800, 1600, 3200, 5000, 5000, 200, 400]);
    }
}
