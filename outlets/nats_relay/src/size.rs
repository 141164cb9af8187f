//! The size of the stream, which the relay limits itself.
//!
//! A server must not be given the limit. Before it stores a message, it counts fewer bytes than the message takes (NATS 2.9, and 2.10 up
//! to at least 2.10.4), so that a stream can exceed `max_bytes`; then it deletes the oldest messages, even with `discard: new`. It
//! does the same when `max_bytes` is lowered.

use std::sync::atomic::{AtomicU64, Ordering};

/// How large the stream can be at most: what an inspection found, and what was sent since.
pub struct StreamSize {
    bytes_max: Option<u64>,
    /// The bytes of the stream without those that were sent in this session, or more.
    others: AtomicU64,
}

impl StreamSize {
    /// `found` are its bytes at the beginning of a session.
    pub const fn new(bytes_max: Option<u64>, found: u64) -> Self {
        Self { bytes_max, others: AtomicU64::new(found) }
    }

    /// Takes the size that a new inspection found. `acknowledged` are the bytes of the session that had been acknowledged before, and are
    /// among those that were found.
    pub fn inspected(&self, found: u64, acknowledged: u64) {
        self.others.store(found.saturating_sub(acknowledged), Ordering::Relaxed);
    }

    /// Whether the stream stays within its limit when so many bytes are sent in this session.
    pub fn has_room_for(&self, sent: u64) -> bool {
        let bytes = self.others.load(Ordering::Relaxed).saturating_add(sent);
        self.bytes_max.is_none_or(|bytes_max| bytes <= bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_as_stored_until_an_inspection_has_found_it() {
        let size = StreamSize::new(Some(1_000), 300);
        assert!(size.has_room_for(700) && !size.has_room_for(701));
        // 500 were sent, of which 200 had been acknowledged, and 100 more were stored before the inspection found them.
        size.inspected(600, 200);
        assert!(size.has_room_for(600) && !size.has_room_for(601));
        size.inspected(800, 500);
        assert!(size.has_room_for(700) && !size.has_room_for(701));
        // Somebody has removed messages.
        size.inspected(100, 500);
        assert!(size.has_room_for(1_000) && !size.has_room_for(1_001));
        assert!(StreamSize::new(None, u64::MAX).has_room_for(u64::MAX));
    }
}
