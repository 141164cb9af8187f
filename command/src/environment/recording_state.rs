//! Whether this node is the one that records, and whether it has something to record.

use events_log::EarlierNode;
use tokio::time::Instant;

use super::succession::Succession;

/// A node's knowledge of what it has to record.
#[derive(Debug)]
pub struct RecordingState {
    succession: Succession,
    /// The sources must be looked at whatever the time is, once this node is the one that records.
    is_due: bool,
}

/// The state of a node that starts: until it has looked, it does not know that there is nothing.
impl Default for RecordingState {
    fn default() -> Self {
        Self { succession: Succession::default(), is_due: true }
    }
}

impl RecordingState {
    /// True if this node is the one that records, by what was found of those before it, as [`Succession::is_first`] takes it.
    pub fn check_succession(&mut self, earlier: Option<&[EarlierNode]>, now: Instant) -> bool {
        let is_first = self.succession.is_first(earlier, now);
        // The one that records may record something else than this node would.
        self.is_due |= !is_first;
        is_first
    }

    pub const fn is_due(&self) -> bool {
        self.is_due
    }

    /// All that the sources offer is recorded.
    pub const fn note_recorded(&mut self) {
        self.is_due = false;
    }

    /// Something could not be recorded, or the catalogue is another one than that by which this node recorded last.
    pub const fn note_unfinished(&mut self) {
        self.is_due = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_looks_soon_until_everything_was_recorded_once() {
        let mut recording = RecordingState::default();
        assert!(recording.check_succession(Some(&[]), Instant::now()) && recording.is_due());
        recording.note_recorded();
        assert!(recording.check_succession(Some(&[]), Instant::now()) && !recording.is_due());
    }
}
