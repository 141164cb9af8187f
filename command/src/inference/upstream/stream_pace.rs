//! The pace at which a stream is read: 16 MB at once, then 2 MB a second. That is more than any model says in one choice. An upstream
//! that sends faster, such as one that repeats events without content, fills the buffers of its connection and has to wait, so that
//! it costs a part of a processor and not all of it.

use std::time::Duration;

use tokio::time::Instant;

/// The time that a byte takes at the pace.
const BYTE: Duration = Duration::from_nanos(500);
/// Bytes that each chunk counts beside its own, for the work that it makes.
const CHUNK_BYTES: usize = 128;
/// The time that the bytes that may come at once would take.
const AT_ONCE: Duration = Duration::from_secs(8);

pub struct StreamPace {
    /// When all that was read would have come at the pace.
    due_at: Instant,
}

impl StreamPace {
    pub const fn starting_at(now: Instant) -> Self {
        Self { due_at: now }
    }

    /// Counts a chunk that was read.
    pub fn count(&mut self, bytes: usize) {
        self.due_at += BYTE * u32::try_from(bytes + CHUNK_BYTES).unwrap_or(u32::MAX);
    }

    /// How long to wait before the next chunk is read: zero while the upstream keeps to the pace.
    pub fn pause(&mut self, now: Instant) -> Duration {
        self.due_at = self.due_at.max(now);
        self.due_at.duration_since(now).saturating_sub(AT_ONCE)
    }
}
