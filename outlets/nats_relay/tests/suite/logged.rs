//! The log lines of a relay.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::subscriber::DefaultGuard;

use crate::world::SOON;

/// The log lines of the tasks of this test, on a runtime with one thread.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Until the guard is dropped.
    pub fn start() -> (Self, DefaultGuard) {
        let logged = Self::default();
        let written = logged.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines have these words.
    pub fn count(&self, words: &str) -> usize {
        self.text().lines().filter(|line| line.contains(words)).count()
    }

    pub async fn must_have(&self, words: &str) {
        let began = Instant::now();
        while self.count(words) == 0 {
            assert!(began.elapsed() < SOON, "{words}: {}", self.text());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
